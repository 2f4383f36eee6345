"""The numbers of a session and the moves that change them.

Two rows are kept for each node: `idle` is free now, `later` is free once all
who are leaving have left and all promises are kept. Every move is in the
journal and can be undone; nothing here decides anything.
"""

from collections.abc import Iterator

from runai_core.engine import gpu
from runai_core.engine.entities import (
    DRA,
    EVICTED,
    GPU,
    PENDING,
    PLACED,
    PROMISED,
    SLOTS,
    Job,
    PodClass,
    PodSet,
    QueueNode,
)
from runai_core.model.resources import memory_charge
from runai_core.model.snapshot import NodeEntry, PodEntry

DEMOTED, WITHDRAWN, DEPARTED = -1, -2, -3
"""Moves in the journal that are no state of a pod."""


class Books:
    """Nodes, pods and queues as parallel lists, with the journal of all moves."""

    # Nodes, by number in name order; bit i of a set of nodes stands for node i.
    nodes: list[NodeEntry]
    node_index: dict[str, int]
    all_nodes: int
    smallest_device_mib: int
    device_slots: int  # pod slots that a shared device takes besides those of its pods: its reservation pod
    idle: list[list[int]]
    later: list[list[int]]
    idle_extended: list[dict[str, int] | None]
    later_extended: list[dict[str, int] | None]
    devices: list[gpu.DeviceTable]
    # Pods, by number in the snapshot's order.
    pods: list[PodEntry]
    pod_class: list[PodClass]
    pod_state: list[int]
    pod_node: list[int]
    pod_devices: list[tuple[str, ...]]
    pod_job: list[Job | None]
    pod_set: list[PodSet | None]
    # Queues and groups, by name.
    queues: dict[str, QueueNode]
    roots: list[QueueNode]
    jobs: dict[str, Job]

    def __init__(self) -> None:
        # Changes, newest last. `journal` undoes; the others let indexes and masks repair themselves.
        self.journal: list[tuple[int, int, int, int, tuple[str, ...]]] = []
        self.touched: list[int] = []  # nodes
        self.grown: list[int] = []  # sets of nodes that have more room
        self.opened: list[int] = []  # nodes where a device was shared for the first time
        self.evicted_from: dict[int, tuple[int, tuple[str, ...]]] = {}  # pod -> node, devices
        self.decided: list[tuple[str, Job, list[int], object]] = []  # action, group, pods, cause; in order

    # -- reading ------------------------------------------------------------------------------------------------

    def charge_of(self, kind: PodClass, node: int) -> tuple[int, int, int]:
        """Return what a pod of this class costs its queue on this node."""
        if not kind.mib or node < 0:
            return kind.charge
        part = memory_charge(kind.mib, self.nodes[node].gpu_memory_mib or self.smallest_device_mib)
        return kind.cpu, kind.memory, part * kind.devices

    def empty_extended(self, node: int) -> dict[str, int] | None:
        """Return the extended resources that a node has when nobody is on it."""
        return extended_of(self.nodes[node])

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
            return self.later[node][GPU] >= 1 and self.later[node][SLOTS] > self.device_slots
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
        node, kind, devices = self.pod_node[pod], self.pod_class[pod], self.pod_devices[pod]
        self.journal.append((EVICTED, pod, self.pod_state[pod], node, devices))
        self._count(pod, kind, node, -1)
        self.pod_state[pod] = EVICTED
        self.evicted_from[pod] = (node, devices)
        if node >= 0:
            _shift(self.later[node], kind, 1)
            if kind.extended is not None:
                take_extended(self.later_extended, node, kind.extended, -1)
            for name in devices:
                self.shift_device(pod, node, name, 0, 1, 0)
            self.touched.append(node)
            self.grown.append(1 << node)

    def depart(self, pod: int) -> None:
        """Let an evicted pod be gone: what it held is free now, and it waits again."""
        node, devices = self.evicted_from[pod]
        self.journal.append((DEPARTED, pod, EVICTED, node, devices))
        if node >= 0:
            kind = self.pod_class[pod]
            _shift(self.idle[node], kind, 1)
            if kind.extended is not None:
                take_extended(self.idle_extended, node, kind.extended, -1)
            for name in devices:
                self.shift_device(pod, node, name, -1, -1, 0)
            self.touched.append(node)
            self.grown.append(1 << node)
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
                _shift(self.later[node], kind, -1)
                if kind.extended is not None:
                    take_extended(self.later_extended, node, kind.extended, 1)
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
        if move in (DEPARTED, WITHDRAWN):
            self._return(move, pod, old, old_node, old_devices)
            return 0
        self._count(pod, kind, node, -1)
        self._leave(pod, node, move)
        self.pod_state[pod], self.pod_node[pod], self.pod_devices[pod] = old, old_node, old_devices
        self.touched.append(node)
        return 1 << node

    def _return(self, move: int, pod: int, old: int, node: int, devices: tuple[str, ...]) -> None:
        """Let a pod hold again what it gave up by departing, or what was withdrawn from it."""
        self.pod_state[pod], self.pod_node[pod], self.pod_devices[pod] = old, node, devices
        if move == WITHDRAWN:
            self._count(pod, self.pod_class[pod], node, 1)
        if node < 0:
            return
        change = (1, 1, 0) if move == DEPARTED else (1, 0, 0) if old == PLACED else (0, 0, 1)
        idle, later = (-1, 0) if move == DEPARTED else (-1, -1) if old == PLACED else (0, -1)
        self._shift_row(pod, node, idle, later)
        for name in devices:
            self.shift_device(pod, node, name, *change)
        self.touched.append(node)

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
        fixed = not job.preemptible
        for queue in job.path:
            row = queue.allocated
            row[0] += cpu
            row[1] += memory
            row[2] += device
            if fixed:
                row = queue.non_preemptible
                row[0] += cpu
                row[1] += memory
                row[2] += device

    def _shift_row(self, pod: int, node: int, idle: int, later: int) -> None:
        """Give a pod's whole resources back to a node, or take them (-1)."""
        kind = self.pod_class[pod]
        if idle:
            _shift(self.idle[node], kind, idle)
        if later:
            _shift(self.later[node], kind, later)
        if kind.extended is not None:
            if idle:
                take_extended(self.idle_extended, node, kind.extended, -idle)
            if later:
                take_extended(self.later_extended, node, kind.extended, -later)

    def _take_rest(self, kind: PodClass, node: int, devices: tuple[str, ...], *, now: bool) -> None:
        """The rarer part of entering a node: extended resources and shared devices."""
        if kind.extended is not None:
            take_extended(self.later_extended, node, kind.extended, 1)
            if now:
                take_extended(self.idle_extended, node, kind.extended, 1)
        amount = gpu.need(kind.portion, kind.mib, self.nodes[node].gpu_memory_mib)
        for name in devices:
            held, promised = (amount, 0) if now else (0, amount)
            if name not in self.devices[node]:
                self.opened.append(1 << node)
            self._free_devices(node, *gpu.shift(self.devices[node], name, held, 0, promised))

    def shift_device(self, pod: int, node: int, name: str, held: int, leaving: int, promised: int) -> None:
        """Change what a pod holds, leaves and was promised on one device, by multiples of its request."""
        amount = self._amount(pod, node)
        shifted = gpu.shift(self.devices[node], name, held * amount, leaving * amount, promised * amount)
        self._free_devices(node, *shifted)

    def _free_devices(self, node: int, now: int, later: int) -> None:
        """Give whole devices back to a node that are shared no more, or take them (negative)."""
        self.idle[node][GPU] += now
        self.later[node][GPU] += later
        if self.device_slots:
            self.idle[node][SLOTS] += now * self.device_slots
            self.later[node][SLOTS] += later * self.device_slots

    def _amount(self, pod: int, node: int) -> int:
        kind = self.pod_class[pod]
        return gpu.need(kind.portion, kind.mib, self.nodes[node].gpu_memory_mib)

    def _grew(self, node: int) -> None:
        self.touched.append(node)
        self.grown.append(1 << node)


def _shift(row: list[int], kind: PodClass, sign: int) -> None:
    row[0] += sign * kind.cpu
    row[1] += sign * kind.memory
    row[2] += sign * kind.gpus
    row[3] += sign


def extended_of(node: NodeEntry) -> dict[str, int] | None:
    """Return a node's resources besides CPU, memory and whole devices; claimable devices among them."""
    amounts = dict(node.extended)
    if node.dra_gpus:
        amounts[DRA] = node.dra_gpus
    return amounts or None


def take_extended(
    rows: list[dict[str, int] | None], node: int, amounts: tuple[tuple[str, int], ...], sign: int
) -> None:
    """Take `sign` times the amounts off a node's row."""
    row = rows[node]
    if row is None:
        row = rows[node] = {}
    for name, amount in amounts:
        row[name] = row.get(name, 0) - sign * amount
