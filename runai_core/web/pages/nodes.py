"""Node pools and nodes: what there is, what is held of it, and on which device."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from runai_core.bootstrap import Orchestrator
from runai_core.model.errors import AlreadyExists, Conflict, FieldError, InvalidRequest, NotFound
from runai_core.model.meta import Meta
from runai_core.model.nodes import DEFAULT_NODE_POOL, Node, NodePool
from runai_core.model.organization import Actor
from runai_core.model.resources import MIB, Resources, total
from runai_core.model.snapshot import HOLDS_RESOURCES, PodState
from runai_core.model.workload import Pod, gpu_charge
from runai_core.ports import Filter, Op, Query
from runai_core.service.organization import UnitStatus
from runai_core.web.changes import changed_node_pool, new_node_pool
from runai_core.web.context import Door
from runai_core.web.pages import pool_form
from runai_core.web.pages.bodies import validated
from runai_core.web.pages.frame import Viewer, go_to, page, page_router
from runai_core.web.pages.inputs import Posted, changed_meanwhile, posted_of, with_errors
from runai_core.web.pages.listing import table_page
from runai_core.web.pages.node_drawing import devices_of
from runai_core.web.pages.quotas import UNITS, Quota
from runai_core.web.pages.shown import gib, number
from runai_core.web.pages.tables import Cell, Column, Row
from runai_core.web.schemas import NodePoolCreate, NodePoolUpdate

router = page_router()

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


@dataclass(frozen=True, slots=True)
class Held:
    """What pods hold of something."""

    resources: Resources = Resources()
    pods: int = 0


@router.get("/node-pools")
async def list_pools(request: Request, door: Door, actor: Viewer) -> Response:
    """Show all node pools with what is held of each."""
    pools = (await door.organization.list_node_pools(actor, Query(sort_by="meta.name"))).items
    nodes = await door.organization.nodes(actor)
    held = held_in_pools(await door.organization.statuses(actor))
    rows = [_pool_row(pool, [node for node in nodes if node.node_pool == pool.name], held) for pool in pools]
    return table_page(request, "pools.html", "Node pools", POOLS, rows)


@router.get("/node-pools/new")
async def new_pool(request: Request, _actor: Viewer) -> Response:
    """Show the form of a new node pool."""
    return _form(request, None, pool_form.posted_pool(NodePool(meta=Meta(name=""))))


@router.post("/node-pools/new")
async def create_pool(request: Request, door: Door, actor: Viewer) -> Response:
    """Create it, or show the form again with what is wrong."""
    posted = posted_of((await request.form()).multi_items())
    body, errors = pool_form.body_of(posted, pool_form.posted_pool(NodePool(meta=Meta(name=""))))
    if not errors:
        try:
            pool = await door.organization.create_node_pool(actor, new_node_pool(validated(NodePoolCreate, body)))
        except InvalidRequest as error:
            errors = list(error.errors) or [FieldError("", error.message)]
        except AlreadyExists as error:
            errors = [FieldError("name", error.message)]
        else:
            return go_to(request, "/node-pools", f"Node pool {pool.name} is there.")
    return _form(request, None, posted, errors)


@router.get("/node-pools/{ref}/edit")
async def edit_pool(request: Request, ref: str, door: Door, actor: Viewer) -> Response:
    """Show the form of one that exists."""
    pool = await door.organization.get_node_pool(actor, ref)
    return _form(request, pool, pool_form.posted_pool(pool))


@router.post("/node-pools/{ref}/edit")
async def update_pool(request: Request, ref: str, door: Door, actor: Viewer) -> Response:
    """Change it, or show the form again with what is wrong."""
    pool = await door.organization.get_node_pool(actor, ref)
    posted = posted_of((await request.form()).multi_items())
    body, errors = pool_form.body_of(posted, pool_form.posted_pool(pool))
    errors += changed_meanwhile(posted, pool.meta)
    if not errors:
        try:
            changed = changed_node_pool(pool, validated(NodePoolUpdate, body))
            await door.organization.update_node_pool(actor, changed)
        except InvalidRequest as error:
            errors = list(error.errors) or [FieldError("", error.message)]
        else:
            return go_to(request, "/node-pools", f"Node pool {pool.name} is changed.")
    return _form(request, pool, {**pool_form.posted_pool(pool), **posted}, errors)


@router.get("/node-pools/{ref}/delete")
async def ask_delete(request: Request, ref: str, door: Door, actor: Viewer) -> Response:
    """Say what deleting it would mean."""
    pool = await door.organization.get_node_pool(actor, ref)
    return page(request, "delete.html", **await _question(door, actor, pool), error="")


@router.post("/node-pools/{ref}/delete")
async def delete_pool(request: Request, ref: str, door: Door, actor: Viewer) -> Response:
    """Delete it, or say why that cannot be."""
    pool = await door.organization.get_node_pool(actor, ref)
    try:
        await door.organization.delete_node_pool(actor, pool.meta.uid)
    except Conflict as error:
        return page(request, "delete.html", status=409, **await _question(door, actor, pool), error=error.message)
    return go_to(request, "/node-pools", f"Node pool {pool.name} is deleted.")


@router.get("/nodes")
async def list_nodes(request: Request, door: Door, actor: Viewer) -> Response:
    """Show all nodes with what is held of each."""
    nodes = await door.organization.nodes(actor)
    held = held_on_nodes((await door.workloads.all_pods(actor, Query(filters=ALIVE))).items)
    rows = [_node_row(node, held.get(node.name, Held())) for node in nodes]
    return table_page(request, "nodes.html", "Nodes", NODES, rows)


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
    held = held_on_nodes(pods).get(node.name, Held())
    return page(
        request,
        "node.html",
        node=node,
        quotas=node_quotas(node, held),
        words=UNITS,
        devices=devices_of(node, pods),
        pods=[(pod, number(gpu_charge(pod.spec.request) / 1000)) for pod in pods],
        certain=door.backend.name == "local",
    )


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


def held_on_nodes(pods: Sequence[Pod]) -> dict[str, Held]:
    """Return what pods hold of each node."""
    found: dict[str, Held] = {}
    for pod in pods:
        if pod.status.state in HOLDS_RESOURCES and pod.status.node:
            request, before = pod.spec.request, found.get(pod.status.node, Held())
            amount = Resources(cpu=request.cpu, memory=request.memory, gpu=gpu_charge(request))
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


def _form(request: Request, pool: NodePool | None, posted: Posted, errors: Sequence[FieldError] = ()) -> Response:
    is_default = pool is not None and pool.name == DEFAULT_NODE_POOL
    sections, problems = with_errors(pool_form.sections_of(posted, is_new=pool is None, is_default=is_default), errors)
    return page(
        request,
        "edit.html",
        status=422 if errors else 200,
        title=f"Edit node pool {pool.name}" if pool else "New node pool",
        sections=sections,
        problems=problems,
        back="/node-pools",
        save="Save" if pool else "Create",
        version=pool.meta.version if pool else None,
        delete=f"/node-pools/{pool.meta.uid}/delete" if pool and not is_default else "",
    )


async def _question(door: Orchestrator, actor: Actor, pool: NodePool) -> dict[str, Any]:
    nodes = [node.name for node in await door.organization.nodes(actor) if node.node_pool == pool.name]
    return {
        "title": f"Delete node pool {pool.name}?",
        "text": "Lost are its scheduling settings and the quota in it; its nodes go to the default pool.",
        "inside": [f"node {name}" for name in nodes[:20]],
        "back": "/node-pools",
    }
