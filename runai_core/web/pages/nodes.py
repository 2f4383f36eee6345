"""Node pools and nodes: what there is, what is held of it, and on which device."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from runai_core.bootstrap import Orchestrator
from runai_core.model.errors import Forbidden, NotFound
from runai_core.model.meta import Meta
from runai_core.model.nodes import DEFAULT_NODE_POOL, Node, NodePool
from runai_core.model.organization import Action, Actor
from runai_core.model.resources import MIB, Resources, total
from runai_core.model.snapshot import HOLDS_RESOURCES, PodState
from runai_core.model.workload import Pod, gpu_charge
from runai_core.ports import Filter, Op, Query
from runai_core.service.organization import CLUSTER, UnitStatus
from runai_core.web.changes import changed_node_pool, new_node_pool
from runai_core.web.context import Door
from runai_core.web.lookup import with_topology
from runai_core.web.node_pool_bodies import NodePoolCreate, NodePoolUpdate
from runai_core.web.pages import editing, pool_form, rights
from runai_core.web.pages.bodies import validated
from runai_core.web.pages.editing import NOTHING, Question, Refusal
from runai_core.web.pages.frame import Viewer, go_to, page, page_router
from runai_core.web.pages.inputs import VERSION, Posted, changed_meanwhile, posted_of
from runai_core.web.pages.listing import Button, table_page
from runai_core.web.pages.node_drawing import devices_of
from runai_core.web.pages.quotas import UNITS, Quota
from runai_core.web.pages.shown import gib, number
from runai_core.web.pages.tables import Cell, Column, Row

router = page_router()

RESOURCE = "nodepools"

POOLS = (
    Column("name", "Node pool"),
    Column("status", "Status"),
    Column("nodes", "Nodes", number=True),
    Column("gpu", "GPUs allocated"),
    Column("cpu", "CPU allocated"),
    Column("memory", "Memory allocated"),
    Column("label", "Node label"),
    Column("placement", "Placement (GPU, CPU)"),
    Column("runtime", "Guaranteed run time"),
    Column("topology", "Network topology"),
)

NODES = (
    Column("name", "Node"),
    Column("status", "Status"),
    Column("pool", "Node pool"),
    Column("gpu_type", "GPU type"),
    Column("gpu", "GPUs allocated"),
    Column("cpu", "CPU allocated"),
    Column("memory", "Memory allocated"),
    Column("pods", "Pods", number=True),
)


OF_NODES = frozenset({"status", "nodes", "gpu", "cpu", "memory"})
"""Columns of node pools that say something of their nodes: not for those who may not see these."""


@dataclass(frozen=True, slots=True)
class Held:
    """What pods hold of something."""

    resources: Resources = Resources()
    pods: int = 0


@router.get("/node-pools")
async def list_pools(request: Request, door: Door, actor: Viewer) -> Response:
    """Show all node pools with what is held of each."""
    pools = (await door.organization.list_node_pools(actor, Query(sort_by="meta.name"))).items
    nodes = await nodes_seen(door, actor)
    held = held_in_pools(await door.organization.statuses(actor))
    rows = [_pool_row(pool, [node for node in nodes or () if node.node_pool == pool.name], held) for pool in pools]
    columns = POOLS if nodes is not None else [column for column in POOLS if column.key not in OF_NODES]
    return table_page(
        request,
        "Node pools",
        columns,
        rows,
        Button(path="/node-pools/new", text="New node pool", right=("create", RESOURCE)),
        hint="A node pool is a part of the nodes that is scheduled by itself; projects have quota in each.",
        nothing="There is no node pool",
        advice="Nodes belong to the pool whose label they have.",
    )


@router.get("/node-pools/new")
async def new_pool(request: Request, door: Door, actor: Viewer) -> Response:
    """Show the form of a new node pool."""
    await door.access.require(actor, Action.CREATE, RESOURCE, CLUSTER)
    return await _form(request, door, actor, None, pool_form.posted_pool(NodePool(meta=Meta(name=""))))


@router.post("/node-pools/new")
async def create_pool(request: Request, door: Door, actor: Viewer) -> Response:
    """Create it, or show the form again with what is wrong."""
    posted = posted_of((await request.form()).multi_items())
    body, errors = pool_form.body_of(posted, pool_form.posted_pool(NodePool(meta=Meta(name=""))))

    async def create() -> NodePool:
        given = validated(NodePoolCreate, body)
        wanted = await with_topology(door, actor, new_node_pool(given), given.network_topology_id)
        return await door.organization.create_node_pool(actor, wanted)

    pool, refusal = await editing.tried(errors, create, name="name")
    if pool is None:
        return await _form(request, door, actor, None, posted, refusal)
    return go_to(request, "/node-pools", f"Node pool {pool.name} is there.")


@router.get("/node-pools/{ref}/edit")
async def edit_pool(request: Request, ref: str, door: Door, actor: Viewer) -> Response:
    """Show the form of one that exists."""
    pool = await door.organization.get_node_pool(actor, ref)
    return await _form(request, door, actor, pool, pool_form.posted_pool(pool))


@router.post("/node-pools/{ref}/edit")
async def update_pool(request: Request, ref: str, door: Door, actor: Viewer) -> Response:
    """Change it, or show the form again with what is wrong."""
    pool = await door.organization.get_node_pool(actor, ref)
    posted = posted_of((await request.form()).multi_items())
    body, errors = pool_form.body_of(posted, pool_form.posted_pool(pool))
    errors += changed_meanwhile(posted, pool.meta)

    async def update() -> NodePool:
        given = validated(NodePoolUpdate, body)
        wanted = await with_topology(door, actor, changed_node_pool(pool, given), given.network_topology_id)
        return await door.organization.update_node_pool(actor, wanted)

    changed, refusal = await editing.tried(errors, update)
    if changed is None:
        return await _form(request, door, actor, pool, {**pool_form.posted_pool(pool), **posted}, refusal)
    return go_to(request, "/node-pools", f"Node pool {pool.name} is changed.")


@router.get("/node-pools/{ref}/delete")
async def ask_delete(request: Request, ref: str, door: Door, actor: Viewer) -> Response:
    """Say what deleting it would mean."""
    pool = await door.organization.get_node_pool(actor, ref)
    await door.access.require(actor, Action.DELETE, RESOURCE, CLUSTER)
    return editing.ask(request, await _question(door, actor, pool))


@router.post("/node-pools/{ref}/delete")
async def delete_pool(request: Request, ref: str, door: Door, actor: Viewer) -> Response:
    """Delete it, or say why that cannot be."""
    pool = await door.organization.get_node_pool(actor, ref)
    question = await _question(door, actor, pool)
    act = door.organization.delete_node_pool(actor, pool.meta.uid)
    return await editing.deleted(request, question, act, "/node-pools", f"Node pool {pool.name} is deleted.")


@router.get("/nodes")
async def list_nodes(request: Request, door: Door, actor: Viewer) -> Response:
    """Show all nodes with what is held of each."""
    nodes = await door.organization.nodes(actor)
    held = held_on_nodes((await door.workloads.all_pods(actor, Query(filters=ALIVE))).items, nodes)
    rows = [_node_row(node, held.get(node.name, Held())) for node in nodes]
    advice = "A node appears here as soon as the cluster has it."
    return table_page(request, "Nodes", NODES, rows, nothing="There is no node", advice=advice)


@router.get("/nodes/{name}")
async def show_node(request: Request, name: str, door: Door, actor: Viewer) -> Response:
    """Show one node: its devices with the parts that pods hold, and the pods."""
    nodes = await door.organization.nodes(actor)
    node = next((item for item in nodes if name in (item.name, item.meta.uid)), None)
    if node is None:
        raise NotFound(
            f"there is no node {name[:80]}; there are: {', '.join(item.name for item in nodes[:20]) or 'none'}"
        )
    here = (*ALIVE, Filter("status.node", Op.EQ, node.name))
    pods = (await door.workloads.all_pods(actor, Query(filters=here, sort_by="meta.name"))).items
    held = held_on_nodes(pods, [node]).get(node.name, Held())
    return page(
        request,
        "node.html",
        node=node,
        quotas=node_quotas(node, held),
        words=UNITS,
        devices=devices_of(node, pods),
        pods=[(pod, number(gpu_charge(pod.spec.request, node.gpu_memory_mib) / 1000)) for pod in pods],
        certain=door.backend.name == "local",
    )


async def nodes_seen(door: Orchestrator, actor: Actor) -> Sequence[Node] | None:
    """Return the nodes; None for who may see the workloads of some projects only."""
    try:
        return await door.organization.nodes(actor)
    except Forbidden:
        return None


ALIVE = tuple(Filter("status.state", Op.NE, state.value) for state in (PodState.SUCCEEDED, PodState.FAILED))
"""Pods that have not ended."""


def held_in_pools(statuses: Mapping[str, Mapping[str, UnitStatus]]) -> dict[str, Resources]:
    """Return what is held in each node pool, from the departments' statuses."""
    found: dict[str, list[Resources]] = {}
    for key, by_pool in statuses.items():
        if key.startswith("department/"):
            for pool, status in by_pool.items():
                found.setdefault(pool, []).append(status.allocated)
    return {pool: total(amounts) for pool, amounts in found.items()}


def held_on_nodes(pods: Sequence[Pod], nodes: Sequence[Node]) -> dict[str, Held]:
    """Return what pods hold of each node."""
    sizes = {node.name: node.gpu_memory_mib for node in nodes}
    found: dict[str, Held] = {}
    for pod in pods:
        if pod.status.state in HOLDS_RESOURCES and pod.status.node:
            request, before = pod.spec.request, found.get(pod.status.node, Held())
            gpu = gpu_charge(request, sizes.get(pod.status.node, 0))
            amount = Resources(cpu=request.cpu, memory=request.memory, gpu=gpu)
            found[pod.status.node] = Held(before.resources + amount, before.pods + 1)
    return found


def pool_quotas(nodes: Sequence[Node], held: Resources) -> dict[str, Quota]:
    """Return what is held of the nodes of a pool; what they have takes the place of a quota."""
    return _quotas(total(node.allocatable for node in nodes), held)


def node_quotas(node: Node, held: Held) -> dict[str, Quota]:
    """Return what is held of a node."""
    return _quotas(node.allocatable, held.resources)


def _quotas(whole: Resources, held: Resources) -> dict[str, Quota]:
    return {
        resource: Quota(
            resource=resource,
            allocated=getattr(held, resource) / size,
            requested=getattr(held, resource) / size,
            deserved=getattr(whole, resource) / size,
        )
        for resource, (_, _, size) in UNITS.items()
    }


def _cells(quotas: Mapping[str, Quota]) -> dict[str, Cell]:
    return {name: Cell(text=quota.sentence, value=quota.allocated, quota=quota) for name, quota in quotas.items()}


def _pool_row(pool: NodePool, nodes: Sequence[Node], held: Mapping[str, Resources]) -> Row:
    ready = [node for node in nodes if node.ready and not node.unschedulable]
    status = ("Ready", "good") if ready else (("Unschedulable", "bad") if nodes else ("Empty", "off"))
    label = f"{pool.label_key}={pool.label_value}" if pool.label_key else "nodes of no other pool"
    return {
        "name": Cell(text=pool.name, link=f"/node-pools/{pool.meta.uid}/edit"),
        "status": Cell(text=status[0], badge=status[1]),
        "nodes": Cell(text=str(len(nodes)), value=len(nodes)),
        **_cells(pool_quotas(nodes, held.get(pool.name, Resources()))),
        "label": Cell(text=label),
        "topology": Cell(text=pool.network_topology or "none"),
        "placement": Cell(text=f"{pool.gpu_placement}, {pool.cpu_placement}"),
        "runtime": Cell(
            text=pool_form.length_text(int(pool.min_guaranteed_runtime)) if pool.min_guaranteed_runtime else "none",
            value=pool.min_guaranteed_runtime,
        ),
    }


def _node_row(node: Node, held: Held) -> Row:
    products = sorted({device.product for device in node.devices if device.product})
    memory = f"{gib(node.gpu_memory_mib * MIB)} each" if node.gpu_memory_mib else ""
    simulated = " (simulated)" if node.simulated else ""
    text, badge = status_of(node)
    return {
        "name": Cell(text=node.name, link=f"/nodes/{node.name}"),
        "status": Cell(text=text, badge=badge),
        "pool": Cell(text=node.node_pool),
        "gpu_type": Cell(
            text=(", ".join(products) or ("unknown" if node.gpu_count else "none")) + simulated, note=memory
        ),
        **_cells(node_quotas(node, held)),
        "pods": Cell(text=str(held.pods), value=held.pods),
    }


def status_of(node: Node) -> tuple[str, str]:
    """Return a node's status in words, and its colour."""
    if not node.ready:
        return "Not ready", "bad"
    return ("Cordoned", "wait") if node.unschedulable else ("Ready", "good")


async def _form(
    request: Request,
    door: Orchestrator,
    actor: Actor,
    pool: NodePool | None,
    posted: Posted,
    refusal: Refusal = NOTHING,
) -> Response:
    is_default = pool is not None and pool.name == DEFAULT_NODE_POOL
    return editing.thing_page(
        request,
        pool_form.sections_of(
            posted, tuple(await door.topologies.ids(actor)), is_new=pool is None, is_default=is_default
        ),
        refusal,
        noun="node pool",
        name=pool.name if pool else None,
        deeds=await rights.deeds_on(door, actor, RESOURCE, CLUSTER),
        back="/node-pools",
        hidden={VERSION: pool.meta.version} if pool else {},
        delete=f"/node-pools/{pool.meta.uid}/delete" if pool and not is_default else "",
    )


async def _question(door: Orchestrator, actor: Actor, pool: NodePool) -> Question:
    nodes = [node.name for node in await door.organization.nodes(actor) if node.node_pool == pool.name]
    return Question(
        title=f"Delete node pool {pool.name}?",
        text="Lost are its scheduling settings and the quota in it; its nodes go to the default pool.",
        inside=tuple(f"node {name}" for name in nodes[:20]),
        back="/node-pools",
    )
