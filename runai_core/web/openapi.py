"""The API's own description: the OpenAPI document, and a page that shows it without loading anything."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from jinja2 import Environment, FileSystemLoader, Template, select_autoescape

from runai_core import __version__, wire
from runai_core.model.spec import WorkloadSpec
from runai_core.service.submission import References
from runai_core.web.answers.base import ErrorAnswer
from runai_core.web.gate import OPEN_PATHS
from runai_core.web.schemas import MODEL

TITLE = "runai-core"
SUMMARY = "AI workload orchestrator: paths, fields and phases of the public Run:ai API, and some of our own."

METHODS = ("get", "post", "put", "patch", "delete")


def document(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document; it is made once."""
    if app.openapi_schema is None:
        made: dict[str, Any] = _resolved(
            get_openapi(title=TITLE, version=__version__, summary=SUMMARY, routes=app.routes)
        )
        components = made.setdefault("components", {})
        components.setdefault("schemas", {}).update(_model_schemas(WorkloadSpec) | _model_schemas(References))
        components["schemas"]["ErrorAnswer"] = _local(ErrorAnswer.model_json_schema(by_alias=True))
        components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
        for path, operations in made["paths"].items():
            for operation in operations.values():
                _finish(path, operation)
        app.openapi_schema = made
    return app.openapi_schema


def _finish(path: str, operation: dict[str, Any]) -> None:
    """Add what holds for every operation: the token, and the form of errors."""
    if path.startswith(("/api/", "/v1/")) and path not in OPEN_PATHS:
        operation["security"] = [{"bearer": []}]
    operation["responses"].pop("422", None)  # ours is 400, with all fields named
    operation["responses"]["default"] = {
        "description": "What went wrong, with what, and what to do.",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}},
    }


def _resolved(value: Any) -> Any:
    """Return the document with a reference in the place of each field that is marked with a model class."""
    if isinstance(value, list):
        return [_resolved(item) for item in value]
    if not isinstance(value, dict):
        return value
    if MODEL in value:
        return {"$ref": f"#/components/schemas/{value[MODEL]}"}
    return {name: _resolved(item) for name, item in value.items()}


def _model_schemas(kind: type[object]) -> dict[str, Any]:
    """Return the schemas of a model class and of all that it holds, by name."""
    found = _local(wire.schema(kind))
    return {**found.pop("$defs", {}), kind.__name__: found}


def _local(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema with references as they are inside an OpenAPI document."""
    moved: dict[str, Any] = json.loads(json.dumps(schema).replace("#/$defs/", "#/components/schemas/"))
    return moved


def page(app: FastAPI) -> str:
    """Return the documentation page as HTML."""
    found = document(app)
    return _template().render(
        title=TITLE,
        summary=SUMMARY,
        version=__version__,
        groups=_groups(found),
        schemas=sorted(found["components"]["schemas"].items()),
    )


def _groups(found: Mapping[str, Any]) -> Sequence[tuple[str, list[dict[str, Any]]]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, operations in found["paths"].items():
        for method in METHODS:
            if method in operations:
                operation = operations[method]
                tag = (operation.get("tags") or ["other"])[0]
                groups.setdefault(tag, []).append({"method": method.upper(), "path": path, **_shown(operation)})
    return sorted(groups.items())


def _shown(operation: Mapping[str, Any]) -> dict[str, Any]:
    answers = {
        status: _schema_name(_schema(answer))
        for status, answer in operation["responses"].items()
        if status != "default"
    }
    return {
        "summary": operation.get("summary", ""),
        "description": operation.get("description", ""),
        "parameters": operation.get("parameters", []),
        "body": _schema_name(_schema(operation.get("requestBody", {}))),
        "answers": answers,
        "open": "security" not in operation,
    }


def _schema(holder: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema of a body or an answer, of its first content type."""
    contents: Mapping[str, Mapping[str, Any]] = holder.get("content", {})
    return next((content.get("schema", {}) for content in contents.values()), {})


def _schema_name(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "items" in schema:
        return f"[{_schema_name(schema['items'])}]"
    return str(schema.get("type", ""))


@cache
def _template() -> Template:
    folder = Path(__file__).parent / "templates"
    return Environment(loader=FileSystemLoader(folder), autoescape=select_autoescape()).get_template("docs.html")


def table(app: FastAPI) -> str:
    """Return all operations as a table in Markdown, for `docs/rest-api.md`."""
    lines = ["| Method | Path | What | Answers |", "| --- | --- | --- | --- |"]
    for _, operations in _groups(document(app)):
        for item in operations:
            answers = ", ".join(f"{status} {name}".strip() for status, name in item["answers"].items())
            lines.append(f"| {item['method']} | `{item['path']}` | {item['summary']} | {answers} |")
    return "\n".join(lines) + "\n"
