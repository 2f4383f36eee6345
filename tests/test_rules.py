"""Scheduling rules, notifications, metrics and reports on a real orchestrator, through its commands and its API."""

import csv
import http.server
import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from runai_core.service.senders import signature
from tests.orchestrators import OrchestratorProcess, an_orchestrator
from tests.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

NODES = [{"name": "a", "gpus": 4, "cpu": 8, "memory": "16Gi"}]
LONG = ["python3", "-c", "import time; print(1, flush=True); time.sleep(600)"]
SECRET = "a secret between the two of us"
STOPPED = frozenset({"Stopped"})


class Receiver(http.server.BaseHTTPRequestHandler):
    """Takes webhooks; the server remembers them."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((dict(self.headers), body))  # type: ignore[attr-defined]
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def a_receiver() -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    got: list[tuple[dict[str, str], bytes]] = []
    server.got = got  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook", got
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def orchestrator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrchestratorProcess]:
    with an_orchestrator(tmp_path_factory.mktemp("rules"), NODES) as found:
        yield found


def runai(orchestrator: OrchestratorProcess, *arguments: str) -> str:
    environment = {**os.environ, "RUNAI_DATA_DIR": str(orchestrator.data_dir), "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-m", "runai_core.cli.main", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def told(orchestrator: OrchestratorProcess, uid: str) -> list[tuple[str, str]]:
    records = orchestrator.get(f"/api/v1/workloads/{uid}/history", limit=500)
    return [
        (item["spec"].get("event", {}).get("reason", ""), json.dumps(item["spec"]))
        for item in records.get("history") or records.get("records") or next(iter(records.values()))
    ]


def test_a_workload_over_its_limit_is_stopped_and_its_owner_is_told(orchestrator: OrchestratorProcess) -> None:
    shown = runai(orchestrator, "department", "rules", "default", "--training-time-limit", "16s")
    assert "trainingJobTimeLimitSeconds" in shown
    assert "department/default" in runai(orchestrator, "project", "rules", "default")
    with a_receiver() as (url, got):
        channel = {"type": "webhook", "name": "hook", "config": {"url": url, "secret": SECRET}}
        assert orchestrator.post("/api/v1/notification-channels", channel).status_code == 201
        types = ["WorkloadHalfTime", "WorkloadStoppedByRule"]
        subscription = {"events": [{"category": "Workload", "types": types}], "channels": ["hook"]}
        made = orchestrator.post("/api/v1/subscriptions", subscription)
        assert made.status_code == 201, made.text
        uid = orchestrator.submit("limited", LONG)
        orchestrator.wait(uid, STOPPED, 120)
        eventually(lambda: len(got) >= 2, "two webhooks")
        item = orchestrator.get(f"/api/v1/workloads/{uid}")
        orchestrator.kill()
        orchestrator.start()
        time.sleep(3)
        assert len(got) == 2, "a restart tells nothing again"

    assert "trainingJobTimeLimitSeconds of department default: ran for 16 s" in item["phaseMessage"]
    assert [json.loads(body)["type"] for _, body in got] == types
    for headers, body in got:
        expected = f"sha256={signature(SECRET, headers['X-Runai-Timestamp'], body)}"
        assert headers["X-Runai-Signature"] == expected
    runai(orchestrator, "department", "rules", "default", "--clear")


def test_an_idle_workspace_is_stopped_by_what_was_measured(orchestrator: OrchestratorProcess) -> None:
    runai(orchestrator, "project", "rules", "default", "--workspace-idle-limit", "15s")
    spec: dict[str, Any] = {"compute": {"gpuDevicesRequest": 1}}
    uses = [{"name": "RUNAI_SIMULATED_GPU_UTILIZATION", "value": "0"}]
    idle = orchestrator.submit("idle", LONG, kind="workspaces", environmentVariables=uses, **spec)
    unknown = orchestrator.submit("unmeasured", LONG, kind="workspaces", **spec)
    orchestrator.wait(idle, STOPPED, 240)
    rows = orchestrator.get(f"/api/v1/workloads/{idle}/metrics", metricType="GPU_UTILIZATION")["measurements"]

    assert {point["value"] for point in rows[0]["values"]} == {"0"}
    assert orchestrator.phase(unknown) == "Running", "no measurement is no idleness"
    runai(orchestrator, "project", "rules", "default", "--clear")


def test_measurements_survive_a_crash_and_make_a_report(orchestrator: OrchestratorProcess, tmp_path: Path) -> None:
    uid = orchestrator.submit("measured", LONG, compute={"gpuDevicesRequest": 1})
    orchestrator.wait(uid, frozenset({"Running"}))
    path = f"/api/v1/workloads/{uid}/metrics"

    def values() -> list[dict[str, str]]:
        (series,) = orchestrator.get(path, metricType="GPU_ALLOCATION", numberOfSamples=1000)["measurements"]
        return [dict(point) for point in series["values"]]

    before = eventually(lambda: [point for point in values() if point["value"] == "1"], "a stored sample")
    eventually(lambda: _held(orchestrator), "a sample of the project")
    orchestrator.kill()
    orchestrator.start()

    assert [point for point in before if point not in values()] == []
    file = tmp_path / "usage.csv"
    runai(orchestrator, "report", "create", "usage of today", "--last", "1h", "-o", str(file))
    rows = {row["Group"]: row for row in csv.DictReader(io.StringIO(file.read_text()))}
    assert float(rows["default"]["GPU allocated hours"]) > 0
    (now,) = json.loads(runai(orchestrator, "report", "consumption", "--last", "1h", "--only", "default", "--json"))
    assert now["allocated"] > 0
    assert "usage of today" in runai(orchestrator, "report", "list")
    runai(orchestrator, "report", "delete", "usage of today")
    assert orchestrator.post(f"/api/v1/workloads/trainings/{uid}/suspend").status_code < 300


def _held(orchestrator: OrchestratorProcess) -> bool:
    since = datetime.fromtimestamp(time.time() - 600, UTC).isoformat()
    answer = orchestrator.get("/api/v1/org-unit/projects/default/metrics", metricType="GPU_ALLOCATION", start=since)
    return len([point for point in answer["measurements"][0]["values"] if float(point["value"]) >= 1]) > 1


def test_prometheus_reads_the_metrics_of_a_real_process(orchestrator: OrchestratorProcess) -> None:
    text = orchestrator.client.get("/metrics").text

    assert 'runai_gpu_count_per_node{clusterId="' in text
    assert "# TYPE runai_gpu_idle_seconds_per_workload gauge" in text
