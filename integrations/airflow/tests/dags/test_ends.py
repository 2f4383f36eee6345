"""How tasks end that do not simply succeed, and what is left: crashes, failures, kills, restarts, expired tokens."""

# mypy: disable-error-code="misc, untyped-decorator, import-untyped"

import asyncio
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from runai_core.client import Client
from runai_core.client.transport import PAUSES
from tests.airflow_dags import QUICK, RunDag, a_dag, the_workload
from tests.orchestrators import an_orchestrator
from tests.waiting import eventually

pytestmark = [pytest.mark.ecosystem, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(600)]


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
