from datetime import UTC, datetime
from typing import Any

import pytest

from runai_core.client.results import Explanation, HistoryRecord, Project, Workload, parse, phases_of
from runai_core.model.errors import InvalidRequest, Unavailable
from runai_core.model.workload import Phase


def test_a_workload_is_read_with_names_in_snake_case_and_kept_as_it_came() -> None:
    answer = {
        "id": "u-1",
        "name": "mnist",
        "phase": "Running",
        "createdAt": "2026-01-31T12:00:00Z",
        "requestedPods": {"number": 4},
        "allocatedResources": {"gpu": 2},
        "requestedNodePools": ["a100", "default"],
        "newInAYear": True,
    }

    workload = parse(Workload, answer)

    assert (workload.name, workload.phase, workload.requested_pods) == ("mnist", Phase.RUNNING, 4)
    assert workload.created_at == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert workload.gpu_allocated == 2.0
    assert workload.requested_node_pools == ("a100", "default")
    assert workload.raw == answer


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param({"phase": "Hibernating"}, Phase.UNKNOWN, id="a phase of a later version is Unknown"),
        pytest.param({"phase": None}, Phase.UNKNOWN, id="null is as left out"),
        pytest.param({}, Phase.UNKNOWN, id="left out"),
    ],
)
def test_a_phase_that_is_not_known_does_not_break_the_list(answer: dict[str, object], expected: Phase) -> None:
    assert parse(Workload, answer).phase is expected


@pytest.mark.parametrize("answer", [None, [], "hello", 3])
def test_an_answer_that_is_no_object_is_not_from_an_orchestrator(answer: object) -> None:
    with pytest.raises(Unavailable, match="address of an orchestrator"):
        parse(Workload, answer)


@pytest.mark.parametrize(
    "broken", [{"createdAt": "yesterday"}, {"allocatedResources": "much"}, {"requestedNodePools": "default"}]
)
def test_a_field_of_a_wrong_form_is_read_as_nothing(broken: dict[str, object]) -> None:
    workload = parse(Workload, broken)

    assert (workload.created_at, workload.gpu_allocated, workload.requested_node_pools) == (None, 0.0, ())


def test_an_explanation_holds_the_verdict_with_its_shares_and_suggestions() -> None:
    found = parse(
        Explanation,
        {
            "sentence": "It waits.",
            "verdict": {
                "reason": "OverLimit",
                "nodesRefused": {"not enough GPUs": 3},
                "shares": [{"queue": "a", "resource": "gpu", "limit": None, "allocated": 2000}],
                "suggestions": [{"kind": "raise_limit", "message": "raise the limit"}],
            },
        },
    )

    assert found.verdict is not None
    assert found.verdict.nodes_refused == {"not enough GPUs": 3}
    assert (found.verdict.shares[0].limit, found.verdict.shares[0].allocated) == (None, 2000.0)
    assert found.verdict.suggestions[0].message == "raise the limit"


def test_nested_quota_and_status_are_read_by_path() -> None:
    project = parse(
        Project,
        {
            "name": "vision",
            "parent": {"name": "research"},
            "resources": [{"nodePool": {"name": "default"}, "gpu": {"deserved": 4, "limit": None}}],
            "status": {"quotaStatus": {"allocated": {"gpu": 0.5}}},
        },
    )

    assert project.department_name == "research"
    assert (project.resources[0].node_pool, project.resources[0].gpu.deserved) == ("default", 4.0)
    assert project.gpu_allocated == 0.5


def test_a_story_line_is_a_change_of_phase_or_an_event() -> None:
    update = {"phaseUpdate": {"phase": "Pending", "fromPhase": "Running", "cause": "It was evicted."}}
    record = parse(HistoryRecord, {"meta": {"type": "PhaseUpdate"}, "spec": update})

    assert (record.from_phase, record.phase, record.cause) == ("Running", "Pending", "It was evicted.")


@pytest.mark.parametrize(
    ("wanted", "phases"),
    [
        ("Running", {Phase.RUNNING}),
        (Phase.RUNNING, {Phase.RUNNING}),
        (["Running", "Stopped"], {Phase.RUNNING, Phase.STOPPED}),
    ],
    ids=["a word", "a phase", "several"],
)
def test_phases_are_named_in_words(wanted: Any, phases: set[Phase]) -> None:
    assert phases_of(wanted) == phases


def test_an_unknown_phase_is_named() -> None:
    with pytest.raises(InvalidRequest, match=r"must be one of .*Running.*Finished"):
        phases_of(["Finished"])
