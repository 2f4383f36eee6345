"""The scheduler that lives between cycles answers as if it saw everything anew."""

from dataclasses import replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from runai_core.engine.cycle import open_cycle, run_actions
from runai_core.engine.incremental import Scheduler, next_moment
from runai_core.model.snapshot import CycleSettings, PodEntry, PodGroup, Snapshot
from runai_core.testing.worlds import carry_out, disturb, random_world


@given(st.integers(0, 10**9))
def test_it_answers_like_a_fresh_cycle_whatever_changed(seed: int) -> None:
    random = Random(seed)
    snapshot = random_world(random)
    scheduler = Scheduler(snapshot)
    for _ in range(4):
        result = scheduler.run_cycle(snapshot.taken_at)
        assert result == run_actions(open_cycle(snapshot))
        assert scheduler.run_cycle(snapshot.taken_at) == result
        after = disturb(carry_out(snapshot, result, seconds=random.choice((1.0, 100.0))), random)
        scheduler.update(after.pods)
        scheduler.update(after.nodes)
        scheduler.update(after.pod_groups)
        snapshot = after


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
