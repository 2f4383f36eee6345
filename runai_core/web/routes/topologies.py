"""Network topologies: node labels from the widest level to the narrowest, for gangs that are kept near."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from runai_core.bootstrap import Orchestrator
from runai_core.model.meta import to_camel
from runai_core.service.topologies import TopologyStatus
from runai_core.web import listing
from runai_core.web.answers.base import Count
from runai_core.web.answers.topologies import NetworkTopologyItem, NetworkTopologyList
from runai_core.web.context import Door, Who
from runai_core.web.listing import Column
from runai_core.web.schemas import Body, Name
from runai_core.web.views.units import TENANT_ID, iso

router = APIRouter(prefix="/api/v1/network-topologies", tags=["network topologies"])

COLUMNS = {
    "id": Column("id"),
    "name": Column("name"),
    "clusterId": Column("cluster_id"),
    "phase": Column("phase"),
    "source": Column("source"),
    "createdAt": Column("created_at"),
    "createdBy": Column("created_by"),
}
"""What lists can be filtered by."""


class TopologyQuery(BaseModel):
    """Which network topologies."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, extra="forbid")
    filter_by: Annotated[tuple[str, ...], Field(max_length=50, description="Conditions such as name==x.")] = ()


class NetworkTopologyCreate(Body):
    """A network topology to create."""

    name: Name
    cluster_id: Annotated[str, Field(max_length=253, description="Id of the cluster; the only one if left out.")] = ""
    levels: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=317)]],
        Field(max_length=100, description="Keys of node labels, from the widest level to the narrowest."),
    ]


@router.get("", summary="List network topologies")
async def list_topologies(door: Door, actor: Who, given: Annotated[TopologyQuery, Query()]) -> NetworkTopologyList:
    """Those that were made here, and those that clusters have."""
    return NetworkTopologyList(network_topologies=tuple(await _matching(door, actor, given)))


@router.get("/count", summary="Count network topologies")
async def count_topologies(door: Door, actor: Who, given: Annotated[TopologyQuery, Query()]) -> Count:
    """How many match."""
    return Count(count=len(await _matching(door, actor, given)))


@router.post("", status_code=201, summary="Create a network topology")
async def create_topology(door: Door, actor: Who, body: NetworkTopologyCreate) -> NetworkTopologyItem:
    """Its levels stay as they are; node pools name it with `networkTopologyId`."""
    return await _item(door, await door.topologies.create(actor, body.cluster_id, body.name, body.levels))


@router.get("/{topology_id}", summary="Get a network topology")
async def get_topology(topology_id: str, door: Door, actor: Who) -> NetworkTopologyItem:
    """By id or by name."""
    return await _item(door, await door.topologies.get(actor, topology_id))


@router.delete("/{topology_id}", summary="Delete a network topology")
async def delete_topology(topology_id: str, door: Door, actor: Who) -> NetworkTopologyItem:
    """No node pool may use it."""
    return await _item(door, await door.topologies.delete(actor, topology_id))


async def _matching(door: Orchestrator, actor: Who, given: TopologyQuery) -> list[NetworkTopologyItem]:
    items = [await _item(door, status) for status in await door.topologies.listed(actor)]
    return listing.matching_items(items, COLUMNS, given.filter_by, "")


async def _item(door: Orchestrator, status: TopologyStatus) -> NetworkTopologyItem:
    topology = status.topology
    return NetworkTopologyItem(
        id=topology.meta.uid,
        name=topology.name,
        levels=topology.levels,
        cluster_id=topology.scope or await door.clusters.default_id(),
        tenant_id=TENANT_ID,
        created_at=iso(topology.meta.created_at),
        created_by=topology.meta.created_by,
        phase="Ready" if status.ready else "Creating",
        source="Run.ai" if status.is_ours else "Cluster",
        node_pools=status.pools,
    )
