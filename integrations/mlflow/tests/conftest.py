"""A real tracking store (SQLite) and a real orchestrator, once for all tests of this folder."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runai_core.client import Client, quota
from tests.orchestrators import OrchestratorProcess, an_orchestrator

NODES = [{"name": "node-1", "cpu": 8, "memory": "16Gi", "gpus": 4}]

PROJECT = """\
name: digits
entry_points:
  main:
    parameters:
      lr: {type: float, default: 0.5}
    command: "python train.py {lr}"
  fails:
    command: "python -c 'import mlflow; mlflow.start_run(); raise SystemExit(3)'"
  one_fails:
    command: "sh -c 'if [ $RANK = 1 ]; then sleep 1; exit 9; fi; sleep 60'"
  sleeps:
    command: "sleep 60"
"""

TRAIN = """\
import os
import sys

import mlflow

rank = os.environ.get("RANK", "0")
with mlflow.start_run():
    mlflow.log_metric(f"loss_{rank}", float(sys.argv[1]))
    if rank == "0":
        with mlflow.start_run(nested=True, run_name="child"):
            mlflow.log_param("depth", 3)
print("rank", rank, "of", os.environ.get("WORLD_SIZE", "1"), "in", os.environ["RUNAI_PROJECT"])
"""


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a project, which is also where the commands run."""
    folder = tmp_path_factory.mktemp("mlflow")
    (folder / "project").mkdir()
    (folder / "project" / "MLproject").write_text(PROJECT)
    (folder / "project" / "train.py").write_text(TRAIN)
    return folder


@pytest.fixture(scope="session")
def tracking_uri(work: Path) -> Iterator[str]:
    uri = f"sqlite:///{work}/mlflow.db"
    os.environ["MLFLOW_TRACKING_URI"] = uri
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    yield uri
    del os.environ["MLFLOW_TRACKING_URI"]


@pytest.fixture(scope="session")
def orchestrator(tmp_path_factory: pytest.TempPathFactory, tracking_uri: str) -> Iterator[OrchestratorProcess]:
    with an_orchestrator(tmp_path_factory.mktemp("runai"), NODES) as running:
        os.environ["RUNAI_DATA_DIR"] = str(running.data_dir)
        yield running
    del os.environ["RUNAI_DATA_DIR"]


@pytest.fixture(scope="session")
def client(orchestrator: OrchestratorProcess) -> Iterator[Client]:
    with Client.from_env({"RUNAI_DATA_DIR": str(orchestrator.data_dir)}) as found:
        found.projects.create("team-a", resources=[quota(gpus=4)])
        yield found
