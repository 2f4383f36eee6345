"""Shows, on a workload's page, the Airflow task that made it.

Airflow names the task in labels of what it starts (``dag_id``, ``run_id``,
``task_id``); with the address of its web server they become a link.
"""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.workload import Workload
from runai_core.plugins.markers import hookimpl
from runai_core.plugins.types import Page, Setting

URL = Setting(
    name="airflow.url",
    default="http://localhost:8080",
    help="Address of Airflow's web server, for links from workloads to their tasks.",
)

LABELS = ("dag_id", "run_id", "task_id")


@hookimpl
def runai_settings() -> Iterable[Setting]:
    """Return where Airflow's web server is."""
    return (URL,)


def task_of(workload: Workload) -> dict[str, str]:
    """Return the labels by which Airflow names a task; empty where it did not make the workload."""
    labels = {label.name: label.value for label in workload.spec.labels}
    found = {name: labels[name] for name in LABELS if labels.get(name)}
    return found if len(found) == len(LABELS) else {}


def task_url(base: str, task: Mapping[str, str]) -> str:
    """Return the address of a task's page (Airflow 3).

    Raises:
        InvalidRequest: the base is no address of a web server.
    """
    if not base.startswith(("http://", "https://")):
        raise InvalidRequest.of(FieldError(URL.variable, "must start with http:// or https://", base))
    dag, run, name = (quote(task[label], safe="") for label in LABELS)
    return f"{base.rstrip('/')}/dags/{dag}/runs/{run}/tasks/{name}"


async def load_task(workload: Workload | None, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the values of the page: nothing where Airflow did not make the workload."""
    task = task_of(workload) if workload else {}
    return {**task, "url": task_url(str(settings[URL.name]), task)} if task else {}


TEMPLATE = (
    """{% if url %}<p>Task <a href="{{ url }}">{{ dag_id }} / {{ task_id }}</a>, run {{ run_id }}</p>{% endif %}"""
)


@hookimpl
def runai_pages() -> Iterable[Page]:
    """Return the part of a workload's page that links to its task."""
    return (Page(kind="workload", title="Airflow", loader=load_task, template=TEMPLATE),)
