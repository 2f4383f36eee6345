"""The transition table and the two functions that read it."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from runai_core.lifecycle.machine import advance, step
from runai_core.lifecycle.phases import CLAIMS_QUOTA, SUBMITTED, TRANSITIONS, Effect, Signal
from runai_core.model.errors import IllegalTransition
from runai_core.model.meta import Meta
from runai_core.model.workload import TERMINAL, Phase, Workload

WITH_PODS = {
    "RunSucceeded": "=",
    "RunFailed": "=",
    "Succeeded": "Completed",
    "Failed": "Failed",
    "Retry": "Pending",
    "Evicted": "Pending",
    "EvictedForGood": "Terminating",
    "StopAsked": "Stopping",
    "DeleteAsked": "Deleting",
    "UpdateAsked": "Updating",
    "RollAsked": "=",
    "ScaleAsked": "=",
    "ContactLost": "Unknown",
}
CHANGES = {"UpdateAsked", "RollAsked", "ScaleAsked"}
BEFORE_PODS = {"Failed": "Failed", "StopAsked": "Stopping", "DeleteAsked": "Deleting"}

# Written by hand from Run:ai's table of phases, not derived: "=" stays where it is.
EXPECTED: Mapping[str, Mapping[str, str]] = {
    "Creating": {**BEFORE_PODS, "PodsCreated": "Pending"},
    "Pending": {**WITH_PODS, "PodsCreated": "=", "AllScheduled": "Initializing"},
    "Initializing": {**WITH_PODS, "RollAsked": "Pending", "AllReady": "Running", "Waiting": "Pending"},
    "Running": {**WITH_PODS, "PodsLost": "Degraded", "Waiting": "Pending"},
    "Degraded": {**WITH_PODS, "AllReady": "Running", "Waiting": "Pending"},
    "Updating": {**BEFORE_PODS, "Updated": "Pending"},
    "Unknown": {
        **{signal: phase for signal, phase in WITH_PODS.items() if signal not in CHANGES},
        "ContactFound": "Pending",
        "AllReady": "Running",
        "PodsLost": "Degraded",
    },
    "Stopping": {"StopAsked": "=", "PodsGone": "Stopped", "ResumeAsked": "Resuming", "DeleteAsked": "Deleting"},
    "Stopped": {"StopAsked": "=", "ResumeAsked": "Resuming", "DeleteAsked": "Deleting"},
    "Resuming": {**BEFORE_PODS, "PodsCreated": "Pending", "ResumeAsked": "="},
    "Terminating": {"PodsGone": "Failed", "DeleteAsked": "Deleting"},
    "Deleting": {"DeleteAsked": "=", "PodsGone": "="},
    "Completed": {"DeleteAsked": "Deleting"},
    "Failed": {"DeleteAsked": "Deleting"},
}

PAIRS = [(phase, signal) for phase in Phase for signal in Signal]


@pytest.mark.parametrize(("phase", "signal"), PAIRS, ids=[f"{signal} in {phase}" for phase, signal in PAIRS])
def test_each_phase_answers_each_signal_as_the_product_does(phase: Phase, signal: Signal) -> None:
    expected = EXPECTED[phase].get(signal)
    if expected is None:
        with pytest.raises(IllegalTransition) as caught:
            step(phase, signal)
        assert phase in caught.value.message
        assert caught.value.details["allowed"] == list(TRANSITIONS[phase])
    else:
        assert step(phase, signal).phase == (phase if expected == "=" else expected)


def test_every_phase_has_a_row() -> None:
    assert set(TRANSITIONS) == set(Phase)


def test_every_phase_is_reached_from_creating() -> None:
    reached = {SUBMITTED[0]}
    while more := {target for phase in reached for target, _ in TRANSITIONS[phase].values()} - reached:
        reached |= more
    assert reached == set(Phase)


@pytest.mark.parametrize("phase", sorted(TERMINAL))
def test_a_workload_that_has_ended_leaves_only_to_be_deleted(phase: Phase) -> None:
    assert {target for target, _ in TRANSITIONS[phase].values()} == {Phase.DELETING}


@pytest.mark.parametrize("phase", list(Phase))
def test_deleting_is_always_possible(phase: Phase) -> None:
    assert step(phase, Signal.DELETE_ASKED).phase == Phase.DELETING


@pytest.mark.parametrize(
    ("phase", "signal"), [(phase, signal) for phase, row in TRANSITIONS.items() for signal in row], ids=str
)
def test_effects_come_once_and_in_their_documented_order(phase: Phase, signal: Signal) -> None:
    effects = step(phase, signal).effects
    assert list(effects) == sorted(set(effects), key=list(Effect).index)


@pytest.mark.parametrize(
    ("phase", "signal"),
    [
        (Phase.STOPPING, Signal.STOP_ASKED),
        (Phase.STOPPED, Signal.STOP_ASKED),
        (Phase.RESUMING, Signal.RESUME_ASKED),
        (Phase.DELETING, Signal.DELETE_ASKED),
    ],
    ids=["stop while Stopping", "stop while Stopped", "resume while Resuming", "delete while Deleting"],
)
def test_a_command_given_twice_does_nothing_the_second_time(phase: Phase, signal: Signal) -> None:
    assert (phase, ()) == (step(phase, signal).phase, step(phase, signal).effects)


@pytest.mark.parametrize(
    ("phase", "signal", "words"),
    [
        (Phase.RUNNING, Signal.RESUME_ASKED, "cannot be resumed: it is Running already"),
        (Phase.COMPLETED, Signal.STOP_ASKED, "cannot be stopped: it is Completed; it has ended"),
        (Phase.FAILED, Signal.RESUME_ASKED, "cannot be resumed: it is Failed; it has ended"),
        (Phase.DELETING, Signal.RESUME_ASKED, "submit it again once it is gone"),
        (Phase.STOPPED, Signal.UPDATE_ASKED, "resume it first"),
        (Phase.STOPPED, Signal.ALL_READY, "a workload that is Stopped does not know the signal AllReady"),
    ],
)
def test_a_refusal_says_why_and_what_to_do(phase: Phase, signal: Signal, words: str) -> None:
    with pytest.raises(IllegalTransition, match=words):
        step(phase, signal)


def a_workload(**changes: object) -> Workload:
    workload = Workload(meta=Meta(name="train", project="team", uid="u1"), attempt=1)
    return replace(workload, **changes)  # type: ignore[arg-type]


def test_an_evicted_workload_starts_a_new_attempt_from_what_it_has_achieved() -> None:
    running = a_workload(phase=Phase.RUNNING, phase_updated_at=100.0, successes=3, failures=2, pods_running=4)

    moved, transition = advance(running, Signal.EVICTED, now=130.0, cause="Another project took its own GPUs back.")

    assert moved.phase == Phase.PENDING
    assert (moved.attempt, moved.evictions, moved.failures) == (2, 1, 2)
    assert (moved.successes_before, moved.failures_before) == (3, 2)
    assert (moved.running_seconds, moved.phase_updated_at, moved.pods_running) == (30.0, 130.0, 0)
    assert moved.phase_message == "Another project took its own GPUs back."
    assert Effect.RELEASE_QUOTA in transition.effects


def test_times_add_up_over_a_life_with_an_interruption() -> None:
    workload = a_workload(phase=Phase.PENDING, phase_updated_at=10.0)
    for now, signal in [
        (15.0, Signal.ALL_SCHEDULED),
        (16.0, Signal.ALL_READY),
        (46.0, Signal.PODS_LOST),
        (50.0, Signal.RETRY),
        (57.0, Signal.ALL_SCHEDULED),
        (58.0, Signal.ALL_READY),
        (68.0, Signal.SUCCEEDED),
    ]:
        workload, _ = advance(workload, signal, now=now, cause="because")
    assert workload.pending_seconds == 5 + 7
    assert workload.running_seconds == 30 + 4 + 10
    assert (workload.last_start, workload.completed_at, workload.failures) == (57.0, 68.0, 1)


def test_a_signal_that_leaves_the_phase_leaves_its_clock_and_message() -> None:
    running = a_workload(phase=Phase.RUNNING, phase_updated_at=100.0, phase_message="All 2 pods are ready.")

    moved, _ = advance(running, Signal.RUN_SUCCEEDED, now=130.0, cause="1 of 3 runs have succeeded.", count=1)

    assert moved == replace(running, successes=1)


def test_a_clock_that_was_set_back_counts_no_negative_time() -> None:
    running = a_workload(phase=Phase.RUNNING, phase_updated_at=100.0)
    moved, _ = advance(running, Signal.PODS_LOST, now=90.0, cause="A pod is missing.")
    assert moved.running_seconds == 0.0


def test_an_illegal_signal_changes_nothing() -> None:
    stopped = a_workload(phase=Phase.STOPPED)
    with pytest.raises(IllegalTransition):
        advance(stopped, Signal.ALL_READY, now=1.0, cause="never")
    assert stopped == a_workload(phase=Phase.STOPPED)


class AnyLife(RuleBasedStateMachine):
    """Random signals, legal or not, over one workload's life."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.workload = a_workload(attempt=0)
        self.claims = 0  # opened by CreatePods, ended by ReleaseQuota
        self.attempts_created: list[int] = []
        self.forgotten = False
        self.workload = replace(self.workload, phase=SUBMITTED[0])
        self._carry_out(SUBMITTED[1])
        self.workload = replace(self.workload, attempt=1)

    def _carry_out(self, effects: tuple[Effect, ...]) -> None:
        for effect in effects:
            if effect == Effect.CREATE_PODS:
                self.claims += 1
            if effect == Effect.RELEASE_QUOTA:
                self.claims -= 1
            assert self.claims in (0, 1), f"{effect} after {effects}"
            self.forgotten |= effect == Effect.FORGET

    @rule(signal=st.sampled_from(Signal), spent=st.floats(0, 1000), count=st.integers(1, 3))
    def send(self, signal: Signal, spent: float, count: int) -> None:
        self.now += spent
        before = self.workload
        try:
            self.workload, transition = advance(before, signal, now=self.now, cause="It happened.", count=count)
        except IllegalTransition:
            assert signal not in TRANSITIONS[before.phase]
            return
        self._carry_out(transition.effects)
        assert self.workload.attempt - before.attempt == (Effect.CREATE_PODS in transition.effects)

    @invariant()
    def quota_is_claimed_exactly_in_the_phases_that_say_so(self) -> None:
        assert self.claims == (self.workload.phase in CLAIMS_QUOTA)

    @invariant()
    def time_is_counted_at_most_once(self) -> None:
        assert self.workload.running_seconds + self.workload.pending_seconds <= self.now + 1e-6 * (1 + self.now)

    @invariant()
    def the_end_is_recorded_when_it_has_come(self) -> None:
        if self.workload.phase in TERMINAL:
            assert self.workload.completed_at is not None

    @invariant()
    def counters_never_fall_behind_the_attempt(self) -> None:
        assert self.workload.successes >= self.workload.successes_before
        assert self.workload.failures >= self.workload.failures_before

    @invariant()
    def only_what_is_being_deleted_is_forgotten(self) -> None:
        assert not self.forgotten or self.workload.phase == Phase.DELETING


TestAnyLife = AnyLife.TestCase


@given(st.lists(st.sampled_from(Signal), max_size=60))
def test_the_next_phase_depends_on_the_phase_alone(signals: list[Signal]) -> None:
    """`advance` and `step` agree along every path."""
    workload = a_workload(phase=Phase.CREATING)
    for signal in signals:
        if signal in TRANSITIONS[workload.phase]:
            expected = step(workload.phase, signal)
            workload, transition = advance(workload, signal, now=1.0, cause="so")
            assert (workload.phase, transition) == (expected.phase, expected)
