"""From assets, templates and data volumes to the API's form."""

from collections.abc import Mapping
from typing import Any

from runai_core import wire
from runai_core.model.assets import CREDENTIALS, Asset, AssetKind, DataVolume, Template
from runai_core.model.workload import Workload, WorkloadType
from runai_core.service.assets import Usage
from runai_core.web.answers.assets import (
    AssetItem,
    AssetMeta,
    AssetUsers,
    Compliance,
    DataVolumeItem,
    DataVolumeStatus,
    Reference,
    Runnable,
    SharedWith,
    TemplateItem,
    TemplateMaster,
    TemplateMeta,
)
from runai_core.web.views.units import TENANT_ID, Directory, iso

SECTION: Mapping[AssetKind, str] = {
    AssetKind.CONFIG_MAP: "config_map",
    AssetKind.SECRET: "secret",
}
"""Kind -> member of the spec in lists of several kinds, where it is not the kind itself."""

GROUPS: Mapping[str, tuple[WorkloadType, ...]] = {
    "workspaces": (WorkloadType.WORKSPACE,),
    "trainings": (WorkloadType.TRAINING,),
    "distributed": (WorkloadType.DISTRIBUTED,),
    "inferences": (WorkloadType.INFERENCE, WorkloadType.DISTRIBUTED_INFERENCE),
}


def asset_meta(asset: Asset | Template, names: Directory) -> AssetMeta:
    """Return name, scope and story."""
    project = asset.scope if asset.scope_type == "project" else None
    return AssetMeta(
        id=asset.meta.uid,
        name=asset.title,
        kind=asset.kind.value if isinstance(asset, Asset) else "workload-template",
        description=asset.description or None,
        scope=asset.scope_type,
        cluster_id=(asset.scope or names.cluster_id) if asset.scope_type == "cluster" else None,
        department_id=names.departments.get(asset.scope) if asset.scope_type == "department" else None,
        project_id=names.projects.get(project) if project else None,
        project_name=project,
        workload_supported_types=wire.encode(asset.supported) if isinstance(asset, Asset) else {},
        tenant_id=TENANT_ID,
        created_by=asset.meta.created_by,
        created_at=iso(asset.meta.created_at),
        updated_by=asset.meta.updated_by or asset.meta.created_by,
        updated_at=iso(asset.meta.updated_at or asset.meta.created_at),
    )


def asset_item(
    asset: Asset,
    names: Directory,
    *,
    key_id: int = 0,
    usage: Usage | None = None,
    compliance: Compliance | None = None,
    grouped: bool = False,
) -> AssetItem:
    """Return an asset; `grouped` puts its fields below its kind, as in lists of several kinds."""
    spec = dict(asset.spec)
    if asset.kind in CREDENTIALS:
        spec["keyId"] = key_id
        if asset.kind is AssetKind.GENERIC_SECRET and asset.keys:
            spec["keyValuePairs"] = [{"key": key} for key in asset.keys]
    return AssetItem(
        meta=asset_meta(asset, names),
        spec={SECTION.get(asset.kind, asset.kind.value): spec} if grouped else spec,
        used_by=None if usage is None else _users(usage),
        compliance=compliance,
    )


def template_item(template: Template, names: Directory) -> TemplateItem:
    """Return a template."""
    scope = {
        "department": names.departments.get(template.scope),
        "project": names.projects.get(template.scope),
        "cluster": names.cluster_id,
        "tenant": str(TENANT_ID),
    }.get(template.scope_type)
    runnable = bool(template.spec.get("image") or template.spec.get("command") or template.assets.get("environment"))
    return TemplateItem(
        meta=TemplateMeta(
            id=template.meta.uid,
            name=template.title,
            description=template.description or None,
            workload_type=template.type.value,
            scope_type=template.scope_type,
            scope_id=scope or template.scope,
            cluster_id=names.cluster_id,
            department_id=scope if template.scope_type == "department" else None,
            project_id=scope if template.scope_type == "project" else None,
            created_by=template.meta.created_by,
            created_at=iso(template.meta.created_at),
            updated_by=template.meta.updated_by or template.meta.created_by,
            updated_at=iso(template.meta.updated_at or template.meta.created_at),
        ),
        spec=dict(template.spec),
        assets=dict(template.assets),
        master_spec_same_as_worker=template.master_spec is None,
        master=None if template.master_spec is None else TemplateMaster(spec=dict(template.master_spec)),
        runnable=Runnable(is_runnable=runnable, issue=None if runnable else "it names no image and no environment"),
    )


def data_volume_item(volume: DataVolume, names: Directory) -> DataVolumeItem:
    """Return a data volume."""
    return DataVolumeItem(
        id=volume.meta.uid,
        name=volume.meta.name,
        description=volume.description or None,
        origin_pvc_name=volume.claim_name,
        project_id=names.projects.get(volume.meta.project, volume.meta.project),
        project_name=volume.meta.project,
        cluster_id=names.cluster_id,
        shared_scopes=shared_with(volume, names),
        status=DataVolumeStatus(datavolume_pvc_name=volume.claim_name),
        created_by=volume.meta.created_by,
        created_at=iso(volume.meta.created_at),
        updated_by=volume.meta.updated_by or volume.meta.created_by,
        updated_at=iso(volume.meta.updated_at or volume.meta.created_at),
    )


def shared_with(volume: DataVolume, names: Directory) -> tuple[SharedWith, ...]:
    """Return with whom a data volume is shared."""
    return tuple(_scope(text, names) for text in volume.shared)


def _scope(text: str, names: Directory) -> SharedWith:
    scope_type, _, name = text.partition("/")
    ids: Mapping[str, str | None] = {
        "department": names.departments.get(name),
        "project": names.projects.get(name),
        "cluster": names.cluster_id,
        "tenant": str(TENANT_ID),
    }
    return SharedWith(scope_type=scope_type, scope_id=ids.get(scope_type) or name, scope_name=name or scope_type)


def _users(usage: Usage) -> AssetUsers:
    groups: dict[str, Any] = {
        name: tuple(_reference(item) for item in usage.workloads if item.type in types)
        for name, types in GROUPS.items()
    }
    templates = tuple(Reference(id=item.meta.uid, name=item.title) for item in usage.templates)
    count = len(usage.workloads) + len(usage.templates) + len(usage.assets) + len(usage.policies)
    return AssetUsers(templates=templates, count=count, **groups)


def _reference(workload: Workload) -> Reference:
    return Reference(id=workload.meta.uid, name=workload.name, status=workload.phase.value)
