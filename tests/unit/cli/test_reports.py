"""`runai report`: of which time, and what is printed of the answer."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from runai_core.cli.reports import _span
from runai_core.model.errors import InvalidRequest

NOW = datetime(2027, 1, 15, 8, tzinfo=UTC)
DAY = 86400.0


@pytest.mark.parametrize(
    ("given", "span"),
    [
        ({"last": 7 * DAY}, ("2027-01-08T08", "2027-01-15T08")),
        ({"month": "this"}, ("2027-01-01T00", "2027-01-15T08")),
        ({"month": "last"}, ("2026-12-01T00", "2027-01-01T00")),
        ({"month": "2026-02"}, ("2026-02-01T00", "2026-03-01T00")),
        ({"start": "2027-01-02"}, ("2027-01-02T00", "2027-01-15T08")),
        ({"start": "2027-01-02", "end": "2027-01-03T12:00:00Z"}, ("2027-01-02T00", "2027-01-03T12")),
        ({"last": DAY, "end": "2027-01-03"}, ("2027-01-02T00", "2027-01-03T00")),
    ],
    ids=["the last week", "this month", "last month", "a month", "from", "from and to", "the day before a time"],
)
def test_the_time_that_options_say(given: dict[str, Any], span: tuple[str, str]) -> None:
    found = _span({"month": None, "start": None, "end": None, **given}, NOW)

    assert tuple(moment.isoformat()[:13] for moment in found) == span


@pytest.mark.parametrize(
    ("given", "said"),
    [({"month": "2026-13"}, "--month: must be this, last"), ({"start": "soon"}, "--from: must be a time such as")],
)
def test_a_time_that_cannot_be_read_names_its_option(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        _span({"month": None, "start": None, "end": None, **given}, NOW)


def row(name: str, allocated: float, utilization: float | None) -> dict[str, Any]:
    rest = {"quota": 8.0, "used": 2.0, "idle": 3.0, "overQuota": 4.0, "cpu": 5.0, "memory": 6.0, "measured": 24.0}
    return {"name": name, "allocated": allocated, "utilization": utilization, **rest}


def test_who_used_most_comes_first_and_the_sum_last(api: Any, runai: Any) -> None:
    rows = [row("audio", 10.0, None), row("vision", 40.0, 25.0)]
    api.answers["GET", "/api/v1/org-unit/reports/consumption"] = {"rows": rows}

    result = runai("report", "consumption", "--month", "2026-02", "--group-by", "department")
    lines = [line.split() for line in result.out.splitlines()]

    assert dict(api.requests[-1].url.params) == {
        "start": "2026-02-01T00:00:00+00:00",
        "end": "2026-03-01T00:00:00+00:00",
        "groupBy": "Department",
    }
    assert [line[:3] for line in lines[1:]] == [
        ["vision", "40.0", "2.0"],
        ["audio", "10.0", "2.0"],
        ["Total", "50.0", "4.0"],
    ]
    assert "25%" in lines[1]
    assert json.loads(runai("report", "consumption", "--json").out) == [rows[1], rows[0]]


def test_a_time_without_measurements_is_told(api: Any, runai: Any) -> None:
    api.answers["GET", "/api/v1/org-unit/reports/consumption"] = {"rows": []}

    result = runai("report", "consumption", "--month", "last")

    assert (result.code, result.out, result.err) == (0, "", "Nothing was measured in that time.\n")
