"""Node pools: partitions of the nodes by a label; each is scheduled alone."""

from typing import Annotated

from fastapi import APIRouter, Query

from runai_core.bootstrap import Orchestrator
from runai_core.model.nodes import NodePool
from runai_core.model.organization import Actor
from runai_core.web import listing
from runai_core.web.answers.base import Count
from runai_core.web.answers.organization import NodePoolItem, NodePoolList
from runai_core.web.changes import changed_node_pool, new_node_pool
from runai_core.web.context import Door, Names, Who, directory
from runai_core.web.lookup import with_topology
from runai_core.web.node_pool_bodies import NodePoolCreate, NodePoolUpdate
from runai_core.web.submissions import check_cluster
from runai_core.web.views.organization import node_pool_item

router = APIRouter(prefix="/api/v1/node-pools", tags=["node pools"])


@router.get("", summary="List node pools")
async def list_node_pools(
    door: Door, actor: Who, names: Names, given: Annotated[listing.ListQuery, Query()]
) -> NodePoolList:
    """Each with the names of its nodes."""
    page = await door.organization.list_node_pools(actor, listing.query_of(given, listing.NODE_POOLS))
    nodes, topologies = await door.nodes(), await door.topologies.ids(actor)
    items = tuple(
        node_pool_item(pool, [node for node in nodes if node.node_pool == pool.name], names, topologies)
        for pool in page.items
    )
    return NodePoolList(nodepools=items, next=listing.next_offset(page, given.offset))


@router.get("/count", summary="Count node pools")
async def count_node_pools(door: Door, actor: Who, given: Annotated[listing.CountQuery, Query()]) -> Count:
    """How many match."""
    query = listing.query_of(given, listing.NODE_POOLS)
    return Count(count=(await door.organization.list_node_pools(actor, query)).total)


@router.post("", status_code=201, summary="Create a node pool")
async def create_node_pool(door: Door, actor: Who, body: NodePoolCreate) -> NodePoolItem:
    """The nodes that have the label move into it."""
    await check_cluster(body.cluster_id, door)
    pool = await with_topology(door, actor, new_node_pool(body), body.network_topology_id)
    return await _shown(door, actor, await door.organization.create_node_pool(actor, pool))


@router.get("/{node_pool_id}", summary="Get a node pool")
async def get_node_pool(node_pool_id: str, door: Door, actor: Who) -> NodePoolItem:
    """By id or by name."""
    return await _shown(door, actor, await door.organization.get_node_pool(actor, node_pool_id))


@router.put("/{node_pool_id}", summary="Change a node pool")
@router.patch("/{node_pool_id}", summary="Change a node pool")
async def update_node_pool(node_pool_id: str, door: Door, actor: Who, body: NodePoolUpdate) -> NodePoolItem:
    """What is left out stays."""
    pool = await door.organization.get_node_pool(actor, node_pool_id)
    changed = await with_topology(door, actor, changed_node_pool(pool, body), body.network_topology_id)
    return await _shown(door, actor, await door.organization.update_node_pool(actor, changed))


@router.delete("/{node_pool_id}", summary="Delete a node pool")
async def delete_node_pool(node_pool_id: str, door: Door, actor: Who) -> NodePoolItem:
    """Its nodes go back to the default pool."""
    pool = await door.organization.get_node_pool(actor, node_pool_id)
    shown = await _shown(door, actor, pool)
    await door.organization.delete_node_pool(actor, pool.meta.uid)
    return shown


async def _shown(door: Orchestrator, actor: Actor, pool: NodePool) -> NodePoolItem:
    nodes = [node for node in await door.nodes() if node.node_pool == pool.name]
    return node_pool_item(pool, nodes, await directory(door, actor), await door.topologies.ids(actor))
