"""What became of a pod, read off its object."""

from typing import Any

import pytest

from runai_core.backends.kubernetes.codec.pod_status import is_exhausted, pod_of, status_of
from runai_core.backends.kubernetes.codec.times import seconds_of
from runai_core.model.snapshot import PodState

Object = dict[str, Any]
T0, T1, T2 = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z", "2026-01-01T00:02:00Z"


def a_pod(phase: str = "Pending", *, node: str = "n1", **parts: Any) -> Object:
    labels = {
        "runai/workload": "train",
        "runai/workload-uid": "w-1",
        "runai/attempt": "2",
        "runai/rank": "1",
        "runai/role": "master",
        "runai/replacement": "3",
        "project": "team-a",
        "kai.scheduler/subgroup-name": "worker",
    }
    meta = {
        "name": "train-2-1",
        "namespace": "runai-team-a",
        "uid": "p-1",
        "labels": labels,
        "annotations": {"pod-group-name": "team-a.train.2", "run.ai/backoff-limit": "2", **parts.pop("notes", {})},
        "creationTimestamp": T0,
        **parts.pop("meta", {}),
    }
    spec: Object = {
        "containers": [{"name": "main", "image": "img", "command": ["a"], "resources": {"requests": {"cpu": "1"}}}],
        "restartPolicy": "Never",
        **({"nodeName": node} if node else {}),
        **parts.pop("spec", {}),
    }
    return {"metadata": meta, "spec": spec, "status": {"phase": phase, **parts}}


def container(state: Object, **more: Any) -> list[Object]:
    return [{"name": "main", "state": state, **more}]


def condition(kind: str, status: str = "True", **more: str) -> Object:
    return {"type": kind, "status": status, "lastTransitionTime": T1, **more}


def ended(code: int, **more: Any) -> Object:
    return {"terminated": {"exitCode": code, "startedAt": T0, "finishedAt": T1, **more}}


LEAVING = {"deletionTimestamp": T2, "deletionGracePeriodSeconds": 30}

STATES: list[Any] = [
    pytest.param(a_pod(node=""), PodState.PENDING, "", id="without a node"),
    pytest.param(
        a_pod(node="", spec={"schedulingGates": [{"name": "g"}]}), PodState.GATED, "", id="held back by a gate"
    ),
    pytest.param(
        a_pod(node="", conditions=[condition("PodScheduled", "False", reason="Unschedulable", message="no room")]),
        PodState.PENDING,
        "Unschedulable",
        id="told why it waits",
    ),
    pytest.param(a_pod(), PodState.BOUND, "", id="placed"),
    pytest.param(
        a_pod(containerStatuses=container({"waiting": {"reason": "ContainerCreating"}})),
        PodState.BOUND,
        "",
        id="starting as usual",
    ),
    pytest.param(
        a_pod(containerStatuses=container({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}})),
        PodState.BOUND,
        "ImagePullBackOff",
        id="its image cannot be pulled",
    ),
    pytest.param(
        a_pod(initContainerStatuses=[{"name": "git", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]),
        PodState.BOUND,
        "CrashLoopBackOff",
        id="an init container fails",
    ),
    pytest.param(a_pod("Running"), PodState.RUNNING, "", id="running"),
    pytest.param(
        a_pod("Running", containerStatuses=container({"waiting": {"reason": "CrashLoopBackOff"}}, restartCount=2)),
        PodState.RUNNING,
        "CrashLoopBackOff",
        id="between two runs",
    ),
    pytest.param(
        a_pod("Succeeded", containerStatuses=container(ended(0))), PodState.SUCCEEDED, "Completed", id="succeeded"
    ),
    pytest.param(
        a_pod("Failed", containerStatuses=container(ended(3, reason="Error"))), PodState.FAILED, "Error", id="failed"
    ),
    pytest.param(
        a_pod("Failed", containerStatuses=container(ended(137, reason="OOMKilled"))),
        PodState.FAILED,
        "OOMKilled",
        id="out of memory",
    ),
    pytest.param(
        a_pod("Failed", reason="Evicted", message="low on memory"),
        PodState.FAILED,
        "Evicted",
        id="evicted by a kubelet",
    ),
    pytest.param(a_pod("Failed", reason="OutOfnvidia.com/gpu"), PodState.FAILED, "NodeLost", id="refused by a kubelet"),
    pytest.param(a_pod("Failed", reason="Terminated"), PodState.FAILED, "Shutdown", id="its node was shut down"),
    pytest.param(a_pod("Running", meta=LEAVING), PodState.RELEASING, "Deleted", id="deleted by somebody"),
    pytest.param(
        a_pod("Running", meta=LEAVING, conditions=[condition("DisruptionTarget", reason="EvictionByEvictionAPI")]),
        PodState.RELEASING,
        "Evicted",
        id="evicted",
    ),
    pytest.param(
        a_pod("Running", meta=LEAVING, conditions=[condition("DisruptionTarget", reason="PreemptionByScheduler")]),
        PodState.RELEASING,
        "Preempted",
        id="preempted",
    ),
    pytest.param(
        a_pod("Running", meta=LEAVING, conditions=[condition("DisruptionTarget", reason="DeletionByTaintManager")]),
        PodState.RELEASING,
        "NodeLost",
        id="its node is tainted",
    ),
    pytest.param(
        a_pod("Failed", meta=LEAVING, containerStatuses=container(ended(3, finishedAt=T0))),
        PodState.FAILED,
        "Error",
        id="failed before it was deleted",
    ),
    pytest.param(
        a_pod("Failed", meta=LEAVING, containerStatuses=container(ended(143, finishedAt=T2))),
        PodState.FAILED,
        "Deleted",
        id="ended because it was deleted",
    ),
    pytest.param(
        a_pod("Failed", reason="DeadlineExceeded", notes={"run.ai/ended": "BackoffLimitExceeded"}),
        PodState.FAILED,
        "BackoffLimitExceeded",
        id="failed in place too often",
    ),
]


@pytest.mark.parametrize(("pod", "state", "reason"), STATES)
def test_what_became_of_a_pod(pod: Object, state: PodState, reason: str) -> None:
    status = status_of(pod)
    assert (status.state, status.reason) == (state, reason)


def test_a_pod_is_what_its_labels_say() -> None:
    pod = pod_of(a_pod("Running", conditions=[condition("Ready"), condition("PodScheduled")]))
    assert (pod.name, pod.meta.uid, pod.meta.owner, pod.meta.project) == ("train-2-1", "p-1", "w-1", "team-a")
    assert (pod.workload, pod.pod_group, pod.attempt, pod.replacement) == ("train", "team-a.train.2", 2, 3)
    assert (pod.spec.rank, pod.spec.role, pod.spec.leader, pod.spec.sub_group) == (1, "master", True, "worker")
    assert (pod.spec.image, pod.spec.argv, pod.spec.backoff_limit, pod.spec.request.cpu) == ("img", ("a",), 2, 1000)
    assert pod.status.ready
    assert pod.status.scheduled_at == seconds_of(T1)


def test_the_end_of_a_run_is_told() -> None:
    status = status_of(a_pod("Failed", containerStatuses=container(ended(3, message="boom"), restartCount=1)))
    assert (status.exit_code, status.restarts, status.message) == (3, 1, "boom")
    assert (status.started_at, status.finished_at) == (seconds_of(T0), seconds_of(T1))


DELETED_AT = seconds_of(T2) or 0.0


@pytest.mark.parametrize(
    ("node_ready", "now", "state"),
    [
        pytest.param(True, DELETED_AT + 500, PodState.RELEASING, id="a slow end on a good node is waited for"),
        pytest.param(False, DELETED_AT + 1, PodState.RELEASING, id="a node that does not answer is given a moment"),
        pytest.param(False, DELETED_AT + 31, PodState.FAILED, id="then the pod is given up"),
        pytest.param(None, DELETED_AT + 1, PodState.FAILED, id="a node that is gone is not waited for"),
    ],
)
def test_a_pod_whose_node_is_lost_ends(node_ready: bool | None, now: float, state: PodState) -> None:
    status = status_of(a_pod("Running", meta=LEAVING), node_ready=node_ready, now=now)
    assert status.state is state
    if state is PodState.FAILED:
        assert status.reason == "NodeLost"


CRASHED = {"lastState": ended(4), "restartCount": 2}
WAITS = {"waiting": {"reason": "CrashLoopBackOff"}}


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        pytest.param(a_pod("Running", containerStatuses=container(WAITS, **CRASHED)), True, id="at its limit"),
        pytest.param(
            a_pod("Running", containerStatuses=container(WAITS, **{**CRASHED, "restartCount": 1})), False, id="below"
        ),
        pytest.param(
            a_pod("Running", containerStatuses=container(WAITS, lastState=ended(0), restartCount=9)),
            False,
            id="ended well",
        ),
        pytest.param(
            a_pod("Running", containerStatuses=container(WAITS, lastState=ended(4, finishedAt="2026-01-01T01:00:00Z"),
                                                         restartCount=9)),
            False,
            id="after a long run",
        ),
        pytest.param(
            a_pod("Running", containerStatuses=container({"running": {"startedAt": T1}}, **CRASHED)),
            False,
            id="while it runs",
        ),
        pytest.param(a_pod("Failed", containerStatuses=container(WAITS, **CRASHED)), False, id="once it has ended"),
    ],
)  # fmt: skip
def test_failing_in_place_ends_at_the_backoff_limit(pod: Object, expected: bool) -> None:
    assert is_exhausted(pod, 0.0) is expected
