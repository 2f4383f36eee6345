"""Submit and await runai-core workloads from Airflow."""

from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "RunaiGangTaskGroup": "runai_airflow.gangs",
    "RunaiHook": "runai_airflow.hooks",
    "RunaiTask": "runai_airflow.gangs",
    "RunaiWorkloadLink": "runai_airflow.links",
    "RunaiWorkloadOperator": "runai_airflow.operators",
    "RunaiWorkloadSensor": "runai_airflow.sensors",
    "RunaiWorkloadTrigger": "runai_airflow.triggers",
    "runai_task": "runai_airflow.decorators",
}

__all__ = [  # noqa: PLE0604 - the names of the table
    *_HOMES
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: `runai` imports this package, and must not import Airflow."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
