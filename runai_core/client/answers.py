"""Reading answers that are not plain objects: errors, JSON as such, events of a stream; pure."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from runai_core.client.results import Change, ChangeType, Workload, parse
from runai_core.model.errors import (
    AlreadyExists,
    Conflict,
    FieldError,
    Forbidden,
    IllegalTransition,
    InvalidRequest,
    InvalidSnapshot,
    NotFound,
    PolicyViolation,
    RunaiError,
    StaleVersion,
    TooLarge,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
    Unsupported,
    WatchExpired,
)

ERRORS: Mapping[int, type[RunaiError]] = {
    400: InvalidRequest,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    405: Unsupported,
    409: Conflict,
    410: WatchExpired,
    413: TooLarge,
    415: InvalidRequest,
    422: Unsupported,
    429: TooManyRequests,
    501: Unsupported,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}
"""Status -> the exception of `model.errors`."""

FINER: Mapping[str, type[RunaiError]] = {
    kind.__name__: kind
    for kind in (PolicyViolation, InvalidSnapshot, AlreadyExists, StaleVersion, IllegalTransition, *ERRORS.values())
}
"""Name of the error in the answer -> the exception, where the status alone does not tell."""


def read_error(status: int, body: bytes) -> RunaiError:
    """Return the exception that an answer with an error status stands for."""
    data = _json_or_none(body)
    if not isinstance(data, Mapping) or "message" not in data:
        kind = ERRORS.get(status, RunaiError)
        return kind(f"the server answered with status {status}: is this the address of an orchestrator?")
    kind = FINER.get(str(data.get("reason", "")), ERRORS.get(status, RunaiError))
    if issubclass(kind, InvalidRequest):
        return kind(str(data["message"]), [_field_error(item) for item in data.get("errors") or ()])
    return kind(str(data["message"]), data.get("context") or {})


def read_close(code: int, reason: str) -> RunaiError | None:
    """Return the exception for which the server closed a WebSocket; None where it simply ended."""
    kind = ERRORS.get(code - 4000)  # 4401 for what a request would have got 401
    return kind(reason or "the server ended the connection") if kind is not None else None


def read_batch(data: Any) -> Any:
    """Return the answer of a batch of one; raise its failure, which the status of the answer does not tell."""
    for failure in data.get("failed") or () if isinstance(data, Mapping) else ():
        raise ERRORS.get(int(failure.get("code", 500)), RunaiError)(str(failure.get("message", "")))
    return data


def _field_error(item: Mapping[str, Any]) -> FieldError:
    return FieldError(str(item.get("field", "")), str(item.get("message", "")), item.get("given"), item.get("policy"))


def read_json(body: bytes) -> Any:
    """Return the JSON of an answer; an empty one is None.

    Raises:
        Unavailable: it is not JSON.
    """
    if not body.strip():
        return None
    data = _json_or_none(body)
    if data is None and body.strip() != b"null":
        raise Unavailable("the server's answer is not JSON: is this the address of an orchestrator?")
    return data


def _json_or_none(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def read_change(lines: Sequence[str]) -> Change | None:
    """Return the change that the lines of one server-sent event tell; None for a heartbeat."""
    members: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        text = value.removeprefix(" ")
        members[name] = f"{members[name]}\n{text}" if name in members else text
    if "data" not in members or not members["data"].strip():
        return None
    data = json.loads(members["data"])
    if members.get("event") == "ERROR":
        raise read_error(int(data.get("code", 503)), members["data"].encode())
    item = data.get("object", data) if isinstance(data, Mapping) else {}
    type_ = data.get("type") if "object" in data else members.get("event")
    version = members.get("id") or data.get("version") or 0
    return Change(ChangeType(str(type_)), parse(Workload, item), int(version))
