"""Random clusters and what happens to them between two cycles, for property tests."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from runai_core.model.decision import CycleResult
from runai_core.model.organization import Queue, QueueResources, ResourceQuota
from runai_core.model.resources import MILLI
from runai_core.model.snapshot import (
    CycleSettings,
    NodeEntry,
    PodEntry,
    PodGroup,
    PodRequest,
    PodState,
    Preemptibility,
    Snapshot,
    SubGroup,
    Topology,
    TopologyConstraint,
)

START = 1_000_000.0
GIB = 1024**3
PLENTY = 1_000_000
FORMS = ("whole", "fraction", "memory", "cpu")


def random_world(random: Random, *, forms: Sequence[str] = FORMS, plain: bool = False) -> Snapshot:
    """Return a small cluster with queues of two levels and waiting gangs.

    With `plain` there are no limits, no topology, no sub-groups and no priorities.
    """
    nodes = tuple(_node(random, number) for number in range(random.randint(1, 5)))
    queues = _queues(random, plain=plain)
    leaves = [queue.name for queue in queues if queue.parent is not None]
    groups: list[PodGroup] = []
    pods: list[PodEntry] = []
    for number in range(random.randint(1, 10)):
        group, members = _gang(random, number, leaves, forms, plain=plain)
        groups.append(group)
        pods += members
    return Snapshot(
        taken_at=START,
        nodes=nodes,
        queues=queues,
        pod_groups=tuple(groups),
        pods=tuple(pods),
        topologies=(Topology(name="racks", levels=("zone", "rack")),),
        settings=CycleSettings(
            gpu_placement=random.choice(("binpack", "binpack", "spread")),
            preempt_min_runtime=random.choice((0.0, 0.0, 120.0)),
            reclaim_min_runtime=random.choice((0.0, 0.0, 120.0)),
        ),
    )


def _node(random: Random, number: int) -> NodeEntry:
    return NodeEntry(
        name=f"n{number}",
        cpu=random.choice((4000, 8000, PLENTY)),
        memory=64 * GIB,
        gpus=random.choice((0, 1, 2, 4, 8)),
        gpu_memory_mib=random.choice((0, 10_000, 40_000)),
        labels={"zone": f"z{number // 3}", "rack": f"r{number // 2}"},
    )


def _queues(random: Random, *, plain: bool) -> tuple[Queue, ...]:
    found = []
    for number in range(random.randint(1, 2)):
        name = f"d{number}"
        found.append(Queue(name=name, resources=_quota(random, plain=plain, most=8), created_at=float(number)))
        found += [
            Queue(
                name=f"{name}-p{inner}",
                parent=name,
                resources=_quota(random, plain=plain, most=4),
                created_at=float(inner),
            )
            for inner in range(random.randint(1, 3))
        ]
    return tuple(found)


def _quota(random: Random, *, plain: bool, most: int) -> QueueResources:
    deserved = random.randint(0, most) * MILLI
    limit = None if plain or random.random() < 0.7 else max(deserved, random.randint(1, most) * MILLI)
    weight = random.choice((0.0, 1.0, 1.0, 2.0))
    return QueueResources(
        gpu=ResourceQuota(deserved=deserved, limit=limit, over_quota_weight=1.0 if plain else weight),
        priority=100 if plain else random.choice((100, 100, 200)),
    )


def _gang(
    random: Random, number: int, leaves: Sequence[str], forms: Sequence[str], *, plain: bool
) -> tuple[PodGroup, list[PodEntry]]:
    count = random.choice((1, 1, 1, 2, 3, 4))
    minimum = count if random.random() < 0.7 else random.randint(1, count)
    name = f"g{number}"
    parts: tuple[SubGroup, ...] = ()
    topology = None
    if not plain and count > 1 and random.random() < 0.2:
        parts = (SubGroup(name="a", min_members=1), SubGroup(name="b", min_members=count - 1))
    if not plain and random.random() < 0.2:
        level = random.choice(("zone", "rack"))
        required = random.random() < 0.6
        topology = TopologyConstraint(
            topology="racks", required_level=level if required else None, preferred_level=None if required else level
        )
    group = PodGroup(
        name=name,
        queue=random.choice(leaves),
        priority=50 if plain else random.choice((50, 50, 75, 100)),
        preemptibility=Preemptibility.PREEMPTIBLE if random.random() < 0.75 else Preemptibility.NON_PREEMPTIBLE,
        min_members=minimum,
        sub_groups=parts,
        topology=topology,
        created_at=START - random.randint(0, 50),
    )
    request = _request(random, random.choice(forms))
    return group, [
        PodEntry(
            name=f"{name}-{member}", pod_group=name, request=request, sub_group="" if not parts else "ab"[member > 0]
        )
        for member in range(count)
    ]


def _request(random: Random, form: str) -> PodRequest:
    cpu = random.choice((100, 1000, 3000))
    if form == "fraction":
        return PodRequest(cpu=cpu, memory=GIB, gpu_portion=random.choice((100, 250, 500, 700)))
    if form == "memory":
        return PodRequest(cpu=cpu, memory=GIB, gpu_memory_mib=random.choice((1000, 5000, 10_000)))
    if form == "cpu":
        return PodRequest(cpu=cpu, memory=GIB)
    return PodRequest(cpu=cpu, memory=GIB, gpu_devices=random.choice((1, 1, 2, 4)))


def carry_out(snapshot: Snapshot, result: CycleResult, *, seconds: float = 1.0) -> Snapshot:
    """Return the next moment: what was bound runs, what was evicted is gone and waits again, promises are forgotten."""
    binds = {bind.pod: bind for bind in result.binds}
    evicted = {eviction.pod for eviction in result.evictions}
    pods = []
    for pod in snapshot.pods:
        if pod.name in binds:
            bind = binds[pod.name]
            pods.append(replace(pod, state=PodState.RUNNING, node=bind.node, gpu_groups=bind.gpu_groups))
        elif pod.name in evicted:
            pods.append(replace(pod, state=PodState.PENDING, node=None, gpu_groups=()))
        else:
            pods.append(pod)
    ran = {pod.pod_group for pod in snapshot.pods if pod.state is PodState.RUNNING}
    runs = {pod.pod_group for pod in pods if pod.state is PodState.RUNNING}
    stale = set(result.stale_groups)
    groups = tuple(
        replace(
            group,
            last_start=snapshot.taken_at if group.name in runs - ran else group.last_start,
            stale_since=(group.stale_since or snapshot.taken_at) if group.name in stale else None,
        )
        for group in snapshot.pod_groups
    )
    return replace(snapshot, pods=tuple(pods), pod_groups=groups, taken_at=snapshot.taken_at + seconds)


def disturb(snapshot: Snapshot, random: Random) -> Snapshot:
    """Return the cluster after something happened: a pod finished or was lost, a node left, or a node came back."""
    kind = random.choice(("finish", "lose", "cordon", "nothing"))
    running = [pod for pod in snapshot.pods if pod.state is PodState.RUNNING]
    if kind in ("finish", "lose") and running:
        chosen = random.choice(running)
        after = replace(chosen, state=PodState.PENDING if kind == "lose" else PodState.FAILED, node=None, gpu_groups=())
        return replace(snapshot, pods=tuple(after if pod is chosen else pod for pod in snapshot.pods))
    if kind == "cordon":
        chosen_node = random.choice(snapshot.nodes)
        changed = replace(chosen_node, unschedulable=not chosen_node.unschedulable)
        return replace(snapshot, nodes=tuple(changed if node is chosen_node else node for node in snapshot.nodes))
    return snapshot


__all__ = ["carry_out", "disturb", "random_world"]
