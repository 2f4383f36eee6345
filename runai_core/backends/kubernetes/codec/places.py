"""Where the objects of a workload go, what they are labelled with, and by which names its pods find each other."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runai_core.backends.kubernetes import names
from runai_core.model.nodes import DEFAULT_NODE_POOL
from runai_core.model.workload import Workload, WorkloadType

Object = dict[str, Any]

GROUPED = frozenset({WorkloadType.DISTRIBUTED, WorkloadType.DISTRIBUTED_INFERENCE})
"""Types whose pods find each other by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the objects of a workload go, and what they belong to."""

    namespace: str
    owner: Object  # apiVersion, kind, name and uid of the workload's object
    shared: Mapping[str, str] = field(default_factory=dict)  # further labels of everything

    @property
    def reference(self) -> Object:
        """The owner reference of what belongs to the workload."""
        return {**self.owner, "controller": True}


def service_name(workload: Workload) -> str:
    """Return the name of the headless service below which the pods of a gang have their names."""
    return workload.name


def host_name(pod_role: str, rank: int) -> str:
    """Return the host name of a pod: the same for every pod that fills the place."""
    return f"{pod_role}-{rank}"


def address(workload: Workload, namespace: str, pod_role: str, rank: int) -> str:
    """Return the name under which the others find a pod."""
    return f"{host_name(pod_role, rank)}.{service_name(workload)}.{namespace}.svc"


def labels_of(workload: Workload, pool: str) -> dict[str, str]:
    """Return the labels that everything of a workload has."""
    found = {
        names.QUEUE_LABELS[0]: workload.meta.project,
        names.PROJECT_LABEL: workload.meta.project,
        names.WORKLOAD_LABEL: workload.name,
        names.WORKLOAD_UID_LABEL: workload.meta.uid,
        names.MANAGED_BY_LABEL: names.MANAGED_BY,
        names.PRIORITY_LABEL: workload.priority_class,
    }
    return found if pool in ("", DEFAULT_NODE_POOL) else {**found, names.NODE_POOL_LABELS[0]: pool}
