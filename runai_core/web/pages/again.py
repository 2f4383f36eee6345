"""How to make a workload again: as a file for the command line, and as a call of the API."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

import yaml

from runai_core import wire
from runai_core.model.workload import Workload, WorkloadType
from runai_core.web.routes.typed import PATHS
from runai_core.web.views.workloads import joined_groups

PATH_OF: Mapping[WorkloadType, str] = {row.kind: f"/api/v1/workloads/{row.path}" for row in PATHS}


def as_yaml(workload: Workload) -> str:
    """Return what `runai workload submit -f` makes the workload from; an object of a framework is itself."""
    content: Mapping[str, Any]
    if workload.type is WorkloadType.EXTERNAL or workload.manifest is not None:
        content = workload.manifest or {}
    else:
        body = _body(workload)
        where = {"type": workload.type.value, "name": workload.name, "project": workload.meta.project}
        content = where | {name: value for name, value in body.items() if name not in ("name", "projectId")}
    return yaml.safe_dump(_plain(content), sort_keys=False, allow_unicode=True, width=1000)


def as_call(workload: Workload, url: str, cluster_id: str) -> str:
    """Return a command that calls the API; the token comes from the environment, so that it can be shared."""
    if workload.type is WorkloadType.EXTERNAL or workload.manifest is not None:
        path = "/api/v2/workloads"
        metadata = {"name": workload.name, "projectId": workload.meta.project, "clusterId": cluster_id}
        body: Mapping[str, Any] = {"metadata": metadata, "manifest": workload.manifest or {}}
    else:
        path, body = PATH_OF[workload.type], _body(workload) | {"clusterId": cluster_id}
    text = json.dumps(_plain(body), indent=2, ensure_ascii=False)
    return (
        f"curl -X POST {shlex.quote(url + path)} \\\n"
        f'  -H "Authorization: Bearer $RUNAI_TOKEN" \\\n'
        f"  -H 'Content-Type: application/json' \\\n"
        f"  -d {shlex.quote(text)}\n"
    )


def _body(workload: Workload) -> dict[str, Any]:
    spec: Mapping[str, Any] = wire.encode(workload.spec)
    master: Mapping[str, Any] | None = None if workload.master_spec is None else wire.encode(workload.master_spec)
    body: dict[str, Any] = {"name": workload.name, "projectId": workload.meta.project}
    if workload.type is WorkloadType.DISTRIBUTED_INFERENCE:
        return body | {"spec": joined_groups(spec, master)}
    body["spec"] = spec
    if workload.type is WorkloadType.DISTRIBUTED:
        if master is not None:
            body |= {"masterSpecSameAsWorker": False, "masterSpec": master}
        if not workload.has_master:
            body["hasMaster"] = False
    return body


def _plain(value: Any) -> Any:
    """Return JSON's own types, without the fields that say nothing."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
