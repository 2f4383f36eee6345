"""The loop that measures: workloads, pods, nodes, node pools, projects and departments, every ten seconds.

What is measured is kept in the store (`ports.SampleStore`), so that a restart
loses at most what it slept through. Sums of projects and node pools are kept
beside what they were made of: a year later the pods are gone, and the hours of
each project are not.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from runai_core.model.nodes import NodePool
from runai_core.model.organization import Department, Project
from runai_core.model.samples import Point
from runai_core.model.snapshot import PodState
from runai_core.model.workload import Phase, Pod, Workload
from runai_core.plugins.types import MetricSource
from runai_core.ports import Backend, Filter, Op, Query, SampleStore, samples_of
from runai_core.service.meters import Meter, Reading, Values
from runai_core.service.points import World, node_points, pod_state, sum_of, unit_points

log = logging.getLogger(__name__)

SAMPLE_EVERY = 10.0
"""Seconds between samples."""

TIDY_EVERY = 60.0
"""Seconds between two rollings-up."""

UNBROKEN = 3 * SAMPLE_EVERY
"""Seconds between two measurements of a GPU beyond which the time between them was not measured: no use is known
of it, and no idleness either (Run:ai docs 2.25: idleness is found in windows of 30 s)."""

LOOK_BACK = 300.0
"""Seconds of stored measurements from which idle times are known again after a restart."""

IDLE_AFTER = 300.0
"""Seconds without use after which the GPUs of a workload count as idle in lists (Run:ai: idle GPU devices)."""

RUNS = (Phase.RUNNING, Phase.DEGRADED, Phase.INITIALIZING)
"""Phases in which there is something to measure."""

IDLE = "GPU_IDLE_SECONDS"
"""Metric of a workload: how long none of its GPUs has been used, as far as that was measured."""


@dataclass(slots=True)
class _Idle:
    """For how long the GPUs of one run have not been used. Seconds."""

    attempt: int
    seconds: float
    at: float  # newest measurement


class Sampler:
    """Takes samples, keeps them, and knows since when GPUs are idle."""

    def __init__(self, backend: Backend, *, sources: Sequence[MetricSource] = (), meters: Sequence[Meter] = ()) -> None:
        self._store = backend.store
        self._cluster = backend.cluster
        self._clock = backend.clock
        self._sources = tuple(sources)
        self._meters = tuple(meters)
        self._idle: dict[str, _Idle] = {}
        self._newest: dict[str, Point] = {}
        self._last_used: dict[tuple[str, int], float] = {}  # node and index -> when, or when first seen
        self._sampling = asyncio.Lock()
        self._failing: set[str] = set()

    @property
    def samples(self) -> SampleStore | None:
        """Where samples are kept; None where the store keeps none."""
        return samples_of(self._store)

    @property
    def newest(self) -> Mapping[str, Point]:
        """The newest point of each entity that was measured here."""
        return self._newest

    def use(self, sources: Sequence[MetricSource]) -> None:
        """Ask these plug-ins from now on, besides the meters."""
        self._sources = tuple(sources)

    def measure_with(self, meters: Sequence[Meter]) -> None:
        """Let these meters measure from now on."""
        self._meters = tuple(meters)

    async def run(self) -> None:
        """Take samples until cancelled."""
        await self.recall()
        tidied = due = self._clock.now()
        while True:
            due = max(due + SAMPLE_EVERY, self._clock.now())  # what a sample takes does not put off the next one
            await self._clock.sleep(due - self._clock.now())
            try:
                await self.sample()
                if self.samples is not None and abs(self._clock.now() - tidied) >= TIDY_EVERY:
                    tidied = self._clock.now()
                    await self.samples.tidy(tidied)
            except Exception:  # the top of a loop: one bad sample is not the last
                log.exception("a sample failed")

    async def recall(self) -> None:
        """Learn from the stored samples how long GPUs had been idle before a restart."""
        if self.samples is None:
            return
        now = self._clock.now()
        for point in await self.samples.below("workload/", now - LOOK_BACK, now):
            if IDLE in point.values:
                attempt = int(point.values.get("ATTEMPT", 0))
                self._idle[point.entity.partition("/")[2]] = _Idle(attempt, point.values[IDLE], point.time)

    async def sample(self) -> Sequence[Point]:
        """Measure everything that runs now, and keep it; return the points."""
        async with self._sampling:
            world = await self._look()
            points = await self.measure(world)
            if self.samples is not None:
                await self.samples.add(points)
            self._newest = {point.entity: point for point in points}
            running = {item.meta.uid for item in world.workloads}
            self._idle = {uid: idle for uid, idle in self._idle.items() if uid in running}
            return points

    async def sample_of(self, workload: Workload) -> Sequence[Point]:
        """Measure one workload now, because somebody asks, and keep it."""
        async with self._sampling:
            pods = {workload.meta.uid: await self._cluster.pods(workload)}
            nodes = await self._cluster.nodes()
            world = World(now=self._clock.now(), workloads=(workload,), pods=pods, nodes=nodes)
            reading = await self._read(world)
            points = await self._workload(workload, world, reading)
            if self.samples is not None:
                await self.samples.add(points)
            self._newest.update({point.entity: point for point in points})
            return points

    def idle_seconds(self, workload: Workload) -> float | None:
        """Return how long the GPUs of the present run have not been used; None where nothing measures them now."""
        found = self._idle.get(workload.meta.uid)
        if found is None or found.attempt != workload.attempt or self._clock.now() - found.at > UNBROKEN:
            return None
        return found.seconds

    async def measure(self, world: World) -> list[Point]:
        """Return the points of everything in the world."""
        reading = await self._read(world)
        points: list[Point] = []
        for workload in world.workloads:
            points += await self._workload(workload, world, reading)
        idle = {uid for uid, found in self._idle.items() if found.seconds >= IDLE_AFTER}
        points += node_points(world, reading, self._idle_devices(reading, world.now))
        points += unit_points(world, reading, idle)
        return points

    def _idle_devices(self, reading: Reading, now: float) -> Mapping[tuple[str, int], float]:
        """Return for how long each measured GPU has not been used; one that is measured first has not been idle."""
        for key, device in reading.devices.items():
            if device.utilization > 0 or key not in self._last_used:
                self._last_used[key] = now
        self._last_used = {key: at for key, at in self._last_used.items() if key in reading.devices}
        return {key: max(now - at, 0.0) for key, at in self._last_used.items()}

    async def _look(self) -> World:
        store = self._store
        running: list[Workload] = []
        for phase in RUNS:
            only = Query(filters=(Filter("phase", Op.EQ, phase.value),))
            running += (await store.list(Workload, only)).items
        waiting: dict[tuple[str, str], int] = {}
        pending = Query(filters=(Filter("phase", Op.EQ, Phase.PENDING.value),))
        for item in (await store.list(Workload, pending)).items:
            key = (item.meta.project, item.node_pool)
            waiting[key] = waiting.get(key, 0) + 1
        pods: dict[str, Sequence[Pod]] = {}
        for item in running:
            pods[item.meta.uid] = await self._cluster.pods(item)
        return World(
            now=self._clock.now(),
            workloads=running,
            pods=pods,
            nodes=await self._cluster.nodes(),
            pools=(await store.list(NodePool, Query())).items,
            projects=(await store.list(Project, Query())).items,
            departments=(await store.list(Department, Query())).items,
            waiting=waiting,
        )

    async def _read(self, world: World) -> Reading:
        reading, pods = Reading(), [pod for found in world.pods.values() for pod in found]
        for meter in self._meters:
            try:
                reading.add(await meter.read(world.nodes, pods))
            except Exception as error:  # noqa: BLE001 - whatever fails there, the others measure
                if meter.name not in self._failing:  # told once, not every ten seconds
                    log.warning("%s measures nothing: %s", meter.name, error)
                self._failing.add(meter.name)
            else:
                self._failing.discard(meter.name)
        return reading

    async def _workload(self, workload: Workload, world: World, reading: Reading) -> list[Point]:
        pods = world.pods.get(workload.meta.uid, ())
        by_pod = {pod.meta.uid: pod_state(pod, world.devices) | reading.pods.get(pod.meta.uid, {}) for pod in pods}
        whole = sum_of(by_pod.values())
        whole |= {
            "POD_COUNT": float(len(pods)),
            "RUNNING_POD_COUNT": float(sum(pod.status.state is PodState.RUNNING for pod in pods)),
        }
        for source in self._sources:
            await _add_samples(source, workload, whole, {pod.name: by_pod[pod.meta.uid] for pod in pods})
        whole |= self._idle_of(workload, by_pod.values(), world.now)
        own = Point(f"workload/{workload.meta.uid}", world.now, whole)
        of_pods = f"pod/{workload.meta.uid}"
        return [own, *(Point(f"{of_pods}/{uid}", world.now, values) for uid, values in by_pod.items())]

    def _idle_of(self, workload: Workload, pods: Iterable[Values], now: float) -> Values:
        """Return for how long no GPU of the workload was used; nothing where one of them is not measured."""
        used = [values.get("GPU_UTILIZATION") for values in pods if values["GPU_ALLOCATION"] > 0]
        measured = [percent for percent in used if percent is not None]
        if not measured or len(measured) < len(used):
            return {}
        before = self._idle.get(workload.meta.uid)
        seconds = 0.0
        if max(measured) <= 0 and before is not None and before.attempt == workload.attempt:
            passed = now - before.at
            seconds = before.seconds + (passed if 0 < passed <= UNBROKEN else 0.0)
        self._idle[workload.meta.uid] = _Idle(workload.attempt, seconds, now)
        return {IDLE: seconds, "ATTEMPT": float(workload.attempt)}


async def _add_samples(source: MetricSource, workload: Workload, whole: Values, pods: Mapping[str, Values]) -> None:
    try:
        samples = await source.sample(workload)
    except Exception:  # a plug-in: its failure never fails a sample
        log.exception("metric source %s failed", source.name)
        return
    for sample in samples:
        pods.get(sample.pod, whole)[sample.name] = sample.value
