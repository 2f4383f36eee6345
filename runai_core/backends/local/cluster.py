"""The embedded cluster: carries out decisions, makes and removes pods, and shows it all to the scheduler.

Order of every change: the store first, then the process. What the store says is
what should be; `driver` makes it so, also after a crash in between.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from runai_core.backends.listeners import Listeners
from runai_core.backends.local.devices import devices_for
from runai_core.backends.local.driver import FIRST_DELAY, Driver
from runai_core.backends.local.executor import Executor, passed_environment
from runai_core.backends.local.folders import remove_forgotten
from runai_core.backends.local.free_ports import LOOPBACK, MAX_NEIGHBOURS, FreePorts
from runai_core.backends.local.mirror import FINISHED, GangRecord, Mirror
from runai_core.backends.local.prepared import Preparation
from runai_core.backends.local.store import LocalStore
from runai_core.backends.local.verdicts import EVICTABLE, LOST, evicted, releasing
from runai_core.backends.local.writes import Create, Update, Write
from runai_core.model.decision import Bind, CycleResult, Outcome
from runai_core.model.errors import AlreadyExists, Conflict, NotFound, RunaiError, Unavailable, WatchExpired
from runai_core.model.meta import Meta
from runai_core.model.nodes import NetworkTopology, Node, NodePool
from runai_core.model.organization import Department, Project
from runai_core.model.snapshot import PodState, Snapshot
from runai_core.model.workload import Gang, Pod, PodStatus, Workload
from runai_core.ports import ChangeType, Clock, ClusterChange, Secrets

log = logging.getLogger(__name__)

ORPHAN_GRACE = 10.0
"""Seconds that a process has to end of whose pod nobody knows any more."""


class LocalCluster:
    """A `ports.Cluster` on this machine."""

    def __init__(
        self,
        *,
        store: LocalStore,
        executor: Executor,
        clock: Clock,
        nodes: Sequence[Node],
        folders: Path | None = None,
        first_delay: float = FIRST_DELAY,
    ) -> None:
        self._store = store
        self._executor = executor
        self._clock = clock
        self._inventory = nodes
        self._folders = folders  # one below it for each pod: its logs and its working directory
        self._mirror = Mirror()
        self._changes = Listeners()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ports = FreePorts()
        self.preparation = Preparation(folders)
        self._driver = Driver(
            preparation=self.preparation,
            store=store,
            mirror=self._mirror,
            executor=executor,
            clock=clock,
            passed=passed_environment(os.environ),
            changed=self._pod_changed,
            first_delay=first_delay,
        )

    # -- life

    def take_secrets(self, secrets: Secrets) -> None:
        """Take where pods' secrets are found."""
        self.preparation.take_secrets(secrets)

    async def start(self) -> None:
        """Learn what is stored, find the processes that run, and bring both together."""
        version = await self._store.version()
        await self._load_units()
        self._mirror.set_nodes(await self._save_nodes())
        for record in (await self._store.list(GangRecord)).items:
            self._mirror.put_group(record)
        for pod in (await self._store.list(Pod)).items:
            self._mirror.put(pod)
        for record in (await self._store.list(GangRecord)).items:
            if not self._mirror.has_members(record.group.name):  # a crash came between the last pod and its group
                self._mirror.drop_group(record.group.name)
                await self._store.delete(GangRecord, record.meta.uid)
        await self._executor.open(self._run_changed)
        await self._release_from_lost_nodes()
        for uid in tuple(self._mirror.pods):
            self._driver.poke(uid)
        for kind, take in self._followed().items():
            self._keep(self._follow(kind, version, take))
        if self._folders is not None:
            self._keep(remove_forgotten(self._folders, self._store, self._clock))

    async def close(self, *, shutdown: bool) -> None:
        """Stop; processes go on unless all is shut down."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._driver.close()
        await self._executor.close(shutdown=shutdown)

    # -- what the scheduler and the service ask

    async def nodes(self) -> Sequence[Node]:
        """Return all nodes, each with its node pool."""
        return tuple(self._mirror.nodes.values())

    async def snapshot(self, pool: NodePool) -> Snapshot:
        """Return all that the engine may know about one node pool now."""
        return self._mirror.snapshot(pool, self._clock.now())

    async def pods(self, workload: Workload) -> Sequence[Pod]:
        """Return the pods of the workload that exist, of every attempt, terminating ones included."""
        return self._mirror.of_workload(workload.meta.uid)

    def pod(self, uid: str) -> Pod | None:
        """Return a pod as it is now."""
        return self._mirror.pods.get(uid)

    def node(self, name: str) -> Node | None:
        """Return a node."""
        return self._mirror.nodes.get(name)

    def changes(self) -> AsyncIterator[ClusterChange]:
        """Yield whenever a pod or node changed; changes may be merged, none is lost."""
        return self._changes.listen()

    async def rendezvous(self, workload: Workload) -> tuple[str, int]:
        """Return the address and a free port where the first pod of the next attempt can be found by the others.

        The ports after it, one for each further pod, are free as well at this moment.
        """
        count = 1 + (workload.spec.num_workers or 0) + (workload.spec.workers or 0)
        return LOOPBACK, self._ports.neighbours(min(count, MAX_NEIGHBOURS))

    async def launch(self, workload: Workload, gang: Gang) -> None:
        """Make the pods of this attempt exist, unbound. Idempotent: those that exist are left alone.

        Pods that wait follow their workload to another node pool.
        """
        writes = self._launch_writes(workload, gang, gang.pods)
        if not writes:
            return
        try:
            changed = await self._store.transact(writes)
        except AlreadyExists:  # left by a crash, or deleted but kept for the record
            pods = [await self._without_taken_uid(pod) for pod in gang.pods]
            changed = await self._store.transact(self._launch_writes(workload, gang, pods))
        self._take(changed)

    async def remove(
        self, workload: Workload, *, reason: str, attempt: int | None = None, keep_finished: bool = False
    ) -> None:
        """Ask the pods to end (SIGTERM, grace period, SIGKILL) and to leave `pods`. Idempotent; returns at once."""
        chosen = [
            pod
            for pod in self._mirror.of_workload(workload.meta.uid)
            if attempt in (None, pod.attempt) and not (keep_finished and pod.status.state in FINISHED)
        ]
        await self._end(chosen, reason)

    async def remove_pods(self, workload: Workload, uids: Collection[str], *, reason: str) -> None:
        """Ask these pods of the workload to end and to leave `pods`."""
        await self._end([pod for pod in self._mirror.of_workload(workload.meta.uid) if pod.meta.uid in uids], reason)

    async def _end(self, chosen: Sequence[Pod], reason: str) -> None:
        await asyncio.gather(*(self._driver.change(pod.meta.uid, releasing(reason, "")) for pod in chosen))
        for pod in chosen:
            self._driver.abandon(pod.meta.uid)

    async def apply(self, result: CycleResult) -> Mapping[str, Outcome]:
        """Carry out binds and evictions; return what became of each, by pod name. Never raise for a stale one."""
        outcomes: dict[str, Outcome] = {}
        changed: dict[str, Pod] = {}  # by name in decisions
        for eviction in result.evictions:
            self._plan(eviction.pod, outcomes, changed, partial(evicted, eviction=eviction))
        for bind in result.binds:
            self._plan(bind.pod, outcomes, changed, partial(self._bound, bind=bind, others=changed.values()))
        records = self._restarted_groups({changed[bind.pod].pod_group for bind in result.binds if bind.pod in changed})
        await self._commit(changed, records, outcomes)
        for name, pod in changed.items():
            if outcomes[name] is Outcome.APPLIED:
                self._driver.poke(pod.meta.uid)
        return outcomes

    # -- decisions

    def _plan(
        self,
        name: str,
        outcomes: dict[str, Outcome],
        changed: dict[str, Pod],
        decide: Callable[[Pod], PodStatus | None],
    ) -> None:
        """Work out one decision: the pod's new status, or the outcome that there is none."""
        pod = self._mirror.by_key(name)
        if pod is None:
            outcomes[name] = Outcome.GONE
            return
        status = decide(pod)
        outcomes[name] = Outcome.STALE if status is None else Outcome.APPLIED
        if status is not None and status != pod.status:
            changed[name] = replace(pod, status=status)

    def _bound(self, pod: Pod, bind: Bind, others: Iterable[Pod]) -> PodStatus | None:
        node = self._mirror.nodes.get(bind.node)
        if node is None or pod.status.state is not PodState.PENDING:
            return None
        neighbours = [*self._mirror.on_node(node.name), *(other for other in others if other.status.node == node.name)]
        devices = devices_for(bind, pod.spec.request, node, neighbours)
        if devices is None:
            return None
        return PodStatus(
            state=PodState.BINDING,
            node=node.name,
            gpu_groups=bind.gpu_groups,
            gpu_devices=devices,
            scheduled_at=self._clock.now(),
        )

    def _restarted_groups(self, names: set[str]) -> list[GangRecord]:
        """Return the groups of which no pod had a place until now, with the time of their start."""
        records = (self._mirror.group(name) for name in sorted(names) if not self._mirror.was_placed(name))
        now = self._clock.now()
        return [replace(record, group=replace(record.group, last_start=now)) for record in records if record]

    async def _commit(self, changed: dict[str, Pod], records: list[GangRecord], outcomes: dict[str, Outcome]) -> None:
        """Store all that was decided at once; where that is refused, one by one."""
        if not changed:
            return
        try:
            self._take(await self._store.transact([*map(Update, changed.values()), *map(Update, records)]))
        except (Conflict, NotFound):
            for name, pod in changed.items():
                try:
                    self._take(await self._store.transact([Update(pod)]))
                except Conflict:
                    outcomes[name] = Outcome.STALE
                except NotFound:
                    outcomes[name] = Outcome.GONE

    def _take(self, items: Iterable[Any]) -> None:
        for item in items:
            if isinstance(item, GangRecord):
                self._mirror.put_group(item)
            else:
                self._driver.note(item)

    # -- pods

    def _launch_writes(self, workload: Workload, gang: Gang, pods: Sequence[Pod]) -> list[Write]:
        writes: list[Write] = []
        for pod in pods:
            known = self._mirror.pods.get(pod.meta.uid) or self._mirror.by_key(f"{pod.meta.project}/{pod.name}")
            if known is None:
                writes.append(Create(pod))
            elif known.status.state is PodState.PENDING and known.node_pool != pod.node_pool:
                writes.append(Update(replace(known, node_pool=pod.node_pool)))
        record = self._mirror.group(gang.group.name)
        pool = pods[0].node_pool if pods else workload.node_pool
        if record is None:
            meta = Meta(name=gang.group.name, project=workload.meta.project, owner=workload.meta.uid)
            writes.insert(0, Create(GangRecord(meta=meta, group=gang.group, node_pool=pool)))
        else:
            group = replace(gang.group, last_start=record.group.last_start, created_at=record.group.created_at)
            if (group, pool) != (record.group, record.node_pool):
                writes.insert(0, Update(replace(record, group=group, node_pool=pool)))
        return writes

    async def _without_taken_uid(self, pod: Pod) -> Pod:
        try:
            found = await self._store.get_by_uid(Pod, pod.meta.uid)
        except NotFound:
            return pod
        if found.meta.deleted_at is None:
            self._driver.note(found)
            return pod
        return replace(pod, meta=replace(pod.meta, uid=""))

    def _pod_changed(self, pod: Pod) -> None:
        self._changes.tell(ClusterChange(workload_uid=pod.meta.owner))

    def _run_changed(self, uid: str) -> None:
        if uid in self._mirror.pods:
            self._driver.poke(uid)
        else:
            self._keep(self._end_orphan(uid))

    async def _end_orphan(self, uid: str) -> None:
        """End and forget a process whose pod is not stored: another database was put in place."""
        run = self._executor.run_of(uid)
        try:
            if run is not None and run.running:
                log.warning("process %d belongs to no pod that is stored: it is ended", run.pid)
                await self._executor.stop(uid, ORPHAN_GRACE)
            elif run is not None:
                await self._executor.forget(uid)
        except RunaiError as error:
            log.warning("the process of unknown pod %s: %s", uid, error.message)

    # -- what is stored

    async def _load_units(self) -> None:
        for pool in (await self._store.list(NodePool)).items:
            self._mirror.put_pool(pool)
        for topology in (await self._store.list(NetworkTopology)).items:
            self._mirror.put_topology(topology)
        for department in (await self._store.list(Department)).items:
            self._mirror.put_unit(department)
        for project in (await self._store.list(Project)).items:
            self._mirror.put_unit(project)

    async def _save_nodes(self) -> Sequence[Node]:
        """Store the inventory, keeping the identity of nodes that were known, and return it."""
        known = {node.name: node for node in (await self._store.list(Node)).items}
        saved: list[Node] = []
        for node in self._inventory:
            old = known.pop(node.name, None)
            if old is None:
                saved.append(await self._store.create(node))
                continue
            new = replace(node, meta=replace(old.meta, labels=node.meta.labels), unschedulable=old.unschedulable)
            saved.append(old if new == old else await self._store.update(new))
        for gone in known.values():
            await self._store.delete(Node, gone.meta.uid)
        return saved

    async def _release_from_lost_nodes(self) -> None:
        for pod in tuple(self._mirror.pods.values()):
            if pod.status.node and pod.status.node not in self._mirror.nodes and pod.status.state in EVICTABLE:
                await self._driver.change(pod.meta.uid, releasing(LOST, f"node {pod.status.node} is no longer there"))

    def _followed(self) -> Mapping[type[Any], Callable[[ChangeType, Any], None]]:
        mirror = self._mirror
        return {
            Pod: lambda _, pod: self._driver.note(pod),
            NodePool: self._told(mirror.put_pool, mirror.drop_pool),
            NetworkTopology: self._told(mirror.put_topology, mirror.drop_topology),
            Department: self._told(mirror.put_unit, mirror.drop_unit),
            Project: self._told(mirror.put_unit, mirror.drop_unit),
        }

    def _told(self, put: Callable[[Any], None], drop: Callable[[str], None]) -> Callable[[ChangeType, Any], None]:
        """Return who takes a change of what the mirror knows."""

        def take(change: ChangeType, item: Any) -> None:
            if change is ChangeType.DELETED:
                drop(item.meta.uid)
            else:
                put(item)
            self._changes.tell(ClusterChange())

        return take

    async def _follow(self, kind: type[Any], version: int, take: Callable[[ChangeType, Any], None]) -> None:
        """Keep the mirror up to date with what others store."""
        while True:
            try:
                async for change in self._store.watch(kind, version):
                    version = change.version
                    take(change.type, change.object)
            except WatchExpired:
                page = await self._store.list(kind)
                version = page.version
                for item in page.items:
                    take(ChangeType.MODIFIED, item)
            except Unavailable as error:
                log.warning("watching %s: %s", kind.__name__, error.message)
                await self._clock.sleep(1.0)
            else:
                return  # the store is closed

    def _keep(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
