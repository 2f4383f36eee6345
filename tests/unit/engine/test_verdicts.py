"""Why a group waits: the reason, a sentence that a stranger understands, and changes that help."""

from dataclasses import replace

import pytest

from runai_core.engine.cycle import run_cycle
from runai_core.engine.explain import explain
from runai_core.model.decision import Reason
from runai_core.model.errors import NotFound
from runai_core.model.organization import Queue, QueueResources, ResourceQuota
from runai_core.model.snapshot import (
    CycleSettings,
    NodeEntry,
    PodConstraints,
    PodEntry,
    PodGroup,
    PodRequest,
    PodState,
    Preemptibility,
    Snapshot,
    Topology,
    TopologyConstraint,
)

NODES = tuple(
    NodeEntry(name=f"n{number}", cpu=8000, memory=2**36, gpus=4, labels={"rack": f"r{number}"}) for number in range(2)
)
OPEN = QueueResources(gpu=ResourceQuota(deserved=None))


def world(
    *,
    count: int = 1,
    gpus: int = 1,
    queue: QueueResources = OPEN,
    group: dict[str, object] | None = None,
    held: tuple[tuple[str, int], ...] = (),
    constraints: PodConstraints | None = None,
    **more: object,
) -> Snapshot:
    """Return two nodes of four GPUs, one queue, what is held, and the group `g` that waits."""
    running = [PodGroup(name=f"r{n}", queue="q", priority=60, created_at=0.0) for n in range(len(held))]
    pods = [
        PodEntry(
            name=f"r{n}-0",
            pod_group=f"r{n}",
            request=PodRequest(cpu=1, memory=1, gpu_devices=amount),
            state=PodState.RUNNING,
            node=node,
        )
        for n, (node, amount) in enumerate(held)
    ]
    pods += [
        PodEntry(
            name=f"g-{n}",
            pod_group="g",
            request=PodRequest(cpu=1000, memory=1, gpu_devices=gpus),
            constraints=constraints or PodConstraints(),
        )
        for n in range(count)
    ]
    made = PodGroup(name="g", queue="q", min_members=count, created_at=1.0)
    made = replace(made, **(group or {}))  # type: ignore[arg-type]
    return Snapshot(
        taken_at=9.0,
        nodes=NODES,
        queues=(Queue(name="q", resources=queue),),
        pod_groups=(*running, made),
        pods=tuple(pods),
        topologies=(Topology(name="racks", levels=("rack",)),),
        **more,  # type: ignore[arg-type]
    )


FULL = (("n0", 4), ("n1", 4))
CASES = {
    "a queue that is not there": (
        world(group={"queue": "nowhere"}),
        Reason.QUEUE_DOES_NOT_EXIST,
        "Queue nowhere does not exist",
        set(),
    ),
    "more GPUs than the whole pool": (
        world(count=3, gpus=4),
        Reason.NEVER_FITS,
        "node pool default has 8 GPUs in all",
        {"fewer_pods"},
    ),
    "a pod larger than any node": (
        world(gpus=5),
        Reason.NEVER_FITS,
        "asks for 5 GPUs; the largest node that it may use, n0, has 4 GPUs",
        {"fewer_gpus"},
    ),
    "a queue at its limit": (
        world(gpus=2, queue=QueueResources(gpu=ResourceQuota(deserved=None, limit=1000))),
        Reason.OVER_LIMIT,
        "Queue q has a limit of 1 GPU and uses 0 GPUs; this needs 2 GPUs more",
        {"raise_limit"},
    ),
    "non-preemptible work above quota": (
        world(queue=QueueResources(), group={"preemptibility": Preemptibility.NON_PREEMPTIBLE}),
        Reason.NON_PREEMPTIBLE_OVER_QUOTA,
        "queue q deserves 0 GPUs",
        {"raise_quota", "preemptible"},
    ),
    "a selector that no node meets": (
        world(constraints=PodConstraints(node_selector=(("disk", "ssd"),))),
        Reason.POD_SCHEDULING_ERRORS,
        "2 by the node selector disk=ssd",
        set(),
    ),
    "a full cluster": (
        world(held=FULL),
        Reason.WAITING_FOR_QUOTA,
        "no node has that free now",
        {"higher_priority", "wait_for", "add_nodes"},
    ),
    "room, but not in one domain": (
        world(
            count=4,
            held=(("n0", 2), ("n1", 2)),
            group={"topology": TopologyConstraint(topology="racks", required_level="rack")},
            settings=CycleSettings(actions=("allocate",)),
        ),
        Reason.TOPOLOGY_PLACEMENT_FAILED,
        "not in one topology domain",
        set(),
    ),
    "a topology that is not there": (
        world(group={"topology": TopologyConstraint(topology="rings", required_level="rack")}),
        Reason.TOPOLOGY_PLACEMENT_FAILED,
        "Topology rings",
        set(),
    ),
    "pods that are not there yet": (
        world(count=2, group={"min_members": 3}),
        Reason.NOT_READY,
        "Only 2 of the 3 pods",
        set(),
    ),
}


@pytest.mark.parametrize(("snapshot", "reason", "words", "helps"), CASES.values(), ids=CASES)
def test_reasons(snapshot: Snapshot, reason: Reason, words: str, helps: set[str]) -> None:
    verdicts = {verdict.pod_group: verdict for verdict in run_cycle(snapshot).verdicts}
    verdict = verdicts["g"]
    assert verdict.reason is reason
    assert words in verdict.message
    assert verdict.message.endswith(".")
    explained = explain(snapshot, "g")
    assert explained is not None
    assert helps <= {suggestion.kind for suggestion in explained.suggestions}


def test_nodes_are_counted_by_the_first_filter_that_refuses_them() -> None:
    snapshot = world(gpus=2, held=(("n0", 3),))
    cordoned = replace(snapshot, nodes=(NODES[0], replace(NODES[1], unschedulable=True)))
    verdict = run_cycle(cordoned).verdicts[0]
    assert verdict.nodes_refused == {"the node is cordoned": 1, "not enough GPUs": 1}
    assert verdict.nearest_miss == "node n0 has 1 of 4 GPUs free"


def test_a_promise_is_a_verdict_too() -> None:
    snapshot = world(held=(("n0", 4), ("n1", 4)), group={"priority": 90})
    verdict = {item.pod_group: item for item in run_cycle(snapshot).verdicts}["g"]
    assert verdict.promised
    assert verdict.reason is Reason.WAITING_FOR_RELEASE


def test_gates_are_named() -> None:
    snapshot = world(count=1)
    gated = tuple(replace(pod, state=PodState.GATED) for pod in snapshot.pods)
    assert [item.reason for item in run_cycle(replace(snapshot, pods=gated)).verdicts] == [Reason.GATED]


def test_equal_groups_share_a_verdict_but_not_a_name() -> None:
    snapshot = world(held=FULL)
    group, pod = snapshot.pod_groups[-1], snapshot.pods[-1]
    twin = replace(
        snapshot,
        pod_groups=(*snapshot.pod_groups, replace(group, name="h")),
        pods=(*snapshot.pods, replace(pod, name="h-0", pod_group="h")),
    )
    found = {item.pod_group: item for item in run_cycle(twin).verdicts}
    assert found["g"].message == found["h"].message


def test_a_group_that_starts_needs_no_explanation() -> None:
    assert explain(world(), "g") is None


def test_an_unknown_group_is_an_error() -> None:
    with pytest.raises(NotFound, match="no pod group stranger"):
        explain(world(), "stranger")


def test_an_eviction_names_winner_rule_and_shares() -> None:
    queues = (
        Queue(name="qa", resources=QueueResources(gpu=ResourceQuota(deserved=1000))),
        Queue(name="qb", resources=QueueResources(gpu=ResourceQuota(deserved=3000))),
    )
    held = tuple(PodGroup(name=f"a{n}", queue="qa") for n in range(4))
    snapshot = Snapshot(
        taken_at=9.0,
        nodes=(NODES[0],),
        queues=queues,
        pod_groups=(*held, PodGroup(name="b", queue="qb", workload="team/train")),
        pods=(
            *(
                PodEntry(
                    name=f"a{n}-0",
                    pod_group=f"a{n}",
                    request=PodRequest(gpu_devices=1),
                    state=PodState.RUNNING,
                    node="n0",
                )
                for n in range(4)
            ),
            PodEntry(name="b-0", pod_group="b", request=PodRequest(gpu_devices=1)),
        ),
    )
    (eviction,) = run_cycle(snapshot).evictions
    assert eviction.for_group == "b"
    assert eviction.message == (
        "Reclaimed for team/train: queue qa held 4 GPUs with a fair share of 3 GPUs (deserved: 1 GPU) "
        "and gives back what it borrowed, because queue qb held 0 GPUs with a fair share of 1 GPU "
        "(deserved: 3 GPUs) and is entitled to it."
    )
    gpu = {share.queue: share.allocated for share in eviction.shares if share.resource == "gpu"}
    assert gpu == {"qa": 4000, "qb": 0}
