"""The embedded store: SQLite in a file or in memory, or PostgreSQL, with the semantics of Kubernetes.

Versions come from one counter of the database, which every transaction that
writes locks first: the order of versions is the order of commits.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, bindparam, func, select

from runai_core.backends.local.database import is_memory, open_engine, translated
from runai_core.backends.local.filters import conditions, ordering, value_of
from runai_core.backends.local.recent import Recent
from runai_core.backends.local.samples import LocalSamples
from runai_core.backends.local.tables import CHANGES, COUNTERS, LIVE, OBJECTS, PRUNED, VERSION
from runai_core.backends.local.watching import Watches
from runai_core.backends.local.writer import Committed, Writer
from runai_core.backends.local.writes import (
    ROW,
    Create,
    Delete,
    Update,
    Write,
    apply,
    kind_name,
    missing,
    purge,
    restored,
)
from runai_core.model.errors import FieldError, InvalidRequest, Unavailable, WatchExpired
from runai_core.ports import Change, ChangeType, Clock, Page, Query, Stored

T = TypeVar("T", bound=Stored)

LOG_KEPT = 10_000
"""Changes that a watch can go back; an older one has to list again."""

LOG_PIECE = 500
"""Changes that are read from the log at once."""

POLL_PERIOD = 0.25
"""Seconds between looks for what other processes wrote, where there may be some, and while somebody watches."""

READERS = 4
EVERYTHING = Query()


_BY_NAME = select(*ROW).where(
    OBJECTS.c.kind == bindparam("kind"),
    OBJECTS.c.project == bindparam("project"),
    OBJECTS.c.name == bindparam("name"),
    LIVE,
)
_BY_UID = select(*ROW).where(OBJECTS.c.uid == bindparam("uid"), OBJECTS.c.kind == bindparam("kind"))
_COUNTER = select(COUNTERS.c.value).where(COUNTERS.c.name == bindparam("name"))


class LocalStore:
    """A `ports.Store` on a database; made by `open_store`."""

    def __init__(
        self, engine: Engine, clock: Clock, *, shares_thread: bool, exclusive: bool = False, log_kept: int = LOG_KEPT
    ) -> None:
        self._engine = engine
        self._dialect = engine.dialect.name
        self._watches = Watches(self._read_log)
        self._recent = Recent() if exclusive and self._dialect == "sqlite" else None
        self._writer = Writer(engine, clock.now, self._committed, log_kept)
        self._readers = None if shares_thread else ThreadPoolExecutor(READERS, thread_name_prefix="store-reader")
        self._closed = False
        self.samples = LocalSamples(self._writer.submit, self._read)
        self._read_engine = (
            engine.execution_options(isolation_level="REPEATABLE READ") if self._dialect == "postgresql" else engine
        )

    async def get(self, kind: type[T], name: str, project: str = "") -> T:
        """Return the object; raise NotFound where there is none."""
        if self._recent is not None and (found := self._recent.get(kind, name, project)) is not None:
            await asyncio.sleep(0)  # a caller that reads in a loop must not keep all others from their turn
            return found  # type: ignore[no-any-return]
        key = {"kind": kind_name(kind), "project": project, "name": name}
        row = await self._read(lambda connection: connection.execute(_BY_NAME, key).one_or_none())
        if row is None:
            raise missing(kind, name, project)
        return restored(kind, row)  # type: ignore[no-any-return]

    async def get_by_uid(self, kind: type[T], uid: str) -> T:
        """Return the object, also a deleted one that is still kept; raise NotFound."""
        if self._recent is not None and (found := self._recent.get_by_uid(kind, uid)) is not None:
            await asyncio.sleep(0)  # as above
            return found  # type: ignore[no-any-return]
        key = {"kind": kind_name(kind), "uid": uid}
        row = await self._read(lambda connection: connection.execute(_BY_UID, key).one_or_none())
        if row is None:
            raise missing(kind, uid)
        return restored(kind, row)  # type: ignore[no-any-return]

    async def list(self, kind: type[T], query: Query = EVERYTHING) -> Page[T]:
        """Return the objects that match; raise InvalidRequest for a field that is not there."""
        _check_range(query)
        where = conditions(kind, kind_name(kind), query, self._dialect)
        chosen = select(OBJECTS.c.uid).where(where).order_by(*ordering(kind, query, self._dialect)).offset(query.offset)
        if query.limit is None and not query.offset:
            page = select(*ROW).where(where).order_by(*ordering(kind, query, self._dialect))
        else:  # choose rows by their keys first: documents of the others are never carried through the sort
            keys = chosen.limit(query.limit if query.limit is not None else 2**62).subquery()
            page = select(*ROW).join(keys, keys.c.uid == OBJECTS.c.uid)
            page = page.order_by(*ordering(kind, query, self._dialect))
        count = select(func.count()).select_from(OBJECTS).where(where)

        def read(connection: Connection) -> tuple[Sequence[Any], int, int]:
            version = _counter(connection, VERSION)
            rows = connection.execute(page).all()
            whole = query.limit is None and not query.offset
            return rows, len(rows) if whole else connection.execute(count).scalar_one(), version

        rows, total, version = await self._read(read)
        return Page(tuple(restored(kind, row) for row in rows), total, version)

    async def tally(self, kind: type[T], field: str, query: Query) -> Mapping[str, int]:
        """Return how many objects match, for each value of a field of text."""
        where, value = conditions(kind, kind_name(kind), query, self._dialect), value_of(kind, field, self._dialect)
        counted = select(value.label("value"), func.count()).where(where).group_by("value")
        rows = await self._read(lambda connection: connection.execute(counted).all())
        return {str(value): count for value, count in rows}

    async def create(self, item: T) -> T:
        """Keep a new object: uid (unless given), version and times are set. Raise AlreadyExists."""
        return await self._write(Create(item))  # type: ignore[no-any-return]

    async def update(self, item: T) -> T:
        """Replace the object of this uid if it still has ``item.meta.version``. Raise StaleVersion, NotFound."""
        return await self._write(Update(item))  # type: ignore[no-any-return]

    async def delete(self, kind: type[T], uid: str) -> T:
        """Mark the object as deleted: gone from lists, its name is free. Raise NotFound."""
        return await self._write(Delete(kind, uid))  # type: ignore[no-any-return]

    async def transact(self, writes: Sequence[Write]) -> Sequence[Any]:
        """Make all of these changes or none; return the objects as they are now. Raise as the first that is refused."""
        return await self._writer.submit(  # type: ignore[no-any-return]
            lambda batch: [apply(batch, write) for write in writes], atomic=len(writes) > 1
        )

    async def purge(self, kind: type[T], deleted_before: float) -> int:
        """Forget for good what was deleted before that time, and what it owned; return how many of the kind."""
        count = await self._writer.submit(lambda batch: purge(batch.connection, kind, deleted_before))
        if self._recent is not None:
            self._recent.clear()
        return int(count)

    def watch(self, kind: type[T], from_version: int) -> AsyncIterator[Change[T]]:
        """Yield every change after the version, in order. Raise WatchExpired when it is no longer known."""
        return self._watches.watch(kind, from_version)

    async def version(self) -> int:
        """Return the newest resource version."""
        return await self._read(lambda connection: _counter(connection, VERSION))  # type: ignore[no-any-return]

    async def follow_others(self) -> None:
        """Look again and again for what other processes wrote, as long as somebody watches."""
        while True:
            await asyncio.sleep(POLL_PERIOD)
            if len(self._watches):
                with suppress(Unavailable):  # the next look may succeed
                    self._watches.catch_up(await self.version())

    async def start(self) -> None:
        """Learn where versions stand."""
        self._watches.catch_up(await self.version())

    async def close(self) -> None:
        """Finish what was asked, end all watches and threads."""
        self._closed = True
        self._watches.close()
        await self._writer.close()
        if self._readers is not None:
            await asyncio.to_thread(self._readers.shutdown)
        await asyncio.to_thread(self._engine.dispose)

    def _committed(self, committed: Committed) -> None:
        if self._recent is not None:
            self._recent.take(committed.changes)
        self._watches.publish(committed)

    async def _write(self, write: Write) -> Any:
        return await self._writer.submit(lambda batch: apply(batch, write))

    async def _read(self, question: Callable[[Connection], Any]) -> Any:
        if self._closed:
            raise Unavailable("the store is closed")
        if self._readers is None:  # a database in memory has one connection, which belongs to the writer
            return await self._writer.submit(lambda batch: question(batch.connection))

        def ask() -> Any:
            with translated(), self._read_engine.connect() as connection, connection.begin():
                return question(connection)

        return await asyncio.get_running_loop().run_in_executor(self._readers, ask)

    async def _read_log(self, kind: type[Any], after: int) -> tuple[Sequence[Change[Any]], int, bool]:
        where = (CHANGES.c.kind == kind_name(kind), CHANGES.c.version > after)

        def read(connection: Connection) -> tuple[Sequence[Any], int, int]:
            newest = _counter(connection, VERSION)
            rows = connection.execute(select(CHANGES).where(*where).order_by(CHANGES.c.version).limit(LOG_PIECE)).all()
            return rows, newest, _counter(connection, PRUNED)

        rows, newest, pruned = await self._read(read)
        if after < pruned or after > newest:
            message = f"the watch starts at version {after}, but only {pruned} to {newest} are known: list again"
            raise WatchExpired(message, {"oldest": pruned, "newest": newest})
        changes = [Change(ChangeType(row.type), restored(kind, row), row.version) for row in rows]
        return changes, newest, len(changes) == LOG_PIECE


def _counter(connection: Connection, name: str) -> int:
    return int(connection.execute(_COUNTER, {"name": name}).scalar_one())


def _check_range(query: Query) -> None:
    for name, value in (("offset", query.offset), ("limit", query.limit)):
        if value is not None and not 0 <= value < 2**62:
            raise InvalidRequest.of(FieldError(name, "must not be negative", value))


@asynccontextmanager
async def open_store(
    url: str, clock: Clock, *, exclusive: bool = False, log_kept: int = LOG_KEPT
) -> AsyncIterator[LocalStore]:
    """Open the database of an SQLAlchemy URL, bring its schema up to date, and close it at the end.

    With `exclusive` the caller vouches that nobody else writes to an SQLite
    file: objects that were written lately are then read from memory.

    Raises:
        InvalidRequest: the URL is not one of SQLite or PostgreSQL.
        Unavailable: the database cannot be opened, is damaged, or was made by a newer version.
    """
    engine = await asyncio.to_thread(open_engine, url)
    store = LocalStore(engine, clock, shares_thread=is_memory(url), exclusive=exclusive, log_kept=log_kept)
    alone = engine.dialect.name == "sqlite" and (exclusive or is_memory(url))
    follower = None if alone else asyncio.create_task(store.follow_others())
    try:
        await store.start()
        yield store
    finally:
        if follower is not None:
            follower.cancel()
        await store.close()
