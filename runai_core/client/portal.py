"""The API in process for the synchronous client: an event loop in a thread of its own carries the requests."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal

from runai_core.client.embedded import App, AsgiCarrier, asgi_dialer, open_application
from runai_core.client.environment import Connection
from runai_core.client.sockets import AsyncSocket
from runai_core.client.sync.sockets import Socket
from runai_core.client.sync.transport import Transport
from runai_core.settings import Settings


@contextmanager
def open_embedded(settings: Settings) -> Iterator[Transport]:
    """Start an orchestrator in a thread of this process and return the way to it."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(open_application(settings)) as (app, connection),
        transport_through(portal, app, connection) as transport,
    ):
        yield transport


def transport_through(portal: BlockingPortal, app: App, connection: Connection) -> Transport:
    """Return a transport whose requests are carried by the portal's event loop."""
    return Transport(connection, _PortalCarrier(portal, AsgiCarrier(app)), _portal_dialer(portal, app))


class _PortalCarrier(httpx.BaseTransport):
    def __init__(self, portal: BlockingPortal, carrier: AsgiCarrier) -> None:
        self._portal = portal
        self._carrier = carrier

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self._portal.call(self._carrier.handle_async_request, request)
        stream = response.stream
        if not isinstance(stream, httpx.AsyncByteStream):
            raise TypeError("an ASGI answer is an asynchronous stream")
        return httpx.Response(response.status_code, headers=response.headers, stream=_PortalBody(self._portal, stream))


class _PortalBody(httpx.SyncByteStream):
    def __init__(self, portal: BlockingPortal, stream: httpx.AsyncByteStream) -> None:
        self._portal = portal
        self._stream = stream
        self._pieces = stream.__aiter__()

    def __iter__(self) -> Iterator[bytes]:
        while (piece := self._portal.call(self._next)) is not None:
            yield piece

    async def _next(self) -> bytes | None:
        return await anext(self._pieces, None)

    def close(self) -> None:
        self._portal.call(self._stream.aclose)


class _PortalSocket:
    def __init__(self, portal: BlockingPortal, socket: AsyncSocket) -> None:
        self._portal = portal
        self._socket = socket

    def recv(self) -> bytes:
        return self._portal.call(self._socket.recv)

    def send(self, frame: bytes) -> None:
        self._portal.call(self._socket.send, frame)


def _portal_dialer(portal: BlockingPortal, app: App) -> Callable[[str, dict[str, str]], AbstractContextManager[Socket]]:
    @contextmanager
    def dial(url: str, headers: dict[str, str]) -> Iterator[Socket]:
        with portal.wrap_async_context_manager(asgi_dialer(app)(url, headers)) as socket:
            yield _PortalSocket(portal, socket)

    return dial
