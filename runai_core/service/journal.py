"""What happened: the story of each workload, and the observers who are told.

Records are written after the change that they tell of; observers are called
after the record, and their failure never fails a use case.
"""

import itertools
import logging
import uuid
from collections.abc import Sequence

from runai_core.model.meta import Meta
from runai_core.model.workload import HistoryRecord, Phase, RecordType, Workload
from runai_core.plugins.types import LifecycleObserver, TransitionEvent
from runai_core.ports import Backend, Filter, Op, Page, Query

log = logging.getLogger(__name__)


class Journal:
    """Writes and reads history records."""

    def __init__(self, backend: Backend, observers: Sequence[LifecycleObserver] = ()) -> None:
        self._store = backend.store
        self._clock = backend.clock
        self._observers = tuple(observers)
        # Names need only differ; drawing random bytes for each record is a system call too many.
        self._names = (f"{prefix}-{number}" for prefix in (uuid.uuid4().hex,) for number in itertools.count())

    async def transition(
        self, workload: Workload, from_phase: Phase | None, to_phase: Phase, *, signal: str, cause: str, actor: str
    ) -> None:
        """Record a change of phase and tell the observers."""
        record = await self._write(
            workload,
            HistoryRecord(
                meta=self._meta(workload),
                type=RecordType.PHASE_UPDATE,
                from_phase=from_phase,
                to_phase=to_phase,
                signal=signal,
                cause=cause,
                actor=actor,
                message=cause,
                involved=f"workload/{workload.name}",
            ),
        )
        await self._tell(workload, record)

    async def event(
        self,
        workload: Workload,
        reason: str,
        message: str,
        *,
        warning: bool = False,
        involved: str = "",
        actor: str = "system",
    ) -> None:
        """Record something that happened without a change of phase."""
        await self._write(
            workload,
            HistoryRecord(
                meta=self._meta(workload),
                type=RecordType.EVENT,
                reason=reason,
                message=message,
                severity="Warning" if warning else "Normal",
                involved=involved or f"workload/{workload.name}",
                actor=actor,
            ),
        )

    async def read(self, workload: Workload, query: Query) -> Page[HistoryRecord]:
        """Return the records of the workload, oldest first unless the query says otherwise."""
        return await self._store.list(
            HistoryRecord,
            Query(
                filters=query.filters,
                owner=workload.meta.uid,
                search=query.search,
                sort_by=query.sort_by,
                descending=query.descending,
                offset=query.offset,
                limit=query.limit,
            ),
        )

    async def events(self, workload: Workload, query: Query) -> Page[HistoryRecord]:
        """Return only the events."""
        only = Filter("type", Op.EQ, RecordType.EVENT.value)
        return await self.read(
            workload,
            Query(
                filters=(*query.filters, only),
                sort_by=query.sort_by,
                descending=query.descending,
                offset=query.offset,
                limit=query.limit,
            ),
        )

    def _meta(self, workload: Workload) -> Meta:
        return Meta(
            name=next(self._names), project=workload.meta.project, owner=workload.meta.uid, created_at=self._clock.now()
        )

    async def _write(self, workload: Workload, record: HistoryRecord) -> HistoryRecord:
        log.info("%s %s: %s", workload.key, record.to_phase or record.reason, record.message)
        return await self._store.create(record)

    async def _tell(self, workload: Workload, record: HistoryRecord) -> None:
        for observer in self._observers:
            try:
                await observer.on_transition(TransitionEvent(id=record.meta.uid, workload=workload, record=record))
            except Exception:
                log.exception("an observer failed: %r", observer)
