"""Data volumes: claims of one project that others may mount to read."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query

from runai_core.bootstrap import Orchestrator
from runai_core.model.assets import DataVolume
from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.organization import Actor, Scope
from runai_core.service.asset_scopes import is_shared
from runai_core.web import listing
from runai_core.web.answers.assets import (
    Availability,
    DataVolumeItem,
    DataVolumeList,
    SharedScopes,
)
from runai_core.web.answers.base import Count
from runai_core.web.asset_bodies import (
    DataVolumeCountQuery,
    DataVolumeCreate,
    DataVolumeListQuery,
    DataVolumePatch,
    SharedScope,
    SharedScopesPatch,
)
from runai_core.web.context import Door, Names, Who
from runai_core.web.listing import Column
from runai_core.web.routes.assets import scope_name
from runai_core.web.submissions import check_cluster
from runai_core.web.views.assets import data_volume_item, shared_with

router = APIRouter(prefix="/api/v1/datavolumes", tags=["data volumes"])

COLUMNS = {
    "id": Column("id"),
    "name": Column("name"),
    "description": Column("description"),
    "projectId": Column("project_id"),
    "projectName": Column("project_name"),
    "originPvcName": Column("origin_pvc_name"),
    "createdAt": Column("created_at"),
    "createdBy": Column("created_by"),
    "updatedAt": Column("updated_at"),
}
"""What lists can be filtered and sorted by."""


@router.get("", summary="List data volumes")
async def list_data_volumes(
    door: Door, actor: Who, names: Names, given: Annotated[DataVolumeListQuery, Query()]
) -> DataVolumeList:
    """Those of one's projects, and those that are shared with them."""
    items = [data_volume_item(item, names) for item in await _usable(door, actor, given)]
    found = listing.matching_items(items, COLUMNS, given.filter_by, given.search)
    found = listing.ordered_items(found, COLUMNS, given.sort_by, given.sort_order)
    end = given.offset + given.limit
    return DataVolumeList(datavolumes=tuple(found[given.offset : end]), next=end if end < len(found) else None)


@router.get("/count", summary="Count data volumes")
async def count_data_volumes(
    door: Door, actor: Who, names: Names, given: Annotated[DataVolumeCountQuery, Query()]
) -> Count:
    """How many match."""
    items = [data_volume_item(item, names) for item in await _usable(door, actor, given)]
    return Count(count=len(listing.matching_items(items, COLUMNS, given.filter_by, given.search)))


@router.get("/name-availability", summary="Ask whether a name is free")
async def availability(
    door: Door,
    actor: Who,
    name: Annotated[str, Query(alias="dataName", max_length=253)],
    cluster: Annotated[str, Query(alias="clusterId", max_length=253)] = "",
) -> Availability:
    """Names are unique in a project; this asks for all that one sees."""
    await check_cluster(cluster, door)
    return Availability(available=all(item.meta.name != name for item in await door.data_volumes.listed(actor)))


@router.post("", status_code=201, summary="Create a data volume")
async def create_data_volume(door: Door, actor: Who, names: Names, body: DataVolumeCreate) -> DataVolumeItem:
    """From a claim in the project's namespace."""
    project = await door.organization.get_project(actor, body.project_id)
    created = await door.data_volumes.create(
        actor, project.name, body.name, body.origin_pvc_name, body.description or ""
    )
    return data_volume_item(created, names)


@router.get("/{datavolume_id}", summary="Get a data volume")
async def get_data_volume(datavolume_id: str, door: Door, actor: Who, names: Names) -> DataVolumeItem:
    """By id."""
    return data_volume_item(await door.data_volumes.get(actor, datavolume_id), names)


@router.patch("/{datavolume_id}", summary="Change a data volume")
async def patch_data_volume(
    datavolume_id: str, door: Door, actor: Who, names: Names, body: DataVolumePatch
) -> DataVolumeItem:
    """Its description."""
    return data_volume_item(await door.data_volumes.describe(actor, datavolume_id, body.description), names)


@router.delete("/{datavolume_id}", summary="Delete a data volume")
async def delete_data_volume(datavolume_id: str, door: Door, actor: Who, names: Names) -> DataVolumeItem:
    """The claim stays."""
    return data_volume_item(await door.data_volumes.delete(actor, datavolume_id), names)


@router.get("/{datavolume_id}/shared-scopes", summary="List with whom a data volume is shared")
async def get_shared_scopes(datavolume_id: str, door: Door, actor: Who, names: Names) -> SharedScopes:
    """Scopes whose projects may mount it."""
    return SharedScopes(shared_scopes=shared_with(await door.data_volumes.get(actor, datavolume_id), names))


@router.patch("/{datavolume_id}/shared-scopes", summary="Change with whom a data volume is shared")
async def patch_shared_scopes(
    datavolume_id: str, door: Door, actor: Who, names: Names, body: SharedScopesPatch
) -> SharedScopes:
    """Scopes to add and to take away."""
    changed = await door.data_volumes.share(
        actor,
        datavolume_id,
        add=await _scopes(door, actor, body.add),
        remove=await _scopes(door, actor, body.remove),
    )
    return SharedScopes(shared_scopes=shared_with(changed, names))


async def _usable(
    door: Orchestrator, actor: Actor, given: DataVolumeListQuery | DataVolumeCountQuery
) -> Sequence[DataVolume]:
    """Return the data volumes that were asked for; raise InvalidRequest where the project is missing."""
    found = await door.data_volumes.listed(actor)
    if given.request_type != "UsableInProject":
        return found
    if not given.usable_in_project_id:
        raise InvalidRequest.of(FieldError("usableInProjectId", "is required with requestType UsableInProject"))
    project = await door.organization.get_project(actor, given.usable_in_project_id)
    return [item for item in found if is_shared(item, project)]


async def _scopes(door: Orchestrator, actor: Actor, given: Sequence[SharedScope]) -> list[Scope]:
    return [
        Scope(item.scope_type, await scope_name(door, actor, item.scope_type, item.scope_id, item.scope_id))
        for item in given
    ]
