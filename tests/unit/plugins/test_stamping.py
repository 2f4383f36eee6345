"""Framework objects get the scheduler's name and labels, and keep what they had."""

from typing import Any

import pytest

from runai_core.model.errors import InvalidRequest
from runai_core.plugins.stamping import SCHEDULER, Marks, changed_at, scheduled_spec, stamped, stamped_pod

MARKS = Marks(project="team-a", priority="high", node_pool="big")


def test_a_pod_gets_scheduler_and_labels_and_keeps_its_own() -> None:
    pod = {"metadata": {"labels": {"app": "x"}, "name": "p"}, "spec": {"containers": [1]}}

    assert stamped_pod(pod, MARKS) == {
        "metadata": {
            "labels": {
                "app": "x",
                "runai/queue": "team-a",
                "priorityClassName": "high",
                "runai/node-pool": "big",
            },
            "name": "p",
        },
        "spec": {"containers": [1], "schedulerName": SCHEDULER},
    }
    assert pod == {"metadata": {"labels": {"app": "x"}, "name": "p"}, "spec": {"containers": [1]}}


SCHEDULERS = {
    "none": ({}, SCHEDULER),
    "the default one": ({"schedulerName": "default-scheduler"}, SCHEDULER),
    "ours": ({"schedulerName": SCHEDULER}, SCHEDULER),
    "a third one is respected": ({"schedulerName": "volcano"}, "volcano"),
}


@pytest.mark.parametrize(("spec", "expected"), SCHEDULERS.values(), ids=SCHEDULERS)
def test_scheduler_names(spec: dict[str, Any], expected: str) -> None:
    assert scheduled_spec(spec)["schedulerName"] == expected


def test_an_object_goes_to_the_projects_namespace_unless_it_names_one() -> None:
    marks = Marks(project="team-a")

    assert stamped({"kind": "X"}, marks)["metadata"] == {
        "labels": {"runai/queue": "team-a"},
        "namespace": "runai-team-a",
    }
    assert stamped({"metadata": {"namespace": "own"}}, marks)["metadata"]["namespace"] == "own"


def test_stamping_twice_is_stamping_once() -> None:
    once = stamped_pod({}, MARKS)

    assert stamped_pod(once, MARKS) == once


def test_a_path_goes_through_lists_and_leaves_what_is_missing() -> None:
    value = {"a": [{"b": {"c": 1}}, {"d": 2}], "e": 3}

    assert changed_at(value, "a[].b.c", lambda found: found + 1) == {"a": [{"b": {"c": 2}}, {"d": 2}], "e": 3}
    assert changed_at(value, "x[].y", lambda found: found) == value


WRONG: dict[str, tuple[dict[str, str], str]] = {
    "no project": ({"project": ""}, "project"),
    "a project with capitals": ({"project": "Team A"}, "project"),
    "an unknown priority": ({"project": "a", "priority": "urgent"}, "priority"),
    "an unknown preemptibility": ({"project": "a", "preemptibility": "never"}, "preemptibility"),
    "a node pool that is no name": ({"project": "a", "node_pool": "a/b"}, "node_pool"),
}


@pytest.mark.parametrize(("given", "field"), WRONG.values(), ids=WRONG)
def test_wrong_marks_name_the_field(given: dict[str, str], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Marks(**given)

    assert [error.field for error in caught.value.errors] == [field]


def test_a_list_that_is_none_is_named() -> None:
    with pytest.raises(InvalidRequest, match="must be a list"):
        changed_at({"a": {"b": 1}}, "a[].b", lambda found: found)
