"""Who may be evicted at all: preemptible work, after its minimum run time (scheduler semantics, 2.17)."""

from collections.abc import Callable

from runai_core.engine.entities import Job, QueueNode
from runai_core.engine.session import Session

Runtime = Callable[[Session, Job, Job], float]
"""Seconds that (victim, preemptor) lets the victim run undisturbed."""


def victim_test(session: Session, preemptor: Job, runtime: Runtime) -> Callable[[Job], bool]:
    """Return the question whether any pod of a preemptible group may be evicted for the preemptor."""
    filters = session.rules.victim_filters
    seconds: dict[QueueNode | None, float] = {}

    def may_be_victim(victim: Job) -> bool:
        if victim is preemptor:
            return False
        for rule in filters:
            if not rule.function(victim.group, preemptor.group):
                return False
        protected = seconds.get(victim.queue)
        if protected is None:
            protected = seconds[victim.queue] = runtime(session, victim, preemptor)
        return protected <= 0 or is_elastic(victim) or not is_protected(session, victim, protected)

    return may_be_victim


def is_elastic(job: Job) -> bool:
    """Return whether some pod set runs above its minimum."""
    return any(part.active > part.minimum for part in job.sets.values())


def is_protected(session: Session, victim: Job, runtime: float) -> bool:
    """Return whether a group started less than `runtime` seconds ago; one that never started is not."""
    started = victim.group.last_start
    return started is not None and session.now < started + runtime


def runtime_for_preempt(session: Session, victim: Job, preemptor: Job) -> float:
    """Return the first setting from the victim's queue upward, else the node pool's."""
    del preemptor
    for node in victim.path:
        if node.queue.preempt_min_runtime is not None:
            return node.queue.preempt_min_runtime
    return session.settings.preempt_min_runtime


def runtime_for_reclaim(session: Session, victim: Job, preemptor: Job) -> float:
    """Return the first setting from the queue where both part, on the victim's side, upward, else the node pool's."""
    for node in _from_parting(victim, preemptor):
        if node.queue.reclaim_min_runtime is not None:
            return node.queue.reclaim_min_runtime
    return session.settings.reclaim_min_runtime


def _from_parting(victim: Job, preemptor: Job) -> tuple[QueueNode, ...]:
    mine = set(map(id, preemptor.path))
    for position in range(len(victim.path)):
        above = victim.path[position + 1 :]
        if not above or id(above[0]) in mine:
            return victim.path[position:]
    return ()


def never(session: Session, victim: Job, preemptor: Job) -> float:
    """Return zero: a move is no loss, so nothing protects from it."""
    del session, victim, preemptor
    return 0.0
