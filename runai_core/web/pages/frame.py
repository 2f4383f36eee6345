"""The frame of every page: who looks, the layout, headers, and errors in words.

A page is a function that asks a service and hands values to a template. All
templates escape what they are given; the content security policy allows no
script, style or address but our own files, so that text which somebody typed
stays text.
"""

import functools
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, unquote

import jinja2
from fastapi import APIRouter, Depends
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from runai_core import __version__
from runai_core.model.errors import InvalidRequest, NotFound, RunaiError, Unauthenticated
from runai_core.model.organization import Actor
from runai_core.web import errors
from runai_core.web.errors import field_errors, request_id, status_of
from runai_core.web.pages import files, shown
from runai_core.web.pages.rights import may_somewhere

TEMPLATES = Path(__file__).parent.parent / "templates"

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Content security policy of every page: our own files, nothing written into a page, no other host."""

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Vary": "HX-Request",
}

THEMES = ("light", "dark")


@dataclass(frozen=True, slots=True)
class Link:
    """An entry of the navigation, for those who may read such things."""

    path: str
    text: str
    reads: str = ""  # resource type; empty: for everybody


NAVIGATION: tuple[tuple[str, tuple[Link, ...]], ...] = (
    ("", (Link("/overview", "Overview", "dashboards-overview"), Link("/workloads", "Workloads", "workloads"))),
    (
        "Organization",
        (
            Link("/projects", "Projects", "project"),
            Link("/departments", "Departments", "department"),
            Link("/policies", "Policies", "policies"),
            Link("/access-rules", "Access rules", "access_rules"),
            Link("/users", "Users", "users"),
            Link("/audit", "Audit log", "events-history"),
        ),
    ),
    (
        "Resources",
        (
            Link("/node-pools", "Node pools", "nodepools"),
            Link("/nodes", "Nodes", "nodes"),
            Link("/topologies", "Network topologies", "network-topologies"),
            Link("/clusters", "Clusters", "cluster"),
            Link("/assets", "Assets"),
            Link("/templates", "Templates", "templates"),
        ),
    ),
    ("More", (Link("/reports", "Reports", "dashboards-consumption"), Link("/settings", "Settings"))),
)
"""Groups of pages. A page that the application does not have, or that would be refused, is left out."""


def viewer(connection: HTTPConnection) -> Actor:
    """Return who looks at the page.

    Raises:
        Unauthenticated: nobody has logged in; the frame sends them to do so.
    """
    actor = getattr(connection.state, "actor", None)
    if not isinstance(actor, Actor):
        raise Unauthenticated("log in first")
    return actor


Viewer = Annotated[Actor, Depends(viewer)]


class PageRoute(APIRoute):
    """A route whose errors are pages too."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler that answers requests."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except RunaiError as error:
                return error_page(request, error)
            except RequestValidationError as error:
                return error_page(request, InvalidRequest.of(*field_errors(error.errors(), None)))

        return answer


def page_router(prefix: str = "") -> APIRouter:
    """Return a router for pages: its errors are pages, and the API's documentation leaves it out."""
    return APIRouter(prefix=prefix, route_class=PageRoute, include_in_schema=False)


router = page_router()


@router.get("/")
async def home(_viewer: Viewer) -> Response:
    """Send visitors to their workloads."""
    return RedirectResponse("/workloads", 303)


@router.get("/static/{digest}/{name}")
async def static_file(digest: str, name: str) -> Response:
    """Return one of our own files; they need no session."""
    return files.serve(digest, name)


def page(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a page, or a part of one for htmx, with the headers that every page has."""
    theme = request.cookies.get("runai_theme", "")
    context = {
        "actor": getattr(request.state, "actor", None),
        "csrf": getattr(request.state, "csrf", ""),
        "navigation": _navigation(request),
        "path": request.url.path,
        "theme": theme if theme in THEMES else "",
        "release": __version__,  # of the software; `version` is for pages: of what they show
        "notice": _notice(request),
        "now": _now(request),
        "may": functools.partial(may_somewhere, request),
    }
    html = environment().get_template(template).render(context | values)
    response = HTMLResponse(html, status, headers=dict(HEADERS))
    if context["notice"]:
        response.delete_cookie(NOTICE, path="/")
    return response


def is_partial(request: Request) -> bool:
    """Say whether htmx asks for a part of the page that is open."""
    return request.headers.get("hx-request") == "true" and request.headers.get("hx-boosted") != "true"


NOTICE = "runai_notice"
"""Cookie that carries one sentence to the next page."""


def go_to(request: Request, path: str, notice: str = "") -> Response:
    """Send the browser on after a change, with a sentence that the next page shows once."""
    if request.headers.get("hx-request") == "true":
        response = Response(status_code=204, headers={"HX-Redirect": path})
    else:
        response = RedirectResponse(path, 303)
    if notice:
        # Not a place for secrets: it is shown to whoever holds the browser.
        response.set_cookie(
            NOTICE, quote(notice[:800], safe=""), max_age=60, path="/", httponly=True, samesite="strict"
        )
    return response


def error_page(request: Request, error: RunaiError) -> Response:
    """Return the page that tells an error; who is not logged in is sent to log in."""
    if isinstance(error, Unauthenticated) and getattr(request.state, "actor", None) is None:
        wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        target = "/login?next=" + quote(wanted if request.method == "GET" else "/workloads", safe="")
        if request.headers.get("hx-request") == "true":
            return Response(status_code=401, headers={"HX-Redirect": target})
        return RedirectResponse(target, 303)
    template = "error_part.html" if is_partial(request) else "error.html"
    status = status_of(error)
    title = ERROR_TITLES.get(status, "That did not work")
    return page(request, template, status=status, title=title, error=error, request_id=request_id(request))


ERROR_TITLES: Mapping[int, str] = {
    403: "You may not do that",
    404: "That is not here",
    500: "Something failed here",
    503: "Not available now",
}


def _wants_page(connection: HTTPConnection) -> bool:
    wanted = "text/html" in connection.headers.get("accept", "") or "hx-request" in connection.headers
    return connection.scope["type"] == "http" and wanted and not connection.url.path.startswith("/api/")


def on_refused(connection: HTTPConnection, error: RunaiError) -> Response:
    """Answer what was refused before its route: a page for a browser that wanted one, else the API's error."""
    wants_page = _wants_page(connection) and getattr(connection.state, "actor", None) is not None
    return error_page(Request(connection.scope), error) if wants_page else errors.answer(connection, error)


async def on_http(request: HTTPConnection, error: Exception) -> Response:
    """Answer what no route took: a page for a browser that wanted one, the API's error for all others."""
    wants_page = _wants_page(request)
    known = getattr(request.state, "actor", None) is not None
    if (
        isinstance(request, Request)
        and isinstance(error, HTTPException)
        and error.status_code == 404
        and wants_page
        and known
    ):
        return error_page(request, NotFound(f"there is no page {request.url.path[:200]}"))
    return await errors.on_http(request, error)


@functools.cache
def environment() -> jinja2.Environment:
    """Return the templates; everything they are given is escaped, and a name that is missing is an error."""
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    found.globals["static"] = files.url
    found.filters |= shown.FILTERS
    return found


def _navigation(request: Request) -> list[tuple[str, list[Link]]]:
    app = request.app
    known = getattr(app.state, "page_paths", None)
    if known is None:
        known = app.state.page_paths = frozenset(getattr(route, "path", "") for route in app.routes)
    groups = (
        (title, [link for link in links if link.path in known and _may_read(request, link)])
        for title, links in NAVIGATION
    )
    return [(title, links) for title, links in groups if links]


def _may_read(request: Request, link: Link) -> bool:
    return not link.reads or may_somewhere(request, "read", link.reads)


def _notice(request: Request) -> str:
    return unquote(request.cookies.get(NOTICE, ""))[:800] if not is_partial(request) else ""


def _now(request: Request) -> float:
    return float(request.app.state.orchestrator.backend.clock.now())
