"""What a cluster is told: its own, under the names that it has there, and no secret."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from runai_core.backends.local.clock import SystemClock
from runai_core.backends.local.store import open_store
from runai_core.controlplane.downward import downward_feeds
from runai_core.controlplane.feeding import Delta
from runai_core.controlplane.projects import Projects
from runai_core.controlplane.store import TenantStore
from runai_core.model.assets import CREDENTIALS, DATA_SOURCES, Asset
from runai_core.model.clusters import LOCAL_NAME, Cluster, Intent
from runai_core.model.meta import Meta
from runai_core.model.organization import Project
from runai_core.model.workload import Policy, PolicyType, Workload
from runai_core.ports import Stored


class Enough(Exception):
    """All was told once."""


class Told:
    """A tenant with two clusters, and what each is told."""

    def __init__(self, store: TenantStore, west: Cluster, east: Cluster) -> None:
        self.store, self.west, self.east = store, west, east

    async def to(self, cluster: Cluster, kind: type[Stored]) -> list[Any]:
        """Return the objects of a kind that a cluster is told."""
        found: list[Any] = []

        async def keep(delta: Delta) -> None:
            found.extend(item for _, _, item in delta.changes)
            if delta.last:
                raise Enough

        feed = downward_feeds(self.store, cluster, Projects(self.store, cluster))[kind.__name__]
        with pytest.raises(Enough):
            await feed.run(None, keep)
        return found


@pytest_asyncio.fixture
async def told() -> AsyncIterator[Told]:
    """Two clusters that both have a project `blue`."""
    async with open_store("sqlite://", SystemClock()) as inner:
        store = TenantStore(inner)
        west = await store.create(Cluster(meta=Meta(name="west")))
        east = await store.create(Cluster(meta=Meta(name="east")))
        await store.create(Project(meta=Meta(name="blue"), cluster=west.meta.uid))
        named = Meta(name="blue-east", annotations={LOCAL_NAME: "blue"})
        await store.create(Project(meta=named, cluster=east.meta.uid))
        yield Told(store, west, east)


def a_policy(scope_type: str, scope: str = "") -> Policy:
    name = ".".join(part for part in ("training", scope_type, scope) if part)
    return Policy(meta=Meta(name=name), type=PolicyType.TRAINING, scope_type=scope_type, scope=scope)


@pytest.mark.asyncio
async def test_a_cluster_is_told_of_its_own_projects_by_their_names_there(told: Told) -> None:
    assert [(item.name, item.namespace) for item in await told.to(told.east, Project)] == [("blue", "runai-blue")]
    assert [item.name for item in await told.to(told.west, Project)] == ["blue"]


@pytest.mark.asyncio
async def test_a_policy_of_a_cluster_goes_to_that_cluster_and_one_of_the_tenant_to_all(told: Told) -> None:
    await told.store.create(a_policy("tenant"))
    await told.store.create(a_policy("cluster", told.west.meta.uid))
    await told.store.create(a_policy("project", "blue-east"))

    west = {(item.meta.name, item.scope_type, item.scope) for item in await told.to(told.west, Policy)}
    east = {(item.meta.name, item.scope_type, item.scope) for item in await told.to(told.east, Policy)}

    assert west == {("training.tenant", "tenant", ""), ("training.cluster", "cluster", "")}
    assert east == {("training.tenant", "tenant", ""), ("training.project.blue", "project", "blue")}


@pytest.mark.asyncio
async def test_credentials_stay_where_their_key_is(told: Told) -> None:
    await told.store.create(Asset(meta=Meta(name="a"), kind=DATA_SOURCES[0], title="a"))
    await told.store.create(Asset(meta=Meta(name="b"), kind=CREDENTIALS[0], title="b", sealed="x"))

    assert [item.title for item in await told.to(told.west, Asset)] == ["a"]


@pytest.mark.asyncio
async def test_an_intent_goes_to_the_cluster_of_its_project_only(told: Told) -> None:
    workload = Workload(meta=Meta(name="a", uid="u1", project="blue-east"))
    await told.store.create(workload)

    assert await told.to(told.west, Intent) == []
    (intent,) = await told.to(told.east, Intent)
    assert intent.workload.meta.project == "blue"
    assert intent.workload.meta.annotations == {}
