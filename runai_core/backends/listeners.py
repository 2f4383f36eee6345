"""Tells whoever listens that something in the cluster changed; changes that wait are merged."""

import asyncio
from collections.abc import AsyncIterator

from runai_core.ports import ClusterChange


class Listener:
    """One listener, and what it has not heard yet: at most one entry for each workload and node."""

    def __init__(self) -> None:
        self.waiting: dict[ClusterChange, None] = {}
        self.wake = asyncio.Event()

    async def listen(self, listeners: "set[Listener]") -> AsyncIterator[ClusterChange]:
        """Yield what was told, oldest first."""
        try:
            while True:
                await self.wake.wait()
                self.wake.clear()
                waiting, self.waiting = self.waiting, {}
                for change in waiting:
                    yield change
        finally:
            listeners.discard(self)


class Listeners:
    """All listeners of one cluster."""

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()

    def tell(self, change: ClusterChange) -> None:
        """Let all listeners hear of a change."""
        for listener in self._listeners:
            listener.waiting[change] = None
            listener.wake.set()

    def listen(self) -> AsyncIterator[ClusterChange]:
        """Return the changes from this moment on."""
        listener = Listener()
        self._listeners.add(listener)
        return listener.listen(self._listeners)
