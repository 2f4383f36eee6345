"""Revisions of inference workloads, as the API shows them."""

from typing import Annotated, Any

from pydantic import Field

from runai_core.web.answers.base import OURS, Answer, Condition
from runai_core.web.answers.workloads import AllocatedResources, RequestedPods, RequestedResources


class RevisionItem(Answer):
    """One specification that an inference workload had, or has."""

    id: str
    type: str = "runai-revision"
    name: str
    workload_id: str
    tenant_id: int
    cluster_id: str
    project_id: str
    department_id: str
    created_at: str
    deleted_at: str | None
    revision_requested_resources: RequestedResources
    pods_requested_resources: RequestedResources
    requested_pods: RequestedPods
    requested_node_pools: tuple[str, ...]
    allocated_resources: AllocatedResources
    current_node_pools: tuple[str, ...]
    running_pods: int
    images: tuple[str, ...]
    environment_variables: dict[str, str]
    command: str | None
    arguments: str | None
    children_ids: tuple[dict[str, Any], ...] = ()
    conditions: tuple[Condition, ...]
    phase: str
    phase_message: str
    phase_updated_at: str
    number: Annotated[int, Field(description=f"From 1. {OURS}")]
    created_by: Annotated[str, Field(description=OURS)]
    is_present: Annotated[bool, Field(description=f"Whether it is what the workload runs now. {OURS}")]
    native_name: Annotated[str, Field(description=f"What the cluster calls it, where it counts revisions too. {OURS}")]
    spec: Annotated[dict[str, Any], Field(description=OURS)]


class RevisionList(Answer):
    """The revisions of a workload, the first one first."""

    revisions: tuple[RevisionItem, ...]
