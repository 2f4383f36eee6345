"""Users, service accounts, access keys, access rules and the audit log on the command line."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import click

from runai_core.cli.context import App, app_of
from runai_core.cli.output import Column, Form, age, json_option, list_options, print_data, print_list
from runai_core.client.requests import API, as_it_is, get, segment, send
from runai_core.model.errors import FieldError, InvalidRequest

USERS, ACCOUNTS, KEYS = f"{API}/users", f"{API}/service-accounts", f"{API}/access-keys"
RULES = f"{API}/authorization/access-rules"

SHOWN_ONCE = "It is shown this once: keep it now."


def _read(app: App, path: str, **query: str) -> Any:
    return app.client.transport.call(get(path, as_it_is, tuple((name, text) for name, text in query.items() if text)))


def _send(app: App, method: str, path: str, body: Any = None) -> Any:
    return app.client.transport.call(send(method, path, as_it_is, body))


def _column(title: str, name: str, *, shown: bool = True) -> Column:
    return Column(title, lambda item: item.get(name), shown=shown)


def _aged(title: str, name: str) -> Column:
    return Column(title, lambda item: age(datetime.fromisoformat(item[name])) if item.get(name) else None)


def _made(app: App, what: str, secret: str, answer: Mapping[str, Any], *, as_json: bool) -> None:
    """Tell what was made, with its secret."""
    if as_json:
        print_data(dict(answer))
        return
    click.echo(secret)  # alone on standard output, so that a script can take it
    if not app.quiet:
        click.echo(f"{what} {SHOWN_ONCE}", err=True)


def _confirm(question: str, *, yes: bool) -> None:
    if not yes:
        click.confirm(question, abort=True, err=True)


yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask.")

# -- users

user = click.Group("user", help="Users: who signs in with a password, or through an identity provider.")

USER_COLUMNS = (
    _column("Name", "username"),
    Column("Signs in", lambda item: "with a password" if item["isLocal"] else "through a provider"),
    Column("Enabled", lambda item: "yes" if item["enabled"] else "no"),
    _aged("Last login", "lastLogin"),
    _aged("Age", "createdAt"),
    _column("ID", "id", shown=False),
)


@user.command("list")
@click.option("--search", default="", help="Only with this in their name.")
@list_options
@click.pass_context
def list_users(ctx: click.Context, /, search: str, form: Form) -> None:
    """List users."""
    print_list(_read(app_of(ctx), USERS, search=search, limit="500"), USER_COLUMNS, form, empty="No users.")


@user.command("create")
@click.argument("email")
@click.option("--role", help="Give this role in the whole tenant at once.")
@json_option
@click.pass_context
def create_user(ctx: click.Context, /, email: str, role: str | None, as_json: bool) -> None:
    """Create a local user; prints the password, which must be changed at the first sign-in."""
    app = app_of(ctx)
    answer = _send(app, "POST", USERS, {"email": email})
    if role:
        given = {"subjectId": answer["username"], "subjectType": "user", "roleId": role, "scopeType": "tenant"}
        _send(app, "POST", RULES, given)
    _made(app, f"User {answer['username']} was created; this is the password.", answer["tempPassword"], answer,
          as_json=as_json)  # fmt: skip


@user.command("reset-password")
@click.argument("name")
@json_option
@click.pass_context
def reset_password(ctx: click.Context, /, name: str, as_json: bool) -> None:
    """Draw a new password; all sessions of the user end."""
    answer = _send(app_of(ctx), "POST", f"{USERS}/{segment(name)}/password")
    _made(app_of(ctx), f"The new password of {name}.", answer["tempPassword"], answer, as_json=as_json)


@user.command("logout")
@click.argument("name")
@click.pass_context
def logout_user(ctx: click.Context, /, name: str) -> None:
    """End all sessions of a user."""
    _send(app_of(ctx), "POST", f"{USERS}/{segment(name)}/logout")
    app_of(ctx).say(f"{name} was signed out everywhere.")


def _enabling(verb: str, *, enabled: bool) -> click.Command:
    @click.command(verb, short_help=f"{verb.capitalize()} a user.")
    @click.argument("name")
    @click.pass_context
    def run(ctx: click.Context, /, name: str) -> None:
        """Let a user in, or no longer."""
        _send(app_of(ctx), "PATCH", f"{USERS}/{segment(name)}", {"enabled": enabled})
        app_of(ctx).say(f"{name} was {verb}d.")

    return run


user.add_command(_enabling("enable", enabled=True))
user.add_command(_enabling("disable", enabled=False))


@user.command("delete")
@click.argument("name")
@yes_option
@click.pass_context
def delete_user(ctx: click.Context, /, name: str, yes: bool) -> None:
    """Delete a user with access rules, keys and sessions; what the user submitted stays."""
    _confirm(f"Delete user {name} with all access rules and keys?", yes=yes)
    _send(app_of(ctx), "DELETE", f"{USERS}/{segment(name)}")
    app_of(ctx).say(f"User {name} was deleted.")


# -- service accounts and access keys

service_account = click.Group("service-account", help="Service accounts: identities of programs.")
access_key = click.Group("access-key", help="Your own access keys: programs act as you with them.")

ACCOUNT_COLUMNS = (
    _column("Name", "name"),
    _column("Client ID", "clientId"),
    Column("Enabled", lambda item: "no" if item.get("enabled") is False else "yes"),
    _aged("Age", "createdAt"),
    _column("ID", "id", shown=False),
)
KEY_COLUMNS = (
    _column("Name", "name"),
    _column("Client ID", "clientId"),
    _column("Expires", "expiresAt"),
    _aged("Age", "createdAt"),
    _column("ID", "id", shown=False),
)


def _secrets(group: click.Group, title: str, path: str, columns: Sequence[Column], member: str) -> None:
    """Add the verbs that service accounts and access keys have in common."""

    @group.command("list", short_help=f"List {title}s.")
    @list_options
    @click.pass_context
    def list_them(ctx: click.Context, /, form: Form) -> None:
        """List them; their secrets are not kept."""
        found = _read(app_of(ctx), path)
        print_list(found[member] if member else found, columns, form, empty=f"No {title}s.")

    @group.command("new-secret", short_help=f"Give the {title} a new secret.")
    @click.argument("name")
    @json_option
    @click.pass_context
    def new_secret(ctx: click.Context, /, name: str, as_json: bool) -> None:
        """Replace the secret; the old one and its tokens are worthless at once."""
        answer = _send(app_of(ctx), "POST", f"{path}/{segment(name)}/secret")
        _made(app_of(ctx), f"The new secret of {name}.", answer["clientSecret"], answer, as_json=as_json)

    @group.command("delete", short_help=f"Delete a {title}.")
    @click.argument("name")
    @yes_option
    @click.pass_context
    def delete(ctx: click.Context, /, name: str, yes: bool) -> None:
        """Delete it; its tokens are worthless at once."""
        _confirm(f"Delete {title} {name}?", yes=yes)
        _send(app_of(ctx), "DELETE", f"{path}/{segment(name)}")
        app_of(ctx).say(f"The {title} {name} was deleted.")


_secrets(service_account, "service account", ACCOUNTS, ACCOUNT_COLUMNS, "")
_secrets(access_key, "access key", KEYS, KEY_COLUMNS, "accessKeys")


@service_account.command("create")
@click.argument("name")
@json_option
@click.pass_context
def create_account(ctx: click.Context, /, name: str, as_json: bool) -> None:
    """Create a service account; prints its secret. It may do nothing until an access rule says so."""
    answer = _send(app_of(ctx), "POST", ACCOUNTS, {"name": name})
    _made(app_of(ctx), f"The secret of {answer['clientId']}.", answer["clientSecret"], answer, as_json=as_json)


@access_key.command("create")
@click.argument("name")
@click.option("--days", type=click.FloatRange(min=0.001, max=3660), help="Good for so long; for ever when left out.")
@json_option
@click.pass_context
def create_key(ctx: click.Context, /, name: str, days: float | None, as_json: bool) -> None:
    """Create an access key; prints its secret."""
    body = {"name": name, **({"expiresIn": max(60.0, days * 86400)} if days else {})}
    answer = _send(app_of(ctx), "POST", KEYS, body)
    _made(app_of(ctx), f"The secret of {answer['clientId']}.", answer["clientSecret"], answer, as_json=as_json)


# -- access rules

access_rule = click.Group("access-rule", help="Access rules: who has which role where.")

RULE_COLUMNS = (
    _column("ID", "id"),
    _column("Subject", "subjectId"),
    _column("Type", "subjectType"),
    _column("Role", "roleName"),
    Column("Scope", lambda item: " ".join(dict.fromkeys((item["scopeType"], item["scopeName"])))),
    _column("Created by", "createdBy"),
    _aged("Age", "createdAt"),
)


@access_rule.command("list")
@click.option("--subject", default="", help="Only of subjects with this in their name.")
@list_options
@click.pass_context
def list_rules(ctx: click.Context, /, subject: str, form: Form) -> None:
    """List access rules."""
    found = _read(app_of(ctx), RULES, search=subject, limit="500")["accessRules"]
    print_list(found, RULE_COLUMNS, form, empty="No access rules.")


@access_rule.command("create")
@click.argument("subject")
@click.argument("role_name", metavar="ROLE")
@click.option("--type", "kind", type=click.Choice(["user", "service-account", "app", "group"]), default="user")
@click.option("--project", "in_project", help="In this project.")
@click.option("--department", help="In this department.")
@json_option
@click.pass_context
def create_rule(
    ctx: click.Context, /, subject: str, role_name: str, kind: str, as_json: bool, **where: str | None
) -> None:
    """Give SUBJECT a ROLE: in a project, in a department, or in the whole tenant."""
    given = [
        (name, text) for name, text in (("project", where["in_project"]), ("department", where["department"])) if text
    ]
    if len(given) > 1:
        raise InvalidRequest.of(FieldError("--project", "give a project or a department, not both"))
    scope_type, scope = given[0] if given else ("tenant", "")
    body = {
        "subjectId": subject,
        "subjectType": kind,
        "roleId": role_name,
        "scopeType": scope_type,
        "scopeId": scope,
    }
    answer = _send(app_of(ctx), "POST", RULES, body)
    if as_json:
        print_data(answer)
        return
    app_of(ctx).say(f"{answer['subjectId']} is {answer['roleName']} in {scope_type} {scope}".rstrip() + ".")


@access_rule.command("delete")
@click.argument("rule_id")
@yes_option
@click.pass_context
def delete_rule(ctx: click.Context, /, rule_id: str, yes: bool) -> None:
    """Take a rule away; it no longer holds for the next request."""
    _confirm(f"Delete access rule {rule_id}?", yes=yes)
    _send(app_of(ctx), "DELETE", f"{RULES}/{segment(rule_id)}")
    app_of(ctx).say(f"Access rule {rule_id} was deleted.")


# -- the audit log

audit = click.Group("audit", help="The audit log: who changed what.")

AUDIT_COLUMNS = (
    _column("Time", "timestamp"),
    _column("Who", "subject"),
    _column("Action", "action"),
    Column("What", lambda item: " ".join(filter(None, (item["entity_type"], item["entity_name"])))),
    _column("Result", "result"),
    _column("From", "source_ip"),
    _column("URL", "url", shown=False),
    _column("Status", "http_status_code", shown=False),
)


@audit.command("list")
@click.option("--max-items", type=click.IntRange(1, 1000), default=50, help="The newest so many.")
@click.option("--filter", "filters", default="", metavar="CONDITIONS", help="For example subject==jane@example.com.")
@list_options
@click.pass_context
def list_audit(ctx: click.Context, /, max_items: int, filters: str, form: Form) -> None:
    """List changes and sign-ins, the newest first."""
    found = _read(app_of(ctx), f"{API}/audit/log", numberOfSamples=str(max_items), sortOrder="desc", filterBy=filters)
    print_list(found["audit_logs"], AUDIT_COLUMNS, form, empty="Nothing was changed.")
