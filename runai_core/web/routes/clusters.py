"""Clusters of a tenant: which there are, how one joins, and what it has."""

import json
from typing import Annotated, Literal

import yaml
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from runai_core.model.meta import to_camel
from runai_core.model.nodes import Node
from runai_core.model.organization import Actor
from runai_core.web import listing
from runai_core.web.answers.base import Count
from runai_core.web.answers.clusters import ClusterItem, InstallInfo
from runai_core.web.answers.organization import NodeList
from runai_core.web.context import Door, Names, Who
from runai_core.web.routes.nodes import page_of_nodes
from runai_core.web.views.clusters import cluster_item
from runai_core.web.views.organization import node_item
from runai_core.web.views.units import iso

router = APIRouter(prefix="/api/v1/clusters", tags=["clusters"])
older = APIRouter(prefix="/v1/k8s/clusters", tags=["older paths"])

UNKEPT = {"Cache-Control": "no-store"}
"""Headers of what holds a secret."""

Listing = Annotated[listing.ListQuery, Query()]
Counting = Annotated[listing.CountQuery, Query()]
Asked = Annotated[listing.ClusterQuery, Query()]


class _Body(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, extra="forbid")


class ClusterCreate(_Body):
    """A cluster that will be connected."""

    name: Annotated[str, Field(max_length=253)]
    domain: Annotated[str, Field(max_length=253)] = ""


class InstallFileQuery(BaseModel):
    """What older clients say of a cluster that is to be installed; only the form of the answer is asked for."""

    model_config = ConfigDict(extra="forbid")
    cloud: Annotated[str, Field(max_length=64, description="Accepted: the chart is the same for all.")] = ""
    clusterip: Annotated[str, Field(max_length=1000, description="Accepted: clusters connect outward.")] = ""
    format: Literal["yaml", "json"] = "yaml"


class ClusterUpdate(_Body):
    """What of a cluster can be changed."""

    name: Annotated[str | None, Field(max_length=253, description="As it is: a cluster cannot be renamed.")] = None
    domain: Annotated[str, Field(max_length=253)] = ""


@router.get("", summary="List clusters")
async def list_clusters(door: Door, actor: Who, _given: Asked) -> tuple[ClusterItem, ...]:
    """The oldest first. An orchestrator without a control plane is one."""
    now = door.backend.clock.now()
    return tuple(cluster_item(item, now) for item in await door.clusters.list(actor))


@router.post("", status_code=201, summary="Create a cluster")
async def create_cluster(door: Door, actor: Who, body: ClusterCreate) -> ClusterItem:
    """It waits to be connected: see `cluster-install-info`."""
    created = await door.clusters.create(actor, body.name, body.domain)
    return cluster_item(created, door.backend.clock.now())


@router.get("/{cluster_uuid}", summary="Get a cluster")
async def get_cluster(cluster_uuid: str, door: Door, actor: Who, _given: Asked) -> ClusterItem:
    """By id or by name: its state, version and platform."""
    return cluster_item(await door.clusters.get(actor, cluster_uuid), door.backend.clock.now())


@router.put("/{cluster_uuid}", summary="Change a cluster")
async def update_cluster(cluster_uuid: str, door: Door, actor: Who, body: ClusterUpdate) -> ClusterItem:
    """Its domain."""
    changed = await door.clusters.update(actor, cluster_uuid, name=body.name, domain=body.domain)
    return cluster_item(changed, door.backend.clock.now())


@router.delete("/{cluster_uuid}", summary="Delete a cluster")
async def delete_cluster(cluster_uuid: str, door: Door, actor: Who) -> ClusterItem:
    """Forget it and what it reported; what runs there goes on."""
    shown = cluster_item(await door.clusters.get(actor, cluster_uuid), door.backend.clock.now())
    await door.clusters.delete(actor, cluster_uuid)
    if door.links is not None:
        await door.links.part(shown.uuid)
    return shown


@router.get("/{cluster_uuid}/cluster-install-info", summary="How to connect a cluster")
async def install_info(
    cluster_uuid: str, door: Door, actor: Who, request: Request, version: Annotated[str, Query()] = ""
) -> InstallInfo:
    """With a new token for one join; an older token ends."""
    del version  # the version of the agent is that of the package that runs it
    _, token, expires = await door.clusters.join_token(actor, cluster_uuid)
    address = str(request.base_url).rstrip("/")
    command = f"runai agent --control-plane {address} --join-token-file TOKEN_FILE"
    return InstallInfo(installation_str=command, join_token=token, expires_at=iso(expires))


@older.get("/{cluster_uuid}/installfile", summary="Values of the Helm chart for a cluster", response_class=Response)
async def install_file(
    cluster_uuid: str, door: Door, actor: Who, request: Request, given: Annotated[InstallFileQuery, Query()]
) -> Response:
    """As YAML or JSON: the address of this control plane, and a new token for one join; an older token ends."""
    _, token, _ = await door.clusters.join_token(actor, cluster_uuid)
    values = {"controlPlane": {"url": str(request.base_url).rstrip("/"), "joinToken": token}}
    if given.format == "json":
        return Response(json.dumps(values), media_type="application/json", headers=UNKEPT)
    return Response(yaml.safe_dump(values, sort_keys=False), media_type="application/yaml", headers=UNKEPT)


@router.get("/{cluster_uuid}/nodes", summary="List the nodes of a cluster")
async def list_cluster_nodes(cluster_uuid: str, door: Door, actor: Who, names: Names, given: Listing) -> NodeList:
    """As it reported them last."""
    nodes = await _nodes(door, actor, cluster_uuid)
    return page_of_nodes([node_item(node, names) for node in nodes], given)


@router.get("/{cluster_uuid}/nodes/count", summary="Count the nodes of a cluster")
async def count_cluster_nodes(cluster_uuid: str, door: Door, actor: Who, names: Names, given: Counting) -> Count:
    """How many match."""
    items = [node_item(node, names) for node in await _nodes(door, actor, cluster_uuid)]
    return Count(count=len(listing.matching(items, given.filter_by, given.search)))


async def _nodes(door: Door, actor: Actor, ref: str) -> tuple[Node, ...]:
    """Return the nodes of a cluster, for whoever may see nodes."""
    await door.organization.nodes(actor)  # asks for the right
    return (await door.clusters.get(actor, ref)).nodes
