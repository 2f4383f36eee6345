"""Who consumed what: one page and one answer, from the same measurements as a report."""

from datetime import UTC, datetime
from typing import Any

import pytest

from runai_core.model.meta import Meta
from runai_core.model.organization import Project
from runai_core.model.samples import Point

HOUR = 3600.0
PATH = "/api/v1/org-unit/reports/consumption"


async def a_month(api: Any) -> None:
    """Two projects have held GPUs in each of the last 40 days, an hour of each day, on two node pools."""
    store, now = api.orchestrator.backend.store, api.clock.time
    for name in ("vision", "audio"):
        await store.create(Project(meta=Meta(name=name), department="default"))
    points = []
    for days in range(40):
        for name, held in (("vision", 4.0), ("audio", 1.0)):
            for pool in ("default", "a100"):
                values = {"GPU_ALLOCATION": held, "GPU_QUOTA": 1.0, "GPU_OVER_QUOTA": held - 1, "GPU_IDLE": held / 4}
                if name == "vision":
                    values |= {"GPU_USED": 1.0, "GPU_MEASURED": held}
                at = (now - 86400 * (days + 1)) // HOUR * HOUR
                points.append(Point(f"project/{name}/{pool}", at, values, 360))
    await store.samples.add(points)
    await store.samples.tidy(now)


def over(api: Any, days: float) -> dict[str, str]:
    now = api.clock.time
    return {"start": at(now - days * 86400), "end": at(now)}


def at(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


@pytest.mark.asyncio
async def test_hours_idle_hours_and_hours_over_quota_are_answered_at_once(api: Any) -> None:
    await a_month(api)

    rows = {row["name"]: row for row in (await api.get(PATH, **over(api, 5)))["rows"]}

    vision = rows["vision"]
    assert (vision["measured"], vision["allocated"], vision["idle"], vision["overQuota"]) == (5, 40, 10, 30)
    assert (vision["quota"], vision["used"], vision["utilization"]) == (10, 10, 25)
    assert (rows["audio"]["allocated"], rows["audio"]["utilization"]) == (10, None)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"end": "2027-01-01T00:00:00Z"}, "start"),
        ({"start": "2027-01-02T00:00:00Z", "end": "2027-01-01T00:00:00Z"}, "end"),
        ({"start": "2020-01-01T00:00:00Z", "end": "2027-01-01T00:00:00Z"}, "start"),
        ({"start": "soon", "end": "2027-01-01"}, "start"),
        ({"start": "2027-01-01T00:00:00Z", "end": "2027-01-02T00:00:00Z", "groupBy": "Mood"}, "groupBy"),
    ],
)
async def test_what_cannot_be_answered_names_the_parameter(api: Any, query: dict[str, str], field: str) -> None:
    error = await api.get(PATH, expect=400, **query)

    assert error["errors"][0]["field"] == field


@pytest.mark.asyncio
async def test_the_page_says_who_used_most_and_how_much_of_it_was_idle(api: Any) -> None:
    await a_month(api)

    page = (await api.client.get("/reports", params={"time": "days"})).text
    file = (await api.client.get("/reports", params={"time": "days", "format": "csv"})).text
    last = (await api.client.get("/reports", params={"time": "last-month"})).text

    assert "300.0 GPU hours, of which 60.0 were idle and 180.0 over quota." in page
    assert page.index(">vision<") < page.index(">audio<")
    assert "Measured were 30.0 of 720.0 hours." in page
    assert file.splitlines()[1].split(",")[:4] == ["vision", "240.0", "60.0", "60.0"]
    assert "From 01 December 2026 00:00 to 01 January 2027 00:00 UTC" in last
    assert "Nothing was measured in that time" in (await api.client.get("/reports", params={"by": "Department"})).text
    assert (await api.client.get("/reports", params={"by": "x", "time": "x"})).status_code == 200
