"""The orchestrator itself: is it alive, is it ready, what is it, which plug-ins has it."""

import asyncio
from collections import Counter
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from runai_core import __version__
from runai_core.bootstrap import Orchestrator
from runai_core.model.errors import RunaiError
from runai_core.model.organization import Action, Actor
from runai_core.model.workload import Phase
from runai_core.ports import Filter, Op, Query
from runai_core.service.scheduling import CycleReport
from runai_core.web.answers.system import CycleItem, GpuCounts, HealthAnswer, PluginItem, PluginList, StatusAnswer
from runai_core.web.context import Door, Who
from runai_core.web.errors import Json
from runai_core.web.views.units import CLUSTER_NAME, iso, units

health = APIRouter(tags=["health"])
router = APIRouter(prefix="/api/v1", tags=["orchestrator"])


@health.get("/healthz", summary="Is the process alive?")
async def healthz(door: Door) -> HealthAnswer:
    """Yes, if this is answered; plug-ins that failed are named."""
    return HealthAnswer(
        status="ok", version=__version__, failed_plugins=tuple(item.name for item in door.plugins.failures)
    )


@health.get("/readyz", summary="Can it do its work?", response_model=HealthAnswer)
async def readyz(door: Door) -> Response:
    """200 when the store answers, 503 with the reason when it does not."""
    try:
        await door.backend.store.version()
    except RunaiError as error:
        return Json({"status": "unavailable", "version": __version__, "message": error.message}, 503)
    return Json({"status": "ok", "version": __version__})


@router.get("/status", summary="What runs here (ours)")
async def status(door: Door, actor: Who) -> StatusAnswer:
    """Version, backend, nodes and GPUs, workloads by phase, the newest scheduling cycle of each node pool."""
    nodes = await door.nodes()
    devices = Counter(
        {
            "real": sum(not device.simulated for node in nodes for device in node.devices),
            "simulated": sum(device.simulated for node in nodes for device in node.devices),
        }
    )
    return StatusAnswer(
        version=__version__,
        cluster_id=door.cluster_id,
        cluster_name=CLUSTER_NAME,
        backend=door.backend.name,
        facts=dict(door.backend.facts),
        started_at=iso(door.started_at),
        uptime_seconds=int(door.backend.clock.now() - door.started_at),
        nodes=len(nodes),
        gpus=GpuCounts(total=sum(node.gpu_count for node in nodes), **devices),
        cpu_cores=units(sum(node.cpu for node in nodes)),
        workloads=await _workloads_by_phase(door, actor),
        cycles=tuple(_cycle(report) for report in door.scheduling.reports.values()),
        failed_plugins=tuple(item.name for item in door.plugins.failures),
    )


@router.get("/plugins", summary="List plug-ins (ours)")
async def list_plugins(door: Door, actor: Who) -> PluginList:
    """Those that failed, with the reason, as well."""
    await door.access.require(actor, Action.READ, "plugins")
    return PluginList(plugins=tuple(PluginItem(**_fields(item)) for item in door.plugins.plugins))


async def _workloads_by_phase(door: Orchestrator, actor: Actor) -> dict[str, int]:
    queries = [Query(filters=(Filter("phase", Op.EQ, phase.value),), limit=1) for phase in Phase]
    pages = await asyncio.gather(*(door.workloads.list(actor, query) for query in queries))
    return {phase.value: page.total for phase, page in zip(Phase, pages, strict=True) if page.total}


def _cycle(report: CycleReport) -> CycleItem:
    return CycleItem(
        node_pool=report.node_pool,
        finished_at=iso(report.finished_at),
        seconds=round(report.seconds, 6),
        binds=report.binds,
        evictions=report.evictions,
        waiting=report.waiting,
    )


def _fields(item: Any) -> dict[str, Any]:
    return {name: getattr(item, name) for name in PluginItem.model_fields}
