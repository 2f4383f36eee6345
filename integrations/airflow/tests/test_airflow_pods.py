"""KubernetesPodOperator on a real API server and a real node: Airflow makes the pod, we place it, both can end it.

Needs Airflow with its Kubernetes provider, so it runs in the environment of the frameworks: ``-m cluster``.
"""

# mypy: disable-error-code="misc, untyped-decorator, import-untyped"

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runai_core.model.organization import SYSTEM
from runai_core.model.workload import Phase, Workload
from runai_core.ports import Query
from tests.cluster.cluster import Cluster
from tests.cluster.frameworks import airflow_environ
from tests.cluster.running import Running, eventually, running

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(900)]

SLOW = 240.0
"""Seconds for what starts Airflow, on a machine with other work."""

DAGS = """\
from datetime import datetime

from airflow.sdk import DAG
from tests.cluster.frameworks import a_pod_task

for dag, program in {{
    "shows": "import os; print('printed by', os.uname().nodename, os.environ['NVIDIA_VISIBLE_DEVICES'])",
    "lasts": "import time; time.sleep(600)",
    "fails": "raise SystemExit(3)",
}}.items():
    with DAG(dag, schedule=None, start_date=datetime(2025, 1, 1), default_args=dict(retries=0)):
        a_pod_task("train", program, namespace={namespace!r}, kubeconfig={kubeconfig!r})
"""
"""Three DAGs of one pod each; the pods are Airflow's own affair."""


@dataclass
class Airflow:
    """An Airflow with a database and DAGs of its own."""

    home: Path
    environ: dict[str, str]

    def start(self, dag: str) -> "subprocess.Popen[str]":
        """Run a DAG as `airflow dags test` does."""
        return subprocess.Popen(
            [sys.executable, "-m", "airflow", "dags", "test", dag],
            env=self.environ,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )


@pytest.fixture(scope="module")
def run(cluster: Cluster, real_nodes: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    pytest.importorskip("airflow.providers.cncf.kubernetes")
    with running(cluster, tmp_path_factory.mktemp("orchestrator")) as found:
        yield found


@pytest.fixture(scope="module")
def airflow(run: Running, new_home: Callable[[str], Path]) -> Airflow:
    home = new_home("airflow")
    text = DAGS.format(namespace=run.namespace, kubeconfig=str(run.cluster.kubeconfig()))
    (home / "dags" / "pods.py").write_text(text)
    environ = airflow_environ(home, run.project)
    return Airflow(home, environ)


def test_a_task_is_one_workload_that_ends_with_it(airflow: Airflow, run: Running) -> None:
    process = airflow.start("shows")
    said, _ = process.communicate(timeout=SLOW)

    assert process.returncode == 0, said[-5000:]
    (row,) = rows(run, "shows")
    assert (row.kind, row.phase, row.pods_requested) == ("Pod", Phase.COMPLETED, 1)
    pod = pod_of(run, "shows")
    labels = pod["metadata"]["labels"]
    assert pod["spec"]["schedulerName"] == "runai-scheduler"
    assert (labels["runai/queue"], labels["dag_id"], labels["task_id"]) == (run.project, "shows", "train")
    assert pod["spec"]["nodeName"] in ("real-1", "real-2")
    assert pod["metadata"]["annotations"]["pod-group-name"]
    assert f"printed by {pod['metadata']['name']}" in said, "its log is the task's log"


def test_a_task_that_fails_is_a_workload_that_failed(airflow: Airflow, run: Running) -> None:
    process = airflow.start("fails")
    said, _ = process.communicate(timeout=SLOW)

    assert process.returncode != 0 or "state=failed" in said, said[-3000:]
    (row,) = rows(run, "fails")
    assert row.phase is Phase.FAILED


def test_an_administrator_who_deletes_the_workload_ends_the_task(airflow: Airflow, run: Running) -> None:
    process = airflow.start("lasts")
    (row,) = eventually(lambda: [item for item in rows(run, "lasts") if item.phase is Phase.RUNNING], SLOW)

    run.call(run.orchestrator.workloads.delete(SYSTEM, row.meta.uid))
    said, _ = process.communicate(timeout=SLOW)

    assert "failed" in said.lower()
    assert process.returncode != 0 or "state=failed" in said, said[-3000:]
    eventually(lambda: not run.kube.get(pods_at(run), labelSelector="dag_id=lasts")["items"])


def rows(run: Running, dag: str) -> list[Workload]:
    """Return the workloads of a DAG's pods."""
    found = run.call(run.orchestrator.workloads.list(SYSTEM, Query(limit=100))).items
    names = {item["metadata"]["name"] for item in run.kube.get(pods_at(run), labelSelector=f"dag_id={dag}")["items"]}
    return [item for item in found if item.name in names]


def pods_at(run: Running) -> str:
    return f"/api/v1/namespaces/{run.namespace}/pods"


def pod_of(run: Running, dag: str) -> dict[str, Any]:
    (found,) = run.kube.get(pods_at(run), labelSelector=f"dag_id={dag}")["items"]
    return dict(found)
