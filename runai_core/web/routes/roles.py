"""Roles, and the permission sets that they are made of.

The first version of the paths reads roles, the second one also makes them. A
role may name its rights one by one as well (the form of the API before there
were permission sets).
"""

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Query

from runai_core.model.errors import NotFound
from runai_core.service.roles import NewRole
from runai_core.web import listing
from runai_core.web.answers import roles as answers
from runai_core.web.context import Door, Who
from runai_core.web.identity_bodies import RoleBody
from runai_core.web.listing import Column
from runai_core.web.views.roles import role_item, set_item

router = APIRouter(prefix="/api/v1/authorization", tags=["roles"])
made = APIRouter(prefix="/api/v2/authorization/roles", tags=["roles"])

COLUMNS: Mapping[str, Column] = {
    "id": Column("id"),
    "name": Column("name"),
    "description": Column("description"),
    "enabled": Column("enabled"),
    "custom": Column("custom"),
    "createdBy": Column("created_by"),
    "createdAt": Column("created_at"),
    "updatedAt": Column("updated_at"),
}
"""What lists can be filtered and sorted by."""


@router.get("/roles", summary="List roles")
async def list_roles(door: Door, actor: Who) -> tuple[answers.RoleItem, ...]:
    """With what each may do; those of the program first."""
    return tuple(role_item(role) for role in await door.roles.list(actor))


@router.get("/roles/{role_id}", summary="Get a role")
async def get_role(role_id: str, door: Door, actor: Who) -> answers.RoleItem:
    """By number or name."""
    return role_item(await door.roles.get(actor, role_id))


@router.get("/permission-sets", summary="List permission sets")
async def list_permission_sets(door: Door, actor: Who) -> answers.PermissionSetList:
    """What roles are made of."""
    return answers.PermissionSetList(
        permission_sets=tuple(set_item(item) for item in await door.roles.permission_sets(actor))
    )


@router.get("/permission-sets/{permission_set_id}", summary="Get a permission set")
async def get_permission_set(permission_set_id: str, door: Door, actor: Who) -> answers.PermissionSetItem:
    """By its id."""
    for item in await door.roles.permission_sets(actor):
        if item.id == permission_set_id:
            return set_item(item)
    raise NotFound(f"there is no permission set {permission_set_id[:80]}")


@made.get("", summary="List roles, in parts")
async def page_roles(door: Door, actor: Who, given: Annotated[listing.ListQuery, Query()]) -> answers.RoleList:
    """With filter, search and order."""
    items = [role_item(role) for role in await door.roles.list(actor)]
    found = listing.matching_items(items, COLUMNS, given.filter_by, given.search)
    found = listing.ordered_items(found, COLUMNS, given.sort_by, given.sort_order)
    end = given.offset + given.limit
    return answers.RoleList(roles=tuple(found[given.offset : end]), next=end if end < len(found) else None)


@made.get("/{role_id}", summary="Get a role")
async def get_any_role(role_id: str, door: Door, actor: Who) -> answers.RoleItem:
    """By number or name."""
    return role_item(await door.roles.get(actor, role_id))


@made.post("", status_code=201, summary="Make a role")
async def create_role(door: Door, actor: Who, body: RoleBody) -> answers.RoleItem:
    """From permission sets, from single rights (ours), or both. Nobody can make one with more rights than their own."""
    return role_item(await door.roles.create(actor, _asked(body)))


@made.put("/{role_id}", summary="Change a role")
async def update_role(role_id: str, door: Door, actor: Who, body: RoleBody) -> answers.RoleItem:
    """All of it; whoever has the role has the new rights at the next request. The program's roles stay as they are."""
    return role_item(await door.roles.update(actor, role_id, _asked(body)))


@made.delete("/{role_id}", status_code=204, summary="Delete a role")
async def delete_role(role_id: str, door: Door, actor: Who) -> None:
    """One that no access rule gives."""
    await door.roles.delete(actor, role_id)


def _asked(body: RoleBody) -> NewRole:
    permissions: dict[str, list[str]] = {}
    for item in body.permissions:
        permissions.setdefault(item.resource_type, []).extend(item.actions)
    return NewRole(
        name=body.name,
        description=body.description,
        enabled=body.enabled,
        permission_sets=[item.id or item.name for item in body.permission_sets],
        permissions=permissions,
        cluster_role=body.kubernetes_permissions.predefined_role,
    )
