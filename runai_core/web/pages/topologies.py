"""Network topologies: which there are, who uses them, and how one is made."""

from starlette.requests import Request
from starlette.responses import Response

from runai_core.model.organization import Action, Scope
from runai_core.service.topologies import RESOURCE, TopologyStatus
from runai_core.web.context import Door
from runai_core.web.pages import editing
from runai_core.web.pages.editing import NOTHING, Question, Refusal
from runai_core.web.pages.frame import Viewer, go_to, page_router
from runai_core.web.pages.inputs import Input, Option, Posted, Section, Widget, posted_of, text_of
from runai_core.web.pages.listing import Button, table_page
from runai_core.web.pages.rights import may_somewhere
from runai_core.web.pages.tables import Cell, Column, Row

router = page_router("/topologies")

COLUMNS = (
    Column("name", "Network topology"),
    Column("status", "Status"),
    Column("levels", "Levels, widest first"),
    Column("cluster", "Cluster"),
    Column("pools", "Node pools"),
    Column("source", "Made by"),
    Column("created", "Created"),
    Column("delete", ""),
)


@router.get("")
async def list_topologies(request: Request, door: Door, actor: Viewer) -> Response:
    """Show all network topologies."""
    clusters = {item.cluster.meta.uid: item.cluster.name for item in await door.clusters.list(actor)}
    own = next(iter(clusters.values()), "")
    may_delete = may_somewhere(request, Action.DELETE, RESOURCE)
    rows = [
        _row(item, clusters.get(item.topology.scope, own), may_delete=may_delete)
        for item in await door.topologies.listed(actor)
    ]
    return table_page(
        request,
        "Network topologies",
        COLUMNS,
        rows,
        Button(path="/topologies/new", text="New network topology", right=("create", RESOURCE)),
        hint="Node labels that say how near nodes are. A node pool names one, and its gangs are kept near.",
        nothing="There is no network topology",
        advice="Label the nodes with their zone or rack, and name the labels here.",
    )


@router.get("/new")
async def new(request: Request, door: Door, actor: Viewer) -> Response:
    """Show the form of a new topology."""
    await door.access.require_anywhere(actor, Action.CREATE, RESOURCE)
    return await _form(request, door, actor, {})


@router.post("/new")
async def create(request: Request, door: Door, actor: Viewer) -> Response:
    """Create it, or show the form again with what is wrong."""
    posted = posted_of((await request.form()).multi_items())
    levels = text_of(posted, "levels").split()
    created, refusal = await editing.tried(
        (),
        lambda: door.topologies.create(actor, text_of(posted, "clusterId"), text_of(posted, "name"), levels),
        name="name",
    )
    if created is None:
        return await _form(request, door, actor, posted, refusal)
    return go_to(request, "/topologies", f"Network topology {created.topology.name} is there.")


@router.get("/{ref}/delete")
async def ask_delete(request: Request, ref: str, door: Door, actor: Viewer) -> Response:
    """Say what deleting it would mean."""
    found = await door.topologies.get(actor, ref)
    await door.access.require(actor, Action.DELETE, RESOURCE, Scope("cluster", found.topology.scope))
    return editing.ask(request, _question(found))


@router.post("/{ref}/delete")
async def delete(request: Request, ref: str, door: Door, actor: Viewer) -> Response:
    """Delete it, or say why that cannot be."""
    found = await door.topologies.get(actor, ref)
    notice = f"Network topology {found.topology.name} is deleted."
    act = door.topologies.delete(actor, found.topology.meta.uid)
    return await editing.deleted(request, _question(found), act, "/topologies", notice)


def _row(status: TopologyStatus, cluster: str, *, may_delete: bool) -> Row:
    topology = status.topology
    link = f"/topologies/{topology.meta.uid}/delete" if may_delete else ""
    return {
        "name": Cell(text=topology.name),
        "status": Cell(text="Ready", badge="good") if status.ready else Cell(text="Creating", badge="wait"),
        "levels": Cell(text=", ".join(topology.levels)),
        "cluster": Cell(text=cluster),
        "pools": Cell(text=", ".join(status.pools)),
        "source": Cell(text=topology.meta.created_by or "the cluster"),
        "created": Cell(time=topology.meta.created_at),
        "delete": Cell(text="Delete", link=link) if link else Cell(),
    }


async def _form(request: Request, door: Door, actor: Viewer, posted: Posted, refusal: Refusal = NOTHING) -> Response:
    clusters = [item.cluster for item in await door.clusters.list(actor)]
    which = Input(
        name="clusterId",
        label="Cluster",
        widget=Widget.SELECT,
        value=text_of(posted, "clusterId"),
        options=tuple(Option(item.meta.uid, item.name) for item in clusters),
        required=True,
    )
    inputs = (
        Input(
            name="name", label="Name", value=text_of(posted, "name"), required=True,
            help="Lower-case letters, digits and '-'; it stays as it is.",
        ),
        *((which,) if len(clusters) > 1 else ()),
        Input(
            name="levels", label="Levels", widget=Widget.AREA, value=text_of(posted, "levels"), required=True,
            help="Keys of node labels, one on each line, from the widest level to the narrowest.",
        ),
    )  # fmt: skip
    sections = (Section(title="", inputs=inputs),)
    return editing.form_page(
        request, sections, refusal, title="New network topology", back="/topologies", save="Create"
    )


def _question(status: TopologyStatus) -> Question:
    topology = status.topology
    return Question(
        title=f"Delete network topology {topology.name}?",
        text=f"Its levels are {', '.join(topology.levels)}. What runs stays where it is.",
        inside=tuple(f"used by node pool {name}" for name in status.pools),
        back="/topologies",
    )
