"""Brings each pod's process to what its stored state asks for, and its state to what its process did.

Level-triggered: a step looks at the pod and at its run, does one thing, and
looks again. A crash between any two steps is repaired by the first look after
the restart. One pod has one task at a time.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from runai_core.backends.local.environment import environment_of
from runai_core.backends.local.executor import Executor, Process
from runai_core.backends.local.journal import Run
from runai_core.backends.local.mirror import GangRecord, Mirror
from runai_core.backends.local.prepared import Preparation
from runai_core.backends.local.probes import watch_readiness
from runai_core.backends.local.store import LocalStore
from runai_core.backends.local.verdicts import (
    BACK_OFF,
    STARTING,
    after,
    hindered,
    released,
    running,
    without_command,
)
from runai_core.backends.local.writes import Delete, Update, Write
from runai_core.model.errors import NotFound, RunaiError, StaleVersion, Unavailable
from runai_core.model.snapshot import PodState
from runai_core.model.workload import Pod, PodStatus
from runai_core.ports import Clock

log = logging.getLogger(__name__)

FIRST_DELAY = 1.0
"""Seconds before the first restart in place; each further one waits twice as long."""

MAX_DELAY = 60.0
RETRY = 1.0
"""Seconds until a step that could not be done is tried again."""


class Driver:
    """Drives all pods of a cluster."""

    def __init__(  # noqa: PLR0913 - named, and given in one place
        self,
        *,
        store: LocalStore,
        mirror: Mirror,
        executor: Executor,
        preparation: Preparation,
        clock: Clock,
        passed: Mapping[str, str],
        changed: Callable[[Pod], None],
        first_delay: float = FIRST_DELAY,
    ) -> None:
        self._store = store
        self._mirror = mirror
        self._executor = executor
        self._preparation = preparation
        self._clock = clock
        self._passed = passed
        self._changed = changed
        self._first_delay = first_delay
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        self._closed = False
        self._unwanted: set[str] = set()  # uids of pods that are to be deleted when they have ended
        self._hindrances: dict[str, str] = {}  # by uid of a pod: why its last step could not be done
        self._probes: dict[str, asyncio.Task[None]] = {}
        self._timers: dict[str, asyncio.Task[None]] = {}
        self._steps: Mapping[PodState, Callable[[Pod, Run | None], Awaitable[bool]]] = {
            PodState.PENDING: self._wait,
            PodState.GATED: self._wait,
            PodState.BINDING: self._begin,
            PodState.BOUND: self._begin,
            PodState.RUNNING: self._keep,
            PodState.RELEASING: self._release,
            PodState.SUCCEEDED: self._rest,
            PodState.FAILED: self._rest,
        }
        """What a look at a pod does, by its state; each returns whether another look is due at once."""

    def poke(self, uid: str) -> None:
        """Look at a pod."""
        if self._closed:
            return  # the next start looks at all
        if uid in self._busy:
            self._again.add(uid)
        else:
            self._busy[uid] = asyncio.create_task(self._drive(uid))

    def abandon(self, uid: str) -> None:
        """Delete a pod as soon as it has ended."""
        self._unwanted.add(uid)
        self.poke(uid)

    async def close(self) -> None:
        """Stop looking; processes go on."""
        self._closed = True
        tasks = [*self._busy.values(), *self._probes.values(), *self._timers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def change(self, uid: str, edit: Callable[[Pod], PodStatus | None]) -> Pod | None:
        """Change a pod's status; `edit` is asked again where somebody was faster. None: the pod is gone."""
        while (pod := self._mirror.pods.get(uid)) is not None:
            status = edit(pod)
            if status is None or status == pod.status:
                return pod
            try:
                saved = await self._store.update(replace(pod, status=status))
            except (StaleVersion, NotFound):
                await self._read_again(uid)
            else:
                self.note(saved)
                return saved
        return None

    def note(self, pod: Pod) -> None:
        """Take a pod as the store has it, and tell."""
        if pod.meta.deleted_at is not None:
            if self._mirror.drop(pod.meta.uid, pod.meta.version) is not None:
                self._changed(pod)
        elif self._mirror.put(pod):
            self._changed(pod)

    async def _read_again(self, uid: str) -> None:
        """Take a pod as the store has it; forget one that was purged."""
        try:
            self.note(await self._store.get_by_uid(Pod, uid))
        except NotFound:
            self._mirror.drop(uid)

    # -- one pod

    async def _drive(self, uid: str) -> None:
        try:
            while True:
                self._again.discard(uid)
                try:
                    await self._settle(uid)
                except RunaiError as error:
                    await self._say(uid, error.message)
                    await self._clock.sleep(RETRY)
                    continue
                except Exception:  # the top of a loop: one pod must not stop the others
                    log.exception("pod %s could not be handled", uid)
                    await self._clock.sleep(RETRY)
                    continue
                if uid not in self._again:
                    return
        finally:
            del self._busy[uid]
            self._hindrances.pop(uid, None)

    async def _say(self, uid: str, message: str) -> None:
        """Say once what is in a pod's way: to its user where the store takes it, and in the log."""
        if self._hindrances.get(uid) != message:
            self._hindrances[uid] = message
            log.warning("pod %s: %s", uid, message)
            with contextlib.suppress(RunaiError):  # the store itself may be what is in the way
                await self.change(uid, lambda now: hindered(now, message))

    async def _settle(self, uid: str) -> None:
        """Do what is to be done, step by step, until nothing is."""
        while (pod := self._mirror.pods.get(uid)) is not None:
            if not await self._steps[pod.status.state](pod, self._run_of(pod)):
                return
        self._unwanted.discard(uid)
        self._end_probe(uid)

    def _run_of(self, pod: Pod) -> Run | None:
        """Return the run that belongs to the pod's count of restarts."""
        run = self._executor.run_of(pod.meta.uid)
        return run if run is not None and run.run == pod.status.restarts else None

    async def _wait(self, pod: Pod, _run: Run | None) -> bool:
        if pod.meta.uid not in self._unwanted:
            return False
        await self._delete(pod, pod.status)
        return True

    async def _begin(self, pod: Pod, run: Run | None) -> bool:
        """BINDING: start the process, then say so."""
        if run is None and not pod.spec.argv:
            ended = without_command(pod, self._clock.now())
            await self.change(pod.meta.uid, lambda now: ended if now.status == pod.status else None)
            return True
        if run is None:
            run = await self._start(pod)
        await self.change(pod.meta.uid, lambda now: running(now, run) if now.status.state in STARTING else None)
        return True

    async def _start(self, pod: Pod) -> Run:
        node = self._mirror.nodes.get(pod.status.node)
        argv, further = await self._preparation.command(pod)
        secret = await self._preparation.environment(pod)
        process = Process(
            argv=argv,
            environment={**environment_of(pod, node, self._passed), **secret, **further},
            working_dir=pod.spec.working_dir,
            memory_limit=pod.spec.memory_limit,
        )
        run = await self._executor.start(pod.meta.uid, pod.status.restarts, process)
        if run.run != pod.status.restarts:
            raise Unavailable(f"run {run.run} of pod {pod.name} is there, not {pod.status.restarts}")
        return run

    async def _keep(self, pod: Pod, run: Run | None) -> bool:
        """RUNNING: nothing to do, unless the run has ended or is to start again."""
        uid = pod.meta.uid
        if run is None and pod.status.reason == BACK_OFF:
            return await self._restart(pod)
        if run is not None and run.running:
            self._probe(pod)
            return False
        self._end_probe(uid)
        await self.change(uid, lambda now: after(now, run, self._clock.now()) if now.status == pod.status else None)
        return True

    async def _restart(self, pod: Pod) -> bool:
        """Start a failed pod again when its delay is over."""
        uid, status = pod.meta.uid, pod.status
        due = (status.finished_at or 0.0) + self._delay(status.restarts)
        if self._clock.now() < due:
            if uid in self._timers:
                return False
            self._timers[uid] = asyncio.create_task(self._poke_at(uid, due))
            return False
        run = await self._start(pod)
        await self.change(uid, lambda now: running(now, run) if now.status.state is PodState.RUNNING else None)
        return True

    def _delay(self, restarts: int) -> float:
        return min(self._first_delay * 2.0 ** min(restarts - 1, 16), MAX_DELAY)

    async def _poke_at(self, uid: str, time: float) -> None:
        await self._clock.sleep(max(0.0, time - self._clock.now()))
        self._timers.pop(uid, None)
        self.poke(uid)

    async def _release(self, pod: Pod, _run: Run | None) -> bool:
        """RELEASING: ask the process to end; when it has, the pod has."""
        uid = pod.meta.uid
        self._end_probe(uid)
        newest = self._executor.run_of(uid)
        if newest is not None and newest.running:
            await self._executor.stop(uid, pod.spec.grace_period)
            return self._executor.run_of(uid) is not newest
        status = released(pod, newest, self._clock.now())
        if uid in self._unwanted:
            await self._delete(pod, status)
        else:
            await self.change(uid, lambda now: status if now.status.state is PodState.RELEASING else None)
        return True

    async def _rest(self, pod: Pod, _run: Run | None) -> bool:
        """SUCCEEDED or FAILED: nothing is left but to be forgotten."""
        uid = pod.meta.uid
        self._end_probe(uid)
        await self._preparation.clean(pod)
        if self._executor.run_of(uid) is not None:
            await self._executor.forget(uid)
        if uid not in self._unwanted:
            return False
        await self._delete(pod, pod.status)
        return True

    async def _delete(self, pod: Pod, status: PodStatus) -> None:
        """Delete a pod in the state in which it ended, and its group after the last pod."""
        uid = pod.meta.uid
        await self._preparation.clean(pod)
        if self._executor.run_of(uid) is not None:
            await self._executor.forget(uid)
        writes: list[Write] = [Delete(Pod, uid)]
        if status != pod.status:
            writes.insert(0, Update(replace(pod, status=status)))
        try:
            *_, deleted = await self._store.transact(writes)
        except (StaleVersion, NotFound):
            await self._read_again(uid)
            return
        self.note(deleted)
        record = self._mirror.group(pod.pod_group)
        if record is not None and not self._mirror.has_members(pod.pod_group):
            self._mirror.drop_group(pod.pod_group)
            try:
                await self._store.delete(GangRecord, record.meta.uid)
            except NotFound:
                return  # it was deleted before a crash

    # -- readiness

    def _probe(self, pod: Pod) -> None:
        uid = pod.meta.uid
        if pod.spec.readiness is not None and uid not in self._probes:
            self._probes[uid] = asyncio.create_task(watch_readiness(pod.spec, self._clock, self._report(uid)))

    def _report(self, uid: str) -> Callable[[bool], "asyncio.Future[None]"]:
        async def report(ready: bool) -> None:  # noqa: FBT001
            await self.change(
                uid, lambda now: replace(now.status, ready=ready) if now.status.state is PodState.RUNNING else None
            )

        return lambda ready: asyncio.ensure_future(report(ready))

    def _end_probe(self, uid: str) -> None:
        for tasks in (self._probes, self._timers):
            task = tasks.pop(uid, None)
            if task is not None:
                task.cancel()
