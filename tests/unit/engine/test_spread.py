"""Pods spread over zones, and nodes that a pod would rather have."""

from collections import Counter
from dataclasses import replace

import pytest

from runai_core.engine.cycle import run_cycle
from runai_core.model.decision import CycleResult
from runai_core.model.organization import Queue
from runai_core.model.snapshot import (
    CycleSettings,
    LabelRequirement,
    NodeEntry,
    PodConstraints,
    PodEntry,
    PodGroup,
    PodRequest,
    PodState,
    Snapshot,
    SpreadConstraint,
)

WEB = (LabelRequirement("app", "In", ("web",)),)
EVEN = SpreadConstraint(selector=WEB, topology_key="zone")


def a_node(name: str, zone: str, gpus: int = 8, **labels: str) -> NodeEntry:
    return NodeEntry(name=name, cpu=10**6, memory=10**15, gpus=gpus, labels={"zone": zone, **labels})


def a_pod(name: str, group: str = "g", node: str | None = None, **constraints: object) -> PodEntry:
    return PodEntry(
        name=name,
        pod_group=group,
        request=PodRequest(cpu=1, memory=1, gpu_devices=1),
        state=PodState.PENDING if node is None else PodState.RUNNING,
        node=node,
        labels=(("app", "web"),),
        constraints=PodConstraints(**constraints),  # type: ignore[arg-type]
    )


def cycle(nodes: list[NodeEntry], pods: list[PodEntry], minimum: int = 1) -> CycleResult:
    groups = {pod.pod_group for pod in pods if pod.pod_group}
    snapshot = Snapshot(
        taken_at=1000.0,
        settings=CycleSettings(),
        nodes=tuple(nodes),
        queues=(Queue(name="q"),),
        pod_groups=tuple(PodGroup(name=name, queue="q", min_members=minimum) for name in sorted(groups)),
        pods=tuple(pods),
    )
    return run_cycle(snapshot)


def zones(result: CycleResult, nodes: list[NodeEntry]) -> Counter[str]:
    zone = {node.name: node.labels["zone"] for node in nodes}
    return Counter(zone[bind.node] for bind in result.binds)


NODES = [a_node("a1", "a"), a_node("b1", "b"), a_node("c1", "c")]


def test_a_gang_is_spread_over_all_zones() -> None:
    result = cycle(NODES, [a_pod(f"p{number}", spread=(EVEN,)) for number in range(6)], minimum=6)

    assert zones(result, NODES) == {"a": 2, "b": 2, "c": 2}


def test_without_the_constraint_it_is_packed() -> None:
    result = cycle(NODES, [a_pod(f"p{number}") for number in range(6)], minimum=6)

    assert len(zones(result, NODES)) == 1


def test_pods_that_run_already_count() -> None:
    there = [a_pod(f"r{number}", "", "a1") for number in range(2)]
    result = cycle(NODES, [*there, *(a_pod(f"p{number}", spread=(EVEN,)) for number in range(3))], minimum=3)

    assert zones(result, NODES)["a"] == 0


SKEWS = [
    pytest.param(1, 2, id="at most one more"),
    pytest.param(2, 3, id="at most two more"),
    pytest.param(5, 6, id="at most five more"),
]


@pytest.mark.parametrize(("skew", "placed"), SKEWS)
def test_a_full_zone_holds_the_others_back(skew: int, placed: int) -> None:
    """Zone b has room for one pod: zone a may have so many more."""
    nodes = [a_node("a1", "a"), a_node("b1", "b", gpus=1)]
    wanted = replace(EVEN, max_skew=skew)
    result = cycle(nodes, [a_pod(f"p{number}", spread=(wanted,)) for number in range(8)])

    assert zones(result, nodes) == {"a": placed, "b": 1}


def test_a_pod_that_fits_nowhere_is_told_why() -> None:
    nodes = [a_node("a1", "a"), a_node("b1", "b", gpus=1)]
    there = [a_pod("r0", "", "a1"), a_pod("r1", "", "b1"), a_pod("r2", "", "a1")]
    result = cycle(nodes, [*there, a_pod("p0", spread=(EVEN,))])

    (verdict,) = result.verdicts
    assert verdict.nodes_refused["the topology spread constraint"] == 1


def test_a_zone_that_the_pod_may_not_use_does_not_count() -> None:
    nodes = [*NODES, replace(a_node("d1", "d"), unschedulable=True)]
    result = cycle(nodes, [a_pod(f"p{number}", spread=(EVEN,)) for number in range(6)], minimum=6)

    assert zones(result, nodes) == {"a": 2, "b": 2, "c": 2}


def test_fewer_zones_than_asked_for_hold_one_pod_each() -> None:
    wanted = replace(EVEN, min_domains=4)
    result = cycle(NODES, [a_pod(f"p{number}", spread=(wanted,)) for number in range(6)])

    assert zones(result, NODES) == {"a": 1, "b": 1, "c": 1}


def test_a_node_without_the_label_is_not_used() -> None:
    nodes = [a_node("a1", "a", gpus=1), NodeEntry(name="x", cpu=10**6, memory=10**15, gpus=8)]
    result = cycle(nodes, [a_pod("p0", spread=(EVEN,)), a_pod("p1", spread=(EVEN,))])

    assert [bind.node for bind in result.binds] == ["a1"]


def test_where_it_is_only_preferred_a_full_zone_holds_nobody_back() -> None:
    nodes = [a_node("a1", "a"), a_node("b1", "b", gpus=1)]
    wanted = replace(EVEN, required=False)
    result = cycle(nodes, [a_pod(f"p{number}", spread=(wanted,)) for number in range(6)], minimum=6)

    assert zones(result, nodes) == {"a": 5, "b": 1}


def test_the_node_with_the_heavier_preference_is_taken() -> None:
    nodes = [a_node("a1", "a", disk="slow"), a_node("b1", "b", disk="fast"), a_node("c1", "c", disk="ssd")]
    fast, ssd = ((LabelRequirement("disk", "In", (word,)),) for word in ("fast", "ssd"))
    result = cycle(nodes, [a_pod("p0", node_preferences=((10, fast), (60, ssd)))])

    assert [bind.node for bind in result.binds] == ["c1"]


def test_a_preference_that_no_node_with_room_meets_keeps_nobody_away() -> None:
    nodes = [a_node("a1", "a"), a_node("b1", "b", gpus=0, disk="fast")]
    fast = (LabelRequirement("disk", "In", ("fast",)),)
    result = cycle(nodes, [a_pod("p0", node_preferences=((100, fast),))])

    assert [bind.node for bind in result.binds] == ["a1"]
