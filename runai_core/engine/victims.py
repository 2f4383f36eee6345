"""The victims that let a pod group in, found by simulation.

Shared by consolidation, reclaim and preemption; they differ in who may be a
victim and in what a valid solution is. Victims are taken in the order in which
their queues can best do without them. Room is gathered node by node: a trial
evicts only those gathered victims that live on the node in question, so nobody
loses a place that would not help. Before a solution is judged, everyone who
still finds room is put back or moved (scheduler semantics, 2.12).
"""

from bisect import insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heapreplace

from runai_core.engine import gpu
from runai_core.engine.causes import Cause, cause_of
from runai_core.engine.entities import (
    EVICTED,
    NO_GPU,
    PENDING,
    PLACED,
    PROMISED,
    RUNNING,
    SHARED,
    WHOLE,
    Job,
    PodClass,
    PodSet,
    QueueNode,
)
from runai_core.engine.gang import place_job
from runai_core.engine.ordering import (
    JobOrder,
    blocked_by_queue,
    children_in,
    job_key,
    ordered_pods,
    refresh,
    share_key,
)
from runai_core.engine.scoring import best_node
from runai_core.engine.serving import will_hold
from runai_core.engine.session import Session
from runai_core.engine.statement import commit, take_back
from runai_core.model.resources import MILLI

TAKEN_FROM = (RUNNING, PLACED, PROMISED)
"""States in which a pod has something to give; places of this very cycle are withdrawn, not evicted."""

Unit = tuple[int, ...]
"""Pods that are evicted together: one surplus pod of an elastic gang, or the whole rest of a gang."""


@dataclass(slots=True)
class Search:
    """One pod group that wants in, and the rules of the action that helps it."""

    session: Session
    job: Job
    pods: list[int]  # that must be placed
    ask: tuple[int, int, int]  # what they cost the queue
    leaves: list[QueueNode]  # queues whose work may be taken
    eligible: Callable[[Job], bool]
    protected: Callable[[Job], bool]  # gangs of which only surplus may be taken
    valid: Callable[["Search", list[int]], bool]  # judges the pods that lose their place
    takeable: Callable[["Search", QueueNode], bool]  # may this queue lose anything at all
    most_victims: int | None = None  # pod groups that one solution may touch
    rivals: list[Job] = field(default_factory=list)  # of the same queue, served before it, and still waiting
    evicted: list[int] = field(default_factory=list)  # the answer: pods evicted, moved ones included


def help_each(
    session: Session, action: str, jobs: list[Job], search_for: Callable[[Job], Search | None]
) -> None:
    """Try each waiting group once, best first, and commit what succeeds and will hold in the next cycle.

    Looking ahead is done once for all; only where that fails, after each group.
    """
    mark, decisions = session.mark(), len(session.decided)
    _help_each(session, action, jobs, search_for, careful=False)
    helped = [pod for _, _, pods, _ in session.decided[decisions:] for pod in pods]
    if helped and not will_hold(session, helped):
        take_back(session, mark, decisions)
        _help_each(session, action, jobs, search_for, careful=True)
    for _, job, pods, cause in session.decided[decisions:]:
        if isinstance(cause, Cause):
            for pod in cause.evicted:
                session.evicted_why[pod] = (action, job.name, cause)


def _help_each(
    session: Session, action: str, jobs: list[Job], search_for: Callable[[Job], Search | None], *, careful: bool
) -> None:
    """Try each group; one equal to a group of its queue that failed is not tried.

    An eviction that would help it would have helped the other.
    """
    order = JobOrder(session, jobs, depth=session.settings.queue_depth.get(action))
    waiting: dict[str, dict[object, Job]] = {}
    while (job := order.pop()) is not None:
        rivals = waiting.setdefault(job.path[0].name, {})
        memo = (job.shape, job.preemptible, job.priority) if job.shape is not None else job.name
        if not job.tries or memo in rivals:
            continue
        mark = session.mark()
        search = search_for(job)
        if search is not None:
            search.rivals = list(rivals.values())
        if search is not None and solve(search):
            earlier = [pod for name, _, pods, _ in session.decided if name == action for pod in pods]
            if not careful or will_hold(session, [*earlier, *search.pods]):
                commit(session, action, job, search.pods, cause_of(session, job, search.pods, search.evicted))
                note_placed(session, job)
                continue
            session.rollback(mark)
        rivals[memo] = job


def solve(search: Search) -> bool:
    """Make room for the group and place it as promises, or leave the session as it was."""
    if _is_plain(search) and len(search.pods) > 1:
        units = _gather(search)
        if units is None:
            return False
        if _attempt(search, search.pods, [pod for unit in units for pod in unit]):
            return True
    recorded: list[int] = []
    for count in range(1, len(search.pods) + 1):
        mark = search.session.mark()
        if not _solve_first(search, search.pods[:count], recorded):
            return False
        recorded = list(search.evicted)
        if count < len(search.pods):
            search.session.rollback(mark)
    return True


def _is_plain(search: Search) -> bool:
    """Return whether only room on nodes is lacking: no tree, no limit, no neighbours to look at."""
    session, job = search.session, search.job
    kinds = [session.pod_class[pod] for pod in search.pods]
    if job.tree is not None or any(kind.solitary or kind.extended is not None for kind in kinds):
        return False
    return not session.quota_on or blocked_by_queue(job, search.ask) is None


# -- one attempt ---------------------------------------------------------------------------------------------------


def _attempt(search: Search, pods: list[int], evicted: list[int]) -> bool:
    """Evict, place the group, give back what is not needed, and judge; undo everything on refusal."""
    session = search.session
    mark = session.mark()
    for pod in evicted:
        _take_away(session, pod)
    if _admit(search, pods, evicted) and search.valid(search, _lost(session, evicted)):
        search.evicted = [pod for pod in evicted if not _is_back(session, pod)]
        return True
    session.rollback(mark)
    return False


def _take_away(session: Session, pod: int) -> None:
    if session.pod_state[pod] == RUNNING:
        session.evict(pod)
    else:
        session.withdraw(pod)


def _lost(session: Session, evicted: list[int]) -> list[int]:
    return [pod for pod in evicted if session.pod_state[pod] in (EVICTED, PENDING)]


def _is_back(session: Session, pod: int) -> bool:
    if session.pod_state[pod] in (EVICTED, PENDING):
        return False
    origin = session.evicted_from.get(pod)
    return origin is None or origin == (session.pod_node[pod], session.pod_devices[pod])


def _admit(search: Search, pods: list[int], evicted: list[int]) -> bool:
    """Place the group and its victims in the order of their queues; the group must get in."""
    session, job = search.session, search.job
    mark = session.mark()
    if not _enter(search, pods):  # not even with the field to itself
        return False
    if not evicted:
        return True
    session.rollback(mark)
    victims = {id(session.pod_job[pod]): session.pod_job[pod] for pod in evicted}
    jobs = [victim for victim in victims.values() if victim is not None]
    for victim in jobs:
        refresh(session, victim, moving=True)
    job.tries, job.shape = pods, None
    job.ask = _cost(session, pods)
    order = JobOrder(session, [*jobs, *search.rivals, job])
    gone = _by_job(session, evicted)
    hopeless: set[object] = set()
    entered = False
    while (popped := order.pop()) is not None:
        if popped is job:
            if not _enter(search, pods):
                return False
            entered = True
        elif popped in search.rivals:
            # The next cycle would serve it first: the victims would leave for somebody else.
            if not entered and _would_enter(session, popped):
                return False
        else:
            _move(session, popped, gone[popped.name], hopeless)
    for victim in reversed(jobs):
        _put_back(session, victim, gone[victim.name])
    return True


def _by_job(session: Session, pods: list[int]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for pod in pods:
        job = session.pod_job[pod]
        if job is not None:
            found.setdefault(job.name, []).append(pod)
    return found


def _cost(session: Session, pods: list[int]) -> tuple[int, int, int]:
    charges = [session.pod_class[pod].charge for pod in pods]
    return sum(row[0] for row in charges), sum(row[1] for row in charges), sum(row[2] for row in charges)


def _enter(search: Search, pods: list[int]) -> bool:
    session, job = search.session, search.job
    if session.quota_on and blocked_by_queue(job, _cost(session, pods)) is not None:
        return False
    return place_job(session, job, pods, promise_only=True)


def _would_enter(session: Session, rival: Job) -> bool:
    """Return whether a group that waits would be placed now; the session is left as it was."""
    refresh(session, rival)
    if session.quota_on and blocked_by_queue(rival, rival.ask) is not None:
        return False
    mark = session.mark()
    placed = place_job(session, rival, rival.tries or [], promise_only=True)
    session.rollback(mark)
    return placed


def _put_back(session: Session, job: Job, pods: list[int]) -> None:
    """Let a victim's pods stay where they are, where nothing needs their room; a gang never in part."""
    mine = [pod for pod in pods if session.pod_state[pod] == EVICTED]
    if mine:
        mark = session.mark()
        for pod in mine:
            _stay(session, job, pod)
        if any(part.active < part.minimum for part in job.sets.values()):
            session.rollback(mark)


def _stay(session: Session, job: Job, pod: int) -> None:
    node, devices = session.evicted_from[pod]
    kind = session.pod_class[pod]
    if node < 0 or (session.quota_on and blocked_by_queue(job, session.charge_of(kind, node)) is not None):
        return
    row = session.later[node]
    if row[0] < kind.cpu or row[1] < kind.memory or row[2] < kind.gpus or row[3] < 1:
        return
    if kind.extended is not None:
        amounts = session.later_extended[node] or {}
        if any(amounts.get(name, 0) < amount for name, amount in kind.extended):
            return
    if all(session.has_device_room(pod, node, name) for name in devices):
        session.promise(pod, node, devices)


def _move(session: Session, job: Job, gone: list[int], hopeless: set[object]) -> None:
    """Place what a victim lost somewhere else, if that is possible."""
    refresh(session, job, moving=True)
    pods = job.tries or []
    if not pods or (job.shape is not None and job.shape in hopeless):
        return
    if not any(pod in gone for pod in pods):
        return  # only growth that waited before: not this attempt's business
    if session.quota_on and blocked_by_queue(job, job.ask) is not None:
        return
    if not place_job(session, job, pods, promise_only=True) and job.shape is not None:
        hopeless.add(job.shape)


# -- gathering for ordinary gangs --------------------------------------------------------------------------------------


def _gather(search: Search) -> list[Unit] | None:
    """Find victims for a gang of ordinary pods in one pass, without judging; `None` where all do not suffice.

    Every pod of the gang takes the first node on which the gathered victims
    free enough, so each victim is looked at once however large the gang is.
    """
    session = search.session
    mark = session.mark()
    waiting = list(search.pods)
    chosen: list[Unit] = []
    waiting = _fill(search, waiting, session.all_nodes)
    gathered: dict[int, list[Unit]] = {}
    sums: dict[int, list[int]] = {}
    needs = _needs(session, waiting)
    if waiting:
        for unit in victim_units(search, []):
            for node in _note(session, unit, gathered, sums):
                if unit not in gathered[node] or not _may_fit(session, needs, node, sums[node]):
                    continue
                freed = 0
                helping = _forget(session, node, gathered, sums)
                for other in helping:
                    chosen.append(other)
                    for pod in other:
                        freed |= 1 << session.pod_node[pod]
                    for pod in other:
                        _take_away(session, pod)
                waiting = _fill(search, waiting, freed)
                needs = _needs(session, waiting)
                if not waiting:
                    break
            if not waiting:
                break
    session.rollback(mark)
    return None if waiting else chosen


def _note(
    session: Session, unit: Unit, gathered: dict[int, list[Unit]], sums: dict[int, list[int]]
) -> list[int]:
    """Add a unit to the nodes that it lives on; return these."""
    nodes = sorted({session.pod_node[pod] for pod in unit}) if len(unit) > 1 else [session.pod_node[unit[0]]]
    for node in nodes:
        units = gathered.get(node)
        if units is None:
            gathered[node] = [unit]
            sums[node] = [0, 0, 0, 0]
        else:
            units.append(unit)
    for pod in unit:
        kind = session.pod_class[pod]
        row = sums[session.pod_node[pod]]
        row[0] += kind.cpu
        row[1] += kind.memory
        row[2] += kind.devices if kind.form == SHARED else kind.gpus
        row[3] += 1
    return nodes


def _forget(
    session: Session, node: int, gathered: dict[int, list[Unit]], sums: dict[int, list[int]]
) -> list[Unit]:
    """Take a node's units out of all books; return them."""
    units = list(gathered[node])
    for unit in units:
        for pod in unit:
            home, kind = session.pod_node[pod], session.pod_class[pod]
            row = sums[home]
            row[0] -= kind.cpu
            row[1] -= kind.memory
            row[2] -= kind.devices if kind.form == SHARED else kind.gpus
            row[3] -= 1
            if unit in gathered[home]:
                gathered[home].remove(unit)
    return units


def _needs(session: Session, pods: list[int]) -> list[tuple[int, int, int, int]]:
    """Return what each class of the pods needs at least: cpu, memory, whole GPUs, and its nodes."""
    kinds = {session.pod_class[pod].index: session.pod_class[pod] for pod in pods}
    return [
        (kind.cpu, kind.memory, kind.gpus, kind.static if kind.static >= 0 else session.all_nodes)
        for kind in kinds.values()
    ]


def _may_fit(session: Session, needs: list[tuple[int, int, int, int]], node: int, extra: list[int]) -> bool:
    """Return whether some pod might fit on a node with the gathered victims gone (never wrongly no)."""
    row = session.later[node]
    if row[3] + extra[3] < 1:
        return False
    cpu, memory, gpus = row[0] + extra[0], row[1] + extra[1], row[2] + extra[2]
    for need in needs:
        if gpus >= need[2] and cpu >= need[0] and memory >= need[1] and need[3] >> node & 1:
            return True
    return False


def _fill(search: Search, waiting: list[int], nodes: int) -> list[int]:
    """Promise the nodes to as many of the waiting pods as fit; return the others."""
    session = search.session
    left: list[int] = []
    failed: set[int] = set()
    for pod in waiting:
        kind = session.pod_class[pod]
        if kind.index in failed:
            left.append(pod)
            continue
        node, _ = best_node(session, pod, ((0, nodes),))
        if node < 0:
            failed.add(kind.index)
            left.append(pod)
        else:
            place_job(session, search.job, [pod], promise_only=True, within=1 << node)
    return left


# -- step by step ------------------------------------------------------------------------------------------------------


def _solve_first(search: Search, pods: list[int], recorded: list[int]) -> bool:
    """Let the first pods of a gang in: with the victims known so far, then with ever more of them."""
    session = search.session
    if _attempt(search, pods, recorded):
        return True
    gathered: dict[int, list[Unit]] = {}
    sums: dict[int, list[int]] = {}
    room_decides = _room_decides(search, pods)
    needs = _needs(session, pods)
    for unit in victim_units(search, recorded):
        for node in _note(session, unit, gathered, sums):
            if room_decides and not _may_fit(session, needs, node, sums[node]):
                continue
            evicted = recorded + [pod for other in gathered[node] for pod in other]
            if search.most_victims is not None and len(_by_job(session, evicted)) > search.most_victims:
                continue
            if _attempt(search, pods, evicted):
                return True
    return False


def _room_decides(search: Search, pods: list[int]) -> bool:
    session = search.session
    if any(session.pod_class[pod].solitary for pod in pods):
        return False
    return not session.quota_on or blocked_by_queue(search.job, _cost(session, pods)) is None


# -- whose turn it is to give way ------------------------------------------------------------------------------------


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
    while (job := order.pop()) is not None:
        only = job.only
        if only is not None and len(only.pods) == 1:  # by far the most frequent
            pod = only.pods[0]
            if _may_take(session, pod, gone):  # protection was asked for when it was popped
                gone.add(pod)  # a group that was placed in this cycle may be listed twice
                order.charge(job, session.charge_of(session.pod_class[pod], session.pod_node[pod]))
                yield (pod,)
            continue
        parts = left.get(job.name)
        if parts is None:
            parts = left[job.name] = {
                name: [pod for pod in ordered_pods(session, part) if _may_take(session, pod, gone)]
                for name, part in job.sets.items()
            }
            for name, part in job.sets.items():
                taken[id(part)] = sum(1 for pod in part.pods if pod in gone)
        unit, more = _next_unit(job, parts, taken)
        if not unit or (not more and search.protected(job)):
            continue
        for pod in unit:
            order.charge(job, session.charge_of(session.pod_class[pod], session.pod_node[pod]))
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
        if active > part.minimum and parts[name] and active / part.minimum > best_ratio:
            best, best_ratio = part, active / part.minimum
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


class _VictimOrder:
    """Victim jobs of several leaves: the reverse of the order in which queues are served."""

    def __init__(self, session: Session, leaves: list[QueueNode], eligible: Callable[[Job], bool]) -> None:
        self.session = session
        self.eligible = eligible
        self.lists: dict[str, list[tuple[tuple[object, ...], Job]]] = {}
        self.cursor: dict[str, int] = {}
        self.extra: dict[str, list[tuple[tuple[object, ...], Job]]] = {}
        self.taken: dict[str, list[int]] = {}
        self.heaps: dict[str | None, list[tuple[tuple[float, ...], str]]] = {}
        for leaf in leaves:
            listed = victims_of(session, leaf)
            self.lists[leaf.name] = listed
            self.cursor[leaf.name] = len(listed)
        names = [leaf.name for leaf in leaves if self._peek(leaf.name) is not None]
        self.below = children_in(session, names)
        self.popped: str | None = None
        self.single = names[0] if len(names) == 1 else None
        for parent, nodes in self.below.items():
            self.heaps[parent] = [(self._key(node), node.name) for node in nodes]
            heapify(self.heaps[parent])

    def _key(self, node: QueueNode) -> tuple[float, ...]:
        taken = self.taken.get(node.name, (0, 0, 0))
        key = share_key(self.session, node, (0, 0, 0), taken)  # type: ignore[arg-type]
        return tuple(-value for value in key)  # type: ignore[operator]

    def _peek(self, leaf: str) -> tuple[tuple[object, ...], Job] | None:
        listed, cursor, extra = self.lists[leaf], self.cursor[leaf], self.extra.get(leaf)
        eligible = self.eligible
        while cursor:
            job = listed[cursor - 1][1]
            if job.active and eligible(job):
                break
            cursor -= 1
        self.cursor[leaf] = cursor
        if extra and (not cursor or extra[-1][0] > listed[cursor - 1][0]):  # type: ignore[operator]
            return extra[-1]
        return listed[cursor - 1] if cursor else None


    def pop(self) -> Job | None:
        """Return the next victim, which must be the one that can best be done without."""
        name = self.single
        if name is None:
            self._repair()
            heap = self.heaps.get(None)
            if not heap:
                return None
            name = heap[0][1]
            while name in self.heaps:
                name = self.heaps[name][0][1]
            self.popped = name
        found = self._peek(name)
        if found is None:
            return None
        extra = self.extra.get(name)
        if extra and extra[-1] is found:
            extra.pop()
        else:
            self.cursor[name] -= 1
        return found[1]

    def _repair(self) -> None:
        """Key the path of the last victim anew; drop queues that have no more."""
        if self.popped is None:
            return
        leaf = self.session.queues[self.popped]
        empty = self._peek(self.popped) is None
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
        insort(self.extra.setdefault(job.queue.name, []), (key, job), key=_first)

    def charge(self, job: Job, amounts: tuple[int, int, int]) -> None:
        """Remember what was taken from a victim's queues; one queue alone is not compared with any."""
        if self.single is not None:
            return
        for node in job.path:
            row = self.taken.get(node.name)
            if row is None:
                row = self.taken[node.name] = [0, 0, 0]
            row[0] += amounts[0]
            row[1] += amounts[1]
            row[2] += amounts[2]


def _first(item: tuple[tuple[object, ...], Job]) -> tuple[object, ...]:
    return item[0]


def victims_of(session: Session, leaf: QueueNode) -> list[tuple[tuple[object, ...], Job]]:
    """Return a leaf's preemptible gangs that run, the first to give way last; kept for the whole cycle."""
    known = session.cache.get(("victims", leaf.name))
    if not isinstance(known, list):
        known = [(job_key(session, job), job) for job in leaf.jobs if job.preemptible and job.active]
        known.sort(key=_first)
        session.cache["victims", leaf.name] = known
    while known and not known[-1][1].active:
        known.pop()
    return known


def note_placed(session: Session, job: Job) -> None:
    """Add a group that was placed in this cycle to those that may have to give way."""
    known = session.cache.get(("victims", job.path[0].name))
    if job.preemptible and isinstance(known, list):
        insort(known, (job_key(session, job), job), key=_first)


def first_differing(one: QueueNode, other: QueueNode) -> tuple[QueueNode, QueueNode]:
    """Return the ancestors, or the leaves themselves, at which two leaves part."""
    mine, theirs = one.path[::-1], other.path[::-1]
    for left, right in zip(mine, theirs, strict=False):
        if left is not right:
            return left, right
    return one, other


def free_gpus(session: Session) -> int:
    """Return the thousandths of GPUs that are free once everybody who leaves has left, parts of shared ones included."""
    free = 0
    for node, row in enumerate(session.later):
        free += row[2] * MILLI
        table = session.devices[node]
        if table:
            size = gpu.capacity(session.nodes[node].gpu_memory_mib)
            for used, _, _ in gpu.joinable(table, size, 0):
                free += (size - used) * MILLI // size
    return free


def kinds_of(session: Session, pods: list[int]) -> list[PodClass]:
    """Return the class of each pod."""
    return [session.pod_class[pod] for pod in pods]
