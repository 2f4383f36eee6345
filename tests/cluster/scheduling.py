"""`runai scheduler` beside a test cluster: a process of its own, for pods and nodes that nobody else touches."""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from runai_core.operator.install.crds import crds
from tests.cluster.bulk import send_all
from tests.cluster.cluster import Cluster
from tests.cluster.fakes import add_fake_nodes, remove_nodes
from tests.cluster.kube import Kube, Object, Refused
from tests.ports import free_port

GROUPS = "/apis/scheduling.run.ai/v2alpha2/namespaces/{}/podgroups"
QUEUES = "/apis/scheduling.run.ai/v2/queues"
POOL = "kai.scheduler/node-pool"
LIMIT = 180.0
"""Seconds that anything may take: the machine may be busy with much else."""


@dataclass
class Scheduling:
    """A node pool, a scheduler's name and a namespace of the test's own."""

    cluster: Cluster
    kube: Kube
    folder: Path
    namespace: str
    name: str = field(default_factory=lambda: f"sched-{secrets.token_hex(3)}")
    nodes: list[str] = field(default_factory=list)
    queues: list[str] = field(default_factory=list)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)

    # -- what there is

    def add_nodes(self, count: int, **how: Any) -> list[str]:
        """Make nodes of this pool."""
        how["labels"] = {POOL: self.name, **how.get("labels", {})}
        made = add_fake_nodes(self.cluster, count, prefix=f"{self.name}-{len(self.nodes)}", seconds=LIMIT, **how)
        self.nodes += made
        return made

    def add_queue(self, name: str = "q", *, gpus: float = -1, limit: float = -1, parent: str = "") -> str:
        """Make a queue of this pool; return its full name."""
        full = f"{self.name}-{name}"
        unlimited = {"quota": -1, "limit": -1, "overQuotaWeight": 1}
        spec: Object = {"resources": {"gpu": {"quota": gpus, "limit": limit, "overQuotaWeight": 1}}}
        spec["resources"] |= {"cpu": unlimited, "memory": unlimited}
        if parent:
            spec["parentQueue"] = parent
        body = {
            "apiVersion": "scheduling.run.ai/v2",
            "kind": "Queue",
            "metadata": {"name": full, "labels": {POOL: self.name}},
        }
        self.kube.post(QUEUES, {**body, "spec": spec})
        self.queues.append(full)
        return full

    def group(self, name: str, least: int = 1, queue: str = "", **spec: Any) -> Object:
        """Return a pod group of this pool."""
        meta = {"name": name, "namespace": self.namespace, "labels": {POOL: self.name}}
        spec = {"minMember": least, "queue": queue or self.queues[0], "priorityClassName": "train", **spec}
        return {"apiVersion": "scheduling.run.ai/v2alpha2", "kind": "PodGroup", "metadata": meta, "spec": spec}

    def pod(self, name: str, group: str, gpus: int = 1, *, labels: dict[str, str] | None = None, **spec: Any) -> Object:
        """Return a pod for this scheduler."""
        resources = {"limits": {"nvidia.com/gpu": str(gpus)}} if gpus else {}
        meta = {
            "name": name,
            "namespace": self.namespace,
            "annotations": {"pod-group-name": group},
            "labels": labels or {},
        }
        container = {"name": "main", "image": "example/image", "resources": resources}
        spec = {"schedulerName": self.name, "terminationGracePeriodSeconds": 0, "containers": [container], **spec}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}

    def submit(self, name: str, pods: int = 1, *, least: int | None = None, queue: str = "", **pod: Any) -> list[str]:
        """Create a pod group and its pods; return their names."""
        self.kube.post(GROUPS.format(self.namespace), self.group(name, pods if least is None else least, queue))
        names = [f"{name}-{number}" for number in range(pods)]
        path = f"/api/v1/namespaces/{self.namespace}/pods"
        send_all(self.cluster.kubeconfig(), (("POST", path, self.pod(each, name, **pod)) for each in names))
        return names

    # -- what became of it

    def path(self, pod: str) -> str:
        """Return the path of a pod."""
        return f"/api/v1/namespaces/{self.namespace}/pods/{pod}"

    def pods(self) -> dict[str, Object]:
        """Return all pods of the namespace by name."""
        items = self.kube.get(f"/api/v1/namespaces/{self.namespace}/pods")["items"]
        return {item["metadata"]["name"]: item for item in items}

    def places(self) -> dict[str, str]:
        """Return the node of each pod that has one."""
        return {name: pod["spec"]["nodeName"] for name, pod in self.pods().items() if pod["spec"].get("nodeName")}

    def until(self, condition: Callable[[], Any], what: str, seconds: float = LIMIT) -> Any:
        """Wait until a condition holds; return what it said."""
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(httpx.HTTPError, Refused):
                found = condition()
                if found:
                    return found
            if time.monotonic() > deadline:
                raise AssertionError(f"{what}: not within {seconds} s; the scheduler says\n{self.log()}")
            time.sleep(0.1)

    def all_bound(self, pods: Sequence[str]) -> dict[str, str]:
        """Wait until these pods have nodes; return them."""
        self.until(lambda: set(pods) <= set(self.places()), f"{len(pods)} pods bound")
        return {pod: node for pod, node in self.places().items() if pod in pods}

    def explanation(self, pod: str) -> str:
        """Wait until a pod says why it waits; return the sentence."""

        def said() -> str:
            conditions = self.kube.get(self.path(pod)).get("status", {}).get("conditions", [])
            return next((str(item.get("message", "")) for item in conditions if item["status"] == "False"), "")

        return str(self.until(said, f"{pod} explained"))

    def told(self, words: str) -> None:
        """Wait until an event has these words: events are written a moment after what they tell of."""
        path = f"/api/v1/namespaces/{self.namespace}/events"
        self.until(lambda: words in str(self.kube.get(path)["items"]), f"an event says {words}")

    def metric(self, name: str) -> float:
        """Return a metric of the newest process."""
        text = httpx.get(f"http://127.0.0.1:{self.ports[-1]}/metrics", trust_env=False, timeout=60).text
        return next(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))

    # -- the process

    def start(self, *, kubeconfig: Path | None = None, elect: bool = False) -> subprocess.Popen[bytes]:
        """Start a scheduler; return when it schedules, or waits for its turn."""
        port = free_port()
        command = [sys.executable, "-m", "runai_core.cli.main", "scheduler", "--scheduler-name", self.name]
        command += ["--kubeconfig", str(kubeconfig or self.cluster.kubeconfig()), "--node-pool", self.name]
        command += ["--port", str(port), "--leader-elect" if elect else "--no-leader-elect"]
        with (self.folder / f"scheduler-{len(self.processes)}.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "RUNAI_PLUGINS": "builtin"})
        self.processes.append(process)
        self.ports.append(port)

        def answers() -> bool:
            assert process.poll() is None, self.log()
            return httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).status_code == 200

        self.until(answers, "the scheduler's readiness")
        return process

    def log(self) -> str:
        """Return the end of all logs."""
        return "\n".join(path.read_text()[-3000:] for path in sorted(self.folder.glob("scheduler-*.log")))

    def close(self) -> None:
        """Leave nothing behind."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(15)
            process.kill()
            process.wait()
        for queue in self.queues:
            self.kube.delete(f"{QUEUES}/{queue}")
        remove_nodes(self.cluster, self.nodes)


@contextlib.contextmanager
def a_scheduling(cluster: Cluster, kube: Kube, namespace: str, folder: Path) -> Iterator[Scheduling]:
    """Make a place to schedule in; the kinds are installed if they are not there."""
    for crd in crds():
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd['metadata']['name']}"
        try:
            kube.get(path)
        except Refused:
            kube.patch(path, crd, kind="apply")
            kube.wait(path, _is_established)
    scheduling = Scheduling(cluster, kube, folder, namespace)
    try:
        yield scheduling
    finally:
        scheduling.close()


def _is_established(crd: Object) -> bool:
    conditions = (crd.get("status") or {}).get("conditions") or []
    return any(item["type"] == "Established" and item["status"] == "True" for item in conditions)
