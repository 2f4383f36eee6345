"""Measurements from a Prometheus server: GPUs from DCGM's exporter, processors and memory from the kubelets."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from runai_core.model.errors import Unavailable
from runai_core.model.nodes import Node
from runai_core.model.resources import MIB
from runai_core.model.workload import Pod
from runai_core.service.meters import (
    DeviceUse,
    Meter,
    NvmlMeter,
    ProcessMeter,
    Reading,
    SimulatedMeter,
    Values,
    gpu_values,
    namespace_of,
    nvml_module,
)

TIMEOUT = 10.0
"""Seconds that a question may take."""

LARGEST = 32 * 1024**2
"""Bytes of an answer that are read at most."""

QUERIES: Mapping[str, str] = {
    # Any use in a window of 30 s counts: idle means that there was none.
    "utilization": "max_over_time(DCGM_FI_DEV_GPU_UTIL[30s])",
    "used": "DCGM_FI_DEV_FB_USED",
    "free": "DCGM_FI_DEV_FB_FREE",
    # Of the newest two scrapes: over longer times a pod that began a moment ago would seem to do next to nothing.
    "cpu": 'sum by (namespace, pod) (irate(container_cpu_usage_seconds_total{container!="",container!="POD"}[2m]))',
    "memory": 'sum by (namespace, pod) (container_memory_working_set_bytes{container!="",container!="POD"})',
    "node_cpu": '100 * (1 - avg by (instance, node) (irate(node_cpu_seconds_total{mode="idle"}[2m])))',
    "node_memory": "100 * (1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes)",
}
"""What is asked, by our word for it. DCGM says memory in MiB."""

POD_LABELS = (("exported_namespace", "exported_pod"), ("namespace", "pod"))
"""Where a series says whose GPU it is; behind a ServiceMonitor the exporter's own labels are `exported_`."""

NODE_LABELS = ("Hostname", "node", "kubernetes_node", "instance")


@dataclass(frozen=True, slots=True)
class Found:
    """One series at one moment."""

    labels: Mapping[str, str]
    value: float


class PrometheusServer:
    """A server that answers queries."""

    def __init__(self, url: str, client: httpx.AsyncClient | None = None) -> None:
        self._url = url.rstrip("/")
        self._client = client or httpx.AsyncClient(timeout=TIMEOUT, follow_redirects=False)

    async def now(self, query: str) -> list[Found]:
        """Return the newest values of a query.

        Raises:
            Unavailable: the server does not answer, or not as Prometheus does.
        """
        rows = await self._ask("/api/v1/query", {"query": query})
        return [Found(row["metric"], float(row["value"][1])) for row in rows]

    async def range(self, query: str, start: float, end: float, step: float) -> list[tuple[Mapping[str, str], Any]]:
        """Return the labels and (time, value) pairs of each series of a query; raise as `now`."""
        parameters = {"query": query, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{max(step, 1):.0f}"}
        rows = await self._ask("/api/v1/query_range", parameters)
        return [(row["metric"], [(float(at), float(value)) for at, value in row["values"]]) for row in rows]

    async def _ask(self, path: str, parameters: Mapping[str, str]) -> list[Any]:
        try:
            async with self._client.stream("GET", self._url + path, params=dict(parameters)) as response:
                body = bytearray()
                async for piece in response.aiter_bytes():
                    body += piece
                    if len(body) > LARGEST:
                        raise Unavailable(f"Prometheus at {self._url} answers more than {LARGEST} bytes")
            answer = httpx.Response(response.status_code, content=bytes(body)).json()
        except (httpx.HTTPError, ValueError) as error:
            raise Unavailable(
                f"Prometheus at {self._url} does not answer: {str(error) or type(error).__name__}"
            ) from None
        if not isinstance(answer, dict) or answer.get("status") != "success":
            said = answer.get("error", "no reason") if isinstance(answer, dict) else "no JSON object"
            raise Unavailable(f"Prometheus at {self._url} refuses the query: {str(said)[:200]}")
        return list(answer["data"]["result"])


class PrometheusMeter:
    """Reads pods, nodes and GPUs from a Prometheus server."""

    name = "prometheus"

    def __init__(self, server: PrometheusServer) -> None:
        self.server = server

    async def read(self, nodes: Sequence[Node], pods: Sequence[Pod]) -> Reading:
        """Return what the exporters measured; raise Unavailable."""
        answers = await asyncio.gather(*(self.server.now(query) for query in QUERIES.values()))
        found = dict(zip(QUERIES, answers, strict=True))
        by_name = {(namespace_of(pod), pod.name): pod for pod in pods}
        names = {node.name for node in nodes}
        reading = Reading()
        _add_gpus(reading, found, by_name, names)
        for word, metric in (("cpu", "CPU_USAGE_CORES"), ("memory", "CPU_MEMORY_USAGE_BYTES")):
            for item in found[word]:
                pod = by_name.get((item.labels.get("namespace", ""), item.labels.get("pod", "")))
                if pod is not None:
                    reading.pods.setdefault(pod.meta.uid, {})[metric] = item.value
        for word, metric in (("node_cpu", "CPU_UTILIZATION"), ("node_memory", "CPU_MEMORY_UTILIZATION")):
            for item in found[word]:
                if node := _node_of(item.labels, names):
                    reading.nodes.setdefault(node, {})[metric] = item.value
        return reading


def meters_for(backend: str, server: PrometheusServer | None, *, pretends: bool) -> tuple[Meter, ...]:
    """Return who measures: on this machine its processes and GPUs, and Prometheus where one is configured.

    `pretends`: the nodes are of a file, so that this host and its GPUs are none of them.
    """
    found: list[Meter] = []
    if backend == "local":
        found += [ProcessMeter(is_node=not pretends), SimulatedMeter()]
        nvml = nvml_module()
        found += [] if nvml is None or pretends else [NvmlMeter(nvml)]
    return (*found, *([] if server is None else [PrometheusMeter(server)]))


def _add_gpus(
    reading: Reading,
    found: Mapping[str, Sequence[Found]],
    pods: Mapping[tuple[str, str], Pod],
    nodes: set[str],
) -> None:
    """Join what DCGM says of each device: by its uuid."""
    used = {item.labels.get("UUID", ""): item.value * MIB for item in found["used"]}
    free = {item.labels.get("UUID", ""): item.value * MIB for item in found["free"]}
    on: dict[str, list[DeviceUse]] = {}
    for item in found["utilization"]:
        uuid, node = item.labels.get("UUID", ""), _node_of(item.labels, nodes)
        index = item.labels.get("gpu", "")
        if not node or not index.isdecimal():
            continue
        device = DeviceUse(
            node=node,
            index=int(index),
            utilization=item.value,
            memory_used=used.get(uuid, 0.0),
            memory_total=used.get(uuid, 0.0) + free.get(uuid, 0.0),
        )
        others = reading.devices.get((node, device.index), device)  # for 30 s it has a series of its pod before, too
        reading.devices[node, device.index] = max(device, others, key=lambda each: each.utilization)
        for namespace, name in POD_LABELS:
            pod = pods.get((item.labels.get(namespace, ""), item.labels.get(name, "")))
            if pod is not None:
                on.setdefault(pod.meta.uid, []).append(device)
                break
    reading.pods |= {uid: _of_pod(devices) for uid, devices in on.items()}


def _of_pod(devices: Sequence[DeviceUse]) -> Values:
    return gpu_values(sorted(devices, key=lambda device: device.index))


def _node_of(labels: Mapping[str, str], nodes: set[str]) -> str:
    for name in NODE_LABELS:
        value = labels.get(name, "")
        for candidate in (value, value.rpartition(":")[0]):
            if candidate in nodes:
                return candidate
    return ""
