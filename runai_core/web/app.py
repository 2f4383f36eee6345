"""The web application: routes, checks before them, and one table of errors."""

from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse

from runai_core import __version__
from runai_core.bootstrap import Orchestrator
from runai_core.model.errors import RunaiError
from runai_core.service.tools import ToolService
from runai_core.web import openapi, pages
from runai_core.web.auditing import Audit
from runai_core.web.errors import Json, on_error, on_invalid
from runai_core.web.gate import Authenticate
from runai_core.web.middleware import LOOPBACK, AnswerHead, BufferBody, CheckHost, Identify
from runai_core.web.pages import frame
from runai_core.web.proxy import ToolProxy, tools_domain
from runai_core.web.rights import require_right
from runai_core.web.routes import (
    accounts,
    assets,
    audit,
    authorization,
    branding,
    clusters,
    data_volumes,
    departments,
    forwarding,
    identity,
    idps,
    link,
    manifests,
    metrics,
    node_pools,
    nodes,
    notifications,
    older,
    older_settings,
    policies,
    private_credentials,
    projects,
    prometheus,
    properties,
    reports,
    revisions,
    roles,
    sessions,
    storage,
    streams,
    system,
    templates,
    tenant_settings,
    tokens,
    topologies,
    typed,
    workload_types,
    workloads,
)

ROUTERS = (
    tokens.router,
    sessions.router,
    sessions.tickets,
    identity.users,
    identity.me,
    *accounts.routers(),
    authorization.router,
    roles.router,
    roles.made,
    idps.router,
    audit.router,
    revisions.router,  # before inferences/{id}: "revisions" is no id
    metrics.workloads,  # before workloads/{id} and nodes/{id}: "telemetry" is no id
    metrics.organization,
    *typed.routers(),  # before workloads/{id}: "trainings" is no id
    streams.router,  # the same for "watch"
    forwarding.router,
    workloads.router,
    manifests.router,
    projects.router,
    departments.router,
    node_pools.router,
    older.router,
    older_settings.router,
    nodes.router,
    clusters.router,
    clusters.older,
    link.router,
    *assets.routers(),
    *private_credentials.routers(),
    *templates.routers(),
    data_volumes.router,
    topologies.router,
    storage.classes,
    storage.router,
    properties.router,
    workload_types.router,
    policies.router,
    policies.checks,
    notifications.router,
    tenant_settings.router,
    branding.router,
    branding.picture,
    reports.router,
    prometheus.router,
    system.router,
    system.health,
    *pages.routers(),
)

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""Content security policy of the documentation page: it loads and runs nothing."""


def create_app(orchestrator: Orchestrator) -> FastAPI:
    """Return the application that serves this orchestrator; it can be called in process or by uvicorn."""
    app = FastAPI(
        title=openapi.TITLE,
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(require_right)],
    )
    app.state.orchestrator = orchestrator
    for router in ROUTERS:
        app.include_router(router)
    _add_documentation(app)
    app.add_exception_handler(RunaiError, on_error)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, frame.on_http)
    app.state.tools = ToolService(orchestrator.backend, orchestrator.access, orchestrator.workloads)
    _add_checks(app, orchestrator)
    return app


def _add_checks(app: FastAPI, orchestrator: Orchestrator) -> None:
    """Put the checks around the routes; what is added last is outermost."""
    settings = orchestrator.settings
    app.add_middleware(
        Authenticate,
        access=orchestrator.access,
        sessions=orchestrator.sessions,
        right=require_right,
        told=frame.on_refused,
    )
    app.add_middleware(Audit, audit=orchestrator.audit)
    app.add_middleware(BufferBody, limit=settings.max_body_bytes)
    app.add_middleware(AnswerHead)
    app.add_middleware(CheckHost, allowed=(*LOOPBACK, settings.host, *settings.allowed_hosts))
    app.add_middleware(ToolProxy, tools=app.state.tools, domain=tools_domain(settings))
    app.add_middleware(Identify)


def _add_documentation(app: FastAPI) -> None:
    async def schema(_request: Request) -> Json:
        return Json(openapi.document(app))

    async def docs(_request: Request) -> HTMLResponse:
        return HTMLResponse(openapi.page(app), headers={"Content-Security-Policy": POLICY})

    app.add_route("/api/openapi.json", schema, include_in_schema=False)
    app.add_route("/api/docs", docs, include_in_schema=False)
