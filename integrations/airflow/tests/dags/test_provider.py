"""What Airflow has of us besides operators: connections, pods of others, the provider, the example of the README."""

# mypy: disable-error-code="misc, untyped-decorator, import-untyped"

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runai_core.client import Client

pytestmark = [pytest.mark.ecosystem, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(600)]


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
    readme = (Path(__file__).parents[2] / "README.md").read_text()
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
