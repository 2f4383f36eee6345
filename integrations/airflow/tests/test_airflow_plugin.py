"""The link from a workload to the Airflow task that made it."""

import asyncio
import re
import subprocess
import sys

import jinja2
import pytest
from runai_airflow.identity import TaskIdentity, label_value
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


def test_a_pod_that_airflow_made_by_itself_links_to_its_task() -> None:
    """As KubernetesPodOperator labels it: what a label cannot hold is in an annotation."""
    metadata = {
        "labels": {
            "dag_id": "daily",
            "task_id": "train",
            "run_id": "manual__2026-11-22T0000000000-abc",
            "try_number": "2",
        },
        "annotations": {"run_id": TASK["run_id"], "map_index": "3"},
    }
    pod = Workload(
        meta=Meta(name="train-x", project="p"), api_version="v1", kind="Pod", manifest={"metadata": metadata}
    )

    assert "/runs/manual__2026-11-22T00%3A00%3A00%2B00%3A00/tasks/train/mapped/3" in shown(pod)
    assert "try 2" in shown(pod)


IDENTITY = TaskIdentity("My DAG", "manual__2026-11-22T00:00:00+00:00", "group.train", 2, 3)


def test_a_try_has_a_name_of_its_own_and_the_owner_of_all_tries() -> None:
    names = [identity.name for identity in (IDENTITY, *IDENTITY.before)]

    assert [name[-2:] for name in names] == ["-3", "-2", "-1"]
    assert len({name[:-2] for name in names}) == 1
    assert names[0].startswith("my-dag-group-train-")
    assert {identity.owner for identity in (IDENTITY, *IDENTITY.before)} == {
        "airflow:My%20DAG/manual__2026-11-22T00%3A00%3A00%2B00%3A00/group.train/2"
    }


@pytest.mark.parametrize(
    "dag_id", ["1-digits", "X" * 300, "ümlaut", "___"], ids=["digits first", "long", "letters", "none"]
)
def test_every_name_and_label_is_one_that_is_taken(dag_id: str) -> None:
    identity = TaskIdentity(dag_id, "scheduled__2026-11-22", "t")

    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])", identity.name)
    for value in identity.labels.values():
        assert re.fullmatch(r"[A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?", value), value
    assert identity.values["dag_id"] == dag_id


def test_values_that_a_label_cannot_hold_stay_apart() -> None:
    assert label_value("a+b") != label_value("ab")
    assert label_value("plain") == "plain"


def test_the_plugin_is_imported_in_a_moment() -> None:
    """Beyond what `runai` has imported anyway."""
    code = (
        "import time, runai_core.plugins.types, runai_core.plugins.markers\n"
        "begin = time.process_time(); import runai_airflow.plugin; print(time.process_time() - begin)"
    )

    seconds = min(float(subprocess.check_output([sys.executable, "-c", code], text=True)) for _ in range(3))

    assert seconds < 0.05


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
