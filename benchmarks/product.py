"""Speed and size of the product as a user meets it: command line, API, pods.

    python benchmarks/product.py [--case NAME] [--json]

Each case starts a real orchestrator on a data directory of its own. Times are
medians unless a case says otherwise; the machine is printed with them.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.orchestrators import OrchestratorProcess, an_orchestrator

RUNAI = [sys.executable, "-m", "runai_core.cli.main"]


def help_time() -> dict[str, Any]:
    """`runai --help`, as a process of its own."""
    return {"value": statistics.median(_seconds([*RUNAI, "--help"]) for _ in range(9)), "unit": "s", "target": 0.3}


def submit_to_running() -> dict[str, Any]:
    """One trivial workload after the other on an idle engine: request sent to phase Running seen."""
    times = []
    with tempfile.TemporaryDirectory() as folder, an_orchestrator(Path(folder)) as orchestrator:
        for index in range(30):
            began = time.perf_counter()
            uid = orchestrator.submit(f"quick{index}", ["sleep", "0.5"])
            while orchestrator.phase(uid) not in ("Running", "Completed"):
                time.sleep(0.002)
            times.append(time.perf_counter() - began)
            orchestrator.wait(uid)
    return {"value": statistics.median(times), "worst": max(times), "unit": "s", "target": 0.3}


def list_page() -> dict[str, Any]:
    """A page of 50 out of 10,000 stored workloads at the API: plain, sorted, filtered, searched."""
    questions: dict[str, dict[str, Any]] = {
        "plain": {},
        "sorted": {"sortBy": "name", "sortOrder": "desc", "offset": 5000},
        "filtered": {"filterBy": "phase==Completed"},
        "searched": {"search": "w99"},
    }
    with tempfile.TemporaryDirectory() as folder:
        data_dir = Path(folder) / "data"
        asyncio.run(_store_workloads(data_dir, 10_000))
        with an_orchestrator(Path(folder)) as orchestrator:
            medians = {name: _page_seconds(orchestrator, question) for name, question in questions.items()}
    return {"value": max(medians.values()), "medians": medians, "unit": "s", "target": 0.1}


def throughput() -> dict[str, Any]:
    """1,000 trivial workloads submitted by 16 users at once, until the last one is Completed."""
    count = 1000
    with tempfile.TemporaryDirectory() as folder:
        nodes = [{"name": "node0", "gpus": 0, "cpu": 512, "memory": "512Gi", "maxPods": 2000}]
        with an_orchestrator(Path(folder), nodes) as orchestrator:
            began = time.perf_counter()
            with ThreadPoolExecutor(16) as users:
                list(users.map(lambda index: orchestrator.submit(f"tiny{index}", ["true"]), range(count)))
            submitted = time.perf_counter() - began
            while orchestrator.get("/api/v1/workloads/count", filterBy="phase==Completed")["count"] < count:
                if time.perf_counter() - began > 300:
                    raise SystemExit(f"not finished after 300 s:\n{orchestrator.tail()}")
                time.sleep(0.1)
            seconds = time.perf_counter() - began
    return {
        "value": count / seconds,
        "submitted_seconds": submitted,
        "seconds": seconds,
        "unit": "workloads/s",
        "target": 50,
    }


def idle() -> dict[str, Any]:
    """CPU and memory of the idle orchestrator, its supervisor included, over 20 s."""
    with tempfile.TemporaryDirectory() as folder, an_orchestrator(Path(folder)) as orchestrator:
        orchestrator.wait(orchestrator.submit("one", ["true"]))
        time.sleep(2)
        assert orchestrator.process is not None
        processes = _processes(orchestrator)
        before = sum(sum(process.cpu_times()[:2]) for process in processes)
        time.sleep(20)
        used = sum(sum(process.cpu_times()[:2]) for process in processes) - before
        memory = sum(process.memory_full_info().pss for process in processes)
    return {
        "value": used / 20 * 100,
        "unit": "% of a core",
        "target": 1.0,
        "memory_mb": memory / 1e6,
        "memory_target_mb": 150,
    }


CASES: dict[str, Callable[[], dict[str, Any]]] = {
    "help": help_time,
    "submit-to-running": submit_to_running,
    "list-page": list_page,
    "throughput": throughput,
    "idle": idle,
}


def main() -> None:
    """Run the cases that were asked for and print what they measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", choices=CASES, action="append")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    results = {}
    for name in arguments.case or CASES:
        results[name] = CASES[name]()
        if not arguments.json:
            print(row(name, results[name]), flush=True)
    if arguments.json:
        print(json.dumps({"machine": machine(), "results": results}, indent=2))
    else:
        print(machine())


def row(name: str, result: dict[str, Any]) -> str:
    """Return one line of the table: the figure, its target, and what else was measured."""
    rest = {key: value for key, value in result.items() if key not in ("value", "unit", "target")}
    return f"{name:18} {result['value']:10.3f} {result['unit']:12} target {result['target']}  {rest or ''}"


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    return {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
    }


def _seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def _page_seconds(orchestrator: OrchestratorProcess, question: dict[str, Any]) -> float:
    times = []
    for _ in range(15):
        began = time.perf_counter()
        page = orchestrator.get("/api/v1/workloads", limit=50, **question)
        times.append(time.perf_counter() - began)
        assert len(page["workloads"]) == 50
    return statistics.median(times)


def _processes(orchestrator: OrchestratorProcess) -> list[psutil.Process]:
    folder = str(orchestrator.data_dir)
    return [
        process for process in psutil.process_iter(["cmdline"]) if folder in " ".join(process.info["cmdline"] or [])
    ]


async def _store_workloads(data_dir: Path, count: int) -> None:
    from runai_core.backends.clock import SystemClock
    from runai_core.backends.local.store import open_store
    from runai_core.model.meta import Meta
    from runai_core.model.workload import Phase, Workload

    data_dir.mkdir(parents=True)
    async with open_store(f"sqlite:///{data_dir / 'runai.db'}", SystemClock()) as store:
        for start in range(0, count, 500):
            batch = [
                Workload(
                    meta=Meta(name=f"w{index}", project="default"),
                    department="default",
                    phase=Phase.COMPLETED if index % 2 else Phase.STOPPED,
                    node_pools=("default",),
                )
                for index in range(start, start + 500)
            ]
            await asyncio.gather(*(store.create(item) for item in batch))


if __name__ == "__main__":
    main()
