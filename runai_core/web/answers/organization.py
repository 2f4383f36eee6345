"""Projects, departments, node pools, nodes and the cluster, as the API shows them."""

from typing import Annotated, Any

from pydantic import Field

from runai_core.model.organization import SchedulingRules
from runai_core.web.answers.base import OURS, Answer, Condition, Number, Reference


class Quota(Answer):
    """Quota of one resource; null is unlimited."""

    deserved: Number | None
    limit: Number | None
    over_quota_weight: Number


class MemoryQuota(Quota):
    """Quota of memory."""

    units: str = "MB"


class PoolResources(Answer):
    """Quota in one node pool: GPU devices, CPU millicores, memory in `units`."""

    node_pool: Reference
    gpu: Quota
    cpu: Quota
    memory: MemoryQuota
    priority: str


class Amounts(Answer):
    """GPU devices, CPU millicores, memory in MB."""

    gpu: Number = 0
    cpu: Number = 0
    memory: Number = 0


class QuotaStatus(Answer):
    """What a unit holds and asks for."""

    allocated: Amounts = Amounts()
    allocated_non_preemptible: Amounts = Amounts()
    requested: Amounts = Amounts()


class PoolQuotaStatus(QuotaStatus):
    """The same in one node pool."""

    node_pool_id: str
    node_pool_name: str


class TotalResources(Answer):
    """Quota over all node pools; null is unlimited."""

    gpu_quota: Number | None
    cpu_quota: Number | None
    memory_quota: Number | None


class ProjectStatus(Answer):
    """State of a project."""

    namespace: str
    phase: str = "Ready"
    phase_message: str = ""
    quota_status: QuotaStatus
    node_pool_quota_statuses: tuple[PoolQuotaStatus, ...]


class DepartmentStatus(Answer):
    """State of a department."""

    quota_status: QuotaStatus
    node_pool_quota_statuses: tuple[PoolQuotaStatus, ...]


class NodeTypesItem(Answer):
    """Node types that workloads may use; empty: all."""

    training: tuple[str, ...] = ()
    workspace: tuple[str, ...] = ()


class Effective(Answer):
    """What holds after inheriting from the department."""

    scheduling_rules: SchedulingRules
    default_node_pools: tuple[str, ...]
    node_types: NodeTypesItem
    origins: dict[str, str]  # path of a rule -> project/<name> or department/<name>


class UnitItem(Answer):
    """What projects and departments have in common."""

    id: str
    name: str
    description: str
    cluster_id: str
    resources: tuple[PoolResources, ...]
    total_resources: TotalResources
    scheduling_rules: SchedulingRules
    default_node_pools: tuple[str, ...]
    node_types: NodeTypesItem
    created_at: str
    updated_at: str
    created_by: str
    updated_by: str


class ProjectItem(UnitItem):
    """A project."""

    parent_id: str
    parent: Reference
    department_id: str
    department_name: str
    requested_namespace: str
    enforce_runai_scheduler: bool
    status: ProjectStatus
    effective: Effective


class ProjectList(Answer):
    """A page of projects."""

    projects: tuple[ProjectItem, ...]
    next: int | None = None


class DepartmentItem(UnitItem):
    """A department with its projects."""

    children: tuple[Reference, ...]
    status: DepartmentStatus


class DepartmentList(Answer):
    """A page of departments."""

    departments: tuple[DepartmentItem, ...]
    next: int | None = None


class PlacementItem(Answer):
    """How nodes are chosen."""

    gpu: str
    cpu: str


class TimeBasedFairShareItem(Answer):
    """How past use counts in what is over quota."""

    enabled: bool
    history_weight: float
    window: str
    window_type: str
    half_life: str


class SchedulingConfigurationItem(Answer):
    """How a node pool is scheduled."""

    placement_strategy: PlacementItem
    time_based_fair_share: TimeBasedFairShareItem
    min_guaranteed_runtime: str


class NodePoolStatus(Answer):
    """State of a node pool."""

    conditions: tuple[Condition, ...] = ()
    nodes: tuple[str, ...]


class NodePoolItem(Answer):
    """A node pool."""

    id: str
    name: str
    label_key: str
    label_value: str
    tenant_id: int
    cluster_id: str
    cluster_name: str
    is_default: bool
    phase: str
    placement_strategy: PlacementItem
    scheduling_configuration: SchedulingConfigurationItem
    over_provisioning_ratio: int = 1
    network_topology_id: str | None = None
    status: NodePoolStatus
    created_at: str
    created_by: str
    updated_at: str
    updated_by: str
    deleted_at: str | None = None


class NodePoolList(Answer):
    """All node pools that match."""

    nodepools: tuple[NodePoolItem, ...]
    next: int | None = None


class GpuInfo(Answer):
    """The GPUs of a node."""

    gpu_type: str
    gpu_count: int


class Device(Answer):
    """One GPU of a node."""

    index: int
    uuid: str
    product: str
    memory_mib: int
    simulated: bool


class NodeItem(Answer):
    """A node."""

    id: str
    name: str
    cluster_uuid: str
    status: str
    node_pool: str
    conditions: tuple[Condition, ...]
    taints: tuple[dict[str, Any], ...]
    gpu_info: GpuInfo | None
    created_at: str
    updated_at: str
    simulated: Annotated[bool, Field(description=f"Its GPUs do not really exist. {OURS}")]
    devices: Annotated[tuple[Device, ...], Field(description=OURS)]
    cpu_cores: Annotated[Number, Field(description=f"Cores that pods can have. {OURS}")]
    cpu_memory: Annotated[str, Field(description=f"Memory that pods can have. {OURS}")]
    gpu_memory_mib: Annotated[int, Field(description=f"Of each device. {OURS}")]
    labels: Annotated[dict[str, str], Field(description=OURS)]


class NodeList(Answer):
    """A page of nodes."""

    nodes: tuple[NodeItem, ...]
    next: int | None = None
