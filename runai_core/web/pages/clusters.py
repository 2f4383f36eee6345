"""Clusters: their state, and how one is connected. A join token is shown once."""

from collections.abc import Mapping, Sequence

from starlette.requests import Request
from starlette.responses import Response

from runai_core.model.clusters import ClusterState
from runai_core.model.organization import Action, Scope
from runai_core.service.clusters import CONFIGURATION, ClusterStatus
from runai_core.service.topologies import RESOURCE as TOPOLOGIES
from runai_core.web.context import Door
from runai_core.web.pages import editing, rights
from runai_core.web.pages.editing import NOTHING, Question, Refusal
from runai_core.web.pages.frame import Viewer, go_to, page, page_router
from runai_core.web.pages.inputs import Input, Posted, Section, posted_of, text_of
from runai_core.web.pages.listing import Button, table_page
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
    Column("topologies", "Network topologies"),
    Column("created", "Created"),
    Column("uuid", "UUID"),
)


@router.get("")
async def list_clusters(request: Request, door: Door, actor: Viewer) -> Response:
    """Show all clusters of the tenant."""
    topologies = await _topologies(door, actor)
    rows = [_row(item, topologies) for item in await door.clusters.list(actor)]
    several = door.clusters.is_control_plane
    alone = "This orchestrator is one cluster. Several are shown together by a control plane: `runai control-plane up`."
    return table_page(
        request,
        "Clusters",
        COLUMNS,
        rows,
        *([Button(path="/clusters/new", text="New cluster", right=("create", CONFIGURATION))] if several else []),
        hint="" if several else alone,
        nothing="There is no cluster yet",
        advice="Make one here, and connect it with the command that you are given.",
    )


@router.get("/new")
async def new(request: Request, door: Door, actor: Viewer) -> Response:
    """Show the form of a new cluster."""
    await door.access.require(actor, Action.CREATE, CONFIGURATION)
    return _form(request, {})


@router.post("/new")
async def create(request: Request, door: Door, actor: Viewer) -> Response:
    """Create it, or show the form again with what is wrong."""
    posted = posted_of((await request.form()).multi_items())
    name, domain = text_of(posted, "name"), text_of(posted, "domain")
    created, refusal = await editing.tried((), lambda: door.clusters.create(actor, name, domain), name="name")
    if created is None:
        return _form(request, posted, refusal)
    return go_to(request, f"/clusters/{created.cluster.meta.uid}", f"Cluster {created.cluster.name} waits to connect.")


@router.get("/{ref}")
async def show(request: Request, ref: str, door: Door, actor: Viewer) -> Response:
    """Show one cluster."""
    found = await door.clusters.get(actor, ref)
    deeds = await rights.deeds_on(door, actor, CONFIGURATION, _place(found)) if door.clusters.is_control_plane else ()
    return page(
        request,
        "cluster.html",
        found=found,
        state=STATES[found.state],
        may_join=Action.UPDATE in deeds,
        may_delete=Action.DELETE in deeds,
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
    found = await door.clusters.get(actor, ref)
    await door.access.require(actor, Action.DELETE, CONFIGURATION, _place(found))
    return editing.ask(request, _question(found))


@router.post("/{ref}/delete")
async def delete(request: Request, ref: str, door: Door, actor: Viewer) -> Response:
    """Forget it, or say why that cannot be."""
    found = await door.clusters.get(actor, ref)

    async def forget() -> None:
        await door.clusters.delete(actor, ref)
        if door.links is not None:
            await door.links.part(found.cluster.meta.uid)

    notice = f"Cluster {found.cluster.name} is forgotten."
    return await editing.deleted(request, _question(found), forget(), "/clusters", notice)


def _place(found: ClusterStatus) -> Scope:
    return Scope("cluster", found.cluster.meta.uid)


async def _topologies(door: Door, actor: Viewer) -> Mapping[str, Sequence[str]]:
    """Return the names of the network topologies, by the id of their cluster; none for who may not see them."""
    found: dict[str, list[str]] = {}
    if await rights.allowed(door.access.require(actor, Action.READ, TOPOLOGIES)):
        own = await door.clusters.default_id()
        for item in await door.topologies.listed(actor):
            found.setdefault(item.topology.scope or own, []).append(item.topology.name)
    return found


def _row(status: ClusterStatus, topologies: Mapping[str, Sequence[str]]) -> dict[str, Cell]:
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
        "topologies": Cell(text=", ".join(topologies.get(cluster.meta.uid, ()))),
        "created": Cell(time=cluster.meta.created_at),
        "uuid": Cell(text=cluster.meta.uid),
    }


def _form(request: Request, posted: Posted, refusal: Refusal = NOTHING) -> Response:
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
    sections = (Section(title="", inputs=inputs),)
    return editing.form_page(request, sections, refusal, title="New cluster", back="/clusters", save="Create")


def _question(found: ClusterStatus) -> Question:
    return Question(
        title=f"Forget cluster {found.cluster.name}?",
        text=(
            "Lost is what it reported: its workloads, pods and history are no longer shown here, and its credential "
            "ends. What runs there goes on. This cannot be undone."
        ),
        button="Forget it",
        inside=(f"{len(found.nodes)} nodes",) if found.nodes else (),
        back=f"/clusters/{found.cluster.meta.uid}",
    )
