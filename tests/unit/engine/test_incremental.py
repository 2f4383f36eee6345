"""The scheduler that lives between cycles answers as if it saw everything anew."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runai_core.engine.cycle import open_cycle, run_actions, run_cycle
from runai_core.engine.incremental import Scheduler, next_moment
from runai_core.model.errors import InvalidSnapshot
from runai_core.model.organization import Queue
from runai_core.model.snapshot import (
    CycleSettings,
    NodeEntry,
    PodEntry,
    PodGroup,
    PodRequest,
    PodState,
    Snapshot,
)
from runai_core.testing.worlds import carry_out, disturb, random_world

ENDS = (PodState.SUCCEEDED, PodState.FAILED, PodState.PENDING, PodState.GATED, PodState.RELEASING)


def changed(snapshot: Snapshot, random: Random) -> Snapshot:
    """Return the snapshot after something happened to pods, groups or queues."""
    pods, groups, queues = list(snapshot.pods), list(snapshot.pod_groups), list(snapshot.queues)
    kind = random.choice(("end", "arrive", "drop", "queue", "group", "copy", "foreign"))
    if kind == "end" and pods:
        number, state = random.randrange(len(pods)), random.choice(ENDS)
        if state is not PodState.RELEASING:
            pods[number] = replace(pods[number], state=state, node=None, gpu_groups=())
        elif pods[number].state is PodState.RUNNING:
            pods[number] = replace(pods[number], state=state)
    elif kind == "arrive" and groups:
        like, name = random.choice(groups), f"new-{random.randrange(10**9)}"
        groups.append(replace(like, name=name, last_start=None, stale_since=None))
        pods += [
            replace(pod, name=f"{name}-{pod.name}", pod_group=name, state=PodState.PENDING, node=None, gpu_groups=())
            for pod in snapshot.pods
            if pod.pod_group == like.name
        ]
    elif kind == "drop" and groups:
        gone = groups.pop(random.randrange(len(groups)))
        pods = [pod for pod in pods if pod.pod_group != gone.name or random.random() < 0.1]
    elif kind == "queue":
        number = random.randrange(len(queues))
        queues[number] = replace(queues[number], usage=(random.random(),) * 3)
    elif kind == "group" and groups:
        number = random.randrange(len(groups))
        groups[number] = replace(groups[number], priority=random.choice((50, 75)), min_members=random.randint(1, 3))
    elif kind == "copy":
        pods = [replace(pod) for pod in pods]
        random.shuffle(pods)
    elif pods:
        number = random.randrange(len(pods))
        pods[number] = replace(pods[number], pod_group="")
    return replace(snapshot, pods=tuple(pods), pod_groups=tuple(groups), queues=tuple(queues))


@given(st.integers(0, 10**9))
def test_it_answers_like_a_fresh_cycle_whatever_changed(seed: int) -> None:
    random = Random(seed)
    snapshot = random_world(random)
    scheduler = Scheduler(snapshot, small=-1, most=random.choice((0.1, 10.0)))
    for _ in range(6):
        result = scheduler.decide(snapshot)
        assert result == run_actions(open_cycle(snapshot))
        assert scheduler.decide(snapshot) == result
        snapshot = carry_out(snapshot, result, seconds=random.choice((1.0, 100.0)))
        for _ in range(random.randint(0, 3)):
            snapshot = changed(snapshot, random)
        if random.random() < 0.1:
            snapshot = disturb(snapshot, random)


def test_the_session_is_brought_up_to_date_not_opened_anew() -> None:
    turned = 0
    for seed in range(60):
        random = Random(seed)
        snapshot = random_world(random)
        scheduler = Scheduler(snapshot, small=-1, most=10.0)  # in worlds so small all changes at once
        for _ in range(6):
            result = scheduler.decide(snapshot)
            assert result == run_actions(open_cycle(snapshot))
            snapshot = changed(carry_out(snapshot, result), random)
        turned += scheduler.turned
    assert turned > 200


def a_large_snapshot(pods: int = 400) -> Snapshot:
    """One running pod for each group, more than are given to a fresh cycle."""
    request = PodRequest(cpu=100, memory=100, gpu_devices=1)
    return Snapshot(
        taken_at=0.0,
        nodes=tuple(NodeEntry(name=f"n{number}", cpu=10**6, memory=10**9, gpus=8) for number in range(pods // 8 + 1)),
        queues=(Queue(name="q"),),
        pod_groups=tuple(PodGroup(name=f"g{number}", queue="q") for number in range(pods)),
        pods=tuple(
            PodEntry(name=f"p{n}", pod_group=f"g{n}", request=request, state=PodState.RUNNING, node=f"n{n // 8}")
            for n in range(pods)
        ),
    )


def test_a_pod_that_came_is_placed_where_one_left() -> None:
    snapshot = a_large_snapshot()
    scheduler = Scheduler(snapshot)
    assert scheduler.decide(snapshot).binds == ()
    scheduler.update(
        [PodGroup(name="new", queue="q"), PodEntry(name="new-0", pod_group="new", request=snapshot.pods[0].request)],
        gone=[(PodEntry, "p9"), (PodGroup, "g9")],
    )
    assert [(bind.pod, bind.node) for bind in scheduler.run_cycle(1.0).binds] == [("new-0", "n1")]
    assert scheduler.turned == 1


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(PodEntry(name="new", pod_group="g1", request=PodRequest(cpu=-1)), id="a negative amount"),
        pytest.param(PodEntry(name="p1", pod_group="g2"), id="a name that comes twice"),
        pytest.param(PodGroup(name="g1", queue="q"), id="a group that comes twice"),
        pytest.param(PodEntry(name="", pod_group="g1"), id="no name"),
    ],
)
def test_a_change_is_checked_like_a_snapshot(wrong: PodEntry | PodGroup) -> None:
    snapshot = a_large_snapshot()
    scheduler = Scheduler(snapshot)
    scheduler.decide(snapshot)
    field = "pods" if isinstance(wrong, PodEntry) else "pod_groups"
    after = replace(snapshot, taken_at=1.0, **{field: (*getattr(snapshot, field), wrong)})  # type: ignore[arg-type]
    with pytest.raises(InvalidSnapshot):
        scheduler.decide(after)
    assert scheduler.decide(snapshot) == run_cycle(snapshot)


def test_small_snapshots_come_with_suggestions() -> None:
    snapshot = random_world(Random(7))
    assert Scheduler(snapshot).decide(snapshot) == run_cycle(snapshot)


def test_objects_that_are_gone_are_gone() -> None:
    snapshot = random_world(Random(3))
    scheduler = Scheduler(snapshot)
    scheduler.run_cycle(snapshot.taken_at)
    scheduler.update(gone=[(PodEntry, pod.name) for pod in snapshot.pods])
    assert scheduler.run_cycle(snapshot.taken_at).binds == ()
    assert scheduler.snapshot(5.0).pods == ()


def test_the_clock_alone_can_end_a_protection_or_a_grace_period() -> None:
    groups = (PodGroup(name="a", queue="q", last_start=100.0), PodGroup(name="b", queue="q", stale_since=120.0))
    settings = CycleSettings(preempt_min_runtime=30.0, staleness_grace=60.0)
    snapshot = Snapshot(taken_at=110.0, pod_groups=groups, settings=settings)
    assert next_moment(snapshot) == 130.0
    assert next_moment(replace(snapshot, taken_at=130.0)) == 180.0
    assert next_moment(replace(snapshot, taken_at=180.0)) == float("inf")
