"""A store that tells who listens what was written, and notes it in the record of the request under way.

This is the one place that sees every change: services write as ever, and the
audit log has what was there before and after. A record is open in the context
of one request only; loops that run by themselves write into none.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any, TypeVar

from runai_core.model.errors import NotFound
from runai_core.ports import Change, Page, Query, SampleStore, Store, Stored, Tallies, samples_of

T = TypeVar("T", bound=Stored)

Listener = Callable[[type[Any]], None]

EVERYTHING = Query()


@dataclass(frozen=True, slots=True)
class Written:
    """One change of one object: created where nothing was before, deleted where nothing is after."""

    before: Any
    after: Any

    @property
    def item(self) -> Any:
        """The object as it is, or as it was."""
        return self.after if self.after is not None else self.before


@dataclass(slots=True)
class Notes:
    """What one request wrote, until it is answered."""

    written: list[Written] = field(default_factory=list)
    closed: bool = False  # what it started may go on, and is no longer its doing

    def add(self, before: Any, after: Any) -> None:
        """Note a change."""
        if not self.closed:
            self.written.append(Written(before, after))


async def tally_of(store: Store, kind: type[T], field: str, query: Query) -> Mapping[str, int]:
    """Return how many objects match, for each value of a field of text; counted here where the store cannot."""
    if isinstance(store, Tallies):
        return await store.tally(kind, field, query)
    found = await store.list(kind, replace(query, offset=0, limit=None))
    return Counter(str(attrgetter(field)(item)) for item in found.items)


NOTES: ContextVar[Notes | None] = ContextVar("NOTES", default=None)
"""The notes of the request under way; None in loops, and while nothing is to be noted."""


class NotingStore:
    """A `ports.Store` in front of another one."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Have the listener called with the kind of every object that is written through this store."""
        self._listeners.append(listener)

    @property
    def samples(self) -> SampleStore | None:
        """Where measurements are kept: they are no change that anybody made."""
        return samples_of(self._store)

    async def get(self, kind: type[T], name: str, project: str = "") -> T:
        """Return the object; raise NotFound where there is none."""
        return await self._store.get(kind, name, project)

    async def get_by_uid(self, kind: type[T], uid: str) -> T:
        """Return the object, also a deleted one that is still kept; raise NotFound."""
        return await self._store.get_by_uid(kind, uid)

    async def list(self, kind: type[T], query: Query = EVERYTHING) -> Page[T]:
        """Return the objects that match; raise InvalidRequest for a field that is not there."""
        return await self._store.list(kind, query)

    async def tally(self, kind: type[T], field: str, query: Query) -> Mapping[str, int]:
        """Return how many objects match, for each value of a field of text."""
        return await tally_of(self._store, kind, field, query)

    async def create(self, item: T) -> T:
        """Keep a new object, and note it."""
        made = await self._store.create(item)
        self._note(None, made)
        return made

    async def update(self, item: T) -> T:
        """Replace the object, and note how it was."""
        before = await self._before(type(item), item.meta.uid)
        saved = await self._store.update(item)
        self._note(before, saved)
        return saved

    async def delete(self, kind: type[T], uid: str) -> T:
        """Mark the object as deleted, and note how it was."""
        gone = await self._store.delete(kind, uid)
        self._note(gone, None)
        return gone

    async def purge(self, kind: type[T], deleted_before: float) -> int:
        """Forget for good what was deleted before that time; return how many."""
        return await self._store.purge(kind, deleted_before)

    def watch(self, kind: type[T], from_version: int) -> AsyncIterator[Change[T]]:
        """Yield every change after the version, in order. Raise WatchExpired when it is no longer known."""
        return self._store.watch(kind, from_version)

    async def version(self) -> int:
        """Return the newest resource version."""
        return await self._store.version()

    async def _before(self, kind: type[T], uid: str) -> T | None:
        notes = NOTES.get()
        if notes is None or notes.closed:
            return None
        try:
            return await self._store.get_by_uid(kind, uid)
        except NotFound:
            return None  # the update will say so

    def _note(self, before: Any, after: Any) -> None:
        notes = NOTES.get()
        if notes is not None:
            notes.add(before, after)
        for listener in self._listeners:
            listener(type(after if after is not None else before))
