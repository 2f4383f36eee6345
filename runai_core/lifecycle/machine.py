"""The only way from one phase to another.

`step` reads the table; `advance` also keeps the workload's own record: times,
counters, attempt. Both are pure; the service stores the result and carries the
effects out.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from runai_core.lifecycle.phases import CLAIMS_QUOTA, TRANSITIONS, Effect, Signal
from runai_core.model.errors import IllegalTransition
from runai_core.model.workload import Phase, Workload


@dataclass(frozen=True, slots=True)
class Transition:
    """The next phase, and what the caller must carry out, in order."""

    phase: Phase
    effects: tuple[Effect, ...] = ()


RUNS = frozenset({Phase.RUNNING, Phase.DEGRADED})
"""Phases whose time counts as running (Run:ai API: totalRunningTimeSeconds)."""

WAITS = frozenset({Phase.CREATING, Phase.RESUMING, Phase.PENDING})
"""Phases whose time counts as pending (Run:ai API: totalPendingTimeSeconds)."""


def step(phase: Phase, signal: Signal) -> Transition:
    """Return what the signal does in this phase.

    Raises:
        IllegalTransition: the phase does not know the signal; nothing changes.
    """
    try:
        return Transition(*TRANSITIONS[phase][signal])
    except KeyError:
        details = {"phase": str(phase), "signal": str(signal), "allowed": [str(known) for known in TRANSITIONS[phase]]}
        raise IllegalTransition(_refusal(phase, signal), details) from None


def advance(
    workload: Workload, signal: Signal, *, now: float, cause: str, count: int = 1
) -> tuple[Workload, Transition]:
    """Return the workload after the signal, and the transition whose effects are still to be carried out.

    `now` is seconds since the epoch; `cause` is a whole sentence and becomes the
    phase's message; `count` is how often a counting effect counts.

    Raises:
        IllegalTransition: as `step`.
    """
    transition = step(workload.phase, signal)
    changes = dict(_INTENTIONS.get(signal, {}))
    if transition.phase != workload.phase:
        changes |= {
            **_clocks(workload, now),
            "phase": transition.phase,
            "phase_message": cause,
            "phase_reason": str(signal),
            "phase_updated_at": now,
        }
    if signal == Signal.ALL_SCHEDULED:
        changes |= {"last_start": now, "verdict": None}
    if transition.phase not in CLAIMS_QUOTA:
        changes |= {"pods_running": 0, "verdict": None}
    moved = replace(workload, **changes)
    for effect in transition.effects:
        moved = replace(moved, **_RECORD.get(effect, _nothing)(moved, now, count))
    return moved, transition


Change = Mapping[str, Any]

_INTENTIONS: Mapping[Signal, Change] = {
    Signal.STOP_ASKED: {"stop_requested": True},
    Signal.RESUME_ASKED: {"stop_requested": False},
    Signal.DELETE_ASKED: {"delete_requested": True},
}

_RECORD: Mapping[Effect, Callable[[Workload, float, int], Change]] = {
    Effect.COUNT_SUCCESS: lambda workload, _now, count: {"successes": workload.successes + count},
    Effect.COUNT_FAILURE: lambda workload, _now, count: {"failures": workload.failures + count},
    Effect.COUNT_EVICTION: lambda workload, _now, count: {"evictions": workload.evictions + count},
    Effect.NEW_ATTEMPT: lambda workload, _now, _count: {
        "attempt": workload.attempt + 1,
        "successes_before": workload.successes,
        "failures_before": workload.failures,
        "pods_running": 0,
    },
    Effect.RECORD_END: lambda _workload, now, _count: {"completed_at": now},
}


def _nothing(_workload: Workload, _now: float, _count: int) -> Change:
    return {}


def _clocks(workload: Workload, now: float) -> Change:
    """Return the time counters with the phase that ends; a clock that was set back counts nothing."""
    spent = max(0.0, now - workload.phase_updated_at)
    if workload.phase in RUNS:
        return {"running_seconds": workload.running_seconds + spent}
    if workload.phase in WAITS:
        return {"pending_seconds": workload.pending_seconds + spent}
    return {}


_ASKED: Mapping[Signal, str] = {
    Signal.STOP_ASKED: "stopped",
    Signal.RESUME_ASKED: "resumed",
    Signal.UPDATE_ASKED: "updated",
    Signal.ROLL_ASKED: "updated",
    Signal.SCALE_ASKED: "scaled",
}

_HAS_ENDED = "it has ended, so delete it, or submit it again under another name"
_ADVICE: Mapping[Phase, str] = {
    Phase.COMPLETED: _HAS_ENDED,
    Phase.FAILED: _HAS_ENDED,
    Phase.STOPPED: "resume it first",
    Phase.STOPPING: "wait until it is Stopped",
    Phase.CREATING: "wait until its pods are created",
    Phase.RESUMING: "wait until its pods are created",
    Phase.UPDATING: "wait until the update is done",
    Phase.UNKNOWN: "the state of its pods is not known now, so try again later",
    Phase.TERMINATING: "its pods are being ended after an eviction, so wait until it is Failed",
    Phase.DELETING: "it is being deleted, so submit it again once it is gone",
}


def _refusal(phase: Phase, signal: Signal) -> str:
    if signal == Signal.RESUME_ASKED and phase in CLAIMS_QUOTA:
        return f"the workload cannot be resumed: it is {phase} already; only a Stopped workload can be"
    if signal in _ASKED:
        return f"the workload cannot be {_ASKED[signal]}: it is {phase}; {_ADVICE.get(phase, 'it needs no help')}"
    known = ", ".join(TRANSITIONS[phase]) or "none"
    return f"a workload that is {phase} does not know the signal {signal}; it knows {known}"
