"""How many writes of a kind are under way, and waiting until they are few."""

import asyncio


class UnderWay:
    """A number of writes."""

    def __init__(self) -> None:
        self.count = 0
        self._fewer = asyncio.Event()

    def begin(self, number: int = 1) -> None:
        """Count writes that begin."""
        self.count += number

    def end(self, number: int = 1) -> None:
        """Count writes that have ended, however they did."""
        self.count -= number
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
