"""Which signal the pods give: one line of a table for each situation."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from runai_core.lifecycle.gang import RunContext, gang_of
from runai_core.lifecycle.observe import RULES, SETTLE_SECONDS, Counts, counts, look_again_at, observe
from runai_core.lifecycle.vacancies import surplus, wants_pods
from runai_core.model.meta import Meta
from runai_core.model.network import Autoscaling
from runai_core.model.snapshot import PodState
from runai_core.model.spec import CleanPodPolicy, DistributedFramework, NamedValue, WorkloadSpec
from runai_core.model.workload import Phase, Pod, PodSpec, PodStatus, Workload, WorkloadType

NOW = 1000.0

T, D, W = WorkloadType.TRAINING, WorkloadType.DISTRIBUTED, WorkloadType.WORKSPACE
INF, DI, EXT = WorkloadType.INFERENCE, WorkloadType.DISTRIBUTED_INFERENCE, WorkloadType.EXTERNAL

WAITING = PodStatus()
BOUND = PodStatus(state=PodState.BOUND, node="n1")
STARTED = PodStatus(state=PodState.RUNNING, node="n1")
READY = PodStatus(state=PodState.RUNNING, node="n1", ready=True)
DONE = PodStatus(state=PodState.SUCCEEDED, node="n1", exit_code=0, started_at=900.0, finished_at=990.0)
BAD = PodStatus(state=PodState.FAILED, node="n1", exit_code=3, started_at=900.0, finished_at=990.0)
NO_PROGRAM = PodStatus(state=PodState.FAILED, exit_code=127, message="trian: command not found")
EVICTED = PodStatus(state=PodState.FAILED, reason="Evicted", message="Project b took its GPUs back.")
LEAVING = PodStatus(state=PodState.RELEASING, node="n1", reason="Evicted")
LOST = PodStatus(state=PodState.FAILED, node="n1", reason="NodeLost")


def annotated(name: str, value: str) -> tuple[NamedValue, ...]:
    return (NamedValue(name=name, value=value),)


@dataclass(frozen=True)
class Case:
    """A workload in a phase, the state of each of its pods, and the signal they give."""

    name: str
    kind: WorkloadType
    phase: str
    pods: Sequence[PodStatus | None]  # by rank; None: there is no such pod
    signal: str | None
    cause: str = ""  # words of the cause
    spec: dict[str, Any] = field(default_factory=dict)
    workload: dict[str, Any] = field(default_factory=dict)
    count: int = 1


LATE = {"workers": 1, "startup_policy": "LeaderReady"}
TWO = {"num_workers": 1}  # a master and a worker
PAIR = {"parallelism": 2}
TWO_REPLICAS = {"autoscaling": Autoscaling(min_replicas=2)}
ASLEEP = {"autoscaling": Autoscaling(initial_replicas=0)}
NO_MASTER = {"has_master": False}
ELASTIC = {"num_workers": 3, "min_replicas": 1, "max_replicas": 3}
CASES = [
    # creating and placing
    Case("nothing is there yet", T, "Creating", [None], None),
    Case("the pods exist", D, "Creating", [WAITING, WAITING], "PodsCreated", "Its 2 pods are created", TWO),
    Case("a part of the pods exists", D, "Creating", [WAITING, None], None, spec=TWO),
    Case("the leader exists, and its worker is not made yet", DI, "Creating", [WAITING, None], "PodsCreated", "", LATE),
    Case("a leader is missing", DI, "Creating", [None, None], None, spec=LATE),
    Case("the leader is placed", DI, "Pending", [BOUND, None], "AllScheduled", "", LATE),
    Case("the leader is ready, and its worker is still to come", DI, "Initializing", [READY, None], None, spec=LATE),
    Case("the worker comes after its leader", DI, "Initializing", [READY, BOUND], None, spec=LATE),
    Case("the worker is ready after its leader", DI, "Initializing", [READY, READY], "AllReady", "", LATE),
    Case("the pods exist again", T, "Resuming", [WAITING], "PodsCreated"),
    Case("the whole gang waits", D, "Pending", [WAITING, WAITING], None, spec=TWO),
    Case("a part of the gang is placed", D, "Pending", [BOUND, WAITING], None, spec=TWO),
    Case("the gang is placed", D, "Pending", [BOUND, BOUND], "AllScheduled", "placed on n1", TWO),
    Case("a pod that ended at once was placed", T, "Pending", [DONE], "AllScheduled"),
    Case(
        "an elastic gang needs its minimum only",
        D,
        "Pending",
        [BOUND, BOUND, WAITING, WAITING],
        "AllScheduled",
        "",
        ELASTIC,
    ),
    Case("and its master", D, "Pending", [WAITING, BOUND, BOUND, WAITING], None, spec=ELASTIC),
    Case("one of several independent pods is enough", T, "Pending", [BOUND, WAITING], "AllScheduled", "", PAIR),
    Case("a service that sleeps needs no pod", INF, "Pending", [], "AllScheduled", spec=ASLEEP),
    # becoming ready
    Case("started is not ready", T, "Initializing", [STARTED], None),
    Case("all are ready", D, "Initializing", [READY, READY], "AllReady", "Its 2 pods are ready.", TWO),
    Case("a placed replica is waited for", INF, "Initializing", [READY, STARTED], None, spec=TWO_REPLICAS),
    Case("one without a place is not", INF, "Initializing", [READY, WAITING], "AllReady", spec=TWO_REPLICAS),
    Case("a run that ended at once was ready", T, "Initializing", [DONE], "AllReady"),
    Case("a node was lost before all were ready", D, "Initializing", [READY, LOST], "Waiting", "lost its place", TWO),
    # running and degraded
    Case("all is well", D, "Running", [READY, READY], None, spec=TWO),
    Case(
        "a worker is not ready any more",
        D,
        "Running",
        [READY, STARTED],
        "PodsLost",
        "1 of 2 pods are ready: pod job-1-1 runs but",
        TWO,
    ),
    Case("a worker's pod is gone", D, "Running", [READY, None], "PodsLost", "1 of 2", TWO),
    Case("a worker's node is lost", D, "Running", [READY, LOST], "PodsLost", "(NodeLost)", TWO),
    Case("a worker that is done is not missed", D, "Running", [READY, DONE], None, spec=TWO),
    Case("a replica is missing", INF, "Running", [READY, None], "PodsLost", spec=TWO_REPLICAS),
    Case("a shrunk elastic gang is well", D, "Running", [READY, READY, WAITING, EVICTED], None, spec=ELASTIC),
    Case("fewer independent pods are well", T, "Running", [READY, WAITING], None, spec=PAIR),
    Case("no pod has a place", INF, "Running", [WAITING, WAITING], "Waiting", "waits for one", TWO_REPLICAS),
    Case("a sleeping service is well", INF, "Running", [], None, spec=ASLEEP),
    Case("still degraded", D, "Degraded", [READY, STARTED], None, spec=TWO),
    Case("repaired", D, "Degraded", [READY, READY], "AllReady", "ready again", TWO),
    Case("the next run takes a moment", T, "Running", [BOUND], None, spec={"completions": 3}),
    Case("a run that is not ready", T, "Running", [STARTED], "PodsLost", "runs but is not ready", {"completions": 3}),
    # success
    Case("a workspace that ends well is done", W, "Running", [DONE], "Succeeded", "Its pod has succeeded."),
    Case("a training that ends well is done", T, "Running", [DONE], "Succeeded", "Its run has succeeded."),
    Case("a success is seen through its phases", T, "Pending", [DONE], "AllScheduled"),
    Case("the master decides", D, "Running", [DONE, DONE], "Succeeded", "Its master job-1-0 has succeeded", TWO),
    Case("a worker alone does not", D, "Running", [READY, DONE], None, spec=TWO),
    Case("a worker's end after the master's is no failure", D, "Running", [DONE, BAD], "Succeeded", "", TWO),
    Case("a degraded workload may complete", D, "Degraded", [DONE, LOST], "Succeeded", "", TWO),
    Case(
        "the launcher decides",
        D,
        "Running",
        [DONE, READY],
        "Succeeded",
        "Its launcher",
        {"num_workers": 1, "distributed_framework": DistributedFramework.MPI},
    ),
    Case(
        "all workers must succeed where the user asks for it",
        D,
        "Running",
        [DONE, READY],
        None,
        spec={**TWO, "annotations": annotated("run.ai/success-policy", "AllWorkers")},
    ),
    Case("without a master all decide", D, "Running", [DONE, READY], None, spec={"num_workers": 2}, workload=NO_MASTER),
    Case("and all have", D, "Running", [DONE, DONE], "Succeeded", "2 pods", {"num_workers": 2}, NO_MASTER),
    Case(
        "elastic workers complete with fewer",
        D,
        "Degraded",
        [DONE, BAD, BAD],
        "Succeeded",
        "completes with fewer resources",
        {"num_workers": 3, "min_replicas": 1, "max_replicas": 3, "backoff_limit": 0},
        NO_MASTER,
    ),
    Case("a service never completes", INF, "Running", [DONE], "Waiting"),
    Case("one of several runs", T, "Running", [DONE], "RunSucceeded", "1 of 3 runs", {"completions": 3}),
    Case("a run that is counted", T, "Running", [DONE], "Waiting", "", {"completions": 3}, {"successes": 1}),
    Case(
        "two runs at once",
        T,
        "Running",
        [DONE, DONE],
        "RunSucceeded",
        "2 of 5",
        {"completions": 5, "parallelism": 2},
        count=2,
    ),
    Case(
        "the last run, after earlier attempts",
        T,
        "Running",
        [DONE],
        "Succeeded",
        "All 3 runs",
        {"completions": 3},
        {"successes": 2, "successes_before": 2},
    ),
    # failure
    Case(
        "a failure is tried again",
        T,
        "Running",
        [BAD],
        "Retry",
        "failed with exit code 3. It is tried again (failure 1, backoff limit 6).",
    ),
    Case("at the limit still", T, "Running", [BAD], "Retry", "failure 6", workload={"failures": 5}),
    Case(
        "beyond the limit no more",
        T,
        "Running",
        [BAD],
        "Failed",
        "failure 7, and the backoff limit is 6",
        workload={"failures": 6},
    ),
    Case("a limit of none", T, "Running", [BAD], "Failed", "limit is 0", {"backoff_limit": 0}),
    Case("restarts in place count", T, "Running", [replace(BAD, restarts=6)], "Failed", "failure 7"),
    Case("failing before it was ready", T, "Initializing", [BAD], "Retry"),
    Case("failing before it was seen to start", T, "Pending", [BAD], "Retry"),
    Case(
        "a program that is not there is not tried again",
        T,
        "Pending",
        [NO_PROGRAM],
        "Failed",
        "trian: command not found. Its program could not be started",
    ),
    Case("a program that ran and said 127 is", T, "Running", [replace(BAD, exit_code=127)], "Retry"),
    Case("one worker's failure is the gang's", D, "Running", [READY, BAD], "Retry", "job-1-1", TWO),
    Case(
        "the first to fail is named",
        D,
        "Running",
        [replace(BAD, finished_at=995.0), BAD],
        "Retry",
        "Pod job-1-1 failed",
        TWO,
    ),
    Case("one independent pod is replaced", T, "Running", [READY, BAD], "RunFailed", "is replaced", PAIR),
    Case("a failure that is counted", T, "Running", [READY, BAD], None, spec=PAIR, workload={"failures": 1}),
    Case("the last independent pod", T, "Running", [BAD, BAD], "Retry", "", PAIR, count=2),
    Case(
        "too many failures of independent pods",
        T,
        "Running",
        [READY, BAD],
        "Failed",
        "",
        {"parallelism": 2, "backoff_limit": 0},
    ),
    Case("an elastic worker is replaced", D, "Running", [READY, READY, READY, BAD], "RunFailed", "", ELASTIC),
    Case("an elastic master is not", D, "Running", [BAD, READY, READY, READY], "Retry", "", ELASTIC),
    Case(
        "an elastic worker beyond the limit is done without",
        D,
        "Running",
        [READY, READY, READY, BAD],
        "PodsLost",
        "Pod job-1-3 failed with exit code 3. It is not replaced",
        {**ELASTIC, "backoff_limit": 0},
    ),
    Case(
        "an elastic gang below its minimum fails",
        D,
        "Running",
        [READY, BAD, BAD, BAD],
        "Failed",
        "",
        {**ELASTIC, "backoff_limit": 0},
        count=3,
    ),
    Case("a replica is replaced", INF, "Running", [READY, BAD], "RunFailed", "", TWO_REPLICAS),
    Case(
        "Degraded for longer than the user allows",
        D,
        "Degraded",
        [READY, STARTED],
        "Failed",
        "Degraded for 60 s",
        {**TWO, "annotations": annotated("run.ai/degraded-timeout-seconds", "60")},
        {"phase_updated_at": NOW - 60},
    ),
    Case(
        "Degraded for less",
        D,
        "Degraded",
        [READY, STARTED],
        None,
        spec={**TWO, "annotations": annotated("run.ai/degraded-timeout-seconds", "60")},
        workload={"phase_updated_at": NOW - 59},
    ),
    # eviction
    Case(
        "evicted whole",
        D,
        "Running",
        [EVICTED, EVICTED],
        "Evicted",
        "Project b took its GPUs back. Its 2 pods have lost their place",
        TWO,
    ),
    Case("evicted, and still leaving", D, "Running", [LEAVING, LEAVING], "Evicted", "", TWO),
    Case("one evicted pod breaks a gang", D, "Running", [READY, EVICTED], "Evicted", "waits in the queue again", TWO),
    Case("evicted before it started", D, "Initializing", [BOUND, EVICTED], "Evicted", "", TWO),
    Case("an eviction is no failure", T, "Running", [EVICTED], "Evicted", workload={"failures": 6}),
    Case(
        "evicted for good",
        T,
        "Running",
        [EVICTED],
        "EvictedForGood",
        "ends, because terminateAfterPreemption is set",
        {"terminate_after_preemption": True},
    ),
    Case(
        "evicted as often as it may be",
        T,
        "Running",
        [EVICTED],
        "EvictedForGood",
        "ends, because its preemptionLimit of 3 is reached",
        {"preemption_limit": 3},
        workload={"evictions": 2},
    ),
    Case("evicted less often than it may be", T, "Running", [EVICTED], "Evicted", "", {"preemption_limit": 3}),
    Case("an elastic gang above its minimum stays", D, "Running", [READY, READY, EVICTED, EVICTED], None, spec=ELASTIC),
    Case("without its master it does not", D, "Running", [EVICTED, READY, READY, READY], "Evicted", "", ELASTIC),
    # leaving
    Case("stopping, with a pod", T, "Stopping", [READY], None),
    Case("stopping, with a pod that waits", T, "Stopping", [WAITING], None),
    Case("stopped", T, "Stopping", [BAD], "PodsGone"),
    Case("stopped without a trace", T, "Stopping", [None], "PodsGone"),
    Case("deleted", T, "Deleting", [None], "PodsGone"),
    Case("ended after an eviction", T, "Terminating", [EVICTED], "PodsGone"),
    Case("a pod is still there", T, "Deleting", [LEAVING], None),
    # at rest
    Case("stopped workloads rest", T, "Stopped", [None], None),
    Case("completed ones too", T, "Completed", [DONE], None),
    Case("failed ones too", T, "Failed", [BAD], None),
    Case("what is unknown stays so until contact is found", T, "Unknown", [READY], None),
    # kinds of plug-ins
    Case("a plug-in's pods are taken as they are", EXT, "Running", [READY, STARTED], "PodsLost"),
    Case("and complete together", EXT, "Running", [DONE, DONE], "Succeeded"),
    Case("a plug-in's workload without pods", EXT, "Creating", [], None),
]


def the_workload(case: Case) -> Workload:
    return Workload(
        meta=Meta(name="job", project="team", uid="u1"),
        type=case.kind,
        phase=Phase(case.phase),
        attempt=1,
        spec=WorkloadSpec(**case.spec),
        **case.workload,
    )


def the_pods(workload: Workload, states: Sequence[PodStatus | None]) -> list[Pod]:
    if workload.type == EXT:
        bare = Pod(meta=Meta(name="x"), workload="job", pod_group="g", spec=PodSpec())
        made = [replace(bare, meta=Meta(name=f"x{rank}"), spec=PodSpec(rank=rank)) for rank in range(len(states))]
    else:
        whole = replace(workload, failures=0, spec=replace(workload.spec, startup_policy=None))
        made = list(gang_of(whole, run_context=RunContext()).pods)
        assert len(made) == len(states), "the table names one state for each place"
    return [replace(pod, status=state) for pod, state in zip(made, states, strict=True) if state is not None]


@pytest.mark.parametrize("case", CASES, ids=[f"{case.phase}: {case.name}" for case in CASES])
def test_the_pods_give_the_signal(case: Case) -> None:
    workload = the_workload(case)

    seen = observe(workload, the_pods(workload, case.pods), NOW)

    assert (None if seen is None else str(seen.signal)) == case.signal
    if seen is not None:
        assert case.cause in seen.cause
        assert not seen.cause[0].islower()
        assert seen.cause.endswith(".")
        assert seen.count == case.count


@pytest.mark.parametrize("case", CASES, ids=[f"{case.phase}: {case.name}" for case in CASES])
def test_the_order_in_which_pods_are_listed_does_not_matter(case: Case) -> None:
    workload = the_workload(case)
    pods = the_pods(workload, case.pods)
    assert observe(workload, pods[::-1], NOW) == observe(workload, pods, NOW)


def test_each_transition_that_pods_cause_is_in_the_table() -> None:
    """The table above covers every rule."""
    assert {case.signal for case in CASES} - {None} == {str(signal) for _, signal, _ in RULES}


def a_gang(
    kind: WorkloadType, phase: Phase, states: Sequence[PodStatus | None], **spec: Any
) -> tuple[Workload, list[Pod]]:
    workload = the_workload(Case("", kind, phase, states, None, spec=spec))
    return workload, the_pods(workload, states)


def test_the_others_have_a_moment_to_end_after_the_master() -> None:
    workload, pods = a_gang(D, Phase.RUNNING, [replace(DONE, finished_at=NOW), READY], num_workers=1)
    assert observe(workload, pods, NOW) is None
    assert look_again_at(workload, pods, NOW) == NOW + SETTLE_SECONDS
    later = observe(workload, pods, NOW + SETTLE_SECONDS)
    assert later is not None
    assert later.signal == "Succeeded"


def test_a_timer_is_asked_for_where_time_alone_changes_something() -> None:
    rule = annotated("run.ai/degraded-timeout-seconds", "60")
    workload, pods = a_gang(D, Phase.DEGRADED, [READY, STARTED], num_workers=1, annotations=rule)
    assert look_again_at(replace(workload, phase_updated_at=NOW), pods, NOW) == NOW + 60
    assert look_again_at(replace(workload, phase=Phase.RUNNING), pods, NOW) is None


def test_counts_are_those_that_lists_show() -> None:
    workload, pods = a_gang(T, Phase.RUNNING, [READY, STARTED, WAITING], parallelism=3)
    assert counts(workload, pods) == Counts(requested=3, running=2)


def test_pods_of_older_attempts_give_no_signal() -> None:
    workload, pods = a_gang(T, Phase.PENDING, [BAD])
    assert observe(replace(workload, attempt=2), pods, NOW) is None


def test_new_pods_wait_until_the_old_ones_are_gone() -> None:
    workload, pods = a_gang(T, Phase.PENDING, [LEAVING])
    later = replace(workload, attempt=2)
    assert not wants_pods(later, pods, NOW)
    assert surplus(later, pods) == tuple(pods)
    ended = [replace(pods[0], status=EVICTED)]
    assert wants_pods(later, ended, NOW)
    assert surplus(later, ended) == ()


@pytest.mark.parametrize(("failures", "delay"), [(1, 0.5), (2, 1.0), (3, 2.0), (20, 60.0)])
def test_a_retry_waits_longer_each_time(failures: int, delay: float) -> None:
    workload, _ = a_gang(T, Phase.PENDING, [None])
    failed = replace(workload, attempt=failures + 1, failures=failures, phase_reason="Retry", phase_updated_at=NOW)
    assert not wants_pods(failed, [], NOW + delay - 0.01)
    assert look_again_at(failed, [], NOW) == NOW + delay
    assert wants_pods(failed, [], NOW + delay)


WANT_PODS = frozenset(map(Phase, ["Creating", "Resuming", "Pending", "Initializing", "Running", "Degraded"]))


@pytest.mark.parametrize(
    ("phase", "wanted"),
    [(phase, phase in WANT_PODS) for phase in Phase],
    ids=str,
)
def test_which_phases_want_pods(phase: Phase, wanted: bool) -> None:
    workload, _ = a_gang(T, phase, [None])
    assert wants_pods(workload, [], NOW) == wanted


@pytest.mark.parametrize("phase", [Phase.COMPLETED, Phase.FAILED, Phase.STOPPED, Phase.STOPPING, Phase.DELETING])
def test_what_has_no_claim_keeps_no_pod(phase: Phase) -> None:
    workload, pods = a_gang(D, phase, [DONE, READY], num_workers=1, clean_pod_policy=CleanPodPolicy.RUNNING)
    assert [pod.name for pod in surplus(workload, pods)] == ["job-1-1"]


def test_runs_under_way_are_not_started_twice() -> None:
    workload, pods = a_gang(T, Phase.RUNNING, [DONE, READY], parallelism=2, completions=3)
    counted = replace(workload, successes=1)
    made = gang_of(counted, run_context=RunContext(), existing=pods)
    assert [pod.name for pod in made.pods] == ["job-1-0-1", "job-1-1"]
    full = [*pods, replace(made.pods[0], status=READY)]
    assert not wants_pods(counted, full, NOW)


def test_a_pod_that_fails_again_and_again_is_replaced_after_longer_and_longer() -> None:
    failed = replace(BAD, finished_at=NOW)
    workload, pods = a_gang(T, Phase.RUNNING, [READY, failed], parallelism=2)
    counted = replace(workload, failures=1)
    assert not wants_pods(counted, pods, NOW + 0.49)
    assert look_again_at(counted, pods, NOW) == NOW + 0.5
    assert wants_pods(counted, pods, NOW + 0.5)
    again = [pods[0], replace(pods[1], replacement=3)]
    assert look_again_at(counted, again, NOW) == NOW + 4.0


def test_no_more_runs_are_started_than_are_wanted() -> None:
    workload, pods = a_gang(T, Phase.RUNNING, [DONE, READY], parallelism=2, completions=2)
    assert not wants_pods(replace(workload, successes=1), pods, NOW)
