"""Projects and departments: who holds and deserves how much, and forms to change it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from runai_core.bootstrap import Orchestrator
from runai_core.model.errors import Forbidden
from runai_core.model.meta import Meta
from runai_core.model.organization import (
    DEFAULT_DEPARTMENT,
    Action,
    Actor,
    Department,
    Project,
    Scope,
    default_resources,
)
from runai_core.model.workload import Workload
from runai_core.policy.scheduling_rules import EffectiveRules
from runai_core.ports import Query
from runai_core.service.organization import UnitStatus
from runai_core.web import lookup
from runai_core.web.changes import (
    change_of,
    changed_department,
    changed_project,
    new_department,
    new_project,
    resources_of,
)
from runai_core.web.context import Door
from runai_core.web.pages import editing, rights, unit_form
from runai_core.web.pages.bodies import validated
from runai_core.web.pages.details import RANGES
from runai_core.web.pages.editing import NOTHING, Question, Refusal
from runai_core.web.pages.frame import Viewer, go_to, page, page_router
from runai_core.web.pages.inputs import VERSION, Posted, changed_meanwhile, posted_of
from runai_core.web.pages.listing import Button, table_page
from runai_core.web.pages.quotas import UNITS, Quota, pools_of, quotas_in, quotas_of
from runai_core.web.pages.tables import Cell, Column, Row
from runai_core.web.pages.unit_rules import rules_of, said_of
from runai_core.web.schemas import DepartmentCreate, DepartmentUpdate, ProjectCreate, ProjectUpdate

Unit = Department | Project
Statuses = Mapping[str, Mapping[str, UnitStatus]]

router = page_router()


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What differs between the pages of projects and of departments."""

    word: str  # also the resource type of its rights, and the type of its scope
    path: str
    loses: str  # what deleting one takes along


PROJECT = Kind(
    word="project",
    path="/projects",
    loses="its quota, its scheduling rules, and the history of its ended workloads will no longer have a project",
)
DEPARTMENT = Kind(word="department", path="/departments", loses="its quota and its scheduling rules")

CHARTS: tuple[tuple[str, str, str], ...] = (
    ("GPU_UTILIZATION", "GPU utilization", "%"),
    ("GPU_QUOTA_UTILIZATION", "GPU quota in use", "%"),
    ("GPU_ALLOCATION", "Allocated", "GPUs"),
    ("GPU_IDLE", "Allocated and idle", "GPUs"),
)
"""Metric of a project or department, its title and the unit it is drawn in."""

FIGURES = tuple(
    Column(f"{resource}:{member}", f"{UNITS[resource][0]} {member} ({UNITS[resource][1]})", hidden=True)
    for resource in UNITS
    for member in ("allocated", "requested", "deserved", "limit", "fair")
)
"""The numbers of the bars, for the CSV file."""

COLUMNS: Mapping[str, tuple[Column, ...]] = {
    "project": (
        Column("name", "Project"),
        Column("department", "Department"),
        Column("gpu", "GPU"),
        Column("cpu", "CPU"),
        Column("memory", "Memory"),
        Column("pools", "Node pools"),
        Column("created", "Created"),
        *FIGURES,
    ),
    "department": (
        Column("name", "Department"),
        Column("projects", "Projects"),
        Column("gpu", "GPU"),
        Column("cpu", "CPU"),
        Column("memory", "Memory"),
        Column("pools", "Node pools"),
        Column("created", "Created"),
        *FIGURES,
    ),
}


@router.get("/projects")
async def list_projects(request: Request, door: Door, actor: Viewer) -> Response:
    """Show all projects with what they hold, deserve and would get."""
    projects = (await door.organization.list_projects(actor, Query(sort_by="meta.name"))).items
    statuses = await door.organization.statuses(actor)
    leads = rights.may_somewhere(request, Action.READ, DEPARTMENT.word)
    rows = [
        unit_row(item, statuses, door)
        | {"department": Cell(text=item.department, link=f"/departments/{item.department}" if leads else "")}
        for item in projects
    ]
    return _table(request, "Projects", PROJECT, rows)


@router.get("/departments")
async def list_departments(request: Request, door: Door, actor: Viewer) -> Response:
    """Show all departments with what they hold, deserve and would get."""
    departments = (await door.organization.list_departments(actor, Query(sort_by="meta.name"))).items
    projects = (await door.organization.list_projects(actor, Query(sort_by="meta.name"))).items
    statuses = await door.organization.statuses(actor)
    rows = []
    for item in departments:
        names = [project.name for project in projects if project.department == item.name]
        cell = Cell(text=str(len(names)), value=len(names), note=", ".join(names[:5]) + (" ..." if names[5:] else ""))
        rows.append(unit_row(item, statuses, door) | {"projects": cell})
    return _table(request, "Departments", DEPARTMENT, rows)


@router.get("/projects/new")
@router.get("/departments/new")
async def new(request: Request, door: Door, actor: Viewer) -> Response:
    """Show the form of a new project or department."""
    await door.access.require_anywhere(actor, Action.CREATE, _kind(request).word)
    return await _form(request, door, actor)


@router.post("/projects/new")
@router.post("/departments/new")
async def create(request: Request, door: Door, actor: Viewer) -> Response:
    """Create it, or show the form again with what is wrong."""
    kind = _kind(request)
    posted = posted_of((await request.form()).multi_items())
    pools = await _pools(door, actor)
    body, errors = unit_form.body_of(posted, _empty(kind, pools), pools)
    created, refusal = await editing.tried(
        errors,
        lambda: _create(door, actor, kind, body),
        name="name",
        moved=lambda found: unit_form.at_pools(found, body),
    )
    if created is None:
        return await _form(request, door, actor, posted=posted, refusal=refusal)
    return go_to(request, f"{kind.path}/{created.meta.uid}", f"{kind.word.capitalize()} {created.name} is there.")


@router.get("/projects/{ref}")
@router.get("/departments/{ref}")
async def show(request: Request, ref: str, door: Door, actor: Viewer) -> Response:
    """Show one project or department: quota in each node pool, rules with their origin, who belongs to it."""
    kind = _kind(request)
    unit = await _find(door, actor, kind, ref)
    statuses = await door.organization.unit_status(actor, unit)
    shares = door.scheduling.shares
    pools = [
        (pool, quotas_in(pool, unit, statuses, shares), unit.resources.get(pool)) for pool in pools_of(unit, statuses)
    ]
    inside = [] if isinstance(unit, Project) else await _projects_of(door, actor, unit)
    chosen = request.query_params.get("range", "")
    return page(
        request,
        "unit.html",
        kind=kind,
        unit=unit,
        pools=pools,
        words=UNITS,
        rules=said_of(await rules_of(door, actor, unit)),
        inside=inside,
        ranges=RANGES,
        range=chosen if chosen in RANGES and chosen != "custom" else "day",
        charts=CHARTS,
        deeds=await rights.deeds_on(door, actor, kind.word, Scope(kind.word, unit.name)),
    )


@router.get("/projects/{ref}/edit")
@router.get("/departments/{ref}/edit")
async def edit(request: Request, ref: str, door: Door, actor: Viewer) -> Response:
    """Show the form of one that exists."""
    return await _form(request, door, actor, await _find(door, actor, _kind(request), ref))


@router.post("/projects/{ref}/edit")
@router.post("/departments/{ref}/edit")
async def update(request: Request, ref: str, door: Door, actor: Viewer) -> Response:
    """Change it, or show the form again with what is wrong."""
    kind = _kind(request)
    unit = await _find(door, actor, kind, ref)
    posted = posted_of((await request.form()).multi_items())
    pools = await _pools(door, actor)
    body, errors = unit_form.body_of(posted, unit_form.posted_unit(unit, pools), pools)
    errors += changed_meanwhile(posted, unit.meta)
    changed, refusal = await editing.tried(
        errors, lambda: _change(door, actor, unit, body), moved=lambda found: unit_form.at_pools(found, body)
    )
    if changed is None:
        return await _form(request, door, actor, unit, posted=posted, refusal=refusal)
    return go_to(request, f"{kind.path}/{unit.meta.uid}", f"{kind.word.capitalize()} {unit.name} is changed.")


@router.get("/projects/{ref}/delete")
@router.get("/departments/{ref}/delete")
async def ask_delete(request: Request, ref: str, door: Door, actor: Viewer) -> Response:
    """Say what deleting it would mean."""
    kind = _kind(request)
    unit = await _find(door, actor, kind, ref)
    await door.access.require(actor, Action.DELETE, kind.word, Scope(kind.word, unit.name))
    return editing.ask(request, await _question(door, actor, kind, unit))


@router.post("/projects/{ref}/delete")
@router.post("/departments/{ref}/delete")
async def delete(request: Request, ref: str, door: Door, actor: Viewer) -> Response:
    """Delete it, or say why that cannot be."""
    kind = _kind(request)
    unit = await _find(door, actor, kind, ref)
    question = await _question(door, actor, kind, unit)
    notice = f"{kind.word.capitalize()} {unit.name} is deleted."
    return await editing.deleted(request, question, _delete(door, actor, unit), kind.path, notice)


def _table(request: Request, title: str, kind: Kind, rows: Sequence[Row]) -> Response:
    return table_page(
        request,
        title,
        COLUMNS[kind.word],
        rows,
        Button(path=f"{kind.path}/new", text=f"New {kind.word}", right=("create", kind.word)),
        has_legend=True,
        nothing=f"There is no {kind.word} that you may see",
        advice="A project is where workloads are submitted; it belongs to a department, and both have quota.",
    )


def unit_row(unit: Unit, statuses: Statuses, door: Orchestrator) -> dict[str, Cell]:
    """Return the cells that projects and departments have in common."""
    kind = DEPARTMENT if isinstance(unit, Department) else PROJECT
    held = statuses.get(f"{kind.word}/{unit.name}", {})
    quotas = quotas_of(unit, held, door.scheduling.shares)
    return {
        "name": Cell(text=unit.name, link=f"{kind.path}/{unit.meta.uid}", note=unit.description),
        **{resource: quota_cell(quota) for resource, quota in quotas.items()},
        "pools": Cell(text=", ".join(pools_of(unit, held)) or "none"),
        "created": Cell(time=unit.meta.created_at),
        **{column.key: Cell(value=_figure(quotas, column.key)) for column in FIGURES},
    }


def _figure(quotas: Mapping[str, Quota], key: str) -> float | None:
    resource, _, member = key.partition(":")
    value: float | None = getattr(quotas[resource], member)
    return value


def quota_cell(quota: Quota) -> Cell:
    """Return the cell of one resource: a bar, and the same in words."""
    return Cell(text=quota.sentence, value=quota.allocated, quota=quota)


def _kind(request: Request) -> Kind:
    return DEPARTMENT if request.url.path.startswith(DEPARTMENT.path) else PROJECT


async def _find(door: Orchestrator, actor: Actor, kind: Kind, ref: str) -> Unit:
    if kind is DEPARTMENT:
        return await door.organization.get_department(actor, ref)
    return await door.organization.get_project(actor, ref)


async def _pools(door: Orchestrator, actor: Actor) -> tuple[str, ...]:
    found = await door.organization.list_node_pools(actor, Query(sort_by="meta.name"))
    return tuple(pool.name for pool in found.items)


async def _departments(door: Orchestrator, actor: Actor) -> Sequence[Department]:
    try:
        return (await door.organization.list_departments(actor, Query(sort_by="meta.name"))).items
    except Forbidden:
        return ()


async def _projects_of(door: Orchestrator, actor: Actor, department: Department) -> list[Project]:
    found = await door.organization.list_projects(actor, Query(sort_by="meta.name"))
    return [item for item in found.items if item.department == department.name]


def _empty(kind: Kind, pools: Sequence[str]) -> Posted:
    if kind is DEPARTMENT:
        return unit_form.posted_unit(Department(meta=Meta(name=""), resources=default_resources()), pools)
    return unit_form.posted_unit(Project(meta=Meta(name=""), department="", resources=default_resources()), pools)


async def _form(
    request: Request,
    door: Orchestrator,
    actor: Actor,
    unit: Unit | None = None,
    *,
    posted: Posted | None = None,
    refusal: Refusal = NOTHING,
) -> Response:
    kind, pools = _kind(request), await _pools(door, actor)
    departments = await _departments(door, actor)
    as_it_is = unit_form.posted_unit(unit, pools) if unit else _empty(kind, pools)
    if unit is None and posted is None and any(item.name == DEFAULT_DEPARTMENT for item in departments):
        as_it_is = {**as_it_is, "parentId": [DEFAULT_DEPARTMENT]}
    context = unit_form.UnitContext(
        kind=kind.word,
        pools=pools,
        departments=tuple(item.name for item in departments),
        inherited=await rules_of(door, actor, unit) if unit else EffectiveRules(),
    )
    deeds = frozenset(Action)
    if unit is not None:
        deeds = await rights.deeds_on(door, actor, kind.word, Scope(kind.word, unit.name))
    return editing.form_page(
        request,
        unit_form.sections_of({**as_it_is, **(posted or {})}, context, is_new=unit is None),
        refusal,
        may_save=Action.UPDATE in deeds,
        title=f"Edit {kind.word} {unit.name}" if unit else f"New {kind.word}",
        back=f"{kind.path}/{unit.meta.uid}" if unit else kind.path,
        save="Save" if unit else "Create",
        hidden={VERSION: unit.meta.version} if unit else {},
    )


async def _create(door: Orchestrator, actor: Actor, kind: Kind, body: Mapping[str, Any]) -> Unit:
    names = lookup.pool_names(door, actor)
    if kind is DEPARTMENT:
        department = validated(DepartmentCreate, body)
        resources = await resources_of(change_of(department), default_resources(), names)
        return await door.organization.create_department(actor, new_department(department, resources))
    project = validated(ProjectCreate, body)
    resources = await resources_of(change_of(project), default_resources(), names)
    return await door.organization.create_project(actor, new_project(project, resources))


async def _change(door: Orchestrator, actor: Actor, unit: Unit, body: Mapping[str, Any]) -> Unit:
    names = lookup.pool_names(door, actor)
    if isinstance(unit, Department):
        department = validated(DepartmentUpdate, body)
        resources = await resources_of(change_of(department), unit.resources, names)
        return await door.organization.update_department(actor, changed_department(unit, department, resources))
    project = validated(ProjectUpdate, body)
    resources = await resources_of(change_of(project), unit.resources, names)
    return await door.organization.update_project(actor, changed_project(unit, project, resources))


async def _delete(door: Orchestrator, actor: Actor, unit: Unit) -> None:
    if isinstance(unit, Department):
        await door.organization.delete_department(actor, unit.meta.uid)
    else:
        await door.organization.delete_project(actor, unit.meta.uid)


async def _question(door: Orchestrator, actor: Actor, kind: Kind, unit: Unit) -> Question:
    if isinstance(unit, Department):
        inside = [f"project {item.name}" for item in await _projects_of(door, actor, unit)]
    else:
        found = await door.workloads.list(actor, Query(project=unit.name, limit=10))
        inside = [_said(item) for item in found.items]
        inside += [f"and {found.total - len(inside)} more"] if found.total > len(inside) else []
    return Question(
        title=f"Delete {kind.word} {unit.name}?",
        text=f"Lost are {kind.loses}. This cannot be undone.",
        inside=tuple(inside),
        back=f"{kind.path}/{unit.meta.uid}",
    )


def _said(workload: Workload) -> str:
    return f"{workload.type.value.lower()} {workload.name} ({workload.phase.value})"
