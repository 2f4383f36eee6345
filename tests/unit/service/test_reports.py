"""Consumption reports: hours from what was measured, over all levels, for whom may see them."""

import csv
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from runai_core.backends.local.simulated import VirtualClock
from runai_core.backends.local.store import open_store
from runai_core.model.errors import Conflict, InvalidRequest, NotFound
from runai_core.model.meta import Meta
from runai_core.model.organization import SYSTEM, Actor, Department, Grant, Project, Scope
from runai_core.model.reports import Grouping, Report, ReportStatus
from runai_core.model.samples import Point
from runai_core.ports import Backend, Query
from runai_core.service.access import AccessService
from runai_core.service.reports import ReportService

NOW = 1_800_000_000.0
DAY = 86400.0
VISION = Actor(name="vera", grants=(Grant("Editor", Scope("project", "vision")),))


@asynccontextmanager
async def a_service(days: float = 2.0) -> AsyncIterator[tuple[ReportService, Any]]:
    """Yield the service, over so many days in which two projects held GPUs."""
    clock = VirtualClock(NOW)
    async with open_store("sqlite://", clock) as store:
        nothing = cast("Any", SimpleNamespace())
        backend = Backend(store=store, cluster=nothing, runtime=nothing, lease=nothing, clock=clock)
        await store.create(Department(meta=Meta(name="research")))
        for name in ("vision", "audio"):
            await store.create(Project(meta=Meta(name=name), department="research"))
        points = []
        for at in range(int(days * DAY // 10)):
            time = NOW - days * DAY + 10 * at
            for name, held in (("vision", 2.0), ("audio", 1.0)):
                values = {
                    "GPU_QUOTA": 1.0,
                    "GPU_ALLOCATION": held,
                    "GPU_IDLE": 0.5,
                    "CPU_ALLOCATION_MILLICORES": 4000.0,
                }
                if name == "vision":
                    values |= {"GPU_MEASURED": 2.0, "GPU_USED": 0.5}
                points.append(Point(f"project/{name}/default", time, values))
            points.append(Point("pool/default", time, {"GPU_QUOTA": 2.0, "GPU_ALLOCATION": 3.0}))
        await store.samples.add(points)
        await store.samples.tidy(NOW)
        yield ReportService(backend, AccessService(backend, "k" * 64)), store


def a_report(name: str = "usage", days: float = 1.0, grouping: Grouping = Grouping.PROJECT, **more: Any) -> Report:
    return Report(meta=Meta(name=name), start=NOW - days * DAY, end=NOW, group_by=grouping, **more)


async def table(service: ReportService, report: Report, actor: Actor = SYSTEM) -> list[dict[str, str]]:
    made = await service.create(actor, report)
    assert made.status is ReportStatus.PENDING
    with pytest.raises(Conflict, match="is Pending; ask again when it is Ready"):
        await service.file(actor, made.meta.uid)
    await service.work()
    return list(csv.DictReader(io.StringIO(await service.file(actor, made.meta.uid))))


@pytest.mark.asyncio
async def test_hours_are_what_was_held_over_a_day_whose_raw_samples_are_gone() -> None:
    async with a_service() as (service, _):
        rows = {row["Group"]: row for row in await table(service, a_report())}

    vision = rows["vision"]
    assert float(vision["Measured hours"]) == pytest.approx(24, abs=0.05)
    assert float(vision["GPU allocated hours"]) == pytest.approx(48, abs=0.1)
    assert float(vision["GPU over-quota hours"]) == pytest.approx(24, abs=0.05)
    assert float(vision["GPU used hours"]) == pytest.approx(12, abs=0.05)
    assert float(vision["GPU idle hours"]) == pytest.approx(12, abs=0.05)
    assert float(vision["CPU allocated core hours"]) == pytest.approx(96, abs=0.2)
    assert vision["GPU utilization percent"] == "25.0"
    assert rows["audio"]["GPU utilization percent"] == "", "nobody measured it"
    assert vision["Department"] == "research"


@pytest.mark.asyncio
async def test_the_sum_over_a_day_is_that_of_its_halves() -> None:
    async with a_service() as (service, _):
        whole = await table(service, a_report("whole", 1.0))
        first = replace(a_report("first"), start=NOW - DAY, end=NOW - DAY / 2)
        second = replace(a_report("second"), start=NOW - DAY / 2, end=NOW)
        halves = await table(service, first) + await table(service, second)

    for name in ("vision", "audio"):
        assert sum(float(row["GPU allocated hours"]) for row in whole if row["Group"] == name) == pytest.approx(
            sum(float(row["GPU allocated hours"]) for row in halves if row["Group"] == name), abs=0.4
        )


@pytest.mark.asyncio
@pytest.mark.parametrize(("grouping", "group"), [(Grouping.NODE_POOL, "default"), (Grouping.CLUSTER, "cluster")])
async def test_other_groups(grouping: Grouping, group: str) -> None:
    async with a_service(0.1) as (service, _):
        (row,) = await table(service, a_report(grouping=grouping))

    assert (row["Group"], row["Node pool"]) == (group, "default")


@pytest.mark.asyncio
async def test_a_filter_leaves_only_what_it_names() -> None:
    async with a_service(0.1) as (service, _):
        rows = await table(service, a_report(filters=("audio",)))

    assert [row["Group"] for row in rows] == ["audio"]


@pytest.mark.asyncio
async def test_who_sees_one_project_gets_its_row_only_and_sees_no_reports_of_others() -> None:
    async with a_service(0.1) as (service, _):
        all_of_it = await service.create(SYSTEM, a_report("all"))
        rows = await table(service, a_report("mine"), VISION)
        with pytest.raises(InvalidRequest, match="groupBy: must be Project"):
            await service.create(VISION, a_report("pools", grouping=Grouping.NODE_POOL))
        with pytest.raises(NotFound):
            await service.get(VISION, all_of_it.meta.uid)
        names = [item.name for item in (await service.list(VISION, Query())).items]

    assert [row["Group"] for row in rows] == ["vision"]
    assert names == ["mine"]


@pytest.mark.asyncio
async def test_a_report_that_a_crash_left_half_done_is_computed_anew() -> None:
    async with a_service(0.1) as (service, store):
        made = await service.create(SYSTEM, a_report())
        await store.update(replace(made, status=ReportStatus.PROCESSING))
        await service.work()

        assert (await service.get(SYSTEM, "usage")).status is ReportStatus.READY
        await service.delete(SYSTEM, "usage")
        with pytest.raises(NotFound):
            await service.get(SYSTEM, made.meta.uid)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"end": NOW - 2 * DAY}, "end: must be after start"),
        ({"start": NOW - 400 * DAY}, "at most 366 days"),
        ({"meta": Meta(name="../x")}, "name: must be 1 to 253"),
    ],
)
async def test_a_wrong_report_names_the_field(changes: dict[str, Any], said: str) -> None:
    async with a_service(0.01) as (service, _):
        with pytest.raises(InvalidRequest, match=said):
            await service.create(SYSTEM, replace(a_report(), **changes))


@pytest.mark.asyncio
async def test_a_report_that_failed_says_why_and_what_to_do() -> None:
    async with a_service(0.01) as (service, store):
        made = await service.create(SYSTEM, a_report())
        await store.update(replace(made, status=ReportStatus.FAILED, status_message="no measurements"))

        with pytest.raises(Conflict, match="usage is Failed: no measurements; delete it and ask for another one"):
            await service.file(SYSTEM, made.meta.uid)
