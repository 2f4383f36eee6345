"""Everything that moves a workload from one phase to another, as one table.

The law of this room: a phase changes by `machine.step` and by nothing else, and
`step` reads this table and nothing else. What must be done about a change is
data too (`Effect`); the service layer carries it out. Which signal applies is
told by `observe`, from the pods.

Entry and exit conditions are those of Run:ai's table of workload phases; the
diagram in docs/lifecycle.md is drawn from the table below.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from runai_core.model.workload import Phase


class Signal(StrEnum):
    """Something that happened to a workload."""

    PODS_CREATED = "PodsCreated"  # the pod group and its pods exist
    ALL_SCHEDULED = "AllScheduled"  # every pod that is needed has a node
    ALL_READY = "AllReady"  # every pod that is needed runs and is ready
    PODS_LOST = "PodsLost"  # some pods of a running gang are missing or unhealthy
    WAITING = "Waiting"  # none of its pods has a place any more: they wait in the queue
    SUCCEEDED = "Succeeded"
    RUN_SUCCEEDED = "RunSucceeded"  # one run of several (completions) ended well
    RUN_FAILED = "RunFailed"  # one pod failed that can be replaced alone; the others go on
    RETRY = "Retry"  # a failure, but the backoff limit is not reached
    FAILED = "Failed"  # by error beyond the backoff limit, or by a user-defined rule
    EVICTED = "Evicted"  # the scheduler took its place away; it waits again
    EVICTED_FOR_GOOD = "EvictedForGood"  # the same, and it may not wait again (terminateAfterPreemption)
    STOP_ASKED = "StopAsked"
    RESUME_ASKED = "ResumeAsked"
    DELETE_ASKED = "DeleteAsked"
    PODS_GONE = "PodsGone"  # no pod is left
    UPDATE_ASKED = "UpdateAsked"
    UPDATED = "Updated"  # the changed specification is stored
    ROLL_ASKED = "RollAsked"  # the same at once: its pods are replaced one after the other, and old ones answer on
    SCALE_ASKED = "ScaleAsked"  # more or fewer pods of the same kind are asked for
    CONTACT_LOST = "ContactLost"  # the state of the pods is not known
    CONTACT_FOUND = "ContactFound"


class Effect(StrEnum):
    """What must be done after a transition, in this order.

    The counting effects and NEW_ATTEMPT change the workload's record and are
    applied by `machine.advance`; the others are the service's. Those about pods
    may be lost in a crash, so the service repeats them from what it sees:
    `observe.wants_pods` and `observe.surplus` say what is still to be done.
    """

    DELETE_PODS = "DeletePods"  # all pods of the present attempt end and are forgotten
    CLEAN_PODS = "CleanPods"  # pods that still live end, as cleanPodPolicy says; ended ones stay for their logs
    COUNT_SUCCESS = "CountSuccess"
    COUNT_FAILURE = "CountFailure"
    COUNT_EVICTION = "CountEviction"
    RELEASE_QUOTA = "ReleaseQuota"  # its claim in the queue ends; what its pods hold is free when they are gone
    NEW_ATTEMPT = "NewAttempt"  # the next pods are of a new attempt
    CREATE_PODS = "CreatePods"  # the pods of the new attempt, once no pod of an older one lives
    REPLACE_PODS = "ReplacePods"  # the pods of the present attempt that are missing
    RECORD_END = "RecordEnd"  # completed_at is set
    FORGET = "Forget"  # remove the object, keep it for the record
    NOTIFY = "Notify"


Step = tuple[Phase, tuple[Effect, ...]]
Row = Mapping[Signal, Step]

_NEW = (Effect.NEW_ATTEMPT, Effect.CREATE_PODS)
_ANEW = (Effect.RELEASE_QUOTA, *_NEW)
_AT_END = (Effect.RELEASE_QUOTA, Effect.RECORD_END, Effect.NOTIFY)

SUBMITTED: Step = (Phase.CREATING, _NEW)
"""Where the life of a workload begins, and what its submission makes the service do."""

CLAIMS_QUOTA = frozenset(
    {
        Phase.CREATING,
        Phase.RESUMING,
        Phase.PENDING,
        Phase.INITIALIZING,
        Phase.RUNNING,
        Phase.DEGRADED,
        Phase.UPDATING,
        Phase.UNKNOWN,
    }
)
"""Phases in which the workload has a claim in its queue: CREATE_PODS opens it, RELEASE_QUOTA ends it."""

_STOP: Row = {Signal.STOP_ASKED: (Phase.STOPPING, (Effect.DELETE_PODS, Effect.RELEASE_QUOTA))}
_DELETE: Row = {Signal.DELETE_ASKED: (Phase.DELETING, (Effect.DELETE_PODS, Effect.RELEASE_QUOTA))}
_DELETE_REST: Row = {Signal.DELETE_ASKED: (Phase.DELETING, (Effect.DELETE_PODS,))}

_FAIL: Row = {Signal.FAILED: (Phase.FAILED, (Effect.CLEAN_PODS, Effect.COUNT_FAILURE, *_AT_END))}
_END: Row = {
    Signal.SUCCEEDED: (Phase.COMPLETED, (Effect.CLEAN_PODS, Effect.COUNT_SUCCESS, *_AT_END)),
    **_FAIL,
    Signal.RETRY: (Phase.PENDING, (Effect.DELETE_PODS, Effect.COUNT_FAILURE, *_ANEW)),
}
_LOSE_PLACE: Row = {
    Signal.EVICTED: (Phase.PENDING, (Effect.DELETE_PODS, Effect.COUNT_EVICTION, *_ANEW, Effect.NOTIFY)),
    Signal.EVICTED_FOR_GOOD: (Phase.TERMINATING, (Effect.DELETE_PODS, Effect.COUNT_EVICTION, Effect.RELEASE_QUOTA)),
}
_LOSE_CONTACT: Row = {Signal.CONTACT_LOST: (Phase.UNKNOWN, ())}


def _one_run_ends(phase: Phase) -> Row:
    """Return the row part of a phase that stays while single pods of it end and are replaced."""
    return {
        Signal.RUN_SUCCEEDED: (phase, (Effect.COUNT_SUCCESS, Effect.REPLACE_PODS)),
        Signal.RUN_FAILED: (phase, (Effect.COUNT_FAILURE, Effect.REPLACE_PODS)),
    }


def _changes(phase: Phase) -> Row:
    """Return the row part of a phase in which the specification of a server can be changed."""
    return {
        Signal.UPDATE_ASKED: (Phase.UPDATING, ()),
        Signal.ROLL_ASKED: (Phase.PENDING if phase is Phase.INITIALIZING else phase, _ANEW),
        Signal.SCALE_ASKED: (phase, (Effect.REPLACE_PODS,)),
    }


def _with_pods(phase: Phase) -> Row:
    """Return what can happen in every phase in which pods exist and their state is known."""
    return {**_whatever_is_known(phase), **_changes(phase)}


def _whatever_is_known(phase: Phase) -> Row:
    """Return what can happen in every phase in which pods exist."""
    return {**_one_run_ends(phase), **_END, **_LOSE_PLACE, **_LOSE_CONTACT, **_STOP, **_DELETE}


TRANSITIONS: Mapping[Phase, Row] = MappingProxyType(
    {
        Phase.CREATING: {
            Signal.PODS_CREATED: (Phase.PENDING, ()),
            **_FAIL,
            **_STOP,
            **_DELETE,
        },
        Phase.PENDING: {
            Signal.PODS_CREATED: (Phase.PENDING, ()),
            Signal.ALL_SCHEDULED: (Phase.INITIALIZING, ()),
            **_with_pods(Phase.PENDING),
        },
        Phase.INITIALIZING: {
            Signal.ALL_READY: (Phase.RUNNING, ()),
            Signal.WAITING: (Phase.PENDING, ()),
            **_with_pods(Phase.INITIALIZING),
        },
        Phase.RUNNING: {
            Signal.PODS_LOST: (Phase.DEGRADED, (Effect.REPLACE_PODS, Effect.NOTIFY)),
            Signal.WAITING: (Phase.PENDING, ()),
            **_with_pods(Phase.RUNNING),
        },
        Phase.DEGRADED: {
            Signal.ALL_READY: (Phase.RUNNING, ()),
            Signal.WAITING: (Phase.PENDING, ()),
            **_with_pods(Phase.DEGRADED),
        },
        Phase.UPDATING: {
            Signal.UPDATED: (Phase.PENDING, (Effect.DELETE_PODS, *_ANEW)),
            **_FAIL,
            **_STOP,
            **_DELETE,
        },
        Phase.UNKNOWN: {
            Signal.CONTACT_FOUND: (Phase.PENDING, ()),
            Signal.ALL_READY: (Phase.RUNNING, ()),
            Signal.PODS_LOST: (Phase.DEGRADED, (Effect.REPLACE_PODS, Effect.NOTIFY)),
            **_whatever_is_known(Phase.UNKNOWN),
        },
        Phase.STOPPING: {
            Signal.STOP_ASKED: (Phase.STOPPING, ()),
            Signal.PODS_GONE: (Phase.STOPPED, (Effect.NOTIFY,)),
            # The new pods wait until the old ones are gone: `observe.wants_pods`.
            Signal.RESUME_ASKED: (Phase.RESUMING, _NEW),
            **_DELETE_REST,
        },
        Phase.STOPPED: {
            Signal.STOP_ASKED: (Phase.STOPPED, ()),
            Signal.RESUME_ASKED: (Phase.RESUMING, _NEW),
            **_DELETE_REST,
        },
        Phase.RESUMING: {
            Signal.RESUME_ASKED: (Phase.RESUMING, ()),
            Signal.PODS_CREATED: (Phase.PENDING, ()),
            **_FAIL,
            **_STOP,
            **_DELETE,
        },
        Phase.TERMINATING: {
            Signal.PODS_GONE: (Phase.FAILED, (Effect.RECORD_END, Effect.NOTIFY)),
            **_DELETE_REST,
        },
        Phase.DELETING: {
            Signal.DELETE_ASKED: (Phase.DELETING, ()),
            Signal.PODS_GONE: (Phase.DELETING, (Effect.FORGET,)),
        },
        Phase.COMPLETED: _DELETE_REST,
        Phase.FAILED: _DELETE_REST,
    }
)
"""Phase -> signal -> (next phase, effects). A signal that has no entry is illegal and changes nothing."""
