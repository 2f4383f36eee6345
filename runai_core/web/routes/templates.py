"""Templates: paths for each type of workload, lists of all types, and the older form among the assets."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query

from runai_core import wire
from runai_core.model.assets import Template
from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.workload import WorkloadType
from runai_core.policy.tree import copied, drop_at
from runai_core.service.templates import TemplateDraft
from runai_core.web import listing
from runai_core.web.answers.assets import (
    Availability,
    OlderTemplate,
    OlderTemplateList,
    Pagination,
    TemplateItem,
    TemplateList,
)
from runai_core.web.answers.base import Count
from runai_core.web.asset_bodies import (
    AssetCreate,
    AssetListQuery,
    AssetUpdate,
    ScopeName,
    TemplateBody,
    TemplateCreate,
    TemplateListQuery,
    TemplatePatch,
    TemplateUpdate,
    UseQuery,
)
from runai_core.web.context import Door, Names, Who
from runai_core.web.listing import Column
from runai_core.web.merging import merged
from runai_core.web.routes.assets import scope_name
from runai_core.web.schemas import canonical
from runai_core.web.views.assets import asset_meta, template_item
from runai_core.web.views.units import Directory

TYPES: Mapping[str, WorkloadType] = {
    "workspaces": WorkloadType.WORKSPACE,
    "trainings": WorkloadType.TRAINING,
    "distributed": WorkloadType.DISTRIBUTED,
    "inferences": WorkloadType.INFERENCE,
    "distributed-inferences": WorkloadType.DISTRIBUTED_INFERENCE,
}
"""Part of the path -> type of workload."""

COLUMNS: Mapping[str, Column] = {
    "id": Column("meta.id"),
    "name": Column("meta.name"),
    "description": Column("meta.description"),
    "workloadType": Column("meta.workload_type"),
    "scopeType": Column("meta.scope_type"),
    "scopeId": Column("meta.scope_id"),
    "createdAt": Column("meta.created_at"),
    "createdBy": Column("meta.created_by"),
    "updatedAt": Column("meta.updated_at"),
    "updatedBy": Column("meta.updated_by"),
}
"""What lists of templates can be filtered and sorted by; times compare as ISO texts do."""

PREFIX = "/api/v1/workload-templates"


def routers() -> list[APIRouter]:
    """Return all routes: those with fixed words before those with ids."""
    return [_all(), *(_router(path, kind) for path, kind in TYPES.items()), _by_id(), _older()]


def _all() -> APIRouter:
    router = APIRouter(prefix=PREFIX, tags=["templates"])

    @router.get("", summary="List templates")
    async def listed(
        door: Door, actor: Who, names: Names, given: Annotated[TemplateListQuery, Query()]
    ) -> TemplateList:
        return _page(await door.templates.listed(actor), names, given)

    @router.get("/count", summary="Count templates")
    async def count(door: Door, actor: Who, names: Names, given: Annotated[listing.CountQuery, Query()]) -> Count:
        items = [template_item(item, names) for item in await door.templates.listed(actor)]
        return Count(count=len(listing.matching_items(items, COLUMNS, given.filter_by, given.search)))

    @router.get("/name-availability", summary="Ask whether a name is free")
    async def availability(
        door: Door,
        actor: Who,
        name: Annotated[str, Query(alias="templateName", max_length=253)],
        scope: Annotated[ScopeName, Query(alias="scopeType")],
        scope_id: Annotated[str, Query(alias="scopeId", max_length=253)] = "",
    ) -> Availability:
        unit = await scope_name(door, actor, scope, scope_id, scope_id)
        return Availability(available=await door.templates.is_free(actor, name, scope, unit))

    return router


def _by_id() -> APIRouter:
    router = APIRouter(prefix=PREFIX, tags=["templates"])

    @router.get("/{template_id}", summary="Get a template")
    async def get(template_id: str, door: Door, actor: Who, names: Names) -> TemplateItem:
        return template_item(await door.templates.get(actor, template_id), names)

    return router


def _router(path: str, kind: WorkloadType) -> APIRouter:
    router = APIRouter(prefix=f"{PREFIX}/{path}", tags=["templates"])
    _add_reading(router, kind)
    _add_changes(router, kind)
    return router


def _add_reading(router: APIRouter, kind: WorkloadType) -> None:
    @router.get("", summary=f"List templates: {kind}", operation_id=f"list_templates_{kind.value}")
    async def listed(
        door: Door, actor: Who, names: Names, given: Annotated[TemplateListQuery, Query()]
    ) -> TemplateList:
        return _page(await door.templates.listed(actor, kind), names, given)

    @router.get("/{template_id}", summary=f"Get a template: {kind}", operation_id=f"get_template_{kind.value}")
    async def get(template_id: str, door: Door, actor: Who, names: Names) -> TemplateItem:
        return template_item(await door.templates.get(actor, template_id, kind), names)

    @router.delete("/{template_id}", summary=f"Delete a template: {kind}", operation_id=f"delete_template_{kind.value}")
    async def delete(template_id: str, door: Door, actor: Who, names: Names) -> TemplateItem:
        return template_item(await door.templates.delete(actor, template_id, kind), names)


def _add_changes(router: APIRouter, kind: WorkloadType) -> None:
    @router.post(
        "", status_code=201, summary=f"Create a template: {kind}", operation_id=f"create_template_{kind.value}"
    )
    async def create(door: Door, actor: Who, names: Names, body: TemplateCreate) -> TemplateItem:
        meta = body.meta
        scope = await scope_name(door, actor, meta.scope_type, meta.scope_id, meta.scope_id)
        draft = TemplateDraft(
            title=meta.name,
            type=kind,
            scope_type=meta.scope_type,
            scope=scope,
            description=meta.description or "",
            **_content(body),
        )
        return template_item(await door.templates.create(actor, draft), names)

    @router.put("/{template_id}", summary=f"Replace a template: {kind}", operation_id=f"put_template_{kind.value}")
    async def update(template_id: str, door: Door, actor: Who, names: Names, body: TemplateUpdate) -> TemplateItem:
        old = await door.templates.get(actor, template_id, kind)
        draft = TemplateDraft(
            title=body.meta.name or old.title, type=kind, description=body.meta.description or "", **_content(body)
        )
        return template_item(await door.templates.replace(actor, template_id, draft), names)

    @router.patch("/{template_id}", summary=f"Change a template: {kind}", operation_id=f"patch_template_{kind.value}")
    async def patch(template_id: str, door: Door, actor: Who, names: Names, body: TemplatePatch) -> TemplateItem:
        old = await door.templates.get(actor, template_id, kind)
        return template_item(await door.templates.replace(actor, template_id, _patched(old, body)), names)


def _content(body: TemplateBody) -> dict[str, Any]:
    """Return what a template holds; the master's section counts only where the master differs."""
    differs = body.master is not None and body.master.spec is not None and not body.master_spec_same_as_worker
    master = canonical(body.master.spec, "master.spec") if differs and body.master and body.master.spec else None
    assets = {} if body.assets is None else wire.encode(body.assets)
    return {"spec": canonical(body.spec), "master_spec": master, "assets": assets}


def _patched(old: Template, body: TemplatePatch) -> TemplateDraft:
    spec = copied(old.spec)
    for path in body.fields_to_clear:
        drop_at(spec, path.removeprefix("spec."))
    content = _content(body)
    master = content["master_spec"]
    return TemplateDraft(
        title=body.meta.name or old.title,
        type=old.type,
        description=old.description if body.meta.description is None else body.meta.description,
        spec=merged(spec, content["spec"]),
        master_spec=old.master_spec if master is None else merged(dict(old.master_spec or {}), master),
        assets={**old.assets, **content["assets"]},
    )


def _page(found: Sequence[Template], names: Directory, given: TemplateListQuery) -> TemplateList:
    items = listing.matching_items(
        [template_item(item, names) for item in found], COLUMNS, given.filter_by, given.search
    )
    if given.sort_by:
        items = listing.ordered_items(items, COLUMNS, given.sort_by, given.sort_order)
    end = given.offset + given.limit
    return TemplateList(
        entries=tuple(items[given.offset : end]),
        pagination=Pagination(limit=given.limit, offset=given.offset, next_offset=end if end < len(items) else None),
    )


# -- the older form: an asset whose spec names assets, and fields of its own


def _older() -> APIRouter:
    router = APIRouter(prefix="/api/v1/asset/workload-template", tags=["templates"])
    _add_older_reading(router)
    _add_older_changes(router)
    return router


def _add_older_reading(router: APIRouter) -> None:
    @router.get("", summary="List templates in the older form")
    async def listed(
        door: Door, actor: Who, names: Names, given: Annotated[AssetListQuery, Query()]
    ) -> OlderTemplateList:
        found = [item for item in await door.templates.listed(actor) if given.name in ("", item.title)]
        return OlderTemplateList(entries=tuple(_older_item(item, names) for item in found))

    @router.get("/{template_id}", summary="Get a template in the older form")
    async def get(
        template_id: str,
        door: Door,
        actor: Who,
        names: Names,
        _given: Annotated[UseQuery, Query()],  # understood, and without effect
    ) -> OlderTemplate:
        return _older_item(await door.templates.get(actor, template_id), names)


def _add_older_changes(router: APIRouter) -> None:
    @router.post("", status_code=201, summary="Create a template in the older form")
    async def create(door: Door, actor: Who, names: Names, body: AssetCreate) -> OlderTemplate:
        meta = body.meta
        draft = TemplateDraft(
            title=meta.name,
            type=_type_of(body),
            scope_type=meta.scope,
            scope=await scope_name(door, actor, meta.scope, meta.department_id, meta.project_id),
            description=meta.description or "",
            **_older_content(body.spec),
        )
        return _older_item(await door.templates.create(actor, draft), names)

    @router.put("/{template_id}", summary="Replace a template in the older form")
    async def update(template_id: str, door: Door, actor: Who, names: Names, body: AssetUpdate) -> OlderTemplate:
        old = await door.templates.get(actor, template_id)
        content = {"spec": old.spec, "assets": old.assets} if body.spec is None else _older_content(body.spec)
        draft = TemplateDraft(
            title=body.meta.name or old.title,
            type=old.type,
            description=old.description if body.meta.description is None else body.meta.description,
            **content,
        )
        return _older_item(await door.templates.replace(actor, template_id, draft), names)

    @router.delete("/{template_id}", summary="Delete a template in the older form")
    async def delete(template_id: str, door: Door, actor: Who, names: Names) -> OlderTemplate:
        return _older_item(await door.templates.delete(actor, template_id), names)


def _type_of(body: AssetCreate) -> WorkloadType:
    """Return the only type that the template is for; the older form may name several."""
    given = body.meta.workload_supported_types
    types = {name: kind for name, kind in TYPES.items() if given is not None and getattr(given, name.rstrip("s"), None)}
    if len(types) != 1:
        message = "must name one of workspace, training, distributed and inference: a template is for one type"
        raise InvalidRequest.of(FieldError("meta.workloadSupportedTypes", message))
    return next(iter(types.values()))


def _older_content(spec: Mapping[str, Any]) -> dict[str, Any]:
    if unknown := sorted(set(spec) - {"assets", "specificEnv"}):
        raise InvalidRequest.of(FieldError(f"spec.{unknown[0]}", "unknown field; known are assets and specificEnv"))
    for name in ("assets", "specificEnv"):
        if not isinstance(spec.get(name) or {}, Mapping):
            raise InvalidRequest.of(FieldError(f"spec.{name}", "must be an object"))
    return {"spec": canonical(spec.get("specificEnv") or {}), "assets": dict(spec.get("assets") or {})}


def _older_item(template: Template, names: Directory) -> OlderTemplate:
    spec = {"assets": dict(template.assets), "specificEnv": dict(template.spec)}
    return OlderTemplate(meta=asset_meta(template, names), spec=spec)
