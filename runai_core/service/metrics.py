"""Measurements: what workloads ask for, hold and use, kept in memory for a while.

Samples are taken every few seconds while workloads run, and when somebody asks
and the newest is old. They are not stored: a restart begins anew. Sources are
the state of the workload, the processes of this host, and plug-ins.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psutil

from runai_core.model.errors import NotFound
from runai_core.model.organization import Actor
from runai_core.model.resources import MIB, MILLI
from runai_core.model.snapshot import HOLDS_RESOURCES, PodState
from runai_core.model.workload import Phase, Pod, Workload, gpu_charge
from runai_core.plugins.types import MetricSource
from runai_core.ports import Backend, Filter, Op, Query
from runai_core.service.workloads import WorkloadService

log = logging.getLogger(__name__)

SAMPLE_EVERY = 10.0
"""Seconds between samples."""

FRESH = 2.0
"""Seconds after which a question takes a new sample first."""

KEPT = 360
"""Samples of one workload: an hour."""

POD_VARIABLE = "POD_UUID"
"""Variable in the environment of a pod's processes that holds the pod's uid."""

RUNS = (Phase.RUNNING, Phase.DEGRADED, Phase.INITIALIZING)
"""Phases in which there is something to measure."""

Values = dict[str, float]


@dataclass(frozen=True, slots=True)
class Point:
    """What was known of a workload at one moment; seconds since the epoch, UTC."""

    time: float
    workload: Values
    pods: Mapping[str, Values]  # by pod uid


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Which time, and how many samples of it at most. Seconds since the epoch, UTC."""

    start: float
    end: float
    samples: int


@dataclass(slots=True)
class _Use:
    """What the processes of one pod use now."""

    cpu_seconds: float = 0.0
    memory: int = 0  # bytes
    oldest: float = field(default_factory=time.time)  # when its first process began


class MetricsService:
    """Takes samples and answers what was measured."""

    def __init__(self, backend: Backend, workloads: WorkloadService, sources: Sequence[MetricSource] = ()) -> None:
        self._store = backend.store
        self._cluster = backend.cluster
        self._clock = backend.clock
        self._is_local = backend.name == "local"
        self._workloads = workloads
        self._sources = tuple(sources)
        self._points: dict[str, deque[Point]] = {}
        self._cpu: dict[str, tuple[float, float]] = {}  # pod uid -> (time, CPU seconds) of the newest sample
        self._sampling = asyncio.Lock()

    async def run(self) -> None:
        """Take samples until cancelled."""
        while True:
            try:
                await self.sample()
            except Exception:  # the top of a loop: one bad sample is not the last
                log.exception("a sample failed")
            await self._clock.sleep(SAMPLE_EVERY)

    async def sample(self) -> None:
        """Measure every workload that runs now; forget those that are over."""
        async with self._sampling:
            running = await self._running()
            pods = {item.meta.uid: await self._cluster.pods(item) for item in running}
            used = await self._used({pod.meta.uid for found in pods.values() for pod in found})
            now = self._clock.now()
            for workload in running:
                point = await self._point(workload, pods[workload.meta.uid], used, now)
                self._points.setdefault(workload.meta.uid, deque(maxlen=KEPT)).append(point)
            await self._forget({workload.meta.uid for workload in running}, set(used))

    async def of_workload(self, actor: Actor, uid: str, types: Sequence[str], window: Window) -> dict[str, list[Any]]:
        """Return (time, value) by metric; empty for one that nobody measured. Raise NotFound."""
        workload = await self._workloads.get(actor, uid)
        points = await self._fresh(workload)
        return _series(((point.time, point.workload) for point in points), types, window)

    async def of_pod(
        self, actor: Actor, uid: str, pod_uid: str, types: Sequence[str], window: Window
    ) -> dict[str, list[Any]]:
        """Return the same for one pod, named by its id.

        Raises:
            NotFound: the workload has, and had in the time that is kept, no such pod.
        """
        workload = await self._workloads.get(actor, uid)
        points = await self._fresh(workload)
        known = {pod.meta.uid for pod in await self._cluster.pods(workload)}
        if pod_uid not in known and not any(pod_uid in point.pods for point in points):
            raise NotFound(f"{workload.key} has no pod with the id {pod_uid[:80]}")
        return _series(((point.time, point.pods.get(pod_uid, {})) for point in points), types, window)

    async def _running(self) -> list[Workload]:
        found: list[Workload] = []
        for phase in RUNS:
            only = Query(filters=(Filter("phase", Op.EQ, phase.value),))
            found += (await self._store.list(Workload, only)).items
        return found

    async def _fresh(self, workload: Workload) -> Sequence[Point]:
        points = self._points.get(workload.meta.uid, ())
        newest = points[-1].time if points else 0.0
        if workload.phase in RUNS and self._clock.now() - newest > FRESH:
            await self.sample()
        return tuple(self._points.get(workload.meta.uid, ()))

    async def _forget(self, running: set[str], measured: set[str]) -> None:
        """Drop what was kept of workloads that are gone for as long as samples are kept, and of ended pods."""
        before = self._clock.now() - KEPT * SAMPLE_EVERY
        for uid in [uid for uid, points in self._points.items() if uid not in running and points[-1].time < before]:
            del self._points[uid]
        self._cpu = {uid: last for uid, last in self._cpu.items() if uid in measured}

    async def _used(self, pods: set[str]) -> dict[str, _Use]:
        if not pods or not self._is_local:
            return {}
        return await asyncio.to_thread(processes_of, pods)

    async def _point(self, workload: Workload, pods: Sequence[Pod], used: Mapping[str, _Use], now: float) -> Point:
        by_pod = {pod.meta.uid: _state(pod) | self._usage(pod, used, now) for pod in pods}
        whole = _sum(by_pod.values())
        whole |= {
            "POD_COUNT": float(len(pods)),
            "RUNNING_POD_COUNT": float(sum(pod.status.state is PodState.RUNNING for pod in pods)),
        }
        for source in self._sources:
            await _add_samples(source, workload, whole, {pod.name: by_pod[pod.meta.uid] for pod in pods})
        return Point(now, whole, by_pod)

    def _usage(self, pod: Pod, used: Mapping[str, _Use], now: float) -> Values:
        use = used.get(pod.meta.uid)
        if use is None:
            return {}
        before, seconds = self._cpu.get(pod.meta.uid, (use.oldest, 0.0))
        self._cpu[pod.meta.uid] = (now, use.cpu_seconds)
        # A process that ended since takes its CPU time with it: usage is never below 0.
        cores = max(use.cpu_seconds - seconds, 0.0) / max(now - before, 0.001)
        return {"CPU_USAGE_CORES": round(cores, 3), "CPU_MEMORY_USAGE_BYTES": float(use.memory)}


def processes_of(pods: set[str]) -> dict[str, _Use]:
    """Return what the processes of each pod use, found by the pod's uid in their environment."""
    found: dict[str, _Use] = {}
    for process in psutil.process_iter():
        try:
            uid = process.environ().get(POD_VARIABLE, "")
            if uid not in pods:
                continue
            with process.oneshot():
                times, memory, began = process.cpu_times(), process.memory_info().rss, process.create_time()
        except (psutil.Error, OSError):
            continue  # it ended, or belongs to somebody else
        use = found.setdefault(uid, _Use())
        use.cpu_seconds += times.user + times.system
        use.memory += memory
        use.oldest = min(use.oldest, began)
    return found


def _state(pod: Pod) -> Values:
    """Return what a pod asks for and holds, in the API's units: devices, cores, bytes."""
    request = pod.spec.request
    values = {
        "CPU_REQUEST_CORES": request.cpu / MILLI,
        "CPU_MEMORY_REQUEST_BYTES": float(request.memory),
        "GPU_ALLOCATION": gpu_charge(request) / MILLI if pod.status.state in HOLDS_RESOURCES else 0.0,
    }
    if request.gpu_memory_mib:
        values["GPU_MEMORY_REQUEST_BYTES"] = float(request.gpu_memory_mib * MIB * max(request.gpu_devices, 1))
    if pod.spec.cpu_limit:
        values["CPU_LIMIT_CORES"] = pod.spec.cpu_limit / MILLI
    if pod.spec.memory_limit:
        values["CPU_MEMORY_LIMIT_BYTES"] = float(pod.spec.memory_limit)
    return values


async def _add_samples(source: MetricSource, workload: Workload, whole: Values, pods: Mapping[str, Values]) -> None:
    try:
        samples = await source.sample(workload)
    except Exception:  # a plug-in: its failure never fails a sample
        log.exception("metric source %s failed", source.name)
        return
    for sample in samples:
        pods.get(sample.pod, whole)[sample.name] = sample.value


def _sum(pods: Iterable[Values]) -> Values:
    total: Values = {}
    for values in pods:
        for name, value in values.items():
            total[name] = total.get(name, 0.0) + value
    return total


def _series(points: Iterable[tuple[float, Values]], types: Sequence[str], window: Window) -> dict[str, list[Any]]:
    inside = [(moment, values) for moment, values in points if window.start <= moment <= window.end]
    names = types or sorted({name for _, values in inside for name in values})
    return {
        name: thin([(moment, values[name]) for moment, values in inside if name in values], window.samples)
        for name in names
    }


def thin(series: Sequence[Any], samples: int) -> list[Any]:
    """Return at most so many of the series, evenly spread, the newest always among them."""
    if len(series) <= samples:
        return list(series)
    if samples <= 0:
        return []
    step = len(series) / samples
    return [series[-1 - int(step * index)] for index in reversed(range(samples))]
