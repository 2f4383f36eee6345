"""What the benchmarks of the scheduler stand on: a cluster of fake nodes, schedulers as processes, pods and groups."""

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.cluster.bulk import Request, send_all
from tests.cluster.cluster import Cluster
from tests.cluster.fakes import a_pod, add_fake_nodes
from tests.cluster.kube import Kube, Object

OURS, THEIRS = "runai-scheduler", "default-scheduler"
GPUS = 8
GROUPS = "/apis/scheduling.run.ai/v2alpha2/namespaces/{}/podgroups"
QUEUES = "/apis/scheduling.run.ai/v2/queues"
RUNAI = [sys.executable, "-m", "runai_core.cli.main"]
NO_LEASE_STORM = 600
"""Seconds that a node may be silent: signs of life of thousands of nodes would be most of the load."""


@dataclass(frozen=True, slots=True)
class Bench:
    """A cluster for benchmarks and how to speak to it."""

    cluster: Cluster
    kube: Kube
    nodes: list[str]

    @property
    def gpus(self) -> int:
        """All GPUs of the cluster."""
        return len(self.nodes) * GPUS

    def send(self, *requests: Request) -> None:
        """Send requests, many at a time."""
        send_all(self.cluster.kubeconfig(), requests)


@contextlib.contextmanager
def our_scheduler(bench: Bench, *, warm: bool = True) -> Iterator[psutil.Process]:
    """`runai scheduler` as a process, once it has bound a first pod."""
    options = ["--no-leader-elect", "--port", "0", "--log-level", "warning"]
    command = [*RUNAI, "scheduler", "--kubeconfig", str(bench.cluster.kubeconfig()), *options]
    process = bench.cluster.run("runai-scheduler", command)
    try:
        if warm:
            with a_namespace(bench, "warm") as namespace:
                seconds_to_bind(bench, namespace, "warm", OURS)
        yield psutil.Process(process.pid)
    finally:
        process.stop()


@contextlib.contextmanager
def their_scheduler(bench: Bench) -> Iterator[None]:
    """kube-scheduler as a process, once it has bound a first pod."""
    bench.cluster.start("kube-scheduler")
    try:
        with a_namespace(bench, "warm") as namespace:
            seconds_to_bind(bench, namespace, "warm", THEIRS)
        yield
    finally:
        bench.cluster.stop("kube-scheduler")


# -- the cluster


@contextlib.contextmanager
def a_bench(nodes: int) -> Iterator[Bench]:
    """A cluster with our kinds, two queues that share it by halves, and nodes without pods."""
    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster.up(Path(folder) / "cluster", lost_after=NO_LEASE_STORM)
        try:
            install = [*RUNAI, "admin", "install", "--crds-only", "--kubeconfig", str(cluster.kubeconfig())]
            subprocess.run(install, check=True, capture_output=True)
            with cluster.kube() as kube:
                _make_queues(kube, nodes * GPUS)
                yield Bench(cluster, kube, add_fake_nodes(cluster, nodes, prefix="node", gpus=GPUS, seconds=300))
        finally:
            cluster.down()


def _make_queues(kube: Kube, gpus: int) -> None:
    free: Object = {"quota": -1, "limit": -1, "overQuotaWeight": 1}
    kube.wait("/apis/scheduling.run.ai/v2", bool)
    for name, parent, quota in (("bench", "", gpus), ("bench-a", "bench", gpus / 2), ("bench-b", "bench", gpus / 2)):
        resources = {"cpu": free, "memory": free, "gpu": {"quota": quota, "limit": -1, "overQuotaWeight": 1}}
        spec = {"resources": resources, **({"parentQueue": parent} if parent else {})}
        body = {"apiVersion": "scheduling.run.ai/v2", "kind": "Queue", "metadata": {"name": name}, "spec": spec}
        kube.post(QUEUES, body)


def new_namespace(bench: Bench, name: str) -> None:
    """Make a namespace and wait until pods can be made in it."""
    bench.kube.post("/api/v1/namespaces", {"metadata": {"name": name}})
    bench.kube.wait(f"/api/v1/namespaces/{name}/serviceaccounts/default", bool, seconds=60)


def highest_memory(process: psutil.Process) -> int:
    """The most memory that a process ever held, in bytes."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))


_AT_ONCE: Object = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}


@contextlib.contextmanager
def a_namespace(bench: Bench, name: str) -> Iterator[str]:
    """A namespace whose pods and groups are gone afterwards."""
    new_namespace(bench, name)
    yield name
    bench.kube.http.timeout = 300
    pods = f"/api/v1/namespaces/{name}/pods"
    for path in (pods, GROUPS.format(name)):
        known = bench.kube.get(path, resourceVersion="0")["items"]
        bench.send(*(("DELETE", f"{path}/{item['metadata']['name']}", _AT_ONCE) for item in known))
    bench.kube.wait(pods, lambda seen: not seen.get("items"), seconds=300, limit="1")
    bench.kube.delete(f"/api/v1/namespaces/{name}")
    bench.kube.wait_gone(f"/api/v1/namespaces/{name}", seconds=300)


def a_group(namespace: str, name: str, *, minimum: int = 1, queue: str = "bench-a") -> Request:
    body = {
        "apiVersion": "scheduling.run.ai/v2alpha2",
        "kind": "PodGroup",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"minMember": minimum, "queue": queue, "preemptibility": "preemptible"},
    }
    return "POST", GROUPS.format(namespace), body


def a_request(
    namespace: str, name: str, *, group: str = "", gpus: int = 1, scheduler: str = OURS, node: str = ""
) -> Request:
    annotations = {"pod-group-name": group} if group else {}
    pod = a_pod(name, gpus=gpus, scheduler=scheduler, node=node, annotations=annotations)
    return "POST", f"/api/v1/namespaces/{namespace}/pods", pod


def a_condition(namespace: str, name: str, sentence: str) -> Request:
    """What a scheduler writes on a pod that waits."""
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": sentence}
    body: Object = {"status": {"conditions": [condition]}}
    return "PATCH", f"/api/v1/namespaces/{namespace}/pods/{name}/status", body


def seconds_to_bind(bench: Bench, namespace: str, name: str, scheduler: str, *, freeing: str = "") -> float:
    """Create a pod (and its group), perhaps after room is made for it; return the seconds until it is seen bound."""
    path = f"/api/v1/namespaces/{namespace}/pods"
    if scheduler == OURS:
        bench.kube.post(GROUPS.format(namespace), a_group(namespace, name)[2] or {})
    if freeing:
        bench.kube.delete(f"{path}/{freeing}", grace=0)
        bench.kube.wait_gone(f"{path}/{freeing}")
    time.sleep(0.1)
    began = time.perf_counter()
    bench.kube.post(
        path, a_request(namespace, name, scheduler=scheduler, group=name if scheduler == OURS else "")[2] or {}
    )
    wait(lambda: bench.kube.get(f"{path}/{name}")["spec"].get("nodeName"), began, pause=0.002)
    return time.perf_counter() - began


def wait_until_bound(bench: Bench, namespace: str, began: float) -> int:
    """Wait until every pod has a node; return how many there are."""
    path = f"/api/v1/namespaces/{namespace}/pods"

    def all_bound() -> bool:
        waiting = bench.kube.get(path, fieldSelector="spec.nodeName=", limit="1")["items"]
        return not waiting

    wait(all_bound, began, seconds=600, pause=0.05)
    return len(bench.kube.get(path, resourceVersion="0")["items"])


def all_run(bench: Bench, namespace: str) -> bool:
    query = {"fieldSelector": "status.phase!=Running", "limit": "1"}
    return not bench.kube.get(f"/api/v1/namespaces/{namespace}/pods", **query)["items"]


def explains(bench: Bench, path: str, sentence: str) -> bool:
    """Return whether a pod says why it waits, in these words."""
    conditions = bench.kube.get(path)["status"].get("conditions", ())
    return any(each["type"] == "PodScheduled" and each.get("message") == sentence for each in conditions)


def verdict(bench: Bench, namespace: str, group: str) -> str:
    """Return what a pod group says about all of its pods; nothing while some are still to be made."""
    status = bench.kube.get(f"{GROUPS.format(namespace)}/{group}").get("status") or {}
    for condition in status.get("conditions") or ():
        if condition["type"] == "Scheduled" and condition["status"] == "False" and condition["reason"] != "NotReady":
            return str(condition["message"])
    return ""


def wait(found: Callable[[], Any], began: float, *, seconds: float = 120, pause: float = 0.02) -> Any:
    while not (value := found()):
        if time.perf_counter() - began > seconds:
            raise SystemExit(f"not done after {seconds} s")
        time.sleep(pause)
    return value
