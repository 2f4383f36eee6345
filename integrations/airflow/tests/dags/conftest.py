"""What tests of DAGs share: one orchestrator with simulated GPUs, and one Airflow in this process."""

# mypy: disable-error-code="misc, untyped-decorator, import-untyped"

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runai_core.client import Client, quota
from tests.airflow_dags import RunDag
from tests.orchestrators import OrchestratorProcess, an_orchestrator

NODES = [{"name": "node-1", "cpu": 8, "memory": "16Gi", "gpus": 4}]
"""Four simulated GPUs: tasks of these tests compete for them."""


@pytest.fixture(scope="session")
def orchestrator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrchestratorProcess]:
    with an_orchestrator(tmp_path_factory.mktemp("runai"), NODES) as running:
        yield running


@pytest.fixture(autouse=True)
def found_by_environment(orchestrator: OrchestratorProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tasks find the orchestrator as `runai` finds it."""
    monkeypatch.setenv("RUNAI_DATA_DIR", str(orchestrator.data_dir))


@pytest.fixture(scope="session")
def client(orchestrator: OrchestratorProcess) -> Iterator[Client]:
    with Client.from_env({"RUNAI_DATA_DIR": str(orchestrator.data_dir)}) as found:
        found.projects.create("team-a", resources=[quota(gpus=4)])
        yield found


@pytest.fixture(scope="session")
def credentials(orchestrator: OrchestratorProcess) -> dict[str, str]:
    content: dict[str, str] = json.loads((orchestrator.data_dir / "credentials.json").read_text())
    return content


@pytest.fixture(scope="session")
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
