"""A session whose executors are one gang: for notebooks and scripts. Needs pyspark."""

import atexit
import os
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from runai_core.client import Client
from runai_core.client.owner_process import VARIABLE, this_process
from runai_core.client.ownership import is_leaving, sentence_of
from runai_core.client.results import Workload
from runai_core.client.sync.owned import delete_owned, submit_owned
from runai_core.model.errors import Conflict, NotFound
from runai_core.model.workload import TERMINAL, Phase
from runai_spark.arguments import Application
from runai_spark.home import find_spark
from runai_spark.workload import KEPT, gang_options, job_of

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MASTER = re.compile(r"\[runai\] Spark's master is (spark://\S+)")
LOOK = 0.5


@dataclass(slots=True)
class Progress:
    """How far a session is: counted by a listener in Spark's driver."""

    jobs: int = 0
    jobs_done: int = 0
    tasks: int = 0
    tasks_done: int = 0
    ended: bool = False

    # Spark calls these through py4j; their names are those of its SparkListenerInterface.
    def onJobStart(self, event: Any) -> None:  # noqa: N802
        """Count a job and the tasks of its stages."""
        self.jobs += 1
        stages = event.stageInfos()
        self.tasks += sum(stages.apply(index).numTasks() for index in range(stages.size()))

    def onJobEnd(self, _event: Any) -> None:  # noqa: N802
        """Count a job that has ended."""
        self.jobs_done += 1

    def onTaskEnd(self, _event: Any) -> None:  # noqa: N802
        """Count a task that has ended."""
        self.tasks_done += 1

    def onApplicationEnd(self, _event: Any) -> None:  # noqa: N802
        """Note the end."""
        self.ended = True

    def __getattr__(self, name: str) -> Any:
        """Take no note of the listener's other events."""
        if name.startswith("on"):
            return lambda *_: None
        raise AttributeError(name)

    class Java:
        """What py4j makes of it."""

        implements = ("org.apache.spark.scheduler.SparkListenerInterface",)


def builder(  # noqa: PLR0913 - what can be said about a session
    *,
    project: str = "",
    executors: int = 2,
    executor_cores: int = 1,
    executor_memory: str = "1g",
    executor_gpu: int = 0,
    gang: bool = True,
    name: str = "",
    priority: str = "",
    image: str = "",
    timeout: float | None = None,
    client: Client | None = None,
) -> "SparkSession.Builder":
    """Return a builder of a session whose executors are a workload: with `gang` all at once, else from one on.

    Waits until they have their places, and tells why it waits. The workload
    ends with the session, or with this process.

    Raises:
        InvalidRequest, PolicyViolation, NotFound (project, or deleted while it waited), Conflict (it has failed)
        TimeoutError: `timeout` seconds went by.
    """
    from pyspark.sql import SparkSession

    client = client or Client.from_env()
    application = Application(
        project=project,
        executors=executors,
        executor_cores=executor_cores,
        executor_memory=executor_memory,
        executor_gpu=executor_gpu,
        driver_memory="512m",  # of the master: the driver is this process
        priority=priority,
        image=image,
        workload_name=name or f"spark-session-{os.getpid()}-{int(time.time()) % 100000}",
    )
    workload = _submit(client, application, gang=gang)
    atexit.register(_delete_quietly, client, workload.id)
    master = _wait_for_master(client, workload, timeout)
    found = SparkSession.Builder().master(master)
    for key, value in _settings(application, workload, gang=gang).items():
        found = found.config(key, value)
    return found


def progress(session: "SparkSession") -> Progress:
    """Return how far a session is; it counts from now on."""
    from pyspark.java_gateway import ensure_callback_server_started

    context = session.sparkContext
    ensure_callback_server_started(context._gateway)  # noqa: SLF001 - pyspark offers no public way to its JVM
    found = Progress()
    context._jsc.sc().addSparkListener(found)  # noqa: SLF001
    return found


def _submit(client: Client, application: Application, *, gang: bool) -> Workload:
    environment = {key: os.environ[key] for key in KEPT if key in os.environ}
    if not application.image:
        environment["SPARK_HOME"] = str(find_spark(os.environ))
    environment[VARIABLE] = this_process()
    kind, options = gang_options(application, job_of(application, "session", ""), environment)
    if not gang:
        options |= {"min_replicas": 1, "max_replicas": options.pop("workers")}
    name = application.workload_name
    return submit_owned(client, kind, name, options, owner=f"spark:{name}")


def _settings(application: Application, workload: Workload, *, gang: bool) -> dict[str, str]:
    settings = {
        "spark.executor.cores": str(application.executor_cores),
        "spark.executor.memory": application.executor_memory,
        "spark.cores.max": str(application.executors * application.executor_cores),
        "spark.dynamicAllocation.enabled": "false",
        "spark.executorEnv.RUNAI_PROJECT": workload.project_name,
        "spark.executorEnv.RUNAI_JOB_NAME": workload.name,
        "spark.executorEnv.RUNAI_JOB_UUID": workload.id,
        "spark.scheduler.minRegisteredResourcesRatio": "1.0" if gang else "0.0",
    }
    if not application.image:
        settings |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
    if application.executor_gpu:
        amount = str(application.executor_gpu)
        settings |= {"spark.executor.resource.gpu.amount": amount, "spark.task.resource.gpu.amount": amount}
    return settings


def _wait_for_master(client: Client, workload: Workload, timeout: float | None) -> str:
    deadline = None if timeout is None else time.monotonic() + timeout
    told = ""
    try:
        while True:
            found = client.get(workload.id)
            _check(found, deadline)
            if found.phase in (Phase.RUNNING, Phase.DEGRADED):
                if match := MASTER.search(client.log_text(found, pod=f"{found.name}-1-0")):
                    return match[1]
            elif (sentence := client.why(found).sentence) != told:
                told = sentence
                click.echo(f"[runai] {sentence}", err=True)
            time.sleep(LOOK)
    except BaseException:
        delete_owned(client, workload.id)
        raise


def _check(found: Workload, deadline: float | None) -> None:
    """Raise an error where there is nothing to wait for any more."""
    if is_leaving(found):
        raise NotFound(f"{sentence_of(found)}: somebody deleted it while it waited")
    if found.phase in TERMINAL:
        raise Conflict(f"{sentence_of(found)}; `runai workload logs {found.name}` says more")
    if deadline is not None and time.monotonic() > deadline:
        raise TimeoutError(f"{found.name} has no places in time: `runai why {found.name}` says more")


def _delete_quietly(client: Client, uid: str) -> None:
    """Delete the workload as this process ends; the pods see its end as well."""
    try:
        delete_owned(client, uid)
    except Exception:  # noqa: BLE001 - nobody is left who could be told
        return
