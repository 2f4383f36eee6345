"""Shows, on a workload's page, the Airflow task that made it.

Airflow names the task in labels of what it starts (``dag_id``, ``run_id``,
``task_id``), and where a label cannot hold the name, in annotations. Both are
read from workloads of our operator and from the pods that Airflow makes by
itself on Kubernetes (KubernetesPodOperator, KubernetesExecutor): such a pod is
one workload, for one try of one task.
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

NAMES = ("dag_id", "run_id", "task_id")
OPTIONAL = ("map_index", "try_number")


@hookimpl
def runai_settings() -> Iterable[Setting]:
    """Return where Airflow's web server is."""
    return (URL,)


def task_of(workload: Workload) -> dict[str, str]:
    """Return how Airflow names the task; empty where it did not make the workload."""
    metadata = (workload.manifest or {}).get("metadata")
    foreign: Mapping[str, Any] = metadata if isinstance(metadata, Mapping) else {}
    names: dict[str, str] = {
        **(foreign.get("labels") or {}),
        **(foreign.get("annotations") or {}),  # these are not shortened
        **{label.name: label.value for label in workload.spec.labels},
        **{item.name: item.value for item in workload.spec.annotations},
    }
    if any(not names.get(name) for name in NAMES):
        return {}
    return {name: str(names[name]) for name in (*NAMES, *OPTIONAL) if names.get(name)}


def task_url(base: str, task: Mapping[str, str]) -> str:
    """Return the address of a task's page (Airflow 3).

    Raises:
        InvalidRequest: the base is no address of a web server.
    """
    if not base.startswith(("http://", "https://")):
        raise InvalidRequest.of(FieldError(URL.variable, "must start with http:// or https://", base))
    dag, run, name = (quote(task[label], safe="") for label in NAMES)
    mapped = f"/mapped/{quote(task['map_index'], safe='')}" if int(task.get("map_index", "-1")) >= 0 else ""
    return f"{base.rstrip('/')}/dags/{dag}/runs/{run}/tasks/{name}{mapped}"


async def load_task(workload: Workload | None, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the values of the page: nothing where Airflow did not make the workload."""
    task = task_of(workload) if workload else {}
    return {**task, "url": task_url(str(settings[URL.name]), task)} if task else {}


TEMPLATE = (
    """{% if url %}<p>Task <a href="{{ url }}">{{ dag_id }} / {{ task_id }}</a>, run {{ run_id }}"""
    """{% if try_number %}, try {{ try_number }}{% endif %}</p>{% endif %}"""
)


@hookimpl
def runai_pages() -> Iterable[Page]:
    """Return the part of a workload's page that links to its task."""
    return (Page(kind="workload", title="Airflow", loader=load_task, template=TEMPLATE),)
