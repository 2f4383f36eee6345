"""Ray clusters, jobs and services of KubeRay as workloads: the head and the least workers start together."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.plugins.grouping import Divided, DividedSuspendable, count_of, field_of, list_of
from runai_core.plugins.markers import hookimpl
from runai_core.plugins.types import KindAdapter, Manifest, PodGroupPlan, SubGroup, WorkloadKind

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


def _workers(group: Mapping[str, Any], path: str, index: int) -> SubGroup:
    replicas = count_of(group, "replicas", 0, at=path)
    least = count_of(group, "minReplicas", 0, at=path)
    if least > replicas and "replicas" in group:
        raise InvalidRequest.of(FieldError(f"{path}.minReplicas", f"must be at most replicas, {replicas}", least))
    hosts = count_of(group, "numOfHosts", 1, at=path) or 1
    return SubGroup(
        name=str(group.get("groupName") or f"worker-group-{index}"), min_members=(least or replicas) * hosts
    )


def _adapter(kind: str) -> KindAdapter:
    gang = partial(cluster_gang, at=CLUSTER_AT[kind])
    # A service cannot be suspended: it is deleted, or scaled down.
    return Divided(gang, group_place) if kind == "RayService" else DividedSuspendable(gang, group_place, "spec.suspend")


KINDS: tuple[WorkloadKind, ...] = tuple(
    WorkloadKind(api_version=version, kind=kind, adapter=_adapter(kind))
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
