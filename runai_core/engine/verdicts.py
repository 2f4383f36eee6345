"""Why a pod group waits."""

from runai_core.engine.session import Session
from runai_core.model.decision import QueueShare, Verdict


def eviction_message(session: Session, pod: int, action: str, for_group: str, reason: object, moved_to: str | None) -> str:
    return ""


def eviction_shares(reason: object) -> tuple[QueueShare, ...]:
    return ()


def verdicts(session: Session) -> tuple[Verdict, ...]:
    return ()


def all_shares(session: Session) -> tuple[QueueShare, ...]:
    return ()
