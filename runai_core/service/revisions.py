"""The revisions of inference workloads: kept when they are made, so that one can be looked at and gone back to.

A workload says itself which revision it is (`Workload.edition`), in the write
that changes its specification. The record beside it is made after that, and
again by whoever next looks where a crash, or an older version, left it out.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from runai_core.model.errors import AlreadyExists, NotFound, StaleVersion
from runai_core.model.meta import Meta
from runai_core.model.revisions import Revision, edition_of, revision_id
from runai_core.model.workload import Edition, Pod, Workload
from runai_core.ports import Backend, Filter, NamesRevisions, Op, Query

KEPT = 100
"""Revisions that are kept of one workload: the newest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What is known of a revision; of the present one, the workload is as it is now."""

    revision: Revision
    pods: tuple[Pod, ...]
    ended_at: float | None = None  # when the next one was made; None: it is the present one

    @property
    def records(self) -> tuple[Filter, ...]:
        """Which records of the workload's story are of its time."""
        begun = Filter("meta.created_at", Op.GE, self.revision.edition.made_at)
        return (begun,) if self.ended_at is None else (begun, Filter("meta.created_at", Op.LE, self.ended_at))


class Revisions:
    """Keeps the revisions of workloads; who may see them is asked by who calls."""

    def __init__(self, backend: Backend, *, kept: int = KEPT) -> None:
        self._store = backend.store
        self._cluster = backend.cluster
        self._kept = kept

    async def keep(self, workload: Workload) -> Revision:
        """Return the revision that the workload is now, keeping it where it is not kept yet. Idempotent."""
        number = edition_of(workload).number
        uid = revision_id(workload.meta.uid, number)
        native = await self._cluster.revision_name(workload) if isinstance(self._cluster, NamesRevisions) else ""
        try:
            kept = await self._store.get_by_uid(Revision, uid)
        except NotFound:
            meta = Meta(name=uid, uid=uid, project=workload.meta.project, owner=workload.meta.uid)
            try:
                kept = await self._store.create(Revision(meta=meta, workload=workload, native=native))
            except AlreadyExists:  # two looked at once
                return await self._store.get_by_uid(Revision, uid)
            await self._forget(workload.meta.uid, number - self._kept)
            return kept
        seen = replace(kept, native=native or kept.native, workload=replace(kept.workload, edition=workload.edition))
        if seen != kept:
            with suppress(StaleVersion):
                return await self._store.update(seen)
        return kept

    async def all(self, workload: Workload) -> Sequence[Revision]:
        """Return the revisions of a workload that are kept, the first one first."""
        await self.keep(workload)
        found = (await self._store.list(Revision, Query(owner=workload.meta.uid))).items
        return sorted(found, key=lambda revision: revision.edition.number)

    async def stories(self, workload: Workload, pods: Sequence[Pod]) -> Sequence[Story]:
        """Return what is known of each revision of the workload, whose pods are `pods`; the first one first."""
        *earlier, present = await self.all(workload)
        kept = [*earlier, replace(present, workload=workload)]
        return [_story(revision, after, pods) for revision, after in zip(kept, (*kept[1:], None), strict=True)]

    async def workload_of(self, uid: str) -> str:
        """Return the id of the workload that has the revision of this id; raise NotFound."""
        try:
            return (await self._store.get_by_uid(Revision, uid)).meta.owner
        except NotFound:
            raise NotFound(f"there is no revision {uid[:80]}") from None

    async def numbered(self, workload: Workload, number: int) -> Revision:
        """Return the revision of this number; raise NotFound, naming those that are kept."""
        found = {revision.edition.number: revision for revision in await self.all(workload)}
        if number not in found:
            has = ", ".join(map(str, found))
            raise NotFound(f"{workload.key} has no revision {number}; it has: {has}")
        return found[number]

    async def _forget(self, workload_uid: str, number: int) -> None:
        with suppress(NotFound):
            await self._store.delete(Revision, revision_id(workload_uid, number))


def next_edition(before: Workload, now: float, author: str) -> Edition:
    """Return what follows the workload's revision."""
    return Edition(number=edition_of(before).number + 1, made_at=now, made_by=author)


def launched(workload: Workload) -> Workload:
    """Return the workload with the attempt that its revision begins with, where that is not known yet."""
    edition = workload.edition
    if edition is None or edition.first_attempt:
        return workload
    return replace(workload, edition=replace(edition, first_attempt=workload.attempt))


def _story(revision: Revision, after: Revision | None, pods: Sequence[Pod]) -> Story:
    following = None if after is None else after.edition
    first, end = revision.edition.first_attempt, None if following is None else following.first_attempt
    return Story(
        revision=revision,
        pods=tuple(pod for pod in pods if first <= pod.attempt and (end is None or pod.attempt < end)),
        ended_at=None if following is None else following.made_at,
    )
