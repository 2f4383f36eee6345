"""Pods without processes, on a clock that runs as fast as it can be computed.

For tests and for the simulator: the same store, cluster and engine, in which a
pod only takes the time that it is said to take.
"""

import asyncio
import heapq
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from runai_core.backends.local.executor import Process
from runai_core.backends.local.journal import Run
from runai_core.ports import Clock

DURATION = "RUNAI_SIMULATED_SECONDS"
"""Environment variable of a pod: how long its run takes; without it, until it is stopped."""

EXIT_CODE = "RUNAI_SIMULATED_EXIT_CODE"
"""Environment variable of a pod: how its run ends; 0 without it."""

TERMINATED = 143

SETTLE_TURNS = 50
"""Turns of the loop without anything to wait for but time, before time moves on by itself."""


class VirtualClock:
    """A `ports.Clock` that stands still until somebody moves it; sleepers wake in the order of their time."""

    def __init__(self, start: float = 0.0) -> None:
        self._now = start
        self._numbers = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> float:
        """Return seconds since the epoch, UTC."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock was moved so far."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._numbers), future))
        await future

    @property
    def next_at(self) -> float | None:
        """When the next sleeper wakes; None: nobody sleeps."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)  # it was cancelled
        return self._sleepers[0][0] if self._sleepers else None

    async def advance(self, seconds: float) -> None:
        """Move time on, waking each sleeper at its time; what they start has its turn before time goes on."""
        end = self._now + seconds
        await self.settle()
        while (at := self.next_at) is not None and at <= end:
            self._now = max(self._now, at)
            heapq.heappop(self._sleepers)[2].set_result(None)
            await self.settle()
        self._now = end

    async def settle(self) -> None:
        """Let everything run that does not wait for time.

        Work in other threads (a database) is not seen from here: a caller that
        depends on it waits for its own condition.
        """
        for _ in range(SETTLE_TURNS):
            await asyncio.sleep(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How a simulated run goes."""

    seconds: float | None = None  # None: until it is stopped
    code: int = 0


def course_of(environment: Mapping[str, str]) -> Course:
    """Return the course that a pod's own environment asks for."""
    seconds = environment.get(DURATION)
    return Course(seconds=None if seconds is None else float(seconds), code=int(environment.get(EXIT_CODE, "0")))


class SimulatedExecutor:
    """An `Executor` without processes."""

    def __init__(self, clock: Clock, course: Callable[[str, Process], Course] | None = None) -> None:
        self._clock = clock
        self._course = course or (lambda _, process: course_of(process.environment))
        self._changed: Callable[[str], None] = lambda _: None
        self._runs: dict[str, Run] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._pids = itertools.count(1)

    async def open(self, changed: Callable[[str], None]) -> None:
        """Get ready; call back with a uid whenever its run has changed."""
        self._changed = changed

    def run_of(self, uid: str) -> Run | None:
        """Return what is known of the newest run of a pod."""
        return self._runs.get(uid)

    def runs(self) -> Sequence[Run]:
        """Return what is known of all pods."""
        return tuple(self._runs.values())

    async def start(self, uid: str, run: int, process: Process) -> Run:
        """Start a run, unless it was started before; return what is known of it."""
        known = self._runs.get(uid)
        if known is not None and (known.run >= run or known.running):
            return known
        self._runs[uid] = begun = Run(uid, run, next(self._pids), "simulated", self._clock.now())
        course = self._course(uid, process)
        if course.seconds is not None:
            self._tasks[uid] = asyncio.create_task(self._end_after(uid, course.seconds, course.code))
        return begun

    async def stop(self, uid: str, grace: float) -> None:  # noqa: ARG002 - the port's signature
        """End the run at once: a simulated program listens."""
        run = self._runs.get(uid)
        if run is not None and run.running:
            task = self._tasks.pop(uid, None)
            if task is not None:
                task.cancel()
            self._end(uid, TERMINATED, stopped=True)

    async def forget(self, uid: str) -> None:
        """Forget a pod whose run has ended."""
        self._runs.pop(uid, None)

    async def close(self, *, shutdown: bool) -> None:  # noqa: ARG002 - the port's signature
        """Let go of the pods; nothing of them outlives this process."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _end_after(self, uid: str, seconds: float, code: int) -> None:
        await self._clock.sleep(seconds)
        self._tasks.pop(uid, None)
        self._end(uid, code, stopped=False)

    def _end(self, uid: str, code: int, *, stopped: bool) -> None:
        message = "" if code == 0 else f"exited with code {code}"
        self._runs[uid] = replace(
            self._runs[uid], running=False, code=code, message=message, finished_at=self._clock.now(), stopped=stopped
        )
        self._changed(uid)
