"""Measurements over time, and how they are made coarser as they grow old.

A point is what was known of one entity at one moment. Points are kept in
levels: each level holds means over longer parts of time, and for longer.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Level:
    """How fine points are, and for how long they are kept. Seconds."""

    seconds: int
    kept: int


LEVELS: Sequence[Level] = (
    Level(10, 3600),
    Level(60, 24 * 3600),
    Level(600, 30 * 24 * 3600),
    Level(3600, 366 * 24 * 3600),
)
"""From fine to coarse; the first holds what was measured, as it was measured."""

SHORT_LIVED = ("pod/",)
"""Entities that are so many, and of so little interest later, that only the first two levels keep them."""


@dataclass(frozen=True, slots=True)
class Point:
    """What was known of an entity: `workload/<uid>`, `pod/<workload>/<uid>`, `node/<name>`, `project/<name>/<pool>`.

    `time` is when it was measured, or when the part of time begins of which
    these are the means; seconds since the epoch, UTC. `count` is how many
    measurements went into it.
    """

    entity: str
    time: float
    values: Mapping[str, float]
    count: int = 1


def level_for(start: float, end: float, now: float, most: int) -> int:
    """Return the finest level that still reaches back to `start` and has at most so many points until `end`."""
    for index, level in enumerate(LEVELS):
        if now - start <= level.kept and (end - start) / level.seconds <= most:
            return index
    return len(LEVELS) - 1


def rolled_up(points: Iterable[Point], seconds: int) -> list[Point]:
    """Return the means of each entity over parts of time of that length; finer points weigh by their count."""
    sums: dict[tuple[str, float], dict[str, tuple[float, int]]] = {}
    counts: dict[tuple[str, float], int] = {}
    for point in points:
        key = (point.entity, point.time // seconds * seconds)
        counts[key] = counts.get(key, 0) + point.count
        row = sums.setdefault(key, {})
        for name, value in point.values.items():
            total, weight = row.get(name, (0.0, 0))
            row[name] = (total + value * point.count, weight + point.count)
    return [
        Point(entity, begin, {name: total / weight for name, (total, weight) in row.items()}, counts[entity, begin])
        for (entity, begin), row in sums.items()
    ]


def added_up(series: Sequence[Sequence[Point]], entity: str) -> list[Point]:
    """Return one series of sums from several: a part that has no point at a moment counts nothing there."""
    found: dict[float, dict[str, float]] = {}
    counts: dict[float, int] = {}
    for points in series:
        for point in points:
            row = found.setdefault(point.time, {})
            counts[point.time] = max(counts.get(point.time, 0), point.count)
            for name, value in point.values.items():
                row[name] = row.get(name, 0.0) + value
    return [Point(entity, time, found[time], counts[time]) for time in sorted(found)]
