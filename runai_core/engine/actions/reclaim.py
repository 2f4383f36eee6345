"""Take back, for a queue below its fair share, what other queues borrowed.

The rules are those of scheduler semantics, section 2.14: nobody reclaims to go
above its fair share, departments settle before projects, and what is taken
must either come from a queue above its allocatable share, or serve a queue
within its deserved quota from one above its own.
"""

from collections.abc import Iterator, Sequence

from runai_core.engine.entities import UNBOUNDED, Job, QueueNode
from runai_core.engine.ordering import blocked_by_queue, waiting_jobs
from runai_core.engine.protection import is_protected, runtime_for_reclaim, victim_test
from runai_core.engine.search import Search, first_differing, free_gpus
from runai_core.engine.session import Session
from runai_core.engine.victims import help_each

NAME = "reclaim"


def reclaim(session: Session) -> None:
    """Try each waiting pod group once, best first."""
    if not session.quota_on:
        return
    jobs = waiting_jobs(session)
    if jobs:
        help_each(session, NAME, jobs, lambda job: _search(session, job))


def _search(session: Session, job: Job) -> Search | None:
    """Return the search for a group, unless its own queue forbids it."""
    leaf, pods, ask = job.path[0], list(job.tries or ()), job.ask
    for column in range(3):
        if ask[column] > 0 and leaf.allocated[column] + ask[column] > leaf.fair[column]:
            return None
    blocked = blocked_by_queue(job, ask)
    if blocked is not None and blocked[0] == "quota":
        return None  # what others hold does not count towards it, so no eviction helps
    leaves = [node for node in session.queues.values() if not node.children and node is not leaf and node.jobs]
    movable = session.settings.allow_consolidating_reclaim and free_gpus(session) > 0
    allowed: dict[str, bool] = {}

    def takeable(search: Search, node: QueueNode) -> bool:
        known = allowed.get(node.name)
        if known is None:
            known = allowed[node.name] = movable or _may_lose(search, node)
        return known

    return Search(
        session=session,
        job=job,
        pods=pods,
        ask=ask,
        leaves=leaves,
        eligible=victim_test(session, job, runtime_for_reclaim),
        protected=lambda victim: is_protected(session, victim, runtime_for_reclaim(session, victim, job)),
        valid=is_fair,
        takeable=takeable,
    )


def _may_lose(search: Search, victim: QueueNode) -> bool:
    """Return whether a queue holds enough that taking some of it could be fair."""
    mine, theirs = first_differing(search.job.path[0], victim)
    after = [amount + asked for amount, asked in zip(mine.allocated, search.ask, strict=True)]
    return _over_share(theirs, theirs.allocated) or (
        _within_quota(mine, after) and _over_quota(theirs, theirs.allocated)
    )


def _over_share(node: QueueNode, allocated: list[int]) -> bool:
    share = node.allocatable
    return allocated[0] > share[0] or allocated[1] > share[1] or allocated[2] > share[2]


def _over_quota(node: QueueNode, allocated: list[int]) -> bool:
    quota = node.deserved
    return allocated[0] > quota[0] or allocated[1] > quota[1] or allocated[2] > quota[2]


def _within_quota(node: QueueNode, allocated: list[int]) -> bool:
    return not _over_quota(node, allocated)


def is_fair(search: Search, lost: list[int]) -> bool:
    """Judge a trial: every bundle comes from a queue that may lose it, and nobody ends up worse than the winner."""
    session, leaf = search.session, search.job.path[0]
    remaining = _before(session, lost)
    for victim, bundle in _bundles(session, lost):
        mine, theirs = first_differing(leaf, victim)
        held = remaining[theirs.name]
        if not _over_share(theirs, held) and not (_within_quota(mine, mine.allocated) and _over_quota(theirs, held)):
            return False
        for node in victim.path:
            row = remaining[node.name]
            row[0] -= bundle[0]
            row[1] -= bundle[1]
            row[2] -= bundle[2]
    return all(_level_is_fair(session, search, node, remaining) for node in leaf.path)


def _before(session: Session, lost: list[int]) -> dict[str, list[int]]:
    """Return what the queues of the lost pods would hold, had they not been lost."""
    counts: dict[tuple[QueueNode, tuple[int, int, int]], int] = {}
    for pod in lost:
        job = session.pod_job[pod]
        if job is not None:
            alike = job.path[0], session.charge_of(session.pod_class[pod], session.pod_node[pod])
            counts[alike] = counts.get(alike, 0) + 1
    rows: dict[str, list[int]] = {}
    for (leaf, charge), count in counts.items():
        for node in leaf.path:
            row = rows.setdefault(node.name, list(node.allocated))
            row[0] += count * charge[0]
            row[1] += count * charge[1]
            row[2] += count * charge[2]
    return rows


def _bundles(session: Session, lost: list[int]) -> Iterator[tuple[QueueNode, Sequence[int]]]:
    """Yield (leaf, amounts) for each surplus pod, and for each gang that lost its core."""
    by_job: dict[str, list[int]] = {}
    for pod in lost:
        job = session.pod_job[pod]
        if job is not None:
            by_job.setdefault(job.name, []).append(pod)
    for name, pods in by_job.items():
        job = session.jobs[name]
        if len(pods) == 1:  # surplus or core: a bundle either way
            yield job.path[0], session.charge_of(session.pod_class[pods[0]], session.pod_node[pods[0]])
            continue
        whole = any(0 <= part.active < part.minimum for part in job.sets.values())
        core: list[int] = []
        for part in job.sets.values():
            mine = [pod for pod in pods if session.pod_set[pod] is part]
            surplus = max(0, part.active + len(mine) - part.minimum) if whole else len(mine)
            for pod in mine[:surplus]:
                yield job.path[0], _amounts(session, [pod])
            core += mine[surplus:]
        if core:
            yield job.path[0], _amounts(session, core)


def _amounts(session: Session, pods: list[int]) -> list[int]:
    charges = [session.charge_of(session.pod_class[pod], session.pod_node[pod]) for pod in pods]
    return [sum(row[column] for row in charges) for column in range(3)]


def _level_is_fair(session: Session, search: Search, node: QueueNode, remaining: dict[str, list[int]]) -> bool:
    """Compare a queue on the winner's path with each sibling that lost something."""
    siblings = session.roots if node.parent is None else node.parent.children
    factor = session.settings.saturation_multiplier
    for sibling in siblings:
        if sibling is node or sibling.name not in remaining:
            continue
        for column in range(3):
            fair = sibling.fair[column]
            involved = search.ask[column] > 0 or remaining[sibling.name][column] < sibling.opening[0][column]
            if not involved or fair <= 0:
                continue
            mine = _fullness(node.allocated[column], node.fair[column])
            theirs = _fullness(remaining[sibling.name][column], fair)
            if mine > 1 and mine * factor >= theirs:
                return False
    return True


def _fullness(amount: int, fair: int) -> float:
    if fair >= UNBOUNDED:
        return 0.0
    if fair == 0:
        return float("inf") if amount else 0.0
    return amount / fair
