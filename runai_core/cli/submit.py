"""Commands that submit a workload."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from runai_core.cli.building import SECONDS, Draft, click_option, fill
from runai_core.cli.context import App, app_of, complete_workload, project_option
from runai_core.cli.options import flags_of
from runai_core.cli.output import print_data
from runai_core.client.requests import submission
from runai_core.model.errors import FieldError, InvalidRequest, PolicyViolation


@dataclass(frozen=True, slots=True)
class Noun:
    """One kind of workload on the command line."""

    command: str  # the row of `options.FLAGS` that applies
    type: str = ""  # the API's type; empty: every type
    framework: str = ""
    title: str = "workload"  # what messages call it
    group: str = "workload"  # how the command is typed, for hints


class CommandLine(click.Command):
    """A command whose words after ``--`` are a command line of its own, kept in ``ctx.meta``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the words after the first ``--`` away before click sees them."""
        if "--" in args:
            cut = args.index("--")
            ctx.meta["runai.words"] = tuple(args[cut + 1 :])
            args = args[:cut]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Return what the usage line shows."""
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND [ARG]...]"]


def words_of(ctx: click.Context) -> tuple[str, ...]:
    """Return the words after ``--``."""
    words: tuple[str, ...] = ctx.meta.get("runai.words", ())
    return words


SUBMIT_OPTIONS: tuple[click.Option, ...] = (
    click.Option(["--name-prefix"], help="Make a name: this and a random ending."),
    click.Option(["-c", "--command", "as_command"], is_flag=True, help="Taken for granted with words after --."),
    click.Option(["--attach"], is_flag=True, help="Follow the output until it ends."),
    click.Option(["--wait-for-submit"], type=SECONDS, help="Wait this long until its pods are made, e.g. 1m."),
    click.Option(["--dry-run"], is_flag=True, help="Show what would be submitted, and if it would start."),
    click.Option(["--json", "as_json"], is_flag=True, help="Print what was created, or would be, as JSON."),
)  # fmt: skip
"""Options of every `submit` that are not part of the request."""


def submit_command(noun: Noun) -> click.Command:
    """Return the `submit` of one kind of workload, made from the table of flags."""
    flags = flags_of(noun.command)

    @click.pass_context
    def run(ctx: click.Context, /, name: str | None, project: str | None, **given: Any) -> None:
        app = app_of(ctx)
        draft = fill(flags, given, words_of(ctx))
        if noun.framework:
            draft.spec["distributedFramework"] = noun.framework
        body = body_of(app, noun, draft, name=name, prefix=given["name_prefix"], project=project)
        send(app, noun, body, given)

    command = CommandLine(
        "submit",
        callback=run,
        params=[click.Argument(["name"], required=False), *SUBMIT_OPTIONS, *map(click_option, flags)],
        help=f"Submit a {noun.title}. The words after -- are its command.",
        short_help=f"Submit a {noun.title}.",
        epilog=f"Example: runai {noun.group} submit my-{noun.title.split()[-1]} -g 1 -- python main.py",
    )
    return project_option(command)


def body_of(
    app: App, noun: Noun, draft: Draft, *, name: str | None, prefix: str | None, project: str | None
) -> dict[str, Any]:
    """Return the request's body.

    Raises:
        InvalidRequest: there is neither a name nor a prefix, or both.
    """
    if bool(name) == bool(prefix):
        raise InvalidRequest.of(FieldError("NAME", "give a name, or --name-prefix to have one made"))
    return submission(
        noun.type,
        name or prefix or "",
        app.project_or(project),
        draft.spec,
        useGivenNameAsPrefix=True if prefix else None,
        masterSpec=draft.master or None,
        **draft.body,
    )


def send(app: App, noun: Noun, body: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Submit a request, or show what it would become."""
    if given.get("dry_run"):
        show_preview(app, noun, body, as_json=bool(given.get("as_json")))
        return
    workload = app.client.submit_body(noun.type, body)
    if seconds := given.get("wait_for_submit"):
        workload = app.client.wait(workload, until=_AFTER_CREATING, timeout=seconds)
    if given.get("as_json"):
        print_data(workload.raw)
    else:
        app.say(
            f"{noun.title[0].upper()}{noun.title[1:]} {workload.name} was submitted to project {body['projectId']}."
        )
        app.say(f"See how it is doing: runai {noun.group} describe {workload.name} -p {body['projectId']}")
    if given.get("attach"):
        for piece in app.client.logs(workload, follow=True):
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()


_AFTER_CREATING = ("Pending", "Initializing", "Running", "Degraded", "Stopped")


def show_preview(app: App, noun: Noun, body: Mapping[str, Any], *, as_json: bool) -> None:
    """Show what a submission would become: each value with the policy that set it, and whether it would start.

    Raises:
        PolicyViolation: a policy forbids it.
    """
    preview = app.client.preview_body(noun.type, body)
    if as_json:
        print_data(preview.raw)
        return
    if preview.violations:
        raise PolicyViolation(
            "not allowed by policy",
            [
                FieldError(
                    str(item.get("field", "")), str(item.get("message", "")), item.get("given"), item.get("policy")
                )
                for item in preview.violations
            ],
        )
    print_data(
        {"name": body["name"], "project": body["projectId"], "type": noun.type, "spec": dict(preview.spec)},
        as_yaml=True,
    )
    for path, origin in sorted(preview.origins.items()):
        click.echo(f"# {path} comes from {origin}")
    if preview.starts_now is not None:
        waits = preview.verdict.message if preview.verdict else "It would have to wait."
        click.echo(f"# {'It would start now.' if preview.starts_now else waits}")
    click.echo("# Dry run: nothing was created.")


name_argument = click.argument("name", shell_complete=complete_workload)
names_argument = click.argument("names", nargs=-1, shell_complete=complete_workload, metavar="[NAME]...")
