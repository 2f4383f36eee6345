"""Whole lives: the pure rooms joined with a cluster that does as it likes.

The loop below is the service's, without storage: take surplus pods away, make
the pods that are wanted, follow the signals. The cluster places, starts, ends,
loses and evicts pods at random, and the service crashes between any two steps.
"""

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from runai_core.lifecycle.gang import RunContext, gang_of
from runai_core.lifecycle.machine import advance
from runai_core.lifecycle.observe import look_again_at, observe
from runai_core.lifecycle.phases import TRANSITIONS, Effect, Signal
from runai_core.lifecycle.shape import shape_of
from runai_core.lifecycle.vacancies import is_live, surplus, wants_pods
from runai_core.model.meta import Meta
from runai_core.model.network import Autoscaling
from runai_core.model.snapshot import PodState
from runai_core.model.spec import WorkloadSpec
from runai_core.model.workload import TERMINAL, Phase, Pod, PodStatus, Workload, WorkloadType

SPECS = {
    "workspace": (WorkloadType.WORKSPACE, WorkloadSpec(), True),
    "training": (WorkloadType.TRAINING, WorkloadSpec(backoff_limit=2), True),
    "runs": (WorkloadType.TRAINING, WorkloadSpec(parallelism=2, completions=4, backoff_limit=3), True),
    "gang": (WorkloadType.DISTRIBUTED, WorkloadSpec(num_workers=2, backoff_limit=2), True),
    "workers": (WorkloadType.DISTRIBUTED, WorkloadSpec(num_workers=2, backoff_limit=2), False),
    "elastic": (WorkloadType.DISTRIBUTED, WorkloadSpec(min_replicas=1, max_replicas=3, backoff_limit=2), True),
    "replicas": (WorkloadType.INFERENCE, WorkloadSpec(autoscaling=Autoscaling(min_replicas=2), backoff_limit=2), True),
    "leaders": (
        WorkloadType.DISTRIBUTED_INFERENCE,
        WorkloadSpec(replicas=2, workers=2, startup_policy="LeaderReady", backoff_limit=2),
        True,
    ),
    "groups": (WorkloadType.DISTRIBUTED_INFERENCE, WorkloadSpec(replicas=2, workers=1, backoff_limit=2), True),
}


class Lives(RuleBasedStateMachine):
    """One workload, its pods, and everything that can happen to them."""

    @initialize(name=st.sampled_from(sorted(SPECS)))
    def submit(self, name: str) -> None:
        kind, spec, has_master = SPECS[name]
        self.workload = Workload(
            meta=Meta(name="w", project="p", uid="u"), type=kind, spec=spec, has_master=has_master, attempt=1
        )
        self.pods: dict[str, Pod] = {}
        self.now = 0.0
        self.forgotten = False
        self.placed_ever: set[str] = set()
        self.program_failures = 0

    def _set(self, pod: Pod, **status: object) -> None:
        self.pods[pod.name] = replace(pod, status=replace(pod.status, **status))  # type: ignore[arg-type]

    def _any(self, data: st.DataObject, *states: PodState) -> Pod | None:
        among = sorted(name for name, pod in self.pods.items() if pod.status.state in states)
        return self.pods[data.draw(st.sampled_from(among))] if among else None

    # the service
    @rule()
    def look(self) -> None:
        """One look, as the service does it; asked again at once, there is nothing left to follow."""
        for pod in surplus(self.workload, tuple(self.pods.values())):
            self._take_away(pod)
        if wants_pods(self.workload, tuple(self.pods.values()), self.now):
            context = RunContext(created_at=self.now)
            made = gang_of(self.workload, run_context=context, existing=tuple(self.pods.values()))
            for pod in made.pods:
                self.pods.setdefault(pod.name, pod)
        for _ in range(len(Phase) + 1):
            seen = observe(self.workload, tuple(self.pods.values()), self.now)
            if seen is None:
                return
            assert seen.signal in TRANSITIONS[self.workload.phase], "what is observed is always legal"
            self.workload, transition = advance(
                self.workload, seen.signal, now=self.now, cause=seen.cause, count=seen.count
            )
            if {Effect.NEW_ATTEMPT, Effect.FORGET} & set(transition.effects):
                self.forgotten |= Effect.FORGET in transition.effects
                return
        raise AssertionError("looking does not come to rest")

    @rule(signal=st.sampled_from([Signal.STOP_ASKED, Signal.RESUME_ASKED, Signal.DELETE_ASKED]))
    @precondition(lambda self: not self.forgotten)
    def command(self, signal: Signal) -> None:
        if signal in TRANSITIONS[self.workload.phase] and signal != Signal.DELETE_ASKED:
            self.workload, _ = advance(self.workload, signal, now=self.now, cause="A user asked for it.")

    @rule(seconds=st.floats(0.1, 100))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    def _take_away(self, pod: Pod) -> None:
        """As a cluster does: what never ran is gone at once, what runs needs a moment."""
        if pod.status.state == PodState.PENDING:
            del self.pods[pod.name]
        else:
            self._set(pod, state=PodState.RELEASING, ready=False, reason=pod.status.reason or "Stopped")

    # the cluster
    @rule(data=st.data(), whole=st.booleans())
    def place(self, data: st.DataObject, whole: bool) -> None:
        waiting = [pod for pod in self.pods.values() if pod.status.state == PodState.PENDING]
        for pod in waiting if whole else waiting[: data.draw(st.integers(0, len(waiting)))]:
            self.placed_ever.add(pod.name)
            self._set(pod, state=PodState.BOUND, node="n", scheduled_at=self.now)

    @rule(whole=st.booleans())
    def start(self, whole: bool) -> None:
        bound = [pod for pod in self.pods.values() if pod.status.state == PodState.BOUND]
        for pod in bound if whole else bound[:1]:
            self._set(pod, state=PodState.RUNNING, ready=True, started_at=self.now)

    @rule(data=st.data(), code=st.sampled_from([0, 0, 1]))
    def end(self, data: st.DataObject, code: int) -> None:
        pod = self._any(data, PodState.RUNNING)
        if pod is not None:
            self.program_failures += code
            state = PodState.FAILED if code else PodState.SUCCEEDED
            self._set(pod, state=state, ready=False, exit_code=code, finished_at=self.now)

    @rule(data=st.data())
    def flap(self, data: st.DataObject) -> None:
        pod = self._any(data, PodState.RUNNING)
        if pod is not None:
            self._set(pod, ready=not pod.status.ready)

    @rule(data=st.data())
    def lose_node(self, data: st.DataObject) -> None:
        pod = self._any(data, PodState.RUNNING, PodState.BOUND)
        if pod is not None:
            self._set(pod, state=PodState.FAILED, ready=False, reason="NodeLost", finished_at=self.now)

    @rule(data=st.data(), whole=st.booleans())
    def evict(self, data: st.DataObject, whole: bool) -> None:
        placed = [pod for pod in self.pods.values() if pod.status.state in (PodState.BOUND, PodState.RUNNING)]
        for pod in placed if whole else placed[:1]:
            self._set(pod, state=PodState.RELEASING, ready=False, reason="Evicted", message="Another took its place.")

    @rule()
    def gone(self) -> None:
        """Pods that were leaving have left: evicted ones are kept for the record, stopped ones are forgotten."""
        for pod in list(self.pods.values()):
            if pod.status.state != PodState.RELEASING:
                continue
            if pod.status.reason == "Evicted" and pod.attempt == self.workload.attempt:
                self._set(pod, state=PodState.FAILED, finished_at=self.now)
            else:
                del self.pods[pod.name]

    # what always holds
    @invariant()
    def nothing_runs_twice_at_once(self) -> None:
        attempts = {pod.attempt for pod in self.pods.values() if is_live(pod)}
        assert len(attempts) <= 1, "pods of two attempts live together"
        live = [pod.spec.rank for pod in self.pods.values() if is_live(pod)]
        assert len(live) == len(set(live)), "two pods live in one place"

    @invariant()
    def a_completed_workload_has_done_its_runs(self) -> None:
        if self.workload.phase == Phase.COMPLETED and self.workload.spec.completions:
            assert self.workload.successes == self.workload.spec.completions

    @invariant()
    def runs_are_never_overdone(self) -> None:
        runs = shape_of(self.workload).runs
        if runs is not None:
            ended_well = [
                pod
                for pod in self.pods.values()
                if pod.attempt == self.workload.attempt and pod.status.state == PodState.SUCCEEDED
            ]
            assert self.workload.successes_before + len(ended_well) <= runs

    @invariant()
    def no_failure_is_counted_that_did_not_happen(self) -> None:
        assert self.workload.failures <= self.program_failures

    @invariant()
    def services_never_complete(self) -> None:
        if self.workload.type in (WorkloadType.INFERENCE, WorkloadType.DISTRIBUTED_INFERENCE):
            assert self.workload.phase != Phase.COMPLETED

    def teardown(self) -> None:
        """Left in peace on a cluster with room, every workload comes to its end, or runs as specified."""
        if not hasattr(self, "workload") or self.forgotten:
            return
        if self.workload.phase in (Phase.STOPPED, Phase.STOPPING):
            self.workload, _ = advance(self.workload, Signal.RESUME_ASKED, now=self.now, cause="Resumed.")
        for _ in range(40):
            self.gone()
            self.look()
            for pod in list(self.pods.values()):
                if pod.status.state in (PodState.PENDING, PodState.BOUND, PodState.RUNNING):
                    self._settle(pod)
            if (at := look_again_at(self.workload, tuple(self.pods.values()), self.now)) is not None:
                self.now = at
        serves = shape_of(self.workload).serves
        assert self.workload.phase in TERMINAL | ({Phase.RUNNING} if serves else set()), self.workload.phase
        if self.workload.phase in TERMINAL:
            self.look()
            self.gone()
            assert not any(map(is_live, self.pods.values()))

    def _settle(self, pod: Pod) -> None:
        done = PodStatus(state=PodState.SUCCEEDED, node="n", exit_code=0, started_at=self.now, finished_at=self.now)
        runs = PodStatus(state=PodState.RUNNING, node="n", ready=True, started_at=self.now)
        serves = shape_of(self.workload).serves
        self.pods[pod.name] = replace(pod, status=runs if serves else done)


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
