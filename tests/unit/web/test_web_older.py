"""The paths of the older API: what they show and change is what the present ones do."""

from typing import Any

import pytest

pytestmark = pytest.mark.asyncio

CLUSTER = "3f0e2c1a-1111-4222-8333-444455556666"
PREFIX = f"/v1/k8s/clusters/{CLUSTER}"


async def test_a_project_is_created_read_changed_and_deleted(api: Any) -> None:
    body = {"name": "old", "departmentId": "default", "deservedGpus": 2, "trainingJobTimeLimitSecs": 60}
    created = await api.send("POST", f"{PREFIX}/projects", body, 201)
    where = f"{PREFIX}/projects/{created['id']}"

    changed = await api.send("PUT", where, {"maxAllowedGpus": 3})
    present = await api.get(f"/api/v1/org-unit/projects/{created['id']}")
    listed = await api.get(f"{PREFIX}/projects", excludePermissions="true")
    await api.send("DELETE", where)

    assert (changed["deservedGpus"], changed["maxAllowedGpus"], changed["trainingJobTimeLimitSecs"]) == (2, 3, 60)
    assert changed["nodePoolsResources"][0]["gpu"] == {"deserved": 2, "maxAllowed": 3, "overQuotaWeight": 1}
    assert present["resources"][0]["gpu"]["limit"] == 3
    assert {item["name"] for item in listed} == {"default", "old"}
    assert (await api.get(where, expect=404))["reason"] == "NotFound"


async def test_a_node_pool_is_created_relabelled_and_deleted(api: Any) -> None:
    body = {"name": "fast", "labelKey": "speed", "labelValue": "fast"}
    created = await api.send("POST", f"{PREFIX}/node-pools", body, 201)
    where = f"{PREFIX}/node-pools/{created['id']}"

    changed = await api.send("PUT", f"{where}/labels", {"labelKey": "speed", "labelValue": "faster"})
    listed = await api.get(f"{PREFIX}/node-pools")
    await api.send("DELETE", where)

    assert changed["labelValue"] == "faster"
    assert {item["name"] for item in listed} == {"default", "fast"}


async def test_departments_are_listed_with_their_projects(api: Any) -> None:
    (found,) = await api.get(f"{PREFIX}/departments", memoryUnitMb="true")

    assert (found["name"], [item["name"] for item in found["projects"]]) == ("default", ["default"])


async def test_another_cluster_is_refused(api: Any) -> None:
    refused = await api.get("/v1/k8s/clusters/11111111-1111-4222-8333-444455556666/projects", expect=400)

    assert refused["errors"][0]["field"] == "clusterId"


async def test_the_older_paths_need_a_token_too(api: Any, anonymous: dict[str, str]) -> None:
    answer = await api.client.get(f"{PREFIX}/projects", headers=anonymous)

    assert answer.status_code == 401
    assert answer.json()["reason"] == "Unauthenticated"
