"""Which queue, and then which workload of it, is next.

Queues form a tree of heaps. A queue is represented by its best workload, and
its place among its siblings depends only on its own numbers and that workload,
so after a decision only the path from the leaf to the root is keyed anew
(scheduler semantics, 2.5 and 2.6).
"""

from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heappush, heapreplace
from itertools import groupby
from typing import Any

from runai_core.engine.entities import EVICTED, PENDING, Job, PodSet, QueueNode
from runai_core.engine.session import Session
from runai_core.model.snapshot import PodEntry

QueueKey = tuple[Any, ...]
JobKey = tuple[object, ...]


def tasks_to_try(session: Session, job: Job, *, moving: bool = False) -> list[int]:
    """Return the pods of a gang that an attempt would place now.

    A pod set below its minimum tries exactly what it lacks; a gang whose sets
    are all satisfied grows by one pod of the set that is relatively smallest.
    With `moving`, pods evicted in a trial may be placed again.
    """
    only = job.only
    if only is not None:
        if len(only.pods) == 1:
            state = session.pod_state[only.pods[0]]
            return only.pods if state == PENDING or (moving and state == EVICTED) else []
        return _waiting_pods(session, only, max(only.minimum - only.active, 1), moving=moving)
    below = [part for part in job.sets.values() if part.active < part.minimum]
    parts = sorted(below, key=_part_order) if below else sorted(job.sets.values(), key=_part_order)
    chosen: list[int] = []
    for part in parts:
        wanted = part.minimum - part.active if below else 1
        found = _waiting_pods(session, part, wanted, moving=moving)
        chosen += found
        if not below and found:
            break
    return chosen


def _part_order(part: PodSet) -> tuple[float, str]:
    return part.active / max(part.minimum, 1), part.name


def _waiting_pods(session: Session, part: PodSet, wanted: int, *, moving: bool) -> list[int]:
    states = session.pod_state
    if moving:
        found = [pod for pod in ordered_pods(session, part) if states[pod] in (PENDING, EVICTED)]
    else:
        found = [pod for pod in ordered_pods(session, part) if states[pod] == PENDING]
    return found[:wanted]


def ordered_pods(session: Session, part: PodSet) -> list[int]:
    """Return a pod set's pods in the order of placement: leaders, then by order label, age and name."""
    if not part.unsorted:
        return part.pods
    if len(part.pods) > 1:
        pods = session.pods
        # From the last criterion to the first: the sort is stable, and keys of one plain type compare fastest.
        part.pods.sort(key=lambda number: pods[number].name)
        part.pods.sort(key=lambda number: pods[number].created_at)
        if [number for number in part.pods if pods[number].leader or pods[number].order is not None]:
            part.pods.sort(key=lambda number: _rank(pods[number]))
    part.unsorted = False
    return part.pods


def _rank(pod: PodEntry) -> tuple[bool, bool, int]:
    return not pod.leader, pod.order is None, -(pod.order or 0)


def refresh(session: Session, job: Job, *, moving: bool = False) -> None:
    """Work out what a job would try now and what that costs its queue."""
    job.tries = tries = tasks_to_try(session, job, moving=moving)
    if len(tries) == 1 and job.tree is None:
        kind = session.pod_class[tries[0]]
        job.ask = kind.charge
        job.shape = None if kind.solitary else kind.index
        return
    kinds = [session.pod_class[pod] for pod in tries]
    if kinds and kinds.count(kinds[0]) == len(kinds):
        runs = [(kinds[0], len(kinds))]
    else:
        runs = [(kind, len(list(same))) for kind, same in groupby(kinds)]
    solitary = (job.tree is not None and job.active > 0) or any(kind.solitary for kind, _ in runs)
    charges = [(kind.charge, count) for kind, count in runs]
    job.ask = (
        sum(charge[0] * count for charge, count in charges),
        sum(charge[1] * count for charge, count in charges),
        sum(charge[2] * count for charge, count in charges),
    )
    # Pods that look at other pods, or at those of their own gang that run, may fit later in the cycle.
    shape = tuple((kind.index, count) for kind, count in runs)
    job.shape = None if solitary else shape if job.tree is None else _tree_shape(session, job, tries)


def _tree_shape(session: Session, job: Job, tries: list[int]) -> object:
    """Return what makes two gangs with sub-groups or topology alike."""
    group = job.group
    kinds = tuple((session.pod_class[pod].index, session.pods[pod].sub_group) for pod in tries)
    return group.sub_groups, group.topology, kinds


def job_key(session: Session, job: Job) -> JobKey:
    """Return a sort key: priority, plug-in orders, gangs below minimum before growth, age, name."""
    return job_keys(session)(job)


def job_keys(session: Session) -> Callable[[Job], JobKey]:
    """Return the function that gives `job_key` of any job; the rules are looked up once."""
    off, orders = session.settings.disabled_rules, session.rules.workload_orders
    if not off and not orders:
        return _plain_key

    def key(job: Job) -> JobKey:
        elastic = 0 if "elastic" in off else _elastic_state(job)
        priority = 0 if "priority" in off else -job.priority
        extra = tuple(rule.function(job.group) for rule in orders)
        return (priority, *extra, elastic, job.created, job.name)

    return key


def _plain_key(job: Job) -> JobKey:
    only = job.only
    if only is None:
        return -job.priority, _elastic_state(job), job.created, job.name
    state = 0 if only.active < only.minimum else 1 if only.active == only.minimum else 2
    return -job.priority, state, job.created, job.name


def _elastic_state(job: Job) -> int:
    """Return 0 where a pod set is below its minimum, 1 where all are exactly at it, 2 above."""
    only = job.only
    if only is not None:
        return 0 if only.active < only.minimum else 1 if only.active == only.minimum else 2
    state = 1
    for part in job.sets.values():
        if part.active < part.minimum:
            return 0
        if part.active > part.minimum:
            state = 2
    return state


def queue_key(session: Session, node: QueueNode, job: Job) -> QueueKey:
    """Return a queue's sort key with the job that represents it: smaller is served first."""
    return share_key(session, node, job.ask, (0, 0, 0))


def share_key(
    session: Session, node: QueueNode, ask: tuple[int, int, int], taken: tuple[int, int, int] | list[int]
) -> QueueKey:
    """Return the key of a queue that asks for `ask` after `taken` was taken from it (rules 1 to 8 of 2.6)."""
    orders = session.rules.queue_orders
    extra = tuple(rule.function(node.queue) for rule in orders) if orders else ()
    if not session.quota_on:
        return (*extra, node.queue.created_at, node.rank)
    allocated, fair, deserved = node.allocated, node.fair, node.deserved
    a0, a1, a2 = allocated[0] - taken[0], allocated[1] - taken[1], allocated[2] - taken[2]
    b0, b1, b2 = a0 + ask[0], a1 + ask[1], a2 + ask[2]
    over = fair[0] < allocated[0] and fair[1] < allocated[1] and fair[2] < allocated[2]
    starved = b0 <= deserved[0] and b1 <= deserved[1] and b2 <= deserved[2]
    share = node.allocatable
    d0, d1, d2 = node.divisor
    if d0 and d1 and d2:
        with_job = max(b0 / d0, b1 / d1, b2 / d2)
        without_job = max(a0 / d0, a1 / d1, a2 / d2)
        without_claim = False
    else:
        without_claim = (share[0] == 0 and b0 > 0) or (share[1] == 0 and b1 > 0) or (share[2] == 0 and b2 > 0)
        # Without any share a queue counts as a thousandfold over it; GPUs are in thousandths already.
        with_job = max(b0 / d0 if d0 else b0 * 1e3, b1 / d1 if d1 else b1 * 1e3, b2 / d2 if d2 else b2)
        without_job = max(a0 / d0 if d0 else a0 * 1e3, a1 / d1 if d1 else a1 * 1e3, a2 / d2 if d2 else a2)
    key = (over, not starved, -node.priority, without_claim, with_job, without_job, node.rank)
    return (*extra, *key) if extra else key


class _Leaf:
    """The jobs of one leaf queue: sorted once, plus those that came back."""

    __slots__ = ("left", "node", "popped", "returned", "waiting")

    def __init__(self, node: QueueNode, jobs: list[Job], depth: int | None) -> None:
        self.node = node
        jobs.sort(key=_stored_key)
        if depth is not None:
            del jobs[depth:]
        jobs.reverse()
        self.waiting = jobs
        self.returned: list[tuple[JobKey, Job]] = []

    def best(self) -> Job | None:
        if self.returned and (not self.waiting or self.returned[0][0] < self.waiting[-1].key):
            return self.returned[0][1]
        return self.waiting[-1] if self.waiting else None

    def pop(self) -> Job:
        if self.returned and (not self.waiting or self.returned[0][0] < self.waiting[-1].key):
            return heappop(self.returned)[1]
        return self.waiting.pop()

    def push(self, job: Job) -> None:
        heappush(self.returned, (job.key, job))


def _stored_key(job: Job) -> JobKey:
    return job.key


class _Inner:
    """Sibling queues in a heap; one alone needs no key."""

    __slots__ = ("children", "heap", "node", "popped")

    def __init__(self, node: QueueNode | None, children: "list[_Inner | _Leaf]") -> None:
        self.node = node
        self.children = children
        self.heap: list[tuple[QueueKey, int]] = []
        self.popped = False

    def best(self) -> Job | None:
        if len(self.children) == 1:
            return self.children[0].best()
        return self.children[self.heap[0][1]].best() if self.heap else None


class JobOrder:
    """The pod groups that an action may try, best first; a group that still wants more is pushed back."""

    def __init__(self, session: Session, jobs: Iterable[Job], *, depth: int | None = None) -> None:
        self.session = session
        by_leaf: dict[str, list[Job]] = {}
        key_of = job_keys(session)
        for job in jobs:
            if job.queue is not None:
                job.key = key_of(job)
                by_leaf.setdefault(job.queue.name, []).append(job)
        self._leaves: dict[str, _Leaf] = {}
        self._path: list[_Inner] = []
        self._below = children_in(session, by_leaf)
        self._root = self._grow(None, by_leaf, depth)
        # One queue alone needs no tree.
        self._single = next(iter(self._leaves.values())) if len(self._leaves) == 1 else None

    def _grow(self, node: QueueNode | None, by_leaf: dict[str, list[Job]], depth: int | None) -> _Inner:
        children: list[_Inner | _Leaf] = []
        for queue in self._below.get(None if node is None else node.name, ()):
            if queue.children:
                children.append(self._grow(queue, by_leaf, depth))
            else:
                leaf = self._leaves[queue.name] = _Leaf(queue, by_leaf[queue.name], depth)
                children.append(leaf)
        made = _Inner(node, children)
        if len(children) > 1:
            made.heap = [(self._key(child), number) for number, child in enumerate(children)]
            heapify(made.heap)
        return made

    def _key(self, child: "_Inner | _Leaf") -> QueueKey:
        job = child.best()
        assert job is not None
        assert child.node is not None
        if job.tries is None:
            refresh(self.session, job)
        return queue_key(self.session, child.node, job)

    def pop(self) -> Job | None:
        """Return the next job, or `None` when none is left."""
        if self._single is not None:
            if self._single.best() is None:
                return None
            job = self._single.pop()
        else:
            self._repair()
            node: _Inner = self._root
            if node.best() is None:
                return None
            while True:
                if len(node.children) > 1:
                    self._path.append(node)
                    child = node.children[node.heap[0][1]]
                else:
                    child = node.children[0]
                if isinstance(child, _Leaf):
                    job = child.pop()
                    break
                node = child
        if job.tries is None:
            refresh(self.session, job)
        return job

    def push(self, job: Job) -> None:
        """Put the job that was popped last back, with its new key."""
        assert job.queue is not None
        job.key = job_key(self.session, job)
        self._leaves[job.queue.name].push(job)

    def _repair(self) -> None:
        """Key the path of the last pop anew: only its queues' numbers have changed."""
        while self._path:
            node = self._path.pop()
            number = node.heap[0][1]
            child = node.children[number]
            if child.best() is None:
                heappop(node.heap)
            elif len(node.heap) > 1:  # the last one left is next, whatever its key
                heapreplace(node.heap, (self._key(child), number))


def children_in(session: Session, leaves: Iterable[str]) -> dict[str | None, list[QueueNode]]:
    """Return the part of the queue tree that leads to the given leaves: children by their parent's name."""
    below: dict[str | None, list[QueueNode]] = {}
    seen: set[str] = set()
    for leaf in leaves:
        for node in session.queues[leaf].path:
            if node.name in seen:
                break
            seen.add(node.name)
            below.setdefault(None if node.parent is None else node.parent.name, []).append(node)
    return below


Blocked = tuple[str, QueueNode, int]
"""A queue check that failed: `limit` or `quota`, the queue, the column."""


def blocked_by_queue(job: Job, ask: tuple[int, int, int]) -> Blocked | None:
    """Return the first ancestor whose limit, or quota for non-preemptible work, the ask would break."""
    if job.path[0].limited:
        for node in job.path:
            allocated, limit = node.allocated, node.limit
            for column in (0, 1, 2):
                if ask[column] > 0 and allocated[column] + ask[column] > limit[column]:
                    return "limit", node, column
    if not job.preemptible:
        for node in job.path:
            held, deserved = node.non_preemptible, node.deserved
            for column in (0, 1, 2):
                if ask[column] > 0 and held[column] + ask[column] > deserved[column]:
                    return "quota", node, column
    return None


def is_ready(job: Job) -> bool:
    """Return whether a gang has pods to place, and every pod set has enough pods that exist."""
    only = job.only
    if only is not None:
        return only.active < only.existing >= only.minimum
    waiting = False
    for part in job.sets.values():
        if part.existing < part.minimum:
            return False
        waiting = waiting or part.existing > part.active
    return waiting


def waiting_jobs(session: Session) -> list[Job]:
    """Return the groups that an action may try: in a leaf queue, with enough pods, and some of them waiting.

    Nobody becomes ready in the middle of a cycle, so the first answer is the
    superset of all later ones.
    """
    if not session.waiting:
        session.waiting = [job for job in session.unplaced.values() if job.queue is not None and is_ready(job)]
        return list(session.waiting)
    return [job for job in session.waiting if is_ready(job)]


__all__ = ["Blocked", "JobOrder", "blocked_by_queue", "is_ready", "refresh", "tasks_to_try", "waiting_jobs"]
