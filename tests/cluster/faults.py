"""Misfortunes for tests, beside `Cluster.kill`, `.stop`, `.pause` and `Proxy`."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import yaml

from tests.cluster.certificates import write_private
from tests.cluster.cluster import Cluster
from tests.cluster.proxy import Proxy


def compact(cluster: Cluster) -> int:
    """Let etcd forget the history of all objects; return the revision that is now the oldest."""
    with httpx.Client(base_url=f"http://127.0.0.1:{cluster.port('etcd')}/v3/kv", trust_env=False, timeout=60) as etcd:
        revision = int(etcd.post("/range", json={"key": "AA=="}).json()["header"]["revision"])
        etcd.post("/compaction", json={"revision": revision, "physical": True}).raise_for_status()
    return revision


def restart_api_server(cluster: Cluster) -> None:
    """kill -9 the API server and start it again; what it remembered of the history is gone."""
    cluster.kill("kube-apiserver")
    cluster.start("kube-apiserver")
    cluster.wait_ready()


def forget_history(cluster: Cluster) -> None:
    """After this, a watch from any earlier version is answered with 410 Gone."""
    compact(cluster)
    restart_api_server(cluster)


@contextlib.contextmanager
def through_proxy(cluster: Cluster, folder: Path) -> Iterator[tuple[Proxy, Path]]:
    """A proxy in front of the API server, and a kubeconfig of the administrator that goes through it."""
    with Proxy(cluster.port("kube-apiserver")).running() as proxy:
        config = yaml.safe_load(cluster.kubeconfig().read_text())
        config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{proxy.port}"
        kubeconfig = folder / "proxied.kubeconfig"
        write_private(kubeconfig, yaml.safe_dump(config).encode())
        yield proxy, kubeconfig
