"""What clusters report: kept by version, in the cluster's own projects, and never over what is another's."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import pytest_asyncio

from runai_core.backends.clock import SystemClock
from runai_core.backends.local.store import open_store
from runai_core.backends.local.writes import Put
from runai_core.controlplane.feeding import Delta, Feed, from_message, to_message
from runai_core.controlplane.mirror import KINDS, Mirror
from runai_core.controlplane.projects import Projects, tenant_defaults
from runai_core.controlplane.store import TenantStore
from runai_core.model.clusters import CLUSTER, Applied, Cluster, Intent, Wanted
from runai_core.model.errors import AlreadyExists, Conflict, NotFound
from runai_core.model.meta import Meta
from runai_core.model.organization import Project
from runai_core.model.workload import HistoryRecord, Phase, Workload
from runai_core.ports import ChangeType, Query
from tests.waiting import until


@dataclass
class Tenant:
    """A tenant with the clusters west and east, and a project of each."""

    store: TenantStore
    west: Cluster
    east: Cluster

    def mirror(self, cluster: Cluster, epoch: str = "e1") -> Mirror:
        return Mirror(self.store, cluster.meta.uid, epoch, Projects(self.store, cluster))

    async def tell(self, cluster: Cluster, *items: Any, version: int = 1, epoch: str = "e1", **given: Any) -> None:
        """Have a cluster tell of objects."""
        change = given.pop("change", ChangeType.MODIFIED)
        kind = given.pop("kind", type(items[0]).__name__ if items else "Workload")
        changes = tuple((change, version, item) for item in items)
        await self.mirror(cluster, epoch).take(Delta(kind=kind, version=version, changes=changes, **given))

    async def workloads(self) -> dict[str, Workload]:
        return {item.key: item for item in (await self.store.list(Workload, Query())).items}


@pytest_asyncio.fixture
async def tenant() -> AsyncIterator[Tenant]:
    """An empty tenant with two clusters."""
    async with open_store("sqlite://", SystemClock()) as inner:
        store = TenantStore(inner)
        await tenant_defaults(store)
        west = await store.create(Cluster(meta=Meta(name="west")))
        east = await store.create(Cluster(meta=Meta(name="east")))
        for name, cluster in (("blue", west), ("red", east)):
            await store.create(Project(meta=Meta(name=name), cluster=cluster.meta.uid))
        yield Tenant(store, west, east)


def a_workload(uid: str = "u1", name: str = "a", project: str = "blue", **given: Any) -> Workload:
    return Workload(meta=Meta(name=name, uid=uid, project=project, created_at=5.0, updated_at=6.0), **given)


@pytest.mark.asyncio
async def test_what_is_told_is_kept_with_its_age_and_its_cluster(tenant: Tenant) -> None:
    await tenant.tell(tenant.west, a_workload(phase=Phase.RUNNING))

    kept = (await tenant.workloads())["blue/a"]
    assert (kept.meta.uid, kept.meta.created_at, kept.phase) == ("u1", 5.0, Phase.RUNNING)
    assert kept.meta.annotations[CLUSTER] == tenant.west.meta.uid


@pytest.mark.asyncio
async def test_older_news_never_overwrite_newer_ones_whatever_their_order(tenant: Tenant) -> None:
    await tenant.tell(tenant.west, a_workload())
    for _ in range(20):
        await asyncio.gather(
            tenant.tell(tenant.west, a_workload(phase=Phase.COMPLETED), version=9),
            tenant.tell(tenant.west, a_workload(phase=Phase.PENDING), version=3),
        )
        assert (await tenant.workloads())["blue/a"].phase is Phase.COMPLETED
    await tenant.tell(tenant.west, a_workload(phase=Phase.PENDING), version=3, epoch="e2")
    assert (await tenant.workloads())["blue/a"].phase is Phase.PENDING, "another store counts anew"


@pytest.mark.asyncio
async def test_telling_twice_changes_nothing(tenant: Tenant) -> None:
    await tenant.tell(tenant.west, a_workload(), version=4)
    before = await tenant.store.version()

    await tenant.tell(tenant.west, a_workload(), version=4)

    assert await tenant.store.version() == before


@pytest.mark.asyncio
async def test_a_cluster_cannot_write_what_is_another_ones(tenant: Tenant) -> None:
    await tenant.tell(tenant.west, a_workload(phase=Phase.RUNNING))

    await tenant.tell(tenant.east, a_workload(phase=Phase.FAILED, project="red"), version=99)
    answer = Applied(meta=Meta(name="u1", uid="x"), generation=9, workload=a_workload(phase=Phase.FAILED))
    await tenant.tell(tenant.east, answer, version=99)
    await tenant.tell(tenant.east, change=ChangeType.ADDED, kind="Workload", present=frozenset(), full=True)

    kept = await tenant.workloads()
    assert set(kept) == {"blue/a"}
    assert kept["blue/a"].phase is Phase.RUNNING


@pytest.mark.asyncio
async def test_a_project_of_a_cluster_that_has_a_namesake_gets_a_name_of_its_own(tenant: Tenant) -> None:
    await tenant.tell(tenant.east, a_workload(project="blue"))

    assert set(await tenant.workloads()) == {"blue-east/a"}
    assert (await tenant.store.get(Project, "blue-east")).cluster == tenant.east.meta.uid
    assert await Projects(tenant.store, tenant.east).inward("blue-east") == "blue"


@pytest.mark.asyncio
async def test_what_is_not_in_a_full_telling_is_gone_but_what_was_never_told_stays(tenant: Tenant) -> None:
    await tenant.tell(tenant.west, a_workload("u1", "told"), a_workload("u2", "gone"))
    await tenant.store.create(replace(a_workload("u3", "waits"), phase=Phase.CREATING))

    await tenant.tell(tenant.west, a_workload("u1", "told"), version=7, full=True, present=frozenset({"u1"}))

    assert set(await tenant.workloads()) == {"blue/told", "blue/waits"}
    assert (await tenant.store.get_by_uid(Workload, "u2")).meta.deleted_at is not None


@pytest.mark.asyncio
async def test_a_name_that_was_taken_in_the_cluster_is_kept_by_the_one_that_ran(tenant: Tenant) -> None:
    submitted = await tenant.store.create(a_workload("u-control-plane", "same"))
    await tenant.tell(tenant.west, a_workload("u-local", "same", phase=Phase.RUNNING))

    kept = await tenant.workloads()
    assert kept["blue/same"].meta.uid == "u-local"
    loser = await tenant.store.get_by_uid(Workload, submitted.meta.uid)
    assert (loser.phase, loser.phase_reason) == (Phase.FAILED, "NameTaken")
    assert "submit it again under another name" in loser.phase_message
    with pytest.raises(NotFound):
        await tenant.store.get(Intent, submitted.meta.uid)


@pytest.mark.asyncio
@pytest.mark.parametrize("wanted", [Phase.CREATING, Phase.DELETING], ids=["refused", "deleted before it arrived"])
async def test_a_workload_that_never_came_to_be_ends(wanted: Phase, tenant: Tenant) -> None:
    made = await tenant.store.create(a_workload())
    if wanted is Phase.DELETING:
        await tenant.store.update(replace(made, phase=Phase.DELETING))
    intent = await tenant.store.get(Intent, "u1")

    error = "" if wanted is Phase.DELETING else "the cluster has no such thing"
    await tenant.tell(tenant.west, Applied(meta=Meta(name="u1"), generation=intent.generation, error=error))

    kept = await tenant.workloads()
    if wanted is Phase.DELETING:
        assert kept == {}
    else:
        assert kept["blue/a"].phase_message == error
        records = (await tenant.store.list(HistoryRecord, Query(owner="u1"))).items
        assert [record.reason for record in records] == ["Refused"]


@pytest.mark.asyncio
async def test_a_workload_that_was_refused_can_be_deleted(tenant: Tenant) -> None:
    await tenant.store.create(a_workload())
    await tenant.tell(tenant.west, Applied(meta=Meta(name="u1", updated_at=7.0), generation=1, error="no image"))
    refused = await tenant.store.get_by_uid(Workload, "u1")
    assert refused.phase is Phase.FAILED

    await tenant.store.update(replace(refused, phase=Phase.DELETING))
    await tenant.tell(tenant.west, Applied(meta=Meta(name="u1", updated_at=8.0), generation=1))

    assert await tenant.workloads() == {}


@pytest.mark.asyncio
async def test_an_answer_to_an_older_wish_ends_nothing(tenant: Tenant) -> None:
    made = await tenant.store.create(a_workload())
    await tenant.store.update(replace(made, phase=Phase.STOPPING))

    await tenant.tell(tenant.west, Applied(meta=Meta(name="u1"), generation=1, error="no"))

    intent = await tenant.store.get(Intent, "u1")
    assert (intent.generation, intent.wanted) == (2, Wanted.STOPPED)
    assert (await tenant.workloads())["blue/a"].phase is Phase.STOPPING


@pytest.mark.asyncio
async def test_a_submission_needs_a_cluster_that_can_be_told(tenant: Tenant) -> None:
    await tenant.store.create(Project(meta=Meta(name="nowhere")))

    with pytest.raises(Conflict, match="names no cluster, and there are several"):
        await tenant.store.create(a_workload(project="nowhere"))
    assert await tenant.workloads() == {}


@pytest.mark.asyncio
async def test_put_refuses_a_taken_name_and_an_id_of_another_kind(tenant: Tenant) -> None:
    await tenant.tell(tenant.west, a_workload())

    with pytest.raises(AlreadyExists):
        await tenant.store.transact(Put(a_workload("u2")))
    with pytest.raises(AlreadyExists):
        await tenant.store.transact(Put(Project(meta=Meta(name="x", uid="u1"))))


@pytest.mark.asyncio
async def test_a_feed_tells_what_was_missed_or_everything_where_that_is_forgotten() -> None:
    async def as_it_is(item: Any) -> Any:
        return item

    told: list[Delta] = []

    async def keep(delta: Delta) -> None:
        told.append(from_message(to_message(delta), KINDS))

    async with open_store("sqlite://", SystemClock(), log_kept=5) as store:
        first = await store.create(a_workload("u1", "a"))
        feed = Feed(store, Workload, as_it_is)
        running = asyncio.create_task(feed.run(first.meta.version, keep))
        second = await store.create(a_workload("u2", "b"))
        await until(lambda: len(told) == 1)
        assert [item.name for _, _, item in told[0].changes] == ["b"]
        assert (told[0].version, told[0].full) == (second.meta.version, False)
        running.cancel()
        for number in range(10):
            await store.create(a_workload(f"n{number}", f"n{number}"))
        await store.delete(Workload, "u1")

        told.clear()
        running = asyncio.create_task(feed.run(second.meta.version, keep))
        await until(lambda: bool(told) and told[-1].last)
        assert told[0].full
        assert told[0].present == frozenset({"u1", "u2", *(f"n{number}" for number in range(10))})
        assert [change for change, _, item in told[0].changes if item.name == "a"] == [ChangeType.DELETED]
        running.cancel()
