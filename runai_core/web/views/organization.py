"""Projects, departments, node pools, nodes and the cluster: model objects -> answers of the API."""

from collections.abc import Mapping, Sequence
from typing import Any

from runai_core.model.clusters import CLUSTER
from runai_core.model.nodes import DEFAULT_NODE_POOL, Node, NodePool
from runai_core.model.organization import DEFAULT_QUEUE_PRIORITY, Department, Project, QueueResources, ResourceQuota
from runai_core.model.resources import MB, MILLI, Resources, total
from runai_core.policy.scheduling_rules import effective_rules
from runai_core.service.organization import UnitStatus
from runai_core.web.answers.base import Condition, Reference
from runai_core.web.answers.organization import (
    Amounts,
    DepartmentItem,
    DepartmentStatus,
    Device,
    Effective,
    GpuInfo,
    MemoryQuota,
    NodeItem,
    NodePoolItem,
    NodePoolStatus,
    NodeTypesItem,
    PlacementItem,
    PoolQuotaStatus,
    PoolResources,
    ProjectItem,
    ProjectStatus,
    Quota,
    QuotaStatus,
    SchedulingConfigurationItem,
    TimeBasedFairShareItem,
    TotalResources,
)
from runai_core.web.views.units import CLUSTER_NAME, TENANT_ID, Directory, iso, megabytes, quantity, units

RANKS: Mapping[str, int] = {
    "VeryLow": 25,
    "Low": 50,
    "MediumLow": 75,
    "Normal": DEFAULT_QUEUE_PRIORITY,
    "MediumHigh": 125,
    "High": 150,
    "VeryHigh": 175,
}
"""Names of the ranks of queues (`resources[].priority`); numbers are accepted as well."""

Statuses = Mapping[str, UnitStatus]  # by node pool


def project_item(project: Project, department: Department, statuses: Statuses, directory: Directory) -> ProjectItem:
    """Return the project as the API shows it."""
    department_id = directory.departments.get(project.department, project.department)
    found = effective_rules(department, project)
    return ProjectItem(
        **_unit(project, directory),
        parent_id=department_id,
        parent=Reference(id=department_id, name=project.department),
        department_id=department_id,
        department_name=project.department,
        requested_namespace=project.namespace,
        enforce_runai_scheduler=project.enforce_scheduler,
        status=ProjectStatus(
            namespace=project.namespace,
            quota_status=_quota_status(tuple(statuses.values())),
            node_pool_quota_statuses=_pool_statuses(statuses, directory),
        ),
        effective=Effective(
            scheduling_rules=found.rules,
            default_node_pools=found.default_node_pools,
            node_types=NodeTypesItem(training=found.node_types["training"], workspace=found.node_types["workspace"]),
            origins=dict(found.origins),
        ),
    )


def department_item(
    department: Department, projects: Sequence[Project], statuses: Statuses, directory: Directory
) -> DepartmentItem:
    """Return the department, with its projects, as the API shows it."""
    return DepartmentItem(
        **_unit(department, directory),
        children=tuple(Reference(id=project.meta.uid, name=project.name) for project in projects),
        status=DepartmentStatus(
            quota_status=_quota_status(tuple(statuses.values())),
            node_pool_quota_statuses=_pool_statuses(statuses, directory),
        ),
    )


def node_pool_item(
    pool: NodePool, nodes: Sequence[Node], directory: Directory, topologies: Mapping[str, str]
) -> NodePoolItem:
    """Return the node pool; `nodes` are those that belong to it, `topologies` the ids of topologies by name."""
    placement = PlacementItem(gpu=pool.gpu_placement, cpu=pool.cpu_placement)
    is_default = pool.name == DEFAULT_NODE_POOL
    return NodePoolItem(
        id=pool.meta.uid,
        name=pool.name,
        label_key=pool.label_key or ("default" if is_default else ""),
        label_value=pool.label_value or ("default" if is_default else ""),
        tenant_id=TENANT_ID,
        cluster_id=directory.cluster_id,
        cluster_name=CLUSTER_NAME,
        is_default=is_default,
        phase=_pool_phase(nodes),
        placement_strategy=placement,
        scheduling_configuration=SchedulingConfigurationItem(
            placement_strategy=placement,
            time_based_fair_share=TimeBasedFairShareItem(
                enabled=pool.time_based_fair_share,
                history_weight=pool.fair_share_history_weight,
                window=duration(pool.fair_share_window),
                window_type=pool.fair_share_window_type,
                half_life=duration(pool.fair_share_half_life),
            ),
            min_guaranteed_runtime=duration(pool.min_guaranteed_runtime),
        ),
        network_topology_id=topologies.get(pool.network_topology),
        status=NodePoolStatus(nodes=tuple(node.name for node in nodes)),
        created_at=iso(pool.meta.created_at),
        created_by=pool.meta.created_by,
        updated_at=iso(pool.meta.updated_at or pool.meta.created_at),
        updated_by=pool.meta.updated_by or pool.meta.created_by,
    )


def node_item(node: Node, directory: Directory) -> NodeItem:
    """Return the node with its devices."""
    products = sorted({device.product for device in node.devices if device.product})
    return NodeItem(
        id=node.meta.uid or node.name,
        name=node.name,
        cluster_uuid=node.meta.annotations.get(CLUSTER, directory.cluster_id),
        status="Ready" if node.ready else "NotReady",
        node_pool=node.node_pool,
        conditions=_node_conditions(node),
        taints=tuple({"key": item.key, "value": item.value, "effect": item.effect.value} for item in node.taints),
        gpu_info=GpuInfo(gpu_type=", ".join(products) or "unknown", gpu_count=node.gpu_count)
        if node.gpu_count
        else None,
        created_at=iso(node.meta.created_at or directory.now),
        updated_at=iso(node.meta.updated_at or node.meta.created_at or directory.now),
        simulated=node.simulated,
        devices=tuple(
            Device(
                index=device.index,
                uuid=device.uuid,
                product=device.product,
                memory_mib=device.memory_mib or node.gpu_memory_mib,
                simulated=device.simulated,
            )
            for device in node.devices
        ),
        cpu_cores=units(node.cpu),
        cpu_memory=quantity(node.memory),
        gpu_memory_mib=node.gpu_memory_mib,
        labels=dict(node.meta.labels),
    )


def duration(seconds: float) -> str:
    """Return a time as Run:ai writes it: 446400 -> 5d4h0m; seconds are added where there are some."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days}d{hours}h{minutes}m" + (f"{rest}s" if rest else "")


def _unit(unit: Project | Department, directory: Directory) -> dict[str, Any]:
    return {
        "id": unit.meta.uid,
        "name": unit.name,
        "description": unit.description,
        "cluster_id": (isinstance(unit, Project) and unit.cluster) or directory.cluster_id,
        "resources": tuple(_resources(pool, quota, directory) for pool, quota in sorted(unit.resources.items())),
        "total_resources": _total(unit.resources),
        "scheduling_rules": unit.scheduling_rules,
        "default_node_pools": unit.default_node_pools,
        "node_types": NodeTypesItem(training=unit.node_types_training, workspace=unit.node_types_workspace),
        "created_at": iso(unit.meta.created_at),
        "updated_at": iso(unit.meta.updated_at or unit.meta.created_at),
        "created_by": unit.meta.created_by,
        "updated_by": unit.meta.updated_by or unit.meta.created_by,
    }


def _resources(pool: str, quota: QueueResources, directory: Directory) -> PoolResources:
    rank = next((name for name, value in RANKS.items() if value == quota.priority), str(quota.priority))
    return PoolResources(
        node_pool=Reference(id=directory.node_pools.get(pool, pool), name=pool),
        gpu=Quota(**_quota(quota.gpu, MILLI)),
        cpu=Quota(**_quota(quota.cpu, 1)),
        memory=MemoryQuota(**_quota(quota.memory, MB)),
        priority=rank,
    )


def _quota(quota: ResourceQuota, size: int) -> dict[str, Any]:
    return {
        "deserved": _scaled(quota.deserved, size),
        "limit": _scaled(quota.limit, size),
        "over_quota_weight": quota.over_quota_weight,
    }


def _scaled(amount: int | None, size: int) -> int | float | None:
    if amount is None:
        return None
    whole, rest = divmod(amount, size)
    return amount / size if rest else whole


def _total(resources: Mapping[str, QueueResources]) -> TotalResources:
    def summed(quotas: Sequence[int | None], size: int) -> int | float | None:
        amounts = [amount for amount in quotas if amount is not None]
        return None if len(amounts) < len(quotas) else _scaled(sum(amounts), size)

    pools = tuple(resources.values())
    return TotalResources(
        gpu_quota=summed([pool.gpu.deserved for pool in pools], MILLI),
        cpu_quota=summed([pool.cpu.deserved for pool in pools], 1),
        memory_quota=summed([pool.memory.deserved for pool in pools], MB),
    )


def _quota_status(statuses: Sequence[UnitStatus]) -> QuotaStatus:
    return QuotaStatus(
        allocated=amounts(total(status.allocated for status in statuses)),
        allocated_non_preemptible=amounts(total(status.allocated_non_preemptible for status in statuses)),
        requested=amounts(total(status.requested for status in statuses)),
    )


def _pool_statuses(statuses: Statuses, directory: Directory) -> tuple[PoolQuotaStatus, ...]:
    return tuple(
        PoolQuotaStatus(
            node_pool_id=directory.node_pools.get(pool, pool),
            node_pool_name=pool,
            allocated=amounts(status.allocated),
            allocated_non_preemptible=amounts(status.allocated_non_preemptible),
            requested=amounts(status.requested),
        )
        for pool, status in sorted(statuses.items())
    )


def amounts(resources: Resources) -> Amounts:
    """Return GPU devices, CPU millicores and memory in MB."""
    return Amounts(gpu=units(resources.gpu), cpu=resources.cpu, memory=megabytes(resources.memory))


def _pool_phase(nodes: Sequence[Node]) -> str:
    if not nodes:
        return "Empty"
    return "Ready" if any(node.ready and not node.unschedulable for node in nodes) else "Unschedulable"


def _node_conditions(node: Node) -> tuple[Condition, ...]:
    found = [
        Condition(type="Ready", status="True" if node.ready else "False", reason="Ready" if node.ready else "NotReady")
    ]
    if node.unschedulable:
        found.append(Condition(type="Unschedulable", status="True", reason="Cordoned"))
    return tuple(found)
