"""A run that was submitted: followed, ended, and brought to the status that its workload has."""

# ruff: noqa: TID253 - MLflow imports this module itself

import logging
import sys
from collections.abc import Mapping

from mlflow import MlflowClient
from mlflow.exceptions import ExecutionException
from mlflow.projects.submitted_run import SubmittedRun

from runai_core.client import Client
from runai_core.client.environment import Connection
from runai_core.client.news import Cursors, News, NewsKind
from runai_core.client.ownership import is_leaving
from runai_core.client.results import Workload
from runai_core.client.sync.following import follow
from runai_core.client.sync.owned import delete_owned
from runai_core.model.errors import NotFound, RunaiError
from runai_core.model.workload import Phase
from runai_mlflow.marks import TAG_MESSAGE, TAG_PHASE
from runai_mlflow.runs import STATUS, Change, apply

_logger = logging.getLogger("mlflow.projects.runai")

SHOWN: Mapping[Phase, str] = {**STATUS, Phase.DEGRADED: "RUNNING", Phase.CREATING: "SCHEDULED"}


class RunaiSubmittedRun(SubmittedRun):
    """One MLflow run and its workload."""

    def __init__(
        self, run_id: str, workload_id: str, connection: Connection, *, period: float = 2.0, raises: bool = False
    ) -> None:
        super().__init__()
        self._run_id = run_id
        self.workload_id = workload_id
        self._connection = connection
        self._period = period
        self._raises = raises
        self._sentence = ""

    @property
    def run_id(self) -> str:
        """Id of the MLflow run."""
        return self._run_id

    def wait(self) -> bool:
        """Print the output of the processes until they have ended; return whether they succeeded.

        Raises:
            ExecutionException: they did not, and `mlflow.run` waits: given False, it would call every such run
                FAILED, also one that somebody killed, and would not say why.
        """
        try:
            succeeded = self._follow()
        except KeyboardInterrupt:
            self.cancel()
            raise
        if self._raises and not succeeded:
            raise ExecutionException(f"Run (ID '{self._run_id}') failed: {self._sentence}")
        return succeeded

    def wait_or_raise(self) -> None:
        """Wait, for callers that do not look at the answer.

        Raises:
            ExecutionException: the workload failed, was deleted, or can no longer be watched.
        """
        self._raises = True
        self.wait()
        _logger.info("=== Run (ID '%s') succeeded ===", self._run_id)

    def get_status(self) -> str:
        """Return MLflow's word for the workload's phase."""
        with Client.connect_to(self._connection) as client:
            try:
                found = client.get(self.workload_id)
            except NotFound:
                return "KILLED"
        return "KILLED" if is_leaving(found) else SHOWN.get(found.phase, "RUNNING")

    def cancel(self) -> None:
        """Delete the workload and call the run killed; harmless where it is over."""
        with Client.connect_to(self._connection) as client:
            delete_owned(client, self.workload_id)
        self._close(Change("KILLED", str(Phase.DELETING), "cancelled by its user"))

    def _follow(self) -> bool:
        cursors = Cursors()
        try:
            with Client.connect_to(self._connection) as client:
                for news in follow(client, self.workload_id, cursors=cursors, period=self._period):
                    self._tell(news)
        except NotFound:
            self._sentence = f"the workload {self.workload_id} was deleted and is gone"
            self._close(Change("KILLED", str(Phase.DELETING), self._sentence))
            return False
        except RunaiError as error:
            self._sentence = f"{error.message}; the workload goes on, and its run ends with it"
            MlflowClient().set_tag(self._run_id, TAG_MESSAGE, self._sentence)
            return False
        return self._end(news.workload)

    def _tell(self, news: News) -> None:
        if news.kind is NewsKind.LOG:
            sys.stdout.write(f"{news.text}\n")
            sys.stdout.flush()
            return
        self._sentence = news.text
        _logger.info("=== %s ===", news.text)
        if news.kind in (NewsKind.PHASE, NewsKind.WAITS):
            client = MlflowClient()
            client.set_tag(self._run_id, TAG_PHASE, str(news.workload.phase))
            client.set_tag(self._run_id, TAG_MESSAGE, news.text)

    def _end(self, workload: Workload) -> bool:
        killed = is_leaving(workload)
        status = "KILLED" if killed else STATUS[workload.phase]
        self._close(Change(status, str(workload.phase), self._sentence))
        return workload.phase is Phase.COMPLETED and not killed

    def _close(self, change: Change) -> None:
        apply(MlflowClient(), self._run_id, change)
