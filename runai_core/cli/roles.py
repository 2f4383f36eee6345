"""Roles on the command line: those of the program, and one's own."""

from collections.abc import Callable, Sequence
from typing import Any

import click

from runai_core.cli.context import app_of
from runai_core.cli.output import Column, Form, json_option, list_options, print_data, print_list
from runai_core.client.requests import API, as_it_is, get, segment, send
from runai_core.model.errors import FieldError, InvalidRequest

ROLES, SETS = "/api/v2/authorization/roles", f"{API}/authorization/permission-sets"

role = click.Group("role", help="Roles: what access rules give. Those of the program stay as they are.")

COLUMNS = (
    Column("ID", lambda item: item["id"]),
    Column("Name", lambda item: item["name"]),
    Column("Created by", lambda item: item["createdBy"]),
    Column("Enabled", lambda item: "yes" if item["enabled"] else "no"),
    Column("Legacy", lambda item: "yes" if item["legacy"] else "", shown=False),
    Column("Description", lambda item: item["description"], shown=False),
)
SET_COLUMNS = (
    Column("Name", lambda item: item["name"]),
    Column("Description", lambda item: item["description"]),
    Column("ID", lambda item: item["id"], shown=False),
)

Command = Callable[..., None]


def _call(ctx: click.Context, method: str, path: str, body: Any = None) -> Any:
    request = get(path, as_it_is, ()) if method == "GET" else send(method, path, as_it_is, body)
    return app_of(ctx).client.transport.call(request)


def _content(command: Command) -> Command:
    """Add the options that say what a role is."""
    for option in (
        click.option("--description", help="What it is for."),
        click.option("--permission-set", "sets", multiple=True, metavar="NAME", help="Name or id; can be repeated."),
        click.option(
            "--permission", "rights", multiple=True, metavar="TYPE:ACTION,...", help="For example nodes:read; repeated."
        ),
        click.option("--cluster-role", metavar="ROLE", help="The role of the program that it is in a cluster."),
        click.option("--enabled/--disabled", default=None, help="One that is disabled gives nothing."),
    ):
        command = option(command)
    return command


@role.command("list")
@list_options
@click.pass_context
def list_roles(ctx: click.Context, /, form: Form) -> None:
    """List roles."""
    print_list(_call(ctx, "GET", f"{API}/authorization/roles"), COLUMNS, form)


@role.command("permission-sets")
@list_options
@click.pass_context
def list_sets(ctx: click.Context, /, form: Form) -> None:
    """List the permission sets that roles are made of."""
    print_list(_call(ctx, "GET", SETS)["permissionSets"], SET_COLUMNS, form)


@role.command("describe")
@click.argument("name")
@json_option
@click.pass_context
def describe_role(ctx: click.Context, /, name: str, as_json: bool) -> None:
    """Show what a role may do."""
    found = _call(ctx, "GET", f"{ROLES}/{segment(name)}")
    if as_json:
        print_data(found)
        return
    click.echo(
        f"{found['name']} (id {found['id']}){'' if found['enabled'] else ', disabled'}\n{found['description']}\n"
    )
    for item in found["permissions"]:
        click.echo(f"  {item['resourceType']:<30}{', '.join(item['actions'])}")


@role.command("create")
@click.argument("name")
@_content
@json_option
@click.pass_context
def create_role(ctx: click.Context, /, name: str, as_json: bool, **content: Any) -> None:
    """Make a role of permission sets, of single rights, or both."""
    made = _call(ctx, "POST", ROLES, {"name": name, **_body(**content)})
    if as_json:
        print_data(made)
        return
    app_of(ctx).say(f"There is a role {made['name']} (id {made['id']}) now.")


@role.command("update")
@click.argument("name")
@_content
@click.pass_context
def update_role(ctx: click.Context, /, name: str, **content: Any) -> None:
    """Change a role. What is not given stays; with a permission or a permission set, all of them are put anew."""
    old = _call(ctx, "GET", f"{ROLES}/{segment(name)}")
    kept = {key: old[key] for key in ("name", "description", "enabled", "kubernetesPermissions")}
    if not content["sets"] and not content["rights"]:
        kept |= {"permissionSets": old["permissionSets"]}
        kept |= {"permissions": [{k: item[k] for k in ("resourceType", "actions")} for item in old["permissions"]]}
    made = _call(ctx, "PUT", f"{ROLES}/{old['id']}", kept | _body(**content))
    app_of(ctx).say(f"Role {made['name']} is changed for everybody who has it.")


@role.command("delete")
@click.argument("name")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def delete_role(ctx: click.Context, /, name: str, yes: bool) -> None:
    """Delete a role that no access rule gives."""
    if not yes:
        click.confirm(f"Delete role {name}?", abort=True, err=True)
    _call(ctx, "DELETE", f"{ROLES}/{segment(name)}")
    app_of(ctx).say(f"Role {name} was deleted.")


def _body(
    *,
    description: str | None,
    sets: Sequence[str],
    rights: Sequence[str],
    cluster_role: str | None,
    enabled: bool | None,
) -> dict[str, Any]:
    """Return what was given, as the API takes it."""
    given = {
        "description": description,
        "enabled": enabled,
        "kubernetesPermissions": None if cluster_role is None else {"predefinedRole": cluster_role},
        "permissionSets": [{"id": name} for name in sets] or None,
        "permissions": [_permission(text) for text in rights] or None,
    }
    return {key: value for key, value in given.items() if value is not None}


def _permission(text: str) -> dict[str, Any]:
    kind, found, actions = text.partition(":")
    if not found:
        raise InvalidRequest.of(FieldError("--permission", "must be TYPE:ACTION,... such as nodes:read", text[:80]))
    return {"resourceType": kind, "actions": [action.strip() for action in actions.split(",") if action.strip()]}
