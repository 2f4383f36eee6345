"""Consumption reports: ask, wait until it is Ready, fetch the CSV."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import PlainTextResponse
from pydantic import Field

from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.meta import Meta
from runai_core.model.reports import Grouping, Report
from runai_core.ports import samples_of
from runai_core.web import listing
from runai_core.web.answers.base import Count
from runai_core.web.answers.notifications import Availability, Consumer, Consumption, ReportItem, ReportList
from runai_core.web.context import Door, Who
from runai_core.web.listing import Column
from runai_core.web.schemas import Body, Name, Text
from runai_core.web.views.units import iso

TENANT_NUMBER = 1
"""The API's number of the tenant in reports."""

COLUMNS: Mapping[str, Column] = {
    "name": Column("meta.name"),
    "createdAt": Column("meta.created_at", listing.time),
    "createdBy": Column("meta.created_by"),
    "status": Column("status"),
}

router = APIRouter(prefix="/api/v1/org-unit/reports", tags=["reports"])


class Asked(Body):
    """Of which time, and by what."""

    start: Annotated[str, Field(max_length=40, description="ISO 8601.")]
    end: Annotated[str, Field(max_length=40, description="ISO 8601.")]
    group_by: Grouping = Grouping.PROJECT
    filter_by: Annotated[
        tuple[Name, ...], Field(max_length=100, description="Names of groups, or conditions such as name==x.")
    ] = ()


class ReportCreate(Asked):
    """A report to ask for."""

    name: Name
    description: Text = ""


@router.get("", summary="List reports")
async def list_reports(door: Door, actor: Who, given: Annotated[listing.ListQuery, Query()]) -> ReportList:
    """Without their tables."""
    page = await door.reports.list(actor, listing.query_of(given, COLUMNS))
    return ReportList(reports=tuple(map(_item, page.items)), next=listing.next_offset(page, given.offset))


@router.get("/availability", summary="Whether reports can be made")
async def are_reports_available(door: Door, actor: Who) -> Availability:  # noqa: ARG001  signed in is enough
    """They can where measurements are kept."""
    return Availability(is_available=samples_of(door.backend.store) is not None)


@router.get("/count", summary="Count reports")
async def count_reports(door: Door, actor: Who, given: Annotated[listing.CountQuery, Query()]) -> Count:
    """How many match."""
    return Count(count=(await door.reports.list(actor, listing.query_of(given, COLUMNS))).total)


@router.get("/consumption", summary="Consumption, at once")
async def get_consumption(door: Door, actor: Who, given: Annotated[Asked, Query()]) -> Consumption:
    """The figures of a report over all node pools, without one being kept. Long times are read by the hour."""
    start, end = _moment(given.start, "start"), _moment(given.end, "end")
    groups = _groups(given.filter_by)
    asked = Report(meta=Meta(name="now"), start=start, end=end, group_by=given.group_by, filters=groups)
    rows = await door.reports.consumption(actor, asked)
    return Consumption(
        start=iso(start),
        end=iso(end),
        group_by=given.group_by,
        rows=tuple(Consumer.model_validate({"name": row.group, **row.figures()}) for row in rows),
    )


@router.post("", status_code=202, summary="Ask for a report")
async def create_report(door: Door, actor: Who, body: ReportCreate) -> ReportItem:
    """It is computed in the background: fetch the file when it is Ready."""
    report = Report(
        meta=Meta(name=body.name),
        description=body.description,
        start=_moment(body.start, "start"),
        end=_moment(body.end, "end"),
        group_by=body.group_by,
        filters=_groups(body.filter_by),
    )
    return _item(await door.reports.create(actor, report))


@router.get("/{report_id}", summary="Get a report")
async def get_report(report_id: str, door: Door, actor: Who) -> ReportItem:
    """By id or by name, without its table."""
    return _item(await door.reports.get(actor, report_id))


@router.get("/{report_id}/file", summary="The table of a report", response_class=PlainTextResponse)
async def get_report_file(report_id: str, door: Door, actor: Who) -> PlainTextResponse:
    """As CSV."""
    text = await door.reports.file(actor, report_id)
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", (await door.reports.get(actor, report_id)).name)
    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    return PlainTextResponse(text, media_type="text/csv; charset=utf-8", headers=headers)


@router.delete("/{report_id}", summary="Delete a report")
async def delete_report(report_id: str, door: Door, actor: Who) -> ReportItem:
    """With its table."""
    return _item(await door.reports.delete(actor, report_id))


def _groups(filter_by: Sequence[str]) -> tuple[str, ...]:
    return tuple(re.sub(r"^\w+==", "", name) for name in filter_by)


def _moment(text: str, field: str) -> float:
    try:
        return float(listing.time(text))
    except ValueError:
        message = "must be a time such as 2026-01-31T12:00:00Z"
        raise InvalidRequest.of(FieldError(field, message, text)) from None


def _item(report: Report) -> ReportItem:
    return ReportItem(
        id=report.meta.uid,
        name=report.name,
        description=report.description,
        start=iso(report.start),
        end=iso(report.end),
        group_by=report.group_by,
        filter_by=report.filters,
        created_at=iso(report.meta.created_at),
        created_by=report.meta.created_by,
        tenant_id=TENANT_NUMBER,
        status=report.status,
        status_updated_at=iso(report.status_updated_at),
        status_message=report.status_message,
    )
