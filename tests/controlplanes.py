"""A real control plane and real clusters for tests, over TLS on loopback, with a wire between them that can be cut."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from runai_core.operator.certificates import KeyPair, make_authority, make_certificate
from tests.ports import free_port
from tests.waiting import PATIENCE, eventually

START_SECONDS = 120.0
HOSTS = ("127.0.0.1", "localhost")


def wait_for(what: str, question: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Return the first answer that is not empty; fail with the last error after so many seconds."""
    failed: list[Exception] = []

    def answer() -> Any:
        try:
            return question()
        except (httpx.HTTPError, OSError, ValueError, KeyError, AssertionError) as error:
            failed[:] = [error]
            return None

    return eventually(answer, lambda: f"{what}; last error: {failed}", seconds=seconds)


@dataclass
class Trust:
    """An authority, and the certificate of a control plane."""

    folder: Path
    authority: KeyPair = field(default_factory=lambda: make_authority(time.time()))

    def certificate(self, names: Sequence[str] = HOSTS, *, at: float | None = None) -> tuple[Path, Path]:
        """Write a certificate for the names, made at that time, and return its files."""
        made = make_certificate(self.authority, names, at or time.time())
        files = (self.folder / f"{len(list(self.folder.iterdir()))}.crt", self.folder / "server.key")
        files[0].write_bytes(made.certificate)
        key = files[0].with_suffix(".key")
        key.write_bytes(made.key)
        return files[0], key

    @property
    def file(self) -> Path:
        """The authority's certificate."""
        path = self.folder / "ca.pem"
        path.write_bytes(self.authority.certificate)
        return path


class Wire:
    """A TCP proxy that can be cut: connections end in the middle of a byte stream, as a bad network ends them."""

    def __init__(self, target: int, host: str = "127.0.0.1") -> None:
        self.target = target
        self.open = True
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._listener = socket.create_server((host, 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End every connection, at once."""
        for pair in self._pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                with contextlib.suppress(OSError):
                    end.close()
        self._pairs.clear()

    def close(self) -> None:
        """Let nobody through any more."""
        self.open = False
        with contextlib.suppress(OSError):
            self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                inner, _ = self._listener.accept()
            except OSError:
                return
            if not self.open:
                inner.close()
                continue
            try:
                outer = socket.create_connection(("127.0.0.1", self.target), timeout=60)
            except OSError:
                inner.close()
                continue
            outer.settimeout(None)  # a silent connection is none that is broken
            self._pairs.append((inner, outer))
            for source, sink in ((inner, outer), (outer, inner)):
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(16384):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@dataclass
class Process:
    """A process of ours, killed without mercy or stopped in peace."""

    log: Path
    process: subprocess.Popen[bytes] | None = None

    def run(self, arguments: Sequence[str]) -> None:
        """Start `runai` with these words."""
        command = [sys.executable, "-m", "runai_core.cli.main", *arguments]
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """End it in peace."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=120)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()

    def said(self) -> str:
        """Return its log."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""


class Api:
    """Requests of an administrator, by the credentials file of a data directory."""

    def __init__(self, data_dir: Path, *, verify: Any = True, host: str = "") -> None:
        content = json.loads((data_dir / "credentials.json").read_text())
        headers = {"Authorization": f"Bearer {content['token']}"} | ({"Host": host} if host else {})
        limits = httpx.Limits(max_keepalive_connections=0)  # nothing is left open when a test ends
        self.http = httpx.Client(
            base_url=content["url"], headers=headers, verify=verify, timeout=60.0, limits=limits, trust_env=False
        )

    def get(self, path: str, **query: Any) -> Any:
        """Return the JSON answer of a GET."""
        answer = self.http.get(f"/api/v1{path}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: Any = None) -> Any:
        """Return the JSON answer of a POST that succeeded."""
        answer = self.http.post(f"/api/v1{path}", json=body)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    def submit(self, name: str, command: str, *, project: str = "default", **spec: Any) -> str:
        """Submit a training and return its id."""
        answer = self.post(
            "/workloads/trainings",
            {"name": name, "projectId": project, "spec": {"command": command, **spec}},
        )
        return str(answer.get("workloadId") or answer["id"])

    def phase(self, uid: str) -> str:
        """Return the phase of a workload."""
        return str(self.get(f"/workloads/{uid}")["phase"])

    def wait(self, uid: str, *phases: str, seconds: float = PATIENCE) -> str:
        """Return the first of the phases that the workload is seen in."""
        return str(
            wait_for(
                f"{uid} in {phases}",
                lambda: phase if (phase := self.phase(uid)) in phases else "",
                seconds,
            )
        )

    def history(self, uid: str) -> list[dict[str, Any]]:
        """Return the story of a workload."""
        return list(self.get(f"/workloads/{uid}/history", limit=500)["records"])

    def nodes(self, cluster: str) -> list[dict[str, Any]]:
        """Return the nodes of a cluster."""
        return list(self.get(f"/clusters/{cluster}/nodes")["nodes"])

    def workloads(self) -> dict[str, dict[str, Any]]:
        """Return all workloads by project and name."""
        found: dict[str, dict[str, Any]] = {}
        offset: int | None = 0
        while offset is not None:
            page = self.get("/workloads", limit=500, offset=offset)
            found |= {f"{item['projectName']}/{item['name']}": item for item in page["workloads"]}
            offset = page.get("next")
        return found


@dataclass
class ControlPlane(Process):
    """`runai control-plane up` on a data directory of its own, with TLS."""

    data_dir: Path = Path()
    trust: Trust | None = None
    certificate: tuple[Path, Path] = (Path(), Path())
    port: int = 0
    names: str = ""  # that it answers to, besides those of loopback
    database: str = ""
    starts: int = 0  # how often it has said before that it listens

    def start(self) -> None:
        """Start it on its port, and wait until it answers."""
        self.starts = self.said().count("Listening on")
        words = ["control-plane", "up", "--data-dir", str(self.data_dir), "--port", str(self.port)]
        words += ["--allowed-hosts", self.names] if self.names else []
        words += ["--tls-cert", str(self.certificate[0]), "--tls-key", str(self.certificate[1])]
        words += ["--database-url", self.database] if self.database else []
        self.run(words)
        wait_for("the control plane answers", self._answers, START_SECONDS)

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"the control plane ended with {self.process.returncode}:\n{self.said()[-3000:]}")
        return self.said().count("Listening on") > self.starts

    def api(self, tenant: str = "default", host: str = "") -> Api:
        """Return the way to a tenant's API."""
        import ssl

        assert self.trust is not None
        folder = self.data_dir / "tenants" / tenant
        wait_for("credentials of the tenant", (folder / "credentials.json").exists)
        return Api(folder, verify=ssl.create_default_context(cafile=str(self.trust.file)), host=host)


@dataclass
class ClusterProcess(Process):
    """`runai agent`: an orchestrator that is a cluster of a control plane; embedded, or on Kubernetes."""

    data_dir: Path = Path()
    url: str = ""
    token_file: Path = Path()
    ca: Path | None = None
    gpus: int = 4
    kubeconfig: Path | None = None

    def start(self) -> None:
        """Start it, and wait until its own API answers."""
        words = ["agent", "--control-plane", self.url, "--join-token-file", str(self.token_file)]
        words += ["--data-dir", str(self.data_dir)]
        if self.kubeconfig is None:
            words += ["--simulated-gpus", str(self.gpus)]
        else:
            words += ["--kubeconfig", str(self.kubeconfig)]
        words += ["--ca", str(self.ca)] if self.ca else []
        state = self.data_dir / "orchestrator.json"
        self.run(words)
        assert self.process is not None
        pid = self.process.pid

        def answers() -> bool:
            assert self.process is not None
            if self.process.poll() is not None:
                raise RuntimeError(f"the agent ended with {self.process.returncode}:\n{self.said()[-3000:]}")
            return state.exists() and json.loads(state.read_text()).get("pid") == pid

        wait_for("the cluster answers", answers, START_SECONDS)

    def api(self) -> Api:
        """Return the way to the cluster's own API."""
        return Api(self.data_dir)

    def down(self) -> None:
        """Stop it with everything that runs in it."""
        self.stop()
        command = [sys.executable, "-m", "runai_core.cli.main", "down", "--data-dir", str(self.data_dir)]
        subprocess.run(command, check=False, timeout=120, capture_output=True)


class World:
    """A control plane, and as many clusters as a test makes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "tls").mkdir()
        self.trust = Trust(folder / "tls")
        self.control_plane = ControlPlane(
            log=folder / "control-plane.log",
            data_dir=folder / "control-plane",
            trust=self.trust,
            certificate=self.trust.certificate(),
            port=free_port(),
        )
        self.clusters: dict[str, ClusterProcess] = {}
        self.wires: dict[str, Wire] = {}
        self.random = random.Random(7)

    def cluster(
        self,
        name: str,
        *,
        tenant: str = "default",
        host: str = "127.0.0.1",
        gpus: int = 4,
        kubeconfig: Path | None = None,
    ) -> ClusterProcess:
        """Create a cluster in the control plane, connect it through a wire of its own, and return it, connected."""
        api = self.control_plane.api(tenant, host=f"{host}:{self.control_plane.port}")
        uid = api.post("/clusters", {"name": name})["uuid"]
        token = api.get(f"/clusters/{uid}/cluster-install-info")["joinToken"]
        wire = self.wires[name] = Wire(self.control_plane.port)
        file = self.folder / f"{name}.token"
        file.write_text(token)
        made = self.clusters[name] = ClusterProcess(
            log=self.folder / f"{name}.log",
            data_dir=self.folder / name,
            url=f"https://{host}:{wire.port}",
            token_file=file,
            ca=self.trust.file,
            gpus=gpus,
            kubeconfig=kubeconfig,
        )
        made.start()
        self.wait_connected(name, api)
        return made

    def wait_connected(self, name: str, api: Api | None = None) -> None:
        """Wait until a cluster is connected."""
        asked = api or self.control_plane.api()
        wait_for(f"{name} is connected", lambda: asked.get(f"/clusters/{name}")["status"]["state"] == "Connected")

    def close(self) -> None:
        """End everything."""
        for wire in self.wires.values():
            wire.close()
        for cluster in self.clusters.values():
            cluster.down()
        self.control_plane.stop()


@contextlib.contextmanager
def a_world(folder: Path) -> Iterator[World]:
    """Yield a control plane that runs; nothing of it is left afterwards."""
    world = World(folder)
    try:
        world.control_plane.start()
        yield world
    finally:
        world.close()
