"""The loop that measures: workloads, pods, nodes, node pools, projects and departments, every ten seconds.

What is measured is kept in the store (`ports.SampleStore`), so that a restart
loses at most what it slept through. Sums of projects and node pools are kept
beside what they were made of: a year later the pods are gone, and the hours of
each project are not.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from runai_core.model.nodes import DEFAULT_NODE_POOL, Node, NodePool
from runai_core.model.organization import Department, Project, QueueResources
from runai_core.model.resources import MB, MIB, MILLI
from runai_core.model.samples import Point
from runai_core.model.snapshot import HOLDS_RESOURCES, PodState
from runai_core.model.workload import Phase, Pod, Workload, gpu_charge
from runai_core.plugins.types import MetricSource
from runai_core.ports import Backend, Filter, Op, Query, SampleStore, samples_of
from runai_core.service.meters import Meter, Reading, Values, gpu_values

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


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What there is at one moment."""

    now: float
    workloads: Sequence[Workload]  # those that run
    pods: Mapping[str, Sequence[Pod]]  # by uid of the workload
    nodes: Sequence[Node] = ()
    pools: Sequence[NodePool] = ()
    projects: Sequence[Project] = ()
    departments: Sequence[Department] = ()
    waiting: Mapping[tuple[str, str], int] = field(default_factory=dict)  # project and node pool -> workloads


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

    async def run(self) -> None:
        """Take samples until cancelled."""
        await self.recall()
        tidied = self._clock.now()
        while True:
            await self._clock.sleep(SAMPLE_EVERY)
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
        points += _node_points(world, reading)
        points += unit_points(world, reading, idle)
        return points

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
        by_pod = {pod.meta.uid: pod_state(pod) | reading.pods.get(pod.meta.uid, {}) for pod in pods}
        whole = _sum(by_pod.values())
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


# -- what points are made of


def pod_state(pod: Pod) -> Values:
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


def unit_points(world: World, reading: Reading, idle: set[str]) -> list[Point]:
    """Return what projects, departments and node pools have and use, in each node pool."""
    pools = [pool.name for pool in world.pools] or [DEFAULT_NODE_POOL]
    departments = {project.name: project.department for project in world.projects}
    used: dict[str, Values] = {}
    for workload in world.workloads:
        for pod in world.pods.get(workload.meta.uid, ()):
            pool = pod.node_pool or workload.node_pool or DEFAULT_NODE_POOL
            values = _held(pod, reading, is_idle=workload.meta.uid in idle)
            department = departments.get(workload.meta.project, workload.department)
            for entity in (
                f"project/{workload.meta.project}/{pool}",
                f"department/{department}/{pool}",
                f"pool/{pool}",
            ):
                _add(used, entity, values)
        _count(used, workload.meta.project, departments, workload.node_pool or pools[0], "RUNNING_WORKLOADS", 1)
    for (project, pool), count in world.waiting.items():
        _count(used, project, departments, pool or pools[0], "PENDING_WORKLOADS", count)
    quotas = {
        f"{kind}/{unit.name}/{pool}": _quota(unit.resources.get(pool, QueueResources()))
        for kind, units in (("project", world.projects), ("department", world.departments))
        for unit in units
        for pool in pools
    }
    quotas |= {f"pool/{pool}": _pool(pool, world) for pool in pools}
    return [
        Point(entity, world.now, quotas.get(entity, {}) | used.get(entity, {}))
        for entity in sorted(quotas.keys() | used.keys())
    ]


def _held(pod: Pod, reading: Reading, *, is_idle: bool) -> Values:
    """Return what a pod holds and uses, so that it can be added up."""
    if pod.status.state not in HOLDS_RESOURCES:
        return {}
    request, use = pod.spec.request, reading.pods.get(pod.meta.uid, {})
    gpus = gpu_charge(request) / MILLI
    values = {
        "GPU_ALLOCATION": gpus,
        "CPU_ALLOCATION_MILLICORES": float(request.cpu),
        "CPU_MEMORY_ALLOCATION_MB": request.memory / MB,
        "GPU_IDLE": gpus if is_idle else 0.0,
    }
    if gpus and "GPU_UTILIZATION" in use:
        values |= {"GPU_MEASURED": gpus, "GPU_USED": gpus * use["GPU_UTILIZATION"] / 100}
    shared = ("CPU_USAGE_CORES", "CPU_MEMORY_USAGE_BYTES", "GPU_MEMORY_USAGE_BYTES")
    return values | {name: use[name] for name in shared if name in use}


def _quota(resources: QueueResources) -> Values:
    """Return the quota; one without a bound counts 0, as in the telemetry of the API."""
    return {
        "GPU_QUOTA": (resources.gpu.deserved or 0) / MILLI,
        "CPU_QUOTA_MILLICORES": float(resources.cpu.deserved or 0),
        "CPU_MEMORY_QUOTA_MB": (resources.memory.deserved or 0) / MB,
        "GPU_ALLOCATION": 0.0,
        "CPU_ALLOCATION_MILLICORES": 0.0,
        "CPU_MEMORY_ALLOCATION_MB": 0.0,
    }


def _pool(pool: str, world: World) -> Values:
    nodes = [node for node in world.nodes if node.node_pool == pool]
    quota = sum(unit.resources[pool].gpu.deserved or 0 for unit in world.departments if pool in unit.resources)
    return {
        "TOTAL_GPU_NODES": float(sum(node.gpu_count > 0 for node in nodes)),
        "TOTAL_GPU": float(sum(node.gpu_count for node in nodes)),
        "TOTAL_GPU_MEMORY_BYTES": float(sum(node.gpu_count * node.gpu_memory_mib * MIB for node in nodes)),
        "TOTAL_CPU_CORES": sum(node.cpu for node in nodes) / MILLI,
        "TOTAL_CPU_MEMORY_BYTES": float(sum(node.memory for node in nodes)),
        "GPU_QUOTA": quota / MILLI,
        "GPU_ALLOCATION": 0.0,
    }


def _node_points(world: World, reading: Reading) -> list[Point]:
    held: dict[str, Values] = {}
    for pods in world.pods.values():
        for pod in pods:
            if pod.status.state in HOLDS_RESOURCES:
                request = pod.spec.request
                amounts = {
                    "GPU_ALLOCATION": gpu_charge(request) / MILLI,
                    "CPU_ALLOCATION_MILLICORES": float(request.cpu),
                    "CPU_MEMORY_ALLOCATION_MB": request.memory / MB,
                }
                _add(held, pod.status.node, amounts)
    points = []
    for node in world.nodes:
        devices = [device for (name, _), device in sorted(reading.devices.items()) if name == node.name]
        values = held.get(node.name, {}) | reading.nodes.get(node.name, {})
        points.append(Point(f"node/{node.name}", world.now, values | (gpu_values(devices) if devices else {})))
    return points


def _count(
    used: dict[str, Values], project: str, departments: Mapping[str, str], pool: str, name: str, count: int
) -> None:
    entities = [f"project/{project}/{pool}", f"pool/{pool}"]
    with contextlib.suppress(KeyError):  # the project went a moment ago
        entities.append(f"department/{departments[project]}/{pool}")
    for entity in entities:
        _add(used, entity, {name: float(count)})


def _add(sums: dict[str, Values], entity: str, values: Mapping[str, float]) -> None:
    row = sums.setdefault(entity, {})
    for name, value in values.items():
        row[name] = row.get(name, 0.0) + value


def _sum(pods: Iterable[Values]) -> Values:
    """Return sums over pods; utilisation is the mean of those that have one."""
    total: Values = {}
    percents: list[float] = []
    for values in pods:
        for name, value in values.items():
            if name == "GPU_UTILIZATION":
                percents.append(value)
            elif "/" not in name:  # of single devices: the workload's numbers mean nothing across nodes
                total[name] = total.get(name, 0.0) + value
    return total | ({"GPU_UTILIZATION": sum(percents) / len(percents)} if percents else {})


async def _add_samples(source: MetricSource, workload: Workload, whole: Values, pods: Mapping[str, Values]) -> None:
    try:
        samples = await source.sample(workload)
    except Exception:  # a plug-in: its failure never fails a sample
        log.exception("metric source %s failed", source.name)
        return
    for sample in samples:
        pods.get(sample.pod, whole)[sample.name] = sample.value
