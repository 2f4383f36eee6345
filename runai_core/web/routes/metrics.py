"""Measurements over time, and present numbers in groups (telemetry)."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from runai_core.bootstrap import Orchestrator
from runai_core.model.errors import FieldError, InvalidRequest, NotFound
from runai_core.model.meta import to_camel
from runai_core.model.organization import Actor, Department, Project
from runai_core.model.workload import Phase, WorkloadType
from runai_core.ports import Query as StoreQuery
from runai_core.service.metrics import Series, Window
from runai_core.web import telemetry
from runai_core.web.answers.metrics import Measurement, Metrics, MetricValue, Telemetry, TelemetryGroup, TelemetryValue
from runai_core.web.context import Door, Names, Who
from runai_core.web.listing import time
from runai_core.web.routes.typed import typed
from runai_core.web.series_csv import CsvToo
from runai_core.web.views.units import Directory, iso

T = TypeVar("T")

PARTIAL = 207
"""Status where nobody measures one of the metrics that were asked for."""

workloads = APIRouter(prefix="/api/v1/workloads", tags=["metrics"], route_class=CsvToo)
organization = APIRouter(prefix="/api/v1", tags=["metrics"], route_class=CsvToo)


class MetricQuery(BaseModel):
    """Which metrics, of which time."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, extra="forbid")
    metric_type: Annotated[tuple[str, ...], Field(max_length=50, description="Repeat it; all when left out.")] = ()
    start: Annotated[str | None, Field(max_length=40, description="ISO 8601.")] = None
    end: Annotated[str | None, Field(max_length=40, description="ISO 8601.")] = None
    number_of_samples: Annotated[int, Field(ge=0, le=1000)] = 20
    nodepool_name: str | None = None


class TelemetryQuery(BaseModel):
    """Which number, of what, in which groups."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, extra="forbid")
    telemetry_type: str
    group_by: Annotated[tuple[str, ...], Field(max_length=10, description="Up to two; repeat it.")] = ()
    cluster_id: str | None = None
    nodepool_name: str | None = None
    nodepool_id: str | None = None
    department_id: str | None = None
    filter_by_phases: Annotated[tuple[str, ...], Field(max_length=20)] = ()


Asked = Annotated[MetricQuery, Query()]
AskedNow = Annotated[TelemetryQuery, Query()]


@workloads.get("/telemetry", summary="Present numbers of workloads")
async def workloads_telemetry(door: Door, actor: Who, names: Names, given: AskedNow) -> Telemetry:
    """WORKLOADS_COUNT or GPU_ALLOCATION, in groups."""
    read = _choice(given.telemetry_type, telemetry.WORKLOAD_TYPES, "telemetryType")
    phases = _phases(given.filter_by_phases)
    department = await _department_name(door, actor, given.department_id)
    items = [
        item
        for item in (await door.workloads.list(actor, StoreQuery())).items
        if (not phases or item.phase in phases)
        and given.nodepool_name in (None, item.node_pool)
        and department in (None, item.department)
    ]
    return _telemetry(given, items, read, telemetry.WORKLOAD_GROUPS, names)


@workloads.get("/{workload_id}/metrics", summary="Measurements of a workload")
async def workload_metrics(workload_id: str, door: Door, actor: Who, given: Asked, response: Response) -> Metrics:
    """What its pods ask for, hold and use."""
    window = _window(given, door.backend.clock.now())
    return _metrics(await door.metrics.of_workload(actor, workload_id, _types(given), window), response)


@workloads.get("/inferences/{workload_id}/pods/{pod_id}/metrics", summary="Measurements of a pod of an inference")
@workloads.get("/{workload_id}/pods/{pod_id}/metrics", summary="Measurements of a pod")
async def pod_metrics(
    workload_id: str, pod_id: str, door: Door, actor: Who, given: Asked, response: Response
) -> Metrics:
    """The same for one pod, by its id."""
    window = _window(given, door.backend.clock.now())
    return _metrics(await door.metrics.of_pod(actor, workload_id, pod_id, _types(given), window), response)


@workloads.get("/inferences/{workload_id}/metrics", summary="Measurements of an inference workload")
async def inference_metrics(workload_id: str, door: Door, actor: Who, given: Asked, response: Response) -> Metrics:
    """The same as for any workload."""
    await typed(door.workloads, actor, workload_id, WorkloadType.INFERENCE)
    return await workload_metrics(workload_id, door, actor, given, response)


@organization.get("/nodes/{node_id}/metrics", summary="Measurements of a node")
async def node_metrics(node_id: str, door: Door, actor: Who, given: Asked, response: Response) -> Metrics:
    """What it holds and uses, and what each of its GPUs does."""
    window = _window(given, door.backend.clock.now())
    return _metrics(await door.metrics.of_node(actor, node_id, _types(given), window), response)


@organization.get("/clusters/{cluster_id}/metrics", summary="Measurements of the cluster")
async def cluster_metrics(cluster_id: str, door: Door, actor: Who, given: Asked, response: Response) -> Metrics:
    """GPUs, processors and memory of all node pools together, or of the one that is named."""
    _own(door, cluster_id)
    window = _window(given, door.backend.clock.now())
    return _metrics(await door.metrics.of_pool(actor, given.nodepool_name, _types(given), window), response)


@organization.get("/clusters/{cluster_id}/nodepools/{pool}/metrics", summary="Measurements of a node pool")
async def pool_metrics(cluster_id: str, pool: str, door: Door, actor: Who, given: Asked, response: Response) -> Metrics:
    """The same of one node pool."""
    _own(door, cluster_id)
    found = await door.organization.get_node_pool(actor, pool)
    window = _window(given, door.backend.clock.now())
    return _metrics(await door.metrics.of_pool(actor, found.name, _types(given), window), response)


@organization.get("/nodes/telemetry", summary="Present numbers of nodes")
async def nodes_telemetry(door: Door, actor: Who, names: Names, given: AskedNow) -> Telemetry:
    """GPUs, CPU and memory: all, free, held; in groups."""
    read = _choice(given.telemetry_type, telemetry.NODE_TYPES, "telemetryType")
    nodes = [item for item in await door.organization.nodes(actor) if given.nodepool_name in (None, item.node_pool)]
    pods = (await door.workloads.all_pods(actor, StoreQuery())).items
    return _telemetry(given, telemetry.node_loads(nodes, pods, door.sampler.newest), read, telemetry.NODE_GROUPS, names)


@organization.get("/org-unit/projects/telemetry", summary="Present numbers of projects")
async def projects_telemetry(door: Door, actor: Who, names: Names, given: AskedNow) -> Telemetry:
    """Quota and what is held of it, in groups."""
    units = (await door.organization.list_projects(actor, StoreQuery())).items
    department = await _department_name(door, actor, given.department_id)
    wanted = [unit for unit in units if department in (None, unit.department)]
    return await _units_telemetry(door, actor, names, given, wanted)


@organization.get("/org-unit/departments/telemetry", summary="Present numbers of departments")
async def departments_telemetry(door: Door, actor: Who, names: Names, given: AskedNow) -> Telemetry:
    """Quota and what is held of it, in groups."""
    units = (await door.organization.list_departments(actor, StoreQuery())).items
    department = await _department_name(door, actor, given.department_id)
    wanted = [unit for unit in units if department in (None, unit.name)]
    return await _units_telemetry(door, actor, names, given, wanted)


@organization.get("/org-unit/projects/{project_id}/metrics", summary="Measurements of a project")
async def project_metrics(project_id: str, door: Door, actor: Who, given: Asked, response: Response) -> Metrics:
    """Quota, what is held and used, and what stays idle, over time."""
    return await _unit_metrics(door, actor, await door.organization.get_project(actor, project_id), given, response)


@organization.get("/org-unit/departments/{department_id}/metrics", summary="Measurements of a department")
async def department_metrics(department_id: str, door: Door, actor: Who, given: Asked, response: Response) -> Metrics:
    """Quota, what is held and used, and what stays idle, over time."""
    found = await door.organization.get_department(actor, department_id)
    return await _unit_metrics(door, actor, found, given, response)


def _types(given: MetricQuery) -> list[str]:
    return [name for text in given.metric_type for name in text.split(",") if name]


def _window(given: MetricQuery, now: float) -> Window:
    start = None if given.start is None else _moment(given.start, "start")
    end = now if given.end is None else _moment(given.end, "end")
    if start is not None and end < start:
        raise InvalidRequest.of(FieldError("end", "must not be before start", given.end))
    return Window(start=start, end=end, samples=given.number_of_samples)


def _moment(text: str, field: str) -> float:
    try:
        return float(time(text))
    except ValueError:
        message = "must be a time such as 2026-01-31T12:00:00Z"
        raise InvalidRequest.of(FieldError(field, message, text)) from None


def _metrics(found: Sequence[Series], response: Response) -> Metrics:
    if any(not series.values for series in found):
        response.status_code = PARTIAL
    return Metrics(
        measurements=tuple(
            Measurement(
                type=series.type,
                labels=dict(series.labels) or None,
                values=tuple(MetricValue(value=f"{value:.12g}", timestamp=iso(at)) for at, value in series.values),
            )
            for series in found
        )
    )


async def _unit_metrics(
    door: Orchestrator, actor: Actor, unit: Project | Department, given: MetricQuery, response: Response
) -> Metrics:
    window = _window(given, door.backend.clock.now())
    loads = telemetry.unit_loads(unit, await door.organization.unit_status(actor, unit))
    wanted = [load for load in loads if given.nodepool_name in (None, load.pool)]
    present = {
        name: sum(telemetry.UNIT_TYPES[source](load) for load in wanted)
        for name, source in telemetry.UNIT_METRICS.items()
    }
    found = await door.metrics.of_unit(unit, _types(given), window, node_pool=given.nodepool_name, present=present)
    return _metrics(found, response)


def _own(door: Orchestrator, cluster_id: str) -> None:
    if cluster_id != door.cluster_id:
        raise NotFound(f"there is no cluster {cluster_id[:80]}; there is: {door.cluster_id}")


async def _units_telemetry(
    door: Orchestrator, actor: Actor, names: Directory, given: TelemetryQuery, units: Sequence[Project | Department]
) -> Telemetry:
    read = _choice(given.telemetry_type, telemetry.UNIT_TYPES, "telemetryType")
    statuses = await door.organization.statuses(actor)
    loads = [
        load
        for unit in units
        for load in telemetry.unit_loads(unit, statuses.get(f"{type(unit).__name__.lower()}/{unit.name}", {}))
        if given.nodepool_name in (None, load.pool)
    ]
    return _telemetry(given, loads, read, telemetry.UNIT_GROUPS, names)


def _telemetry(
    given: TelemetryQuery,
    items: Iterable[T],
    read: Callable[[T], float],
    groups: Mapping[str, Callable[[T, Directory], telemetry.Group]],
    names: Directory,
) -> Telemetry:
    keys = _group_keys(given.group_by, groups)
    rows = telemetry.summed((tuple(groups[key](item, names) for key in keys), read(item)) for item in items)
    if not rows and not keys:
        rows = [((), 0.0)]
    return Telemetry(
        type=given.telemetry_type,
        timestamp=iso(names.now),
        values=tuple(TelemetryValue(value=f"{value:.12g}", groups=_shown(found)) for found, value in rows),
    )


def _shown(groups: Sequence[telemetry.Group]) -> tuple[TelemetryGroup, ...]:
    return tuple(TelemetryGroup(key=group.key, value=group.value, name=group.name or group.value) for group in groups)


def _group_keys(given: Sequence[str], groups: Mapping[str, Any]) -> list[str]:
    """Return the groups in the API's spelling; ``project``, ``projectId`` and ``ProjectId`` are one."""
    spellings = {spelling.lower(): key for key in groups for spelling in (key, re.sub("(Id|Name)$", "", key))}
    asked = [name for text in given for name in text.split(",") if name]
    if len(asked) > telemetry.MAX_GROUPS:
        raise InvalidRequest.of(FieldError("groupBy", f"must be at most {telemetry.MAX_GROUPS}", ",".join(asked)))
    unknown = next((name for name in asked if name.lower() not in spellings), None)
    if unknown is not None:
        raise InvalidRequest.of(FieldError("groupBy", f"must be one of {', '.join(groups)}", unknown[:80]))
    return [spellings[name.lower()] for name in asked]


def _choice(name: str, table: Mapping[str, T], field: str) -> T:
    if name not in table:
        raise InvalidRequest.of(FieldError(field, f"must be one of {', '.join(table)}", name[:80]))
    return table[name]


def _phases(given: Sequence[str]) -> set[Phase]:
    names = [name for text in given for name in text.split(",") if name]
    try:
        return {Phase(name) for name in names}
    except ValueError:
        message = f"must be among {', '.join(Phase)}"
        raise InvalidRequest.of(FieldError("filterByPhases", message, ",".join(names)[:80])) from None


async def _department_name(door: Orchestrator, actor: Actor, reference: str | None) -> str | None:
    return None if not reference else (await door.organization.get_department(actor, reference)).name
