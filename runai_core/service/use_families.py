"""The public metrics of use: of GPUs, processors and memory, by the names that Run:ai's dashboards know. Pure.

They come from the newest samples; what nobody measures has no sample here, and
never a zero.
"""

from collections.abc import Callable, Sequence

from runai_core.model.nodes import Node
from runai_core.model.resources import MIB
from runai_core.model.samples import Point
from runai_core.model.snapshot import HOLDS_RESOURCES
from runai_core.model.workload import TERMINAL, Pod
from runai_core.service.exposition import Family, Samples
from runai_core.service.families import Seen, pod_labels, workload_labels
from runai_core.service.points import IDLE_PER_GPU
from runai_core.service.sampling import IDLE


def use_families(seen: Seen) -> list[Family]:
    """Return what is used and what stays idle; no sample where nobody measured."""
    held = [pod for pod in seen.pods if pod.status.state in HOLDS_RESOURCES]
    pods = [pod for pod in held if f"pod/{pod.meta.owner}/{pod.meta.uid}" in seen.newest]
    return [*_use_of_nodes(seen, held), *_use_of_workloads(seen), *_use_of_pods(seen, pods)]


def _use_of_nodes(seen: Seen, held: Sequence[Pod]) -> list[Family]:
    cluster = {"clusterId": seen.cluster_id}
    nodes = [(node, seen.newest[f"node/{node.name}"]) for node in seen.nodes if f"node/{node.name}" in seen.newest]

    def of(name: str, text: str, metric: str, unit: float = 1.0) -> Family:
        rows = [
            ({**cluster, "node": node.name}, point.values[metric] / unit)
            for node, point in nodes
            if metric in point.values
        ]
        return Family(name, text, tuple(rows))

    def of_gpus(name: str, text: str, metric: str, unit: float = 1.0) -> Family:
        rows = [
            ({**cluster, "node": node.name, "gpu": key.partition("/")[2]}, value / unit)
            for node, point in nodes
            for key, value in point.values.items()
            if key.startswith(f"{metric}/")
        ]
        return Family(name, text, tuple(rows))

    return [
        of("runai_node_cpu_utilization", "Use of its processors, in percent.", "CPU_UTILIZATION"),
        of("runai_node_memory_utilization", "Use of its memory, in percent.", "CPU_MEMORY_UTILIZATION"),
        of("runai_node_used_memory_bytes", "Memory in use.", "CPU_MEMORY_USAGE_BYTES"),
        of("runai_gpu_utilization_per_node", "Use of its GPUs, in percent.", "GPU_UTILIZATION"),
        of("runai_gpu_memory_used_mebibytes_per_node", "GPU memory in use.", "GPU_MEMORY_USAGE_BYTES", MIB),
        of_gpus("runai_gpu_utilization_per_gpu", "Use of the GPU, in percent.", "GPU_UTILIZATION_PER_GPU"),
        of_gpus("runai_gpu_memory_used_mebibytes_per_gpu", "Memory in use.", "GPU_MEMORY_USAGE_BYTES_PER_GPU", MIB),
        _gpus(seen, "runai_gpu_memory_total_mebibytes_per_gpu", "Memory of the GPU."),
        _held_gpus(seen, held),
        _last_use(seen, nodes),
        *_of_cluster(seen, nodes),
    ]


def _gpus(seen: Seen, name: str, text: str) -> Family:
    rows = [
        ({"clusterId": seen.cluster_id, "node": node.name, "gpu": str(index)}, float(node.gpu_memory_mib))
        for node in seen.nodes
        for index in range(node.gpu_count)
    ]
    return Family(name, text, tuple(rows))


def _held_gpus(seen: Seen, held: Sequence[Pod]) -> Family:
    parts: dict[tuple[str, int], float] = {}
    for pod in held:
        devices = pod.status.gpu_devices
        for index in devices:
            key = (pod.status.node, index)
            parts[key] = parts.get(key, 0.0) + seen.gpus_of(pod) / len(devices)
    rows = [
        ({"clusterId": seen.cluster_id, "node": node, "gpu": str(index)}, part)
        for (node, index), part in sorted(parts.items())
    ]
    return Family("runai_allocated_gpu_count_per_gpu", "Part of the GPU that pods hold.", tuple(rows))


def _last_use(seen: Seen, nodes: Sequence[tuple[Node, Point]]) -> Family:
    rows = [
        ({"clusterId": seen.cluster_id, "node": node.name, "gpu": key.partition("/")[2]}, point.time - idle)
        for node, point in nodes
        for key, idle in point.values.items()
        if key.startswith(f"{IDLE_PER_GPU}/")
    ]
    return Family("runai_last_gpu_utilization_time_per_gpu", "When the GPU was last used.", tuple(rows))


def _of_cluster(seen: Seen, nodes: Sequence[tuple[Node, Point]]) -> list[Family]:
    """Return the use of all nodes that are measured, weighed by their size."""
    cpus = [(node.cpu, point.values["CPU_UTILIZATION"]) for node, point in nodes if "CPU_UTILIZATION" in point.values]
    used = [
        (node.memory, point.values["CPU_MEMORY_USAGE_BYTES"])
        for node, point in nodes
        if "CPU_MEMORY_USAGE_BYTES" in point.values
    ]
    labels = {"clusterId": seen.cluster_id}
    cores, memory = sum(size for size, _ in cpus), sum(size for size, _ in used)
    cpu: Samples = ((labels, sum(size * percent for size, percent in cpus) / cores),) if cores else ()
    total = float(sum(amount for _, amount in used))
    return [
        Family("runai_cluster_cpu_utilization", "Use of all processors, in percent.", cpu),
        Family("runai_cluster_memory_used_bytes", "Memory in use.", ((labels, total),) if memory else ()),
        Family(
            "runai_cluster_memory_utilization",
            "Use of all memory, in percent.",
            ((labels, 100 * total / memory),) if memory else (),
        ),
    ]


def _use_of_workloads(seen: Seen) -> list[Family]:
    known = [
        (workload_labels(seen, item), seen.newest[f"workload/{item.meta.uid}"])
        for item in seen.workloads
        if item.phase not in TERMINAL and f"workload/{item.meta.uid}" in seen.newest
    ]

    def of(name: str, text: str, metric: str, read: Callable[[Point, float], float] = lambda _, value: value) -> Family:
        rows = [(labels, read(point, point.values[metric])) for labels, point in known if metric in point.values]
        return Family(name, text, tuple(rows))

    return [
        of("runai_gpu_utilization_per_workload", "Use of its GPUs, in percent.", "GPU_UTILIZATION"),
        of(
            "runai_gpu_memory_used_mebibytes_per_workload",
            "GPU memory in use.",
            "GPU_MEMORY_USAGE_BYTES",
            lambda _, value: value / MIB,
        ),
        of("runai_gpu_idle_seconds_per_workload", "Time since its GPUs were used.", IDLE),
        of(
            "runai_last_gpu_utilization_time_per_workload",
            "When its GPUs were last used.",
            IDLE,
            lambda point, idle: point.time - idle,
        ),
        of("runai_job_cpu_usage", "CPU cores in use.", "CPU_USAGE_CORES"),
        of("runai_job_memory_used_bytes", "Memory in use.", "CPU_MEMORY_USAGE_BYTES"),
        _use_of_projects(seen),
    ]


def _use_of_projects(seen: Seen) -> Family:
    used: dict[str, float] = {}
    measured: dict[str, float] = {}
    for entity, point in seen.newest.items():
        kind, _, rest = entity.partition("/")
        if kind == "project" and point.values.get("GPU_MEASURED"):
            name = rest.partition("/")[0]
            used[name] = used.get(name, 0.0) + point.values["GPU_USED"]
            measured[name] = measured.get(name, 0.0) + point.values["GPU_MEASURED"]
    rows = [
        ({"clusterId": seen.cluster_id, "project": name}, 100 * used[name] / measured[name]) for name in sorted(used)
    ]
    return Family("runai_gpu_utilization_per_project", "Use of the GPUs that it holds, in percent.", tuple(rows))


def _use_of_pods(seen: Seen, pods: Sequence[Pod]) -> list[Family]:
    def of(name: str, text: str, metric: str, unit: float = 1.0) -> Family:
        rows = [
            ({**pod_labels(seen, pod), "gpu": key.partition("/")[2]}, value / unit)
            for pod in pods
            for key, value in seen.newest[f"pod/{pod.meta.owner}/{pod.meta.uid}"].values.items()
            if key.startswith(f"{metric}/")
        ]
        return Family(name, text, tuple(rows))

    return [
        of("runai_gpu_utilization_per_pod_per_gpu", "Use of the GPU, in percent.", "GPU_UTILIZATION_PER_GPU"),
        of(
            "runai_gpu_memory_used_mebibytes_per_pod_per_gpu",
            "GPU memory in use.",
            "GPU_MEMORY_USAGE_BYTES_PER_GPU",
            MIB,
        ),
    ]
