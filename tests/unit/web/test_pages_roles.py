"""Pages of roles: a form that makes one, what it shows of the program's own, and who has it."""

import re
from typing import Any

import pytest

from runai_core.model.organization import SYSTEM
from runai_core.model.roles import PERMISSION_SETS, Rights
from runai_core.service.roles import NewRole
from runai_core.service.rules import NewRule

SETS = {found.name: found.id for found in PERMISSION_SETS.values()}


def ticked(page: str) -> set[str]:
    return set(re.findall(r'name="right" value="([^"]+)"[^>]* checked', page))


async def rights_of(api: Any, name: str) -> Rights:
    rights: Rights = (await api.orchestrator.roles.get(SYSTEM, name)).rights
    return rights


@pytest.mark.asyncio
async def test_a_role_is_made_and_changed_by_ticking_boxes(api: Any) -> None:
    form = {"name": "Night watch", "enabled": "true", "clusterRole": "Viewer", "right": ["nodes:read", "users:read"]}
    made = await api.client.post("/roles/new", data=form)
    assert made.status_code == 303, made.text
    path = made.headers["location"]
    page = (await api.client.get(path)).text
    assert ticked(page) == {"nodes:read", "users:read"}
    version = re.search(r'name="version" value="(\d+)"', page)
    assert version is not None
    changed = await api.client.post(path, data={**form, "version": version[1], "right": ["users:read", "users:update"]})
    assert changed.status_code == 303, changed.text
    assert await rights_of(api, "Night watch") == {"users": {"read", "update"}}
    again = await api.client.post(path, data={**form, "version": version[1]})
    assert (again.status_code, "changed" in again.text) == (422, True)
    assert ticked(again.text) == {"nodes:read", "users:read"}, "what was typed is still there"


@pytest.mark.asyncio
async def test_a_permission_set_stays_while_all_of_its_boxes_are_ticked(api: Any) -> None:
    sets = [SETS["View users"], SETS["Manage trainings"]]
    role = await api.orchestrator.roles.create(SYSTEM, NewRole(name="Trainer", permission_sets=sets))
    boxes = ["users:read", "trainings:read", "trainings:create", "trainings:update"]
    answer = await api.client.post(f"/roles/{role.id}", data={"enabled": "true", "right": boxes})
    assert answer.status_code == 303, answer.text
    made = (await api.orchestrator.roles.get(SYSTEM, "Trainer")).made
    assert made.permission_sets == (SETS["View users"],)
    assert made.rights == {"trainings": ("create", "read", "update")}


@pytest.mark.asyncio
async def test_what_is_wrong_is_told_and_nothing_is_lost(api: Any) -> None:
    answer = await api.client.post("/roles/new", data={"name": "W", "description": "kept", "right": ["users:update"]})
    assert answer.status_code == 422
    assert "must have read too" in answer.text
    assert 'value="kept"' in answer.text
    assert ticked(answer.text) == {"users:update"}


@pytest.mark.asyncio
async def test_a_role_of_the_program_is_shown_and_cannot_be_written(api: Any) -> None:
    page = await api.client.get("/roles/Viewer")
    assert page.status_code == 200
    assert "It is a role of the program" in page.text
    assert 'name="right"' not in page.text
    assert (await api.client.post("/roles/Viewer", data={"right": ["users:read"]})).status_code == 403


@pytest.mark.asyncio
async def test_who_has_a_role_is_shown_and_keeps_it_from_being_deleted(api: Any) -> None:
    door = api.orchestrator
    role = await door.roles.create(SYSTEM, NewRole(name="Guest", permissions={"nodes": ["read"]}))
    await door.users.create(SYSTEM, "ann@example.com")
    rule = NewRule(subject="ann@example.com", subject_type="user", role="Guest", scope_type="project", scope="default")
    given = await door.rules.create(SYSTEM, rule)
    assert "ann@example.com in project default" in (await api.client.get(f"/roles/{role.id}")).text
    assert f'value="{role.id}"' in (await api.client.get("/access-rules/new")).text
    refused = await api.client.post(f"/roles/{role.id}/delete")
    assert (refused.status_code, "ann@example.com" in refused.text) == (409, True)
    await door.rules.delete(SYSTEM, str(given.number))
    assert (await api.client.post(f"/roles/{role.id}/delete")).status_code == 303
    assert (await api.client.get(f"/roles/{role.id}")).status_code == 404
