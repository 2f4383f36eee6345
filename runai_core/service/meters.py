"""Who measures what pods and GPUs use: this host's processes, NVML, Prometheus with DCGM's exporter, or nobody.

A meter reads what it knows and leaves out what it does not: where nothing
measures a GPU there is no value, and never a zero. Utilisation is in percent,
memory in bytes, CPU in cores.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import psutil

from runai_core.model.nodes import Node
from runai_core.model.snapshot import HOLDS_RESOURCES
from runai_core.model.workload import Pod

POD_VARIABLE = "POD_UUID"
"""Variable in the environment of a pod's processes that holds the pod's uid."""

SIMULATED_UTILIZATION = "RUNAI_SIMULATED_GPU_UTILIZATION"
"""Variable of a pod on simulated GPUs: the percent that it pretends to use; without it nothing is measured."""

Values = dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceUse:
    """What one GPU does: percent and bytes."""

    node: str
    index: int
    utilization: float
    memory_used: float
    memory_total: float


@dataclass(slots=True)
class Reading:
    """What one look found."""

    pods: dict[str, Values] = field(default_factory=dict)  # by uid
    nodes: dict[str, Values] = field(default_factory=dict)  # by name
    devices: dict[tuple[str, int], DeviceUse] = field(default_factory=dict)  # by node and index

    def add(self, other: "Reading") -> None:
        """Take in another reading; its values win."""
        for mine, theirs in ((self.pods, other.pods), (self.nodes, other.nodes)):
            for name, values in theirs.items():
                mine.setdefault(name, {}).update(values)
        self.devices.update(other.devices)


def namespace_of(pod: Pod) -> str:
    """Return the namespace of a pod, as exporters name it."""
    return pod.namespace or f"runai-{pod.meta.project}"


class Meter(Protocol):
    """Measures pods and nodes."""

    name: str

    async def read(self, nodes: Sequence[Node], pods: Sequence[Pod]) -> Reading:
        """Return what is known now; may raise, which is told and means no value."""
        ...


# -- processes of this host


@dataclass(slots=True)
class Use:
    """What the processes of one pod use now."""

    cpu_seconds: float = 0.0
    memory: int = 0  # bytes
    oldest: float = field(default_factory=time.time)  # when its first process began


class ProcessMeter:
    """Reads CPU and memory of the processes of each pod, and of this host where it is a node."""

    name = "processes"

    def __init__(self, *, is_node: bool = True) -> None:
        self._is_node = is_node  # False: the nodes are of a file, and only pretend
        self._cpu: dict[str, tuple[float, float]] = {}  # pod uid -> (time, CPU seconds) of the newest look

    async def read(self, nodes: Sequence[Node], pods: Sequence[Pod]) -> Reading:
        """Return cores and bytes by pod, and what the host uses."""
        wanted = {pod.meta.uid for pod in pods if pod.status.state in HOLDS_RESOURCES}
        used = await asyncio.to_thread(processes_of, wanted) if wanted else {}
        now = time.time()
        reading = Reading(pods={uid: self._usage(uid, use, now) for uid, use in used.items()})
        self._cpu = {uid: last for uid, last in self._cpu.items() if uid in wanted}
        if self._is_node:
            reading.nodes = {node.name: _host() for node in nodes}
        return reading

    def _usage(self, uid: str, use: Use, now: float) -> Values:
        before, seconds = self._cpu.get(uid, (use.oldest, 0.0))
        self._cpu[uid] = (now, use.cpu_seconds)
        # A process that ended since takes its CPU time with it: usage is never below 0.
        cores = max(use.cpu_seconds - seconds, 0.0) / max(now - before, 0.001)
        return {"CPU_USAGE_CORES": round(cores, 3), "CPU_MEMORY_USAGE_BYTES": float(use.memory)}


def processes_of(pods: set[str]) -> dict[str, Use]:
    """Return what the processes of each pod use, found by the pod's uid in their environment."""
    found: dict[str, Use] = {}
    for process in psutil.process_iter():
        try:
            uid = process.environ().get(POD_VARIABLE, "")
            if uid not in pods:
                continue
            with process.oneshot():
                times, memory, began = process.cpu_times(), process.memory_info().rss, process.create_time()
        except (psutil.Error, OSError):
            continue  # it ended, or belongs to somebody else
        use = found.setdefault(uid, Use())
        use.cpu_seconds += times.user + times.system
        use.memory += memory
        use.oldest = min(use.oldest, began)
    return found


def _host() -> Values:
    percent, memory = psutil.cpu_percent(None), psutil.virtual_memory()
    return {
        "CPU_UTILIZATION": percent,
        "CPU_USAGE_CORES": percent / 100 * (psutil.cpu_count() or 1),
        "CPU_MEMORY_UTILIZATION": memory.percent,
        "CPU_MEMORY_USAGE_BYTES": float(memory.used),
    }


# -- GPUs


class NvmlMeter:
    """Reads the NVIDIA GPUs of this host."""

    name = "nvml"

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml  # the module pynvml, or what looks like it
        self._ready = False
        self._seen: dict[str, int] = {}  # device uuid -> time of the newest sample, as NVML counts

    async def read(self, nodes: Sequence[Node], pods: Sequence[Pod]) -> Reading:
        """Return what each real device of these nodes does, and the pods on it."""
        wanted = {
            device.uuid: (node.name, device.index)
            for node in nodes
            for device in node.devices
            if not device.simulated and device.uuid
        }
        devices = await asyncio.to_thread(self._devices, wanted) if wanted else {}
        return Reading(devices=devices, pods=pods_on(pods, devices))

    def _devices(self, wanted: Mapping[str, tuple[str, int]]) -> dict[tuple[str, int], DeviceUse]:
        if not self._ready:
            self._nvml.nvmlInit()
            self._ready = True
        found: dict[tuple[str, int], DeviceUse] = {}
        for uuid, (node, index) in wanted.items():
            try:
                found[node, index] = self._device(uuid, node, index)
            except self._nvml.NVMLError:
                continue  # it fell off the bus, or may not be read: no value
        return found

    def _device(self, uuid: str, node: str, index: int) -> DeviceUse:
        handle = self._nvml.nvmlDeviceGetHandleByUUID(uuid)
        memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
        return DeviceUse(
            node=node,
            index=index,
            utilization=self._utilization(handle, uuid),
            memory_used=float(memory.used),
            memory_total=float(memory.total),
        )

    def _utilization(self, handle: Any, uuid: str) -> float:
        """Return the mean of all that the driver noted since the last look: short work is not missed."""
        try:
            kind, samples = self._nvml.nvmlDeviceGetSamples(
                handle, self._nvml.NVML_GPU_UTILIZATION_SAMPLES, self._seen.get(uuid, 0)
            )
            values = [_number(kind, sample.sampleValue) for sample in samples if sample.timeStamp]
        except (self._nvml.NVMLError, AttributeError):
            values = []
        if not values:
            return float(self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
        self._seen[uuid] = max(sample.timeStamp for sample in samples)
        return sum(values) / len(values)


def _number(kind: int, value: Any) -> float:
    """Return the number of one of NVML's unions; kind 0 is a float, all others we meet are whole."""
    return float(value.dVal if kind == 0 else value.uiVal)


class SimulatedMeter:
    """Says of pods on simulated GPUs what they ask to be said; of all others nothing."""

    name = "simulated"

    async def read(self, nodes: Sequence[Node], pods: Sequence[Pod]) -> Reading:
        """Return the percent that each pod pretends to use."""
        simulated = {node.name: node for node in nodes if node.simulated}
        reading = Reading()
        for pod in pods:
            node, text = simulated.get(pod.status.node), pod.spec.environment.get(SIMULATED_UTILIZATION)
            if node is None or text is None or pod.status.state not in HOLDS_RESOURCES:
                continue
            try:
                percent = min(max(float(text), 0.0), 100.0)
            except ValueError:
                continue  # it is told as a pod without a measurement
            total = float(node.gpu_memory_mib * 1024**2)
            for index in pod.status.gpu_devices:
                reading.devices[node.name, index] = DeviceUse(
                    node=node.name, index=index, utilization=percent, memory_used=0.0, memory_total=total
                )
        reading.pods = pods_on(pods, reading.devices)
        return reading


def pods_on(pods: Iterable[Pod], devices: Mapping[tuple[str, int], DeviceUse]) -> dict[str, Values]:
    """Return what the devices of each pod do; who shares a device is told what the device does as a whole."""
    found: dict[str, Values] = {}
    for pod in pods:
        if pod.status.state not in HOLDS_RESOURCES or not pod.status.gpu_devices:
            continue
        mine = [devices.get((pod.status.node, index)) for index in pod.status.gpu_devices]
        known = [device for device in mine if device is not None]
        if len(known) == len(mine):  # half a measurement would make a busy pod look idle
            found[pod.meta.uid] = gpu_values(known)
    return found


def gpu_values(devices: Sequence[DeviceUse]) -> Values:
    """Return utilisation and memory of some devices, together and of each."""
    values = {
        "GPU_UTILIZATION": sum(device.utilization for device in devices) / len(devices),
        "GPU_MEMORY_USAGE_BYTES": sum(device.memory_used for device in devices),
    }
    for device in devices:
        values[f"GPU_UTILIZATION_PER_GPU/{device.index}"] = device.utilization
        values[f"GPU_MEMORY_USAGE_BYTES_PER_GPU/{device.index}"] = device.memory_used
    return values


def nvml_module() -> Any | None:
    """Return the binding of NVML, or None where there is none."""
    try:
        import pynvml
    except ImportError:
        return None
    return pynvml
