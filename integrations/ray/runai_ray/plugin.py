"""Ray clusters, jobs and services of KubeRay as workloads: the head and the least workers start together."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.plugins.grouping import Divided, DividedSuspendable, Grouping, count_of, field_of, list_of
from runai_core.plugins.markers import hookimpl
from runai_core.plugins.types import KindAdapter, Manifest, Phase, PodGroupPlan, SubGroup, WorkloadKind

if TYPE_CHECKING:
    import click

GROUP_LABEL = "ray.io/group"
HEAD_GROUP = "headgroup"
"""What KubeRay calls the head's group in that label."""

CLUSTER_AT: Mapping[str, str] = {
    "RayCluster": "spec",
    "RayJob": "spec.rayClusterSpec",
    "RayService": "spec.rayClusterConfig",
}
"""Where each kind keeps the specification of its cluster."""


def cluster_gang(manifest: Manifest, *, at: str) -> Sequence[PodGroupPlan]:
    """Return the gang of a cluster: one head, and for each group the least number of workers.

    A job that runs on a cluster of its own choice (`clusterSelector`) brings no
    pods but its submitter, so it has no gang.
    """
    if field_of(manifest, at) is None:
        return ()
    workers = [
        _workers(group, f"{at}.workerGroupSpecs[{index}]", index)
        for index, group in enumerate(list_of(manifest, f"{at}.workerGroupSpecs"))
        if group.get("suspend") is not True
    ]
    parts = (SubGroup(name=HEAD_GROUP), *workers)
    return (PodGroupPlan(min_members=sum(part.min_members for part in parts), sub_groups=parts),)


def group_place(labels: Mapping[str, str]) -> tuple[str, str]:
    """Return the worker group of a pod, or the head's, as its sub-group."""
    return "", labels.get(GROUP_LABEL, "")


CLUSTER_PHASES: Mapping[str, Phase] = {
    "ready": Phase.RUNNING,
    "suspended": Phase.STOPPED,
    "suspending": Phase.STOPPING,
    "failed": Phase.FAILED,
}
"""`status.state` of a RayCluster, in lower case (KubeRay 1.x) -> phase."""

JOB_PHASES: Mapping[str, Phase] = {
    "Initializing": Phase.INITIALIZING,
    "Waiting": Phase.INITIALIZING,
    "Running": Phase.RUNNING,
    "Complete": Phase.COMPLETED,
    "Failed": Phase.FAILED,
    "ValidationFailed": Phase.FAILED,
    "Suspending": Phase.STOPPING,
    "Suspended": Phase.STOPPED,
    "Retrying": Phase.PENDING,
}
"""`status.jobDeploymentStatus` of a RayJob (KubeRay 1.x) -> phase."""

SERVICE_READY = "Ready"
"""Condition of a RayService that answers (KubeRay 1.3); `serviceStatus: Running` before it."""


def cluster_phase(manifest: Manifest) -> Phase | None:
    """Return the phase of a cluster: its state, or a condition where the operator writes only those."""
    state = str(field_of(manifest, "status.state") or "").lower()
    if state in CLUSTER_PHASES:
        return CLUSTER_PHASES[state]
    if _condition(manifest, "RayClusterSuspended"):
        return Phase.STOPPED
    return Phase.RUNNING if _condition(manifest, "RayClusterProvisioned") else None


def job_phase(manifest: Manifest) -> Phase | None:
    """Return the phase of a job: a job that is complete may have failed all the same."""
    phase = JOB_PHASES.get(str(field_of(manifest, "status.jobDeploymentStatus") or ""))
    failed = field_of(manifest, "status.jobStatus") in ("FAILED", "STOPPED")
    return Phase.FAILED if phase is Phase.COMPLETED and failed else phase


def service_phase(manifest: Manifest) -> Phase | None:
    """Return the phase of a service: running once it answers, degraded when a new cluster does not come up."""
    if _condition(manifest, SERVICE_READY) or field_of(manifest, "status.serviceStatus") == "Running":
        return Phase.RUNNING
    return Phase.INITIALIZING if field_of(manifest, "status") else None


def _condition(manifest: Manifest, kind: str) -> bool:
    conditions = list_of(manifest, "status.conditions")
    return any(item.get("type") == kind and item.get("status") == "True" for item in conditions)


def _workers(group: Mapping[str, Any], path: str, index: int) -> SubGroup:
    replicas = count_of(group, "replicas", 0, at=path)
    least = count_of(group, "minReplicas", 0, at=path)
    if least > replicas and "replicas" in group:
        raise InvalidRequest.of(FieldError(f"{path}.minReplicas", f"must be at most replicas, {replicas}", least))
    hosts = count_of(group, "numOfHosts", 1, at=path) or 1
    return SubGroup(
        name=str(group.get("groupName") or f"worker-group-{index}"), min_members=(least or replicas) * hosts
    )


@dataclass(frozen=True)
class RayServing(Divided):
    """A service: gangs, places, phase."""

    phase_of: Callable[[Manifest], Phase | None]


@dataclass(frozen=True)
class RayBatch(DividedSuspendable):
    """A cluster or a job: these, and suspended and resumed by a field."""

    phase_of: Callable[[Manifest], Phase | None]


def _adapter(kind: str) -> KindAdapter:
    gang: Grouping = partial(cluster_gang, at=CLUSTER_AT[kind])
    # A service cannot be suspended: it is deleted, or scaled down.
    if kind == "RayService":
        return RayServing(gang, group_place, service_phase)
    return RayBatch(gang, group_place, "spec.suspend", job_phase if kind == "RayJob" else cluster_phase)


KINDS: tuple[WorkloadKind, ...] = tuple(
    WorkloadKind(
        api_version=version,
        kind=kind,
        adapter=_adapter(kind),
        category="Deploy" if kind == "RayService" else "Train",
        serves=kind != "RayJob",  # clusters and services go on until they are deleted
    )
    for version in ("ray.io/v1", "ray.io/v1alpha1")
    for kind in CLUSTER_AT
)


@hookimpl
def runai_commands() -> "Iterable[click.Command]":
    """Return `runai ray`."""
    from runai_ray.commands import ray_group  # the command line alone asks for it

    return (ray_group,)


@hookimpl
def runai_workload_kinds() -> Iterable[WorkloadKind]:
    """Return KubeRay's kinds."""
    return KINDS
