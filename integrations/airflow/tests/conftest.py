"""What Airflow's tests share: its database is made once, and each Airflow begins with a copy."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

NewHome = Callable[[str], Path]


@pytest.fixture(scope="session")
def new_home(tmp_path_factory: pytest.TempPathFactory) -> NewHome:
    """Return a function that makes a home directory for an Airflow, with an empty database and a folder for DAGs."""
    template = tmp_path_factory.mktemp("template")
    environ = {**os.environ, "AIRFLOW_HOME": str(template), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    migrate = [sys.executable, "-m", "airflow", "db", "migrate"]
    subprocess.run(migrate, env=environ, check=True, capture_output=True, timeout=500)

    def make(name: str) -> Path:
        home = tmp_path_factory.mktemp(name)
        (home / "dags").mkdir()
        for file in template.glob("airflow.db*"):
            shutil.copy(file, home)
        return home

    return make
