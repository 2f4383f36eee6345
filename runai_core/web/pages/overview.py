"""Overview: what there is, who holds it, what is used of it, and what waits for what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from runai_core.bootstrap import Orchestrator
from runai_core.model.errors import Forbidden
from runai_core.model.nodes import Node
from runai_core.model.organization import Actor
from runai_core.model.resources import MILLI, Resources
from runai_core.model.samples import Point
from runai_core.model.workload import Phase
from runai_core.ports import Filter, Op, Query
from runai_core.service.organization import UnitStatus
from runai_core.web.context import Door
from runai_core.web.pages.frame import Viewer, page, page_router
from runai_core.web.pages.nodes import held_in_pools, nodes_seen, pool_quotas
from runai_core.web.pages.quotas import Quota, quotas_of

MOST_ROWS = 8
"""Rows of each list; the page of its own has all."""

Statuses = Mapping[str, Mapping[str, UnitStatus]]

router = page_router()


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What was measured of GPUs. None: nothing is measured."""

    utilisation: float | None = None  # part of 1 of the GPUs that are measured
    idle: float = 0.0  # GPUs that are held and have not been used for a while


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One project, department or node pool."""

    name: str
    link: str
    quota: Quota
    used: Used


@router.get("/overview")
async def overview(request: Request, door: Door, actor: Viewer) -> Response:
    """Show allocation and use by node pool, department and project, and what waits."""
    nodes = await nodes_seen(door, actor)
    statuses = await door.organization.statuses(actor)
    waiting = await door.waiting.by_reason(actor)
    pools = await _pools(door, actor, nodes or (), statuses)
    departments, projects = await _units(door, actor, statuses)
    return page(
        request,
        "overview.html",
        figures=None if nodes is None else _figures(nodes, pools),
        running=await _running(door, actor),
        waiting=sum(item.count for item in waiting),
        reasons=waiting,
        groups=(
            ("Node pools", "/node-pools", pools),
            ("Departments", "/departments", departments),
            ("Projects", "/projects", projects),
        ),
        most=MOST_ROWS,
    )


def used_of(points: Mapping[str, Point], entity: str) -> Used:
    """Return what was measured last of an entity over all node pools; nodes without meters count nothing."""
    found = [point.values for name, point in points.items() if name == entity or name.startswith(f"{entity}/")]
    measured = sum(values.get("GPU_MEASURED", 0.0) for values in found)
    used = sum(values.get("GPU_USED", 0.0) for values in found)
    idle = sum(values.get("GPU_IDLE", 0.0) for values in found)
    return Used(utilisation=used / measured if measured else None, idle=idle)


def busiest(lines: Sequence[Line]) -> tuple[Line, ...]:
    """Return the lines that hold, or want, most first."""
    return tuple(sorted(lines, key=lambda line: (-line.quota.allocated, -line.quota.requested, line.name)))


async def _running(door: Orchestrator, actor: Actor) -> int:
    running = (Filter("phase", Op.EQ, Phase.RUNNING.value),)
    return (await door.workloads.list(actor, Query(filters=running, limit=1))).total


async def _pools(door: Orchestrator, actor: Actor, nodes: Sequence[Node], statuses: Statuses) -> tuple[Line, ...]:
    if not nodes:
        return ()
    held = held_in_pools(statuses)
    pools = (await door.organization.list_node_pools(actor, Query(sort_by="meta.name"))).items
    return tuple(
        Line(
            name=pool.name,
            link=f"/node-pools/{pool.meta.uid}/edit",
            quota=pool_quotas(
                [node for node in nodes if node.node_pool == pool.name], held.get(pool.name, Resources())
            )["gpu"],
            used=used_of(door.sampler.newest, f"pool/{pool.name}"),
        )
        for pool in pools
    )


async def _units(door: Orchestrator, actor: Actor, statuses: Statuses) -> tuple[tuple[Line, ...], tuple[Line, ...]]:
    """Return departments and projects, those that hold most first."""
    shares = door.scheduling.shares
    try:
        departments = (await door.organization.list_departments(actor, Query())).items
    except Forbidden:
        departments = ()
    projects = (await door.organization.list_projects(actor, Query())).items
    found = tuple(
        busiest(
            [
                Line(
                    name=unit.name,
                    link=f"/{word}s/{unit.meta.uid}",
                    quota=quotas_of(unit, statuses.get(f"{word}/{unit.name}", {}), shares)["gpu"],
                    used=used_of(door.sampler.newest, f"{word}/{unit.name}"),
                )
                for unit in units
            ]
        )
        for word, units in (("department", departments), ("project", projects))
    )
    return found[0], found[1]


def _figures(nodes: Sequence[Node], pools: Sequence[Line]) -> dict[str, float | None]:
    """Return GPUs of nodes that can be used, what is held and free of them, what is idle, and nodes."""
    usable = [node for node in nodes if node.ready and not node.unschedulable]
    whole = sum(node.allocatable.gpu for node in usable) / MILLI
    held = sum(line.quota.allocated for line in pools)
    measured = any(line.used.utilisation is not None for line in pools)
    return {
        "GPUs": whole,
        "Allocated GPUs": held,
        "Free GPUs": max(whole - held, 0.0),
        "Idle GPUs": sum(line.used.idle for line in pools) if measured else None,
        "Nodes ready": float(len(usable)),
        "Nodes": float(len(nodes)),
    }
