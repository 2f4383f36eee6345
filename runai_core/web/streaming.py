"""Streams that may fail before they begin: the first piece is awaited a moment, so that an error is still an error."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any, TypeVar

from runai_core.model.errors import RunaiError
from runai_core.web.errors import body_of

T = TypeVar("T")

GATHERED = 200
"""Things that one message of a stream carries at most."""

FIRST_WAIT = 0.25
"""Seconds that an answer waits for its first piece before its status goes out."""

HEARTBEAT = 15.0
"""Seconds of silence after which a stream of events says that it is alive."""


class Pending(AsyncIterator[T | None]):
    """An iterator whose next piece can be waited for in turns: `None` means not yet."""

    def __init__(self, source: AsyncIterator[T], patience: float | None) -> None:
        self._source = source
        self._patience = patience
        self._next: asyncio.Task[T] | None = None

    async def peek(self, seconds: float) -> None:
        """Wait for the first piece, or its error, but not longer than `seconds`."""
        self._next = self._next or asyncio.ensure_future(_take(self._source))
        await asyncio.wait({self._next}, timeout=seconds)
        if self._next.done() and isinstance(self._next.exception(), RunaiError):
            await self._next

    async def __anext__(self) -> T | None:
        """Return the next piece, or None when none came in time."""
        self._next = self._next or asyncio.ensure_future(_take(self._source))
        await asyncio.wait({self._next}, timeout=self._patience)
        if not self._next.done():
            return None
        found, self._next = self._next, None
        try:
            return found.result()
        except _End:
            raise StopAsyncIteration from None

    async def close(self) -> None:
        """Stop the source, also in the middle of a wait."""
        if self._next is not None:
            self._next.cancel()
            with contextlib.suppress(asyncio.CancelledError, _End, RunaiError):
                await self._next
        close = getattr(self._source, "aclose", None)
        if close is not None:
            await close()


class _End(Exception):
    """The source ended: a task cannot raise StopAsyncIteration."""


async def _take(source: AsyncIterator[T]) -> T:
    try:
        return await anext(source)
    except StopAsyncIteration:
        raise _End from None


async def begun(source: AsyncIterator[T], patience: float | None) -> Pending[T]:
    """Return the stream once it has begun or proved slow; raise what stops it from beginning."""
    pending = Pending(source, patience)
    try:
        await pending.peek(FIRST_WAIT)
    except RunaiError:
        await pending.close()
        raise
    return pending


async def gathered(source: AsyncIterator[T], most: int = GATHERED) -> AsyncIterator[list[T]]:
    """Yield what comes from the source in lists of all that is there: one message for many changes.

    A reader that is slow holds the source up after `most`.
    """
    there: list[T] = []
    news, room = asyncio.Event(), asyncio.Event()

    async def take() -> None:
        try:
            async for item in source:
                there.append(item)
                news.set()
                if len(there) >= most:
                    room.clear()
                    await room.wait()
        finally:
            news.set()

    taking = asyncio.create_task(take())
    try:
        while there or not taking.done():
            await news.wait()
            news.clear()
            found, there[:] = there[:], []
            room.set()
            if found:
                yield found
        await taking
    finally:
        taking.cancel()
        with contextlib.suppress(asyncio.CancelledError, RunaiError):
            await taking
        close = getattr(source, "aclose", None)
        if close is not None:
            await close()


async def pieces(pending: Pending[bytes]) -> AsyncIterator[bytes]:
    """Yield the bytes of a stream as they come."""
    try:
        async for piece in pending:
            if piece:
                yield piece
    finally:
        await pending.close()


def event(name: str, data: Any, identity: int | None = None) -> bytes:
    """Return one server-sent event (HTML standard, section 9.2)."""
    head = "" if identity is None else f"id: {identity}\n"
    return f"{head}event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


def failure(error: RunaiError) -> bytes:
    """Return the event that ends a stream which failed after it had begun."""
    return event("ERROR", body_of(error))


COMMENT = b": alive\n\n"
"""What is sent when there is nothing to say."""
