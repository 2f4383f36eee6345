"""The working copy of one snapshot, opened for one cycle.

Speed lives here and in `books`. Nodes are numbers in name order, sets of nodes
are integers, pods are numbers into parallel lists.
"""

from collections.abc import Iterable

from runai_core.engine import gpu
from runai_core.engine.books import Books, extended_of, take_extended
from runai_core.engine.entities import (
    FAILED,
    GATED,
    GPU,
    PENDING,
    PROMISED,
    RELEASING,
    RUNNING,
    SHARED,
    STATES,
    SUCCEEDED,
    Job,
    PodClass,
    QueueNode,
    profile_gpus,
)
from runai_core.engine.queues import plant, replant, share_out, sum_up
from runai_core.engine.rules import RuleSet
from runai_core.model.resources import MILLI
from runai_core.model.snapshot import CycleSettings, NodeEntry, PodEntry, PodGroup, Snapshot

WITHOUT_PLACE = (PENDING, GATED, PROMISED)
"""States of pods that wait for a place, or for those who hold it to leave; no other pod comes to wait in a cycle."""


LONGEST_LOG, SPARE_NUMBERS = 500_000, 1000
"""A session whose log of touched nodes, or list of unused numbers, is longer is opened anew."""

RESERVATION_SLOT = "reservation_pod_slot"
"""Compatibility: a device that is shared for the first time also takes a pod slot, for the pod that reserves it."""

MIXED = "fragmentation"
"""The placement strategy that looks at the mix of all pods."""


class Session(Books):
    """One snapshot, opened for one cycle."""

    def __init__(self, snapshot: Snapshot, rules: RuleSet) -> None:
        super().__init__()
        self.snapshot = snapshot
        self.settings: CycleSettings = snapshot.settings
        self.rules = rules
        self.now = snapshot.taken_at
        off = self.settings.disabled_rules
        self.quota_on = "quota" not in off
        self.constraints_on = "constraints" not in off
        self.device_slots = int(RESERVATION_SLOT in self.settings.compatibility)
        self.cache: dict[object, object] = {}  # of the rooms above: label masks, topology trees, victim lists
        self.indexes: list[object] = [None, None]  # of `scoring`: nodes by GPUs, nodes by CPU
        self._open_nodes(snapshot.nodes)
        self.queues, self.roots = plant(snapshot.queues)
        self._open_groups()
        self._open_pods(snapshot.pods)
        sum_up(self.queues)
        self._capacity = self._sum_capacity()
        self._share_out()

    def _share_out(self) -> None:
        self.total = [max(amount, 0) for amount in self._capacity]
        share_out(self.queues, self.roots, self.total, self.settings.fair_share_history_weight)

    # -- opening

    def _open_nodes(self, entries: Iterable[NodeEntry]) -> None:
        self.nodes = sorted(entries, key=lambda node: node.name)
        self.node_index = {node.name: index for index, node in enumerate(self.nodes)}
        self.idle = [[node.cpu, node.memory, node.gpus, node.max_pods] for node in self.nodes]
        self.later = []
        self.idle_extended = [extended_of(node) for node in self.nodes]
        self.later_extended = []
        self.devices = [{} for _ in self.nodes]
        self.all_nodes = (1 << len(self.nodes)) - 1
        known = [node.gpu_memory_mib for node in self.nodes if node.gpus and node.gpu_memory_mib]
        self.smallest_device_mib = min(known, default=0)

    def _open_groups(self) -> None:
        self.jobs = {}
        for group in self.snapshot.pod_groups:
            self._open_group(group)

    def _open_group(self, group: PodGroup) -> None:
        queue = self.queues.get(group.queue)
        if queue is not None and queue.children:
            queue = None  # only leaves hold pod groups
        job = self.jobs[group.name] = Job(group, queue)
        if queue is not None:
            queue.jobs.append(job)

    def _open_pods(self, pods: tuple[PodEntry, ...]) -> None:
        self.pods = []
        self.pod_class = []
        self.pod_state = []
        self.pod_node = []
        self.pod_devices = []
        self.pod_job = []
        self.pod_set = []
        self.classes: dict[object, PodClass] = {}
        self.nominated: dict[int, int] = {}
        self.groups_with_gates: set[str] = set()
        self.unplaced: dict[str, Job] = {}  # groups of which some pod had no place of its own as the cycle began
        self._begin()
        self._by_identity: dict[tuple[int, int], PodClass] = {}
        self._labels_matter = any(
            term.constraints.pod_affinity or term.constraints.spread for term in _distinct_constraints(pods)
        )
        for pod in pods:
            self._open_pod(pod)
        self.later = [row.copy() for row in self.idle]
        self.later_extended = [None if row is None else row.copy() for row in self.idle_extended]
        for number, state in enumerate(self.pod_state):
            if state in (RELEASING, PROMISED) and self.pod_node[number] >= 0:
                self._shift_row(number, self.pod_node[number], 0, 1 if state == RELEASING else -1)
        for index, table in enumerate(self.devices):
            for held, leaving, promised in table.values():
                self.idle[index][GPU] -= held > 0
                self.later[index][GPU] -= held - leaving + promised > 0

    def _begin(self) -> None:
        """Start with no decision."""
        self.evicted_why: dict[int, tuple[str, str, object]] = {}  # of statement: action, for whom, cause
        self.pods_on: list[list[int]] | None = None
        self.kept: set[int] = set()  # promised by an eviction of this cycle: no victims of another
        self.waiting: list[Job] = []  # groups that an action may try, superset for the whole cycle
        self.stale: list[str] = []

    def _open_pod(self, pod: PodEntry) -> int:
        number, request = len(self.pods), pod.request
        known = self._by_identity.get((id(request), id(pod.constraints)))
        if known is None or self._labels_matter or pod.resource_claims or pod.legacy_mig:
            known = self._class_of(pod)
        state = STATES[pod.state]
        placed = pod.node is not None and state not in (PENDING, GATED)
        node = self.node_index.get(pod.node or "", -1) if placed else -1
        job = self.jobs.get(pod.pod_group)
        part = None if job is None else job.only or job.sets.get("" if "" in job.sets else pod.sub_group)
        self.pods.append(pod)
        self.pod_class.append(known)
        self.pod_state.append(state)
        self.pod_node.append(node)
        self.pod_job.append(job)
        self.pod_set.append(part)
        self.pod_devices.append(())
        if job is not None and state in WITHOUT_PLACE:
            self.unplaced[job.name] = job
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
            self._open_holder(number, pod)
        elif job is not None and state == SUCCEEDED:
            job.finished = True
        elif job is not None and state == GATED:
            self.groups_with_gates.add(job.name)
        return number

    def _open_holder(self, number: int, pod: PodEntry) -> None:
        """Take what a pod holds off its node and charge its queue."""
        node, kind, state = self.pod_node[number], self.pod_class[number], self.pod_state[number]
        job, part = self.pod_job[number], self.pod_set[number]
        if node >= 0:
            if state != PROMISED:
                row = self.idle[node]
                row[0] -= kind.cpu
                row[1] -= kind.memory
                row[2] -= kind.gpus
                row[3] -= 1
                if kind.extended is not None:
                    take_extended(self.idle_extended, node, kind.extended, 1)
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
        if self.later:  # the session is open already: `_add_pod` counts them
            return
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

    def _sum_capacity(self) -> list[int]:
        """Return what can be shared out: usable nodes, less what other schedulers' pods hold.

        A node that takes no new pods counts with what our pods hold there, so
        that cordoning it does not make its tenants look over their share.
        """
        total = [0, 0, 0]
        self._usable = [node.ready and not node.unschedulable for node in self.nodes]
        for node, counts in zip(self.nodes, self._usable, strict=True):
            if counts:
                for column, amount in enumerate(offer(node)):
                    total[column] += amount
        for number, state in enumerate(self.pod_state):
            if state in (RUNNING, RELEASING) and self.pod_node[number] >= 0:
                self._weigh(total, number, 1)
        return total

    def _weigh(self, total: list[int], number: int, sign: int) -> None:
        ours, node = self.pod_job[number] is not None, self.pod_node[number]
        if ours != self._usable[node]:
            charge = self.charge_of(self.pod_class[number], node)
            sign = sign if ours else -sign
            for column in range(3):
                total[column] += sign * charge[column]

    # -- the next cycle

    @property
    def can_turn(self) -> bool:
        """Whether `turn` may be used: no pod looks at the pods of others, and no log has grown too long."""
        strategies = (self.settings.gpu_placement, self.settings.cpu_placement)
        claimed = any(kind.example.resource_claims for kind in self.classes.values())
        short = len(self.touched) < LONGEST_LOG and len(self.pods) < 2 * len(self.snapshot.pods) + SPARE_NUMBERS
        return short and not (self._labels_matter or claimed or MIXED in strategies)

    def turn(
        self,
        snapshot: Snapshot,
        dropped: Iterable[str],
        groups: Iterable[PodGroup],
        gone: Iterable[int],
        pods: Iterable[PodEntry],
    ) -> list[int]:
        """Undo this cycle and take in the next snapshot, which has the same nodes and settings.

        `dropped` are the groups that are gone or changed, `groups` those that
        are new or changed; `gone` the numbers of all pods of either, and of
        others that are gone or changed, `pods` all that are there instead.
        Returns the numbers of the latter.
        """
        self.rollback(0)
        self.decided.clear()
        self._begin()
        self.snapshot, self.now = snapshot, snapshot.taken_at
        self.cache = {key: kept for key, kept in self.cache.items() if key[0] != "victims"}  # type: ignore[index]
        self._by_identity.clear()  # identities of objects that may be gone
        for number in gone:
            self._close_pod(number)
        self._drop_groups(set(dropped))
        for group in groups:
            self._open_group(group)
        numbers = [self._add_pod(pod) for pod in pods]
        for job in self.jobs.values():
            job.tries = job.failure = None
        replant(self.queues, snapshot.queues)
        self._share_out()
        return numbers

    def _drop_groups(self, names: set[str]) -> None:
        gone = {self.jobs.pop(name) for name in names if name in self.jobs}
        for queue in {job.queue for job in gone if job.queue is not None}:
            queue.jobs = [job for job in queue.jobs if job not in gone]
        self.groups_with_gates -= names
        for name in names:
            self.unplaced.pop(name, None)

    def _add_pod(self, pod: PodEntry) -> int:
        """Open a pod on a session that is open already."""
        number = self._open_pod(pod)
        node, state, job = self.pod_node[number], self.pod_state[number], self.pod_job[number]
        if node >= 0 and state in (RUNNING, RELEASING, PROMISED):
            if state != RELEASING:
                self._shift_row(number, node, 0, -1)
            if state != PROMISED:
                self._weigh(self._capacity, number, 1)
            self._move_devices(number, 1)
            self.touched.append(node)
        if job is not None:
            self._credit(number, job.path[1:], 1)
        return number

    def _close_pod(self, number: int) -> None:
        """Forget a pod; its number stays unused."""
        node, state, job = self.pod_node[number], self.pod_state[number], self.pod_job[number]
        if node >= 0 and state in (RUNNING, RELEASING, PROMISED):
            self._shift_row(number, node, int(state != PROMISED), int(state != RELEASING))
            if state != PROMISED:
                self._weigh(self._capacity, number, -1)
            self._move_devices(number, -1)
            self._grew(node)
        if job is not None:
            self._credit(number, job.path, -1)
        self.nominated.pop(number, None)
        self.pod_state[number], self.pod_node[number], self.pod_devices[number] = FAILED, -1, ()
        self.pod_job[number] = self.pod_set[number] = None

    def _move_devices(self, number: int, sign: int) -> None:
        state, node = self.pod_state[number], self.pod_node[number]
        leaving, promised = sign * (state == RELEASING), sign * (state == PROMISED)
        for name in self.pod_devices[number]:
            if name not in self.devices[node]:
                self.opened.append(1 << node)
            self.shift_device(number, node, name, sign * (state != PROMISED), leaving, promised)

    def _credit(self, number: int, queues: Iterable[QueueNode], sign: int) -> None:
        """Count what a pod asks for and holds into queues, or out of them."""
        job, state = self.pod_job[number], self.pod_state[number]
        if job is None or self.pod_set[number] is None or state not in (PENDING, RUNNING, PROMISED):
            return
        kind = self.pod_class[number]
        charge = kind.charge if state == PENDING else self.charge_of(kind, self.pod_node[number])
        for queue in queues:
            rows = [queue.requested] if state == PENDING else [queue.requested, queue.allocated]
            if state != PENDING and not job.preemptible:
                rows.append(queue.non_preemptible)
            for row in rows:
                for column in range(3):
                    row[column] += sign * charge[column]


def offer(node: NodeEntry) -> tuple[int, int, int]:
    """Return what a node adds to the capacity that queues share."""
    slices = sum(profile_gpus(name) * count for name, count in node.extended if "mig-" in name)
    return node.cpu, node.memory, (node.gpus + node.dra_gpus + slices) * MILLI


def _distinct_constraints(pods: tuple[PodEntry, ...]) -> list[PodEntry]:
    """Return one pod for each constraints object."""
    return list({id(pod.constraints): pod for pod in pods}.values())
