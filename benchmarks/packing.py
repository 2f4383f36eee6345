"""How much of a cluster's GPUs each policy can give away: the openb trace and its variants.

    python benchmarks/packing.py FOLDER [--policy NAME]... [--variant NAME]... [--seeds N] [--json]

FOLDER holds `openb_node_list_gpu_node.csv` and the pod lists
`openb_pod_list_VARIANT.csv`. The protocol is that of `runai simulate`: pods are
drawn until they request 130 % of the cluster's GPUs, nobody leaves.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

from runai_core.simulation.openb import Trace, read_trace
from runai_core.simulation.packing import POLICIES, Packed, replay

NODES = "openb_node_list_gpu_node.csv"
VARIANTS = ("default", "gpushare60", "multigpu30", "gpuspec20")
ARRIVAL = 1.3

PUBLISHED: dict[tuple[str, str], tuple[object, float]] = {
    ("random", "default"): (86.3, 87.5),
    ("fgd", "default"): (95.2, 95.4),
    ("bestfit", "default"): ("-", 93.1),
}
"""Per cent at 100 % and 130 % arrivals in the paper's artifact, mean of ten seeds."""


def one(trace: Trace, policy: str, seed: int) -> tuple[Packed, float, float]:
    """Return a replay's outcome with its seconds on the clock and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    packed = next(step for step in replay(trace, policy, ARRIVAL, seed) if isinstance(step, Packed))
    return packed, time.perf_counter() - clock, time.process_time() - processor


def measure(folder: Path, policy: str, variant: str, seeds: int) -> dict[str, object]:
    """Return one row of the table."""
    trace = read_trace(folder / NODES, folder / f"openb_pod_list_{variant}.csv")
    runs = [one(trace, policy, seed) for seed in range(1, seeds + 1)]
    return {
        "policy": policy,
        "variant": variant,
        "at_100": round(statistics.mean(100 * item.allocated_at_full / item.capacity for item, _, _ in runs), 2),
        "at_130": round(statistics.mean(item.allocated_percent for item, _, _ in runs), 2),
        "idle_gpus": round(statistics.mean(item.idle_gpus for item, _, _ in runs), 1),
        "seeds": [round(item.allocated_percent, 2) for item, _, _ in runs],
        "seconds": round(statistics.median(clock for _, clock, _ in runs), 2),
        "processor_seconds": round(statistics.median(processor for _, _, processor in runs), 2),
        "published": PUBLISHED.get((policy, variant)),
    }


def main() -> None:
    """Print the table, row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--policy", action="append", choices=list(POLICIES))
    parser.add_argument("--variant", action="append")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows = []
    if not given.json:
        print("| Trace | Policy | at 100 % | at 130 % | idle GPUs | each seed at 130 % | s (processor) | published |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for variant in given.variant or VARIANTS:
        for policy in given.policy or POLICIES:
            row = measure(given.folder, policy, variant, given.seeds)
            rows.append(row)
            if not given.json:
                seeds = " ".join(f"{value:.2f}" for value in row["seeds"])  # type: ignore[attr-defined]
                published = "{} / {}".format(*row["published"]) if row["published"] else ""  # type: ignore[misc]
                numbers = f"{row['at_100']} | {row['at_130']} | {row['idle_gpus']} | {seeds}"
                spent = f"{row['seconds']} ({row['processor_seconds']})"
                print(f"| {variant} | {policy} | {numbers} | {spent} | {published} |", flush=True)
    if given.json:
        print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
