"""What users see of the scheduler's verdicts: conditions of pods, status of PodGroups and Queues, events.

A cycle's result is compared with what was written before; only changes are
written, in the background, a bounded number in a second, a group that waits
for the first time before all others.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

from runai_core.backends.kubernetes.api import Api, Object
from runai_core.backends.kubernetes.codec.groups import marks_unschedulable
from runai_core.backends.kubernetes.codec.pods import group_of
from runai_core.backends.kubernetes.codec.status import (
    UNSCHEDULABLE,
    group_status,
    queue_status,
    scheduling_condition,
    transition_after,
    written_conditions,
)
from runai_core.backends.kubernetes.codec.values import annotations_of, key_of, labels_of, rfc3339
from runai_core.backends.kubernetes.conditions import PodConditions
from runai_core.backends.kubernetes.events import About, Recorder
from runai_core.backends.kubernetes.names import LAST_START_ANNOTATION, STALE_ANNOTATION
from runai_core.backends.kubernetes.resources import POD_GROUPS, PODS, QUEUES, Resource
from runai_core.backends.kubernetes.snapshot import Snapshots
from runai_core.backends.kubernetes.world import World
from runai_core.model.decision import CycleResult, Pipeline, QueueShare, Reason, Verdict
from runai_core.model.errors import NotFound, RunaiError, StaleVersion, Unavailable
from runai_core.ports import Clock

log = logging.getLogger(__name__)

PER_SECOND = 100
"""Writes of status in a second at most."""

SAME_REASON = 5.0
"""Seconds before another wording of the same reason is written: the numbers in it change with every cycle."""

SETTLE = 3.0
"""Seconds that a PodGroup's counts are left to settle before they are written."""

QUEUES_EVERY = 2.0
"""Seconds between two writes of a Queue's status."""

SILENT = frozenset({Reason.GATED})
"""Reasons that pods do not need to be told: the API server says it."""

LEADS = 90.0
"""Seconds after a cycle of this process for which it speaks of groups: other replicas see their pods as well."""

PATIENCE = 2.0
"""Seconds without another pod after which it is said that a gang's pods are missing: till then they are being made."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a waiting group was told last, or is about to be."""

    verdict: Verdict
    pods: int
    at: float


class StatusWriter:
    """Writes what the scheduler has to say."""

    def __init__(  # noqa: PLR0913 - the parts of a cluster that it reads and writes
        self,
        api: Api,
        world: World,
        snapshots: Snapshots,
        recorder: Recorder,
        clock: Clock,
        *,
        busy: Callable[[], bool],
        patience: float = PATIENCE,
    ) -> None:
        self._patience = patience
        self._api = api
        self._world = world
        self._snapshots = snapshots
        self._recorder = recorder
        self._clock = clock
        self._busy = busy
        self._told: dict[str, dict[str, Told]] = {}  # node pool -> group
        self._arriving: set[str] = set()  # groups whose pods are being made, as it seems
        self._conditions = PodConditions(api, world, snapshots, recorder, clock)
        self._urgent: OrderedDict[str, Verdict] = OrderedDict()
        self._later: OrderedDict[str, Verdict] = OrderedDict()
        self._nominated: dict[str, str] = {}
        self._groups: OrderedDict[str, float] = OrderedDict()  # whose counts changed, and since when
        self._queues: dict[str, dict[str, dict[str, QueueShare]]] = {}  # node pool -> queue -> resource
        self._queues_changed: dict[str, None] = {}
        self._queue_written: dict[str, tuple[float, Object]] = {}
        self._leads_until = 0.0
        self._more = asyncio.Event()
        world.pods.index("pod group", _group_of_pod)
        world.pods.on_change(self._pod_changed)

    # -- what a cycle says

    def take(self, result: CycleResult) -> None:
        """Compare a cycle's verdicts, promises and shares with what was written; returns at once."""
        now = self._clock.now()
        self._leads_until = now + LEADS
        before = self._told.get(result.node_pool, {})
        newest: dict[str, Told] = {}
        for verdict in result.verdicts:
            newest[verdict.pod_group] = self._compare(verdict, before.get(verdict.pod_group), now)
        for group in before.keys() - newest.keys():
            self._urgent.pop(group, None)
            self._later.pop(group, None)
            self._conditions.withdraw(group)
            self._groups.setdefault(group, now)  # its condition is to be cleared
        self._told[result.node_pool] = newest
        for promise in result.pipelines:
            self._nominate(promise)
        self._take_shares(result)
        self._more.set()

    def _compare(self, verdict: Verdict, told: Told | None, now: float) -> Told:
        group = verdict.pod_group
        gang = self._snapshots.gangs.find(group)
        pods = 0 if gang is None else len(gang.live)
        new = Told(verdict, pods, now)
        if verdict.reason is Reason.NOT_READY and (told is None or told.pods != pods):
            self._await_pods(group, pods)
        elif told is None or told.verdict.reason is Reason.NOT_READY is not verdict.reason:
            self._urgent[group] = verdict
        elif (told.verdict.reason, told.pods) != (verdict.reason, pods):
            self._later[group] = verdict
        elif told.verdict.message == verdict.message or now - told.at < SAME_REASON:
            return told
        else:
            self._later[group] = verdict
        return new

    def _await_pods(self, group: str, pods: int) -> None:
        """Have it said that pods are missing, unless another one comes soon."""
        if group not in self._arriving:
            self._arriving.add(group)
            asyncio.get_running_loop().call_later(self._patience, self._tell_if_still, group, pods)

    def _tell_if_still(self, group: str, pods: int) -> None:
        self._arriving.discard(group)
        told = next((found[group] for found in self._told.values() if group in found), None)
        if told is None or told.verdict.reason is not Reason.NOT_READY:
            return
        if told.pods != pods:
            self._await_pods(group, told.pods)
            return
        self._later.setdefault(group, told.verdict)
        self._more.set()

    def _nominate(self, promise: Pipeline) -> None:
        if self._nominated.get(promise.pod) != promise.node:
            self._nominated[promise.pod] = promise.node

    def _take_shares(self, result: CycleResult) -> None:
        found: dict[str, dict[str, QueueShare]] = {}
        for share in result.shares:
            found.setdefault(share.queue, {})[share.resource] = share
        before = self._queues.get(result.node_pool, {})
        for queue, shares in found.items():
            if before.get(queue) != shares:
                self._queues_changed[queue] = None
        self._queues[result.node_pool] = found

    def _pod_changed(self, _kind: str, old: Object | None, new: Object | None) -> None:
        for pod in (old, new):
            for group in _group_of_pod(pod) if pod is not None else ():
                self._groups.setdefault(group, self._clock.now())
        if new is None and old is not None:
            self._nominated.pop(key_of(old), None)

    # -- writing

    async def run(self) -> None:
        """Write until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._conditions.run())
            tasks.create_task(self._run())

    async def _run(self) -> None:
        while True:
            work = self._next()
            if work is None:
                self._more.clear()
                try:
                    async with asyncio.timeout(SETTLE / 3):
                        await self._more.wait()
                except TimeoutError:
                    pass
                continue
            try:
                await work
            except (NotFound, StaleVersion):
                pass  # gone, or changed by somebody else: the next cycle tells
            except RunaiError as error:
                log.debug("status: %s", error.message)
                await asyncio.sleep(0.5)
            await asyncio.sleep(1 / PER_SECOND)

    def _next(self) -> Coroutine[Any, Any, None] | None:
        """Return what is to be written next, the most urgent first."""
        if self._urgent:
            return self._tell(self._urgent.popitem(last=False)[1])
        pod = next((name for name, node in self._nominated.items() if node), None)
        if pod is not None:
            node, self._nominated[pod] = self._nominated[pod], ""
            return self._write_nomination(pod, node)
        if self._busy():
            return None
        if self._later:
            return self._tell(self._later.popitem(last=False)[1])
        now = self._clock.now()
        if now > self._leads_until:
            return None
        queue = next((name for name in self._queues_changed if self._may_write(name, now)), None)
        if queue is not None:
            del self._queues_changed[queue]
            return self._write_queue(queue, now)
        group = next(iter(self._groups), None)
        if group is not None and now - self._groups[group] >= SETTLE:
            del self._groups[group]
            self._snapshots.refresh(now)  # there need not have been a cycle since its pods changed
            return self._write_group(group, now)
        return None

    async def _tell(self, verdict: Verdict) -> None:
        """Write a verdict on the group, on its pods and in an event."""
        group = self._world.pod_groups.named(verdict.pod_group)
        if group is None:
            return
        about = About.of(group, POD_GROUPS.kind, POD_GROUPS.api_version)
        kind = "NotReady" if verdict.reason is Reason.NOT_READY else UNSCHEDULABLE
        self._recorder.tell(about, kind, verdict.message, warning=True)
        pool = self._snapshots.partition.of_labels(labels_of(group)) or ""
        status = {
            "phase": "Pending",
            "schedulingConditions": [scheduling_condition(verdict, pool, transition_after(group))],
            "conditions": written_conditions(group, verdict.reason.value, verdict.message, self._clock.now()),
        }
        try:
            await self._write(POD_GROUPS, group, {"status": status})
        except Unavailable:
            self._later.setdefault(verdict.pod_group, verdict)
            raise
        if marks_unschedulable(group) and verdict.reason not in SILENT:
            self._conditions.tell(verdict)

    async def _write_nomination(self, key: str, node: str) -> None:
        """Say on a pod which node it was promised."""
        pod = self._world.pods.named(key)
        if pod is None or pod["spec"].get("nodeName") or (pod.get("status") or {}).get("nominatedNodeName") == node:
            return
        body = {"metadata": {"uid": pod["metadata"]["uid"]}, "status": {"nominatedNodeName": node}}
        await self._write(PODS, pod, body)

    async def _write_group(self, key: str, now: float) -> None:
        """Write a group's counts, and the annotations that a restart needs."""
        group = self._world.pod_groups.named(key)
        if group is None:
            return
        entry, gang = self._snapshots.group(key), self._snapshots.gangs.find(key)
        pods = list(self._world.pods.find("pod group", key))
        entries = list(gang.entries.values()) if gang is not None else []
        waits = any(key in told for told in self._told.values())
        status = group_status(group, entry, pods, entries, waits=waits, now=now)
        if status:
            await self._write(POD_GROUPS, group, {"status": status})
        if gang is None:
            return
        wanted = {LAST_START_ANNOTATION: gang.start, STALE_ANNOTATION: gang.stale_since}
        notes = {key: rfc3339(value) for key, value in wanted.items() if value is not None}
        if gang.stale_since is None and STALE_ANNOTATION in annotations_of(group):
            notes[STALE_ANNOTATION] = None  # type: ignore[assignment]  # null takes it away
        if any(annotations_of(group).get(key) != value for key, value in notes.items()):
            await self._write(POD_GROUPS, group, {"metadata": {"annotations": notes}}, sub="")

    def _may_write(self, queue: str, now: float) -> bool:
        return now - self._queue_written.get(queue, (0.0, {}))[0] >= QUEUES_EVERY

    async def _write_queue(self, name: str, now: float) -> None:
        item = self._world.queues.get(name)
        shares = next((found[name] for found in self._queues.values() if name in found), None)
        if item is None or shares is None:
            return
        children = sorted(
            child["metadata"]["name"]
            for child in self._world.queues
            if (child.get("spec") or {}).get("parentQueue") == name
        )
        status = queue_status(shares, children)
        known = item.get("status") or {}
        self._queue_written[name] = (now, status)
        if any(known.get(key) != value for key, value in status.items()):
            await self._write(QUEUES, item, {"status": status})

    async def _write(self, resource: Resource, item: Object, body: Object, *, sub: str = "status") -> None:
        meta = item["metadata"]
        written = await self._api.patch(resource, meta["name"], body, meta.get("namespace", ""), sub=sub)
        self._world.crd(resource).note(written)


def _group_of_pod(pod: Object) -> Iterable[str]:
    found = group_of(pod)
    return (found,) if found else ()
