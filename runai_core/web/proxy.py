"""Tools of workloads, each under a host name of its own: ``t-<port>-<workload id>.<tools domain>``.

What a tool serves is somebody's program. Under our own host name its scripts
could call the API in the name of whoever looks at it; a sandbox without an
origin would break the tools, which need cookies and storage. So a tool has
another host name: the browser keeps it apart from us and from other tools, the
session's cookie never reaches it, and a cookie for this one port does.

Browsers find ``*.localhost`` at this machine by themselves; elsewhere
`RUNAI_TOOLS_DOMAIN` names a domain whose every name leads here.
"""

import asyncio
import contextlib
import html
import ipaddress
import re
from collections.abc import AsyncIterator, Iterable
from socket import socket as Socket  # noqa: N812 - here sockets are WebSockets
from urllib.parse import parse_qs, quote, urlsplit

import httpcore
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from runai_core.model.errors import Forbidden, RunaiError, Unauthenticated, Unavailable
from runai_core.ports import Connect
from runai_core.service.reaching import Place, parse_place
from runai_core.service.tools import ToolService
from runai_core.settings import Settings
from runai_core.web import lasting
from runai_core.web.errors import status_of
from runai_core.web.gate import cookie_of
from runai_core.web.tunnels import HttpStream, as_socket

COOKIE = "runai_tool"
ENTER = "/_runai/enter"
OURS = "runai_"
"""How the names of our own cookies begin: they are for us and go no further, in neither direction."""

_TOOL_HOST = re.compile(
    r"t-(?P<port>[0-9]{1,5})-(?P<uid>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.(?P<domain>[a-z0-9.-]+)(?::[0-9]{1,5})?"
)

HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that are for the next neighbour only (RFC 9110, section 7.6.1)."""

FORWARDED = frozenset({"forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"})
"""Headers that we write ourselves: whatever a client says there is not to be believed."""

SOCKET_HEADERS = frozenset(
    {"sec-websocket-key", "sec-websocket-version", "sec-websocket-extensions", "sec-websocket-protocol"}
)

OPEN_SECONDS = 10.0
"""Longest that a tool may take to answer to a WebSocket."""

BROKEN = (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException)
"""What a tool can do wrong before it has answered."""

PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def tools_domain(settings: Settings) -> str:
    """Return the domain below which tools have their host names; empty where there is none."""
    if settings.tools_domain:
        return settings.tools_domain.lower().strip(".")
    return "localhost" if _is_loopback(settings.host) else ""


def tool_url(place: Place, domain: str, home: str, ticket: str, rest: str) -> str:
    """Return the address that opens a tool; `home` is the address under which we were asked."""
    parts = urlsplit(home)
    port = f":{parts.port}" if parts.port else ""
    query = f"ticket={quote(ticket)}&to={quote('/' + rest.lstrip('/'), safe='')}"
    return f"{parts.scheme}://t-{place.port}-{place.uid}.{domain}{port}{ENTER}?{query}"


class ToolProxy:
    """Answers under the host names of tools, and leaves all other requests alone."""

    def __init__(self, app: ASGIApp, tools: ToolService, domain: str) -> None:
        self._app = app
        self._tools = tools
        self._domain = domain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        match = _TOOL_HOST.fullmatch(Headers(scope=scope).get("host", "").lower()) if "headers" in scope else None
        if match is None or not self._domain or match["domain"] != self._domain:
            await self._app(scope, receive, send)
            return
        try:
            place = parse_place(match["port"], match["uid"])
            if scope["type"] == "websocket":
                serve: ASGIApp = await self._socket(WebSocket(scope, receive, send), place)
            else:
                serve = await self._answer(Request(scope, receive), place)
        except ClientDisconnect:
            return
        except RunaiError as error:
            await _refuse(scope, receive, send, error)
            return
        await lasting.serve(serve, scope, receive, send, lambda: self._admitted(HTTPConnection(scope), place))

    async def _answer(self, request: Request, place: Place) -> Response:
        if request.url.path == ENTER:
            return await self._enter(request, place)
        connect = await self._admitted(request, place)
        headers = [*passed_on(request.headers.items()), *_told(request)]
        if "transfer-encoding" in request.headers:
            headers.append(("transfer-encoding", "chunked"))
        has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
        asked = httpcore.Request(
            request.method,
            httpcore.URL(scheme=b"http", host=b"workload", port=place.port, target=_raw_path(request.scope).encode()),
            headers=[(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers],
            content=request.stream() if has_body else None,
        )
        line = httpcore.AsyncHTTP11Connection(asked.url.origin, HttpStream(await connect()))
        try:
            answer = await line.handle_async_request(asked)
        except BROKEN as error:
            await line.aclose()
            raise Unavailable(f"the tool does not answer: {str(error) or type(error).__name__}") from None
        except BaseException:
            await line.aclose()
            raise
        response = StreamingResponse(_pieces(line, answer), answer.status)
        response.raw_headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in _brought(answer)]
        return response

    async def _enter(self, request: Request, place: Place) -> Response:
        """Turn a ticket into the cookie, on a page that goes on by itself: a redirect would not send it (SameSite)."""
        query = parse_qs(request.url.query)
        cookie = await self._tools.redeem((query.get("ticket") or [""])[0], place)
        target = (query.get("to") or ["/"])[0]
        if not target.startswith("/") or target.startswith("//") or "\\" in target or not target.isprintable():
            target = "/"
        page = f'<!doctype html><meta http-equiv="refresh" content="0;url={html.escape(target)}"><title>Opening</title>'
        response = HTMLResponse(page, headers=PAGE_HEADERS)
        secure = request.url.scheme == "https"
        response.set_cookie(COOKIE, cookie, path="/", httponly=True, samesite="strict", secure=secure)
        return response

    async def _admitted(self, connection: HTTPConnection, place: Place) -> Connect:
        """Return the way to the tool.

        Raises:
            Unauthenticated: it was not opened from here. Forbidden: another page acts, not the user.
        """
        _check_site(connection)
        cookie = cookie_of(connection.scope, COOKIE)
        if not cookie:
            raise Unauthenticated("open the tool from the workload's page")
        actor = await self._tools.enter(cookie, place)
        return await self._tools.way(actor, place)

    async def _socket(self, socket: WebSocket, place: Place) -> ASGIApp:
        connection = await (await self._admitted(socket, place))()

        async def talk(scope: Scope, receive: Receive, send: Send) -> None:
            socket = WebSocket(scope, receive, send)
            try:
                async with as_socket(connection) as line:
                    await _join(socket, line)
            except (OSError, WebSocketException) as error:
                if socket.application_state is WebSocketState.CONNECTING:
                    gone = Unavailable(f"the tool does not answer: {type(error).__name__}")
                    await _refuse(scope, receive, send, gone)

        return talk


async def _join(socket: WebSocket, line: Socket) -> None:
    """Connect a browser's WebSocket with that of a tool, until one side ends."""
    headers = [
        (name, value)
        for name, value in (*passed_on(socket.headers.items()), *_told(socket))
        if name not in SOCKET_HEADERS and name not in ("host", "origin")
    ]
    async with connect(
        f"ws://{socket.headers['host']}{_raw_path(socket.scope)}",  # the tool shall see the host that was asked for
        sock=line,
        additional_headers=headers,
        origin=None,
        subprotocols=[Subprotocol(name) for name in socket.scope.get("subprotocols", ())] or None,
        open_timeout=OPEN_SECONDS,
        max_size=None,
        compression=None,
        proxy=None,
    ) as remote:
        await socket.accept(remote.subprotocol)
        await _converse(socket, remote)


def passed_on(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the headers of a request that the tool may see: not the neighbour's, not ours, not our cookies."""
    given = [(name.lower(), value) for name, value in headers]
    named = {part.strip().lower() for name, value in given if name == "connection" for part in value.split(",")}
    found = []
    for name, value in given:
        if name in HOP_BY_HOP or name in FORWARDED or name in named:
            continue
        if name == "cookie":
            kept = [part.strip() for part in value.split(";") if not part.strip().startswith(OURS)]
            if kept:
                found.append((name, "; ".join(kept)))
            continue
        found.append((name, value))
    return found


def brought_back(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the headers of an answer that the browser may see: no cookie that is ours, or meant for other hosts."""
    given = [(name.lower(), value) for name, value in headers]
    named = {part.strip().lower() for name, value in given if name == "connection" for part in value.split(",")}
    return [
        (name, value)
        for name, value in given
        if name not in HOP_BY_HOP and name not in named and not (name == "set-cookie" and _is_refused(value))
    ]


def _is_refused(cookie: str) -> bool:
    first, *attributes = cookie.split(";")
    names = {part.partition("=")[0].strip().lower() for part in attributes}
    return first.strip().lower().startswith(OURS) or "domain" in names


def _brought(answer: httpcore.Response) -> list[tuple[str, str]]:
    headers = brought_back((name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.headers)
    return [*headers, ("content-security-policy", "frame-ancestors 'self'"), ("referrer-policy", "same-origin")]


def _told(connection: HTTPConnection) -> list[tuple[str, str]]:
    client = connection.client.host if connection.client else ""
    scheme = {"ws": "http", "wss": "https"}.get(connection.url.scheme, connection.url.scheme)
    return [
        ("x-forwarded-for", client),
        ("x-forwarded-host", connection.headers["host"]),
        ("x-forwarded-proto", scheme),
    ]


def _check_site(connection: HTTPConnection) -> None:
    """Refuse what a page of another host sent: tools below one domain are one site to cookies."""
    origin = connection.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != connection.headers["host"].lower():
        raise Forbidden("another page acts here, not you")
    site = connection.headers.get("sec-fetch-site", "same-origin")
    is_navigation = connection.headers.get("sec-fetch-mode") == "navigate" and connection.scope.get("method") == "GET"
    if site not in ("same-origin", "none") and not is_navigation:
        raise Forbidden("another page acts here, not you")


async def _pieces(line: httpcore.AsyncHTTP11Connection, answer: httpcore.Response) -> AsyncIterator[bytes]:
    try:
        async for piece in answer.aiter_stream():
            yield piece
    finally:
        await answer.aclose()
        await line.aclose()


async def _converse(socket: WebSocket, remote: ClientConnection) -> None:
    """Carry messages both ways until one side ends; then end the other."""
    tasks = {asyncio.create_task(_to_tool(socket, remote)), asyncio.create_task(_to_browser(socket, remote))}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    with contextlib.suppress(RuntimeError, WebSocketDisconnect):
        code = remote.close_code or 1000
        await socket.close(code if 3000 <= code < 5000 else 1000)


async def _to_tool(socket: WebSocket, remote: ClientConnection) -> None:
    while (message := await socket.receive())["type"] == "websocket.receive":
        text = message.get("text")
        await remote.send(text if text is not None else message["bytes"])


async def _to_browser(socket: WebSocket, remote: ClientConnection) -> None:
    async for message in remote:
        if isinstance(message, str):
            await socket.send_text(message)
        else:
            await socket.send_bytes(message)


async def _refuse(scope: Scope, receive: Receive, send: Send, error: RunaiError) -> None:
    if scope["type"] == "websocket" and "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008, "reason": ""})
        return
    page = f"<!doctype html><title>Tool</title><p>{html.escape(error.message)}</p>"
    response = HTMLResponse(page, status_of(error), headers=PAGE_HEADERS)
    if scope["type"] == "websocket":
        await WebSocket(scope, receive, send).send_denial_response(response)
        return
    await response(scope, receive, send)


def _raw_path(scope: Scope) -> str:
    """Return path and query as they were sent: decoding them could change what they mean."""
    raw = scope.get("raw_path") or quote(scope["path"]).encode()
    path = raw.partition(b"?")[0].decode("latin-1")
    query = scope.get("query_string", b"").decode("latin-1")
    return f"{path}?{query}" if query else path


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
