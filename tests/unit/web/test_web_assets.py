"""Assets, templates and data volumes over REST, and what they do to a submission."""

import json
from typing import Any

import pytest

pytestmark = pytest.mark.asyncio

ASSET = "/api/v1/asset"
TENANT = {"scope": "tenant"}

SPECS: dict[str, dict[str, Any]] = {
    "environment": {"image": "python:3.11", "environmentVariables": [{"name": "A", "value": "1"}]},
    "compute": {"gpuDevicesRequest": 1, "cpuCoreRequest": 0.5},
    "datasource/host-path": {"path": "/data", "mountPath": "/mnt/data", "readOnly": True},
    "datasource/nfs": {"server": "nfs.example", "path": "/export", "mountPath": "/nfs"},
    "datasource/pvc": {"path": "/pvc", "existingPvc": True, "claimName": "claim"},
    "datasource/git": {"repository": "https://git.example/r.git", "path": "/src", "branch": "main"},
    "datasource/s3": {"bucket": "b", "path": "/s3", "url": "https://s3.example"},
    "datasource/config-map": {"configMap": "cm", "mountPath": "/etc/cm"},
    "credentials/access-key": {"accessKeyId": "AK", "secretAccessKey": "top-secret"},
    "credentials/password": {"user": "me", "password": "top-secret"},
    "credentials/docker-registry": {"user": "me", "password": "top-secret", "url": "https://registry.example"},
    "credentials/generic-secret": {"keyValuePairs": [{"key": "token", "value": "top-secret"}]},
    "credentials/ngc-api-key": {"ngcApiKey": "top-secret"},
    "registries": {"url": "https://registry.example", "user": "me", "password": "top-secret"},
}


async def made(api: Any, path: str, name: str = "a", expect: int = 201, spec: Any = None, **meta: Any) -> Any:
    """Create an asset."""
    body = {"meta": {"name": name, **(meta or TENANT)}, "spec": SPECS[path] if spec is None else spec}
    return await api.send("POST", f"{ASSET}/{path}", body, expect)


@pytest.mark.parametrize("path", SPECS)
async def test_an_asset_is_created_read_listed_changed_and_deleted(api: Any, path: str) -> None:
    created = await made(api, path)
    where = f"{ASSET}/{path}/{created['meta']['id']}"
    changed = await api.send("PUT", where, {"meta": {"name": "a", "description": "new"}})
    read = await api.get(where, usageInfo="true")
    listed = await api.get(f"{ASSET}/{path}", name="a")
    await api.send("DELETE", where)

    assert read["meta"]["description"] == changed["meta"]["description"] == "new"
    assert [item["meta"]["id"] for item in listed["entries"]] == [created["meta"]["id"]]
    assert read["usedBy"]["count"] == 0
    assert (await api.get(where, expect=404))["reason"] == "NotFound"


@pytest.mark.parametrize("path", [path for path in SPECS if "top-secret" in json.dumps(SPECS[path])])
async def test_a_secret_is_never_shown_and_not_stored_as_it_is(api: Any, path: str) -> None:
    created = await made(api, path)
    where = f"{ASSET}/{path}/{created['meta']['id']}"
    answers = [created, await api.get(where), await api.get(f"{ASSET}/{path}"), await api.get(f"{ASSET}/credentials")]
    deleted = await api.send("DELETE", where)

    assert "top-secret" not in json.dumps([*answers, deleted])
    with api.orchestrator.backend.store._engine.connect() as connection:  # what is on disk
        for table in ("objects", "changes"):
            rows = connection.exec_driver_sql(f"SELECT document FROM {table}").all()
            assert rows
            assert not any("top-secret" in row[0] for row in rows)


async def test_environments_that_come_with_the_product_can_be_read_and_not_changed(api: Any) -> None:
    listed = await api.get(f"{ASSET}/environment", scope="system")
    lab = next(item for item in listed["entries"] if item["meta"]["name"] == "jupyter-lab")
    where = f"{ASSET}/environment/{lab['meta']['id']}"

    refused = await api.send("DELETE", where, expect=422)

    assert len(listed["entries"]) == 11
    assert lab["spec"]["connections"][0]["internalToolInfo"]["toolType"] == "jupyter-notebook"
    assert "comes with the product" in refused["message"]


@pytest.mark.parametrize(
    ("path", "spec", "meta", "field"),
    [
        pytest.param("compute", {"gpuDeviceRequests": 1}, {}, "spec.gpuDeviceRequests", id="an unknown field"),
        pytest.param("compute", {"gpuPortionRequest": 2}, {}, "spec.gpuPortionRequest", id="a portion above one"),
        pytest.param("datasource/nfs", {"server": "s"}, {}, "spec.path", id="no path"),
        pytest.param("credentials/password", {"user": "me"}, {}, "spec.password", id="no password"),
        pytest.param(
            "credentials/password",
            {"existingSecretName": "s", "password": "p"},
            {},
            "spec.existingSecretName",
            id="a secret of the cluster, and values",
        ),
        pytest.param("compute", {}, {"name": "Not A Name"}, "meta.name", id="a name with blanks"),
        pytest.param("compute", {}, {"scope": "galaxy"}, "meta.scope", id="no such scope"),
        pytest.param("compute", {}, {"scope": "project"}, "meta.projectId", id="a scope without its project"),
        pytest.param("compute", {}, {"scope": "system"}, "meta.scope", id="the scope of the product"),
        pytest.param(
            "datasource/git", SPECS["datasource/git"] | {"passwordAssetId": "x"}, {}, "spec", id="no such credential"
        ),
    ],
)
async def test_what_is_wrong_is_named_and_nothing_is_kept(
    api: Any, path: str, spec: Any, meta: Any, field: str
) -> None:
    body = {"meta": {"name": "a", "scope": "tenant", **meta}, "spec": spec}
    refused = await api.send("POST", f"{ASSET}/{path}", body, 400)

    assert refused["errors"][0]["field"] == field
    assert (await api.get(f"{ASSET}/{path}", scope="tenant"))["entries"] == []


async def test_names_are_free_in_another_scope_only(api: Any) -> None:
    await made(api, "compute")
    again = await made(api, "compute", expect=409)
    other = await made(api, "compute", scope="project", projectId="default")

    assert again["reason"] == "AlreadyExists"
    assert other["meta"]["projectName"] == "default"


async def test_data_sources_and_credentials_are_also_listed_together(api: Any) -> None:
    for path in SPECS:
        await made(api, path, name=path.rpartition("/")[2])

    sources = await api.get(f"{ASSET}/datasource")
    credentials = await api.get(f"{ASSET}/credentials")

    assert {next(iter(item["spec"])) for item in sources["entries"]} == {
        "hostPath",
        "nfs",
        "pvc",
        "git",
        "s3",
        "config_map",
    }
    assert {next(iter(item["spec"])) for item in credentials["entries"]} == {
        "accessKey",
        "password",
        "dockerRegistry",
        "genericSecret",
        "ngcApiKey",
    }


async def test_a_submission_by_reference_has_the_fields_of_its_assets(api: Any) -> None:
    environment = await made(api, "environment", name="env")
    compute = await made(api, "compute", name="small")
    source = await made(api, "datasource/nfs", name="data")

    uid = (
        await api.submit(
            "by-id",
            assets={
                "environment": environment["meta"]["id"],
                "compute": "small",
                "datasources": [
                    {"id": source["meta"]["id"], "kind": "nfs", "overrides": {"containerPath": "/elsewhere"}}
                ],
            },
            spec={"command": "true", "environmentVariables": [{"name": "A", "value": "2"}]},
        )
    )["workloadId"]
    spec = (await api.get(f"/api/v1/workloads/trainings/{uid}"))["spec"]

    assert spec["image"] == "python:3.11"
    assert spec["compute"] == {"gpuDevicesRequest": 1, "cpuCoreRequest": 0.5}
    assert spec["environmentVariables"] == [{"name": "A", "value": "2"}]
    assert spec["storage"]["nfs"] == [
        {"name": "data", "server": "nfs.example", "path": "/export", "mountPath": "/elsewhere"}
    ]
    used = await api.get(f"{ASSET}/compute/{compute['meta']['id']}", usageInfo="true")
    assert [item["name"] for item in used["usedBy"]["trainings"]] == ["by-id"]
    refused = await api.send("DELETE", f"{ASSET}/compute/{compute['meta']['id']}", expect=409)
    assert "workload default/by-id" in refused["message"]


async def test_policies_judge_what_assets_bring(api: Any) -> None:
    await made(api, "compute", name="large", spec={"gpuDevicesRequest": 8})
    rules = {"rules": {"compute": {"gpuDevicesRequest": {"max": 2}}}}
    await api.send("PUT", "/api/v2/policy/trainings", {"policy": rules})

    refused = await api.submit("t", assets={"compute": "large"}, expect=400)
    told = await api.get(f"{ASSET}/compute", complyToProject="default", complyToWorkloadType="Training")

    assert refused["errors"][0]["field"] == "compute.gpuDevicesRequest"
    assert told["entries"][0]["compliance"]["compliance"] is False
    assert told["entries"][0]["compliance"]["reason"][0]["field"] == "compute.gpuDevicesRequest"


@pytest.mark.parametrize(
    ("assets", "field"),
    [
        pytest.param({"compute": "nothing"}, "assets.compute", id="no such asset"),
        pytest.param({"environment": "llm-server"}, "assets.environment", id="not for this type"),
        pytest.param({"datasources": [{"id": "x"}]}, "assets.datasources.0", id="no such data source"),
        pytest.param({"computes": "x"}, "assets.computes", id="an unknown member"),
    ],
)
async def test_a_wrong_reference_is_named(api: Any, assets: Any, field: str) -> None:
    refused = await api.submit("t", assets=assets, expect=400)

    assert refused["errors"][0]["field"] == field


async def test_an_asset_of_another_project_cannot_be_used(api: Any) -> None:
    await api.send("POST", "/api/v1/org-unit/projects", {"name": "other"}, 201)
    await made(api, "compute", name="theirs", scope="project", projectId="other")

    refused = await api.submit("t", assets={"compute": "theirs"}, expect=400)

    assert refused["errors"][0]["field"] == "assets.compute"


async def test_what_a_policy_imposes_is_added_and_cannot_be_taken_out(api: Any) -> None:
    source = await made(api, "datasource/nfs", name="audit")
    uid = source["meta"]["id"]
    await api.send("PUT", "/api/v2/policy/trainings", {"policy": {"imposedAssets": [uid]}})

    submitted = (await api.submit("t"))["workloadId"]
    spec = (await api.get(f"/api/v1/workloads/trainings/{submitted}"))["spec"]
    without = {"command": "true", "storage": {"nfs": [{"name": "audit", "exclude": True}]}}
    refused = await api.submit("u", spec=without, expect=400)
    kept = await api.send("DELETE", f"{ASSET}/datasource/nfs/{uid}", expect=409)

    assert [item["name"] for item in spec["storage"]["nfs"]] == ["audit"]
    assert refused["errors"][0]["field"] == "storage.nfs.audit"
    assert "training of the tenant" in refused["errors"][0]["policy"]
    assert "the policy training of the tenant" in kept["message"]


@pytest.mark.parametrize(
    ("path", "spec"),
    [
        pytest.param("compute", SPECS["compute"], id="no data source"),
        pytest.param("datasource/git", None, id="a data source with a credential"),
    ],
)
async def test_only_data_sources_without_credentials_can_be_imposed(api: Any, path: str, spec: Any) -> None:
    if spec is None:
        password = await made(api, "credentials/password", name="p")
        spec = SPECS["datasource/git"] | {"passwordAssetId": password["meta"]["id"]}
    asset = await made(api, path, spec=spec)
    policy = {"policy": {"imposedAssets": [asset["meta"]["id"]]}}

    refused = await api.send("PUT", "/api/v2/policy/trainings", policy, expect=400)
    unknown = await api.send("PUT", "/api/v2/policy/trainings", {"policy": {"imposedAssets": ["x"]}}, expect=400)

    assert refused["errors"][0]["field"] == unknown["errors"][0]["field"] == "imposedAssets"


async def test_a_template_is_created_read_listed_changed_and_deleted(api: Any) -> None:
    await made(api, "compute", name="small")
    body = {
        "meta": {"name": "start", "scopeType": "project", "scopeId": "default"},
        "spec": {"command": "sleep 1", "image": "a", "backoffLimit": 2},
        "assets": {"compute": "small"},
    }
    where = "/api/v1/workload-templates/trainings"

    created = await api.send("POST", where, body, 201)
    uid = created["meta"]["id"]
    again = await api.send("POST", where, body, 409)
    patched = await api.send("PATCH", f"{where}/{uid}", {"spec": {"image": "b"}, "fieldsToClear": ["backoffLimit"]})
    listed = await api.get("/api/v1/workload-templates", filterBy="name==start", sortBy="name")
    older = await api.get(f"{ASSET}/workload-template/{uid}")
    free = await api.get("/api/v1/workload-templates/name-availability", templateName="start", scopeType="tenant")
    submitted = (await api.submit("t", templateId="start", spec={"args": "2"}))["workloadId"]
    spec = (await api.get(f"/api/v1/workloads/trainings/{submitted}"))["spec"]
    await api.send("DELETE", f"{where}/{uid}")

    assert again["reason"] == "AlreadyExists"
    assert patched["spec"] == {"command": "sleep 1", "image": "b"}
    assert patched["assets"] == {"compute": "small"}
    assert [item["meta"]["id"] for item in listed["entries"]] == [uid]
    assert older["spec"] == {"assets": {"compute": "small"}, "specificEnv": patched["spec"]}
    assert free["available"] is True
    assert (spec["command"], spec["args"], spec["image"], spec["compute"]["gpuDevicesRequest"]) == (
        "sleep 1",
        "2",
        "b",
        1,
    )
    assert (await api.get(f"{where}/{uid}", expect=404))["reason"] == "NotFound"


async def test_an_asset_that_a_template_names_is_kept(api: Any) -> None:
    asset = await made(api, "environment", name="env")
    body = {"meta": {"name": "t", "scopeType": "tenant"}, "assets": {"environment": asset["meta"]["id"]}}
    await api.send("POST", "/api/v1/workload-templates/workspaces", body, 201)

    refused = await api.send("DELETE", f"{ASSET}/environment/{asset['meta']['id']}", expect=409)

    assert "template t" in refused["message"]


async def test_a_template_for_another_type_is_refused(api: Any) -> None:
    body = {"meta": {"name": "t", "scopeType": "tenant"}, "spec": {"image": "x"}}
    await api.send("POST", "/api/v1/workload-templates/workspaces", body, 201)

    refused = await api.submit("a", templateId="t", expect=400)

    assert refused["errors"][0]["field"] == "templateId"


async def test_a_wrong_field_of_a_template_is_named(api: Any) -> None:
    body = {"meta": {"name": "t", "scopeType": "tenant"}, "spec": {"imag": "x"}}

    refused = await api.send("POST", "/api/v1/workload-templates/workspaces", body, 400)

    assert refused["errors"][0]["field"] == "spec.imag"


async def test_a_data_volume_is_mounted_to_read_in_its_project(api: Any) -> None:
    body = {"name": "images", "originPvcName": "claim", "projectId": "default"}
    created = await api.send("POST", "/api/v1/datavolumes", body, 201)
    uid = created["id"]
    storage = {"dataVolume": [{"id": uid, "mountPath": "/images"}]}

    submitted = (await api.submit("t", spec={"command": "true", "storage": storage}))["workloadId"]
    spec = (await api.get(f"/api/v1/workloads/trainings/{submitted}"))["spec"]
    shared = await api.send(
        "PATCH",
        f"/api/v1/datavolumes/{uid}/shared-scopes",
        {"add": [{"scopeType": "department", "scopeId": "default"}]},
    )
    refused = await api.send("DELETE", f"/api/v1/datavolumes/{uid}", expect=409)

    assert spec["storage"]["pvc"] == [
        {"name": "images", "existingPvc": True, "claimName": "claim", "path": "/images", "readOnly": True}
    ]
    assert [item["scopeName"] for item in shared["sharedScopes"]] == ["default"]
    assert "default/t" in refused["message"]
    assert (await api.get("/api/v1/datavolumes/count"))["count"] == 1


async def test_credentials_can_be_read_after_the_key_was_rotated(api: Any) -> None:
    created = await made(api, "credentials/password", name="p")
    secrets, before = api.orchestrator.secrets, api.orchestrator.settings.secrets_key.read_bytes()

    answer = await api.send("POST", f"{ASSET}/credentials/rotate-key")

    after = api.orchestrator.settings.secrets_key
    assert answer["credentials"] == 1
    assert after.read_bytes() != before
    assert after.stat().st_mode & 0o777 == 0o600
    assert (await secrets.secret("default", "p")).data == {"username": "me", "password": "top-secret"}
    assert (await api.get(f"{ASSET}/credentials/password/{created['meta']['id']}"))["spec"]["keyId"]


async def test_a_role_in_one_project_reaches_the_assets_of_that_project(api: Any) -> None:
    await api.send("POST", "/api/v1/org-unit/projects", {"name": "other"}, 201)
    theirs = await made(api, "compute", name="theirs", scope="project", projectId="other")
    common = await made(api, "compute", name="common")
    headers = await practitioner_of(api, "default")

    async def asked(method: str, path: str, body: Any = None) -> Any:
        return await api.client.request(method, f"{ASSET}/{path}", json=body, headers=headers)

    mine = await asked("POST", "compute", {"meta": {"name": "mine", "scope": "project", "projectId": "default"}})
    listed = await asked("GET", "compute")
    refusals = {
        "create for all": await asked("POST", "compute", {"meta": {"name": "x", "scope": "tenant"}}),
        "create for others": await asked(
            "POST", "compute", {"meta": {"name": "x", "scope": "project", "projectId": "other"}}
        ),
        "read another's": await asked("GET", f"compute/{theirs['meta']['id']}"),
        "delete another's": await asked("DELETE", f"compute/{theirs['meta']['id']}"),
        "delete the tenant's": await asked("DELETE", f"compute/{common['meta']['id']}"),
        "change the tenant's": await asked("PUT", f"compute/{common['meta']['id']}", {"spec": {}}),
        "draw a new key": await asked("POST", "credentials/rotate-key"),
    }

    assert mine.status_code == 201, mine.text
    assert {item["meta"]["name"] for item in listed.json()["entries"]} == {"mine", "common"}
    assert {name: answer.status_code for name, answer in refusals.items() if answer.status_code not in (403, 404)} == {}


async def practitioner_of(api: Any, project: str) -> dict[str, str]:
    """Return the headers of a service account that is an AI practitioner in one project."""
    account = await api.send("POST", "/api/v1/service-accounts", {"name": "robot"}, 201)
    roles = {item["name"]: item["id"] for item in await api.get("/api/v1/authorization/roles")}
    unit = await api.get(f"/api/v1/org-unit/projects/{project}")
    rule = {
        "subjectId": account["clientId"],
        "subjectType": "service-account",
        "roleId": roles["AI practitioner"],
        "scopeId": unit["id"],
        "scopeType": "project",
    }
    await api.send("POST", "/api/v1/authorization/access-rules", rule, 201)
    pair = {"clientID": account["clientId"], "clientSecret": account["clientSecret"]}
    token = await api.send("POST", "/api/v1/token", pair)
    return {"Authorization": f"Bearer {token['accessToken']}"}
