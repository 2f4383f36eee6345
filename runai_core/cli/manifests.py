"""Manifests given to `workload submit -f`: objects of a framework, or workloads of ours in the API's form."""

from collections.abc import Mapping, Sequence
from typing import IO, Any

import yaml

from runai_core.cli.context import App
from runai_core.client.requests import submission
from runai_core.client.results import Workload
from runai_core.model.errors import FieldError, InvalidRequest

OURS = frozenset({"type", "name", "project", "spec", "masterSpec", "masterSpecSameAsWorker", "hasMaster"})
"""Members of a workload of ours; an object of a framework has apiVersion and kind."""


def read_manifests(file: IO[str]) -> list[Mapping[str, Any]]:
    """Return the objects of a YAML or JSON file.

    Raises:
        InvalidRequest: it is neither, is empty, or holds something that is not an object.
    """
    try:
        found = [item for item in yaml.safe_load_all(file) if item is not None]
    except RecursionError:
        raise InvalidRequest.of(FieldError(file.name, "is nested too deep")) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidRequest.of(FieldError(file.name, f"is not YAML or JSON: {' '.join(str(error).split())}")) from None
    if not found:
        raise InvalidRequest.of(FieldError(file.name, "holds no object"))
    for item in found:
        if not isinstance(item, Mapping):
            raise InvalidRequest.of(FieldError(file.name, "must hold objects", str(item)))
    return found


def submit_each(
    app: App, manifests: Sequence[Mapping[str, Any]], *, project: str | None, given: Mapping[str, Any]
) -> list[Workload]:
    """Submit every object; all are judged by their form before the first is sent."""
    plans = [_plan(app, item, project, given) for item in manifests]
    return [plan() for plan in plans]


def _plan(app: App, item: Mapping[str, Any], project: str | None, given: Mapping[str, Any]) -> Any:
    if "apiVersion" in item and "kind" in item:
        return lambda: _framework(app, item, project, given)
    if unknown := sorted(set(map(str, item)) - OURS):
        message = f"must have apiVersion and kind, or only {', '.join(sorted(OURS))}"
        raise InvalidRequest.of(FieldError("manifest", message, ", ".join(unknown)))
    type_, name = str(item.get("type", "Training")), str(given.get("name") or item.get("name") or "")
    spec = item.get("spec") or {}
    if not isinstance(spec, Mapping):
        raise InvalidRequest.of(FieldError("spec", "must be an object", str(spec)))
    more = {key: item[key] for key in ("masterSpec", "masterSpecSameAsWorker", "hasMaster") if key in item}
    prefix = given.get("name_prefix")
    where = project or str(item.get("project") or app.project_or(None))
    overrides = {"category": "category", "priority": "priorityClass", "preemptibility": "preemptibility"}
    spec = {**spec, **{path: given[key] for key, path in overrides.items() if given.get(key)}}
    body = submission(type_, prefix or name, where, spec, useGivenNameAsPrefix=True if prefix else None, **more)
    return lambda: app.client.submit_body(type_, body)


def _framework(app: App, item: Mapping[str, Any], project: str | None, given: Mapping[str, Any]) -> Workload:
    metadata = {
        "name": given.get("name") or given.get("name_prefix"),
        "useGivenNameAsPrefix": True if given.get("name_prefix") else None,
        "category": given.get("category"),
        "priority": given.get("priority"),
        "preemptibility": given.get("preemptibility"),
    }
    chosen = {key: value for key, value in metadata.items() if value is not None}
    return app.client.submit_manifest(item, project=app.project_or(project), **chosen)
