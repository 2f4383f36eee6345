"""What projects, departments and node pools say of themselves on the cluster. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from runai_core.backends.kubernetes.codec.nodes import Partition
from runai_core.backends.kubernetes.names import GPU_RESOURCES
from runai_core.model.errors import InvalidRequest
from runai_core.model.nodes import NodePool
from runai_core.model.resources import MB, parse_quantity

Object = dict[str, Any]

AMOUNTS = ("allocated", "allocatedNonPreemptible", "requested")

SHOWN_NODES = 200
"""Names of nodes that a node pool shows at most; it always shows how many there are."""

Use = Mapping[str, Mapping[str, float]]
"""Amount (`AMOUNTS`) -> resource -> number: GPUs in devices, CPU in millicores, memory in MB."""


def queue_use(queues: Iterable[Mapping[str, Any]]) -> dict[str, Use]:
    """Return what each queue holds and asks for, by name."""
    return {str(item["metadata"]["name"]): _use_of(item.get("status") or {}) for item in queues}


def _use_of(status: Mapping[str, Any]) -> Use:
    return {name: _amounts(status.get(name) or {}) for name in AMOUNTS}


def _amounts(given: Mapping[str, Any]) -> dict[str, float]:
    found = {"gpu": 0.0, "cpu": 0.0, "memory": 0.0}
    for name, text in given.items():
        try:
            amount = float(parse_quantity(str(text)))
        except InvalidRequest:
            continue
        if name in GPU_RESOURCES or name == "gpu":
            found["gpu"] += amount
        elif name == "cpu":
            found["cpu"] += amount * 1000
        elif name == "memory":
            found["memory"] += amount / MB
    return found


def unit_status(
    item: Mapping[str, Any], *, problem: str, namespace: str, queues: Sequence[str], use: Sequence[Use]
) -> Object:
    """Return the status of a project or department."""
    going = bool(item["metadata"].get("deletionTimestamp"))
    phase = "Deleting" if going else "NotReady" if problem else "Ready"
    total = {
        name: {
            resource: round(sum(one[name][resource] for one in use), 3) for resource in ("gpu", "cpu", "memory")
        }
        for name in AMOUNTS
    }  # fmt: skip
    return {
        "phase": phase,
        "message": problem,
        **({"namespace": namespace} if namespace else {}),
        "queues": list(queues),
        "quotaStatus": total,
        "observedGeneration": item["metadata"].get("generation", 0),
    }


def node_pool_status(
    item: Mapping[str, Any], pools: Sequence[NodePool], nodes: Sequence[Mapping[str, Any]], problem: str
) -> Object:
    """Return the status of a node pool."""
    partition, name = Partition(tuple(pools)), item["metadata"]["name"]
    own = [node for node in nodes if partition.of_node(node["metadata"].get("labels") or {}) == name]
    names = sorted(str(node["metadata"]["name"]) for node in own)
    return {
        "phase": "Unschedulable" if problem else "Ready" if own else "Empty",
        "message": problem,
        "nodes": names[:SHOWN_NODES],
        "nodeCount": len(own),
        "gpuCount": sum(_gpus(node) for node in own),
        "observedGeneration": item["metadata"].get("generation", 0),
    }


def _gpus(node: Mapping[str, Any]) -> int:
    offered = (node.get("status") or {}).get("allocatable") or {}
    try:
        return sum(int(parse_quantity(str(offered[name]))) for name in GPU_RESOURCES if name in offered)
    except InvalidRequest:
        return 0
