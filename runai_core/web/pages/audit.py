"""The audit log: who changed what, and how it was before and after."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

from runai_core.model.audit import AuditAction, AuditEntry, AuditResult, Changed
from runai_core.ports import Filter, Op, Query
from runai_core.web.context import Door
from runai_core.web.pages.frame import Viewer, page, page_router
from runai_core.web.pages.listing import csv_response
from runai_core.web.pages.tables import MOST_CSV_ROWS, PAGE_ROWS, Cell, Choice, Column, Row, Table, choice_of, csv_of

router = page_router("/audit")

FILTERS: Mapping[str, tuple[str, Op]] = {
    "subject": ("subject", Op.CONTAINS),
    "action": ("action", Op.EQ),
    "result": ("result", Op.EQ),
    "entity": ("entity_type", Op.CONTAINS),
    "name": ("entity_name", Op.CONTAINS),
}
"""Name in the address -> field of an entry, and how it is compared."""

FIELDS: Mapping[str, str] = {
    "time": "meta.created_at",
    "subject": "subject",
    "action": "action",
    "entity": "entity_type",
    "name": "entity_name",
    "result": "result",
    "address": "source_ip",
}
"""Column -> the field that it is sorted by."""

COLUMNS = (
    Column("time", "When"),
    Column("subject", "Who"),
    Column("type", "Kind of account"),
    Column("action", "What"),
    Column("entity", "Of what"),
    Column("name", "Name"),
    Column("result", "Result"),
    Column("address", "From"),
    Column("method", "Method"),
    Column("url", "Path"),
    Column("status", "Status", number=True),
    Column("message", "Message"),
)

SHOWN = (*(column for column in COLUMNS if column.key in FIELDS), Column("changes", "Before and after"))
"""Columns of the page; a CSV file has all."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that a request changed, as texts; empty: it was not there."""

    field: str
    before: str
    after: str


@router.get("")
async def audit(request: Request, door: Door, actor: Viewer) -> Response:
    """Show the newest entries that match, a page at a time, or all of them as CSV."""
    choice = choice_of(request.query_params)
    given = {name: request.query_params.get(name, "").strip()[:253] for name in FILTERS}
    filters = tuple(Filter(FILTERS[name][0], FILTERS[name][1], value) for name, value in given.items() if value)
    offset, limit = (0, MOST_CSV_ROWS) if choice.as_csv else ((choice.page - 1) * PAGE_ROWS, PAGE_ROWS)
    if choice.sort not in FIELDS:
        choice = replace(choice, sort="time", descending=True)
    query = Query(
        filters=filters, sort_by=FIELDS[choice.sort], descending=choice.descending, offset=offset, limit=limit
    )
    found = await door.audit.list(actor, query)
    if choice.as_csv:
        return csv_response(csv_of(_table([_row(item) for item in found.items], choice, found.total)), "audit")
    return page(
        request,
        "audit.html",
        table=replace(_table([], choice, found.total), columns=SHOWN),
        sortable=FIELDS,
        entries=[(item, differences(item)) for item in found.items],
        given=given,
        actions=tuple(AuditAction),
        results=tuple(AuditResult),
    )


def differences(entry: AuditEntry) -> list[tuple[Changed, list[Difference]]]:
    """Return what each object of an entry was before and after, field by field."""
    return [(item, _fields(item)) for item in entry.changes]


def _fields(item: Changed) -> list[Difference]:
    before, after = _read(item.before), _read(item.after)
    return [
        Difference(name, _text(before.get(name)), _text(after.get(name)))
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]


def _read(text: str) -> Mapping[str, object]:
    """Return the object that was written down; one that was cut for its length is shown as it is."""
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        return {"(cut)": text}
    return found if isinstance(found, Mapping) else {"": found}


def _text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _table(rows: list[Row], choice: Choice, total: int) -> Table:
    return Table(title="Audit log", columns=COLUMNS, rows=tuple(rows), choice=choice, found=total, total=total)


def _row(entry: AuditEntry) -> Row:
    moment = datetime.fromtimestamp(entry.meta.created_at, UTC).isoformat(timespec="seconds")
    texts = {
        "time": moment.replace("+00:00", "Z"),
        "subject": entry.subject,
        "type": entry.subject_type,
        "action": entry.action,
        "entity": entry.entity_type,
        "name": entry.entity_name,
        "result": entry.result,
        "address": entry.source_ip,
        "method": entry.http_method,
        "url": entry.url,
        "status": str(entry.status),
        "message": entry.message,
    }
    return {name: Cell(text=text) for name, text in texts.items()}
