"""The loop that brings each workload to what was asked for.

Level-triggered: everything is derived from the stored workload and the pods
that exist, so that a crash between any two steps is repaired by looking again.
One workload is looked at by one task at a time; changes that arrive meanwhile
lead to another look.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from runai_core.lifecycle.gang import RunContext
from runai_core.lifecycle.machine import advance
from runai_core.lifecycle.observe import LEAVING, Observed, counts, look_again_at, observe, surplus, wants_pods
from runai_core.lifecycle.own_rules import deletion_due
from runai_core.lifecycle.phases import Effect, Signal
from runai_core.lifecycle.rendezvous import meeting_point
from runai_core.lifecycle.vacancies import left_over
from runai_core.model.decision import Verdict
from runai_core.model.spec import CleanPodPolicy
from runai_core.model.workload import TERMINAL, Gang, Members, Phase, Pod, Workload, WorkloadType
from runai_core.plugins.registry import Registry
from runai_core.ports import Backend, KnowsAddresses, KnowsReplicas, Query, RemovesPods
from runai_core.service.agenda import Agenda
from runai_core.service.journal import Journal
from runai_core.service.scheduling import SchedulingService
from runai_core.service.witness import Witness

WORKERS = 16
"""Workloads that are looked at side by side."""

SCALED_IN = "Stopped"
"""Reason of a pod that left on demand."""

RECHECK = 1.0
"""Seconds until a workload that could not be handled is looked at again."""


class Reconciler:
    """Looks at each workload that changed and does what is missing."""

    def __init__(self, backend: Backend, journal: Journal, scheduling: SchedulingService, plugins: Registry) -> None:
        self._store = backend.store
        self._cluster = backend.cluster
        self._resolves = backend.resolves
        self._clock = backend.clock
        self._journal = journal
        self._scheduling = scheduling
        self._plugins = plugins
        self._witness = Witness(journal) if backend.frameworks is not None else None
        self._agenda: Agenda[str] = Agenda(backend.clock, "workload", first=RECHECK, longest=RECHECK)
        self._stuck: dict[str, None] = {}  # workloads that may find a place in another node pool, oldest first
        scheduling.when_waiting(self._consider_moving)

    def poke(self, uid: str) -> None:
        """Ask for a look at a workload; asking twice before the look is one look."""
        if uid:
            self._agenda.poke(uid)

    async def run(self) -> None:
        """Work until cancelled: first everything that is stored, then whatever changes."""
        for workload in (await self._store.list(Workload, Query())).items:
            self.poke(workload.meta.uid)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            tasks.create_task(self._agenda.run(self._look, workers=WORKERS))

    def _consider_moving(self, workload: Workload) -> None:
        self._stuck[workload.meta.uid] = None
        self.poke(workload.meta.uid)

    async def explain(self, workload: Workload) -> Verdict | None:
        """Return why the workload waits, and what would start it."""
        return await self._scheduling.explain(workload) or self._scheduling.verdict(workload.meta.uid)

    async def would_wait(self, workload: Workload) -> Verdict | None:
        """Return why the workload would wait if it were submitted now; None if it would start."""
        return await self._scheduling.try_out(await self._gang(workload))

    async def _listen(self) -> None:
        async for change in self._cluster.changes():
            self.poke(change.workload_uid)
            if change.schedules:
                self._scheduling.wake()

    async def _look(self, uid: str) -> None:
        workload = await self._store.get_by_uid(Workload, uid)
        if workload.type is WorkloadType.EXTERNAL and self._witness is not None:
            await self._witness.look(workload)  # its own controllers make and end its pods
            return
        if workload.meta.deleted_at is not None:
            await self._cluster.remove(workload, reason="Deleted")
            return
        pods = await self._cluster.pods(workload)
        workload = await self._with_replicas(workload, pods)
        if await self._end_surplus(workload, pods):
            pods = await self._cluster.pods(workload)
        if wants_pods(workload, pods, self._clock.now()):
            await self._cluster.launch(workload, await self._gang(workload, pods))
            self._scheduling.wake()
            pods = await self._cluster.pods(workload)
        if uid in self._stuck:
            del self._stuck[uid]
            workload = await self._move(workload)
        await self._follow(workload, pods)

    async def _with_replicas(self, workload: Workload, pods: Sequence[Pod]) -> Workload:
        """Return the workload with as many replicas as an autoscaler keeps, where one does."""
        if workload.type is not WorkloadType.INFERENCE or not isinstance(self._cluster, KnowsReplicas):
            return workload
        count = await self._cluster.replicas(workload, pods)
        kept = None if count is None else Members(ranks=tuple(range(count)), next_rank=count)
        return workload if workload.members == kept else await self._store.update(replace(workload, members=kept))

    async def _move(self, workload: Workload) -> Workload:
        """Take a waiting workload to the first of its other node pools where it would start now.

        Pools are tried in the order of its preference (Run:ai docs 2.25, node pools).
        """
        if workload.phase is not Phase.PENDING:
            return workload
        for pool in workload.node_pools:
            if pool == workload.node_pool:
                continue
            moved = replace(
                workload,
                node_pool=pool,
                attempt=workload.attempt + 1,
                successes_before=workload.successes,
                failures_before=workload.failures,
            )
            verdict = await self.would_wait(moved)
            if verdict is None or verdict.promised:
                saved = await self._store.update(moved)
                message = f"moved from node pool {workload.node_pool} to {pool}, where there is room"
                await self._journal.event(saved, "NodePoolChanged", message)
                self.poke(saved.meta.uid)
                return saved
        return workload

    async def _end_surplus(self, workload: Workload, pods: Sequence[Pod]) -> bool:
        """Ask pods that nobody wants to end; return whether there were any."""
        if workload.phase in LEAVING:
            if pods:
                await self._cluster.remove(workload, reason=str(workload.phase))
            return bool(pods)
        for attempt in sorted({pod.attempt for pod in surplus(workload, pods)}):
            keep = workload.phase in TERMINAL and workload.spec.clean_pod_policy is not CleanPodPolicy.ALL
            await self._cluster.remove(
                workload, reason=workload.phase_reason or str(workload.phase), attempt=attempt, keep_finished=keep
            )
        if (left := left_over(workload, pods)) and isinstance(self._cluster, RemovesPods):
            await self._cluster.remove_pods(workload, [pod.meta.uid for pod in left], reason=SCALED_IN)
        return bool(surplus(workload, pods))

    async def _gang(self, workload: Workload, pods: Sequence[Pod] = ()) -> Gang:
        address, port = meeting_point(workload, pods) or await self._cluster.rendezvous(workload)
        known = self._cluster if isinstance(self._cluster, KnowsAddresses) else None
        context = RunContext(
            master_address=address,
            master_port=port,
            addresses=() if known is None else await known.addresses(workload),
            hostfile="" if known is None else known.hostfile(workload),
            created_at=self._clock.now(),
            deferred=self._resolves,
        )
        gang = self._plugins.gang_of(workload, run_context=context, existing=pods)
        return Gang(group=gang.group, pods=tuple(self._with_plugins(workload, pod) for pod in gang.pods))

    def _with_plugins(self, workload: Workload, pod: Pod) -> Pod:
        """Return the pod with the variables that plug-ins add; those of its specification win."""
        added = self._plugins.pod_environment(workload, pod)
        if not added:
            return pod
        return replace(pod, spec=replace(pod.spec, environment={**added, **pod.spec.environment}))

    async def _follow(self, workload: Workload, pods: Sequence[Pod]) -> None:
        """Follow the signals that the pods give until there is none, then save once."""
        first, now = workload, self._clock.now()
        told: list[tuple[Phase, Phase, Observed]] = []
        effects: set[Effect] = set()
        while (seen := observe(workload, pods, now)) is not None and len(told) < len(Phase):
            before = workload.phase
            workload, transition = advance(workload, seen.signal, now=now, cause=seen.cause, count=seen.count)
            effects.update(transition.effects)
            told.append((before, workload.phase, seen))
            if effects & {Effect.NEW_ATTEMPT, Effect.FORGET}:
                break
        shown = counts(workload, pods)
        workload = replace(workload, pods_requested=shown.requested, pods_running=shown.running)
        if workload != first or Effect.FORGET in effects:
            await self._save(workload, told, forget=Effect.FORGET in effects)
        if effects or (workload != first and workload.phase in TERMINAL):
            self.poke(workload.meta.uid)  # what the effects ask for is derived from what is stored now
            return
        if (at := look_again_at(workload, pods, now)) is not None:
            self._agenda.at(workload.meta.uid, at)
        if workload.phase not in LEAVING:
            await self._delete_when_due(workload)

    async def _save(self, workload: Workload, told: Sequence[tuple[Phase, Phase, Observed]], *, forget: bool) -> None:
        saved = await self._store.update(workload)
        for before, after, seen in told:
            if before is not after:
                await self._journal.transition(
                    saved, before, after, signal=str(seen.signal), cause=seen.cause, actor="system"
                )
            elif not forget:
                await self._journal.event(saved, str(seen.signal), seen.cause)
        if forget:
            await self._store.delete(Workload, saved.meta.uid)

    async def _delete_when_due(self, workload: Workload) -> None:
        if (found := deletion_due(workload)) is None:
            return
        due, cause = found
        if self._clock.now() < due:
            self._agenda.at(workload.meta.uid, due)
            return
        changed, _ = advance(workload, Signal.DELETE_ASKED, now=self._clock.now(), cause=cause)
        saved = await self._store.update(changed)
        await self._journal.transition(
            saved, workload.phase, saved.phase, signal=str(Signal.DELETE_ASKED), cause=cause, actor="system"
        )
        self.poke(saved.meta.uid)
