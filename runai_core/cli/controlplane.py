"""`runai control-plane`: serve tenants and their clusters. `runai agent`: connect a cluster to one."""

import asyncio
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from runai_core.cli.context import app_of
from runai_core.cli.output import json_option, print_data, print_table
from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.settings import Settings, load_settings

DEFAULT_TENANT = "default"

CLUSTERS = "/api/v1/clusters"

EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared, not listened on
"""Addresses at which nobody can be found."""

data_dir_option = click.option("--data-dir", type=click.Path(), help="Where everything is kept (RUNAI_DATA_DIR).")
database_option = click.option(
    "--database-url", help="PostgreSQL database that replicas share; files in the data directory when left out."
)


@click.group("control-plane")
def control_plane() -> None:
    """Serve tenants, each with its clusters."""


@control_plane.command("up")
@data_dir_option
@database_option
@click.option("--host", help="Address to listen on; loopback when left out.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 is a free one.")
@click.option("--tls-cert", type=click.Path(), help="Certificate chain of this server, PEM.")
@click.option("--tls-key", type=click.Path(), help="Its key, PEM.")
@click.option("--allowed-hosts", help="Host names that are answered, separated by commas, besides those of tenants.")
@click.option("--replica-url", help="Address of this process for other replicas; where it listens when left out.")
@click.option("--secrets-key-file", type=click.Path(), help="Key of stored credentials; replicas share one.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="How much is logged.")
@click.pass_context
def up(ctx: click.Context, /, tls_cert: str | None, tls_key: str | None, **given: Any) -> None:
    """Run the control plane in the foreground, until SIGTERM or Ctrl-C.

    Where there is no tenant yet, one is made that answers to every name.
    """
    from runai_core.cli.cluster import start_logging
    from runai_core.cli.serve import bound_socket

    settings = _settings(ctx, **given)
    tls = _tls(tls_cert, tls_key)
    if tls is None and settings.host not in ("127.0.0.1", "::1", "localhost"):
        raise InvalidRequest.of(FieldError("--tls-cert", "is required to listen on anything but loopback"))
    start_logging(settings)
    with bound_socket(settings.host, settings.port) as listener:
        asyncio.run(_up(settings, listener, tls))


async def _up(settings: Settings, listener: socket.socket, tls: tuple[Path, Path] | None) -> None:
    from runai_core.bootstrap import Orchestrator
    from runai_core.cli.serve import answer, fresh_credentials
    from runai_core.controlplane.tenants import open_tenants
    from runai_core.web.tenants import Dispatcher, Serving

    host, port = listener.getsockname()[:2]
    url = f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
    reached = settings.replica_url or ("" if host in EVERYWHERE else url)
    settings = replace(settings, replica_url=reached, replica_certificate=tls[0] if tls else None)
    account = f"runai-cli-{_replica(settings.data_dir)}"

    def opened(orchestrator: Orchestrator) -> Any:
        return fresh_credentials(orchestrator, url, account)

    dispatcher, ready = Dispatcher(), asyncio.Event()
    async with open_tenants(settings) as tenants:
        if not await tenants.list():
            await tenants.create(DEFAULT_TENANT, ())
        serving = asyncio.create_task(Serving(tenants, settings, dispatcher, opened).run(ready))
        try:
            await ready.wait()
            await answer(dispatcher, listener, lambda: click.echo(f"Listening on {url}"), tls)
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)


@control_plane.group("tenant")
def tenant() -> None:
    """Tenants: organizations that share nothing."""


@tenant.command("create")
@click.argument("name")
@click.option("--host-name", "hosts", multiple=True, help="Name that its users and clusters ask for; may be repeated.")
@data_dir_option
@database_option
@json_option
@click.pass_context
def create(ctx: click.Context, /, name: str, hosts: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """Create a tenant; a running control plane serves it within a second."""
    from runai_core.controlplane.tenants import FOLDER, open_tenants

    settings = _settings(ctx, **given)

    async def run() -> None:
        async with open_tenants(settings) as tenants:
            await tenants.create(name, hosts)

    asyncio.run(run())
    file = settings.data_dir / FOLDER / name / settings.credentials_file.name
    if as_json:
        print_data({"name": name, "hosts": list(hosts), "credentialsFile": str(file)})
        return
    app_of(ctx).say(f"Created tenant {name}. Once it is served, {file} holds the credentials of its administrator.")


@tenant.command("list")
@data_dir_option
@database_option
@json_option
@click.pass_context
def list_(ctx: click.Context, /, as_json: bool, **given: Any) -> None:
    """List the tenants."""
    from runai_core.controlplane.tenants import open_tenants

    async def run() -> list[dict[str, Any]]:
        async with open_tenants(_settings(ctx, **given)) as tenants:
            return [{"name": item.name, "hosts": list(item.hosts)} for item in await tenants.list()]

    found = asyncio.run(run())
    if as_json:
        print_data(found)
        return
    print_table(("TENANT", "HOST NAMES"), [(item["name"], ", ".join(item["hosts"])) for item in found])


@tenant.command("delete")
@click.argument("name")
@data_dir_option
@database_option
@click.pass_context
def delete(ctx: click.Context, /, name: str, **given: Any) -> None:
    """Stop serving a tenant; its database stays until somebody removes it."""
    from runai_core.controlplane.tenants import open_tenants

    async def run() -> None:
        async with open_tenants(_settings(ctx, **given)) as tenants:
            await tenants.delete(name)

    asyncio.run(run())
    app_of(ctx).say(f"Tenant {name} is not served any more. Its database is still there.")


@control_plane.group("cluster")
def cluster() -> None:
    """Clusters of the tenant that you are logged in to; `runai cluster list` shows them."""


@cluster.command("create")
@click.argument("name")
@click.option("--domain", default="", help="Where its workloads are reached.")
@click.pass_context
def create_cluster(ctx: click.Context, /, name: str, domain: str) -> None:
    """Create a cluster; it waits to be connected."""
    from runai_core.client import requests

    body = {"name": name, "domain": domain}
    app_of(ctx).client.transport.call(requests.send("POST", CLUSTERS, requests.as_it_is, body))
    app_of(ctx).say(
        f"Created cluster {name}. `runai control-plane cluster install-info {name}` says how to connect it."
    )


@cluster.command("install-info")
@click.argument("name")
@click.option("--token-file", type=click.Path(), required=True, help="Where the join token is written, mode 0600.")
@click.pass_context
def install_info(ctx: click.Context, /, name: str, token_file: str) -> None:
    """Write a new join token, good for one cluster and one day, and print the command that uses it."""
    from runai_core.client import requests
    from runai_core.service.own_identity import write_private

    path = f"{CLUSTERS}/{quote(name, safe='')}/cluster-install-info"
    answer = app_of(ctx).client.transport.call(requests.get(path, requests.as_it_is))
    try:
        write_private(Path(token_file).absolute(), answer["joinToken"] + "\n")
    except OSError as error:
        raise InvalidRequest.of(
            FieldError("--token-file", f"cannot be written: {error.strerror}", token_file)
        ) from None
    click.echo(str(answer["installationStr"]).replace("TOKEN_FILE", token_file))


@cluster.command("delete")
@click.argument("name")
@click.pass_context
def delete_cluster(ctx: click.Context, /, name: str) -> None:
    """Forget a cluster and what it reported; what runs there goes on."""
    from runai_core.client import requests

    path = f"{CLUSTERS}/{quote(name, safe='')}"
    app_of(ctx).client.transport.call(requests.send("DELETE", path, requests.as_it_is))
    app_of(ctx).say(f"Deleted cluster {name}.")


@click.command("agent")
@click.option("--control-plane", "control_plane_url", required=True, help="https://... of the control plane.")
@click.option("--join-token-file", type=click.Path(), help="File with a join token; needed for the first connection.")
@click.option(
    "--ca",
    "control_plane_ca",
    type=click.Path(exists=True, dir_okay=False),
    help="Authorities that may sign its certificate, PEM.",
)
@data_dir_option
@click.option("--nodes", "nodes_file", type=click.Path(), help="File with the inventory of nodes.")
@click.option("--simulated-gpus", type=click.IntRange(0, 1024), help="Pretend that this machine has so many GPUs.")
@click.option("--kubeconfig", type=click.Path(), help="Work on the Kubernetes cluster of this file.")
@click.option("--context", "kube_context", help="Its context; the current one when left out.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port of the cluster's own API; 0 is a free one.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="How much is logged.")
@click.pass_context
def agent(ctx: click.Context, /, **given: Any) -> None:
    """Run an orchestrator that is a cluster of a control plane, in the foreground.

    It connects outward only. While the control plane cannot be reached it goes
    on by itself, and takes submissions of its own.
    """
    from runai_core.cli.serve import run_server

    settings = load_settings(app_of(ctx).environ, **given)
    run_server(settings, lambda running: click.echo(f"Listening on {running.url}"))


def _settings(ctx: click.Context, **given: Any) -> Settings:
    settings = load_settings(app_of(ctx).environ, backend="control-plane", role="api", **given)
    if given.get("data_dir") is None and "RUNAI_DATA_DIR" not in app_of(ctx).environ:
        return replace(settings, data_dir=settings.data_dir / "control-plane")  # an orchestrator may use the usual one
    return settings


def _tls(cert: str | None, key: str | None) -> tuple[Path, Path] | None:
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise InvalidRequest.of(FieldError("--tls-key", "--tls-cert and --tls-key are given together"))
    for option, path in (("--tls-cert", cert), ("--tls-key", key)):
        if not Path(path).is_file():
            raise InvalidRequest.of(FieldError(option, "there is no such file", path))
    return Path(cert), Path(key)


def _replica(data_dir: Path) -> str:
    """Return what tells this replica's own account from those of the others."""
    import secrets

    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = data_dir / "replica"
    if not file.exists():
        file.write_text(secrets.token_hex(4))
    return file.read_text().strip()
