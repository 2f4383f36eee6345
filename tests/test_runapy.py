"""The package runapy from PyPI, unmodified, against a real server process: what its users write works here.

runapy hands answers back as they came; its own models, which check strictly
what each field must be, read them here as well.
"""

import json
import uuid
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.orchestrators import OrchestratorProcess, an_orchestrator
from tests.waiting import eventually

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its docstrings hold escapes that Python warns of
    from runai.api_client import ApiClient
    from runai.configuration import Configuration
    from runai.exceptions import ApiException
    from runai.models.batch_response import BatchResponse
    from runai.models.count_response import CountResponse
    from runai.models.department_for_list import DepartmentForList
    from runai.models.displayed_cluster import DisplayedCluster
    from runai.models.distributed_workload import DistributedWorkload
    from runai.models.error import Error
    from runai.models.get_inference_workload_revisions200_response import GetInferenceWorkloadRevisions200Response
    from runai.models.get_priorities200_response import GetPriorities200Response
    from runai.models.get_workload_events200_response import GetWorkloadEvents200Response
    from runai.models.get_workload_history200_response import GetWorkloadHistory200Response
    from runai.models.get_workload_priorities200_response import GetWorkloadPriorities200Response
    from runai.models.get_workloads200_response import GetWorkloads200Response
    from runai.models.inference1 import Inference1
    from runai.models.list_categories200_response import ListCategories200Response
    from runai.models.list_pods200_response import ListPods200Response
    from runai.models.list_workload_types200_response import ListWorkloadTypes200Response
    from runai.models.metrics_response import MetricsResponse
    from runai.models.node import Node
    from runai.models.nodepool import Nodepool
    from runai.models.policy_list_response import PolicyListResponse
    from runai.models.project_creation_request import ProjectCreationRequest
    from runai.models.project_status import ProjectStatus
    from runai.models.resources import Resources
    from runai.models.revision import Revision
    from runai.models.telemetry_response import TelemetryResponse
    from runai.models.training1 import Training1
    from runai.models.training_creation_request import TrainingCreationRequest
    from runai.models.training_policy_v2 import TrainingPolicyV2
    from runai.models.workload import Workload
    from runai.models.workload_type_config import WorkloadTypeConfig
    from runai.models.workspace1 import Workspace1
    from runai.runai_client import RunaiClient

pytestmark = pytest.mark.slow

LONG = "python3 -c 'import time; print(1, flush=True); time.sleep(600)'"
"""A command that runs until it is stopped."""


@pytest.fixture(scope="module")
def orchestrator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrchestratorProcess]:
    """Run one server for all tests here: two nodes with two simulated GPUs each."""
    nodes = [{"name": name, "gpus": 2, "cpu": 8, "memory": "16Gi"} for name in ("node-a", "node-b")]
    with an_orchestrator(tmp_path_factory.mktemp("runapy"), nodes) as running:
        yield running


@pytest.fixture(scope="module")
def client(orchestrator: OrchestratorProcess) -> Iterator[RunaiClient]:
    """Return runapy with the service account of the credentials file."""
    found = json.loads((orchestrator.data_dir / "credentials.json").read_text())
    configuration = Configuration(
        client_id=found["client_id"],
        client_secret=found["client_secret"],
        runai_base_url=found["url"],
        retry_enabled=False,
    )
    with opened_by(configuration) as opened:
        yield opened


@pytest.fixture(scope="module")
def cluster(client: RunaiClient) -> str:
    """Return the id of the cluster, as a user of runapy finds it."""
    (found,) = client.organizations.clusters.get_clusters().data
    return str(parsed(DisplayedCluster, found).uuid)


@pytest.fixture
def project(client: RunaiClient, cluster: str) -> Iterator[str]:
    """Return the id of a project with one GPU of its own."""
    (pool,) = [p for p in client.organizations.node_pools.get_nodepools().data["nodepools"] if p["isDefault"]]
    body = parsed(
        ProjectCreationRequest,
        {
            "name": f"p-{uuid.uuid4().hex[:8]}",
            "clusterId": cluster,
            "resources": [{"nodePool": {"id": pool["id"]}, "gpu": {"deserved": 1, "overQuotaWeight": 2}}],
        },
    )
    created = client.organizations.projects.create_project(project_creation_request=body).data
    yield created["id"]
    for item in client.workloads.workloads.get_workloads(filter_by=[f"projectId=={created['id']}"]).data["workloads"]:
        client.workloads.workloads_batch.batch_workloads({"action": "delete", "ids": [item["id"]]})
        eventually(partial(_is_gone, client, item["id"]))
    client.organizations.projects.delete_project(project_id=created["id"])


def opened_by(configuration: Configuration) -> RunaiClient:
    """Return runapy, logged in."""
    make: Any = ApiClient  # runapy says nothing of its types here
    found: RunaiClient = RunaiClient(make(configuration))  # type: ignore[no-untyped-call]
    return found


def parsed(model: Any, answer: Any) -> Any:
    """Return the answer as runapy's own model; it checks names, types and enumerations."""
    return model.from_dict(answer)


def body_of(name: str, project: str, cluster: str, **spec: Any) -> dict[str, Any]:
    """Return what a user of runapy sends to create a workload."""
    return {"name": name, "projectId": project, "clusterId": cluster, "spec": {"command": LONG, "image": "i", **spec}}


def test_a_wrong_secret_gets_no_token(orchestrator: OrchestratorProcess) -> None:
    configuration = Configuration(
        client_id="nobody", client_secret="x", runai_base_url=str(orchestrator.client.base_url), retry_enabled=False
    )

    with pytest.raises(ValueError, match="access token"):
        opened_by(configuration)


def test_a_training_is_created_stopped_run_again_and_deleted(client: RunaiClient, cluster: str, project: str) -> None:
    trainings = client.workloads.trainings
    request = parsed(TrainingCreationRequest, body_of("t", project, cluster, compute={"gpuDevicesRequest": 1}))

    created = trainings.create_training1(training_creation_request=request)
    uid = created.data["workloadId"]
    eventually(lambda: _phase(client, uid) == "Running")
    listed = client.workloads.workloads.get_workloads(filter_by=[f"projectId=={project}", "type==Training"])
    trainings.suspend_training(workload_id=uid)
    eventually(lambda: _phase(client, uid) == "Stopped")
    trainings.resume_training(workload_id=uid)
    eventually(lambda: _phase(client, uid) == "Running")
    read = parsed(Training1, trainings.get_training(workload_id=uid).data)
    trainings.delete_training(workload_id=uid)
    eventually(partial(_is_gone, client, uid))

    assert created.status_code == 202
    assert [item.name for item in parsed(GetWorkloads200Response, listed.data).workloads] == ["t"]
    assert (read.name, read.desired_phase, read.spec.compute.gpu_devices_request) == ("t", "Running", 1)


def test_a_row_of_the_list_is_read_by_runapys_model(client: RunaiClient, cluster: str, project: str) -> None:
    uid = client.workloads.trainings.create_training1(body_of("row", project, cluster)).data["workloadId"]
    eventually(lambda: _phase(client, uid) == "Running")

    row = parsed(Workload, client.workloads.workloads.get_workload(workload_id=uid).data)

    assert (row.name, row.phase, row.running_pods, row.project_id) == ("row", "Running", 1, project)
    assert row.allocated_resources.cpu > 0


@pytest.mark.parametrize(
    ("kind", "spec", "model"),
    [
        pytest.param("workspace", {}, Workspace1, id="a workspace"),
        pytest.param(
            "distributed",
            {"numWorkers": 1, "distributedFramework": "PyTorch", "compute": {"cpuCoreRequest": 0.1}},
            DistributedWorkload,
            id="a distributed training",
        ),
        pytest.param("inference", {"servingPort": {"container": 8000}}, Inference1, id="an inference"),
    ],
)
def test_other_types_are_created_and_deleted(
    client: RunaiClient, cluster: str, project: str, kind: str, spec: dict[str, Any], model: Any
) -> None:
    group = {"workspace": "workspaces", "distributed": "distributed", "inference": "inferences"}[kind]
    api = getattr(client.workloads, group)
    create = getattr(api, "create_distributed" if kind == "distributed" else f"create_{kind}1")

    uid = create(body_of(f"w-{kind}", project, cluster, **spec)).data["workloadId"]
    eventually(lambda: _phase(client, uid) == "Running")
    read = parsed(model, getattr(api, f"get_{kind}")(workload_id=uid).data)
    getattr(api, f"delete_{kind}")(workload_id=uid)

    assert read.name == f"w-{kind}"


def test_revisions_of_an_inference_are_parsed(client: RunaiClient, cluster: str, project: str) -> None:
    inferences, revisions = client.workloads.inferences, client.workloads.revisions
    body = body_of("revised", project, cluster, servingPort={"container": 8000})
    uid = inferences.create_inference1(body).data["workloadId"]
    eventually(lambda: _phase(client, uid) == "Running")
    inferences.update_inference_spec(workload_id=uid, inference_update_request={"spec": {"image": "second"}})

    listed = revisions.get_inference_workload_revisions(workload_id=uid)
    first, second = parsed(GetInferenceWorkloadRevisions200Response, listed.data).revisions
    count = revisions.count_inference_workload_revisions(workload_id=uid)
    read = parsed(Revision, revisions.get_revision(revision_id=first.id).data)

    assert (first.images, second.images) == (["i"], ["second"])
    assert (read.id, read.workload_id) == (first.id, uid)
    assert parsed(CountResponse, count.data).count == 2


def test_a_kind_of_workloads_is_taught_changed_and_forgotten(client: RunaiClient) -> None:
    properties = client.workloads.workload_properties
    root = {"name": "swarm", "kind": {"group": "example.io", "version": "v1", "kind": "Swarm"}}
    body = {
        "name": "Swarm",
        "group": "example.io",
        "categoryId": "Train",
        "priorityId": "low",
        "resourceInterfaces": [{"spec": {"structureDefinition": {"rootComponent": root}}}],
    }

    created = parsed(WorkloadTypeConfig, properties.create_workload_type(body).data)
    changed = properties.update_workload_type(created.id, {"categoryId": "Build"})
    properties.delete_workload_type(created.id)

    assert (created.name, created.category_name, created.priority_name) == ("Swarm", "Train", "low")
    assert [item.version for item in created.resource_interfaces] == ["v1"]
    assert parsed(WorkloadTypeConfig, changed.data).category_name == "Build"


def test_pods_history_events_and_metrics_are_parsed(client: RunaiClient, cluster: str, project: str) -> None:
    uid = client.workloads.trainings.create_training1(
        body_of("told", project, cluster, compute={"gpuDevicesRequest": 1})
    ).data["workloadId"]
    eventually(lambda: _phase(client, uid) == "Running")

    pods = parsed(ListPods200Response, client.workloads.pods.get_workload_pods(workload_id=uid).data)
    every = parsed(ListPods200Response, client.workloads.pods.list_pods(filter_by=["workloadName==told"]).data)
    eventually(lambda: _phases(client, uid)[-1:] == ["Running"])  # it is written after the change that it tells of
    events = parsed(GetWorkloadEvents200Response, client.workloads.events.get_workload_events(uid).data)
    eventually(lambda: bool(_metrics(client, uid)["CPU_MEMORY_USAGE_BYTES"]))  # the next sample has it
    metrics = _metrics(client, uid)

    assert [pod.workload_id for pod in pods.pods] == [pod.workload_id for pod in every.pods] == [uid]
    assert events.events is not None
    assert metrics["GPU_ALLOCATION"][-1].value == "1"
    assert float(metrics["CPU_MEMORY_USAGE_BYTES"][-1].value) > 0


def test_several_workloads_are_deleted_at_once(client: RunaiClient, cluster: str, project: str) -> None:
    ids = [
        client.workloads.trainings.create_training1(body_of(name, project, cluster)).data["workloadId"]
        for name in ("a", "b")
    ]

    answer = client.workloads.workloads_batch.batch_workloads({"action": "delete", "ids": [*ids, str(uuid.uuid4())]})

    read = parsed(BatchResponse, answer.data)
    assert read.succeeded == ids
    assert [item.code for item in read.failed] == [404]


def test_workloads_are_counted_and_summed_up(client: RunaiClient, cluster: str, project: str) -> None:
    client.workloads.trainings.create_training1(body_of("counted", project, cluster))

    count = client.workloads.workloads.count_workloads(filter_by=[f"projectId=={project}"])
    telemetry = client.workloads.workloads.get_workloads_telemetry(
        telemetry_type="WORKLOADS_COUNT", group_by=["Project"]
    )

    assert parsed(CountResponse, count.data).count == 1
    values = parsed(TelemetryResponse, telemetry.data).values
    assert any(group.value == project for value in values for group in value.groups or [])


def test_a_project_is_listed_read_and_changed(client: RunaiClient, project: str, cluster: str) -> None:
    projects = client.organizations.projects

    found = next(item for item in projects.get_projects(limit=500).data["projects"] if item["id"] == project)
    projects.update_project(
        project_id=project, project_update_request={"description": "new", "resources": found["resources"]}
    )
    projects.patch_project_resources(project_id=project, resources_nullable=[{"gpu": {"limit": 3}}])
    read = projects.get_project(project_id=project).data

    assert found["clusterId"] == cluster
    assert parsed(ProjectStatus, read["status"]).phase == "Ready"
    assert read["description"] == "new"
    quota = parsed(Resources, read["resources"][0])
    assert (quota.gpu.deserved, quota.gpu.limit, quota.gpu.over_quota_weight) == (1, 3, 2)
    assert parsed(CountResponse, projects.count_projects().data).count >= 2


def test_a_department_is_created_listed_and_deleted(client: RunaiClient, cluster: str) -> None:
    departments = client.organizations.departments

    created = departments.create_department({"name": "research", "clusterId": cluster, "resources": []}).data
    listed = [parsed(DepartmentForList, item) for item in departments.get_departments().data["departments"]]
    departments.delete_department(department_id=created["id"])

    assert {item.name for item in listed} == {"default", "research"}
    assert parsed(CountResponse, departments.count_departments().data).count == 1


def test_a_node_pool_is_created_listed_and_deleted(client: RunaiClient, cluster: str) -> None:
    pools = client.organizations.node_pools
    body = {"name": "fast", "labelKey": "speed", "labelValue": "fast", "clusterId": cluster}

    created = parsed(Nodepool, pools.create_nodepool(body).data)
    changed = parsed(
        Nodepool,
        pools.update_nodepool(
            nodepool_id=created.id, nodepool_update_fields={"placementStrategy": {"gpu": "spread"}}
        ).data,
    )
    listed = [parsed(Nodepool, item) for item in pools.get_nodepools().data["nodepools"]]
    pools.delete_nodepool(nodepool_id=created.id)

    assert changed.placement_strategy.gpu == "spread"
    assert {(item.name, item.is_default) for item in listed} == {("default", True), ("fast", False)}


def test_nodes_are_listed(client: RunaiClient, cluster: str) -> None:
    nodes = client.organizations.nodes

    found = [parsed(Node, item) for item in nodes.get_nodes(cluster_uuid=cluster, sort_by="name").data["nodes"]]
    telemetry = parsed(TelemetryResponse, nodes.get_node_telemetry(telemetry_type="TOTAL_GPUS").data)

    assert [(node.name, node.status, node.gpu_info.gpu_count) for node in found] == [
        ("node-a", "Ready", 2),
        ("node-b", "Ready", 2),
    ]
    assert telemetry.values[0].value == "4"
    assert parsed(CountResponse, nodes.count_tenant_nodes().data).count == 2


def test_a_policy_is_set_read_listed_and_deleted(client: RunaiClient, cluster: str, project: str) -> None:
    policies = client.policies.policy
    body = {
        "meta": {"scope": "tenant", "name": "limits"},
        "policy": {"rules": {"compute": {"gpuDevicesRequest": {"max": 2}}}},
    }

    policies.overwrite_training_policy_v2(training_policy_overwrite_request_v2=body)
    read = parsed(TrainingPolicyV2, policies.get_training_policy_v2(scope="tenant").data)
    listed = parsed(PolicyListResponse, policies.list_policies(workload_type="training").data)
    with pytest.raises(ApiException) as refused:
        client.workloads.trainings.create_training1(
            body_of("greedy", project, cluster, compute={"gpuDevicesRequest": 4})
        )
    policies.delete_training_policy(scope="tenant")

    assert read.policy.rules.compute.gpu_devices_request.max == 2
    assert [(item.type, item.meta.name) for item in listed.policies] == [("training", "limits")]
    error = parsed(Error, refused.value.data)
    assert error.code == 400
    assert "gpuDevicesRequest" in error.message


def test_properties_of_workloads_are_listed(client: RunaiClient) -> None:
    properties = client.workloads.workload_properties

    priorities = parsed(GetWorkloadPriorities200Response, properties.get_workload_priorities().data)
    categories = parsed(ListCategories200Response, properties.list_categories().data)
    types = parsed(ListWorkloadTypes200Response, properties.list_workload_types().data)
    ranks = parsed(GetPriorities200Response, client.authentication_and_authorization.org_unit.get_priorities().data)

    assert "very-high" in {item.name for item in priorities.priorities}
    assert {"Build", "Train", "Deploy"} == {item.name for item in categories.categories}
    assert "Training" in {item.name for item in types.types}
    assert sum(item.is_default for item in ranks.priorities) == 1


def test_an_unknown_workload_is_an_exception_that_says_so(client: RunaiClient) -> None:
    with pytest.raises(ApiException) as caught:
        client.workloads.trainings.get_training(workload_id=str(uuid.uuid4()))

    assert parsed(Error, caught.value.data).code == 404


def _phase(client: RunaiClient, uid: str) -> str:
    return str(client.workloads.workloads.get_workload(workload_id=uid).data["phase"])


def _metrics(client: RunaiClient, uid: str) -> dict[str, Any]:
    answer = client.workloads.workloads.get_workload_metrics(
        workload_id=uid,
        metric_type=["GPU_ALLOCATION", "CPU_MEMORY_USAGE_BYTES"],
        start="2026-01-01T00:00:00Z",
        end="2100-01-01T00:00:00Z",
    )
    return {item.type: item.values for item in parsed(MetricsResponse, answer.data).measurements}


def _phases(client: RunaiClient, uid: str) -> list[str]:
    history = parsed(GetWorkloadHistory200Response, client.workloads.events.get_workload_history(uid).data)
    return [record.spec.phase_update.phase for record in history.records if record.spec.phase_update]


def _is_gone(client: RunaiClient, uid: str) -> bool:
    return client.workloads.workloads.get_workload(workload_id=uid).data["deletedAt"] is not None
