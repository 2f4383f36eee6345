"""The changes a store can make to its objects, each as one or two SQL statements.

A change that is refused raises before it has written anything.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, is_dataclass, replace
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, and_, bindparam, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from runai_core.backends.local.tables import LIVE, OBJECTS
from runai_core.model.errors import AlreadyExists, InvalidRequest, NotFound, RunaiError, StaleVersion
from runai_core.ports import Change, ChangeType
from runai_core.wire import decode_json, encode_json


@dataclass(frozen=True, slots=True)
class Create:
    """Keep a new object."""

    item: Any


@dataclass(frozen=True, slots=True)
class Update:
    """Replace an object that still has the version of `item`."""

    item: Any


@dataclass(frozen=True, slots=True)
class Delete:
    """Mark an object as deleted."""

    kind: type[Any]
    uid: str


@dataclass(frozen=True, slots=True)
class Put:
    """Keep an object as another store has it: uid, age and deletion are as given, only the version is ours.

    Nothing is written where it is kept like that already, or where `unless`
    says of what is kept that it is to stay.
    """

    item: Any
    unless: Callable[[Any], bool] | None = None


Write = Create | Update | Delete | Put


@dataclass(slots=True)
class Batch:
    """One transaction: where versions and time stand, and what changed so far."""

    connection: Connection
    version: int  # of the last change
    now: float  # seconds since the epoch; each change is a little later than the one before it
    changes: list[tuple[type[Any], Change[Any], dict[str, Any]]] = field(default_factory=list)

    def record(self, kind: type[Any], change: ChangeType, item: Any, document: str) -> None:
        """Note a change that took the next version."""
        meta = item.meta
        self.version = meta.version
        self.now = meta.updated_at + TICK
        row = {
            "version": meta.version,
            "kind": kind_name(kind),
            "type": change.value,
            "created_at": meta.created_at,
            "updated_at": meta.updated_at,
            "deleted_at": meta.deleted_at,
            "document": document,
        }
        self.changes.append((kind, Change(change, item, meta.version), row))


TICK = 1e-6
"""Seconds between two changes at least, so that sorting by time is sorting by order."""


def kind_name(kind: type[Any]) -> str:
    """Return the name under which objects of the class are kept."""
    if not is_dataclass(kind):
        raise TypeError(f"{kind} is not a dataclass of the model")
    return kind.__name__


def document_of(item: Any) -> str:
    """Return the JSON text of an object; its version is a column, not a part of the document."""
    return encode_json(replace(item, meta=replace(item.meta, version=0))).decode()


def restored(kind: type[Any], row: Any) -> Any:
    """Return the object of a row of `OBJECTS` or `CHANGES`: the columns are right where the document differs."""
    item = decode_json(kind, row.document)
    meta = replace(
        item.meta,
        version=row.version,
        created_at=row.created_at,
        updated_at=row.updated_at,
        deleted_at=row.deleted_at,
    )
    return replace(item, meta=meta)


ROW = (
    OBJECTS.c.version,
    OBJECTS.c.created_at,
    OBJECTS.c.updated_at,
    OBJECTS.c.deleted_at,
    OBJECTS.c.document,
)
_INSERT = {
    "sqlite": sqlite.insert(OBJECTS).on_conflict_do_nothing().returning(OBJECTS.c.uid),
    "postgresql": postgresql.insert(OBJECTS).on_conflict_do_nothing().returning(OBJECTS.c.uid),
}
_UPDATE = (
    update(OBJECTS)
    .where(
        and_(
            OBJECTS.c.uid == bindparam("the_uid"),
            OBJECTS.c.kind == bindparam("the_kind"),
            OBJECTS.c.version == bindparam("the_version"),
            OBJECTS.c.name == bindparam("the_name"),
            OBJECTS.c.project == bindparam("the_project"),
            LIVE,
        )
    )
    .returning(OBJECTS.c.created_at)
)
_DELETE = (
    update(OBJECTS)
    .where(and_(OBJECTS.c.uid == bindparam("the_uid"), OBJECTS.c.kind == bindparam("the_kind"), LIVE))
    .returning(*ROW)
)


def apply(batch: Batch, write: Write) -> Any:
    """Make one change and return the object as it is now.

    Raises:
        AlreadyExists: the name, or the uid, is taken.
        NotFound: there is no such object.
        StaleVersion: it was changed since it was read.
    """
    match write:
        case Create(item):
            return _create(batch, item)
        case Update(item):
            return _update(batch, item)
        case Delete(kind, uid):
            return _delete(batch, kind, uid)
        case Put(item, unless):
            return _put(batch, item, unless)


def _create(batch: Batch, item: Any) -> Any:
    kind = type(item)
    meta = replace(item.meta, version=batch.version + 1, created_at=batch.now)
    meta = replace(meta, uid=meta.uid or str(uuid4()), updated_at=batch.now, deleted_at=None)
    item = replace(item, meta=meta)
    document = document_of(item)
    row = {
        "uid": meta.uid,
        "kind": kind_name(kind),
        "project": meta.project,
        "name": meta.name,
        "version": meta.version,
        "created_at": meta.created_at,
        "updated_at": meta.updated_at,
        "deleted_at": None,
        "owner": meta.owner,
        "document": document,
    }
    if batch.connection.execute(_INSERT[batch.connection.dialect.name], row).scalar_one_or_none() is None:
        where = f" in project {meta.project}" if meta.project else ""
        message = f"{kind_name(kind)} {meta.name}{where} exists already: choose another name, or delete that one first"
        raise AlreadyExists(message, {"kind": kind_name(kind), "name": meta.name, "project": meta.project})
    batch.record(kind, ChangeType.ADDED, item, document)
    return item


def _update(batch: Batch, item: Any) -> Any:
    kind = type(item)
    old = item.meta
    item = replace(item, meta=replace(old, version=batch.version + 1, updated_at=batch.now, deleted_at=None))
    document = document_of(item)
    row = {
        "the_uid": old.uid,
        "the_kind": kind_name(kind),
        "the_version": old.version,
        "the_name": old.name,
        "the_project": old.project,
        "version": item.meta.version,
        "updated_at": batch.now,
        "owner": old.owner,
        "document": document,
    }
    created_at = batch.connection.execute(_UPDATE, row).scalar_one_or_none()
    if created_at is None:
        raise _why_not_updated(batch, kind, old)
    item = replace(item, meta=replace(item.meta, created_at=created_at))
    batch.record(kind, ChangeType.MODIFIED, item, document)
    return item


def _put(batch: Batch, item: Any, unless: Callable[[Any], bool] | None) -> Any:
    kind = type(item)
    meta = item.meta
    kept = batch.connection.execute(select(*ROW, OBJECTS.c.kind).where(OBJECTS.c.uid == meta.uid)).one_or_none()
    if kept is not None and kept.kind != kind_name(kind):
        raise AlreadyExists(f"the id {meta.uid} belongs to a {kept.kind}", {"uid": meta.uid})
    item = replace(item, meta=replace(meta, version=batch.version + 1, updated_at=batch.now))
    if kept is not None:
        there = restored(kind, kept)
        if _same(there, item) or (unless is not None and unless(there)):
            return there
    _require_free_name(batch, kind, item.meta)
    document = document_of(item)
    row = {
        "kind": kind_name(kind),
        "project": meta.project,
        "name": meta.name,
        "version": item.meta.version,
        "created_at": meta.created_at,
        "updated_at": batch.now,
        "deleted_at": meta.deleted_at,
        "owner": meta.owner,
        "document": document,
    }
    if kept is None:
        batch.connection.execute(OBJECTS.insert().values(uid=meta.uid, **row))
    else:
        batch.connection.execute(update(OBJECTS).where(OBJECTS.c.uid == meta.uid).values(**row))
    if meta.deleted_at is not None:
        change = ChangeType.DELETED
    else:
        change = ChangeType.ADDED if kept is None or kept.deleted_at is not None else ChangeType.MODIFIED
    batch.record(kind, change, item, document)
    return item


def _same(kept: Any, item: Any) -> bool:
    """Return whether an object differs from what is kept in nothing but what the store sets."""
    return bool(
        replace(item, meta=replace(item.meta, version=kept.meta.version, updated_at=kept.meta.updated_at)) == kept
    )


def _require_free_name(batch: Batch, kind: type[Any], meta: Any) -> None:
    if meta.deleted_at is not None:
        return
    taken = batch.connection.execute(
        select(OBJECTS.c.uid).where(
            OBJECTS.c.kind == kind_name(kind),
            OBJECTS.c.project == meta.project,
            OBJECTS.c.name == meta.name,
            OBJECTS.c.uid != meta.uid,
            LIVE,
        )
    ).scalar_one_or_none()
    if taken is not None:
        raise AlreadyExists(f"{kind_name(kind)} {meta.name} exists already, as {taken}", {"uid": taken})


def _why_not_updated(batch: Batch, kind: type[Any], meta: Any) -> RunaiError:
    columns = (OBJECTS.c.version, OBJECTS.c.name, OBJECTS.c.project)
    found = batch.connection.execute(
        select(*columns).where(OBJECTS.c.uid == meta.uid, OBJECTS.c.kind == kind_name(kind), LIVE)
    ).one_or_none()
    if found is None:
        return missing(kind, meta.name, meta.project)
    if (found.name, found.project) != (meta.name, meta.project):
        return InvalidRequest(f"{kind_name(kind)} {found.name} cannot be renamed or moved to another project")
    message = (
        f"{kind_name(kind)} {meta.name} was changed by somebody else (version {found.version}, "
        f"yours is {meta.version}): read it again, then repeat the change"
    )
    return StaleVersion(message, {"version": found.version})


def missing(kind: type[Any], name: str, project: str = "") -> NotFound:
    """Return the error for an object that is not there."""
    where = f" in project {project}" if project else ""
    return NotFound(f"there is no {kind_name(kind)} {name[:80]}{where}", {"kind": kind_name(kind), "name": name[:80]})


def _delete(batch: Batch, kind: type[Any], uid: str) -> Any:
    row = {
        "the_uid": uid,
        "the_kind": kind_name(kind),
        "version": batch.version + 1,
        "updated_at": batch.now,
        "deleted_at": batch.now,
    }
    found = batch.connection.execute(_DELETE, row).one_or_none()
    if found is None:
        raise missing(kind, uid)
    item = restored(kind, found)
    batch.record(kind, ChangeType.DELETED, item, found.document)
    return item


def purge(connection: Connection, kind: type[Any], deleted_before: float) -> int:
    """Forget deleted objects for good, and what they owned; return how many of the kind."""
    gone = select(OBJECTS.c.uid).where(OBJECTS.c.kind == kind_name(kind), OBJECTS.c.deleted_at < deleted_before)
    connection.execute(delete(OBJECTS).where(OBJECTS.c.owner.in_(gone)))
    return connection.execute(
        delete(OBJECTS).where(OBJECTS.c.kind == kind_name(kind), OBJECTS.c.deleted_at < deleted_before)
    ).rowcount
