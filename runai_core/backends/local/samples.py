"""Measurements in the embedded database: one row for each entity, moment and level.

Writing goes through the store's one writer, so that nobody waits for a lock of
ours. Rolling up is done in pieces, each a transaction: whatever a crash leaves
out is done at the next start, from the rows of the finer level.
"""

import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Connection, and_, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from runai_core.backends.local.tables import SAMPLES
from runai_core.backends.local.writes import Batch
from runai_core.model.samples import LEVELS, SHORT_LIVED, Point, rolled_up

MAX_ROWS = 500_000
"""Rows of one level at most; the oldest go first."""

LATE = 15.0
"""Seconds after the end of a part of time in which points of it may still come."""

PIECE = 600.0
"""Seconds of the finer level that one transaction rolls up, or one part of time where that is longer."""

AHEAD = 3600.0
"""Seconds: points that are further in the future were measured by a wrong clock, and are forgotten."""

_INSERT = {
    "sqlite": sqlite.insert(SAMPLES).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(SAMPLES).on_conflict_do_nothing(),
}


Work = Callable[[Batch], Any]
Question = Callable[[Connection], Any]


class LocalSamples:
    """A `ports.SampleStore` in the database of a `LocalStore`."""

    def __init__(
        self,
        write: Callable[[Work], Awaitable[Any]],
        read: Callable[[Question], Awaitable[Any]],
        *,
        max_rows: int = MAX_ROWS,
    ) -> None:
        self._write = write  # in a transaction of the one writer
        self._read = read
        self._max_rows = max_rows

    async def add(self, points: Sequence[Point]) -> None:
        """Keep what was measured; a second point of an entity at one moment is dropped."""
        rows = _rows(0, points)
        if rows:
            await self._write(lambda batch: _insert(batch.connection, rows))

    async def series(self, entity: str, start: float, end: float, level: int = 0) -> Sequence[Point]:
        """Return the points of an entity from `start` to `end`, in order."""
        where = and_(SAMPLES.c.level == level, SAMPLES.c.entity == entity, SAMPLES.c.time.between(start, end))
        question = select(SAMPLES).where(where).order_by(SAMPLES.c.time)
        return _points(await self._read(lambda connection: connection.execute(question).all()))

    async def below(self, prefix: str, start: float, end: float, level: int = 0) -> Sequence[Point]:
        """Return the points of all entities whose names begin so, by entity and time."""
        where = and_(
            SAMPLES.c.level == level,
            SAMPLES.c.entity.startswith(prefix, autoescape=True),
            SAMPLES.c.time.between(start, end),
        )
        question = select(SAMPLES).where(where).order_by(SAMPLES.c.entity, SAMPLES.c.time)
        return _points(await self._read(lambda connection: connection.execute(question).all()))

    async def tidy(self, now: float) -> None:
        """Make what is complete coarser, and forget what is too old or too much."""
        await self._write(lambda batch: _forget_future(batch.connection, now))
        for level in range(1, len(LEVELS)):
            while await self._write(partial(_roll_up, level, now)):
                pass
        for level in range(len(LEVELS)):
            await self._write(partial(_forget, level, now, self._max_rows))


def _roll_up(level: int, now: float, batch: Batch) -> bool:
    """Fill one piece of a level from the finer one; return whether there may be another."""
    connection, seconds = batch.connection, LEVELS[level].seconds
    complete = (now - LATE) // seconds * seconds
    done = connection.execute(select(func.max(SAMPLES.c.time)).where(SAMPLES.c.level == level)).scalar()
    finer = and_(SAMPLES.c.level == level - 1, SAMPLES.c.time < complete)
    if done is not None:
        finer = and_(finer, SAMPLES.c.time >= done + seconds)
    first = connection.execute(select(func.min(SAMPLES.c.time)).where(finer)).scalar()
    if first is None:
        return False
    end = min(first // seconds * seconds + max(PIECE // seconds, 1) * seconds, complete)
    rows = connection.execute(select(SAMPLES).where(finer, SAMPLES.c.time < end)).all()
    kept = (point for point in _points(rows) if level == 1 or not point.entity.startswith(SHORT_LIVED))
    found = _rows(level, rolled_up(kept, seconds))
    if not found:  # only what is not kept for so long: the rest of the time may hold more
        return _skip(connection, level, end - seconds)
    _insert(connection, found)
    return True


def _skip(connection: Connection, level: int, time: float) -> bool:
    """Remember that nothing of the time before is to be kept, by a row without values."""
    _insert(connection, _rows(level, [Point("", time, {}, 0)]))
    return True


def _forget(level: int, now: float, max_rows: int, batch: Batch) -> None:
    connection, mine = batch.connection, SAMPLES.c.level == level
    connection.execute(delete(SAMPLES).where(mine, SAMPLES.c.time < now - LEVELS[level].kept))
    count = connection.execute(select(func.count()).select_from(SAMPLES).where(mine)).scalar_one()
    if count > max_rows:
        newest = select(SAMPLES.c.time).where(mine).order_by(SAMPLES.c.time.desc()).offset(max_rows).limit(1)
        oldest = connection.execute(newest).scalar_one()
        connection.execute(delete(SAMPLES).where(mine, SAMPLES.c.time <= oldest))


def _forget_future(connection: Connection, now: float) -> None:
    connection.execute(delete(SAMPLES).where(SAMPLES.c.time > now + AHEAD))


def _insert(connection: Connection, rows: list[dict[str, Any]]) -> None:
    connection.execute(_INSERT[connection.dialect.name], rows)


def _rows(level: int, points: Iterable[Point]) -> list[dict[str, Any]]:
    return [
        {
            "level": level,
            "entity": point.entity[:400],
            "time": point.time,
            "count": point.count,
            "document": json.dumps(dict(point.values), separators=(",", ":")),
        }
        for point in points
    ]


def _points(rows: Iterable[Any]) -> list[Point]:
    return [Point(row.entity, row.time, json.loads(row.document), row.count) for row in rows]
