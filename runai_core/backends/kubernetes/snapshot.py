"""The cluster as the engine sees it, kept current change by change: one snapshot for each node pool.

What the watches show is turned into entries when it is next asked for, and
only for objects that changed. Over it lies what we decided and the watches do
not show yet: pods whose binding or eviction is under way (`assume`, `forget`).
An object that cannot be read is left out, with the reason in `problems`; it
never stops the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from runai_core.backends.kubernetes import names
from runai_core.backends.kubernetes.api import Object
from runai_core.backends.kubernetes.assumptions import Assumptions, DeviceUsers
from runai_core.backends.kubernetes.codec import claims as dra
from runai_core.backends.kubernetes.codec import volumes
from runai_core.backends.kubernetes.codec.groups import group_of, priority_values
from runai_core.backends.kubernetes.codec.nodes import Partition, node_entry, pool_of
from runai_core.backends.kubernetes.codec.pods import (
    ALONE,
    Pool,
    Surroundings,
    is_ours,
    pod_entry,
)
from runai_core.backends.kubernetes.codec.queues import queue_of, rooted, topology_of
from runai_core.backends.kubernetes.codec.values import key_of, labels_of
from runai_core.backends.kubernetes.devices import is_reservation, place_of
from runai_core.backends.kubernetes.gangs import Gang, GangBook
from runai_core.backends.kubernetes.marks import Dirty, Marks
from runai_core.backends.kubernetes.reading import UNREADABLE, Reader
from runai_core.backends.kubernetes.world import World
from runai_core.model.nodes import NodePool
from runai_core.model.organization import Queue
from runai_core.model.snapshot import (
    HOLDS_RESOURCES,
    NodeEntry,
    PodEntry,
    PodGroup,
    PodState,
    Preemptibility,
    Snapshot,
    Topology,
    settings_of,
)


@dataclass(slots=True)
class View:
    """What one node pool holds."""

    nodes: dict[str, NodeEntry] = field(default_factory=dict)
    groups: dict[str, PodGroup] = field(default_factory=dict)
    pods: dict[str, PodEntry] = field(default_factory=dict)


class Snapshots:
    """Entries of everything in the world, and what is assumed over it."""

    def __init__(self, world: World, *, scheduler: str = names.SCHEDULER) -> None:
        self.world = world
        self.scheduler = scheduler
        self.revision = 0
        self.gangs = GangBook()
        self.partition = Partition()
        self._declared: dict[str, NodePool] = {}  # by name: those that callers ask for
        self._views: dict[str, View] = {}
        self._pool = Pool()
        self._entries: dict[str, PodEntry] = {}
        self._places: dict[str, tuple[str, ...]] = {}  # pod -> views that show it
        self._node_pool: dict[str, str] = {}
        self._groups: dict[str, tuple[PodGroup, str]] = {}  # name -> group, its node pool
        self._decided = Assumptions()
        self._spared: dict[str, float] = {}  # group -> until when its pods are no victims
        self._users = DeviceUsers()
        self._queues: dict[str, tuple[Queue, ...]] = {}
        self._queue_names: dict[str, frozenset[str]] = {}
        self._topologies: tuple[Topology, ...] = ()
        self._claimable: dict[str, dict[str, int]] = {}
        self._claims: tuple[Any, ...] = ()
        self._priorities: tuple[dict[str, int], int | None] = ({}, None)
        self._reader = Reader()
        self._marks = Marks(world)
        self.storage = volumes.Storage(
            claim=world.claims.get,
            volume=world.volumes.get,
            storage_class=world.storage_classes.get,
            volumes=world.volumes.all,
        )

    @property
    def problems(self) -> Mapping[tuple[str, str], str]:
        """Why objects are left out, by (kind, name)."""
        return self._reader.problems

    # -- what the service asks

    def snapshot(self, pool: NodePool, now: float) -> Snapshot:
        """Return all that the engine may know about a node pool."""
        self._declare(pool)
        self.refresh(now)
        view = self._views.get(pool.name) or View()
        return Snapshot(
            taken_at=now,
            revision=self.revision,
            node_pool=pool.name,
            nodes=tuple(view.nodes.values()),
            queues=self._queues.get(pool.name, ()),
            pod_groups=tuple(view.groups.values()),
            pods=tuple(view.pods.values()),
            topologies=self._topologies,
            claims=self._claims,
            settings=settings_of(pool),
        )

    def group(self, name: str) -> PodGroup | None:
        """Return a pod group as it was at the last refresh."""
        found = self._groups.get(name)
        return None if found is None else found[0]

    # -- what we decided

    def assume(self, name: str, uid: str, node: str, gpu_groups: tuple[str, ...] = ()) -> None:
        """Take a pod as bound until the watch shows it, or `forget` is called."""
        self._decided.bind(name, uid, node, gpu_groups)
        self._marks.dirty.pods[name] = None

    def assume_leaving(self, name: str, uid: str) -> None:
        """Take a pod as leaving until the watch shows it, or `forget` is called."""
        self._decided.leave(name, uid)
        self._marks.dirty.pods[name] = None

    def forget(self, name: str) -> None:
        """Take a pod as the watch shows it."""
        self._decided.forget(name)
        self._marks.dirty.pods[name] = None

    def hold(self, name: str) -> None:
        """Let a pod have no place until `forget` is called: its binding failed."""
        self._decided.hold(name)
        self._marks.dirty.pods[name] = None

    def __contains__(self, name: str) -> bool:
        """Return whether a binding or eviction of the pod is under way."""
        return name in self._decided

    def spare(self, group: str, until: float) -> None:
        """Let no pod of a group be a victim for a while: a disruption budget keeps them."""
        self._spared[group] = until
        self._marks.dirty.gangs[group] = None

    # -- keeping current

    def refresh(self, now: float) -> None:
        """Take in what changed."""
        dirty = self._marks.take()
        self._take_settings(dirty)
        for name in dirty.nodes:
            self._take_node(name)
        for name in dirty.groups:
            self._take_group(name)
        dirty.pods |= self._marks.dirty.pods  # those whose node or group came, went or moved
        self._marks.dirty.pods = {}
        for name in dirty.pods:
            self._take_pod(name)
        for name in tuple(self._marks.dirty.pods):  # reservations that gained their first or lost their last user
            self._take_pod(name)
        self._marks.dirty.pods = {}
        for name in [name for name, until in self._spared.items() if until <= now]:
            del self._spared[name]
            self._marks.dirty.gangs[name] = None
        for name in {**dirty.gangs, **self._marks.dirty.gangs}:
            self._settle(name, now)
        self._marks.dirty.gangs = {}
        if dirty.claims:
            self._claims = tuple(self._reader.read_all("ResourceClaim", self.world.resource_claims, self._claim))
        self._pool.trim()
        self.revision += 1

    def _take_settings(self, dirty: Dirty) -> None:
        """Take in what concerns many objects at once."""
        if dirty.pools:
            self._partition_again(dirty)
        if dirty.classes:
            self._priorities = priority_values(self.world.priority_classes.all())
            dirty.groups |= dict.fromkeys(key_of(item) for item in self.world.pod_groups)
        if dirty.slices:
            self._count_devices(dirty)
        if dirty.queues:
            self._take_queues()
        if dirty.topologies:
            self._topologies = tuple(self._reader.read_all("Topology", self.world.topologies, topology_of))

    # -- node pools

    def _declare(self, pool: NodePool) -> None:
        known = self._declared.get(pool.name)
        if known is None or (known.label_key, known.label_value) != (pool.label_key, pool.label_value):
            self._declared[pool.name] = pool
            self._marks.dirty.pools = True

    def _partition_again(self, dirty: Dirty) -> None:
        found = {pool.name: pool for pool in self._reader.read_all("NodePool", self.world.node_pools, pool_of)}
        pools = {
            **found,
            **{name: pool for name, pool in self._declared.items() if pool.label_key or name not in found},
        }
        partition = Partition(tuple(pools[name] for name in sorted(pools)))
        if partition == self.partition and self._views:
            return
        self.partition = partition
        dirty.queues = True
        dirty.nodes |= dict.fromkeys(item["metadata"]["name"] for item in self.world.nodes)
        dirty.groups |= dict.fromkeys(key_of(item) for item in self.world.pod_groups)

    def _view(self, pool: str) -> View:
        return self._views.setdefault(pool, View())

    # -- objects

    def _take_node(self, name: str) -> None:
        item = self.world.nodes.get(name)
        entry = (
            None
            if item is None
            else self._reader.read("Node", item, lambda it: node_entry(it, self._claimable.get(name, {})))
        )
        pool = None if item is None or entry is None else self.partition.of_node(labels_of(item))
        before = self._node_pool.get(name)
        if before is not None and before != pool:
            self._view(before).nodes.pop(name, None)
        if pool is None or entry is None:
            self._node_pool.pop(name, None)
        else:
            self._node_pool[name] = pool
            self._view(pool).nodes[name] = entry
        if before != pool:
            self._marks.dirty.pods |= dict.fromkeys(key_of(pod) for pod in self.world.pods.find("node", name))

    def _take_group(self, name: str) -> None:
        item = self.world.pod_groups.named(name)
        before = self._groups.pop(name, None)
        if item is not None:
            group = self._reader.read("PodGroup", item, lambda it: group_of(it, *self._priorities))
            pool = self.partition.of_labels(labels_of(item))
            if group is not None and pool is not None:
                self._groups[name] = (group, pool)
        after = self._groups.get(name)
        if (before and before[1]) != (after and after[1]):
            self._marks.dirty.pods |= dict.fromkeys(self.gangs.members(name))
            if before is not None:
                self._view(before[1]).groups.pop(name, None)
        self._marks.dirty.gangs[name] = None

    def _take_pod(self, name: str) -> None:
        pod = self.world.pods.named(name)
        entry = None if pod is None else self._entry(name, pod)
        before = self._entries.get(name)
        if entry is before is None:
            return
        turned = [*self._users.count(before, -1), *self._users.count(entry, 1)]
        self._marks.dirty.pods |= dict.fromkeys(turned)
        if entry is None or pod is None:
            self._entries.pop(name, None)
            self._decided.forget(name)
        else:
            self._entries[name] = entry
        self._show(name, entry)
        for group in {part.pod_group for part in (before, entry) if part is not None and part.pod_group}:
            self.gangs.take(group, name, entry if entry is not None and entry.pod_group == group else None, pod)
            self._marks.dirty.gangs[group] = None

    def _entry(self, name: str, pod: Object) -> PodEntry | None:
        ours = is_ours(pod, self.scheduler)
        if not ours and not pod["spec"].get("nodeName"):
            return None
        entry = self._reader.read("Pod", pod, lambda it: pod_entry(it, self._pool, self._around(it), ours=ours))
        if entry is None or entry.state is PodState.FAILED or (not ours and entry.state not in HOLDS_RESOURCES):
            return None
        if is_reservation(pod):
            counted = self._users.hold(place_of(pod), name)
            request = replace(entry.request, gpu_devices=0) if counted else entry.request
            return replace(entry, request=request, gpu_groups=())  # its label names the device for others
        return self._decided.over(name, pod, entry)

    def _around(self, pod: Object) -> Surroundings:
        """Return what a pod depends on besides itself: its volumes and resource claims."""
        spec = pod["spec"]
        if not spec.get("resourceClaims") and not spec.get("volumes"):
            return ALONE
        waits = not spec.get("nodeName")
        terms = volumes.reachable(pod, self.storage) if waits else ()
        wanted = dra.claim_names(pod)
        if not wanted:
            return Surroundings(terms=terms) if terms else ALONE
        found = [item for name in wanted if (item := self.world.resource_claims.named(name)) is not None]
        if waits:
            terms = (*terms, *(term for item in found if (term := dra.allocation_terms(item)) is not None))
        return Surroundings(terms=terms, claims=wanted if waits else (), devices=dra.counts_of(found))

    def _show(self, name: str, entry: PodEntry | None) -> None:
        """Show a pod in the node pools that it matters to: its node's, and its group's."""
        places: set[str] = set()
        if entry is not None and entry.state is not PodState.SUCCEEDED:  # those are shown with their gang
            if entry.node is not None and entry.node in self._node_pool:
                places.add(self._node_pool[entry.node])
            group = self._groups.get(entry.pod_group)
            if group is not None:
                places.add(group[1])
        for pool in self._places.pop(name, ()):
            if pool not in places:
                self._view(pool).pods.pop(name, None)
        if places and entry is not None:
            self._places[name] = tuple(places)
            for pool in places:
                self._view(pool).pods[name] = entry

    def _settle(self, name: str, now: float) -> None:
        """Bring a group, and its finished pods, into the view of its node pool, or out of all."""
        known = self._groups.get(name)
        gang = self.gangs.find(name)
        if known is None or gang is None or not gang.live:
            if known is not None:
                self._view(known[1]).groups.pop(name, None)
            self._show_finished(gang, None)
            self.gangs.drop_if_empty(name)
            return
        group, pool = known
        self._view(pool).groups[name] = self._aged(gang, group, pool, now)
        self._show_finished(gang, pool)

    def _aged(self, gang: Gang, group: PodGroup, pool: str, now: float) -> PodGroup:
        """Return a group with what its pods say: since when it runs, and runs below its minimum."""
        queue = self._queue_of(group, pool)
        stale = gang.stale(group, now)
        started = gang.started(group, now)
        spared = group.name in self._spared
        if (stale, started, queue) == (group.stale_since, group.last_start, group.queue) and not spared:
            return group
        kept = Preemptibility.NON_PREEMPTIBLE if spared else group.preemptibility
        return replace(group, queue=queue, stale_since=stale, last_start=started, preemptibility=kept)

    def _queue_of(self, group: PodGroup, pool: str) -> str:
        """Return the group's queue in its node pool: elsewhere than in the default one, the pool is in its name."""
        known = self._queue_names.get(pool, _NO_NAMES)
        return group.queue if group.queue in known or f"{group.queue}-{pool}" not in known else f"{group.queue}-{pool}"

    def _show_finished(self, gang: Gang | None, pool: str | None) -> None:
        """A gang of which a pod succeeded is never below its minimum: such pods stay in sight while it lives."""
        for name in gang.finished if gang is not None else ():
            entry = self._entries.get(name)
            for place in self._places.pop(name, ()):
                self._view(place).pods.pop(name, None)
            if pool is not None and entry is not None:
                self._places[name] = (pool,)
                self._view(pool).pods[name] = entry

    def _take_queues(self) -> None:
        found: dict[str, list[Queue]] = {}
        for item in self.world.queues:
            queue = self._reader.read("Queue", item, queue_of)
            pool = self.partition.of_labels(labels_of(item))
            if queue is not None and pool is not None:
                found.setdefault(pool, []).append(queue)
        self._queues = {pool: rooted(sorted(queues, key=lambda queue: queue.name)) for pool, queues in found.items()}
        known = {pool: frozenset(queue.name for queue in queues) for pool, queues in self._queues.items()}
        if known != self._queue_names:
            self._queue_names = known
            self._marks.dirty.gangs |= dict.fromkeys(self._groups)

    def _count_devices(self, dirty: Dirty) -> None:
        classes = [item["metadata"]["name"] for item in self.world.device_classes]
        matches = dra.class_matcher(self.world.device_classes.get)
        try:
            on_nodes = dra.devices_of(self.world.resource_slices.all())
        except UNREADABLE as error:
            self._reader.complain("ResourceSlice", "", error)
            return
        counts = {node: dra.claimable(devices, classes, matches) for node, devices in on_nodes.items()}
        changed = {name for name in {*counts, *self._claimable} if counts.get(name) != self._claimable.get(name)}
        self._claimable = counts
        dirty.nodes |= dict.fromkeys(sorted(changed))

    def _claim(self, item: Object) -> Any:
        pod = self._entries.get(dra.made_for(item))
        group = self._groups.get(pod.pod_group) if pod is not None else None
        return dra.claim_entry(item, group[0].queue if group is not None else "")


_NO_NAMES: frozenset[str] = frozenset()
