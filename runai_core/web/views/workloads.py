"""Workloads: model objects -> answers of the API."""

from collections.abc import Mapping
from typing import Any

from runai_core import wire
from runai_core.model.clusters import CLUSTER
from runai_core.model.decision import Reason
from runai_core.model.snapshot import Preemptibility
from runai_core.model.spec import WorkloadSpec
from runai_core.model.workload import (
    TYPE_DEFAULTS,
    Phase,
    Workload,
    WorkloadType,
)
from runai_core.web.answers.base import Condition
from runai_core.web.answers.workloads import (
    ActionsSupport,
    RequestedPods,
    TypedWorkload,
    WorkloadConnection,
    WorkloadItem,
    WorkloadTopology,
)
from runai_core.web.views import resources
from runai_core.web.views.units import TENANT_ID, Directory, iso, iso_or_none

PHASE_REASONS = frozenset({Reason.NON_PREEMPTIBLE_OVER_QUOTA, Reason.OVER_LIMIT})
"""The reasons that Run:ai's clients know; the others are told as a condition."""

K8S_PHASES: Mapping[Phase, str] = {
    Phase.RUNNING: "Running",
    Phase.DEGRADED: "Running",
    Phase.UPDATING: "Running",
    Phase.STOPPING: "Running",
    Phase.DELETING: "Running",
    Phase.TERMINATING: "Running",
    Phase.COMPLETED: "Succeeded",
    Phase.FAILED: "Failed",
    Phase.UNKNOWN: "Unknown",
}
"""Nearest phase of Kubernetes; Pending where nothing is said."""

RUNS = frozenset({Phase.RUNNING, Phase.DEGRADED})
WAITS = frozenset({Phase.PENDING})

STORAGE_TYPES: Mapping[str, str] = {
    "pvc": "pvc",
    "nfs": "nfs",
    "host_path": "hostPath",
    "git": "git",
    "s3": "s3",
    "config_map_volume": "configMap",
    "secret_volume": "secret",
    "data_volume": "dataVolume",
}
"""Field of `Storage` -> type of a data source in the API."""


def workload_item(workload: Workload, directory: Directory) -> WorkloadItem:
    """Return the workload as a row of a list."""
    return WorkloadItem(**_row(workload, directory))


def typed_workload(workload: Workload, directory: Directory) -> TypedWorkload:
    """Return the workload with its specification."""
    is_distributed = workload.type is WorkloadType.DISTRIBUTED
    spec = wire.encode(workload.spec)
    master = None if workload.master_spec is None else wire.encode(workload.master_spec)
    if workload.type is WorkloadType.DISTRIBUTED_INFERENCE:
        spec, master = joined_groups(spec, master), None
    return TypedWorkload(
        **_row(workload, directory),
        requested_name=workload.name,
        workload_id=workload.meta.uid,
        created_by=workload.meta.created_by,
        desired_phase=_desired_phase(workload),
        actual_phase=workload.phase.value,
        spec=spec,
        master_spec_same_as_worker=workload.master_spec is None if is_distributed else None,
        master_spec=master,
        has_master=workload.has_master if is_distributed else None,
    )


GROUP_FIELDS = frozenset(
    {
        "category",
        "nodePools",
        "preemptibility",
        "priorityClass",
        "restartPolicy",
        "servingPort",
        "startupPolicy",
        "workers",
        "replicas",
    }
)
"""Fields of a distributed inference that belong to the whole; the others are its leader's or its workers'."""


def joined_groups(spec: Mapping[str, object], leader: Mapping[str, object] | None) -> dict[str, object]:
    """Return a distributed inference's specification in the API's form: common fields, `leader`, `worker`."""
    common = {name: value for name, value in spec.items() if name in GROUP_FIELDS}
    worker = {name: value for name, value in spec.items() if name not in GROUP_FIELDS}
    return common | {"worker": worker, "leader": dict(leader) if leader else worker}


def _durations(workload: Workload, now: float) -> tuple[int, int]:
    """Return whole seconds of running and of waiting, the present phase included."""
    present = max(now - workload.phase_updated_at, 0.0)
    running = workload.running_seconds + (present if workload.phase in RUNS else 0.0)
    pending = workload.pending_seconds + (present if workload.phase in WAITS else 0.0)
    return int(running), int(pending)


def _conditions(workload: Workload) -> tuple[Condition, ...]:
    since = iso(workload.phase_updated_at)
    if workload.phase is Phase.PENDING and workload.verdict is not None:
        verdict = workload.verdict
        return (
            Condition(
                type="Scheduled",
                status="False",
                reason=verdict.reason.value,
                message=verdict.message,
                last_transition_time=since,
            ),
        )
    if workload.phase in RUNS:
        ready = "True" if workload.phase is Phase.RUNNING else "False"
        return (
            Condition(type="Scheduled", status="True", last_transition_time=iso_or_none(workload.last_start)),
            Condition(type="Ready", status=ready, message=workload.phase_message or None, last_transition_time=since),
        )
    return ()


def _requested_pods(workload: Workload) -> RequestedPods:
    spec = workload.spec
    scaling = spec.autoscaling
    return RequestedPods(
        number=resources.pod_count(workload),
        min=scaling.min_replicas if scaling else spec.min_replicas,
        max=scaling.max_replicas if scaling else spec.max_replicas,
        parallelism=spec.parallelism,
        completions=spec.completions,
    )


def _urls(spec: WorkloadSpec) -> tuple[str, ...]:
    exposed = tuple(item.url for item in spec.exposed_urls if item.url)
    return exposed + tuple(item.url for item in spec.related_urls)


def _connections(spec: WorkloadSpec) -> tuple[WorkloadConnection, ...]:
    ports = [
        WorkloadConnection(
            name=port.name or port.tool_name or str(port.container),
            tool_type=port.tool_type or "custom",
            connection_type=port.service_type or "ClusterIP",
            container_port=port.container,
        )
        for port in spec.ports
    ]
    exposed = [
        WorkloadConnection(
            name=url.name or url.tool_name or str(url.container),
            tool_type=url.tool_type or "custom",
            connection_type="ExternalUrl",
            url=url.url,
            authorization_type=url.authorization_type,
            authorized_users=url.authorized_users,
            authorized_groups=url.authorized_groups,
            container_port=url.container,
        )
        for url in spec.exposed_urls
    ]
    serving = spec.serving_port
    served = [] if serving is None else [_serving(serving.container, serving.protocol, serving.authorization_type)]
    return (*ports, *exposed, *served)


def _serving(port: int, protocol: str | None, authorization: str | None) -> WorkloadConnection:
    return WorkloadConnection(
        name="serving",
        tool_type="custom",
        connection_type=(protocol or "http").upper(),
        authorization_type=authorization,
        container_port=port,
    )


def _datasources(spec: WorkloadSpec) -> tuple[dict[str, str], ...]:
    return tuple(
        {"type": kind, "name": entry.name or "", "id": entry.name or ""}
        for field, kind in STORAGE_TYPES.items()
        for entry in getattr(spec.storage, field)
    )


def _topology(spec: WorkloadSpec) -> WorkloadTopology | None:
    if spec.pod_affinity is None:
        return None
    if spec.pod_affinity.type == "Required":
        return WorkloadTopology(required_placement=spec.pod_affinity.key)
    return WorkloadTopology(preferred_placement=spec.pod_affinity.key)


def _desired_phase(workload: Workload) -> str:
    if workload.delete_requested or workload.meta.deleted_at is not None:
        return "Deleted"
    return "Stopped" if workload.stop_requested else "Running"


def _row(workload: Workload, directory: Directory) -> dict[str, Any]:
    """Return the fields that every answer about a workload has."""
    return {
        **_identity(workload, directory),
        **_state(workload, directory),
        **_request(workload),
    }


def _identity(workload: Workload, directory: Directory) -> dict[str, Any]:
    meta = workload.meta
    return {
        "id": meta.uid,
        "name": meta.name,
        "type": workload.kind or workload.type.value,
        "tenant_id": TENANT_ID,
        "cluster_id": meta.annotations.get(CLUSTER, directory.cluster_id),
        "project_id": directory.projects.get(meta.project, meta.project),
        "project_name": meta.project,
        "department_id": directory.departments.get(workload.department, workload.department),
        "department_name": workload.department,
        "namespace": f"runai-{meta.project}",
        "source": workload.source,
        "submitted_by": meta.created_by,
        "created_at": iso(meta.created_at),
        "updated_at": iso(meta.updated_at or meta.created_at),
        "completed_at": iso_or_none(workload.completed_at),
        "deleted_at": iso_or_none(meta.deleted_at),
    }


def _state(workload: Workload, directory: Directory) -> dict[str, Any]:
    running, pending = _durations(workload, directory.now)
    return {
        "phase": workload.phase.value,
        "phase_message": workload.phase_message,
        "phase_reason": workload.phase_reason if workload.phase_reason in PHASE_REASONS else None,
        "phase_updated_at": iso(workload.phase_updated_at),
        "k8s_phase": K8S_PHASES.get(workload.phase, "Pending"),
        "k8s_phase_updated_at": iso(workload.phase_updated_at),
        "conditions": _conditions(workload),
        "allocated_resources": resources.allocated_of_workload(workload),
        "running_pods": workload.pods_running,
        "current_node_pools": (workload.node_pool,) if workload.node_pool else (),
        "total_pending_time_seconds": pending,
        "total_running_time_seconds": running,
        "actions_support": ActionsSupport(delete=True, suspend=TYPE_DEFAULTS[workload.type].can_stop),
        "additional_fields": {
            "attempt": workload.attempt,
            "failures": workload.failures,
            "evictions": workload.evictions,
            "resourceVersion": workload.meta.version,
            "policyOrigins": dict(workload.origins),
        },
    }


def _request(workload: Workload) -> dict[str, Any]:
    spec = workload.spec
    variables = {item.name: item.value for item in spec.environment_variables if item.value is not None}
    return {
        "priority": workload.priority,
        "priority_class_name": workload.priority_class,
        "preemptible": workload.preemptibility is Preemptibility.PREEMPTIBLE,
        "category": workload.category,
        "workload_requested_resources": resources.workload_resources(workload),
        "pods_requested_resources": resources.pod_resources(workload),
        "requested_pods": _requested_pods(workload),
        "requested_node_pools": workload.node_pools,
        "images": (spec.image,) if spec.image else (),
        "command": spec.command,
        "arguments": spec.args,
        "environment_variables": variables,
        "external_connections": _connections(spec),
        "datasources": _datasources(spec),
        "urls": _urls(spec),
        "distributed_framework": spec.distributed_framework,
        "topology": _topology(spec),
    }
