"""The audit log: who changed what."""

import csv
import io
import json
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.ports import Filter, Op
from runai_core.ports import Query as StoreQuery
from runai_core.web import listing
from runai_core.web.answers.identity import AuditItem, AuditList
from runai_core.web.context import Door, Who
from runai_core.web.identity_bodies import AuditFileQuery, AuditQuery
from runai_core.web.views.identity import audit_item

router = APIRouter(prefix="/api/v1/audit", tags=["audit log"])

SUBJECT_TYPES = {"User": "user", "App": "service-account"}

COLUMNS = {
    "timestamp": listing.COMMON["createdAt"],
    "subject": listing.Column("subject"),
    "subject_type": listing.Column("subject_type", lambda text: SUBJECT_TYPES.get(text, text)),
    "source_ip": listing.Column("source_ip"),
    "action": listing.Column("action"),
    "http_method": listing.Column("http_method"),
    "url": listing.Column("url"),
    "entity_type": listing.Column("entity_type"),
    "entity_name": listing.Column("entity_name"),
    "entity_id": listing.Column("entity_id"),
    "result": listing.Column("result"),
    "http_status_code": listing.Column("status", listing.number),
    "request_id": listing.Column("request_id"),
}


@router.get("/log", summary="List what was changed, by whom, and how it was before and after")
async def list_entries(door: Door, actor: Who, given: Annotated[AuditQuery, Query()]) -> AuditList:
    """Changes, failed tries, and sign-ins; kept for 90 days."""
    query = StoreQuery(
        filters=(
            *_between(given.start, given.end),
            *listing.filters_of(given.filter_by, COLUMNS),
            *_search(given.search),
        ),
        sort_by=COLUMNS[given.sort_by].path if given.sort_by in COLUMNS else _sort(given.sort_by),
        descending=given.sort_order == "desc",
        offset=given.offset,
        limit=given.number_of_samples,
    )
    page = await door.audit.list(actor, query)
    items = tuple(audit_item(item, door.cluster_id) for item in page.items)
    return AuditList(total=page.total, next=listing.next_offset(page, given.offset), audit_logs=items)


@router.get("/log/file", summary="The same as a file", response_class=Response)
async def download(door: Door, actor: Who, given: Annotated[AuditFileQuery, Query()]) -> Response:
    """CSV, or JSON."""
    query = StoreQuery(
        filters=(*_between(given.start, given.end), *listing.filters_of(given.filter_by, COLUMNS)),
        descending=True,
        limit=given.number_of_samples,
    )
    found = [audit_item(item, door.cluster_id) for item in (await door.audit.list(actor, query)).items]
    name = f"audit-log.{given.file_type.lower()}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "X-Content-Type-Options": "nosniff"}
    if given.file_type == "JSON":
        return Response(
            json.dumps([item.model_dump() for item in found]), media_type="application/json", headers=headers
        )
    return Response(as_csv(found), media_type="text/csv; charset=utf-8", headers=headers)


def as_csv(items: list[AuditItem]) -> str:
    """Return entries as CSV; no cell begins as a formula does, so that a spreadsheet computes none."""
    output = io.StringIO()
    writer = csv.writer(output)
    names = [name for name in AuditItem.model_fields if name not in ("changes", "metadata")]
    writer.writerow([*names, "changes"])
    for item in items:
        changes = json.dumps([change.model_dump() for change in item.changes], ensure_ascii=False)
        writer.writerow([*(_cell(getattr(item, name)) for name in names), _cell(changes)])
    return output.getvalue()


def _cell(value: object) -> str:
    text = str(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _between(start: str, end: str) -> tuple[Filter, ...]:
    given = (("start", Op.GE, start), ("end", Op.LE, end))
    return tuple(Filter("meta.created_at", op, _seconds(name, text)) for name, op, text in given if text)


def _search(text: str) -> tuple[Filter, ...]:
    return (Filter("entity_name", Op.CONTAINS, text),) if text else ()


def _sort(name: str) -> str:
    if name:
        raise InvalidRequest.of(FieldError("sortBy", f"must name one of {', '.join(sorted(COLUMNS))}", name[:80]))
    return "meta.created_at"


def _seconds(name: str, text: str) -> float:
    head, space, zone = text.rpartition(" ")
    for form in (text, f"{head}+{zone}" if space else text):  # a plus sign that was not escaped came as a space
        try:
            found = datetime.fromisoformat(form)
        except ValueError:
            continue
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    raise InvalidRequest.of(FieldError(name, "must be a time such as 2026-01-31T12:00:00Z", text))
