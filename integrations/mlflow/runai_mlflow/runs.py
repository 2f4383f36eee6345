"""What becomes of a run when something becomes of its workload: a table, and the one function that writes it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runai_core.model.workload import TERMINAL, Phase
from runai_mlflow.marks import TAG_ID, TAG_MESSAGE, TAG_PHASE

STATUS: Mapping[Phase, str] = {
    Phase.PENDING: "SCHEDULED",
    Phase.INITIALIZING: "SCHEDULED",
    Phase.RUNNING: "RUNNING",
    Phase.STOPPING: "KILLED",
    Phase.STOPPED: "KILLED",
    Phase.TERMINATING: "KILLED",
    Phase.DELETING: "KILLED",
    Phase.FAILED: "FAILED",
    Phase.COMPLETED: "FINISHED",
}
"""Phase that a workload comes to -> status of its runs."""

EVICTED = "Evicted"
"""Signal of a workload that gave way to another one; it waits again."""

OVER = frozenset({"FINISHED", "FAILED", "KILLED"})

KEEPS: Mapping[str, frozenset[str]] = {
    "SCHEDULED": frozenset({"FINISHED", "FAILED", "SCHEDULED"}),
    "RUNNING": frozenset({"FINISHED", "FAILED", "RUNNING"}),
    "FINISHED": OVER,
    "FAILED": frozenset({"FAILED"}),
    "KILLED": frozenset({"KILLED"}),
}
"""New status -> statuses that it does not replace: what user code has said of its own run stands, unless the
workload failed, or was ended, after all."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a change of phase means for runs; `status` is empty where it means nothing."""

    status: str
    phase: str
    message: str

    @property
    def is_end(self) -> bool:
        """Whether the processes are gone, so that no run can still be running."""
        return self.status in OVER


def change_of(before: Phase | None, after: Phase | None, signal: str, message: str) -> Change:
    """Return what a transition means. A workload that had ended is only put away: its runs stay as they are."""
    if after is None or before in TERMINAL:
        return Change("", "", "")
    status = "KILLED" if signal == EVICTED else STATUS.get(after, "")
    return Change(status, str(after), message)


def apply(client: Any, run_id: str, change: Change) -> None:
    """Bring one run (through an ``MlflowClient``) to what the change means, and say why in its tags."""
    client.set_tag(run_id, TAG_PHASE, change.phase)
    if change.message:
        client.set_tag(run_id, TAG_MESSAGE, change.message)
    if not change.status or client.get_run(run_id).info.status in KEEPS[change.status]:
        return
    if change.is_end:
        client.set_terminated(run_id, change.status)
    else:
        client.update_run(run_id, status=change.status)


def running_of(client: Any, workload_id: str) -> list[str]:
    """Return the runs of a workload that are still called running."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    wanted = f"tags.`{TAG_ID}` = '{workload_id}' and attributes.status = 'RUNNING'"
    return [run.info.run_id for run in client.search_runs(experiments, wanted)] if experiments else []
