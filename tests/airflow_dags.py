"""DAGs as tests write them, and their workloads."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from runai_core.client import Client
from runai_core.client.results import Workload

QUICK: dict[str, Any] = {"project": "team-a", "poll_interval": 0.2}
FIRST_DAY = datetime(2025, 1, 1, tzinfo=UTC)

RunDag = Callable[[Any], dict[str, str]]
"""Runs a DAG and returns the states of its tasks."""


def a_dag(name: str) -> Any:
    from airflow.sdk import DAG  # by the tests of an environment that has it

    return DAG(name, schedule=None, start_date=FIRST_DAY)


def the_workload(client: Client, start: str) -> Workload:
    """Return the newest workload whose name begins so, with its specification."""
    return client.get(next(found.id for found in client.list() if found.name.startswith(start)))
