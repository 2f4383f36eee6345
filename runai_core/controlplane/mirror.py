"""What clusters report, written into the tenant's store.

A cluster can write only what is its own: its workloads, their pods and their
history, in projects that are its own. What it says of anything else is refused.
"""

import asyncio
import contextlib
import logging
from dataclasses import replace
from typing import Any

from runai_core.backends.local.writes import Delete, Put
from runai_core.controlplane.feeding import Delta
from runai_core.controlplane.projects import Projects
from runai_core.controlplane.store import TenantStore
from runai_core.model.clusters import CLUSTER, CLUSTER_VERSION, CONTROL_PLANE_ID, Applied, Intent, Wanted
from runai_core.model.errors import AlreadyExists, NotFound
from runai_core.model.meta import Meta
from runai_core.model.workload import HistoryRecord, Phase, Pod, RecordType, Workload
from runai_core.ports import ChangeType, Query

log = logging.getLogger(__name__)

KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in (Workload, Pod, HistoryRecord, Applied)}
"""What a cluster reports."""


class Mirror:
    """Writes what one cluster reports; `epoch` names the cluster's store, whose versions these are."""

    def __init__(self, store: TenantStore, cluster: str, epoch: str, projects: Projects) -> None:
        self._store = store
        self._cluster = cluster
        self._epoch = epoch
        self._projects = projects

    async def take(self, delta: Delta) -> None:
        """Keep what a delta tells; taking it twice, or after newer ones, changes nothing."""
        if delta.present is not None:
            await self._drop_others(delta)
        newest = {item.meta.uid: (change, version, item) for change, version, item in delta.changes}
        gone = [entry for entry in newest.values() if entry[0] is ChangeType.DELETED]
        rest = [entry for entry in newest.values() if entry[0] is not ChangeType.DELETED]
        for entries in (gone, rest):  # in this order: a name may be free because of one, and taken because of the next
            await asyncio.gather(*(self._take(*entry) for entry in entries))

    async def _take(self, change: ChangeType, version: int, item: Any) -> None:
        if not await self._allowed(item):
            log.warning("cluster %s: %s %s is not its own", self._cluster, type(item).__name__, item.meta.uid)
        elif isinstance(item, Applied):
            await self._take_answer(item)
        else:
            await self._take_object(change, version, item)

    async def _allowed(self, item: Any) -> bool:
        """Return whether an object of this id is the cluster's own, or new."""
        if isinstance(item, Applied):
            kept = await self._kept(Workload, item.meta.name)
        else:
            kept = await self._kept(type(item), _outer_id(item))
        return kept is None or kept.meta.annotations.get(CLUSTER) == self._cluster

    async def _take_object(self, change: ChangeType, version: int, item: Any) -> None:
        outer = await self.outward(item, version)
        if change is ChangeType.DELETED and outer.meta.deleted_at is None:
            outer = replace(outer, meta=replace(outer.meta, deleted_at=item.meta.updated_at))

        def is_newer(kept: Any) -> bool:
            return self._version(kept) > version

        # Asked in the transaction: what an answer says and what a feed says of one workload are taken side by side.
        put = Put(outer, unless=is_newer)
        if isinstance(outer, Workload):
            await self._take_workload(outer, put)
        else:
            await self._store.transact(put)

    async def _take_workload(self, workload: Workload, put: Put) -> None:
        try:
            await self._store.transact(put)
        except AlreadyExists as error:
            await self._give_way(str(error.details.get("uid", "")), workload)
            await self._store.transact(put)
        if workload.meta.deleted_at is not None:
            await self._forget_intent(workload.meta.uid)

    async def _give_way(self, uid: str, winner: Workload) -> None:
        """Let a submission that found its name taken in the cluster end under another name: it never ran."""
        loser = await self._store.get_by_uid(Workload, uid)
        if CLUSTER_VERSION in loser.meta.annotations:  # it had the name, and is gone there by now
            await self._store.transact(Delete(Workload, uid))
            return
        name = f"{loser.name[:50]}-{uid[:8]}"
        message = (
            f"the name {winner.name} was taken by a workload that was submitted on the cluster meanwhile; "
            "this one did not run: submit it again under another name"
        )
        moved = replace(
            loser,
            meta=replace(loser.meta, name=name),
            phase=Phase.FAILED,
            phase_reason="NameTaken",
            phase_message=message,
            completed_at=winner.meta.created_at,
        )
        await self._store.transact(Put(moved, unless=_was_reported))
        await self._forget_intent(uid)

    async def outward(self, item: Any, version: int) -> Any:
        """Return an object of the cluster as the control plane keeps it."""
        meta: Meta = item.meta
        annotations = {name: value for name, value in meta.annotations.items() if name != CONTROL_PLANE_ID}
        annotations[CLUSTER] = self._cluster
        annotations[CLUSTER_VERSION] = f"{version}@{self._epoch}"
        department = item.department if isinstance(item, Workload) else ""
        project = await self._projects.outward(meta.project, department)
        return replace(item, meta=replace(meta, uid=_outer_id(item), project=project, annotations=annotations))

    async def _drop_others(self, delta: Delta) -> None:
        """Let go of what the cluster has reported once and does not have any more."""
        kind = KINDS[delta.kind]
        for item in (await self._store.list(kind, Query())).items:
            notes = item.meta.annotations
            if (
                notes.get(CLUSTER) == self._cluster
                and CLUSTER_VERSION in notes
                and item.meta.uid not in (delta.present or ())
            ):
                with contextlib.suppress(NotFound):
                    await self._store.transact(Delete(kind, item.meta.uid))
                if kind is Workload:
                    await self._forget_intent(item.meta.uid)

    async def _take_answer(self, answer: Applied) -> None:
        """Learn what became of an intent."""
        uid = answer.meta.name
        kept = await self._kept(Workload, uid)
        if kept is None or kept.meta.deleted_at is not None:
            return
        if answer.workload is not None:
            await self._take_object(ChangeType.MODIFIED, answer.workload.meta.version, answer.workload)
        intent = await self._intent(uid)
        newest = intent is not None and intent.generation <= answer.generation
        if intent is not None and newest and answer.workload is None and not _was_reported(kept):
            await self._end_unborn(kept, intent, answer)
        if answer.error:
            await self._store.transact(Put(self._told(kept, answer)))

    async def _end_unborn(self, workload: Workload, intent: Intent, answer: Applied) -> None:
        """End a workload that never came to be in its cluster: it was deleted before, or the cluster refused it."""
        if intent.wanted is Wanted.DELETED:
            with contextlib.suppress(NotFound):
                await self._store.transact(Delete(Workload, workload.meta.uid))
            await self._forget_intent(workload.meta.uid)
        elif answer.error:
            failed = replace(workload, phase=Phase.FAILED, phase_reason="Refused", phase_message=answer.error)
            await self._store.transact(Put(failed, unless=_was_reported))
            await self._forget_intent(workload.meta.uid)

    def _told(self, workload: Workload, answer: Applied) -> HistoryRecord:
        # Named after the answer: told twice, it is one record.
        meta = Meta(
            name=f"{workload.meta.uid}-{answer.generation}",
            uid=f"answer-{workload.meta.uid}-{answer.generation}",
            project=workload.meta.project,
            owner=workload.meta.uid,
            created_at=answer.meta.updated_at,
            annotations={CLUSTER: self._cluster},
        )
        return HistoryRecord(
            meta=meta,
            type=RecordType.EVENT,
            reason="Refused",
            message=f"the cluster could not do what was asked: {answer.error}",
            severity="Warning",
            involved=f"workload/{workload.name}",
            actor="system",
        )

    def _version(self, item: Any) -> int:
        """Return the version that the object had when it was reported; -1 where that was in another store, or never."""
        version, _, epoch = item.meta.annotations.get(CLUSTER_VERSION, "").partition("@")
        return int(version) if version and epoch == self._epoch else -1

    async def _intent(self, uid: str) -> Intent | None:
        try:
            return await self._store.get(Intent, uid)
        except NotFound:
            return None

    async def _forget_intent(self, uid: str) -> None:
        """End what is wanted of a workload: there is nothing left to do."""
        if intent := await self._intent(uid):
            with contextlib.suppress(NotFound):
                await self._store.transact(Delete(Intent, intent.meta.uid))

    async def _kept(self, kind: type[Any], uid: str) -> Any:
        try:
            return await self._store.get_by_uid(kind, uid)
        except NotFound:
            return None


def _was_reported(item: Any) -> bool:
    """Return whether a cluster has told of the object."""
    return CLUSTER_VERSION in item.meta.annotations


def _outer_id(item: Any) -> str:
    """Return the id under which the control plane knows an object of a cluster."""
    return str(item.meta.annotations.get(CONTROL_PLANE_ID) or item.meta.uid)
