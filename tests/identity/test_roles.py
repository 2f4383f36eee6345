"""Roles that administrators make: what they are made of, what they give, and who may make them."""

from typing import Any

import httpx
import pytest

from runai_core.model.errors import Forbidden
from runai_core.model.identity import SubjectType
from runai_core.model.meta import Meta
from runai_core.model.organization import AccessRule, Action, Scope
from runai_core.model.roles import PERMISSION_SETS, ROLES
from runai_core.operator.runner import _in_cluster
from runai_core.operator.wanted import CLUSTER_ROLES
from runai_core.service.roles import NewRole
from runai_core.service.rules import NewRule
from tests.identity.house import ADMIN, House

pytestmark = pytest.mark.asyncio

ROLES_PATH = "/api/v2/authorization/roles"
SETS = {found.name: found.id for found in PERMISSION_SETS.values()}
WATCHER = {
    "name": "Night watch",
    "description": "Looks after trainings at night",
    "permissionSets": [{"id": SETS["View projects"]}, {"id": SETS["Manage trainings"]}],
    "permissions": [{"resourceType": "nodes", "actions": ["read"]}],
    "kubernetesPermissions": {"predefinedRole": "8"},
}


async def visitor_of(house: House, name: str) -> httpx.AsyncClient:
    """Return a program of somebody who has a role of the program everywhere."""
    made = await house.door.access.create_service_account(name.lower().replace(" ", "-"), name)
    token = (await house.door.access.issue(made.client_id, made.client_secret)).access_token
    return house.visitor(Authorization=f"Bearer {token}")


async def test_a_role_of_permission_sets_and_single_rights_gives_them_and_nothing_else(house: House) -> None:
    async with await visitor_of(house, "System administrator") as admin:
        answer = await admin.post(ROLES_PATH, json=WATCHER)
        assert answer.status_code == 201, answer.text
        made = answer.json()
        assert {item["resourceType"]: item["actions"] for item in made["permissions"]} == {
            "project": ["read"],
            "nodes": ["read"],
            "trainings": ["create", "read", "update", "delete"],
        }
        assert made["custom"] is True
        assert made["kubernetesPermissions"] == {"predefinedRole": "8"}
        assert [item["name"] for item in made["permissionSets"]] == ["View projects", "Manage trainings"]
        assert (await admin.get(f"/api/v1/authorization/roles/{made['id']}")).json() == made
        assert (await admin.get(f"{ROLES_PATH}?search=night")).json()["roles"] == [made]
        await house.user()
        rule = {"subjectId": "jane@example.com", "subjectType": "user", "scopeType": "tenant", "roleId": made["id"]}
        given = await admin.post("/api/v1/authorization/access-rules", json=rule)
        assert (given.status_code, given.json()["roleId"]) == (201, made["id"])
        listed = (await admin.get(f"/api/v1/authorization/access-rules?roleId={made['id']}")).json()
        assert [item["roleName"] for item in listed["accessRules"]] == ["Night watch"]
    jane = await house.door.access.actor("user", "jane@example.com")
    may = house.door.access.allows
    assert [
        resource for resource in ("trainings", "nodes", "workspaces", "users") if await may(jane, Action.READ, resource)
    ] == ["trainings", "nodes"]
    assert await may(jane, Action.DELETE, "trainings")
    assert not await may(jane, Action.UPDATE, "nodes")


async def test_a_change_holds_at_the_next_request_and_a_disabled_role_gives_nothing(house: House) -> None:
    await house.user()
    await house.door.roles.create(ADMIN, NewRole(name="Guest", permissions={"nodes": ["read"]}))
    await house.grant("jane@example.com", "Guest")
    may = house.door.access.allows

    async def sees() -> tuple[bool, bool]:
        jane = await house.door.access.actor("user", "jane@example.com")
        return await may(jane, Action.READ, "nodes"), await may(jane, Action.READ, "users")

    assert await sees() == (True, False)
    await house.door.roles.update(ADMIN, "Guest", NewRole(name="Guest", permissions={"users": ["read"]}))
    assert await sees() == (False, True)
    await house.door.roles.update(ADMIN, "Guest", NewRole(name="Guest", enabled=False, permissions={"users": ["read"]}))
    assert await sees() == (False, False)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a type that there is not": (
        {"permissions": [{"resourceType": "moons", "actions": ["read"]}]},
        "permissions.resourceType",
    ),
    "an action that there is not": (
        {"permissions": [{"resourceType": "nodes", "actions": ["eat"]}]},
        "permissions.0.actions.0",
    ),
    "what nobody may do": (
        {"permissions": [{"resourceType": "nodes", "actions": ["read", "delete"]}]},
        "permissions.actions",
    ),
    "to change without seeing": (
        {"permissions": [{"resourceType": "users", "actions": ["update"]}]},
        "permissions.actions",
    ),
    "a set that there is not": ({"permissionSets": [{"id": "x"}]}, "permissionSets[0].id"),
    "no right at all": ({}, "permissions"),
    "a name of blanks": ({"name": "  ", "permissions": [{"resourceType": "nodes", "actions": ["read"]}]}, "name"),
    "a role in the cluster that there is not": (
        {
            "permissions": [{"resourceType": "nodes", "actions": ["read"]}],
            "kubernetesPermissions": {"predefinedRole": "99"},
        },
        "kubernetesPermissions.predefinedRole",
    ),
}


@pytest.mark.parametrize(("given", "field"), BAD.values(), ids=BAD.keys())
async def test_a_wrong_role_is_refused_at_the_field(house: House, given: dict[str, Any], field: str) -> None:
    async with await visitor_of(house, "System administrator") as admin:
        answer = await admin.post(ROLES_PATH, json={"name": "A role", **given})
        assert answer.status_code == 400, answer.text
        assert [item["field"] for item in answer.json()["errors"]] == [field]
        assert len((await admin.get("/api/v1/authorization/roles")).json()) == len(ROLES)


@pytest.mark.parametrize("name", ["viewer", "VIEWER", "Research Manager", "admin", "Guest", "guest"])
async def test_a_name_is_taken_whatever_its_letters(house: House, name: str) -> None:
    async with await visitor_of(house, "System administrator") as admin:
        permissions = [{"resourceType": "nodes", "actions": ["read"]}]
        assert (await admin.post(ROLES_PATH, json={"name": "Guest", "permissions": permissions})).status_code == 201
        assert (await admin.post(ROLES_PATH, json={"name": name, "permissions": permissions})).status_code == 409


async def test_roles_of_the_program_stay_as_they_are(house: House) -> None:
    async with await visitor_of(house, "System administrator") as admin:
        for role in ROLES[:3]:
            assert (await admin.put(f"{ROLES_PATH}/{role.id}", json=WATCHER)).status_code == 403
            assert (await admin.delete(f"{ROLES_PATH}/{role.id}")).status_code == 403
        assert len((await admin.get("/api/v1/authorization/roles")).json()) == len(ROLES)


async def test_a_role_that_somebody_has_is_not_deleted(house: House) -> None:
    await house.user()
    async with await visitor_of(house, "System administrator") as admin:
        made = (await admin.post(ROLES_PATH, json=WATCHER)).json()
        rule = await house.grant("jane@example.com", "Night watch")
        refused = await admin.delete(f"{ROLES_PATH}/{made['id']}")
        assert (refused.status_code, "jane@example.com" in refused.text) == (409, True)
        await house.door.rules.delete(ADMIN, str(rule.number))
        assert (await admin.delete(f"{ROLES_PATH}/{made['id']}")).status_code == 204
        assert (await admin.get(f"{ROLES_PATH}/{made['id']}")).status_code == 404


async def test_a_role_keeps_its_name(house: House) -> None:
    async with await visitor_of(house, "System administrator") as admin:
        made = (await admin.post(ROLES_PATH, json=WATCHER)).json()
        renamed = await admin.put(f"{ROLES_PATH}/{made['id']}", json={**WATCHER, "name": "Day watch"})
        assert [item["field"] for item in renamed.json()["errors"]] == ["name"]


async def test_nobody_makes_a_role_with_more_rights_than_their_own(house: House) -> None:
    await house.user()
    await house.door.roles.create(
        ADMIN, NewRole(name="Maker", permission_sets=["Manage roles", "Manage access rules", "View trainings"])
    )
    await house.grant("jane@example.com", "Maker")
    jane = await house.door.access.actor("user", "jane@example.com")
    mine = await house.door.roles.create(jane, NewRole(name="Mine", permissions={"trainings": ["read"]}))
    larger = [
        NewRole(name="Mine", permissions={"trainings": ["read", "delete"]}),
        NewRole(name="Mine", permissions={"users": ["read"]}),
        NewRole(name="Mine", permissions={"trainings": ["read"]}, cluster_role="System administrator"),
    ]
    for given in larger:
        with pytest.raises(Forbidden, match="more rights than their own"):
            await house.door.roles.update(jane, str(mine.id), given)
    with pytest.raises(Forbidden, match="cannot give"):  # nor takes a role of the program that reads more
        await house.door.rules.create(jane, _rule("Viewer"))
    await house.door.rules.create(jane, _rule("Mine"))


async def test_a_role_with_some_of_the_changes_gives_no_role_with_all_of_them(house: House) -> None:
    await house.user()
    rights = {"access_rules": ["create", "read"], "trainings": ["read", "update"]}
    await house.door.roles.create(ADMIN, NewRole(name="Changer", permissions=rights))
    await house.door.roles.create(ADMIN, NewRole(name="Trainer", permission_sets=["Manage trainings"]))
    await house.grant("jane@example.com", "Changer")
    jane = await house.door.access.actor("user", "jane@example.com")
    with pytest.raises(Forbidden, match="may create trainings"):
        await house.door.rules.create(jane, _rule("Trainer"))


async def test_to_see_something_below_is_no_right_that_can_be_given_above(house: House) -> None:
    await house.user()
    await house.door.roles.create(ADMIN, NewRole(name="Maker", permission_sets=["Manage roles", "Manage access rules"]))
    await house.grant("jane@example.com", "Maker")
    await house.grant("jane@example.com", "L1 researcher", "project", "default")
    jane = await house.door.access.actor("user", "jane@example.com")
    with pytest.raises(Forbidden, match="more rights than their own"):
        await house.door.roles.create(jane, NewRole(name="Mine", permissions={"trainings": ["read"]}))
    with pytest.raises(Forbidden, match="cannot give"):
        await house.door.rules.create(jane, _rule("Viewer"))


async def test_in_a_cluster_the_role_of_the_program_counts(house: House) -> None:
    rights = {"trainings": ["read"]}
    await house.door.roles.create(ADMIN, NewRole(name="Guest", permissions=rights, cluster_role="L1 researcher"))
    await house.door.roles.create(ADMIN, NewRole(name="Nobody", permissions=rights))
    await house.door.roles.create(
        ADMIN, NewRole(name="Asleep", permissions=rights, cluster_role="Viewer", enabled=False)
    )
    places = house.door.access.places
    found = [(await _in_cluster(places, _stored(name))).role for name in ("Guest", "Nobody", "Asleep", "Viewer")]
    assert found == ["L1 researcher", "", "", "Viewer"]
    assert "l1 researcher" in CLUSTER_ROLES


async def test_making_a_role_is_in_the_audit_log(house: House) -> None:
    async with await visitor_of(house, "System administrator") as admin:
        await admin.post(ROLES_PATH, json=WATCHER)
    entry = (await house.log())[-1]
    assert (entry.entity_type, entry.entity_name, [change.kind for change in entry.changes]) == (
        "CustomRole",
        "Night watch",
        ["CustomRole"],
    )


def _rule(role: str) -> Any:
    return NewRule(subject="jane@example.com", subject_type="user", role=role, scope_type="tenant")


def _stored(role: str) -> AccessRule:
    scope = Scope("tenant")
    return AccessRule(
        meta=Meta(name=role), subject="x", subject_type=SubjectType.GROUP, role=role, scope_type=scope.type, scope=""
    )
