"""Trial changes to a session, and what makes them final.

Every attempt in a cycle runs between a mark and either `commit` or a rollback
to the mark, so a refused gang leaves nothing behind. A whole action can be
taken back as well: its decisions stay in the journal until the cycle ends.
Nothing here decides; `gang` and `victims` do.
"""

from runai_core.engine.entities import Job
from runai_core.engine.session import Session

TAKING = ("reclaim", "preempt")
"""Actions by which somebody loses a place; what they promise is not taken away again in the same cycle."""


def commit(session: Session, action: str, job: Job, pods: list[int], cause: object, evicted: list[int]) -> None:
    """Record an attempt that succeeded: the pods that it placed, and why and which others gave way."""
    session.decided.append((action, job, pods, cause))
    if action in TAKING:
        session.kept.update(pods)
    session.kept.update(pod for pod in evicted if pod in session.evicted_from and not session.stays(pod))


def take_back(session: Session, mark: int, decisions: int) -> None:
    """Undo all moves since the mark and forget all but the first decisions."""
    session.rollback(mark)
    del session.decided[decisions:]
    session.kept = {pod for action, _, pods, _ in session.decided if action in TAKING for pod in pods}
    session.kept.update(_gone(session))


def victims_by_decision(session: Session) -> dict[int, tuple[str, str, object]]:
    """Return for each pod that gives way: the action, for whom, and the cause, in the order of eviction."""
    found: dict[int, tuple[str, str, object]] = {}
    for pod in _gone(session):
        found[pod] = session.evicted_why.get(pod, ("stale_gang", "", None))
    return found


def _gone(session: Session) -> list[int]:
    return [pod for pod in session.evicted_from if not session.stays(pod)]
