"""Signing in and out with a browser."""

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from runai_core.model.errors import RunaiError, Unauthenticated
from runai_core.service.sessions import Opened
from runai_core.web.answers.identity import TicketAnswer
from runai_core.web.context import Door, Who
from runai_core.web.errors import status_of
from runai_core.web.gate import COOKIE, LOGIN_COOKIE, cookie_of, login_secret
from runai_core.web.pages import frame
from runai_core.web.routes.tokens import form

router = APIRouter(include_in_schema=False)
tickets = APIRouter(prefix="/api/v1", tags=["tokens"])

START = "/workloads"
"""Where a browser goes that was on its way to nowhere else."""

Text = Annotated[str, Query(max_length=2000)]


@router.get("/login")
async def show_login(request: Request, door: Door, ticket: Text = "", next: Text = "") -> Response:  # noqa: A002
    """The form, or at once a session where the link has a ticket."""
    if ticket:
        try:
            return _signed_in(request, await door.sessions.redeem(ticket), next)
        except Unauthenticated as error:
            return _form(request, door, next, error=error)
    return _form(request, door, next)


@router.post("/login")
async def sign_in(request: Request, door: Door, fields: Annotated[dict[str, str], Depends(form)]) -> Response:
    """Check name and password."""
    target, name = fields.get("next", ""), fields.get("username", "")
    secret = cookie_of(request.scope, LOGIN_COOKIE)
    if not secret or not door.sessions.is_csrf(secret, fields.get("csrf_token", "")):
        error: RunaiError = Unauthenticated("the form was too old: try again")
        return _form(request, door, target, error=error, name=name)
    try:
        actor = await door.sign_in.with_password(name, fields.get("password", ""), address=_address(request))
    except RunaiError as error:
        return _form(request, door, target, error=error, name=name)
    return _signed_in(request, await door.sessions.open(actor), target)


@router.post("/logout")
async def sign_out(request: Request, door: Door) -> Response:
    """Close the session; the middleware has checked that the request is the user's own."""
    await door.sessions.close(cookie_of(request.scope, COOKIE))
    response = RedirectResponse("/login", 303)
    response.delete_cookie(COOKIE, path="/")
    return response


@tickets.post("/sessions/tickets", summary="Ask for a link that signs a browser in, once (ours)")
async def create_ticket(door: Door, actor: Who) -> TicketAnswer:
    """The browser is then signed in as who asks."""
    ticket = await door.sessions.issue_ticket(actor)
    return TicketAnswer(ticket=ticket, path=f"/login?ticket={ticket}")


def local_path(target: str) -> str:
    """Return the path on this host that a link asks for; where it leads elsewhere, the start page."""
    parts = urlsplit(target.replace("\\", "/"))
    plain = target.startswith("/") and not target.startswith("//") and target.isprintable()
    return target if plain and not parts.netloc and not parts.scheme else START


def _signed_in(request: Request, session: Opened, target: str) -> Response:
    """Hand the cookie over on a page that goes on by itself.

    A redirect would not do: a browser that comes from elsewhere (a link in a
    terminal page, an identity provider) sends no SameSite=Strict cookie to the
    place it is redirected to.
    """
    response = frame.page(request, "signed_in.html", target=local_path(target))
    secure = request.url.scheme == "https"
    response.set_cookie(
        COOKIE, session.cookie, max_age=session.seconds, path="/", httponly=True, samesite="strict", secure=secure
    )
    response.delete_cookie(LOGIN_COOKIE, path="/login")
    return response


def _form(request: Request, door: Door, target: str, *, error: RunaiError | None = None, name: str = "") -> Response:
    secret = cookie_of(request.scope, LOGIN_COOKIE) or login_secret()
    response = frame.page(
        request,
        "login.html",
        status=status_of(error) if error else 200,
        next=local_path(target),
        form_token=door.sessions.csrf(secret),
        error=error.message if error else "",
        name=name[:256],
    )
    response.set_cookie(
        LOGIN_COOKIE,
        secret,
        max_age=3600,
        path="/login",
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    return response


def _address(request: Request) -> str:
    return request.client.host if request.client else ""
