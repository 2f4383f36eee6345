"""Workloads, their pods and their story, as the API shows them.

GPUs are counted in devices, CPU in cores, memory is a quantity such as ``2Gi``.
"""

from typing import Annotated, Any

from pydantic import Field

from runai_core.web.answers.base import OURS, Answer, Condition, FieldErrorItem, Number


class Bounds(Answer):
    """A request and a limit: cores, or GPU devices."""

    request: Number | None = None
    limit: Number | None = None


class QuantityBounds(Answer):
    """A request and a limit of memory."""

    request: str | None = None
    limit: str | None = None


class Extended(Answer):
    """An amount of another resource."""

    resource: str
    quantity: str


class RequestedResources(Answer):
    """What is asked for."""

    gpu_request_type: str | None = None
    gpu: Bounds = Bounds()
    gpu_memory: QuantityBounds = QuantityBounds()
    cpu: Bounds = Bounds()
    cpu_memory: QuantityBounds = QuantityBounds()
    extended_resources: tuple[Extended, ...] = ()


class AllocatedResources(Answer):
    """What is held now."""

    gpu: Number = 0
    gpu_memory: str | None = None
    cpu: Number = 0
    cpu_memory: str = "0"
    extended_resources: tuple[Extended, ...] = ()


class RequestedPods(Answer):
    """How many pods were asked for."""

    number: int
    min: int | None = None
    max: int | None = None
    parallelism: int | None = None
    completions: int | None = None


class ActionsSupport(Answer):
    """Which actions the type knows."""

    delete: bool
    suspend: bool


class WorkloadConnection(Answer):
    """A tool or address of a workload."""

    name: str
    tool_type: str
    connection_type: str
    url: str | None = None
    authorization_type: str | None = None
    authorized_users: tuple[str, ...] = ()
    authorized_groups: tuple[str, ...] = ()
    container_port: int | None = None


class WorkloadTopology(Answer):
    """Where the pods are kept together."""

    preferred_placement: str | None = None
    required_placement: str | None = None


class WorkloadItem(Answer):
    """One workload in a list, whatever makes its pods."""

    id: str
    name: str
    type: str
    tenant_id: int
    cluster_id: str
    project_id: str
    project_name: str
    department_id: str
    department_name: str
    namespace: str
    source: str
    source_api: str | None = None
    submitted_by: str
    phase: str
    phase_message: str
    phase_reason: Annotated[str | None, Field(description="Only the two reasons of Run:ai; see conditions for all.")]
    phase_updated_at: str
    k8s_phase: str
    k8s_phase_updated_at: str
    conditions: tuple[Condition, ...]
    priority: int
    priority_class_name: str
    preemptible: bool
    category: str
    workload_requested_resources: RequestedResources
    pods_requested_resources: RequestedResources
    allocated_resources: AllocatedResources
    requested_pods: RequestedPods
    running_pods: int
    requested_node_pools: tuple[str, ...]
    current_node_pools: tuple[str, ...]
    images: tuple[str, ...]
    command: str | None
    arguments: str | None
    environment_variables: dict[str, str]
    environments: tuple[dict[str, Any], ...] = ()
    external_connections: tuple[WorkloadConnection, ...]
    datasources: tuple[dict[str, Any], ...] = ()
    urls: tuple[str, ...]
    children_ids: tuple[dict[str, Any], ...] = ()
    distributed_framework: str | None
    idle_gpus: int | None = None
    idle_allocated_gpus: Number | None = None
    total_pending_time_seconds: int
    total_running_time_seconds: int
    guaranteed_runtime_ends_at: str | None = None
    created_at: str
    updated_at: str
    completed_at: str | None
    deleted_at: str | None
    actions_support: ActionsSupport
    topology: WorkloadTopology | None = None
    additional_fields: Annotated[dict[str, Any], Field(description=f"attempt, failures, evictions, origins. {OURS}")]


class WorkloadList(Answer):
    """A page of workloads; `next` is the offset of the following one."""

    workloads: tuple[WorkloadItem, ...]
    next: int | None = None


class TypedWorkload(WorkloadItem):
    """One workload with its specification, as policies completed it.

    Run:ai's typed answers hold the fields below; those of the list are here too.
    """

    requested_name: str
    workload_id: str
    created_by: str
    desired_phase: str
    actual_phase: str
    spec: dict[str, Any]
    master_spec_same_as_worker: bool | None = None
    master_spec: dict[str, Any] | None = None
    has_master: Annotated[bool | None, Field(description=OURS)] = None


class BatchFailure(Answer):
    """A workload on which the action failed."""

    id: str
    code: int
    message: str


class BatchAnswer(Answer):
    """What became of an action on several workloads."""

    id: str
    succeeded: tuple[str, ...]
    failed: tuple[BatchFailure, ...]


class Container(Answer):
    """The container of a pod."""

    name: str
    image: str
    started_at: str | None = None


class PodItem(Answer):
    """One pod of a workload."""

    id: str
    name: str
    workload_id: str
    workload_name: str
    revision_id: Annotated[str | None, Field(description="In lists of a revision's pods.")] = None
    tenant_id: int
    cluster_id: str
    project_id: str
    project_name: str
    node_name: str
    k8s_phase: str
    k8s_phase_updated_at: str
    created_at: str
    updated_at: str
    completed_at: str | None
    deleted_at: str | None
    containers: tuple[Container, ...]
    current_node_pool: str
    requested_node_pools: tuple[str, ...]
    requested_resources: RequestedResources
    allocated_resources: AllocatedResources
    priority_class_name: str
    tolerations: tuple[dict[str, Any], ...]
    ip: str | None = None
    attempt: Annotated[int, Field(description=OURS)]
    role: Annotated[str, Field(description=OURS)]
    rank: Annotated[int, Field(description=OURS)]
    ready: Annotated[bool, Field(description=OURS)]
    restarts: Annotated[int, Field(description=OURS)]
    exit_code: Annotated[int | None, Field(description=OURS)]
    reason: Annotated[str, Field(description=OURS)]
    message: Annotated[str, Field(description=OURS)]
    gpu_devices: Annotated[tuple[int, ...], Field(description=f"Indexes on the node. {OURS}")]
    gpu_isolation: Annotated[
        str, Field(description=f"What keeps it to its part of a shared GPU: none, MIG, MPS, driver plug-in. {OURS}")
    ]


class PodList(Answer):
    """A page of pods."""

    pods: tuple[PodItem, ...]
    next: int | None = None


class InvolvedObject(Answer):
    """What an event is about."""

    uid: str
    kind: str
    name: str
    namespace: str


class Event(Answer):
    """Something that happened to a workload."""

    id: str
    created_at: str
    type: Annotated[str, Field(description="Normal or Warning.")]
    cluster_id: str
    message: str
    reason: str
    source: str
    involved_object: InvolvedObject


class EventList(Answer):
    """A page of events."""

    events: tuple[Event, ...]
    next: int | None = None


class PhaseUpdate(Answer):
    """A change of phase."""

    phase: str
    phase_message: str
    from_phase: Annotated[str | None, Field(description=OURS)]
    cause: Annotated[str, Field(description=OURS)]
    signal: Annotated[str, Field(description=OURS)]
    actor: Annotated[str, Field(description=OURS)]


class RecordMeta(Answer):
    """When, and what kind of record."""

    creation_timestamp: str
    type: str


class RecordSpec(Answer):
    """Either an event or a change of phase."""

    event: Event | None = None
    phase_update: PhaseUpdate | None = None


class HistoryItem(Answer):
    """One line of a workload's story."""

    meta: RecordMeta
    spec: RecordSpec


class HistoryList(Answer):
    """A page of a workload's story."""

    records: tuple[HistoryItem, ...]
    next: int | None = None


class PreviewAnswer(Answer):
    """What a submission would become, and whether it would start now."""

    spec: dict[str, Any]
    origins: dict[str, str]
    violations: tuple[FieldErrorItem, ...]
    starts_now: bool | None
    verdict: dict[str, Any] | None


class WhyAnswer(Answer):
    """Why a workload is where it is: the sentence first, the numbers after it."""

    sentence: str
    workload_id: str
    name: str
    phase: str
    position: int | None
    verdict: dict[str, Any] | None
