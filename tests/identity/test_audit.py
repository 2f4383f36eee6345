"""The audit log: every change, every sign-in, and no secret."""

import pytest

from runai_core.ports import Query
from tests.identity.house import ADMIN, PASSWORD, House

pytestmark = pytest.mark.asyncio


async def test_every_change_is_in_the_audit_log_with_before_and_after(house: House) -> None:
    made = await house.door.access.create_service_account("root")
    token = (await house.door.access.issue(made.client_id, made.client_secret)).access_token
    async with house.visitor("203.0.113.9", Authorization=f"Bearer {token}") as root:
        created = (await root.post("/api/v1/org-unit/projects", json={"name": "p", "description": "old"})).json()
        await root.put(f"/api/v1/org-unit/projects/{created['id']}", json={"description": "new"})
        await root.delete(f"/api/v1/org-unit/projects/{created['id']}")
        await root.get("/api/v1/org-unit/projects")
        refused = await root.post("/api/v1/org-unit/projects", json={"name": "NOT A NAME"})
        assert refused.status_code == 400
        found = (await root.get("/api/v1/audit/log", params={"sortBy": "timestamp"})).json()
    entries = found["audit_logs"]
    assert sorted((e["action"], e["result"], e["http_method"], e["http_status_code"]) for e in entries) == [
        ("create", "Failed", "POST", 400),
        ("create", "Succeeded", "POST", 201),
        ("delete", "Succeeded", "DELETE", 200),
        ("update", "Succeeded", "PUT", 200),
    ]
    assert {e["source_ip"] for e in entries} == {"203.0.113.9"}
    assert {e["subject"] for e in entries} == {"root"}
    (update,) = [e for e in entries if e["action"] == "update"]
    assert update["entity_type"] == "Project"
    assert update["entity_id"] == created["id"]
    assert update["changes"][0]["before"]["description"] == "old"
    assert update["changes"][0]["after"]["description"] == "new"


async def test_sign_ins_are_in_the_audit_log_and_no_secret_is(house: House) -> None:
    await house.user()
    await house.grant("jane@example.com", "System administrator")
    secrets = [PASSWORD, "wrong" * 4]
    async with house.visitor() as visitor:
        await house.password_token(visitor, "wrong" * 4, expect=401)
        token = (await house.password_token(visitor))["accessToken"]
    async with house.visitor(Authorization=f"Bearer {token}") as jane:
        account = (await jane.post("/api/v1/service-accounts", json={"name": "robot"})).json()
        drawn = (await jane.post("/api/v1/users", json={"email": "x@example.com"})).json()["tempPassword"]
        key = (await jane.post("/api/v1/access-keys", json={"name": "laptop"})).json()
        reset = (await jane.post("/api/v1/users/x@example.com/password")).json()["tempPassword"]
        secrets += [account["clientSecret"], drawn, key["clientSecret"], reset, token]
        text = (await jane.get("/api/v1/audit/log", params={"numberOfSamples": 100})).text
        table = await jane.get("/api/v1/audit/log/file", params={"fileType": "CSV"})
    assert table.headers["content-type"].startswith("text/csv")
    for secret in secrets:
        assert secret not in text
        assert secret not in table.text
    entries = {(e.action, e.result) for e in await house.log()}
    assert {("sign-in", "Failed"), ("sign-in", "Succeeded"), ("reset-password", "Succeeded")} <= entries
    hashes = [user.password_hash for user in (await house.door.users.list(ADMIN, Query())).items]
    assert all(item and item not in text for item in hashes)


async def test_the_audit_log_can_be_filtered_and_is_kept_within_limits(house: House) -> None:
    made = await house.door.access.create_service_account("root")
    token = (await house.door.access.issue(made.client_id, made.client_secret)).access_token
    async with house.visitor(Authorization=f"Bearer {token}") as root:
        for name in ("a1", "a2"):
            await root.post("/api/v1/service-accounts", json={"name": name})
        query = {"filterBy": "entity_name==a2", "start": "2020-01-01T00:00:00Z"}
        found = await root.get("/api/v1/audit/log", params=query)
        assert found.json().get("total") == 1, found.text
        assert (await root.get("/api/v1/audit/log", params={"filterBy": "colour==red"})).status_code == 400
        house.clock.time += 91 * 86400
        assert await house.door.audit.trim() == 2
    assert await house.log() == []
