"""Projects, departments, nodes, node pools, clusters and plug-ins."""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from runai_core.cli import columns
from runai_core.cli.building import NUMBER
from runai_core.cli.context import app_of, complete_names
from runai_core.cli.entries import Entry, read_entry
from runai_core.cli.output import Column, Form, json_option, list_options, print_data, print_list
from runai_core.cli.rules import rules_command
from runai_core.client.requests import quota
from runai_core.model.errors import FieldError, InvalidRequest

QUOTA = Entry(
    keys={
        "nodepool": "node_pool",
        "gpu-deserved": "gpus",
        "gpu-limit": "gpu_limit",
        "gpu-over-quota-weight": "over_quota_weight",
        "cpu-deserved": "cpus",
        "memory-deserved": "memory",
        "priority": "priority",
    }
)
"""Quota in one node pool: CLI v2's keys nodepool, gpu-deserved, gpu-limit and priority, and ours."""

NUMBERS = frozenset({"gpus", "gpu_limit", "over_quota_weight", "cpus", "memory"})


def read_quota(text: str) -> dict[str, Any]:
    """Return quota in one node pool in the API's form.

    Raises:
        InvalidRequest: a part is unknown, or not a number.
    """
    values = read_entry(QUOTA, text, "--resources")
    for name in NUMBERS & values.keys():
        values[name] = _number("--resources", values[name])
    return quota(values.pop("node_pool", "default"), **values)


def _number(option: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InvalidRequest.of(FieldError(option, "must be numbers", value))
    return number


def _complete_unit(unit: str) -> Callable[..., list[str]]:
    return lambda ctx, _param, incomplete: complete_names(ctx, unit, incomplete)


def _resources(given: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the quota that the options describe, pool by pool."""
    found = [read_quota(text) for text in given["resources"]]
    short = {key: given[key] for key in ("gpus", "gpu_limit", "over_quota_weight", "cpus") if given[key] is not None}
    if short:
        if any(item["nodePool"]["name"] == "default" for item in found):
            raise InvalidRequest.of(FieldError("--gpu-quota", "the default node pool is in --resources already"))
        found.append(quota(**short))
    return found


def _quota_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option(
            "--cpu-quota", "cpus", type=NUMBER, help="CPU cores deserved in the default node pool; -1 is unlimited."
        ),
        click.option("--over-quota-weight", type=NUMBER, help="Share of what is left over, in the default node pool."),
        click.option("--gpu-limit", type=NUMBER, help="GPUs at most in the default node pool; -1 is unlimited."),
        click.option(
            "--gpu-quota", "gpus", type=NUMBER, help="GPUs deserved in the default node pool; -1 is unlimited."
        ),
        click.option("--resources", multiple=True, metavar="PARTS", help=f"Quota of one node pool: {QUOTA.form}"),
        click.option("--description", help="What it is for."),
    ):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True)
class Unit:
    """Projects or departments: the same verbs over the same calls."""

    name: str  # singular
    plural: str
    rows: Sequence[Column]

    def calls(self, ctx: click.Context) -> Any:
        """Return the client's calls for these units."""
        client = app_of(ctx).client
        return client.projects if self.plural == "projects" else client.departments


def _unit_group(unit: Unit) -> click.Group:
    group = click.Group(unit.name, help=f"{unit.plural.capitalize()} and their quota.")
    for make in (_list_units, _describe_unit, _create_unit, _update_unit, _delete_units):
        group.add_command(make(unit))
    group.add_command(rules_command(unit.plural))
    return group


def _list_units(unit: Unit) -> click.Command:
    @click.command("list", short_help=f"List {unit.plural}.")
    @click.option("--search", default="", help="Only with this in their name.")
    @click.option("--max-items", type=click.IntRange(1), help="At most so many.")
    @list_options
    @click.pass_context
    def run(ctx: click.Context, /, search: str, max_items: int | None, form: Form) -> None:
        """List them with their quota."""
        print_list(unit.calls(ctx).list(search=search, limit=max_items), unit.rows, form, empty=f"No {unit.plural}.")

    return run


def _describe_unit(unit: Unit) -> click.Command:
    @click.command("describe", short_help=f"Describe one {unit.name}.")
    @click.argument("name", shell_complete=_complete_unit(unit.plural))
    @json_option
    @click.pass_context
    def run(ctx: click.Context, /, name: str, as_json: bool) -> None:
        """Print all that is known of it."""
        print_data(unit.calls(ctx).get(name).raw, as_yaml=not as_json)

    return run


def _create_unit(unit: Unit) -> click.Command:
    is_project = unit.name == "project"

    @click.command("create", short_help=f"Create a {unit.name}.")
    @click.argument("name")
    @click.option("--department", default="", hidden=not is_project, help="The department it belongs to.")
    @click.option(
        "--namespace", hidden=not is_project, help="Namespace on Kubernetes; made from the name when left out."
    )
    @_quota_options
    @json_option
    @click.pass_context
    def run(ctx: click.Context, /, name: str, as_json: bool, **given: Any) -> None:
        """Create it. Without quota it may only use what nobody else wants."""
        fields = {"description": given["description"]}
        if is_project:
            fields |= {"department": given["department"], "requestedNamespace": given["namespace"]}
        created = unit.calls(ctx).create(name, resources=_resources(given), **fields)
        _tell(ctx, created, f"{unit.name.capitalize()} {created.name} created.", as_json=as_json)

    return run


def _update_unit(unit: Unit) -> click.Command:
    @click.command("update", short_help=f"Change a {unit.name}.")
    @click.argument("name", shell_complete=_complete_unit(unit.plural))
    @_quota_options
    @json_option
    @click.pass_context
    def run(ctx: click.Context, /, name: str, as_json: bool, **given: Any) -> None:
        """Change it; what is left out stays."""
        fields = {"description": given["description"], "resources": _resources(given) or None}
        changes = {key: value for key, value in fields.items() if value is not None}
        if not changes:
            raise InvalidRequest.of(FieldError("update", "nothing to change: give at least one option"))
        updated = unit.calls(ctx).update(name, **changes)
        _tell(ctx, updated, f"{unit.name.capitalize()} {updated.name} updated.", as_json=as_json)

    return run


def _delete_units(unit: Unit) -> click.Command:
    @click.command("delete", short_help=f"Delete {unit.plural}.")
    @click.argument("names", nargs=-1, required=True, shell_complete=_complete_unit(unit.plural))
    @click.option("-y", "--yes", is_flag=True, help="Do not ask.")
    @click.pass_context
    def run(ctx: click.Context, /, names: tuple[str, ...], yes: bool) -> None:
        """Delete it; it must be empty."""
        if not yes and sys.stdin.isatty():
            click.confirm(f"Delete {', '.join(names)}?", abort=True)
        for name in names:
            unit.calls(ctx).delete(name)
            app_of(ctx).say(f"{unit.name.capitalize()} {name} deleted.")

    return run


def _tell(ctx: click.Context, item: Any, sentence: str, *, as_json: bool) -> None:
    if as_json:
        print_data(item.raw)
    else:
        app_of(ctx).say(sentence)


project = _unit_group(Unit("project", "projects", columns.PROJECTS))
department = _unit_group(Unit("department", "departments", columns.DEPARTMENTS))


@project.command("set", short_help="Set the default project.")
@click.argument("name", shell_complete=_complete_unit("projects"))
@click.pass_context
def set_project(ctx: click.Context, /, name: str) -> None:
    """Make a project the one that commands without --project are about."""
    from runai_core.cli.account import keep

    app = app_of(ctx)
    app.client.projects.get(name)  # a project that is not there would only be noticed later
    keep(app, project=name)
    app.say(f"Project {name} is now the default.")


node = click.Group("node", help="Nodes and their GPUs.")
nodepool = click.Group("nodepool", help="Node pools: partitions of the nodes, each scheduled alone.")
cluster = click.Group("cluster", help="Clusters.")
workload_type = click.Group("workload-type", help="Types of workloads that are understood.")


@node.command("list")
@list_options
@click.pass_context
def list_nodes(ctx: click.Context, /, form: Form) -> None:
    """List the nodes with their GPUs."""
    print_list(app_of(ctx).client.nodes(), columns.NODES, form, empty="No nodes.")


@nodepool.command("list")
@list_options
@click.pass_context
def list_node_pools(ctx: click.Context, /, form: Form) -> None:
    """List the node pools."""
    print_list(app_of(ctx).client.node_pools.list(), columns.NODE_POOLS, form, empty="No node pools.")


def _pool_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say how a node pool is scheduled."""
    options = (
        click.option("--gpu-placement", help="binpack, spread or fragmentation."),
        click.option("--cpu-placement", help="binpack, spread or fragmentation."),
        click.option("--network-topology", metavar="NAME", help="Gangs are kept near by it; empty: by none."),
        click.option("--min-runtime", metavar="TIME", help="Time that preemptible work is protected, for example 30m."),
        click.option("--time-based-fair-share/--no-time-based-fair-share", default=None, help="Past use counts."),
        click.option("--history-weight", type=NUMBER, help="How much the past counts; 1 when left out, 0: not at all."),
        click.option("--window", metavar="TIME", help="Past that counts; 7d when left out."),
        click.option(
            "--window-type", type=click.Choice(["sliding", "tumbling"]), help="How windows follow each other."
        ),
        click.option("--half-life", metavar="TIME", help="Age at which use counts half; 0s: all counts alike."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _pool_fields(given: dict[str, Any]) -> dict[str, Any]:
    """Return the members of a node pool's body that the options give."""
    placement = {"gpu": given["gpu_placement"], "cpu": given["cpu_placement"]}
    past = {
        "enabled": given["time_based_fair_share"],
        "historyWeight": given["history_weight"],
        "window": given["window"],
        "windowType": given["window_type"],
        "halfLife": given["half_life"],
    }
    configuration = {"minGuaranteedRuntime": given["min_runtime"], "timeBasedFairShare": _set(past)}
    fields = {
        "placementStrategy": _set(placement),
        "schedulingConfiguration": _set(configuration),
        "networkTopologyId": given["network_topology"],
    }
    return _set(fields) or {}


def _set(fields: dict[str, Any]) -> dict[str, Any] | None:
    return {name: value for name, value in fields.items() if value is not None} or None


@nodepool.command("create")
@click.argument("name")
@click.option("--label", required=True, metavar="KEY=VALUE", help="The nodes that have this label.")
@_pool_options
@click.pass_context
def create_node_pool(ctx: click.Context, /, name: str, label: str, **given: Any) -> None:
    """Create the pool of the nodes with a label."""
    app = app_of(ctx)
    key, equals, value = label.partition("=")
    if not key or not equals or not value:
        raise InvalidRequest.of(FieldError("--label", "is written KEY=VALUE", label))
    app.client.node_pools.create(name, label=(key, value), **_pool_fields(given))
    app.say(f"Node pool {name} created.")


@nodepool.command("update")
@click.argument("name")
@_pool_options
@click.pass_context
def update_node_pool(ctx: click.Context, /, name: str, **given: Any) -> None:
    """Change how a pool is scheduled; what is left out stays."""
    fields = _pool_fields(given)
    if not fields:
        raise InvalidRequest.of(FieldError("update", "nothing to change: give at least one option"))
    app_of(ctx).client.node_pools.update(name, **fields)
    app_of(ctx).say(f"Node pool {name} updated.")


@nodepool.command("delete")
@click.argument("name")
@click.pass_context
def delete_node_pool(ctx: click.Context, /, name: str) -> None:
    """Delete a pool; its nodes fall to the default one."""
    app_of(ctx).client.node_pools.delete(name)
    app_of(ctx).say(f"Node pool {name} deleted.")


CLUSTERS = (
    Column("Cluster", lambda c: c.get("name")),
    Column("Status", lambda c: (c.get("status") or {}).get("state")),
    Column("Version", lambda c: c.get("version")),
    Column("ID", lambda c: c.get("uuid")),
)


@cluster.command("list")
@list_options
@click.pass_context
def list_clusters(ctx: click.Context, /, form: Form) -> None:
    """List the clusters."""
    answer = app_of(ctx).client.clusters()
    items = answer.get("clusters", []) if isinstance(answer, dict) else answer
    print_list(items or [], CLUSTERS, form, empty="No clusters.")


@cluster.command("set")
@click.argument("name", required=False)
@click.option("--id", "uid", help="Its id.")
@click.pass_context
def set_cluster(ctx: click.Context, /, name: str | None, uid: str | None) -> None:
    """Check that a cluster is ours; there is one for each orchestrator."""
    answer = app_of(ctx).client.clusters()
    items = answer.get("clusters", []) if isinstance(answer, dict) else answer
    if not any((name or uid) in (item.get("name"), item.get("uuid")) for item in items):
        names = ", ".join(str(item.get("name")) for item in items)
        raise InvalidRequest.of(FieldError("cluster", f"must be one of {names}", name or uid))
    app_of(ctx).say("This is the cluster in use; to use another one, `runai login` to its orchestrator.")


TYPES = (
    Column("Type", lambda t: t.get("name")),
    Column("Group", lambda t: t.get("group")),
    Column("Category", lambda t: t.get("categoryName")),
    Column("Priority", lambda t: t.get("priorityName")),
)


@workload_type.command("list")
@click.option("--external-only", is_flag=True, help="Only kinds that plug-ins bring or that were taught.")
@list_options
@click.pass_context
def list_workload_types(ctx: click.Context, /, external_only: bool, form: Form) -> None:
    """List the types of workloads."""
    answer = app_of(ctx).client.read("workload-types")
    items = next(iter(answer.values())) if isinstance(answer, dict) and answer else answer or []
    found = [item for item in items if isinstance(item, dict)]
    if external_only:
        found = [item for item in found if item.get("group") and not str(item["group"]).startswith("run.ai")]
    print_list(found, TYPES, form, empty="No types.")


PLUGINS = (
    Column("Plug-in", lambda p: p.get("name")),
    Column("Status", lambda p: p.get("status")),
    Column("Version", lambda p: p.get("version")),
    Column("Brings", lambda p: p.get("provides")),
    Column("From", lambda p: p.get("distribution"), shown=False),
    Column("Error", lambda p: p.get("error")),
)


@click.command("plugins")
@list_options
@click.pass_context
def plugins(ctx: click.Context, /, form: Form) -> None:
    """List the plug-ins: what each brings, and which failed to load."""
    answer = app_of(ctx).client.plugins()
    items = answer.get("plugins", []) if isinstance(answer, dict) else answer
    print_list(items or [], PLUGINS, form, empty="No plug-ins.")
