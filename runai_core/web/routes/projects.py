"""Projects: where workloads are submitted, with quota in each node pool."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query

from runai_core.bootstrap import Orchestrator
from runai_core.model.organization import SYSTEM, Actor, Department, Project, default_resources
from runai_core.ports import Query as StoreQuery
from runai_core.web import listing, lookup
from runai_core.web.answers.base import Count
from runai_core.web.answers.organization import PoolResources, ProjectItem, ProjectList
from runai_core.web.changes import change_of, changed_project, new_project, resources_of
from runai_core.web.context import Door, Names, Who, directory
from runai_core.web.schemas import ProjectCreate, ProjectUpdate, ResourcesFields
from runai_core.web.submissions import check_cluster
from runai_core.web.views.organization import project_item

router = APIRouter(prefix="/api/v1/org-unit/projects", tags=["projects"])


@router.get("", summary="List projects")
async def list_projects(
    door: Door, actor: Who, names: Names, given: Annotated[listing.ListQuery, Query()]
) -> ProjectList:
    """With quota, and what each holds and asks for now."""
    query = await lookup.with_unit_names(door, actor, listing.query_of(given, listing.PROJECTS))
    page = await door.organization.list_projects(actor, query)
    departments = {item.name: item for item in (await door.organization.list_departments(SYSTEM, StoreQuery())).items}
    statuses = await door.organization.statuses(actor)
    items = tuple(
        project_item(item, departments[item.department], statuses.get(f"project/{item.name}", {}), names)
        for item in page.items
    )
    return ProjectList(projects=items, next=listing.next_offset(page, given.offset))


@router.get("/count", summary="Count projects")
async def count_projects(door: Door, actor: Who, given: Annotated[listing.CountQuery, Query()]) -> Count:
    """How many match."""
    query = await lookup.with_unit_names(door, actor, listing.query_of(given, listing.PROJECTS))
    return Count(count=(await door.organization.list_projects(actor, query)).total)


@router.post("", status_code=201, summary="Create a project")
async def create_project(door: Door, actor: Who, body: ProjectCreate) -> ProjectItem:
    """In a department; without `resources` it has no quota of its own and may use what is free."""
    cluster = await check_cluster(body.cluster_id, door)
    resources = await resources_of(change_of(body), default_resources(), lookup.pool_names(door, actor))
    project = replace(new_project(body, resources), cluster=cluster if door.clusters.is_control_plane else "")
    created = await door.organization.create_project(actor, project)
    return await _shown(door, actor, created)


@router.get("/{project_id}", summary="Get a project")
async def get_project(project_id: str, door: Door, actor: Who) -> ProjectItem:
    """By id or by name."""
    return await _shown(door, actor, await door.organization.get_project(actor, project_id))


@router.put("/{project_id}", summary="Change a project")
@router.patch("/{project_id}", summary="Change a project (ours: as PUT)")
async def update_project(project_id: str, door: Door, actor: Who, body: ProjectUpdate) -> ProjectItem:
    """What is left out stays, node pools that are not named included."""
    project = await door.organization.get_project(actor, project_id)
    resources = await resources_of(change_of(body), project.resources, lookup.pool_names(door, actor))
    updated = await door.organization.update_project(actor, changed_project(project, body, resources))
    return await _shown(door, actor, updated)


@router.put("/{project_id}/resources", summary="Set the quota of a project in all node pools")
async def put_resources(
    project_id: str, door: Door, actor: Who, body: list[ResourcesFields]
) -> tuple[PoolResources, ...]:
    """Node pools that are not named get no quota."""
    return await _with_resources(door, actor, project_id, body, keep=False)


@router.patch("/{project_id}/resources", summary="Change the quota of a project in some node pools")
async def patch_resources(
    project_id: str, door: Door, actor: Who, body: list[ResourcesFields]
) -> tuple[PoolResources, ...]:
    """Node pools and amounts that are not named stay."""
    return await _with_resources(door, actor, project_id, body, keep=True)


@router.delete("/{project_id}", summary="Delete a project")
async def delete_project(project_id: str, door: Door, actor: Who) -> ProjectItem:
    """It must have no workload in work any more."""
    project = await door.organization.get_project(actor, project_id)
    shown = await _shown(door, actor, project)
    await door.organization.delete_project(actor, project.meta.uid)
    return shown


async def _with_resources(
    door: Orchestrator, actor: Actor, ref: str, body: list[ResourcesFields], *, keep: bool
) -> tuple[PoolResources, ...]:
    project = await door.organization.get_project(actor, ref)
    resources = await resources_of(body, project.resources if keep else {}, lookup.pool_names(door, actor))
    changed = changed_project(project, ProjectUpdate(), resources)
    return (await _shown(door, actor, await door.organization.update_project(actor, changed))).resources


async def _shown(door: Orchestrator, actor: Actor, project: Project) -> ProjectItem:
    department: Department = await door.organization.get_department(SYSTEM, project.department)
    statuses = await door.organization.unit_status(actor, project)
    return project_item(project, department, statuses, await directory(door, actor))
