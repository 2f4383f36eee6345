"""Runs end with their workload: the orchestrator tells MLflow what the processes no longer can."""

import logging
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from runai_core.model.workload import Workload
from runai_core.plugins.types import TransitionEvent
from runai_mlflow.marks import RUN_ID, TRACKING_URI
from runai_mlflow.runs import Change, apply, change_of, running_of

log = logging.getLogger(__name__)

QUICK: Mapping[str, str] = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3"}
"""MLflow's own settings, where nobody set them: a tracking server that is away must not hold us for minutes."""


class RunObserver:
    """Brings MLflow runs to the status of their workload.

    The work is done in a thread, one change after the other: importing MLflow
    takes seconds, and the orchestrator waits for its observers.
    """

    def __init__(self, tracking_uri: str) -> None:
        self._tracking_uri = tracking_uri
        self._thread: ThreadPoolExecutor | None = None
        self._last: dict[str, str] = {}  # workload -> id of its newest event that is not told yet

    async def on_transition(self, event: TransitionEvent) -> None:
        """Note the change of phase; it is told in order, soon after."""
        variables = variables_of(event.workload)
        uri, run_id = variables.get(TRACKING_URI) or self._tracking_uri, variables.get(RUN_ID, "")
        record = event.record
        change = change_of(record.from_phase, record.to_phase, record.signal, record.cause)
        if not uri or not change.phase or not (run_id or change.is_end):
            return
        if self._thread is None:
            self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="runai-mlflow")
        self._last[event.workload.meta.uid] = event.id
        self._thread.submit(self._tell, uri, run_id, event.workload, change, event.id)

    def _tell(self, uri: str, run_id: str, workload: Workload, change: Change, event: str) -> None:
        is_last = self._last.get(workload.meta.uid) == event
        if is_last:
            del self._last[workload.meta.uid]
        elif not change.is_end:
            return  # it is elsewhere by now: a command that waits for it may have said so already
        try:
            client = _client(uri)
            for found in dict.fromkeys([*([run_id] if run_id else []), *self._others(client, workload, change)]):
                apply(client, found, change)
        except Exception as error:  # noqa: BLE001 - a tracking server that is away must not stop the orchestrator
            log.warning("the MLflow runs of %s could not be told that it is %s: %s", workload.key, change.phase, error)

    @staticmethod
    def _others(client: Any, workload: Workload, change: Change) -> list[str]:
        return running_of(client, workload.meta.uid) if change.is_end else []


def variables_of(workload: Workload) -> dict[str, str]:
    """Return the environment variables that the workload's specification sets."""
    return {item.name: item.value for item in workload.spec.environment_variables if item.value is not None}


def _client(uri: str) -> Any:
    for name, value in QUICK.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)
