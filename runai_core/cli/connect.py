"""`runai connect`: use the orchestrator that runs on a Kubernetes cluster, with nothing but a kubeconfig."""

import asyncio
from pathlib import Path

import click

from runai_core.cli.account import log_in
from runai_core.cli.admin import context_option, kubeconfig_option
from runai_core.cli.context import app_of
from runai_core.model.errors import InvalidRequest


@click.command("connect")
@kubeconfig_option
@context_option
@click.option(
    "--namespace", default="runai", show_default=True, help="Namespace that the orchestrator is installed in."
)
@click.option("--url", default="", help="Address of its API; that of its load balancer when left out.")
@click.pass_context
def connect(ctx: click.Context, /, kubeconfig: Path | None, context: str, namespace: str, url: str) -> None:
    """Keep address and account of the orchestrator on a cluster, as `runai login` does.

    The kubeconfig must allow commands in the pods of the orchestrator's
    namespace: who can do that administers it anyway. Others get an account
    from an administrator, and use `runai login`.
    """
    address, client_id, client_secret = asyncio.run(_ask(kubeconfig, context, namespace, url.rstrip("/")))
    log_in(app_of(ctx), url=address, client_id=client_id, client_secret=client_secret)


async def _ask(kubeconfig: Path | None, context: str, namespace: str, url: str) -> tuple[str, str, str]:
    from runai_core.backends.kubernetes.api import connect as open_api
    from runai_core.operator.connecting import API_SERVICE, address_of, credentials_of

    async with open_api(kubeconfig, context) as api:
        address = url or await address_of(api, namespace)
        if not address:
            raise InvalidRequest(
                f"service {API_SERVICE} has no address outside the cluster: give one with --url. For a while, "
                f"`kubectl -n {namespace} port-forward service/{API_SERVICE} 8080:80` makes it http://127.0.0.1:8080"
            )
        return (address, *await credentials_of(api, namespace))
