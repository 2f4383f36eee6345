"""The working copy of one snapshot: indexes, free amounts and the journal that undoes trial changes.

Speed lives here. Nodes are numbers in name order, sets of nodes are integers
(bit i stands for node i), pods are numbers into parallel lists. Nothing in this
room decides anything; every change of placement goes through moves `place`,
`promise`, `evict`, `withdraw`, `demote` and `rollback`.

Two rows are kept for each node: `idle` is free now, `later` is free once all
who are leaving have left and all promises are kept.
"""

from collections.abc import Iterable, Iterator

from runai_core.engine import gpu
from runai_core.engine.entities import (
    DRA,
    EVICTED,
    FAILED,
    GATED,
    GPU,
    NO_GPU,
    PENDING,
    PLACED,
    PROMISED,
    RELEASING,
    RUNNING,
    SHARED,
    STATES,
    SUCCEEDED,
    UNBOUNDED,
    Job,
    PodClass,
    PodSet,
    QueueNode,
    memory_charge,
    profile_gpus,
)
from runai_core.engine.fairshare import Claim, divide
from runai_core.engine.rules import RuleSet
from runai_core.model.organization import Queue, ResourceQuota
from runai_core.model.resources import MILLI
from runai_core.model.snapshot import CycleSettings, NodeEntry, PodEntry, Snapshot

DEMOTED, WITHDRAWN, DEPARTED = -1, -2, -3
"""Moves in the journal that are no state of a pod."""

UNITS = (1, 1, MILLI)
"""Fair shares are given in whole millicores, bytes and GPUs."""


class Session:
    """One snapshot, opened for one cycle."""

    def __init__(self, snapshot: Snapshot, rules: RuleSet) -> None:
        self.snapshot = snapshot
        self.settings: CycleSettings = snapshot.settings
        self.rules = rules
        self.now = snapshot.taken_at
        off = self.settings.disabled_rules
        self.quota_on = "quota" not in off
        self.constraints_on = "constraints" not in off
        # Changes, newest last. `journal` undoes; `touched` and `grown` let indexes and masks repair themselves.
        self.journal: list[tuple[int, int, int, int, tuple[str, ...]]] = []
        self.touched: list[int] = []
        self.grown: list[int] = []
        self.opened: list[int] = []  # nodes where a device was shared for the first time
        self.cache: dict[object, object] = {}  # of the rooms above: label masks, topology trees, victim lists
        self.indexes: list[object] = [None, None]  # of `scoring`: nodes by GPUs, nodes by CPU
        self._open_nodes(snapshot.nodes)
        self._open_queues(snapshot.queues)
        self._open_groups()
        self._open_pods(snapshot.pods)
        self._open_shares()

    # -- opening ------------------------------------------------------------------------------------------------

    def _open_nodes(self, entries: Iterable[NodeEntry]) -> None:
        self.nodes: list[NodeEntry] = sorted(entries, key=lambda node: node.name)
        self.node_index = {node.name: index for index, node in enumerate(self.nodes)}
        self.idle = [[node.cpu, node.memory, node.gpus, node.max_pods] for node in self.nodes]
        self.later: list[list[int]] = []
        self.idle_extended: list[dict[str, int] | None] = [_extended(node) for node in self.nodes]
        self.later_extended: list[dict[str, int] | None] = []
        self.devices: list[gpu.DeviceTable] = [{} for _ in self.nodes]
        self.all_nodes = (1 << len(self.nodes)) - 1
        known = [node.gpu_memory_mib for node in self.nodes if node.gpus and node.gpu_memory_mib]
        self.smallest_device_mib = min(known, default=0)

    def _open_queues(self, queues: Iterable[Queue]) -> None:
        """Build the tree; queues whose ancestors are missing, or go in a circle, are left out."""
        by_name = {queue.name: queue for queue in queues}
        children: dict[str | None, list[str]] = {}
        for name in sorted(by_name):
            children.setdefault(by_name[name].parent, []).append(name)
        self.queues: dict[str, QueueNode] = {}
        self.roots: list[QueueNode] = []
        waiting: list[tuple[str, QueueNode | None]] = [(name, None) for name in reversed(children.get(None, []))]
        while waiting:
            name, parent = waiting.pop()
            node = _queue_node(by_name[name], parent)
            self.queues[name] = node
            (self.roots if parent is None else parent.children).append(node)
            waiting.extend((child, node) for child in reversed(children.get(name, [])))

    def _open_groups(self) -> None:
        self.jobs: dict[str, Job] = {}
        for group in self.snapshot.pod_groups:
            queue = self.queues.get(group.queue)
            if queue is not None and queue.children:
                queue = None  # only leaves hold pod groups
            job = self.jobs[group.name] = Job(group, queue)
            if queue is not None:
                queue.jobs.append(job)

    def _open_pods(self, pods: tuple[PodEntry, ...]) -> None:
        self.pods = pods
        self.pod_class: list[PodClass] = []
        self.pod_state: list[int] = []
        self.pod_node: list[int] = []
        self.pod_devices: list[tuple[str, ...]] = []
        self.pod_job: list[Job | None] = []
        self.pod_set: list[PodSet | None] = []
        self.classes: dict[object, PodClass] = {}
        self.evicted_from: dict[int, tuple[int, tuple[str, ...]]] = {}
        self.evicted_why: dict[int, tuple[str, str, object]] = {}  # of statement: action, for whom, cause
        self.pods_on: list[list[int]] | None = None
        self.nominated: dict[int, int] = {}
        self.kept: set[int] = set()  # promised by an eviction of this cycle: no victims of another
        self.groups_with_gates: set[str] = set()
        self.waiting: list[Job] = []  # groups that an action may try, superset for the whole cycle
        self.stale: list[str] = []
        self.decided: list[tuple[str, Job, list[int], object]] = []  # action, group, pods, cause; in order
        self._by_identity: dict[tuple[int, int], PodClass] = {}
        self._labels_matter = any(term.constraints.pod_affinity for term in _distinct_constraints(pods))
        for number, pod in enumerate(pods):
            self._open_pod(number, pod)
        self.later = [row.copy() for row in self.idle]
        self.later_extended = [None if row is None else row.copy() for row in self.idle_extended]
        for number, state in enumerate(self.pod_state):
            if state in (RELEASING, PROMISED) and self.pod_node[number] >= 0:
                self._shift_row(number, self.pod_node[number], 0, 1 if state == RELEASING else -1)
        for index, table in enumerate(self.devices):
            for held, leaving, promised in table.values():
                self.idle[index][GPU] -= held > 0
                self.later[index][GPU] -= held - leaving + promised > 0

    def _open_pod(self, number: int, pod: PodEntry) -> None:
        request = pod.request
        known = self._by_identity.get((id(request), id(pod.constraints)))
        if known is None or self._labels_matter or pod.resource_claims or pod.legacy_mig:
            known = self._class_of(pod)
        state = STATES[pod.state]
        placed = pod.node is not None and state not in (PENDING, GATED)
        node = self.node_index.get(pod.node or "", -1) if placed else -1
        job = self.jobs.get(pod.pod_group)
        part = None if job is None else job.only or job.sets.get("" if "" in job.sets else pod.sub_group)
        self.pod_class.append(known)
        self.pod_state.append(state)
        self.pod_node.append(node)
        self.pod_job.append(job)
        self.pod_set.append(part)
        self.pod_devices.append(())
        if state == PENDING:
            if part is not None and job is not None:
                part.pods.append(number)
                part.waiting += 1
                part.existing += 1
                if job.queue is not None:
                    row, charge = job.queue.requested, known.charge
                    row[0] += charge[0]
                    row[1] += charge[1]
                    row[2] += charge[2]
            if pod.nominated_node is not None:
                self.nominated[number] = self.node_index.get(pod.nominated_node, -1)
        elif state in (RUNNING, RELEASING, PROMISED):
            self._open_holder(number, pod, node, known, state, job, part)
        elif job is not None and state == SUCCEEDED:
            job.finished = True
        elif job is not None and state == GATED:
            self.groups_with_gates.add(job.name)

    def _open_holder(
        self, number: int, pod: PodEntry, node: int, kind: PodClass, state: int, job: Job | None, part: PodSet | None
    ) -> None:
        """Take what a pod holds off its node and charge its queue."""
        if node >= 0:
            if state != PROMISED:
                row = self.idle[node]
                row[0] -= kind.cpu
                row[1] -= kind.memory
                row[2] -= kind.gpus
                row[3] -= 1
                if kind.extended is not None:
                    _take_extended(self.idle_extended, node, kind.extended, 1)
            if kind.form == SHARED:
                self._open_devices(number, pod, node, kind, state)
        if part is None or job is None:
            return
        part.pods.append(number)
        if state == RELEASING:
            part.releasing += 1
            return
        part.active += 1
        part.existing += 1
        if job.queue is not None:
            charge = self.charge_of(kind, node)
            rows = [job.queue.requested, job.queue.allocated]
            if not job.preemptible:
                rows.append(job.queue.non_preemptible)
            for row in rows:
                row[0] += charge[0]
                row[1] += charge[1]
                row[2] += charge[2]

    def _open_devices(self, number: int, pod: PodEntry, node: int, kind: PodClass, state: int) -> None:
        names = pod.gpu_groups[: kind.devices]
        names += tuple(f"private-{pod.name}-{extra}" for extra in range(len(names), kind.devices))
        self.pod_devices[number] = names
        amount = gpu.need(kind.portion, kind.mib, self.nodes[node].gpu_memory_mib)
        for name in names:
            entry = self.devices[node].setdefault(name, [0, 0, 0])
            entry[0] += amount if state != PROMISED else 0
            entry[1] += amount if state == RELEASING else 0
            entry[2] += amount if state == PROMISED else 0

    def _class_of(self, pod: PodEntry) -> PodClass:
        """Return the class of a pod, made on first sight."""
        key: tuple[object, ...] = (pod.request, pod.constraints)
        if self._labels_matter or pod.resource_claims or pod.legacy_mig:
            queue = self.jobs[pod.pod_group].group.queue if pod.pod_group in self.jobs else ""
            key += (pod.labels if self._labels_matter else (), pod.resource_claims, queue, pod.legacy_mig)
        known = self.classes.get(key)
        if known is None:
            known = self.classes[key] = PodClass(len(self.classes), pod, self.smallest_device_mib)
            known.solitary |= self._labels_matter or bool(self.rules.scores)
        self._by_identity[id(pod.request), id(pod.constraints)] = known
        return known

    def _open_shares(self) -> None:
        """Sum the tree up, divide the cluster, and rank siblings."""
        for node in reversed(list(self.queues.values())):
            if node.parent is not None:
                for mine, theirs in (
                    (node.requested, node.parent.requested),
                    (node.allocated, node.parent.allocated),
                    (node.non_preemptible, node.parent.non_preemptible),
                ):
                    for column in range(3):
                        theirs[column] += mine[column]
        self.total = self._capacity()
        self._divide(self.roots, self.total)
        for node in self.queues.values():
            node.opening = (_triple(node.allocated), _triple(node.non_preemptible))

    def _divide(self, siblings: list[QueueNode], total: list[int]) -> None:
        for column in range(3):
            claims = [_claim(node, column) for node in siblings]
            shares = divide(
                total[column], claims, unit=UNITS[column], history_weight=self.settings.fair_share_history_weight
            )
            for node in siblings:
                node.fair[column] = shares[node.name]
        for node in siblings:
            for column in range(3):
                node.allocatable[column] = min(node.limit[column], max(node.deserved[column], node.fair[column]))
                # The least that bounds the queue: its allocatable share, then the cluster.
                bound = node.allocatable[column]
                node.divisor[column] = self.total[column] if bound >= UNBOUNDED else bound
        rank_siblings(siblings)
        for node in siblings:
            if node.children:
                self._divide(node.children, node.fair)

    def _capacity(self) -> list[int]:
        """Return what can be shared out: usable nodes, less what other schedulers' pods hold.

        A node that takes no new pods counts with what our pods hold there, so
        that cordoning it does not make its tenants look over their share.
        """
        total = [0, 0, 0]
        usable = [node.ready and not node.unschedulable for node in self.nodes]
        for node, counts in zip(self.nodes, usable, strict=True):
            if counts:
                for column, amount in enumerate(_offer(node)):
                    total[column] += amount
        for number, state in enumerate(self.pod_state):
            if state in (RUNNING, RELEASING) and self.pod_node[number] >= 0:
                ours = self.pod_job[number] is not None
                if ours != usable[self.pod_node[number]]:
                    charge = self.charge_of(self.pod_class[number], self.pod_node[number])
                    sign = 1 if ours else -1
                    for column in range(3):
                        total[column] += sign * charge[column]
        return [max(amount, 0) for amount in total]

    # -- reading ------------------------------------------------------------------------------------------------

    def charge_of(self, kind: PodClass, node: int) -> tuple[int, int, int]:
        """Return what a pod of this class costs its queue on this node."""
        if not kind.mib or node < 0:
            return kind.charge
        part = memory_charge(kind.mib, self.nodes[node].gpu_memory_mib or self.smallest_device_mib)
        return kind.cpu, kind.memory, part * kind.devices

    def empty_extended(self, node: int) -> dict[str, int] | None:
        """Return the extended resources that a node has when nobody is on it."""
        return _extended(self.nodes[node])

    def stays(self, pod: int) -> bool:
        """Return whether an evicted pod was promised the very place that it had: then nothing happens to it."""
        origin = self.evicted_from.get(pod)
        return self.pod_state[pod] == PROMISED and origin == (self.pod_node[pod], self.pod_devices[pod])

    def promises(self) -> Iterator[int]:
        """Yield the pods that were promised a place in this cycle, victims that were moved left out."""
        for _, _, pods, _ in self.decided:
            for pod in pods:
                if self.pod_state[pod] == PROMISED and pod not in self.evicted_from:
                    yield pod

    def has_device_room(self, pod: int, node: int, name: str) -> bool:
        """Return whether a pod would still fit on a device that it shared before."""
        entry = self.devices[node].get(name)
        used = 0 if entry is None else entry[0] - entry[1] + entry[2]
        if used == 0:
            return self.later[node][GPU] >= 1
        return gpu.capacity(self.nodes[node].gpu_memory_mib) - used >= self._amount(pod, node)

    # -- the moves -----------------------------------------------------------------------------------------

    def place(self, pod: int, node: int, devices: tuple[str, ...] = ()) -> None:
        """Give a pod its place now."""
        self._enter(pod, node, devices, PLACED)

    def promise(self, pod: int, node: int, devices: tuple[str, ...] = ()) -> None:
        """Give a pod a place that others are still leaving."""
        self._enter(pod, node, devices, PROMISED)

    def _enter(self, pod: int, node: int, devices: tuple[str, ...], state: int) -> None:
        kind = self.pod_class[pod]
        old = self.pod_state[pod]
        self.journal.append((state, pod, old, self.pod_node[pod], self.pod_devices[pod]))
        row = self.later[node]
        row[0] -= kind.cpu
        row[1] -= kind.memory
        row[2] -= kind.gpus
        row[3] -= 1
        if state == PLACED:
            row = self.idle[node]
            row[0] -= kind.cpu
            row[1] -= kind.memory
            row[2] -= kind.gpus
            row[3] -= 1
        if kind.extended is not None or devices:
            self._take_rest(kind, node, devices, now=state == PLACED)
        self.touched.append(node)
        self.pod_state[pod] = state
        self.pod_node[pod] = node
        self.pod_devices[pod] = devices
        self._count(pod, kind, node, 1)

    def enter_run(self, pods: list[int], node: int, state: int) -> None:
        """Give equal pods of one gang, which want no shared device, their places on one node at once."""
        count = len(pods)
        kind = self.pod_class[pods[0]]
        rows = (self.later[node], self.idle[node]) if state == PLACED else (self.later[node],)
        for row in rows:
            row[0] -= count * kind.cpu
            row[1] -= count * kind.memory
            row[2] -= count * kind.gpus
            row[3] -= count
        self.touched.append(node)
        states, nodes, devices = self.pod_state, self.pod_node, self.pod_devices
        self.journal += [(state, pod, states[pod], nodes[pod], devices[pod]) for pod in pods]
        for pod in pods:
            states[pod] = state
            nodes[pod] = node
            devices[pod] = ()
        self._count(pods[0], kind, node, count)

    def evict(self, pod: int) -> None:
        """Take a running pod's place away; it still holds it until it has left."""
        node = self.pod_node[pod]
        self.journal.append((EVICTED, pod, self.pod_state[pod], node, self.pod_devices[pod]))
        self._count(pod, self.pod_class[pod], node, -1)
        self.pod_state[pod] = EVICTED
        self.evicted_from[pod] = (node, self.pod_devices[pod])
        if node >= 0:
            self._shift_row(pod, node, 0, 1)
            for name in self.pod_devices[pod]:
                self.shift_device(pod, node, name, 0, 1, 0)
            self._grew(node)

    def depart(self, pod: int) -> None:
        """Let an evicted pod be gone: what it held is free now, and it waits again."""
        node, devices = self.evicted_from[pod]
        self.journal.append((DEPARTED, pod, EVICTED, node, devices))
        if node >= 0:
            self._shift_row(pod, node, 1, 0)
            for name in devices:
                self.shift_device(pod, node, name, -1, -1, 0)
            self._grew(node)
        self.pod_state[pod], self.pod_node[pod], self.pod_devices[pod] = PENDING, -1, ()

    def withdraw(self, pod: int) -> None:
        """Take back a place, or a promise, that was given in this cycle: nobody is disturbed by it."""
        state, node, devices = self.pod_state[pod], self.pod_node[pod], self.pod_devices[pod]
        self.journal.append((WITHDRAWN, pod, state, node, devices))
        self._count(pod, self.pod_class[pod], node, -1)
        self._leave(pod, node, state)
        origin = self.evicted_from.get(pod)
        if origin is None:
            self.pod_state[pod], self.pod_node[pod], self.pod_devices[pod] = PENDING, -1, ()
        else:  # a victim that was to be moved is only evicted again
            self.pod_state[pod], self.pod_node[pod], self.pod_devices[pod] = EVICTED, *origin
        self._grew(node)

    def _leave(self, pod: int, node: int, state: int) -> None:
        """Give back what a place (PLACED) or a promise took."""
        self._shift_row(pod, node, 1 if state == PLACED else 0, 1)
        for name in self.pod_devices[pod]:
            held, promised = (-1, 0) if state == PLACED else (0, -1)
            self.shift_device(pod, node, name, held, 0, promised)

    def demote(self, pod: int) -> None:
        """Turn a place that was given in this cycle into a promise."""
        node = self.pod_node[pod]
        self.journal.append((DEMOTED, pod, PLACED, node, self.pod_devices[pod]))
        self._shift_row(pod, node, 1, 0)
        for name in self.pod_devices[pod]:
            self.shift_device(pod, node, name, -1, 0, 1)
        self.pod_state[pod] = PROMISED
        self._grew(node)

    def mark(self) -> int:
        """Return a point that `rollback` can return to."""
        return len(self.journal)

    def rollback(self, mark: int) -> None:
        """Undo every move since the mark, newest first."""
        journal = self.journal
        grown = 0
        while len(journal) > mark:
            grown |= self._undo(*journal.pop())
        if grown:
            self.grown.append(grown)

    def _undo(self, move: int, pod: int, old: int, old_node: int, old_devices: tuple[str, ...]) -> int:
        """Undo one move; return the bit of the node that has more room now."""
        kind, node = self.pod_class[pod], self.pod_node[pod]
        if move == EVICTED:
            self.pod_state[pod] = old
            del self.evicted_from[pod]
            if node >= 0:
                self._shift_row(pod, node, 0, -1)
                for name in old_devices:
                    self.shift_device(pod, node, name, 0, -1, 0)
                self.touched.append(node)
            self._count(pod, kind, node, 1)
            return 0
        if move == DEMOTED:
            self._shift_row(pod, node, -1, 0)
            for name in old_devices:
                self.shift_device(pod, node, name, 1, 0, -1)
            self.pod_state[pod] = PLACED
            return 0
        if move == DEPARTED:
            self.pod_state[pod], self.pod_node[pod], self.pod_devices[pod] = old, old_node, old_devices
            if old_node >= 0:
                self._shift_row(pod, old_node, -1, 0)
                for name in old_devices:
                    self.shift_device(pod, old_node, name, 1, 1, 0)
                self.touched.append(old_node)
            return 0
        if move == WITHDRAWN:
            self._shift_row(pod, old_node, -1 if old == PLACED else 0, -1)
            for name in old_devices:
                self.shift_device(pod, old_node, name, *((1, 0, 0) if old == PLACED else (0, 0, 1)))
            self.pod_state[pod], self.pod_node[pod], self.pod_devices[pod] = old, old_node, old_devices
            self.touched.append(old_node)
            self._count(pod, kind, old_node, 1)
            return 0
        self._count(pod, kind, node, -1)
        self._leave(pod, node, move)
        self.pod_state[pod], self.pod_node[pod], self.pod_devices[pod] = old, old_node, old_devices
        self.touched.append(node)
        return 1 << node

    # -- bookkeeping --------------------------------------------------------------------------------------------

    def _count(self, pod: int, kind: PodClass, node: int, count: int) -> None:
        """Count equal pods into, or out of, their gang and their queues."""
        part, job = self.pod_set[pod], self.pod_job[pod]
        if part is None or job is None:
            return
        part.active += count
        job.tries = None
        cpu, memory, device = self.charge_of(kind, node) if kind.mib else kind.charge
        if count != 1:
            cpu, memory, device = count * cpu, count * memory, count * device
        for queue in job.path:
            row = queue.allocated
            row[0] += cpu
            row[1] += memory
            row[2] += device
            if not job.preemptible:
                row = queue.non_preemptible
                row[0] += cpu
                row[1] += memory
                row[2] += device

    def _shift_row(self, pod: int, node: int, idle: int, later: int) -> None:
        """Give a pod's whole resources back to a node, or take them (-1)."""
        kind = self.pod_class[pod]
        for sign, row in ((idle, self.idle[node]), (later, self.later[node])):
            if sign:
                row[0] += sign * kind.cpu
                row[1] += sign * kind.memory
                row[2] += sign * kind.gpus
                row[3] += sign
        if kind.extended is not None:
            if idle:
                _take_extended(self.idle_extended, node, kind.extended, -idle)
            if later:
                _take_extended(self.later_extended, node, kind.extended, -later)

    def _take_rest(self, kind: PodClass, node: int, devices: tuple[str, ...], *, now: bool) -> None:
        """The rarer part of entering a node: extended resources and shared devices."""
        if kind.extended is not None:
            _take_extended(self.later_extended, node, kind.extended, 1)
            if now:
                _take_extended(self.idle_extended, node, kind.extended, 1)
        amount = gpu.need(kind.portion, kind.mib, self.nodes[node].gpu_memory_mib)
        for name in devices:
            held, promised = (amount, 0) if now else (0, amount)
            if name not in self.devices[node]:
                self.opened.append(1 << node)
            freed_now, freed_later = gpu.shift(self.devices[node], name, held, 0, promised)
            self.idle[node][GPU] += freed_now
            self.later[node][GPU] += freed_later

    def shift_device(self, pod: int, node: int, name: str, held: int, leaving: int, promised: int) -> None:
        """Change what a pod holds, leaves and was promised on one device, by multiples of its request."""
        amount = self._amount(pod, node)
        now, later = gpu.shift(self.devices[node], name, held * amount, leaving * amount, promised * amount)
        self.idle[node][GPU] += now
        self.later[node][GPU] += later

    def _amount(self, pod: int, node: int) -> int:
        kind = self.pod_class[pod]
        return gpu.need(kind.portion, kind.mib, self.nodes[node].gpu_memory_mib)

    def _grew(self, node: int) -> None:
        self.touched.append(node)
        self.grown.append(1 << node)


def rank_siblings(siblings: list[QueueNode]) -> None:
    """Number siblings: a queue comes after those with a Pareto-smaller allocatable share, else the older is first.

    The pairwise rule is not transitive, so it is turned into one order once a
    cycle: the oldest queue that no waiting queue must precede is next.
    """
    waiting = sorted(siblings, key=lambda node: (node.queue.created_at, node.name))
    if len({tuple(node.allocatable) for node in waiting}) == 1:
        for rank, node in enumerate(waiting):
            node.rank = rank
        return
    rank = 0
    while waiting:
        shares = {tuple(node.allocatable) for node in waiting}
        least = {mine for mine in shares if not any(_pareto_smaller(other, mine) for other in shares)}
        chosen = next(node for node in waiting if tuple(node.allocatable) in least)
        chosen.rank = rank
        rank += 1
        waiting.remove(chosen)


def _pareto_smaller(left: tuple[int, ...], right: tuple[int, ...]) -> bool:
    return left != right and all(mine <= theirs for mine, theirs in zip(left, right, strict=True))


def _extended(node: NodeEntry) -> dict[str, int] | None:
    amounts = dict(node.extended)
    if node.dra_gpus:
        amounts[DRA] = node.dra_gpus
    return amounts or None


def _take_extended(
    rows: list[dict[str, int] | None], node: int, amounts: tuple[tuple[str, int], ...], sign: int
) -> None:
    row = rows[node]
    if row is None:
        row = rows[node] = {}
    for name, amount in amounts:
        row[name] = row.get(name, 0) - sign * amount


def _offer(node: NodeEntry) -> tuple[int, int, int]:
    """Return what a node adds to the capacity that queues share."""
    slices = sum(profile_gpus(name) * count for name, count in node.extended if "mig-" in name)
    return node.cpu, node.memory, (node.gpus + node.dra_gpus + slices) * MILLI


def _queue_node(queue: Queue, parent: QueueNode | None) -> QueueNode:
    quotas = (queue.resources.cpu, queue.resources.memory, queue.resources.gpu)
    node = QueueNode(queue.name, queue, parent, priority=queue.resources.priority)
    node.path = (node,) if parent is None else (node, *parent.path)
    node.deserved = [_bound(quota.deserved) for quota in quotas]
    node.limit = [_bound(quota.limit) for quota in quotas]
    node.weight = [quota.over_quota_weight for quota in quotas]
    node.limited = any(quota.limit is not None for quota in quotas) or (parent is not None and parent.limited)
    return node


def _bound(amount: int | None) -> int:
    return UNBOUNDED if amount is None else amount


def _claim(node: QueueNode, column: int) -> Claim:
    quotas = (node.queue.resources.cpu, node.queue.resources.memory, node.queue.resources.gpu)
    quota: ResourceQuota = quotas[column]
    return Claim(
        name=node.name,
        deserved=quota.deserved,
        limit=quota.limit,
        weight=quota.over_quota_weight,
        priority=node.priority,
        requested=node.requested[column],
        created_at=node.queue.created_at,
        usage=node.queue.usage[column],
    )


def _triple(row: list[int]) -> tuple[int, int, int]:
    return row[0], row[1], row[2]


def _distinct_constraints(pods: tuple[PodEntry, ...]) -> list[PodEntry]:
    """Return one pod for each constraints object."""
    return list({id(pod.constraints): pod for pod in pods}.values())


__all__ = ["FAILED", "GATED", "NO_GPU", "Session", "rank_siblings"]
