"""Airflow as it is run: API server, scheduler, triggerer and DAG processor, with users and accidents."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from runai_core.client import Client, quota
from runai_core.client.results import Workload
from tests.orchestrators import an_orchestrator

pytestmark = [pytest.mark.ecosystem, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(900)]

SERVICES = ("api-server", "scheduler", "triggerer", "dag-processor")

DAGS = """\
import os
from datetime import datetime, timedelta

from airflow.sdk import DAG
from runai_airflow import RunaiWorkloadOperator

START = datetime(2025, 1, 1)

QUICK = dict(project="team-a", poll_interval=0.5, retries=3, retry_delay=timedelta(seconds=1))
COMMAND = ["sh", "-c", "until [ -e $GO ]; do sleep 0.2; done"]

for name in ("killed_by_user", "triggerer_dies", "worker_dies"):
    with DAG(name, schedule=None, start_date=START, is_paused_upon_creation=False):
        RunaiWorkloadOperator(
            task_id="train",
            command=COMMAND,
            env={"GO": os.environ["GO_FOLDER"] + "/" + name},
            deferrable=name != "worker_dies",
            **QUICK,
        )
"""
"""Three tasks that end when the test says so; a file with the DAG's name lets its process end."""

SECONDS = 240.0
"""Longest that anything here is waited for: four services share the cores with all else."""


@dataclass
class Airflow:
    """The four services on a database of their own."""

    home: Path
    port: int
    environ: dict[str, str]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, service: str) -> None:
        """Start one service, in a process group of its own."""
        with (self.home / f"{service}.log").open("ab") as output:
            self.running[service] = subprocess.Popen(
                [sys.executable, "-m", "airflow", service],
                env=self.environ,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def kill(self, service: str) -> None:
        """End a service and all its processes at once, as a machine that fails does."""
        found = self.running.pop(service)
        below = psutil.Process(found.pid).children(recursive=True)  # tasks have sessions of their own
        found.kill()
        for process in below:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        found.wait()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Return the answer of the REST API."""
        token = httpx.get(f"{self.url}/auth/token", timeout=120).json()["access_token"]
        answer = httpx.request(
            method, f"{self.url}/api/v2/{path}", json=body, headers={"Authorization": f"Bearer {token}"}, timeout=120
        )
        answer.raise_for_status()
        return answer.json()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def trigger(self, dag: str) -> str:
        """Start a run and return the path of its only task."""
        run = self.call("POST", f"dags/{dag}/dagRuns", {"logical_date": None})["dag_run_id"]
        return f"dags/{dag}/dagRuns/{run}/taskInstances/train"

    def tail(self) -> str:
        return "\n".join(f"== {name}\n" + (self.home / f"{name}.log").read_text()[-1500:] for name in SERVICES)


def eventually(what: str, airflow: Airflow, holds: Callable[[], object], seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError, KeyError):
            if holds():
                return
        time.sleep(0.3)
    raise AssertionError(f"{what} did not come true in {seconds} s\n{airflow.tail()}")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with an_orchestrator(tmp_path_factory.mktemp("runai")) as orchestrator:
        os.environ["RUNAI_DATA_DIR"] = str(orchestrator.data_dir)
        with Client.from_env({"RUNAI_DATA_DIR": str(orchestrator.data_dir)}) as found:
            found.projects.create("team-a", resources=[quota(gpus=0)])
            yield found
        del os.environ["RUNAI_DATA_DIR"]


@pytest.fixture(scope="module")
def airflow(client: Client, new_home: Callable[[str], Path]) -> Iterator[Airflow]:
    home = new_home("services")
    (home / "dags" / "accidents.py").write_text(DAGS)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "API__PORT": str(port),
        "API__HOST": "127.0.0.1",
        "API__WORKERS": "1",
        "API_AUTH__JWT_SECRET": "only-for-this-test-only-for-this-test-only-for-this-test-12345678",
        "CORE__DAGBAG_IMPORT_TIMEOUT": "300",
        "CORE__DAGS_FOLDER": str(home / "dags"),
        "CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__PARALLELISM": "3",
        "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        # What a dead scheduler's workers did is taken up when it has been silent for half a minute. A scheduler that
        # starts sooner looks again after so many seconds; otherwise after five minutes.
        "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "3",
        "DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "300",
        "TRIGGERER__JOB_HEARTBEAT_SEC": "2",
        "SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "2",
    }
    environ = {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "GO_FOLDER": str(home),
        **{f"AIRFLOW__{name}": value for name, value in settings.items()},
    }
    found = Airflow(home, port, environ)
    try:
        for service in SERVICES:
            found.start(service)
        eventually("a DAG that is read", found, lambda: found.call("GET", "dags/worker_dies")["dag_id"])
        yield found
    finally:
        for service in list(found.running):
            found.kill(service)


def workload_of(client: Client, dag: str) -> Workload | None:
    name = dag.replace("_", "-")
    return next((found for found in client.list() if found.name.startswith(f"{name}-train-")), None)


def is_running(client: Client, dag: str) -> bool:
    found = workload_of(client, dag)
    return found is not None and found.phase == "Running"


def test_what_a_user_ends_and_what_dies_on_the_way(airflow: Airflow, client: Client) -> None:
    """One test, because the three wait side by side: the services take longer than they do."""
    killed, moved, crashed = (airflow.trigger(dag) for dag in ("killed_by_user", "triggerer_dies", "worker_dies"))
    for dag in ("killed_by_user", "triggerer_dies", "worker_dies"):
        eventually(f"{dag} runs", airflow, lambda dag=dag: is_running(client, dag))  # type: ignore[misc]
    eventually("both wait deferred", airflow, lambda: _states(airflow, killed, moved) == ["deferred", "deferred"])

    # a user marks a deferred task as failed: its link was there, and its workload ends
    found = workload_of(client, "killed_by_user")
    assert found is not None
    assert airflow.call("GET", f"{killed}/links")["extra_links"]["Runai workload"].endswith(f"/workloads/{found.id}")
    airflow.call("PATCH", killed, {"new_state": "failed"})
    eventually("the killed task's workload is deleted", airflow, lambda: client.get(found.id).phase == "Deleting", 150)

    # the triggerer and the worker die at once
    airflow.kill("triggerer")
    airflow.kill("scheduler")
    airflow.start("triggerer")
    airflow.start("scheduler")
    (airflow.home / "triggerer_dies").touch()

    eventually("the other triggerer goes on", airflow, lambda: _states(airflow, moved) == ["success"])
    before = airflow.call("GET", crashed)["try_number"]
    eventually(
        "there is another try", airflow, lambda: airflow.call("GET", crashed)["try_number"] > before or before > 1
    )
    (airflow.home / "worker_dies").touch()
    eventually("another try succeeds", airflow, lambda: _states(airflow, crashed) == ["success"])
    tries = [item for item in client.list() if item.name.startswith("worker-dies-train-")]
    assert [item.name[-2:] for item in tries] == ["-1"], "every try must wait for the workload of the first"


def _states(airflow: Airflow, *tasks: str) -> list[str]:
    return [str(airflow.call("GET", task)["state"]) for task in tasks]
