"""Jobs of MLflow's own kubernetes backend, put under our scheduler. Pure.

``kube-job-template-path`` of that backend names a file; `schedule` makes it one
whose pods we place. On the cluster, the Job is one workload like any other Job.
"""

from collections.abc import Mapping
from typing import Any

from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.plugins.grouping import field_of, with_field

SCHEDULER = "runai-scheduler"
QUEUE = "runai/queue"
PROJECT = "project"
PRIORITY = "priorityClassName"


def schedule(
    template: Mapping[str, Any], project: str, *, priority: str = "", scheduler: str = SCHEDULER
) -> dict[str, Any]:
    """Return the Job template with the scheduler's name, and the labels of project and priority on Job and pods.

    >>> schedule(yaml.safe_load(Path("job.yaml").read_text()), "team-a", priority="high")

    Raises:
        InvalidRequest: it is no Job, or asks for another scheduler.
    """
    if template.get("kind") != "Job":
        raise InvalidRequest.of(
            FieldError("kind", "must be Job: MLflow's kubernetes backend takes no other", template.get("kind"))
        )
    named = field_of(template, "spec.template.spec.schedulerName")
    if named not in (None, "", "default-scheduler", scheduler):
        path = "spec.template.spec.schedulerName"
        raise InvalidRequest.of(FieldError(path, f"asks for another scheduler: remove it, or name {scheduler}", named))
    labels = {QUEUE: project, PROJECT: project, **({PRIORITY: priority} if priority else {})}
    placed = with_field(template, "spec.template.spec.schedulerName", value=scheduler)
    for path in ("metadata.labels", "spec.template.metadata.labels"):
        placed = with_field(placed, path, value={**(field_of(placed, path) or {}), **labels})
    return placed
