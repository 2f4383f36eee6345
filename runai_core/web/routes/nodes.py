"""Nodes with their devices, and the one cluster that they make."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from fastapi import APIRouter, Query

from runai_core.model.errors import NotFound
from runai_core.model.nodes import Node
from runai_core.web import listing
from runai_core.web.answers.base import Count
from runai_core.web.answers.organization import ClusterItem, NodeItem, NodeList
from runai_core.web.context import Door, Names, Who
from runai_core.web.submissions import check_cluster
from runai_core.web.views.organization import cluster_item, node_item
from runai_core.web.views.units import CLUSTER_NAME

router = APIRouter(prefix="/api/v1", tags=["nodes"])

Listing = Annotated[listing.ListQuery, Query()]
Counting = Annotated[listing.CountQuery, Query()]

PLATFORMS: Mapping[str, str] = {"kubernetes": "vanilla"}
"""Backend -> platform of the cluster; the API has no word for the embedded one."""


@router.get("/nodes", summary="List nodes")
async def list_nodes(door: Door, actor: Who, names: Names, given: Listing) -> NodeList:
    """Each with its devices; simulated ones say so."""
    items = [node_item(node, names) for node in await door.organization.nodes(actor)]
    return _page(items, given)


@router.get("/nodes/count", summary="Count nodes")
async def count_nodes(door: Door, actor: Who, names: Names, given: Counting) -> Count:
    """How many match."""
    items = [node_item(node, names) for node in await door.organization.nodes(actor)]
    return Count(count=len(listing.matching(items, given.filter_by, given.search)))


@router.get("/nodes/{node_id}", summary="Get a node (ours)")
async def get_node(node_id: str, door: Door, actor: Who, names: Names) -> NodeItem:
    """By id or by name."""
    nodes = await door.organization.nodes(actor)
    return node_item(_found(nodes, node_id), names)


@router.get("/clusters/{cluster_uuid}/nodes", summary="List the nodes of the cluster")
async def list_cluster_nodes(cluster_uuid: str, door: Door, actor: Who, names: Names, given: Listing) -> NodeList:
    """The same as /api/v1/nodes."""
    check_cluster(cluster_uuid, door.cluster_id)
    return await list_nodes(door, actor, names, given)


@router.get("/clusters/{cluster_uuid}/nodes/count", summary="Count the nodes of the cluster")
async def count_cluster_nodes(cluster_uuid: str, door: Door, actor: Who, names: Names, given: Counting) -> Count:
    """The same as /api/v1/nodes/count."""
    check_cluster(cluster_uuid, door.cluster_id)
    return await count_nodes(door, actor, names, given)


@router.get("/clusters", summary="List clusters")
async def list_clusters(
    door: Door, actor: Who, names: Names, _given: Annotated[listing.ClusterQuery, Query()]
) -> tuple[ClusterItem, ...]:
    """There is one."""
    return (await get_cluster(door.cluster_id, door, actor, names, _given),)


@router.get("/clusters/{cluster_uuid}", summary="Get the cluster")
async def get_cluster(
    cluster_uuid: str, door: Door, actor: Who, names: Names, _given: Annotated[listing.ClusterQuery, Query()]
) -> ClusterItem:
    """Its state, version and platform."""
    if cluster_uuid not in (door.cluster_id, CLUSTER_NAME):
        raise NotFound(f"there is no cluster {cluster_uuid[:80]}; there is one: {door.cluster_id}")
    nodes = await door.organization.nodes(actor)
    return cluster_item(nodes, door.started_at, PLATFORMS.get(door.backend.name), names)


def _page(items: Sequence[NodeItem], given: listing.ListQuery) -> NodeList:
    found = listing.sorted_by(listing.matching(items, given.filter_by, given.search), given.sort_by, given.sort_order)
    end = given.offset + given.limit
    return NodeList(nodes=tuple(found[given.offset : end]), next=end if end < len(found) else None)


def _found(nodes: Sequence[Node], reference: str) -> Node:
    for node in nodes:
        if reference in (node.meta.uid, node.name):
            return node
    raise NotFound(f"there is no node {reference[:80]}; there are: {', '.join(node.name for node in nodes[:20])}")
