"""The scheduling loop: snapshot, decide, apply, say why.

A cycle runs when something changed, not by the clock; changes that arrive
during a cycle lead to the next one. Each node pool is scheduled alone.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from runai_core.engine.cycle import run_cycle
from runai_core.engine.explain import explain, would_start
from runai_core.engine.incremental import Scheduler
from runai_core.engine.rules import RuleSet
from runai_core.lifecycle.constraints import kept_near
from runai_core.model.decision import CycleResult, Evict, QueueShare, Reason, Suggestion, Verdict
from runai_core.model.errors import NotFound, RunaiError, StaleVersion
from runai_core.model.nodes import NodePool
from runai_core.model.snapshot import PodEntry, PodState, Snapshot
from runai_core.model.workload import Gang, Phase, Workload
from runai_core.ports import Backend, Query
from runai_core.service.journal import Journal
from runai_core.service.usage import UsageService

T = TypeVar("T")

log = logging.getLogger(__name__)

QUIET = 0.005
"""Seconds that the loop waits after a change, so that a burst of changes is one cycle."""

IDLE = 60.0
"""Seconds after which a cycle runs though nothing changed: grace periods and minimum run times pass."""

SAVE_VERDICT = 5.0
"""Seconds before a changed wording of the same reason is stored again; the newest is always in memory."""

TROUBLE_AFTER = 30.0
"""Seconds without a cycle that has ended well, though one was due, after which that is said: large ones take a few."""

THREAD_FROM = 2000
"""Pods from which a cycle runs in a thread, so that requests are answered meanwhile."""


@dataclass(frozen=True, slots=True)
class CycleReport:
    """What the newest cycle of a pool did, for status pages and metrics."""

    node_pool: str
    finished_at: float
    seconds: float
    binds: int
    evictions: int
    waiting: int


class SchedulingService:
    """Runs cycles and remembers why pod groups wait."""

    def __init__(self, backend: Backend, journal: Journal, rules: RuleSet) -> None:
        self._backend = backend
        self._journal = journal
        self._rules = rules
        self._usage = UsageService(backend)
        self._schedulers: dict[str, Scheduler] = {}  # node pool -> what it was decided on last, opened
        self._changed = asyncio.Event()
        self._verdicts: dict[str, dict[str, Verdict]] = {}  # node pool -> workload uid -> of its newest cycle
        self._saved: dict[str, float] = {}  # workload uid -> when its verdict was stored
        self._shares: dict[str, tuple[QueueShare, ...]] = {}  # node pool -> newest
        self._reports: dict[str, CycleReport] = {}
        self._when_waiting: Callable[[Workload], None] = lambda _workload: None
        self._due_since: float | None = None  # when the first cycle began that has not ended well yet
        self._failure = ""  # of the newest cycle

    def wake(self) -> None:
        """Say that something changed."""
        self._changed.set()

    def when_waiting(self, tell: Callable[[Workload], None]) -> None:
        """Have somebody told of each workload that a cycle could not place though it names other node pools."""
        self._when_waiting = tell

    def verdict(self, uid: str) -> Verdict | None:
        """Return why the workload was not placed in the newest cycle."""
        return next((found[uid] for found in self._verdicts.values() if uid in found), None)

    @property
    def shares(self) -> Mapping[str, tuple[QueueShare, ...]]:
        """The queues' numbers as the newest cycle of each node pool began."""
        return self._shares

    @property
    def reports(self) -> Mapping[str, CycleReport]:
        """What the newest cycle of each node pool did."""
        return self._reports

    @property
    def trouble(self) -> str:
        """Why nothing is scheduled here; empty while cycles end as they should, or another process does it."""
        lasted = 0.0 if self._due_since is None else self._backend.clock.now() - self._due_since
        why = f": {self._failure}" if self._failure else ""
        return f"no cycle has ended for {lasted:.0f} s{why}" if lasted > TROUBLE_AFTER else ""

    async def run(self) -> None:
        """Schedule until cancelled."""
        try:
            await self._run()
        finally:
            with contextlib.suppress(RunaiError):
                await self._usage.save()

    async def _run(self) -> None:
        self._changed.set()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(IDLE):
                    await self._changed.wait()
            await asyncio.sleep(QUIET)
            self._changed.clear()
            if self._due_since is None:
                self._due_since = self._backend.clock.now()
            try:
                await self.cycle()
            except RunaiError as error:
                log.warning("cycle: %s", error.message)
                self._failure = error.message
            except Exception as error:  # the top of a loop: the next cycle sees the world anew
                log.exception("cycle failed")
                self._failure = f"{type(error).__name__}, see the log"
            else:
                self._due_since, self._failure = None, ""
                continue
            await self._backend.clock.sleep(1.0)
            self._changed.set()

    async def cycle(self) -> None:
        """Run one cycle of every node pool."""
        pools = await self._pools()
        for pool in pools:
            await self._cycle(pool)
        for name in self._schedulers.keys() - {pool.name for pool in pools}:
            del self._schedulers[name]

    async def try_out(self, gang: Gang) -> Verdict | None:
        """Return why the gang would wait if it were submitted now; None if it would start."""
        pool = await self._backend.store.get(NodePool, gang.pods[0].node_pool or "default")
        snapshot = with_gang(await self._snapshot(pool), gang)
        result = await _in_thread_if_large(run_cycle, snapshot, self._rules)
        return next((verdict for verdict in result.verdicts if verdict.pod_group == gang.group.name), None)

    async def explain(self, workload: Workload) -> Verdict | None:
        """Return why the workload waits now and what would start it, each suggestion tried; None if it would start."""
        pool = await self._backend.store.get(NodePool, workload.node_pool)
        snapshot = await self._snapshot(pool)
        name = next((group.name for group in snapshot.pod_groups if group.workload == workload.key), None)
        if name is None:
            return None
        verdict = await asyncio.to_thread(explain, snapshot, name, self._rules)
        if verdict is None or verdict.promised:
            return verdict
        elsewhere = await self._elsewhere(workload, snapshot, name)
        return replace(verdict, suggestions=(*elsewhere, *verdict.suggestions))

    async def _elsewhere(self, workload: Workload, snapshot: Snapshot, group: str) -> tuple[Suggestion, ...]:
        """Return the other node pools in which a group of which nothing runs would start now, each tried."""
        gang = next(item for item in snapshot.pod_groups if item.name == group)
        pods = tuple(pod for pod in snapshot.pods if pod.pod_group == group)
        if not all(pod.state is PodState.PENDING for pod in pods):
            return ()
        found = []
        for pool in await self._pools():
            if pool.name != snapshot.node_pool:
                other = await self._snapshot(pool)
                there = replace(
                    other,
                    pod_groups=(*other.pod_groups, gang),
                    pods=(*other.pods, *pods),
                    topologies=tuple({item.name: item for item in (*snapshot.topologies, *other.topologies)}.values()),
                )
                if await _in_thread_if_large(would_start, there, group, self._rules):
                    found.append(_other_pool(pool.name, may_use=pool.name in workload.node_pools))
        return tuple(sorted(found, key=lambda item: item.values["allowed"] == "no"))

    async def _pools(self) -> Sequence[NodePool]:
        return (await self._backend.store.list(NodePool, Query())).items

    async def _snapshot(self, pool: NodePool) -> Snapshot:
        found = await self._usage.overlay(pool, await self._backend.cluster.snapshot(pool))
        return kept_near(found, pool.network_topology) if pool.network_topology else found

    async def _cycle(self, pool: NodePool) -> None:
        started = self._backend.clock.now()
        snapshot = await self._snapshot(pool)
        result = await self._decide(snapshot)
        await self._backend.cluster.apply(result)
        await self._usage.observe(pool, snapshot, result)
        await self._record(snapshot, result)
        self._shares[pool.name] = result.shares
        now = self._backend.clock.now()
        self._reports[pool.name] = CycleReport(
            pool.name, now, now - started, len(result.binds), len(result.evictions), len(result.verdicts)
        )
        if result.binds or result.evictions:
            log.info(
                "cycle of %s: %d binds, %d evictions, %d waiting",
                pool.name,
                len(result.binds),
                len(result.evictions),
                len(result.verdicts),
            )

    async def _decide(self, snapshot: Snapshot) -> CycleResult:
        scheduler = self._schedulers.get(snapshot.node_pool)
        if scheduler is None:
            scheduler = self._schedulers[snapshot.node_pool] = Scheduler(snapshot, self._rules)
        return await _in_thread_if_large(scheduler.decide, snapshot)

    async def _record(self, snapshot: Snapshot, result: CycleResult) -> None:
        workloads = {group.name: group.workload for group in snapshot.pod_groups}
        newest: dict[str, Verdict] = {}
        for verdict in result.verdicts:
            await self._remember(newest, workloads.get(verdict.pod_group, ""), verdict)
        self._verdicts[snapshot.node_pool] = newest  # those of workloads that wait no more are forgotten
        waiting = {uid for found in self._verdicts.values() for uid in found}
        self._saved = {uid: at for uid, at in self._saved.items() if uid in waiting}
        for evictions in _by_group(result.evictions).values():
            await self._record_eviction(workloads.get(evictions[0].pod_group, ""), evictions)

    async def _remember(self, newest: dict[str, Verdict], key: str, verdict: Verdict) -> None:
        workload = await self._find(key)
        if workload is None:
            return
        before = self.verdict(workload.meta.uid)
        newest[workload.meta.uid] = verdict
        if len(workload.node_pools) > 1 and not verdict.promised:
            self._when_waiting(workload)
        old, now = workload.verdict, self._backend.clock.now()
        same_reason = old is not None and old.reason is verdict.reason
        if workload.phase is not Phase.PENDING:
            await self._tell_of_growth(workload, before, verdict)
            return
        if same_reason and old is not None and old.message == verdict.message:
            return
        if same_reason and now - self._saved.get(workload.meta.uid, 0.0) < SAVE_VERDICT:
            return
        try:
            await self._backend.store.update(
                replace(workload, verdict=verdict, phase_message=verdict.message, phase_reason=verdict.reason.value)
            )
        except (StaleVersion, NotFound):
            return  # it changed meanwhile: the next cycle tells
        self._saved[workload.meta.uid] = now
        if not same_reason:
            warning = verdict.reason is not Reason.WAITING_FOR_RELEASE
            await self._journal.event(workload, verdict.reason.value, verdict.message, warning=warning)

    async def _tell_of_growth(self, workload: Workload, before: Verdict | None, verdict: Verdict) -> None:
        """Say once why the new version of a server waits whose old one answers on."""
        if workload.phase is Phase.RUNNING and (before is None or before.reason is not verdict.reason):
            await self._journal.event(workload, verdict.reason.value, verdict.message, warning=True)

    async def _record_eviction(self, key: str, evictions: Sequence[Evict]) -> None:
        workload = await self._find(key)
        if workload is not None:
            count = len(evictions)
            text = evictions[0].message or f"evicted by {evictions[0].action} for {evictions[0].for_group}"
            await self._journal.event(
                workload, "Evicted", f"{text} ({count} pod{'s' if count > 1 else ''})", warning=True
            )

    async def _find(self, key: str) -> Workload | None:
        project, _, name = key.partition("/")
        try:
            return await self._backend.store.get(Workload, name, project)
        except NotFound:
            return None


async def _in_thread_if_large(work: Callable[..., T], snapshot: Snapshot, *more: object) -> T:
    if len(snapshot.pods) < THREAD_FROM:
        return work(snapshot, *more)
    return await asyncio.to_thread(work, snapshot, *more)


def _other_pool(name: str, *, may_use: bool) -> Suggestion:
    if may_use:
        text = f"In node pool {name}, which it may use, it would start now."
    else:
        text = f"In node pool {name}, which it does not name, it would start now: submit it with that node pool."
    return Suggestion("node_pool", text, {"node_pool": name, "allowed": "yes" if may_use else "no"})


def with_gang(snapshot: Snapshot, gang: Gang) -> Snapshot:
    """Return the snapshot as it would be with the gang waiting in it."""
    entries = tuple(
        PodEntry(
            name=f"{pod.meta.project}/{pod.name}",
            pod_group=gang.group.name,
            sub_group=pod.spec.sub_group,
            request=pod.spec.request,
            constraints=pod.spec.constraints,
            leader=pod.spec.leader,
            created_at=snapshot.taken_at,
        )
        for pod in gang.pods
    )
    return replace(snapshot, pod_groups=(*snapshot.pod_groups, gang.group), pods=(*snapshot.pods, *entries))


def _by_group(evictions: Sequence[Evict]) -> dict[str, list[Evict]]:
    groups: dict[str, list[Evict]] = {}
    for eviction in evictions:
        groups.setdefault(eviction.pod_group, []).append(eviction)
    return groups
