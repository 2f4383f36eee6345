"""Clusters: their state, and how one is connected. A join token is shown once."""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from runai_core.model.clusters import ClusterState
from runai_core.model.errors import AlreadyExists, Conflict, FieldError, InvalidRequest
from runai_core.service.clusters import ClusterStatus
from runai_core.web.context import Door
from runai_core.web.pages.frame import Viewer, go_to, page, page_router
from runai_core.web.pages.inputs import Input, Posted, Section, posted_of, text_of, with_errors
from runai_core.web.pages.listing import table_page
from runai_core.web.pages.tables import Cell, Column

router = page_router("/clusters")

STATES: Mapping[ClusterState, tuple[str, str]] = {
    ClusterState.WAITING: ("Waiting to connect", "wait"),
    ClusterState.CONNECTED: ("Connected", "good"),
    ClusterState.DISCONNECTED: ("Disconnected", "bad"),
    ClusterState.MISSING_PREREQUISITES: ("Missing prerequisites", "bad"),
    ClusterState.SERVICE_ISSUES: ("Service issues", "wait"),
}

COLUMNS = (
    Column("name", "Cluster"),
    Column("status", "Status"),
    Column("seen", "Last connected"),
    Column("nodes", "Nodes", number=True),
    Column("gpus", "GPUs", number=True),
    Column("platform", "Kubernetes distribution"),
    Column("kubernetes", "Kubernetes version"),
    Column("version", "Version"),
    Column("domain", "URL"),
    Column("created", "Created"),
    Column("uuid", "UUID"),
)


@router.get("")
async def list_clusters(request: Request, door: Door, actor: Viewer) -> Response:
    """Show all clusters of the tenant."""
    rows = [_row(item) for item in await door.clusters.list(actor)]
    return table_page(request, "clusters.html", "Clusters", COLUMNS, rows, may_add=door.clusters.is_control_plane)


@router.get("/new")
async def new(request: Request, _actor: Viewer) -> Response:
    """Show the form of a new cluster."""
    return _form(request, {})


@router.post("/new")
async def create(request: Request, door: Door, actor: Viewer) -> Response:
    """Create it, or show the form again with what is wrong."""
    posted = posted_of((await request.form()).multi_items())
    try:
        created = await door.clusters.create(actor, text_of(posted, "name"), text_of(posted, "domain"))
    except InvalidRequest as error:
        return _form(request, posted, list(error.errors) or [FieldError("", error.message)])
    except AlreadyExists as error:
        return _form(request, posted, [FieldError("name", error.message)])
    return go_to(request, f"/clusters/{created.cluster.meta.uid}", f"Cluster {created.cluster.name} waits to connect.")


@router.get("/{ref}")
async def show(request: Request, ref: str, door: Door, actor: Viewer) -> Response:
    """Show one cluster."""
    status = await door.clusters.get(actor, ref)
    return page(
        request,
        "cluster.html",
        status=200,
        found=status,
        state=STATES[status.state],
        may_join=door.clusters.is_control_plane,
    )


@router.post("/{ref}/join")
async def join(request: Request, ref: str, door: Door, actor: Viewer) -> Response:
    """Draw a join token and show it, this once; an older one ends."""
    cluster, token, expires = await door.clusters.join_token(actor, ref)
    command = f"runai agent --control-plane {str(request.base_url).rstrip('/')} --join-token-file TOKEN_FILE"
    return page(request, "cluster_join.html", cluster=cluster, token=token, expires=expires, command=command)


@router.get("/{ref}/delete")
async def ask_delete(request: Request, ref: str, door: Door, actor: Viewer) -> Response:
    """Say what deleting it would mean."""
    return page(request, "delete.html", **_question(await door.clusters.get(actor, ref)), error="")


@router.post("/{ref}/delete")
async def delete(request: Request, ref: str, door: Door, actor: Viewer) -> Response:
    """Forget it, or say why that cannot be."""
    status = await door.clusters.get(actor, ref)
    try:
        await door.clusters.delete(actor, ref)
    except Conflict as error:
        return page(request, "delete.html", status=409, **_question(status), error=error.message)
    if door.links is not None:
        await door.links.part(status.cluster.meta.uid)
    return go_to(request, "/clusters", f"Cluster {status.cluster.name} is forgotten.")


def _row(status: ClusterStatus) -> dict[str, Cell]:
    cluster, (text, badge) = status.cluster, STATES[status.state]
    gpus = sum(node.gpu_count for node in status.nodes)
    return {
        "name": Cell(text=cluster.name, link=f"/clusters/{cluster.meta.uid}"),
        "status": Cell(text=text, badge=badge, note=status.message),
        "seen": Cell(time=status.last_liveness) if status.last_liveness else Cell(text="never"),
        "nodes": Cell(text=str(len(status.nodes)), value=len(status.nodes)),
        "gpus": Cell(text=str(gpus), value=gpus),
        "platform": Cell(text=status.facts.platform),
        "kubernetes": Cell(text=status.facts.kubernetes_version),
        "version": Cell(text=status.facts.version),
        "domain": Cell(text=cluster.domain),
        "created": Cell(time=cluster.meta.created_at),
        "uuid": Cell(text=cluster.meta.uid),
    }


def _form(request: Request, posted: Posted, errors: Sequence[FieldError] = ()) -> Response:
    inputs = (
        Input(
            name="name",
            label="Name",
            value=text_of(posted, "name"),
            required=True,
            help="Lower-case letters, digits and '-'; it stays as it is.",
        ),
        Input(name="domain", label="URL", value=text_of(posted, "domain"), help="Where users reach it; may be empty."),
    )
    sections, problems = with_errors((Section(title="", inputs=inputs),), errors)
    return page(
        request,
        "edit.html",
        status=422 if errors else 200,
        title="New cluster",
        sections=sections,
        problems=problems,
        back="/clusters",
        save="Create",
    )


def _question(status: ClusterStatus) -> dict[str, Any]:
    return {
        "title": f"Forget cluster {status.cluster.name}?",
        "text": (
            "Lost is what it reported: its workloads, pods and history are no longer shown here, and its credential "
            "ends. What runs there goes on. This cannot be undone."
        ),
        "inside": [f"{len(status.nodes)} nodes"] if status.nodes else [],
        "back": f"/clusters/{status.cluster.meta.uid}",
    }
