"""What a pod's status is after something happened to its process, or is to happen. Pure."""

from collections.abc import Callable
from dataclasses import replace

from runai_core.backends.local.journal import Run
from runai_core.model.decision import Evict
from runai_core.model.snapshot import PodState
from runai_core.model.spec import RestartPolicy
from runai_core.model.workload import Pod, PodStatus

BACK_OFF = "CrashLoopBackOff"
LOST = "NodeLost"
SHUTDOWN = "Shutdown"
ERROR = "Error"
EVICTED = "Evicted"
EVICTABLE = frozenset({PodState.BINDING, PodState.BOUND, PodState.RUNNING})

STARTING = frozenset({PodState.BINDING, PodState.BOUND})

STEADY = 600.0
"""A run that lasted so many seconds is no part of a crash loop: the delay starts anew."""

CANNOT_START = frozenset({126, 127})
"""Exit codes of a program that could not be executed, as in a POSIX shell."""


def running(pod: Pod, run: Run) -> PodStatus:
    """Return the status while a run goes on."""
    return replace(
        pod.status,
        state=PodState.RUNNING,
        ready=pod.spec.readiness is None and run.running and run.begun,
        started_at=run.started_at if run.begun else None,
        finished_at=None,
        exit_code=None,
        reason="",
        message="",
    )


def without_command(pod: Pod, now: float) -> PodStatus:
    """Return the status of a pod that has nothing to run."""
    return replace(
        pod.status,
        state=PodState.FAILED,
        ready=False,
        exit_code=max(CANNOT_START),
        finished_at=now,
        reason=ERROR,
        message="it has no command, and on one machine its image is not run: give the command after --",
    )


def hindered(pod: Pod, message: str) -> PodStatus | None:
    """Return the status that says why a pod cannot start yet; None where it says so, or does not start."""
    if pod.status.state not in STARTING or pod.status.message == message:
        return None
    return replace(pod.status, message=message)


def after(pod: Pod, run: Run | None, now: float) -> PodStatus:
    """Return the status after the end of a run: started again in place, or ended for good."""
    ended = run.finished_at if run is not None and run.finished_at is not None else now
    code = None if run is None else run.code
    message = run.message if run is not None else "its process was lost with the machine, or with its supervisor"
    status = replace(pod.status, ready=False, exit_code=code, finished_at=ended, message=message)
    if run is not None and not run.begun:
        status = replace(status, started_at=None)
    if run is not None and run.stopped:  # it was never asked to by its state: everything was shut down
        return replace(status, state=PodState.FAILED, reason=SHUTDOWN, message="ended together with the orchestrator")
    if restarts_in_place(pod, run):
        return replace(status, restarts=pod.status.restarts + 1, reason=BACK_OFF)
    if code == 0:
        return replace(status, state=PodState.SUCCEEDED, reason="Completed")
    return replace(status, state=PodState.FAILED, reason=LOST if code is None else ERROR)


def restarts_in_place(pod: Pod, run: Run | None) -> bool:
    """Return whether the pod's policy starts it again on its node."""
    policy, code = pod.spec.restart_policy, None if run is None else run.code
    if policy is RestartPolicy.NEVER or (code == 0 and policy is not RestartPolicy.ALWAYS):
        return False
    if run is not None and not run.begun and code in CANNOT_START:
        return False
    lasted = (run.finished_at or 0.0) - run.started_at if run is not None else 0.0
    return pod.status.restarts < pod.spec.backoff_limit or lasted >= STEADY


def released(pod: Pod, run: Run | None, now: float) -> PodStatus:
    """Return the status of a pod that was asked to end, and has.

    A run that had ended by itself before it was asked keeps its own end.
    """
    status = replace(pod.status, ready=False, finished_at=now)
    if run is None:
        return replace(status, state=PodState.FAILED)
    status = replace(status, exit_code=run.code, finished_at=run.finished_at)
    if not run.stopped and run.code is not None and run.begun and run.run == pod.status.restarts:
        if run.code == 0:
            return replace(status, state=PodState.SUCCEEDED, reason="Completed", message="")
        return replace(status, state=PodState.FAILED, reason=ERROR, message=run.message)
    return replace(status, state=PodState.FAILED)


def releasing(reason: str, message: str) -> Callable[[Pod], PodStatus | None]:
    """Return the edit that asks a pod to end, where it has a process."""

    def edit(pod: Pod) -> PodStatus | None:
        if pod.status.state not in EVICTABLE:
            return None
        return replace(pod.status, state=PodState.RELEASING, ready=False, reason=reason, message=message)

    return edit


def evicted(pod: Pod, eviction: Evict) -> PodStatus | None:
    """Return the status of a pod that is to make room; None where it has no process."""
    if pod.status.state is PodState.RELEASING:
        return pod.status
    message = eviction.message or f"evicted by {eviction.action} for {eviction.for_group or 'others'}"
    return releasing(EVICTED, message)(pod)
