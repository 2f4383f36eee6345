"""The API in process: requests go to the ASGI application, not over the network.

httpx's own ASGI carrier waits for the whole answer; this one hands each piece
on as it comes, so that following a log and watching work in process as well.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx

from runai_core.client.answers import read_close, read_error
from runai_core.client.environment import Connection
from runai_core.client.sockets import AsyncSocket
from runai_core.client.transport import AsyncTransport
from runai_core.model.errors import Unavailable
from runai_core.settings import Settings

Message = MutableMapping[str, Any]
App = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]

BASE_URL = "http://localhost"
_END: Message = {"type": "end"}


@asynccontextmanager
async def open_application(settings: Settings) -> AsyncIterator[tuple[App, Connection]]:
    """Start an orchestrator in this process; leaving the context stops it with all its pods."""
    # One of the three doors where an import may wait: a client over HTTP needs none of this.
    from runai_core.bootstrap import open_orchestrator
    from runai_core.web.app import create_app

    async with open_orchestrator(settings, shutdown_pods=True) as orchestrator:
        account = await orchestrator.access.create_service_account("embedded")
        yield (
            create_app(orchestrator),
            Connection(url=BASE_URL, client_id=account.client_id, client_secret=account.client_secret),
        )


@asynccontextmanager
async def open_embedded(settings: Settings) -> AsyncIterator[AsyncTransport]:
    """Start an orchestrator in this process and return the way to it."""
    async with (
        open_application(settings) as (app, connection),
        AsyncTransport(connection, AsgiCarrier(app), asgi_dialer(app)) as transport,
    ):
        yield transport


class _Exchange:
    """One request in the application: what it says comes out of `said`, what is told to it goes into `heard`."""

    def __init__(self, app: App, scope: Message) -> None:
        self.said: asyncio.Queue[Message] = asyncio.Queue(maxsize=16)
        self.heard: asyncio.Queue[Message] = asyncio.Queue()
        self._task = asyncio.create_task(self._run(app, scope))

    async def _run(self, app: App, scope: Message) -> None:
        # Not in a `finally`: a request that was cancelled has nobody left who would take the end.
        try:
            await app(scope, self.heard.get, self.said.put)
        except Exception:
            await self.said.put(_END)
            raise
        await self.said.put(_END)

    async def close(self) -> None:
        """End the request, as a client does that hangs up."""
        self._task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await self._task


class AsgiCarrier(httpx.AsyncBaseTransport):
    """Carries httpx requests to an ASGI application."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; the answer's body is read as it is made."""
        body = await request.aread()
        exchange = _Exchange(
            self._app, {**_scope("http", str(request.url), request.headers.raw), "method": request.method}
        )
        exchange.heard.put_nowait({"type": "http.request", "body": body, "more_body": False})
        start = await exchange.said.get()
        if start["type"] != "http.response.start":
            await exchange.close()
            raise httpx.ReadError("the application ended without an answer")
        return httpx.Response(start["status"], headers=start.get("headers", []), stream=_Body(exchange))


class _Body(httpx.AsyncByteStream):
    def __init__(self, exchange: _Exchange) -> None:
        self._exchange = exchange

    async def __aiter__(self) -> AsyncIterator[bytes]:
        more = True
        while more:
            message = await self._exchange.said.get()
            if message.get("body"):
                yield message["body"]
            more = message is not _END and message.get("more_body", False)

    async def aclose(self) -> None:
        await self._exchange.close()


class _AsgiSocket:
    def __init__(self, exchange: _Exchange) -> None:
        self._exchange = exchange

    async def recv(self) -> bytes:
        message = await self._exchange.said.get()
        if message["type"] != "websocket.send":
            error = read_close(message.get("code", 1000), message.get("reason") or "")
            if error is not None:
                raise error
            return b""
        return message.get("bytes") or (message.get("text") or "").encode()

    async def send(self, frame: bytes) -> None:
        self._exchange.heard.put_nowait({"type": "websocket.receive", "bytes": frame})


def asgi_dialer(app: App) -> Callable[[str, dict[str, str]], AbstractAsyncContextManager[AsyncSocket]]:
    """Return the function that opens a WebSocket to an ASGI application."""

    @asynccontextmanager
    async def dial(url: str, headers: dict[str, str]) -> AsyncIterator[AsyncSocket]:
        given = {"host": urlsplit(url).netloc, **headers}
        raw = [(name.lower().encode(), value.encode()) for name, value in given.items()]
        extra = {"subprotocols": [], "extensions": {"websocket.http.response": {}}}
        scope = {**_scope("websocket", url, raw), **extra}
        exchange = _Exchange(app, scope)
        exchange.heard.put_nowait({"type": "websocket.connect"})
        try:
            answer = await exchange.said.get()
            if answer["type"] != "websocket.accept":
                raise await _refusal(exchange, answer)
            yield _AsgiSocket(exchange)
        finally:
            exchange.heard.put_nowait({"type": "websocket.disconnect", "code": 1000})
            await exchange.close()

    return dial


async def _refusal(exchange: _Exchange, answer: Message) -> Exception:
    if answer["type"] != "websocket.http.response.start":
        return Unavailable("the server refused the connection")
    body = await exchange.said.get()
    return read_error(answer["status"], body.get("body", b""))


def _scope(kind: str, url: str, headers: list[tuple[bytes, bytes]]) -> Message:
    parts = urlsplit(url)
    return {
        "type": kind,
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "ws" if kind == "websocket" else "http",
        "path": unquote(parts.path),
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(),
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in headers],
        "client": ("127.0.0.1", 0),
        "server": (parts.hostname, parts.port or 80),
    }
