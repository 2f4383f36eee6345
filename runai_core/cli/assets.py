"""Assets and templates: one group of commands for each noun, made from a table."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from runai_core.cli.context import App, app_of
from runai_core.cli.manifests import read_manifests
from runai_core.cli.output import Column, Form, age, json_option, list_options, print_data, print_list
from runai_core.cli.secret_values import secret_text
from runai_core.client.requests import API, as_it_is, get, segment, send
from runai_core.client.specs import put
from runai_core.model.errors import FieldError, InvalidRequest, NotFound

SCOPES = ("tenant", "cluster", "department", "project")


@dataclass(frozen=True, slots=True, kw_only=True)
class Noun:
    """One kind of asset on the command line."""

    name: str
    title: str
    listing: str  # path of the list of all types
    paths: Mapping[str, str]  # type -> path; one with an empty name where there are no types
    fields: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # option -> field of the spec, help
    is_template: bool = False
    is_secret: bool = False
    is_private: bool = False  # of the one who asks

    @property
    def types(self) -> tuple[str, ...]:
        """The types that can be chosen; none where there is only one."""
        return tuple(name for name in self.paths if name)


_ASSET = f"{API}/asset"
_TEMPLATES = f"{API}/workload-templates"

ENVIRONMENT = Noun(
    name="environment",
    title="environment",
    listing=f"{_ASSET}/environment",
    paths={"": f"{_ASSET}/environment"},
    fields={
        "--image": ("image", "Container image."),
        "--command": ("command", "Program with arguments."),
        "--args": ("args", "Arguments."),
        "--working-dir": ("workingDir", "Directory in which the process starts."),
    },
)
COMPUTE = Noun(
    name="compute",
    title="compute resource",
    listing=f"{_ASSET}/compute",
    paths={"": f"{_ASSET}/compute"},
    fields={
        "--gpu-devices-request": ("gpuDevicesRequest", "GPU devices for each pod."),
        "--gpu-portion-request": ("gpuPortionRequest", "Share of each device."),
        "--gpu-memory-request": ("gpuMemoryRequest", "Memory of each device."),
        "--cpu-core-request": ("cpuCoreRequest", "CPU cores."),
        "--cpu-memory-request": ("cpuMemoryRequest", "Memory."),
    },
)
DATA_SOURCE = Noun(
    name="datasource",
    title="data source",
    listing=f"{_ASSET}/datasource",
    paths={
        "nfs": f"{_ASSET}/datasource/nfs",
        "pvc": f"{_ASSET}/datasource/pvc",
        "s3": f"{_ASSET}/datasource/s3",
        "git": f"{_ASSET}/datasource/git",
        "hostPath": f"{_ASSET}/datasource/host-path",
        "configMap": f"{_ASSET}/datasource/config-map",
        "secretVolume": f"{_ASSET}/datasource/secrets",
    },
)
CREDENTIAL = Noun(
    name="credential",
    title="credential",
    listing=f"{_ASSET}/credentials",
    paths={
        "accessKey": f"{_ASSET}/credentials/access-key",
        "password": f"{_ASSET}/credentials/password",
        "dockerRegistry": f"{_ASSET}/credentials/docker-registry",
        "genericSecret": f"{_ASSET}/credentials/generic-secret",
        "ngcApiKey": f"{_ASSET}/credentials/ngc-api-key",
    },
    is_secret=True,
)
MY_CREDENTIAL = Noun(
    name="my-credential",
    title="private credential",
    listing=f"{API}/me/credentials",
    paths={kind: path.replace(_ASSET, f"{API}/me") for kind, path in CREDENTIAL.paths.items()},
    is_secret=True,
    is_private=True,
)
TEMPLATE = Noun(
    name="template",
    title="template",
    listing=_TEMPLATES,
    paths={
        "workspace": f"{_TEMPLATES}/workspaces",
        "training": f"{_TEMPLATES}/trainings",
        "distributed": f"{_TEMPLATES}/distributed",
        "inference": f"{_TEMPLATES}/inferences",
    },
    is_template=True,
)

_KINDS: Mapping[str, str] = {"config-map": "configMap", "secret-volume": "secretVolume"}


def _type_of(item: Mapping[str, Any]) -> str:
    """Return the type as `--type` takes it."""
    kind = item["meta"].get("kind") or item["meta"].get("workloadType", "").lower()
    return _KINDS.get(kind, kind)


def scope_of(meta: Mapping[str, Any]) -> str:
    """Return where it holds, in words."""
    scope = meta.get("scope") or meta.get("scopeType", "")
    if scope == "user":
        return "yourself"
    return f"{scope} {meta['projectName']}" if meta.get("projectName") else str(scope)


def _age_of(meta: Mapping[str, Any]) -> str | None:
    """Return how old it is; nothing for one that was always there."""
    created = datetime.fromisoformat(meta["createdAt"])
    return age(created) if created.timestamp() else None


COLUMNS = (
    Column("Name", lambda item: item["meta"]["name"]),
    Column("Type", _type_of),
    Column("Scope", lambda item: scope_of(item["meta"])),
    Column("Created By", lambda item: item["meta"]["createdBy"]),
    Column("Age", lambda item: _age_of(item["meta"])),
    Column("Description", lambda item: item["meta"].get("description")),
    Column("ID", lambda item: item["meta"]["id"], shown=False),
)


def group_of(noun: Noun) -> click.Group:
    """Return the commands of a noun."""
    group = click.Group(noun.name, help=f"{noun.title[0].upper()}{noun.title[1:]}s, kept under a name.")
    for make in (_list, _describe, _create, _delete):
        group.add_command(make(noun))
    return group


def _list(noun: Noun) -> click.Command:
    @click.command("list", short_help=f"List {noun.title}s.")
    @_type_option(noun)
    @list_options
    @click.pass_context
    def run(ctx: click.Context, /, form: Form, kind: str | None = None) -> None:
        """Those of your scopes."""
        print_list(_entries(app_of(ctx), noun, kind or ""), COLUMNS, form, empty=f"No {noun.title}s.")

    return run


def _describe(noun: Noun) -> click.Command:
    @click.command("describe", short_help=f"Describe one {noun.title}.")
    @click.argument("name", shell_complete=_complete(noun))
    @_type_option(noun)
    @json_option
    @click.pass_context
    def run(ctx: click.Context, /, name: str, as_json: bool, kind: str | None = None) -> None:
        """Print all that is known of it; what is secret is never shown."""
        print_data(_found(app_of(ctx), noun, name, kind or ""), as_yaml=not as_json)

    return run


def _create(noun: Noun) -> click.Command:
    @click.command("create", short_help=f"Create a {noun.title}.")
    @click.argument("name")
    @_type_option(noun, required=True)
    @_scope_options(noun)
    @click.option("--description", help="What it is for.")
    @click.option(
        "-f", "--file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="YAML of its fields."
    )
    @click.option(
        "--set", "settings", multiple=True, metavar="FIELD=VALUE", help="One of its fields, in the API's names."
    )
    @_further_options(noun)
    @json_option
    @click.pass_context
    def run(ctx: click.Context, /, name: str, as_json: bool, kind: str | None = None, **given: Any) -> None:
        """Create it."""
        app = app_of(ctx)
        scope = given.get("scope", "")
        unit = given.get("of") or (app.project_or(None) if scope == "project" else None)
        body = {"meta": _meta(noun, name, scope, unit, given["description"]), **_content(noun, kind or "", given)}
        created = app.client.transport.call(send("POST", noun.paths[kind or ""], as_it_is, body))
        if as_json:
            print_data(created)
        else:
            app.say(f"{noun.title[0].upper()}{noun.title[1:]} {name} created for {scope_of(created['meta'])}.")

    return run


def _delete(noun: Noun) -> click.Command:
    @click.command("delete", short_help=f"Delete {noun.title}s.")
    @click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=_complete(noun))
    @_type_option(noun)
    @click.pass_context
    def run(ctx: click.Context, /, names: Sequence[str], kind: str | None = None) -> None:
        """Refused while something uses it."""
        app = app_of(ctx)
        for name in names:
            item = _found(app, noun, name, kind or "")
            path = noun.paths[kind or _type_of(item) if noun.types else ""]
            app.client.transport.call(send("DELETE", f"{path}/{segment(item['meta']['id'])}", as_it_is))
            app.say(f"{noun.title[0].upper()}{noun.title[1:]} {name} deleted.")

    return run


def _type_option(noun: Noun, *, required: bool = False) -> Callable[[Any], Any]:
    if not noun.types:
        return lambda command: command
    choices = click.Choice(noun.types, case_sensitive=False)
    return click.option("--type", "kind", type=choices, required=required, help="Its type.")


def _scope_options(noun: Noun) -> Callable[[Any], Any]:
    """Return what adds the options for where it holds."""

    def add(command: Any) -> Any:
        text = "Name of the department or project; your project when left out."
        command = click.option("--of", help=text)(command)
        kinds = click.Choice(SCOPES)
        return click.option("--scope", type=kinds, default="project", show_default=True, help="Who may use it.")(
            command
        )

    return (lambda command: command) if noun.is_private else add


def _further_options(noun: Noun) -> Callable[[Any], Any]:
    """Return what adds the options that only this noun has."""

    def add(command: Any) -> Any:
        for option, (name, text) in reversed(list(noun.fields.items())):
            command = click.option(option, f"field_{name}", help=text)(command)
        if noun.is_secret:
            text = "Member of the secret; with @FILE read from a file, with @- from standard input."
            command = click.option("--item", "items", multiple=True, metavar="KEY=VALUE", help=text)(command)
        if noun.is_template:
            command = click.option("--compute", help="Compute resource that it uses.")(command)
            command = click.option("--environment", help="Environment that it uses.")(command)
        return command

    return add


def _meta(noun: Noun, name: str, scope: str, unit: str | None, description: str | None) -> dict[str, Any]:
    """Return name and scope in the API's form."""
    meta: dict[str, Any] = {"name": name}
    if description:
        meta["description"] = description
    if noun.is_private:
        return meta
    if noun.is_template:
        return meta | {"scopeType": scope, **({"scopeId": unit} if unit else {})}
    return meta | {"scope": scope, **({f"{scope}Id": unit} if unit and scope in ("department", "project") else {})}


def _content(noun: Noun, kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields in the API's form: of a file, of `--set`, and of options of their own."""
    spec: dict[str, Any] = {}
    if given["file"]:
        with given["file"].open() as file:
            spec = dict(read_manifests(file)[0])
    for name, (path, _) in noun.fields.items():
        if (value := given.get(f"field_{path}")) is not None:
            put(spec, path, _value(value) if name.endswith("-request") else value)
    for text in given["settings"]:
        path, value = _pair("--set", text)
        put(spec, path, _value(value))
    if noun.is_secret:
        _add_items(spec, kind, [_pair("--item", text) for text in given["items"]])
    if not noun.is_template:
        return {"spec": spec}
    assets = {name: given[name] for name in ("environment", "compute") if given.get(name)}
    return {"spec": spec, **({"assets": assets} if assets else {})}


def _add_items(spec: dict[str, Any], kind: str, items: Sequence[tuple[str, str]]) -> None:
    read = [(key, secret_text("--item", value)) for key, value in items]
    if kind == "genericSecret":
        spec.setdefault("keyValuePairs", []).extend({"key": key, "value": value} for key, value in read)
    else:
        spec |= dict(read)


def _pair(option: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise InvalidRequest.of(FieldError(option, "must be NAME=VALUE", name))
    return name, value


def _value(text: str) -> Any:
    """Return numbers, true, false, lists and objects as such, and all else as text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _entries(app: App, noun: Noun, kind: str) -> list[dict[str, Any]]:
    path = noun.paths.get(kind, noun.listing) if kind else noun.listing
    query = (("limit", "500"),) if noun.is_template else ()
    found: list[dict[str, Any]] = app.client.transport.call(get(path, as_it_is, query))["entries"]
    return found


def _found(app: App, noun: Noun, name: str, kind: str) -> dict[str, Any]:
    """Return the entry of this name or id.

    Raises:
        NotFound: there is none. InvalidRequest: there are several.
    """
    found = [item for item in _entries(app, noun, kind) if name in (item["meta"]["name"], item["meta"]["id"])]
    if not found:
        raise NotFound(f"there is no {noun.title} {name}; see runai {noun.name} list")
    if len(found) > 1:
        ids = ", ".join(f"{item['meta']['id']} ({scope_of(item['meta'])})" for item in found)
        raise InvalidRequest.of(FieldError("NAME", f"there are several: give one of the ids {ids}", name))
    return found[0]


def _complete(noun: Noun) -> Callable[..., list[str]]:
    def complete(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
        from runai_core.model.errors import RunaiError

        try:
            names = [item["meta"]["name"] for item in _entries(app_of(ctx), noun, "")]
        except (RunaiError, OSError):
            return []
        return [name for name in names if name.startswith(incomplete)]

    return complete


environment = group_of(ENVIRONMENT)
compute = group_of(COMPUTE)
datasource = group_of(DATA_SOURCE)
credential = group_of(CREDENTIAL)
my_credential = group_of(MY_CREDENTIAL)
template = group_of(TEMPLATE)
