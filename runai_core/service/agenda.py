"""What is to be looked at, and when: the one queue of all loops that are level-triggered.

Who hears of a change names a key, and a look at the key finds out by itself
what is to be done. So it does not matter how often a key was named, only that
a look begins after the last time.
"""

import asyncio
import heapq
import logging
import math
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from runai_core.model.errors import NotFound, RunaiError, StaleVersion
from runai_core.ports import Clock

log = logging.getLogger(__name__)

K = TypeVar("K", str, tuple[str, str])

MOMENT = 0.05
"""Seconds until another look at what somebody else changed meanwhile: our copy may not show it yet."""

IDLE = 3600.0
"""Seconds that are waited for when nothing is due; who names a time ends the wait."""


class Agenda(Generic[K]):
    """Keys that are due, each once and looked at by one task at a time.

    `kind` says in messages what the keys are of. After a failure a key waits
    `first` seconds, then twice as long each time, up to `longest`.
    """

    def __init__(self, clock: Clock, kind: str, *, first: float, longest: float) -> None:
        self._clock = clock
        self._kind = kind
        self._first = first
        self._longest = longest
        self._ready: asyncio.Queue[K] = asyncio.Queue()
        self._named: set[K] = set()  # to be looked at: in the queue, or when the present look is over
        self._busy: set[K] = set()
        self._due: dict[K, float] = {}  # when a key is named by itself
        self._times: list[tuple[float, K]] = []  # the same as a heap, with times that no longer count
        self._sooner = asyncio.Event()
        self._failures: dict[K, int] = {}

    def poke(self, key: K) -> None:
        """Ask for a look; asking twice before it begins is one look, asking during it is another one."""
        if key not in self._named:
            self._named.add(key)
            if key not in self._busy:
                self._ready.put_nowait(key)

    def at(self, key: K, when: float) -> None:
        """Ask for a look at a time; of several the first counts, and that look asks for the next."""
        if when < self._due.get(key, math.inf):
            self._due[key] = when
            heapq.heappush(self._times, (when, key))
            if self._times[0] == (when, key):
                self._sooner.set()

    def after(self, key: K, seconds: float) -> None:
        """Ask for a look after so many seconds."""
        self.at(key, self._clock.now() + seconds)

    def again(self, key: K) -> int:
        """Ask for another look after a failure; return how many failures there were in a row."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        self.after(key, min(self._first * 2.0 ** (failures - 1), self._longest))
        return failures

    def forget(self, key: K) -> None:
        """Drop what is remembered of a key that is gone: its failures, and when it would be looked at."""
        self._failures.pop(key, None)
        self._due.pop(key, None)

    async def run(self, look: Callable[[K], Awaitable[None]], *, workers: int) -> None:
        """Look at what is due until cancelled, so many keys side by side.

        A look that raises is repeated: soon if somebody else changed the object
        meanwhile, not at all if it is gone (NotFound), else as after any failure.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._wait())
            for _ in range(workers):
                tasks.create_task(self._work(look))

    async def _wait(self) -> None:
        while True:
            self._sooner.clear()
            now = self._clock.now()
            while self._times and self._times[0][0] <= now:
                when, key = heapq.heappop(self._times)
                if self._due.get(key) == when:
                    del self._due[key]
                    self.poke(key)
            waits = (
                asyncio.create_task(self._sooner.wait()),
                asyncio.create_task(self._clock.sleep(self._times[0][0] - now if self._times else IDLE)),
            )
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()

    async def _work(self, look: Callable[[K], Awaitable[None]]) -> None:
        while True:
            key = await self._ready.get()
            self._named.discard(key)
            self._busy.add(key)
            try:
                await self._look(key, look)
            finally:
                self._busy.discard(key)
                if key in self._named:
                    self._ready.put_nowait(key)
            await asyncio.sleep(0)  # looks that never wait must not starve the others of the process

    async def _look(self, key: K, look: Callable[[K], Awaitable[None]]) -> None:
        failures = self._failures.get(key)
        try:
            await look(key)
        except StaleVersion:
            self.after(key, MOMENT)
        except NotFound:
            log.debug("%s %s is gone", self._kind, key)
            self._failures.pop(key, None)
        except RunaiError as error:
            log.warning("%s %s: %s", self._kind, key, error.message)
            self.again(key)
        except Exception:  # the top of a loop: one key must not stop the others
            log.exception("%s %s could not be handled", self._kind, key)
            self.again(key)
        else:
            if self._failures.get(key) == failures:
                self._failures.pop(key, None)
