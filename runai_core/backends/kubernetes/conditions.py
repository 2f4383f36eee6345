"""The condition that tells a pod why it waits (`PodScheduled`), and the event beside it.

The pods of a large gang are many writes. They go on beside everything else,
several at a time, and a pod for which a newer verdict came meanwhile gets that
one at once: nothing waits until an old sentence has reached the last pod.
"""

import asyncio
import logging

from runai_core.backends.kubernetes.api import Api
from runai_core.backends.kubernetes.codec.status import pod_condition
from runai_core.backends.kubernetes.events import About, Recorder
from runai_core.backends.kubernetes.resources import PODS
from runai_core.backends.kubernetes.snapshot import Snapshots
from runai_core.backends.kubernetes.world import World
from runai_core.model.decision import Verdict
from runai_core.model.errors import NotFound, RunaiError, StaleVersion, Unavailable
from runai_core.model.snapshot import PodState
from runai_core.ports import Clock

log = logging.getLogger(__name__)

AT_ONCE = 32
"""Pods that are told at a time: about as many as the API server takes up."""

AGAIN = 0.25
"""Seconds until a pod that changed meanwhile, or could not be written, is told again."""


class PodConditions:
    """Tells pods why they wait."""

    def __init__(
        self,
        api: Api,
        world: World,
        snapshots: Snapshots,
        recorder: Recorder,
        clock: Clock,
        *,
        again: float = AGAIN,
    ) -> None:
        self._after = again
        self._api = api
        self._world = world
        self._snapshots = snapshots
        self._recorder = recorder
        self._clock = clock
        self._newest: dict[str, Verdict] = {}  # pod -> what it is to be told
        self._queue: asyncio.Queue[str] = asyncio.Queue()  # pods, each once

    def tell(self, verdict: Verdict) -> None:
        """Tell all pods of a group that wait; returns at once."""
        gang = self._snapshots.gangs.find(verdict.pod_group)
        for key in gang.entries if gang is not None else ():
            self._put(key, verdict)

    def withdraw(self, group: str) -> None:
        """Forget what a group's pods were to be told: it waits no more."""
        for key in self._snapshots.gangs.members(group):
            self._newest.pop(key, None)

    async def run(self) -> None:
        """Write until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(self._work())

    def _put(self, key: str, verdict: Verdict) -> None:
        if key not in self._newest:
            self._queue.put_nowait(key)
        self._newest[key] = verdict

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            verdict = self._newest.pop(key, None)
            if verdict is None:
                continue  # withdrawn, or told with an earlier place in the queue
            try:
                await self._write(key, verdict)
            except NotFound:
                continue
            except (StaleVersion, Unavailable) as error:
                log.debug("condition of %s: %s", key, error.message)
                asyncio.get_running_loop().call_later(self._after, self._again, key, verdict)
            except RunaiError as error:
                log.warning("condition of %s: %s", key, error.message)

    def _again(self, key: str, verdict: Verdict) -> None:
        if key not in self._newest:
            self._put(key, verdict)

    async def _write(self, key: str, verdict: Verdict) -> None:
        pod = self._world.pods.named(key)
        if pod is None or not self._waits(key, verdict.pod_group):
            return
        body = pod_condition(pod, verdict, self._clock.now())
        if body is None:
            return
        meta = pod["metadata"]
        await self._api.patch(PODS, meta["name"], body, meta["namespace"], sub="status", kind="strategic")
        self._recorder.tell(About.of(pod, "Pod", "v1"), "FailedScheduling", verdict.message, warning=True)

    def _waits(self, key: str, group: str) -> bool:
        """Return whether a pod still waits, as far as we know: one that is being bound must not be told otherwise."""
        gang = self._snapshots.gangs.find(group)
        entry = None if gang is None else gang.entries.get(key)
        return entry is not None and entry.state is PodState.PENDING and key not in self._snapshots
