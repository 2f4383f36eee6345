"""The cluster in memory: what the store says, kept up to date change by change.

A snapshot is assembled from parts that are made when something changes, not
when it is asked for. Nothing here does I/O.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from runai_core.backends.local.nodes import in_pools
from runai_core.model.meta import WIRE, Meta
from runai_core.model.nodes import DEFAULT_NODE_POOL, NetworkTopology, Node, NodePool
from runai_core.model.organization import Department, Project, Queue, QueueResources
from runai_core.model.snapshot import (
    HOLDS_RESOURCES,
    NodeEntry,
    PodConstraints,
    PodEntry,
    PodGroup,
    PodState,
    Snapshot,
    Topology,
    settings_of,
)
from runai_core.model.workload import Pod

FINISHED = frozenset({PodState.SUCCEEDED, PodState.FAILED})
DEPARTMENT_QUEUE = "department/"
MAX_DROPPED = 10_000
"""Deleted pods that are remembered, so that late news of them is known to be old."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GangRecord:
    """A pod group as it is stored, beside its pods. `meta.owner` is the workload's uid."""

    __pydantic_config__ = WIRE
    meta: Meta
    group: PodGroup
    node_pool: str = DEFAULT_NODE_POOL


@dataclass(slots=True)
class _Group:
    """A pod group with its members."""

    record: GangRecord
    entries: dict[str, PodEntry] = field(default_factory=dict)  # by uid; failed pods are left out
    live: set[str] = field(default_factory=set)  # uids of pods that have not ended
    stale_since: float | None = None


def key_of(pod: Pod) -> str:
    """Return the pod's name in snapshots and decisions."""
    return f"{pod.meta.project}/{pod.name}"


class Mirror:
    """Pods, groups, nodes and queues by every name that they are looked up by."""

    def __init__(self) -> None:
        self.revision = 0
        self.pods: dict[str, Pod] = {}  # by uid
        self._dropped: dict[str, int] = {}  # version at which a pod was forgotten: old news must not bring it back
        self._uids: dict[str, str] = {}  # by project/name
        self._of_workload: dict[str, dict[str, None]] = {}
        self._on_node: dict[str, dict[str, None]] = {}
        self._groups: dict[str, _Group] = {}
        self._active: dict[str, _Group] = {}  # those with a pod that has not ended
        self._nodes: dict[str, Node] = {}
        self._node_entries: dict[str, tuple[NodeEntry, ...]] = {}
        self._pools: dict[str, NodePool] = {}
        self._topologies: dict[str, Topology] = {}  # by uid
        self._units: dict[str, Department | Project] = {}  # by uid
        self._queues: dict[str, tuple[Queue, ...]] = {}  # by node pool
        self._constraints: dict[PodConstraints, PodConstraints] = {}

    # -- pods

    def put(self, pod: Pod) -> bool:
        """Take a pod as it is now; return False when a newer one is known."""
        uid, old = pod.meta.uid, self.pods.get(pod.meta.uid)
        if self._dropped.get(uid, 0) >= pod.meta.version:
            return False
        if old is not None and old.meta.version >= pod.meta.version:
            return False
        self.revision += 1
        self.pods[uid] = pod
        self._uids[key_of(pod)] = uid
        self._of_workload.setdefault(pod.meta.owner, {})[uid] = None
        if old is not None and old.status.node != pod.status.node:
            self._on_node.get(old.status.node, {}).pop(uid, None)
        if pod.status.node:
            self._on_node.setdefault(pod.status.node, {})[uid] = None
        group = self._groups.get(pod.pod_group)
        if group is not None:
            self._enter(group, pod)
        return True

    def drop(self, uid: str, version: int = 0) -> Pod | None:
        """Forget a pod that was deleted at the version, and return it as it was last."""
        pod = self.pods.pop(uid, None)
        if pod is None:
            return None
        self.revision += 1
        self._dropped[uid] = max(version, pod.meta.version)
        if len(self._dropped) > MAX_DROPPED:
            del self._dropped[next(iter(self._dropped))]
        if self._uids.get(key_of(pod)) == uid:
            del self._uids[key_of(pod)]
        siblings = self._of_workload.get(pod.meta.owner, {})
        siblings.pop(uid, None)
        if not siblings:
            self._of_workload.pop(pod.meta.owner, None)
        self._on_node.get(pod.status.node, {}).pop(uid, None)
        group = self._groups.get(pod.pod_group)
        if group is not None:
            group.entries.pop(uid, None)
            group.live.discard(uid)
            self._settle(group)
        return pod

    def by_key(self, key: str) -> Pod | None:
        """Return the pod of a name in decisions."""
        uid = self._uids.get(key)
        return None if uid is None else self.pods[uid]

    def of_workload(self, uid: str) -> Sequence[Pod]:
        """Return the pods of a workload, in the order in which they came."""
        return tuple(self.pods[pod] for pod in self._of_workload.get(uid, ()))

    def on_node(self, name: str) -> Sequence[Pod]:
        """Return the pods that were given to a node."""
        return tuple(self.pods[pod] for pod in self._on_node.get(name, ()))

    # -- groups

    def put_group(self, record: GangRecord) -> None:
        """Take a pod group as it is now."""
        self.revision += 1
        name = record.group.name
        group = self._groups.get(name)
        if group is not None:
            group.record = record
            return
        self._groups[name] = group = _Group(record)
        for pod in self.of_workload(record.meta.owner):
            if pod.pod_group == name:
                self._enter(group, pod)

    def group(self, name: str) -> GangRecord | None:
        """Return a pod group."""
        group = self._groups.get(name)
        return None if group is None else group.record

    def drop_group(self, name: str) -> None:
        """Forget a pod group."""
        self._groups.pop(name, None)
        self._active.pop(name, None)

    def has_members(self, name: str) -> bool:
        """Return whether any pod of the group exists."""
        group = self._groups.get(name)
        owner = "" if group is None else group.record.meta.owner
        return any(pod.pod_group == name for pod in self.of_workload(owner))

    def was_placed(self, name: str) -> bool:
        """Return whether a pod of the group has a node now."""
        group = self._groups.get(name)
        return group is not None and any(entry.state in HOLDS_RESOURCES for entry in group.entries.values())

    def _enter(self, group: _Group, pod: Pod) -> None:
        uid, state = pod.meta.uid, pod.status.state
        if state is PodState.FAILED:
            group.entries.pop(uid, None)
        else:
            group.entries[uid] = self._entry(pod)
        if state in FINISHED:
            group.live.discard(uid)
        else:
            group.live.add(uid)
        self._settle(group)

    def _settle(self, group: _Group) -> None:
        name = group.record.group.name
        if group.live:
            self._active[name] = group
        else:
            self._active.pop(name, None)

    def _entry(self, pod: Pod) -> PodEntry:
        constraints = self._constraints.setdefault(pod.spec.constraints, pod.spec.constraints)
        return PodEntry(
            name=key_of(pod),
            pod_group=pod.pod_group,
            sub_group=pod.spec.sub_group,
            request=pod.spec.request,
            state=pod.status.state,
            node=pod.status.node or None,
            gpu_groups=pod.status.gpu_groups,
            constraints=constraints,
            labels=tuple(sorted(pod.meta.labels.items())),
            created_at=pod.meta.created_at,
            leader=pod.spec.leader,
        )

    # -- nodes and units

    def set_nodes(self, nodes: Iterable[Node]) -> None:
        """Take these nodes instead of all known ones."""
        self._nodes = {node.name: node for node in nodes}
        self._partition()

    def put_pool(self, pool: NodePool) -> None:
        """Take a node pool as it is now."""
        self._pools[pool.meta.uid] = pool
        self._partition()

    def drop_pool(self, uid: str) -> None:
        """Forget a node pool."""
        self._pools.pop(uid, None)
        self._partition()

    def put_topology(self, topology: NetworkTopology) -> None:
        """Take a network topology as it is now."""
        self._topologies[topology.meta.uid] = Topology(name=topology.name, levels=topology.levels)
        self.revision += 1

    def drop_topology(self, uid: str) -> None:
        """Forget a network topology."""
        self._topologies.pop(uid, None)
        self.revision += 1

    def put_unit(self, unit: Department | Project) -> None:
        """Take a department or project as it is now."""
        self._units[unit.meta.uid] = unit
        self._queues.clear()
        self.revision += 1

    def drop_unit(self, uid: str) -> None:
        """Forget a department or project."""
        self._units.pop(uid, None)
        self._queues.clear()
        self.revision += 1

    @property
    def nodes(self) -> Mapping[str, Node]:
        """All nodes by name, each with its node pool."""
        return self._nodes

    def _partition(self) -> None:
        nodes = in_pools(self._nodes.values(), tuple(self._pools.values()))
        self._nodes = {node.name: node for node in nodes}
        entries: dict[str, list[NodeEntry]] = {}
        for node in sorted(nodes, key=lambda node: node.name):
            entries.setdefault(node.node_pool, []).append(_node_entry(node))
        self._node_entries = {pool: tuple(found) for pool, found in entries.items()}
        self.revision += 1

    # -- snapshot

    def snapshot(self, pool: NodePool, now: float) -> Snapshot:
        """Return all that the engine may know about a node pool."""
        groups: list[PodGroup] = []
        pods: list[PodEntry] = []
        nodes = self._node_entries.get(pool.name, ())
        for name in sorted(self._active):
            group = self._active[name]
            if group.record.node_pool == pool.name:
                groups.append(_where_it_can_be_met(self._aged(group, now), nodes))
                pods.extend(group.entries.values())
        return Snapshot(
            taken_at=now,
            revision=self.revision,
            node_pool=pool.name,
            nodes=nodes,
            queues=self._queues_of(pool.name),
            pod_groups=tuple(groups),
            pods=tuple(pods),
            topologies=_topologies(groups, self._topologies.values()),
            settings=settings_of(pool),
        )

    def _aged(self, group: _Group, now: float) -> PodGroup:
        """Return the group with the time since when it runs below its minimum."""
        if not _is_below_minimum(group):
            group.stale_since = None
        elif group.stale_since is None:
            group.stale_since = now
        found = group.record.group
        return found if found.stale_since == group.stale_since else replace(found, stale_since=group.stale_since)

    def _queues_of(self, pool: str) -> tuple[Queue, ...]:
        if pool not in self._queues:
            units = sorted(self._units.values(), key=lambda unit: (isinstance(unit, Project), unit.meta.name))
            departments = {unit.name for unit in units if isinstance(unit, Department)}
            self._queues[pool] = tuple(_queue(unit, pool, departments) for unit in units)
        return self._queues[pool]


def _topologies(groups: Iterable[PodGroup], kept: Iterable[Topology]) -> tuple[Topology, ...]:
    """Return the topologies that are kept, and one for each node label that a group names: its only level."""
    keys = {group.topology.topology for group in groups if group.topology is not None}
    found = {item.name: item for item in kept} | {key: Topology(name=key, levels=(key,)) for key in keys}
    return tuple(found[name] for name in sorted(found))


def _where_it_can_be_met(group: PodGroup, nodes: Sequence[NodeEntry]) -> PodGroup:
    """Return the group without a mere preference for a label that not all nodes carry.

    A topology holds only the nodes with the label; a preference must not keep
    pods off the others.
    """
    wanted = group.topology
    if wanted is None or wanted.required_level is not None:
        return group
    return group if all(wanted.topology in node.labels for node in nodes) else replace(group, topology=None)


def _is_below_minimum(group: _Group) -> bool:
    """Return whether some members run, but fewer than must run together."""
    entries = group.entries.values()
    if any(entry.state is PodState.SUCCEEDED for entry in entries):
        return False
    placed = [entry.sub_group for entry in entries if entry.state in HOLDS_RESOURCES]
    found = group.record.group
    inner = {sub_group.parent for sub_group in found.sub_groups}
    leaves = [sub_group for sub_group in found.sub_groups if sub_group.name not in inner]
    if not placed:
        return False
    if leaves:
        return any(placed.count(leaf.name) < leaf.min_members for leaf in leaves)
    return len(placed) < found.min_members


def _queue(unit: Department | Project, pool: str, departments: set[str]) -> Queue:
    resources = unit.resources.get(pool, QueueResources())
    if isinstance(unit, Department):
        name, parent = DEPARTMENT_QUEUE + unit.name, None
    else:
        name, parent = unit.name, DEPARTMENT_QUEUE + unit.department if unit.department in departments else None
    return Queue(name=name, parent=parent, resources=resources, created_at=unit.meta.created_at, display_name=unit.name)


def _node_entry(node: Node) -> NodeEntry:
    return NodeEntry(
        name=node.name,
        cpu=node.cpu,
        memory=node.memory,
        gpus=node.gpu_count,
        gpu_memory_mib=node.gpu_memory_mib,
        max_pods=node.max_pods,
        labels=dict(node.meta.labels),
        taints=node.taints,
        ready=node.ready,
        unschedulable=node.unschedulable,
        extended=tuple(sorted(node.extended.items())),
    )
