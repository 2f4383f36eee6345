"""Projects, departments, node pools, nodes, clusters and properties over REST."""

from typing import Any

import pytest

pytestmark = pytest.mark.asyncio

UNITS = ("projects", "departments")


@pytest.mark.parametrize("unit", UNITS)
async def test_a_unit_is_created_read_changed_and_deleted(api: Any, unit: str) -> None:
    path = f"/api/v1/org-unit/{unit}"
    body = {
        "name": "research",
        "description": "first",
        "resources": [{"nodePool": {"name": "default"}, "gpu": {"deserved": 2, "limit": 3, "overQuotaWeight": 2}}],
    }

    created = await api.send("POST", path, body, 201)
    changed = await api.send("PUT", f"{path}/{created['id']}", {"description": "second"})
    read = await api.get(f"{path}/research")
    count = await api.get(f"{path}/count")
    await api.send("DELETE", f"{path}/{created['id']}")

    assert created["resources"][0]["gpu"] == {"deserved": 2, "limit": 3, "overQuotaWeight": 2}
    assert created["totalResources"]["gpuQuota"] == 2
    assert (changed["description"], changed["resources"]) == ("second", created["resources"])
    assert read == changed
    assert count["count"] == 2
    assert (await api.get(f"{path}/research", expect=404))["reason"] == "NotFound"


@pytest.mark.parametrize("unit", UNITS)
async def test_quota_alone_is_set_or_changed(api: Any, unit: str) -> None:
    path = f"/api/v1/org-unit/{unit}"
    await api.send("POST", "/api/v1/node-pools", {"name": "other", "labelKey": "k", "labelValue": "v"}, 201)
    pools = [{"nodePool": {"name": name}, "gpu": {"deserved": 1}} for name in ("default", "other")]
    created = await api.send("POST", path, {"name": "research", "resources": pools}, 201)

    patched = await api.send(
        "PATCH", f"{path}/{created['id']}/resources", [{"nodePool": {"name": "other"}, "gpu": {"limit": 4}}]
    )
    put = await api.send("PUT", f"{path}/{created['id']}/resources", [{"gpu": {"deserved": 3}}])

    assert [(pool["nodePool"]["name"], pool["gpu"]["deserved"], pool["gpu"]["limit"]) for pool in patched] == [
        ("default", 1, None),
        ("other", 1, 4),
    ]
    assert [(pool["nodePool"]["name"], pool["gpu"]["deserved"]) for pool in put] == [("default", 3)]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        pytest.param({"name": "Big"}, "name", id="a wrong name"),
        pytest.param({"name": "a", "resources": [{"gpu": {"deserved": -1}}]}, "resources.0.gpu.deserved", id="below 0"),
        pytest.param({"name": "a", "resource": []}, "resource", id="an unknown field"),
        pytest.param(
            {"name": "a", "resources": [{"gpu": {"deserved": 4, "limit": 2}}]},
            "resources.default.gpu.deserved",
            id="more than the limit",
        ),
        pytest.param({"name": "a", "clusterId": "other"}, "clusterId", id="another cluster"),
        pytest.param(
            {"name": "a", "schedulingRules": {"trainingJobTimeLimitSecond": 1}},
            "schedulingRules.trainingJobTimeLimitSecond",
            id="an unknown rule",
        ),
    ],
)
@pytest.mark.parametrize("unit", UNITS)
async def test_a_wrong_unit_names_the_field(api: Any, unit: str, body: Any, field: str) -> None:
    error = await api.send("POST", f"/api/v1/org-unit/{unit}", body, 400)

    assert error["errors"][0]["field"] == field
    assert (await api.get(f"/api/v1/org-unit/{unit}/count"))["count"] == 1


async def test_an_unknown_node_pool_or_department_is_not_found(api: Any) -> None:
    pools = [{"nodePool": {"id": "none"}, "gpu": {"deserved": 1}}]

    await api.send("POST", "/api/v1/org-unit/projects", {"name": "a", "resources": pools}, 404)
    await api.send("POST", "/api/v1/org-unit/projects", {"name": "a", "parentId": "none"}, 404)


async def test_a_name_that_is_taken_is_a_conflict(api: Any) -> None:
    error = await api.send("POST", "/api/v1/org-unit/projects", {"name": "default"}, 409)

    assert error["reason"] == "AlreadyExists"


async def test_a_project_belongs_to_its_department(api: Any) -> None:
    department = await api.send("POST", "/api/v1/org-unit/departments", {"name": "research"}, 201)

    project = await api.send("POST", "/api/v1/org-unit/projects", {"name": "a", "parentId": department["id"]}, 201)
    listed = await api.get("/api/v1/org-unit/projects", filterBy=f"departmentId=={department['id']}")
    shown = await api.get(f"/api/v1/org-unit/departments/{department['id']}")

    assert project["parent"] == {"id": department["id"], "name": "research"}
    assert [item["name"] for item in listed["projects"]] == ["a"]
    assert shown["children"] == [{"id": project["id"], "name": "a"}]


async def test_a_department_with_projects_stays(api: Any) -> None:
    error = await api.send("DELETE", "/api/v1/org-unit/departments/default", expect=409)

    assert "default" in error["message"]


async def test_a_project_with_workloads_stays(api: Any) -> None:
    await api.submit("busy")

    error = await api.send("DELETE", "/api/v1/org-unit/projects/default", expect=409)

    assert "busy" in error["message"]


async def test_a_project_tells_what_it_holds(api: Any) -> None:
    created = await api.submit("a", spec={"command": "true", "compute": {"gpuDevicesRequest": 1}})
    await api.run(created["id"])

    project = (await api.get("/api/v1/org-unit/projects"))["projects"][0]

    status = project["status"]
    assert status["phase"] == "Ready"
    assert set(status["quotaStatus"]) == {"allocated", "allocatedNonPreemptible", "requested"}
    assert [pool["nodePoolName"] for pool in status["nodePoolQuotaStatuses"]] == ["default"]


async def test_a_project_inherits_rules_of_its_department(api: Any) -> None:
    rules = {"schedulingRules": {"trainingJobTimeLimitSeconds": 60}}
    await api.send("PUT", "/api/v1/org-unit/departments/default", rules)

    project = await api.get("/api/v1/org-unit/projects/default")

    assert project["schedulingRules"]["trainingJobTimeLimitSeconds"] is None
    assert project["effective"]["schedulingRules"]["trainingJobTimeLimitSeconds"] == 60


async def test_a_node_pool_is_created_changed_and_deleted(api: Any) -> None:
    body = {"name": "fast", "labelKey": "speed", "labelValue": "fast", "placementStrategy": {"gpu": "spread"}}

    created = await api.send("POST", "/api/v1/node-pools", body, 201)
    changed = await api.send(
        "PATCH",
        f"/api/v1/node-pools/{created['id']}",
        {
            "schedulingConfiguration": {
                "minGuaranteedRuntime": "1d2h3m",
                "timeBasedFairShare": {"enabled": True, "window": "3d", "windowType": "tumbling", "halfLife": "12h"},
            }
        },
    )
    listed = await api.get("/api/v1/node-pools", sortBy="name")
    await api.send("DELETE", f"/api/v1/node-pools/{created['id']}")

    assert created["placementStrategy"] == {"gpu": "spread", "cpu": "binpack"}
    assert created["phase"] == "Empty"
    assert changed["schedulingConfiguration"]["minGuaranteedRuntime"] == "1d2h3m"
    assert changed["schedulingConfiguration"]["timeBasedFairShare"] == {
        "enabled": True,
        "historyWeight": 1.0,
        "window": "3d0h0m",
        "windowType": "tumbling",
        "halfLife": "0d12h0m",
    }
    assert [(item["name"], item["isDefault"]) for item in listed["nodepools"]] == [("default", True), ("fast", False)]
    assert (await api.get("/api/v1/node-pools/count"))["count"] == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "a", "labelKey": "k"}, "labelValue"),
        ({"name": "a", "labelKey": "", "labelValue": "v"}, "labelKey"),
        (
            {"name": "a", "labelKey": "k", "labelValue": "v", "placementStrategy": {"gpu": "magic"}},
            "placementStrategy.gpu",
        ),
        (
            {
                "name": "a",
                "labelKey": "k",
                "labelValue": "v",
                "schedulingConfiguration": {"minGuaranteedRuntime": "soon"},
            },
            "schedulingConfiguration.minGuaranteedRuntime",
        ),
        (
            {
                "name": "a",
                "labelKey": "k",
                "labelValue": "v",
                "schedulingConfiguration": {"timeBasedFairShare": {"window": "5m"}},
            },
            "schedulingConfiguration.timeBasedFairShare.window",
        ),
        (
            {
                "name": "a",
                "labelKey": "k",
                "labelValue": "v",
                "schedulingConfiguration": {"timeBasedFairShare": {"halfLife": "often"}},
            },
            "schedulingConfiguration.timeBasedFairShare.halfLife",
        ),
        (
            {
                "name": "a",
                "labelKey": "k",
                "labelValue": "v",
                "schedulingConfiguration": {"timeBasedFairShare": {"historyWeight": -1}},
            },
            "schedulingConfiguration.timeBasedFairShare.historyWeight",
        ),
    ],
)
async def test_a_wrong_node_pool_names_the_field(api: Any, body: Any, field: str) -> None:
    error = await api.send("POST", "/api/v1/node-pools", body, 400)

    assert error["errors"][0]["field"] == field


async def test_the_default_node_pool_stays(api: Any) -> None:
    assert "default" in (await api.send("DELETE", "/api/v1/node-pools/default", expect=409))["message"]


async def test_nodes_show_that_their_gpus_are_simulated(api: Any) -> None:
    nodes = (await api.get("/api/v1/nodes"))["nodes"]
    status = await api.get("/api/v1/status")

    assert [node["simulated"] for node in nodes] == [True, True]
    assert nodes[0]["devices"][0]["simulated"] is True
    assert nodes[0]["gpuInfo"] == {"gpuType": "Try-Out-GPU", "gpuCount": 2}
    assert status["gpus"] == {"total": 4, "real": 0, "simulated": 4}


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({}, ["node-a", "node-b"]),
        ({"sortBy": "name", "sortOrder": "desc"}, ["node-b", "node-a"]),
        ({"filterBy": "name=$b"}, ["node-b"]),
        ({"filterBy": "gpuType=@try,name!=node-a"}, ["node-b"]),
        ({"search": "A"}, ["node-a"]),
        ({"offset": 1}, ["node-b"]),
        ({"limit": 1}, ["node-a"]),
    ],
)
async def test_nodes_are_filtered_sorted_and_cut(api: Any, query: dict[str, Any], names: list[str]) -> None:
    cluster = (await api.get("/api/v1/clusters"))[0]["uuid"]

    found = await api.get("/api/v1/nodes", **query)

    assert [node["name"] for node in found["nodes"]] == names
    assert await api.get(f"/api/v1/clusters/{cluster}/nodes", **query) == found


async def test_there_is_one_cluster(api: Any) -> None:
    (cluster,) = await api.get("/api/v1/clusters")

    assert await api.get(f"/api/v1/clusters/{cluster['uuid']}") == cluster
    assert cluster["status"]["state"] == "Connected"
    assert (await api.get("/api/v1/clusters/other", expect=404))["reason"] == "NotFound"


async def test_properties_of_workloads_are_listed(api: Any) -> None:
    priorities = (await api.get("/api/v1/workload-priorities"))["priorities"]
    categories = (await api.get("/api/v1/workload-categories"))["categories"]
    types = (await api.get("/api/v1/workload-types"))["types"]
    ranks = (await api.get("/api/v1/org-unit/priorities"))["priorities"]

    assert [item["value"] for item in priorities] == [25, 40, 65, 80, 90, 125, 150]
    assert {item["name"] for item in categories} == {"Build", "Train", "Deploy"}
    assert {"Workspace", "Training", "Distributed"} <= {item["name"] for item in types}
    assert [item["name"] for item in ranks if item["isDefault"]] == ["Normal"]
    assert await api.get(f"/api/v1/workload-categories/{categories[0]['id']}") == categories[0]
    assert await api.get(f"/api/v1/workload-types/{types[0]['id']}") == types[0]


async def test_plugins_are_listed(api: Any) -> None:
    plugins = (await api.get("/api/v1/plugins"))["plugins"]

    assert [(item["name"], item["status"]) for item in plugins if item["status"] == "loaded"] == [("builtin", "loaded")]
