"""What every store promises of counts and of measurements: nothing is lost, and nothing is counted twice."""

from collections.abc import Callable
from typing import Any

import pytest

from runai_core.backends.local.samples import LocalSamples
from runai_core.model.meta import Meta
from runai_core.model.reports import Grouping, Report
from runai_core.model.samples import LEVELS, Point
from runai_core.model.workload import Phase, Workload
from runai_core.ports import Filter, Op, Query, SampleStore, Store, samples_of
from runai_core.service.noting import tally_of
from runai_core.service.reports import rows_of
from tests.stores.under_test import a_workload

NOW = 1_800_000_000.0  # a whole hour
HOUR = 3600.0


@pytest.mark.asyncio
async def test_objects_are_counted_by_a_value_that_some_do_not_say(store: Store) -> None:
    for name, fields in (
        ("w-a", {}),
        ("w-b", {"phase": Phase.PENDING, "phase_reason": "OverLimit"}),
        ("w-c", {"phase": Phase.PENDING, "phase_reason": "NotYetTried"}),
        ("w-d", {"phase": Phase.PENDING, "phase_reason": "OverLimit"}),
        ("w-e", {"phase": Phase.PENDING}),
    ):
        await store.create(a_workload(name, **fields))
    pending = Query(filters=(Filter("phase", Op.EQ, "Pending"),))

    assert await tally_of(store, Workload, "phase_reason", pending) == {"OverLimit": 2, "NotYetTried": 1, "": 1}
    assert await tally_of(store, Workload, "phase", Query()) == {"Creating": 1, "Pending": 4}
    assert await tally_of(store, Workload, "phase", Query(filters=(Filter("phase", Op.EQ, "Failed"),))) == {}


async def measured(samples: SampleStore, start: float, end: float) -> None:
    """Keep what two projects held, every ten seconds."""
    for entity, held in (("project/vision/default", 3.0), ("project/speech/default", 1.0)):
        moments = range(int((end - start) // 10))
        await samples.add([Point(entity, start + 10 * at, {"GPU_ALLOCATION": held}) for at in moments])


async def hours(samples: SampleStore, start: float, end: float, now: float) -> dict[str, float]:
    """Return the GPU hours of each project as a report has them."""
    report = Report(meta=Meta(name="r"), start=start, end=end, group_by=Grouping.PROJECT)
    return {row.group: round(row.sums["allocated"], 6) for row in await rows_of(samples, report, now)}


@pytest.mark.asyncio
async def test_hours_are_the_same_before_and_after_they_are_rolled_up(store: Store) -> None:
    samples = found(store)
    await measured(samples, NOW - 3 * HOUR, NOW)
    before = await hours(samples, NOW - 3 * HOUR, NOW, NOW)
    await samples.tidy(NOW)
    await samples.tidy(NOW)
    after = await hours(samples, NOW - 3 * HOUR, NOW, NOW)
    later = await hours(samples, NOW - 3 * HOUR, NOW, NOW + 2 * 24 * HOUR)

    assert before == {"vision": 9.0, "speech": 3.0}
    assert (after, later) == (before, before)


def found(store: Store) -> SampleStore:
    samples = samples_of(store)
    assert samples is not None
    return samples


class Crash(Exception):
    """The process ends here."""


@pytest.mark.asyncio
@pytest.mark.parametrize("writes", [0, 1, 2, 5, 9])
async def test_a_crash_in_the_middle_of_rolling_up_loses_nothing_and_doubles_nothing(store: Store, writes: int) -> None:
    samples = found(store)
    assert isinstance(samples, LocalSamples)
    left = writes

    async def write(work: Callable[[Any], Any]) -> Any:
        nonlocal left
        if left == 0:
            raise Crash
        left -= 1
        return await samples._write(work)

    await measured(samples, NOW - 3 * HOUR, NOW - HOUR)
    await samples.tidy(NOW - HOUR)
    await measured(samples, NOW - HOUR, NOW)
    with pytest.raises(Crash):
        await LocalSamples(write, samples._read).tidy(NOW)
    between = await hours(samples, NOW - 3 * HOUR, NOW, NOW)
    await samples.tidy(NOW)

    assert between == await hours(samples, NOW - 3 * HOUR, NOW, NOW) == {"vision": 9.0, "speech": 3.0}
    hourly = await samples.series("project/vision/default", 0, NOW, level=len(LEVELS) - 1)
    assert [(point.time, point.count) for point in hourly] == [(NOW - 3 * HOUR, 360), (NOW - 2 * HOUR, 360)]
