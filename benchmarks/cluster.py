"""The scheduler on a real API server, with nodes that KWOK plays.

    python benchmarks/cluster.py [--case NAME] [--nodes N] [--rounds N] [--json]

Each case starts from a cluster of its own size without pods. `singles` lets three contenders do the same work, in
turns: a bare loop that only creates pods and posts bindings (nothing can be faster here), kube-scheduler with raised
client limits, and `runai scheduler`. Figures of one run on one machine can be compared; those of two cannot.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.cluster_ground import (
    GPUS,
    OURS,
    THEIRS,
    Bench,
    a_bench,
    a_condition,
    a_group,
    a_namespace,
    a_request,
    all_run,
    explains,
    highest_memory,
    new_namespace,
    our_scheduler,
    seconds_to_bind,
    their_scheduler,
    verdict,
    wait,
    wait_until_bound,
)
from benchmarks.product import machine
from tests.cluster.fakes import a_binding


def singles(nodes: int, rounds: int) -> dict[str, Any]:
    """One pod of one GPU for each GPU: seconds from the first creation until all are bound."""
    contenders: Mapping[str, Callable[[Bench, str], float]] = {
        "bare loop": _bare,
        "kube-scheduler": _kube_scheduler,
        "runai scheduler": _ours,
    }
    times: dict[str, list[float]] = {name: [] for name in contenders}
    with a_bench(nodes) as bench:
        for number in range(rounds):
            for name, contend in contenders.items():
                with a_namespace(bench, f"singles-{number}-{name.split()[0]}") as namespace:
                    times[name].append(contend(bench, namespace))
    medians = {name: statistics.median(values) for name, values in times.items()}
    best = medians["bare loop"]
    return {
        "value": medians["runai scheduler"],
        "unit": "s",
        "target": "at least 0.8 of the bare loop, faster than kube-scheduler",
        "pods": nodes * GPUS,
        "medians": medians,
        "all": times,
        "of the bare loop": {name: best / value for name, value in medians.items()},
        "of kube-scheduler": medians["kube-scheduler"] / medians["runai scheduler"],
    }


def gangs(nodes: int, rounds: int) -> dict[str, Any]:
    """Gangs of 40 pods that fill the cluster: seconds from the first creation until all are bound."""
    size, times, bare = 40, [], []
    with a_bench(nodes) as bench:
        for number in range(rounds):
            names = [f"gang-{each}" for each in range(bench.gpus // size)]
            pods = [(f"{name}-{index}", name) for name in names for index in range(size)]
            with a_namespace(bench, f"bare-{number}") as namespace:
                bare.append(_bare(bench, namespace))
            with a_namespace(bench, f"gangs-{number}") as namespace, our_scheduler(bench):
                bench.send(*(a_group(namespace, name, minimum=size) for name in names))
                began = time.perf_counter()
                bench.send(*(a_request(namespace, pod, group=group) for pod, group in pods))
                wait_until_bound(bench, namespace, began)
                times.append(time.perf_counter() - began)
    return {
        "value": statistics.median(times),
        "unit": "s",
        "target": "none",
        "gangs": len(names),
        "of the bare loop": statistics.median(bare) / statistics.median(times),
        "all": times,
    }


def hopeless(nodes: int, rounds: int) -> dict[str, Any]:
    """A gang that no cluster of this size can hold: seconds from its last pod until it carries its explanation.

    The gang's own condition comes first, then those of its pods. How long a
    bare loop takes to write as many conditions of pods is measured beside it.
    """
    size, sentence = nodes + 1, ""
    times: dict[str, list[float]] = {"the gang": [], "first pod": [], "last pod": [], "bare loop": []}
    with a_bench(nodes) as bench, our_scheduler(bench):
        for number in range(rounds):
            with a_namespace(bench, f"bare-{number}") as namespace:
                bench.send(*(a_request(namespace, f"p{i}", scheduler="nobody") for i in range(size)))
                began = time.perf_counter()
                bench.send(*(a_condition(namespace, f"p{i}", sentence or "x" * 200) for i in range(size)))
                times["bare loop"].append(time.perf_counter() - began)
            with a_namespace(bench, f"hopeless-{number}") as namespace:
                bench.send(a_group(namespace, "hopeless", minimum=size))
                bench.send(*(a_request(namespace, f"p{i}", group="hopeless", gpus=GPUS) for i in range(size)))
                began = time.perf_counter()
                sentence = str(wait(partial(verdict, bench, namespace, "hopeless"), began))
                times["the gang"].append(time.perf_counter() - began)
                for name, pod in (("first pod", "p0"), ("last pod", f"p{size - 1}")):
                    wait(partial(explains, bench, f"/api/v1/namespaces/{namespace}/pods/{pod}", sentence), began)
                    times[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(values) for name, values in times.items()}
    return {
        "value": medians["the gang"],
        "unit": "s",
        "target": 1.0,
        "medians": medians,
        "all": times,
        "explanation": sentence,
    }


def reclaim(nodes: int, rounds: int) -> dict[str, Any]:
    """A gang takes back half of a cluster that another queue has filled: seconds until it is bound."""
    times = []
    with a_bench(nodes) as bench, our_scheduler(bench):
        for number in range(rounds):
            with a_namespace(bench, f"reclaim-{number}") as namespace:
                names = [f"old-{each}" for each in range(bench.gpus)]
                bench.send(*(a_group(namespace, name, queue="bench-a") for name in names))
                bench.send(*(a_request(namespace, name, group=name) for name in names))
                wait_until_bound(bench, namespace, time.perf_counter())
                size = nodes // 2
                bench.send(a_group(namespace, "owner", queue="bench-b", minimum=size))
                began = time.perf_counter()
                bench.send(*(a_request(namespace, f"owner-{i}", group="owner", gpus=GPUS) for i in range(size)))
                bound = wait_until_bound(bench, namespace, began)
                times.append(time.perf_counter() - began)
                assert bound == bench.gpus - size * GPUS + size, f"{bound} pods are left"
    return {"value": statistics.median(times), "unit": "s", "target": "none", "evicted": size * GPUS, "all": times}


def latency(nodes: int, rounds: int) -> dict[str, Any]:
    """One pod after the other on an idle cluster: seconds from the request until it is seen bound."""
    found: dict[str, list[float]] = {}
    with a_bench(nodes) as bench:
        with their_scheduler(bench), a_namespace(bench, "theirs") as namespace:
            found["kube-scheduler"] = [seconds_to_bind(bench, namespace, f"p{i}", THEIRS) for i in range(30 * rounds)]
        with our_scheduler(bench), a_namespace(bench, "ours") as namespace:
            found["runai scheduler"] = [seconds_to_bind(bench, namespace, f"p{i}", OURS) for i in range(30 * rounds)]
    p50 = {name: statistics.median(values) for name, values in found.items()}
    p95 = {name: statistics.quantiles(values, n=20)[18] for name, values in found.items()}
    return {"value": p50["runai scheduler"], "unit": "s", "target": 0.15, "p50": p50, "p95": p95}


def large(nodes: int, _rounds: int) -> dict[str, Any]:
    """Every GPU of ten times as many nodes taken: start-up to the first decision, memory, load at rest."""
    namespace = "large"
    with a_bench(nodes * 10) as bench:
        new_namespace(bench, namespace)
        names = [f"gang-{each}" for each in range(len(bench.nodes) // 5)]
        bench.send(*(a_group(namespace, name, minimum=40) for name in names))
        places = [(name, f"{name}-{i}", bench.nodes[5 * g + i // 8]) for g, name in enumerate(names) for i in range(40)]
        bench.send(*(a_request(namespace, pod, group=name, node=node) for name, pod, node in places))
        wait(lambda: all_run(bench, namespace), time.perf_counter(), seconds=1200, pause=2)
        bench.kube.delete(f"/api/v1/namespaces/{namespace}/pods/gang-0-0", grace=0)
        bench.send(a_group(namespace, "first"), a_request(namespace, "first", group="first"))
        began = time.perf_counter()
        with our_scheduler(bench, warm=False) as process:
            path = f"/api/v1/namespaces/{namespace}/pods/first"
            wait(lambda: bench.kube.get(path)["spec"].get("nodeName"), began, seconds=300)
            started = time.perf_counter() - began
            time.sleep(15)
            process.cpu_percent()
            time.sleep(30)
            rest, memory, peak = process.cpu_percent(), process.memory_info().rss / 1e9, highest_memory(process) / 1e9
            later = [seconds_to_bind(bench, namespace, f"later-{i}", OURS, freeing=f"gang-1-{i}") for i in range(10)]
    return {
        "value": started,
        "unit": "s",
        "target": 30,
        "nodes": len(bench.nodes),
        "pods": len(places),
        "memory GB (target 1.2)": memory,
        "memory GB at its highest": peak,
        "idle CPU % (target 5)": rest,
        "submit to bound p50 s": statistics.median(later),
    }


CASES: Mapping[str, Callable[[int, int], dict[str, Any]]] = {
    "singles": singles,
    "gangs": gangs,
    "hopeless": hopeless,
    "reclaim": reclaim,
    "latency": latency,
    "large": large,
}


# -- contenders


def _bare(bench: Bench, namespace: str) -> float:
    names = [f"p{number}" for number in range(bench.gpus)]
    path = f"/api/v1/namespaces/{namespace}/pods"
    began = time.perf_counter()
    creations = (a_request(namespace, name, scheduler="nobody") for name in names)
    bindings = (("POST", f"{path}/{n}/binding", a_binding(n, bench.nodes[i // GPUS])) for i, n in enumerate(names))
    bench.send(*creations, *bindings)
    wait_until_bound(bench, namespace, began)
    return time.perf_counter() - began


def _kube_scheduler(bench: Bench, namespace: str) -> float:
    with their_scheduler(bench):
        began = time.perf_counter()
        bench.send(*(a_request(namespace, f"p{number}", scheduler=THEIRS) for number in range(bench.gpus)))
        wait_until_bound(bench, namespace, began)
        return time.perf_counter() - began


def _ours(bench: Bench, namespace: str) -> float:
    """The pods' groups are there before: who makes them (operator, launcher) is not what is measured."""
    with our_scheduler(bench):
        names = [f"p{number}" for number in range(bench.gpus)]
        bench.send(*(a_group(namespace, name) for name in names))
        began = time.perf_counter()
        bench.send(*(a_request(namespace, name, group=name) for name in names))
        wait_until_bound(bench, namespace, began)
        return time.perf_counter() - began


def main() -> None:
    """Run the cases that were asked for and print what they measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES, action="append")
    parser.add_argument("--nodes", type=int, default=500, help="of 8 GPUs each (500); `large` takes ten times as many")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    results = {}
    for name in arguments.case or CASES:
        results[name] = CASES[name](arguments.nodes, arguments.rounds)
        if not arguments.json:
            print(_table(name, results[name]), flush=True)
    print(json.dumps({"machine": machine(), "results": results}, indent=2) if arguments.json else machine())


def _table(name: str, result: dict[str, Any]) -> str:
    lines = [f"{name:12}{result['value']:10.3f} {result['unit']:4} target: {result['target']}"]
    for key, value in result.items():
        if key not in {"value", "unit", "target"}:
            lines.append(f"{'':12}  {key}: {_shown(value)}")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_shown(part)}" for key, part in value.items())
    if isinstance(value, list):
        return " ".join(_shown(part) for part in value)
    return f"{value:.3f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
