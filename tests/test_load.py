"""Load and faults: many changes while others watch, a restart under load, a database that goes and comes back."""

import asyncio
import json
import threading
import time
from pathlib import Path

import pytest

from benchmarks import load, pages
from runai_core.backends.clock import SystemClock
from runai_core.backends.local.store import open_store
from runai_core.model.samples import Point
from tests.databases import a_postgres_server, binaries
from tests.orchestrators import OrchestratorProcess, an_orchestrator
from tests.waiting import eventually

pytestmark = pytest.mark.slow

NODES = [{"name": "a", "gpus": 4, "cpu": 64, "memory": "64Gi"}]


def test_watchers_see_every_change_in_order_under_load(tmp_path: Path) -> None:
    """The benchmark itself for five seconds; docs/benchmarks.md has the minute."""
    plan = load.Plan(workloads=1000, rate=1000, seconds=5, streams=3, browsers=10)

    found = asyncio.run(load.run(plan, tmp_path / "data"))

    watchers = found["watchers"]
    assert found["server"]["changes"] == plan.rate * plan.seconds
    assert (watchers["lost"], watchers["disorder"], watchers["failures"]) == (0, 0, [])
    assert watchers["pages"] > 0


class Follower:
    """Follows all workloads through one stream after the other, and resumes each where the last one ended."""

    def __init__(self, orchestrator: OrchestratorProcess) -> None:
        self.orchestrator = orchestrator
        self.last = 0
        self.phases: dict[str, str] = {}
        self.versions: list[int] = []
        self.relists = 0
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                self._follow()
            except Exception:  # noqa: BLE001 - it is down, or its client was closed under us: again, whatever is said
                time.sleep(0.1)

    def _follow(self) -> None:
        client = self.orchestrator.client
        headers = {"Last-Event-ID": str(self.last)}
        with client.stream("GET", "/api/v1/workloads/watch", headers=headers, timeout=20) as answer:
            if answer.status_code == 410:
                self.relists += 1
            for line in answer.iter_lines():
                if line.startswith("id: "):
                    self.last = int(line[4:])
                    self.versions.append(self.last)
                elif line.startswith("data: "):
                    item = json.loads(line[6:])
                    self.phases[item["id"]] = item["phase"]
                if self.stop.is_set():
                    return


def test_a_control_plane_that_restarts_under_load_loses_no_change(tmp_path: Path) -> None:
    with an_orchestrator(tmp_path, NODES) as orchestrator:
        follower = Follower(orchestrator)
        follower.last = int(orchestrator.get("/api/v1/status").get("resourceVersion") or 1)
        follower.thread.start()
        accepted: dict[str, str] = {}
        ended = threading.Event()

        def submit() -> None:
            number = 0
            while not ended.is_set():
                number += 1
                try:
                    uid = orchestrator.submit(f"job-{number}", ["true"])
                except Exception:  # noqa: BLE001 - it is down: whether this one was taken is not known
                    time.sleep(0.05)
                else:
                    accepted[uid] = f"job-{number}"

        sender = threading.Thread(target=submit, daemon=True)
        sender.start()
        for _ in range(3):
            before = len(accepted)
            eventually(lambda: len(accepted) >= before + 5, "more workloads")  # noqa: B023 - asked in this turn only
            orchestrator.kill()
            orchestrator.start()
        ended.set()
        sender.join(60)
        for uid in accepted:
            orchestrator.wait(uid, seconds=120)
        items = orchestrator.get("/api/v1/workloads", limit=500)["workloads"]
        known = {item["id"]: item for item in items}
        eventually(lambda: all(follower.phases.get(uid) == known[uid]["phase"] for uid in known), "all changes")
        follower.stop.set()
        follower.thread.join(60)

    assert set(accepted) - set(known) == set(), "what was accepted is there"
    assert len({item["name"] for item in known.values()}) == len(known), "nothing is there twice"
    assert {known[uid]["phase"] for uid in accepted} == {"Completed"}
    assert follower.relists == 0
    assert follower.versions == sorted(set(follower.versions)), "each change once, and in order"


def test_a_database_that_goes_and_comes_back_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = binaries()
    if programs is None:
        pytest.skip("no PostgreSQL server is installed: tools/debian install postgresql")
    with a_postgres_server(programs) as database:
        monkeypatch.setenv("RUNAI_DATABASE_URL", database.url)
        with an_orchestrator(tmp_path, NODES) as orchestrator:
            command = ["python3", "-c", "import time; time.sleep(12)"]
            before = orchestrator.submit("before", command)
            orchestrator.wait(before, frozenset({"Running"}))
            database.crash()
            refused = orchestrator.post(
                "/api/v1/workloads/trainings", {"name": "lost", "projectId": "default", "spec": {"command": "true"}}
            )
            read = orchestrator.client.get("/api/v1/workloads")
            time.sleep(15)  # what ran has ended meanwhile
            assert orchestrator.process is not None
            assert orchestrator.process.poll() is None, orchestrator.tail()
            database.start()
            eventually(lambda: orchestrator.client.get("/api/v1/workloads").status_code == 200, "an answer")
            assert orchestrator.wait(before) == "Completed"
            after = orchestrator.submit("after", ["true"])
            assert orchestrator.wait(after) == "Completed"
            names = {item["name"] for item in orchestrator.get("/api/v1/workloads")["workloads"]}

    assert (refused.status_code, read.status_code) == (503, 503), refused.text
    assert "database" in refused.json()["message"]
    assert names == {"before", "after"}


def test_measurements_are_rolled_up_on_postgresql_as_well() -> None:
    programs = binaries()
    if programs is None:
        pytest.skip("no PostgreSQL server is installed: tools/debian install postgresql")
    now = 1_800_000_000.0

    async def rolled(url: str) -> list[int]:
        async with open_store(url, SystemClock()) as store:
            points = [
                Point(entity, now - 10 * at, {"GPU_ALLOCATION": 1.0})
                for at in range(1, 1000)
                for entity in ("project/a_b/default", "project/aXb/default", "pod/u/p")
            ]
            await store.samples.add(points)
            await store.samples.add(points)
            await store.samples.tidy(now + 20)
            await store.samples.tidy(now + 20)
            levels = [await store.samples.below("project/a_b/", 0, now + 20, level) for level in range(4)]
            assert {point.entity for level in levels for point in level} == {"project/a_b/default"}
            return [sum(point.count for point in level) for level in levels]

    with a_postgres_server(programs) as database:
        counts = asyncio.run(rolled(database.url))

    assert counts[1] == 999, "each measurement is in one minute"
    assert counts[0] <= 360, "raw ones are kept for an hour"
    assert counts[2] == counts[3] == 999


def test_a_list_page_of_ten_thousand_workloads_and_five_hundred_nodes_is_made_in_time(tmp_path: Path) -> None:
    """Counted is the processor time of the server, and the best of some tries: the machine may do much else."""
    asyncio.run(pages.fill(tmp_path / "data", 10_000))
    nodes = [{"name": f"node{number:03}", "gpus": 8, "cpu": 64, "memory": "512Gi"} for number in range(500)]
    with an_orchestrator(tmp_path, nodes) as orchestrator:
        lists = {name: path for name, path in pages.PAGES.items() if name != "overview"}
        took = {name: pages.least(orchestrator, path, tries=5) for name, path in lists.items()}

    assert {name: seconds for name, seconds in took.items() if seconds >= pages.TARGET} == {}
