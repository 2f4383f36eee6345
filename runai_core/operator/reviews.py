"""Admission reviews (admission.k8s.io/v1): what the API server asks, and what it is answered. Pure."""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runai_core.model.errors import (
    Conflict,
    FieldError,
    Forbidden,
    InvalidRequest,
    NotFound,
    PolicyViolation,
    RunaiError,
)
from runai_core.policy.v2alpha1_kinds import KIND_FIELDS

Object = dict[str, Any]

MOST_MESSAGE = 4000
"""Characters of a refusal; the API server shows it whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One question about one object."""

    uid: str
    operation: str
    namespace: str
    name: str
    object: Object  # as it would be kept; the old one where it is deleted
    old: Object | None = None  # as it was
    kind: str = ""
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Yes, yes with changes, or no."""

    allowed: bool = True
    message: str = ""
    code: int = 200
    reason: str = ""
    operations: Sequence[Object] = ()  # JSON patch
    warnings: Sequence[str] = field(default=())


ALLOWED = Answer()


def request_of(review: Any) -> Request:
    """Return the question of a review.

    Raises:
        InvalidRequest: it is none.
    """
    given = review.get("request") if isinstance(review, Mapping) else None
    if not isinstance(given, Mapping) or not given.get("uid"):
        raise InvalidRequest.of(FieldError("request", "must be an AdmissionReview of admission.k8s.io/v1 with a uid"))
    item, old = given.get("object"), given.get("oldObject")
    known = item if isinstance(item, dict) else old if isinstance(old, dict) else {}
    return Request(
        uid=str(given["uid"]),
        operation=str(given.get("operation", "")),
        namespace=str(given.get("namespace") or ""),
        name=str(given.get("name") or (known.get("metadata") or {}).get("name") or ""),
        object=known,
        old=old if isinstance(old, dict) else None,
        kind=str((given.get("kind") or {}).get("kind", "")),
        dry_run=bool(given.get("dryRun")),
    )


def review_of(uid: str, answer: Answer) -> Object:
    """Return the review that carries an answer."""
    response: Object = {"uid": uid, "allowed": answer.allowed}
    if not answer.allowed:
        response["status"] = {
            "code": answer.code,
            "reason": answer.reason,
            "message": answer.message[:MOST_MESSAGE],
            "status": "Failure",
        }
    if answer.operations:
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(json.dumps(list(answer.operations)).encode()).decode()
    if answer.warnings:
        response["warnings"] = [warning[:256] for warning in answer.warnings]
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}


_REFUSALS: tuple[tuple[type[RunaiError], int, str], ...] = (
    (PolicyViolation, 403, "Forbidden"),
    (InvalidRequest, 422, "Invalid"),
    (NotFound, 422, "Invalid"),
    (Conflict, 409, "Conflict"),
    (Forbidden, 403, "Forbidden"),
)


def refusal(error: RunaiError, item: Mapping[str, Any] | None = None) -> Answer | None:
    """Return the answer for an error that means no; None for one that only says that we cannot judge."""
    for kind, code, reason in _REFUSALS:
        if isinstance(error, kind):
            errors = error.errors if isinstance(error, InvalidRequest) else ()
            message = "; ".join(told(one, item) for one in errors) or error.message
            if isinstance(error, PolicyViolation):
                message = f"not allowed by policy: {message}"
            return Answer(allowed=False, code=code, reason=reason, message=message)
    return None


def told(error: FieldError, item: Mapping[str, Any] | None) -> str:
    """Return an error about a workload in the names that its author wrote."""
    if item is None:
        return str(error)
    return str(FieldError(written_name(error.field, item), error.message, error.given, error.policy))


def written_name(path: str, item: Mapping[str, Any]) -> str:
    """Return the field of a v2alpha1 object that a path of the current form is about.

    ``compute.gpuDevicesRequest`` is ``spec.gpu``; of several spellings it is
    the one that the object has.
    """
    section, rest = "spec", path
    for prefix in ("spec.", "masterSpec."):
        if path.startswith(prefix):
            section, rest = prefix.rstrip("."), path.removeprefix(prefix)
    if rest.partition(".")[0] in KIND_FIELDS and not _by_path(rest):
        return f"{section}.{rest}"  # it is in the object's names already
    names = _by_path(rest)
    if not names:
        return path
    body = item.get(section)
    given = [name for name in names if isinstance(body, Mapping) and name in body]
    return f"{section}.{(given or names)[0]}"


_GPU_PATHS = ("compute.gpuDevicesRequest", "compute.gpuPortionRequest", "compute.gpuRequestType")


def _by_path(path: str) -> list[str]:
    first = ["gpu"] if path in _GPU_PATHS else []
    return first + [
        entry.name
        for entry in KIND_FIELDS.values()
        if entry.path and (path == entry.path or path.startswith(f"{entry.path}."))
    ]


# -- changes


def operations(old: Any, new: Any, path: str = "") -> list[Object]:
    """Return the JSON patch (RFC 6902) that makes `new` of `old`; lists are replaced whole."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        found: list[Object] = [{"op": "remove", "path": f"{path}/{_escaped(name)}"} for name in old if name not in new]
        for name, value in new.items():
            at = f"{path}/{_escaped(name)}"
            if name not in old:
                found.append({"op": "add", "path": at, "value": value})
            else:
                found += operations(old[name], value, at)
        return found
    return [] if old == new else [{"op": "replace", "path": path, "value": new}]


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def completed(given: Any, more: Any, *, skip: Iterable[str] = ()) -> Any:
    """Return what was given with what it lacks; nothing that is there is changed."""
    if not (isinstance(given, Mapping) and isinstance(more, Mapping)):
        return given
    left_out = set(skip)
    merged = {name: completed(value, more[name]) if name in more else value for name, value in given.items()}
    return merged | {name: value for name, value in more.items() if name not in given and name not in left_out}
