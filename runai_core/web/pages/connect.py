"""The door from our pages to a workload's tool."""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from runai_core.model.errors import Unsupported
from runai_core.service.tools import ToolService
from runai_core.web import proxy
from runai_core.web.context import Door
from runai_core.web.gate import COOKIE, cookie_of
from runai_core.web.pages import frame
from runai_core.web.pages.frame import Viewer

router = frame.page_router()

NO_DOMAIN = (
    "tools need host names of their own, and no domain is set for them: an administrator can set RUNAI_TOOLS_DOMAIN to "
    "a domain whose every name leads here. Meanwhile `runai workload port-forward` reaches the tool."
)


@router.get("/proxy/{uid}/{port}")
@router.get("/proxy/{uid}/{port}/{rest:path}")
async def connect(request: Request, uid: str, port: str, door: Door, actor: Viewer, rest: str = "") -> Response:
    """Send the browser to the tool's own host name, with a ticket."""
    tools: ToolService = request.app.state.tools
    domain = proxy.tools_domain(door.settings)
    if not domain:
        raise Unsupported(NO_DOMAIN)
    place = await tools.find_port(actor, uid, port)
    await tools.way(actor, place)  # refused here, in words, where nothing listens
    ticket = await tools.issue(actor, place, cookie_of(request.scope, COOKIE))
    rest = f"{rest}?{request.url.query}" if request.url.query else rest
    address = proxy.tool_url(place, domain, str(request.base_url), ticket, rest)
    return RedirectResponse(address, 303, headers={"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"})
