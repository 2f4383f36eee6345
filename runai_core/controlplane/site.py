"""What the agent needs of the orchestrator that it speaks for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runai_core.model.clusters import CONTROL_PLANE_ID, ClusterFacts
from runai_core.model.organization import Actor
from runai_core.model.workload import Workload
from runai_core.ports import Backend
from runai_core.service.reconciling import Reconciler
from runai_core.service.scheduling import SchedulingService
from runai_core.service.secrets import Vault
from runai_core.service.workloads import WorkloadService


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One cluster, from within."""

    backend: Backend
    workloads: WorkloadService
    scheduling: SchedulingService
    reconciler: Reconciler
    facts: ClusterFacts
    data_dir: Path
    vault: Vault


def outer_id(item: Any) -> str:
    """Return the id under which the control plane knows an object of this cluster."""
    return str(item.meta.annotations.get(CONTROL_PLANE_ID) or item.meta.uid)


def asked_by(name: str) -> Actor:
    """Return who acts here for somebody whose rights the control plane has checked."""
    return Actor(name=name or "control plane", kind="system")


def with_outer_id(workload: Workload, uid: str) -> dict[str, str]:
    """Return the annotations of a workload that the control plane calls by this id."""
    return {**workload.meta.annotations, CONTROL_PLANE_ID: uid}
