"""What every store promises of single objects: they come back, names are unique, what is deleted is kept a while."""

from dataclasses import replace

import pytest

from runai_core.model.errors import AlreadyExists, InvalidRequest, NotFound, StaleVersion
from runai_core.model.meta import Meta
from runai_core.model.organization import Department, Project, QueueResources, ResourceQuota
from runai_core.model.spec import Compute, WorkloadSpec
from runai_core.model.workload import HistoryRecord, Phase, Workload, WorkloadType
from runai_core.ports import Query, Store
from tests.stores.under_test import Database, a_workload


@pytest.mark.asyncio
async def test_a_created_object_comes_back_as_it_was_given(store: Store) -> None:
    spec = WorkloadSpec(command="python", compute=Compute(gpu_devices_request=2, cpu_memory_request="1Gi"))
    given = a_workload("train", spec=spec, type=WorkloadType.DISTRIBUTED, phase=Phase.PENDING, node_pools=("default",))

    made = await store.create(given)

    assert made.meta.uid
    assert made.meta.version > 0
    assert made.meta.created_at == made.meta.updated_at == 1_800_000_000.0
    assert replace(made, meta=given.meta) == given
    assert await store.get(Workload, "train", "vision") == made
    assert await store.get_by_uid(Workload, made.meta.uid) == made


@pytest.mark.asyncio
async def test_mappings_nested_objects_and_unlimited_quota_survive(store: Store) -> None:
    quota = QueueResources(gpu=ResourceQuota(deserved=2500, limit=None, over_quota_weight=2.5), priority=7)
    given = Project(meta=Meta(name="vision", annotations={"k": 'a"b\\c\u00fc'}), resources={"default": quota})

    made = await store.create(given)

    assert (await store.get(Project, "vision")).resources == {"default": quota}
    assert (await store.get(Project, "vision")).meta.annotations == {"k": 'a"b\\c\u00fc'}
    assert made.meta.version > 0


@pytest.mark.asyncio
async def test_a_given_uid_is_kept_and_cannot_be_used_twice(store: Store) -> None:
    item = Department(meta=Meta(name="research", uid="4500001"))
    assert (await store.create(item)).meta.uid == "4500001"

    with pytest.raises(AlreadyExists):
        await store.create(replace(item, meta=replace(item.meta, name="other")))


@pytest.mark.asyncio
async def test_names_are_unique_in_a_project_and_kind_only(store: Store) -> None:
    await store.create(a_workload("train", "vision"))
    await store.create(a_workload("train", "speech"))
    await store.create(HistoryRecord(meta=Meta(name="train", project="vision")))

    with pytest.raises(AlreadyExists, match="Workload train in project vision exists already"):
        await store.create(a_workload("train", "vision"))


@pytest.mark.asyncio
async def test_a_deleted_name_is_free_and_the_deleted_object_is_kept(store: Store) -> None:
    first = await store.create(a_workload("train"))
    gone = await store.delete(Workload, first.meta.uid)
    second = await store.create(a_workload("train"))

    assert gone.meta.deleted_at is not None
    assert second.meta.uid != first.meta.uid
    assert (await store.get(Workload, "train", "vision")).meta.uid == second.meta.uid
    assert (await store.get_by_uid(Workload, first.meta.uid)).meta.deleted_at == gone.meta.deleted_at
    assert [w.meta.uid for w in (await store.list(Workload)).items] == [second.meta.uid]
    assert [w.meta.uid for w in (await store.list(Workload, Query(deleted=True))).items] == [first.meta.uid]


@pytest.mark.asyncio
async def test_an_update_needs_the_newest_version(store: Store) -> None:
    made = await store.create(a_workload("train"))
    newer = await store.update(replace(made, phase=Phase.PENDING))

    with pytest.raises(StaleVersion, match="changed by somebody else"):
        await store.update(replace(made, phase=Phase.FAILED))

    assert newer.meta.version > made.meta.version
    assert newer.meta.created_at == made.meta.created_at
    assert (await store.get(Workload, "train", "vision")).phase is Phase.PENDING


@pytest.mark.asyncio
async def test_an_update_cannot_forge_the_time_of_creation(store: Store) -> None:
    made = await store.create(a_workload("train"))

    newer = await store.update(replace(made, meta=replace(made.meta, created_at=5.0)))

    assert newer.meta.created_at == made.meta.created_at
    assert (await store.get(Workload, "train", "vision")).meta.created_at == made.meta.created_at


@pytest.mark.asyncio
async def test_an_update_cannot_rename_or_move(store: Store) -> None:
    made = await store.create(a_workload("train"))
    with pytest.raises(InvalidRequest, match="cannot be renamed"):
        await store.update(replace(made, meta=replace(made.meta, name="other")))
    with pytest.raises(InvalidRequest, match="cannot be renamed"):
        await store.update(replace(made, meta=replace(made.meta, project="speech")))


@pytest.mark.asyncio
async def test_what_is_not_there_is_not_found(store: Store) -> None:
    ghost = a_workload("ghost")
    ghost = replace(ghost, meta=replace(ghost.meta, uid="no-such-uid", version=1))
    for attempt in (
        store.get(Workload, "ghost", "vision"),
        store.get_by_uid(Workload, "no-such-uid"),
        store.update(ghost),
        store.delete(Workload, "no-such-uid"),
    ):
        with pytest.raises(NotFound):
            await attempt


@pytest.mark.asyncio
async def test_an_object_of_another_kind_is_not_found_by_uid(store: Store) -> None:
    made = await store.create(a_workload("train"))
    with pytest.raises(NotFound):
        await store.get_by_uid(Project, made.meta.uid)
    with pytest.raises(NotFound):
        await store.delete(Project, made.meta.uid)


@pytest.mark.asyncio
async def test_a_deleted_object_can_be_neither_updated_nor_deleted_again(store: Store) -> None:
    made = await store.create(a_workload("train"))
    gone = await store.delete(Workload, made.meta.uid)
    with pytest.raises(NotFound):
        await store.update(gone)
    with pytest.raises(NotFound):
        await store.delete(Workload, made.meta.uid)


@pytest.mark.asyncio
async def test_purge_forgets_what_was_deleted_long_ago_and_what_it_owned(store: Store, database: Database) -> None:
    old = await store.create(a_workload("old"))
    story = await store.create(HistoryRecord(meta=Meta(name="line", owner=old.meta.uid)))
    await store.delete(Workload, old.meta.uid)
    database.clock.time += 100
    recent = await store.create(a_workload("recent"))
    await store.delete(Workload, recent.meta.uid)

    assert await store.purge(Workload, database.clock.time - 50) == 1

    with pytest.raises(NotFound):
        await store.get_by_uid(Workload, old.meta.uid)
    with pytest.raises(NotFound):
        await store.get_by_uid(HistoryRecord, story.meta.uid)
    assert (await store.get_by_uid(Workload, recent.meta.uid)).name == "recent"
