"""Requests to submit a workload: bodies of the API -> submissions of the service."""

from collections.abc import Mapping
from typing import Any

from runai_core.bootstrap import Orchestrator
from runai_core.model.errors import FieldError, InvalidRequest, Unsupported
from runai_core.model.workload import WorkloadType
from runai_core.plugins.types import Native, RunsAsNative, WorkloadKind
from runai_core.policy.tree import get_at
from runai_core.service.submissions import Submission
from runai_core.web.schemas import DistributedCreate, ManifestCreate, WorkloadCreate, canonical, without_nulls
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


def framework_submission(body: ManifestCreate, project: str, agent: str, door: Orchestrator) -> Submission:
    """Return what the service is asked to submit: an object of a framework, with the defaults of its kind.

    Without a cluster it is the native workload that its kind's adapter makes of it.

    Raises:
        InvalidRequest: the object has no apiVersion, kind or name. Unsupported: no plug-in knows its kind.
    """
    manifest, given = body.manifest, body.metadata
    name = given.name or get_at(manifest, "metadata.name")
    wanted = {"apiVersion": manifest.get("apiVersion"), "kind": manifest.get("kind"), "metadata.name": name}
    wrong = [
        FieldError(f"manifest.{field}", "must be text that is not empty", value)
        for field, value in wanted.items()
        if not isinstance(value, str) or not value
    ]
    if wrong:
        raise InvalidRequest.of(*wrong)
    kind = door.plugins.kind_of(str(wanted["apiVersion"]), str(wanted["kind"]))
    form = _native(kind, manifest) if door.settings.backend == "local" else None
    chosen = {
        "category": given.category,
        "priorityClass": given.priority or kind.priority_class,
        "preemptibility": given.preemptibility,
        "nodePools": list(given.node_pools) or None,
    }
    return Submission(
        name=str(name),
        project=project,
        type=form.type if form else WorkloadType.EXTERNAL,
        spec={**(form.spec if form else {}), **{key: value for key, value in chosen.items() if value is not None}},
        master_spec=form.master_spec if form else None,
        has_master=form.has_master if form else True,
        name_is_prefix=given.use_given_name_as_prefix,
        source="CLI" if agent.startswith(CLI_AGENT) else "Control-plane",
        api_version=kind.api_version,
        kind=kind.kind,
        manifest=manifest,
    )


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
