"""The working copy of one snapshot, opened for one cycle.

Speed lives here and in `books`. Nodes are numbers in name order, sets of nodes
are integers, pods are numbers into parallel lists.
"""

from collections.abc import Iterable

from runai_core.engine import gpu
from runai_core.engine.books import Books, extended_of, take_extended
from runai_core.engine.entities import (
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
    profile_gpus,
)
from runai_core.engine.queues import plant, share_out, sum_up
from runai_core.engine.rules import RuleSet
from runai_core.model.resources import MILLI
from runai_core.model.snapshot import CycleSettings, NodeEntry, PodEntry, Snapshot

WITHOUT_PLACE = (PENDING, GATED, PROMISED)
"""States of pods that wait for a place, or for those who hold it to leave; no other pod comes to wait in a cycle."""


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
        self.cache: dict[object, object] = {}  # of the rooms above: label masks, topology trees, victim lists
        self.indexes: list[object] = [None, None]  # of `scoring`: nodes by GPUs, nodes by CPU
        self._open_nodes(snapshot.nodes)
        self.queues, self.roots = plant(snapshot.queues)
        self._open_groups()
        self._open_pods(snapshot.pods)
        sum_up(self.queues)
        self.total = self._capacity()
        share_out(self.queues, self.roots, self.total, self.settings.fair_share_history_weight)

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
            queue = self.queues.get(group.queue)
            if queue is not None and queue.children:
                queue = None  # only leaves hold pod groups
            job = self.jobs[group.name] = Job(group, queue)
            if queue is not None:
                queue.jobs.append(job)

    def _open_pods(self, pods: tuple[PodEntry, ...]) -> None:
        self.pods = pods
        self.pod_class = []
        self.pod_state = []
        self.pod_node = []
        self.pod_devices = []
        self.pod_job = []
        self.pod_set = []
        self.classes: dict[object, PodClass] = {}
        self.evicted_why: dict[int, tuple[str, str, object]] = {}  # of statement: action, for whom, cause
        self.pods_on: list[list[int]] | None = None
        self.nominated: dict[int, int] = {}
        self.kept: set[int] = set()  # promised by an eviction of this cycle: no victims of another
        self.groups_with_gates: set[str] = set()
        self.unplaced: dict[str, Job] = {}  # groups of which some pod had no place of its own as the cycle began
        self.waiting: list[Job] = []  # groups that an action may try, superset for the whole cycle
        self.stale: list[str] = []
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


def _offer(node: NodeEntry) -> tuple[int, int, int]:
    """Return what a node adds to the capacity that queues share."""
    slices = sum(profile_gpus(name) * count for name, count in node.extended if "mig-" in name)
    return node.cpu, node.memory, (node.gpus + node.dra_gpus + slices) * MILLI


def _distinct_constraints(pods: tuple[PodEntry, ...]) -> list[PodEntry]:
    """Return one pod for each constraints object."""
    return list({id(pod.constraints): pod for pod in pods}.values())
