from runai_core.engine.session import Session


def preempt(session: Session) -> None:
    pass
