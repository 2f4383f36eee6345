"""What the scheduling service does around the engine: every cycle is applied, other node pools are tried."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from runai_core.backends.local.simulated import VirtualClock
from runai_core.backends.local.store import open_store
from runai_core.engine.rules import DEFAULT_RULES
from runai_core.model.decision import CycleResult, Outcome, Reason
from runai_core.model.meta import Meta
from runai_core.model.nodes import NodePool
from runai_core.model.organization import Queue, QueueResources, ResourceQuota
from runai_core.model.snapshot import (
    NodeEntry,
    PodEntry,
    PodGroup,
    PodRequest,
    PodState,
    Snapshot,
    Topology,
    TopologyConstraint,
)
from runai_core.model.spec import WorkloadSpec
from runai_core.model.workload import HistoryRecord, Phase, Workload, WorkloadType
from runai_core.ports import Backend, Query
from runai_core.service.journal import Journal
from runai_core.service.scheduling import SchedulingService
from tests.clusters import IdleCluster

LIMITED = QueueResources(gpu=ResourceQuota(deserved=1000, limit=1000))


def a_node(name: str, gpus: int) -> NodeEntry:
    return NodeEntry(name=name, cpu=10**6, memory=10**12, gpus=gpus, labels={"rack": "r"})


def waiting(gpus: int, *, pods: int = 1, topology: TopologyConstraint | None = None) -> Snapshot:
    """Return the part of a snapshot that is the gang `train`."""
    request = PodRequest(cpu=100, memory=100, gpu_devices=gpus)
    group = PodGroup(name="train", queue="q", min_members=pods, workload="team/train", topology=topology)
    entries = tuple(PodEntry(name=f"train-{n}", pod_group="train", request=request) for n in range(pods))
    return Snapshot(taken_at=0.0, pod_groups=(group,), pods=entries)


class Pools(IdleCluster):
    """A cluster of several node pools, each a snapshot; what is applied is only noted."""

    def __init__(self, **pools: Snapshot) -> None:
        self.pools = pools
        self.applied: list[CycleResult] = []

    async def snapshot(self, pool: NodePool) -> Snapshot:
        return replace(self.pools[pool.name], node_pool=pool.name)

    async def apply(self, result: CycleResult) -> Mapping[str, Outcome]:
        self.applied.append(result)
        return {}


async def served(
    folder: Path, cluster: Pools, story: Callable[[SchedulingService], Awaitable[None]], *workloads: Workload
) -> list[HistoryRecord]:
    """Let a scheduling service live through a story; return the record of what was told about workloads."""
    clock = VirtualClock(1.0)
    async with open_store(f"sqlite:///{folder / 'runai.db'}", clock, exclusive=True) as store:
        for name in cluster.pools:
            await store.create(NodePool(meta=Meta(name=name)))
        for workload in workloads:
            await store.create(workload)
        backend = Backend(store=store, cluster=cluster, runtime=None, lease=None, clock=clock)  # type: ignore[arg-type]
        await story(SchedulingService(backend, Journal(backend), DEFAULT_RULES))
        return list((await store.list(HistoryRecord, Query())).items)


def a_workload(*pools: str) -> Workload:
    return Workload(meta=Meta(name="train", project="team"), spec=WorkloadSpec(), node_pool=pools[0], node_pools=pools)


def a_pool(gpus: int, *, queue: Queue | None = None, taken: int = 0) -> Snapshot:
    """Return a node pool of one node, of whose GPUs some are taken by work that is not preemptible."""
    request = PodRequest(gpu_devices=taken)
    busy = PodEntry(name="busy", pod_group="", request=request, state=PodState.RUNNING, node="n")
    return Snapshot(
        taken_at=0.0, nodes=(a_node("n", gpus),), queues=(queue or Queue(name="q"),), pods=(busy,) if taken else ()
    )


def joined(pool: Snapshot, gang: Snapshot) -> Snapshot:
    return replace(pool, pod_groups=pool.pod_groups + gang.pod_groups, pods=pool.pods + gang.pods)


NARROW = TopologyConstraint(topology="rack", required_level="rack")


@pytest.mark.parametrize(
    ("gang", "others", "mine", "expected"),
    [
        pytest.param(waiting(4), {"large": a_pool(8)}, ("small", "large"), [("large", True)], id="one it may use"),
        pytest.param(waiting(4), {"large": a_pool(8)}, ("small",), [("large", False)], id="one it does not name"),
        pytest.param(waiting(4), {"large": a_pool(8, taken=6)}, ("small", "large"), [], id="it is full"),
        pytest.param(
            waiting(4), {"large": a_pool(8, queue=Queue(name="q", resources=LIMITED))}, ("small",), [], id="no quota"
        ),
        pytest.param(
            waiting(4),
            {"a": a_pool(8), "b": a_pool(8)},
            ("small", "b"),
            [("b", True), ("a", False)],
            id="those it may use come first",
        ),
        pytest.param(waiting(2, pods=3), {"large": a_pool(8)}, ("small",), [("large", False)], id="a gang"),
        pytest.param(waiting(2, pods=5), {"large": a_pool(8)}, ("small",), [], id="a gang that is too large"),
        pytest.param(waiting(4), {"foreign": a_pool(8, queue=Queue(name="x"))}, ("small",), [], id="no queue there"),
    ],
)
@pytest.mark.asyncio
async def test_another_node_pool_is_named_where_it_would_start(
    tmp_path: Path, gang: Snapshot, others: dict[str, Snapshot], mine: tuple[str, ...], expected: list[tuple[str, bool]]
) -> None:
    cluster = Pools(small=joined(a_pool(2), gang), **others)

    async def story(service: SchedulingService) -> None:
        verdict = await service.explain(a_workload(*mine))
        assert verdict is not None
        found = [item.values for item in verdict.suggestions if item.kind == "node_pool"]
        assert [(values["node_pool"], values["allowed"] == "yes") for values in found] == expected
        for name, pool in others.items():  # sound both ways: moved there it starts, or it was not named
            cluster.pools = {"small": a_pool(2), **others, name: joined(pool, gang)}
            cluster.applied.clear()
            await service.cycle()
            bound = {bind.pod for result in cluster.applied for bind in result.binds}
            assert bool(bound) == (name in {values["node_pool"] for values in found})

    await served(tmp_path, cluster, story)


@pytest.mark.asyncio
async def test_a_gang_with_a_topology_is_tried_with_it(tmp_path: Path) -> None:
    topologies = (Topology(name="rack", levels=("rack",)),)
    small = replace(joined(a_pool(2), waiting(4, topology=NARROW)), topologies=topologies)

    async def story(service: SchedulingService) -> None:
        verdict = await service.explain(a_workload("small"))
        assert verdict is not None
        assert "node_pool" in {item.kind for item in verdict.suggestions}

    await served(tmp_path, Pools(small=small, large=a_pool(8)), story)


@pytest.mark.asyncio
async def test_a_group_that_runs_in_part_is_not_sent_elsewhere(tmp_path: Path) -> None:
    gang = waiting(2, pods=2)
    running = replace(gang.pods[0], state=PodState.RUNNING, node="n")
    small = joined(a_pool(2), replace(gang, pods=(running, *gang.pods[1:])))

    async def story(service: SchedulingService) -> None:
        verdict = await service.explain(a_workload("small"))
        assert verdict is not None
        assert "node_pool" not in {item.kind for item in verdict.suggestions}

    await served(tmp_path, Pools(small=small, large=a_pool(8)), story)


@pytest.mark.asyncio
async def test_every_cycle_is_applied_also_one_that_only_says_why(tmp_path: Path) -> None:
    cluster = Pools(small=joined(a_pool(2), waiting(4)))

    async def story(service: SchedulingService) -> None:
        await service.cycle()
        await service.cycle()
        assert [len(result.binds) for result in cluster.applied] == [0, 0]
        assert [result.verdicts[0].reason for result in cluster.applied] == [Reason.NEVER_FITS] * 2

    await served(tmp_path, cluster, story)


@pytest.mark.asyncio
async def test_a_server_that_runs_on_is_told_once_why_its_new_version_waits(tmp_path: Path) -> None:
    server = replace(a_workload("small"), type=WorkloadType.INFERENCE, phase=Phase.RUNNING)
    cluster = Pools(small=joined(a_pool(2), waiting(4)))

    async def story(service: SchedulingService) -> None:
        await service.cycle()
        await service.cycle()

    (told,) = await served(tmp_path, cluster, story, server)
    assert (told.reason, "4 GPUs" in told.message) == (Reason.NEVER_FITS.value, True)


@pytest.mark.asyncio
@pytest.mark.parametrize(("topology", "racks"), [("racks", 1), ("", 2)], ids=["with a network topology", "without one"])
async def test_a_node_pool_with_a_network_topology_keeps_its_gangs_near(
    tmp_path: Path, topology: str, racks: int
) -> None:
    nodes = tuple(replace(a_node(f"n{index}", 1), labels={"rack": f"r{index % 2}"}) for index in range(4))
    known = (Topology(name="racks", levels=("rack",)),)
    cluster = Pools(a100=replace(waiting(1, pods=2), nodes=nodes, queues=(Queue(name="q"),), topologies=known))
    clock = VirtualClock(1.0)
    async with open_store(f"sqlite:///{tmp_path / 'runai.db'}", clock, exclusive=True) as store:
        await store.create(NodePool(meta=Meta(name="a100"), network_topology=topology))
        backend = Backend(store=store, cluster=cluster, runtime=None, lease=None, clock=clock)  # type: ignore[arg-type]
        await SchedulingService(backend, Journal(backend), DEFAULT_RULES).cycle()

    labels = {node.name: node.labels["rack"] for node in nodes}
    (result,) = cluster.applied
    assert len(result.binds) == 2
    assert len({labels[bind.node] for bind in result.binds}) == racks
