"""A cluster policy: pods that Airflow makes by itself are scheduled by us.

Loaded through the entry point `airflow.policy`; it does nothing unless
``[runai] schedule_pods`` is true. Pods of KubernetesPodOperator and of
KubernetesExecutor pass through the same hook. A pod that names another
scheduler is left alone.
"""

# ruff: noqa: TID253 - Airflow imports this module itself

from collections.abc import Mapping
from typing import Any

from airflow.policies import hookimpl

DEFAULT_SCHEDULERS = (None, "", "default-scheduler")

QUEUE = "runai/queue"
PROJECT = "project"


@hookimpl
def pod_mutation_hook(pod: Any) -> None:
    """Set the scheduler's name and the project's labels."""
    from airflow.sdk import conf

    if conf.getboolean("runai", "schedule_pods", fallback=False):
        schedule(
            pod,
            conf.get("runai", "scheduler_name", fallback="runai-scheduler"),
            conf.get("runai", "project", fallback=""),
        )


def schedule(pod: Any, scheduler: str, project: str) -> None:
    """Put a pod (a ``V1Pod``) under the scheduler, in the project that it or the configuration names."""
    if pod.spec.scheduler_name not in DEFAULT_SCHEDULERS:
        return
    pod.spec.scheduler_name = scheduler
    labels: Mapping[str, str] = pod.metadata.labels or {}
    if found := labels.get(QUEUE) or labels.get(PROJECT) or project:
        pod.metadata.labels = {**labels, QUEUE: found, PROJECT: found}
