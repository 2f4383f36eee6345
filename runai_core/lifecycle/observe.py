"""Which signal the pods of a workload give, if any.

`observe` is a table of rules that is read from the top; the first rule that
bites gives the signal. It is level-triggered: a signal that was followed no
longer applies, so that looking again and again comes to rest.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from runai_core.lifecycle.own_rules import DEGRADED_TIMEOUT, degraded_timeout
from runai_core.lifecycle.phases import Signal
from runai_core.lifecycle.seen import (
    EVICTED,
    SETTLE_SECONDS,
    Counts,
    Seen,
    succeeded,
)
from runai_core.lifecycle.vacancies import is_live, not_yet, replaced_from, retry_at, surplus, wants_pods
from runai_core.model.snapshot import PodState
from runai_core.model.workload import TYPE_DEFAULTS, Phase, Pod, Workload, WorkloadType

CANNOT_START = frozenset({126, 127})
"""Exit codes of a program that could not be executed, as in a POSIX shell: trying again cannot help."""

LEAVING = frozenset({Phase.STOPPING, Phase.DELETING, Phase.TERMINATING})


@dataclass(frozen=True, slots=True)
class Observed:
    """What the pods say. `cause` is a whole sentence; `count` is how many successes or failures it counts."""

    signal: Signal
    cause: str
    pods_requested: int
    pods_running: int
    count: int = 1


def observe(workload: Workload, pods: Sequence[Pod], now: float) -> Observed | None:
    """Return the signal that the pods give in the workload's present phase; None: all is as it should be.

    `pods` are all that exist, those of the present attempt that have ended
    included; `now` is seconds since the epoch.
    """
    seen = Seen(workload, pods, now)
    for phases, signal, rule in RULES:
        if workload.phase in phases and (found := rule(seen)) is not None:
            cause, count = (found, 1) if isinstance(found, str) else found
            shown = seen.counts
            return Observed(signal, cause, shown.requested, shown.running, count)
    return None


def counts(workload: Workload, pods: Sequence[Pod]) -> Counts:
    """Return how many pods the workload asks for and how many run."""
    return Seen(workload, pods, 0.0).counts


def look_again_at(workload: Workload, pods: Sequence[Pod], now: float) -> float | None:
    """Return when a rule may bite though no pod has changed; None: never."""
    seen = Seen(workload, pods, now)
    waits = (retry_at(workload), seen.settles_at, seen.degraded_until, *map(replaced_from, seen.last))
    times = [time for time in waits if time is not None]
    return min((time for time in times if time > now), default=None)


Found = str | tuple[str, int] | None


def _gone(seen: Seen) -> Found:
    if any(map(is_live, seen.pods)):
        return None
    if seen.workload.phase is Phase.STOPPING and seen.workload.phase_message:  # who stopped it is still the reason
        return f"All of its pods have ended: {seen.workload.phase_message}."
    return "All of its pods have ended."


def _created(seen: Seen) -> Found:
    places = len(seen.shape.places) - len(not_yet(seen.shape, seen.mine))
    if len(seen.last) < places or (seen.workload.type == WorkloadType.EXTERNAL and not seen.pods):
        return None
    return f"{_pods(places, 'is', 'are')} created; the workload waits in the queue."


def _evicted(seen: Seen) -> Found:
    evicted = [pod for pod in seen.last if pod.status.reason in EVICTED and not succeeded(pod)]
    if not evicted or seen.enough(seen.placed):
        return None
    why = evicted[0].status.message or "The scheduler gave its place to another workload."
    lost = _pods(len(evicted), "has lost its place", "have lost their place")
    return f"{why} {lost}; the workload waits in the queue again."


def _evicted_for_good(seen: Seen) -> Found:
    cause, spec = _evicted(seen), seen.workload.spec
    if cause is None:
        return None
    if spec.terminate_after_preemption:
        return str(cause).replace("waits in the queue again", "ends, because terminateAfterPreemption is set")
    if spec.preemption_limit is not None and seen.workload.evictions + 1 >= spec.preemption_limit:
        reached = f"ends, because its preemptionLimit of {spec.preemption_limit} is reached"
        return str(cause).replace("waits in the queue again", reached)
    return None


def _gang_failed(seen: Seen) -> Pod | None:
    """Return the pod whose failure is that of the whole attempt."""
    if not seen.failed or seen.decided_by is not None:
        return None
    if not seen.shape.replaces:
        return seen.failed[0]
    if seen.uncounted_failures <= 0:
        return None
    deciding = [pod for pod in seen.failed if seen.shape.decider and pod.spec.role == seen.shape.decider]
    others = [*filter(is_live, seen.last), *seen.stand_ins]
    if deciding or not seen.enough([*others, *seen.done]):
        return (deciding or seen.failed)[0]
    if seen.shape.runs is not None and not _may_retry(seen, seen.failed[-1], seen.uncounted_failures):
        return seen.failed[-1]
    return None


def _may_retry(seen: Seen, pod: Pod, failures: int) -> bool:
    """Return whether the backoff limit allows it; restarts in place count, as they do for a Kubernetes Job."""
    if pod.status.exit_code in CANNOT_START and pod.status.started_at is None:
        return False
    return seen.workload.failures + failures + pod.status.restarts <= _backoff_limit(seen.workload)


def _backoff_limit(workload: Workload) -> int:
    limit = workload.spec.backoff_limit
    return TYPE_DEFAULTS[workload.type].backoff_limit if limit is None else limit


def _failed(seen: Seen) -> Found:
    pod = _gang_failed(seen)
    count = max(seen.uncounted_failures, 1) if seen.shape.replaces else 1
    if pod is None or _may_retry(seen, pod, count):
        return None
    if pod.status.exit_code in CANNOT_START and pod.status.started_at is None:
        return f"{_end_of(pod)} Its program could not be started, so it is not tried again.", count
    tries = seen.workload.failures + count + pod.status.restarts
    limit = _backoff_limit(seen.workload)
    return f"{_end_of(pod)} That is failure {tries}, and the backoff limit is {limit}.", count


def _retry(seen: Seen) -> Found:
    pod = _gang_failed(seen)
    if pod is None:
        return None
    count = max(seen.uncounted_failures, 1) if seen.shape.replaces else 1
    tries = seen.workload.failures + count + pod.status.restarts
    return f"{_end_of(pod)} It is tried again (failure {tries}, backoff limit {_backoff_limit(seen.workload)}).", count


def _run_failed(seen: Seen) -> Found:
    if not seen.shape.replaces or seen.uncounted_failures <= 0 or seen.decided_by is not None:
        return None
    pod = seen.failed[-1]
    if not any(map(is_live, seen.last)) or not _may_retry(seen, pod, seen.uncounted_failures):
        return None
    return f"{_end_of(pod)} The other pods go on, and it is replaced.", seen.uncounted_failures


def _degraded_too_long(seen: Seen) -> Found:
    if seen.degraded_until is None or seen.now < seen.degraded_until or seen.is_whole:
        return None
    limit = degraded_timeout(seen.workload)
    return f"It was Degraded for {limit} s, which is the limit that its annotation {DEGRADED_TIMEOUT} sets."


def _run_succeeded(seen: Seen) -> Found:
    if seen.shape.runs is None:
        return None
    workload, ended_well = seen.workload, sum(map(succeeded, seen.mine))
    count = ended_well - (workload.successes - workload.successes_before)
    total = workload.successes_before + ended_well
    if count <= 0 or total >= seen.shape.runs:
        return None
    return f"{total} of {seen.shape.runs} runs have succeeded.", count


def _succeeded_whole(seen: Seen) -> Found:
    if seen.shape.serves or not seen.mine:
        return None
    if seen.shape.runs is not None:
        return _all_runs(seen)
    if seen.decided_by is not None:
        if seen.settles_at is not None and seen.now < seen.settles_at:
            return None
        return f"Its {seen.shape.decider} {seen.decided_by.name} has succeeded."
    if any(map(is_live, seen.last)) or seen.vacant or not seen.enough(seen.done):
        return None
    if len(seen.done) < len(seen.shape.places):
        return (
            f"{len(seen.done)} of {len(seen.shape.places)} pods have succeeded, and at least "
            f"{seen.shape.min_members} had to: it completes with fewer resources."
        )
    return f"{_pods(len(seen.done), 'has', 'have')} succeeded."


def _all_runs(seen: Seen) -> Found:
    ended_well = sum(map(succeeded, seen.mine))
    runs, workload = seen.shape.runs or 1, seen.workload
    if workload.successes_before + ended_well < runs:
        return None
    count = ended_well - (workload.successes - workload.successes_before)
    return ("Its run has succeeded." if runs == 1 else f"All {runs} runs have succeeded."), max(count, 0)


def _scheduled(seen: Seen) -> Found:
    if not seen.enough(seen.placed):
        return None
    nodes = sorted({pod.status.node for pod in seen.placed if pod.status.node})
    where = f" on {', '.join(nodes[:3])}{' and more' if len(nodes) > 3 else ''}" if nodes else ""
    return f"{_pods(len(seen.placed), 'is', 'are')} placed{where}."


def _first_ready(seen: Seen) -> Found:
    """A pod that has a node is waited for; one that still has none is not."""
    if not seen.enough(seen.ready) or len(seen.ready) < len(seen.placed):
        return None
    if seen.shape.leader_first and not seen.is_whole:
        return None
    return f"{_pods(len(seen.ready), 'is', 'are')} ready."


def _whole_again(seen: Seen) -> Found:
    return f"{_pods(len(seen.ready), 'is', 'are')} ready again." if seen.is_whole else None


def _waits_to_start(seen: Seen) -> Found:
    if seen.enough(seen.placed):
        return None
    return "A pod lost its place before all were ready; the workload waits for a new one."


def _waits(seen: Seen) -> Found:
    if seen.placed or not seen.shape.places or seen.broken:
        return None
    return "None of its pods has a place any more; the workload waits for one."


def _lost(seen: Seen) -> Found:
    if seen.is_whole or seen.decided_by is not None:
        return None
    if seen.broken:
        return f"{_end_of(seen.broken[0])} It is not replaced, because the backoff limit is used up."
    ill = [pod for pod in seen.last if pod not in seen.ready]
    named = f": {_state_of(ill[0])}" if ill else ""
    return f"{len(seen.ready)} of {max(seen.shape.healthy, seen.shape.min_members)} pods are ready{named}."


def _pods(number: int, one: str, many: str) -> str:
    return f"Its pod {one}" if number == 1 else f"Its {number} pods {many}"


def _end_of(pod: Pod) -> str:
    code = "" if pod.status.exit_code is None else f" with exit code {pod.status.exit_code}"
    message = pod.status.message.rstrip(".")
    says_more = message and not message.endswith(f"code {pod.status.exit_code}")
    return f"Pod {pod.name} failed{code}{f': {message}' if says_more else ''}."


def _state_of(pod: Pod) -> str:
    if pod.status.state == PodState.RUNNING:
        return f"pod {pod.name} runs but is not ready"
    reason = f" ({pod.status.reason})" if pod.status.reason else ""
    return f"pod {pod.name} is {pod.status.state}{reason}"


_STARTING = frozenset({Phase.CREATING, Phase.RESUMING})
_UP = frozenset({Phase.RUNNING, Phase.DEGRADED})
_WITH_PODS = _UP | {Phase.PENDING, Phase.INITIALIZING}

RULES: tuple[tuple[frozenset[Phase], Signal, Callable[[Seen], Found]], ...] = (
    (LEAVING, Signal.PODS_GONE, _gone),
    (_STARTING, Signal.PODS_CREATED, _created),
    (_WITH_PODS, Signal.RUN_SUCCEEDED, _run_succeeded),
    (_UP, Signal.SUCCEEDED, _succeeded_whole),
    (_WITH_PODS, Signal.EVICTED_FOR_GOOD, _evicted_for_good),
    (_WITH_PODS, Signal.EVICTED, _evicted),
    (_WITH_PODS, Signal.FAILED, _failed),
    (_WITH_PODS, Signal.RETRY, _retry),
    (_WITH_PODS, Signal.RUN_FAILED, _run_failed),
    (frozenset({Phase.DEGRADED}), Signal.FAILED, _degraded_too_long),
    (frozenset({Phase.PENDING}), Signal.ALL_SCHEDULED, _scheduled),
    (frozenset({Phase.INITIALIZING}), Signal.WAITING, _waits_to_start),
    (frozenset({Phase.INITIALIZING}), Signal.ALL_READY, _first_ready),
    (_UP, Signal.WAITING, _waits),
    (frozenset({Phase.RUNNING}), Signal.PODS_LOST, _lost),
    (frozenset({Phase.DEGRADED}), Signal.ALL_READY, _whole_again),
)
"""Read from the top: what ends an attempt comes before what moves it on."""

__all__ = [
    "LEAVING",
    "RULES",
    "SETTLE_SECONDS",
    "Counts",
    "Observed",
    "counts",
    "look_again_at",
    "observe",
    "surplus",
    "wants_pods",
]
