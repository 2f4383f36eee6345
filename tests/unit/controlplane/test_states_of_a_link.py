"""Both ends of a link in one process: what is said of a cluster, by real causes, and what wrong clocks do."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio

from runai_core.backends.local.lease import AlwaysHeld
from runai_core.backends.local.store import LocalStore, open_store
from runai_core.controlplane.agent import Conversation
from runai_core.controlplane.answering import Answers
from runai_core.controlplane.applying import Applier
from runai_core.controlplane.backend import Door, LinkedRuntime, MirroredCluster
from runai_core.controlplane.links import Home, Links
from runai_core.controlplane.relaying import Relays, Replica
from runai_core.controlplane.site import Site
from runai_core.controlplane.store import TenantStore
from runai_core.engine.rules import DEFAULT_RULES
from runai_core.model.clusters import ClusterCondition, ClusterFacts, ClusterState, Prerequisites
from runai_core.model.decision import CycleResult, Outcome
from runai_core.model.errors import RunaiError, Unavailable
from runai_core.model.meta import Meta
from runai_core.model.nodes import Node, NodePool
from runai_core.model.organization import SYSTEM, Project
from runai_core.model.samples import Point
from runai_core.model.snapshot import Snapshot
from runai_core.model.workload import Phase, Workload
from runai_core.ports import Backend, Query
from runai_core.service.access import AccessService
from runai_core.service.clusters import LOST_AFTER, ClusterService
from runai_core.service.journal import Journal
from runai_core.service.scheduling import TROUBLE_AFTER, SchedulingService
from runai_core.service.secrets import Vault
from tests.clusters import IdleCluster
from tests.pipes import Pipe, a_pipe
from tests.waiting import until

NOW = 1_800_000_000.0
HOUR = 3600.0
MOMENT = 0.05  # seconds that pauses of minutes last here


@dataclass
class QuickClock:
    """A clock that stands until a test moves it; pauses are a moment, or last while it is `held`."""

    time: float = NOW
    held: bool = False

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(MOMENT)
        while self.held:
            await asyncio.sleep(MOMENT)


@dataclass
class Machines(IdleCluster):
    """One node; what can be wrong with it is for a test to say."""

    ready: bool = True
    failure: str = ""  # of each look of the scheduler
    stuck: bool = False  # the scheduler's looks do not end
    looks: int = 0

    async def nodes(self) -> Sequence[Node]:
        return (Node(meta=Meta(name="node-a", uid="n1"), ready=self.ready),)

    async def snapshot(self, pool: NodePool) -> Snapshot:
        self.looks += 1
        if self.failure:
            raise Unavailable(self.failure)
        while self.stuck:
            await asyncio.sleep(MOMENT)
        return Snapshot(taken_at=NOW, node_pool=pool.name)

    async def apply(self, _result: CycleResult) -> Mapping[str, Outcome]:
        return {}


@dataclass
class Linked:
    """A control plane with the cluster west, and the cluster."""

    clusters: ClusterService
    links: Links
    outer: TenantStore
    outer_clock: QuickClock
    inner: LocalStore
    inner_clock: QuickClock
    machines: Machines
    site: Site
    token: str
    pipes: list[Pipe] = field(default_factory=list)
    tasks: list["asyncio.Task[None]"] = field(default_factory=list)

    def connect(self) -> None:
        near, far = a_pipe()
        self.pipes.append(near)
        self.tasks += [asyncio.create_task(each) for each in (self._serve(far), self._speak(near))]

    async def _serve(self, pipe: Pipe) -> None:
        await self.links.serve(pipe, *await self.clusters.authenticate(self.token))

    async def _speak(self, pipe: Pipe) -> None:
        applier = Applier(self.site)
        conversation = Conversation(self.site, applier, Answers(self.site, applier), cast("Any", None))
        await conversation.run(cast("Any", pipe), "")

    async def seen(self, state: ClusterState, words: str = "") -> None:
        """Wait until the cluster is in a state, for a reason with these words."""

        async def is_so() -> bool:
            status = await self.clusters.get(SYSTEM, "west")
            return status.state is state and words in status.message

        await until(is_so, f"{state} ({words})")


@pytest_asyncio.fixture
async def linked(tmp_path: Path) -> AsyncIterator[Linked]:
    outer_clock, inner_clock, machines = QuickClock(), QuickClock(), Machines()
    async with open_store("sqlite://", outer_clock) as kept, open_store("sqlite://", inner_clock) as inner:
        outer, door = TenantStore(kept), Door()
        backend = Backend(outer, MirroredCluster(kept, door), LinkedRuntime(kept, door), AlwaysHeld(), outer_clock)
        clusters = ClusterService(backend, AccessService(backend, "k" * 64))
        await clusters.create(SYSTEM, "west")
        joined = await clusters.join((await clusters.join_token(SYSTEM, "west"))[1], "c" * 40)
        relays = Relays("k" * 64, outer_clock, Replica())
        home = Home(store=outer, clock=outer_clock, epoch="cp", vault=Vault(tmp_path / "outer.key"), relays=relays)
        await inner.create(NodePool(meta=Meta(name="default")))
        there = Backend(inner, machines, cast("Any", None), AlwaysHeld(), inner_clock)
        site = Site(
            backend=there,
            workloads=cast("Any", None),
            scheduling=SchedulingService(there, Journal(there), DEFAULT_RULES),
            reconciler=cast("Any", None),
            facts=ClusterFacts(version="1"),
            data_dir=tmp_path,
            vault=Vault(tmp_path / "inner.key"),
        )
        links = Links(home, clusters, lambda _kind: None)
        token = f"{joined.meta.uid}.{'c' * 40}"
        found = Linked(clusters, links, outer, outer_clock, inner, inner_clock, machines, site, token)
        scheduling = asyncio.create_task(site.scheduling.run())
        yield found
        for task in (scheduling, *found.tasks):
            task.cancel()
        await asyncio.gather(scheduling, *found.tasks, return_exceptions=True)


@pytest.mark.asyncio
async def test_a_cluster_waits_connects_is_lost_and_connects_again(linked: Linked) -> None:
    await linked.seen(ClusterState.WAITING)
    linked.connect()
    await linked.seen(ClusterState.CONNECTED)

    linked.pipes[0].cut()
    await linked.seen(ClusterState.DISCONNECTED)
    linked.connect()
    await linked.seen(ClusterState.CONNECTED)


@pytest.mark.asyncio
@pytest.mark.parametrize("step", [LOST_AFTER + 1, -HOUR], ids=["time passes", "the clock is set back"])
async def test_a_cluster_that_is_silent_is_disconnected_until_it_speaks(step: float, linked: Linked) -> None:
    linked.connect()
    await linked.seen(ClusterState.CONNECTED)

    async def is_lost() -> bool:
        linked.outer_clock.time += step  # again after each sign of life that was on its way
        return (await linked.clusters.get(SYSTEM, "west")).state is ClusterState.DISCONNECTED

    linked.inner_clock.held = True
    await until(is_lost, "it is lost")
    linked.outer_clock.time = NOW
    linked.inner_clock.held = False
    await linked.seen(ClusterState.CONNECTED)
    assert not linked.pipes[0].is_cut, "on the same connection"


async def _lose_a_node(linked: Linked) -> Callable[[], None]:
    linked.machines.ready = False
    return lambda: setattr(linked.machines, "ready", True)


async def _fail_to_schedule(linked: Linked) -> Callable[[], None]:
    linked.machines.failure = "the API server does not answer"
    return await _look_for(linked, "failure", "")


async def _be_stuck(linked: Linked) -> Callable[[], None]:
    linked.machines.stuck = True
    return await _look_for(linked, "stuck", False)


async def _look_for(linked: Linked, what: str, well: object) -> Callable[[], None]:
    looks = linked.machines.looks
    linked.site.scheduling.wake()
    await until(lambda: linked.machines.looks > looks, "a cycle that does not end well")
    linked.inner_clock.time += TROUBLE_AFTER + 1
    return lambda: setattr(linked.machines, what, well)


async def _set_the_clock_wrong(linked: Linked) -> Callable[[], None]:
    linked.inner_clock.time += HOUR
    return lambda: setattr(linked.inner_clock, "time", NOW)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("cause", "words"),
    [
        pytest.param(_lose_a_node, "nodes: not ready: node-a", id="a node does not answer"),
        pytest.param(_fail_to_schedule, "31 s: the API server does not answer", id="the scheduler fails"),
        pytest.param(_be_stuck, "scheduler: no cycle has ended for 31 s", id="the scheduler is stuck"),
        pytest.param(_set_the_clock_wrong, "clock: its clock is 3600 s ahead", id="its clock is wrong"),
    ],
)
async def test_a_cluster_has_service_issues_until_they_are_over(
    cause: Callable[[Linked], Any], words: str, linked: Linked
) -> None:
    linked.connect()
    await linked.seen(ClusterState.CONNECTED)

    end = await cause(linked)
    await linked.seen(ClusterState.SERVICE_ISSUES, words)
    end()
    await linked.seen(ClusterState.CONNECTED)


@pytest.mark.asyncio
async def test_a_cluster_lacks_prerequisites_until_its_operator_finds_them(linked: Linked) -> None:
    linked.connect()
    await linked.seen(ClusterState.CONNECTED)
    lacks = ClusterCondition(type="prerequisite", name="nvidia", message="there is no device plug-in")

    found = await linked.inner.create(replace(Prerequisites(), missing=(lacks,)))
    await linked.seen(ClusterState.MISSING_PREREQUISITES, "nvidia: there is no device plug-in")
    await linked.inner.update(replace(found, missing=()))
    await linked.seen(ClusterState.CONNECTED)


async def _exchange(linked: Linked, name: str) -> None:
    """Tell something each way, and see that the newest of it counts."""
    uid = (await linked.clusters.get(SYSTEM, "west")).cluster.meta.uid
    await linked.outer.create(Project(meta=Meta(name=name), cluster=uid))
    await until(lambda: _has(linked.inner, Project, name), "a project comes down")
    workload = await linked.inner.create(Workload(meta=Meta(name=f"in-{name}", uid=name, project=name)))
    for phase in (Phase.PENDING, Phase.RUNNING, Phase.COMPLETED):
        workload = await linked.inner.update(replace(workload, phase=phase))
    await until(lambda: _is_done(linked.outer, name), "its last phase is known")


async def _has(store: LocalStore, kind: type[Any], name: str) -> bool:
    return name in [item.meta.name for item in (await store.list(kind, Query())).items]


async def _is_done(store: TenantStore, uid: str) -> bool:
    try:
        return (await store.get_by_uid(Workload, uid)).phase is Phase.COMPLETED
    except RunaiError:
        return False


@pytest.mark.asyncio
@pytest.mark.parametrize("ahead", [HOUR, -HOUR], ids=["an hour ahead", "an hour behind"])
async def test_a_wrong_clock_of_a_cluster_loses_nothing_and_its_measurements_are_put_right(
    ahead: float, linked: Linked
) -> None:
    linked.inner_clock.time += ahead
    linked.connect()
    way = "ahead of" if ahead > 0 else "behind"
    await linked.seen(ClusterState.SERVICE_ISSUES, f"3600 s {way} the control plane's")

    await _exchange(linked, "skewed")
    points = [Point("workload/skewed", linked.inner_clock.time - age, {"CPU": age}) for age in (30.0, 20.0, 10.0)]
    await linked.inner.samples.add(points)
    times = await until(lambda: _three(linked), "its measurements")
    assert times == [NOW - 30, NOW - 20, NOW - 10]


async def _three(linked: Linked) -> list[float]:
    found = await linked.outer.samples.series("workload/skewed", NOW - 2 * HOUR, NOW + 2 * HOUR)
    return [point.time for point in found] if len(found) == 3 else []


@pytest.mark.asyncio
@pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["forward", "back"])
async def test_when_the_clock_of_the_control_plane_jumps_clusters_stay_linked(jump: float, linked: Linked) -> None:
    linked.connect()
    await linked.seen(ClusterState.CONNECTED)

    linked.outer_clock.time += jump
    await linked.seen(ClusterState.SERVICE_ISSUES, "clock: its clock is 3600 s")
    await _exchange(linked, "after-the-jump")
    linked.inner_clock.time += jump
    await linked.seen(ClusterState.CONNECTED)
    assert len(linked.pipes) == 1, "on the same connection"
    assert not linked.pipes[0].is_cut
