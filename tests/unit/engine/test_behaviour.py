"""What the scheduler decides, one idea a row: quotas, gangs, reclaim, preemption, consolidation."""

from dataclasses import dataclass, field

import pytest

from runai_core.engine.cycle import run_cycle
from runai_core.model.organization import Queue, QueueResources, ResourceQuota
from runai_core.model.snapshot import (
    CycleSettings,
    NodeEntry,
    PodEntry,
    PodGroup,
    PodRequest,
    PodState,
    Preemptibility,
    Snapshot,
)

NOW = 1000.0


@dataclass
class Gang:
    """Pods of one group: `running` on nodes, then `waiting` ones; all ask for `gpus` devices, or a portion."""

    queue: str = "qa"
    gpus: float = 1
    running: tuple[str, ...] = ()
    releasing: tuple[str, ...] = ()
    waiting: int = 0
    min: int = 1
    priority: int = 50
    fixed: bool = False  # non-preemptible
    age: float = 0.0
    started: float | None = None


@dataclass
class Case:
    """Nodes by GPUs, queues by (deserved, parent, limit), gangs by name, and what must come out."""

    nodes: dict[str, int]
    gangs: dict[str, Gang]
    queues: dict[str, tuple[float | None, str | None, float | None]] = field(
        default_factory=lambda: {"qa": (2, None, None), "qb": (2, None, None)}
    )
    bound: dict[str, int] = field(default_factory=dict)
    promised: dict[str, int] = field(default_factory=dict)
    evicted: dict[str, int] = field(default_factory=dict)
    where: dict[str, str] = field(default_factory=dict)
    settings: CycleSettings = field(default_factory=CycleSettings)


def snapshot_of(case: Case) -> Snapshot:
    groups, pods = [], []
    for name, gang in case.gangs.items():
        groups.append(
            PodGroup(
                name=name,
                queue=gang.queue,
                priority=gang.priority,
                preemptibility=Preemptibility.NON_PREEMPTIBLE if gang.fixed else Preemptibility.PREEMPTIBLE,
                min_members=gang.min,
                created_at=NOW - gang.age,
                last_start=gang.started,
            )
        )
        whole = gang.gpus == int(gang.gpus)
        request = PodRequest(
            cpu=100,
            memory=100,
            gpu_devices=int(gang.gpus) if whole else 0,
            gpu_portion=0 if whole else int(gang.gpus * 1000),
        )
        places: list[tuple[PodState, str | None]] = [(PodState.RUNNING, node) for node in gang.running]
        places += [(PodState.RELEASING, node) for node in gang.releasing]
        places += [(PodState.PENDING, None)] * gang.waiting
        for number, (state, place) in enumerate(places):
            node, _, device = (place or "").partition("/")
            pods.append(
                PodEntry(
                    name=f"{name}-{number}",
                    pod_group=name,
                    request=request,
                    state=state,
                    node=node or None,
                    gpu_groups=(device,) if device else (),
                )
            )
    queues = [
        Queue(
            name=name,
            parent=parent,
            created_at=float(number),
            resources=QueueResources(
                gpu=ResourceQuota(
                    deserved=None if deserved is None else int(deserved * 1000),
                    limit=None if limit is None else int(limit * 1000),
                )
            ),
        )
        for number, (name, (deserved, parent, limit)) in enumerate(case.queues.items())
    ]
    nodes = [NodeEntry(name=name, cpu=10**6, memory=10**12, gpus=gpus) for name, gpus in case.nodes.items()]
    return Snapshot(
        taken_at=NOW,
        nodes=tuple(nodes),
        queues=tuple(queues),
        pod_groups=tuple(groups),
        pods=tuple(pods),
        settings=case.settings,
    )


def counts(names: list[str]) -> dict[str, int]:
    return {name: names.count(name) for name in sorted(set(names))}


ALLOCATE_ONLY = CycleSettings(actions=("allocate",))
FULL_A = {"old": Gang(running=("n0",), age=4), "young": Gang(running=("n0",), age=1)}
TREE: dict[str, tuple[float | None, str | None, float | None]] = {
    "d1": (4, None, None),
    "d2": (4, None, None),
    "p1": (1, "d1", None),
    "p2": (3, "d1", None),
    "p3": (4, "d2", None),
}

CASES = {
    "an elastic group takes what there is": Case({"n0": 2}, {"g": Gang(waiting=4)}, bound={"g": 2}),
    "a gang that does not fit starts no pod": Case({"n0": 3}, {"g": Gang(waiting=4, min=4)}),
    "a gang below its minimum comes before growth": Case(
        {"n0": 3},
        {"elastic": Gang(running=("n0",), waiting=2, age=9), "gang": Gang(waiting=2, min=2, age=1)},
        bound={"gang": 2},
    ),
    "unless growth has the higher priority": Case(
        {"n0": 3},
        {"elastic": Gang(running=("n0",), waiting=2, age=9, priority=60), "gang": Gang(waiting=2, min=2, age=1)},
        bound={"elastic": 2},
    ),
    "a gang that needs room which others are leaving is promised whole": Case(
        {"n0": 2}, {"leaving": Gang(releasing=("n0",)), "g": Gang(waiting=2, min=2)}, promised={"g": 2}
    ),
    "an elastic group binds what fits and is promised the rest": Case(
        {"n0": 2}, {"leaving": Gang(releasing=("n0",)), "g": Gang(waiting=2)}, bound={"g": 1}, promised={"g": 1}
    ),
    "the fullest node that fits is taken": Case(
        {"n0": 8, "n1": 8, "n2": 8},
        {"a": Gang(gpus=4, running=("n1",)), "b": Gang(gpus=7, running=("n2",)), "g": Gang(gpus=2, waiting=1)},
        queues={"qa": (24, None, None)},
        bound={"g": 1},
        where={"g-0": "n1"},
    ),
    "non-preemptible work stays within quota, preemptible need not": Case(
        {"n0": 4},
        {"fixed": Gang(gpus=2, waiting=1, fixed=True, age=9), "free": Gang(gpus=2, waiting=1)},
        queues={"qa": (1, None, None)},
        bound={"free": 1},
    ),
    "a limit holds even in an idle cluster": Case(
        {"n0": 4},
        {"a": Gang(waiting=1, age=3), "b": Gang(waiting=1, age=2), "c": Gang(waiting=1, age=1)},
        queues={"qa": (0, None, 2)},
        bound={"a": 1, "b": 1},
    ),
    "a fraction joins a shared device before it opens one": Case(
        {"n0": 2, "n1": 2},
        {"half": Gang(gpus=0.5, running=("n0/x",)), "whole": Gang(running=("n1",)), "g": Gang(gpus=0.5, waiting=1)},
        bound={"g": 1},
        where={"g-0": "n0"},
    ),
    "the queue below its quota is served first": Case(
        {"n0": 4},
        {
            "mine": Gang(running=("n0", "n0")),
            "theirs": Gang(queue="qb", running=("n0",)),
            "a": Gang(waiting=1, priority=90),
            "b": Gang(queue="qb", waiting=1),
        },
        queues={"qa": (1, None, None), "qb": (2, None, None)},
        bound={"b": 1},
        settings=ALLOCATE_ONLY,
    ),
    "reclaim shrinks an elastic group before it breaks a gang": Case(
        {"n0": 6},
        {
            "elastic": Gang(running=("n0",) * 3, age=9),
            "gang": Gang(running=("n0",) * 3, min=3, age=1),
            "b": Gang(queue="qb", waiting=2, min=2),
        },
        promised={"b": 2},
        evicted={"elastic": 2},
    ),
    "reclaim takes the lowest priority, then the youngest": Case(
        {"n0": 4},
        {
            "old": Gang(running=("n0",), age=9),
            "young": Gang(running=("n0",), age=1),
            "high": Gang(running=("n0",), priority=60),
            "higher": Gang(running=("n0",), priority=60),
            "b": Gang(queue="qb", waiting=1),
        },
        promised={"b": 1},
        evicted={"young": 1},
    ),
    "non-preemptible work is not reclaimed": Case(
        {"n0": 4}, {"a": Gang(running=("n0",) * 4, fixed=True), "b": Gang(queue="qb", waiting=1)}
    ),
    "non-preemptible work within quota reclaims": Case(
        {"n0": 4},
        {"a": Gang(running=("n0",) * 4), "b": Gang(queue="qb", gpus=2, waiting=1, fixed=True)},
        promised={"b": 1},
        evicted={"a": 2},
    ),
    "a gang gives way whole": Case(
        {"n0": 4},
        {"a": Gang(running=("n0",) * 4, min=4), "b": Gang(queue="qb", waiting=1)},
        promised={"b": 1},
        evicted={"a": 4},
    ),
    "nobody reclaims above its fair share": Case(
        {"n0": 10},
        {"a": Gang(running=("n0",) * 10), "b": Gang(queue="qb", waiting=6, min=6)},
    ),
    "a gang as large as the fair share reclaims it": Case(
        {"n0": 10},
        {"a": Gang(running=("n0",) * 10), "b": Gang(queue="qb", waiting=5, min=5)},
        promised={"b": 5},
        evicted={"a": 5},
    ),
    "departments settle before projects": Case(
        {"n0": 8},
        {
            "one": Gang(queue="p1", running=("n0",) * 4),
            "three": Gang(queue="p3", running=("n0",) * 4, min=4),
            "more": Gang(queue="p3", waiting=1),
        },
        queues=TREE,
    ),
    "a project takes back from its own department, whoever shares the node": Case(
        {"n0": 8},
        {
            "one": Gang(queue="p1", running=("n0",) * 4),
            "three": Gang(queue="p3", running=("n0",) * 4),
            "two": Gang(queue="p2", waiting=1),
        },
        queues={"d2": (4, None, None), **TREE},
        promised={"two": 1},
        evicted={"one": 1},
    ),
    "a young run is protected from reclaim": Case(
        {"n0": 2},
        {
            "a": Gang(running=("n0",), started=NOW - 10),
            "c": Gang(running=("n0",), started=NOW - 10),
            "b": Gang(queue="qb", waiting=1),
        },
        queues={"qa": (0, None, None), "qb": (1, None, None)},
        settings=CycleSettings(reclaim_min_runtime=60.0),
    ),
    "a higher priority preempts the youngest of the lower": Case(
        {"n0": 2}, {**FULL_A, "g": Gang(waiting=1, priority=60)}, promised={"g": 1}, evicted={"young": 1}
    ),
    "an equal priority does not": Case({"n0": 2}, {**FULL_A, "g": Gang(waiting=1)}),
    "preemption does not lift the quota of non-preemptible work": Case(
        {"n0": 2},
        {**FULL_A, "g": Gang(gpus=2, waiting=1, priority=100, fixed=True)},
        queues={"qa": (1, None, None)},
    ),
    "preemption starts work in a queue at its limit": Case(
        {"n0": 4},
        {**FULL_A, "g": Gang(waiting=1, priority=60)},
        queues={"qa": (2, None, 2)},
        promised={"g": 1},
        evicted={"young": 1},
    ),
    "scattered work is moved together": Case(
        {"n0": 2, "n1": 2},
        {"a": Gang(running=("n0",), age=2), "b": Gang(running=("n1",), age=1), "g": Gang(gpus=2, waiting=1)},
        queues={"qa": (4, None, None)},
        promised={"g": 1, "b": 1},
        evicted={"b": 1},
    ),
    "work that finds no other place is not moved": Case(
        {"n0": 3, "n1": 3},
        {"a": Gang(gpus=2, running=("n0",)), "b": Gang(gpus=2, running=("n1",)), "g": Gang(gpus=2, waiting=1)},
        queues={"qa": (6, None, None)},
    ),
    "non-preemptible work is not moved": Case(
        {"n0": 2, "n1": 2},
        {"a": Gang(running=("n0",), fixed=True), "b": Gang(running=("n1",), fixed=True), "g": Gang(gpus=2, waiting=1)},
        queues={"qa": (4, None, None)},
    ),
    "spreading turns moving off": Case(
        {"n0": 2, "n1": 2},
        {"a": Gang(running=("n0",)), "b": Gang(running=("n1",)), "g": Gang(gpus=2, waiting=1)},
        queues={"qa": (4, None, None)},
        settings=CycleSettings(gpu_placement="spread"),
    ),
    "an action tries as many groups of a queue as its depth": Case(
        {"n0": 4},
        {"a": Gang(waiting=1, age=3), "b": Gang(waiting=1, age=2), "c": Gang(waiting=1, age=1)},
        bound={"a": 1, "b": 1},
        settings=CycleSettings(actions=("allocate",), queue_depth={"allocate": 2}),
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_decisions(case: Case) -> None:
    result = run_cycle(snapshot_of(case))
    assert counts([bind.pod_group for bind in result.binds]) == case.bound
    assert counts([promise.pod_group for promise in result.pipelines]) == case.promised
    assert counts([eviction.pod_group for eviction in result.evictions]) == case.evicted
    places = {bind.pod: bind.node for bind in result.binds} | {item.pod: item.node for item in result.pipelines}
    assert {pod: places[pod] for pod in case.where} == case.where
