"""What a route is given: the orchestrator, who asks, and the ids that names stand for."""

from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import HTTPConnection

from runai_core.bootstrap import Orchestrator
from runai_core.model.organization import SYSTEM, Actor
from runai_core.ports import Query
from runai_core.web.views.units import Directory


def orchestrator(connection: HTTPConnection) -> Orchestrator:
    """Return the orchestrator that the application serves."""
    return cast("Orchestrator", connection.app.state.orchestrator)


def who(connection: HTTPConnection) -> Actor:
    """Return who asks; the middleware has checked the token."""
    return cast("Actor", connection.state.actor)


Door = Annotated[Orchestrator, Depends(orchestrator)]
Who = Annotated[Actor, Depends(who)]


async def directory(door: Door, actor: Who) -> Directory:
    """Return the ids of all projects, departments and node pools, by name."""
    projects = await door.organization.list_projects(actor, Query())
    departments = await door.organization.list_departments(SYSTEM, Query())  # names of what lies above, for all
    pools = await door.organization.list_node_pools(actor, Query())
    return Directory(
        cluster_id=await door.clusters.default_id(),
        now=door.backend.clock.now(),
        projects={item.name: item.meta.uid for item in projects.items},
        departments={item.name: item.meta.uid for item in departments.items},
        node_pools={item.name: item.meta.uid for item in pools.items},
    )


Names = Annotated[Directory, Depends(directory)]
