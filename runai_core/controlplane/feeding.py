"""What one side tells the other of its store: changes in order, or everything where they cannot be told any more.

The receiver says how far it has read; what it has not read is told again. A
delta may come twice, so whoever takes it must not mind.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runai_core import wire
from runai_core.controlplane.site import outer_id
from runai_core.model.errors import Unavailable, WatchExpired
from runai_core.ports import Change, ChangeType, Query, Store, Stored

PIECE = 200
"""Objects that are sent together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """A part of what changed in one kind of object; `version` is reached when all of it was taken.

    With `full` it is a part of all there is, and `last` marks the end of such
    a telling. `present` is told once, in its first part: what is not in it is
    gone. None: nothing follows from what is not told.
    """

    kind: str
    version: int
    changes: tuple[tuple[ChangeType, int, Any], ...] = ()  # with the object's version
    full: bool = False
    last: bool = True
    present: frozenset[str] | None = None  # ids


Send = Callable[[Delta], Awaitable[None]]
"""Sends a delta, and returns when the other side has kept it."""

Render = Callable[[Any], Awaitable[Any]]
"""Returns an object as the other side shall see it; None where it is not for the other side."""


def to_message(delta: Delta) -> dict[str, Any]:
    """Return a delta as JSON values."""
    return {
        "kind": delta.kind,
        "version": delta.version,
        "full": delta.full,
        "last": delta.last,
        "present": None if delta.present is None else sorted(delta.present),
        "changes": [[change.value, version, wire.encode(item)] for change, version, item in delta.changes],
    }


def from_message(message: Mapping[str, Any], kinds: Mapping[str, type[Any]]) -> Delta:
    """Return the delta of a message.

    Raises:
        InvalidRequest: an object is not of the form that this version knows.
    """
    kind = kinds[message["kind"]]
    return Delta(
        kind=message["kind"],
        version=int(message["version"]),
        full=bool(message["full"]),
        last=bool(message["last"]),
        present=None if message["present"] is None else frozenset(message["present"]),
        changes=tuple(
            (ChangeType(change), int(version), wire.decode(kind, item)) for change, version, item in message["changes"]
        ),
    )


class Feed:
    """Tells one kind of object of a store."""

    def __init__(self, store: Store, kind: type[Stored], render: Render, *, keeps_gone: bool = False) -> None:
        self._store = store
        self._kind = kind
        self._render = render
        self._keeps_gone = keeps_gone  # objects are only added: nothing follows from one that is not told
        self._reached: int | None = None  # version up to which the other side has kept all
        self._news = asyncio.Event()

    async def run(self, since: int | None, send: Send) -> None:
        """Tell every change after the version, for ever; `since` None, or a version too old, means all of it first."""
        while True:
            if since is None:
                since = await self._tell_all(send)
            self._note(since)
            try:
                async for changes in batches(self._store.watch(self._kind, since)):
                    await self._tell(changes, send)
                    since = changes[-1].version
                    self._note(since)
            except WatchExpired:
                since = None
            else:
                raise Unavailable("the store is closed")

    async def caught_up(self) -> None:
        """Wait until the other side has kept all that there is now."""
        newest = (await self._store.list(self._kind, Query(sort_by="meta.version", descending=True, limit=1))).items
        while self._reached is None or (newest and self._reached < newest[0].meta.version):
            await self._news.wait()

    def _note(self, reached: int) -> None:
        self._reached = reached
        self._news.set()
        self._news = asyncio.Event()

    async def _tell(self, changes: Sequence[Change[Any]], send: Send) -> None:
        told = [(change.type, change.version, await self._render(change.object)) for change in changes]
        chosen = tuple(entry for entry in told if entry[2] is not None)
        if chosen:
            await send(Delta(kind=self._kind.__name__, version=changes[-1].version, changes=chosen))

    async def _tell_all(self, send: Send) -> int:
        """Tell all objects that are, and those that were deleted and are still kept; return the version reached."""
        page = await self._store.list(self._kind, Query())
        gone = await self._store.list(self._kind, Query(deleted=True))
        told: list[tuple[ChangeType, int, Any]] = []
        ended = {item.meta.uid for item in gone.items}
        there = [item for item in page.items if item.meta.uid not in ended]  # it was deleted between the two lists
        for kind, items in ((ChangeType.DELETED, gone.items), (ChangeType.ADDED, there)):
            # All with the version of the list: what was told of one of them before is not newer than that.
            rendered = [(kind, page.version, await self._render(item)) for item in items]
            told += [entry for entry in rendered if entry[2] is not None]
        present = None if self._keeps_gone else frozenset(outer_id(entry[2]) for entry in told)
        pieces = [tuple(told[start : start + PIECE]) for start in range(0, len(told), PIECE)] or [()]
        for index, piece in enumerate(pieces):
            await send(
                Delta(
                    kind=self._kind.__name__,
                    version=page.version,
                    changes=piece,
                    full=True,
                    last=index == len(pieces) - 1,
                    present=present if index == 0 else None,
                )
            )
        return page.version


async def batches(changes: AsyncIterator[Change[Any]]) -> AsyncIterator[Sequence[Change[Any]]]:
    """Yield what has come so far, as soon as there is something, at most `PIECE` at once."""
    queue: asyncio.Queue[Change[Any] | BaseException | None] = asyncio.Queue(PIECE)

    async def read() -> None:
        try:
            async for change in changes:
                await queue.put(change)
        except Exception as error:  # noqa: BLE001 - handed to the reader below
            await queue.put(error)
        else:
            await queue.put(None)

    reader = asyncio.create_task(read())
    try:
        while True:
            found = [await queue.get()]
            while not queue.empty() and len(found) < PIECE:
                found.append(queue.get_nowait())
            ready = [item for item in found if isinstance(item, Change)]
            if ready:
                yield ready
            end = next((item for item in found if not isinstance(item, Change)), found[0])
            if isinstance(end, BaseException):
                raise end
            if end is None:
                return
    finally:
        reader.cancel()
