"""Gangs of Spark's kinds."""

import subprocess
import sys
from typing import Any

import pytest
import yaml
from runai_spark.plugin import KINDS

from runai_core.plugins.types import Divides, Observes, Phase, Suspends, WorkloadKind

BY_KIND: dict[str, WorkloadKind] = {kind.kind: kind for kind in KINDS}


def gangs(text: str) -> list[tuple[int, dict[str, int]]]:
    manifest = yaml.safe_load(text)
    plans = BY_KIND[manifest["kind"]].adapter.pod_groups(manifest)
    return [(plan.min_members, {part.name: part.min_members for part in plan.sub_groups}) for plan in plans]


def test_an_application_starts_with_its_driver() -> None:
    text = "kind: SparkApplication\nspec: {driver: {cores: 1}, executor: {instances: 4}}"

    assert gangs(text) == [(1, {"driver": 1, "executor": 0})]


def test_a_scheduled_application_leaves_it_to_its_runs() -> None:
    assert gangs("kind: ScheduledSparkApplication") == []


@pytest.mark.parametrize(("role", "part"), [("driver", "driver"), ("executor", "executor"), ("init", "")])
def test_pods_find_their_role(role: str, part: str) -> None:
    adapter = BY_KIND["SparkApplication"].adapter

    assert isinstance(adapter, Divides)
    assert adapter.place_of({"spark-role": role}) == ("", part)


def test_a_schedule_can_be_suspended() -> None:
    manifest: dict[str, Any] = {"spec": {"schedule": "@daily"}}
    adapter = BY_KIND["ScheduledSparkApplication"].adapter

    assert isinstance(adapter, Suspends)
    assert adapter.suspend(manifest)["spec"] == {"schedule": "@daily", "suspend": True}


@pytest.mark.parametrize(
    ("state", "phase"),
    [("SUBMITTED", Phase.PENDING), ("RUNNING", Phase.RUNNING), ("COMPLETED", Phase.COMPLETED), ("", None)],
)
def test_the_phase_is_read_from_the_status(state: str, phase: Phase | None) -> None:
    adapter = BY_KIND["SparkApplication"].adapter

    assert isinstance(adapter, Observes)
    assert adapter.phase_of({"status": {"applicationState": {"state": state}}}) == phase


def test_the_plugin_is_cheap_to_import() -> None:
    """Best of five beyond what the core has loaded, in a process of its own."""
    code = (
        "import time, runai_core.plugins.types, runai_core.plugins.grouping, click; start = time.process_time();"
        "import runai_spark.plugin; print(time.process_time() - start)"
    )

    spent = [float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(5)]

    assert min(spent) < 0.05


def test_the_plugin_loads_without_its_ecosystem() -> None:
    """Every command of ours imports it: its framework must not come with it."""
    code = "import sys, runai_spark.plugin; print(*sys.modules)"

    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()

    assert not {"pyspark", "py4j"} & set(loaded)
