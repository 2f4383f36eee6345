"""Inference servers as Deployments, and the places that their pods fill."""

from dataclasses import replace
from typing import Any

import pytest

from runai_core.backends.kubernetes.codec.deployments import (
    deployment_object,
    given_up,
    is_of_attempt,
    is_rolled,
    ranked,
    revision_of,
)
from runai_core.backends.kubernetes.codec.places import Place
from runai_core.lifecycle.gang import RunContext, gang_of
from runai_core.lifecycle.observe import counts, observe, surplus, wants_pods
from runai_core.lifecycle.phases import Signal
from runai_core.lifecycle.seen import Counts
from runai_core.lifecycle.shape import shape_of
from runai_core.lifecycle.vacancies import left_over, newest, vacancies
from runai_core.model.meta import Meta
from runai_core.model.network import Autoscaling, ServingPort
from runai_core.model.snapshot import PodState
from runai_core.model.spec import Compute, EnvironmentVariable, GpuRequestType, WorkloadSpec
from runai_core.model.workload import Gang, Phase, Pod, PodStatus, Workload, WorkloadType

Object = dict[str, Any]
OWNER = {"apiVersion": "run.ai/v2alpha1", "kind": "InferenceWorkload", "name": "llm", "uid": "u-1"}
PLACE = Place(namespace="runai-a", owner=OWNER)


def a_server(*, replicas: int = 2, attempt: int = 1, phase: Phase = Phase.RUNNING, **spec: Any) -> Workload:
    scaling = Autoscaling(min_replicas=replicas, max_replicas=max(replicas, 4))
    given = WorkloadSpec(image="img", serving_port=ServingPort(container=8000), autoscaling=scaling, **spec)
    meta = Meta(name="llm", project="a", uid="u-1")
    return Workload(
        meta=meta, type=WorkloadType.INFERENCE, spec=given, attempt=attempt, phase=phase, node_pool="default"
    )


def gang(workload: Workload) -> Gang:
    return gang_of(workload, run_context=RunContext(deferred=frozenset({"secret"})))


def deployment(workload: Workload) -> Object:
    made = gang(workload)
    return deployment_object(workload, made, made.pods[0], PLACE)


def variables(item: Object) -> dict[str, Any]:
    env = item["spec"]["template"]["spec"]["containers"][0]["env"]
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in env}


def test_the_deployment_has_the_replicas_and_belongs_to_the_workload() -> None:
    item = deployment(a_server(replicas=3))

    assert item["spec"]["replicas"] == 3
    assert item["metadata"]["ownerReferences"] == [{**OWNER, "controller": True}]
    selected = item["spec"]["selector"]["matchLabels"].items()
    assert selected <= item["spec"]["template"]["metadata"]["labels"].items()


def test_its_pods_are_those_of_our_scheduler_and_of_the_attempts_group() -> None:
    template = deployment(a_server(attempt=4))["spec"]["template"]

    assert template["spec"]["schedulerName"] == "runai-scheduler"
    assert template["spec"]["restartPolicy"] == "Always"
    assert template["metadata"]["annotations"]["pod-group-name"] == "a.llm.4"
    assert template["metadata"]["labels"]["runai/attempt"] == "4"
    assert not {"runai/rank", "runai/replacement"} & set(template["metadata"]["labels"])


def test_each_pod_learns_its_own_name_and_none_a_number() -> None:
    found = variables(deployment(a_server()))

    assert found["POD_NAME"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert found["POD_UUID"] == {"fieldRef": {"fieldPath": "metadata.uid"}}
    assert found["PORT"] == "8000"
    assert not {"POD_INDEX", "RUNAI_POD_INDEX"} & set(found)


def test_a_variable_of_the_user_stays() -> None:
    own = (EnvironmentVariable(name="POD_INDEX", value="mine"),)
    assert variables(deployment(a_server(environment_variables=own)))["POD_INDEX"] == "mine"


def test_a_share_of_a_device_is_told_to_each_pod_by_itself() -> None:
    compute = Compute(gpu_devices_request=1, gpu_request_type=GpuRequestType.PORTION, gpu_portion_request=0.5)
    template = deployment(a_server(compute=compute))["spec"]["template"]

    assert template["metadata"]["annotations"]["gpu-fraction"] == "0.5"
    assert "runai/shared-gpu-configmap" not in template["metadata"]["annotations"]
    assert "NVIDIA_VISIBLE_DEVICES" not in variables({"spec": {"template": template}})


def test_a_deployment_is_of_the_attempt_that_its_pods_are_of() -> None:
    assert is_of_attempt(deployment(a_server(attempt=2)), 2)
    assert not is_of_attempt(deployment(a_server(attempt=2)), 3)
    assert not is_of_attempt({"spec": {"replicas": 1}}, 1)


def counted(uid: str = "u-1", attempt: int = 2, seen: int = 5, **status: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"runai/attempt": str(attempt)}}}
    meta = {
        "generation": 5,
        "labels": {"runai/workload-uid": uid},
        "annotations": {"deployment.kubernetes.io/revision": "7"},
    }
    return {"metadata": meta, "spec": {"template": template}, "status": {"observedGeneration": seen, **status}}


@pytest.mark.parametrize(
    ("known", "name"),
    [
        pytest.param(counted(), "7", id="a Deployment's number"),
        pytest.param(counted(latestCreatedRevisionName="llm-00002"), "llm-00002", id="Knative's name"),
        pytest.param(counted(attempt=1), "", id="a Deployment that is still of the specification before"),
        pytest.param(counted(seen=4), "", id="one that its controller has not looked at"),
        pytest.param(counted(uid="other"), "", id="somebody else's"),
    ],
)
def test_what_the_cluster_calls_a_revision(known: dict[str, Any], name: str) -> None:
    assert revision_of(known, replace(a_server(attempt=2), meta=Meta(name="llm", uid="u-1"))) == name


OWNERS = [
    pytest.param([{"kind": "ReplicaSet", "controller": True}], True, id="a replica set"),
    pytest.param([{"kind": "ReplicaSet"}], False, id="a replica set that does not control it"),
    pytest.param([{"kind": "InferenceWorkload", "controller": True}], False, id="the workload"),
    pytest.param(None, False, id="nobody"),
]


@pytest.mark.parametrize(("owners", "rolled"), OWNERS)
def test_a_pod_is_the_deployments_when_its_owner_is(owners: Any, rolled: bool) -> None:
    assert is_rolled({"metadata": {"ownerReferences": owners}}) is rolled


def a_pod(name: str, *, age: float = 0.0, attempt: int = 1, state: PodState = PodState.RUNNING) -> Pod:
    pod = gang(a_server(attempt=attempt)).pods[0]
    meta = replace(pod.meta, name=name, uid=name, created_at=100.0 - age)
    return replace(pod, meta=meta, status=PodStatus(state=state, ready=state == PodState.RUNNING))


def places(workload: Workload, *pods: Pod, ending: tuple[str, ...] = ()) -> list[tuple[str, int, int]]:
    return [(pod.name, pod.spec.rank, pod.replacement) for pod in ranked(workload, pods, frozenset(ending))]


def test_the_oldest_pod_has_the_first_place() -> None:
    assert places(a_server(), a_pod("young"), a_pod("old", age=9)) == [("old", 0, 0), ("young", 1, 0)]


def test_a_pod_that_failed_comes_before_the_one_that_fills_its_place() -> None:
    failed, live = a_pod("failed", state=PodState.FAILED, age=9), a_pod("live")

    assert places(a_server(), live, failed) == [("failed", 0, 0), ("live", 0, 1)]
    found = ranked(a_server(replicas=1), [live, failed], frozenset())
    assert newest(a_server(replicas=1), found)[0].name == "live"


def test_a_pod_that_is_ending_leaves_its_place_to_its_successor() -> None:
    assert places(a_server(), a_pod("goes", age=9), a_pod("comes"), ending=("goes",)) == [
        ("goes", 0, 0),
        ("comes", 0, 1),
    ]


def test_while_a_new_version_rolls_out_the_old_one_stands_in() -> None:
    workload = a_server(replicas=1, attempt=2)
    old, new = a_pod("old", attempt=1), a_pod("new", attempt=2, state=PodState.PENDING)
    failed = a_pod("failed", attempt=1, state=PodState.FAILED)
    found = ranked(workload, [old, new, failed, a_pod("goes", attempt=1)], frozenset({"goes"}))

    assert [(pod.name, pod.stands_in) for pod in found] == [("old", True), ("new", False)]
    assert not surplus(workload, found), "the rollout ends it"
    assert observe(workload, found, 10.0) is None, "it answers, so it runs"
    assert counts(workload, found) == Counts(requested=1, running=1)


def test_the_new_version_is_made_though_the_old_one_lives() -> None:
    workload = a_server(replicas=1, attempt=2)
    assert wants_pods(workload, ranked(workload, [a_pod("old", attempt=1)], frozenset()), 10.0)


def test_when_nobody_stands_in_any_more_a_server_whose_new_version_has_no_place_waits() -> None:
    workload = a_server(replicas=1, attempt=2)
    new = a_pod("new", attempt=2, state=PodState.PENDING)
    seen = observe(workload, ranked(workload, [new, a_pod("old", attempt=1)], frozenset({"old"})), 10.0)

    assert seen is not None
    assert seen.signal is Signal.WAITING


def test_a_new_version_that_crashes_for_ever_does_not_end_the_old_one() -> None:
    workload = a_server(replicas=1, attempt=2)
    pods = [a_pod("old", attempt=1), replace(crashes("new", workload), attempt=2)]
    seen = observe(workload, ranked(workload, pods, frozenset()), 10.0)

    assert seen is not None
    assert seen.signal is Signal.PODS_LOST


def test_replicas_beyond_those_that_are_wanted_are_left_over() -> None:
    workload = a_server(replicas=1)
    pods = ranked(workload, [a_pod("old", age=9), a_pod("young")], frozenset())
    assert [pod.name for pod in left_over(workload, pods)] == ["young"]
    assert not left_over(replace(workload, phase=Phase.STOPPED), pods)


def test_a_server_that_ends_waits_for_the_pods_of_every_attempt() -> None:
    workload = a_server(attempt=2, phase=Phase.STOPPING)
    found = places(workload, a_pod("old", attempt=1), a_pod("new", attempt=2))
    assert [name for name, *_ in found] == ["old", "new"]


def test_a_missing_replica_is_a_vacancy() -> None:
    workload = a_server(replicas=2)
    pods = ranked(workload, [a_pod("one")], frozenset())
    assert [place.rank for place in vacancies(workload, shape_of(workload), pods)] == [1]


def crashes(name: str, workload: Workload) -> Pod:
    """Return a replica whose container has failed seven times, and waits to be started again."""
    pod = a_pod(name, state=PodState.BOUND)
    status = replace(pod.status, restarts=7, exit_code=4, started_at=1.0, finished_at=2.0)
    return given_up(replace(pod, status=status), workload, exhausted=True)


def test_a_server_whose_only_replica_crashes_for_ever_fails() -> None:
    workload = a_server(replicas=1)
    seen = observe(workload, ranked(workload, [crashes("one", workload)], frozenset()), 10.0)

    assert seen is not None
    assert seen.signal is Signal.FAILED
    assert "exit code 4" in seen.cause


def test_a_server_goes_on_without_the_replica_that_crashes_for_ever() -> None:
    workload = a_server(replicas=2)
    seen = observe(workload, ranked(workload, [crashes("one", workload), a_pod("two")], frozenset()), 10.0)

    assert seen is not None
    assert seen.signal is Signal.PODS_LOST


def test_when_the_server_has_failed_its_replica_counts_as_alive_so_that_it_is_ended() -> None:
    failed = a_server(replicas=1, phase=Phase.FAILED)
    assert crashes("one", failed).status.state is PodState.BOUND
