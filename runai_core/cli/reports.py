"""`runai report`: what projects, departments and node pools consumed, as CSV."""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from runai_core.cli.building import SECONDS
from runai_core.cli.context import App, app_of
from runai_core.cli.output import Column, Form, json_option, list_options, print_data, print_list
from runai_core.client.requests import API, Request, as_it_is, get, send
from runai_core.model.errors import FieldError, InvalidRequest, Unavailable

GROUPS = ("Project", "Department", "Nodepool", "Cluster")
PATH = f"{API}/org-unit/reports"
ENDS = ("Ready", "Failed")

POLL = 0.3
"""Seconds between two looks whether a report is ready."""

COLUMNS = (
    Column("Report", lambda r: r.get("name")),
    Column("Status", lambda r: r.get("status")),
    Column("From", lambda r: r.get("start")),
    Column("To", lambda r: r.get("end")),
    Column("Groups", lambda r: r.get("groupBy")),
    Column("Created By", lambda r: r.get("createdBy")),
    Column("Created", lambda r: r.get("createdAt")),
    Column("ID", lambda r: r.get("id"), shown=False),
)


def _hours(key: str) -> Callable[[Any], str]:
    return lambda row: "" if row[key] is None else f"{row[key]:.1f}"


CONSUMED = (
    Column("Name", lambda r: r["name"]),
    Column("GPU Hours", _hours("allocated"), right=True),
    Column("Used", _hours("used"), right=True),
    Column("Idle", _hours("idle"), right=True),
    Column("Over Quota", _hours("overQuota"), right=True),
    Column("Quota", _hours("quota"), right=True),
    Column("Utilization", lambda r: f"{r['utilization']:.0f}%" if r.get("utilization") is not None else "", right=True),
    Column("Core Hours", _hours("cpu"), right=True),
    Column("GB Hours", _hours("memory"), right=True, shown=False),
    Column("Measured Hours", _hours("measured"), right=True, shown=False),
)

MONTH = re.compile(r"([12]\d{3})-(0[1-9]|1[0-2])")


def what_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say of which time a report is, and by what."""
    for option in (
        click.option("--only", multiple=True, metavar="NAME", help="Only this project, department, ...; repeatable."),
        click.option("--group-by", type=click.Choice(GROUPS, case_sensitive=False), default="Project",
                     show_default=True),
        click.option("--to", "end", help="Until then; now when left out."),
        click.option("--from", "start", help="From then: ISO 8601, for example 2026-01-31T00:00:00Z."),
        click.option("--month", metavar="MONTH", help="Of this month (UTC): this, last, or for example 2026-01."),
        click.option("--last", type=SECONDS, default="7d", show_default=True, metavar="DURATION",
                     help="So much of the past, where neither a month nor a begin is given."),
    ):  # fmt: skip
        command = option(command)
    return command


@click.group("report", short_help="Consumption reports as CSV.")
def report() -> None:
    """What was allocated, used and left idle, by project, department or node pool."""


@report.command("create", short_help="Make a report, and print or save its table.")
@click.argument("name")
@what_options
@click.option("-o", "--output", type=click.Path(dir_okay=False, writable=True, path_type=Path), help="File to write.")
@click.option("--no-wait", is_flag=True, help="Do not wait until it is ready.")
@click.option("--timeout", type=SECONDS, default="10m", show_default=True, metavar="DURATION")
@click.pass_context
def create_report(ctx: click.Context, /, name: str, output: Path | None, no_wait: bool, **given: Any) -> None:
    """Make a report and write its table: to a file, or to standard output."""
    app = app_of(ctx)
    start, end = _span(given, datetime.fromtimestamp(time.time(), UTC))
    body = {
        "name": name,
        "start": start.isoformat(),
        "end": end.isoformat(),
        "groupBy": given["group_by"],
        "filterBy": list(given["only"]),
    }
    made = app.client.transport.call(send("POST", PATH, as_it_is, body))
    if no_wait:
        app.say(f"Report {name} is {made['status']}; fetch it with: runai report download {name}")
        return
    _wait(app, made["id"], given["timeout"])
    _write(app, made["id"], output)


@report.command("consumption", short_help="Who used how many GPU hours, how many idle, and beyond quota.")
@what_options
@list_options
@click.pass_context
def print_consumption(ctx: click.Context, /, form: Form, **given: Any) -> None:
    """Print who used how many GPU hours, how many of them idle, and beyond quota; those who used most first.

    All node pools together, and no report is kept. `runai report create` makes a file with each node pool.
    """
    start, end = _span(given, datetime.fromtimestamp(time.time(), UTC))
    asked = [("start", start.isoformat()), ("end", end.isoformat()), ("groupBy", given["group_by"])]
    asked += [("filterBy", name) for name in given["only"]]
    rows = app_of(ctx).client.transport.call(get(f"{PATH}/consumption", as_it_is, asked))["rows"]
    rows.sort(key=lambda row: (-row["allocated"], row["name"]))
    is_table = not (form.as_json or form.as_yaml)
    empty = "Nothing was measured in that time."
    print_list([*rows, _total(rows)] if is_table and len(rows) > 1 else rows, CONSUMED, form, empty=empty)


@report.command("list")
@list_options
@click.pass_context
def list_reports(ctx: click.Context, /, form: Form) -> None:
    """List the reports."""
    answer = app_of(ctx).client.transport.call(get(PATH, as_it_is, [("limit", "500")]))
    print_list(answer["reports"], COLUMNS, form, empty="No reports.")


@report.command("describe")
@click.argument("name")
@json_option
@click.pass_context
def describe_report(ctx: click.Context, /, name: str, as_json: bool) -> None:
    """Print how far a report is."""
    print_data(app_of(ctx).client.transport.call(get(_path(name), as_it_is)), as_yaml=not as_json)


@report.command("download")
@click.argument("name")
@click.option("-o", "--output", type=click.Path(dir_okay=False, writable=True, path_type=Path), help="File to write.")
@click.pass_context
def download_report(ctx: click.Context, /, name: str, output: Path | None) -> None:
    """Print the table of a report, or write it to a file."""
    _write(app_of(ctx), name, output)


@report.command("delete")
@click.argument("name")
@click.pass_context
def delete_report(ctx: click.Context, /, name: str) -> None:
    """Delete a report."""
    app = app_of(ctx)
    app.client.transport.call(send("DELETE", _path(name), as_it_is))
    app.say(f"Report {name} deleted.")


def _total(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    sums = {key: sum(row[key] or 0 for row in rows) for key in rows[0] if key not in ("name", "utilization")}
    return {"name": "Total", **sums, "measured": max(row["measured"] for row in rows)}


def _span(given: Mapping[str, Any], now: datetime) -> tuple[datetime, datetime]:
    """Return the time that the options say. Raise InvalidRequest."""
    if given["month"]:
        return _month(given["month"], now)
    end = _moment("--to", given["end"]) if given["end"] else now
    return _moment("--from", given["start"]) if given["start"] else end - timedelta(seconds=given["last"]), end


def _month(text: str, now: datetime) -> tuple[datetime, datetime]:
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    if text == "last":
        first = (first - timedelta(days=1)).replace(day=1)
    elif text != "this":
        match = MONTH.fullmatch(text)
        if match is None:
            raise InvalidRequest.of(FieldError("--month", "must be this, last, or a month such as 2026-01", text))
        first = first.replace(year=int(match[1]), month=int(match[2]))
    return first, min((first + timedelta(days=32)).replace(day=1), now)


def _moment(option: str, text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidRequest.of(FieldError(option, "must be a time such as 2026-01-31T12:00:00Z", text)) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _wait(app: App, uid: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        found = app.client.transport.call(get(_path(uid), as_it_is))
        if found["status"] in ENDS:
            return
        if time.monotonic() > deadline:
            raise Unavailable(f"report {found['name']} is {found['status']} after {seconds:g} s: fetch it later")
        time.sleep(POLL)


def _write(app: App, ref: str, output: Path | None) -> None:
    with app.client.transport.stream(Request("GET", f"{_path(ref)}/file", repeatable=True)) as pieces:
        table = b"".join(pieces)
    if output is None:
        click.echo(table.decode(), nl=False)
    else:
        output.write_bytes(table)
        app.say(f"Written to {output}.")


def _path(ref: str) -> str:
    return f"{PATH}/{quote(ref, safe='')}"
