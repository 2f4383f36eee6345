"""How the state of a workload or pod looks: a colour's name for each phase, and the sentence below it."""

from collections.abc import Mapping

from runai_core.model.snapshot import PodState
from runai_core.model.workload import Phase, Workload

KINDS: Mapping[Phase, str] = {
    Phase.CREATING: "busy",
    Phase.PENDING: "wait",
    Phase.INITIALIZING: "busy",
    Phase.RUNNING: "good",
    Phase.DEGRADED: "bad",
    Phase.DELETING: "busy",
    Phase.STOPPED: "off",
    Phase.FAILED: "bad",
    Phase.COMPLETED: "off",
    Phase.RESUMING: "busy",
    Phase.STOPPING: "busy",
    Phase.UPDATING: "busy",
    Phase.TERMINATING: "busy",
    Phase.UNKNOWN: "bad",
}
"""Phase -> kind of badge: good, busy, wait, bad, off."""

POD_KINDS: Mapping[PodState, str] = {
    PodState.RUNNING: "good",
    PodState.FAILED: "bad",
    PodState.SUCCEEDED: "off",
    PodState.PENDING: "wait",
}


def reason(workload: Workload) -> str:
    """Return the one sentence that says why the workload is where it is; empty where the phase says all."""
    if workload.phase is Phase.PENDING and workload.verdict is not None:
        return workload.verdict.message
    return workload.phase_message
