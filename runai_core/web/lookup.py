"""From the ids and names that requests use to the objects that they stand for."""

import re
from dataclasses import replace

from runai_core.bootstrap import Orchestrator
from runai_core.model.errors import NotFound
from runai_core.model.nodes import NodePool
from runai_core.model.organization import SYSTEM, Actor, Project
from runai_core.model.workload import Workload
from runai_core.ports import Filter, Page, Query
from runai_core.web import listing
from runai_core.web.changes import PoolName, pool_ref
from runai_core.web.schemas import NodePoolRef
from runai_core.web.views.units import Directory

_UID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

UNIT_FIELDS = frozenset({"meta.project", "department"})
"""Fields that hold the name of a project or department; the API may give its id."""


async def page_of_workloads(door: Orchestrator, actor: Actor, given: listing.WorkloadListQuery) -> Page[Workload]:
    """Return the page of workloads that was asked for; raise NotFound for an unknown project."""
    query = await with_unit_names(door, actor, listing.query_of(given, listing.WORKLOADS))
    if given.project_id:
        query = replace(query, project=(await door.organization.get_project(actor, given.project_id)).name)
    return await door.workloads.list(actor, query)


async def with_topology(door: Orchestrator, actor: Actor, pool: NodePool, ref: str | None) -> NodePool:
    """Return the pool with the network topology of this id or name; empty: with none; None: as it is.

    Raises:
        InvalidRequest: there is no such topology.
    """
    if ref is None:
        return pool
    return replace(pool, network_topology=await door.topologies.chosen(actor, ref))


async def around(door: Orchestrator, project: Project) -> Directory:
    """Return the ids that an answer about one workload of this project needs; cheaper than all of them."""
    department = await door.organization.get_department(SYSTEM, project.department)
    return Directory(
        cluster_id=await door.clusters.default_id(),
        now=door.backend.clock.now(),
        projects={project.name: project.meta.uid},
        departments={department.name: department.meta.uid},
    )


async def with_unit_names(door: Orchestrator, actor: Actor, query: Query) -> Query:
    """Return the query with names in place of the ids of projects and departments."""
    return replace(query, filters=tuple([await _named(door, actor, item) for item in query.filters]))


def pool_names(door: Orchestrator, actor: Actor) -> PoolName:
    """Return what finds the name of a node pool, the default one where none is given; it raises NotFound."""

    async def find(reference: NodePoolRef | None) -> str:
        return (await door.organization.get_node_pool(actor, pool_ref(reference))).name

    return find


async def _named(door: Orchestrator, actor: Actor, condition: Filter) -> Filter:
    if condition.field not in UNIT_FIELDS or not _UID.fullmatch(str(condition.value)):
        return condition
    units = door.organization
    find = units.get_project if condition.field == "meta.project" else units.get_department
    try:
        return replace(condition, value=(await find(actor, str(condition.value))).name)
    except NotFound:
        return condition  # of a unit that is gone: nothing matches
