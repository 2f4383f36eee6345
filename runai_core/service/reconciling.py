"""The loop that brings each workload to what was asked for.

Level-triggered: everything is derived from the stored workload and the pods
that exist, so that a crash between any two steps is repaired by looking again.
One workload is looked at by one task at a time; changes that arrive meanwhile
lead to another look.
"""

import asyncio
import heapq
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from runai_core.lifecycle.gang import RunContext, gang_of
from runai_core.lifecycle.machine import Transition, step
from runai_core.lifecycle.observe import observe
from runai_core.lifecycle.phases import Effect, Signal
from runai_core.model.decision import Verdict
from runai_core.model.errors import NotFound, RunaiError, StaleVersion
from runai_core.model.nodes import NodePool
from runai_core.model.snapshot import PodState
from runai_core.model.workload import TERMINAL, Gang, Phase, Pod, Workload
from runai_core.ports import Backend, Filter, Op, Query
from runai_core.service.journal import Journal
from runai_core.service.scheduling import SchedulingService

log = logging.getLogger(__name__)

WORKERS = 16
"""Workloads that are looked at side by side."""

NEEDS_PODS = frozenset(
    {Phase.CREATING, Phase.RESUMING, Phase.PENDING, Phase.INITIALIZING, Phase.RUNNING, Phase.DEGRADED, Phase.UPDATING}
)
BEFORE_PODS = frozenset({Phase.CREATING, Phase.RESUMING})
FINISHED = frozenset({PodState.SUCCEEDED, PodState.FAILED})
MAX_RETRY_DELAY = 60.0
"""Longest wait before a failed workload is tried again, in seconds."""

RECHECK = 1.0
"""Seconds until a workload that could not be handled is looked at again."""


def advance(workload: Workload, transition: Transition, signal: Signal, cause: str, now: float) -> Workload:
    """Return the workload after a transition: its phase, counters and times. Pure."""
    effects = frozenset(transition.effects)
    spent = max(0.0, now - workload.phase_updated_at) if workload.phase_updated_at else 0.0
    running = workload.phase in (Phase.RUNNING, Phase.DEGRADED)
    return replace(
        workload,
        phase=transition.phase,
        phase_message=cause,
        phase_reason=signal.value,
        phase_updated_at=now,
        attempt=workload.attempt + (Effect.NEW_ATTEMPT in effects),
        failures=workload.failures + (Effect.COUNT_FAILURE in effects),
        evictions=workload.evictions + (Effect.COUNT_EVICTION in effects),
        completed_at=now if Effect.RECORD_END in effects else workload.completed_at,
        running_seconds=workload.running_seconds + (spent if running else 0.0),
        pending_seconds=workload.pending_seconds + (spent if workload.phase is Phase.PENDING else 0.0),
        last_start=now if signal is Signal.ALL_SCHEDULED else workload.last_start,
        verdict=None if transition.phase is not Phase.PENDING else workload.verdict,
        stop_requested=transition.phase in (Phase.STOPPING, Phase.STOPPED),
        delete_requested=transition.phase in (Phase.DELETING, Phase.TERMINATING),
    )


def retry_delay(failures: int) -> float:
    """Return the seconds to wait before the next attempt: none, then 1, 2, 4, ... up to a minute."""
    return 0.0 if failures == 0 else min(2.0 ** (failures - 1), MAX_RETRY_DELAY)


class Reconciler:
    """Looks at each workload that changed and does what is missing."""

    def __init__(
        self, backend: Backend, journal: Journal, scheduling: SchedulingService, environment: Mapping[str, str]
    ) -> None:
        self._store = backend.store
        self._cluster = backend.cluster
        self._clock = backend.clock
        self._journal = journal
        self._scheduling = scheduling
        self._environment = dict(environment)
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._queued: set[str] = set()
        self._busy: set[str] = set()
        self._timers: list[tuple[float, str]] = []
        self._timer_set = asyncio.Event()

    def poke(self, uid: str) -> None:
        """Ask for a look at a workload; asking twice before the look is one look."""
        if uid and uid not in self._queued:
            self._queued.add(uid)
            self._queue.put_nowait(uid)

    async def run(self) -> None:
        """Work until cancelled: first everything that is stored, then whatever changes."""
        for workload in (await self._store.list(Workload, Query())).items:
            self.poke(workload.meta.uid)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            tasks.create_task(self._tick())
            for _ in range(WORKERS):
                tasks.create_task(self._work())

    def verdict(self, workload: Workload) -> Verdict | None:
        """Return why the workload was not placed in the newest cycle."""
        return self._scheduling.verdict(workload.meta.uid)

    async def would_wait(self, workload: Workload) -> Verdict | None:
        """Return why the workload would wait if it were submitted now; None if it would start."""
        return await self._scheduling.try_out(await self._gang(workload))

    async def _listen(self) -> None:
        async for change in self._cluster.changes():
            self.poke(change.workload_uid)
            self._scheduling.wake()

    async def _tick(self) -> None:
        while True:
            now = self._clock.now()
            while self._timers and self._timers[0][0] <= now:
                self.poke(heapq.heappop(self._timers)[1])
            wait = self._timers[0][0] - now if self._timers else 3600.0
            self._timer_set.clear()
            waiting = asyncio.create_task(self._timer_set.wait())
            sleeping = asyncio.create_task(self._clock.sleep(wait))
            try:
                await asyncio.wait((waiting, sleeping), return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiting.cancel()
                sleeping.cancel()

    def _later(self, uid: str, at: float) -> None:
        heapq.heappush(self._timers, (at, uid))
        self._timer_set.set()

    async def _work(self) -> None:
        while True:
            uid = await self._queue.get()
            self._queued.discard(uid)
            if uid in self._busy:
                self._later(uid, self._clock.now() + 0.01)
                continue
            self._busy.add(uid)
            try:
                await self._look(uid)
            except StaleVersion:
                self.poke(uid)
            except NotFound:
                log.debug("workload %s is gone", uid)
            except RunaiError as error:
                log.warning("workload %s: %s", uid, error.message)
                self._later(uid, self._clock.now() + RECHECK)
            except Exception:  # the top of a loop: one workload must not stop the others
                log.exception("workload %s could not be handled", uid)
                self._later(uid, self._clock.now() + RECHECK)
            finally:
                self._busy.discard(uid)

    async def _look(self, uid: str) -> None:
        workload = await self._store.get_by_uid(Workload, uid)
        if workload.meta.deleted_at is not None:
            await self._cluster.remove(workload, reason="Deleted")
            return
        pods = await self._cluster.pods(workload)
        if workload.phase in TERMINAL:
            await self._end(workload, pods)
            return
        if workload.phase in NEEDS_PODS and not await self._ensure_pods(workload, pods):
            return
        if workload.phase not in NEEDS_PODS and pods:
            await self._cluster.remove(workload, reason=workload.phase.value)
        await self._observe(workload, await self._cluster.pods(workload))

    async def _ensure_pods(self, workload: Workload, pods: Sequence[Pod]) -> bool:
        """Return whether the pods of this attempt exist; those of earlier attempts must be gone first."""
        older = {pod.attempt for pod in pods if pod.attempt != workload.attempt}
        for attempt in sorted(older):
            await self._cluster.remove(workload, reason=workload.phase_reason or "Replaced", attempt=attempt)
        if older and any(pod.attempt in older for pod in await self._cluster.pods(workload)):
            return False
        if any(pod.attempt == workload.attempt for pod in pods):
            return True
        start = workload.phase_updated_at + retry_delay(workload.failures)
        if workload.phase_reason == Signal.RETRY and self._clock.now() < start:
            self._later(workload.meta.uid, start)
            return False
        await self._cluster.launch(workload, await self._gang(workload))
        self._scheduling.wake()
        return True

    async def _gang(self, workload: Workload) -> Gang:
        address, port = await self._cluster.rendezvous(workload)
        return gang_of(
            workload,
            run_context=RunContext(
                master_address=address,
                master_port=port,
                created_at=workload.meta.created_at or self._clock.now(),
                environment=self._environment,
            ),
        )

    async def _observe(self, workload: Workload, pods: Sequence[Pod]) -> None:
        """Follow the signals that the pods give until there is none, then save once."""
        first, now = workload, self._clock.now()
        steps: list[tuple[Phase, Phase, Signal, str]] = []
        while (seen := observe(workload, pods, now)) is not None and len(steps) < len(Phase):
            before = workload.phase
            workload = replace(
                advance(workload, step(before, seen.signal), seen.signal, seen.cause, now),
                pods_requested=seen.pods_requested,
                pods_running=seen.pods_running,
            )
            steps.append((before, workload.phase, seen.signal, seen.cause))
            if workload.attempt != first.attempt:
                break
        if workload != first:
            forgotten = bool(steps) and Effect.FORGET in step(steps[-1][0], steps[-1][2]).effects
            saved = await self._store.update(workload)
            for before, after, signal, cause in steps:
                await self._journal.transition(saved, before, after, signal=signal.value, cause=cause, actor="system")
            if forgotten:
                await self._store.delete(Workload, saved.meta.uid)
            self.poke(saved.meta.uid)
            self._scheduling.wake()

    async def _end(self, workload: Workload, pods: Sequence[Pod]) -> None:
        if any(pod.status.state not in FINISHED for pod in pods):
            await self._cluster.remove(workload, reason=workload.phase.value, keep_finished=True)
        after = workload.spec.auto_deletion_time_after_completion_seconds
        if after is None or workload.completed_at is None:
            return
        due = workload.completed_at + after
        if self._clock.now() < due:
            self._later(workload.meta.uid, due)
            return
        cause = f"deleted {after} s after its end, as its specification asks"
        changed = advance(
            workload, step(workload.phase, Signal.DELETE_ASKED), Signal.DELETE_ASKED, cause, self._clock.now()
        )
        saved = await self._store.update(changed)
        await self._journal.transition(
            saved, workload.phase, saved.phase, signal=Signal.DELETE_ASKED.value, cause=cause, actor="system"
        )
        self.poke(saved.meta.uid)


async def waiting_in(backend: Backend, pool: NodePool) -> Sequence[Workload]:
    """Return the workloads that wait for a place in the pool."""
    page = await backend.store.list(
        Workload, Query(filters=(Filter("phase", Op.EQ, Phase.PENDING.value), Filter("node_pool", Op.EQ, pool.name)))
    )
    return page.items
