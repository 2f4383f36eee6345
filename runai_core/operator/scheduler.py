"""The scheduler as a process of its own on a cluster: `runai scheduler`.

It needs a kubeconfig and nothing else: no database, no API server of ours.
Node pools come from NodePool objects, or from the command line; verdicts are
written on pods and PodGroups.
"""

import asyncio
import contextlib
import gc
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from runai_core.backends.clock import SystemClock
from runai_core.backends.kubernetes import names
from runai_core.backends.kubernetes.api import connect
from runai_core.backends.kubernetes.cluster import KubernetesCluster
from runai_core.backends.kubernetes.lease import KubernetesLease, NoElection
from runai_core.backends.kubernetes.world import SCHEDULING, open_world
from runai_core.model.errors import Unavailable
from runai_core.operator.scheduler_measures import scheduler_families
from runai_core.operator.scheduler_store import NoRuntime, PoolStore
from runai_core.operator.serving import probes, serving
from runai_core.plugins.manager import load_plugins
from runai_core.ports import Backend
from runai_core.service.exposition import Family
from runai_core.service.journal import Journal
from runai_core.service.scheduling import SchedulingService

log = logging.getLogger(__name__)

LEASE = "runai-scheduler"


async def run_scheduler(  # noqa: PLR0913 - the command's options
    kubeconfig: Path | None,
    context: str = "",
    *,
    leader_elect: bool = True,
    host: str = "127.0.0.1",
    port: int = 0,
    node_pools: Sequence[str] = (),
    plugins: Sequence[str] | None = None,
    scheduler: str = names.SCHEDULER,
) -> None:
    """Schedule until cancelled; where others do, wait until none does.

    `node_pools` restricts the process to some node pools; none means all.

    Raises:
        InvalidRequest: the kubeconfig is wrong. Unavailable: the API server or the port cannot be used.
    """
    registry = load_plugins(plugins)
    async with _opened(kubeconfig, context, node_pools, scheduler, leader_elect=leader_elect) as backend:
        service = SchedulingService(backend, Journal(backend), registry.rules)
        cluster = backend.cluster
        assert isinstance(cluster, KubernetesCluster)  # noqa: S101 - we have just opened it

        async def trouble() -> str:
            return cluster.world.trouble

        async def measure() -> list[Family]:
            return scheduler_families(cluster, service, getattr(backend.lease, "leads", ()))

        async with serving(probes(trouble, measure), host, port) as bound:
            log.info("probes and metrics at http://%s:%d", host, bound)
            while True:
                try:
                    async with backend.lease.hold(LEASE if scheduler == names.SCHEDULER else scheduler):
                        log.info("this process schedules")
                        await _schedule(service, backend)
                except Unavailable as error:
                    log.warning("%s", error.message)


@asynccontextmanager
async def _opened(
    kubeconfig: Path | None, context: str, node_pools: Sequence[str], scheduler: str, *, leader_elect: bool
) -> AsyncIterator[Backend]:
    clock = SystemClock()
    async with connect(kubeconfig, context) as api:
        log.info("%s, Kubernetes %s", api.server, await api.server_version())
        async with open_world(api, SCHEDULING) as world:
            cluster = KubernetesCluster(api, world, clock, scheduler=scheduler)
            await cluster.start()
            gc.collect()
            gc.freeze()  # what was read at the start mostly stays: the collector need not walk it again and again
            try:
                yield Backend(
                    store=PoolStore(world, node_pools),
                    cluster=cluster,
                    runtime=NoRuntime(),
                    lease=KubernetesLease(api, clock) if leader_elect else NoElection(),
                    clock=clock,
                    name="kubernetes",
                )
            finally:
                await cluster.close()


async def _schedule(service: SchedulingService, backend: Backend) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(service.run())
        tasks.create_task(_listen(service, backend))


async def _listen(service: SchedulingService, backend: Backend) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        async for change in backend.cluster.changes():
            if change.schedules:
                service.wake()
