"""Time: the system's."""

import asyncio
import time


class SystemClock:
    """The `ports.Clock` of a running process."""

    def now(self) -> float:
        """Return seconds since the epoch, UTC."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
