"""`runai report`: what projects, departments and node pools consumed, as CSV."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from runai_core.cli.building import SECONDS
from runai_core.cli.context import App, app_of
from runai_core.cli.output import Column, Form, json_option, list_options, print_data, print_list
from runai_core.client.requests import API, Request, as_it_is, get, send
from runai_core.model.errors import Unavailable

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


@click.group("report", short_help="Consumption reports as CSV.")
def report() -> None:
    """What was allocated, used and left idle, by project, department or node pool."""


@report.command("create", short_help="Make a report, and print or save its table.")
@click.argument("name")
@click.option("--last", type=SECONDS, default="7d", show_default=True, metavar="DURATION", help="So much of the past.")
@click.option("--from", "start", help="Instead of --last: ISO 8601, for example 2026-01-31T00:00:00Z.")
@click.option("--to", "end", help="Until then; now when left out.")
@click.option("--group-by", type=click.Choice(GROUPS, case_sensitive=False), default="Project", show_default=True)
@click.option("--only", multiple=True, metavar="NAME", help="Only this project, department or node pool; repeatable.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, writable=True, path_type=Path), help="File to write.")
@click.option("--no-wait", is_flag=True, help="Do not wait until it is ready.")
@click.option("--timeout", type=SECONDS, default="10m", show_default=True, metavar="DURATION")
@click.pass_context
def create_report(ctx: click.Context, /, name: str, output: Path | None, no_wait: bool, **given: Any) -> None:
    """Make a report and write its table: to a file, or to standard output."""
    app = app_of(ctx)
    now = datetime.fromtimestamp(time.time(), UTC)
    body = {
        "name": name,
        "start": given["start"] or (now - timedelta(seconds=given["last"])).isoformat(),
        "end": given["end"] or now.isoformat(),
        "groupBy": given["group_by"],
        "filterBy": list(given["only"]),
    }
    made = app.client.transport.call(send("POST", PATH, as_it_is, body))
    if no_wait:
        app.say(f"Report {name} is {made['status']}; fetch it with: runai report download {name}")
        return
    _wait(app, made["id"], given["timeout"])
    _write(app, made["id"], output)


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
