"""Admission reviews: what is asked, what is answered, and how refusals name fields."""

import base64
import json
from typing import Any

import pytest

from runai_core.model.errors import Conflict, FieldError, InvalidRequest, PolicyViolation, RunaiError, Unavailable
from runai_core.operator.admission import refuse_broken_tree
from runai_core.operator.reviews import Answer, completed, operations, refusal, request_of, review_of, written_name


@pytest.mark.parametrize("wrong", [None, [], {}, {"request": {}}, {"request": "x"}])
def test_a_question_that_is_none_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidRequest):
        request_of(wrong)


def test_a_deletion_is_about_what_was_there() -> None:
    found = request_of({"request": {"uid": "1", "operation": "DELETE", "object": None, "oldObject": {"spec": 1}}})

    assert found.object == {"spec": 1}


def test_an_answer_carries_its_patch_and_warnings() -> None:
    review = review_of("7", Answer(operations=({"op": "add", "path": "/a", "value": 1},), warnings=("w" * 999,)))

    response = review["response"]
    assert response["uid"] == "7"
    assert response["allowed"] is True
    assert json.loads(base64.b64decode(response["patch"])) == [{"op": "add", "path": "/a", "value": 1}]
    assert len(response["warnings"][0]) == 256


REFUSALS: list[tuple[str, RunaiError, int]] = [
    (
        "a policy",
        PolicyViolation("p", (FieldError("compute.gpuDevicesRequest", "must be no greater than 2", 8, "x"),)),
        403,
    ),
    ("a wrong field", InvalidRequest.of(FieldError("spec.cpu", "must be a number", "lots")), 422),
    ("a state", Conflict("has projects"), 409),
]


@pytest.mark.parametrize(("error", "code"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS])
def test_a_no_has_the_code_of_its_error(error: RunaiError, code: int) -> None:
    found = refusal(error, {"spec": {"gpu": {"value": "8"}}})

    assert found is not None
    assert (found.allowed, found.code) == (False, code)


def test_a_refusal_names_field_value_and_policy_as_the_author_wrote_them() -> None:
    found = refusal(REFUSALS[0][1], {"spec": {"gpu": {"value": "8"}}})

    assert found is not None
    assert found.message == "not allowed by policy: spec.gpu: must be no greater than 2 (given: 8) [policy x]"


def test_what_we_cannot_judge_is_no_refusal() -> None:
    assert refusal(Unavailable("the database is down")) is None


NAMES: list[tuple[str, dict[str, Any], str]] = [
    ("compute.gpuDevicesRequest", {}, "spec.gpu"),
    ("compute.gpuDevicesRequest", {"gpuDevices": {"value": 8}}, "spec.gpuDevices"),
    ("environmentVariables.LR.value", {}, "spec.environment"),
    ("spec.storage.pvc.0.path", {}, "spec.pvcs"),
    ("nodePools", {"nodePool": {"value": "a"}}, "spec.nodePool"),
    ("masterSpec.compute.cpuCoreRequest", {}, "masterSpec.cpu"),
    ("spec.gpuu", {}, "spec.gpuu"),
    ("metadata.namespace", {}, "metadata.namespace"),
]


@pytest.mark.parametrize(("path", "spec", "name"), NAMES)
def test_a_path_of_the_current_form_is_told_in_the_names_of_the_object(
    path: str, spec: dict[str, Any], name: str
) -> None:
    assert written_name(path, {"spec": spec}) == name


def applied(target: Any, patch: list[dict[str, Any]]) -> Any:
    """The target after a JSON patch; paths that are not there raise KeyError."""
    for step in patch:
        *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in step["path"].split("/")[1:]]
        place = target
        for part in parents:
            place = place[part]
        if step["op"] == "remove":
            del place[last]
        else:
            assert step["op"] == "add" or last in place
            place[last] = step["value"]
    return target


CHANGES: list[tuple[str, Any, Any]] = [
    ("nothing", {"a": 1}, {"a": 1}),
    ("a new member", {}, {"spec": {"x": [1]}}),
    ("a member with a slash and a tilde", {"labels": {}}, {"labels": {"runai/queue": "a", "x~y": "b"}}),
    ("a removal", {"a": {"b": 1, "c": 2}}, {"a": {"c": 2}}),
    ("a list as a whole", {"a": [1, 2]}, {"a": [2]}),
    ("a change of type", {"a": {"b": 1}}, {"a": "b"}),
]


@pytest.mark.parametrize(("old", "new"), [row[1:] for row in CHANGES], ids=[row[0] for row in CHANGES])
def test_the_patch_makes_the_new_of_the_old(old: Any, new: Any) -> None:
    assert applied(json.loads(json.dumps(old)), operations(old, new)) == new


def test_completing_changes_nothing_that_is_there() -> None:
    given = {"gpu": {"value": "1"}, "environment": {"items": {"A": {"value": "mine"}}}}
    more = {
        "gpu": {"value": "2"},
        "environment": {"items": {"A": {"value": "x"}, "B": {"value": "y"}}},
        "cpu": {"value": "1"},
    }

    assert completed(given, more, skip=["cpu"]) == {
        "gpu": {"value": "1"},
        "environment": {"items": {"A": {"value": "mine"}, "B": {"value": "y"}}},
    }


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([("a", None), ("a", None)], "is there twice"),
        ([("a", "b")], "no sub-group of this name"),
        ([("a", "b"), ("b", "a")], "in a circle"),
        ([("a", "a")], "in a circle"),
    ],
)
def test_sub_groups_that_are_no_tree_are_refused(parts: list[tuple[str, str | None]], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        refuse_broken_tree(parts)


def test_sub_groups_that_are_a_tree_pass() -> None:
    refuse_broken_tree([("leaf", "top"), ("top", None), ("other", "top")])
