"""Which victims a group costs: no more than it needs, and in one domain where it must stay together."""

from random import Random

import pytest

from runai_core.engine.cycle import run_cycle
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

NODES, GPUS, RACK = 12, 4, 3


def full_cluster(*, size: int, gpus: int, rack: bool, seed: int) -> Snapshot:
    """Return single-GPU jobs of a borrower everywhere, and a gang of the owner that wants its quota back."""
    places = [number // GPUS for number in range(NODES * GPUS)]
    Random(seed).shuffle(places)
    groups = [PodGroup(name=f"r{n:02}", queue="borrower", created_at=float(n)) for n in range(len(places))]
    pods = [
        PodEntry(
            name=group.name,
            pod_group=group.name,
            request=PodRequest(cpu=1, memory=1, gpu_devices=1),
            state=PodState.RUNNING,
            node=f"n{place:02}",
        )
        for group, place in zip(groups, places, strict=True)
    ]
    constraint = TopologyConstraint(topology="racks", required_level="rack") if rack else None
    groups.append(PodGroup(name="gang", queue="owner", min_members=size, topology=constraint))
    pods += [
        PodEntry(name=f"gang-{n}", pod_group="gang", request=PodRequest(cpu=1, memory=1, gpu_devices=gpus))
        for n in range(size)
    ]
    owner = QueueResources(gpu=ResourceQuota(deserved=size * gpus * 1000))
    return Snapshot(
        taken_at=1e6,
        nodes=tuple(
            NodeEntry(name=f"n{n:02}", cpu=100, memory=100, gpus=GPUS, labels={"rack": f"r{n // RACK}"})
            for n in range(NODES)
        ),
        queues=(Queue(name="borrower"), Queue(name="owner", resources=owner)),
        pod_groups=tuple(groups),
        pods=tuple(pods),
        topologies=(Topology(name="racks", levels=("rack",)),),
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("size", "gpus", "rack"),
    [
        pytest.param(4, 1, False, id="small pods anywhere"),
        pytest.param(5, GPUS, False, id="whole nodes anywhere"),
        pytest.param(4, 1, True, id="small pods in one rack"),
        pytest.param(RACK, GPUS, True, id="a whole rack"),
    ],
)
def test_a_gang_costs_as_many_victims_as_it_has_gpus(size: int, gpus: int, rack: bool, seed: int) -> None:
    result = run_cycle(full_cluster(size=size, gpus=gpus, rack=rack, seed=seed))
    assert len(result.pipelines) == size
    assert len(result.evictions) == size * gpus
    racks = {int(promise.node[1:]) // RACK for promise in result.pipelines}
    assert not rack or len(racks) == 1
