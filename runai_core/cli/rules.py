"""Scheduling rules of projects and departments: shown with their origin, and changed."""

from collections.abc import Callable, Mapping
from typing import Any

import click

from runai_core.cli.building import SECONDS
from runai_core.cli.context import app_of, complete_names
from runai_core.cli.output import duration, json_option, print_data, print_table

LIMITS: Mapping[str, tuple[str, str]] = {
    "workspace_time_limit": ("interactiveJobTimeLimitSeconds", "Longest time that a workspace runs."),
    "workspace_idle_limit": (
        "interactiveJobMaxIdleDurationSeconds",
        "Longest time that a workspace may leave its GPUs unused.",
    ),
    "preemptible_workspace_idle_limit": (
        "interactiveJobPreemptIdleDurationSeconds",
        "The same for workspaces that can be preempted.",
    ),
    "training_time_limit": ("trainingJobTimeLimitSeconds", "Longest time that a training runs."),
    "training_idle_limit": (
        "trainingJobMaxIdleDurationSeconds",
        "Longest time that a training may leave its GPUs unused.",
    ),
}
"""Option -> name of the rule in the API, and what it is."""

LISTS: Mapping[str, tuple[str, str]] = {
    "training_node_type": ("training", "Node type (label run.ai/type) that trainings must name; repeatable."),
    "workspace_node_type": ("workspace", "Node type that workspaces must name; repeatable."),
}


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    pools = click.option(
        "--default-node-pool", multiple=True, help="Node pool of workloads that name none; repeatable, in order."
    )
    lists = [click.option(f"--{name.replace('_', '-')}", multiple=True, help=text) for name, (_, text) in LISTS.items()]
    limits = [
        click.option(f"--{name.replace('_', '-')}", type=SECONDS, metavar="DURATION", help=f"{text} 0 takes it away.")
        for name, (_, text) in LIMITS.items()
    ]
    for option in reversed([*limits, *lists, pools]):
        command = option(command)
    return command


def rules_command(plural: str) -> click.Command:
    """Return the command `rules` of projects or departments."""
    singular = plural.removesuffix("s")

    @click.command("rules", short_help="Show or change scheduling rules.")
    @click.argument("name", shell_complete=lambda ctx, _param, incomplete: complete_names(ctx, plural, incomplete))
    @_options
    @click.option("--clear", is_flag=True, help="Take all limits, node types and default node pools away first.")
    @json_option
    @click.pass_context
    def run(ctx: click.Context, /, name: str, clear: bool, as_json: bool, **given: Any) -> None:
        """Show the rules that hold for workloads submitted from now on, and whose rule each is.

        With options, change them first. A project inherits its department's rules and may only tighten them.
        """
        client = app_of(ctx).client
        calls = client.projects if plural == "projects" else client.departments
        changes = _changes(calls.get(name).raw, given, clear=clear)
        raw = (calls.update(name, **changes) if changes else calls.get(name)).raw
        if as_json:
            print_data(raw.get("effective") or {key: raw.get(key) for key in ("schedulingRules", "nodeTypes")})
        else:
            _show(raw, f"{singular}/{name}")

    return run


def _changes(raw: Mapping[str, Any], given: Mapping[str, Any], *, clear: bool) -> dict[str, Any]:
    """Return the members of the update; what is not named stays."""
    rules = {} if clear else {key: value for key, value in (raw.get("schedulingRules") or {}).items() if value}
    types = {} if clear else dict(raw.get("nodeTypes") or {})
    changed = clear
    for option, (name, _) in LIMITS.items():
        if given[option] is not None:
            changed = True
            rules.pop(name, None)
            rules |= {name: given[option]} if given[option] else {}
    for option, (name, _) in LISTS.items():
        if given[option]:
            changed = True
            types[name] = list(given[option])
    pools = list(given["default_node_pool"])
    if not changed and not pools:
        return {}
    lists = {name: types.get(name, []) for name in ("training", "workspace")}
    found: dict[str, Any] = {"schedulingRules": rules, "nodeTypes": lists}
    if pools or clear:
        found["defaultNodePools"] = pools
    return found


def _show(raw: Mapping[str, Any], own: str) -> None:
    effective = raw.get("effective") or raw
    origins = effective.get("origins") or {}
    rows = []
    for rule, seconds in (effective.get("schedulingRules") or {}).items():
        if seconds:
            rows.append([rule, duration(seconds), origins.get(f"schedulingRules.{rule}", own)])
    for kind, names in (effective.get("nodeTypes") or {}).items():
        if names:
            rows.append([f"nodeTypes.{kind}", ", ".join(names), origins.get(f"nodeTypes.{kind}", own)])
    if pools := effective.get("defaultNodePools"):
        rows.append(["defaultNodePools", ", ".join(pools), origins.get("defaultNodePools", own)])
    if not rows:
        click.echo("No rules.", err=True)
        return
    print_table(["Rule", "Value", "From"], rows)
