"""The loop that enforces scheduling rules: it warns at half of a limit, and stops what is over it.

A workload is bound by the limits it was submitted under. Time counts while it
runs, evictions do not set it back; after a stop by a rule a resumed workload
has the whole time again. Idle time counts only while something measures the
GPUs: where nothing does, nobody is stopped for idleness, and that is told once.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from runai_core.lifecycle.machine import advance
from runai_core.lifecycle.phases import Signal
from runai_core.model.errors import IllegalTransition, NotFound, RunaiError, StaleVersion, WatchExpired
from runai_core.model.spec import Compute
from runai_core.model.workload import Limit, Limits, Phase, Workload
from runai_core.ports import Backend, ChangeType, Query
from runai_core.service.journal import Journal

log = logging.getLogger(__name__)

LOOK_EVERY = 1.0
"""Seconds between two looks at the workloads that are bound: all in memory."""

UNMEASURED_AFTER = 60.0
"""Seconds of running after which GPUs without a measurement are told."""

RETRY = 5.0
"""Seconds until the store is asked again after it failed."""

COUNTS = (Phase.RUNNING, Phase.DEGRADED)
"""Phases whose time counts."""

HALF_TIME = "LimitHalfTime"
NOT_MEASURED = "GpusNotMeasured"
STOPPED_BY_RULE = "StoppedByRule"
"""Reasons in the history of a workload."""


class Action(StrEnum):
    """What a rule asks for."""

    WARN = "warn"  # half of the limit has passed
    CALM = "calm"  # its GPUs are used again: the next half is told anew
    TELL = "tell"  # nothing measures its GPUs
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is to be done with a workload, and why."""

    action: Action
    changed: Limits
    message: str = ""


class KnowsIdleness(Protocol):
    """Measures GPUs."""

    def idle_seconds(self, workload: Workload) -> float | None:
        """Return how long no GPU of the workload was used; None where that is not measured."""
        ...


def running_seconds(workload: Workload, now: float) -> float:
    """Return how long the workload has run since its submission, or since a rule stopped it."""
    present = max(now - workload.phase_updated_at, 0.0) if workload.phase in COUNTS else 0.0
    counted_from = workload.limits.counted_from if workload.limits else 0.0
    return workload.running_seconds + present - counted_from


def judge(workload: Workload, now: float, idle: float | None) -> Finding | None:
    """Return what the limits of a workload ask for now; None: nothing. Pure."""
    limits = workload.limits
    if limits is None or workload.phase not in COUNTS:
        return None
    ran = running_seconds(workload, now)
    if limits.time is not None and (found := _over(limits, "time", limits.time, ran)) is not None:
        return found
    if limits.idle is None or not uses_gpus(workload):
        return None
    if idle is None:
        if limits.unmeasured_told or now - workload.phase_updated_at < UNMEASURED_AFTER:
            return None
        message = (
            f"nothing measures the GPUs of this workload: the rule {limits.idle.rule} of {limits.idle.origin} "
            "cannot be enforced, and does not stop it"
        )
        return Finding(Action.TELL, replace(limits, unmeasured_told=True), message)
    if limits.idle.warned and idle < limits.idle.seconds / 2:
        return Finding(Action.CALM, replace(limits, idle=replace(limits.idle, warned=False)))
    return _over(limits, "idle", limits.idle, idle)


def _over(limits: Limits, name: str, limit: Limit, seconds: float) -> Finding | None:
    words = _WORDS[name]
    if seconds >= limit.seconds:
        cause = f"stopped by the rule {limit.rule} of {limit.origin.replace('/', ' ')}: {words} {limit.seconds} s"
        return Finding(Action.STOP, limits, cause)
    if limit.warned or seconds < limit.seconds / 2:
        return None
    message = (
        f"half of {limit.seconds} s has passed in which it {words}: it will be stopped "
        f"by the rule {limit.rule} of {limit.origin.replace('/', ' ')} in {limit.seconds - seconds:.0f} s"
    )
    warned = replace(limit, warned=True)
    changed = replace(limits, time=warned) if name == "time" else replace(limits, idle=warned)
    return Finding(Action.WARN, changed, message)


_WORDS: Mapping[str, str] = {"time": "ran for", "idle": "did not use its GPUs for"}


def uses_gpus(workload: Workload) -> bool:
    """Return whether a pod of the workload asks for GPUs."""
    specs = [workload.spec] + ([workload.master_spec] if workload.master_spec else [])
    return any(_asks_for_gpus(spec.compute) for spec in specs)


def _asks_for_gpus(compute: Compute) -> bool:
    shared = compute.gpu_portion_request or compute.gpu_memory_request or compute.mig_profile
    return bool(compute.gpu_devices_request or shared)


class LimitsService:
    """Follows the workloads that are bound, and does what their limits ask for."""

    def __init__(self, backend: Backend, journal: Journal, meter: KnowsIdleness, poke: Callable[[str], None]) -> None:
        self._store = backend.store
        self._clock = backend.clock
        self._journal = journal
        self._meter = meter
        self._poke = poke
        self._bound: dict[str, Workload] = {}

    async def run(self) -> None:
        """Enforce until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            tasks.create_task(self._tick())

    async def look(self) -> None:
        """Judge every bound workload once."""
        now = self._clock.now()
        for workload in list(self._bound.values()):
            found = judge(workload, now, self._meter.idle_seconds(workload))
            if found is None:
                continue
            try:
                await self._carry_out(workload, found, now)
            except (StaleVersion, NotFound, IllegalTransition):
                await self._refresh(workload)  # it changed meanwhile: the next look sees it as it is
            except RunaiError as error:
                log.warning("%s: its limits could not be enforced: %s", workload.key, error.message)

    async def load(self) -> int:
        """Learn which workloads are bound; return the version from which changes follow."""
        page = await self._store.list(Workload, Query())
        self._bound = {item.meta.uid: item for item in page.items if _is_bound(item)}
        return page.version

    async def _tick(self) -> None:
        while True:
            await self._clock.sleep(LOOK_EVERY)
            try:
                await self.look()
            except Exception:  # the top of a loop: one workload must not free the others
                log.exception("the limits could not be enforced")

    async def _follow(self) -> None:
        while True:
            try:
                version = await self.load()
                async for change in self._store.watch(Workload, version):
                    self._take(change.object, gone=change.type is ChangeType.DELETED)
            except WatchExpired:
                continue
            except RunaiError as error:
                log.warning("limits: %s", error.message)
                await self._clock.sleep(RETRY)

    def _take(self, workload: Workload, *, gone: bool = False) -> None:
        if gone or not _is_bound(workload):
            self._bound.pop(workload.meta.uid, None)
        else:
            self._bound[workload.meta.uid] = workload

    async def _refresh(self, workload: Workload) -> None:
        with contextlib.suppress(NotFound):
            self._take(await self._store.get_by_uid(Workload, workload.meta.uid))
            return
        self._bound.pop(workload.meta.uid, None)

    async def _carry_out(self, workload: Workload, found: Finding, now: float) -> None:
        if found.action is Action.STOP:
            await self._stop(workload, found, now)
            return
        saved = await self._store.update(replace(workload, limits=found.changed))
        self._take(saved)
        if found.action is Action.WARN:
            await self._journal.event(saved, HALF_TIME, found.message, warning=True)
        elif found.action is Action.TELL:
            await self._journal.event(saved, NOT_MEASURED, found.message, warning=True)

    async def _stop(self, workload: Workload, found: Finding, now: float) -> None:
        changed, _ = advance(workload, Signal.STOP_ASKED, now=now, cause=found.message)
        limits = replace(
            found.changed,
            counted_from=changed.running_seconds,
            time=_unwarned(found.changed.time),
            idle=_unwarned(found.changed.idle),
        )
        changed = replace(changed, limits=limits, phase_reason=STOPPED_BY_RULE)
        saved = await self._store.update(changed)
        self._bound.pop(workload.meta.uid, None)
        await self._journal.transition(
            saved, workload.phase, saved.phase, signal=STOPPED_BY_RULE, cause=found.message, actor="system"
        )
        self._poke(saved.meta.uid)


def _unwarned(limit: Limit | None) -> Limit | None:
    return None if limit is None else replace(limit, warned=False)


def _is_bound(workload: Workload) -> bool:
    return workload.limits is not None and workload.phase in COUNTS and workload.meta.deleted_at is None
