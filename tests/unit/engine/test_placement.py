"""The fast placement against a slow, obvious one: every node looked at for every pod."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runai_core.engine import gpu
from runai_core.engine.cycle import run_cycle
from runai_core.engine.entities import GPU, PROMISED
from runai_core.engine.gang import place_job
from runai_core.engine.ordering import refresh
from runai_core.engine.rules import DEFAULT_RULES, RuleSet, Score
from runai_core.engine.session import Session
from runai_core.model.organization import Queue
from runai_core.model.snapshot import CycleSettings, NodeEntry, PodEntry, PodGroup, PodRequest, PodState, Snapshot
from runai_core.testing.worlds import GIB, random_world

seeds = st.integers(0, 10**9)
NOTHING = RuleSet(scores=(Score("nothing", lambda pod, node: 0.0),))
"""A plug-in score makes the engine score every node with the full sum of its rules."""


@given(seeds)
def test_the_fast_choice_is_the_best_score(seed: int) -> None:
    """Bucketed search and the node-by-node sum agree on the node of every pod."""
    random = Random(seed)
    snapshot = random_world(random, plain=True)
    answers = []
    for rules in (DEFAULT_RULES, NOTHING):
        session = Session(snapshot, rules)
        for name in sorted(session.jobs):
            job = session.jobs[name]
            refresh(session, job)
            place_job(session, job, job.tries or [])
        answers.append((session.pod_state, session.pod_node, session.pod_devices))
    assert answers[0] == answers[1]


def obvious(nodes: dict[str, list[int]], releasing: dict[str, int], pods: int, gpus: int) -> dict[str, int] | None:
    """Place equal whole-GPU pods one by one: room now first, then the fullest node, then the smaller name."""
    idle = {name: row[0] for name, row in nodes.items()}
    free = {name: row[0] + releasing[name] for name, row in nodes.items()}
    counts: dict[str, int] = {}
    for _ in range(pods):
        fitting = [name for name in nodes if free[name] >= gpus]
        if not fitting:
            return None
        best = min(fitting, key=lambda name: (idle[name] < gpus, free[name], name))
        counts[best] = counts.get(best, 0) + 1
        free[best] -= gpus
        if idle[best] >= gpus:
            idle[best] -= gpus
    return counts


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=8),
    st.integers(1, 12),
    st.integers(1, 4),
)
def test_a_gang_placed_in_runs_lands_where_it_would_pod_by_pod(
    taken: list[tuple[int, int]], pods: int, gpus: int
) -> None:
    nodes = {f"n{number}": [8 - used - min(leaving, 8 - used)] for number, (used, leaving) in enumerate(taken)}
    releasing = {f"n{number}": min(leaving, 8 - used) for number, (used, leaving) in enumerate(taken)}
    entries = [NodeEntry(name=name, cpu=10**6, memory=10**15, gpus=8) for name in nodes]
    holders = [
        PodEntry(
            name=f"{state.value}-{name}", pod_group="", request=PodRequest(gpu_devices=amount), state=state, node=name
        )
        for name, row in nodes.items()
        for state, amount in ((PodState.RUNNING, 8 - row[0] - releasing[name]), (PodState.RELEASING, releasing[name]))
        if amount
    ]
    waiting = [
        PodEntry(name=f"w{number:02}", pod_group="g", request=PodRequest(cpu=1, memory=1, gpu_devices=gpus))
        for number in range(pods)
    ]
    group = PodGroup(name="g", queue="", min_members=pods)
    snapshot = Snapshot(taken_at=0.0, nodes=tuple(entries), pod_groups=(group,), pods=(*holders, *waiting))
    session = Session(snapshot, DEFAULT_RULES)
    job = session.jobs["g"]
    refresh(session, job)

    placed = place_job(session, job, job.tries or [])

    expected = obvious(nodes, releasing, pods, gpus)
    counts: dict[str, int] = {}
    for number, pod in enumerate(session.pods):
        if pod.pod_group == "g" and session.pod_node[number] >= 0:
            name = session.nodes[session.pod_node[number]].name
            counts[name] = counts.get(name, 0) + 1
    assert (counts if placed else None) == expected


def test_spreading_takes_the_emptiest_node() -> None:
    nodes = tuple(
        NodeEntry(name=name, cpu=10_000, memory=GIB, gpus=gpus) for name, gpus in (("a", 4), ("b", 4), ("c", 2))
    )
    held = PodEntry(name="held", pod_group="", request=PodRequest(gpu_devices=1), state=PodState.RUNNING, node="a")
    group = PodGroup(name="g", queue="", min_members=2)
    pods = tuple(PodEntry(name=f"g-{n}", pod_group="g", request=PodRequest(gpu_devices=1)) for n in range(2))
    snapshot = Snapshot(
        taken_at=0.0,
        nodes=nodes,
        pod_groups=(group,),
        pods=(held, *pods),
        settings=CycleSettings(gpu_placement="spread"),
    )
    session = Session(snapshot, DEFAULT_RULES)
    job = session.jobs["g"]
    refresh(session, job)
    assert place_job(session, job, job.tries or [])
    assert [session.nodes[session.pod_node[number]].name for number in (1, 2)] == ["b", "c"]


def test_a_nominated_node_comes_before_a_fuller_one() -> None:
    nodes = tuple(NodeEntry(name=name, cpu=1000, memory=GIB, gpus=gpus) for name, gpus in (("a", 1), ("b", 8)))
    pod = PodEntry(name="p", pod_group="g", request=PodRequest(gpu_devices=1), nominated_node="b")
    snapshot = Snapshot(taken_at=0.0, nodes=nodes, pod_groups=(PodGroup(name="g", queue=""),), pods=(pod,))
    for changed, expected in ((snapshot, "b"), (replace(snapshot, pods=(replace(pod, nominated_node=None),)), "a")):
        session = Session(changed, DEFAULT_RULES)
        job = session.jobs["g"]
        refresh(session, job)
        assert place_job(session, job, job.tries or [])
        assert session.nodes[session.pod_node[0]].name == expected


def test_a_shared_device_keeps_its_books_through_a_promise() -> None:
    node = NodeEntry(name="a", cpu=10_000, memory=GIB, gpus=1, gpu_memory_mib=1000)
    leaving = PodEntry(
        name="old",
        pod_group="",
        request=PodRequest(gpu_portion=700),
        state=PodState.RELEASING,
        node="a",
        gpu_groups=("x",),
    )
    pod = PodEntry(name="new", pod_group="g", request=PodRequest(gpu_portion=500))
    snapshot = Snapshot(taken_at=0.0, nodes=(node,), pod_groups=(PodGroup(name="g", queue=""),), pods=(leaving, pod))
    session = Session(snapshot, DEFAULT_RULES)
    job = session.jobs["g"]
    refresh(session, job)
    assert place_job(session, job, job.tries or [])
    assert session.pod_state[1] == PROMISED
    assert session.later[0][GPU] == 0
    assert sum(entry[2] for entry in session.devices[0].values()) == gpu.need(500, 0, 1000)


@pytest.mark.parametrize(
    ("max_pods", "switched_on", "placed"),
    [
        pytest.param(1, False, 1, id="a part of a device takes the slot of its pod"),
        pytest.param(1, True, 0, id="with reservation pods the first one on a device takes two"),
        pytest.param(2, True, 1, id="two slots are enough for one"),
        pytest.param(3, True, 2, id="who joins a device takes one"),
        pytest.param(4, True, 2, id="a second device takes two again"),
        pytest.param(5, True, 3, id="five slots are enough for two devices and three pods"),
    ],
)
def test_pod_slots_of_reserved_devices(max_pods: int, switched_on: bool, placed: int) -> None:
    names = [f"p{number}" for number in range(3)]
    snapshot = Snapshot(
        taken_at=0.0,
        nodes=(NodeEntry(name="n", cpu=1000, memory=1000, gpus=2, max_pods=max_pods),),
        queues=(Queue(name="q"),),
        pod_groups=tuple(PodGroup(name=name, queue="q") for name in names),
        pods=tuple(PodEntry(name=name, pod_group=name, request=PodRequest(gpu_portion=500)) for name in names),
        settings=CycleSettings(compatibility=frozenset({"reservation_pod_slot"} if switched_on else ())),
    )
    assert len(run_cycle(snapshot).binds) == placed
