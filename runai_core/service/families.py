"""The public metrics of a cluster, by the names that Run:ai's dashboards know. Pure.

What is asked for and held is read off the objects; what is used, and stays
idle, off the newest samples (`use_families`, in a module of its own).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from runai_core.model.nodes import DEFAULT_NODE_POOL, Node, NodePool
from runai_core.model.organization import Department, Project, QueueResources
from runai_core.model.resources import MB, MIB, MILLI
from runai_core.model.samples import Point
from runai_core.model.snapshot import HOLDS_RESOURCES
from runai_core.model.workload import TERMINAL, Phase, Pod, Workload, gpu_charge
from runai_core.service.exposition import Family, Samples
from runai_core.service.meters import namespace_of
from runai_core.service.scheduling import CycleReport

Labels = dict[str, str]


def _queue_name(unit: Department | Project, pool: str) -> str:
    prefix = "department/" if isinstance(unit, Department) else ""
    return f"{prefix}{unit.name}" if pool == DEFAULT_NODE_POOL else f"{prefix}{unit.name}-{pool}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What there is at one moment. Seconds since the epoch, UTC."""

    cluster_id: str
    now: float
    nodes: Sequence[Node] = ()
    pools: Sequence[NodePool] = ()
    departments: Sequence[Department] = ()
    projects: Sequence[Project] = ()
    workloads: Sequence[Workload] = ()
    pods: Sequence[Pod] = ()
    reports: Mapping[str, CycleReport] = field(default_factory=dict)
    newest: Mapping[str, Point] = field(default_factory=dict)  # newest sample of each entity
    queue_of: Callable[[Department | Project, str], str] = _queue_name  # name of a unit's queue in a node pool
    devices: Mapping[str, int] = field(init=False)  # node -> MiB of each of its GPUs

    def __post_init__(self) -> None:
        """Look sizes up once: there may be many pods."""
        object.__setattr__(self, "devices", {node.name: node.gpu_memory_mib for node in self.nodes})

    def gpus_of(self, pod: Pod) -> float:
        """Return how many GPUs a pod stands for; one that asks for GPU memory stands for none until it has a node."""
        return gpu_charge(pod.spec.request, self.devices.get(pod.status.node, 0)) / MILLI


def cluster_families(seen: Seen) -> list[Family]:
    """Return the metrics of nodes, projects, queues, workloads and pods."""
    held = [pod for pod in seen.pods if pod.status.state in HOLDS_RESOURCES]
    return [*_of_nodes(seen, held), *_of_units(seen, held), *_of_workloads(seen, held), *_of_pods(seen, held)]


def cycle_families(seen: Seen) -> list[Family]:
    """Return the metrics of the newest scheduling cycle of each node pool (ours)."""
    reports = sorted(seen.reports.values(), key=lambda report: report.node_pool)

    def of(name: str, text: str, values: Sequence[float]) -> Family:
        return Family(
            name,
            text,
            tuple(
                ({"clusterId": seen.cluster_id, "nodepool": report.node_pool}, value)
                for report, value in zip(reports, values, strict=True)
            ),
        )

    return [
        of("runai_scheduling_cycle_seconds", "Length of the newest cycle.", [item.seconds for item in reports]),
        of("runai_scheduling_cycle_binds", "Pods that it placed.", [item.binds for item in reports]),
        of("runai_scheduling_cycle_evictions", "Pods that it evicted.", [item.evictions for item in reports]),
        of("runai_scheduling_waiting_podgroups", "Pod groups that wait.", [item.waiting for item in reports]),
        of("runai_scheduling_cycle_timestamp_seconds", "When it ended.", [item.finished_at for item in reports]),
    ]


def leader_family(leads: Iterable[str]) -> Family:
    """Return what this process leads in (ours)."""
    samples: Samples = tuple(({"lease": name}, 1.0) for name in sorted(leads))
    return Family("runai_leader", "1 for each lease that this process holds.", samples)


def _of_nodes(seen: Seen, held: Sequence[Pod]) -> list[Family]:
    gpus, cpu, memory = _sums(seen, held, lambda pod: pod.status.node)

    def of(name: str, text: str, values: Mapping[str, float]) -> Family:
        return Family(
            name,
            text,
            tuple(
                ({"clusterId": seen.cluster_id, "node": node.name}, values.get(node.name, 0.0)) for node in seen.nodes
            ),
        )

    counts = {node.name: float(node.gpu_count) for node in seen.nodes}
    totals = {node.name: float(node.gpu_count * node.gpu_memory_mib) for node in seen.nodes}
    return [
        of("runai_gpu_count_per_node", "GPUs of the node.", counts),
        of("runai_allocated_gpu_count_per_node", "GPUs that pods hold.", gpus),
        of("runai_gpu_memory_total_mebibytes_per_node", "GPU memory of the node.", totals),
        of("runai_node_cpu_requested_cores", "CPU cores that pods hold.", cpu),
        of("runai_node_requested_memory_bytes", "Memory that pods hold.", memory),
    ]


def _of_units(seen: Seen, held: Sequence[Pod]) -> list[Family]:
    gpus, _, _ = _sums(seen, held, lambda pod: pod.meta.project)
    cluster = {"clusterId": seen.cluster_id}
    guaranteed, info, allocated = [], [], []
    for project in seen.projects:
        quota = _quota(project)
        guaranteed.append(({**cluster, "project": project.name}, quota["gpu_guaranteed_quota"]))
        words = {name: f"{value:g}" for name, value in quota.items()}
        info.append(({**cluster, "project": project.name, "department": project.department, **words}, 1.0))
        allocated.append(({**cluster, "project": project.name}, gpus.get(project.name, 0.0)))
    return [
        Family("runai_project_guaranteed_gpus", "GPU quota over all node pools.", tuple(guaranteed)),
        Family("runai_project_info", "Quota of the project, as labels; -1 is unlimited.", tuple(info)),
        Family("runai_allocated_gpu_count_per_project", "GPUs that pods of the project hold.", tuple(allocated)),
        Family("runai_queue_info", "Quota of a queue, as labels; -1 is unlimited.", tuple(_queues(seen))),
    ]


def _queues(seen: Seen) -> Iterable[tuple[Labels, float]]:
    pools = [pool.name for pool in seen.pools] or [DEFAULT_NODE_POOL]
    units: list[Department | Project] = [*seen.departments, *seen.projects]
    for unit in units:
        for pool in pools:
            quota = _quota_in([unit.resources.get(pool, QueueResources())])
            words = {name: f"{value:g}" for name, value in quota.items()}
            yield (
                {
                    "clusterId": seen.cluster_id,
                    "queue_name": seen.queue_of(unit, pool),
                    "nodepool": pool,
                    "project": unit.name if isinstance(unit, Project) else "",
                    "department": unit.department if isinstance(unit, Project) else unit.name,
                    **words,
                },
                1.0,
            )


def _quota(unit: Project) -> dict[str, float]:
    return _quota_in(list(unit.resources.values()) or [QueueResources()])


def _quota_in(resources: Sequence[QueueResources]) -> dict[str, float]:
    def sum_of(amounts: Sequence[int | None], unit: int) -> float:
        return -1.0 if any(amount is None for amount in amounts) else sum(amount or 0 for amount in amounts) / unit

    return {
        "gpu_guaranteed_quota": sum_of([item.gpu.deserved for item in resources], MILLI),
        "cpu_quota": sum_of([item.cpu.deserved for item in resources], 1),
        "memory_quota": sum_of([item.memory.deserved for item in resources], MB),
    }


def _of_workloads(seen: Seen, held: Sequence[Pod]) -> list[Family]:
    gpus, cpu, memory = _sums(seen, held, lambda pod: pod.meta.owner)
    asked = _requested(seen)
    active = [(item, workload_labels(seen, item)) for item in seen.workloads if item.phase not in TERMINAL]

    def of(name: str, text: str, value: Mapping[str, float]) -> Family:
        return Family(name, text, tuple((labels, value.get(item.meta.uid, 0.0)) for item, labels in active))

    runs = {item.meta.uid: _lasting(item, seen.now, (Phase.RUNNING, Phase.DEGRADED), item.running_seconds)
            for item, _ in active}  # fmt: skip
    waits = {item.meta.uid: _lasting(item, seen.now, (Phase.PENDING,), item.pending_seconds) for item, _ in active}
    limits = {uid: sum(pod.spec.cpu_limit for pod in pods) / MILLI for uid, pods in _by_owner(held).items()}
    caps = {uid: float(sum(pod.spec.memory_limit for pod in pods)) for uid, pods in _by_owner(held).items()}
    return [
        of("runai_allocated_gpu_count_per_workload", "GPUs that its pods hold.", gpus),
        of("runai_requested_gpus_per_workload", "GPUs that its pods ask for.", asked[0]),
        of("runai_requested_gpu_memory_mb_per_workload", "GPU memory that its pods ask for.", asked[1]),
        of("runai_run_time_seconds_per_workload", "Time that it ran.", runs),
        of("runai_wait_time_seconds_per_workload", "Time that it waited.", waits),
        of("runai_active_job_cpu_requested_cores", "CPU cores that its pods hold.", cpu),
        of("runai_active_job_memory_requested_bytes", "Memory that its pods hold.", memory),
        of("runai_cpu_limits_per_active_workload", "CPU cores that its pods may use.", limits),
        of("runai_memory_limits_per_active_workload", "Memory that its pods may use.", caps),
        _phases(seen),
    ]


def _phases(seen: Seen) -> Family:
    counts: dict[str, int] = {}
    for item in seen.workloads:
        counts[item.phase.value] = counts.get(item.phase.value, 0) + 1
    samples = tuple(
        ({"clusterId": seen.cluster_id, "phase": phase}, float(count)) for phase, count in sorted(counts.items())
    )
    return Family("runai_workloads", "Workloads by phase (ours).", samples)


def _of_pods(seen: Seen, held: Sequence[Pod]) -> list[Family]:
    known = [(pod, pod_labels(seen, pod)) for pod in held]
    return [
        Family(
            "runai_allocated_gpu_count_per_pod",
            "GPUs that the pod holds.",
            tuple((words, seen.gpus_of(pod)) for pod, words in known),
        ),
        Family(
            "runai_allocated_millicpus_per_pod",
            "CPU that the pod holds.",
            tuple((words, float(pod.spec.request.cpu)) for pod, words in known),
        ),
        Family(
            "runai_allocated_memory_per_pod",
            "Memory that the pod holds, in bytes.",
            tuple((words, float(pod.spec.request.memory)) for pod, words in known),
        ),
    ]


def pod_labels(seen: Seen, pod: Pod) -> Labels:
    """Return the labels of a pod's metrics."""
    return {
        "clusterId": seen.cluster_id,
        "pod_name": pod.name,
        "pod_uuid": pod.meta.uid,
        "pod_namespace": namespace_of(pod),
        "node": pod.status.node,
        "project": pod.meta.project,
        "workload_id": pod.meta.owner,
        "workload_name": pod.workload,
    }


def workload_labels(seen: Seen, item: Workload) -> Labels:
    """Return the labels of a workload's metrics."""
    return {
        "clusterId": seen.cluster_id,
        "workload_id": item.meta.uid,
        "workload_name": item.name,
        "workload_type": item.kind or item.type.value,
        "project": item.meta.project,
        "department": item.department,
        "user": item.meta.created_by,
    }


def _lasting(item: Workload, now: float, phases: Sequence[Phase], before: float) -> float:
    return before + (max(now - item.phase_updated_at, 0.0) if item.phase in phases else 0.0)


def _by_owner(pods: Iterable[Pod]) -> dict[str, list[Pod]]:
    found: dict[str, list[Pod]] = {}
    for pod in pods:
        found.setdefault(pod.meta.owner, []).append(pod)
    return found


def _sums(
    seen: Seen, pods: Iterable[Pod], key: Callable[[Pod], str]
) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Return GPUs, CPU cores and bytes of memory, by what the key says of each pod."""
    gpus: dict[str, float] = {}
    cpu: dict[str, float] = {}
    memory: dict[str, float] = {}
    for pod in pods:
        name, request = key(pod), pod.spec.request
        gpus[name] = gpus.get(name, 0.0) + seen.gpus_of(pod)
        cpu[name] = cpu.get(name, 0.0) + request.cpu / MILLI
        memory[name] = memory.get(name, 0.0) + request.memory
    return gpus, cpu, memory


def _requested(seen: Seen) -> tuple[dict[str, float], dict[str, float]]:
    """Return GPUs and MB of GPU memory that pods ask for, by workload."""
    gpus: dict[str, float] = {}
    memory: dict[str, float] = {}
    for pod in seen.pods:
        request = pod.spec.request
        gpus[pod.meta.owner] = gpus.get(pod.meta.owner, 0.0) + seen.gpus_of(pod)
        asked = request.gpu_memory_mib * max(request.gpu_devices, 1) * MIB / MB
        memory[pod.meta.owner] = memory.get(pod.meta.owner, 0.0) + asked
    return gpus, memory
