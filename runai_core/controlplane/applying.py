"""What a cluster makes of what its control plane tells it: copies of its organization, and workloads as wanted.

Everything here may be done twice. That an intent was done is kept
(`Applied`) after it was done, and told to the control plane like everything
else that happens in the cluster.
"""

import logging
from dataclasses import replace
from typing import Any

from runai_core import wire
from runai_core.controlplane.downward import ORGANIZATION
from runai_core.controlplane.feeding import Delta
from runai_core.controlplane.sealing import sealed
from runai_core.controlplane.site import Site, asked_by, outer_id, with_outer_id
from runai_core.model.assets import Asset
from runai_core.model.clusters import CONTROL_PLANE_ID, MANAGED, Applied, Intent, Wanted
from runai_core.model.errors import AlreadyExists, Conflict, NotFound, RunaiError, StaleVersion, Unavailable
from runai_core.model.meta import Meta
from runai_core.model.workload import Workload
from runai_core.ports import ChangeType, Query
from runai_core.service.asking import INFERENCE

log = logging.getLogger(__name__)

TRIES = 5
"""Times that a change is tried anew where somebody else changed the object first."""


class Applier:
    """Does in one cluster what its control plane tells."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._store = site.backend.store
        self._own_ids: dict[str, str] = {}  # id in the control plane -> own id, where the two differ
        self.problems: dict[str, str] = {}  # what could not be copied -> why

    async def take(self, delta: Delta) -> None:
        """Do what a delta tells; what the cluster refuses is kept as a problem and does not hold up the rest."""
        if delta.kind == Intent.__name__:
            for change, _, intent in delta.changes:
                if change is not ChangeType.DELETED:
                    await self._take_intent(intent)
            return
        if delta.present is not None:
            await self._drop_others(delta)
        for change, _, item in delta.changes:
            await self._copy(change, item)
        self._site.scheduling.wake()

    @property
    def outer_ids(self) -> dict[str, str]:
        """Own ids of workloads -> those in the control plane, where the two differ."""
        return {own: outer for outer, own in self._own_ids.items() if own != outer}

    async def own_id(self, uid: str) -> str:
        """Return the cluster's own id of a workload that the control plane calls by this one."""
        if uid not in self._own_ids:
            try:
                return (await self._store.get_by_uid(Workload, uid)).meta.uid
            except NotFound:
                self._own_ids |= {
                    outer_id(item): item.meta.uid
                    for item in (await self._store.list(Workload, Query())).items
                    if CONTROL_PLANE_ID in item.meta.annotations
                }
        return self._own_ids.get(uid, uid)

    async def _copy(self, change: ChangeType, item: Any) -> None:
        what = f"{type(item).__name__.lower()} {item.meta.name}"
        try:
            for _ in range(TRIES):
                try:
                    await (self._drop(item) if change is ChangeType.DELETED else self._keep(item))
                    break
                except (StaleVersion, AlreadyExists):
                    continue
            else:
                raise Conflict("somebody else changes it again and again")
            self.problems.pop(what, None)
        except Unavailable:
            raise
        except RunaiError as error:
            log.warning("%s of the control plane cannot be kept here: %s", what, error.message)
            self.problems[what] = error.message

    async def _keep(self, item: Any) -> None:
        kind = type(item)
        try:
            kept = await self._store.get(kind, item.meta.name)
            item = self._own(item, kept)
        except NotFound:
            item = self._own(item, None)
            notes = {**item.meta.annotations, MANAGED: "true"}
            meta = Meta(name=item.meta.name, uid=item.meta.uid, created_by=item.meta.created_by, annotations=notes)
            try:
                await self._store.create(replace(item, meta=meta))
            except AlreadyExists:  # one of this id was here and is gone: it comes back as another
                await self._store.create(replace(item, meta=replace(meta, uid="")))
            return
        notes = {**kept.meta.annotations, MANAGED: "true"}
        changed = replace(item, meta=replace(kept.meta, annotations=notes))
        if hasattr(item, "namespace"):
            changed = replace(changed, namespace=kept.namespace or item.namespace)
        if changed != kept:
            await self._store.update(changed)

    def _own(self, item: Any, kept: Any) -> Any:
        """Return an object as it is kept here: secrets are sealed with our own key."""
        return sealed(self._site.vault, item, kept) if isinstance(item, Asset) else item

    async def _drop(self, item: Any) -> None:
        try:
            kept = await self._store.get(type(item), item.meta.name)
        except NotFound:
            return
        if MANAGED in kept.meta.annotations:
            await self._store.delete(type(item), kept.meta.uid)

    async def _drop_others(self, delta: Delta) -> None:
        kind = ORGANIZATION[delta.kind]
        names = {item.meta.name for change, _, item in delta.changes if change is not ChangeType.DELETED}
        if not delta.last:
            return  # too many to compare at once: what is gone is told as deleted, while that is known
        for kept in (await self._store.list(kind, Query())).items:
            if MANAGED in kept.meta.annotations and kept.meta.name not in names:
                await self._copy(ChangeType.DELETED, kept)

    async def _take_intent(self, intent: Intent) -> None:
        uid = intent.meta.name
        try:
            applied = await self._store.get(Applied, uid)
        except NotFound:
            applied = None
        if applied is not None and applied.generation >= intent.generation:
            return
        error = ""
        try:
            await self._do(intent, known=applied is not None)
        except Unavailable:
            raise
        except RunaiError as refused:
            error = refused.message
        workload = await self._find(uid)
        if workload is not None:  # the connection may have been cut, and this been ended, before anybody was told
            self._site.reconciler.poke(workload.meta.uid)
        answer = Applied(
            # It goes with the workload: nothing is wanted any more of one that is forgotten.
            meta=applied.meta if applied else Meta(name=uid, owner=workload.meta.uid if workload else ""),
            generation=intent.generation,
            error=error,
            workload=workload,
        )
        await (self._store.update(answer) if applied else self._store.create(answer))

    async def _do(self, intent: Intent, *, known: bool) -> None:
        """Bring the workload to what is wanted; `known`: an older intent for it was done before."""
        actor, uid = asked_by(intent.actor), intent.meta.name
        workload = await self._find(uid)
        if workload is None:
            if intent.creates and not known and intent.wanted is not Wanted.DELETED and intent.workload is not None:
                await self._create(intent, intent.workload)
            elif intent.wanted is not Wanted.DELETED:
                raise NotFound("the workload does not exist in the cluster any more")
            return
        own = workload.meta.uid
        match intent.wanted:
            case Wanted.DELETED:
                await self._site.workloads.delete(actor, own)
            case Wanted.STOPPED:
                await self._site.workloads.stop(actor, own)
            case Wanted.RUNNING:
                await self._run(intent, workload)

    async def _create(self, intent: Intent, workload: Workload) -> None:
        uid = intent.meta.name
        meta = replace(workload.meta, uid=uid, version=0, annotations=with_outer_id(workload, uid))
        if intent.wanted is Wanted.STOPPED:
            raise Conflict("it was stopped before the cluster received it, and did not run: run it again, or delete it")
        created = await self._site.workloads.take_over(asked_by(intent.actor), replace(workload, meta=meta))
        if created.meta.uid != uid:
            self._own_ids[uid] = created.meta.uid

    async def _run(self, intent: Intent, workload: Workload) -> None:
        actor, wished = asked_by(intent.actor), intent.workload
        if wished is not None and workload.type in INFERENCE and wished.spec != workload.spec:
            await self._site.workloads.respecify(actor, workload.meta.uid, wire.encode(wished.spec))
        elif workload.stop_requested:
            await self._site.workloads.resume(actor, workload.meta.uid)

    async def _find(self, uid: str) -> Workload | None:
        try:
            found = await self._store.get_by_uid(Workload, await self.own_id(uid))
        except NotFound:
            return None
        return found if found.meta.deleted_at is None else None
