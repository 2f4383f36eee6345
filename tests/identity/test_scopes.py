"""Rights in scopes: what somebody of one project or department sees and may do."""

from dataclasses import replace

import pytest

from runai_core.model.errors import Forbidden
from runai_core.model.meta import Meta
from runai_core.model.organization import Project
from runai_core.ports import Query
from runai_core.service.rules import NewRule
from tests.identity.house import ADMIN, House

pytestmark = pytest.mark.asyncio


async def project(house: House, name: str) -> Project:
    made = Project(meta=Meta(name=name), department="default", resources={})
    return await house.door.organization.create_project(ADMIN, made)


async def test_somebody_of_one_project_sees_nothing_of_another(house: House) -> None:
    await house.user()
    one, other = await project(house, "one"), await project(house, "other")
    await house.grant("jane@example.com", "L1 researcher", "project", one.meta.uid)
    jane = await house.door.access.actor("user", "jane@example.com")
    seen = await house.door.organization.list_projects(jane, Query())
    assert [item.name for item in seen.items] == ["one"]
    async with house.visitor() as visitor:
        token = (await house.password_token(visitor))["accessToken"]
    async with house.visitor(Authorization=f"Bearer {token}") as me:
        assert (await me.get(f"/api/v1/org-unit/projects/{one.meta.uid}")).status_code == 200
        hidden = await me.get(f"/api/v1/org-unit/projects/{other.meta.uid}")
        nowhere = await me.get("/api/v1/org-unit/projects/00000000-0000-4000-8000-000000000000")
        assert (hidden.status_code, nowhere.status_code) == (404, 404)
        assert "other" not in hidden.text.replace(other.meta.uid, "")
        body = {"name": "a", "projectId": other.meta.uid, "spec": {"command": "true"}}
        assert (await me.post("/api/v1/workloads/trainings", json=body)).status_code == 404
        body["projectId"] = one.meta.uid
        made = await me.post("/api/v1/workloads/trainings", json=body)
        assert made.status_code == 202, made.text


async def test_workloads_of_others_are_as_if_they_were_not_there(house: House) -> None:
    await house.user()
    one, other = await project(house, "one"), await project(house, "other")
    await house.grant("jane@example.com", "L1 researcher", "project", one.meta.uid)
    made = await house.door.access.create_service_account("root")
    root = (await house.door.access.issue(made.client_id, made.client_secret)).access_token
    async with house.visitor(Authorization=f"Bearer {root}") as admin:
        body = {"name": "secret-work", "projectId": other.meta.uid, "spec": {"command": "true"}}
        uid = (await admin.post("/api/v1/workloads/trainings", json=body)).json()["workloadId"]
    async with house.visitor() as visitor:
        token = (await house.password_token(visitor))["accessToken"]
    async with house.visitor(Authorization=f"Bearer {token}") as me:
        listed = (await me.get("/api/v1/workloads")).json()
        assert listed["workloads"] == []
        for path in (f"/api/v1/workloads/{uid}", f"/api/v1/workloads/{uid}/logs", f"/api/v1/workloads/{uid}/why"):
            assert (await me.get(path)).status_code == 404, path
        assert (await me.delete(f"/api/v1/workloads/{uid}")).status_code == 404
        assert (await me.get("/api/v1/workloads/count")).json() == {"count": 0}


async def test_a_department_administrator_rules_what_lies_below_and_no_more(house: House) -> None:
    await house.user()
    inside = await project(house, "inside")
    departments = await house.door.organization.list_departments(ADMIN, Query())
    await house.grant("jane@example.com", "Department administrator", "department", departments.items[0].meta.uid)
    jane = await house.door.access.actor("user", "jane@example.com")
    await house.user("joe@example.com")
    below = NewRule(
        subject="joe@example.com", subject_type="user", role="L1 researcher", scope_type="project", scope=inside.name
    )
    await house.door.rules.create(jane, below)
    larger = replace(below, role="System administrator")
    with pytest.raises(Forbidden, match="cannot give"):
        await house.door.rules.create(jane, larger)
    above = replace(below, scope_type="tenant", scope="")
    with pytest.raises(Forbidden, match="may not"):
        await house.door.rules.create(jane, above)


async def test_nobody_takes_over_an_account_that_has_more_rights(house: House) -> None:
    await house.user()
    await house.user("boss@example.com")
    await house.grant("boss@example.com", "System administrator")
    await house.grant("jane@example.com", "Department administrator")
    jane = await house.door.access.actor("user", "jane@example.com")
    with pytest.raises(Forbidden, match="cannot give"):
        await house.door.users.reset_password(jane, "boss@example.com")
    await house.door.access.create_service_account("runai-cli")
    with pytest.raises(Forbidden, match="cannot give"):
        await house.door.accounts.new_secret(jane, "service-account", "runai-cli")


async def test_a_rule_that_is_deleted_no_longer_holds_for_the_next_request(house: House) -> None:
    await house.user()
    rule = await house.grant("jane@example.com", "Viewer")
    async with house.visitor() as visitor:
        token = (await house.password_token(visitor))["accessToken"]
    async with house.visitor(Authorization=f"Bearer {token}") as me:
        assert (await me.get("/api/v1/workloads")).status_code == 200
        await house.door.rules.delete(ADMIN, str(rule.number))
        assert (await me.get("/api/v1/workloads")).status_code == 403


async def test_a_project_of_the_same_name_made_later_has_none_of_the_old_rules(house: House) -> None:
    await house.user()
    first = await project(house, "one")
    await house.grant("jane@example.com", "L1 researcher", "project", "one")
    await house.door.organization.delete_project(ADMIN, first.meta.uid)
    await project(house, "one")
    jane = await house.door.access.actor("user", "jane@example.com")
    assert (await house.door.organization.list_projects(jane, Query())).items == ()


async def test_a_departments_administrators_are_set_as_the_older_api_does(house: House) -> None:
    for name in ("jane@example.com", "ann@example.com", "joe@example.com"):
        await house.user(name)
    await house.grant("jane@example.com", "Department administrator", "department", "default")
    await house.grant("jane@example.com", "Viewer", "department", "default")
    made = await house.door.access.create_service_account("root")
    root = (await house.door.access.issue("root", made.client_secret)).access_token
    path = f"/v1/k8s/clusters/{house.door.cluster_id}/departments/default/access-control"

    async def holders() -> set[tuple[str, str]]:
        rules = await house.door.rules.list(ADMIN, Query())
        return {(rule.subject, rule.role) for rule in rules.items}

    async with house.visitor(Authorization=f"Bearer {root}") as admin:
        wanted = {"departmentAdmins": ["ann@example.com", "nobody@example.com"]}
        refused = await admin.put(path, json=wanted)
        assert (refused.status_code, len(await holders())) == (400, 2), "nothing is half done"
        wanted = {"departmentAdmins": ["ann@example.com", "joe@example.com"]}
        assert (await admin.put(path, json=wanted)).status_code == 200
    assert await holders() == {
        ("ann@example.com", "Department administrator"),
        ("joe@example.com", "Department administrator"),
        ("jane@example.com", "Viewer"),
    }
