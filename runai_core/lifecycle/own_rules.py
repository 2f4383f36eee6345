"""Rules that a user gives a workload by annotations: when it has succeeded, when it has failed, when it goes."""

import re

from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.workload import Workload, WorkloadType

DEGRADED_TIMEOUT = "run.ai/degraded-timeout-seconds"
"""Annotation: a workload that stays Degraded for so long fails."""

SUCCESS_POLICY = "run.ai/success-policy"
"""Annotation: whose success is the workload's; see `SUCCESS_POLICIES`."""

WORKERS_ON_DEMAND = "run.ai/workers-on-demand"
"""Annotation: the gang starts with so many workers; further ones, up to maxReplicas, come and go when asked for."""

TIME_TO_LIVE = "run.ai/time-to-live-seconds"
"""Annotation: a workload is deleted so long after its submission, whatever it does: tools that die leave nothing."""

ALL_WORKERS = "AllWorkers"
SUCCESS_POLICIES = ("Master", ALL_WORKERS)
"""The master's (the default), or that of all pods (Kubeflow: TFJob successPolicy)."""

_SECONDS = re.compile(r"^[0-9]{1,9}$")


def check_own_rules(workload: Workload) -> None:
    """Refuse annotations of these names that make no sense, rather than ignore them.

    Raises:
        InvalidRequest: names the annotation.
    """
    for index, item in enumerate(workload.spec.annotations):
        path = f"spec.annotations.{index}.value"
        if item.name in (DEGRADED_TIMEOUT, TIME_TO_LIVE) and not item.exclude and not _SECONDS.match(item.value):
            raise InvalidRequest.of(FieldError(path, f"{item.name} must be a whole number of seconds", item.value))
        if item.name == SUCCESS_POLICY and not item.exclude and item.value not in SUCCESS_POLICIES:
            message = f"{item.name} must be one of {', '.join(SUCCESS_POLICIES)}"
            raise InvalidRequest.of(FieldError(path, message, item.value))
        if item.name == WORKERS_ON_DEMAND and not item.exclude:
            _check_on_demand(workload, path, item.value)


def _check_on_demand(workload: Workload, path: str, value: str) -> None:
    spec, allowed = workload.spec, workload.spec.max_replicas
    if workload.type != WorkloadType.DISTRIBUTED or allowed is None or not workload.has_master:
        message = f"{WORKERS_ON_DEMAND} needs a distributed workload with a master and spec.maxReplicas"
        raise InvalidRequest.of(FieldError(path, message, value))
    if not _SECONDS.match(value) or int(value) > allowed:
        message = f"{WORKERS_ON_DEMAND} must be a whole number from 0 to spec.maxReplicas, which is {allowed}"
        raise InvalidRequest.of(FieldError(path, message, value))
    if spec.min_replicas is not None and spec.min_replicas != int(value):
        message = f"{WORKERS_ON_DEMAND} says {value}: leave it out"
        raise InvalidRequest.of(FieldError("spec.minReplicas", message, spec.min_replicas))


def workers_on_demand(workload: Workload) -> int | None:
    """Return with how many workers the gang starts where they come and go on demand; None: they do not."""
    text = _annotation(workload, WORKERS_ON_DEMAND)
    return int(text) if text is not None and _SECONDS.match(text) else None


def degraded_timeout(workload: Workload) -> int | None:
    """Return after how many seconds in Degraded the workload fails; None: never."""
    text = _annotation(workload, DEGRADED_TIMEOUT)
    return int(text) if text is not None and _SECONDS.match(text) else None


def deletion_due(workload: Workload) -> tuple[float, str] | None:
    """Return when the workload is to be deleted, in seconds since the epoch, and the cause; None: never by itself."""
    due = []
    after, ended = workload.spec.auto_deletion_time_after_completion_seconds, workload.completed_at
    if after is not None and ended is not None:
        due.append((ended + after, f"deleted {after} s after its end, as its specification asks"))
    text = _annotation(workload, TIME_TO_LIVE)
    if text is not None and _SECONDS.match(text):
        due.append((workload.meta.created_at + int(text), f"deleted {text} s after its submission ({TIME_TO_LIVE})"))
    return min(due, default=None)


def all_must_succeed(workload: Workload) -> bool:
    """Return whether the success of the master alone is not enough."""
    return _annotation(workload, SUCCESS_POLICY) == ALL_WORKERS


def _annotation(workload: Workload, name: str) -> str | None:
    return next((item.value for item in workload.spec.annotations if item.name == name and not item.exclude), None)
