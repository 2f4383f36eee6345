"""Finds out who asks, before a route sees the request.

Programs send a bearer token. Browsers send a cookie, and with every request
that changes something the token of their session against forged requests: as
the header `X-CSRF-Token`, or as the field `csrf_token` of a form. Whoever
asks for a page and is not known is sent to `/login`.
"""

import secrets
from collections.abc import Awaitable, Callable
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response

from runai_core.model.errors import Forbidden, RunaiError, Unauthenticated
from runai_core.model.organization import Actor
from runai_core.service.access import AccessService
from runai_core.service.sessions import SessionService
from runai_core.web import lasting
from runai_core.web.errors import answer
from runai_core.web.middleware import App, Receive, Scope, Send, refuse, replay

COOKIE = "runai_session"
LOGIN_COOKIE = "runai_login"
"""Holds what the token of the sign-in form is derived from: there is no session yet."""

CSRF_HEADER, CSRF_FIELD = "x-csrf-token", "csrf_token"

LINK = ("/api/v1/link", "/api/v1/link/join", "/api/v1/link/relay")
"""Where clusters, and replicas, connect: they prove who they are by themselves (`routes.link`)."""

OPEN_PATHS = frozenset(
    {
        "/api/v1/token",
        "/api/v2/token",
        "/v1/k8s/auth/oauth/apptoken",
        "/api/docs",
        "/api/openapi.json",
        "/login",
        "/logo",
        "/healthz",
        "/readyz",
        *LINK,
    }
)
"""Paths that anybody may ask for."""

OPEN_PREFIXES = ("/static/", "/login/")

READING = frozenset({"GET", "HEAD", "OPTIONS"})
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")

NO_TOKEN = "send the header 'Authorization: Bearer <token>'; POST /api/v1/token gives a token"  # noqa: S105  no secret
FORGED = (
    "the request lacks the token of this session: send it as the header X-CSRF-Token or the field csrf_token, "
    "or load the page anew"
)

Right = Callable[[HTTPConnection], Awaitable[None]]
Told = Callable[[HTTPConnection, RunaiError], Response]


class Authenticate:
    """Lets nobody through who is not known, but to the open paths, and ends what lasts when that is over.

    `right` raises where who asks lacks the right of the operation. `told` makes the answer to somebody who is known
    and refused: a page, where one was asked for.
    """

    def __init__(
        self, app: App, access: AccessService, sessions: SessionService, right: Right, told: Told = answer
    ) -> None:
        self._app = app
        self._told = told
        self._access = access
        self._sessions = sessions
        self._right = right

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] not in ("http", "websocket") or is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        try:
            if "authorization" in Headers(scope=scope):  # a token is never helped out by a cookie
                state["actor"] = await self._access.authenticate(_token(scope))
            else:
                receive = await self._by_cookie(scope, receive)
        except Unauthenticated as error:
            await refuse(scope, receive, send, _sign_in(scope, error))
            return
        except RunaiError as error:
            await refuse(scope, receive, send, self._told(HTTPConnection(scope), error))
            return
        await lasting.serve(self._app, scope, receive, send, lambda: self._look_again(scope))

    async def _look_again(self, scope: Scope) -> None:
        """Raise what ends a request under way: who asked is not known any more, or has lost the right."""
        bearer = bearer_of(scope)
        if bearer:
            actor = await self._access.authenticate(bearer)
        else:
            actor = await self._sessions.find(cookie_of(scope, COOKIE))
        scope["state"]["actor"] = actor
        connection = HTTPConnection(scope)
        await self._right(connection)
        await lasting.still_may(connection, actor)

    async def _by_cookie(self, scope: Scope, receive: Receive) -> Receive:
        """Note who is signed in; return where the route reads the body from.

        Raises:
            Unauthenticated: nobody is. Forbidden: the request is not the user's own.
        """
        cookie = cookie_of(scope, COOKIE)
        if not cookie:
            raise Unauthenticated(NO_TOKEN)
        state = scope["state"]
        state["actor"] = await self._sessions.find(cookie, is_used=_is_used(scope))
        state["csrf"] = self._sessions.csrf(cookie)
        if scope["type"] == "websocket" or scope["method"] not in READING:
            _check_origin(scope)
        if scope["type"] == "websocket" or scope["method"] in READING:
            return receive
        given, receive = await _given_csrf(scope, receive)
        if not self._sessions.is_csrf(cookie, given):
            raise Forbidden(FORGED)
        return receive


def _is_used(scope: Scope) -> bool:
    """Return whether a request shows that a person is there: open pages ask for news of themselves."""
    headers = Headers(scope=scope)
    if scope["type"] == "websocket" or scope["method"] not in READING:
        return True
    return "text/html" in headers.get("accept", "") and "hx-request" not in headers


def is_open(path: str) -> bool:
    """Return whether anybody may ask for the path."""
    return (path.rstrip("/") or "/") in OPEN_PATHS or path.startswith(OPEN_PREFIXES)


def actor_of(connection: HTTPConnection) -> Actor | None:
    """Return who asks, where that is known."""
    found = connection.scope.get("state", {}).get("actor")
    return found if isinstance(found, Actor) else None


def address_of(connection: HTTPConnection) -> str:
    """Return the address that a request comes from: that of a proxy unless uvicorn was told to trust it."""
    return connection.client.host if connection.client else ""


def bearer_of(scope: Scope) -> str:
    """Return the bearer token of a request; empty where there is none."""
    return _token(scope) if "authorization" in Headers(scope=scope) else ""


def cookie_of(scope: Scope, name: str) -> str:
    """Return the value of a cookie; empty where there is none, or several (one may be forged by a neighbour)."""
    found: list[str] = []
    for header in Headers(scope=scope).getlist("cookie"):
        for part in header.split(";"):
            key, _, value = part.strip().partition("=")
            if key == name:
                found.append(value.strip('"'))
    return found[0] if len(found) == 1 else ""


def login_secret() -> str:
    """Return a new secret for the sign-in form of one browser."""
    return secrets.token_urlsafe(32)


def _token(scope: Scope) -> str:
    scheme, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated(NO_TOKEN)
    return token.strip()


def _sign_in(scope: Scope, error: Unauthenticated) -> Response:
    """Return the way to the sign-in page for a browser that wants a page, and the error for all others."""
    headers = Headers(scope=scope)
    if headers.get("hx-request"):
        page = urlsplit(headers.get("hx-current-url", ""))
        where = page.path + (f"?{page.query}" if page.query else "")
        response: Response = answer(HTTPConnection(scope), error)
        response.headers["HX-Redirect"] = f"/login?next={quote(where or '/', safe='')}"
        return response
    wants_page = scope.get("method") == "GET" and "text/html" in headers.get("accept", "")
    if scope["type"] != "http" or scope["path"].startswith("/api/") or not wants_page:
        return answer(HTTPConnection(scope), error)
    query = scope.get("query_string", b"").decode("latin-1")
    target = scope["path"] + (f"?{query}" if query else "")
    return RedirectResponse(f"/login?next={quote(target, safe='')}", 303)


def _check_origin(scope: Scope) -> None:
    """Refuse what a page of another origin sent; browsers say which one it was."""
    headers = Headers(scope=scope)
    origin = headers.get("origin")
    same = origin is None or urlsplit(origin).netloc.lower() == headers.get("host", "").lower()
    if not same or headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Forbidden("the request comes from a page of another site, which may not act in your name")


async def _given_csrf(scope: Scope, receive: Receive) -> tuple[str, Receive]:
    """Return the token that the request carries, and where its body can be read again."""
    headers = Headers(scope=scope)
    if (given := headers.get(CSRF_HEADER)) is not None:
        return given, receive
    if not headers.get("content-type", "").lower().startswith(FORMS):
        return "", receive
    body = await Request(scope, receive).body()
    async with Request(scope, replay(body, receive)).form(max_files=20, max_fields=1000) as fields:
        value = fields.get(CSRF_FIELD, "")
    return value if isinstance(value, str) else "", replay(body, receive)
