"""Verbs that read and change workloads, made for each noun."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from runai_core.cli import columns
from runai_core.cli.context import App, app_of, project_option
from runai_core.cli.explain import print_explanation
from runai_core.cli.output import Column, Form, json_option, list_options, print_data, print_list
from runai_core.cli.submit import Noun, name_argument, names_argument
from runai_core.client.requests import PAGE
from runai_core.client.results import Workload
from runai_core.model.errors import FieldError, InvalidRequest, NotFound, RunaiError
from runai_core.model.workload import Phase, WorkloadType

LARGEST_PAGE = 500
"""Workloads that the API gives at once at most."""


EVERY_ONE: Mapping[str, Any] = {
    "everywhere": False,
    "project": None,
    "status": (),
    "types": (),
    "framework": None,
    "node_pool": None,
    "search": "",
    "deleted": False,
    "filters": (),
    "max_items": None,
    "page_size": PAGE,
    "next_token": 0,
    "no_pagination": False,
}
"""What a list asks for when nothing is chosen."""


def list_command(noun: Noun) -> click.Command:
    """Return `list`."""

    @click.command("list", short_help=f"List {noun.title}s.")
    @project_option
    @click.option("-A", "--all", "everywhere", is_flag=True, help="Of all projects.")
    @click.option("--status", multiple=True, help="Only in this phase; may be repeated.")
    @click.option("--type", "types", multiple=True, help="Only of this type; may be repeated.")
    @click.option("--framework", help="Only of this framework, e.g. PyTorch.")
    @click.option("--node-pool", help="Only in this node pool.")
    @click.option("--search", default="", help="Only with this in their name.")
    @click.option("--filter", "filters", multiple=True, help="A filter of the API, e.g. priority>=80.")
    @click.option("--deleted", is_flag=True, help="Deleted ones that are still kept for the record.")
    @click.option("--watch", "-w", "watching", is_flag=True, help="Keep the list up to date until Ctrl-C.")
    @_page_options
    @list_options
    @click.pass_context
    def run(ctx: click.Context, /, form: Form, watching: bool, **chosen: Any) -> None:
        """List workloads, newest first."""
        app = app_of(ctx)

        def look() -> Sequence[Workload]:
            return find_some(app, noun, chosen)[0]

        if watching and not (form.as_json or form.as_yaml):
            # Imported here: few lists are watched.
            from runai_core.cli.live import watch_table

            watch_table(app.client, look, columns.WORKLOADS, form)
            return
        found, token = find_some(app, noun, chosen)
        project = "" if chosen["everywhere"] else app.project_or(chosen["project"])
        app.check_project(found, project)
        where = f"project {project}" if project else "any project"
        print_list(found, columns.WORKLOADS, form, empty=f"No {noun.title}s in {where}.")
        if token:
            click.echo(f"There are more: --next-token {token} goes on.", err=True)

    return run


def _page_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which part of a list is meant."""
    for option in (
        click.option("--no-pagination", is_flag=True, help="Everything, in as few requests as there can be."),
        click.option("--page-size", type=click.IntRange(1, LARGEST_PAGE), default=PAGE, help="In each request."),
        click.option("--next-token", type=click.IntRange(0), default=0, help="Where the list before this one ended."),
        click.option("--max-items", type=click.IntRange(1), help="At most so many, newest first."),
    ):
        command = option(command)
    return command


def find_some(app: App, noun: Noun, chosen: Mapping[str, Any]) -> tuple[Sequence[Workload], int | None]:
    """Return the part of a list that is asked for, newest first, and where the next one begins, if there are more.

    Raises:
        InvalidRequest: a phase or type is unknown; or a part and everything are asked for.
    """
    start, most = chosen["next_token"], chosen["max_items"]
    if chosen["no_pagination"] and (most or start):
        raise InvalidRequest.of(FieldError("--no-pagination", "goes without --max-items and --next-token"))
    found = find_all(app, noun, chosen, None if most is None else start + most + 1)[start:]
    return found[:most], start + most if most is not None and len(found) > most else None


def find_all(app: App, noun: Noun, chosen: Mapping[str, Any], limit: int | None = None) -> Sequence[Workload]:
    """Return the workloads that a list asks for, newest first: all, or the first `limit`.

    Raises:
        InvalidRequest: a phase or type is unknown.
    """
    project = "" if chosen["everywhere"] else app.project_or(chosen["project"])
    statuses = [_word("--status", status, Phase) for status in chosen["status"]]
    types = [_word("--type", kind, WorkloadType) for kind in chosen["types"]]
    wanted = [kind for kind in noun.type.split(",") if kind and (not types or kind in types)] if noun.type else types
    framework = chosen["framework"] or noun.framework
    filters = [*chosen["filters"]]
    filters += [f"distributedFramework=={framework}"] if framework else []
    filters += [f"nodePool=={chosen['node_pool']}"] if chosen["node_pool"] else []
    filters += [f"phase=={statuses[0]}"] if len(statuses) == 1 else []
    size = LARGEST_PAGE if chosen["no_pagination"] else chosen["page_size"]
    # What is sifted here, after the answer, cannot be counted before.
    asked = limit if len(statuses) < 2 else None
    found: list[Workload] = []
    # The API joins conditions by "and" alone: each type is a request of its own.
    for kind in wanted or [""]:
        conditions = (*filters, *((f"type=={kind}",) if kind else ()))
        options = {"search": chosen["search"], "deleted": chosen["deleted"], "filters": conditions}
        found += app.client.list(project=project, limit=asked, page_size=size, **options)
    if len(wanted) > 1:
        found.sort(key=lambda item: (item.created_at is not None, item.created_at), reverse=True)
    return [item for item in found if not statuses or item.phase in statuses][:limit]


def _word(option: str, given: str, kind: Any) -> str:
    """Return the member of an enumeration that the user means, whatever the case."""
    for member in kind:
        if member.value.lower() == given.lower():
            return str(member.value)
    raise InvalidRequest.of(FieldError(option, f"must be one of {', '.join(member.value for member in kind)}", given))


def find_one(app: App, noun: Noun, name: str, project: str | None) -> Workload:
    """Return the workload that the user means.

    Raises:
        NotFound: there is none of this name and kind in the project.
    """
    found = app.client.get(name, project=app.project_or(project))
    if noun.type and found.type not in noun.type.split(","):
        raise NotFound(f"{found.name} is no {noun.title} but of type {found.type}: use `runai workload` for any type")
    return found


def events_command(noun: Noun) -> click.Command:
    """Return `events`."""
    short, long = "What happened to it and to its pods.", "Print the events of a workload and of its pods."
    return _told_command(noun, "events", columns.EVENTS, short, long)


def history_command(noun: Noun) -> click.Command:
    """Return `history`."""
    long = "Print the story of a workload: time, phase, cause, and who asked for it."
    return _told_command(noun, "history", columns.HISTORY, "Its story: each phase, since when, and why.", long)


def _told_command(noun: Noun, word: str, shown: Sequence[Column], short: str, long: str) -> click.Command:
    @click.command(word, short_help=short, help=long)
    @name_argument
    @project_option
    @click.option("--limit", type=click.IntRange(1), help="At most so many.")
    @list_options
    @click.pass_context
    def run(ctx: click.Context, /, name: str, project: str | None, limit: int | None, form: Form) -> None:
        app = app_of(ctx)
        tell = {"events": app.client.events, "history": app.client.history}[word]
        print_list(tell(find_one(app, noun, name, project), limit=limit), shown, form, empty=f"No {word} of {name}.")

    return run


def why_command(noun: Noun) -> click.Command:
    """Return `why`."""

    @click.command("why", short_help="Why it waits, in one sentence.")
    @name_argument
    @project_option
    @json_option
    @click.pass_context
    def run(ctx: click.Context, /, name: str, project: str | None, as_json: bool) -> None:
        """Say in one sentence why a workload is where it is; the numbers follow."""
        app = app_of(ctx)
        print_explanation(app.client.why(find_one(app, noun, name, project)), as_json=as_json)

    return run


def suspend_command(noun: Noun) -> click.Command:
    """Return `suspend`."""
    return _change_command(noun, "suspend", "suspended", "Stop; it keeps its place in the list and can be resumed.")


def resume_command(noun: Noun) -> click.Command:
    """Return `resume`."""
    return _change_command(noun, "resume", "resumed", "Let it run again, through the queue.")


def delete_command(noun: Noun) -> click.Command:
    """Return `delete`."""
    return _change_command(noun, "delete", "deleted", "Delete it, with its pods.")


def _change_command(noun: Noun, verb: str, done: str, help_: str) -> click.Command:
    @click.command(verb, short_help=help_, help=help_)
    @names_argument
    @project_option
    @click.option("-u", "--uuid", multiple=True, help="The id, in place of the name.")
    @click.option("-A", "--all", "everything", is_flag=True, help="Every one of the project.")
    @click.option("-y", "--yes", is_flag=True, help="Do not ask.")
    @click.option("--type", "types", multiple=True, help="With --all: only of this type.")
    @click.option("--framework", help="With --all: only of this framework.")
    @click.pass_context
    def run(ctx: click.Context, /, names: tuple[str, ...], project: str | None, yes: bool, **chosen: Any) -> None:
        app = app_of(ctx)
        found = _meant(app, noun, names, project, chosen)
        if verb == "delete" or chosen["everything"]:
            _confirm(verb, found, noun, yes=yes, everything=chosen["everything"])
        change_each(app, verb, done, found)

    return run


def _meant(app: App, noun: Noun, names: Sequence[str], project: str | None, chosen: dict[str, Any]) -> list[Workload]:
    if chosen["everything"]:
        if names or chosen["uuid"]:
            raise InvalidRequest.of(FieldError("--all", "names all of the project: leave the names out"))
        return list(find_all(app, noun, {**EVERY_ONE, **chosen, "project": project}))
    if not names and not chosen["uuid"]:
        raise InvalidRequest.of(FieldError("NAME", "name at least one, or give --all"))
    # All are looked up before the first is changed: a wrong name changes nothing.
    return [find_one(app, noun, name, project) for name in dict.fromkeys((*names, *chosen["uuid"]))]


def _confirm(verb: str, found: Sequence[Workload], noun: Noun, *, yes: bool, everything: bool) -> None:
    """Ask before deleting, where somebody can answer."""
    if yes or not found:
        return
    interactive = sys.stdin.isatty()
    if everything and not interactive:
        raise InvalidRequest.of(FieldError("--all", "needs --yes where nobody can be asked"))
    if interactive:
        names = ", ".join(item.name for item in found[:5]) + (", ..." if len(found) > 5 else "")
        click.confirm(f"{verb.capitalize()} {len(found)} {noun.title}{'s' * (len(found) > 1)} ({names})?", abort=True)


def change_each(app: App, verb: str, done: str, found: Sequence[Workload]) -> None:
    """Change workloads one after the other; the first error is raised after all were tried."""
    failures: list[RunaiError] = []
    actions = {"suspend": app.client.suspend, "resume": app.client.resume, "delete": app.client.delete}
    for item in found:
        try:
            actions[verb](item)
        except RunaiError as error:
            failures.append(error)
            if len(found) > 1:
                click.echo(f"Error: {item.name}: {error.message}", err=True)
        else:
            app.say(f"{item.name} {done}.")
    if failures:
        raise failures[0]
    if not found:
        app.say("Nothing to do.")


def submit_manifest_command() -> click.Command:
    """Return `workload submit -f`."""

    @click.command("submit", short_help="Submit a manifest: a framework's own object.")
    @click.argument("name", required=False)
    @project_option
    @click.option(
        "-f", "--file", "path", type=click.File("r"), required=True, help="YAML or JSON; - is standard input."
    )
    @click.option("--name-prefix", help="Make a name: this and a random ending.")
    @click.option("--category", help="Build, Train, Deploy or one of your own.")
    @click.option("--priority", help="Order inside the project.")
    @click.option(
        "--preemptibility", type=click.Choice(["preemptible", "non-preemptible"]), help="Whether it may be evicted."
    )
    @json_option
    @click.pass_context
    def run(ctx: click.Context, /, path: Any, as_json: bool, project: str | None, **given: Any) -> None:
        """Submit the objects of a manifest; a workload of ours is taken in the API's form: type, name, spec."""
        from runai_core.cli.manifests import read_manifests, submit_each

        app = app_of(ctx)
        created = submit_each(app, read_manifests(path), project=project, given=given)
        if as_json:
            print_data([item.raw for item in created])
        for item in () if as_json else created:
            app.say(f"{item.name} was submitted.")

    return run
