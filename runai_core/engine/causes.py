"""Who had to give way, for whom, by which rule, and what the queues held then."""

from dataclasses import dataclass

from runai_core.engine.entities import RESOURCES, UNBOUNDED, Job, QueueNode
from runai_core.engine.session import Session
from runai_core.model.decision import QueueShare
from runai_core.model.resources import format_gpus

GIB = 1024**3


@dataclass(slots=True)
class Cause:
    """One committed decision that took places away: what the queues held before it."""

    winner: Job
    evicted: list[int]
    rows: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]]  # queue -> allocated, non-preemptible


def cause_of(session: Session, winner: Job, placed: list[int], evicted: list[int]) -> Cause:
    """Return the cause of evictions that were just decided, with the queues as they were before."""
    rows: dict[str, tuple[list[int], list[int]]] = {}
    changes: dict[tuple[QueueNode, bool, tuple[int, int, int]], int] = {}
    for pods, sign in ((placed, -1), (evicted, 1)):
        for pod in pods:
            job = session.pod_job[pod]
            if job is not None:
                charge = session.charge_of(session.pod_class[pod], session.pod_node[pod])
                alike = job.path[0], job.preemptible, charge
                changes[alike] = changes.get(alike, 0) + sign
    for (leaf, preemptible, charge), count in changes.items():
        for node in leaf.path:
            known = rows.setdefault(node.name, (list(node.allocated), list(node.non_preemptible)))
            for row in known[:1] if preemptible else known:
                row[0] += count * charge[0]
                row[1] += count * charge[1]
                row[2] += count * charge[2]
    return Cause(winner, evicted, {name: ((a[0], a[1], a[2]), (b[0], b[1], b[2])) for name, (a, b) in rows.items()})


def share_rows(node: QueueNode, allocated: tuple[int, ...], fixed: tuple[int, ...]) -> tuple[QueueShare, ...]:
    """Return a queue's six numbers for each resource."""
    return tuple(
        QueueShare(
            node.name,
            resource,
            _limit(node.deserved[column]),
            _limit(node.limit[column]),
            node.fair[column],
            allocated[column],
            fixed[column],
            node.requested[column],
        )
        for column, resource in enumerate(RESOURCES)
    )


def _limit(amount: int) -> int | None:
    return None if amount >= UNBOUNDED else amount


def eviction_shares(session: Session, pod: int, cause: object) -> tuple[QueueShare, ...]:
    """Return the numbers of the two queues at which loser and winner part, before the decision."""
    loser = session.pod_job[pod]
    if not isinstance(cause, Cause) or loser is None:
        return ()
    mine, theirs = _parting(cause.winner, loser)
    found: tuple[QueueShare, ...] = ()
    for node in (theirs,) if mine is theirs else (theirs, mine):
        allocated, fixed = cause.rows.get(node.name, node.opening)
        found += share_rows(node, allocated, fixed)
    return found


def _parting(winner: Job, loser: Job) -> tuple[QueueNode, QueueNode]:
    for mine, theirs in zip(winner.path[::-1], loser.path[::-1], strict=False):
        if mine is not theirs:
            return mine, theirs
    return winner.path[0], loser.path[0]


def eviction_message(session: Session, pod: int, action: str, cause: object, moved_to: str | None) -> str:
    """Return one sentence for the owner of an evicted pod."""
    loser = session.pod_job[pod]
    if not isinstance(cause, Cause) or loser is None:
        return _stale_message(session, loser)
    winner = called(cause.winner)
    if moved_to is not None:
        return f"Moved to node {moved_to} to make room for {winner}; no one loses a place by it."
    if action == "preempt":
        return (
            f"Preempted by {winner} of the same queue {loser.path[0].name}: "
            f"its priority {cause.winner.priority} is above this workload's {loser.priority}."
        )
    mine, theirs = _parting(cause.winner, loser)
    return (
        f"Reclaimed for {winner}: {_standing(theirs, cause)} and gives back what it borrowed, "
        f"because {_standing(mine, cause)} and is entitled to it."
    )


def _standing(node: QueueNode, cause: Cause) -> str:
    """Say what a queue holds against its fair share, in the resource in which it is fullest."""
    allocated, _ = cause.rows.get(node.name, node.opening)
    column = 2
    if not allocated[2] and not node.fair[2]:
        column = max(range(3), key=lambda item: allocated[item] / max(node.fair[item], 1))
    share, held = amount(node.fair[column], column), amount(allocated[column], column)
    deserved = "unlimited" if node.deserved[column] >= UNBOUNDED else amount(node.deserved[column], column)
    return f"queue {node.name} held {held} with a fair share of {share} (deserved: {deserved})"


def _stale_message(session: Session, loser: Job | None) -> str:
    least = "" if loser is None else f" of {sum(part.minimum for part in loser.sets.values())} pods"
    grace = session.settings.staleness_grace or 0
    return f"Evicted because its gang ran below its minimum{least} for longer than the grace period of {grace:g} s."


def called(job: Job) -> str:
    """Return what people call a group: its workload, else its own name."""
    return job.group.workload or job.name


def amount(value: int, column: int) -> str:
    """Return an amount of a resource as people write it."""
    if column == 2:
        return f"{format_gpus(value)} GPU{'' if value == 1000 else 's'}"
    if column == 1:
        return f"{value / GIB:g} GiB of memory"
    return f"{value / 1000:g} CPU core{'' if value == 1000 else 's'}"
