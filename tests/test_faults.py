"""Bad input and bad luck at the real orchestrator: a clear answer each, and nothing half-created."""

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.orchestrators import OrchestratorProcess, an_orchestrator
from tests.waiting import eventually

NODES = [{"name": "node0", "gpus": 2, "cpu": 16, "memory": "64Gi"}]


@pytest.fixture(scope="module")
def orchestrator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrchestratorProcess]:
    with an_orchestrator(tmp_path_factory.mktemp("faults"), NODES) as running:
        yield running


LONG = "x" * 10_000

BOTH = {"gpuDevicesRequest": 1, "gpuRequestType": "portion", "gpuPortionRequest": 0.5, "gpuMemoryRequest": "5G"}
REFUSED: list[tuple[str, dict[str, Any], int, str]] = [
    ("no name", {"name": ""}, 400, "name: must be 1 to 63 characters"),
    ("a name of 10,000 characters", {"name": LONG}, 400, "name: must be"),
    ("a name that climbs the tree", {"name": "../../etc/passwd"}, 400, "name: must be"),
    ("a name with a NUL", {"name": "a\0b"}, 400, "NUL"),
    ("a name of another script", {"name": "тест"}, 400, "name: must be"),
    ("an unknown project", {"projectId": "nowhere"}, 404, "there are: default"),
    ("a project that climbs the tree", {"projectId": "../default"}, 404, "there is no"),
    ("negative GPUs", {"spec": {"compute": {"gpuDevicesRequest": -1}}}, 400, "compute.gpuDevicesRequest"),
    ("a million GPUs", {"spec": {"compute": {"gpuDevicesRequest": 10**6}}}, 400, "compute.gpuDevicesRequest"),
    ("GPUs in words", {"spec": {"compute": {"gpuDevicesRequest": "two"}}}, 400, "whole number"),
    ("memory that is no quantity", {"spec": {"compute": {"cpuMemoryRequest": "lots"}}}, 400, "must be a quantity"),
    ("negative memory", {"spec": {"compute": {"cpuMemoryRequest": "-5G"}}}, 400, "must not be negative"),
    ("a portion and memory at once", {"spec": {"compute": BOTH}}, 400, "compute."),
    ("a field with a typing error", {"spec": {"comand": "true"}}, 400, "did you mean command"),
    ("a field of another type", {"spec": {"numWorkers": 2}}, 400, "does not apply to Training"),
    ("an unknown priority", {"spec": {"priorityClass": "urgent"}}, 400, "must be one of very-low"),
    ("an unknown node pool", {"spec": {"nodePools": ["gold"]}}, 400, "there are: default"),
    ("an open quote", {"spec": {"command": "echo 'hello"}}, 400, "quote that is not closed"),
    ("another cluster", {"clusterId": "00000000-0000-0000-0000-000000000000"}, 400, "clusterId"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "status", "says"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_wrong_submission_is_refused_and_nothing_is_kept(
    orchestrator: OrchestratorProcess, change: dict[str, Any], status: int, says: str
) -> None:
    before = orchestrator.get("/api/v1/workloads/count")["count"]
    body = {"name": "fine", "projectId": "default", "spec": {"command": "true"}} | change

    answer = orchestrator.post("/api/v1/workloads/trainings", body)

    assert answer.status_code == status, answer.text
    assert says in answer.json()["message"]
    assert "Traceback" not in answer.text
    assert orchestrator.get("/api/v1/workloads/count")["count"] == before


def test_a_name_is_taken_once(orchestrator: OrchestratorProcess) -> None:
    orchestrator.submit("taken", ["true"])

    again = orchestrator.post(
        "/api/v1/workloads/trainings", {"name": "taken", "projectId": "default", "spec": {"command": "true"}}
    )

    assert again.status_code == 409
    assert "taken" in again.json()["message"]


def test_a_project_without_quota_borrows_and_its_non_preemptible_work_is_told_why_not(
    orchestrator: OrchestratorProcess,
) -> None:
    department = orchestrator.get("/api/v1/org-unit/departments")["departments"][0]["id"]
    quota = {"gpu": {"deserved": 0}, "cpu": {"deserved": None}, "memory": {"deserved": None}}
    project = {"name": "poor", "parentId": department, "clusterId": orchestrator.cluster_id, "resources": [quota]}
    created = orchestrator.post("/api/v1/org-unit/projects", project)
    assert created.status_code in (200, 201, 202), created.text
    gpu = {"gpuDevicesRequest": 1}
    borrower = orchestrator.submit("borrower", ["true"], project="poor", compute=gpu)
    claimant = orchestrator.submit("claimant", ["true"], project="poor", compute=gpu, preemptibility="non-preemptible")

    assert orchestrator.wait(borrower) == "Completed"

    def explained() -> Any:
        why = orchestrator.get(f"/api/v1/workloads/{claimant}/why")
        return why if why["verdict"] else None

    why = eventually(explained, "a verdict")
    assert why["phase"] == "Pending"
    assert why["verdict"]["reason"] == "NonPreemptibleOverQuota"
    assert "poor" in why["sentence"]


@pytest.mark.parametrize(
    "pod", ["../../../credentials.json", "/etc/passwd", "..%2f..%2fidentity.json", "nobody", LONG], ids=lambda p: p[:30]
)
def test_logs_of_a_pod_that_is_none_show_nothing(orchestrator: OrchestratorProcess, pod: str) -> None:
    uid = orchestrator.submit(f"logs{abs(hash(pod)) % 10**6}", ["echo", "mine"])
    orchestrator.wait(uid)

    answer = orchestrator.client.get(f"/api/v1/workloads/{uid}/logs", params={"pod": pod})

    assert answer.status_code in (400, 404, 414)
    assert "client_secret" not in answer.text
    assert "root:" not in answer.text


@pytest.mark.slow
def test_a_million_lines_of_log_are_written_without_blocking_and_their_end_is_read_at_once(
    orchestrator: OrchestratorProcess,
) -> None:
    code = "import sys\nfor i in range(1_000_000): sys.stdout.write(f'line {i}\\n')"
    uid = orchestrator.submit("talkative", [sys.executable, "-c", code])

    assert orchestrator.wait(uid, seconds=120) == "Completed"
    last = orchestrator.client.get(f"/api/v1/workloads/{uid}/logs", params={"tail": 3}).text
    assert last.splitlines() == ["line 999997", "line 999998", "line 999999"]
    kept = sum(file.stat().st_size for file in orchestrator.data_dir.rglob("*") if "talkative" in str(file))
    assert kept < 200 * 10**6


def test_a_body_over_the_limit_and_a_foreign_host_are_refused(orchestrator: OrchestratorProcess) -> None:
    large = orchestrator.post("/api/v1/workloads/trainings", {"name": "a", "spec": {"args": "x" * 5 * 1024**2}})
    foreign = orchestrator.client.get("/api/v1/workloads", headers={"Host": "evil.example"})
    anonymous = orchestrator.client.get("/api/v1/workloads", headers={"Authorization": "Bearer nonsense"})

    assert (large.status_code, foreign.status_code, anonymous.status_code) == (413, 400, 401)


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [
            sys.executable,
            "-m",
            "runai_core.cli.main",
            "up",
            "--data-dir",
            str(tmp_path / "data"),
            "--port",
            str(port),
        ]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert ran.returncode not in (0, 1)
    assert str(port) in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_damaged_database_is_named_and_left_as_it_is(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "runai.db").write_bytes(b"this is not a database" * 500)
    command = [sys.executable, "-m", "runai_core.cli.main", "up", "--data-dir", str(data)]

    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert ran.returncode == 6
    assert "not a database" in ran.stderr
    assert (data / "runai.db").read_bytes().startswith(b"this is not a database")


@pytest.mark.slow
def test_a_locked_database_is_waited_for_then_said_and_nothing_is_lost(tmp_path: Path) -> None:
    with an_orchestrator(tmp_path, NODES) as running:
        other = sqlite3.connect(running.data_dir / "runai.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        body = {"name": "blocked", "projectId": "default", "spec": {"command": "true"}}
        refused = running.post("/api/v1/workloads/trainings", body)
        other.execute("ROLLBACK")
        other.close()

        assert refused.status_code == 503, refused.text
        assert "another process holds the database" in refused.json()["message"]
        assert running.get("/api/v1/workloads/count")["count"] == 0
        assert running.wait(running.submit("after", ["true"])) == "Completed"


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a file system that is small enough to be filled")
def test_a_full_disk_is_said_and_work_goes_on_when_there_is_room_again(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(small)], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        with an_orchestrator(small, NODES) as running:
            filler = small / "filler"
            free = shutil.disk_usage(small).free
            filler.write_bytes(b"\0" * (free - 4096))
            answers = [
                running.post(
                    "/api/v1/workloads/trainings",
                    {"name": f"w{index}", "projectId": "default", "spec": {"command": "true", "args": "x" * 50_000}},
                )
                for index in range(100)
            ]
            refused = [answer for answer in answers if answer.status_code != 202]
            filler.unlink()

            assert refused, "the disk was not full"
            assert {answer.status_code for answer in refused} == {503}
            assert "disk is full" in refused[-1].json()["message"]
            accepted = sum(answer.status_code == 202 for answer in answers)
            assert running.get("/api/v1/workloads/count")["count"] == accepted
            assert running.wait(running.submit("after", ["true"])) == "Completed"
    finally:
        subprocess.run(["umount", "-l", str(small)], check=False)


def test_fields_that_a_process_cannot_use_are_named_in_the_story(orchestrator: OrchestratorProcess) -> None:
    storage = {"nfs": [{"server": "nfs.example", "path": "/data", "mountPath": "/mnt"}]}
    uid = orchestrator.submit("mounted", ["true"], image="python:3.11", storage=storage)
    orchestrator.wait(uid)

    events = orchestrator.get(f"/api/v1/workloads/{uid}/events")["events"]

    told = [event["message"] for event in events if event["reason"] == "FieldsNotUsed"]
    assert told == ["The local backend keeps these fields and does not use them: image, storage.nfs."]
