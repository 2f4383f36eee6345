"""A clock that tests set."""

from dataclasses import dataclass


@dataclass
class Clock:
    """It stands still, and lets nobody wait."""

    time: float = 1000.0

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here waits")
