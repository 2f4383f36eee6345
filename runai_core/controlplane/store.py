"""A tenant's store: what people ask for becomes an intent for a cluster, in the same transaction.

Everything else is the database's. Only the service layer writes through this
store; what clusters report is written below it (`mirror`).
"""

import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast
from uuid import uuid4

from runai_core.backends.local.store import LocalStore
from runai_core.backends.local.writes import Create, Put, Update, Write
from runai_core.model.clusters import CLUSTER, Cluster, Intent, StoreIdentity, Wanted
from runai_core.model.errors import AlreadyExists, Conflict, NotFound
from runai_core.model.meta import Meta
from runai_core.model.organization import Project
from runai_core.model.workload import HistoryRecord, Phase, RecordType, Workload
from runai_core.ports import Change, Page, Query, SampleStore, Store, Stored

T = TypeVar("T", bound=Stored)

EVERYTHING = Query()

WANTED = {Phase.STOPPING: Wanted.STOPPED, Phase.STOPPED: Wanted.STOPPED, Phase.DELETING: Wanted.DELETED}
"""Phase that a request brings a workload to -> what it wants; everything else wants it to run."""


class TenantStore:
    """A `ports.Store` over a tenant's database."""

    def __init__(self, inner: LocalStore) -> None:
        self._inner = inner

    @property
    def samples(self) -> SampleStore:
        """Where measurements are kept."""
        return self._inner.samples

    async def get(self, kind: type[T], name: str, project: str = "") -> T:
        """Return the object; raise NotFound where there is none."""
        return await self._inner.get(kind, name, project)

    async def get_by_uid(self, kind: type[T], uid: str) -> T:
        """Return the object, also a deleted one that is still kept; raise NotFound."""
        return await self._inner.get_by_uid(kind, uid)

    async def list(self, kind: type[T], query: Query = EVERYTHING) -> Page[T]:
        """Return the objects that match; raise InvalidRequest for a field that is not there."""
        return await self._inner.list(kind, query)

    async def tally(self, kind: type[T], field: str, query: Query) -> Mapping[str, int]:
        """Return how many objects match, for each value of a field of text."""
        return await self._inner.tally(kind, field, query)

    async def create(self, item: T) -> T:
        """Keep a new object; a workload with the intent that takes it to its cluster. Raise AlreadyExists."""
        if isinstance(item, Workload):
            return cast("T", await self._submit(item))
        if isinstance(item, HistoryRecord):
            return cast("T", await self._inner.create(as_request(item)))
        if isinstance(item, Project) and item.cluster:
            await self._inner.get_by_uid(Cluster, item.cluster)
        return await self._inner.create(item)

    async def update(self, item: T) -> T:
        """Replace the object; a workload with what is wanted of it now. Raise StaleVersion, NotFound."""
        if isinstance(item, Workload):
            return cast("T", await self._ask(item))
        return await self._inner.update(item)

    async def delete(self, kind: type[T], uid: str) -> T:
        """Mark the object as deleted. Raise NotFound."""
        return await self._inner.delete(kind, uid)

    async def purge(self, kind: type[T], deleted_before: float) -> int:
        """Forget for good what was deleted before that time; return how many."""
        return await self._inner.purge(kind, deleted_before)

    def watch(self, kind: type[T], from_version: int) -> AsyncIterator[Change[T]]:
        """Yield every change after the version, in order. Raise WatchExpired when it is no longer known."""
        return self._inner.watch(kind, from_version)

    async def version(self) -> int:
        """Return the newest resource version."""
        return await self._inner.version()

    async def transact(self, *writes: Write) -> Sequence[Any]:
        """Make all of these changes or none, as they are; raise as the first that is refused."""
        return await self._inner.transact(writes)

    async def cluster_of(self, project: str) -> str:
        """Return the id of the cluster that runs the workloads of a project.

        Raises:
            Conflict: the tenant has no cluster yet, or it has several and the project names none.
        """
        found = (await self._inner.get(Project, project)).cluster
        if found:
            return found
        clusters = (await self._inner.list(Cluster, Query(limit=2))).items
        if len(clusters) == 1:
            return clusters[0].meta.uid
        if clusters:
            raise Conflict(f"project {project} names no cluster, and there are several: set its cluster first")
        raise Conflict("this tenant has no cluster yet: create one and connect it, then submit again")

    async def _submit(self, workload: Workload) -> Workload:
        cluster = await self.cluster_of(workload.meta.project)
        meta = workload.meta
        meta = replace(meta, uid=meta.uid or str(uuid4()), annotations={**meta.annotations, CLUSTER: cluster})
        workload = replace(workload, meta=meta)
        intent = Intent(
            meta=_intent_meta(meta.uid), cluster=cluster, creates=True, actor=meta.created_by, workload=workload
        )
        created, _ = await self.transact(Create(workload), Create(intent))
        return cast("Workload", created)

    async def _ask(self, workload: Workload) -> Workload:
        """Keep what is wanted now; the guard against two at once is the workload's version."""
        uid = workload.meta.uid
        wanted = WANTED.get(workload.phase, Wanted.RUNNING)
        old = await self._intent(uid)
        intent = Intent(
            meta=old.meta if old else _intent_meta(uid),
            cluster=workload.meta.annotations.get(CLUSTER, ""),
            generation=old.generation + 1 if old else 1,
            wanted=wanted,
            creates=bool(old and old.creates),
            actor=workload.meta.updated_by,
            workload=workload,
        )
        saved, _ = await self.transact(Update(workload), Put(intent))  # an earlier one may be forgotten
        return cast("Workload", saved)

    async def _intent(self, uid: str) -> Intent | None:
        try:
            return await self._inner.get(Intent, uid)
        except NotFound:
            return None


async def store_identity(store: Store) -> StoreIdentity:
    """Return what names this database, drawing it when it is first asked for."""
    identity = StoreIdentity(meta=Meta(name="store"), signing_key=secrets.token_hex(32))
    return await the_only(store, identity)


async def the_only(store: Store, item: T) -> T:
    """Return the one object of this kind and name, creating it where there is none."""
    try:
        return await store.get(type(item), item.meta.name)
    except NotFound:
        pass
    try:
        return await store.create(item)
    except AlreadyExists:
        return await store.get(type(item), item.meta.name)


def as_request(record: HistoryRecord) -> HistoryRecord:
    """Return the record of a request: the phase changes in the cluster, which tells of it itself."""
    if record.type is not RecordType.PHASE_UPDATE or record.from_phase is None:
        return record
    return replace(
        record,
        type=RecordType.EVENT,
        from_phase=None,
        to_phase=None,
        reason=record.signal,
        severity="Normal",
    )


def _intent_meta(uid: str) -> Meta:
    return Meta(name=uid, uid=f"intent-{uid}", owner=uid)
