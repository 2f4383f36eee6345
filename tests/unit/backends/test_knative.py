"""Inference servers as Knative Services: what is asked of Knative, and what its answers mean."""

from dataclasses import replace
from typing import Any

import pytest

from runai_core.backends.kubernetes.codec.knative import (
    asks_to_scale,
    change_of,
    knative_object,
    readiness_of,
    scaling_of,
)
from runai_core.backends.kubernetes.codec.places import Place
from runai_core.lifecycle.gang import RunContext, gang_of
from runai_core.lifecycle.observe import counts, observe
from runai_core.lifecycle.shape import shape_of
from runai_core.model.errors import InvalidRequest
from runai_core.model.meta import Meta
from runai_core.model.network import Autoscaling, ServingConfiguration, ServingPort
from runai_core.model.spec import EnvironmentVariable, WorkloadSpec
from runai_core.model.workload import Members, Phase, Workload, WorkloadType

PLACE = Place(
    namespace="runai-team-a",
    owner={"apiVersion": "run.ai/v2alpha1", "kind": "InferenceWorkload", "name": "llm", "uid": "u1"},
)
KNATIVE = "autoscaling.knative.dev/"


def a_server(scaling: Autoscaling | None = None, **spec: Any) -> Workload:
    """An inference server that answers on port 8000."""
    more = {"image": "example/llm", "serving_port": ServingPort(container=8000), **spec}
    return Workload(
        meta=Meta(name="llm", project="team-a", uid="u1"),
        type=WorkloadType.INFERENCE,
        spec=WorkloadSpec(autoscaling=scaling, **more),
        attempt=1,
    )


def object_of(workload: Workload) -> dict[str, Any]:
    context = RunContext(master_address="127.0.0.1", master_port=29500, addresses=(), hostfile="", created_at=0.0)
    gang = gang_of(workload, run_context=context)
    return knative_object(workload, gang, gang.pods[0], PLACE)


@pytest.mark.parametrize(
    ("scaling", "asks"),
    [
        pytest.param(None, False, id="nothing is said"),
        pytest.param(Autoscaling(min_replicas=3), False, id="a fixed number"),
        pytest.param(Autoscaling(min_replicas=2, max_replicas=2), False, id="from two to two"),
        pytest.param(Autoscaling(initial_replicas=2), False, id="only at the start"),
        pytest.param(Autoscaling(max_replicas=4), True, id="from one to four"),
        pytest.param(Autoscaling(min_replicas=0), True, id="down to nothing"),
        pytest.param(Autoscaling(metric="concurrency"), True, id="by a metric"),
    ],
)
def test_a_server_asks_for_scaling_where_its_replicas_may_change(scaling: Autoscaling | None, *, asks: bool) -> None:
    assert asks_to_scale(a_server(scaling).spec) is asks


@pytest.mark.parametrize(
    ("scaling", "wanted"),
    [
        pytest.param(
            Autoscaling(min_replicas=0, max_replicas=5, metric="throughput", metric_threshold=200),
            {"metric": "rps", "target": "200", "min-scale": "0", "max-scale": "5"},
            id="throughput is requests per second",
        ),
        pytest.param(
            Autoscaling(metric="concurrency", metric_threshold=10, metric_threshold_percentage=62.5),
            {"metric": "concurrency", "target": "10", "target-utilization-percentage": "62.5", "min-scale": "1"},
            id="concurrency",
        ),
        pytest.param(
            Autoscaling(metric="queue_length", metric_threshold=7, max_replicas=3),
            {"class": "hpa.autoscaling.knative.dev", "metric": "queue_length", "target": "7", "min-scale": "1",
             "max-scale": "3"},
            id="a metric of one's own is for the class that knows such",
        ),
        pytest.param(
            Autoscaling(
                min_replicas=0,
                max_replicas=4,
                initial_replicas=2,
                activation_replicas=3,
                scale_to_zero_retention_seconds=90,
                scale_down_delay_seconds=30,
            ),
            {"min-scale": "0", "max-scale": "4", "initial-scale": "2", "activation-scale": "3",
             "scale-to-zero-pod-retention-period": "90s", "scale-down-delay": "30s"},
            id="sizes and times",
        ),
        pytest.param(Autoscaling(min_replicas=2), {"min-scale": "2", "max-scale": "2"}, id="a number that is fixed"),
    ],
)  # fmt: skip
def test_the_autoscalers_annotations(scaling: Autoscaling, wanted: dict[str, str]) -> None:
    assert scaling_of(a_server(scaling)) == {KNATIVE + name: value for name, value in wanted.items()}


def test_knative_cannot_scale_by_latency_and_the_field_is_named() -> None:
    with pytest.raises(InvalidRequest, match=r"spec\.autoscaling\.metric.*throughput, concurrency"):
        scaling_of(a_server(Autoscaling(metric="latency")))


def test_limits_and_times_of_the_revision() -> None:
    times = ServingConfiguration(request_timeout_seconds=20, initialization_timeout_seconds=300)
    item = object_of(a_server(Autoscaling(max_replicas=2, concurrency_hard_limit=8), serving_configuration=times))

    spec = item["spec"]["template"]["spec"]
    assert (spec["containerConcurrency"], spec["timeoutSeconds"]) == (8, 20)
    assert item["spec"]["template"]["metadata"]["annotations"]["serving.knative.dev/progress-deadline"] == "300s"


def test_the_revision_has_only_what_knative_takes() -> None:
    own = (EnvironmentVariable(name="MODEL", value="small"),)
    item = object_of(a_server(Autoscaling(max_replicas=2), environment_variables=own))
    spec = item["spec"]["template"]["spec"]
    [container] = spec["containers"]

    assert not {"schedulerName", "restartPolicy", "terminationGracePeriodSeconds", "hostname"} & set(spec)
    assert container["ports"] == [{"containerPort": 8000, "name": "http1"}]
    names = {variable["name"] for variable in container["env"]}
    assert "MODEL" in names
    assert not names & {"PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION", "NODE_NAME", "POD_IP", "POD_UUID"}
    assert not [variable for variable in container["env"] if "fieldRef" in variable.get("valueFrom", {})]


def test_its_pods_are_those_of_the_workload() -> None:
    meta = object_of(a_server(Autoscaling(max_replicas=2)))["spec"]["template"]["metadata"]

    assert meta["labels"]["runai/queue"] == "team-a"
    assert meta["labels"]["runai/workload-uid"] == "u1"
    assert meta["annotations"]["pod-group-name"] == "team-a.llm.1"
    assert not {"runai/rank", "runai/replacement"} & set(meta["labels"])


def test_a_server_for_the_cluster_alone_is_marked_so() -> None:
    port = ServingPort(container=8000, protocol="grpc", cluster_local_access_only=True)
    item = object_of(a_server(Autoscaling(max_replicas=2), serving_port=port))

    assert item["metadata"]["labels"]["networking.knative.dev/visibility"] == "cluster-local"
    assert item["spec"]["template"]["spec"]["containers"][0]["ports"][0]["name"] == "h2c"


def test_a_change_of_scaling_alone_is_a_patch_and_takes_away_what_is_no_longer_asked_for() -> None:
    first = a_server(Autoscaling(max_replicas=2, metric="concurrency", concurrency_hard_limit=4))
    known = object_of(first)

    assert change_of(known, first) is None
    scaling = Autoscaling(max_replicas=6, concurrency_hard_limit=9)
    change = change_of(known, replace(first, spec=replace(first.spec, autoscaling=scaling)))
    assert change is not None
    template = change["spec"]["template"]
    assert template["metadata"]["annotations"] == {KNATIVE + "max-scale": "6", KNATIVE + "metric": None}
    assert template["spec"] == {"containerConcurrency": 9}


@pytest.mark.parametrize(
    ("generation", "conditions", "status"),
    [
        pytest.param(2, [{"type": "Ready", "status": "True"}], "True", id="ready"),
        pytest.param(3, [{"type": "Ready", "status": "True"}], "Unknown", id="ready as it was, and changed since"),
        pytest.param(2, [{"type": "RoutesReady", "status": "True"}], "Unknown", id="not said yet"),
        pytest.param(2, [{"type": "Ready", "status": "False", "reason": "RevisionFailed"}], "False", id="failed"),
    ],
)
def test_what_the_condition_ready_says(generation: int, conditions: list[dict[str, str]], status: str) -> None:
    item = {"metadata": {"generation": generation}, "status": {"observedGeneration": 2, "conditions": conditions}}

    assert readiness_of(item)[0] == status


# -- what it means for the workload


def kept(count: int, *, least: int, most: int) -> Workload:
    return replace(
        a_server(Autoscaling(min_replicas=least, max_replicas=most)),
        members=Members(ranks=tuple(range(count)), next_rank=count),
        phase=Phase.RUNNING,
    )


def test_the_workload_has_as_many_places_as_the_autoscaler_keeps() -> None:
    shape = shape_of(kept(5, least=2, most=8))

    assert len(shape.places) == 5
    assert (shape.min_members, shape.healthy) == (1, 2), "what is still coming up does not make it Degraded"


def test_a_server_that_was_scaled_to_nothing_is_still_running() -> None:
    workload = kept(0, least=0, most=8)

    assert observe(workload, (), 10.0) is None
    assert counts(workload, ()).requested == 0
