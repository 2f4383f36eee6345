"""Present numbers in groups: pure functions from model objects to rows of (groups, value)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from runai_core.model.nodes import Node
from runai_core.model.organization import Department, Project, QueueResources, ResourceQuota
from runai_core.model.resources import MB, MIB, MILLI, Resources, total
from runai_core.model.samples import Point
from runai_core.model.snapshot import HOLDS_RESOURCES
from runai_core.model.workload import Pod, Workload, gpu_charge
from runai_core.service.organization import UnitStatus
from runai_core.service.points import IDLE_PER_GPU
from runai_core.service.sampling import IDLE_AFTER
from runai_core.web.views.resources import allocated_of_workload
from runai_core.web.views.units import Directory

MAX_GROUPS = 2


@dataclass(frozen=True, slots=True)
class Group:
    """The group that a number is of: key, id, and the name for people."""

    key: str
    value: str
    name: str = ""


Row = tuple[tuple[Group, ...], float]

WORKLOAD_GROUPS: Mapping[str, Callable[[Workload, Directory], Group]] = {
    "ClusterId": lambda _, names: Group("ClusterId", names.cluster_id, "default"),
    "ProjectId": lambda item, names: Group(
        "ProjectId", names.projects.get(item.meta.project, item.meta.project), item.meta.project
    ),
    "DepartmentId": lambda item, names: Group(
        "DepartmentId", names.departments.get(item.department, item.department), item.department
    ),
    "Phase": lambda item, _: Group("Phase", item.phase.value),
    "Type": lambda item, _: Group("Type", item.kind or item.type.value),
    "Category": lambda item, _: Group("Category", item.category),
    "NodepoolName": lambda item, _: Group("NodepoolName", item.node_pool),
    "PriorityClassName": lambda item, _: Group("PriorityClassName", item.priority_class),
}

WORKLOAD_TYPES: Mapping[str, Callable[[Workload], float]] = {
    "WORKLOADS_COUNT": lambda _: 1.0,
    "GPU_ALLOCATION": lambda item: float(allocated_of_workload(item).gpu),
}


@dataclass(frozen=True, slots=True)
class NodeLoad:
    """A node, and what its pods hold."""

    node: Node
    held: Resources
    used: Mapping[str, float] = field(default_factory=dict)  # newest sample; empty where nobody measured


NODE_GROUPS: Mapping[str, Callable[[NodeLoad, Directory], Group]] = {
    "ClusterId": lambda _, names: Group("ClusterId", names.cluster_id, "default"),
    "NodepoolName": lambda item, _: Group("NodepoolName", item.node.node_pool),
    "NodeName": lambda item, _: Group("NodeName", item.node.name),
}

NODE_TYPES: Mapping[str, Callable[[NodeLoad], float]] = {
    "TOTAL_GPUS": lambda item: item.node.gpu_count,
    "READY_GPUS": lambda item: item.node.gpu_count if item.node.ready else 0,
    "TOTAL_GPU_NODES": lambda item: item.node.gpu_count > 0,
    "READY_GPU_NODES": lambda item: item.node.gpu_count > 0 and item.node.ready,
    "ALLOCATED_GPUS": lambda item: item.held.gpu / MILLI,
    "FREE_GPUS": lambda item: max(item.node.gpu_count - item.held.gpu / MILLI, 0),
    "FULLY_FREE_GPU_NODES": lambda item: item.node.gpu_count > 0 and item.held.gpu == 0,
    "TOTAL_CPU_CORES": lambda item: item.node.cpu / MILLI,
    "ALLOCATED_CPU_CORES": lambda item: item.held.cpu / MILLI,
    "TOTAL_CPU_MEMORY_BYTES": lambda item: item.node.memory,
    "ALLOCATED_CPU_MEMORY_BYTES": lambda item: item.held.memory,
    "USED_CPU_CORES": lambda item: item.used.get("CPU_USAGE_CORES", 0.0),
    "USED_CPU_MEMORY_BYTES": lambda item: item.used.get("CPU_MEMORY_USAGE_BYTES", 0.0),
    "USED_GPU_MEMORY_BYTES": lambda item: item.used.get("GPU_MEMORY_USAGE_BYTES", 0.0),
    "IDLE_ALLOCATED_GPUS": lambda item: min(idle_devices(item.used), item.held.gpu / MILLI),
    "TOTAL_GPU_MEMORY_BYTES": lambda item: item.node.gpu_count * item.node.gpu_memory_mib * MIB,
}


@dataclass(frozen=True, slots=True)
class UnitLoad:
    """A project or department in one node pool: its quota, and what it holds."""

    unit: Project | Department
    pool: str
    quota: QueueResources
    status: UnitStatus


def _department(item: UnitLoad) -> str:
    return item.unit.department if isinstance(item.unit, Project) else item.unit.name


UNIT_GROUPS: Mapping[str, Callable[[UnitLoad, Directory], Group]] = {
    "ClusterId": lambda _, names: Group("ClusterId", names.cluster_id, "default"),
    "ProjectId": lambda item, _: Group("ProjectId", item.unit.meta.uid, item.unit.name),
    "DepartmentId": lambda item, names: Group(
        "DepartmentId", names.departments.get(_department(item), _department(item)), _department(item)
    ),
    "NodepoolName": lambda item, _: Group("NodepoolName", item.pool),
}


def _deserved(quota: ResourceQuota, size: int) -> float:
    return 0.0 if quota.deserved is None else quota.deserved / size


UNIT_TYPES: Mapping[str, Callable[[UnitLoad], float]] = {
    "GPU_QUOTA": lambda item: _deserved(item.quota.gpu, MILLI),
    "CPU_QUOTA": lambda item: _deserved(item.quota.cpu, 1),
    "MEMORY_QUOTA": lambda item: _deserved(item.quota.memory, MB),
    "GPU_ALLOCATION": lambda item: item.status.allocated.gpu / MILLI,
    "CPU_ALLOCATION": lambda item: item.status.allocated.cpu,
    "MEMORY_ALLOCATION": lambda item: item.status.allocated.memory / MB,
    "GPU_ALLOCATION_NON_PREEMPTIBLE": lambda item: item.status.allocated_non_preemptible.gpu / MILLI,
    "CPU_ALLOCATION_NON_PREEMPTIBLE": lambda item: item.status.allocated_non_preemptible.cpu,
    "MEMORY_ALLOCATION_NON_PREEMPTIBLE": lambda item: item.status.allocated_non_preemptible.memory / MB,
}
"""CPU in millicores, memory in MB, as quota is written; a quota without a bound counts 0."""

UNIT_METRICS: Mapping[str, str] = {
    "GPU_QUOTA": "GPU_QUOTA",
    "GPU_ALLOCATION": "GPU_ALLOCATION",
    "CPU_QUOTA_MILLICORES": "CPU_QUOTA",
    "CPU_ALLOCATION_MILLICORES": "CPU_ALLOCATION",
    "CPU_MEMORY_QUOTA_MB": "MEMORY_QUOTA",
    "CPU_MEMORY_ALLOCATION_MB": "MEMORY_ALLOCATION",
}
"""Metric of a unit -> the telemetry that it is."""


def idle_devices(used: Mapping[str, float]) -> int:
    """Return how many measured GPUs of a node have not been used for five minutes."""
    return sum(name.startswith(f"{IDLE_PER_GPU}/") and seconds >= IDLE_AFTER for name, seconds in used.items())


def node_loads(nodes: Sequence[Node], pods: Iterable[Pod], newest: Mapping[str, Point] | None = None) -> list[NodeLoad]:
    """Return each node with what its pods hold, and what it used in the newest sample."""
    points, sizes = newest or {}, {node.name: node.gpu_memory_mib for node in nodes}
    held: dict[str, list[Resources]] = {}
    for pod in pods:
        request = pod.spec.request
        if pod.status.state in HOLDS_RESOURCES:
            gpu = gpu_charge(request, sizes.get(pod.status.node, 0))
            amount = Resources(cpu=request.cpu, memory=request.memory, gpu=gpu)
            held.setdefault(pod.status.node, []).append(amount)
    used = {node.name: points[f"node/{node.name}"].values for node in nodes if f"node/{node.name}" in points}
    return [NodeLoad(node, total(held.get(node.name, ())), used.get(node.name, {})) for node in nodes]


def unit_loads(unit: Project | Department, statuses: Mapping[str, UnitStatus]) -> list[UnitLoad]:
    """Return the unit in each node pool in which it has quota or holds something."""
    return [
        UnitLoad(unit, pool, unit.resources.get(pool, QueueResources()), statuses.get(pool, UnitStatus()))
        for pool in sorted(unit.resources.keys() | statuses.keys())
    ]


def summed(rows: Iterable[Row]) -> list[Row]:
    """Return one row for each combination of groups, in a stable order; a single 0 where there is nothing."""
    totals: dict[tuple[Group, ...], float] = {}
    for groups, value in rows:
        totals[groups] = totals.get(groups, 0.0) + value
    return sorted(totals.items(), key=lambda row: [(group.key, group.value) for group in row[0]])
