"""What every request passes before a route sees it: request id, Host, size, token.

Written as plain ASGI, so that the same checks hold for WebSockets and streams.
From outside to inside: `Identify` (request id, and no error leaves as a
traceback), `CheckHost`, `AnswerHead`, `BufferBody`, and `gate.Authenticate`.
"""

import asyncio
import logging
import re
import uuid
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import Response

from runai_core.model.errors import FieldError, InvalidRequest, RunaiError, TooLarge
from runai_core.web.errors import Json, answer, request_id
from runai_core.wire import MAX_DEPTH

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

log = logging.getLogger(__name__)

LOOPBACK = ("localhost", "127.0.0.1", "[::1]", "::1")
"""Names of this machine that are always accepted in the Host header."""

_BRACKET = re.compile(r'"(?:[^"\\]|\\.?)*+"?|[][{}]', re.DOTALL)
"""A text, whose brackets do not count, or a bracket; never goes back, so that it is as fast on any body."""

FILES = "multipart/form-data"
"""Forms with files, which need not be text; pages read them, and leave out of their fields what no text may hold."""

BODY_SECONDS = 60.0
"""How long the body of a request may take to come."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]*)(?::[0-9]{1,5})?")
_SURROGATE = re.compile(r"\\u[dD][89abcdefABCDEF]")
_PAIR = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")


class Identify:
    """Gives each request an id, and turns an error nobody expected into a plain 500."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        identity = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = identity
        started = False

        async def stamped(message: Message) -> None:
            nonlocal started
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                started = True
                MutableHeaders(scope=message)["X-Request-Id"] = identity
            started = started or message["type"] == "websocket.accept"
            await send(message)

        try:
            await self._app(scope, receive, stamped)
        except Exception:
            log.exception("request %s: %s %s failed", identity, scope.get("method", scope["type"]), scope["path"])
            if not started:
                await refuse(scope, receive, stamped, _unexpected(identity))


class CheckHost:
    """Refuses names that are not ours: a page of another site must not reach us through its own DNS."""

    def __init__(self, app: App, allowed: Sequence[str]) -> None:
        self._app = app
        self._allowed = frozenset(name.lower() for name in allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] in ("http", "websocket"):
            given = Headers(scope=scope).get("host", "")
            match = _HOST.fullmatch(given)
            if match is None or match[1].lower() not in self._allowed:
                message = f"must be one of {', '.join(sorted(self._allowed))}; set RUNAI_ALLOWED_HOSTS to add one"
                error = InvalidRequest.of(FieldError("Host header", message, given[:80]))
                await refuse(scope, receive, send, answer(HTTPConnection(scope), error))
                return
        await self._app(scope, receive, send)


class AnswerHead:
    """Answers HEAD as GET would be answered; the server that sends it leaves the body out."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope.get("method") == "HEAD":
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)


class BufferBody:
    """Reads the body before the route does: over the limit, or not text that can be kept, it is refused."""

    def __init__(self, app: App, limit: int, seconds: float = BODY_SECONDS) -> None:
        self._app = app
        self._limit = limit
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._seconds):
                body = await self._read(scope, receive)
        except TimeoutError:
            error = InvalidRequest(f"the body did not come within {self._seconds:g} seconds")
            await refuse(scope, receive, send, answer(HTTPConnection(scope), error))
            return
        except RunaiError as error:
            await refuse(scope, receive, send, answer(HTTPConnection(scope), error))
            return
        if body is not None:
            await self._app(scope, replay(body, receive), send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        """Return the body; None when the client went away."""
        length = Headers(scope=scope).get("content-length", "0")
        if not length.isdigit() or int(length) > self._limit:
            raise self._too_large()
        body, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self._limit:
                raise self._too_large()
        if Headers(scope=scope).get("content-type", "").lower().startswith(FILES):
            return bytes(body)
        text = _text_of(bytes(body))
        if "json" in Headers(scope=scope).get("content-type", ""):
            _check_depth(text)
        return bytes(body)

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the body is larger than {self._limit} bytes, the most that is accepted")


def _text_of(body: bytes) -> str:
    """Return the text; refuse what could be read as JSON and never be stored: other bytes, half characters, NUL."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest.of(FieldError("body", f"must be UTF-8; byte {error.start} is not")) from None
    if "\\u" not in text:
        return text
    escapes = text.replace(r"\\", "")  # an escaped backslash begins no escape
    if r"\u0000" in escapes:
        raise InvalidRequest.of(FieldError("body", r"must not contain the character NUL (\u0000)"))
    if _SURROGATE.search(_PAIR.sub("", escapes)):
        raise InvalidRequest.of(FieldError("body", r"must not contain half of a surrogate pair (\ud800 to \udfff)"))
    return text


def _check_depth(text: str) -> None:
    """Refuse JSON that is nested deeper than anything that is meant: who walks it calls itself once for each level."""
    if text.count("{") + text.count("[") <= MAX_DEPTH:
        return
    depth = 0
    for match in _BRACKET.finditer(text):
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(match[0], 0)
        if depth > MAX_DEPTH:
            raise InvalidRequest.of(FieldError("body", f"must not be nested deeper than {MAX_DEPTH} levels"))


def replay(body: bytes, receive: Receive) -> Receive:
    """Return a source that gives a body that was read before once more."""
    sent = False

    async def replayed() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


def _unexpected(identity: str) -> Json:
    body = {
        "code": 500,
        "message": f"something went wrong that should not have; look for {identity} in the orchestrator's log",
        "details": None,
        "reason": "InternalError",
        "requestId": identity,
    }
    return Json(body, 500)


async def refuse(scope: Scope, receive: Receive, send: Send, response: Response) -> None:
    """Send a response, also to a client that wanted a WebSocket."""
    if scope["type"] == "websocket" and "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008, "reason": request_id(HTTPConnection(scope))})
        return
    await response(scope, receive, send)
