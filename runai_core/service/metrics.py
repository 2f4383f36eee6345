"""Answers what was measured: stored samples, one taken now where the newest is old, else Prometheus where it knows."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from runai_core.model.errors import NotFound, Unavailable
from runai_core.model.organization import TENANT, Action, Actor, Department, Project
from runai_core.model.samples import LEVELS, Point, added_up, level_for
from runai_core.model.workload import Workload
from runai_core.ports import Backend, SampleStore
from runai_core.service.access import AccessService
from runai_core.service.meters import Values, namespace_of
from runai_core.service.prometheus import PrometheusServer
from runai_core.service.sampling import RUNS, Sampler
from runai_core.service.workloads import WorkloadService

FRESH = 2.0
"""Seconds after which a question about something that runs takes a new sample first."""

MOST_POINTS = 4000
"""Points of one entity that are read for one answer at most; a longer time is read coarser."""

DEFAULT_WINDOW = 24 * 3600.0
"""Seconds that are answered where a question names no start and the thing has no beginning of its own."""

HIDDEN = frozenset({"ATTEMPT", "GPU_USED", "GPU_MEASURED", "RUNNING_WORKLOADS", "PENDING_WORKLOADS", "WAITED_SECONDS"})
"""Values that are kept to compute others from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Which time, and how many samples of it at most. Seconds since the epoch, UTC."""

    start: float | None
    end: float
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The values of one metric over time."""

    type: str
    labels: Mapping[str, str] = field(default_factory=dict)
    values: Sequence[tuple[float, float]] = ()  # time and value


class MetricsService:
    """Answers questions about the past and the present."""

    def __init__(
        self,
        backend: Backend,
        access: AccessService,
        workloads: WorkloadService,
        sampler: Sampler,
        prometheus: PrometheusServer | None = None,
    ) -> None:
        self._cluster = backend.cluster
        self._clock = backend.clock
        self._access = access
        self._workloads = workloads
        self._sampler = sampler
        self._prometheus = prometheus

    async def of_workload(self, actor: Actor, uid: str, types: Sequence[str], window: Window) -> list[Series]:
        """Return the series of a workload; one without values for a metric that nobody measured. Raise NotFound."""
        workload = await self._workloads.get(actor, uid)
        await self._freshen(workload)
        window = _begun(window, workload.meta.created_at - 1)
        found = series_of(await self.points(f"workload/{uid}", window), types, window)
        return await self._completed(workload, found, window)

    async def of_pod(self, actor: Actor, uid: str, pod_uid: str, types: Sequence[str], window: Window) -> list[Series]:
        """Return the same for one pod, named by its id.

        Raises:
            NotFound: the workload has, and had in the time that is kept, no such pod.
        """
        workload = await self._workloads.get(actor, uid)
        await self._freshen(workload)
        window = _begun(window, workload.meta.created_at - 1)
        points = await self.points(f"pod/{uid}/{pod_uid}", window)
        if not points and pod_uid not in {pod.meta.uid for pod in await self._cluster.pods(workload)}:
            raise NotFound(f"{workload.key} has no pod with the id {pod_uid[:80]}")
        return series_of(points, types, window)

    async def of_node(self, actor: Actor, ref: str, types: Sequence[str], window: Window) -> list[Series]:
        """Return the series of a node, by name or id. Raise NotFound."""
        await self._access.require(actor, Action.READ, "nodes")
        nodes = await self._cluster.nodes()
        node = next((node for node in nodes if ref in (node.name, node.meta.uid)), None)
        if node is None:
            has = ", ".join(item.name for item in nodes[:20]) or "none"
            raise NotFound(f"there is no node {ref[:80]}; there are: {has}")
        window = _begun(window, window.end - DEFAULT_WINDOW)
        return series_of(await self.points(f"node/{node.name}", window), types, window)

    async def of_unit(
        self,
        unit: Project | Department,
        types: Sequence[str],
        window: Window,
        *,
        node_pool: str | None = None,
        present: Values | None = None,
    ) -> list[Series]:
        """Return the series of a project or department, in one node pool or all; the caller has checked the right.

        `present` is what holds now, where the caller knows.
        """
        kind = "department" if isinstance(unit, Department) else "project"
        window = _begun(window, window.end - DEFAULT_WINDOW)
        prefix = f"{kind}/{unit.name}/"
        points = await self._sums(prefix + (node_pool or ""), window, whole=node_pool is not None)
        now = self._clock.now()
        if present is not None and window.end >= now and (not points or now - points[-1].time > FRESH):
            newest = points[-1].values if points else {}
            points = [*points, Point(prefix, now, {**newest, **present})]
        return series_of([_derived(point) for point in points], types, window)

    async def of_pool(self, actor: Actor, name: str | None, types: Sequence[str], window: Window) -> list[Series]:
        """Return the series of a node pool, or of the whole cluster."""
        await self._access.require(actor, Action.READ, "nodepools" if name else "clusters", TENANT)
        window = _begun(window, window.end - DEFAULT_WINDOW)
        points = await self._sums(f"pool/{name or ''}", window, whole=name is not None)
        return series_of([_derived(point) for point in points], types, window)

    async def points(self, entity: str, window: Window) -> list[Point]:
        """Return the points of an entity, as fine as its age allows; what is not yet rolled up is added finer."""
        found = await self._stitched(entity, window)
        return [point for point in found if point.entity == entity]

    async def _sums(self, prefix: str, window: Window, *, whole: bool) -> list[Point]:
        """Return the points of one entity, or the sums of all that are below the prefix."""
        if whole:
            return await self.points(prefix, window)
        by_entity: dict[str, list[Point]] = {}
        for point in await self._stitched(prefix, window):
            by_entity.setdefault(point.entity, []).append(point)
        return added_up([by_entity[name] for name in sorted(by_entity)], prefix)

    async def _stitched(self, name: str, window: Window) -> list[Point]:
        samples, start, end = self._sampler.samples, window.start or 0.0, window.end
        if samples is None:  # the store keeps none: what is known is what was measured last
            newest = [point for entity, point in self._sampler.newest.items() if entity.startswith(name)]
            return [point for point in newest if start <= point.time <= end]
        found = await stitched(samples, name, start, end, self._clock.now(), most=MOST_POINTS)
        return [point for _, points in found for point in points]

    async def _freshen(self, workload: Workload) -> None:
        if workload.phase not in RUNS:
            return
        newest = self._sampler.newest.get(f"workload/{workload.meta.uid}")
        if newest is None or self._clock.now() - newest.time > FRESH:
            await self._sampler.sample_of(workload)

    async def _completed(self, workload: Workload, found: list[Series], window: Window) -> list[Series]:
        """Ask Prometheus for what was not measured here, where there is one."""
        if self._prometheus is None:
            return found
        namespaces = {namespace_of(pod) for pod in await self._cluster.pods(workload)}
        pods = pods_in_prometheus(workload, namespaces or {f"runai-{workload.meta.project}"})
        return [await self._asked(series, pods, window) for series in found]

    async def _asked(self, series: Series, pods: Mapping[str, str], window: Window) -> Series:
        if series.values or series.type not in RANGES or self._prometheus is None:
            return series
        start, step = window.start or 0.0, (window.end - (window.start or 0.0)) / max(window.samples, 1)
        query = RANGES[series.type].format(**pods, over=f"{max(step, 120):.0f}s")
        try:
            rows = await self._prometheus.range(query, start, window.end, step)
        except Unavailable:  # no value is a true answer; the sampler's log says why
            return series
        return replace(series, values=thin(rows[0][1], window.samples)) if rows else series


def pods_in_prometheus(workload: Workload, namespaces: Iterable[str]) -> Mapping[str, str]:
    """Return the labels of a workload's pods in queries: as exporters say them, and as a ServiceMonitor does."""
    where, name = "|".join(sorted(namespaces)), re.escape(workload.name)
    return {
        "pods": f"namespace=~`{where}`,pod=~`{name}-.*`",
        "renamed": f"exported_namespace=~`{where}`,exported_pod=~`{name}-.*`",
    }


async def stitched(
    samples: SampleStore, name: str, start: float, end: float, now: float, *, most: int
) -> list[tuple[int, Sequence[Point]]]:
    """Return the points of an entity, or of all below a name that ends with a slash, by level from coarse to fine.

    Each level goes on where the coarser one ends: no part of the time is there twice.
    """
    ask = samples.below if name.endswith("/") else samples.series
    found: list[tuple[int, Sequence[Point]]] = []
    for level in range(level_for(start, end, now, most), -1, -1):
        more = await ask(name, start, end, level)
        found.append((level, more))
        if more and level:
            start = max(point.time for point in more) + LEVELS[level].seconds
    return found


RANGES: Mapping[str, str] = {
    "GPU_UTILIZATION": "avg(DCGM_FI_DEV_GPU_UTIL{{{pods}}} or DCGM_FI_DEV_GPU_UTIL{{{renamed}}})",
    "GPU_MEMORY_USAGE_BYTES": "sum(DCGM_FI_DEV_FB_USED{{{pods}}} or DCGM_FI_DEV_FB_USED{{{renamed}}}) * 1048576",
    "CPU_USAGE_CORES": 'sum(rate(container_cpu_usage_seconds_total{{{pods},container!=""}}[{over}]))',
    "CPU_MEMORY_USAGE_BYTES": 'sum(container_memory_working_set_bytes{{{pods},container!=""}})',
}
"""Metric of a workload -> what is asked of Prometheus for its past."""


def _begun(window: Window, begin: float) -> Window:
    return window if window.start is not None else replace(window, start=min(begin, window.end))


def series_of(points: Sequence[Point], types: Sequence[str], window: Window) -> list[Series]:
    """Return the series of these metrics, or of all that there are; of devices one series for each."""
    start = window.start or 0.0
    inside = [point for point in points if start <= point.time <= window.end]
    known = sorted({name for point in inside for name in point.values} - HIDDEN)
    found: list[Series] = []
    for wanted in types or sorted({name.partition("/")[0] for name in known}):
        names = [name for name in known if name == wanted or name.startswith(f"{wanted}/")]
        found += [_one(name, inside, window) for name in names] or [Series(type=wanted)]
    return found


def _one(name: str, points: Iterable[Point], window: Window) -> Series:
    kind, _, device = name.partition("/")
    values = [(point.time, point.values[name]) for point in points if name in point.values]
    return Series(type=kind, labels={"gpu": device} if device else {}, values=thin(values, window.samples))


def thin(series: Sequence[tuple[float, float]], samples: int) -> list[tuple[float, float]]:
    """Return at most so many of the series: means over equal parts of its time, and at the end its newest value."""
    if len(series) <= samples:
        return list(series)
    if samples <= 0:
        return []
    begin, newest = series[0][0], series[-1]
    length = (newest[0] - begin) / max(samples - 1, 1) or 1.0
    parts: dict[int, list[tuple[float, float]]] = {}
    for time, value in series[:-1]:
        parts.setdefault(min(int((time - begin) / length), samples - 2), []).append((time, value))
    means = [
        (part[-1][0], sum(value for _, value in part) / len(part)) for number, part in parts.items() if number >= 0
    ]
    return [*means, newest]


def _derived(point: Point) -> Point:
    """Return the point with what follows from its sums: parts of a whole, in percent."""
    values = dict(point.values)
    for name, read in DERIVED.items():
        try:
            values[name] = read(values)
        except (KeyError, ZeroDivisionError):
            continue  # it has no meaning here: nothing was measured, or there is nothing of it
    return replace(point, values=values)


DERIVED: Mapping[str, Callable[[Values], float]] = {
    "GPU_UTILIZATION": lambda row: 100 * row["GPU_USED"] / row["GPU_MEASURED"],
    "GPU_QUOTA_UTILIZATION": lambda row: 100 * row["GPU_ALLOCATION"] / row["GPU_QUOTA"],
    "GPU_MEMORY_UTILIZATION": lambda row: 100 * row["GPU_MEMORY_USAGE_BYTES"] / row["TOTAL_GPU_MEMORY_BYTES"],
    "CPU_UTILIZATION": lambda row: 100 * row["CPU_USAGE_CORES"] / row["TOTAL_CPU_CORES"],
    "CPU_MEMORY_UTILIZATION": lambda row: 100 * row["CPU_MEMORY_USAGE_BYTES"] / row["TOTAL_CPU_MEMORY_BYTES"],
    "ALLOCATED_GPU": lambda row: row["GPU_ALLOCATION"] + 0 * row["TOTAL_GPU"],
    "UNALLOCATED_GPU": lambda row: row["TOTAL_GPU"] - row["GPU_ALLOCATION"],
    "AVG_WORKLOAD_WAIT_TIME": lambda row: row["WAITED_SECONDS"] / row["RUNNING_WORKLOADS"],
    "WORKLOADS_COUNT": lambda row: row.get("RUNNING_WORKLOADS", 0.0) + row.get("PENDING_WORKLOADS", 0.0),
}
