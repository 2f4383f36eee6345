"""Objects of frameworks as workloads, as the second version of the API shows them."""

from typing import Annotated, Any

from pydantic import Field

from runai_core.web.answers.base import Answer
from runai_core.web.answers.workloads import TypedWorkload


class Gvk(Answer):
    """What an object is."""

    group: str
    version: str
    kind: str


class ManifestMeta(Answer):
    """What is said of an object besides the object itself."""

    id: str
    name: str
    gvk: Gvk
    project_id: str
    project_name: str
    cluster_id: str
    tenant_id: int
    department_id: str
    department_name: str
    priority: str
    category: str
    preemptibility: str
    created_at: str
    created_by: str
    updated_at: str
    updated_by: str
    deleted_at: str | None = None


class ManifestItem(Answer):
    """A framework's object, and what is wanted of it."""

    metadata: ManifestMeta
    desired_phase: str
    workload_manifest: Annotated[dict[str, Any], Field(description="As the cluster has it.")]
    raw_manifest: Annotated[dict[str, Any], Field(description="The same: the cluster is what counts.")]


class SyncInfo(Answer):
    """Whether the cluster has what was asked for."""

    status: Annotated[str, Field(description="Queued, Applying, Deleting, Synced, Deleted or Failed.")]
    message: str = ""


class ManifestWorkload(TypedWorkload):
    """A workload with the object that it is."""

    workload: ManifestItem
    sync_info: SyncInfo
