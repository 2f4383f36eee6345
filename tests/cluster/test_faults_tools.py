"""The misfortunes that other tests order do happen."""

import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.faults import compact, forget_history, restart_api_server, through_proxy
from tests.cluster.kube import Kube

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def cluster(own_cluster: Cluster) -> Cluster:
    """A cluster that only these tests harm."""
    return own_cluster


def test_a_watch_from_before_the_compaction_is_gone(cluster: Cluster, kube: Kube, namespace: str) -> None:
    maps = f"/api/v1/namespaces/{namespace}/configmaps"
    old = kube.get(maps)["metadata"]["resourceVersion"]
    for number in range(3):
        kube.post(maps, {"metadata": {"name": f"new-{number}"}})

    forget_history(cluster)

    answer = kube.http.get(maps, params={"watch": "true", "resourceVersion": old, "timeoutSeconds": "2"})
    assert '"code":410' in answer.text or answer.status_code == 410
    assert compact(cluster) > int(old)


def test_objects_survive_a_killed_api_server(cluster: Cluster, kube: Kube, namespace: str) -> None:
    restart_api_server(cluster)

    assert kube.get(f"/api/v1/namespaces/{namespace}")["status"]["phase"] == "Active"


def test_a_frozen_api_server_answers_when_it_thaws(cluster: Cluster, kube: Kube) -> None:
    kube.get("/version")
    cluster.pause("kube-apiserver")
    try:
        with pytest.raises(httpx.ReadTimeout):
            kube.http.get("/version", timeout=0.5)
    finally:
        cluster.resume("kube-apiserver")

    assert kube.get("/version")["major"] == "1"


def test_the_proxy_carries_cuts_refuses_holds_and_delays(cluster: Cluster, tmp_path: Path) -> None:
    with through_proxy(cluster, tmp_path) as (proxy, kubeconfig):
        kube = Kube(kubeconfig)
        assert kube.get("/version")["major"] == "1"

        proxy.delay(0.3)
        began = time.monotonic()
        kube.get("/version")
        assert time.monotonic() - began >= 0.3
        proxy.allow()

        proxy.hold()
        with pytest.raises(httpx.ReadTimeout):
            kube.http.get("/version", timeout=0.3)
        proxy.allow()

        proxy.refuse()
        with pytest.raises(httpx.TransportError):
            kube.get("/version")
        proxy.allow()
        assert kube.get("/version")["major"] == "1"
        kube.close()


def test_a_watch_is_cut_in_the_middle(cluster: Cluster, tmp_path: Path, namespace: str) -> None:
    with through_proxy(cluster, tmp_path) as (proxy, kubeconfig):
        kube = Kube(kubeconfig)
        path = f"/api/v1/namespaces/{namespace}/configmaps"
        query = {"watch": "true", "timeoutSeconds": "20"}

        with kube.http.stream("GET", path, params=query) as watch:
            threading.Timer(0.1, proxy.cut).start()
            with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
                for _ in watch.iter_raw():
                    pass

        assert kube.get("/version")["major"] == "1"
        kube.close()
