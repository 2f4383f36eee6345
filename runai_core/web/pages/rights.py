"""What who looks may do: pages ask here, and nowhere else, before they offer a button or a form.

The answers are those of the services (`service.access`, over the one table of
roles): what a page offers is not refused for want of a right.
"""

from collections.abc import Awaitable

from starlette.requests import Request

from runai_core.bootstrap import Orchestrator
from runai_core.model.errors import Forbidden
from runai_core.model.organization import TENANT, Action, Actor, Scope
from runai_core.ports import Query

TENANT_SCOPE, CLUSTER_SCOPE = "tenant", "cluster"


def may_somewhere(request: Request, action: str, resource: str) -> bool:
    """Return whether who looks has the right in any scope: `may` of the templates, for what is yet to be made."""
    actor = getattr(request.state, "actor", None)
    if not isinstance(actor, Actor):
        return False
    door: Orchestrator = request.app.state.orchestrator
    return bool(door.access.scopes(actor, Action(action), resource))


async def allowed(check: Awaitable[object]) -> bool:
    """Return whether a check that a service makes passes."""
    try:
        await check
    except Forbidden:
        return False
    return True


async def deeds_on(door: Orchestrator, actor: Actor, resource: str, scope: Scope = TENANT) -> frozenset[Action]:
    """Return what the actor may do to a thing of this kind that lies in the scope."""
    return frozenset([action for action in Action if await door.access.allows(actor, action, resource, scope)])


async def scopes_for(door: Orchestrator, actor: Actor, resource: str) -> tuple[str, ...]:
    """Return the scopes in which the actor may make such things, as forms have them: ``tenant``, ``project/a``."""
    access = door.access
    wide = [
        name
        for name in (TENANT_SCOPE, CLUSTER_SCOPE)
        if await access.allows(actor, Action.CREATE, resource, Scope(name))
    ]
    departments = await access.visible_departments(actor, Action.CREATE, resource)
    projects = await access.visible(actor, Action.CREATE, resource)
    named = [f"department/{name}" for name in sorted(await _departments(door, actor)) if _in(name, departments)]
    found = (await door.organization.list_projects(actor, Query(sort_by="meta.name"))).items
    return (*wide, *named, *(f"project/{item.name}" for item in found if _in(item.name, projects)))


async def _departments(door: Orchestrator, actor: Actor) -> list[str]:
    try:
        return [item.name for item in (await door.organization.list_departments(actor, Query())).items]
    except Forbidden:
        return []


def _in(name: str, names: frozenset[str] | None) -> bool:
    return names is None or name in names
