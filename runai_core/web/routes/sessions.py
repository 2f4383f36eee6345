"""Signing in and out with a browser: by link, by password, through a provider; and for a program beside it."""

from typing import Annotated
from urllib.parse import quote, urlencode, urlsplit

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from runai_core.model.errors import RunaiError, Unauthenticated
from runai_core.service.passwords import rules_in_words
from runai_core.service.sessions import Opened
from runai_core.service.sign_in import MustChangePassword
from runai_core.web.answers.identity import TicketAnswer
from runai_core.web.auditing import note_sign_in
from runai_core.web.context import Door, Who
from runai_core.web.errors import status_of
from runai_core.web.gate import COOKIE, LOGIN_COOKIE, address_of, cookie_of, login_secret
from runai_core.web.pages import frame
from runai_core.web.routes.tokens import form

router = frame.page_router()
tickets = APIRouter(prefix="/api/v1", tags=["tokens"])

START = "/workloads"
"""Where a browser goes that was on its way to nowhere else."""

SSO_COOKIE = "runai_sso"
"""Proves that the browser which comes back from a provider is the one that left."""

Text = Annotated[str, Query(max_length=2000)]
Fields = Annotated[dict[str, str], Depends(form)]


@router.get("/login")
async def show_login(
    request: Request,
    door: Door,
    ticket: Text = "",
    next: Text = "",  # noqa: A002
    local: bool = False,  # noqa: FBT001, FBT002  of the address
) -> Response:
    """The form, at once a session where the link has a ticket, or the provider where all sign in there.

    `/login?local=true` is the form in any case: for those who have a password here.
    """
    if ticket:
        try:
            return await _signed_in(request, door, await door.sessions.redeem(ticket), next)
        except Unauthenticated as error:
            return await _form(request, door, next, error=error)
    if not local and (alias := await _straight_to(door)):
        target = urlencode({"next": local_path(next)})
        return RedirectResponse(f"/login/sso/{quote(alias, safe='')}?{target}", 303)
    return await _form(request, door, next)


@router.post("/login")
async def sign_in(request: Request, door: Door, fields: Fields) -> Response:
    """Check name and password."""
    target, name = fields.get("next", ""), fields.get("username", "")
    secret = cookie_of(request.scope, LOGIN_COOKIE)
    if not secret or not door.sessions.is_csrf(secret, fields.get("csrf_token", "")):
        error: RunaiError = Unauthenticated("the form was too old: try again")
        return await _form(request, door, target, error=error, name=name)
    note_sign_in(request, name)
    password, new = fields.get("password", ""), fields.get("new_password", "")
    try:
        actor = await door.sign_in.with_password(name, password, new=new, address=address_of(request))
    except RunaiError as error:
        must = isinstance(error, MustChangePassword) or bool(new)
        return await _form(request, door, target, error=error, name=name, must_change=must)
    return await _signed_in(request, door, await door.sessions.open(actor), target)


@router.get("/login/sso/{alias}")
async def leave(request: Request, door: Door, alias: str, next: Text = "") -> Response:  # noqa: A002
    """Go to an identity provider."""
    try:
        departure = await door.sso.begin(alias, str(request.url_for("arrive")), local_path(next))
    except RunaiError as error:
        return await _form(request, door, next, error=error)
    response = RedirectResponse(departure.url, 303)
    # Lax: the way back is a navigation from the provider's site.
    response.set_cookie(
        SSO_COOKIE,
        departure.browser,
        max_age=900,
        path="/login",
        httponly=True,
        samesite="lax",
        secure=_secure(request),
    )
    return response


@router.get("/login/callback")
async def arrive(
    request: Request, door: Door, state: Text = "", code: Text = "", error: Text = "", error_description: Text = ""
) -> Response:
    """Come back from an identity provider."""
    browser = cookie_of(request.scope, SSO_COOKIE)
    try:
        if error or not code or not browser:
            said = error_description or error or "the provider sent no code"
            raise Unauthenticated(f"the sign-in did not succeed: {said[:200]}")
        arrival = await door.sso.finish(state, code, browser)
    except RunaiError as refused:
        return await _form(request, door, "", error=refused)
    note_sign_in(request, arrival.actor.name)
    response = await _signed_in(request, door, await door.sessions.open(arrival.actor), arrival.target)
    response.delete_cookie(SSO_COOKIE, path="/login")
    return response


@router.post("/logout")
async def sign_out(request: Request, door: Door) -> Response:
    """Close the session; the middleware has checked that the request is the user's own."""
    await door.sessions.close(cookie_of(request.scope, COOKIE))
    away = (await door.tenant_settings.current()).logout_uri
    response: Response = RedirectResponse("/login?local=true", 303)
    if away:  # on a page: the policy of our pages lets no form lead to another site
        response = frame.page(request, "signed_in.html", target=away, said="You are signed out.")
    response.delete_cookie(COOKIE, path="/")
    return response


@router.get("/authorize")
async def ask_for_program(
    request: Request, actor: frame.Viewer, redirect_uri: Text, code_challenge: Text, state: Text = ""
) -> Response:
    """Ask whether a program on the user's machine may act as the user."""
    return frame.page(
        request,
        "authorize.html",
        name=actor.name,
        program=urlsplit(redirect_uri).netloc,
        fields={"redirect_uri": redirect_uri, "code_challenge": code_challenge, "state": state},
    )


@router.post("/authorize")
async def let_program(request: Request, door: Door, actor: frame.Viewer, fields: Fields) -> Response:
    """Hand the program a code: it listens on loopback, and only it can exchange the code."""
    target = fields.get("redirect_uri", "")
    code = await door.sessions.issue_code(actor, challenge=fields.get("code_challenge", ""), redirect_uri=target)
    joined = "&" if urlsplit(target).query else "?"
    url = f"{target}{joined}{urlencode({'code': code, 'state': fields.get('state', '')})}"
    return frame.page(request, "signed_in.html", target=url, said="The program is signed in.")


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


async def _signed_in(request: Request, door: Door, session: Opened, target: str) -> Response:
    """Hand the cookie over on a page that goes on by itself.

    A redirect would not do: a browser that comes from elsewhere (a link in a
    terminal page, an identity provider) sends no SameSite=Strict cookie to the
    place it is redirected to.
    """
    old = cookie_of(request.scope, COOKIE)
    if old:
        await door.sessions.close(old)  # the browser forgets it: nobody else shall find it
    response = frame.page(request, "signed_in.html", target=local_path(target), said="You are signed in.")
    response.set_cookie(
        COOKIE,
        session.cookie,
        max_age=session.seconds,
        path="/",
        httponly=True,
        samesite="strict",
        secure=_secure(request),
    )
    response.delete_cookie(LOGIN_COOKIE, path="/login")
    return response


async def _straight_to(door: Door) -> str:
    """Return the provider to which the sign-in page goes at once; empty for none."""
    settings = await door.tenant_settings.current()
    if not settings.sso_redirect:
        return ""
    known = [alias for alias, _ in await door.sso.names()]
    if settings.sso_alias:
        return settings.sso_alias if settings.sso_alias in known else ""
    return known[0] if len(known) == 1 else ""


async def _form(
    request: Request,
    door: Door,
    target: str,
    *,
    error: RunaiError | None = None,
    name: str = "",
    must_change: bool = False,
) -> Response:
    secret = cookie_of(request.scope, LOGIN_COOKIE) or login_secret()
    response = frame.page(
        request,
        "login.html",
        status=status_of(error) if error else 200,
        next=local_path(target),
        form_token=door.sessions.csrf(secret),
        error=error.message if error else "",
        name=name[:256],
        must_change=must_change,
        rules=rules_in_words(await door.tenant_settings.current()),
        providers=await door.sso.names(),
    )
    response.set_cookie(
        LOGIN_COOKIE, secret, max_age=3600, path="/login", httponly=True, samesite="lax", secure=_secure(request)
    )
    return response


def _secure(request: Request) -> bool:
    return request.url.scheme == "https"
