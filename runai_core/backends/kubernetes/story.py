"""What changed lately, in the order in which we learned of it, for watches that are resumed.

The server's versions of different kinds reach us in no common order. A story
numbers what it tells so that numbers only grow: a change has the server's
version, or one more than the change before it.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from runai_core.model.errors import WatchExpired
from runai_core.ports import Change, ChangeType

KEPT = 10_000
"""Changes of one kind that a watch can go back; an older one has to list again."""


class Versions:
    """The newest version that anybody was told."""

    def __init__(self) -> None:
        self.newest = 0

    def reach(self, version: int) -> int:
        """Take note of a version that was seen; return the newest."""
        self.newest = max(self.newest, version)
        return self.newest

    def next(self, version: int) -> int:
        """Return the number of a change: the server's, or the next one."""
        self.newest = max(self.newest + 1, version)
        return self.newest


class Story:
    """The changes of one kind."""

    def __init__(self, versions: Versions, kept: int = KEPT) -> None:
        self._versions = versions
        self._changes: deque[Change[Any]] = deque(maxlen=kept)
        self._before = 0  # version of the last change that is no longer kept
        self._first = 0  # number of changes that are no longer kept
        self._news = asyncio.Event()
        self._closed = False

    def begin(self) -> None:
        """Let watches start at the present version, and not before."""
        self._before = self._versions.newest

    def tell(self, change: ChangeType, item: Any, version: int) -> None:
        """Add a change, and wake those who wait."""
        if len(self._changes) == self._changes.maxlen:
            self._before = self._changes[0].version
            self._first += 1
        self._changes.append(Change(change, item, self._versions.next(version)))
        self._wake()

    def close(self) -> None:
        """End all watches."""
        self._closed = True
        self._wake()

    async def watch(self, from_version: int) -> AsyncIterator[Change[Any]]:
        """Yield every change after the version; raise WatchExpired when it is no longer known."""
        self._check(from_version)
        place = self._first + sum(change.version <= from_version for change in self._changes)
        while not self._closed:
            if place < self._first:
                self._check(-1)
            while place - self._first < len(self._changes):
                change = self._changes[place - self._first]
                place += 1
                yield change
                if place < self._first:
                    self._check(-1)
            news = self._news
            if place - self._first >= len(self._changes) and not self._closed:
                await news.wait()

    def _check(self, version: int) -> None:
        newest = self._versions.newest
        if not self._before <= version <= newest:
            message = (
                f"the watch starts at version {version}, but only {self._before} to {newest} are known: list again"
            )
            raise WatchExpired(message, {"oldest": self._before, "newest": newest})

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
