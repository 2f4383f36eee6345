"""Nodes whose kubelet KWOK plays, and pods for them. What a pod's annotations can ask for stands in stages.yaml."""

import time
from collections.abc import Mapping, Sequence

from tests.cluster.bulk import send_all
from tests.cluster.cluster import Cluster
from tests.cluster.commands import FAKE_NODE
from tests.cluster.kube import Object

GPU_MODEL = "NVIDIA-A100-SXM4-80GB"
GPU_MEMORY_MIB = 81920


def a_fake_node(
    name: str, *, gpus: int = 8, cpus: int = 128, labels: Mapping[str, str] | None = None, taints: Sequence[Object] = ()
) -> Object:
    """A node of `gpus` GPUs with the labels that NVIDIA's feature discovery would give it."""
    found = {
        "nvidia.com/gpu.count": str(gpus),
        "nvidia.com/gpu.memory": str(GPU_MEMORY_MIB),
        "nvidia.com/gpu.product": GPU_MODEL,
        "nvidia.com/gpu.present": "true",
    }
    amounts = {"cpu": str(cpus), "memory": "1Ti", "ephemeral-storage": "1Ti", "pods": "250"}
    if gpus:
        amounts["nvidia.com/gpu"] = str(gpus)
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {FAKE_NODE: "fake", "node.alpha.kubernetes.io/ttl": "0"},
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "type": "kwok",
                **(found if gpus else {}),
                **(labels or {}),
            },
        },
        "spec": {"taints": list(taints)},
        "status": {"capacity": amounts, "allocatable": amounts},
    }


def add_fake_nodes(
    cluster: Cluster,
    count: int,
    *,
    prefix: str = "kwok",
    gpus: int = 8,
    labels: Mapping[str, str] | None = None,
    seconds: float = 120,
) -> list[str]:
    """Create nodes named ``<prefix>-0`` and so on, wait until all are Ready and untainted, and return their names."""
    names = [f"{prefix}-{number}" for number in range(count)]
    with cluster.kube() as kube:
        known = {node["metadata"]["name"] for node in kube.get("/api/v1/nodes")["items"]}
    missing = [name for name in names if name not in known]
    send_all(
        cluster.kubeconfig(),
        (("POST", "/api/v1/nodes", a_fake_node(name, gpus=gpus, labels=labels)) for name in missing),
    )
    wait_for_nodes(cluster, names, seconds=seconds)
    return names


def remove_nodes(cluster: Cluster, names: Sequence[str]) -> None:
    """Delete nodes, and with them, after a moment, the pods on them."""
    send_all(cluster.kubeconfig(), (("DELETE", f"/api/v1/nodes/{name}", None) for name in names))


def wait_for_nodes(cluster: Cluster, names: Sequence[str], *, seconds: float = 120) -> None:
    """Wait until nodes are Ready and their not-ready taint is gone."""
    wanted = set(names)
    deadline = time.monotonic() + seconds
    with cluster.kube() as kube:
        while True:
            nodes = kube.get("/api/v1/nodes", resourceVersion="0")["items"]
            ready = {node["metadata"]["name"] for node in nodes if _is_ready(node)}
            if wanted <= ready:
                return
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"{len(wanted - ready)} nodes were not ready in {seconds} s: {sorted(wanted - ready)[:5]}"
                )
            time.sleep(0.1 + len(names) / 1000)


def a_pod(
    name: str,
    *,
    gpus: int = 0,
    node: str = "",
    scheduler: str = "",
    annotations: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
) -> Object:
    """A pod of one container, made for KWOK nodes (nothing is run). `node` places it without a scheduler."""
    resources = {"limits": {"nvidia.com/gpu": str(gpus)}} if gpus else {}
    spec: Object = {
        "containers": [{"name": "main", "image": "runai-test/none", "resources": resources}],
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
    }
    if node:
        spec["nodeName"] = node
    if scheduler:
        spec["schedulerName"] = scheduler
    metadata = {"name": name, "annotations": dict(annotations or {}), "labels": dict(labels or {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def a_binding(pod: str, node: str) -> Object:
    """What a scheduler posts to ``pods/<name>/binding``."""
    target = {"apiVersion": "v1", "kind": "Node", "name": node}
    return {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod}, "target": target}


def _is_ready(node: Object) -> bool:
    conditions = node["status"].get("conditions") or ()
    tainted = any(taint["key"] == "node.kubernetes.io/not-ready" for taint in node["spec"].get("taints", ()))
    return not tainted and any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
