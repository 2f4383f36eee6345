"""Writes that go on in the background: how many there are, and waiting until they are few, or over."""

import asyncio
from collections.abc import Coroutine
from functools import partial

FAREWELL = 2.0
"""Seconds that writes have to end when their process does."""


class UnderWay:
    """Writes of one kind; a task may stand for several."""

    def __init__(self) -> None:
        self.count = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._fewer = asyncio.Event()

    def start(self, work: Coroutine[None, None, None], writes: int = 1) -> None:
        """Begin so many writes."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        self.count += writes
        task.add_done_callback(partial(self._end, writes))

    def _end(self, writes: int, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self.count -= writes
        self._fewer.set()

    async def few(self, at_most: int, seconds: float) -> None:
        """Wait until only so many are under way, but not longer than so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                while self.count > at_most:
                    self._fewer.clear()
                    await self._fewer.wait()
        except TimeoutError:
            return

    async def close(self) -> None:
        """Let what is under way end, for a moment; then give up."""
        await self.few(0, FAREWELL)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
