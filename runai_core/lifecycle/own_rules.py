"""Rules that a user gives a workload by annotations: when it has succeeded, when it has failed."""

import re

from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.workload import Workload

DEGRADED_TIMEOUT = "run.ai/degraded-timeout-seconds"
"""Annotation: a workload that stays Degraded for so long fails."""

SUCCESS_POLICY = "run.ai/success-policy"
"""Annotation: whose success is the workload's; see `SUCCESS_POLICIES`."""

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
        if item.name == DEGRADED_TIMEOUT and not item.exclude and not _SECONDS.match(item.value):
            raise InvalidRequest.of(FieldError(path, f"{item.name} must be a whole number of seconds", item.value))
        if item.name == SUCCESS_POLICY and not item.exclude and item.value not in SUCCESS_POLICIES:
            message = f"{item.name} must be one of {', '.join(SUCCESS_POLICIES)}"
            raise InvalidRequest.of(FieldError(path, message, item.value))


def degraded_timeout(workload: Workload) -> int | None:
    """Return after how many seconds in Degraded the workload fails; None: never."""
    text = _annotation(workload, DEGRADED_TIMEOUT)
    return int(text) if text is not None and _SECONDS.match(text) else None


def all_must_succeed(workload: Workload) -> bool:
    """Return whether the success of the master alone is not enough."""
    return _annotation(workload, SUCCESS_POLICY) == ALL_WORKERS


def _annotation(workload: Workload, name: str) -> str | None:
    return next((item.value for item in workload.spec.annotations if item.name == name and not item.exclude), None)
