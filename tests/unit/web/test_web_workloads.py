"""Workloads over REST: submit, list, look at, stop, run, delete."""

from dataclasses import replace
from typing import Any

import pytest

from runai_core.model.decision import Reason, Verdict
from runai_core.model.snapshot import PodState
from runai_core.model.workload import Phase, Pod, PodStatus, Workload

pytestmark = pytest.mark.asyncio

TYPES = ("workspaces", "trainings", "distributed", "inferences", "distributed-inferences")
SPECS: dict[str, dict[str, Any]] = {
    "distributed": {"command": "true", "distributedFramework": "PyTorch", "numWorkers": 2},
    "inferences": {"command": "true", "servingPort": {"container": 8000}},
    "distributed-inferences": {"workers": 1, "worker": {"command": "true"}, "leader": {"command": "lead"}},
}


@pytest.mark.parametrize("kind", TYPES)
async def test_a_workload_of_each_type_is_accepted_read_and_deleted(api: Any, kind: str) -> None:
    created = await api.submit("a", kind, spec=SPECS.get(kind, {"command": "true"}))
    path = f"/api/v1/workloads/{kind}/{created['workloadId']}"
    read = await api.get(path)
    deleted = await api.send("DELETE", path, expect=202)

    assert created["actualPhase"] == "Creating"
    assert (created["id"], created["projectName"]) == (created["workloadId"], "default")
    assert read["spec"] == created["spec"]
    assert deleted["desiredPhase"] == "Deleted"


async def test_a_distributed_inference_keeps_its_two_groups(api: Any) -> None:
    created = await api.submit("a", "distributed-inferences", spec=SPECS["distributed-inferences"])

    assert created["spec"]["worker"]["command"] == "true"
    assert created["spec"]["leader"]["command"] == "lead"
    assert created["spec"]["workers"] == 1
    assert created["requestedPods"]["number"] == 2


async def test_a_master_that_differs_is_kept(api: Any) -> None:
    spec = {"command": "true", "numWorkers": 3, "compute": {"gpuDevicesRequest": 1}}
    created = await api.submit("a", "distributed", spec=spec, masterSpec={"compute": {"gpuDevicesRequest": 2}})

    assert created["masterSpecSameAsWorker"] is False
    assert created["masterSpec"] == {"compute": {"gpuDevicesRequest": 2}}
    assert created["workloadRequestedResources"]["gpu"]["request"] == 5
    assert created["podsRequestedResources"]["gpu"]["request"] == 1
    assert created["requestedPods"]["number"] == 4


async def test_a_gang_may_have_no_master(api: Any) -> None:
    created = await api.submit("a", "distributed", spec=SPECS["distributed"], hasMaster=False)

    assert created["hasMaster"] is False
    assert created["requestedPods"]["number"] == 2


@pytest.mark.parametrize(
    ("given", "field"),
    [
        pytest.param({"spec": {"compute": {"gpuDevicesRequest": -1}}}, "spec.compute.gpuDevicesRequest", id="negative"),
        pytest.param({"spec": {"comand": "true"}}, "comand", id="an unknown field of the specification"),
        pytest.param({"spec": {"numWorkers": 2}}, "spec.numWorkers", id="a field of another type"),
        pytest.param({"name": "Not_A_Name"}, "name", id="a name that is none"),
        pytest.param({"name": "a" * 10_000}, "name", id="a name of 10,000 characters"),
        pytest.param({"name": "../../etc/passwd"}, "name", id="a path for a name"),
        pytest.param({"clusterId": "11111111-2222-3333-4444-555555555555"}, "clusterId", id="another cluster"),
        pytest.param({"spec": {"nodePools": ["none"]}}, "spec.nodePools.0", id="an unknown node pool"),
        pytest.param(
            {"spec": {"compute": {"gpuDeviceRequest": 1, "gpuDevicesRequest": 1}}},
            "spec.compute.gpuDeviceRequest",
            id="one field in two spellings",
        ),
    ],
)
async def test_a_wrong_submission_names_the_field_and_leaves_nothing(api: Any, given: Any, field: str) -> None:
    error = await api.submit(expect=400, **given)

    assert any(item["field"].endswith(field) for item in error["errors"]), error
    assert (await api.get("/api/v1/workloads/count"))["count"] == 0


async def test_an_infinite_number_is_refused_and_can_be_told(api: Any) -> None:
    body = b'{"name": "a", "projectId": "default", "spec": {"compute": {"cpuCoreRequest": Infinity}}}'
    response = await api.client.post(
        "/api/v1/workloads/trainings", content=body, headers={"Content-Type": "application/json"}
    )

    assert response.status_code == 400
    assert response.json()["errors"]


async def test_a_project_may_be_named_or_given_by_id(api: Any) -> None:
    project = await api.get("/api/v1/org-unit/projects/default")

    by_id = await api.submit("a", projectId=project["id"])
    by_name = await api.submit("b", projectId="default")

    assert by_id["projectId"] == by_name["projectId"] == project["id"]


@pytest.mark.parametrize(
    ("given", "status", "reason"),
    [
        pytest.param({"projectId": "none"}, 404, "NotFound", id="an unknown project"),
        pytest.param({"name": "taken"}, 409, "AlreadyExists", id="a name that is taken"),
    ],
)
async def test_a_refusal_has_its_own_status(api: Any, given: Any, status: int, reason: str) -> None:
    await api.submit("taken")

    assert (await api.submit(expect=status, **given))["reason"] == reason


async def test_a_name_can_be_a_prefix(api: Any) -> None:
    first = await api.submit("a", useGivenNameAsPrefix=True)
    second = await api.submit("a", useGivenNameAsPrefix=True)

    assert first["name"] != second["name"]
    assert first["name"].startswith("a-")


async def test_the_command_line_is_known_as_the_source(api: Any) -> None:
    api.client.headers["User-Agent"] = "runai-cli/0.1.0"

    assert (await api.submit("a"))["source"] == "CLI"


async def test_a_workload_of_another_type_is_not_found_under_this_one(api: Any) -> None:
    created = await api.submit("a", "trainings")

    error = await api.get(f"/api/v1/workloads/workspaces/{created['id']}", expect=404)

    assert "is a Training workload" in error["message"]


@pytest.mark.parametrize("kind", ["workspaces", "trainings", "distributed"])
async def test_a_workload_is_stopped_and_run_again(api: Any, kind: str) -> None:
    created = await api.submit("a", kind, spec=SPECS.get(kind, {"command": "true"}))
    await api.run(created["id"])
    path = f"/api/v1/workloads/{kind}/{created['id']}"

    stopped = await api.send("POST", f"{path}/suspend", expect=202)
    again = await api.send("POST", f"{path}/suspend", expect=202)
    await api.move(created["id"], Phase.STOPPED)
    resumed = await api.send("POST", f"{path}/resume", expect=202)

    assert (stopped["actualPhase"], again["actualPhase"]) == ("Stopping", "Stopping")
    assert stopped["desiredPhase"] == "Stopped"
    assert resumed["actualPhase"] in ("Resuming", "Pending")
    assert resumed["desiredPhase"] == "Running"


@pytest.mark.parametrize("kind", ["inferences", "distributed-inferences"])
async def test_inference_has_no_suspend(api: Any, kind: str) -> None:
    created = await api.submit("a", kind, spec=SPECS[kind])

    await api.send("POST", f"/api/v1/workloads/{kind}/{created['id']}/suspend", expect=404)
    answer = await api.send("POST", "/api/v1/workloads/batch", {"action": "suspend", "ids": [created["id"]]}, 207)

    assert answer["failed"][0]["code"] == 422


async def test_an_inference_is_changed_by_a_patch(api: Any) -> None:
    created = await api.submit(
        "a", "inferences", spec={"command": "true", "compute": {"cpuCoreRequest": 1, "gpuDevicesRequest": 1}}
    )
    await api.run(created["id"])

    patch = {"spec": {"compute": {"cpuCoreRequest": 2}}}
    changed = await api.send("PATCH", f"/api/v1/workloads/inferences/{created['id']}", patch, 202)

    assert changed["spec"]["compute"] == {"cpuCoreRequest": 2, "gpuDevicesRequest": 1}
    assert changed["actualPhase"] != "Running"


async def test_several_are_acted_upon_each_on_its_own(api: Any) -> None:
    ids = [(await api.submit(name))["id"] for name in ("a", "b")]

    answer = await api.send("POST", "/api/v1/workloads/batch", {"action": "delete", "ids": [*ids, "none"]}, 207)

    assert answer["succeeded"] == ids
    assert [(item["id"], item["code"]) for item in answer["failed"]] == [("none", 404)]


async def test_a_list_is_filtered_sorted_and_cut(api: Any) -> None:
    for name in ("a", "b", "c", "d"):
        await api.submit(name, "workspaces" if name == "b" else "trainings")

    first = await api.get("/api/v1/workloads", filterBy="type==Training", sortBy="name", sortOrder="desc", limit=2)
    second = await api.get("/api/v1/workloads", filterBy="type==Training", sortBy="name", sortOrder="desc", offset=2)
    searched = await api.get("/api/v1/workloads", search="B")

    assert [item["name"] for item in first["workloads"]] == ["d", "c"]
    assert first["next"] == 2
    assert [item["name"] for item in second["workloads"]] == ["a"]
    assert second["next"] is None
    assert [item["name"] for item in searched["workloads"]] == ["b"]


@pytest.mark.parametrize("value", ["id", "name"])
async def test_a_list_can_be_of_one_project(api: Any, value: str) -> None:
    other = await api.send("POST", "/api/v1/org-unit/projects", {"name": "other"}, 201)
    await api.submit("a")
    await api.submit("b", projectId="other")

    by_filter = await api.get("/api/v1/workloads", filterBy=f"projectId=={other[value]}")
    by_query = await api.get("/api/v1/workloads", projectId=other[value])

    assert [item["name"] for item in by_filter["workloads"]] == ["b"]
    assert by_query == by_filter


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 501}, "limit"),
        ({"offset": -1}, "offset"),
        ({"sortOrder": "up"}, "sortOrder"),
        ({"sortBy": "colour"}, "sortBy"),
        ({"filterBy": "colour==red"}, "filterBy"),
        ({"colour": "red"}, "colour"),
        ({"deleted": "perhaps"}, "deleted"),
    ],
)
async def test_a_wrong_list_query_names_the_parameter(api: Any, query: dict[str, Any], field: str) -> None:
    error = await api.get("/api/v1/workloads", expect=400, **query)

    assert error["errors"][0]["field"] == field


async def test_a_deleted_workload_can_still_be_looked_at(api: Any) -> None:
    created = await api.submit("a")
    store = api.orchestrator.backend.store
    await store.delete(Workload, created["id"])

    live = await api.get("/api/v1/workloads")
    gone = await api.get("/api/v1/workloads", deleted=True)

    assert live["workloads"] == []
    assert [item["name"] for item in gone["workloads"]] == ["a"]
    assert (await api.get(f"/api/v1/workloads/{created['id']}"))["deletedAt"] is not None


async def test_a_row_tells_state_and_resources(api: Any) -> None:
    created = await api.submit(
        "a",
        spec={"image": "image", "command": "true", "compute": {"gpuPortionRequest": 0.5, "cpuMemoryRequest": "2Gi"}},
    )
    await api.run(created["id"])
    api.clock.time += 90

    row = (await api.get("/api/v1/workloads"))["workloads"][0]

    assert (row["phase"], row["k8sPhase"], row["runningPods"]) == ("Running", "Running", 1)
    assert row["allocatedResources"]["gpu"] == 0.5
    assert row["workloadRequestedResources"]["cpuMemory"]["request"] == "2Gi"
    assert row["workloadRequestedResources"]["gpuRequestType"] == "portion"
    assert row["totalRunningTimeSeconds"] == 90
    assert row["images"] == ["image"]
    assert (row["preemptible"], row["priorityClassName"], row["category"]) == (True, "low", "Train")
    assert row["actionsSupport"] == {"delete": True, "suspend": True}


@pytest.mark.parametrize(
    ("reason", "shown"),
    [(Reason.OVER_LIMIT, "OverLimit"), (Reason.NEVER_FITS, None)],
)
async def test_the_reason_of_a_waiting_workload_is_a_condition(api: Any, reason: Reason, shown: str | None) -> None:
    created = await api.submit("a")
    store = api.orchestrator.backend.store
    workload = await store.get_by_uid(Workload, created["id"])
    verdict = Verdict(pod_group="a-1", reason=reason, message="it cannot fit")
    await store.update(replace(workload, phase=Phase.PENDING, phase_reason=reason.value, verdict=verdict))

    row = (await api.get("/api/v1/workloads"))["workloads"][0]
    why = await api.get(f"/api/v1/workloads/{created['id']}/why")

    assert row["phaseReason"] == shown
    assert (row["conditions"][0]["reason"], row["conditions"][0]["status"]) == (reason.value, "False")
    assert why["sentence"] == "default/a is Pending: it cannot fit"
    assert (why["verdict"]["reason"], why["position"]) == (reason.value, 1)


async def test_pods_are_listed_for_one_workload_and_for_all(api: Any) -> None:
    created = await api.submit("a")
    await api.run(created["id"])

    pods = (await api.get(f"/api/v1/workloads/{created['id']}/pods"))["pods"]
    every = (await api.get("/api/v1/workloads/pods", filterBy="workloadName==a"))["pods"]

    assert [pod["name"] for pod in pods] == [pod["name"] for pod in every] == ["a-1-0"]
    assert (pods[0]["nodeName"], pods[0]["k8sPhase"], pods[0]["ready"]) == ("node-a", "Running", True)
    assert (await api.get("/api/v1/workloads/pods/count"))["count"] == 1


async def test_finished_pods_can_be_asked_for(api: Any) -> None:
    created = await api.submit("a")
    await api.run(created["id"])
    store = api.orchestrator.backend.store
    pod = api.cluster.made[created["id"]][0]
    ended = PodStatus(state=PodState.SUCCEEDED, finished_at=api.clock.time, exit_code=0)
    await store.create(Pod(**{**_fields(pod), "meta": replace(pod.meta, name="a-1-1", uid=""), "status": ended}))

    finished = (await api.get("/api/v1/workloads/pods", completed=True))["pods"]
    others = (await api.get("/api/v1/workloads/pods", completed=False))["pods"]

    assert [pod["name"] for pod in finished] == ["a-1-1"]
    assert [pod["name"] for pod in others] == ["a-1-0"]


async def test_the_story_tells_phases_and_events(api: Any) -> None:
    created = await api.submit("a")
    workload = await api.orchestrator.backend.store.get_by_uid(Workload, created["id"])
    await api.orchestrator.journal.event(workload, "Scheduled", "placed on node-a", involved="pod/a-1-0")

    records = (await api.get(f"/api/v1/workloads/{created['id']}/history"))["records"]
    events = (await api.get(f"/api/v1/workloads/{created['id']}/events"))["events"]

    assert [record["meta"]["type"] for record in records] == ["PhaseUpdate", "Event"]
    assert records[0]["spec"]["phaseUpdate"]["cause"] == "submitted by tester"
    assert [event["reason"] for event in events] == ["Scheduled"]
    assert events[0]["involvedObject"]["kind"] == "Pod"


async def test_a_preview_keeps_nothing(api: Any) -> None:
    body = {"type": "Training", "name": "a", "projectId": "default", "spec": {"compute": {"gpuDevicesRequest": 1}}}

    answer = await api.send("POST", "/api/v1/workloads/preview", body)

    assert answer["violations"] == []
    assert answer["startsNow"] is True
    assert (await api.get("/api/v1/workloads/count"))["count"] == 0


async def test_a_preview_says_why_it_would_wait(api: Any) -> None:
    body = {"type": "Training", "name": "a", "projectId": "default", "spec": {"compute": {"gpuDevicesRequest": 99}}}

    answer = await api.send("POST", "/api/v1/workloads/preview", body)

    assert answer["startsNow"] is False
    assert answer["verdict"]["message"]


WRONG_OBJECTS: dict[str, tuple[dict[str, Any], int, str]] = {
    "an object without a kind": ({"apiVersion": "batch/v1", "metadata": {"name": "a"}}, 400, "manifest.kind"),
    "an object without a name": ({"apiVersion": "batch/v1", "kind": "Job"}, 400, "manifest.metadata.name"),
    "a kind that no plug-in knows": ({"apiVersion": "x.io/v1", "kind": "X", "metadata": {"name": "a"}}, 422, "X"),
    "a kind that needs a cluster": (
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}},
        422,
        "needs the Kubernetes backend",
    ),
}


@pytest.mark.parametrize(("manifest", "status", "words"), WRONG_OBJECTS.values(), ids=WRONG_OBJECTS)
async def test_a_framework_object_is_refused_in_words(
    api: Any, manifest: dict[str, Any], status: int, words: str
) -> None:
    body = {"metadata": {"projectId": "default"}, "manifest": manifest}

    error = await api.send("POST", "/api/v2/workloads", body, status)

    assert words in error["message"]
    assert (await api.send("GET", "/api/v1/workloads", None, 200))["workloads"] == []


def _fields(pod: Pod) -> dict[str, Any]:
    return {name: getattr(pod, name) for name in ("workload", "pod_group", "attempt", "node_pool", "spec")}
