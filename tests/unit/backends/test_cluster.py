"""The cluster's port: snapshots, decisions, the lives of pods; without processes and on a virtual clock."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from runai_core.backends.local.backend import open_local
from runai_core.backends.local.mirror import GangRecord
from runai_core.backends.local.simulated import DURATION, EXIT_CODE, SimulatedExecutor, VirtualClock
from runai_core.model.decision import Bind, CycleResult, Evict, Outcome
from runai_core.model.errors import Unavailable
from runai_core.model.meta import Meta
from runai_core.model.nodes import NetworkTopology, NodePool
from runai_core.model.organization import Department, Project, QueueResources, ResourceQuota
from runai_core.model.snapshot import PodGroup, PodRequest, PodState, Snapshot, Topology, TopologyConstraint
from runai_core.model.spec import RestartPolicy
from runai_core.model.workload import Gang, Pod, PodSpec, Workload
from runai_core.ports import Backend, ClusterChange, Secret
from tests.waiting import soon, until

NODES = "[{name: a, gpus: 2, cpu: 8, memory: 8Gi}, {name: b, gpus: 2, cpu: 8, memory: 8Gi, nodePool: gold}]"
DEFAULT = NodePool(meta=Meta(name="default"))


class World:
    """A cluster of two nodes with two GPUs each, one of them in a pool of its own."""

    def __init__(self, backend: Backend, clock: VirtualClock) -> None:
        self.backend, self.clock, self.cluster = backend, clock, backend.cluster

    async def submit(self, name: str, pods: int = 1, *, seconds: float | None = None, **fields: Any) -> Workload:
        """Store a workload and launch the pods of its first attempt."""
        workload = Workload(meta=Meta(name=name, project="vision"), attempt=1, node_pool="default")
        workload = await self.backend.store.create(workload)
        await self.cluster.launch(workload, a_gang(workload, pods, seconds=seconds, **fields))
        return workload

    async def bind(self, *names: str, node: str = "a", groups: tuple[str, ...] = ()) -> list[Outcome]:
        binds = tuple(Bind(f"vision/{name}", node, groups) for name in names)
        outcomes = await self.cluster.apply(CycleResult(binds=binds))
        return [outcomes[f"vision/{name}"] for name in names]

    async def evict(self, name: str) -> Outcome:
        eviction = Evict(f"vision/{name}", "a", "reclaim", message="Taken for another.")
        return (await self.cluster.apply(CycleResult(evictions=(eviction,))))[eviction.pod]

    async def pods(self, workload: Workload) -> list[Pod]:
        return list(await self.cluster.pods(workload))

    async def snapshot(self, pool: str = "default") -> Snapshot:
        return await self.cluster.snapshot(replace(DEFAULT, meta=Meta(name=pool)))

    async def until(self, workload: Workload, holds: Callable[[list[Pod]], bool]) -> list[Pod]:
        """Wait until the pods are so; time does not pass."""
        seen: list[Pod] = []

        async def are_so() -> bool:
            seen[:] = await self.pods(workload)
            return holds(seen)

        await until(are_so, lambda: f"other pods than {[pod.status for pod in seen]}")
        return seen

    async def until_all(self, workload: Workload, state: PodState) -> list[Pod]:
        return await self.until(workload, lambda pods: bool(pods) and all(pod.status.state is state for pod in pods))


def a_gang(workload: Workload, count: int, *, seconds: float | None = None, code: int = 0, **fields: Any) -> Gang:
    name = f"vision.{workload.name}.{workload.attempt}"
    environment = {EXIT_CODE: str(code)} | ({} if seconds is None else {DURATION: str(seconds)})
    usual: dict[str, Any] = {"argv": ("true",), "request": PodRequest(gpu_devices=1)}
    spec = PodSpec(environment=environment, **(usual | fields))
    pods = tuple(
        Pod(
            meta=Meta(
                name=f"{workload.name}-{workload.attempt}-{rank}",
                project="vision",
                uid=f"{workload.name}-{workload.attempt}-{rank}-uid",
                owner=workload.meta.uid,
            ),
            workload=workload.name,
            pod_group=name,
            attempt=workload.attempt,
            node_pool=workload.node_pool,
            spec=replace(spec, rank=rank),
        )
        for rank in range(count)
    )
    return Gang(group=PodGroup(name=name, queue="vision", min_members=count), pods=pods)


def is_ready_again(restarts: int, pods: list[Pod]) -> bool:
    return pods[0].status.ready and pods[0].status.restarts == restarts


@asynccontextmanager
async def a_world(folder: Path, clock: VirtualClock) -> AsyncIterator[World]:
    nodes = folder / "nodes.yaml"
    nodes.write_text(NODES)
    async with open_local(
        data_dir=folder / "data", nodes_file=nodes, clock=clock, executor=SimulatedExecutor(clock)
    ) as backend:
        yield World(backend, clock)


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(tmp_path, VirtualClock(1_000_000.0)) as opened:
        yield opened


@pytest.mark.asyncio
async def test_a_snapshot_shows_nodes_queues_groups_and_pods_of_one_pool(world: World) -> None:
    quota = QueueResources(gpu=ResourceQuota(deserved=1500))
    await world.backend.store.create(NodePool(meta=Meta(name="gold")))
    await world.backend.store.create(Department(meta=Meta(name="research")))
    await world.backend.store.create(
        Project(meta=Meta(name="vision"), department="research", resources={"default": quota})
    )
    await world.submit("train", 2)

    default, gold = await world.snapshot(), await world.snapshot("gold")

    assert [node.name for node in default.nodes] == ["a"]
    assert [node.name for node in gold.nodes] == ["b"]
    assert [(queue.name, queue.parent) for queue in default.queues] == [
        ("department/research", None),
        ("vision", "department/research"),
    ]
    assert (default.queues[1].resources.gpu.deserved, gold.queues[1].resources.gpu.deserved) == (1500, 0)
    assert [group.name for group in default.pod_groups] == ["vision.train.1"]
    assert [(pod.name, pod.state, pod.node) for pod in default.pods] == [
        ("vision/train-1-0", PodState.PENDING, None),
        ("vision/train-1-1", PodState.PENDING, None),
    ]
    assert (gold.pod_groups, gold.pods) == ((), ())
    assert default.taken_at == 1_000_000.0


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("level", "key", "kept"),
    [
        ("required_level", "rack", True),
        ("preferred_level", "rack", False),
        ("preferred_level", "kubernetes.io/hostname", True),
    ],
    ids=["what is required is asked for", "a preference for a label that is nowhere", "a preference that can be met"],
)
async def test_pods_that_belong_together_name_a_topology(world: World, level: str, key: str, *, kept: bool) -> None:
    workload = Workload(meta=Meta(name="pair", project="vision"), attempt=1, node_pool="default")
    workload = await world.backend.store.create(workload)
    gang = a_gang(workload, 2)
    wanted = TopologyConstraint(topology=key, **{level: key})
    await world.cluster.launch(workload, replace(gang, group=replace(gang.group, topology=wanted)))

    snapshot = await world.snapshot()

    assert snapshot.pod_groups[0].topology == (wanted if kept else None)
    assert snapshot.topologies == ((Topology(name=key, levels=(key,)),) if kept else ())


@pytest.mark.asyncio
async def test_network_topologies_that_are_kept_are_in_the_snapshot_until_they_are_deleted(world: World) -> None:
    kept = await world.backend.store.create(NetworkTopology(meta=Meta(name="racks"), levels=("zone", "rack")))

    async def known() -> bool:
        return (await world.snapshot()).topologies == (Topology(name="racks", levels=("zone", "rack")),)

    await until(known, lambda: "a topology that was made")
    await world.backend.store.delete(NetworkTopology, kept.meta.uid)

    async def gone() -> bool:
        return (await world.snapshot()).topologies == ()

    await until(gone, lambda: "a topology that was deleted")


@pytest.mark.asyncio
async def test_the_revision_grows_when_something_changes_and_stays_when_nothing_does(world: World) -> None:
    first = await world.snapshot()
    assert (await world.snapshot()).revision == first.revision
    await world.submit("train")
    assert (await world.snapshot()).revision > first.revision


@pytest.mark.asyncio
async def test_a_pod_goes_from_pending_through_running_to_its_end(world: World) -> None:
    workload = await world.submit("train", seconds=60)

    assert await world.bind("train-1-0") == [Outcome.APPLIED]
    (running,) = await world.until_all(workload, PodState.RUNNING)
    assert (running.status.node, running.status.gpu_devices, running.status.ready) == ("a", (0,), True)
    assert (running.status.scheduled_at, running.status.started_at) == (1_000_000.0, 1_000_000.0)

    await world.clock.advance(60)
    (ended,) = await world.until_all(workload, PodState.SUCCEEDED)
    assert (ended.status.exit_code, ended.status.finished_at, ended.status.ready) == (0, 1_000_060.0, False)
    assert (await world.snapshot()).pods == ()


@pytest.mark.asyncio
async def test_launching_again_makes_nothing_twice(world: World) -> None:
    workload = await world.submit("train", 2)
    gang = a_gang(workload, 2)
    await asyncio.gather(*(world.cluster.launch(workload, gang) for _ in range(3)))
    assert [pod.name for pod in await world.pods(workload)] == ["train-1-0", "train-1-1"]


@pytest.mark.asyncio
async def test_pods_that_wait_follow_their_workload_to_another_pool_and_placed_ones_do_not(world: World) -> None:
    workload = await world.submit("train", 2)
    await world.bind("train-1-0")
    await world.until(workload, lambda pods: pods[0].status.state is PodState.RUNNING)
    moved = replace(workload, node_pool="gold")
    await world.cluster.launch(moved, a_gang(moved, 2))
    assert [pod.node_pool for pod in await world.pods(workload)] == ["default", "gold"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("name", "node", "expected"),
    [
        pytest.param("ghost-1-0", "a", Outcome.GONE, id="a pod that is not there"),
        pytest.param("train-1-0", "nowhere", Outcome.STALE, id="a node that is not there"),
        pytest.param("placed-1-0", "a", Outcome.STALE, id="a pod that has a node already"),
    ],
)
async def test_stale_binds_are_answered_and_change_nothing(
    world: World, name: str, node: str, expected: Outcome
) -> None:
    waiting, placed = await world.submit("train"), await world.submit("placed")
    await world.bind("placed-1-0")
    await world.until_all(placed, PodState.RUNNING)
    before = await world.pods(waiting) + await world.pods(placed)
    assert await world.bind(name, node=node) == [expected]
    assert await world.pods(waiting) + await world.pods(placed) == before


@pytest.mark.asyncio
async def test_a_bind_without_a_free_device_is_stale_and_the_rest_of_the_cycle_is_carried_out(world: World) -> None:
    await world.submit("train", 3)
    outcomes = await world.bind("train-1-0", "train-1-1", "train-1-2")
    assert outcomes == [Outcome.APPLIED, Outcome.APPLIED, Outcome.STALE]


@pytest.mark.asyncio
async def test_fractions_of_one_group_share_a_device_and_others_do_not(world: World) -> None:
    half = PodRequest(gpu_portion=500)
    workload = await world.submit("share", 3, request=half)
    await world.bind("share-1-0", "share-1-1", groups=("x",))
    await world.bind("share-1-2", groups=("y",))
    assert [pod.status.gpu_devices for pod in await world.pods(workload)] == [(0,), (0,), (1,)]
    assert [pod.status.gpu_groups for pod in await world.pods(workload)] == [("x",), ("x",), ("y",)]


@pytest.mark.asyncio
async def test_a_device_is_free_again_when_its_pod_has_ended(world: World) -> None:
    workload = await world.submit("first", seconds=1, request=PodRequest(gpu_devices=2))
    await world.bind("first-1-0")
    await world.until_all(workload, PodState.RUNNING)
    second = await world.submit("second", request=PodRequest(gpu_devices=2))
    assert await world.bind("second-1-0") == [Outcome.STALE]
    await world.clock.advance(1)
    await world.until_all(workload, PodState.SUCCEEDED)
    assert await world.bind("second-1-0") == [Outcome.APPLIED]
    assert (await world.pods(second))[0].status.gpu_devices == (0, 1)


@pytest.mark.asyncio
async def test_an_evicted_pod_ends_with_its_reason_and_stays_until_it_is_removed(world: World) -> None:
    workload = await world.submit("train")
    await world.bind("train-1-0")
    await world.until_all(workload, PodState.RUNNING)

    assert await world.evict("train-1-0") is Outcome.APPLIED
    (pod,) = await world.until_all(workload, PodState.FAILED)
    assert (pod.status.reason, pod.status.message) == ("Evicted", "Taken for another.")
    assert await world.evict("train-1-0") is Outcome.STALE
    assert await world.evict("ghost-1-0") is Outcome.GONE

    await world.cluster.remove(workload, reason="Replaced", attempt=1)
    assert await world.until(workload, lambda pods: not pods) == []


@pytest.mark.asyncio
async def test_a_pod_that_never_ran_cannot_be_evicted_but_can_be_removed(world: World) -> None:
    workload = await world.submit("train")
    assert await world.evict("train-1-0") is Outcome.STALE
    await world.cluster.remove(workload, reason="Deleted")
    await world.until(workload, lambda pods: not pods)
    assert (await world.snapshot()).pod_groups == ()

    async def is_gone() -> bool:
        return (await world.backend.store.list(GangRecord)).total == 0

    await until(is_gone, "the end of the group after its pods")


@pytest.mark.asyncio
async def test_removing_keeps_what_has_ended_by_itself_when_asked(world: World) -> None:
    workload = await world.submit("train", 2)
    await world.bind("train-1-0")
    await world.until(workload, lambda pods: pods[0].status.state is PodState.RUNNING)
    other = await world.submit("other", seconds=1)
    await world.bind("other-1-0")
    await world.until_all(other, PodState.RUNNING)
    await world.clock.advance(1)
    await world.until_all(other, PodState.SUCCEEDED)

    await world.cluster.remove(workload, reason="Failed", keep_finished=True)
    await world.cluster.remove(other, reason="Completed", keep_finished=True)

    await world.until(workload, lambda pods: not pods)
    assert [pod.status.state for pod in await world.pods(other)] == [PodState.SUCCEEDED]
    await world.cluster.remove(other, reason="Deleted")
    await world.until(other, lambda pods: not pods)


@pytest.mark.asyncio
async def test_removed_pods_are_kept_for_the_record_in_the_state_in_which_they_ended(world: World) -> None:
    workload = await world.submit("train")
    await world.bind("train-1-0")
    await world.until_all(workload, PodState.RUNNING)
    await world.cluster.remove(workload, reason="Stopped")
    await world.until(workload, lambda pods: not pods)
    kept = await world.backend.store.get_by_uid(Pod, "train-1-0-uid")
    assert kept.meta.deleted_at is not None
    assert (kept.status.state, kept.status.reason, kept.status.exit_code) == (PodState.FAILED, "Stopped", 143)


@pytest.mark.asyncio
async def test_a_pod_of_a_deleted_uid_can_be_launched_again(world: World) -> None:
    workload = await world.submit("train")
    await world.cluster.remove(workload, reason="Stopped")
    await world.until(workload, lambda pods: not pods)
    await world.cluster.launch(workload, a_gang(workload, 1))
    assert [pod.name for pod in await world.pods(workload)] == ["train-1-0"]


@pytest.mark.asyncio
async def test_failures_are_restarted_in_place_with_growing_delays_up_to_the_limit(world: World) -> None:
    workload = await world.submit("train", seconds=10, code=1, restart_policy=RestartPolicy.ON_FAILURE, backoff_limit=2)
    await world.bind("train-1-0")
    starts = []
    for restarts, delay in ((0, 0.0), (1, 1.0), (2, 2.0)):
        await world.clock.advance(delay)
        (pod,) = await world.until(workload, partial(is_ready_again, restarts))
        starts.append(pod.status.started_at)
        await world.clock.advance(10)
        await world.until(workload, lambda pods: not pods[0].status.ready)
    (pod,) = await world.until_all(workload, PodState.FAILED)
    assert starts == [1_000_000.0, 1_000_011.0, 1_000_023.0]
    assert (pod.status.restarts, pod.status.exit_code, pod.status.reason) == (2, 1, "Error")


@pytest.mark.asyncio
async def test_a_pod_between_two_runs_can_be_evicted(world: World) -> None:
    workload = await world.submit("train", seconds=1, code=1, restart_policy=RestartPolicy.ALWAYS)
    await world.bind("train-1-0")
    await world.until(workload, lambda pods: pods[0].status.ready)
    await world.clock.advance(1)
    await world.until(workload, lambda pods: pods[0].status.reason == "CrashLoopBackOff")
    assert await world.evict("train-1-0") is Outcome.APPLIED
    (pod,) = await world.until_all(workload, PodState.FAILED)
    assert pod.status.reason == "Evicted"


@pytest.mark.asyncio
async def test_a_gang_below_its_minimum_is_shown_with_the_time_since_when(world: World) -> None:
    workload = await world.submit("train", 2)
    await world.bind("train-1-0", "train-1-1")
    await world.until_all(workload, PodState.RUNNING)
    assert (await world.snapshot()).pod_groups[0].stale_since is None
    await world.evict("train-1-1")
    await world.until(workload, lambda pods: pods[1].status.state is PodState.FAILED)
    assert (await world.snapshot()).pod_groups[0].stale_since == 1_000_000.0
    await world.clock.advance(30)
    group = (await world.snapshot()).pod_groups[0]
    assert (group.stale_since, group.last_start) == (1_000_000.0, 1_000_000.0)


@pytest.mark.asyncio
async def test_changes_are_told_merged_and_none_is_lost(world: World) -> None:
    changes = world.cluster.changes()
    workload = await world.submit("train", 3, request=PodRequest())
    other = await world.submit("other", request=PodRequest())
    await world.bind("train-1-0", "train-1-1", "train-1-2", "other-1-0")
    await world.until_all(workload, PodState.RUNNING)
    await world.until_all(other, PodState.RUNNING)
    told = {await soon(anext(changes)) for _ in range(2)}
    assert told == {ClusterChange(workload_uid=workload.meta.uid), ClusterChange(workload_uid=other.meta.uid)}


@pytest.mark.asyncio
async def test_a_change_of_quota_is_seen_by_the_next_snapshot(world: World) -> None:
    store = world.backend.store
    project = await store.create(Project(meta=Meta(name="vision"), department="none"))
    changes = world.cluster.changes()
    quota = QueueResources(gpu=ResourceQuota(deserved=4000))
    changed = await store.update(replace(project, resources={"default": quota}))

    async def deserved_after_a_change() -> list[int | None]:
        assert await soon(anext(changes)) == ClusterChange()
        return [queue.resources.gpu.deserved for queue in (await world.snapshot()).queues]

    while await deserved_after_a_change() != [4000]:  # the creation may be told by itself
        pass
    await store.delete(Project, changed.meta.uid)
    while await deserved_after_a_change() != []:
        pass


@pytest.mark.asyncio
async def test_gangs_that_start_together_meet_at_different_ports(world: World) -> None:
    workload = await world.submit("train")
    meetings = [await world.cluster.rendezvous(workload) for _ in range(20)]
    assert len(set(meetings)) == 20
    assert {address for address, _ in meetings} == {"127.0.0.1"}


@pytest.mark.asyncio
async def test_everything_is_found_again_after_a_restart(tmp_path: Path) -> None:
    clock = VirtualClock(1_000_000.0)
    async with a_world(tmp_path, clock) as world:
        waiting, placed = await world.submit("waiting", 2), await world.submit("placed")
        await world.bind("placed-1-0")
        await world.until_all(placed, PodState.RUNNING)
        nodes = await world.cluster.nodes()
    async with a_world(tmp_path, clock) as world:
        assert await world.cluster.nodes() == nodes
        assert [pod.status.state for pod in await world.pods(waiting)] == [PodState.PENDING] * 2
        (pod,) = await world.until_all(placed, PodState.FAILED)  # simulated processes do not outlive their process
        assert pod.status.reason == "NodeLost"
        assert {group.name for group in (await world.snapshot()).pod_groups} == {"vision.waiting.1"}


@pytest.mark.asyncio
async def test_pods_of_a_node_that_is_gone_are_lost(tmp_path: Path) -> None:
    clock = VirtualClock(1_000_000.0)
    async with a_world(tmp_path, clock) as world:
        workload = await world.submit("train")
        await world.bind("train-1-0")
        await world.until_all(workload, PodState.RUNNING)
    nodes = tmp_path / "nodes.yaml"
    nodes.write_text("[{name: c, gpus: 1}]")
    async with open_local(
        data_dir=tmp_path / "data", nodes_file=nodes, clock=clock, executor=SimulatedExecutor(clock)
    ) as backend:
        world = World(backend, clock)
        (pod,) = await world.until_all(workload, PodState.FAILED)
        assert (pod.status.reason, pod.status.message) == ("NodeLost", "node a is no longer there")
        assert [node.name for node in await world.cluster.nodes()] == ["c"]


@pytest.mark.asyncio
async def test_a_data_directory_has_one_orchestrator(tmp_path: Path, world: World) -> None:
    with pytest.raises(Unavailable, match=r"another orchestrator \(process \d+\) uses .*runai down"):
        async with open_local(data_dir=tmp_path / "data", simulated_gpus=0):
            pass


@pytest.mark.asyncio
async def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match=r"data directory .*/file/data cannot be used"):
        async with open_local(data_dir=tmp_path / "file" / "data", simulated_gpus=0):
            pass


@pytest.mark.asyncio
async def test_a_pod_without_a_command_fails_at_once_and_says_so(world: World) -> None:
    workload = await world.submit("bare", argv=(), image="ubuntu")
    await world.bind("bare-1-0")

    (pod,) = await world.until_all(workload, PodState.FAILED)

    assert (pod.status.exit_code, pod.status.started_at) == (127, None)
    assert "no command" in pod.status.message


class Safe:
    """Keeps secrets; empty until somebody puts one in."""

    def __init__(self) -> None:
        self.found: Secret | None = None

    async def secret(self, _project: str, _name: str, _user: str) -> Secret | None:
        return self.found


@pytest.mark.asyncio
async def test_what_is_in_the_way_of_a_pod_is_said_once_until_it_starts(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    safe = Safe()
    world.cluster.take_secrets(safe)  # type: ignore[attr-defined]  # of the local cluster
    workload = await world.submit("hindered", references={"TOKEN": "secret/absent/key"})
    await world.bind("hindered-1-0")
    (pod,) = await world.until(workload, lambda pods: "no secret absent" in pods[0].status.message)
    assert pod.status.state is PodState.BINDING
    for _ in range(5):
        await world.clock.advance(1.0)

    safe.found = Secret("absent", data={"key": "value"})

    async def runs_later() -> Pod | None:
        await world.clock.advance(1.0)
        (pod,) = await world.pods(workload)
        return pod if pod.status.state is PodState.RUNNING else None

    pod = await until(runs_later, "a pod that runs")
    assert pod.status.message == ""
    assert len([record for record in caplog.records if "no secret absent" in record.message]) == 1
