"""Gangs in a node pool with a network topology are kept near, where that keeps nobody off a node."""

from dataclasses import replace

import pytest

from runai_core.engine.cycle import run_cycle
from runai_core.engine.rules import RuleSet
from runai_core.lifecycle.constraints import kept_near
from runai_core.model.organization import Queue, QueueResources, ResourceQuota
from runai_core.model.snapshot import (
    NodeEntry,
    PodEntry,
    PodGroup,
    PodRequest,
    Snapshot,
    SubGroup,
    Topology,
    TopologyConstraint,
)

RACKS = Topology(name="racks", levels=("zone", "rack"))
NEAR = TopologyConstraint(topology="racks", preferred_level="rack")


def node(name: str, **labels: str) -> NodeEntry:
    return NodeEntry(name=name, cpu=8000, memory=2**34, gpus=2, labels=labels)


def a_snapshot(*groups: PodGroup) -> Snapshot:
    """Two racks of two nodes; their names alternate, so that filling nodes by name crosses racks."""
    nodes = tuple(node(f"n{index}", zone="z", rack=f"r{index % 2}") for index in range(4))
    return Snapshot(taken_at=0.0, nodes=nodes, topologies=(RACKS,), pod_groups=groups)


GANG = PodGroup(name="gang", queue="q", min_members=2)

SILENT = [
    ("a gang", GANG, NEAR),
    ("a gang of parts", replace(GANG, min_members=1, sub_groups=(SubGroup(name="a"), SubGroup(name="b"))), NEAR),
    ("a single pod", replace(GANG, min_members=1), None),
    ("a gang that says something itself", replace(GANG, topology=replace(NEAR, preferred_level="zone")),
     replace(NEAR, preferred_level="zone")),
    ("a gang of which a part says something", replace(GANG, sub_groups=(SubGroup(name="a", topology=NEAR),)), None),
]  # fmt: skip


@pytest.mark.parametrize(("group", "wanted"), [row[1:] for row in SILENT], ids=[row[0] for row in SILENT])
def test_what_says_nothing_itself_prefers_the_nearest_level(group: PodGroup, wanted: TopologyConstraint | None) -> None:
    (found,) = kept_near(a_snapshot(group), "racks").pod_groups

    assert found.topology == wanted


def test_nothing_is_preferred_where_a_node_lacks_a_label_or_the_topology_is_gone() -> None:
    whole = a_snapshot(GANG)
    partly = replace(whole, nodes=(*whole.nodes, node("n4", zone="z")))

    assert kept_near(partly, "racks") == partly
    assert kept_near(whole, "rows") == whole


def test_the_engine_places_such_a_gang_in_one_rack() -> None:
    quota = QueueResources(gpu=ResourceQuota(deserved=8000))
    pods = tuple(PodEntry(name=f"p{index}", pod_group="gang", request=PodRequest(gpu_devices=2)) for index in range(2))
    snapshot = replace(a_snapshot(GANG), queues=(Queue(name="d", resources=quota),
                       Queue(name="q", parent="d", resources=quota)), pods=pods)  # fmt: skip
    racks = {item.name: item.labels["rack"] for item in snapshot.nodes}

    binds = run_cycle(kept_near(snapshot, "racks"), RuleSet()).binds

    assert len(binds) == 2
    assert len({racks[bind.node] for bind in binds}) == 1
