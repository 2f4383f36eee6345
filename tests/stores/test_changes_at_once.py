"""What every store promises to many at once: one wins, the others are told, and nobody waits for ever."""

import asyncio
from dataclasses import replace

import pytest

from runai_core.backends.local.store import LocalStore
from runai_core.model.errors import AlreadyExists, StaleVersion
from runai_core.model.meta import Meta
from runai_core.model.organization import Department
from runai_core.model.workload import HistoryRecord, Workload
from runai_core.ports import Query, Store
from tests.stores.under_test import Database, a_workload, needs_database


@pytest.mark.asyncio
async def test_history_written_at_the_same_moment_keeps_its_order(store: Store) -> None:
    await asyncio.gather(*(store.create(HistoryRecord(meta=Meta(name=f"line-{n}", owner="w"))) for n in range(50)))
    lines = (await store.list(HistoryRecord, Query(owner="w"))).items
    assert [line.meta.name for line in lines] == [f"line-{n}" for n in range(50)]


@pytest.mark.asyncio
async def test_of_many_concurrent_updates_of_one_version_one_wins(store: Store) -> None:
    made = await store.create(a_workload("train"))

    results = await asyncio.gather(
        *(store.update(replace(made, attempt=n)) for n in range(1, 51)), return_exceptions=True
    )

    won = [result for result in results if isinstance(result, Workload)]
    assert len(won) == 1
    assert sum(isinstance(result, StaleVersion) for result in results) == 49
    assert await store.get(Workload, "train", "vision") == won[0]


@pytest.mark.asyncio
async def test_of_many_concurrent_creations_of_one_name_one_wins_and_others_are_not_harmed(store: Store) -> None:
    names = ["same", "other"] * 25
    results = await asyncio.gather(*(store.create(a_workload(name)) for name in names), return_exceptions=True)
    assert sum(isinstance(result, Workload) for result in results) == 2
    assert sum(isinstance(result, AlreadyExists) for result in results) == 48
    assert (await store.list(Workload)).total == 2


@pytest.mark.asyncio
async def test_no_increment_is_lost_when_everybody_retries(store: Store) -> None:
    made = await store.create(a_workload("counter"))

    async def increment() -> None:
        while True:
            now = await store.get_by_uid(Workload, made.meta.uid)
            try:
                await store.update(replace(now, attempt=now.attempt + 1))
            except StaleVersion:
                continue
            return

    await asyncio.gather(*(increment() for _ in range(20)))
    assert (await store.get_by_uid(Workload, made.meta.uid)).attempt == 20


@pytest.mark.asyncio
async def test_versions_grow_with_every_change_and_never_with_a_refused_one(store: Store, database: Database) -> None:
    needs_database(database, "versions are the server's")
    made = await store.create(a_workload("train"))
    assert (made.meta.version, await store.version()) == (1, 1)
    with pytest.raises(AlreadyExists):
        await store.create(a_workload("train"))
    assert await store.version() == 1
    assert (await store.create(Department(meta=Meta(name="d")))).meta.version == 2
    assert (await store.delete(Workload, made.meta.uid)).meta.version == 3
    assert await store.version() == 3


@pytest.mark.asyncio
async def test_a_set_of_changes_is_made_whole_or_not_at_all(store: LocalStore, database: Database) -> None:
    needs_database(database, "there are no transactions")
    from runai_core.backends.local.writes import Create, Delete, Update

    made = await store.create(a_workload("one"))
    with pytest.raises(AlreadyExists):
        await store.transact([Create(a_workload("two")), Update(replace(made, attempt=9)), Create(a_workload("one"))])
    assert [w.attempt for w in (await store.list(Workload)).items] == [0]
    assert await store.version() == 1

    changed = await store.transact([Create(a_workload("two")), Delete(Workload, made.meta.uid)])
    assert [item.meta.version for item in changed] == [2, 3]
    assert [w.name for w in (await store.list(Workload)).items] == ["two"]


@pytest.mark.asyncio
async def test_a_caller_that_reads_without_end_lets_others_have_their_turn(store: Store) -> None:
    made = await store.create(a_workload("train"))
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(count())
    for _ in range(20):
        await store.get_by_uid(Workload, made.meta.uid)
        await store.get(Workload, "train", "vision")
    other.cancel()
    assert turns >= 20
