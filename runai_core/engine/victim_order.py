"""Whose turn it is to give way: eviction units of running gangs, in the reverse order of service.

The queue most over its share comes first, in it the lowest priority and the
youngest. Surplus pods of an elastic gang go one by one before its core.
"""

from bisect import insort
from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heapreplace

from runai_core.engine.entities import Job, PodSet, QueueNode
from runai_core.engine.ordering import JobKey, children_in, job_key, job_keys, ordered_pods, share_key
from runai_core.engine.search import TAKEN_FROM, Search, Unit
from runai_core.engine.session import Session


def victim_units(search: Search, recorded: list[int]) -> Iterator[Unit]:
    """Yield eviction units: the queue most over its share first, in it the lowest priority and the youngest.

    Surplus pods of an elastic gang come one by one before its core, and a gang
    competes for its next turn after each.
    """
    session = search.session
    taken: dict[int, int] = {}
    left: dict[str, dict[str, list[int]]] = {}
    gone = set(recorded)
    leaves = [leaf for leaf in search.leaves if search.takeable(search, leaf)]
    order = _VictimOrder(session, leaves, search.eligible)
    several = order.single is None  # one queue alone is not compared with any
    states, homes, kept = session.pod_state, session.pod_node, session.kept
    for job in order if order.single is None else order.single:
        only = job.only
        if only is not None and len(only.pods) == 1:  # by far the most frequent
            pod = only.pods[0]
            if states[pod] in TAKEN_FROM and homes[pod] >= 0 and pod not in gone and pod not in kept:
                gone.add(pod)  # a group that was placed in this cycle may be listed twice
                if several:
                    order.charge(job, pod)
                yield (pod,)  # protection was asked for when it was popped
            continue
        parts = left.get(job.name)
        if parts is None:
            parts = left[job.name] = {
                name: [pod for pod in ordered_pods(session, part) if _may_take(session, pod, gone)]
                for name, part in job.sets.items()
            }
            for part in job.sets.values():
                taken[id(part)] = sum(1 for pod in part.pods if pod in gone)
        unit, more = _next_unit(job, parts, taken)
        if not unit or (not more and search.protected(job)):
            continue
        for pod in unit:
            order.charge(job, pod)
        if more:
            order.push(job, _state_after(job, taken))
        yield unit


def _may_take(session: Session, pod: int, gone: set[int]) -> bool:
    return (
        session.pod_state[pod] in TAKEN_FROM
        and session.pod_node[pod] >= 0
        and pod not in gone
        and pod not in session.kept
    )


def _next_unit(job: Job, parts: dict[str, list[int]], taken: dict[int, int]) -> tuple[Unit, bool]:
    """Return the next pods to evict together, and whether the gang has more after them."""
    best: PodSet | None = None
    best_ratio = 0.0
    for name in sorted(job.sets):
        part = job.sets[name]
        active = part.active - taken[id(part)]
        ratio = active / max(part.minimum, 1)
        if active > part.minimum and parts[name] and ratio > best_ratio:
            best, best_ratio = part, ratio
    if best is not None:
        taken[id(best)] += 1
        return (parts[best.name].pop(),), True
    rest = tuple(pod for name in sorted(parts) for pod in parts[name])
    for name, pods in parts.items():
        taken[id(job.sets[name])] += len(pods)
        parts[name] = []
    return rest, False


def _state_after(job: Job, taken: dict[int, int]) -> int:
    over = any(part.active - taken[id(part)] > part.minimum for part in job.sets.values())
    return 2 if over else 1


class _Leaf:
    """The victims of one leaf queue, the next to give way last, and those that were put back."""

    __slots__ = ("cursor", "eligible", "extra", "listed")

    def __init__(self, listed: list[tuple[JobKey, Job]], eligible: Callable[[Job], bool]) -> None:
        self.listed = listed
        self.eligible = eligible
        self.cursor = len(listed)
        self.extra: list[tuple[JobKey, Job]] = []

    def peek(self) -> tuple[JobKey, Job] | None:
        listed, cursor, extra, eligible = self.listed, self.cursor, self.extra, self.eligible
        while cursor:
            job = listed[cursor - 1][1]
            if job.active and eligible(job):
                break
            cursor -= 1
        self.cursor = cursor
        if extra and (not cursor or extra[-1][0] > listed[cursor - 1][0]):
            return extra[-1]
        return listed[cursor - 1] if cursor else None

    def __iter__(self) -> Iterator[Job]:
        listed, eligible = self.listed, self.eligible
        while True:
            if self.extra:
                job = self.pop()
                if job is None:
                    return
                yield job
                continue
            while self.cursor:
                self.cursor -= 1
                job = listed[self.cursor][1]
                only = job.only
                if (job.active if only is None else only.active) and eligible(job):
                    break
            else:
                return
            yield job

    def pop(self) -> Job | None:
        found = self.peek()
        if found is None:
            return None
        extra = self.extra
        if extra and extra[-1] is found:
            extra.pop()
        else:
            self.cursor -= 1
        return found[1]


class _VictimOrder:
    """Victim jobs of several leaves: the reverse of the order in which queues are served."""

    def __init__(self, session: Session, leaves: list[QueueNode], eligible: Callable[[Job], bool]) -> None:
        self.session = session
        self.leaves = {leaf.name: _Leaf(victims_of(session, leaf), eligible) for leaf in leaves}
        self.taken: dict[str, list[int]] = {}
        self.heaps: dict[str | None, list[tuple[tuple[float, ...], str]]] = {}
        names = [name for name, leaf in self.leaves.items() if leaf.peek() is not None]
        self.below = children_in(session, names)
        self.popped: str | None = None
        self.single = self.leaves[names[0]] if len(names) == 1 else None
        for parent, nodes in self.below.items():
            self.heaps[parent] = [(self._key(node), node.name) for node in nodes]
            heapify(self.heaps[parent])

    def _key(self, node: QueueNode) -> tuple[float, ...]:
        taken = self.taken.get(node.name, (0, 0, 0))
        key = share_key(self.session, node, (0, 0, 0), taken)
        return tuple(-value for value in key)

    def __iter__(self) -> Iterator[Job]:
        """Yield the next victim: always the one that can best be done without."""
        while True:
            self._repair()
            heap = self.heaps.get(None)
            if not heap:
                return
            name = heap[0][1]
            while name in self.heaps:
                name = self.heaps[name][0][1]
            self.popped = name
            job = self.leaves[name].pop()
            if job is None:
                return
            yield job

    def _repair(self) -> None:
        """Key the path of the last victim anew; drop queues that have no more."""
        if self.popped is None:
            return
        leaf = self.session.queues[self.popped]
        empty = self.leaves[self.popped].peek() is None
        for node in leaf.path:
            heap = self.heaps[None if node.parent is None else node.parent.name]
            if empty:
                heappop(heap)
                empty = not heap
            elif len(heap) > 1:  # a queue alone needs no key
                heapreplace(heap, (self._key(node), node.name))
        self.popped = None

    def push(self, job: Job, elastic_state: int) -> None:
        """Put a gang back after one of its pods was taken."""
        assert job.queue is not None
        key = job_key(self.session, job)
        position = len(key) - 3
        key = (*key[:position], elastic_state, *key[position + 1 :])
        insort(self.leaves[job.queue.name].extra, (key, job), key=_first)

    def charge(self, job: Job, pod: int) -> None:
        """Remember what was taken from a victim's queues."""
        session = self.session
        amounts = session.charge_of(session.pod_class[pod], session.pod_node[pod])
        for node in job.path:
            row = self.taken.get(node.name)
            if row is None:
                row = self.taken[node.name] = [0, 0, 0]
            row[0] += amounts[0]
            row[1] += amounts[1]
            row[2] += amounts[2]


def _first(item: tuple[JobKey, Job]) -> JobKey:
    return item[0]


def victims_of(session: Session, leaf: QueueNode) -> list[tuple[JobKey, Job]]:
    """Return a leaf's preemptible gangs that run, the first to give way last; kept for the whole cycle."""
    known = session.cache.get(("victims", leaf.name))
    if not isinstance(known, list):
        key_of = job_keys(session)
        running = [job for job in leaf.jobs if job.preemptible and (job.only or job).active]
        known = sorted(zip(map(key_of, running), running, strict=True), key=_first)
        session.cache["victims", leaf.name] = known
    while known and not known[-1][1].active:
        known.pop()
    return known


def note_placed(session: Session, job: Job) -> None:
    """Add a group that was placed in this cycle to those that may have to give way."""
    known = session.cache.get(("victims", job.path[0].name))
    if job.preemptible and isinstance(known, list):
        insort(known, (job_key(session, job), job), key=_first)
