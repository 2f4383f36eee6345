"""The one thread that writes, and how many callers share its transactions.

It takes whatever has come in while the last commit ran, applies all of it,
commits, and only then answers. A refused change answers its own caller alone; a
change that the database itself cannot take is tried again by itself, so that it
fails by itself.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine, delete, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from runai_core.backends.local.database import unavailable
from runai_core.backends.local.tables import CHANGES, COUNTERS, PRUNED, VERSION
from runai_core.backends.local.writes import Batch
from runai_core.model.errors import RunaiError, Unavailable
from runai_core.ports import Change

MAX_BATCH = 512
"""Jobs that share one transaction at most."""

PRUNE_STEP = 1_000
"""Changes between two prunings of the log at least."""


@dataclass(slots=True)
class Job:
    """Something to do in the writer's transaction: all of it or nothing."""

    work: Callable[[Batch], Any]
    future: "asyncio.Future[Any]"
    atomic: bool = False  # several changes: undo the first ones if a later one is refused
    result: Any = None
    error: Exception | None = None


@dataclass(slots=True)
class Committed:
    """What a transaction changed, for those who watch."""

    first: int  # version before it
    last: int
    changes: list[tuple[type[Any], Change[Any], dict[str, Any]]] = field(default_factory=list)


class Writer:
    """Runs jobs in the order in which they came, in one thread, many in one transaction."""

    def __init__(
        self, engine: Engine, now: Callable[[], float], committed: Callable[[Committed], None], log_kept: int
    ) -> None:
        self._engine = engine
        self._now = now
        self._committed = committed
        self._log_kept = log_kept
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._last_time = 0.0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    async def submit(self, work: Callable[[Batch], Any], *, atomic: bool = False) -> Any:
        """Run the work in a transaction; return when it is committed.

        Raises:
            Unavailable: the database could not do it, or the store is closed.
        """
        if self._closed:
            raise Unavailable("the store is closed")
        future: asyncio.Future[Any] = self._loop.create_future()
        self._jobs.put(Job(work, future, atomic))
        return await future

    async def close(self) -> None:
        """Finish what was asked, then end the thread."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        ending = False
        while not ending:
            jobs, ending = self._take()
            committed = self._transact(jobs) if jobs else Committed(0, 0)
            self._answer(jobs, committed)
        if self._connection is not None:
            self._connection.close()

    def _take(self) -> tuple[list[Job], bool]:
        """Wait for one job, then take all that are there; say whether it was the end."""
        jobs: list[Job] = []
        job = self._jobs.get()
        while job is not None:
            jobs.append(job)
            if len(jobs) >= MAX_BATCH:
                return jobs, False
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return jobs, False
        return jobs, True

    def _transact(self, jobs: Sequence[Job]) -> Committed:
        """Run the jobs in one transaction, or each in its own where together they fail."""
        try:
            return self._try_transact(jobs)
        except Exception as error:  # noqa: BLE001 - the top of a loop: whatever happens, callers get an answer
            self._drop_connection()
            if len(jobs) == 1:
                jobs[0].error = unavailable(error) if isinstance(error, SQLAlchemyError | OSError) else error
                return Committed(0, 0)
        merged = Committed(-1, 0)
        for job in jobs:
            job.result, job.error = None, None
            committed = self._transact([job])
            if committed.changes:
                # Versions of other processes may lie between: watchers then see a gap, and read the log.
                merged.first = committed.first if merged.first < 0 else merged.first
                merged.last = committed.last
                merged.changes.extend(committed.changes)
        return merged

    def _try_transact(self, jobs: Sequence[Job]) -> Committed:
        if self._connection is None:
            self._connection = self._engine.connect().execution_options(writes=True)
        connection = self._connection
        with connection.begin():
            counters = select(COUNTERS.c.name, COUNTERS.c.value).with_for_update()
            counter = {row.name: row.value for row in connection.execute(counters)}
            batch = Batch(connection, counter[VERSION], max(self._now(), self._last_time))
            for job in jobs:
                _run_job(job, batch)
            if batch.changes:
                connection.execute(insert(CHANGES), [row for _, _, row in batch.changes])
                self._save_counters(connection, counter, batch.version)
        self._last_time = batch.now if batch.changes else self._last_time
        return Committed(counter[VERSION], batch.version, batch.changes)

    def _save_counters(self, connection: Connection, counter: dict[str, int], version: int) -> None:
        pruned = version - self._log_kept
        if pruned >= counter[PRUNED] + min(PRUNE_STEP, self._log_kept):
            connection.execute(delete(CHANGES).where(CHANGES.c.version <= pruned))
            connection.execute(update(COUNTERS).where(COUNTERS.c.name == PRUNED).values(value=pruned))
        connection.execute(update(COUNTERS).where(COUNTERS.c.name == VERSION).values(value=version))

    def _drop_connection(self) -> None:
        """Forget a connection that failed: the next job gets a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(SQLAlchemyError, OSError):  # it is thrown away either way
                connection.invalidate()
                connection.close()

    def _answer(self, jobs: Sequence[Job], committed: Committed) -> None:
        with suppress(RuntimeError):  # the loop has ended: nobody waits any more
            self._loop.call_soon_threadsafe(self._deliver, jobs, committed)

    def _deliver(self, jobs: Sequence[Job], committed: Committed) -> None:
        if committed.changes:
            self._committed(committed)
        for job in jobs:
            if job.future.done():
                continue  # the caller was cancelled; the change is kept all the same
            if job.error is not None:
                job.future.set_exception(job.error)
            else:
                job.future.set_result(job.result)


def _run_job(job: Job, batch: Batch) -> None:
    """Run one job; keep a refusal as its answer and leave the batch as it was."""
    version, length = batch.version, len(batch.changes)
    savepoint = batch.connection.begin_nested() if job.atomic else None
    try:
        job.result = job.work(batch)
    except RunaiError as error:
        job.error = error
        batch.version = version
        del batch.changes[length:]
        if savepoint is not None:
            savepoint.rollback()
        return
    if savepoint is not None:
        savepoint.commit()
