"""Nodes with their devices, and the one cluster that they make."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from fastapi import APIRouter, Query

from runai_core.model.errors import NotFound
from runai_core.model.nodes import Node
from runai_core.web import listing
from runai_core.web.answers.base import Count
from runai_core.web.answers.organization import NodeItem, NodeList
from runai_core.web.context import Door, Names, Who
from runai_core.web.views.organization import node_item

router = APIRouter(prefix="/api/v1", tags=["nodes"])

Listing = Annotated[listing.ListQuery, Query()]
Counting = Annotated[listing.CountQuery, Query()]

PLATFORMS: Mapping[str, str] = {"kubernetes": "vanilla"}
"""Backend -> platform of the cluster; the API has no word for the embedded one."""


@router.get("/nodes", summary="List nodes")
async def list_nodes(door: Door, actor: Who, names: Names, given: Listing) -> NodeList:
    """Each with its devices; simulated ones say so."""
    items = [node_item(node, names) for node in await door.organization.nodes(actor)]
    return page_of_nodes(items, given)


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


def page_of_nodes(items: Sequence[NodeItem], given: listing.ListQuery) -> NodeList:
    """Return the page that was asked for."""
    found = listing.sorted_by(listing.matching(items, given.filter_by, given.search), given.sort_by, given.sort_order)
    end = given.offset + given.limit
    return NodeList(nodes=tuple(found[given.offset : end]), next=end if end < len(found) else None)


def _found(nodes: Sequence[Node], reference: str) -> Node:
    for node in nodes:
        if reference in (node.meta.uid, node.name):
            return node
    raise NotFound(f"there is no node {reference[:80]}; there are: {', '.join(node.name for node in nodes[:20])}")
