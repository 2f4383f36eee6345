from runai_core.engine.session import Session


def reclaim(session: Session) -> None:
    pass
