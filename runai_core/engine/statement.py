"""Trial changes to a session.

Every attempt in a cycle runs between a mark and either `commit` or a rollback
to the mark, so a refused gang leaves nothing behind. Nothing here decides;
`gang` and `victims` do.
"""

from runai_core.engine.entities import EVICTED, PROMISED, RUNNING
from runai_core.engine.session import Session

TAKING = ("reclaim", "preempt")
"""Actions by which somebody loses a place; what they promise is not taken away again in the same cycle."""


def commit(session: Session, mark: int, action: str, for_group: str, reason: object = None) -> None:
    """Make the moves since the mark final and remember why pods were evicted.

    An evicted pod that was promised the very place it had stays where it is:
    that eviction never happened. The journal is cut, so a committed attempt
    can not be undone by an outer rollback.
    """
    moves = session.journal[mark:]
    del session.journal[mark:]
    for move, pod, *_ in moves:
        if move == PROMISED and action in TAKING:
            session.kept.add(pod)
        if move != EVICTED:
            continue
        origin = session.evicted_from.get(pod)
        if origin is None:
            continue
        if session.pod_state[pod] == PROMISED and origin == (session.pod_node[pod], session.pod_devices[pod]):
            _restore(session, pod)
        else:
            session.kept.add(pod)
            session.evicted_why[pod] = (action, for_group, reason)


def _restore(session: Session, pod: int) -> None:
    """Let a pod that was evicted and promised its own place run on as if nothing had been tried."""
    node = session.pod_node[pod]
    session.pod_state[pod] = RUNNING
    del session.evicted_from[pod]
    for name in session.pod_devices[pod]:
        session.shift_device(pod, node, name, 0, -1, -1)
