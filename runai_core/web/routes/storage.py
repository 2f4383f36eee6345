"""Storage classes of clusters, and what administrators say of them."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from runai_core import wire
from runai_core.bootstrap import Orchestrator
from runai_core.model.assets import AssetKind
from runai_core.model.audit import AuditAction, AuditEntry
from runai_core.model.meta import to_camel
from runai_core.model.storage import StorageClassConfiguration, StorageCustomization, StoragePermissions
from runai_core.service.storage import ClassStatus
from runai_core.web import listing
from runai_core.web.answers.storage import (
    ClaimEvent,
    ClaimHistory,
    ClaimRecord,
    ClaimRecordMeta,
    ClaimRecordSpec,
    ConfigurationItem,
    ConfigurationList,
    OlderItem,
    OlderList,
    OlderSpec,
    StorageClassItem,
    StorageClassList,
    StorageClassNames,
    StorageClassSpec,
)
from runai_core.web.context import Door, Who
from runai_core.web.listing import Column
from runai_core.web.merging import merged
from runai_core.web.schemas import Body
from runai_core.web.views.units import TENANT_ID, iso

classes = APIRouter(tags=["storage classes"])
router = APIRouter(prefix="/api/v1/storage-class-configuration", tags=["storage classes"])

Tenant = Annotated[int, Query(alias="tenantId")]

COLUMNS = {"id": Column("id"), "name": Column("name"), "scopeId": Column("scope_id"), "scopeType": Column("scope_type")}
"""What configurations can be filtered and sorted by."""


class ClassQuery(BaseModel):
    """Which storage classes."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, extra="forbid")
    cluster_id: Annotated[str, Field(max_length=253, description="Id or name; the only cluster if left out.")] = ""
    name: Annotated[str, Field(max_length=253, description="Only the one of this name.")] = ""
    include_none: Annotated[bool, Field(description="Also the one that stands for volumes made by hand.")] = False


class HistoryQuery(BaseModel):
    """Which part of a history."""

    model_config = ConfigDict(extra="forbid")
    offset: Annotated[int, Field(ge=0, le=2**31)] = 0
    limit: Annotated[int, Field(ge=1, le=listing.MAX_LIMIT)] = listing.DEFAULT_LIMIT


class ConfigurationUpdate(Body):
    """What is said of a storage class."""

    tenant_id: int | None = None
    permissions: StoragePermissions | None = None
    customization: StorageCustomization | None = None


class ConfigurationCreate(ConfigurationUpdate):
    """What is said of a storage class of a cluster."""

    scope_type: Literal["cluster"] = "cluster"
    scope_id: Annotated[str, Field(max_length=253, description="Id of the cluster.")]
    name: Annotated[str, Field(min_length=1, max_length=253, description="Name of the storage class.")]


@classes.get("/api/v2/storage-classes", summary="List storage classes")
async def list_classes(door: Door, actor: Who, given: Annotated[ClassQuery, Query()]) -> StorageClassList:
    """As the cluster has them now, each with what is said of it."""
    uid, found = await _asked(door, actor, given)
    return StorageClassList(items=tuple(_shown(uid, item) for item in found))


@classes.get("/api/v1/storage-classes", summary="List storage classes (older form)")
async def list_classes_v1(door: Door, actor: Who, given: Annotated[ClassQuery, Query()]) -> OlderList:
    """As the cluster has them now."""
    uid, found = await _asked(door, actor, given)
    return OlderList(items=tuple(_older(uid, item) for item in found))


@classes.get("/v1/k8s/clusters/{cluster_id}/storage-classes", summary="Names of storage classes (oldest form)")
async def list_names(
    cluster_id: str,
    door: Door,
    actor: Who,
    include_none: Annotated[bool, Query(alias="includeNone")] = False,  # noqa: FBT002 - a value of the API
) -> StorageClassNames:
    """As the cluster has them now."""
    found = await door.storage.classes(actor, cluster_id, static=include_none)
    return StorageClassNames(storage_classes=tuple(item.storage_class.name for item in found))


@classes.get("/api/v1/asset/datasource/pvc/{asset_id}/history", summary="The story of a data source: PVC")
async def claim_history(asset_id: str, door: Door, actor: Who, given: Annotated[HistoryQuery, Query()]) -> ClaimHistory:
    """Who made and changed it, newest first, for as long as the audit log is kept."""
    asset = await door.assets.get(actor, asset_id, (AssetKind.PVC,))
    page = await door.audit.story(asset.meta.uid, offset=given.offset, limit=given.limit)
    cluster = await door.clusters.default_id()
    records = tuple(_record(entry, cluster) for entry in page.items)
    return ClaimHistory(records=records, next=listing.next_offset(page, given.offset))


@router.get("", summary="List configurations of storage classes")
async def list_configurations(
    door: Door, actor: Who, given: Annotated[listing.ListQuery, Query()]
) -> ConfigurationList:
    """One for each class of which something is said."""
    items = [await _item(door, item) for item in await door.storage.configurations(actor)]
    found = listing.matching_items(items, COLUMNS, given.filter_by, given.search)
    found = listing.ordered_items(found, COLUMNS, given.sort_by, given.sort_order)
    end = given.offset + given.limit
    return ConfigurationList(
        storage_class_configurations=tuple(found[given.offset : end]), next=end if end < len(found) else None
    )


@router.post("", status_code=201, summary="Configure a storage class")
async def create_configuration(door: Door, actor: Who, body: ConfigurationCreate) -> ConfigurationItem:
    """Say what its claims may be, and are if nothing else is asked for."""
    permissions, customization = body.permissions or StoragePermissions(), body.customization or StorageCustomization()
    return await _item(door, await door.storage.create(actor, body.scope_id, body.name, permissions, customization))


@router.get("/{configuration_id}", summary="Get the configuration of a storage class")
async def get_configuration(
    configuration_id: str, door: Door, actor: Who, tenant_id: Tenant = TENANT_ID
) -> ConfigurationItem:
    """By id."""
    del tenant_id  # there is one
    return await _item(door, await door.storage.get(actor, configuration_id))


@router.put("/{configuration_id}", summary="Replace the configuration of a storage class")
async def replace_configuration(
    configuration_id: str,
    door: Door,
    actor: Who,
    body: ConfigurationUpdate,
    tenant_id: Tenant = TENANT_ID,
) -> ConfigurationItem:
    """What is left out is not said any more."""
    del tenant_id
    permissions, customization = body.permissions or StoragePermissions(), body.customization or StorageCustomization()
    return await _item(door, await door.storage.update(actor, configuration_id, permissions, customization))


@router.patch("/{configuration_id}", summary="Change the configuration of a storage class")
async def patch_configuration(
    configuration_id: str,
    door: Door,
    actor: Who,
    body: ConfigurationUpdate,
    tenant_id: Tenant = TENANT_ID,
) -> ConfigurationItem:
    """What is left out stays."""
    del tenant_id
    found = await door.storage.get(actor, configuration_id)
    permissions = _over(StoragePermissions, found.permissions, body.permissions)
    customization = _over(StorageCustomization, found.customization, body.customization)
    return await _item(door, await door.storage.update(actor, configuration_id, permissions, customization))


@router.delete("/{configuration_id}", summary="Forget the configuration of a storage class")
async def delete_configuration(
    configuration_id: str, door: Door, actor: Who, tenant_id: Tenant = TENANT_ID
) -> ConfigurationItem:
    """The class itself stays as it is."""
    del tenant_id
    return await _item(door, await door.storage.delete(actor, configuration_id))


async def _asked(door: Orchestrator, actor: Who, given: ClassQuery) -> tuple[str, list[ClassStatus]]:
    """Return the cluster's id, and those of its classes that were asked for."""
    cluster = given.cluster_id or await door.clusters.default_id()
    uid = (await door.clusters.get(actor, cluster)).cluster.meta.uid
    found = await door.storage.classes(actor, uid, static=given.include_none)
    return uid, [item for item in found if given.name in ("", item.storage_class.name)]


def _shown(cluster: str, status: ClassStatus) -> StorageClassItem:
    sort, said = status.storage_class, status.configuration
    spec = StorageClassSpec(
        provisioner=sort.provisioner, allow_volume_expansion=sort.allow_volume_expansion, is_default=sort.is_default
    )
    return StorageClassItem(
        cluster_id=cluster,
        storage_class_name=sort.name,
        spec=spec,
        permissions=None if said is None else said.permissions,
        customization=None if said is None else said.customization,
    )


def _older(cluster: str, status: ClassStatus) -> OlderItem:
    shown = _shown(cluster, status)
    spec = OlderSpec.model_validate(shown.spec.model_dump())
    return OlderItem(cluster_id=cluster, storage_class_name=shown.storage_class_name, Spec=spec)


async def _item(door: Orchestrator, found: StorageClassConfiguration) -> ConfigurationItem:
    return ConfigurationItem(
        id=found.meta.uid,
        tenant_id=TENANT_ID,
        scope_type=found.scope_type,
        scope_id=found.scope or await door.clusters.default_id(),
        name=found.storage_class,
        permissions=found.permissions,
        customization=found.customization,
    )


DEEDS: Mapping[str, str] = {AuditAction.CREATE: "created", AuditAction.UPDATE: "changed", AuditAction.DELETE: "deleted"}


def _record(entry: AuditEntry, cluster: str) -> ClaimRecord:
    at, deed = iso(entry.meta.created_at), DEEDS.get(entry.action, entry.action)
    event = ClaimEvent(
        id=entry.meta.uid,
        created_at=at,
        type="Normal",
        cluster_id=cluster,
        reason=deed.capitalize(),
        message=f"{deed} by {entry.subject}",
        source="control plane",
    )
    meta = ClaimRecordMeta(creation_timestamp=at, type="Event")
    return ClaimRecord(meta=meta, spec=ClaimRecordSpec(event=event))


def _over(kind: type[Any], old: Any, given: Any) -> Any:
    """Return the rules with what was given of them laid over."""
    if given is None:
        return old
    before: Mapping[str, Any] = wire.encode(old)
    return wire.decode(kind, merged(before, wire.encode(given)))
