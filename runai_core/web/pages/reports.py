"""Consumption reports: asked for, computed in the background, downloaded as CSV."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response

from runai_core.model.errors import FieldError
from runai_core.model.meta import Meta
from runai_core.model.reports import Grouping, Report, ReportStatus
from runai_core.ports import Query
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


@router.get("")
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
        *([Button(path="/reports", text="Look again", is_main=False)] if busy else []),
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
    return go_to(request, "/reports", f"Report {report.name} is being made.")


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
    return await editing.deleted(request, _question(report), act, "/reports", notice)


def _question(report: Report) -> Question:
    text = "Its table is lost; what it was made of stays for as long as measurements are kept."
    return Question(title=f"Delete report {report.name}?", text=text, back="/reports")


def _row(report: Report) -> dict[str, Cell]:
    ready = report.status is ReportStatus.READY
    uid = report.meta.uid
    return {
        "name": Cell(text=report.name, note=report.description),
        "status": Cell(text=report.status.value, badge=STATUSES[report.status], note=report.status_message),
        "group": Cell(text=GROUPS[report.group_by]),
        "start": Cell(time=report.start),
        "end": Cell(time=report.end),
        "by": Cell(text=report.meta.created_by),
        "created": Cell(time=report.meta.created_at),
        "file": Cell(text="Download", link=f"/reports/{uid}/file") if ready else Cell(text="not yet"),
        "delete": Cell(text="Delete", link=f"/reports/{uid}/delete"),
    }


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
        back="/reports",
        save="Make the report",
    )
