"""A real orchestrator process for tests: started, killed, started again on the same data directory."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from tests.waiting import PATIENCE, eventually

START_SECONDS = 120.0
"""Longest that a test waits for an orchestrator to answer."""

ENDS = frozenset({"Completed", "Failed"})


@dataclass
class OrchestratorProcess:
    """`runai serve` on a data directory of its own. Requests go over HTTP, as a user's do."""

    data_dir: Path
    nodes_file: Path | None = None
    process: subprocess.Popen[bytes] | None = None
    client: httpx.Client = field(default_factory=httpx.Client)
    log: Path = Path()
    environment: Mapping[str, str] = field(default_factory=dict)  # besides our own

    def start(self, *, port: int = 0) -> None:
        """Start it, on any free port unless one is given, and wait until it answers."""
        self.log = self.data_dir.parent / "serve.log"
        command = [
            sys.executable,
            "-m",
            "runai_core.cli.main",
            "serve",
            "--data-dir",
            str(self.data_dir),
            "--port",
            str(port),
        ]
        if self.nodes_file is not None:
            command += ["--nodes", str(self.nodes_file)]
        credentials = self.data_dir / "credentials.json"
        before = credentials.stat().st_mtime_ns if credentials.exists() else 0
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=output, start_new_session=True, env={**os.environ, **self.environment}
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"the orchestrator ended with {self.process.returncode}:\n{self.tail()}")
            if credentials.exists() and credentials.stat().st_mtime_ns != before and self._answers(credentials):
                return
            time.sleep(0.02)
        raise AssertionError(f"the orchestrator did not answer in {START_SECONDS} s:\n{self.tail()}")

    def kill(self) -> None:
        """End it at once with SIGKILL, as a crash or the kernel would."""
        assert self.process is not None
        self.client.close()
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it in peace."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout=90)

    def down(self) -> None:
        """Stop the orchestrator and every pod, with the command that users have."""
        command = [sys.executable, "-m", "runai_core.cli.main", "down", "--data-dir", str(self.data_dir)]
        subprocess.run(command, check=True, timeout=90, capture_output=True)

    def tail(self, lines: int = 40) -> str:
        """Return the end of the orchestrator's log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""

    def get(self, path: str, **parameters: Any) -> Any:
        """Return the JSON answer of a GET."""
        answer = self.client.get(path, params=parameters)
        answer.raise_for_status()
        return answer.json()

    def post(self, path: str, body: Any = None) -> httpx.Response:
        """Return the answer of a POST, whatever its status."""
        return self.client.post(path, json=body)

    def submit(
        self, name: str, argv: Sequence[str], *, project: str = "default", kind: str = "trainings", **spec: Any
    ) -> str:
        """Submit a workload that runs a command, and return its id."""
        import shlex

        body = {
            "name": name,
            "projectId": project,
            "clusterId": self.cluster_id,
            "spec": {"command": shlex.join(argv), **spec},
        }
        answer = self.post(f"/api/v1/workloads/{kind}", body)
        assert answer.status_code == 202, answer.text
        return str(answer.json().get("workloadId") or answer.json()["id"])

    @property
    def cluster_id(self) -> str:
        """The id that create requests must name."""
        return str(json.loads((self.data_dir / "identity.json").read_text())["cluster_id"])

    def phase(self, uid: str) -> str:
        """Return the phase of a workload."""
        return str(self.get(f"/api/v1/workloads/{uid}")["phase"])

    def wait(self, uid: str, phases: frozenset[str] = ENDS, seconds: float = PATIENCE) -> str:
        """Return the first of the phases that the workload is seen in."""

        def reached() -> str:
            return phase if (phase := self.phase(uid)) in phases else ""

        def wanted() -> str:
            return f"{uid} in {sorted(phases)}: {self.get(f'/api/v1/workloads/{uid}/why')}\n{self.tail()}"

        return eventually(reached, wanted, seconds=seconds)

    def _answers(self, credentials: Path) -> bool:
        try:
            content = json.loads(credentials.read_text())
            self.client.close()
            self.client = httpx.Client(
                base_url=content["url"], headers={"Authorization": f"Bearer {content['token']}"}, timeout=60.0
            )
            return self.client.get("/readyz").status_code == 200
        except (httpx.TransportError, ValueError, KeyError):
            return False


def kill_rank(module: str, workload: str, rank: int) -> bool:
    """Kill what a pod of one machine runs, ``python -m MODULE``, as its machine would; return whether it was there."""
    found = False
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            environ = process.environ() if process.cmdline()[1:3] == ["-m", module] else {}
            if (environ.get("RUNAI_JOB_UUID"), environ.get("RANK")) == (workload, str(rank)):
                process.kill()
                found = True
    return found


@contextlib.contextmanager
def an_orchestrator(
    folder: Path, nodes: Sequence[dict[str, Any]] = (), environment: Mapping[str, str] | None = None
) -> Iterator[OrchestratorProcess]:
    """Yield a running orchestrator below the folder; nothing of it is left afterwards."""
    nodes_file = None
    if nodes:
        nodes_file = folder / "nodes.yaml"
        nodes_file.write_text(yaml.safe_dump({"nodes": list(nodes)}))
    orchestrator = OrchestratorProcess(data_dir=folder / "data", nodes_file=nodes_file, environment=environment or {})
    orchestrator.start()
    try:
        yield orchestrator
    finally:
        orchestrator.client.close()
        orchestrator.down()
        if orchestrator.process is not None and orchestrator.process.poll() is None:
            os.killpg(orchestrator.process.pid, signal.SIGKILL)
            orchestrator.process.wait()
