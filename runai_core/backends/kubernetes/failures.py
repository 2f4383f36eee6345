"""What the API server's refusals mean in our words."""

from collections.abc import Mapping
from typing import Any

from runai_core.model.errors import (
    AlreadyExists,
    Conflict,
    FieldError,
    Forbidden,
    InvalidRequest,
    NotFound,
    RunaiError,
    StaleVersion,
    TooLarge,
    Unauthenticated,
    Unavailable,
    Unsupported,
    WatchExpired,
)

_BY_CODE: Mapping[int, type[RunaiError]] = {
    400: InvalidRequest,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    405: Unsupported,
    410: WatchExpired,
    413: TooLarge,
    415: Unsupported,
}

_CONFLICTS: Mapping[str, type[RunaiError]] = {"AlreadyExists": AlreadyExists, "Conflict": StaleVersion}

BUDGET = "DisruptionBudget"


def failure(code: int, status: Mapping[str, Any], path: str) -> RunaiError:
    """Return the error for a refusal: its HTTP code, the ``Status`` object that came with it, and where it was."""
    message = str(status.get("message") or f"the API server answered {code}").strip()
    details = {
        "status": code,
        "reason": str(status.get("reason") or ""),
        "path": path,
        "causes": _causes(status),
        "budget": refused_by_budget(status),
    }
    error = _error(code, message, details)
    error.details = details
    return error


def _error(code: int, message: str, details: Mapping[str, Any]) -> RunaiError:
    if code == 409:
        return _CONFLICTS.get(details["reason"], Conflict)(message)
    if code == 422 or (code == 400 and details["causes"]):
        return InvalidRequest(message, tuple(FieldError(*cause) for cause in details["causes"]))
    if code == 403:
        message = f"{message}. Grant it with a Role or ClusterRole, or use a kubeconfig of somebody who may"
    elif code == 401:
        message = f"the API server does not accept our credentials ({message}): log in again, or renew the kubeconfig"
    return _BY_CODE.get(code, Unavailable)(message)


def lost(server: str, error: BaseException) -> Unavailable:
    """Return the error for a connection that cannot be made or broke."""
    text = str(error) or type(error).__name__
    return Unavailable(f"the Kubernetes API server {server} cannot be reached: {text}", {"reason": "Connection"})


def refused_by_budget(status: Mapping[str, Any]) -> bool:
    """Return whether an eviction was refused to keep a PodDisruptionBudget."""
    causes = (status.get("details") or {}).get("causes") or ()
    return any(cause.get("reason") == BUDGET for cause in causes)


def _causes(status: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    causes = (status.get("details") or {}).get("causes") or ()
    return tuple((str(cause.get("field", "")), str(cause.get("message", ""))) for cause in causes)
