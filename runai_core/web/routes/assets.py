"""Assets: one set of paths, made for each row of a table; and lists of several kinds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query

from runai_core.bootstrap import Orchestrator
from runai_core.model.assets import CREDENTIALS, DATA_SOURCES, Asset, AssetKind, SupportedTypes
from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.organization import TENANT, Action, Actor, Project
from runai_core.model.workload import POLICY_TYPES, WorkloadType
from runai_core.service.asset_fields import fields_of
from runai_core.service.asset_scopes import EVERYWHERE, covers
from runai_core.service.assets import AssetDraft
from runai_core.web.answers.assets import AssetItem, AssetList, Compliance, ComplianceReason, KeysAnew
from runai_core.web.asset_bodies import AssetCreate, AssetListQuery, AssetUpdate, UseQuery
from runai_core.web.context import Door, Names, Who
from runai_core.web.submissions import check_cluster
from runai_core.web.views.assets import asset_item
from runai_core.web.views.units import Directory

PREFIX = "/api/v1/asset"


@dataclass(frozen=True, slots=True)
class AssetPaths:
    """A kind of asset, its part of the path, and what people call it."""

    kind: AssetKind
    path: str
    words: str


PATHS: tuple[AssetPaths, ...] = (
    AssetPaths(AssetKind.ENVIRONMENT, "environment", "environment"),
    AssetPaths(AssetKind.COMPUTE, "compute", "compute resource"),
    AssetPaths(AssetKind.HOST_PATH, "datasource/host-path", "data source: host path"),
    AssetPaths(AssetKind.NFS, "datasource/nfs", "data source: NFS"),
    AssetPaths(AssetKind.PVC, "datasource/pvc", "data source: PVC"),
    AssetPaths(AssetKind.GIT, "datasource/git", "data source: git"),
    AssetPaths(AssetKind.S3, "datasource/s3", "data source: S3"),
    AssetPaths(AssetKind.CONFIG_MAP, "datasource/config-map", "data source: config map"),
    AssetPaths(AssetKind.SECRET, "datasource/secrets", "data source: secret"),
    AssetPaths(AssetKind.ACCESS_KEY, "credentials/access-key", "credential: access key"),
    AssetPaths(AssetKind.PASSWORD, "credentials/password", "credential: password"),
    AssetPaths(AssetKind.DOCKER_REGISTRY, "credentials/docker-registry", "credential: docker registry"),
    AssetPaths(AssetKind.GENERIC_SECRET, "credentials/generic-secret", "credential: generic secret"),
    AssetPaths(AssetKind.NGC_API_KEY, "credentials/ngc-api-key", "credential: NGC API key"),
    AssetPaths(AssetKind.REGISTRY, "registries", "image registry"),
)

GROUPS: Mapping[str, tuple[AssetKind, ...]] = {"datasource": DATA_SOURCES, "credentials": CREDENTIALS}
"""Part of the path -> the kinds that are listed together there."""


def routers() -> list[APIRouter]:
    """Return the routes of every kind."""
    return [_groups(), *(_router(row) for row in PATHS)]


def _groups() -> APIRouter:
    router = APIRouter(prefix=PREFIX, tags=["assets"])
    for path, kinds in GROUPS.items():
        _add_group(router, path, kinds)

    @router.post("/credentials/rotate-key", summary="Encrypt all credentials with a new key (ours)")
    async def rotate(door: Door, actor: Who) -> KeysAnew:
        """The old keys are forgotten; backups of the database made before need a backup of the old key."""
        await door.access.require(actor, Action.UPDATE, "security-settings", TENANT)
        return KeysAnew(credentials=await door.secrets.seal_anew())

    return router


def _add_group(router: APIRouter, path: str, kinds: Sequence[AssetKind]) -> None:
    @router.get(f"/{path}", summary=f"List assets: {path}", operation_id=f"list_assets_{path}")
    async def listed(door: Door, actor: Who, names: Names, given: Annotated[AssetListQuery, Query()]) -> AssetList:
        return await _list(door, actor, names, kinds, given, grouped=True)


def _router(row: AssetPaths) -> APIRouter:
    router = APIRouter(prefix=f"{PREFIX}/{row.path}", tags=["assets"])
    _add_reading(router, row)
    _add_changes(router, row)
    return router


def _add_reading(router: APIRouter, row: AssetPaths) -> None:
    kinds = (row.kind,)

    @router.get("", summary=f"List assets: {row.words}", operation_id=f"list_{row.kind.name.lower()}")
    async def listed(door: Door, actor: Who, names: Names, given: Annotated[AssetListQuery, Query()]) -> AssetList:
        return await _list(door, actor, names, kinds, given)

    @router.get("/{asset_id}", summary=f"Get an asset: {row.words}", operation_id=f"get_{row.kind.name.lower()}")
    async def get(
        asset_id: str, door: Door, actor: Who, names: Names, given: Annotated[UseQuery, Query()]
    ) -> AssetItem:
        return await _shown(door, actor, await door.assets.get(actor, asset_id, kinds), names, given)


def _add_changes(router: APIRouter, row: AssetPaths) -> None:
    kinds, key = (row.kind,), row.kind.name.lower()

    @router.post("", status_code=201, summary=f"Create an asset: {row.words}", operation_id=f"create_{key}")
    async def create(door: Door, actor: Who, names: Names, body: AssetCreate) -> AssetItem:
        cluster = await check_cluster(body.meta.cluster_id, door)
        scope = await scope_name(door, actor, body.meta.scope, body.meta.department_id, body.meta.project_id)
        draft = AssetDraft(
            kind=row.kind,
            title=body.meta.name,
            scope_type=body.meta.scope,
            scope=cluster if body.meta.scope == "cluster" and door.clusters.is_control_plane else scope,
            description=body.meta.description or "",
            supported=body.meta.workload_supported_types or SupportedTypes(),
            spec=body.spec,
        )
        return asset_item(await door.assets.create(actor, draft), names, key_id=_key(door, row.kind))

    @router.put("/{asset_id}", summary=f"Change an asset: {row.words}", operation_id=f"update_{key}")
    async def update(asset_id: str, door: Door, actor: Who, names: Names, body: AssetUpdate) -> AssetItem:
        meta = body.meta
        changed = await door.assets.update(
            actor, asset_id, kinds, title=meta.name, description=meta.description, spec=body.spec
        )
        return asset_item(changed, names, key_id=_key(door, row.kind))

    @router.delete("/{asset_id}", summary=f"Delete an asset: {row.words}", operation_id=f"delete_{key}")
    async def delete(asset_id: str, door: Door, actor: Who, names: Names) -> AssetItem:
        return asset_item(await door.assets.delete(actor, asset_id, kinds), names, key_id=_key(door, row.kind))


async def scope_name(
    door: Orchestrator, actor: Actor, scope: str, department: str | int | None, project: str | int | None
) -> str:
    """Return the name of the department or project that a scope is of; empty for the others."""
    given = {"department": department, "project": project}
    if scope not in given:
        return ""
    reference = given[scope]
    if reference is None:
        raise InvalidRequest.of(
            FieldError(f"meta.{scope}Id", f"is required with the scope {scope}: give its id or name")
        )
    units = door.organization
    find = units.get_department if scope == "department" else units.get_project
    return (await find(actor, str(reference))).name


async def _list(
    door: Orchestrator,
    actor: Actor,
    names: Directory,
    kinds: Sequence[AssetKind],
    given: AssetListQuery,
    *,
    grouped: bool = False,
) -> AssetList:
    found = [asset for asset in await door.assets.listed(actor, kinds) if await _wanted(door, actor, asset, given)]
    return AssetList(entries=tuple([await _shown(door, actor, item, names, given, grouped=grouped) for item in found]))


async def _wanted(door: Orchestrator, actor: Actor, asset: Asset, given: AssetListQuery) -> bool:
    """Return whether the list is to show it."""
    ids = given.asset_ids.split(",") if given.asset_ids else None
    if given.scope not in (None, asset.scope_type) or (ids is not None and asset.meta.uid not in ids):
        return False
    if given.name and asset.title != given.name:
        return False
    if given.project_id:
        return covers(asset, await door.organization.get_project(actor, given.project_id))
    if given.department_id:
        department = (await door.organization.get_department(actor, given.department_id)).name
        return asset.scope_type in EVERYWHERE or (asset.scope_type, asset.scope) == ("department", department)
    return True


async def _shown(
    door: Orchestrator, actor: Actor, asset: Asset, names: Directory, given: UseQuery, *, grouped: bool = False
) -> AssetItem:
    usage = await door.assets.usage(asset) if given.usage_info else None
    compliance = await _compliance(door, actor, asset, given)
    return asset_item(asset, names, key_id=_key(door, asset.kind), usage=usage, compliance=compliance, grouped=grouped)


async def _compliance(door: Orchestrator, actor: Actor, asset: Asset, given: UseQuery) -> Compliance | None:
    """Return what the policies of a project have against the asset; None where nobody asks."""
    if not given.comply_to_project or not given.comply_to_workload_type or asset.kind in CREDENTIALS:
        return None
    wanted = given.comply_to_workload_type.lower()
    kind = next((item for item in WorkloadType if item.value.lower() == wanted.removesuffix("s")), None)
    if kind is None or kind not in POLICY_TYPES or asset.kind is AssetKind.REGISTRY:
        message = f"must be one of {', '.join(item.value for item in POLICY_TYPES)}"
        raise InvalidRequest.of(FieldError("complyToWorkloadType", message, given.comply_to_workload_type))
    project: Project = await door.organization.get_project(actor, given.comply_to_project)
    spec = fields_of(asset, lambda uid: uid)
    evaluation = await door.policies.evaluate(POLICY_TYPES[kind], spec, project)
    own = set(spec) | {"security"}
    reasons = tuple(
        ComplianceReason(field=error.field, details=str(error))
        for error in evaluation.violations
        if error.field.partition(".")[0] in own
    )
    return Compliance(imposed=asset.meta.uid in evaluation.imposed_assets, compliance=not reasons, reason=reasons)


def _key(door: Orchestrator, kind: AssetKind) -> int:
    return door.assets.key_id if kind in CREDENTIALS else 0
