"""DAGs that run as they do with `dag.test()`: real Airflow, real workloads."""

# mypy: disable-error-code="misc, untyped-decorator, import-untyped"

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runai_core.client import Client, quota
from runai_core.client.results import Workload
from runai_core.client.transport import PAUSES
from tests.orchestrators import OrchestratorProcess, an_orchestrator
from tests.waiting import eventually

pytestmark = [pytest.mark.ecosystem, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(600)]

QUICK: dict[str, Any] = {"project": "team-a", "poll_interval": 0.2}
FIRST_DAY = datetime(2025, 1, 1, tzinfo=UTC)
RunDag = Callable[[Any], dict[str, str]]

NODES = [{"name": "node-1", "cpu": 8, "memory": "16Gi", "gpus": 4}]
"""Four simulated GPUs: tasks of these tests compete for them."""


@pytest.fixture(scope="module")
def orchestrator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrchestratorProcess]:
    """One orchestrator with simulated GPUs, found by the environment as `runai` finds it."""
    with an_orchestrator(tmp_path_factory.mktemp("runai"), NODES) as running:
        os.environ["RUNAI_DATA_DIR"] = str(running.data_dir)
        yield running
    del os.environ["RUNAI_DATA_DIR"]


@pytest.fixture(scope="module")
def client(orchestrator: OrchestratorProcess) -> Iterator[Client]:
    with Client.from_env({"RUNAI_DATA_DIR": str(orchestrator.data_dir)}) as found:
        found.projects.create("team-a", resources=[quota(gpus=4)])
        yield found


@pytest.fixture(scope="module")
def credentials(orchestrator: OrchestratorProcess) -> dict[str, str]:
    content: dict[str, str] = json.loads((orchestrator.data_dir / "credentials.json").read_text())
    return content


@pytest.fixture(scope="module")
def airflow_home(new_home: Callable[[str], Path]) -> Path:
    """Where Airflow keeps its database; must exist before Airflow is imported."""
    home = new_home("airflow")
    os.environ |= {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "300",
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
    }
    return home


@pytest.fixture
def run_dag(airflow_home: Path, client: Client) -> RunDag:
    """Return a function that runs a DAG in this process, as `dag.test()` does, and returns the states of its tasks."""

    def run(dag: Any) -> dict[str, str]:
        _make_known(dag)
        finished = dag.test()
        return {found.task_id: str(found.state) for found in finished.get_task_instances()}

    return run


def _make_known(dag: Any) -> None:
    """Store the DAG as the DAG processor does with those of its folder."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.serialization.definitions.dag import SerializedDAG
    from airflow.serialization.serialized_objects import LazyDeserializedDAG
    from airflow.utils.session import create_session

    stored = LazyDeserializedDAG.from_dag(dag)
    with create_session() as session:
        DagBundlesManager().sync_bundles_to_db(session=session)
    with create_session() as session:
        SerializedDAG.bulk_write_to_db("dags-folder", None, [stored], session=session)
        SerializedDagModel.write_dag(stored, bundle_name="dags-folder", session=session)


@pytest.fixture
def connections() -> Iterator[Callable[..., str]]:
    """Return a function that makes a connection of Airflow, by a variable as Airflow reads them."""
    made = []

    def make(name: str, **fields: Any) -> str:
        variable = f"AIRFLOW_CONN_{name.upper()}"
        os.environ[variable] = json.dumps({"conn_type": "runai", **fields})
        made.append(variable)
        return name

    yield make
    for variable in made:
        del os.environ[variable]


def a_dag(name: str) -> Any:
    from airflow.sdk import DAG

    return DAG(name, schedule=None, start_date=FIRST_DAY)


def the_workload(client: Client, start: str) -> Workload:
    """Return the newest workload whose name begins so, with its specification."""
    return client.get(next(found.id for found in client.list() if found.name.startswith(start)))


def meanwhile(act: Callable[[], object], until: Callable[[], bool]) -> threading.Thread:
    """Do something in another thread as soon as something holds."""

    def run() -> None:
        deadline = time.monotonic() + 120
        while not until() and time.monotonic() < deadline:
            time.sleep(0.05)
        act()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def asked_in_vain(port: int) -> None:
    """Return when somebody has asked so often, and was hung up on, that he knows that nobody is there."""
    with socket.create_server(("127.0.0.1", port)) as server:
        server.settimeout(120)
        for _ in range(len(PAUSES) + 1):
            server.accept()[0].close()


def in_phase(client: Client, start: str, phase: str) -> bool:
    return any(found.name.startswith(start) and found.phase == phase for found in client.list(limit=20))


def test_a_task_is_a_workload_with_its_project_labels_and_link(run_dag: RunDag, client: Client, capfd: Any) -> None:
    from runai_airflow import RunaiWorkloadOperator

    with a_dag("plain") as dag:
        RunaiWorkloadOperator(
            task_id="train",
            command=["sh", "-c", "echo I am $RUNAI_JOB_NAME of $RUNAI_PROJECT in $AIRFLOW_CTX_DAG_ID"],
            **QUICK,
        )

    assert run_dag(dag) == {"train": "success"}

    found = the_workload(client, "plain-train-")
    labels = {item["name"]: item["value"] for item in found.raw["spec"]["labels"]}
    annotations = {item["name"]: item["value"] for item in found.raw["spec"]["annotations"]}
    assert (labels["dag_id"], labels["task_id"], labels["try_number"]) == ("plain", "train", "1")
    assert annotations["run.ai/owner"].startswith("airflow:plain/manual__")
    assert annotations["run_id"].startswith("manual__")
    assert ":" not in labels["run_id"], "Kubernetes would refuse the label"
    assert found.raw["spec"]["relatedUrls"][0]["name"] == "Airflow task"
    printed = capfd.readouterr().out
    assert f"I am {found.name} of team-a in plain" in printed
    assert f"/workloads/{found.id}" in printed


def test_what_others_need_is_in_xcom(run_dag: RunDag, client: Client) -> None:
    from airflow.sdk import task
    from runai_airflow import RunaiWorkloadOperator

    seen: dict[str, Any] = {}

    with a_dag("xcom") as dag:
        train = RunaiWorkloadOperator(task_id="train", command="true", deferrable=True, **QUICK)

        @task
        def read(ti: Any = None) -> None:
            for key in ("workload_id", "workload_name", "workload_status", "workload_url", "_link_RunaiWorkloadLink"):
                seen[key] = ti.xcom_pull(task_ids="train", key=key)

        train >> read()

    assert run_dag(dag) == {"train": "success", "read": "success"}
    found = client.get(seen["workload_id"])
    assert (seen["workload_name"], seen["workload_status"]) == (found.name, "Completed")
    assert seen["workload_url"] == seen["_link_RunaiWorkloadLink"]
    assert seen["workload_url"].endswith(f"/workloads/{found.id}")


def test_a_gang_of_replicas_is_one_workload_and_each_knows_its_rank(
    run_dag: RunDag, client: Client, capfd: Any
) -> None:
    from runai_airflow import RunaiWorkloadOperator

    with a_dag("ranks") as dag:
        RunaiWorkloadOperator(
            task_id="fit",
            command="sh -c 'echo rank $RANK of $WORLD_SIZE'",
            replicas=3,
            gpus=1,
            deferrable=True,
            **QUICK,
        )

    assert run_dag(dag) == {"fit": "success"}

    found = the_workload(client, "ranks-fit-")
    assert (found.type, found.requested_pods, found.gpu_request) == ("Distributed", 3, 3)
    printed = capfd.readouterr().out
    assert all(f"rank {rank} of 3" in printed for rank in range(3)), "the output of every rank is in the task's log"


def test_a_function_runs_as_a_workload_and_its_result_is_the_xcom(run_dag: RunDag, client: Client) -> None:
    from airflow.sdk import task

    got: list[Any] = []

    with a_dag("flow") as dag:

        @task.runai(gpus=0.5, **QUICK)
        def evaluate(x: int, words: list[str]) -> dict[str, Any]:
            import os

            print("not the result")  # noqa: T201
            return {"twice": 2 * x, "words": words, "project": os.environ["RUNAI_PROJECT"]}

        @task
        def keep(value: Any) -> None:
            got.append(value)

        keep(evaluate(21, ["a b", "'quoted'"]))

    assert run_dag(dag) == {"evaluate": "success", "keep": "success"}
    assert got == [{"twice": 42, "words": ["a b", "'quoted'"], "project": "team-a"}]


def test_the_tasks_of_a_group_are_one_gang(run_dag: RunDag, client: Client, capfd: Any) -> None:
    from runai_airflow import RunaiGangTaskGroup, RunaiTask

    with a_dag("grouped") as dag, RunaiGangTaskGroup("step", gpus=1, **QUICK):
        RunaiTask(task_id="server", command=["sh", "-c", 'echo "server is rank $RANK"'])
        RunaiTask(task_id="worker", command="sh -c 'echo worker is rank $RANK of $WORLD_SIZE'", replicas=2)

    states = run_dag(dag)

    assert states == {"step.launch": "success", "step.server": "success", "step.worker": "success"}
    mine = [found for found in client.list() if found.name.startswith("grouped-")]
    assert [(found.type, found.requested_pods, found.gpu_request) for found in mine] == [("Distributed", 3, 3)]
    printed = capfd.readouterr().out
    assert "server is rank 0" in printed
    assert "worker is rank 1 of 3" in printed
    assert "worker is rank 2 of 3" in printed


def test_when_a_member_of_a_group_fails_the_gang_fails_and_nothing_runs_on(
    run_dag: RunDag, client: Client, capfd: Any
) -> None:
    from runai_airflow import RunaiGangTaskGroup, RunaiTask

    with a_dag("half") as dag, RunaiGangTaskGroup("step", **QUICK):
        RunaiTask(task_id="good", command="sleep 600")
        RunaiTask(task_id="bad", command="sh -c 'sleep 0.5; exit 7'")

    states = run_dag(dag)

    assert (states["step.good"], states["step.bad"]) == ("failed", "failed")
    assert the_workload(client, "half-").phase == "Failed"
    assert "exit code 7" in capfd.readouterr().out


def test_a_sensor_waits_for_somebody_elses_workload(run_dag: RunDag, client: Client) -> None:
    from runai_airflow import RunaiWorkloadSensor

    client.trainings.submit("other", command="sleep 1", project="team-a")
    failing = client.trainings.submit("other-bad", command="false", project="team-a", backoff_limit=0)

    with a_dag("sense") as dag:
        RunaiWorkloadSensor(task_id="here", workload="other", project="team-a", poke_interval=0.2)
        RunaiWorkloadSensor(task_id="deferred", workload="other", project="team-a", poke_interval=0.2, deferrable=True)
        RunaiWorkloadSensor(task_id="bad", workload=failing.id, poke_interval=0.2)

    assert run_dag(dag) == {"here": "success", "deferred": "success", "bad": "failed"}


def test_a_try_after_a_crash_finds_the_workload_of_the_try_before(
    run_dag: RunDag, client: Client, tmp_path: Path, capfd: Any
) -> None:
    """The worker dies after the submission; its successor has the next number and the same owner."""
    from airflow.sdk.exceptions import AirflowException
    from runai_airflow import RunaiWorkloadOperator

    class Crashes(RunaiWorkloadOperator):
        def wait_for(self, context: Any, uid: str, *, ranks: Any = ()) -> Any:
            if context["ti"].try_number == 1:
                raise AirflowException("the worker crashed")
            (tmp_path / "go").touch()
            return super().wait_for(context, uid, ranks=ranks)

    with a_dag("crash") as dag:
        Crashes(
            task_id="train",
            command=["sh", "-c", f"until [ -e {tmp_path}/go ]; do sleep 0.1; done"],
            retries=1,
            retry_delay=timedelta(seconds=0),
            **QUICK,
        )

    assert run_dag(dag) == {"train": "success"}
    mine = [found.name for found in client.list() if found.name.startswith("crash-train-")]
    assert len(mine) == 1, "there must be one workload for both tries"
    assert "reconnected to the workload of try 1" in capfd.readouterr().out


def test_a_workload_that_completed_while_nobody_watched_is_not_done_again(run_dag: RunDag, client: Client) -> None:
    from airflow.sdk.exceptions import AirflowException
    from runai_airflow import RunaiWorkloadOperator

    class Crashes(RunaiWorkloadOperator):
        def wait_for(self, context: Any, uid: str, *, ranks: Any = ()) -> Any:
            if context["ti"].try_number == 1:
                client.wait(uid, timeout=120)
                raise AirflowException("the worker crashed")
            return super().wait_for(context, uid, ranks=ranks)

    with a_dag("unseen") as dag:
        Crashes(task_id="train", command="true", retries=1, retry_delay=timedelta(seconds=0), **QUICK)

    assert run_dag(dag) == {"train": "success"}
    assert len([found.name for found in client.list() if found.name.startswith("unseen-train-")]) == 1


def test_a_try_after_a_failure_that_was_seen_is_a_new_workload(run_dag: RunDag, client: Client) -> None:
    from runai_airflow import RunaiWorkloadOperator

    with a_dag("again") as dag:
        RunaiWorkloadOperator(task_id="t", command="false", retries=1, retry_delay=timedelta(seconds=0), **QUICK)

    assert run_dag(dag) == {"t": "failed"}
    assert len([found.name for found in client.list() if found.name.startswith("again-t-")]) == 2


@pytest.mark.parametrize("deferrable", [False, True], ids=["in the worker", "in the triggerer"])
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"command": "sh -c 'echo broken; exit 3'"}, "failed with exit code 3"),
        ({"command": "true", "project": "nowhere"}, "there is no project nowhere; there are: default, team-a"),
        ({"command": "true", "priority": "urgent"}, "must be one of very-low"),
        ({"command": "true", "runai_conn_id": "nobody"}, "there is no connection nobody: add one of type runai"),
        ({"command": "true", "gpus": 64, "queue_timeout": 1.5}, "gave up after 1.5 s (queue_timeout)"),
        ({"command": "sleep 600", "execution_timeout": timedelta(seconds=3)}, ""),
    ],
    ids=[
        "a failure",
        "an unknown project",
        "a bad value",
        "an unknown connection",
        "a queue that does not move",
        "a timeout",
    ],
)
def test_each_bad_end_is_a_failed_task_with_a_sentence_and_nothing_left(
    run_dag: RunDag,
    client: Client,
    capfd: Any,
    request: Any,
    options: dict[str, Any],
    sentence: str,
    *,
    deferrable: bool,
) -> None:
    from runai_airflow import RunaiWorkloadOperator

    number = abs(hash(request.node.callspec.id)) % 10**6
    name = f"bad-{number}"
    with a_dag(name) as dag:
        RunaiWorkloadOperator(task_id="t", deferrable=deferrable, **{**QUICK, **options})

    assert run_dag(dag) == {"t": "failed"}

    assert sentence in capfd.readouterr().out
    left = [found for found in client.list() if found.name.startswith(f"{name}-") and found.phase != "Failed"]
    assert [found.phase for found in left if found.phase != "Deleting"] == []


def test_why_a_task_waits_is_in_its_log(run_dag: RunDag, client: Client, capfd: Any) -> None:
    from runai_airflow import RunaiWorkloadOperator

    class Judged(RunaiWorkloadOperator):
        def wait_for(self, context: Any, uid: str, *, ranks: Any = ()) -> Any:
            eventually(lambda: "64 GPUs" in client.get(uid).phase_message, lambda: client.get(uid))
            return super().wait_for(context, uid, ranks=ranks)

    with a_dag("waits") as dag:  # the time-out is for the first look at a workload that is judged already
        Judged(task_id="t", command="true", gpus=64, queue_timeout=timedelta(seconds=10), **QUICK)

    run_dag(dag)

    assert "asks for 64 GPUs; the largest node that it may use, node-1, has 4 GPUs" in capfd.readouterr().out


@pytest.mark.parametrize("deferrable", [False, True], ids=["in the worker", "in the triggerer"])
def test_a_workload_that_an_administrator_deletes_ends_its_task_for_good(
    run_dag: RunDag, client: Client, capfd: Any, *, deferrable: bool
) -> None:
    from runai_airflow import RunaiWorkloadOperator

    name = f"gone{int(deferrable)}"
    with a_dag(name) as dag:
        RunaiWorkloadOperator(task_id="t", command="sleep 600", deferrable=deferrable, retries=3, **QUICK)
    thread = meanwhile(
        lambda: client.delete(the_workload(client, f"{name}-t-")), lambda: in_phase(client, f"{name}-t-", "Running")
    )

    states = run_dag(dag)

    thread.join()
    assert states == {"t": "failed"}, "retries would undo what the administrator did"
    assert "is Deleting: deleted by runai-cli" in capfd.readouterr().out
    assert len([found for found in client.list(deleted=True) if found.name.startswith(f"{name}-t-")]) <= 1


@pytest.mark.usefixtures("airflow_home")
def test_the_triggerers_word_reaches_the_trigger_whenever_it_comes(client: Client) -> None:
    """By the message of a cancellation the triggerer knows that a user ended the task: it must not be lost."""
    from runai_airflow.triggers import RunaiWorkloadTrigger

    workload = client.submit("Training", "long", {"command": "sleep 600", "cpus": 0.1, "project": "team-a"})

    async def wait() -> None:
        async for event in RunaiWorkloadTrigger(workload_id=workload.id, poll_interval=0.01).run():
            raise AssertionError(event)

    async def cancelled_after(seconds: float) -> tuple[Any, ...]:
        task = asyncio.create_task(wait())
        await asyncio.sleep(seconds)
        task.cancel("by a user")
        try:
            await task
        except asyncio.CancelledError as told:
            return told.args
        raise AssertionError("it was not cancelled")

    async def try_all() -> set[tuple[Any, ...]]:
        return {await cancelled_after(step / 500) for step in range(60)}

    try:
        assert asyncio.run(try_all()) == {("by a user",)}
    finally:
        client.delete(workload)


def test_a_policy_that_refuses_is_named(run_dag: RunDag, client: Client, capfd: Any) -> None:
    from runai_airflow import RunaiWorkloadOperator

    client.policies.apply(
        "training", {"rules": {"compute": {"gpuDevicesRequest": {"max": 2}}}}, scope="project", name="team-a"
    )
    try:
        with a_dag("policy") as dag:
            RunaiWorkloadOperator(task_id="t", command="true", gpus=3, retries=2, **QUICK)

        assert run_dag(dag) == {"t": "failed"}
    finally:
        client.policies.delete("training", scope="project", name="team-a")

    printed = capfd.readouterr().out
    assert "PolicyViolation" in printed
    assert "gpuDevicesRequest" in printed


@pytest.mark.parametrize("deferrable", [False, True], ids=["in the worker", "in the triggerer"])
def test_a_token_that_is_no_longer_taken_is_told(
    run_dag: RunDag, credentials: dict[str, str], connections: Callable[..., str], capfd: Any, *, deferrable: bool
) -> None:
    from runai_airflow import RunaiWorkloadOperator

    conn = connections("expired", host=credentials["url"], password=credentials["token"][:-6] + "AAAAAA")
    with a_dag(f"expired{int(deferrable)}") as dag:
        RunaiWorkloadOperator(
            task_id="t", command="true", runai_conn_id=conn, deferrable=deferrable, retries=2, **QUICK
        )

    assert run_dag(dag) == {"t": "failed"}
    assert "Unauthenticated" in capfd.readouterr().out


def test_a_token_that_expires_while_the_task_waits_is_told(run_dag: RunDag, client: Client, capfd: Any) -> None:
    """The connection is read anew by the trigger: there its token is not taken any more."""
    from runai_airflow import RunaiWorkloadOperator

    class Expires(RunaiWorkloadOperator):
        def wait_for(self, context: Any, uid: str, *, ranks: Any = ()) -> Any:
            os.environ["RUNAI_TOKEN"] = "expired"
            return super().wait_for(context, uid, ranks=ranks)

    with a_dag("late") as dag:
        Expires(task_id="t", command="sleep 2", deferrable=True, **QUICK)
    os.environ["RUNAI_URL"] = str(client.transport.connection.url)
    os.environ["RUNAI_TOKEN"] = client.transport.connection.token
    try:
        assert run_dag(dag) == {"t": "failed"}
    finally:
        del os.environ["RUNAI_URL"], os.environ["RUNAI_TOKEN"]

    assert "the workload goes on without its task" in capfd.readouterr().out


def test_a_restart_of_the_orchestrator_is_waited_for(
    run_dag: RunDag, client: Client, tmp_path: Any, capfd: Any
) -> None:
    from runai_airflow import RunaiWorkloadOperator

    with an_orchestrator(tmp_path) as other:
        before, os.environ["RUNAI_DATA_DIR"] = os.environ["RUNAI_DATA_DIR"], str(other.data_dir)
        port = int(json.loads((other.data_dir / "credentials.json").read_text())["url"].rpartition(":")[2])
        try:
            with a_dag("restart") as dag:
                command = ["sh", "-c", f"until [ -e {tmp_path}/go ]; do sleep 0.1; done"]
                RunaiWorkloadOperator(task_id="t", command=command, deferrable=True, poll_interval=0.2)

            def restart() -> None:
                other.kill()
                asked_in_vain(port)
                other.start(port=port)
                (tmp_path / "go").touch()

            thread = meanwhile(
                restart, lambda: other.get("/api/v1/workloads/count", filterBy="phase==Running")["count"] > 0
            )
            states = run_dag(dag)
            thread.join()
        finally:
            os.environ["RUNAI_DATA_DIR"] = before

    assert states == {"t": "success"}
    assert "trying again" in capfd.readouterr().out


def test_a_connection_is_tested_as_airflow_tests_it(
    airflow_home: Any, client: Client, credentials: dict[str, str], connections: Callable[..., str]
) -> None:
    from runai_airflow import RunaiHook

    good = connections("good", host=credentials["url"], password=credentials["token"], extra={"project": "team-a"})
    secret = connections(
        "secret", host=credentials["url"], login=credentials["client_id"], password=credentials["client_secret"]
    )
    nobody = connections("nobody", host="http://127.0.0.1:9", password="x")
    empty = connections("empty")
    typo = connections("typo", host=credentials["url"], password="x", extra={"projct": "a"})
    other = connections("other", host=credentials["url"], conn_type="http")

    told = {
        name: RunaiHook(name).test_connection() for name in (good, secret, nobody, empty, typo, other, "runai_default")
    }

    assert [told[name][0] for name in (good, secret, "runai_default")] == [True, True, True]
    assert "workloads go to project team-a" in told["good"][1]
    assert told["nobody"] == (False, "nobody answers at http://127.0.0.1:9 (connection nobody)")
    assert told["empty"] == (False, "host: is missing in the connection empty: give the orchestrator's address")
    assert told["typo"] == (
        False,
        "extra.projct: in the extra of the connection typo is unknown: only project may be there",
    )
    assert told["other"][1].startswith("conn_type: must be runai")


def test_a_kill_ends_the_workload_and_may_be_repeated(run_dag: RunDag, client: Client) -> None:
    """What the worker does on SIGTERM, at the moment after the submission."""
    from runai_airflow import RunaiWorkloadOperator

    class Killed(RunaiWorkloadOperator):
        def wait_for(self, context: Any, uid: str, *, ranks: Any = ()) -> Any:
            self.on_kill()
            self.on_kill()
            raise SystemExit(1)

    with a_dag("killed") as dag:
        Killed(task_id="t", command="sleep 600", **QUICK)

    assert run_dag(dag) == {"t": "failed"}
    assert [found for found in client.list() if found.name.startswith("killed-t-") and found.phase == "Running"] == []


def test_members_of_a_gang_that_cannot_be_one_are_refused_when_the_dag_is_read(airflow_home: Any) -> None:
    from airflow.providers.standard.operators.empty import EmptyOperator
    from runai_airflow import RunaiGangTaskGroup, RunaiTask

    from runai_core.model.errors import InvalidRequest

    with pytest.raises(InvalidRequest, match="start together"), a_dag("chain"), RunaiGangTaskGroup("g"):
        RunaiTask(task_id="a", command="true") >> RunaiTask(task_id="b", command="true")
    with pytest.raises(InvalidRequest, match="only RunaiTask"), a_dag("mixed"), RunaiGangTaskGroup("g"):
        EmptyOperator(task_id="a")
    with pytest.raises(InvalidRequest, match="at least one"), a_dag("none"), RunaiGangTaskGroup("g"):
        pass
    with (
        pytest.raises(InvalidRequest, match="belongs to each RunaiTask"),
        a_dag("opt"),
        RunaiGangTaskGroup("g", replicas=2),
    ):
        pass


def test_pods_of_others_are_put_under_the_scheduler_where_it_is_wanted(airflow_home: Any, monkeypatch: Any) -> None:
    """The hook that KubernetesPodOperator and KubernetesExecutor call, as Airflow finds it."""
    from airflow.settings import pod_mutation_hook
    from kubernetes.client import models as k8s

    def a_pod(scheduler: str | None = None, labels: dict[str, str] | None = None) -> Any:
        return k8s.V1Pod(
            metadata=k8s.V1ObjectMeta(labels=labels), spec=k8s.V1PodSpec(containers=[], scheduler_name=scheduler)
        )

    left = a_pod()
    pod_mutation_hook(left)
    assert left.spec.scheduler_name is None, "nobody asked for it"

    monkeypatch.setenv("AIRFLOW__RUNAI__SCHEDULE_PODS", "True")
    monkeypatch.setenv("AIRFLOW__RUNAI__PROJECT", "team-a")
    plain, own, foreign = a_pod(), a_pod(labels={"project": "team-b", "dag_id": "d"}), a_pod("volcano")
    for pod in (plain, own, foreign):
        pod_mutation_hook(pod)

    assert (plain.spec.scheduler_name, plain.metadata.labels["runai/queue"]) == ("runai-scheduler", "team-a")
    assert own.metadata.labels == {"project": "team-b", "dag_id": "d", "runai/queue": "team-b"}
    assert foreign.spec.scheduler_name == "volcano"


def test_airflow_knows_the_provider(airflow_home: Any) -> None:
    from airflow.providers_manager import ProvidersManager

    manager = ProvidersManager()

    assert "runai-airflow" in manager.providers
    assert manager.hooks["runai"] is not None
    assert "runai_airflow.links.RunaiWorkloadLink" in manager.extra_links_class_names


def test_the_example_of_the_readme_runs_as_it_says(airflow_home: Path, client: Client) -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    (airflow_home / "dags" / "train.py").write_text(re.findall(r"```python\n(.*?)```", readme, re.DOTALL)[0])
    assert "airflow dags test train" in readme

    done = subprocess.run(
        [sys.executable, "-m", "airflow", "dags", "test", "train"],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "for default" in done.stdout
    assert "rank 1 of 2" in done.stdout
    assert "I am client 2" in done.stdout
