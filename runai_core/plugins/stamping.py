"""Putting framework objects under the scheduler: its name, and whose quota, on every pod that they will make.

Pure: manifests in, manifests out, what was there is kept. Names are those of
Run:ai and KAI (docs, "Labels the scheduler reads"); an object that carries
them can be given to any cluster where the scheduler runs.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.workload import PRIORITIES

SCHEDULER = "runai-scheduler"
"""Value of ``spec.schedulerName``."""

DEFAULT_SCHEDULERS = frozenset({"", "default-scheduler", SCHEDULER})
"""Scheduler names that are replaced; a pod that asks for another one is left to it."""

QUEUE_LABEL = "runai/queue"
NODE_POOL_LABEL = "runai/node-pool"
PRIORITY_LABEL = "priorityClassName"
PREEMPTIBILITY_LABEL = "kai.scheduler/preemptibility"

_NAME = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """What the scheduler should know of an object: whose it is, and how it is treated.

    Raises:
        InvalidRequest: the project is no name, or the priority or preemptibility is unknown.
    """

    project: str
    priority: str = ""  # a priority class; empty = the default of the object's kind
    preemptibility: str = ""  # preemptible | non-preemptible; empty = as the priority says
    node_pool: str = ""

    def __post_init__(self) -> None:
        """Refuse what the scheduler would not understand."""
        _one_of("priority", self.priority, PRIORITIES)
        _one_of("preemptibility", self.preemptibility, ("preemptible", "non-preemptible"))
        for field in ("project", "node_pool"):
            value = getattr(self, field)
            if (value or field == "project") and not _NAME.match(value):
                raise InvalidRequest.of(FieldError(field, "must be a name in lower case, as in team-a", value))

    @property
    def labels(self) -> dict[str, str]:
        """The labels that say it."""
        labels = {
            QUEUE_LABEL: self.project,
            PRIORITY_LABEL: self.priority,
            PREEMPTIBILITY_LABEL: self.preemptibility,
            NODE_POOL_LABEL: self.node_pool,
        }
        return {key: value for key, value in labels.items() if value}

    @property
    def namespace(self) -> str:
        """The project's namespace, unless an administrator chose another one (Run:ai docs, projects)."""
        return f"runai-{self.project}"


def stamped(manifest: Mapping[str, Any], marks: Marks) -> dict[str, Any]:
    """Return an object with our labels on itself, in the project's namespace unless it names one."""
    metadata = _labelled(manifest.get("metadata"), marks)
    metadata.setdefault("namespace", marks.namespace)
    return {**manifest, "metadata": metadata}


def stamped_pod(template: Mapping[str, Any], marks: Marks) -> dict[str, Any]:
    """Return a pod, or a pod template, with our labels and the scheduler's name."""
    return {
        **template,
        "metadata": _labelled(template.get("metadata"), marks),
        "spec": scheduled_spec(template.get("spec") or {}),
    }


def scheduled_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a PodSpec with the scheduler's name, unless it asks for another scheduler of its own."""
    if spec.get("schedulerName", "") not in DEFAULT_SCHEDULERS:
        return dict(spec)
    return {**spec, "schedulerName": SCHEDULER}


def changed_at(value: Any, path: str, change: Callable[[Any], Any]) -> Any:
    """Return a copy with `change` applied to what is at a path; where something is missing, nothing changes.

    A path is dotted; ``[]`` goes through all items of a list:
    ``spec.predictors[].componentSpecs[]``.
    """
    if not path:
        return change(value)
    head, _, rest = path.partition(".")
    name = head.removesuffix("[]")
    if not isinstance(value, Mapping) or value.get(name) is None:
        return value
    inner = value[name]
    if head.endswith("[]"):
        if not isinstance(inner, list):
            raise InvalidRequest.of(FieldError(name, "must be a list", inner))
        return {**value, name: [changed_at(item, rest, change) for item in inner]}
    return {**value, name: changed_at(inner, rest, change)}


def _labelled(metadata: Mapping[str, Any] | None, marks: Marks) -> dict[str, Any]:
    known = metadata or {}
    return {**known, "labels": {**(known.get("labels") or {}), **marks.labels}}


def _one_of(field: str, value: str, allowed: Iterable[str]) -> None:
    if value and value not in allowed:
        raise InvalidRequest.of(FieldError(field, f"must be one of {', '.join(allowed)}", value))
