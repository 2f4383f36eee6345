"""Who consumed what, at a glance; and reports: asked for, computed in the background, downloaded as CSV."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from runai_core.model.errors import FieldError
from runai_core.model.meta import Meta
from runai_core.model.reports import Grouping, Report, ReportStatus
from runai_core.ports import Query
from runai_core.service.reports import Row as Consumed
from runai_core.web.context import Door
from runai_core.web.pages import editing
from runai_core.web.pages.editing import NOTHING, Question, Refusal
from runai_core.web.pages.frame import Viewer, go_to, page_router
from runai_core.web.pages.inputs import Input, Option, Posted, Section, Widget, posted_of, text_of
from runai_core.web.pages.listing import Button, csv_response, table_page
from runai_core.web.pages.tables import Cell, Column

router = page_router("/reports")

COLUMNS = (
    Column("name", "Report"),
    Column("status", "Status"),
    Column("group", "By"),
    Column("start", "From"),
    Column("end", "To"),
    Column("by", "Created by"),
    Column("created", "Created"),
    Column("file", "File"),
    Column("delete", "Delete"),
)

STATUSES: Mapping[ReportStatus, str] = {
    ReportStatus.PENDING: "wait",
    ReportStatus.PROCESSING: "busy",
    ReportStatus.READY: "good",
    ReportStatus.FAILED: "bad",
}

GROUPS: Mapping[Grouping, str] = {
    Grouping.PROJECT: "project",
    Grouping.DEPARTMENT: "department",
    Grouping.NODE_POOL: "node pool",
    Grouping.CLUSTER: "cluster",
}


CONSUMED = (
    Column("name", "Name"),
    Column("allocated", "GPU hours", number=True),
    Column("used", "Used", number=True),
    Column("idle", "Idle", number=True),
    Column("over_quota", "Over quota", number=True),
    Column("quota", "Quota", number=True),
    Column("utilization", "Utilization", number=True),
    Column("cpu", "Core hours", number=True),
    Column("memory", "Memory GB hours", number=True),
    Column("measured", "Measured hours", number=True),
)

TIMES: Mapping[str, str] = {
    "last-month": "Last month",
    "month": "This month",
    "day": "Last 24 hours",
    "week": "Last 7 days",
    "days": "Last 30 days",
    "year": "Last 12 months",
}

LENGTHS: Mapping[str, timedelta] = {
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "days": timedelta(days=30),
    "year": timedelta(days=365),
}

LINKS: Mapping[Grouping, str] = {Grouping.PROJECT: "/projects/", Grouping.DEPARTMENT: "/departments/"}


@router.get("")
async def consumption(request: Request, door: Door, actor: Viewer) -> Response:
    """Show who used how many GPU hours, how many of them idle and how many beyond quota; most first."""
    given = request.query_params
    time = given.get("time", "") if given.get("time", "") in TIMES else "month"
    by = Grouping(given["by"]) if given.get("by", "") in tuple(Grouping) else Grouping.PROJECT
    begin, end = _times(time, datetime.fromtimestamp(door.backend.clock.now(), UTC))
    asked = Report(meta=Meta(name="now"), start=begin.timestamp(), end=end.timestamp(), group_by=by)
    rows = await door.reports.consumption(actor, asked) if begin < end else ()
    return table_page(
        request,
        "Consumption",
        CONSUMED,
        [_consumed(row, by) for row in rows],
        Button(path="/reports/new", text="New report"),
        Button(path="/reports/saved", text="Saved reports", is_main=False),
        most_first="allocated",
        template="consumption.html",
        times=TIMES,
        time=time,
        groups=GROUPS,
        by=by,
        sentence=_sentence(rows, begin, end),
        nothing="Nothing was measured in that time",
        advice="Every ten seconds it is measured what projects hold and use. Choose another time.",
    )


@router.get("/saved")
async def list_reports(request: Request, door: Door, actor: Viewer) -> Response:
    """Show the reports that the viewer may see."""
    found = (await door.reports.list(actor, Query())).items
    busy = any(item.status in (ReportStatus.PENDING, ReportStatus.PROCESSING) for item in found)
    return table_page(
        request,
        "Reports",
        COLUMNS,
        [_row(item) for item in found],
        Button(path="/reports/new", text="New report"),
        Button(path="/reports", text="Consumption", is_main=False),
        *([Button(path="/reports/saved", text="Look again", is_main=False)] if busy else []),
        hint="Some are being made." if busy else "",
        nothing="There is no report yet",
        advice="A report says what projects or departments consumed: GPU hours, used and idle.",
    )


@router.get("/new")
async def new(request: Request, door: Door, _actor: Viewer) -> Response:
    """Show the form of a new report, for the last thirty days."""
    today = datetime.fromtimestamp(door.backend.clock.now(), UTC).date()
    posted = {
        "start": [(today - timedelta(days=30)).isoformat()],
        "end": [(today + timedelta(days=1)).isoformat()],
        "groupBy": [Grouping.PROJECT.value],
    }
    return _form(request, posted)


@router.post("/new")
async def create(request: Request, door: Door, actor: Viewer) -> Response:
    """Ask for it, or show the form again with what is wrong."""
    posted = posted_of((await request.form()).multi_items())
    report, errors = _report(posted)
    created, refusal = await editing.tried(errors, lambda: door.reports.create(actor, report), name="name")
    if created is None:
        return _form(request, posted, refusal)
    return go_to(request, "/reports/saved", f"Report {report.name} is being made.")


@router.get("/{ref}/file")
async def file(ref: str, door: Door, actor: Viewer) -> Response:
    """Return the report's table."""
    report = await door.reports.get(actor, ref)
    text = await door.reports.file(actor, ref)
    name = "".join(
        letter if letter.isascii() and (letter.isalnum() or letter in "-_.") else "-" for letter in report.name
    )
    return csv_response(text, name)


@router.get("/{ref}/delete")
async def ask_delete(request: Request, ref: str, door: Door, actor: Viewer) -> Response:
    """Say what deleting would mean."""
    return editing.ask(request, _question(await door.reports.get(actor, ref)))


@router.post("/{ref}/delete")
async def delete(request: Request, ref: str, door: Door, actor: Viewer) -> Response:
    """Delete it."""
    report = await door.reports.get(actor, ref)
    act, notice = door.reports.delete(actor, ref), f"Report {report.name} is deleted."
    return await editing.deleted(request, _question(report), act, "/reports/saved", notice)


def _times(time: str, now: datetime) -> tuple[datetime, datetime]:
    """Return from when to when a choice is; months are those of UTC."""
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    if time == "last-month":
        return (first - timedelta(days=1)).replace(day=1), first
    return (first, now) if time == "month" else (now - LENGTHS[time], now)


def _consumed(row: Consumed, by: Grouping) -> dict[str, Cell]:
    figures = row.figures()
    cells = {
        name: Cell(text="not measured" if value is None else f"{value:,.1f}", value=value or 0.0)
        for name, value in figures.items()
    }
    if (percent := figures["utilization"]) is not None:
        cells["utilization"] = Cell(text=f"{percent:.0f}%", value=percent)
    held = figures["allocated"] or 0.0
    for name in ("idle", "over_quota"):
        part = figures[name] or 0.0
        cells[name] = replace(cells[name], note=f"{100 * part / held:.0f}%" if part else "")
    link = f"{LINKS[by]}{quote(row.group, safe='')}" if by in LINKS else ""
    return {"name": Cell(text=row.group, link=link), **cells}


def _sentence(rows: Sequence[Consumed], begin: datetime, end: datetime) -> str:
    """Say the sums in words, and of which time they are."""
    sums = {name: sum(row.figures()[name] or 0.0 for row in rows) for name in ("allocated", "idle", "over_quota")}
    measured = max((row.measured for row in rows), default=0.0)
    hours = (end - begin).total_seconds() / 3600
    said = f"From {begin:%d %B %Y %H:%M} to {end:%d %B %Y %H:%M} UTC: {sums['allocated']:,.1f} GPU hours"
    said += f", of which {sums['idle']:,.1f} were idle and {sums['over_quota']:,.1f} over quota."
    return said + (f" Measured were {measured:,.1f} of {hours:,.1f} hours." if measured < 0.99 * hours else "")


def _question(report: Report) -> Question:
    text = "Its table is lost; what it was made of stays for as long as measurements are kept."
    return Question(title=f"Delete report {report.name}?", text=text, back="/reports/saved")


def _row(report: Report) -> dict[str, Cell]:
    ready = report.status is ReportStatus.READY
    uid = report.meta.uid
    return {
        "name": Cell(text=report.name, note=report.description),
        "status": Cell(text=report.status.value, badge=STATUSES[report.status], note=report.status_message),
        "group": Cell(text=GROUPS[report.group_by]),
        "start": _day(report.start),
        "end": _day(report.end),
        "by": Cell(text=report.meta.created_by),
        "created": Cell(time=report.meta.created_at),
        "file": Cell(text="Download", link=f"/reports/{uid}/file") if ready else Cell(text="not yet"),
        "delete": Cell(text="Delete", link=f"/reports/{uid}/delete"),
    }


def _day(time: float) -> Cell:
    return Cell(text=f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M} UTC", value=time)


def _report(posted: Posted) -> tuple[Report, list[FieldError]]:
    errors: list[FieldError] = []
    moments = {name: _moment(name, text_of(posted, name), errors) for name in ("start", "end")}
    group = text_of(posted, "groupBy")
    if group not in tuple(Grouping):
        errors.append(FieldError("groupBy", f"must be one of {', '.join(Grouping)}", group[:80]))
        group = Grouping.PROJECT.value
    report = Report(
        meta=Meta(name=text_of(posted, "name")),
        description=text_of(posted, "description")[:4096],
        group_by=Grouping(group),
        start=moments["start"],
        end=moments["end"],
    )
    return report, errors


def _moment(name: str, text: str, errors: list[FieldError]) -> float:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        errors.append(
            FieldError(name, "must be a date such as 2026-01-31, or a time such as 2026-01-31T12:00", text[:80])
        )
        return 0.0
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _form(request: Request, posted: Posted, refusal: Refusal = NOTHING) -> Response:
    def given(name: str, label: str, text: str = "") -> Input:
        return Input(name=name, label=label, value=text_of(posted, name), help=text)

    inputs = (
        Input(name="name", label="Name", required=True, value=text_of(posted, "name")),
        given("description", "Description"),
        given("start", "From", "Date, or date and time; UTC."),
        given("end", "To", "Date, or date and time; UTC."),
        Input(
            name="groupBy",
            label="One row for each",
            widget=Widget.SELECT,
            required=True,
            value=text_of(posted, "groupBy"),
            options=tuple(Option(group.value, text) for group, text in GROUPS.items()),
        ),
    )
    return editing.form_page(
        request,
        (Section(title="", inputs=inputs),),
        refusal,
        title="New report",
        help="GPU hours by quota, held, over quota, used and idle; CPU and memory hours; in each node pool.",
        back="/reports/saved",
        save="Make the report",
    )
