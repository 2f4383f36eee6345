"""How a cluster joins and is known again: tokens that work once, credentials that overlap, states as documented."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest
import pytest_asyncio

from runai_core.backends.local.lease import AlwaysHeld
from runai_core.backends.local.store import open_store
from runai_core.controlplane.backend import Door, LinkedRuntime, MirroredCluster
from runai_core.controlplane.store import TenantStore
from runai_core.model.clusters import ClusterCondition, ClusterLink, ClusterState
from runai_core.model.errors import AlreadyExists, Conflict, Forbidden, InvalidRequest, Unauthenticated, Unsupported
from runai_core.model.meta import Meta
from runai_core.model.nodes import NetworkTopology
from runai_core.model.organization import SYSTEM, Actor, Grant, Project
from runai_core.model.storage import StorageClass, StorageCustomization, StoragePermissions
from runai_core.ports import Backend
from runai_core.service.access import AccessService
from runai_core.service.clusters import JOIN_SECONDS, ClusterService, Own, state_of
from runai_core.service.storage import StorageService
from runai_core.service.topologies import TopologyService

CREDENTIAL = "c" * 40


@dataclass
class MovedClock:
    """A clock that a test moves."""

    time: float = 1_800_000_000.0

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


@dataclass
class Made:
    """The service and what stands behind it."""

    clusters: ClusterService
    store: TenantStore
    clock: MovedClock
    backend: Backend
    access: AccessService

    async def token(self, name: str = "west") -> str:
        return (await self.clusters.join_token(SYSTEM, name))[1]


@pytest_asyncio.fixture
async def made() -> AsyncIterator[Made]:
    """A control plane with the cluster west."""
    clock = MovedClock()
    async with open_store("sqlite://", clock) as inner:
        store = TenantStore(inner)
        backend = Backend(
            store=store,
            cluster=MirroredCluster(inner, Door()),
            runtime=LinkedRuntime(inner, Door()),
            lease=AlwaysHeld(),
            clock=clock,
            name="control-plane",
        )
        access = AccessService(backend, "k" * 64)
        clusters = ClusterService(backend, access)
        await clusters.create(SYSTEM, "west", "west.example")
        yield Made(clusters, store, clock, backend, access)


@pytest.mark.asyncio
async def test_a_join_token_works_once_and_its_answer_may_be_lost(made: Made) -> None:
    token = await made.token()

    joined = await made.clusters.join(token, CREDENTIAL)
    assert (await made.clusters.join(token, CREDENTIAL)).meta.uid == joined.meta.uid
    with pytest.raises(Unauthenticated, match="was used already"):
        await made.clusters.join(token, "d" * 40)
    cluster, _ = await made.clusters.authenticate(f"{joined.meta.uid}.{CREDENTIAL}")
    assert cluster.name == "west"


@pytest.mark.asyncio
async def test_a_newer_token_ends_the_older_one_and_every_token_ends(made: Made) -> None:
    first, second = await made.token(), await made.token()

    with pytest.raises(Unauthenticated):
        await made.clusters.join(first, CREDENTIAL)
    made.clock.time += JOIN_SECONDS + 1
    with pytest.raises(Unauthenticated, match="has expired"):
        await made.clusters.join(second, CREDENTIAL)


@pytest.mark.asyncio
async def test_an_old_credential_goes_on_until_the_new_one_was_used(made: Made) -> None:
    joined = await made.clusters.join(await made.token(), CREDENTIAL)
    old = f"{joined.meta.uid}.{CREDENTIAL}"
    _, link = await made.clusters.authenticate(old)
    _, lost = await made.clusters.rotated(link)
    _, link = await made.clusters.authenticate(old)
    _, new = await made.clusters.rotated(link)

    await made.clusters.authenticate(old)
    await made.clusters.authenticate(f"{joined.meta.uid}.{new}")
    for ended in (old, f"{joined.meta.uid}.{lost}", f"{joined.meta.uid}.", "", f"nobody.{new}", new):
        with pytest.raises(Unauthenticated):
            await made.clusters.authenticate(ended)


@pytest.mark.asyncio
async def test_nothing_that_is_kept_lets_anybody_in(made: Made) -> None:
    token = await made.token()
    joined = await made.clusters.join(token, CREDENTIAL)
    link = await made.store.get(ClusterLink, joined.meta.uid)

    assert CREDENTIAL not in str(link)
    assert token.partition(".")[2] not in str(link)
    with pytest.raises(Unauthenticated):
        await made.clusters.authenticate(f"{joined.meta.uid}.{link.credentials[0]}")


@pytest.mark.asyncio
async def test_wrong_clusters_are_refused(made: Made) -> None:
    with pytest.raises(AlreadyExists):
        await made.clusters.create(SYSTEM, "west")
    for name in ("", "A", "x" * 64, "../x", "-x"):
        with pytest.raises(InvalidRequest):
            await made.clusters.create(SYSTEM, name)
    with pytest.raises(InvalidRequest, match="at least 32 characters"):
        await made.clusters.join(await made.token(), "short")
    with pytest.raises(InvalidRequest, match="cannot be renamed"):
        await made.clusters.update(SYSTEM, "west", name="east", domain="")
    with pytest.raises(InvalidRequest, match="there are: west"):
        await made.clusters.resolve("nowhere")


@pytest.mark.asyncio
async def test_who_may_not_change_clusters_lets_none_in(made: Made) -> None:
    viewer = Actor(name="viewer", grants=(Grant("Viewer"),))

    assert [item.cluster.name for item in await made.clusters.list(viewer)] == ["west"]
    for refused in (
        made.clusters.create(viewer, "east"),
        made.clusters.join_token(viewer, "west"),
        made.clusters.delete(viewer, "west"),
        made.clusters.update(viewer, "west", name=None, domain=""),
    ):
        with pytest.raises(Forbidden):
            await refused


@pytest.mark.asyncio
async def test_a_cluster_with_projects_is_not_forgotten(made: Made) -> None:
    uid = await made.clusters.resolve("west")
    await made.store.create(Project(meta=Meta(name="blue"), cluster=uid))

    with pytest.raises(Conflict, match="has projects: blue"):
        await made.clusters.delete(SYSTEM, "west")


@pytest.mark.asyncio
async def test_an_orchestrator_without_a_control_plane_is_one_cluster(made: Made) -> None:
    troubles = ["", "no cycle has ended for 40 s"]
    facts = (await made.clusters.get(SYSTEM, "west")).facts
    own = Own(uid="own", since=1.0, facts=facts, trouble=lambda: troubles.pop(0))
    clusters = ClusterService(made.backend, made.access, own)

    (only,) = await clusters.list(SYSTEM)
    assert (only.cluster.meta.uid, only.state) == ("own", ClusterState.CONNECTED)
    troubled = await clusters.get(SYSTEM, "default")
    assert (troubled.state, troubled.message) == (ClusterState.SERVICE_ISSUES, "scheduler: no cycle has ended for 40 s")
    assert await clusters.resolve("default") == "own"
    with pytest.raises(Unsupported, match="control plane"):
        await clusters.create(SYSTEM, "east")


PREREQUISITE = ClusterCondition(type="prerequisite", name="nvidia", message="there is no device plug-in")
ISSUE = ClusterCondition(type="service", name="nodes", message="not ready: a")
CONNECTED = ClusterLink(meta=Meta(name="x"), connected=True, last_liveness=100.0)


@pytest.mark.parametrize(
    ("link", "now", "state"),
    [
        (replace(CONNECTED, last_liveness=None), 100.0, ClusterState.WAITING),
        (CONNECTED, 110.0, ClusterState.CONNECTED),
        (CONNECTED, 130.0, ClusterState.DISCONNECTED),
        (replace(CONNECTED, connected=False), 101.0, ClusterState.DISCONNECTED),
        (replace(CONNECTED, conditions=(ISSUE,)), 101.0, ClusterState.SERVICE_ISSUES),
        (replace(CONNECTED, conditions=(ISSUE, PREREQUISITE)), 101.0, ClusterState.MISSING_PREREQUISITES),
        (replace(CONNECTED, conditions=(ISSUE,)), 200.0, ClusterState.DISCONNECTED),
    ],
    ids=[
        "never connected",
        "connected",
        "silent for long",
        "has hung up",
        "an issue",
        "a prerequisite",
        "gone, with issues",
    ],
)
def test_the_state_of_a_cluster(link: ClusterLink, now: float, state: ClusterState) -> None:
    assert state_of(link, now) is state


@pytest.mark.asyncio
async def test_with_a_cluster_goes_what_was_said_of_it_and_nothing_of_others(made: Made) -> None:
    west = (await made.clusters.get(SYSTEM, "west")).cluster.meta.uid
    east = (await made.clusters.create(SYSTEM, "east")).cluster.meta.uid
    topologies = TopologyService(made.backend, made.access, made.clusters)
    storage = StorageService(made.backend, made.access, made.clusters)
    for cluster in (west, east):
        await topologies.create(SYSTEM, cluster, "racks", ["rack"])
        await storage.create(SYSTEM, cluster, "fast", StoragePermissions(), StorageCustomization())

    await made.clusters.delete(SYSTEM, west)

    assert [item.topology.scope for item in await topologies.listed(SYSTEM)] == [east]
    assert [item.scope for item in await storage.configurations(SYSTEM)] == [east]


@pytest.mark.asyncio
async def test_what_a_cluster_tells_of_its_topologies_and_classes_is_known(made: Made) -> None:
    west = (await made.clusters.get(SYSTEM, "west")).cluster.meta.uid
    topologies = TopologyService(made.backend, made.access, made.clusters)
    storage = StorageService(made.backend, made.access, made.clusters)
    ours = await topologies.create(SYSTEM, west, "racks", ["rack"])
    link = await made.store.get(ClusterLink, west)
    there = (
        NetworkTopology(meta=Meta(name="racks", uid="a", created_by="kim"), levels=("rack",)),
        NetworkTopology(meta=Meta(name="theirs", uid="b"), levels=("row",)),
    )
    classes = (StorageClass(name="fast", is_default=True),)
    await made.store.update(replace(link, topologies=there, storage_classes=classes))

    found = {item.topology.name: item for item in await topologies.listed(SYSTEM)}

    assert not ours.ready, "the cluster had not said that it has it"
    assert {name: (item.ready, item.is_ours) for name, item in found.items()} == {
        "racks": (True, True), "theirs": (True, False),
    }  # fmt: skip
    with pytest.raises(Unsupported, match="made in its cluster"):
        await topologies.delete(SYSTEM, "theirs")
    assert [item.storage_class.name for item in await storage.classes(SYSTEM, "west")] == ["fast"]
    with pytest.raises(InvalidRequest, match="there are: fast"):
        await storage.create(SYSTEM, west, "slow", StoragePermissions(), StorageCustomization())
