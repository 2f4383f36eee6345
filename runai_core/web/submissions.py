"""Requests to submit a workload: bodies of the API -> submissions of the service."""

from base64 import b64decode
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from runai_core import wire
from runai_core.bootstrap import Orchestrator
from runai_core.lifecycle.secrets import private_secrets
from runai_core.model.errors import FieldError, InvalidRequest, Unsupported
from runai_core.model.workload import PRIORITIES, Workload, WorkloadType
from runai_core.plugins.types import Native, RunsAsNative, WorkloadKind
from runai_core.policy.tree import get_at
from runai_core.service.submission import Submission, of_workload
from runai_core.web.manifest_bodies import ManifestCreate, ManifestUpdate
from runai_core.web.schemas import (
    DistributedCreate,
    WorkloadCreate,
    canonical,
    without_nulls,
)
from runai_core.web.views.workloads import GROUP_FIELDS

CLI_AGENT = "runai-cli"
"""Beginning of the User-Agent of our command line."""


def submission_of(kind: WorkloadType, body: WorkloadCreate, project: str, agent: str) -> Submission:
    """Return what the service is asked to submit; `project` is the project's name.

    Raises:
        InvalidRequest: fields contradict each other.
    """
    spec = canonical(body.spec)
    master = _master(body)
    if kind is WorkloadType.DISTRIBUTED_INFERENCE:
        spec, master = split_groups(spec)
    return Submission(
        name=body.name,
        project=project,
        type=kind,
        spec=spec,
        master_spec=master,
        has_master=body.has_master if isinstance(body, DistributedCreate) else True,
        name_is_prefix=body.use_given_name_as_prefix,
        source="CLI" if agent.startswith(CLI_AGENT) else "Control-plane",
        template=body.template_id or "",
        assets=without_nulls(body.assets or {}),
    )


def manifest_of(body: ManifestCreate | ManifestUpdate) -> dict[str, Any] | None:
    """Return the manifest that a request brings, in either form; None where it brings none.

    Raises:
        InvalidRequest: both forms, or text that is no YAML of one object.
    """
    encoded = body.manifest_base64_encoded
    if encoded is None:
        return body.manifest
    if body.manifest is not None:
        raise InvalidRequest.of(FieldError("manifestBase64Encoded", "leave it out, or leave manifest out"))
    try:
        read = wire.read_yaml(b64decode(encoded, validate=True))
    except ValueError:
        read = None
    if not isinstance(read, dict):
        message = "must be YAML of one object without aliases, in base 64"
        raise InvalidRequest.of(FieldError("manifestBase64Encoded", message, encoded[:80]))
    return read


def framework_submission(body: ManifestCreate, project: str, agent: str, door: Orchestrator) -> Submission:
    """Return what the service is asked to submit: an object of a framework, with the defaults of its kind.

    Raises:
        InvalidRequest: the object has no apiVersion, kind or name. Unsupported: no plug-in knows its kind.
    """
    given, manifest = body.metadata, manifest_of(body)
    if manifest is None:
        raise InvalidRequest.of(FieldError("manifest", "is required"))
    kind = _kind_of(manifest, given.name or get_at(manifest, "metadata.name"), door)
    chosen = {
        "category": given.category,
        "priorityClass": given.priority or kind.priority_class,
        "preemptibility": given.preemptibility,
        "nodePools": list(given.node_pools) or None,
    }
    return Submission(
        name=str(given.name or get_at(manifest, "metadata.name")),
        project=project,
        name_is_prefix=given.use_given_name_as_prefix,
        source="CLI" if agent.startswith(CLI_AGENT) else "Control-plane",
        **_as_object(kind, manifest, chosen, door),
    )


def framework_change(body: ManifestUpdate, workload: Workload, door: Orchestrator) -> Submission:
    """Return what the service is asked to change an object of a framework to; what is not given stays.

    Raises:
        InvalidRequest: nothing is given, or as `framework_submission`.
    """
    given, manifest = body.metadata, manifest_of(body)
    if manifest is None and given.category is None and given.priority is None:
        raise InvalidRequest.of(FieldError("manifest", "there is nothing to change: give it, or something of metadata"))
    chosen = {
        "category": given.category or workload.spec.category,
        "priorityClass": given.priority or (workload.priority_class if workload.priority_class in PRIORITIES else None),
        "preemptibility": str(workload.preemptibility),
        "nodePools": list(workload.node_pools) or None,
    }
    if manifest is None:
        spec = {} if workload.type is WorkloadType.EXTERNAL else wire.encode(workload.spec)
        return of_workload(workload, spec=spec | without_nulls(chosen), api_version=workload.api_version)
    name = get_at(manifest, "metadata.name") or workload.name
    kind = _kind_of(manifest, name, door)
    return replace(
        of_workload(workload, keeps=private_secrets(workload.spec)),
        name=str(name),
        **_as_object(kind, manifest, chosen, door),
    )


def _kind_of(manifest: Mapping[str, Any], name: object, door: Orchestrator) -> WorkloadKind:
    wanted = {"apiVersion": manifest.get("apiVersion"), "kind": manifest.get("kind"), "metadata.name": name}
    wrong = [
        FieldError(f"manifest.{field}", "must be text that is not empty", value)
        for field, value in wanted.items()
        if not isinstance(value, str) or not value
    ]
    if wrong:
        raise InvalidRequest.of(*wrong)
    return door.plugins.kind_of(str(wanted["apiVersion"]), str(wanted["kind"]))


def _as_object(
    kind: WorkloadKind, manifest: Mapping[str, Any], chosen: Mapping[str, Any], door: Orchestrator
) -> dict[str, Any]:
    """Return the members of a submission that make it one of an object.

    Without a cluster it is the native workload that its kind's adapter makes of it.
    """
    form = _native(kind, manifest) if door.settings.backend == "local" else None
    return {
        "type": form.type if form else WorkloadType.EXTERNAL,
        "spec": {**(form.spec if form else {}), **without_nulls(chosen)},
        "master_spec": form.master_spec if form else None,
        "has_master": form.has_master if form else True,
        "api_version": kind.api_version,
        "kind": kind.kind,
        "manifest": manifest,
    }


def _native(kind: WorkloadKind, manifest: Mapping[str, Any]) -> Native:
    if not isinstance(kind.adapter, RunsAsNative):
        message = f"{kind.kind} of {kind.api_version} cannot run on one machine: it needs the Kubernetes backend"
        raise Unsupported(message)
    return kind.adapter.native(manifest)


async def check_cluster(given: str | None, door: Orchestrator) -> str:
    """Return the id of the cluster that a request names; empty when it names none.

    Raises:
        InvalidRequest: there is no such cluster.
    """
    return await door.clusters.resolve(given)


def split_groups(spec: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return the specification of workers and whole, and that of the leader (None: as the workers).

    Raises:
        InvalidRequest: `leader` or `worker` is no object, or a field stands at both levels.
    """
    groups = {name: spec[name] for name in ("leader", "worker") if spec.get(name) is not None}
    for name, group in groups.items():
        if not isinstance(group, Mapping):
            raise InvalidRequest.of(FieldError(f"spec.{name}", "must be a JSON object", str(group)[:80]))
    common = canonical({name: value for name, value in spec.items() if name not in ("leader", "worker")})
    worker = canonical(groups.get("worker", groups.get("leader", {})), "spec.worker")
    for name in sorted(common.keys() & worker.keys()):
        raise InvalidRequest.of(FieldError(f"spec.worker.{name}", f"is given as spec.{name} already: give it once"))
    for name in sorted(GROUP_FIELDS & worker.keys()):
        raise InvalidRequest.of(FieldError(f"spec.worker.{name}", f"belongs to the whole: give it as spec.{name}"))
    leader = canonical(groups["leader"], "spec.leader") if "leader" in groups and "worker" in groups else None
    return common | worker, None if leader == worker else leader


def _master(body: WorkloadCreate) -> dict[str, Any] | None:
    if not isinstance(body, DistributedCreate) or body.master_spec is None:
        return None
    if body.master_spec_same_as_worker:
        message = "leave it out, or set masterSpecSameAsWorker to false"
        raise InvalidRequest.of(FieldError("masterSpec", message))
    if not body.has_master:
        raise InvalidRequest.of(FieldError("masterSpec", "there is no master: set hasMaster to true, or leave it out"))
    return canonical(body.master_spec, "masterSpec")
