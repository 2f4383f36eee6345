"""Who asks, which orchestrator, and the settings of this command."""

import json
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.shell_completion import get_completion_class

from runai_core import __version__
from runai_core.cli.context import App, app_of
from runai_core.cli.output import json_option, print_data, text
from runai_core.client.environment import config_file, data_dir, find_connection, read_config
from runai_core.model.errors import FieldError, InvalidRequest, RunaiError, Unauthenticated, Unavailable, Unsupported

SECRETS = frozenset({"token", "client_secret"})


def keep(app: App, **values: str | None) -> Path:
    """Write settings into the configuration file, mode 0600; None forgets one. Return its path.

    Raises:
        Unavailable: the file cannot be written.
    """
    path = config_file(app.environ)
    config = {**read_config(app.environ), **values}
    content = json.dumps({key: value for key, value in config.items() if value}, indent=2) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(content)
        draft.replace(path)
    except OSError as error:
        raise Unavailable(f"{path} cannot be written: {error.strerror or error}") from None
    return path


login = click.Group("login", help="Keep the address and token of an orchestrator in the configuration file.")


@login.command("application")
@click.option("--url", required=True, help="Address of the orchestrator, e.g. http://127.0.0.1:8080.")
@click.option("--name", "client_id", required=True, help="Client id of the service account.")
@click.option("--secret", "client_secret", prompt=True, hide_input=True, help="Its secret; asked for when left out.")
@click.pass_context
def login_application(ctx: click.Context, /, url: str, client_id: str, client_secret: str) -> None:
    """Log in as a service account."""
    log_in(app_of(ctx), url=url.rstrip("/"), client_id=client_id, client_secret=client_secret)


@login.command("access-key")
@click.option("--url", required=True, help="Address of the orchestrator, e.g. http://127.0.0.1:8080.")
@click.option("--token", prompt=True, hide_input=True, help="The token; asked for when left out.")
@click.pass_context
def login_access_key(ctx: click.Context, /, url: str, token: str) -> None:
    """Log in with a token."""
    log_in(app_of(ctx), url=url.rstrip("/"), token=token)


@login.command("user")
@click.option("--url", required=True, help="Address of the orchestrator, e.g. https://runai.example.com.")
@click.option("--user", "name", prompt="E-mail", help="E-mail address; asked for when left out.")
@click.option("--password", prompt=True, hide_input=True, help="Asked for when left out.")
@click.pass_context
def login_user(ctx: click.Context, /, url: str, name: str, password: str) -> None:
    """Log in with a password."""
    from runai_core.cli import signing_in

    url = signing_in.checked_url(url)
    token = signing_in.with_password(url, name, password)
    log_in(app_of(ctx), url=url, **signing_in.key_for_this_machine(url, token))
    keep(app_of(ctx), made_key="yes")


@login.command("sso")
@click.option("--url", required=True, help="Address of the orchestrator, e.g. https://runai.example.com.")
@click.option("--no-browser", is_flag=True, help="Print the address only.")
@click.pass_context
def login_sso(ctx: click.Context, /, url: str, no_browser: bool) -> None:
    """Log in in the browser: with a password there, or through an identity provider."""
    from runai_core.cli import signing_in

    url = signing_in.checked_url(url)
    token = signing_in.with_browser(app_of(ctx), url, opens=not no_browser)
    log_in(app_of(ctx), url=url, **signing_in.key_for_this_machine(url, token))
    keep(app_of(ctx), made_key="yes")


def log_in(app: App, **values: str) -> None:
    """Keep an address and its secrets, after they were seen to work."""
    from runai_core.client.requests import API, as_it_is, get
    from runai_core.client.sync.client import Client

    if not values["url"].startswith(("http://", "https://")):
        raise InvalidRequest.of(FieldError("--url", "must begin with http:// or https://", values["url"]))
    with Client.connect(**values) as client:
        client.transport.call(get(f"{API}/me", as_it_is))
    forgotten: dict[str, str | None] = dict.fromkeys(("token", "client_id", "client_secret", "made_key"))
    path = keep(app, **{**forgotten, **values})
    app.say(f"Logged in to {values['url']}; kept in {path}.")


@click.command("logout")
@click.pass_context
def logout(ctx: click.Context) -> None:
    """Forget the address and the token of `runai login`; an access key that it made is deleted."""
    kept = {name: str(value) for name, value in read_config(app_of(ctx).environ).items()}
    if kept.get("made_key") and kept.get("url") and kept.get("client_id"):
        from runai_core.cli.signing_in import forget_key

        if not forget_key(kept["url"], kept["client_id"], kept.get("client_secret", "")):
            app_of(ctx).say(f"The access key {kept['client_id']} could not be deleted: delete it in the browser.")
    keep(app_of(ctx), url=None, token=None, client_id=None, client_secret=None, made_key=None)
    app_of(ctx).say("Logged out.")


@click.command("whoami")
@json_option
@click.pass_context
def whoami(ctx: click.Context, /, as_json: bool) -> None:
    """Say who you are to the orchestrator, and which project commands are about."""
    # Imported here: the other commands of this file should start fast.
    from runai_core.client.requests import API, as_it_is, get

    app = app_of(ctx)
    me = app.client.transport.call(get(f"{API}/me", as_it_is))
    roles = [" in ".join(filter(None, (item["role"], scope_of(item)))) for item in me["grants"]]
    facts = {
        "user": me["name"],
        "kind": me["kind"],
        "roles": ", ".join(roles) or "none",
        "url": app.client.transport.connection.url,
        "project": app.project_or(None),
    }
    if as_json:
        print_data(facts)
        return
    for name, value in facts.items():
        click.echo(f"{name.capitalize() + ':':<10}{text(value)}")


def scope_of(grant: Mapping[str, str]) -> str:
    """Return where a role was given, in words; empty for the whole tenant."""
    return "" if grant["scopeType"] in ("tenant", "system") else f"{grant['scopeType']} {grant['scopeId']}"


auth = click.Group("auth", help="Tokens.")


@auth.command("get-token")
@click.option("-o", "--output", type=click.Choice(["plaintext", "kubeconfig"]), default="plaintext", help="Form.")
@click.pass_context
def get_token(ctx: click.Context, /, output: str) -> None:
    """Print a token that the orchestrator takes now; it opens no Kubernetes API, so there is no kubeconfig of it."""
    if output == "kubeconfig":
        raise Unsupported("the token is the orchestrator's, and no cluster takes it: kubectl needs one of the cluster")
    app = app_of(ctx)
    app.client.status()  # renews a token that has run out
    token = app.client.transport.auth.token
    if not token:
        raise Unauthenticated("there is no token: set RUNAI_TOKEN, or use `runai login`")
    click.echo(token)


config = click.Group("config", help="Settings of this command.")


@config.command("describe")
@json_option
@click.pass_context
def describe_config(ctx: click.Context, /, as_json: bool) -> None:
    """Show what this command would use, and where that is said."""
    app = app_of(ctx)
    facts: dict[str, Any] = {"config file": str(config_file(app.environ)), "data directory": str(data_dir(app.environ))}
    try:
        connection = find_connection(app.environ)
        facts |= {"url": connection.url, "project": app.project or connection.project}
    except RunaiError as error:
        facts |= {"url": None, "note": error.message}
    facts |= {key: "(set)" if key in SECRETS else value for key, value in read_config(app.environ).items()}
    if as_json:
        print_data(facts)
        return
    for name, value in facts.items():
        click.echo(f"{name + ':':<18}{text(value)}")


@config.command("set")
@click.option("--cp-url", "url", help="Address of the orchestrator.")
@click.option("--project", help="Default project.")
@click.pass_context
def set_config(ctx: click.Context, /, url: str | None, project: str | None) -> None:
    """Change settings."""
    app = app_of(ctx)
    if not url and not project:
        raise InvalidRequest.of(FieldError("config set", "give --cp-url or --project"))
    given = {key: value for key, value in (("url", url), ("project", project)) if value}
    app.say(f"Kept in {keep(app, **given)}.")


@config.command("project")
@click.argument("name")
@click.pass_context
def config_project(ctx: click.Context, /, name: str) -> None:
    """Make a project the default one (as in CLI v1)."""
    app = app_of(ctx)
    app.client.projects.get(name)
    keep(app, project=name)
    app.say(f"Project {name} has been set as default project")


@config.command("cluster")
@click.argument("name")
@click.pass_context
def config_cluster(ctx: click.Context, /, name: str) -> None:
    """Check that a cluster is the one in use (as in CLI v1)."""
    from runai_core.cli.organization import set_cluster

    ctx.invoke(set_cluster, name=name, uid=None)


@click.command("version")
@json_option
@click.pass_context
def version(ctx: click.Context, /, as_json: bool) -> None:
    """Print the version of this command, and of the orchestrator if one answers."""
    app = app_of(ctx)
    facts: dict[str, Any] = {"version": __version__}
    try:
        facts["orchestrator"] = app.client.status().get("version")
    except RunaiError:
        facts["orchestrator"] = None
    if as_json:
        print_data(facts)
        return
    click.echo(f"Version: {facts['version']}")
    click.echo(f"Orchestrator: {facts['orchestrator'] or 'none answers'}")


@click.command("upgrade")
def upgrade() -> None:
    """Say how to get a newer version: nothing is changed."""
    program = shlex.quote(sys.executable)
    click.echo(f"This is version {__version__}, installed in {sys.prefix}. To upgrade it:")
    click.echo(f"  {program} -m pip install --upgrade runai-core")
    click.echo(
        "An orchestrator of this machine goes on as it is until `runai down`, which ends its pods, and `runai up`."
    )
    click.echo("On a cluster, `runai admin install` of the new version upgrades what is there.")


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    r"""Print the script that completes commands, options and names of projects and workloads.

    \b
    bash:  source <(runai completion bash)
    zsh:   source <(runai completion zsh)
    fish:  runai completion fish | source
    """
    from runai_core.cli.main import cli

    kind = get_completion_class(shell)
    if kind is None:
        raise InvalidRequest.of(FieldError("shell", "must be bash, zsh or fish", shell))
    click.echo(kind(cli, {}, "runai", "_RUNAI_COMPLETE").source())
