"""Verbs of inference workloads alone: changing one, its revisions, scaling it."""

from typing import Any

import pytest


def a_server(api: Any, a_workload: Any) -> str:
    server = a_workload(type="Inference", name="llm")
    api.workloads(server)
    path = f"/api/v1/workloads/inferences/{server['id']}"
    api.answers["PATCH", path] = (202, server)
    return path


@pytest.mark.parametrize(
    ("words", "body", "said"),
    [
        pytest.param(("--revision", "2"), {"revision": 2}, "llm goes back to revision 2.", id="an earlier revision"),
        pytest.param(("-i", "new"), {"spec": {"image": "new"}}, "llm updated.", id="another image"),
    ],
)
def test_an_inference_is_changed(
    runai: Any, api: Any, a_workload: Any, words: tuple[str, ...], body: dict[str, Any], said: str
) -> None:
    a_server(api, a_workload)

    result = runai("inference", "update", "llm", *words)

    assert (result.code, result.err, result.out.strip()) == (0, "", said)
    assert api.body == body


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param((), "give at least one flag, or --revision alone", id="nothing"),
        pytest.param(("--revision", "2", "-i", "new"), "goes with no other flag", id="both"),
    ],
)
def test_an_inference_is_changed_one_way_at_a_time(
    runai: Any, api: Any, a_workload: Any, words: tuple[str, ...], said: str
) -> None:
    a_server(api, a_workload)

    result = runai("inference", "update", "llm", *words)

    assert result.code != 0
    assert said in result.err


def test_revisions_are_listed(runai: Any, api: Any, a_workload: Any) -> None:
    path = a_server(api, a_workload)
    rows = [{"number": 1, "phase": "Stopped"}, {"number": 2, "phase": "Running", "isPresent": True}]
    api.answers["GET", f"{path}/revisions"] = {"revisions": rows}

    result = runai("inference", "revisions", "llm")

    assert (result.code, result.err) == (0, "")
    assert "Stopped" in result.out.splitlines()[1] + result.out.splitlines()[2]


@pytest.mark.parametrize("verb", [("inference", "scale"), ("inference", "standard", "scale")], ids=" ".join)
def test_a_server_is_scaled(runai: Any, api: Any, a_workload: Any, verb: tuple[str, ...]) -> None:
    a_server(api, a_workload)

    result = runai(*verb, "llm", "--replicas", "3")

    assert (result.code, result.err, result.out) == (0, "", "llm is to have 3 replicas.\n")
    assert api.body == {"spec": {"autoscaling": {"minReplicas": 3, "initialReplicas": 3, "maxReplicas": 3}}}


def test_a_distributed_server_is_scaled_by_groups(runai: Any, api: Any, a_workload: Any) -> None:
    server = a_workload(type="DistributedInference", name="llm")
    api.workloads(server)
    api.answers["PATCH", f"/api/v1/workloads/distributed-inferences/{server['id']}"] = (202, server)

    assert runai("inference", "distributed", "scale", "llm", "--replicas", "1").out == "llm is to have 1 replica.\n"
    assert api.body == {"spec": {"replicas": 1}}


def test_a_server_that_follows_its_load_is_not_scaled(runai: Any, api: Any, a_workload: Any) -> None:
    api.workloads(a_workload(type="Inference", name="llm", requestedPods={"number": 2, "min": 1, "max": 5}))

    result = runai("inference", "scale", "llm", "--replicas", "3")

    assert result.code == 5
    assert "follows its load, with 1 to 5 replicas: `runai inference update llm --min-replicas" in result.err
    assert not [request for request in api.requests if request.method == "PATCH"]
