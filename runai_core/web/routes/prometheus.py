"""The public metrics for Prometheus: GET /metrics with a token that may read them."""

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from runai_core.model.nodes import NodePool
from runai_core.model.organization import Action, Department, Project
from runai_core.model.workload import Pod, Workload
from runai_core.ports import Query
from runai_core.service.exposition import CONTENT_TYPE, Family, exposition, with_older_names
from runai_core.service.families import Seen, cluster_families, cycle_families
from runai_core.service.use_families import use_families
from runai_core.settings import ROLES
from runai_core.web.context import Door, Who

RESOURCE = "scrapeable-metrics"

router = APIRouter(tags=["metrics"])


@router.get("/metrics", summary="Metrics for Prometheus", response_class=PlainTextResponse)
async def metrics(door: Door, actor: Who) -> PlainTextResponse:
    """What all workloads, nodes and projects ask for, hold and use. On a cluster the operator has them too."""
    await door.access.require(actor, Action.READ, RESOURCE)
    return PlainTextResponse(exposition(await families(door)), media_type=CONTENT_TYPE)


async def families(door: Door) -> list[Family]:
    """Return all metrics; where another process leads, that one's own only, so that nothing is counted twice."""
    seen = await seen_by(door)
    cycles = cycle_families(seen)
    if "operator" not in ROLES[door.settings.role]:
        return cycles
    whole = [*cluster_families(seen), *use_families(seen)]
    return [*cycles, *(with_older_names(whole) if door.settings.older_metric_names else whole)]


async def seen_by(door: Door) -> Seen:
    """Return what there is now."""
    store = door.backend.store
    return Seen(
        cluster_id=door.cluster_id,
        now=door.backend.clock.now(),
        nodes=await door.backend.cluster.nodes(),
        pools=(await store.list(NodePool, Query())).items,
        departments=(await store.list(Department, Query())).items,
        projects=(await store.list(Project, Query())).items,
        workloads=(await store.list(Workload, Query())).items,
        pods=(await store.list(Pod, Query())).items,
        reports=door.scheduling.reports,
        newest=door.sampler.newest,
    )
