"""Objects of frameworks: model objects -> answers of the second version of the API."""

from runai_core.model.clusters import CLUSTER, CLUSTER_VERSION
from runai_core.model.workload import Phase, Workload
from runai_core.web.answers.manifests import Gvk, ManifestItem, ManifestMeta, ManifestWorkload, SyncInfo
from runai_core.web.views.units import Directory
from runai_core.web.views.workloads import typed_workload

OWN_VERSION = "run.ai/v2alpha1"
"""API version of our own workloads, which are objects of a cluster too."""

REFUSED = frozenset({"Refused", "NameTaken"})
"""Reasons of a workload that its cluster never had."""


def manifest_workload(workload: Workload, directory: Directory) -> ManifestWorkload:
    """Return the workload with the object that it is."""
    shown = typed_workload(workload, directory)
    manifest = dict(workload.manifest or {})
    group, _, version = (workload.api_version or OWN_VERSION).rpartition("/")
    metadata = ManifestMeta(
        id=shown.id,
        name=shown.name,
        gvk=Gvk(group=group, version=version, kind=workload.kind or workload.type.value),
        project_id=shown.project_id,
        project_name=shown.project_name,
        cluster_id=shown.cluster_id,
        tenant_id=shown.tenant_id,
        department_id=shown.department_id,
        department_name=shown.department_name,
        priority=workload.priority_class,
        category=workload.category,
        preemptibility=str(workload.preemptibility),
        created_at=shown.created_at,
        created_by=shown.created_by,
        updated_at=shown.updated_at,
        updated_by=workload.meta.updated_by or shown.created_by,
        deleted_at=shown.deleted_at,
    )
    item = ManifestItem(
        metadata=metadata, desired_phase=shown.desired_phase, workload_manifest=manifest, raw_manifest=manifest
    )
    return ManifestWorkload(**dict(shown), workload=item, sync_info=SyncInfo(**_sync(workload)))


def _sync(workload: Workload) -> dict[str, str]:
    """Return how far the cluster is with what was asked for, and what it said."""
    notes = workload.meta.annotations
    if workload.meta.deleted_at is not None:
        return {"status": "Deleted"}
    if workload.phase is Phase.FAILED and workload.phase_reason in REFUSED:
        return {"status": "Failed", "message": workload.phase_message}
    if CLUSTER in notes and CLUSTER_VERSION not in notes:
        return {"status": "Queued", "message": "the cluster has not received it yet"}
    if workload.delete_requested or workload.phase is Phase.DELETING:
        return {"status": "Deleting"}
    return {"status": "Applying" if workload.phase in (Phase.CREATING, Phase.UPDATING) else "Synced"}
