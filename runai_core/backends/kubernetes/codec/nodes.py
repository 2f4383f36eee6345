"""A Kubernetes node as the scheduler and as lists see it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from runai_core.backends.kubernetes import names
from runai_core.backends.kubernetes.codec.conditions import statuses_of
from runai_core.backends.kubernetes.codec.selectors import NODE_NAME_LABEL
from runai_core.backends.kubernetes.codec.values import created_at, first_of, labels_of, millicores, whole
from runai_core.model.meta import Meta
from runai_core.model.nodes import DEFAULT_NODE_POOL, Node, NodePool, Taint, TaintEffect
from runai_core.model.resources import MIB
from runai_core.model.snapshot import NodeEntry

Object = Mapping[str, Any]

HEALTHY: Mapping[str, tuple[str, ...]] = {
    "Ready": ("True",),
    "MemoryPressure": ("False", "Unknown"),
    "DiskPressure": ("False", "Unknown"),
    "PIDPressure": ("False", "Unknown"),
    "NetworkUnavailable": ("False", "Unknown"),
}
"""Values of a node's conditions with which it takes pods; Ready must be there (scheduler semantics, 3.4 no. 6)."""

BYTES_FROM = 2**20
"""From this on, the label of a device's memory is in bytes, not in MiB (KAI)."""

ROUNDED_TO = 100
"""MiB to a multiple of which a device's memory is rounded down (KAI), so that nodes of one model are equal."""

_PLAIN = frozenset({"cpu", "memory", "pods", *names.GPU_RESOURCES})


@dataclass(frozen=True, slots=True)
class Partition:
    """How nodes, groups and queues fall into node pools."""

    pools: tuple[NodePool, ...] = ()

    def of_node(self, labels: Mapping[str, str]) -> str | None:
        """Return the node pool of a node; None where its label names a pool that nobody declared."""
        for pool in self.pools:
            if pool.label_key and labels.get(pool.label_key) == pool.label_value:
                return pool.name
        return self.of_labels(labels)

    def of_labels(self, labels: Mapping[str, str]) -> str | None:
        """Return the node pool that a queue, pod or group asks for by label."""
        value = first_of(labels, names.NODE_POOL_LABELS)
        if not value or value == DEFAULT_NODE_POOL:
            return DEFAULT_NODE_POOL
        return next((pool.name for pool in self.pools if value in (pool.name, pool.label_value)), None)


def pool_of(item: Object) -> NodePool:
    """Return the part of a NodePool object that partitions nodes."""
    spec, name = item.get("spec") or {}, item["metadata"]["name"]
    key = spec.get("labelKey") or ("" if name == DEFAULT_NODE_POOL else names.NODE_POOL_LABELS[0])
    value = spec.get("labelValue") or ("" if name == DEFAULT_NODE_POOL else name)
    return NodePool(meta=Meta(name=name, uid=item["metadata"].get("uid", "")), label_key=key, label_value=value)


def node_entry(node: Object, claimable: Mapping[str, int]) -> NodeEntry:
    """Return a node as the engine sees it; `claimable` counts the devices of its resource slices by kind.

    Raises:
        InvalidRequest: a quantity is wrong.
    """
    name, labels, spec = node["metadata"]["name"], labels_of(node), node.get("spec") or {}
    offered = _offered(node)
    gpus = _gpus(offered)
    extended = {key: amount for key, amount in offered.items() if key not in _PLAIN}
    extended |= {kind: count for kind, count in claimable.items() if kind != GPU}
    return NodeEntry(
        name=name,
        cpu=offered.get("cpu", 0),
        memory=offered.get("memory", 0),
        gpus=gpus,
        gpu_memory_mib=gpu_memory_mib(labels),
        max_pods=offered.get("pods", 110),
        labels={**labels, NODE_NAME_LABEL: name},
        taints=tuple(taints_of(spec)),
        ready=is_ready(node),
        unschedulable=bool(spec.get("unschedulable")),
        mig_strategy=_mig_strategy(labels, extended),
        extended=tuple(sorted(extended.items())),
        dra_gpus=claimable.get(GPU, 0) + _given_to_machines(labels, extended),
    )


def _given_to_machines(labels: Mapping[str, str], extended: Mapping[str, int]) -> int:
    """Return how many GPUs virtual machines can have: each model is a resource of its own name."""
    if labels.get(names.MACHINE_NODE_LABEL) not in names.MACHINE_NODES:
        return 0
    return sum(amount for name, amount in extended.items() if name.startswith("nvidia.com/"))


GPU = "gpu"
"""Kind under which claimable GPUs are counted, whatever their driver is called."""


def node_model(node: Object, pool: str) -> Node:
    """Return a node as lists show it."""
    meta, labels, spec = node["metadata"], labels_of(node), node.get("spec") or {}
    offered = _offered(node)
    return Node(
        meta=Meta(
            name=meta["name"],
            uid=meta.get("uid", ""),
            version=int(meta.get("resourceVersion") or 0),
            created_at=created_at(node),
            labels=dict(labels),
        ),
        cpu=offered.get("cpu", 0),
        memory=offered.get("memory", 0),
        gpu_count=_gpus(offered),
        gpu_memory_mib=gpu_memory_mib(labels),
        extended={key: amount for key, amount in offered.items() if key not in _PLAIN},
        max_pods=offered.get("pods", 110),
        node_pool=pool,
        taints=tuple(taints_of(spec)),
        ready=is_ready(node),
        unschedulable=bool(spec.get("unschedulable")),
    )


def is_ready(node: Object) -> bool:
    """Return whether a node is healthy enough for new pods."""
    conditions = statuses_of(node)
    if "Ready" not in conditions:
        return False
    return all(conditions[kind] in good for kind, good in HEALTHY.items() if kind in conditions)


def taints_of(spec: Mapping[str, Any]) -> Iterable[Taint]:
    """Return the taints of a node, without those of effects that nobody knows."""
    for item in spec.get("taints") or ():
        if item.get("effect") in _EFFECTS:
            yield Taint(key=item["key"], value=item.get("value") or "", effect=TaintEffect(item["effect"]))


_EFFECTS = frozenset(effect.value for effect in TaintEffect)


def gpu_memory_mib(labels: Mapping[str, str]) -> int:
    """Return the memory of a node's devices, 0 where it is not known."""
    text = labels.get(names.GPU_MEMORY_NODE_LABEL, "")
    amount = int(text) if text.isdecimal() else 0
    if amount >= BYTES_FROM:
        amount //= MIB
    return amount - amount % ROUNDED_TO


def _offered(node: Object) -> dict[str, int]:
    status = node.get("status") or {}
    offered = status.get("allocatable") or status.get("capacity") or {}
    return {name: millicores(value) if name == "cpu" else whole(value) for name, value in offered.items()}


def _gpus(offered: Mapping[str, int]) -> int:
    return sum(offered.get(name, 0) for name in names.GPU_RESOURCES)


def _mig_strategy(labels: Mapping[str, str], extended: Mapping[str, int]) -> str:
    """Return how a node offers MIG slices; the label says it, else what it offers (scheduler semantics, 1.6)."""
    if any(name.startswith(names.MIG_PREFIX) and count for name, count in extended.items()):
        return "mixed"
    if labels.get(names.MIG_ENABLED_NODE_LABEL) == "true" or labels.get(names.MIG_STRATEGY_NODE_LABEL) == "single":
        return "single" if labels.get(names.MIG_STRATEGY_NODE_LABEL) == "single" else ""
    return ""
