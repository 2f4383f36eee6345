"""Watches of a store: each change once, in order, with bounded memory.

A watch is served from memory while it keeps up. One that falls behind, or that
sees a gap because another process wrote, reads the log of changes in the
database, and learns that it is too old when the log does not go back far enough.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from runai_core.backends.local.writer import Committed
from runai_core.model.errors import Unavailable
from runai_core.ports import Change

BUFFERED = 1_000
"""Changes that wait in memory for one watch at most."""

ReadLog = Callable[[type[Any], int], Awaitable[tuple[Sequence[Change[Any]], int, bool]]]
"""Reads changes of a kind after a version; answers with the version they reach to, and whether there are more."""


class Subscription:
    """What one watch has still to be told."""

    def __init__(self, kind: type[Any], seen: int) -> None:
        self.kind = kind
        self.seen = seen  # everything up to this version was told
        self.behind = True  # the log has to be read first
        self.idle = False  # all was told, it waits
        self.buffer: deque[Change[Any]] = deque()
        self.wake = asyncio.Event()

    def push(self, change: Change[Any]) -> None:
        """Note a change; forget the buffer when it grows too long."""
        self.idle = False
        if not self.behind:
            self.buffer.append(change)
            if len(self.buffer) > BUFFERED:
                self.fall_behind()
        self.wake.set()

    def fall_behind(self) -> None:
        """Give up the buffer: the log has it all."""
        self.buffer.clear()
        self.behind = True
        self.idle = False
        self.wake.set()


class Watches:
    """All watches of one store."""

    def __init__(self, read_log: ReadLog) -> None:
        self._read_log = read_log
        self._subscriptions: list[Subscription] = []
        self._told = 0  # version that was last told to subscriptions
        self._closed = False

    def __len__(self) -> int:
        """Return how many watches are open."""
        return len(self._subscriptions)

    @property
    def told(self) -> int:
        """The version that watches know of."""
        return self._told

    def publish(self, committed: Committed) -> None:
        """Tell the changes of a transaction of this process to whom they concern."""
        if committed.first != self._told:
            self.catch_up(committed.last)
            return
        self._told = committed.last
        for subscription in self._subscriptions:
            for kind, change, _ in committed.changes:
                if kind is subscription.kind:
                    subscription.push(change)
            if subscription.idle:  # nothing for it in here: it must not grow old by standing still
                subscription.seen = committed.last

    def catch_up(self, version: int) -> None:
        """Make all watches read the log: it reaches to the version, by whoever's hand."""
        if version > self._told:
            self._told = version
            for subscription in self._subscriptions:
                subscription.fall_behind()

    def close(self) -> None:
        """End all watches."""
        self._closed = True
        for subscription in self._subscriptions:
            subscription.wake.set()

    async def watch(self, kind: type[Any], from_version: int) -> AsyncIterator[Change[Any]]:
        """Yield every change of the kind after the version; end when the store is closed."""
        subscription = Subscription(kind, from_version)
        self._subscriptions.append(subscription)
        try:
            while not self._closed:
                subscription.wake.clear()
                for change in await self._next(subscription):
                    subscription.seen = change.version
                    yield change
                if not subscription.buffer and not subscription.behind and not self._closed:
                    subscription.idle = True
                    await subscription.wake.wait()
        except Unavailable:
            if not self._closed:
                raise
        finally:
            self._subscriptions.remove(subscription)

    async def _next(self, subscription: Subscription) -> Sequence[Change[Any]]:
        """Return what is to be told now: from the log if it is behind, else from its buffer."""
        if subscription.behind:
            subscription.behind = False  # before the log is read: what comes meanwhile is buffered
            changes, reached, more = await self._read_log(subscription.kind, subscription.seen)
            if more:
                subscription.fall_behind()
            elif not changes:
                subscription.seen = max(subscription.seen, reached)
            return changes
        changes = [change for change in subscription.buffer if change.version > subscription.seen]
        subscription.buffer.clear()
        return changes
