"""One address, many tenants: each request goes to the application of the tenant whose host name it asks for.

Applications share nothing, so what one tenant's token, cookie or id means is
unknown to the next.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection

from runai_core.bootstrap import Orchestrator, open_orchestrator
from runai_core.controlplane.tenants import Tenants, settings_of
from runai_core.model.clusters import Tenant
from runai_core.model.errors import NotFound, RunaiError
from runai_core.settings import Settings
from runai_core.web.app import create_app
from runai_core.web.errors import answer
from runai_core.web.middleware import App, Receive, Scope, Send, refuse
from runai_core.web.proxy import tools_domain

log = logging.getLogger(__name__)

LOOK_EVERY = 0.5
"""Seconds between looks for tenants that were created or deleted."""

Opened = Callable[[Orchestrator], AbstractAsyncContextManager[None]]
"""What runs beside a tenant while it is served."""


class Dispatcher:
    """An ASGI application in front of those of the tenants."""

    def __init__(self) -> None:
        self._apps: dict[str, App] = {}  # tenant -> its application
        self._names: dict[str, str] = {}  # host name -> tenant
        self._tools: dict[str, str] = {}  # domain of the tools of a tenant -> tenant

    def add(self, tenant: Tenant, app: App, tools: str = "") -> None:
        """Serve a tenant from now on; its workloads' tools have host names below a domain of its own."""
        self._apps[tenant.name] = app
        self._names |= dict.fromkeys(tenant.hosts, tenant.name)
        if tenant.hosts and tools:
            self._tools[tools] = tenant.name

    def remove(self, name: str) -> None:
        """Serve a tenant no more."""
        self._apps.pop(name, None)
        self._names = {host: tenant for host, tenant in self._names.items() if tenant != name}
        self._tools = {domain: tenant for domain, tenant in self._tools.items() if tenant != name}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            return
        app = self._chosen(scope)
        if app is None:
            hosts = Headers(scope=scope).get("host", "")[:80]
            message = f"no tenant has the host name {hosts}: ask for the address that your administrator gave you"
            await refuse(scope, receive, send, answer(HTTPConnection(scope), NotFound(message)))
            return
        await app(scope, receive, send)

    def _chosen(self, scope: Scope) -> App | None:
        given = Headers(scope=scope).getlist("host")
        if len(given) != 1:
            return None
        host = given[0].lower().strip()
        name = host if host in self._names else host.rpartition(":")[0]
        if name in self._names:
            return self._apps.get(self._names[name])
        domain = host.partition(":")[0].partition(".")[2]
        if domain in self._tools:
            return self._apps.get(self._tools[domain])
        alone = len(self._apps) == 1 and not self._names
        return next(iter(self._apps.values())) if alone else None


class Serving:
    """Opens the tenants of the registry, and closes those that are deleted."""

    def __init__(self, tenants: Tenants, settings: Settings, dispatcher: Dispatcher, opened: Opened) -> None:
        self._tenants = tenants
        self._settings = settings
        self._dispatcher = dispatcher
        self._opened = opened
        self._running: dict[str, tuple[asyncio.Task[None], asyncio.Event]] = {}

    async def run(self, ready: asyncio.Event) -> None:
        """Follow the registry until cancelled; `ready` is set once all tenants that are there are served."""
        try:
            while True:
                with contextlib.suppress(RunaiError):  # the next look may succeed
                    await self._look()
                    ready.set()
                await asyncio.sleep(LOOK_EVERY)
        finally:
            for _task, stop in self._running.values():
                stop.set()
            await asyncio.gather(*(task for task, _ in self._running.values()), return_exceptions=True)

    async def _look(self) -> None:
        found = {item.name: item for item in await self._tenants.list()}
        for name in self._running.keys() - found.keys():
            task, stop = self._running.pop(name)
            self._dispatcher.remove(name)
            stop.set()
            await asyncio.gather(task, return_exceptions=True)
        for name, (task, _) in list(self._running.items()):
            if task.done():  # it could not be opened, or failed: try again
                del self._running[name]
        for name in found.keys() - self._running.keys():
            stop, served = asyncio.Event(), asyncio.Event()
            task = asyncio.create_task(self._serve(found[name], served, stop), name=f"tenant {name}")
            self._running[name] = (task, stop)
            waiting = asyncio.create_task(served.wait())
            await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()

    async def _serve(self, tenant: Tenant, served: asyncio.Event, stop: asyncio.Event) -> None:
        try:
            settings = with_tools(tenant, await asyncio.to_thread(settings_of, tenant, self._settings))
            async with open_orchestrator(settings) as orchestrator, self._opened(orchestrator):
                self._dispatcher.add(tenant, create_app(orchestrator), settings.tools_domain)
                log.info("tenant %s is served", tenant.name)
                served.set()
                await stop.wait()
        except RunaiError as error:
            log.warning("tenant %s cannot be served: %s", tenant.name, error.message)
        except Exception:  # one tenant must not end the others
            log.exception("tenant %s failed", tenant.name)
        finally:
            self._dispatcher.remove(tenant.name)


def with_tools(tenant: Tenant, settings: Settings) -> Settings:
    """Return the settings of a tenant with the domain of its tools: one of its own, where it has a host name."""
    domain = tools_domain(settings)
    return replace(settings, tools_domain=f"{tenant.name}.{domain}" if tenant.hosts and domain else domain)
