"""Every error as the API shows it: one table of statuses, one form of body."""

import difflib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response

from runai_core import wire
from runai_core.model import errors
from runai_core.model.errors import MAX_ERRORS, MAX_NAME, FieldError, InvalidRequest, RunaiError, and_more

STATUS: Mapping[type[RunaiError], int] = {
    errors.InvalidRequest: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.WatchExpired: 410,
    errors.TooLarge: 413,
    errors.Unsupported: 422,
    errors.TooManyRequests: 429,
    errors.Unavailable: 503,
}
"""Status of each branch of the exception tree; a subclass has its parent's."""

MAX_GIVEN = 80
"""Characters of a wrong value that are repeated to the user."""


class Json(Response):
    """A JSON answer that can carry any text: what UTF-8 cannot hold is escaped."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return the content as ASCII JSON."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


def status_of(error: RunaiError) -> int:
    """Return the HTTP status of an error; 500 for one that the table does not know."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def body_of(error: RunaiError, request_id: str = "") -> dict[str, Any]:
    """Return the API's form of an error.

    `code`, `message` and `details` are Run:ai's; `reason` (the class in our
    exception tree), `errors` (one for each field) and `requestId` are ours.
    """
    fields = error.errors if isinstance(error, InvalidRequest) else ()
    body: dict[str, Any] = {
        "code": status_of(error),
        "message": error.message,
        "details": "\n".join(map(str, fields)) or None,
        "reason": type(error).__name__,
        "requestId": request_id,
    }
    if fields:
        body["errors"] = [_field(item) for item in fields]
    if error.details:
        body["context"] = {key: _json(value) for key, value in error.details.items()}
    return body


def answer(connection: HTTPConnection, error: RunaiError) -> Json:
    """Return the response for an error."""
    return Json(body_of(error, request_id(connection)), status_of(error), _headers(error))


def _headers(error: RunaiError) -> dict[str, str]:
    if isinstance(error, errors.TooManyRequests):
        return {"Retry-After": str(error.details.get("retryAfterSeconds", 1))}
    return {"WWW-Authenticate": "Bearer"} if isinstance(error, errors.Unauthenticated) else {}


def request_id(connection: HTTPConnection) -> str:
    """Return the id under which the request is logged."""
    return str(connection.scope.get("state", {}).get("request_id", ""))


async def on_error(request: HTTPConnection, error: Exception) -> Response:
    """Answer an error of our tree."""
    if not isinstance(error, RunaiError):  # registered for RunaiError alone
        raise error
    return answer(request, error)


async def on_invalid(request: HTTPConnection, error: Exception) -> Response:
    """Answer a request whose path, query or body does not have the documented form."""
    if not isinstance(error, RequestValidationError):
        raise error
    if any(isinstance(item.get("input"), bytes) for item in error.errors()):  # it was not taken for JSON
        return await on_http(request, HTTPException(415))
    body_field = getattr(request.scope.get("route"), "body_field", None)
    model = body_field.field_info.annotation if body_field else None
    return answer(request, InvalidRequest.of(*field_errors(error.errors(), model)))


async def on_http(request: HTTPConnection, error: Exception) -> Response:
    """Answer what the framework refuses: unknown paths and methods, bodies that cannot be read."""
    if not isinstance(error, HTTPException):
        raise error
    message = _HTTP_MESSAGES.get(error.status_code, str(error.detail))
    method, path = request.scope.get("method", "GET"), request.scope["path"]
    body = {
        "code": error.status_code,
        "message": message.format(method=method, path=path[:MAX_GIVEN]),
        "details": None,
        "reason": _HTTP_REASONS.get(error.status_code, "InvalidRequest"),
        "requestId": request_id(request),
    }
    return Json(body, error.status_code, dict(error.headers or {}))


_HTTP_MESSAGES: Mapping[int, str] = {
    400: "the body cannot be read as JSON",
    404: "there is no {path}; see /api/docs for all paths",
    405: "{path} does not take {method}; see /api/docs",
    415: "the body must be JSON, with the header Content-Type: application/json",
}
_HTTP_REASONS: Mapping[int, str] = {404: "NotFound", 405: "Unsupported"}


def field_errors(found: Sequence[Any], model: Any) -> list[FieldError]:
    """Return pydantic's findings in the API's words; `model` is that of the body, for suggestions."""
    named = (
        FieldError(
            field=".".join(str(part)[:MAX_NAME] for part in _path(item)) or "body",
            message=_message(item, model),
            given=None if item["type"] in ("missing", "json_invalid") else _shown(item.get("input")),
        )
        for item in found[:MAX_ERRORS]
    )
    return [*named, *and_more(len(found) - MAX_ERRORS)]


def _path(item: Mapping[str, Any]) -> Sequence[int | str]:
    location: Sequence[int | str] = item["loc"]
    if item["type"] == "json_invalid":
        return ()  # what is there is the place in the text
    return location[1:] if location and location[0] in ("body", "query", "path", "header") else location


def _message(item: Mapping[str, Any], model: Any) -> str:
    path = _path(item)
    if item["type"] == "missing":
        return "is required" if path else "a JSON body with content type application/json is required"
    if item["type"] == "json_invalid":
        return f"the body is not JSON: {item.get('ctx', {}).get('error', '')} at character {item['loc'][-1]}"
    if item["type"] in ("model_attributes_type", "model_type"):
        return "must be a JSON object (with content type application/json)"
    if item["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        near = difflib.get_close_matches(str(path[-1])[:MAX_NAME], _names(model, path[:-1]), n=2)
        return "unknown field" + (f", did you mean {' or '.join(near)}?" if near else "")
    text: str = item["msg"]
    return text.replace("Value error, ", "").replace("Input should be", "must be").replace("Value should", "must")


def _names(model: Any, path: Sequence[int | str]) -> list[str]:
    """Return the names that are allowed at the path below a model."""
    model = _model_in(model)
    for part in path:
        if isinstance(part, int) or model is None:
            continue
        fields = model.model_fields.items()
        found = next((field for name, field in fields if part in (name, field.alias)), None)
        model = _model_in(found.annotation) if found else None
    return [field.alias or name for name, field in model.model_fields.items()] if model else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)


def _field(error: FieldError) -> dict[str, Any]:
    return {"field": error.field, "message": error.message, "given": _json(error.given), "policy": error.policy}


def _shown(value: object) -> object:
    if value is None or isinstance(value, int | float | bool):
        return value
    text = str(value)
    return text if len(text) <= MAX_GIVEN else text[:MAX_GIVEN] + "..."


def _json(value: Any) -> Any:
    """Return a value that JSON can hold: numbers that are not finite become text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Mapping):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_json(item) for item in value]
    try:
        return wire.encode(value)
    except TypeError:
        return str(value)
