"""A model that is logged, served as an inference workload, asked, replaced and deleted."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runai_core.client import Client

pytestmark = [pytest.mark.ecosystem, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def models(work: Path, tracking_uri: str) -> tuple[str, str]:
    """Log two models that multiply, and return their addresses."""
    import mlflow

    code = work / "model.py"
    addresses = []
    for factor in (2, 3):
        code.write_text(
            "import mlflow\n"
            "from mlflow.pyfunc import PythonModel\n\n"
            "class Times(PythonModel):\n"
            "    def predict(self, context, model_input, params=None):\n"
            f"        return [value * {factor} for value in model_input]\n\n"
            "mlflow.models.set_model(Times())\n"
        )
        with mlflow.start_run():
            addresses.append(
                mlflow.pyfunc.log_model(name="times", python_model=str(code), pip_requirements=[]).model_uri
            )
    return addresses[0], addresses[1]


def test_a_model_is_served_asked_replaced_and_deleted(client: Client, models: tuple[str, str]) -> None:
    from mlflow.deployments import get_deploy_client
    from mlflow.exceptions import MlflowException

    target = get_deploy_client("runai:/team-a")

    made = target.create_deployment("times", models[0], config={"gpus": "0.5", "cpus": 1})

    assert (made["name"], made["status"], made["model_uri"]) == ("times", "Running", models[0])
    workload = client.get("times", project="team-a")
    assert (workload.type, workload.phase, workload.gpu_request) == ("Inference", "Running", 0.5)
    assert target.predict("times", [1, 2])["predictions"] == [2, 4]
    assert target.predict("times", {"inputs": [5]})["predictions"] == [10]
    assert [item["name"] for item in target.list_deployments()] == ["times"]
    with pytest.raises(MlflowException, match="exists already"):
        target.create_deployment("times", models[0])

    target.update_deployment("times", model_uri=models[1])

    assert target.predict("times", [1, 2])["predictions"] == [3, 6]
    assert target.get_deployment("times")["model_uri"] == models[1]
    assert client.get("times", project="team-a").id == workload.id
    target.delete_deployment("times")
    target.delete_deployment("times")
    assert target.list_deployments() == []
    with pytest.raises(MlflowException, match="no workload named 'times'"):
        target.get_deployment("times")


def test_a_model_that_does_not_come_up_leaves_no_deployment(client: Client, models: tuple[str, str]) -> None:
    from mlflow.deployments import get_deploy_client
    from mlflow.exceptions import MlflowException

    target = get_deploy_client("runai:/team-a")

    with pytest.raises(MlflowException, match="It was deleted again"):
        target.create_deployment("broken", models[0], config={"python": "false", "timeout": 20})

    assert target.list_deployments() == []


def test_a_wrong_key_and_a_wrong_place_are_named(client: Client, models: tuple[str, str], monkeypatch: Any) -> None:
    from mlflow.deployments import get_deploy_client, run_local
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException, match=r"config.replica: is unknown: did you mean replicas\?"):
        get_deploy_client("runai").create_deployment("m", models[0], config={"replica": 2})
    with pytest.raises(MlflowException, match="endpoint e: this target has none"):
        get_deploy_client("runai").list_deployments(endpoint="e")
    with pytest.raises(MlflowException, match="start `runai up`"):
        run_local("runai", "m", models[0])
    monkeypatch.setenv("RUNAI_URL", "http://127.0.0.1:9")
    with pytest.raises(MlflowException, match="nobody answers"):
        get_deploy_client("runai").list_deployments()


def test_the_command_explains_the_target(tracking_uri: str, client: Client) -> None:
    command = [sys.executable, "-m", "mlflow", "deployments"]

    done = subprocess.run([*command, "help", "-t", "runai"], check=False, capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    assert "gpus" in done.stdout
    assert json.dumps("runai:/<project>")[1:-1] in done.stdout
