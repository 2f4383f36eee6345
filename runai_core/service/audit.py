"""Keeps and answers the audit log.

One mechanism for all changes: the web room opens notes for a request, the
store that services write through (`service.noting`) fills them, and what they
hold at the end becomes one entry, before the answer is sent. No service
records anything by itself, and none can forget to.
"""

import asyncio
import json
import logging
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runai_core import wire
from runai_core.model.audit import AuditAction, AuditEntry, AuditResult, Changed
from runai_core.model.errors import NotFound, RunaiError
from runai_core.model.identity import Attempts, Session, Ticket
from runai_core.model.meta import Meta
from runai_core.model.organization import AccessRule, Action, Actor
from runai_core.model.revisions import Revision
from runai_core.model.workload import HistoryRecord
from runai_core.ports import Backend, Filter, Op, Page, Query
from runai_core.service.access import AccessService
from runai_core.service.noting import Notes, Written

log = logging.getLogger(__name__)

RESOURCE = "events-history"

KEPT_SECONDS = 90 * 86400.0
"""How long an entry is kept."""

KEPT_ENTRIES = 200_000
"""How many are kept; beyond it the oldest go."""

AT_ONCE = 500
"""Entries that are forgotten in one go."""

LONGEST = 16_384
"""Characters of one object before or after, as JSON; what is longer is cut."""

HIDDEN = "(hidden)"

SECRET = re.compile(
    r"(password|passwd|secret|token|hash|spent|credential|sealed|private|signing|authorization|apikey|keydata)",
    re.IGNORECASE,
)
"""Names of fields whose values are never written down."""

VALUES = frozenset({"environmentVariables", "data", "values"})
"""Lists and mappings of which names are written down, and values are not."""

OWN = frozenset({"version", "updatedAt"})
"""Fields of metadata that change with every write."""

IGNORED: frozenset[type[Any]] = frozenset({Session, Ticket, Attempts, AuditEntry, HistoryRecord, Revision})
"""Kinds that are not what anybody asked to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The request that an entry is about."""

    actor: Actor | None
    method: str
    path: str
    status: int
    source_ip: str = ""
    request_id: str = ""
    action: AuditAction | None = None  # None: as what was written says, or the method
    subject: str = ""  # who is signing in
    entity: tuple[str, str] = ("", "")  # what the path speaks of: type and id
    message: str = ""


class AuditService:
    """Writes entries, answers questions, and forgets what is old."""

    def __init__(self, backend: Backend, access: AccessService) -> None:
        self._store = backend.store
        self._clock = backend.clock
        self._access = access

    async def record(self, asked: Asked, notes: Notes) -> None:
        """Keep one entry; a store that is not there now is told in the log, and keeps no answer back."""
        notes.closed = True
        changes = [item for item in notes.written if type(item.item) not in IGNORED]
        if not changes and asked.action is None and asked.status < 400:
            return  # nothing was changed: a question that was asked with POST
        entry = entry_of(asked, changes)
        try:
            await self._store.create(entry)
        except RunaiError as error:
            log.error(  # noqa: TRY400  the reason is in the error; a trace says no more
                "not in the audit log (%s): %s %s by %s, %s %s",
                error.message, entry.action, entry.url, entry.subject, entry.result, entry.status,
            )  # fmt: skip

    async def list(self, actor: Actor, query: Query) -> Page[AuditEntry]:
        """Return the entries that match."""
        await self._access.require(actor, Action.READ, RESOURCE)
        return await self._store.list(AuditEntry, query)

    async def story(self, uid: str, *, offset: int = 0, limit: int | None = None) -> Page[AuditEntry]:
        """Return the changes of one object that were made, newest first, for whoever was let see the object."""
        made = (Filter("entity_id", Op.EQ, uid), Filter("result", Op.EQ, AuditResult.SUCCEEDED.value))
        return await self._store.list(AuditEntry, Query(filters=made, descending=True, offset=offset, limit=limit))

    async def trim(self) -> int:
        """Forget what is too old or too much; return how many entries went."""
        now, gone = self._clock.now(), 0
        old = Query(filters=(Filter("meta.created_at", Op.LE, now - KEPT_SECONDS),), limit=AT_ONCE)
        while items := (await self._store.list(AuditEntry, old)).items:
            gone += await self._forget(items)
        total = (await self._store.list(AuditEntry, Query(limit=1))).total
        while total > KEPT_ENTRIES:
            oldest = (await self._store.list(AuditEntry, Query(limit=min(AT_ONCE, total - KEPT_ENTRIES)))).items
            if not oldest:
                break
            gone += await self._forget(oldest)
            total -= len(oldest)
        if gone:
            await self._store.purge(AuditEntry, now + 1)
        return gone

    async def _forget(self, items: tuple[AuditEntry, ...]) -> int:
        deleting = (self._store.delete(AuditEntry, item.meta.uid) for item in items)
        for found in await asyncio.gather(*deleting, return_exceptions=True):
            if isinstance(found, BaseException) and not isinstance(found, NotFound):
                raise found
        return len(items)


def entry_of(asked: Asked, written: list[Written]) -> AuditEntry:
    """Return the entry for a request and what it wrote; the first object is what it was about."""
    changes = tuple(_changed(item) for item in written)
    main = changes[0] if changes else None
    kind, uid = (main.kind, main.uid) if main else asked.entity
    actor = asked.actor
    return AuditEntry(
        meta=Meta(name=uuid.uuid4().hex, created_by=actor.name if actor else ""),
        subject=asked.subject or (actor.name if actor else ""),
        subject_type=actor.kind if actor else "user",
        action=str(asked.action or _action(written, asked.method)),
        result=str(AuditResult.SUCCEEDED if asked.status < 400 else AuditResult.FAILED),
        entity_type=kind,
        entity_name=main.name if main else "",
        entity_id=uid,
        http_method=asked.method,
        url=asked.path[:500],
        status=asked.status,
        source_ip=asked.source_ip,
        request_id=asked.request_id,
        message=asked.message[:1000],
        changes=changes,
    )


def shown(value: Any, name: str = "") -> Any:
    """Return a JSON value without what must not be written down."""
    if value not in (None, "", [], {}) and SECRET.search(name):
        return HIDDEN
    if isinstance(value, Mapping):
        inside = {key: HIDDEN if key == "value" and name in VALUES else shown(item, key) for key, item in value.items()}
        return dict.fromkeys(inside, HIDDEN) if name in ("data", "values") else inside
    if isinstance(value, list | tuple):
        return [_entry(item, name) for item in value]
    return value


def _entry(item: Any, name: str) -> Any:
    """Return an entry of a list; of a list of named values the value is hidden."""
    if name in VALUES and isinstance(item, Mapping):
        return {key: HIDDEN if key == "value" else shown(part, key) for key, part in item.items()}
    return shown(item, name)


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the members of both that differ."""
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return {n: before[n] for n in names if n in before}, {n: after[n] for n in names if n in after}


def _changed(item: Written) -> Changed:
    meta = item.item.meta
    before, after = (None if part is None else _plain(part) for part in (item.before, item.after))
    if before is not None and after is not None:  # compared as they are: that a secret changed is no secret
        before, after = difference(before, after)
    return Changed(
        kind=type(item.item).__name__,
        name=_name(item.item),
        uid=meta.uid,
        project=meta.project,
        before="" if before is None else _text(shown(before)),
        after="" if after is None else _text(shown(after)),
    )


def _name(item: Any) -> str:
    """Return what people call the object: an access rule has no name but what it gives to whom."""
    if isinstance(item, AccessRule):
        return f"{item.subject}: {item.role}"
    return str(item.meta.labels.get("name", item.meta.name))


def _plain(item: Any) -> dict[str, Any]:
    """Return the object as JSON, secrets included: `shown` takes them out."""
    encoded = wire.encode(item)
    meta = {name: value for name, value in encoded.get("meta", {}).items() if name not in OWN}
    return {**encoded, "meta": meta}


def _text(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text)} characters)"


def _action(written: list[Written], method: str) -> AuditAction:
    if written:
        first = written[0]
        if first.before is None:
            return AuditAction.CREATE
        return AuditAction.DELETE if first.after is None else AuditAction.UPDATE
    return {"POST": AuditAction.CREATE, "DELETE": AuditAction.DELETE}.get(method, AuditAction.UPDATE)
