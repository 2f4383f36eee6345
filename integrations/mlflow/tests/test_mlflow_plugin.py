"""What MLflow's own code does with the variables that pods are given."""

import json
import subprocess
import sys

import pytest
from runai_mlflow.plugin import runai_pod_environment

from runai_core.model.meta import Meta
from runai_core.model.workload import Pod, PodSpec, Workload
from runai_core.plugins.manager import load_plugins

WORKLOAD = Workload(meta=Meta(name="train", project="team-a", uid="123"))
POD = Pod(meta=Meta(name="train-1-0"), workload="train", pod_group="train", attempt=2, spec=PodSpec())


def test_a_pod_is_told_which_workload_its_run_belongs_to() -> None:
    given = runai_pod_environment(WORKLOAD, POD, {"mlflow.tracking_uri": "", "mlflow.experiment": ""})

    assert set(given) == {"MLFLOW_RUN_CONTEXT"}
    assert json.loads(given["MLFLOW_RUN_CONTEXT"]) == {
        "runai.workload.id": "123",
        "runai.workload.name": "train",
        "runai.project": "team-a",
        "runai.attempt": "2",
    }


def test_a_pod_is_told_where_to_track(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNAI_MLFLOW_TRACKING_URI", "http://localhost:5000")
    monkeypatch.setenv("RUNAI_MLFLOW_EXPERIMENT", "digits")
    registry = load_plugins(["mlflow"])

    given = registry.pod_environment(WORKLOAD, POD)

    assert (given["MLFLOW_TRACKING_URI"], given["MLFLOW_EXPERIMENT_NAME"]) == ("http://localhost:5000", "digits")


def test_the_plugin_loads_without_its_ecosystem() -> None:
    """Every command of ours imports it: its framework must not come with it."""
    code = "import sys, runai_mlflow.plugin; print(*sys.modules)"

    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()

    assert not {"mlflow"} & set(loaded)
