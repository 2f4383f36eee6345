"""`RunaiWorkloadSensor`: a task that waits for somebody else's workload."""

# ruff: noqa: TID253 - Airflow imports this module itself

from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue, conf
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from runai_airflow.hooks import RunaiHook
from runai_airflow.keys import Outcome
from runai_airflow.links import RunaiWorkloadLink, publish_page
from runai_airflow.triggers import RunaiWorkloadTrigger
from runai_core.client.ownership import is_leaving, page_url, sentence_of
from runai_core.client.results import Workload
from runai_core.model.errors import RunaiError, Unavailable


class RunaiWorkloadSensor(BaseSensorOperator):
    """Succeeds when the workload has completed; fails when it has failed or was deleted. Never ends it.

    :param workload: name, or id, for example the XCom `workload_id` of another task (templated)
    :param project: where it is; the connection's project when left out (templated)
    """

    template_fields: Sequence[str] = ("workload", "project", "runai_conn_id")
    operator_extra_links = (RunaiWorkloadLink(),)

    def __init__(
        self,
        *,
        workload: str,
        project: str = "",
        runai_conn_id: str = RunaiHook.default_conn_name,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.workload = workload
        self.project = project
        self.runai_conn_id = runai_conn_id
        self.deferrable = deferrable
        self._said = ""

    def execute(self, context: Any) -> Any:
        """Wait here, or in the triggerer."""
        found, url = self._look()
        publish_page(context["ti"], url)
        if not self.deferrable:
            return super().execute(context)
        trigger = RunaiWorkloadTrigger(
            workload_id=found.id,
            runai_conn_id=self.runai_conn_id,
            poll_interval=self.poke_interval,
            show_logs=False,
            delete_on_kill=False,
        )
        return self.defer(trigger=trigger, method_name="execute_complete", timeout=self.timeout)

    def poke(self, context: Any) -> PokeReturnValue:  # noqa: ARG002 - Airflow passes it
        """Return whether it has completed; the XCom is its id."""
        found, _ = self._look()
        sentence = sentence_of(found)
        if is_leaving(found):
            raise AirflowFailException(sentence)
        if found.is_over and found.phase != "Completed":
            raise AirflowFailException(sentence)
        if sentence != self._said:
            self._said = sentence
            self.log.info(sentence)
        return PokeReturnValue(is_done=found.is_over, xcom_value=found.id)

    def execute_complete(self, context: Any, event: Mapping[str, Any]) -> Any:  # noqa: ARG002 - Airflow passes it
        """Return the id of the completed workload."""
        if event["outcome"] != Outcome.COMPLETED:
            raise AirflowFailException(event["sentence"])
        return event["workload_id"]

    def _look(self) -> tuple[Workload, str]:
        """Return the workload, and the address of its page."""
        try:
            with RunaiHook(self.runai_conn_id).get_conn() as client:
                found = client.get(self.workload, project=self.project)
                return found, page_url(client.transport.connection.url, found.id)
        except Unavailable as error:
            raise AirflowException(error.message) from None
        except RunaiError as error:
            raise AirflowFailException(f"{type(error).__name__}: {error.message}") from None
