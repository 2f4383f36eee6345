"""Assets on one machine, end to end: real processes find their data sources and secrets."""

import base64
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.orchestrators import OrchestratorProcess, an_orchestrator

pytestmark = pytest.mark.slow

ASSET = "/api/v1/asset"


@pytest.fixture(scope="module")
def orchestrator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrchestratorProcess]:
    """Run one server for all tests here."""
    nodes = [{"name": "node-a", "gpus": 2, "cpu": 8, "memory": "16Gi"}]
    with an_orchestrator(tmp_path_factory.mktemp("assets"), nodes) as running:
        yield running


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a git repository with one file on two branches."""
    folder = tmp_path / "repository"
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(folder)]
    subprocess.run(["git", "init", "--quiet", "--initial-branch=main", str(folder)], check=True)
    (folder / "train.txt").write_text("from main")
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "--quiet", "-m", "one"], check=True)
    return folder


def made(orchestrator: OrchestratorProcess, path: str, name: str, spec: dict[str, Any]) -> str:
    """Create an asset of the tenant; return its id."""
    body = {"meta": {"name": name, "scope": "tenant"}, "spec": spec}
    answer = orchestrator.client.post(f"{ASSET}/{path}", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["meta"]["id"])


def submitted(orchestrator: OrchestratorProcess, name: str, command: str, **body: Any) -> str:
    """Submit a training; return its id."""
    spec = {"command": f"sh -c '{command}'", "backoffLimit": 0, **body.pop("spec", {})}
    answer = orchestrator.client.post(
        "/api/v1/workloads/trainings", json={"name": name, "projectId": "default", "spec": spec, **body}
    )
    assert answer.status_code == 202, answer.text
    return str(answer.json()["workloadId"])


def log_of(orchestrator: OrchestratorProcess, uid: str) -> str:
    """Return the log of a workload that has ended."""
    return orchestrator.client.get(f"/api/v1/workloads/{uid}/logs").text


def test_a_process_finds_its_data_sources(orchestrator: OrchestratorProcess, repository: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "x").write_text("host file")
    sources = [
        made(orchestrator, "datasource/host-path", "host", {"path": str(data), "mountPath": "/no/such/place"}),
        made(orchestrator, "datasource/git", "code", {"repository": str(repository), "path": "code", "branch": "main"}),
    ]

    uid = submitted(
        orchestrator,
        "mounts",
        "cat $RUNAI_VOLUME_HOST/x code/train.txt; echo $RUNAI_VOLUMES_PLAN.",
        assets={"datasources": [{"id": source} for source in sources]},
    )

    assert orchestrator.wait(uid) == "Completed"
    lines = log_of(orchestrator, uid).splitlines()
    assert lines[-1] == "host filefrom main."
    assert "/no/such/place is" in lines[0]


def test_a_process_gets_secrets_that_are_nowhere_in_plain_text(orchestrator: OrchestratorProcess) -> None:
    made(orchestrator, "credentials/generic-secret", "tok", {"keyValuePairs": [{"key": "k", "value": "s3cr3t-value"}]})
    variable = {"name": "TOKEN", "secret": {"name": "tok", "key": "k"}}
    volume = {"secretVolume": [{"name": "files", "secret": "tok", "mountPath": "keys"}]}

    uid = submitted(
        orchestrator,
        "secret",
        "printf %s $TOKEN | rev; stat -c %a keys/k; rev keys/k",
        spec={"environmentVariables": [variable], "storage": volume},
    )

    assert orchestrator.wait(uid) == "Completed"
    assert log_of(orchestrator, uid).split() == ["eulav-t3rc3s600", "eulav-t3rc3s"]
    kept = [path for path in orchestrator.data_dir.rglob("*") if path.is_file()]
    assert len(kept) > 3
    assert not [path for path in kept if b"s3cr3t-value" in path.read_bytes()]
    assert "s3cr3t-value" not in orchestrator.log.read_text()


def test_a_process_gets_a_private_credential_of_its_author(orchestrator: OrchestratorProcess) -> None:
    body = {"meta": {"name": "own"}, "spec": {"keyValuePairs": [{"key": "k", "value": "s3cr3t-own"}]}}
    assert orchestrator.client.post("/api/v1/me/credentials/generic-secret", json=body).status_code == 201
    variable = {"name": "TOKEN", "userCredential": {"name": "own", "key": "k"}}

    uid = submitted(orchestrator, "own", "printf %s $TOKEN | rev", spec={"environmentVariables": [variable]})

    assert orchestrator.wait(uid) == "Completed"
    assert log_of(orchestrator, uid).split() == ["nwo-t3rc3s"]


def test_a_secret_that_is_not_there_is_named_at_submission(orchestrator: OrchestratorProcess) -> None:
    variable = {"name": "TOKEN", "secret": {"name": "nothing", "key": "k"}}
    body = {"name": "x", "projectId": "default", "spec": {"command": "true", "environmentVariables": [variable]}}

    answer = orchestrator.client.post("/api/v1/workloads/trainings", json=body)

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "spec.environmentVariables.0.secret"


def test_a_checkout_that_fails_is_told_in_the_log(orchestrator: OrchestratorProcess, tmp_path: Path) -> None:
    storage = {"git": [{"name": "code", "repository": str(tmp_path / "nothing"), "path": "code"}]}

    uid = submitted(orchestrator, "no-repository", "true", spec={"storage": storage})

    assert orchestrator.wait(uid) == "Failed"
    assert "a volume cannot be put in place: git clone" in log_of(orchestrator, uid)


def test_git_sends_the_password_of_its_credential_and_tells_nobody(orchestrator: OrchestratorProcess) -> None:
    seen: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("Authorization", ""))
            self.send_error(404)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        password = made(orchestrator, "credentials/password", "git", {"user": "me", "password": "s3cr3t-pass"})
        address = f"http://127.0.0.1:{server.server_address[1]}/r.git"
        source = {"repository": address, "path": "code", "passwordAssetId": password}
        uid = submitted(
            orchestrator,
            "private",
            "true",
            assets={"datasources": [{"id": made(orchestrator, "datasource/git", "p", source)}]},
        )
        assert orchestrator.wait(uid) == "Failed"
        server.shutdown()

    assert base64.b64decode(seen[0].removeprefix("Basic ")).decode() == "me:s3cr3t-pass"
    assert "s3cr3t-pass" not in log_of(orchestrator, uid)


def runai(orchestrator: OrchestratorProcess, *words: str, code: int = 0, given: str = "") -> str:
    """Run a command of the command line; return what it printed."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("RUNAI")}
    done = subprocess.run(
        [sys.executable, "-m", "runai_core.cli.main", *words],
        env={**clean, "RUNAI_DATA_DIR": str(orchestrator.data_dir)},
        input=given,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout + done.stderr


def test_the_command_line_keeps_assets_and_submits_with_them(orchestrator: OrchestratorProcess) -> None:
    runai(orchestrator, "compute", "create", "half", "--cpu-core-request", "0.5", "--scope", "tenant")
    runai(orchestrator, "environment", "create", "shell", "--image", "alpine", "--set", "workingDir=/tmp")
    password = ("credential", "create", "pw", "--type", "password", "--item", "user=me", "--item", "password=@-")
    runai(orchestrator, *password, given="s3cr3t-stdin\n")
    runai(
        orchestrator, "template", "create", "tpl", "--type", "training", "--set", "backoffLimit=0", "--compute", "half"
    )

    submit = ("training", "submit", "by-name", "--environment", "shell", "--template", "tpl", "--json")
    made = json.loads(runai(orchestrator, *submit, "--", "pwd"))
    listed = json.loads(runai(orchestrator, "credential", "list", "--json"))
    refused = runai(orchestrator, "compute", "delete", "half", code=5)
    shown = runai(orchestrator, "template", "describe", "tpl")
    missing = runai(orchestrator, "datasource", "describe", "nothing", code=4)
    runai(orchestrator, "credential", "delete", "pw")

    assert orchestrator.wait(made["workloadId"]) == "Completed"
    assert log_of(orchestrator, made["workloadId"]).split() == ["/tmp"]
    assert made["spec"]["compute"] == {"cpuCoreRequest": 0.5}
    assert made["spec"]["backoffLimit"] == 0
    assert "s3cr3t-stdin" not in json.dumps(listed)
    assert {item["meta"]["name"] for item in listed} >= {"pw"}
    assert "is in use by" in refused
    assert "compute: half" in shown
    assert "there is no data source nothing" in missing


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(("compute", "create", "x", "--set", "gpuDeviceRequests=1"), id="an unknown field"),
        pytest.param(("compute", "create", "x", "--set", "gpus"), id="no value"),
        pytest.param(("credential", "create", "x", "--type", "password", "--item", "password=@/none"), id="no file"),
        pytest.param(("datasource", "create", "x"), id="no type"),
        pytest.param(("environment", "create", "Not A Name"), id="no name"),
    ],
)
def test_what_is_wrong_on_the_command_line_is_said_in_words(
    orchestrator: OrchestratorProcess, words: tuple[str, ...]
) -> None:
    said = runai(orchestrator, *words, code=2)

    assert "Traceback" not in said
    assert said.strip()
