"""What every store promises to who watches: every change once and in order, also after a restart."""

import asyncio
from dataclasses import replace

import pytest

from runai_core.model.errors import RunaiError, StaleVersion, WatchExpired
from runai_core.model.meta import Meta
from runai_core.model.organization import Department
from runai_core.model.workload import Phase, Workload
from runai_core.ports import ChangeType, Store
from tests.stores.under_test import Database, a_workload, needs_database, watching
from tests.waiting import soon


@pytest.mark.asyncio
async def test_a_watch_tells_every_change_once_and_in_order(store: Store) -> None:
    made = await store.create(a_workload("one"))
    page = await store.list(Workload)
    async with watching(store, page.version) as seen:
        await store.create(Department(meta=Meta(name="another-kind")))
        newer = await store.update(replace(made, phase=Phase.PENDING))
        await store.create(a_workload("two"))
        await store.delete(Workload, newer.meta.uid)

        told = [await soon(seen.get()) for _ in range(3)]

    assert [(change, name) for change, name, _ in told] == [
        (ChangeType.MODIFIED, "one"),
        (ChangeType.ADDED, "two"),
        (ChangeType.DELETED, "one"),
    ]
    assert page.version < told[0][2] < told[1][2] < told[2][2]
    assert seen.empty()


@pytest.mark.asyncio
async def test_a_watch_resumes_where_it_stopped(store: Store) -> None:
    made = [await store.create(a_workload(f"w-{number}")) for number in range(5)]
    async with watching(store, made[1].meta.version) as seen:
        told = [await soon(seen.get()) for _ in range(3)]
        made.append(await store.create(a_workload("later")))
        told.append(await soon(seen.get()))
    assert [(name, version) for _, name, version in told] == [(w.name, w.meta.version) for w in made[2:]]


@pytest.mark.asyncio
async def test_a_watch_that_begins_while_others_write_misses_nothing(store: Store) -> None:
    async def write() -> None:
        for number in range(200):
            await store.create(a_workload(f"w-{number}"))

    before = await store.version()
    writing = asyncio.create_task(write())
    async with watching(store, before) as seen:
        told = [await soon(seen.get()) for _ in range(200)]
        await writing
    assert [name for _, name, _ in told] == [f"w-{number}" for number in range(200)]
    assert [version for _, _, version in told] == sorted({version for _, _, version in told})


@pytest.mark.asyncio
async def test_a_slow_watch_misses_nothing(store: Store, database: Database) -> None:
    watch = store.watch(Workload, await store.version())
    await store.create(a_workload("first"))
    told = [(await anext(watch)).object.name]
    names = [f"w-{number}" for number in range(900 if database.kubeconfig is None else 90)]
    await asyncio.gather(*(store.create(a_workload(name)) for name in names))
    told += [(await anext(watch)).object.name for _ in names]
    assert told[0] == "first"
    assert sorted(told[1:]) == sorted(names)


@pytest.mark.asyncio
@pytest.mark.parametrize("from_version", [0, 400, 10_000], ids=["the beginning", "no longer kept", "the future"])
async def test_a_watch_of_a_version_that_is_not_known_says_so(database: Database, from_version: int) -> None:
    async with database.open(log_kept=100) as store:
        for number in range(600 if database.kubeconfig is None else 150):
            await store.create(Department(meta=Meta(name=f"d-{number}")))
        with pytest.raises(WatchExpired, match="list again"):
            await anext(store.watch(Workload, from_version))


@pytest.mark.asyncio
async def test_a_watch_of_a_quiet_kind_does_not_grow_old(database: Database) -> None:
    async with database.open(log_kept=100) as store, watching(store, await store.version()) as seen:
        await store.create(a_workload("first"))
        await soon(seen.get())
        for number in range(600 if database.kubeconfig is None else 150):
            await store.create(Department(meta=Meta(name=f"d-{number}")))
        await store.create(a_workload("second"))
        assert (await soon(seen.get()))[1] == "second"


@pytest.mark.asyncio
async def test_what_was_answered_is_there_after_a_restart(database: Database) -> None:
    if database.url == "sqlite://":
        pytest.skip("a database in memory ends with its process")
    needs_database(database, "a watch cannot be resumed after a restart")
    async with database.open() as store:
        made = await store.create(a_workload("train"))
        await store.update(replace(made, phase=Phase.RUNNING))
    async with database.open() as store:
        found = await store.get(Workload, "train", "vision")
        assert (found.meta.uid, found.phase, found.meta.version) == (made.meta.uid, Phase.RUNNING, 2)
        async with watching(store, 1) as seen:
            assert await soon(seen.get()) == (ChangeType.MODIFIED, "train", 2)
        assert (await store.create(a_workload("next"))).meta.version == 3


@pytest.mark.asyncio
async def test_watches_end_and_calls_are_refused_when_the_store_is_closed(database: Database) -> None:
    async with database.open() as store:
        watch = store.watch(Workload, await store.version())
        await store.create(a_workload("first"))
        await soon(anext(watch))  # it has begun
        waiting = asyncio.ensure_future(anext(watch, None))
        await asyncio.sleep(0.05)
    assert await soon(waiting) is None
    with pytest.raises(RunaiError, match="closed"):
        await store.get(Workload, "x", "y")


@pytest.mark.asyncio
async def test_two_processes_on_one_server_see_each_others_changes(database: Database) -> None:
    if not database.url.startswith("postgresql"):
        pytest.skip("only a database server is shared")
    async with database.open() as one, database.open() as two, watching(one, 0) as seen:
        made = await two.create(a_workload("theirs"))
        assert await soon(seen.get()) == (ChangeType.ADDED, "theirs", 1)
        await one.update(replace(made, attempt=1))
        with pytest.raises(StaleVersion):
            await two.update(replace(made, attempt=2))
        await asyncio.gather(
            *(store.create(a_workload(f"w-{n}-{k}")) for n in range(50) for k, store in enumerate((one, two)))
        )
        told = [(await soon(seen.get()))[2] for _ in range(101)]
    assert told == list(range(2, 103))
