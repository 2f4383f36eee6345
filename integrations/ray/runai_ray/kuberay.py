"""KubeRay's objects under our scheduler; pure."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from runai_core.model.errors import FieldError, InvalidRequest
from runai_ray.plugin import CLUSTER_AT

SCHEDULER = "runai-scheduler"
PROJECT_LABEL = "project"
QUEUE_LABEL = "runai/queue"
PRIORITY_LABEL = "priorityClassName"


def schedule(
    manifest: Mapping[str, Any], *, project: str, priority: str = "", scheduler: str = SCHEDULER
) -> dict[str, Any]:
    """Return a RayCluster, RayJob or RayService whose pods our scheduler places, for this project.

    Doing it twice changes nothing.

    Raises:
        InvalidRequest: it is another kind, or has no pod template.
    """
    kind = str(manifest.get("kind", ""))
    if kind not in CLUSTER_AT:
        raise InvalidRequest.of(FieldError("kind", f"must be one of {', '.join(CLUSTER_AT)}", kind))
    changed = deepcopy(dict(manifest))
    labels = {PROJECT_LABEL: project, QUEUE_LABEL: project} | ({PRIORITY_LABEL: priority} if priority else {})
    _label(changed, labels)
    cluster: Any = changed
    for part in CLUSTER_AT[kind].split("."):
        cluster = cluster.get(part, {})
    heads = [cluster["headGroupSpec"]] if "headGroupSpec" in cluster else []
    groups = [*heads, *(cluster.get("workerGroupSpecs") or ())]
    for group in groups:
        template = group.setdefault("template", {})
        template.setdefault("spec", {})["schedulerName"] = scheduler
        _label(template, labels)
    return changed


def _label(owner: dict[str, Any], labels: Mapping[str, str]) -> None:
    metadata = owner.setdefault("metadata", {})
    metadata["labels"] = {**(metadata.get("labels") or {}), **labels}
