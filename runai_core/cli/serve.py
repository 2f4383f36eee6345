"""`runai serve`: the orchestrator in the foreground, until SIGTERM or Ctrl-C."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import click
import uvicorn

from runai_core.bootstrap import Loop, Orchestrator, open_orchestrator
from runai_core.cli.context import app_of
from runai_core.cli.patience import impatient
from runai_core.cli.running import (
    LOG_FILE,
    KeptLog,
    Running,
    find_running,
    is_standard_error,
    note_running,
    note_stopped,
)
from runai_core.model.errors import Conflict, Unauthenticated, Unavailable
from runai_core.service.access import TOKEN_SECONDS, AccessService, Credentials, Token
from runai_core.service.own_identity import write_private
from runai_core.settings import ROLES, Settings, load_settings
from runai_core.web.app import create_app

ACCOUNT = "runai-cli"
"""Name of the service account whose secret is in the credentials file."""

TRUSTED_PROXIES = "FORWARDED_ALLOW_IPS"
"""Uvicorn's variable: addresses whose X-Forwarded headers are believed. Without it nobody's are: who is on this machine
could otherwise pass for any address, and so for many guessers of passwords."""

DRAIN = 2
"""Seconds that open streams get when the server stops."""

PING = 10.0
"""Seconds between pings of a WebSocket, and until one counts as unanswered."""

Ready = Callable[[Running], None]

Tls = tuple[Path, Path]
"""Files of the certificate chain and its key, PEM."""


def serve_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say how an orchestrator runs."""
    for option in (
        click.option(
            "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="How much is logged."
        ),
        click.option(
            "--database-url", help="SQLAlchemy URL of a database; SQLite in the data directory when left out."
        ),
        click.option(
            "--simulated-gpus", type=click.IntRange(0, 1024), help="Pretend that this machine has so many GPUs."
        ),
        click.option(
            "--nodes",
            "nodes_file",
            type=click.Path(),
            help="File with the inventory of nodes; this machine when left out.",
        ),
        click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 is a free one."),
        click.option("--kubeconfig", type=click.Path(), help="Work on the Kubernetes cluster of this file."),
        click.option("--context", "kube_context", help="Its context; the current one when left out."),
        click.option("--host", help="Address to listen on; loopback when left out."),
        click.option("--data-dir", type=click.Path(), help="Where everything is kept (RUNAI_DATA_DIR)."),
    ):
        command = option(command)
    return command


@click.command("serve")
@serve_options
@click.pass_context
def serve(ctx: click.Context, /, **given: Any) -> None:
    """Run the orchestrator in the foreground; SIGTERM or Ctrl-C stops it, with all its pods."""
    settings = load_settings(app_of(ctx).environ, **given)
    run_server(settings, lambda running: click.echo(f"Listening on {running.url}"))


def run_server(settings: Settings, ready: Ready) -> None:
    """Run the orchestrator until it is told to stop; `ready` is called once it answers.

    Raises:
        Conflict: one runs on this data directory already.
        Unavailable: the port or the data directory cannot be used.
    """
    if other := find_running(settings.data_dir):
        raise Conflict(f"an orchestrator runs on {settings.data_dir} already (process {other.pid}, {other.url})")
    log_file = settings.data_dir / LOG_FILE
    logging.basicConfig(
        level=settings.log_level.upper(),
        handlers=[KeptLog(log_file) if is_standard_error(log_file) else logging.StreamHandler()],
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with bound_socket(settings.host, settings.port) as listener:
        asyncio.run(_serve(settings, listener, ready))


def bound_socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        Unavailable: the port is taken, or the address is not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        hint = "choose another one with --port, or --port 0 for a free one"
        raise Unavailable(f"port {port} of {host} cannot be used: {error.strerror or error}; {hint}") from None
    return listener


class Server(uvicorn.Server):
    """A server that leaves signals to us, and says when it answers.

    uvicorn's own handling sends the signal once more when it is done, which
    would end the process before the pods are stopped.
    """

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets)
        self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


async def _serve(settings: Settings, listener: socket.socket, ready: Ready) -> None:
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    async with (
        open_orchestrator(settings, shutdown_pods=True, operator=_operator_of(settings)) as orchestrator,
        fresh_credentials(orchestrator, url),
    ):
        try:
            await answer(create_app(orchestrator), listener, lambda: ready(note_running(settings.data_dir, url)))
        finally:
            note_stopped(settings.data_dir)


async def answer(app: Any, listener: socket.socket, ready: Callable[[], None], tls: Tls | None = None) -> None:
    """Answer what comes to a socket until SIGTERM or Ctrl-C; `ready` is called once it does."""
    server = Server(_config(app, tls), ready)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, server)
    await server.serve(sockets=[listener])


def _config(app: Any, tls: Tls | None) -> uvicorn.Config:
    """Return how the server answers; a WebSocket that is dead without being closed is found by its pings."""
    return uvicorn.Config(
        app,
        http=impatient(),
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        proxy_headers=bool(os.environ.get(TRUSTED_PROXIES)),
        timeout_graceful_shutdown=DRAIN,
        ws_ping_interval=PING,
        ws_ping_timeout=PING,
        ssl_certfile=tls[0] if tls else None,
        ssl_keyfile=tls[1] if tls else None,
    )


def _operator_of(settings: Settings) -> Loop | None:
    """Return what a Kubernetes cluster needs beside the reconciler, where this process does it."""
    if settings.backend != "kubernetes" or "operator" not in ROLES[settings.role]:
        return None
    from runai_core.operator.runner import operate

    return operate


def stop(server: Server) -> None:
    """Have the server end."""
    server.should_exit = True


@contextlib.asynccontextmanager
async def fresh_credentials(orchestrator: Orchestrator, url: str, account: str = ACCOUNT) -> AsyncIterator[None]:
    """Keep the credentials file true: its address, and a token that is good for hours."""
    settings, access = orchestrator.settings, orchestrator.access
    credentials, token = await _credentials(settings, access, account)
    write_credentials(settings, url, token.access_token, credentials)

    async def renew() -> None:
        while True:
            await asyncio.sleep(TOKEN_SECONDS / 2)
            fresh = await access.issue(credentials.client_id, credentials.client_secret)
            write_credentials(settings, url, fresh.access_token, credentials)

    task = asyncio.create_task(renew())
    try:
        yield
    finally:
        task.cancel()


async def _credentials(settings: Settings, access: AccessService, account: str) -> tuple[Credentials, Token]:
    """Return the secret of the last run if it is still good: programs that keep it go on working."""
    try:
        content = json.loads(settings.credentials_file.read_text())
        kept = Credentials(str(content["client_id"]), str(content["client_secret"]))
        return kept, await access.issue(kept.client_id, kept.client_secret)
    except (OSError, ValueError, KeyError, TypeError, Unauthenticated):
        # Replicas on a cluster share their records: none may take the secret away that another one gave out.
        shared = settings.backend == "kubernetes"
        made = await (access.shared_account(account) if shared else access.create_service_account(account))
        return made, await access.issue(made.client_id, made.client_secret)


def write_credentials(settings: Settings, url: str, token: str, credentials: Credentials) -> Path:
    """Write the credentials file, readable by its owner only, and return its path."""
    content = {
        "url": url,
        "token": token,
        "client_id": credentials.client_id,
        "client_secret": credentials.client_secret,
    }
    write_private(settings.credentials_file, json.dumps(content, indent=2) + "\n")
    return settings.credentials_file
