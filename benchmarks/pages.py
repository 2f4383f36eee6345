"""Speed of the pages with many workloads and nodes, as browsers ask for them.

    python benchmarks/pages.py [--workloads 10000] [--nodes 500] [--json]

One real orchestrator, one process; times are those of a client on the same machine, over HTTP.
"""

import argparse
import asyncio
import json
import re
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.orchestrators import OrchestratorProcess, an_orchestrator

PAGES = {
    "first page": "/workloads",
    "sorted by project, page 100": "/workloads?sort=project&order=asc&page=100",
    "sorted by status": "/workloads?sort=status&order=asc",
    "filtered": "/workloads?phase=Completed&user=o&preemptible=yes",
    "searched": "/workloads?search=w99",
    "200 rows": "/workloads?size=200",
    "nodes": "/nodes",
    "overview": "/overview",
    "projects": "/projects",
}
"""What is asked for. A page that the orchestrator does not have is left out."""

TARGET = 0.3
"""Seconds for a list page."""

BROWSERS = 10
SEEN = re.compile(r'"seen": ([0-9]+)')

WATCHED = 20.0
"""Seconds for which browsers look on."""


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", type=int, default=10_000)
    parser.add_argument("--nodes", type=int, default=500)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(fill(Path(folder) / "data", given.workloads))
        nodes = [{"name": f"node{n:03}", "gpus": 8, "cpu": 64, "memory": "512Gi"} for n in range(given.nodes)]
        with an_orchestrator(Path(folder), nodes) as orchestrator:
            found: dict[str, Any] = {"pages": {name: _page(orchestrator, path) for name, path in PAGES.items()}}
            found["csv_seconds"] = _seconds(orchestrator, "/workloads.csv")
            found["quiet"] = _watched(orchestrator, changes=0)
            found["one change a second"] = _watched(orchestrator, changes=1)
    if given.json:
        print(json.dumps(found, indent=2))
        return
    for name, page in found["pages"].items():
        print(
            f"{name:<30}",
            "not there"
            if page is None
            else f"median {page['median']:.3f} s, worst {page['worst']:.3f} s, CPU {page['cpu']:.3f} s",
        )
    print(f"{'CSV of all':<30} {found['csv_seconds']:.2f} s")
    for name in ("quiet", "one change a second"):
        watched = found[name]
        print(
            f"{BROWSERS} browsers, {name:<18} {watched['cpu']:.1f} % of a core, median answer {watched['median']:.3f} s"
        )


async def fill(data_dir: Path, count: int) -> None:
    """Store workloads as if they had run: ended and stopped ones, which no loop will touch."""
    from runai_core.backends.clock import SystemClock
    from runai_core.backends.local.store import open_store
    from runai_core.model.meta import Meta
    from runai_core.model.spec import Compute, WorkloadSpec
    from runai_core.model.workload import Phase, Workload, WorkloadType

    data_dir.mkdir(parents=True)
    phases = (Phase.COMPLETED, Phase.FAILED, Phase.STOPPED)
    types = (WorkloadType.TRAINING, WorkloadType.WORKSPACE, WorkloadType.DISTRIBUTED)
    async with open_store(f"sqlite:///{data_dir / 'runai.db'}", SystemClock()) as store:
        for start in range(0, count, 500):
            made = [
                Workload(
                    meta=Meta(name=f"w{n:05}", project=f"team{n % 40}", created_by=f"user{n % 97}@example.invalid"),
                    department=f"department{n % 4}",
                    type=types[n % 3],
                    spec=WorkloadSpec(command="python train.py", compute=Compute(gpu_devices_request=n % 8)),
                    phase=phases[n % 3],
                    phase_message="Its pods have ended.",
                    node_pools=("default",),
                    node_pool="default",
                    running_seconds=float(n),
                    pods_requested=1,
                )
                for n in range(start, min(start + 500, count))
            ]
            await asyncio.gather(*(store.create(item) for item in made))


def least(orchestrator: OrchestratorProcess, path: str, tries: int) -> float:
    """Return the fewest seconds of processor time that the server took for a page."""
    assert orchestrator.process is not None
    process = psutil.Process(orchestrator.process.pid)
    found = []
    for _ in range(tries):
        before = sum(process.cpu_times()[:2])
        orchestrator.client.get(path).raise_for_status()
        found.append(sum(process.cpu_times()[:2]) - before)
    return min(found)


def _page(orchestrator: OrchestratorProcess, path: str) -> dict[str, float] | None:
    if orchestrator.client.get(path).status_code == 404:
        return None
    assert orchestrator.process is not None
    process = psutil.Process(orchestrator.process.pid)
    before = sum(process.cpu_times()[:2])
    times = sorted(_seconds(orchestrator, path) for _ in range(20))
    used = (sum(process.cpu_times()[:2]) - before) / len(times)
    return {"median": statistics.median(times), "worst": times[-1], "cpu": used}


def _seconds(orchestrator: OrchestratorProcess, path: str) -> float:
    began = time.perf_counter()
    answer = orchestrator.client.get(path)
    answer.raise_for_status()
    return time.perf_counter() - began


def _watched(orchestrator: OrchestratorProcess, changes: float) -> dict[str, float]:
    """Let browsers look at the table as the page does, and return what that costs the server."""
    assert orchestrator.process is not None
    process = psutil.Process(orchestrator.process.pid)
    before, end = sum(process.cpu_times()[:2]), time.monotonic() + WATCHED
    with ThreadPoolExecutor(BROWSERS + 1) as people:
        looks = [people.submit(_look_on, orchestrator, index, end) for index in range(BROWSERS)]
        if changes:
            people.submit(_change, orchestrator, changes, end).result()
        times = [seconds for look in looks for seconds in look.result()]
    used = sum(process.cpu_times()[:2]) - before
    return {"cpu": used / WATCHED * 100, "median": statistics.median(times), "worst": max(times), "looks": len(times)}


def _look_on(orchestrator: OrchestratorProcess, index: int, end: float) -> list[float]:
    times, seen = [], ""
    headers = {**orchestrator.client.headers, "HX-Request": "true", "HX-Target": "list"}
    with httpx.Client(base_url=orchestrator.client.base_url, headers=headers, timeout=30) as client:
        time.sleep(index * 0.3)
        while time.monotonic() < end:
            began = time.perf_counter()
            answer = client.get("/workloads", params={"seen": seen} if seen else {})
            times.append(time.perf_counter() - began)
            if answer.status_code == 200:
                seen = SEEN.search(answer.text)[1]  # type: ignore[index]
            time.sleep(3)
    return times


def _change(orchestrator: OrchestratorProcess, rate: float, end: float) -> None:
    index = 0
    while time.monotonic() < end:
        orchestrator.submit(f"change{index}", ["true"])
        index += 1
        time.sleep(1 / rate)


if __name__ == "__main__":
    main()
