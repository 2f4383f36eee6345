"""A Prometheus server of a test's own, and exporters of GPUs, pods and nodes for it to ask.

The exporters say what DCGM's, the kubelets' and the node exporter say, by the
same names and labels; the numbers are a test's.
"""

import http.server
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from tests.waiting import PATIENCE, eventually

TOOL = Path(__file__).parents[1] / "tools" / "debian"
SCRAPE = {"scrape_interval": "2s", "scrape_timeout": "2s"}
RELABELLED = {"namespace": "gpu-operator", "pod": "nvidia-dcgm-exporter-x7k2p"}
"""What a ServiceMonitor says of the exporter's own pod; what the exporter says of pods becomes `exported_`."""


def program_in(folder: Path) -> Path:
    """Return the server: installed, or Debian's, only unpacked, so that no service starts. Skip where there is none."""
    if found := shutil.which("prometheus"):
        return Path(found)
    done = subprocess.run([TOOL, "unpack", folder, "prometheus"], capture_output=True, text=True, check=False)
    if done.returncode == 3:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr
    return folder / "usr" / "bin" / "prometheus"


@dataclass(frozen=True)
class Gpu:
    """What DCGM says of one device, and of the pod on it: percent and MiB."""

    node: str
    index: int
    utilization: float
    used: float
    free: float
    namespace: str = ""
    pod: str = ""

    def lines(self) -> Iterator[str]:
        """Yield what DCGM's exporter says, each family with its type."""
        words = {
            "gpu": self.index,
            "UUID": f"GPU-{self.node}-{self.index}",
            "pci_bus_id": f"00000000:{self.index:02x}:00.0",
            "device": f"nvidia{self.index}",
            "modelName": "NVIDIA H100 80GB HBM3",
            "Hostname": self.node,
            "DCGM_FI_DRIVER_VERSION": "550.54.15",
            "container": "main" if self.pod else "",
            "namespace": self.namespace,
            "pod": self.pod,
        }
        labels = ",".join(f'{name}="{value}"' for name, value in words.items())
        yield f"DCGM_FI_DEV_GPU_UTIL{{{labels}}} {self.utilization}"
        yield f"DCGM_FI_DEV_FB_USED{{{labels}}} {self.used}"
        yield f"DCGM_FI_DEV_FB_FREE{{{labels}}} {self.free}"


@dataclass
class Exporters:
    """All exporters of a cluster behind one port; what they say can be changed while they run."""

    gpus: Sequence[Gpu] = ()
    cores: Mapping[tuple[str, str], float] = field(default_factory=dict)  # namespace and pod -> cores in use
    nodes: Mapping[str, float] = field(default_factory=dict)  # name -> part of its processors in use
    port: int = 0
    began: float = field(default_factory=time.time)

    def text(self, path: str) -> str:
        """Return what the exporter at this path says."""
        kind, _, node = path.strip("/").partition("/")
        lines = {"dcgm": self._dcgm, "kubelet": self._kubelet, "node": self._node}[kind](node)
        return "\n".join([*lines, ""])

    def _dcgm(self, node: str) -> list[str]:
        return sorted(line for gpu in self.gpus if gpu.node == node for line in gpu.lines())

    def _kubelet(self, _: str) -> list[str]:
        now = time.time()
        found = []
        for (namespace, pod), cores in self.cores.items():
            for container, part in (("main", 1), ("", 1), ("POD", 0)):  # "" is the sum, POD the sandbox
                labels = f'{{container="{container}",namespace="{namespace}",pod="{pod}"}}'
                at = f"{now * 1000:.0f}"  # cAdvisor says when it looked: a slow answer makes no difference
                found.append(f"container_cpu_usage_seconds_total{labels} {cores * (now - self.began) * part:.6f} {at}")
                found.append(f"container_memory_working_set_bytes{labels} {part * 2**30} {at}")
        return sorted(found)

    def _node(self, node: str) -> list[str]:
        now, part = time.time(), self.nodes[node]
        spent, at = now - self.began, f"{now * 1000:.0f}"
        return [
            f'node_cpu_seconds_total{{cpu="0",mode="idle"}} {spent * (1 - part):.6f} {at}',
            f'node_cpu_seconds_total{{cpu="0",mode="user"}} {spent * part:.6f} {at}',
            f"node_memory_MemAvailable_bytes {2**34 * (1 - part):.0f}",
            f"node_memory_MemTotal_bytes {2**34}",
        ]


@contextmanager
def exporters() -> Iterator[Exporters]:
    """Yield exporters that answer."""
    said = Exporters()

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = said.text(self.path).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    said.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield said
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class PrometheusProcess:
    """A server with a directory of its own; it can go, and come back with what it knew."""

    home: Path
    program: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def configure(self, jobs: Sequence[Mapping[str, Any]]) -> None:
        """Let it scrape these, from its next start or at once where it runs."""
        settings = {"global": SCRAPE, "scrape_configs": list(jobs)}
        (self.home / "prometheus.yml").write_text(yaml.safe_dump(settings))
        if self.process is not None:
            httpx.post(f"{self.url}/-/reload", timeout=PATIENCE).raise_for_status()

    def start(self) -> None:
        """Start it, and wait until it answers: on the port that it had, at first on any free one."""
        log = (self.home / "log").open("ab")
        with log:
            self.process = subprocess.Popen(
                [
                    self.program,
                    f"--config.file={self.home / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self.home / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                    "--web.enable-lifecycle",
                ],
                stdout=log,
                stderr=log,
            )
        eventually(self._is_ready, lambda: f"Prometheus: {(self.home / 'log').read_text()}")

    def kill(self) -> None:
        """End it at once."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(PATIENCE)
            self.process = None

    def ask(self, query: str, at: float | None = None) -> list[dict[str, Any]]:
        """Return the series that a query has now; fail with the server's words where it cannot be parsed."""
        parameters = {"query": query} | ({} if at is None else {"time": f"{at:.3f}"})
        answer = httpx.get(f"{self.url}/api/v1/query", params=parameters, timeout=PATIENCE)
        body = answer.json()
        assert body["status"] == "success", f"{query}: {body.get('error')}"
        return list(body["data"]["result"])

    def values_of(self, label: str, series: str) -> list[str]:
        """Return the values of a label, as a dashboard's variable asks for them."""
        path = f"{self.url}/api/v1/label/{label}/values"
        answer = httpx.get(path, params={"match[]": series}, timeout=PATIENCE).json()
        assert answer["status"] == "success", answer
        return list(answer["data"])

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.home / "log").read_text()
        ports = [
            item.laddr.port for item in psutil.Process(self.process.pid).net_connections() if item.status == "LISTEN"
        ]
        if not ports:
            return False
        self.port = ports[0]
        try:
            return httpx.get(f"{self.url}/-/ready", timeout=PATIENCE).status_code == 200
        except httpx.TransportError:
            return False


@contextmanager
def a_prometheus_server(home: Path, program: Path, jobs: Sequence[Mapping[str, Any]]) -> Iterator[PrometheusProcess]:
    """Yield a running server that scrapes these; it ends afterwards."""
    server = PrometheusProcess(home, program)
    server.configure(jobs)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def jobs_for(found: Exporters, *, honoured: str, relabelled: str) -> list[dict[str, Any]]:
    """Return how Prometheus scrapes the exporters: one node's DCGM with its own labels, the other's renamed."""
    target = f"127.0.0.1:{found.port}"

    def job(name: str, path: str, labels: Mapping[str, str], **more: Any) -> dict[str, Any]:
        return {
            "job_name": name,
            "metrics_path": path,
            "static_configs": [{"targets": [target], "labels": dict(labels)}],
            **more,
        }

    return [
        job("dcgm", f"/dcgm/{honoured}", {}, honor_labels=True),
        job("dcgm-monitored", f"/dcgm/{relabelled}", RELABELLED),
        job("kubelet", "/kubelet", {}, honor_labels=True),
        *(job(f"node-{name}", f"/node/{name}", {"instance": f"{name}:9100"}) for name in (honoured, relabelled)),
    ]
