"""Verbs of inference workloads alone: changing one, scaling it, and its revisions."""

from typing import Any

import click

from runai_core.cli.building import click_option, fill
from runai_core.cli.context import app_of, complete_workload, project_option
from runai_core.cli.options import flags_of
from runai_core.cli.output import Column, Form, list_options, print_list
from runai_core.cli.submit import CommandLine, Noun, name_argument, words_of
from runai_core.cli.workloads import find_one
from runai_core.client import requests
from runai_core.client.results import Workload
from runai_core.model.errors import Conflict, FieldError, InvalidRequest

CHANGEABLE = (
    "compute.",
    "autoscaling.",
    "servingConfiguration.",
    "image",
    "environmentVariables",
    "nodePools",
    "args",
)
"""Beginnings of the fields that may change while it runs."""

REVISIONS = (
    Column("Revision", lambda r: r.get("number")),
    Column("Status", lambda r: r.get("phase")),
    Column("Present", lambda r: r.get("isPresent")),
    Column("Running Pods", lambda r: r.get("runningPods")),
    Column("Image", lambda r: r.get("images")),
    Column("Created By", lambda r: r.get("createdBy")),
    Column("Created", lambda r: r.get("createdAt")),
    Column("In Cluster", lambda r: r.get("nativeName"), shown=False),
    Column("ID", lambda r: r.get("id"), shown=False),
)


def update_command(noun: Noun) -> click.Command:
    """Return `update`: the flags that may change while it runs, or a revision to go back to."""
    flags = [flag for flag in flags_of(noun.command) if flag.path.startswith(CHANGEABLE)]

    @click.pass_context
    def run(ctx: click.Context, /, name: str, project: str | None, revision: int | None, **given: Any) -> None:
        app = app_of(ctx)
        spec = fill(flags, given, words_of(ctx)).spec
        if bool(spec) == (revision is not None):
            message = "give at least one flag, or --revision alone" if not spec else "goes with no other flag"
            raise InvalidRequest.of(FieldError("--revision" if spec else "update", message))
        item = find_one(app, noun, name, project)
        app.client.transport.call(requests.update_inference(item, {"spec": spec} if spec else {"revision": revision}))
        app.say(f"{name} updated." if spec else f"{name} goes back to revision {revision}.")

    name_ = click.Argument(["name"], shell_complete=complete_workload)
    back = click.Option(
        ["--revision"], type=click.IntRange(1), help="Go back to this one of its revisions, as a new one."
    )
    help_ = "Change a running inference workload; what is left out stays."
    params = [name_, back, *map(click_option, flags)]
    return project_option(CommandLine("update", callback=run, params=params, help=help_, short_help="Change it."))


def scale_command(noun: Noun) -> click.Command:
    """Return `scale`."""

    @click.command("scale", short_help="Set how many replicas it has.")
    @name_argument
    @project_option
    @click.option("--replicas", type=click.IntRange(1), required=True, help="How many it is to have.")
    @click.pass_context
    def run(ctx: click.Context, /, name: str, project: str | None, replicas: int) -> None:
        """Set how many replicas an inference workload has; one that follows its load is not touched.

        The groups of a distributed one may all start anew.
        """
        app = app_of(ctx)
        item = find_one(app, noun, name, project)
        app.client.transport.call(requests.update_inference(item, {"spec": _of_replicas(item, replicas)}))
        app.say(f"{name} is to have {replicas} {'replica' if replicas == 1 else 'replicas'}.")

    return run


def _of_replicas(item: Workload, count: int) -> dict[str, Any]:
    """Return the changed fields that give a server so many replicas.

    Raises:
        Conflict: it has a range of them, in which its load decides.
    """
    if item.type == "DistributedInference":
        return {"replicas": count}
    asked = item.raw.get("requestedPods") or {}
    fewest, most = asked.get("min"), asked.get("max")
    if most is not None and most != fewest:
        raise Conflict(
            f"{item.name} follows its load, with {1 if fewest is None else fewest} to {most} replicas: "
            f"`runai inference update {item.name} --min-replicas N --max-replicas N` changes that"
        )
    return {"autoscaling": dict.fromkeys(("minReplicas", "initialReplicas", "maxReplicas"), count)}


def revisions_command(noun: Noun) -> click.Command:
    """Return `revisions`."""

    @click.command("revisions", short_help="List its revisions.")
    @name_argument
    @project_option
    @list_options
    @click.pass_context
    def run(ctx: click.Context, /, name: str, project: str | None, form: Form) -> None:
        """List the specifications that an inference workload had, the newest last."""
        app = app_of(ctx)
        item = find_one(app, noun, name, project)
        answer = app.client.read(f"workloads/inferences/{item.id}/revisions")
        print_list(answer["revisions"], REVISIONS, form, empty="No revisions.")

    return run
