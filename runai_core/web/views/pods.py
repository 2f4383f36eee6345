"""Pods of workloads: model objects -> answers of the API."""

from collections.abc import Mapping

from runai_core.model.clusters import CLUSTER
from runai_core.model.snapshot import PodState
from runai_core.model.workload import Pod, Workload
from runai_core.ports import MAIN_CONTAINER
from runai_core.web.answers.workloads import Container, PodItem
from runai_core.web.views import resources
from runai_core.web.views.units import TENANT_ID, Directory, iso, iso_or_none

POD_PHASES: Mapping[PodState, str] = {
    PodState.RUNNING: "Running",
    PodState.RELEASING: "Running",
    PodState.SUCCEEDED: "Succeeded",
    PodState.FAILED: "Failed",
}


def pod_item(pod: Pod, workload: Workload | None, directory: Directory) -> PodItem:
    """Return the pod as a row of a list; `workload` is its owner where it is known."""
    meta, status = pod.meta, pod.status
    changed = status.finished_at or status.started_at or status.scheduled_at or meta.created_at
    pools = workload.node_pools if workload else ((pod.node_pool,) if pod.node_pool else ())
    return PodItem(
        id=meta.uid,
        name=meta.name,
        workload_id=meta.owner,
        workload_name=pod.workload,
        tenant_id=TENANT_ID,
        cluster_id=meta.annotations.get(CLUSTER, directory.cluster_id),
        project_id=directory.projects.get(meta.project, meta.project),
        project_name=meta.project,
        node_name=status.node,
        k8s_phase=POD_PHASES.get(status.state, "Pending"),
        k8s_phase_updated_at=iso(changed),
        created_at=iso(meta.created_at),
        updated_at=iso(meta.updated_at or meta.created_at),
        completed_at=iso_or_none(status.finished_at),
        deleted_at=iso_or_none(meta.deleted_at),
        containers=(Container(name=MAIN_CONTAINER, image=pod.spec.image, started_at=iso_or_none(status.started_at)),),
        current_node_pool=pod.node_pool,
        requested_node_pools=pools,
        requested_resources=resources.requested_of_pod(pod),
        allocated_resources=resources.allocated_of_pod(pod),
        priority_class_name=workload.priority_class if workload else "",
        tolerations=_tolerations(pod),
        attempt=pod.attempt,
        role=pod.spec.role,
        rank=pod.spec.rank,
        ready=status.ready,
        restarts=status.restarts,
        exit_code=status.exit_code,
        reason=status.reason,
        message=status.message,
        gpu_devices=status.gpu_devices,
        gpu_isolation=status.gpu_isolation,
    )


def _tolerations(pod: Pod) -> tuple[dict[str, str], ...]:
    return tuple(
        {"key": item.key, "operator": item.operator, "value": item.value, "effect": item.effect}
        for item in pod.spec.constraints.tolerations
    )
