"""Departments: groups of projects that share quota."""

from typing import Annotated

from fastapi import APIRouter, Query

from runai_core.bootstrap import Orchestrator
from runai_core.model.organization import Actor, Department, default_resources
from runai_core.ports import Filter, Op
from runai_core.ports import Query as StoreQuery
from runai_core.web import listing, lookup
from runai_core.web.answers.base import Count
from runai_core.web.answers.organization import DepartmentItem, DepartmentList, PoolResources
from runai_core.web.changes import change_of, changed_department, new_department, resources_of
from runai_core.web.context import Door, Names, Who, directory
from runai_core.web.schemas import DepartmentCreate, DepartmentUpdate, ResourcesFields
from runai_core.web.submissions import check_cluster
from runai_core.web.views.organization import department_item

router = APIRouter(prefix="/api/v1/org-unit/departments", tags=["departments"])


@router.get("", summary="List departments")
async def list_departments(
    door: Door, actor: Who, names: Names, given: Annotated[listing.ListQuery, Query()]
) -> DepartmentList:
    """With quota and projects, and what each holds and asks for now."""
    page = await door.organization.list_departments(actor, listing.query_of(given, listing.DEPARTMENTS))
    projects = (await door.organization.list_projects(actor, StoreQuery(sort_by="meta.name"))).items
    statuses = await door.organization.statuses(actor)
    items = tuple(
        department_item(
            item,
            [project for project in projects if project.department == item.name],
            statuses.get(f"department/{item.name}", {}),
            names,
        )
        for item in page.items
    )
    return DepartmentList(departments=items, next=listing.next_offset(page, given.offset))


@router.get("/count", summary="Count departments")
async def count_departments(door: Door, actor: Who, given: Annotated[listing.CountQuery, Query()]) -> Count:
    """How many match."""
    query = listing.query_of(given, listing.DEPARTMENTS)
    return Count(count=(await door.organization.list_departments(actor, query)).total)


@router.post("", status_code=201, summary="Create a department")
async def create_department(door: Door, actor: Who, body: DepartmentCreate) -> DepartmentItem:
    """Without `resources` it has no quota of its own and may use what is free."""
    await check_cluster(body.cluster_id, door)
    resources = await resources_of(change_of(body), default_resources(), lookup.pool_names(door, actor))
    created = await door.organization.create_department(actor, new_department(body, resources))
    return await _shown(door, actor, created)


@router.get("/{department_id}", summary="Get a department")
async def get_department(department_id: str, door: Door, actor: Who) -> DepartmentItem:
    """By id or by name."""
    return await _shown(door, actor, await door.organization.get_department(actor, department_id))


@router.put("/{department_id}", summary="Change a department")
@router.patch("/{department_id}", summary="Change a department (ours: as PUT)")
async def update_department(department_id: str, door: Door, actor: Who, body: DepartmentUpdate) -> DepartmentItem:
    """What is left out stays, node pools that are not named included."""
    department = await door.organization.get_department(actor, department_id)
    resources = await resources_of(change_of(body), department.resources, lookup.pool_names(door, actor))
    updated = await door.organization.update_department(actor, changed_department(department, body, resources))
    return await _shown(door, actor, updated)


@router.put("/{department_id}/resources", summary="Set the quota of a department in all node pools")
async def put_resources(
    department_id: str, door: Door, actor: Who, body: list[ResourcesFields]
) -> tuple[PoolResources, ...]:
    """Node pools that are not named get no quota."""
    return await _with_resources(door, actor, department_id, body, keep=False)


@router.patch("/{department_id}/resources", summary="Change the quota of a department in some node pools")
async def patch_resources(
    department_id: str, door: Door, actor: Who, body: list[ResourcesFields]
) -> tuple[PoolResources, ...]:
    """Node pools and amounts that are not named stay."""
    return await _with_resources(door, actor, department_id, body, keep=True)


@router.delete("/{department_id}", summary="Delete a department")
async def delete_department(department_id: str, door: Door, actor: Who) -> DepartmentItem:
    """It must have no project any more."""
    department = await door.organization.get_department(actor, department_id)
    shown = await _shown(door, actor, department)
    await door.organization.delete_department(actor, department.meta.uid)
    return shown


async def _with_resources(
    door: Orchestrator, actor: Actor, ref: str, body: list[ResourcesFields], *, keep: bool
) -> tuple[PoolResources, ...]:
    department = await door.organization.get_department(actor, ref)
    resources = await resources_of(body, department.resources if keep else {}, lookup.pool_names(door, actor))
    changed = changed_department(department, DepartmentUpdate(), resources)
    return (await _shown(door, actor, await door.organization.update_department(actor, changed))).resources


async def _shown(door: Orchestrator, actor: Actor, department: Department) -> DepartmentItem:
    query = StoreQuery(filters=(Filter("department", Op.EQ, department.name),), sort_by="meta.name")
    projects = (await door.organization.list_projects(actor, query)).items
    statuses = await door.organization.unit_status(actor, department)
    return department_item(department, projects, statuses, await directory(door, actor))
