"""The package runapy from PyPI, unmodified: identities, rights, clusters, assets, templates, older paths, lists."""

import json
import uuid
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.orchestrators import OrchestratorProcess, an_orchestrator
from tests.waiting import eventually

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its docstrings hold escapes that Python warns of
    from runai.api_client import ApiClient
    from runai.configuration import Configuration
    from runai.exceptions import ApiException
    from runai.models.asset_usage_info import AssetUsageInfo
    from runai.models.compute_list_response import ComputeListResponse
    from runai.models.count_response import CountResponse
    from runai.models.credentials_list_response import CredentialsListResponse
    from runai.models.environment_list_response import EnvironmentListResponse
    from runai.models.get_workloads200_response import GetWorkloads200Response
    from runai.models.network_topology import NetworkTopology
    from runai.models.pvc_history_response import PVCHistoryResponse
    from runai.models.storage_class_configuration import StorageClassConfiguration
    from runai.models.storage_class_configuration_list_response import StorageClassConfigurationListResponse
    from runai.models.storage_classes1 import StorageClasses1
    from runai.models.storage_classes_v2 import StorageClassesV2
    from runai.models.training_template import TrainingTemplate
    from runai.models.workspace_templates_list_response import WorkspaceTemplatesListResponse
    from runai.runai_client import RunaiClient

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def orchestrator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrchestratorProcess]:
    """Run one server for all tests here."""
    nodes = [{"name": "node-a", "gpus": 2, "cpu": 8, "memory": "16Gi"}]
    with an_orchestrator(tmp_path_factory.mktemp("runapy"), nodes) as running:
        yield running


@pytest.fixture(scope="module")
def client(orchestrator: OrchestratorProcess) -> Iterator[RunaiClient]:
    """Return runapy with the service account of the credentials file."""
    found = json.loads((orchestrator.data_dir / "credentials.json").read_text())
    with opened(found["client_id"], found["client_secret"], found["url"]) as client:
        yield client


@pytest.fixture(scope="module")
def cluster(client: RunaiClient) -> str:
    """Return the id of the cluster."""
    return str(client.organizations.clusters.get_clusters().data[0]["uuid"])


def opened(client_id: str, secret: str, url: str) -> RunaiClient:
    """Return runapy, logged in."""
    make: Any = ApiClient  # runapy says nothing of its types here
    configuration = Configuration(client_id=client_id, client_secret=secret, runai_base_url=url, retry_enabled=False)
    found: RunaiClient = RunaiClient(make(configuration))  # type: ignore[no-untyped-call]
    return found


def audit_log(client: RunaiClient) -> Any:
    """Return the newest entries of the audit log."""
    return client.audit.audit_logs.get_audit_logs(
        start="2020-01-01T00:00:00Z", end="2100-01-01T00:00:00Z", sort_order="desc", number_of_samples=200
    ).data


def refused(call: Callable[[], Any]) -> int:
    """Return the status of a call that must be refused."""
    with pytest.raises(ApiException) as caught:
        call()
    error: Any = caught.value.data
    assert {"code", "message", "details"} <= error.keys()
    return int(error["code"])


META = {"scope": "tenant"}

ASSETS = [
    ("environment", "environment_asset", {"image": "python:3.11"}),
    ("compute", "compute_asset", {"gpuDevicesRequest": 1}),
    ("nfs", "nfs_asset", {"server": "nfs.example", "path": "/x"}),
    ("pvc", "pvc_asset", {"path": "/x", "existingPvc": True, "claimName": "c"}),
    ("git", "git_asset", {"repository": "https://git.example/r.git", "path": "/src"}),
    ("s3", "s3_asset", {"bucket": "b", "path": "/s3"}),
    ("config_map", "config_map_asset", {"configMap": "cm", "mountPath": "/cm"}),
]


@pytest.mark.parametrize(("group", "noun", "spec"), ASSETS, ids=[row[0] for row in ASSETS])
def test_an_asset_is_created_listed_read_changed_and_deleted(
    client: RunaiClient, group: str, noun: str, spec: dict[str, Any]
) -> None:
    api = getattr(client.workload_assets, group)

    created = getattr(api, f"create_{noun}")({"meta": {"name": "mine", **META}, "spec": spec}).data
    uid = created["meta"]["id"]
    getattr(api, f"update_{noun}_by_id")(uid, {"meta": {"name": "mine", "description": "new"}, "spec": spec})
    read = getattr(api, f"get_{noun}_by_id")(uid, usage_info=True).data
    listed = getattr(api, f"list_{noun}s")(name="mine").data
    getattr(api, f"delete_{noun}_by_id")(uid)

    assert (read["meta"]["description"], read["spec"]) == ("new", spec)
    assert AssetUsageInfo.from_dict(read["usedBy"]) is not None
    assert [item["meta"]["id"] for item in listed["entries"]] == [uid]
    assert refused(lambda: getattr(api, f"get_{noun}_by_id")(uid)) == 404


def test_lists_of_assets_are_read_by_runapys_models(client: RunaiClient) -> None:
    assets = client.workload_assets
    compute = assets.compute.create_compute_asset(
        {"meta": {"name": "small", **META}, "spec": {"cpuCoreRequest": 1}}
    ).data

    environments: Any = EnvironmentListResponse.from_dict(assets.environment.list_environment_assets().data)
    computes: Any = ComputeListResponse.from_dict(assets.compute.list_compute_assets().data)
    assets.compute.delete_compute_asset_by_id(compute["meta"]["id"])

    assert "jupyter-lab" in {item.meta.name for item in environments.entries}
    assert [(item.meta.name, item.spec.cpu_core_request) for item in computes.entries] == [("small", 1)]


def test_credentials_are_created_and_never_shown(client: RunaiClient) -> None:
    api = client.workload_assets.credentials
    specs = {
        "access_key": {"accessKeyId": "a", "secretAccessKey": "hidden"},
        "password": {"user": "u", "password": "hidden"},
        "docker_registry": {"user": "u", "password": "hidden", "url": "https://r.example"},
        "generic_secret": {"keyValuePairs": [{"key": "k", "value": "hidden"}]},
        "ngc_api_key": {"ngcApiKey": "hidden"},
    }

    made = {
        name: getattr(api, f"create_{name}")({"meta": {"name": name.replace("_", "-"), **META}, "spec": spec}).data
        for name, spec in specs.items()
    }
    listed = api.list_credentials_assets().data
    parsed: Any = CredentialsListResponse.from_dict(listed)
    for name, item in made.items():
        getattr(api, f"delete_{name}")(item["meta"]["id"])

    assert len(parsed.entries) == len(specs)
    assert "hidden" not in json.dumps([made, listed])


def test_a_workload_is_submitted_with_a_template(client: RunaiClient, cluster: str) -> None:
    templates = client.workloads.workload_templates
    body = {
        "meta": {"name": "start", "scopeType": "tenant"},
        "spec": {"image": "i", "command": "true", "compute": {"cpuCoreRequest": 0.1}},
    }

    created = templates.create_training_template(body).data
    uid = created["meta"]["id"]
    read: Any = TrainingTemplate.from_dict(templates.get_training_template(uid).data)
    templates.patch_training_template(uid, {"meta": {"name": "start"}, "spec": {"backoffLimit": 3}})
    count: Any = CountResponse.from_dict(templates.count_templates().data)
    workspaces: Any = WorkspaceTemplatesListResponse.from_dict(templates.list_workspace_templates().data)
    training = client.workloads.trainings.create_training1(
        {"name": "from-template", "projectId": "default", "clusterId": cluster, "templateId": uid}
    ).data
    templates.delete_training_template(uid)

    assert read.spec.compute.cpu_core_request == 0.1
    assert (count.count, workspaces.entries) == (1, [])
    assert (training["spec"]["image"], training["spec"]["backoffLimit"]) == ("i", 3)


def test_data_volumes_are_shared(client: RunaiClient) -> None:
    api = client.datavolumes.datavolumes

    created = api.create_datavolume({"name": "images", "originPvcName": "claim", "projectId": "default"}).data
    uid = created["id"]
    api.patch_datavolume_shared_scopes(uid, {"add": [{"scopeType": "tenant", "scopeId": "1001"}]})
    shared = api.get_datavolume_shared_scopes(uid).data
    listed = api.get_datavolumes(
        request_type="UsableInProject", usable_in_project_id="default", filter_by=["name==images"]
    ).data
    api.delete_datavolume(uid)

    assert [item["scopeType"] for item in shared["sharedScopes"]] == ["tenant"]
    assert [item["originPvcName"] for item in listed["datavolumes"]] == ["claim"]


def test_a_list_of_workloads_is_filtered_sorted_and_paged(client: RunaiClient, cluster: str) -> None:
    trainings, workloads = client.workloads.trainings, client.workloads.workloads
    for name in ("page-c", "page-a", "page-b"):
        trainings.create_training1(
            {"name": name, "projectId": "default", "clusterId": cluster, "spec": {"image": "i", "command": "true"}}
        )
    chosen: dict[str, Any] = {"filter_by": ["name=^page-", "type==Training"], "sort_by": "name", "limit": 2}

    first: Any = GetWorkloads200Response.from_dict(workloads.get_workloads(**chosen).data)
    second: Any = GetWorkloads200Response.from_dict(workloads.get_workloads(offset=2, **chosen).data)
    down = workloads.get_workloads(**chosen | {"sort_order": "desc", "limit": 1}).data["workloads"]

    assert [item.name for item in (*first.workloads, *second.workloads)] == ["page-a", "page-b", "page-c"]
    assert first.next == 2
    assert [item["name"] for item in down] == ["page-c"]
    assert refused(lambda: workloads.get_workloads(sort_by="nothing")) == 400


def test_a_service_account_with_a_role_in_one_project_sees_only_that(
    client: RunaiClient, orchestrator: OrchestratorProcess
) -> None:
    rights = client.authentication_and_authorization
    projects = client.organizations.projects
    url = str(orchestrator.client.base_url)
    mine = projects.create_project({"name": f"p-{uuid.uuid4().hex[:6]}", "clusterId": None, "resources": []}).data
    roles = {item["name"]: item["id"] for item in rights.roles.get_roles_v1().data}

    account = rights.service_accounts.create_service_account({"name": "robot"}).data
    rule = rights.access_rules.create_access_rule(
        {
            "subjectId": account["clientId"],
            "subjectType": "service-account",
            "roleId": roles["Viewer"],
            "scopeId": mine["id"],
            "scopeType": "project",
        }
    ).data
    with opened(account["clientId"], account["clientSecret"], url) as robot:
        seen = robot.organizations.projects.get_projects().data["projects"]
        denied = refused(lambda: robot.organizations.projects.delete_project(mine["id"]))
    rights.access_rules.delete_access_rule(rule["id"])
    rights.service_accounts.delete_service_account_by_id(account["id"])
    projects.delete_project(mine["id"])

    assert [item["id"] for item in seen] == [mine["id"]]
    assert denied == 403


def test_a_user_is_created_listed_and_deleted(client: RunaiClient) -> None:
    users = client.authentication_and_authorization.users

    created = users.create_user({"email": "ada@example.org", "resetPassword": False}).data
    listed = users.get_users().data
    users.delete_user_by_id(created["id"])

    assert created["id"] in [item["id"] for item in listed]
    assert refused(lambda: users.get_user_by_id(created["id"])) == 404


def test_the_audit_log_tells_what_was_done(client: RunaiClient) -> None:
    client.organizations.departments.create_department({"name": "audited", "clusterId": None, "resources": []})

    eventually(lambda: "audited" in json.dumps(audit_log(client)))


def test_the_audit_log_knows_credentials_and_not_what_is_secret_in_them(client: RunaiClient) -> None:
    api = client.workload_assets.credentials
    body = {"meta": {"name": "for-audit", **META}, "spec": {"user": "u", "password": "never-in-a-log"}}
    uid = api.create_password(body).data["meta"]["id"]
    api.update_password(uid, {"meta": {"description": "x"}, "spec": {"password": "never-in-a-log-2"}})
    api.delete_password(uid)

    eventually(lambda: json.dumps(audit_log(client)).count("for-audit") >= 3)
    told = json.dumps(audit_log(client))

    assert "never-in-a-log" not in told


def test_the_cluster_is_read_with_its_nodes_and_metrics(client: RunaiClient, cluster: str) -> None:
    clusters = client.organizations.clusters

    read = clusters.get_cluster_by_uuid(cluster).data
    metrics = clusters.get_cluster_metrics(
        cluster, start="2026-01-01T00:00:00Z", end="2100-01-01T00:00:00Z", metric_type=["TOTAL_GPU"]
    ).data
    nodes = client.organizations.nodes.get_nodes(cluster_uuid=cluster).data["nodes"]

    assert read["uuid"] == cluster
    assert [item["type"] for item in metrics["measurements"]] == ["TOTAL_GPU"]
    assert [node["name"] for node in nodes] == ["node-a"]


def test_the_older_paths_are_understood(client: RunaiClient, cluster: str) -> None:
    projects, pools = client.organizations.projects, client.organizations.node_pools

    created = projects.create_project_0(
        cluster, {"name": "old-style", "departmentId": "default", "deservedGpus": 1}
    ).data
    listed = projects.get_projects_0(cluster).data
    projects.delete_project_0(id=created["id"], cluster_id=cluster)

    assert created["deservedGpus"] == 1
    assert "old-style" in {item["name"] for item in listed}
    assert [item["name"] for item in pools.get_node_pools(cluster).data] == ["default"]


def test_settings_of_the_tenant_are_read_and_changed(client: RunaiClient) -> None:
    settings = client.authentication_and_authorization.settings
    state = client.notifications.notification_state

    settings.update_security_setting_by_key("browserSessionTimeout", {"idleTimeout": 60})
    turned_off = state.update_notification_state({"enabled": True, "email": {"enabled": False}}).data

    assert settings.get_security_setting_by_key("browserSessionTimeout").data == {"idleTimeout": 60}
    assert settings.get_security_settings().data["browserSessionTimeout"] == {"idleTimeout": 60}
    assert turned_off == state.get_notification_state().data == {"enabled": True, "email": {"enabled": False}}


def test_network_topologies_are_made_chosen_for_a_node_pool_and_deleted(client: RunaiClient, cluster: str) -> None:
    api, pools = client.organizations.network_topologies, client.organizations.node_pools

    made = api.create_network_topology({"name": "racks", "clusterId": cluster, "levels": ["zone", "rack"]}).data
    uid = made["id"]
    pool = pools.create_nodepool(
        {"name": "near", "labelKey": "pool", "labelValue": "near", "clusterId": cluster, "networkTopologyId": uid}
    ).data
    shown: Any = NetworkTopology.from_dict(api.get_network_topology_by_id(uid).data)
    listed = api.get_network_topologies(filter_by=["name==racks"]).data["networkTopologies"]
    count = api.get_network_topologies_count().data["count"]
    in_use = refused(lambda: api.delete_network_topology(uid))
    pools.delete_nodepool(pool["id"])
    api.delete_network_topology(uid)

    assert (shown.levels, shown.node_pools, shown.phase) == (["zone", "rack"], ["near"], "Ready")
    assert (pool["networkTopologyId"], [item["id"] for item in listed], count) == (uid, [uid], 1)
    assert in_use == 409
    assert refused(lambda: api.get_network_topology_by_id(uid)) == 404


def test_storage_classes_are_configured_and_read_by_runapys_models(client: RunaiClient, cluster: str) -> None:
    classes, said = client.workload_assets.storage_classes, client.workload_assets.storage_class_configuration

    older: Any = StorageClasses1.from_dict(classes.get_storage_classes(cluster).data)
    newer: Any = StorageClassesV2.from_dict(classes.get_storage_classes_v2(cluster, include_none=True).data)
    names = classes.v1_get_storage_classes(cluster, include_none=True).data["storageClasses"]
    body = {"scopeType": "cluster", "scopeId": cluster, "name": "fast", "permissions": {"allowDataSharing": False}}
    made = said.create_storage_class_configuration(body).data
    sizes = {"claimSize": {"min": "1G", "default": "2G"}}  # as runapy checks them: without the B
    said.update_storage_class_configuration_by_id(made["id"], {"customization": sizes})
    said.patch_storage_class_configuration_by_id(made["id"], {"permissions": {"allowedForAssets": False}})
    read: Any = StorageClassConfiguration.from_dict(said.get_storage_class_configuration_by_id(made["id"]).data)
    listed: Any = StorageClassConfigurationListResponse.from_dict(said.list_storage_class_configuration().data)
    said.delete_storage_class_configuration_by_id(made["id"])

    assert older.items == [], "there are none on one machine"
    assert ([item.storage_class_name for item in newer.items], names) == (["runai-none"], ["runai-none"])
    assert (read.scope_id, read.name, read.customization.claim_size.default) == (cluster, "fast", "2G")
    assert (read.permissions.allowed_for_assets, read.permissions.allow_data_sharing) == (False, None)
    assert [item.id for item in listed.storage_class_configurations] == [made["id"]]
    assert refused(lambda: said.get_storage_class_configuration_by_id(made["id"])) == 404


def test_a_data_source_tells_its_history(client: RunaiClient) -> None:
    api = client.workload_assets.pvc
    spec = {"path": "/x", "existingPvc": True, "claimName": "c"}
    uid = api.create_pvc_asset({"meta": {"name": "told", **META}, "spec": spec}).data["meta"]["id"]

    history: Any = PVCHistoryResponse.from_dict(api.get_pvc_history(uid, limit=10).data)
    api.delete_pvc_asset_by_id(uid)

    assert [record.spec.event.reason for record in history.records] == ["Created"]
