"""Work that is done side by side on one connection, and ends with it."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from runai_core.model.errors import Unavailable

T = TypeVar("T")


class Together:
    """Tasks none of which goes on without the others."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    def add(self, *work: Coroutine[Any, Any, None]) -> None:
        """Begin work, beside what is done already."""
        self._tasks += [asyncio.create_task(item) for item in work]

    async def until_first(self) -> None:
        """Wait until one of them ends, and raise what it raised."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def until(self, answer: "asyncio.Future[T]", seconds: float, silent: str) -> T:
        """Return an answer that one of them brings.

        Raises:
            Unavailable: it did not come in time; `silent` says what that means. Or what one of them raised before.
        """
        waited: list[asyncio.Future[Any]] = [answer, *self._tasks]
        await asyncio.wait(waited, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in self._tasks:
            if task.done():
                task.result()
        if not answer.done():
            raise Unavailable(silent)
        return answer.result()

    async def end(self) -> None:
        """Cancel what still goes on, and wait for its end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def together() -> AsyncIterator[Together]:
    """Do things side by side; leaving the context ends those that still go on."""
    work = Together()
    try:
        yield work
    finally:
        await work.end()
