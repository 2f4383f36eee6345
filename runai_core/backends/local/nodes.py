"""The nodes of the embedded backend: this host, or what a nodes file pretends.

A nodes file is YAML or JSON: a list, or an object with the one key `nodes`:

    nodes:
      - name: node-a          # required, a DNS label
        gpus: 4               # devices; 0 when left out
        gpuProduct: NVIDIA-H100-80GB-HBM3
        gpuMemory: 80Gi       # of each device
        cpu: 32               # cores; this host's when left out
        memory: 256Gi         # this host's when left out
        labels: {zone: a}
        taints: [{key: dedicated, value: ml, effect: NoSchedule}]
        nodePool: fast        # label kai.scheduler/node-pool
        maxPods: 110
        simulated: true       # GPUs of a nodes file always are

All pods run on this host, whichever of these nodes they are given.
"""

import difflib
import os
import re
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import yaml

from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.meta import Meta
from runai_core.model.nodes import (
    DEFAULT_NODE_POOL,
    NODE_POOL_LABEL,
    GpuDevice,
    Node,
    NodePool,
    Taint,
    TaintEffect,
)
from runai_core.model.resources import MIB, MILLI, parse_amount

FIELDS = (
    "name",
    "gpus",
    "gpuProduct",
    "gpuMemory",
    "cpu",
    "memory",
    "labels",
    "taints",
    "nodePool",
    "maxPods",
    "simulated",
)
SIMULATED_PRODUCT = "Simulated-GPU"
SIMULATED_MEMORY_MIB = 16 * 1024
MAX_GPUS = 1024
MAX_NODES = 100_000
MAX_PODS = 1_000
"""Pods on a node where nobody says otherwise: here they are processes, and many nodes are one host."""

_NAME = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$")


def read_nodes(path: Path) -> tuple[Node, ...]:
    """Return the nodes of a file.

    Raises:
        InvalidRequest: it cannot be read, is not YAML, or a field is wrong; names line or field.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise _wrong("nodesFile", f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise _wrong(
            "nodesFile", f"is not YAML{where}: {getattr(error, 'problem', None) or error}", str(path)
        ) from None
    if isinstance(content, Mapping) and set(content) == {"nodes"}:
        content = content["nodes"]
    if not isinstance(content, list) or not 0 < len(content) <= MAX_NODES:
        raise _wrong("nodes", f"must be a list of 1 to {MAX_NODES} nodes, each with a name", str(path))
    nodes = tuple(_node(entry, f"nodes[{index}]") for index, entry in enumerate(content))
    names = [node.name for node in nodes]
    if twice := next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None:
        raise _wrong("nodes", "has two nodes of one name", twice)
    return nodes


def host_node(simulated_gpus: int | None = None) -> Node:
    """Return this host as a node, with its real GPUs, or with so many simulated ones."""
    devices = (
        real_gpus() if simulated_gpus is None else _simulated(simulated_gpus, SIMULATED_PRODUCT, SIMULATED_MEMORY_MIB)
    )
    name = re.sub(r"[^a-z0-9-]+", "-", socket.gethostname().partition(".")[0].lower()).strip("-") or "localhost"
    return _with_labels(name, devices, cpu=_host_cpu(), memory=_host_memory())


def real_gpus() -> tuple[GpuDevice, ...]:
    """Return the NVIDIA GPUs that NVML finds; none where there is no driver."""
    try:
        import pynvml
    except ImportError:
        return ()
    return gpus_of(pynvml)


def gpus_of(nvml: Any) -> tuple[GpuDevice, ...]:
    """Return the GPUs that a binding of NVML finds; none where it has no driver, or fails."""
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return ()
    try:
        return tuple(_real_gpu(nvml, index) for index in range(nvml.nvmlDeviceGetCount()))
    except nvml.NVMLError:
        return ()
    finally:
        nvml.nvmlShutdown()


def in_pools(nodes: Iterable[Node], pools: Sequence[NodePool]) -> tuple[Node, ...]:
    """Return the nodes, each with the node pool whose label it carries; the first by name where several match."""
    by_name = sorted((pool for pool in pools if pool.name != DEFAULT_NODE_POOL), key=lambda pool: pool.name)
    return tuple(replace(node, node_pool=_pool_of(node, by_name)) for node in nodes)


def _pool_of(node: Node, pools: Sequence[NodePool]) -> str:
    labels = node.meta.labels
    for pool in pools:
        key, value = (pool.label_key, pool.label_value) if pool.label_key else (NODE_POOL_LABEL, pool.name)
        if labels.get(key) == value:
            return pool.name
    return DEFAULT_NODE_POOL


def _real_gpu(nvml: Any, index: int) -> GpuDevice:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    return GpuDevice(
        index=index,
        uuid=_text(nvml.nvmlDeviceGetUUID(handle)),
        product=_text(nvml.nvmlDeviceGetName(handle)).replace(" ", "-"),
        memory_mib=int(nvml.nvmlDeviceGetMemoryInfo(handle).total // MIB),
    )


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _node(entry: object, at: str) -> Node:
    if not isinstance(entry, Mapping):
        raise _wrong(at, "must be an object with at least a name", entry)
    for field in entry:
        if field not in FIELDS:
            near = difflib.get_close_matches(str(field), FIELDS, n=1)
            hint = f", did you mean {near[0]}?" if near else f"; known: {', '.join(FIELDS)}"
            raise _wrong(f"{at}.{str(field)[:80]}", f"unknown field{hint}")
    name = entry.get("name")
    if not isinstance(name, str) or not _NAME.match(name) or len(name) > 253:
        raise _wrong(f"{at}.name", "must be a DNS name of lower-case letters, digits and '-'", name)
    if entry.get("simulated", True) is not True:
        raise _wrong(
            f"{at}.simulated", "must be true: real GPUs are used when no nodes file is given", entry["simulated"]
        )
    devices = _simulated(
        _whole(entry.get("gpus", 0), f"{at}.gpus", MAX_GPUS),
        _string(entry.get("gpuProduct", SIMULATED_PRODUCT), f"{at}.gpuProduct"),
        parse_amount(entry.get("gpuMemory", f"{SIMULATED_MEMORY_MIB}Mi"), f"{at}.gpuMemory") // MIB,
    )
    pool = {NODE_POOL_LABEL: _string(entry["nodePool"], f"{at}.nodePool")} if "nodePool" in entry else {}
    node = _with_labels(
        name,
        devices,
        cpu=parse_amount(entry["cpu"], f"{at}.cpu", scale=MILLI) if "cpu" in entry else _host_cpu(),
        memory=parse_amount(entry["memory"], f"{at}.memory") if "memory" in entry else _host_memory(),
        labels=pool | _labels(entry.get("labels", {}), f"{at}.labels"),
    )
    return replace(
        node,
        taints=_taints(entry.get("taints", []), f"{at}.taints"),
        max_pods=_whole(entry.get("maxPods", MAX_PODS), f"{at}.maxPods", 10**6),
    )


def _with_labels(
    name: str, devices: tuple[GpuDevice, ...], *, cpu: int, memory: int, labels: Mapping[str, str] | None = None
) -> Node:
    known = {"kubernetes.io/hostname": name}
    if devices:
        known |= {
            "nvidia.com/gpu.count": str(len(devices)),
            "nvidia.com/gpu.product": devices[0].product,
            "nvidia.com/gpu.memory": str(devices[0].memory_mib),
        }
    return Node(
        meta=Meta(name=name, labels=known | dict(labels or {})),
        cpu=cpu,
        memory=memory,
        gpu_count=len(devices),
        gpu_memory_mib=min((device.memory_mib for device in devices), default=0),
        devices=devices,
        max_pods=MAX_PODS,
    )


def _simulated(count: int, product: str, memory_mib: int) -> tuple[GpuDevice, ...]:
    return tuple(
        GpuDevice(index=index, uuid=f"SIM-{index}", product=product, memory_mib=memory_mib, simulated=True)
        for index in range(count)
    )


def _labels(given: object, at: str) -> dict[str, str]:
    if not isinstance(given, Mapping):
        raise _wrong(at, "must be an object of text values", given)
    return {_string(key, at): _string(value, f"{at}.{key}") for key, value in given.items()}


def _taints(given: object, at: str) -> tuple[Taint, ...]:
    if not isinstance(given, list):
        raise _wrong(at, "must be a list of taints", given)
    taints = []
    for index, entry in enumerate(given):
        here = f"{at}[{index}]"
        if not isinstance(entry, Mapping) or not set(entry) <= {"key", "value", "effect"} or "key" not in entry:
            raise _wrong(here, "must have key, and may have value and effect", entry)
        effect = entry.get("effect", TaintEffect.NO_SCHEDULE.value)
        if effect not in list(TaintEffect):
            raise _wrong(f"{here}.effect", f"must be one of {', '.join(TaintEffect)}", effect)
        key, value = _string(entry["key"], f"{here}.key"), _string(entry.get("value", ""), f"{here}.value")
        taints.append(Taint(key, value, TaintEffect(effect)))
    return tuple(taints)


def _string(given: object, at: str) -> str:
    if not isinstance(given, str) or len(given) > 253:
        raise _wrong(at, "must be a text of at most 253 characters (in quotes, should it look like a number)", given)
    return given


def _whole(given: object, at: str, high: int) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given <= high:
        raise _wrong(at, f"must be a whole number from 0 to {high}", given)
    return given


def _wrong(field: str, message: str, given: object = None) -> InvalidRequest:
    shown = None if given is None else str(given)[:80]
    return InvalidRequest.of(FieldError(field, message, shown))


def _host_cpu() -> int:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count() or 1
    return usable * MILLI


def _host_memory() -> int:
    return int(psutil.virtual_memory().total)
