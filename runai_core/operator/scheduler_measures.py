"""The scheduler's metrics, by KAI's names where KAI has them and by ours elsewhere."""

from collections.abc import Iterable

from runai_core.backends.kubernetes.cluster import KubernetesCluster
from runai_core.model.resources import MILLI
from runai_core.service.exposition import Family, Samples
from runai_core.service.families import leader_family
from runai_core.service.scheduling import SchedulingService

KAI_UNITS = {"gpu": ("gpu", MILLI), "cpu": ("cpu_cores", MILLI), "memory": ("memory_gb", 10**9)}
"""Our resource -> KAI's word, and our units in one of its."""


def scheduler_families(cluster: KubernetesCluster, service: SchedulingService, leads: Iterable[str]) -> list[Family]:
    """Return all metrics of a scheduler."""
    return [leader_family(leads), *_cycles(service), *_queues(service), *_bindings(cluster), *_world(cluster)]


def _cycles(service: SchedulingService) -> list[Family]:
    reports = sorted(service.reports.values(), key=lambda report: report.node_pool)

    def of(name: str, text: str, values: Iterable[float]) -> Family:
        pairs = zip(reports, values, strict=True)
        return Family(name, text, tuple(({"nodepool": report.node_pool}, value) for report, value in pairs))

    return [
        of(
            "kai_e2e_scheduling_latency_milliseconds",
            "Length of the newest cycle.",
            [item.seconds * 1000 for item in reports],
        ),
        of("runai_scheduling_cycle_binds", "Pods that it placed.", [float(item.binds) for item in reports]),
        of("runai_scheduling_cycle_evictions", "Pods that it evicted.", [float(item.evictions) for item in reports]),
        of("runai_scheduling_waiting_podgroups", "Pod groups that wait.", [float(item.waiting) for item in reports]),
        of("runai_scheduling_cycle_timestamp_seconds", "When it ended.", [item.finished_at for item in reports]),
    ]


def _queues(service: SchedulingService) -> list[Family]:
    shares = [share for _, found in sorted(service.shares.items()) for share in found]
    families = []
    for resource, (word, unit) in KAI_UNITS.items():
        mine = [share for share in shares if share.resource == resource]
        fair: Samples = tuple(({"queue_name": share.queue}, share.fair_share / unit) for share in mine)
        families.append(Family(f"kai_queue_fair_share_{word}", f"Fair share of the queue: {resource}.", fair))
    for name, resource, unit in (
        ("kai_queue_allocated_gpus", "gpu", MILLI),
        ("kai_queue_allocated_cpu_cores", "cpu", MILLI),
        ("kai_queue_allocated_memory_bytes", "memory", 1),
    ):
        held: Samples = tuple(
            ({"queue_name": share.queue}, share.allocated / unit) for share in shares if share.resource == resource
        )
        families.append(Family(name, f"What pods of the queue hold: {resource}.", held))
    deserved: Samples = tuple(
        ({"queue_name": share.queue}, -1.0 if share.deserved is None else share.deserved / MILLI)
        for share in shares
        if share.resource == "gpu"
    )
    families.append(Family("kai_queue_deserved_gpus", "GPU quota of the queue; -1 is unlimited.", deserved))
    return families


def _bindings(cluster: KubernetesCluster) -> list[Family]:
    figures, evictor = cluster.binder.figures, cluster.evictor
    seconds = sorted(figures.seconds)
    quantiles: Samples = tuple(
        ({"quantile": str(part)}, seconds[min(len(seconds) - 1, int(part * len(seconds)))] if seconds else 0.0)
        for part in (0.5, 0.9, 0.99)
    )
    evicted: Samples = tuple(({"action": action}, float(count)) for action, count in sorted(evictor.evicted.items()))
    return [
        Family("runai_pods_bound_total", "Pods bound since the start.", (({}, float(figures.bound)),), "counter"),
        Family("runai_binding_errors_total", "Bindings that failed.", (({}, float(figures.failed)),), "counter"),
        Family("runai_pods_released_total", "Pods of broken gangs.", (({}, float(figures.released)),), "counter"),
        Family("runai_bindings_under_way", "Pods whose binding is under way.", (({}, float(cluster.binder.pending)),)),
        Family("runai_binding_seconds", "From decision to binding, of the newest 1,000 gangs.", quantiles),
        Family("kai_pod_group_evicted_pods_total", "Pods evicted since the start.", evicted, "counter"),
        Family("runai_evictions_refused_total", "Evictions refused.", (({}, float(evictor.refused)),), "counter"),
    ]


def _world(cluster: KubernetesCluster) -> list[Family]:
    left_out: dict[str, int] = {}
    for kind, _ in cluster.snapshots.problems:
        left_out[kind] = left_out.get(kind, 0) + 1
    samples: Samples = tuple(({"kind": kind}, float(count)) for kind, count in sorted(left_out.items()))
    objects: Samples = (
        ({"kind": "Pod"}, float(len(cluster.world.pods))),
        ({"kind": "Node"}, float(len(cluster.world.nodes))),
        ({"kind": "PodGroup"}, float(len(cluster.world.pod_groups))),
    )
    return [
        Family("runai_unreadable_objects", "Objects that are left out because they cannot be read.", samples),
        Family("runai_watched_objects", "Objects that are followed.", objects),
    ]
