"""Finding a cluster, and connections to it: the client library's work, with what it does at every request done once.

`kubernetes_asyncio` is imported when a connection is opened: it takes half a second.
"""

import asyncio
import contextlib
import os
import ssl
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from runai_core.model.errors import InvalidRequest

FAREWELL = 0.1
"""Seconds for the connections to say goodbye: a loop that ends before leaves sockets open, and Python warns of them."""


@asynccontextmanager
async def opened(kubeconfig: Path | None, context: str) -> AsyncIterator[tuple[Any, Any]]:
    """Yield the library's configuration of a cluster, whose tokens are kept fresh, and a session over its connections.

    Raises:
        InvalidRequest: the kubeconfig, or the context in it, is wrong.
    """
    from kubernetes_asyncio.client import Configuration
    from kubernetes_asyncio.client.rest import RESTClientObject

    configuration = Configuration()
    refresh = await _configure(configuration, kubeconfig, context)
    try:
        transport = RESTClientObject(configuration, maxsize=0)
    except (ssl.SSLError, OSError) as error:
        raise InvalidRequest(f"the certificates of {kubeconfig or 'the kubeconfig'} cannot be read: {error}") from None
    keeping = asyncio.create_task(refresh) if refresh is not None else None
    try:
        async with _session(transport) as session:
            yield configuration, session
    finally:
        if keeping is not None:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
        await transport.close()
        await asyncio.sleep(FAREWELL)


def options_of(configuration: Any) -> dict[str, Any]:
    """Return what every request needs besides its headers: the proxy, and the name in the server's certificate."""
    options: dict[str, Any] = {}
    if configuration.tls_server_name:
        options["server_hostname"] = configuration.tls_server_name
    proxy = configuration.proxy or _proxy(configuration.host)
    if proxy:
        options["proxy"] = proxy
    return options


def _session(transport: Any) -> Any:
    """Return a session over the library's connections.

    Its own looks at the environment for proxies and passwords, in threads, at
    every request: that takes longer than the request. We look once (`_proxy`).
    """
    import aiohttp

    return aiohttp.ClientSession(
        connector=transport.pool_manager.connector,
        connector_owner=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        read_bufsize=2**21,
    )


def _proxy(host: str) -> str:
    """Return the proxy that the environment names for a server, or nothing."""
    parts = urllib.parse.urlsplit(host)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return ""
    return urllib.request.getproxies().get(parts.scheme, "")


def is_inside(kubeconfig: Path | None, context: str) -> bool:
    """Return whether the cluster is the one that this process runs in."""
    return kubeconfig is None and not context and "KUBERNETES_SERVICE_HOST" in os.environ


async def _configure(configuration: Any, kubeconfig: Path | None, context: str) -> Any:
    """Fill the library's configuration; return what keeps tokens fresh, where something must."""
    from kubernetes_asyncio import config

    try:
        if kubeconfig is None and not context:
            with contextlib.suppress(config.ConfigException):
                config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
                return None
        loader = await config.load_kube_config(
            config_file=str(kubeconfig) if kubeconfig is not None else None,
            context=context or None,
            client_configuration=configuration,
            persist_config=False,
        )
    except (config.ConfigException, OSError, yaml.YAMLError) as error:
        where = kubeconfig or "the default kubeconfig (KUBECONFIG or ~/.kube/config)"
        raise InvalidRequest(f"{where} cannot be used: {error}; give another with --kubeconfig") from None
    return config.refresh_token(loader, configuration) if _expires(loader) else None


def _expires(loader: Any) -> bool:
    """Return whether the user's token comes from a command or a provider that must be asked again."""
    return getattr(loader, "provider", None) == "gcp" or "exec" in (getattr(loader, "_user", None) or ())
