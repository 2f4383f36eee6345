"""The link from a workload to the Airflow task that made it."""

import asyncio
import subprocess
import sys

import jinja2
import pytest
from runai_airflow.plugin import TEMPLATE, load_task, task_url

from runai_core.model.errors import InvalidRequest
from runai_core.model.meta import Meta
from runai_core.model.spec import NamedValue, WorkloadSpec
from runai_core.model.workload import Workload
from runai_core.plugins.manager import load_plugins

TASK = {"dag_id": "daily", "run_id": "manual__2026-11-22T00:00:00+00:00", "task_id": "train"}


def workload(labels: dict[str, str]) -> Workload:
    named = tuple(NamedValue(name=name, value=value) for name, value in labels.items())
    return Workload(meta=Meta(name="w", project="p"), spec=WorkloadSpec(labels=named))


def shown(made: Workload) -> str:
    values = asyncio.run(load_task(made, load_plugins(["airflow"]).values))
    return jinja2.Environment(autoescape=True).from_string(TEMPLATE).render(values)


def test_a_workload_of_airflow_links_to_its_task() -> None:
    assert shown(workload(TASK)) == (
        '<p>Task <a href="http://localhost:8080/dags/daily/runs/manual__2026-11-22T00%3A00%3A00%2B00%3A00/tasks/train">'
        "daily / train</a>, run manual__2026-11-22T00:00:00+00:00</p>"
    )


def test_a_workload_of_somebody_else_shows_nothing() -> None:
    assert shown(workload({"dag_id": "daily"})) == ""


def test_labels_cannot_bring_markup() -> None:
    assert "<script>" not in shown(workload({**TASK, "task_id": "<script>alert(1)</script>"}))


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="RUNAI_AIRFLOW_URL: must start with http"):
        task_url("javascript:alert(1)", TASK)


def test_the_plugin_loads_without_its_ecosystem() -> None:
    """Every command of ours imports it: its framework must not come with it."""
    code = "import sys, runai_airflow.plugin; print(*sys.modules)"

    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()

    assert not {"airflow"} & set(loaded)
