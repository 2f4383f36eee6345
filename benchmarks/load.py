"""Load: many workloads change each second while browsers and event streams watch.

    python benchmarks/load.py [--workloads N] [--rate N] [--seconds N] [--streams N] [--browsers N] [--json]

A server with a store on disk answers over HTTP, as `runai serve` does; the
changes come from inside it, as they do when pods change. Watchers are another
process: streams of server-sent events that must see every change in order,
and browsers that load the Workloads page as an open page does, every 3 s.
"""

import argparse
import asyncio
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import psutil
import uvicorn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from runai_core.bootstrap import Orchestrator, open_orchestrator
from runai_core.model.meta import Meta
from runai_core.model.workload import Phase, Workload
from runai_core.ports import Store
from runai_core.settings import Settings
from runai_core.web.app import create_app

ROOT = Path(__file__).resolve().parent.parent

PAGE_EVERY = 3.0
"""Seconds between two looks of a browser, as the Workloads page asks."""

SLICES = 10
"""Parts of a second in which the changes of that second are made."""

PATIENCE = 30.0
"""Seconds that watchers get, after the last change, to have seen all of them."""


@dataclass(slots=True)
class Plan:
    """What is done to the server."""

    workloads: int = 1000
    rate: int = 1000  # changes in a second
    seconds: float = 60.0
    streams: int = 10
    browsers: int = 10


# -- the server


async def serve(folder: Path, plan: Plan) -> None:
    """Serve, tell where, change workloads once told to begin, and tell what was done."""
    settings = Settings(data_dir=folder, simulated_gpus=4, plugins=("builtin",))
    async with open_orchestrator(settings) as orchestrator:
        items = await _workloads(orchestrator.backend.store, plan.workloads)
        credentials = await orchestrator.access.create_service_account("load")
        token = await orchestrator.access.issue(credentials.client_id, credentials.client_secret)
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            create_app(orchestrator), log_config=None, access_log=False, timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        _say({"url": f"http://127.0.0.1:{listener.getsockname()[1]}", "token": token.access_token})
        await asyncio.to_thread(sys.stdin.readline)
        _say(await _change(orchestrator, items, plan))
        await asyncio.to_thread(sys.stdin.readline)
        server.should_exit = True
        await serving


async def _workloads(store: Store, count: int) -> list[Workload]:
    """Store workloads that nobody else touches: they have ended."""
    return await asyncio.gather(
        *(
            store.create(
                Workload(meta=Meta(name=f"w-{index}", project="default"), department="default", phase=Phase.COMPLETED)
            )
            for index in range(count)
        )
    )


async def _change(orchestrator: Orchestrator, items: list[Workload], plan: Plan) -> dict[str, Any]:
    store, times, made, late = orchestrator.backend.store, [], 0, 0.0
    process = psutil.Process()
    began, cpu = time.monotonic(), sum(process.cpu_times()[:2])
    portion, position = max(plan.rate // SLICES, 1), 0
    for step in range(int(plan.seconds * SLICES)):
        due = began + step / SLICES
        late = max(late, time.monotonic() - due)
        await asyncio.sleep(max(due - time.monotonic(), 0))
        indexes = [(position + offset) % len(items) for offset in range(portion)]
        position += portion
        asked = time.perf_counter()
        changed = await asyncio.gather(
            *(store.update(replace(items[index], phase_message=f"{time.time():.6f}")) for index in indexes)
        )
        times.append(time.perf_counter() - asked)
        made += portion
        for index, item in zip(indexes, changed, strict=True):
            items[index] = item
    took = time.monotonic() - began
    return {
        "changes": made,
        "per_second": made / took,
        "write_p50": statistics.median(times),
        "write_p99": _part(times, 0.99),
        "late": late,
        "cpu_percent": 100 * (sum(process.cpu_times()[:2]) - cpu) / took,
        "memory_mb": process.memory_info().rss / 1e6,
        "version": await store.version(),
    }


def _say(data: dict[str, Any]) -> None:
    print(json.dumps(data), flush=True)


# -- the watchers


@dataclass(slots=True)
class Seen:
    """What the watchers saw."""

    events: list[int] = field(default_factory=list)  # by stream
    delays: list[float] = field(default_factory=list)  # from the change to the watcher, seconds
    disorder: int = 0
    restarts: int = 0
    pages: list[float] = field(default_factory=list)  # seconds
    unchanged: int = 0
    failures: list[str] = field(default_factory=list)


async def watch(url: str, token: str, plan: Plan, stop: asyncio.Event, ready: asyncio.Event) -> Seen:
    """Look on until told to stop, or until every stream has seen every change."""
    seen, wanted = Seen(), int(plan.seconds * SLICES) * max(plan.rate // SLICES, 1)
    headers = {"Authorization": f"Bearer {token}"}
    open_streams = asyncio.Semaphore(0)
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as client:
        streams = [asyncio.create_task(_stream(client, seen, wanted, open_streams)) for _ in range(plan.streams)]
        for _ in range(plan.streams):
            await open_streams.acquire()
        ready.set()
        pauses = [PAGE_EVERY * index / max(plan.browsers, 1) for index in range(plan.browsers)]  # people differ
        browsers = [asyncio.create_task(_browse(client, seen, stop, pause)) for pause in pauses]
        await stop.wait()
        if streams:
            await asyncio.wait(streams, timeout=PATIENCE)
        for task in streams:
            task.cancel()
        await asyncio.gather(*streams, *browsers, return_exceptions=True)
    return seen


async def _stream(client: httpx.AsyncClient, seen: Seen, wanted: int, opened: asyncio.Semaphore) -> None:
    """Read events until all changes were seen; count those that came out of order."""
    number, last, count, told = len(seen.events), 0, 0, False
    seen.events.append(0)
    while count < wanted:
        headers: dict[str, str] = {"Last-Event-ID": str(last)} if last else {}
        try:
            async with client.stream("GET", "/api/v1/workloads/watch", headers=headers) as answer:
                if answer.status_code != 200:
                    seen.failures.append(f"stream: {answer.status_code}")
                    return
                async for line in answer.aiter_lines():
                    if line.startswith(": ") and not told:
                        opened.release()
                        told = True
                    elif line.startswith("id: "):
                        version = int(line[4:])
                        seen.disorder += version <= last
                        last = version
                    elif line.startswith("data: ") and '"phaseMessage"' in line:
                        count += 1
                        seen.events[number] = count
                        if count % 20 == 0:
                            text = json.loads(line[6:])["phaseMessage"]
                            seen.delays.append(time.time() - float(text))
                        if count >= wanted:
                            return
        except httpx.TransportError as error:
            seen.failures.append(f"stream: {type(error).__name__}")
        seen.restarts += 1


async def _browse(client: httpx.AsyncClient, seen: Seen, stop: asyncio.Event, pause: float) -> None:
    """Load the table as an open page does: with the version that was seen, so that nothing new is cheap."""
    version = ""
    await asyncio.sleep(pause)
    while not stop.is_set():
        began = time.perf_counter()
        parameters = {"seen": version} if version else {}
        answer = await client.get("/workloads", params=parameters, headers={"HX-Request": "true", "HX-Target": "list"})
        took = time.perf_counter() - began
        if answer.status_code == 200:
            seen.pages.append(took)
            version = _version(answer.text)
        elif answer.status_code == 204:
            seen.unchanged += 1
        else:
            seen.failures.append(f"page: {answer.status_code}")
        await asyncio.sleep(max(PAGE_EVERY - took, 0))


def _version(text: str) -> str:
    _, _, rest = text.partition('"seen": ')
    return rest.partition("}")[0].strip('" ')


def _part(values: list[float], part: float) -> float:
    return sorted(values)[min(int(part * len(values)), len(values) - 1)] if values else float("nan")


# -- both


async def run(plan: Plan, folder: Path) -> dict[str, Any]:
    """Put the load on a server of its own, and return what was measured."""
    command = [sys.executable, __file__, "--serve", str(folder), *_arguments(plan)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdin
    assert process.stdout
    try:
        door = json.loads(await asyncio.to_thread(process.stdout.readline))
        stop, ready = asyncio.Event(), asyncio.Event()
        watching = asyncio.create_task(watch(door["url"], door["token"], plan, stop, ready))
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait((waiting, watching), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        process.stdin.write("begin\n")
        process.stdin.flush()
        done = json.loads(await asyncio.to_thread(process.stdout.readline))
        ended = time.monotonic()
        stop.set()
        seen = await watching
        process.stdin.write("end\n")
        process.stdin.flush()
        return {"server": done, "watchers": summary(seen, done["changes"]), "caught_up": time.monotonic() - ended}
    finally:
        process.stdin.close()
        process.stdout.close()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def summary(seen: Seen, changes: int) -> dict[str, Any]:
    """Return what watchers saw, in numbers."""
    return {
        "lost": sum(changes - count for count in seen.events),
        "disorder": seen.disorder,
        "restarts": seen.restarts,
        "delay_p50": _part(seen.delays, 0.5),
        "delay_p99": _part(seen.delays, 0.99),
        "pages": len(seen.pages),
        "pages_unchanged": seen.unchanged,
        "page_p50": _part(seen.pages, 0.5),
        "page_p95": _part(seen.pages, 0.95),
        "failures": seen.failures[:10],
    }


def _arguments(plan: Plan) -> list[str]:
    found = []
    for name in ("workloads", "rate", "seconds", "streams", "browsers"):
        found += [f"--{name}", str(getattr(plan, name))]
    return found


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", type=int, default=1000)
    parser.add_argument("--rate", type=int, default=1000, help="changes in a second")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--streams", type=int, default=10)
    parser.add_argument("--browsers", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    given = vars(parser.parse_args())
    folder, as_json = given.pop("serve"), given.pop("json")
    plan = Plan(**given)
    if folder is not None:
        asyncio.run(serve(folder, plan))
        return
    with tempfile.TemporaryDirectory() as place:
        found = asyncio.run(run(plan, Path(place) / "data"))
    if as_json:
        print(json.dumps(found))
        return
    for part, values in found.items():
        rows = values.items() if isinstance(values, dict) else [("", values)]
        for name, value in rows:
            print(f"{part:10} {name:16} {value:.4g}" if isinstance(value, float) else f"{part:10} {name:16} {value}")


if __name__ == "__main__":
    main()
