"""What a cluster is told: its own, under the names that it has there, and secrets only where they are kept sealed."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from runai_core.backends.clock import SystemClock
from runai_core.backends.local.store import open_store
from runai_core.controlplane.downward import KINDS, OLDER, downward_feeds
from runai_core.controlplane.feeding import Delta
from runai_core.controlplane.projects import Projects
from runai_core.controlplane.sealing import opened, sealed
from runai_core.controlplane.store import TenantStore
from runai_core.model.assets import DATA_SOURCES, Asset, AssetKind
from runai_core.model.clusters import LOCAL_NAME, Cluster, Intent
from runai_core.model.meta import Meta
from runai_core.model.nodes import NetworkTopology
from runai_core.model.organization import AccessRule, Project
from runai_core.model.storage import StorageClassConfiguration
from runai_core.model.workload import Policy, PolicyType, Workload
from runai_core.ports import Stored
from runai_core.service.secrets import Vault


class Enough(Exception):
    """All was told once."""


class Told:
    """A tenant with two clusters, and what each is told."""

    def __init__(self, store: TenantStore, west: Cluster, east: Cluster, vault: Vault) -> None:
        self.store, self.west, self.east, self.vault = store, west, east, vault

    async def to(self, cluster: Cluster, kind: type[Stored], vault: Vault | None = None) -> list[Any]:
        """Return the objects of a kind that a cluster is told; with a vault, as one that seals secrets."""
        found: list[Any] = []

        async def keep(delta: Delta) -> None:
            found.extend(item for _, _, item in delta.changes)
            if delta.last:
                raise Enough

        feed = downward_feeds(self.store, cluster, Projects(self.store, cluster), vault)[kind.__name__]
        with pytest.raises(Enough):
            await feed.run(None, keep)
        return found


@pytest_asyncio.fixture
async def told(tmp_path: Path) -> AsyncIterator[Told]:
    """Two clusters that both have a project `blue`."""
    async with open_store("sqlite://", SystemClock()) as inner:
        store = TenantStore(inner)
        west = await store.create(Cluster(meta=Meta(name="west")))
        east = await store.create(Cluster(meta=Meta(name="east")))
        await store.create(Project(meta=Meta(name="blue"), cluster=west.meta.uid))
        named = Meta(name="blue-east", annotations={LOCAL_NAME: "blue"})
        await store.create(Project(meta=named, cluster=east.meta.uid))
        yield Told(store, west, east, Vault(tmp_path / "secrets.key"))


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
async def test_credentials_are_told_only_to_clusters_that_seal_them_and_only_within_their_scope(told: Told) -> None:
    await told.store.create(Asset(meta=Meta(name="a"), kind=DATA_SOURCES[0], title="a"))
    await told.store.create(a_credential(told.vault, "b"))
    await told.store.create(a_credential(told.vault, "c", scope_type="project", scope="blue-east"))

    assert [item.title for item in await told.to(told.west, Asset)] == ["a"]
    west, east = await told.to(told.west, Asset, told.vault), await told.to(told.east, Asset, told.vault)
    assert [item.title for item in west] == ["a", "b"]
    assert [(item.title, item.scope) for item in east] == [("a", ""), ("b", ""), ("c", "blue")]
    assert west[1].spec == {"user": "me", "password": "hidden b"}
    assert west[1].sealed == ""


@pytest.mark.asyncio
async def test_a_credential_whose_key_is_lost_is_told_without_what_is_secret(told: Told, tmp_path: Path) -> None:
    await told.store.create(a_credential(told.vault, "b"))

    [item] = await told.to(told.west, Asset, Vault(tmp_path / "another"))

    assert (item.spec, item.sealed) == ({"user": "me"}, "")


def a_credential(vault: Vault, title: str, scope_type: str = "tenant", scope: str = "") -> Asset:
    return Asset(
        meta=Meta(name=f"credential-{title}"),
        kind=AssetKind.PASSWORD,
        title=title,
        scope_type=scope_type,
        scope=scope,
        spec={"user": "me"},
        sealed=vault.seal(f"credential-{title}", {"password": f"hidden {title}"}),
        keys=("password",),
    )


def test_a_cluster_seals_what_it_is_told_with_its_own_key_once(tmp_path: Path) -> None:
    there, here = Vault(tmp_path / "there"), Vault(tmp_path / "here")
    told = opened(there, a_credential(there, "b"))

    first = sealed(here, told, None)
    again = sealed(here, told, first)
    without = sealed(here, replace(told, spec={"user": "you"}), first)
    changed = sealed(here, replace(told, spec={"user": "me", "password": "new"}), first)

    assert "hidden" not in repr(first)
    assert here.open(first.meta.name, first.sealed) == {"password": "hidden b"}
    assert again == first, "the same secret is not written anew"
    assert (without.spec, without.sealed) == ({"user": "you"}, first.sealed), "what is not told is kept"
    assert here.open(first.meta.name, changed.sealed) == {"password": "new"}


@pytest.mark.asyncio
async def test_an_access_rule_by_the_id_of_a_project_goes_to_the_cluster_of_the_project(told: Told) -> None:
    blue = await told.store.get(Project, "blue-east")
    meta = Meta(name="rule")
    rule = AccessRule(meta=meta, subject="a", subject_type="user", role="r", scope_type="project", scope=blue.meta.uid)
    await told.store.create(rule)

    assert await told.to(told.west, AccessRule) == []
    assert [item.scope for item in await told.to(told.east, AccessRule)] == ["blue"]


@pytest.mark.asyncio
async def test_an_intent_goes_to_the_cluster_of_its_project_only(told: Told) -> None:
    workload = Workload(meta=Meta(name="a", uid="u1", project="blue-east"))
    await told.store.create(workload)

    assert await told.to(told.west, Intent) == []
    (intent,) = await told.to(told.east, Intent)
    assert intent.workload.meta.project == "blue"
    assert intent.workload.meta.annotations == {}


@pytest.mark.asyncio
async def test_topologies_and_storage_rules_go_to_their_cluster_under_the_names_that_they_have_there(
    told: Told,
) -> None:
    west = told.west.meta.uid
    await told.store.create(NetworkTopology(meta=Meta(name=f"racks.{west}"), levels=("rack",), scope=west))
    await told.store.create(StorageClassConfiguration(meta=Meta(name=f"fast.{west}"), storage_class="fast", scope=west))

    for kind, name in ((NetworkTopology, "racks"), (StorageClassConfiguration, "fast")):
        assert [(item.meta.name, item.scope) for item in await told.to(told.west, kind)] == [(name, "")]
        assert await told.to(told.east, kind) == []


def test_what_a_cluster_of_the_first_versions_understands_is_still_told() -> None:
    assert set(OLDER) < set(KINDS)
