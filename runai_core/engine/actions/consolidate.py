from runai_core.engine.session import Session


def consolidate(session: Session) -> None:
    pass
