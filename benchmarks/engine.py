"""Time of the scheduling engine at scale.

    python benchmarks/engine.py [--case NAME] [--runs N] [--json]

Each case builds a snapshot, opens it and runs the actions `--runs` times in
this process; medians are printed. *Actions* is the time of the decisions alone,
*opening* that of building the working copy. *Growth* is the factor by which
the actions take longer with twice the nodes and twice the pods.
"""

import argparse
import gc
import json
import platform
import random
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, replace

from runai_core.engine.cycle import open_cycle, run_actions
from runai_core.engine.incremental import Scheduler
from runai_core.model.decision import CycleResult
from runai_core.model.organization import Queue, QueueResources, ResourceQuota
from runai_core.model.snapshot import (
    CycleSettings,
    NodeEntry,
    PodEntry,
    PodGroup,
    PodRequest,
    PodState,
    Snapshot,
    Topology,
    TopologyConstraint,
)

GIB = 1024**3
GPUS = 8
RACK = 16
OPEN = ResourceQuota(deserved=None, over_quota_weight=1.0)


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table: a snapshot for a number of nodes, the target in seconds, and what must come out."""

    name: str
    title: str
    nodes: int
    build: Callable[[int], Snapshot]
    target: float
    check: Callable[[CycleResult, int], bool]


def nodes_of(count: int) -> tuple[NodeEntry, ...]:
    """Return nodes of 8 GPUs in racks of 16."""
    return tuple(
        NodeEntry(
            name=f"node-{number:05}",
            cpu=128_000,
            memory=1024 * GIB,
            gpus=GPUS,
            gpu_memory_mib=80_000,
            labels={"rack": f"rack-{number // RACK:04}"},
        )
        for number in range(count)
    )


def queues_of(deserved: dict[str, int | None]) -> tuple[Queue, ...]:
    """Return one department with a queue for each name; GPUs deserved in thousandths."""
    department = Queue(name="department", resources=QueueResources(gpu=OPEN))
    leaves = tuple(
        Queue(
            name=name,
            parent="department",
            created_at=float(number),
            resources=QueueResources(gpu=ResourceQuota(deserved=amount, over_quota_weight=1.0)),
        )
        for number, (name, amount) in enumerate(deserved.items())
    )
    return (department, *leaves)


def jobs_of(
    queue_of: Callable[[int], str],
    count: int,
    request_of: Callable[[int], PodRequest],
    size: int = 1,
    *,
    prefix: str = "job",
) -> tuple[tuple[PodGroup, ...], tuple[PodEntry, ...]]:
    """Return waiting gangs of `size` pods."""
    groups = tuple(
        PodGroup(name=f"{prefix}-{number:06}", queue=queue_of(number), min_members=size, created_at=float(number))
        for number in range(count)
    )
    pods = tuple(
        PodEntry(name=f"{group.name}-{member}", pod_group=group.name, request=request_of(number))
        for number, group in enumerate(groups)
        for member in range(size)
    )
    return groups, pods


def gpu(count: int = 1) -> PodRequest:
    """Return a request for whole GPUs."""
    return PodRequest(cpu=1000, memory=GIB, gpu_devices=count)


def single(nodes: int) -> Snapshot:
    """8 single-GPU jobs for each node, one queue."""
    groups, pods = jobs_of(lambda number: "queue", 8 * nodes, lambda number: gpu())
    return Snapshot(
        taken_at=1e9, nodes=nodes_of(nodes), queues=queues_of({"queue": None}), pod_groups=groups, pods=pods
    )


def varied(nodes: int) -> Snapshot:
    """The same with 1,000 request classes and 200 queues."""
    names = {f"queue-{number:03}": 5 * nodes * 8 * 1000 // 1000 for number in range(200)}
    groups, pods = jobs_of(
        lambda number: f"queue-{number % 200:03}",
        8 * nodes,
        lambda number: PodRequest(cpu=1000 + number % 1000, memory=GIB, gpu_devices=1),
    )
    return Snapshot(taken_at=1e9, nodes=nodes_of(nodes), queues=queues_of(dict(names)), pod_groups=groups, pods=pods)


def gangs(nodes: int) -> Snapshot:
    """One gang of 64 single-GPU pods for each 8 nodes."""
    groups, pods = jobs_of(lambda number: "queue", nodes // 8, lambda number: gpu(), 64)
    return Snapshot(
        taken_at=1e9, nodes=nodes_of(nodes), queues=queues_of({"queue": None}), pod_groups=groups, pods=pods
    )


def full(nodes: int, queues: dict[str, int | None], *, shuffled: bool = True) -> Snapshot:
    """A cluster full of single-GPU jobs of the first queue, in random places."""
    first = next(iter(queues))
    groups, pods = jobs_of(lambda number: first, 8 * nodes, lambda number: gpu(), prefix="running")
    places = [number // GPUS for number in range(8 * nodes)]
    if shuffled:
        random.Random(1).shuffle(places)
    running = tuple(
        PodEntry(
            name=pod.name,
            pod_group=pod.pod_group,
            request=pod.request,
            state=PodState.RUNNING,
            node=f"node-{place:05}",
        )
        for pod, place in zip(pods, places, strict=True)
    )
    return Snapshot(taken_at=1e9, nodes=nodes_of(nodes), queues=queues_of(queues), pod_groups=groups, pods=running)


def with_jobs(
    base: Snapshot, made: tuple[tuple[PodGroup, ...], tuple[PodEntry, ...]], settings: CycleSettings | None = None
) -> Snapshot:
    """Return a snapshot with more pod groups."""
    return Snapshot(
        taken_at=base.taken_at,
        nodes=base.nodes,
        queues=base.queues,
        pod_groups=base.pod_groups + made[0],
        pods=base.pods + made[1],
        settings=settings or base.settings,
    )


def large_reclaim(nodes: int) -> Snapshot:
    """One gang of N/10 8-GPU pods takes back its quota from 8N running single-GPU pods."""
    base = full(nodes, {"borrower": 0, "owner": nodes // 10 * 8000})
    return with_jobs(base, jobs_of(lambda number: "owner", 1, lambda number: gpu(8), nodes // 10, prefix="claim"))


def hopeless(nodes: int) -> Snapshot:
    """A gang larger than the cluster, which is full."""
    base = full(nodes, {"busy": nodes * 8000, "other": nodes * 8000})
    return with_jobs(base, jobs_of(lambda number: "other", 1, lambda number: gpu(8), nodes + 1, prefix="huge"))


def small_reclaim(nodes: int) -> Snapshot:
    """One GPU is taken back in a full cluster."""
    base = full(nodes, {"borrower": 0, "owner": 8000})
    return with_jobs(base, jobs_of(lambda number: "owner", 1, lambda number: gpu(), prefix="claim"))


def fractions(nodes: int) -> Snapshot:
    """8 jobs for each node, half of them fractions of 0.1 to 0.9."""
    portions = random.Random(2)

    def request(number: int) -> PodRequest:
        if number % 2:
            return PodRequest(cpu=1000, memory=GIB, gpu_portion=portions.randrange(1, 10) * 100)
        return gpu()

    groups, pods = jobs_of(lambda number: "queue", 8 * nodes, request)
    return Snapshot(
        taken_at=1e9, nodes=nodes_of(nodes), queues=queues_of({"queue": None}), pod_groups=groups, pods=pods
    )


def racks(nodes: int) -> Snapshot:
    """One gang of 8 single-GPU pods for each node, each in one rack of 16 nodes."""
    groups, pods = jobs_of(lambda number: "queue", nodes, lambda number: gpu(), 8)
    constraint = TopologyConstraint(topology="racks", required_level="rack")
    placed = tuple(
        PodGroup(name=group.name, queue=group.queue, min_members=8, created_at=group.created_at, topology=constraint)
        for group in groups
    )
    return Snapshot(
        taken_at=1e9,
        nodes=nodes_of(nodes),
        queues=queues_of({"queue": None}),
        pod_groups=placed,
        pods=pods,
        topologies=(Topology(name="racks", levels=("rack",)),),
    )


def idle(nodes: int) -> Snapshot:
    """A full cluster in which nothing waits."""
    return full(nodes, {"queue": None})


def _all_bound(result: CycleResult, pods: int) -> bool:
    return len(result.binds) == pods


CASES = (
    Case("single", "8,000 single-GPU jobs, 1,000 nodes", 1000, single, 0.06, lambda r, n: _all_bound(r, 8 * n)),
    Case("varied", "the same, 1,000 classes, 200 queues", 1000, varied, 0.12, lambda r, n: _all_bound(r, 8 * n)),
    Case("single-2000", "16,000 jobs, 2,000 nodes", 2000, single, 0.12, lambda r, n: _all_bound(r, 8 * n)),
    Case("single-5000", "40,000 jobs, 5,000 nodes", 5000, single, 0.35, lambda r, n: _all_bound(r, 8 * n)),
    Case("single-20000", "160,000 jobs, 20,000 nodes", 20_000, single, 1.6, lambda r, n: _all_bound(r, 8 * n)),
    Case("gangs", "125 gangs of 64, 1,000 nodes", 1000, gangs, 0.015, lambda r, n: _all_bound(r, 8 * n)),
    Case(
        "large-reclaim",
        "a gang of 100 8-GPU pods reclaims from 8,000, 1,000 nodes",
        1000,
        large_reclaim,
        0.03,
        lambda r, n: len(r.pipelines) == n // 10 and len(r.evictions) == n // 10 * 8,
    ),
    Case("hopeless", "a gang that cannot fit, 500 full nodes", 500, hopeless, 0.01, lambda r, n: len(r.verdicts) == 1),
    Case(
        "small-reclaim",
        "one GPU reclaimed, 500 full nodes",
        500,
        small_reclaim,
        0.01,
        lambda r, n: len(r.evictions) == 1,
    ),
    Case(
        "fractions", "8,000 jobs, half fractions, 1,000 nodes", 1000, fractions, 0.3, lambda r, n: len(r.binds) > 7 * n
    ),
    Case("racks", "1,000 gangs of 8 in racks, 1,000 nodes", 1000, racks, 0.2, lambda r, n: _all_bound(r, 8 * n)),
)


def measure(case: Case, nodes: int, runs: int) -> tuple[float, float]:
    """Return the median seconds of opening and of the actions.

    Raises:
        SystemExit: the decisions are not what the case is about.
    """
    snapshot = case.build(nodes)
    opening, acting = [], []
    for _ in range(runs):
        gc.collect()
        start = time.perf_counter()
        session = open_cycle(snapshot)
        opened = time.perf_counter()
        result = run_actions(session)
        end = time.perf_counter()
        opening.append(opened - start)
        acting.append(end - opened)
        if not case.check(result, nodes):
            raise SystemExit(
                f"{case.name}: wrong decisions: {len(result.binds)} binds, {len(result.evictions)} evictions"
            )
        del session, result
    return statistics.median(opening), statistics.median(acting)


def measure_unchanged(runs: int) -> dict[str, float | str]:
    """Return the time of a cycle in which nothing changed, 5,000 nodes and 40,000 pods."""
    snapshot = idle(5000)
    scheduler = Scheduler(snapshot)
    scheduler.run_cycle(snapshot.taken_at)
    times = []
    for number in range(runs):
        start = time.perf_counter()
        scheduler.run_cycle(snapshot.taken_at + number)
        times.append(time.perf_counter() - start)
    return {
        "case": "unchanged",
        "title": "cycle without change, 5,000 nodes, 40,000 pods",
        "nodes": 5000,
        "opening": 0.0,
        "actions": statistics.median(times),
        "target": 0.02,
        "growth": 0.0,
    }


def measure_changed(runs: int) -> dict[str, float | str]:
    """Return the time of a cycle after a small change: of 40,000 pods one has ended, and one has come.

    The caller gives a whole snapshot, as the service does; finding what changed in it is part of the time.
    """
    snapshot = idle(5000)
    scheduler = Scheduler(snapshot)
    scheduler.decide(snapshot)
    times = []
    for number in range(runs):
        group = PodGroup(name=f"new-{number}", queue="queue")
        pod = PodEntry(name=f"new-{number}-0", pod_group=group.name, request=gpu())
        snapshot = replace(
            snapshot,
            taken_at=snapshot.taken_at + 1,
            pod_groups=(*snapshot.pod_groups[1:], group),
            pods=(*snapshot.pods[1:], pod),
        )
        start = time.perf_counter()
        result = scheduler.decide(snapshot)
        times.append(time.perf_counter() - start)
        if len(result.binds) != 1 or scheduler.turned != 2 * number + 1:
            raise SystemExit("changed: the new pod was not placed, or the session was opened anew")
        bound = replace(pod, state=PodState.RUNNING, node=result.binds[0].node)
        snapshot = replace(snapshot, pods=(*snapshot.pods[:-1], bound))
        scheduler.decide(snapshot)
    return {
        "case": "changed",
        "title": "cycle after one pod left and one came, 5,000 nodes, 40,000 pods",
        "nodes": 5000,
        "opening": 0.0,
        "actions": statistics.median(times),
        "target": 0.05,
        "growth": 0.0,
    }


def measure_memory() -> dict[str, float | str]:
    """Return the MB that a session of 5,000 nodes and 40,000 pods takes, snapshot included."""
    tracemalloc.start()
    snapshot = idle(5000)
    session = open_cycle(snapshot)
    result = run_actions(session)
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    del session, result
    return {
        "case": "memory",
        "title": "MB for 5,000 nodes, 40,000 pods",
        "nodes": 5000,
        "opening": 0.0,
        "actions": peak,
        "target": 300.0,
        "growth": 0.0,
    }


def main() -> int:
    """Run the chosen cases and print a table, or JSON."""
    parser = argparse.ArgumentParser(description="Time of the scheduling engine at scale.")
    parser.add_argument("--case", action="append", default=[], help="only this case (can be repeated)")
    parser.add_argument("--runs", type=int, default=5, help="runs in one process, the median counts (default 5)")
    parser.add_argument("--json", action="store_true", help="print a JSON list")
    parser.add_argument("--no-growth", action="store_true", help="leave out the runs with twice the size")
    options = parser.parse_args()
    rows: list[dict[str, float | str]] = []
    for case in CASES:
        if options.case and case.name not in options.case:
            continue
        runs = max(1, min(options.runs, 3)) if case.nodes >= 20_000 else options.runs
        opening, acting = measure(case, case.nodes, runs)
        growth = 0.0
        if not options.no_growth and case.nodes <= 5000:
            growth = measure(case, 2 * case.nodes, runs)[1] / acting
        rows.append(
            {
                "case": case.name,
                "title": case.title,
                "nodes": case.nodes,
                "opening": opening,
                "actions": acting,
                "target": case.target,
                "growth": growth,
            }
        )
        if not options.json:
            _print_row(rows[-1], first=len(rows) == 1)
    further = {
        "unchanged": lambda: measure_unchanged(options.runs),
        "changed": lambda: measure_changed(options.runs),
        "memory": measure_memory,
    }
    for name, measured in further.items():
        if not options.case or name in options.case:
            rows.append(measured())
            if not options.json:
                _print_row(rows[-1], first=len(rows) == 1)
    if options.json:
        print(
            json.dumps(
                {
                    "machine": platform.processor() or platform.machine(),
                    "python": platform.python_version(),
                    "rows": rows,
                },
                indent=1,
            )
        )
    return 0


def _print_row(row: dict[str, float | str], *, first: bool) -> None:
    if first:
        print(f"Python {platform.python_version()}, {platform.machine()}; seconds, medians of runs in one process")
        print(f"{'case':<60}{'opening':>9}{'actions':>9}{'target':>9}{'growth':>8}")
    met = "" if float(row["actions"]) <= float(row["target"]) else "  over target"
    growth = f"{row['growth']:>8.2f}" if row["growth"] else f"{'-':>8}"
    print(f"{row['title']:<60}{row['opening']:>9.4f}{row['actions']:>9.4f}{row['target']:>9.3f}{growth}{met}")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
