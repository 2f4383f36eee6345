"""`runai why`: one sentence first, the numbers after."""

from typing import Any

import click

from runai_core.cli.context import app_of, complete_workload, project_option
from runai_core.cli.output import json_option, print_data, print_table, text
from runai_core.client.results import Explanation, QueueShare

UNITS = {"gpu": (1000, "GPUs"), "cpu": (1000, "cores"), "memory": (1024**3, "GiB")}
"""Resource -> how many of the engine's units make one of people's, and its name."""


@click.command("why", short_help="Why a workload waits, in one sentence.")
@click.argument("name", shell_complete=complete_workload)
@project_option
@json_option
@click.pass_context
def why(ctx: click.Context, /, name: str, project: str | None, as_json: bool) -> None:
    """Say in one sentence why a workload is where it is; the numbers follow."""
    app = app_of(ctx)
    print_explanation(app.client.why(name, project=app.project_or(project)), as_json=as_json)


def print_explanation(found: Explanation, *, as_json: bool) -> None:
    """Print an explanation: the sentence, then what stands behind it."""
    if as_json:
        print_data(found.raw)
        return
    click.echo(text(found.sentence))
    verdict = found.verdict
    if verdict is None:
        return
    facts: list[tuple[str, Any]] = [("Reason", verdict.reason)]
    if found.position is not None:
        facts.append(("Position in its queue", found.position))
    if verdict.required:
        facts.append(("Pods that fit now", f"{verdict.placeable} of {verdict.required} that must start together"))
    facts += [(f"Nodes refused: {why_}", count) for why_, count in verdict.nodes_refused.items()]
    if verdict.nearest_miss:
        facts.append(("Nearest miss", verdict.nearest_miss))
    width = max(len(name) for name, _ in facts) + 3
    click.echo()
    for name, value in facts:
        click.echo(f"  {name + ':':<{width}}{text(value)}")
    if verdict.shares:
        click.echo()
        titles = ("Queue", "Resource", "Deserved", "Limit", "Fair share", "Allocated", "Requested")
        print_table(titles, [_share(share) for share in verdict.shares])
    if verdict.suggestions:
        click.echo("\nIt would start if:")
        for suggestion in verdict.suggestions:
            click.echo(f"  - {text(suggestion.message)}")


def _share(share: QueueShare) -> list[str]:
    size, unit = UNITS.get(share.resource, (1, share.resource))
    amounts = (share.deserved, share.limit, share.fair_share, share.allocated, share.requested)
    return [share.queue, unit, *("unlimited" if amount is None else text(amount / size) for amount in amounts)]
