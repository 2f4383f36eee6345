"""What conditions say, and that the time of a written one is that of the last turn of its status."""

from typing import Any

import pytest

from runai_core.backends.kubernetes.codec.conditions import condition_of, holds, holds_since, stated, statuses_of

BEFORE, AT, NOW = "2026-01-01T00:00:00Z", 1_767_225_600.0, 1_767_229_200.0


def saying(status: str, time: str | None = BEFORE, kind: str = "Ready") -> dict[str, Any]:
    said = {"type": kind, "status": status, "reason": "R", "message": "m"}
    return {
        "metadata": {"name": "x"},
        "status": {"conditions": [said | ({"lastTransitionTime": time} if time else {})]},
    }


SILENT: dict[str, dict[str, Any]] = {
    "no status": {"metadata": {}},
    "no conditions": {"metadata": {}, "status": {"conditions": None}},
    "another condition": saying("True", kind="Other"),
}


@pytest.mark.parametrize("item", SILENT.values(), ids=SILENT)
def test_an_object_that_says_nothing_of_a_condition(item: dict[str, Any]) -> None:
    assert (condition_of(item, "Ready"), holds(item, "Ready"), holds_since(item, "Ready")) == ({}, False, None)


@pytest.mark.parametrize(
    ("item", "holding", "since"),
    [
        pytest.param(saying("True"), True, AT, id="true"),
        pytest.param(saying("False"), False, None, id="false: since when does not matter"),
        pytest.param(saying("Unknown"), False, None, id="unknown"),
        pytest.param(saying("True", None), True, None, id="true, without a time"),
        pytest.param(saying("True", "lately"), True, None, id="true, with something that is no time"),
    ],
)
def test_a_condition_holds_since_it_became_true(item: dict[str, Any], holding: bool, since: float | None) -> None:
    assert (holds(item, "Ready"), holds_since(item, "Ready")) == (holding, since)


@pytest.mark.parametrize(
    ("item", "time"),
    [
        pytest.param(saying("False"), "2026-01-01T01:00:00Z", id="it turns: now"),
        pytest.param(saying("True"), BEFORE, id="it stays: as before, whatever else is said"),
        pytest.param(saying("True", None), "2026-01-01T01:00:00Z", id="it stays, but nobody knows since when: now"),
        pytest.param(SILENT["no status"], "2026-01-01T01:00:00Z", id="it is new: now"),
    ],
)
def test_the_time_of_a_condition_is_that_of_its_last_turn(item: dict[str, Any], time: str) -> None:
    written = stated(item, "Ready", "True", reason="Other", message="n" * 5000, now=NOW)

    assert written == {
        "type": "Ready", "status": "True", "reason": "Other", "message": "n" * 4096, "lastTransitionTime": time,
    }  # fmt: skip


def test_statuses_are_what_somebody_decides_on() -> None:
    item = {"status": {"conditions": [saying("True")["status"]["conditions"][0], {"type": "B", "status": "False"}]}}

    assert statuses_of(item) == {"Ready": "True", "B": "False"}
