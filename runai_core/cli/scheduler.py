"""`runai scheduler`: place pods of a Kubernetes cluster."""

import asyncio
import logging
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path

import click


@click.command("scheduler")
@click.option("--kubeconfig", type=click.Path(), help="The cluster's file; in a cluster, or as kubectl, when left out.")
@click.option("--context", "kube_context", default="", help="Its context; the current one when left out.")
@click.option("--leader-elect/--no-leader-elect", default=True, help="Let one of several replicas schedule.")
@click.option("--host", "--health-host", default="127.0.0.1", help="Address of the probes and metrics.")
@click.option(
    "--port", "--health-port", type=click.IntRange(0, 65535), default=8081, help="Their port; 0 is a free one."
)
@click.option("--node-pool", "node_pools", multiple=True, help="Schedule only this node pool; may be repeated.")
@click.option(
    "--scheduler-name", default="runai-scheduler", show_default=True, help="Which pods: those that name this scheduler."
)
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info")
def scheduler(  # noqa: PLR0913 - options
    *,
    kubeconfig: str | None,
    kube_context: str,
    leader_elect: bool,
    host: str,
    port: int,
    node_pools: tuple[str, ...],
    scheduler_name: str,
    log_level: str,
) -> None:
    """Place pods on the nodes of a Kubernetes cluster, until SIGTERM or Ctrl-C.

    Pods that name the scheduler runai-scheduler are placed gang by gang, as
    their PodGroups and Queues say. Several replicas may run; one schedules.
    """
    from runai_core.operator.scheduler import run_scheduler

    logging.basicConfig(
        level=log_level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    work = run_scheduler(
        Path(kubeconfig).expanduser() if kubeconfig else None,
        kube_context,
        leader_elect=leader_elect,
        host=host,
        port=port,
        node_pools=node_pools,
        scheduler=scheduler_name,
    )
    asyncio.run(_until_told(work))


async def _until_told(work: Coroutine[None, None, None]) -> None:
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        click.echo("Stopped.", err=True)
