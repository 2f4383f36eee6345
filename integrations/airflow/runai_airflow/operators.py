"""`RunaiWorkloadOperator`: a task that is a workload."""

# ruff: noqa: TID253 - Airflow imports this module itself

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, NoReturn

from airflow.sdk import BaseOperator, conf
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from airflow.sdk.execution_time.context import context_to_airflow_vars

from runai_airflow import keys
from runai_airflow.hooks import RunaiHook
from runai_airflow.identity import TaskIdentity
from runai_airflow.keys import Outcome
from runai_airflow.links import RunaiWorkloadLink, publish_page
from runai_airflow.triggers import RunaiWorkloadTrigger
from runai_airflow.watching import Patience, Watch
from runai_core.client import AsyncClient, Client
from runai_core.client.environment import Connection
from runai_core.client.ownership import TIME_TO_LIVE, is_leaving, page_url, sentence_of
from runai_core.client.results import Workload
from runai_core.client.sync.owned import delete_owned, find_owned, submit_owned
from runai_core.model.errors import RunaiError, Unavailable

WEEK = timedelta(days=7)

UNSEEN = "runai_workload"
"""Key of Airflow's task state store (3.3): a workload whose end no try of the task has seen."""

ENDS: Mapping[Outcome, type[Exception]] = {
    Outcome.FAILED: AirflowException,
    Outcome.TIMEOUT: AirflowException,
    Outcome.NOT_STARTED: AirflowException,
    Outcome.DELETED: AirflowFailException,  # somebody ended it on purpose: trying again would undo that
    Outcome.LOST: AirflowFailException,  # a second workload beside one that nobody watches is no help
}
"""How the task ends when its workload did not complete; only an `AirflowException` is tried again by `retries`."""


class RunaiWorkloadOperator(BaseOperator):
    """Runs a command as a workload and waits for its end.

    The workload's name follows from DAG, run, task and try, so that a worker
    that crashed finds its workload again instead of submitting a second one.

    :param command: the program with its arguments, as a list or quoted as in a shell (templated)
    :param args: arguments for the entry point of the image (templated)
    :param image: container image; the embedded orchestrator runs the command on its machine (templated)
    :param project: where the workload goes; the connection's project when left out (templated)
    :param replicas: more than 1: a gang, whose processes start together or not at all; each is told RANK and WORLD_SIZE
    :param min_replicas: of an elastic gang: how many are enough to start
    :param framework: of a gang: PyTorch, TF, MPI, XGBoost or JAX
    :param gpus: devices for each process; below 1 a share of one
    :param gpu_memory: instead: memory of a device, for example ``5G``
    :param cpus, memory: for each process, for example 2 and ``4Gi``
    :param env: environment variables (templated)
    :param working_dir: working directory (templated)
    :param priority: very-low ... very-high
    :param preemptible: whether it may go over quota, and be evicted for it
    :param node_pools: in order of preference
    :param backoff_limit: attempts again inside the workload; 0, because Airflow has `retries`
    :param spec: any further field, in the names of the REST API (templated)
    :param runai_conn_id: connection of type `runai`
    :param deferrable: wait in the triggerer, without a worker
    :param poll_interval: seconds between two looks
    :param queue_timeout: seconds or timedelta that it may wait for its start before the task fails
    :param time_to_live: when the orchestrator ends the workload, should Airflow never come back
    :param delete_on_kill: whether the workload ends with its task; deleting is idempotent
    :param show_logs: whether the processes' output goes to the task's log
    """

    template_fields: Sequence[str] = (
        "command",
        "args",
        "image",
        "project",
        "env",
        "working_dir",
        "priority",
        "spec",
        "runai_conn_id",
    )
    template_fields_renderers: Mapping[str, str] = {"command": "bash", "env": "json", "spec": "json"}
    operator_extra_links = (RunaiWorkloadLink(),)
    ui_color = "#e5f3ff"

    def __init__(  # noqa: PLR0913 - the words of a submission
        self,
        *,
        command: str | Sequence[str] | None = None,
        args: str | Sequence[str] | None = None,
        image: str | None = None,
        project: str | None = None,
        replicas: int = 1,
        min_replicas: int | None = None,
        framework: str = "PyTorch",
        gpus: float | None = None,
        gpu_memory: str | None = None,
        cpus: float | None = None,
        memory: str | None = None,
        env: Mapping[str, Any] | None = None,
        working_dir: str | None = None,
        priority: str | None = None,
        preemptible: bool | None = None,
        node_pools: Sequence[str] | None = None,
        backoff_limit: int = 0,
        spec: Mapping[str, Any] | None = None,
        runai_conn_id: str = RunaiHook.default_conn_name,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poll_interval: float = 2.0,
        queue_timeout: float | timedelta | None = None,
        time_to_live: timedelta = WEEK,
        delete_on_kill: bool = True,
        show_logs: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.command = command
        self.args = args
        self.image = image
        self.project = project
        self.replicas = replicas
        self.min_replicas = min_replicas
        self.framework = framework
        self.gpus = gpus
        self.gpu_memory = gpu_memory
        self.cpus = cpus
        self.memory = memory
        self.env = env
        self.working_dir = working_dir
        self.priority = priority
        self.preemptible = preemptible
        self.node_pools = node_pools
        self.backoff_limit = backoff_limit
        self.spec = spec
        self.runai_conn_id = runai_conn_id
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.queue_timeout = queue_timeout
        self.time_to_live = time_to_live
        self.delete_on_kill = delete_on_kill
        self.show_logs = show_logs
        self._mine: tuple[TaskIdentity, Connection] | None = None  # what on_kill ends, known before it exists

    # -- the task

    def execute(self, context: Any) -> Any:
        """Submit, or find what an earlier try submitted, and wait."""
        workload = self.submit(context)
        return self.wait_for(context, workload.id)

    def wait_for(self, context: Any, uid: str, *, ranks: Sequence[int] = ()) -> Any:
        """Wait for a workload that was submitted, here or in the triggerer."""
        if self.deferrable:
            self._defer(uid, ranks)
        patience = Patience(period=self.poll_interval, queue=self._queue_seconds, total=None)
        watch = Watch(uid=uid, patience=patience, say=self.log.info, ranks=ranks, show_logs=self.show_logs)
        return self.execute_complete(context, asyncio.run(self._watch(watch)))

    def execute_complete(self, context: Any, event: Mapping[str, Any]) -> Any:
        """End the task as its workload ended.

        Raises:
            AirflowException: it failed; `retries` apply. AirflowFailException: trying again would be wrong.
        """
        outcome = Outcome(event["outcome"])
        task_instance = context["ti"]
        task_instance.xcom_push(key=keys.STATUS, value=event.get("phase") or str(outcome))
        self.note_end(context)
        if outcome is not Outcome.COMPLETED:
            self._mine = None
            raise ENDS[outcome](f"{event['sentence'].rstrip('.')}. Its page: {self._known_url(task_instance)}")
        return event.get("result")

    def note_end(self, context: Any) -> None:
        """Remember that the end of the workload was seen: the next try starts a new one."""
        if (store := _store_of(context)) is not None:
            store.set(UNSEEN, "")

    def on_kill(self) -> None:
        """End the workload with its task; harmless where it is gone already."""
        if self._mine is None or not self.delete_on_kill:
            return
        mine, connection = self._mine
        with Client.connect_to(connection) as client:
            found = find_owned(client, mine.name, owner=mine.owner, project=self.project or "")
            if found is not None and delete_owned(client, found.id):
                self.log.info("deleted workload %s: its task was ended", found.name)

    # -- submitting

    def submit(self, context: Any) -> Workload:
        """Return the workload of this try; it is there exactly once, however often this is called."""
        identity = TaskIdentity.of(context["ti"])
        connection = self._asked(RunaiHook(self.runai_conn_id).connection)
        with Client.connect_to(connection) as client:
            workload: Workload = self._asked(lambda: self._find_or_submit(client, identity, context))
            if workload.name != identity.name:  # it is an earlier try's
                number = int(workload.name.rpartition("-")[2])
                identity = next(other for other in identity.before if other.try_number == number)
            self._mine = identity, connection
        self._publish(context["ti"], workload, page_url(connection.url, workload.id))
        if (store := _store_of(context)) is not None:
            store.set(UNSEEN, workload.name)
        return workload

    def _find_or_submit(self, client: Client, identity: TaskIdentity, context: Any) -> Workload:
        for before in identity.before:
            found = find_owned(client, before.name, owner=identity.owner, project=self.project or "")
            if found is not None and _is_to_be_taken_up(found, _store_of(context)):
                self.log.info("reconnected to the workload of try %s: %s", before.try_number, sentence_of(found))
                return found
        self._mine = identity, client.transport.connection
        type_, options = self.submission(identity, context, client.transport.connection)
        workload = submit_owned(client, type_, identity.name, options, owner=identity.owner)
        self.log.info("submitted workload %s to project %s", workload.name, workload.project_name)
        return workload

    def submission(self, identity: TaskIdentity, context: Any, _connection: Connection) -> tuple[str, dict[str, Any]]:
        """Return the type of the workload and its options, as the client takes them."""
        common = ("command", "args", "image", "project", "gpus", "gpu_memory", "cpus", "memory", "working_dir")
        options: dict[str, Any] = {
            **{name: getattr(self, name) for name in (*common, "priority", "preemptible", "node_pools")},
            "backoff_limit": self.backoff_limit,
            "env": {**context_to_airflow_vars(context, in_env_var_format=True), **(self.env or {})},
            "labels": identity.labels,
            "annotations": {**identity.values, TIME_TO_LIVE: str(self._seconds_to_live)},
            "spec": {**_link_back(context["ti"]), **(self.spec or {})},
        }
        if self.replicas == 1 and self.min_replicas is None:
            return "Training", options
        gang = {"workers": self.replicas, "min_replicas": self.min_replicas, "framework": self.framework}
        return "Distributed", {**options, **gang, "has_master": False}

    # -- its parts

    def _defer(self, uid: str, ranks: Sequence[int]) -> NoReturn:
        limit = self.execution_timeout
        trigger = RunaiWorkloadTrigger(
            workload_id=uid,
            runai_conn_id=self.runai_conn_id,
            poll_interval=self.poll_interval,
            queue_timeout=self._queue_seconds,
            execution_timeout=limit.total_seconds() if limit else None,
            ranks=ranks,
            show_logs=self.show_logs,
            delete_on_kill=self.delete_on_kill,
        )
        self.defer(trigger=trigger, method_name="execute_complete")
        raise AssertionError("defer does not return")

    async def _watch(self, watch: Watch) -> dict[str, Any]:
        async with AsyncClient.connect_to(await RunaiHook(self.runai_conn_id).aconnection()) as client:
            return await watch.run(client)

    def _asked(self, ask: Callable[[], Any]) -> Any:
        """Return what the orchestrator answers; its refusal ends the task, and only its silence is tried again."""
        try:
            return ask()
        except Unavailable as error:
            raise AirflowException(error.message) from None
        except RunaiError as error:
            raise AirflowFailException(f"{type(error).__name__}: {error.message}") from None

    def _publish(self, task_instance: Any, workload: Workload, url: str) -> None:
        task_instance.xcom_push(key=keys.ID, value=workload.id)
        task_instance.xcom_push(key=keys.NAME, value=workload.name)
        publish_page(task_instance, url)
        task_instance.xcom_push(key=keys.STATUS, value=str(workload.phase))
        self.log.info("workload %s: %s", workload.name, url)

    def _known_url(self, task_instance: Any) -> str:
        return str(task_instance.xcom_pull(task_ids=self.task_id, key=keys.URL, map_indexes=task_instance.map_index))

    @property
    def _queue_seconds(self) -> float | None:
        limit = self.queue_timeout
        return limit.total_seconds() if isinstance(limit, timedelta) else limit

    @property
    def _seconds_to_live(self) -> int:
        limit = self.execution_timeout
        return int(min(self.time_to_live, limit + timedelta(minutes=5) if limit else self.time_to_live).total_seconds())


def _link_back(task_instance: Any) -> dict[str, Any]:
    """Return the link from the workload to its task's page in Airflow."""
    url = getattr(task_instance, "log_url", None)
    return {"relatedUrls": [{"url": url, "type": "airflow", "name": "Airflow task"}]} if url else {}


def _store_of(context: Any) -> Any:
    """Return what Airflow keeps for the task from one try to the next; None before 3.3."""
    return context.get("task_state_store")


def _is_to_be_taken_up(found: Workload, store: Any) -> bool:
    """Return whether an earlier try's workload is this try's: it goes on, or has completed and nobody was there to see.

    One whose end was seen is not: then a user has cleared the task, and wants it done again.
    """
    if is_leaving(found) or not found.is_over:
        return not is_leaving(found)
    return found.phase == "Completed" and store is not None and store.get(UNSEEN) == found.name
