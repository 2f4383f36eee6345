"""The Kubernetes cluster behind the port: eyes (snapshots), hands (binding, evicting), voice (status)."""

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from importlib import import_module
from typing import Any

from runai_core.backends.kubernetes import names
from runai_core.backends.kubernetes import resources as kinds
from runai_core.backends.kubernetes.api import Api
from runai_core.backends.kubernetes.binding import Binder
from runai_core.backends.kubernetes.changes import Changes
from runai_core.backends.kubernetes.codec.nodes import node_model
from runai_core.backends.kubernetes.events import Recorder
from runai_core.backends.kubernetes.evicting import Evictor
from runai_core.backends.kubernetes.external import ExternalRows
from runai_core.backends.kubernetes.places import Places
from runai_core.backends.kubernetes.reading import Reader
from runai_core.backends.kubernetes.secrets import provide
from runai_core.backends.kubernetes.snapshot import Snapshots
from runai_core.backends.kubernetes.status import StatusWriter
from runai_core.backends.kubernetes.world import World
from runai_core.model.decision import CycleResult, Outcome
from runai_core.model.nodes import Node, NodePool
from runai_core.model.snapshot import Snapshot
from runai_core.model.workload import Gang, Pod, Workload, WorkloadType
from runai_core.ports import Clock, ClusterChange, Secrets

log = logging.getLogger(__name__)

UNDER_WAY = 200
"""Bindings under way from which the next cycle waits: they keep the API server busy while it is computed."""

HELD_UP = 0.5
"""Seconds that a cycle waits for them at most."""


class KubernetesCluster:
    """A `ports.Cluster` on Kubernetes."""

    def __init__(self, api: Api, world: World, clock: Clock, *, scheduler: str = names.SCHEDULER) -> None:
        self.api = api
        self.world = world
        self._clock = clock
        self.snapshots = Snapshots(world, scheduler=scheduler)
        self.changes_told = Changes(world, expected=self.snapshots.__contains__, scheduler=scheduler)
        self._places = Places(world.pod_groups, wake=self.changes_told.wake)
        self.recorder = Recorder(api, clock, component=scheduler, busy=self._is_busy)
        self.evictor = Evictor(api, world, self.snapshots, self.recorder, clock, wake=self.changes_told.wake)
        self.binder = Binder(
            api,
            world,
            self.snapshots,
            self.recorder,
            wake=self.changes_told.wake,
            take_back=self.evictor.take_back,
        )
        self.status = StatusWriter(api, world, self.snapshots, self.recorder, clock, busy=self._is_busy)
        self._rows: ExternalRows | None = None
        self._secrets: Secrets | None = None
        self._reader = Reader()
        self._tasks: list[asyncio.Task[None]] = []

    def take_secrets(self, secrets: Secrets) -> None:
        """Take where the credentials are found that pods need as secrets."""
        self._secrets = secrets

    async def start(self) -> None:
        """Begin to write in the background."""
        self._tasks = [asyncio.create_task(self.recorder.run()), asyncio.create_task(self.status.run())]

    def follow_workloads(self) -> None:
        """Tell of changes of workload objects as well."""
        self.changes_told.follow_workloads(tuple(self.world.crd(kind) for kind in kinds.WORKLOADS))
        self.world.crd(kinds.KNATIVE_SERVICES).on_change(self._note_server)

    def _note_server(self, _kind: str, old: dict[str, Any] | None, new: dict[str, Any] | None) -> None:
        labels = ((new or old or {}).get("metadata") or {}).get("labels") or {}
        if uid := labels.get(names.WORKLOAD_UID_LABEL):
            self.changes_told.tell(ClusterChange(workload_uid=uid, schedules=False))

    def follow_rows(self, rows: ExternalRows) -> None:
        """Know the workloads that others' controllers make: their pods, and when one changes."""
        self._rows = rows
        rows.on_change(lambda _, row: self.changes_told.tell(ClusterChange(workload_uid=row.meta.uid, schedules=False)))

    async def close(self) -> None:
        """Stop; bindings and evictions that are under way are given a moment."""
        await asyncio.gather(self.binder.under_way.close(), self.evictor.under_way.close())
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- the scheduler

    async def nodes(self) -> Sequence[Node]:
        """Return all nodes, each with its node pool."""
        partition = self.snapshots.partition
        found = (
            self._reader.read(
                "Node", item, lambda it: node_model(it, partition.of_node(it["metadata"].get("labels") or {}) or "")
            )
            for item in self.world.nodes
        )
        return tuple(sorted((node for node in found if node is not None), key=lambda node: node.name))

    async def snapshot(self, pool: NodePool) -> Snapshot:
        """Return all that the engine may know about one node pool now."""
        await self.binder.under_way.few(UNDER_WAY, HELD_UP)
        found = self.snapshots.snapshot(pool, self._clock.now())
        if due := self._places.due(found):  # they came after their places were found
            self.binder.bind(due)
            found = self.snapshots.snapshot(pool, self._clock.now())
        return self._places.over(found)

    async def apply(self, result: CycleResult) -> Mapping[str, Outcome]:
        """Begin to carry out binds and evictions and to tell verdicts; return what is known of each, by pod name."""
        own, placed = self._places.take(result)
        outcomes = {**self.evictor.evict(own.evictions), **self.binder.bind(own.binds), **placed}
        self.status.take(own)
        return outcomes

    def changes(self) -> AsyncIterator[ClusterChange]:
        """Yield whenever a pod or node changed; changes may be merged, none is lost."""
        return self.changes_told.listen()

    def _is_busy(self) -> bool:
        return self.binder.under_way.count + self.evictor.under_way.count > 0

    # -- pods of workloads

    async def launch(self, workload: Workload, gang: Gang) -> None:
        """Make the pods of this attempt exist, unbound. Idempotent: those that exist are left alone."""
        if self._secrets is not None:
            place = _workload_pods().place_of(self.world, workload)
            await provide(self.api, self._secrets, workload, place.namespace)
        await _workload_pods().launch(self.api, self.world, workload, gang)

    async def remove(
        self, workload: Workload, *, reason: str, attempt: int | None = None, keep_finished: bool = False
    ) -> None:
        """Ask the pods to end (SIGTERM, grace period, SIGKILL) and to leave `pods`. Idempotent; returns at once."""
        await _workload_pods().remove(
            self.api, self.world, workload, reason=reason, attempt=attempt, keep_finished=keep_finished
        )

    async def remove_pods(self, workload: Workload, uids: Collection[str], *, reason: str) -> None:
        """Ask these pods of the workload to end and to leave `pods`."""
        await _workload_pods().remove_pods(self.api, self.world, workload, uids, reason=reason)

    def rolls_out(self, type_: WorkloadType) -> bool:
        """Return whether pods of this type are replaced one after the other."""
        return bool(_workload_pods().rolls_out(type_))

    async def pods(self, workload: Workload) -> Sequence[Pod]:
        """Return the pods of the workload that exist, of every attempt, terminating ones included."""
        if self._rows is not None and workload.type is WorkloadType.EXTERNAL:
            return tuple(self._rows.members(workload.meta.uid))
        return tuple(await _workload_pods().pods(self.api, self.world, workload))

    async def replicas(self, workload: Workload, pods: Sequence[Pod]) -> int | None:
        """Return how many replicas of a server Knative keeps, as far as is known; None where it does not scale it."""
        found: int | None = await _workload_pods().replicas(self.api, self.world, workload, pods)
        return found

    async def revision_name(self, workload: Workload) -> str:
        """Return what Knative, or the Deployment, calls the present specification of a server; empty: nothing yet."""
        return str(await _workload_pods().revision_name(self.api, self.world, workload))

    async def rendezvous(self, workload: Workload) -> tuple[str, int]:
        """Return the address and port where the first pod of the next attempt can be found by the others."""
        address, port = _workload_pods().rendezvous(self.world, workload)
        return address, port

    async def addresses(self, workload: Workload) -> tuple[str, ...]:
        """Return the name of each rank of the workload in the cluster's DNS; empty where pods look for nobody."""
        found: tuple[str, ...] = _workload_pods().addresses(self.world, workload)
        return found

    def hostfile(self, workload: Workload) -> str:
        """Return the path of the MPI host file in the launcher; empty where there is none."""
        return str(_workload_pods().hostfile(workload))


def _workload_pods() -> Any:
    """Return the room that makes pods of workloads; a process that only schedules never loads it."""
    return import_module("runai_core.backends.kubernetes.pods")
