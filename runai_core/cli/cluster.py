"""`runai operator` and `runai api`: the processes of a cluster, as the manifests start them and as tests do."""

import asyncio
import logging
import signal
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from runai_core.cli.context import app_of
from runai_core.settings import Settings, load_settings

if TYPE_CHECKING:
    from runai_core.operator.runner import Doors

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@click.command("operator")
@click.option("--kubeconfig", type=click.Path(), help="File that says where the cluster is; in a pod, its own cluster.")
@click.option("--context", "kube_context", help="Its context; the current one when left out.")
@click.option("--namespace", default="runai", show_default=True, help="Namespace that we are installed in.")
@click.option("--health-host", default="127.0.0.1", show_default=True, help="Address of /healthz, /readyz, /metrics.")
@click.option("--health-port", type=click.IntRange(0, 65535), default=8081, show_default=True)
@click.option("--webhook-host", default="127.0.0.1", show_default=True, help="Address of the webhooks.")
@click.option("--webhook-port", type=click.IntRange(0, 65535), default=9443, show_default=True)
@click.option("--no-webhook", is_flag=True, help="Answer no webhooks.")
@click.option("--data-dir", type=click.Path(), help="Where records are kept, if no database is given.")
@click.option("--database-url", help="SQLAlchemy URL of the database that the processes share.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="How much is logged.")
@click.pass_context
def operator(ctx: click.Context, /, **given: Any) -> None:
    """Run the operator of a cluster in the foreground, until SIGTERM or Ctrl-C.

    It turns workloads into pods, projects into namespaces and queues, groups
    the pods of others, and answers the admission webhooks. Of several
    replicas one leads; all answer webhooks.
    """
    from runai_core.operator.runner import Doors

    doors = Doors(
        health_host=given.pop("health_host"),
        health_port=given.pop("health_port"),
        webhook_host=given.pop("webhook_host"),
        webhook_port=None if given.pop("no_webhook") else given["webhook_port"],
        namespace=given["namespace"],
    )
    given.pop("webhook_port")
    settings = load_settings(app_of(ctx).environ, backend="kubernetes", role="operator", **given)
    if given["data_dir"] is None and "RUNAI_DATA_DIR" not in app_of(ctx).environ:
        # An SQLite file is for one process, and an orchestrator of this machine may use the usual place.
        settings = replace(settings, data_dir=settings.data_dir / "operator")
    start_logging(settings)
    asyncio.run(_operate(settings, doors))


def start_logging(settings: Settings) -> None:
    """Log to standard error."""
    logging.basicConfig(level=settings.log_level.upper(), stream=sys.stderr, format=LOG_FORMAT)
    for name in ("alembic", "httpx", "uvicorn"):
        logging.getLogger(name).setLevel(logging.WARNING)


async def _operate(settings: Settings, doors: "Doors") -> None:
    from runai_core.operator.runner import open_operator

    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with open_operator(settings, doors) as opened:
        click.echo(f"Probes and metrics on http://{doors.health_host}:{opened.health}")
        if opened.webhook is not None:
            click.echo(f"Webhooks on https://{doors.webhook_host}:{opened.webhook}")
        await stopped.wait()


@click.command("api")
@click.option("--kubeconfig", type=click.Path(), help="File that says where the cluster is; in a pod, its own cluster.")
@click.option("--context", "kube_context", help="Its context; the current one when left out.")
@click.option("--host", help="Address to listen on; loopback when left out.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 is a free one.")
@click.option("--data-dir", type=click.Path(), help="Where records are kept, if no database is given.")
@click.option("--database-url", help="SQLAlchemy URL of the database that the processes share.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="How much is logged.")
@click.pass_context
def api(ctx: click.Context, /, **given: Any) -> None:
    """Run the web pages and the REST API of a cluster in the foreground; others schedule and operate."""
    # Imported here: the web application takes longer to load than the other commands to run.
    from runai_core.cli.serve import run_server

    settings = load_settings(app_of(ctx).environ, backend="kubernetes", role="api", **given)
    run_server(settings, lambda running: click.echo(f"Listening on {running.url}"))
