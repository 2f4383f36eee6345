"""`runai role`: what it asks of the API."""

from collections.abc import Callable
from typing import Any

GUEST: dict[str, Any] = {
    "id": 7_000_000,
    "name": "Guest",
    "description": "Looks on",
    "enabled": True,
    "permissionSets": [{"id": "s", "name": "View nodes"}],
    "permissions": [{"resourceType": "nodes", "actions": ["read"], "displayName": "Nodes", "groupId": "x"}],
    "kubernetesPermissions": {"predefinedRole": None},
}


def test_a_role_is_made_of_sets_and_single_rights(api: Any, runai: Callable[..., Any]) -> None:
    api.answers["POST", "/api/v2/authorization/roles"] = (201, GUEST)
    words = ("--permission-set", "View projects", "--permission", "users:read,update", "--cluster-role", "Viewer")
    done = runai("role", "create", "Guest", *words, "--disabled")
    assert (done.code, "There is a role Guest" in done.out + done.err) == (0, True)
    assert api.body == {
        "name": "Guest",
        "enabled": False,
        "permissionSets": [{"id": "View projects"}],
        "permissions": [{"resourceType": "users", "actions": ["read", "update"]}],
        "kubernetesPermissions": {"predefinedRole": "Viewer"},
    }


def test_a_change_keeps_what_is_not_given(api: Any, runai: Callable[..., Any]) -> None:
    api.answers["GET", "/api/v2/authorization/roles/Guest"] = GUEST
    api.answers["PUT", "/api/v2/authorization/roles/7000000"] = GUEST
    assert runai("role", "update", "Guest", "--description", "New").code == 0
    assert api.body == {
        "name": "Guest",
        "description": "New",
        "enabled": True,
        "permissionSets": GUEST["permissionSets"],
        "permissions": [{"resourceType": "nodes", "actions": ["read"]}],
        "kubernetesPermissions": {"predefinedRole": None},
    }
    assert runai("role", "update", "Guest", "--permission", "users:read").code == 0
    assert "permissionSets" not in api.body
    assert api.body["permissions"] == [{"resourceType": "users", "actions": ["read"]}]


def test_a_permission_without_actions_is_told_at_the_option(runai: Callable[..., Any]) -> None:
    done = runai("role", "create", "Guest", "--permission", "users")
    assert (done.code, "--permission" in done.err) == (2, True)


def test_a_role_is_deleted_when_asked_so(api: Any, runai: Callable[..., Any], requests_of: Callable[[], Any]) -> None:
    api.answers["DELETE", "/api/v2/authorization/roles/Guest"] = {}
    assert runai("role", "delete", "Guest", "-y").code == 0
    assert requests_of() == ["DELETE /api/v2/authorization/roles/Guest"]
