"""The store on Kubernetes: custom resources for what the cluster knows, a database for what it does not.

Reads come from informers, which are told of our own writes before the watch
shows them. A change of a workload is one or two writes: its specification with
the version that was read, then its status with the version of that answer;
whoever looks in between sees a consistent object, only an older status.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from typing import Any, TypeVar

from runai_core.backends.kubernetes.api import Api, Object
from runai_core.backends.kubernetes.codec.times import seconds_of, text_of
from runai_core.backends.kubernetes.copies import Copies
from runai_core.backends.kubernetes.frameworks import KubernetesFrameworks
from runai_core.backends.kubernetes.keepers import Keeper
from runai_core.backends.kubernetes.names import (
    CREATED_ANNOTATION,
    FINALIZER,
    ID_ANNOTATION,
    SUBMITTED_ANNOTATION,
)
from runai_core.backends.kubernetes.querying import select
from runai_core.backends.kubernetes.resources import Resource
from runai_core.backends.kubernetes.story import KEPT
from runai_core.backends.kubernetes.world import World
from runai_core.model.errors import (
    AlreadyExists,
    FieldError,
    InvalidRequest,
    NotFound,
    RunaiError,
    StaleVersion,
    Unavailable,
    Unsupported,
)
from runai_core.model.workload import Phase, Workload, WorkloadType
from runai_core.ports import Change, Clock, Page, Query, SampleStore, Store, Stored, samples_of

log = logging.getLogger(__name__)

T = TypeVar("T", bound=Stored)

EVERYTHING = Query()

NAMESPACE_WAIT = 10.0
"""Seconds that a new workload waits for the namespace of a project that was made just before."""

TICK = 1e-6
"""Seconds between two objects that are created here, so that sorting by time is sorting by order."""


class KubernetesStore:
    """A `ports.Store` over a cluster and a database."""

    def __init__(
        self,
        api: Api,
        world: World,
        records: Store,
        clock: Clock,
        *,
        frameworks: KubernetesFrameworks | None = None,
        log_kept: int = KEPT,
    ) -> None:
        self._api = api
        self._world = world
        self._records = records
        self._clock = clock
        self._copies = Copies(world, None if frameworks is None else frameworks.rows, log_kept)
        self._frameworks = frameworks
        self._closed = False
        self._creating: set[tuple[type[Any], str, str]] = set()  # (kind, project, name)
        self._last = 0.0

    @property
    def samples(self) -> SampleStore | None:
        """Where measurements are kept: the database of the records."""
        return samples_of(self._records)

    async def start(self) -> None:
        """Follow all kinds; return when the copy of each is complete."""
        await self._copies.start()

    def close(self) -> None:
        """End all watches; refuse what is asked from now on."""
        self._closed = True
        self._copies.close()

    # -- reading

    async def get(self, kind: type[T], name: str, project: str = "") -> T:
        """Return the object; raise NotFound where there is none."""
        if not self._copies.knows(kind):
            return await self._records.get(kind, name, project)
        await self._turn()
        found = self._copies.named(kind, name, project)
        if found is None:
            raise _missing(kind, name, project)
        return found  # type: ignore[no-any-return]

    async def get_by_uid(self, kind: type[T], uid: str) -> T:
        """Return the object, also a deleted one that is still kept; raise NotFound."""
        if self._copies.knows(kind):
            await self._turn()
            found = self._copies.by_uid(kind, uid)
            if found is not None:
                return found  # type: ignore[no-any-return]
        return _recalled(await self._records.get_by_uid(kind, uid))  # type: ignore[no-any-return]

    async def list(self, kind: type[T], query: Query = EVERYTHING) -> Page[T]:
        """Return the objects that match; raise InvalidRequest for a field that is not there."""
        if not self._copies.knows(kind) or query.deleted:
            page = await self._records.list(kind, query)
            return replace(page, items=tuple(map(_recalled, page.items))) if query.deleted else page
        await self._turn()
        return select(kind, self._copies.all(kind), query, self._copies.versions.newest)

    def watch(self, kind: type[T], from_version: int) -> AsyncIterator[Change[T]]:
        """Yield every change after the version, in order. Raise WatchExpired when it is no longer known."""
        story = self._copies.story(kind)
        return self._records.watch(kind, from_version) if story is None else story.watch(from_version)

    async def version(self) -> int:
        """Return the newest resource version."""
        return self._copies.versions.newest

    # -- writing

    async def create(self, item: T) -> T:
        """Keep a new object: uid (unless given), version and times are set. Raise AlreadyExists."""
        kind: type[Any] = type(item)
        keeper = self._copies.keepers.get(kind)
        if keeper is None:
            return await self._records.create(item)
        if isinstance(item, Workload) and item.type is WorkloadType.EXTERNAL:
            return await self._knowing(item).submit(item)  # type: ignore[return-value]
        key = (kind, item.meta.project, item.meta.name)
        taken = self._copies.named(kind, item.meta.name, item.meta.project) is not None
        if taken or key in self._creating or (item.meta.uid and self._copies.by_uid(kind, item.meta.uid) is not None):
            raise _exists(item)
        self._creating.add(key)
        try:
            return await self._create(keeper, item)  # type: ignore[no-any-return]
        finally:
            self._creating.discard(key)

    async def update(self, item: T) -> T:
        """Replace the object of this uid if it still has ``item.meta.version``. Raise StaleVersion, NotFound."""
        keeper = self._copies.keepers.get(type(item))
        if keeper is None:
            return await self._records.update(item)
        if isinstance(item, Workload) and item.type is WorkloadType.EXTERNAL:  # it is read off the cluster
            return self._copies.by_uid(Workload, item.meta.uid) or item
        resource, known = self._copies.raw(keeper, item.meta.uid)
        was = self._copies.read(keeper, known)
        if was is None:
            raise _missing(type(item), item.meta.uid)
        if (was.meta.name, was.meta.project) != (item.meta.name, item.meta.project):
            raise InvalidRequest.of(FieldError("name", "an object cannot be renamed or moved", item.meta.name))
        if was.meta.version != item.meta.version:
            raise _stale(item)
        meta = replace(item.meta, updated_at=self._now(), created_at=was.meta.created_at)
        changed: Any = replace(item, meta=meta)  # type: ignore[type-var]
        return await self._write(keeper, resource, known, changed)  # type: ignore[no-any-return]

    async def delete(self, kind: type[T], uid: str) -> T:
        """Mark the object as deleted: gone from lists, its name is free. Raise NotFound."""
        keeper = self._copies.keepers.get(kind)
        if keeper is None:
            return await self._records.delete(kind, uid)
        found: Any = self._copies.by_uid(kind, uid)
        if found is None:
            raise _missing(kind, uid)
        if kind is Workload and found.type is WorkloadType.EXTERNAL:
            if found.phase not in (Phase.DELETING, Phase.TERMINATING):
                await self._knowing(found).delete(found)
            return await self._record(found)  # type: ignore[no-any-return]
        resource, known = self._copies.raw(keeper, uid)
        gone = await self._record(found)
        self._copies.hide(keeper, found, known["metadata"]["uid"])
        await self._remove(resource, known["metadata"])
        return gone  # type: ignore[no-any-return]

    async def purge(self, kind: type[T], deleted_before: float) -> int:
        """Forget for good what was deleted before that time; return how many."""
        return await self._records.purge(kind, deleted_before)

    # -- taking up what others wrote

    def found(self) -> Iterable[Object]:
        """Return all objects of workload kinds as the cluster has them: those too that are no workloads yet."""
        return self._copies.unread(Workload)

    async def adopt(self, known: Object, workload: Workload, *, keep_spec: bool = False) -> Workload:
        """Make an object that somebody wrote the given workload; `keep_spec` leaves its specification as it is.

        Raises:
            StaleVersion: it was changed since. NotFound: it is gone.
        """
        keeper, uid = self._copies.keepers[Workload], known["metadata"]["uid"]
        resource, current = self._copies.raw(keeper, uid)
        if current["metadata"]["resourceVersion"] != known["metadata"]["resourceVersion"]:
            raise _stale(workload)
        created = seconds_of(known["metadata"].get("creationTimestamp")) or self._now()
        meta = replace(workload.meta, uid=uid, created_at=created, updated_at=self._now())
        item = replace(workload, meta=meta)
        if keep_spec:
            return await self._with_status(keeper, resource, current, item, wrote=True)  # type: ignore[no-any-return]
        return await self._write(keeper, resource, current, item)  # type: ignore[no-any-return]

    # -- how it is done

    async def _turn(self) -> None:
        """Let others have their turn: a caller that reads in a loop must not keep them from it."""
        if self._closed:
            raise Unavailable("the store is closed")
        await asyncio.sleep(0)

    async def _create(self, keeper: Keeper, item: Any) -> Any:
        now = self._now()
        resource, namespace = keeper.place(item)
        meta = replace(item.meta, created_at=now, updated_at=now, deleted_at=None)
        item = replace(item, meta=meta)
        body = keeper.object_of(item, namespace)
        notes = body["metadata"].setdefault("annotations", {})
        notes[CREATED_ANNOTATION] = text_of(now)
        if meta.uid:
            notes[ID_ANNOTATION] = meta.uid
        if isinstance(item, Workload):
            notes[SUBMITTED_ANNOTATION] = text_of(now)
        try:
            made = await self._post(resource, body, namespace)
        except AlreadyExists:
            raise _exists(item) from None
        try:
            return await self._with_status(keeper, resource, made, item, wrote=True)
        except RunaiError:
            await self._remove(resource, made["metadata"])  # nothing is left half-created
            raise

    async def _post(self, resource: Resource, body: Object, namespace: str) -> Object:
        """Create an object; the namespace of a new project may take the operator a moment."""
        until = self._clock.now() + NAMESPACE_WAIT
        while True:
            try:
                return await self._api.create(resource, body, namespace)
            except NotFound as error:
                if not namespace or self._world.namespaces.get(namespace) is not None:
                    raise
                if self._clock.now() >= until:
                    message = f"the namespace {namespace} is not there: the operator makes it for each project"
                    raise Unavailable(f"{message} ({error.message})") from None
            await self._clock.sleep(0.1)

    async def _write(self, keeper: Keeper, resource: Resource, known: Object, item: Any) -> Any:
        body = keeper.changed(item, known)
        if body is not None:
            body["metadata"]["resourceVersion"] = known["metadata"]["resourceVersion"]
            try:
                known = await self._api.update(resource, body)
            except StaleVersion:
                raise _stale(item) from None
        return await self._with_status(keeper, resource, known, item, wrote=body is not None)

    async def _with_status(self, keeper: Keeper, resource: Resource, known: Object, item: Any, *, wrote: bool) -> Any:
        """Write the status over an object whose specification was written, and take the answer in."""
        status = keeper.status(item, known, wrote=wrote)
        if status is not None:
            meta = known["metadata"]
            metadata = {name: meta[name] for name in ("name", "namespace", "uid", "resourceVersion") if name in meta}
            body = {name: value for name, value in known.items() if name not in ("metadata", "status")}
            try:
                known = await self._api.update(resource, {**body, "metadata": metadata, "status": status}, sub="status")
            except StaleVersion:
                raise _stale(item) from None
        self._world.crd(resource).note(known)
        found = self._copies.read(keeper, known)
        if found is None:
            raise _missing(keeper.kind, item.meta.uid)
        return found

    async def _record(self, item: Any) -> Any:
        """Keep what is being deleted in the database, for those who look back."""
        notes = {**item.meta.annotations, CREATED_ANNOTATION: text_of(item.meta.created_at)}
        kept = replace(item, meta=replace(item.meta, annotations=notes))
        try:
            await self._records.create(kept)
        except AlreadyExists:
            log.debug("%s %s is on record already", type(item).__name__, item.meta.uid)
        try:
            return _recalled(await self._records.delete(type(item), item.meta.uid))
        except NotFound:
            return _recalled(await self._records.get_by_uid(type(item), item.meta.uid))

    async def _remove(self, resource: Resource, meta: Object) -> None:
        """Delete an object, and let it go."""
        await self._api.delete(resource, meta["name"], meta.get("namespace", ""), uid=meta["uid"])
        while FINALIZER in (meta.get("finalizers") or ()):
            try:
                now = await self._api.get(resource, meta["name"], meta.get("namespace", ""))
                if now["metadata"]["uid"] != meta["uid"] or FINALIZER not in now["metadata"].get("finalizers", ()):
                    return
                now["metadata"]["finalizers"].remove(FINALIZER)
                await self._api.update(resource, now)
            except NotFound:
                return
            except StaleVersion:
                continue
            return

    def _knowing(self, workload: Workload) -> KubernetesFrameworks:
        """Return who acts on the workload's own object, which is none of ours."""
        if self._frameworks is None:
            raise Unsupported(f"{workload.key}: this process does not know the frameworks' workloads")
        return self._frameworks

    def _now(self) -> float:
        self._last = max(self._clock.now(), self._last + TICK)
        return self._last


def _recalled(item: Any) -> Any:
    """Return an object of the database with the time at which the cluster created it."""
    created = seconds_of(item.meta.annotations.get(CREATED_ANNOTATION))
    if created is None:
        return item
    notes = {name: value for name, value in item.meta.annotations.items() if name != CREATED_ANNOTATION}
    return replace(item, meta=replace(item.meta, created_at=created, annotations=notes))


def _missing(kind: type[Any], name: str, project: str = "") -> NotFound:
    where = f" in project {project}" if project else ""
    return NotFound(f"there is no {kind.__name__} {name[:80]}{where}")


def _exists(item: Any) -> AlreadyExists:
    kind, meta = type(item).__name__, item.meta
    where = f" in project {meta.project}" if meta.project else ""
    message = f"{kind} {meta.name}{where} exists already: choose another name, or delete that one first"
    return AlreadyExists(message, {"kind": kind, "name": meta.name, "project": meta.project})


def _stale(item: Any) -> StaleVersion:
    kind, meta = type(item).__name__, item.meta
    return StaleVersion(f"{kind} {meta.name} was changed by somebody else since it was read: read it again")
