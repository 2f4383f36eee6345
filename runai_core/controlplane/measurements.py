"""Measurements of a cluster on their way to the control plane: points since the last one that was kept there."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from runai_core.controlplane.projects import Projects
from runai_core.controlplane.store import TenantStore
from runai_core.model.clusters import Cluster
from runai_core.model.samples import LEVELS, Point
from runai_core.ports import Clock, Query, SampleStore

EVERY = 10.0
"""Seconds between tellings."""

PIECE = 1000
"""Points that are sent together."""

TIDY_EVERY = 60.0

POSITION = "Points"
"""Under this name a link keeps the time of the newest point, in whole seconds: the last second is told again."""

SHARED = ("pool", "department")
"""Entities that several clusters have: what one of them measured is not the whole."""

MARGIN = 120.0

Tell = Callable[[Sequence[Point]], Awaitable[None]]


async def tell(samples: SampleStore, clock: Clock, since: float, send: Tell) -> None:
    """Tell points for ever; those of a time that is no longer kept as it was measured, as means of a minute."""
    while True:
        now = clock.now()
        start = max(since, now - LEVELS[1].kept + MARGIN)
        level = 0 if now - start < LEVELS[0].kept - MARGIN else 1
        points = sorted(await samples.below("", start, now, level), key=lambda point: point.time)
        for begin in range(0, len(points), PIECE):
            await send(points[begin : begin + PIECE])
        if points:
            since = points[-1].time + 0.001
        elif level:
            since = now - LEVELS[0].kept + 2 * MARGIN
        await clock.sleep(EVERY)


def to_rows(points: Sequence[Point], ids: Mapping[str, str]) -> list[list[Any]]:
    """Return points as JSON values; `ids` are those of workloads in the control plane, where they differ."""
    return [[_renamed(point.entity, 1, ids), point.time, dict(point.values), point.count] for point in points]


def from_rows(rows: Sequence[Any]) -> list[Point]:
    """Return the points of such values."""
    return [Point(str(row[0]), float(row[1]), json.loads(json.dumps(row[2])), int(row[3])) for row in rows]


class Keeper:
    """Keeps what one cluster measured."""

    def __init__(self, store: TenantStore, cluster: Cluster, clock: Clock) -> None:
        self._store = store
        self._cluster = cluster
        self._clock = clock
        self._projects = Projects(store, cluster)
        self._tidied = clock.now()

    async def take(self, points: Sequence[Point], ahead: float = 0.0) -> None:
        """Keep points of a clock that is so many seconds ahead of ours; taking them twice changes nothing."""
        samples = self._store.samples
        now = self._clock.now()
        alone = (await self._store.list(Cluster, Query(limit=2))).total == 1
        names = {
            local: await self._projects.outward(local)
            for local in {point.entity.split("/")[1] for point in points if point.entity.startswith("project/")}
        }
        kept = [
            replace(point, entity=self._outward(point.entity, names), time=min(point.time - ahead, now))
            for point in points
            if alone or point.entity.partition("/")[0] not in SHARED
        ]
        await samples.add(kept)
        if now - self._tidied > TIDY_EVERY:
            self._tidied = now
            await samples.tidy(now)

    def _outward(self, entity: str, names: Mapping[str, str]) -> str:
        return _renamed(entity, 1, names) if entity.startswith("project/") else entity


def _renamed(entity: str, part: int, names: Mapping[str, str]) -> str:
    """Return the entity with another name for one of its parts, where there is one."""
    parts = entity.split("/")
    if len(parts) > part:
        parts[part] = names.get(parts[part], parts[part])
    return "/".join(parts)
