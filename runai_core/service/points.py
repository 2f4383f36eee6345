"""What points are made of: pure functions from what there is, and what was measured, to numbers."""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from runai_core.model.nodes import DEFAULT_NODE_POOL, Node, NodePool
from runai_core.model.organization import Department, Project, QueueResources
from runai_core.model.resources import MB, MIB, MILLI
from runai_core.model.samples import Point
from runai_core.model.snapshot import HOLDS_RESOURCES
from runai_core.model.workload import Pod, Workload, gpu_charge
from runai_core.service.meters import DeviceUse, Reading, Values, gpu_values

IDLE_PER_GPU = "GPU_IDLE_TIME_SECONDS_PER_GPU"
"""Metric of a node, for each GPU: how long it has not been used, as far as that was measured here."""

ALLOCATION_PER_GPU, MEMORY_ALLOCATION_PER_GPU = "GPU_ALLOCATION_PER_GPU", "GPU_MEMORY_ALLOCATION_BYTES_PER_GPU"
"""Metrics of a node, for each GPU: how much of it, and how many bytes of its memory, pods hold."""

OVER_QUOTA = "GPU_OVER_QUOTA"
"""Metric of projects and departments: GPUs held beyond the quota. It does not follow from means, so it is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What there is at one moment."""

    now: float
    workloads: Sequence[Workload]  # those that run
    pods: Mapping[str, Sequence[Pod]]  # by uid of the workload
    nodes: Sequence[Node] = ()
    pools: Sequence[NodePool] = ()
    projects: Sequence[Project] = ()
    departments: Sequence[Department] = ()
    waiting: Mapping[tuple[str, str], int] = field(default_factory=dict)  # project and node pool -> workloads
    devices: Mapping[str, int] = field(init=False)  # node -> MiB of each of its GPUs

    def __post_init__(self) -> None:
        """Look sizes up once: there may be many pods."""
        object.__setattr__(self, "devices", {node.name: node.gpu_memory_mib for node in self.nodes})


def gpus_of(pod: Pod, devices: Mapping[str, int]) -> float:
    """Return how many GPUs a pod stands for, by the MiB of those of its node."""
    return gpu_charge(pod.spec.request, devices.get(pod.status.node, 0)) / MILLI


def pod_state(pod: Pod, devices: Mapping[str, int]) -> Values:
    """Return what a pod asks for and holds, in the API's units: devices, cores, bytes."""
    request = pod.spec.request
    values = {
        "CPU_REQUEST_CORES": request.cpu / MILLI,
        "CPU_MEMORY_REQUEST_BYTES": float(request.memory),
        "GPU_ALLOCATION": gpus_of(pod, devices) if pod.status.state in HOLDS_RESOURCES else 0.0,
    }
    if request.gpu_memory_mib:
        values["GPU_MEMORY_REQUEST_BYTES"] = float(request.gpu_memory_mib * MIB * max(request.gpu_devices, 1))
    if pod.spec.cpu_limit:
        values["CPU_LIMIT_CORES"] = pod.spec.cpu_limit / MILLI
    if pod.spec.memory_limit:
        values["CPU_MEMORY_LIMIT_BYTES"] = float(pod.spec.memory_limit)
    return values


def unit_points(world: World, reading: Reading, idle: set[str]) -> list[Point]:
    """Return what projects, departments and node pools have and use, in each node pool."""
    pools = [pool.name for pool in world.pools] or [DEFAULT_NODE_POOL]
    departments = {project.name: project.department for project in world.projects}
    used: dict[str, Values] = {}
    for workload in world.workloads:
        for pod in world.pods.get(workload.meta.uid, ()):
            pool = pod.node_pool or workload.node_pool or DEFAULT_NODE_POOL
            values = _held(pod, reading, gpus_of(pod, world.devices), is_idle=workload.meta.uid in idle)
            department = departments.get(workload.meta.project, workload.department)
            for entity in (
                f"project/{workload.meta.project}/{pool}",
                f"department/{department}/{pool}",
                f"pool/{pool}",
            ):
                _add(used, entity, values)
        place = (workload.meta.project, departments, workload.node_pool or pools[0])
        _count(used, *place, "RUNNING_WORKLOADS", 1)
        _count(used, *place, "WAITED_SECONDS", workload.pending_seconds)
    for (project, pool), count in world.waiting.items():
        _count(used, project, departments, pool or pools[0], "PENDING_WORKLOADS", count)
    quotas = {
        f"{kind}/{unit.name}/{pool}": _quota(unit.resources.get(pool, QueueResources()))
        for kind, units in (("project", world.projects), ("department", world.departments))
        for unit in units
        for pool in pools
    }
    quotas |= {f"pool/{pool}": _pool(pool, world) for pool in pools}
    return [
        Point(entity, world.now, _with_excess(quotas.get(entity, {}) | used.get(entity, {})))
        for entity in sorted(quotas.keys() | used.keys())
    ]


def _with_excess(values: Values) -> Values:
    held, quota = values.get("GPU_ALLOCATION", 0.0), values.get("GPU_QUOTA", 0.0)
    return {OVER_QUOTA: max(held - quota, 0.0)} | values


def _held(pod: Pod, reading: Reading, gpus: float, *, is_idle: bool) -> Values:
    """Return what a pod holds and uses, so that it can be added up."""
    if pod.status.state not in HOLDS_RESOURCES:
        return {}
    request, use = pod.spec.request, reading.pods.get(pod.meta.uid, {})
    values = {
        "GPU_ALLOCATION": gpus,
        "CPU_ALLOCATION_MILLICORES": float(request.cpu),
        "CPU_MEMORY_ALLOCATION_MB": request.memory / MB,
        "GPU_IDLE": gpus if is_idle else 0.0,
    }
    if gpus and "GPU_UTILIZATION" in use:
        values |= {"GPU_MEASURED": gpus, "GPU_USED": gpus * use["GPU_UTILIZATION"] / 100}
    shared = ("CPU_USAGE_CORES", "CPU_MEMORY_USAGE_BYTES", "GPU_MEMORY_USAGE_BYTES")
    return values | {name: use[name] for name in shared if name in use}


def _quota(resources: QueueResources) -> Values:
    """Return the quota; one without a bound counts 0, as in the telemetry of the API, and nothing is beyond it."""
    return {
        **({OVER_QUOTA: 0.0} if resources.gpu.deserved is None else {}),
        "GPU_QUOTA": (resources.gpu.deserved or 0) / MILLI,
        "CPU_QUOTA_MILLICORES": float(resources.cpu.deserved or 0),
        "CPU_MEMORY_QUOTA_MB": (resources.memory.deserved or 0) / MB,
        "GPU_ALLOCATION": 0.0,
        "CPU_ALLOCATION_MILLICORES": 0.0,
        "CPU_MEMORY_ALLOCATION_MB": 0.0,
    }


def _pool(pool: str, world: World) -> Values:
    nodes = [node for node in world.nodes if node.node_pool == pool]
    quota = sum(unit.resources[pool].gpu.deserved or 0 for unit in world.departments if pool in unit.resources)
    return {
        "TOTAL_GPU_NODES": float(sum(node.gpu_count > 0 for node in nodes)),
        "TOTAL_GPU": float(sum(node.gpu_count for node in nodes)),
        "TOTAL_GPU_MEMORY_BYTES": float(sum(node.gpu_count * node.gpu_memory_mib * MIB for node in nodes)),
        "TOTAL_CPU_CORES": sum(node.cpu for node in nodes) / MILLI,
        "TOTAL_CPU_MEMORY_BYTES": float(sum(node.memory for node in nodes)),
        "GPU_QUOTA": quota / MILLI,
        "GPU_ALLOCATION": 0.0,
    }


def node_points(world: World, reading: Reading, idle: Mapping[tuple[str, int], float]) -> list[Point]:
    """Return what each node gives and uses; `idle` says for how long each GPU has not been used."""
    held: dict[str, Values] = {}
    for pods in world.pods.values():
        for pod in pods:
            if pod.status.state in HOLDS_RESOURCES:
                _add(
                    held,
                    pod.status.node,
                    _on_node(pod, gpus_of(pod, world.devices), world.devices.get(pod.status.node, 0)),
                )
    points = []
    for node in world.nodes:
        devices = [device for (name, _), device in sorted(reading.devices.items()) if name == node.name]
        values = _free(node) | held.get(node.name, {}) | reading.nodes.get(node.name, {}) | _filled(devices)
        values |= {f"{IDLE_PER_GPU}/{index}": seconds for (name, index), seconds in idle.items() if name == node.name}
        points.append(Point(f"node/{node.name}", world.now, values | (gpu_values(devices) if devices else {})))
    return points


def _on_node(pod: Pod, gpus: float, gpu_memory_mib: int) -> Values:
    """Return what a pod that stands for so many GPUs holds of its node, and of each of its GPUs and their memory."""
    request, indexes = pod.spec.request, pod.status.gpu_devices
    values = {
        "GPU_ALLOCATION": gpus,
        "CPU_ALLOCATION_MILLICORES": float(request.cpu),
        "CPU_MEMORY_ALLOCATION_MB": request.memory / MB,
    }
    for index in indexes:
        share = min(gpus / len(indexes), 1.0)
        values[f"{ALLOCATION_PER_GPU}/{index}"] = share
        asked = min(request.gpu_memory_mib, gpu_memory_mib)
        values[f"{MEMORY_ALLOCATION_PER_GPU}/{index}"] = (asked or share * gpu_memory_mib) * MIB
    return values


def _free(node: Node) -> Values:
    """Return what is held of each GPU of a node where nobody holds any."""
    kinds = (ALLOCATION_PER_GPU, MEMORY_ALLOCATION_PER_GPU)
    return {f"{kind}/{index}": 0.0 for kind in kinds for index in range(node.gpu_count)}


def _filled(devices: Sequence[DeviceUse]) -> Values:
    """Return which part of their memory GPUs use, of all and of each, in percent."""
    known = [device for device in devices if device.memory_total]
    if not known:
        return {}
    whole = 100 * sum(device.memory_used for device in known) / sum(device.memory_total for device in known)
    each = {
        f"GPU_MEMORY_UTILIZATION_PER_GPU/{device.index}": 100 * device.memory_used / device.memory_total
        for device in known
    }
    return {"GPU_MEMORY_UTILIZATION": whole, **each}


def _count(
    used: dict[str, Values], project: str, departments: Mapping[str, str], pool: str, name: str, count: float
) -> None:
    entities = [f"project/{project}/{pool}", f"pool/{pool}"]
    with contextlib.suppress(KeyError):  # the project went a moment ago
        entities.append(f"department/{departments[project]}/{pool}")
    for entity in entities:
        _add(used, entity, {name: float(count)})


def _add(sums: dict[str, Values], entity: str, values: Mapping[str, float]) -> None:
    row = sums.setdefault(entity, {})
    for name, value in values.items():
        row[name] = row.get(name, 0.0) + value


def sum_of(pods: Iterable[Values]) -> Values:
    """Return sums over pods; utilisation is the mean of those that have one."""
    total: Values = {}
    percents: list[float] = []
    for values in pods:
        for name, value in values.items():
            if name == "GPU_UTILIZATION":
                percents.append(value)
            elif "/" not in name:  # of single devices: the workload's numbers mean nothing across nodes
                total[name] = total.get(name, 0.0) + value
    return total | ({"GPU_UTILIZATION": sum(percents) / len(percents)} if percents else {})
