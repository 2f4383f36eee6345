"""`describe`: what a workload is, its pods, what happened to it."""

from collections.abc import Iterable
from typing import Any

import click

from runai_core.cli import columns
from runai_core.cli.context import App, app_of, project_option
from runai_core.cli.output import duration, json_option, print_data, print_table, rows_of, text
from runai_core.cli.submit import Noun, name_argument
from runai_core.cli.workloads import find_one
from runai_core.client.results import Workload

SECTIONS = ("general", "compute", "pods", "events", "networks", "storage")


def describe_command(noun: Noun) -> click.Command:
    """Return `describe`."""

    @click.command("describe", short_help=f"Describe one {noun.title}.")
    @name_argument
    @project_option
    @click.option("--event-limit", type=click.IntRange(0), default=50, show_default=True, help="Events at most.")
    @click.option("--pod-limit", type=click.IntRange(0), default=10, show_default=True, help="Pods at most.")
    @click.option("-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table", help="Form.")
    @json_option
    @click.pass_context
    def run(ctx: click.Context, /, name: str, project: str | None, output: str, as_json: bool, **chosen: Any) -> None:
        """Describe one workload: what it is, its pods, what happened to it."""
        app = app_of(ctx)
        found = find_one(app, noun, name, project)
        found = app.client.get(found.id)  # the whole of it, with its specification
        if as_json or output != "table":
            print_data(found.raw, as_yaml=output == "yaml" and not as_json)
            return
        for section in SECTIONS:
            if chosen[section]:
                _DESCRIBE[section](app, found, chosen)

    for section in reversed(SECTIONS):
        run = click.option(f"--{section}/--no-{section}", default=True, help=f"Show {section}.")(run)
    return run


def _general(_app: App, item: Workload, _chosen: dict[str, Any]) -> None:
    rows = [
        ("Name", item.name),
        ("Project", item.project_name),
        ("Department", item.department_name),
        ("Type", item.distributed_framework or item.type),
        ("Status", item.phase.value),
        ("Message", item.phase_message),
        ("Priority", item.priority_class_name),
        ("Preemptible", item.preemptible),
        ("Category", item.category),
        ("Submitted by", item.submitted_by),
        ("Created", item.created_at),
        ("Completed", item.completed_at),
        ("Pending time", duration(item.total_pending_time_seconds)),
        ("Run time", duration(item.total_running_time_seconds)),
        ("Command", item.raw.get("spec", {}).get("command") or item.command),
        ("Image", f"{text(item.images)} (not used by the embedded backend)" if item.images else None),
        ("ID", item.id),
    ]
    _facts("General", rows)


def _compute(_app: App, item: Workload, _chosen: dict[str, Any]) -> None:
    asked = item.raw.get("workloadRequestedResources") or {}
    got = item.raw.get("allocatedResources") or {}
    rows = [
        ("Pods running/requested", f"{item.running_pods}/{item.requested_pods}"),
        ("GPU requested", f"{item.gpu_request:.2f}"),
        ("GPU allocated", f"{item.gpu_allocated:.2f}"),
        ("GPU memory requested", (asked.get("gpuMemory") or {}).get("request")),
        ("CPU cores requested", (asked.get("cpu") or {}).get("request")),
        ("CPU cores allocated", got.get("cpu")),
        ("CPU memory requested", (asked.get("cpuMemory") or {}).get("request")),
        ("CPU memory allocated", got.get("cpuMemory")),
        ("Node pools", item.current_node_pools or item.requested_node_pools),
    ]
    _facts("Compute", rows)


def _pods(app: App, item: Workload, chosen: dict[str, Any]) -> None:
    found = app.client.pods(item)
    _section(f"Pods ({len(found)})")
    shown = [column for column in columns.PODS if column.shown]
    if found:
        print_table([c.title for c in shown], rows_of(found[: chosen["pod_limit"]], shown))


def _events(app: App, item: Workload, chosen: dict[str, Any]) -> None:
    found = app.client.events(item, limit=chosen["event_limit"]) if chosen["event_limit"] else ()
    if found:
        _section("Events")
        print_table([c.title for c in columns.EVENTS], rows_of(found, columns.EVENTS))


def _networks(_app: App, item: Workload, _chosen: dict[str, Any]) -> None:
    found = [c for e in item.raw.get("environments") or [] for c in e.get("connections") or []]
    rows = [(c.get("name"), c.get("connectionType"), c.get("containerPort"), c.get("url")) for c in found]
    rows += [(None, "url", None, url) for url in item.raw.get("urls") or []]
    if rows:
        _section("Networks")
        print_table(("Name", "Type", "Port", "Address"), [[text(cell) for cell in row] for row in rows])


def _storage(_app: App, item: Workload, _chosen: dict[str, Any]) -> None:
    found = item.raw.get("datasources") or []
    if found:
        _section("Storage")
        print_table(("Name", "Type"), [[text(source.get("name")), text(source.get("type"))] for source in found])


_DESCRIBE = dict(zip(SECTIONS, (_general, _compute, _pods, _events, _networks, _storage), strict=True))


def _facts(title: str, rows: Iterable[tuple[str, object]]) -> None:
    _section(title)
    for name, value in rows:
        if value not in (None, "", ()):
            click.echo(f"  {name + ':':<24}{text(value)}")


def _section(title: str) -> None:
    click.echo(("" if title == "General" else "\n") + click.style(title, bold=True))
