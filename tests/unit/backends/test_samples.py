"""Measurements are kept finer for a while and coarser for long, survive a restart, and take bounded space."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from runai_core.backends.local.database import open_engine
from runai_core.backends.local.samples import LocalSamples
from runai_core.backends.local.store import LocalStore, open_store
from runai_core.backends.local.tables import HEAD
from runai_core.model.samples import LEVELS, Point, added_up, level_for, rolled_up

HOUR, DAY = 3600.0, 86400.0
NOW = 1_800_000_000.0  # a whole hour


class Still:
    """A clock that tells one time."""

    def now(self) -> float:
        return NOW

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here waits")


@asynccontextmanager
async def a_store(url: str = "sqlite://") -> AsyncIterator[LocalStore]:
    async with open_store(url, Still()) as store:
        yield store


async def fill(samples: LocalSamples, entity: str, start: float, end: float, value: Callable[[float], float]) -> None:
    """Measure every ten seconds."""
    count = int((end - start) // 10)
    await samples.add([Point(entity, start + 10 * at, {"GPU": value(start + 10 * at)}) for at in range(count)])


@pytest.mark.asyncio
async def test_minutes_are_the_means_of_what_was_measured() -> None:
    async with a_store() as store:
        await fill(store.samples, "workload/a", NOW - 120, NOW - 20, lambda at: at - NOW)
        await store.samples.tidy(NOW)

        (first,) = await store.samples.series("workload/a", 0, NOW, level=1)
        raw = await store.samples.series("workload/a", 0, NOW)

    assert (first.time, first.count) == (NOW - 120, 6)
    assert first.values["GPU"] == pytest.approx(-95.0)  # the mean of -120, -110, ..., -70
    assert [point.values["GPU"] for point in raw] == [float(value) for value in range(-120, -20, 10)]


@pytest.mark.asyncio
async def test_a_day_becomes_hours_and_what_is_old_is_forgotten() -> None:
    async with a_store() as store:
        await fill(store.samples, "workload/a", NOW - DAY, NOW, lambda _: 50.0)
        await store.samples.tidy(NOW + 100)
        rows = [await store.samples.series("workload/a", 0, NOW + HOUR, level=level) for level in range(4)]

    assert len(rows[3]) == 24
    assert {point.count for point in rows[3]} == {360}
    assert {point.values["GPU"] for row in rows for point in row} == {50.0}
    assert min(point.time for point in rows[0]) >= NOW + 100 - LEVELS[0].kept, "raw points older than an hour are gone"


@pytest.mark.asyncio
async def test_tidying_again_and_after_a_restart_changes_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'a.db'}"
    async with a_store(url) as store:
        await fill(store.samples, "workload/a", NOW - HOUR, NOW, lambda at: at % 7)
        await store.samples.tidy(NOW)
        before = await store.samples.below("", 0, NOW, level=1)
    async with a_store(url) as store:
        await store.samples.tidy(NOW)
        after = await store.samples.below("", 0, NOW, level=1)
        await fill(store.samples, "workload/a", NOW, NOW + 60, lambda _: 1.0)
        await store.samples.tidy(NOW + 80)
        later = await store.samples.series("workload/a", 0, NOW + 80, level=1)

    assert after == before
    assert len(later) == len(before) + 2, "the minute that was not complete, and the new one"


@pytest.mark.asyncio
async def test_pods_are_kept_for_a_day_only_and_do_not_stop_the_others() -> None:
    async with a_store() as store:
        await fill(store.samples, "pod/x", NOW - 3 * HOUR, NOW - 2 * HOUR, lambda _: 1.0)
        await fill(store.samples, "pod/x", NOW - 2 * HOUR, NOW - HOUR, lambda _: 1.0)
        await fill(store.samples, "workload/a", NOW - 2 * HOUR, NOW - HOUR, lambda _: 1.0)
        await store.samples.tidy(NOW)
        minutes = await store.samples.series("pod/x", 0, NOW, level=1)
        tens = await store.samples.below("", 0, NOW, level=2)

    assert len(minutes) == 120
    assert {point.entity for point in tens if point.count} == {"workload/a"}


@pytest.mark.asyncio
async def test_there_are_never_more_rows_than_allowed() -> None:
    async with a_store() as store:
        small = LocalSamples(store.samples._write, store.samples._read, max_rows=100)
        await fill(small, "workload/a", NOW - HOUR, NOW, lambda at: at)
        await small.tidy(NOW)
        kept = await small.series("workload/a", 0, NOW)

    assert len(kept) <= 100
    assert kept[-1].time == NOW - 10, "the newest stay"


@pytest.mark.asyncio
async def test_a_clock_that_ran_ahead_leaves_nothing_that_blocks_the_present() -> None:
    async with a_store() as store:
        await fill(store.samples, "workload/a", NOW + 10 * DAY, NOW + 10 * DAY + 600, lambda _: 9.0)
        await store.samples.tidy(NOW + 10 * DAY + 700)
        await fill(store.samples, "workload/a", NOW - 600, NOW, lambda _: 1.0)
        await store.samples.tidy(NOW)
        minutes = await store.samples.series("workload/a", 0, NOW + 20 * DAY, level=1)

    assert {point.values["GPU"] for point in minutes} == {1.0}
    assert len(minutes) == 9


@pytest.mark.asyncio
async def test_the_same_moment_twice_is_kept_once() -> None:
    async with a_store() as store:
        await store.samples.add([Point("a/b", NOW, {"X": 1.0})])
        await store.samples.add([Point("a/b", NOW, {"X": 2.0})])

        assert [point.values for point in await store.samples.series("a/b", 0, NOW)] == [{"X": 1.0}]


def test_a_database_of_the_first_schema_is_brought_up_to_date(tmp_path: Path) -> None:
    from alembic import command
    from alembic.config import Config

    url = f"sqlite:///{tmp_path / 'old.db'}"
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", "runai_core.backends.local:migrations")
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(sa.text("UPDATE counters SET value = 7 WHERE name = 'version'"))
    engine.dispose()

    engine = open_engine(url)
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar() == HEAD
        assert connection.execute(sa.text("SELECT value FROM counters WHERE name = 'version'")).scalar() == 7
        assert connection.execute(sa.text("SELECT count(*) FROM samples")).scalar() == 0
    engine.dispose()


@pytest.mark.parametrize(
    ("back", "most", "level"),
    [(600, 1000, 0), (2 * HOUR, 1000, 1), (2 * DAY, 1000, 2), (60 * DAY, 10_000, 3), (3600, 100, 1), (DAY, 200, 2)],
    ids=["minutes", "hours", "days", "months", "an hour in few points", "a day in few points"],
)
def test_the_finest_level_that_reaches_back_is_read(back: float, most: int, level: int) -> None:
    assert level_for(NOW - back, NOW, NOW, most) == level


def test_means_weigh_by_how_much_was_measured() -> None:
    (found,) = rolled_up([Point("a", 0, {"X": 1.0}, 6), Point("a", 60, {"X": 4.0}, 3)], 600)

    assert found == Point("a", 0, {"X": 2.0}, 9)


def test_sums_take_what_is_there() -> None:
    one, two = [Point("p/a", 0, {"X": 1.0}), Point("p/a", 10, {"X": 2.0})], [Point("p/b", 10, {"X": 5.0, "Y": 1.0})]

    assert added_up([one, two], "p") == [Point("p", 0, {"X": 1.0}), Point("p", 10, {"X": 7.0, "Y": 1.0})]
