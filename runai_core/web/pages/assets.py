"""Assets: environments, compute resources, data sources, credentials and registries. Secrets are never shown."""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from runai_core.bootstrap import Orchestrator
from runai_core.model.assets import Asset, AssetKind
from runai_core.model.errors import (
    AlreadyExists,
    Conflict,
    FieldError,
    Forbidden,
    InvalidRequest,
    NotFound,
    Unsupported,
)
from runai_core.model.organization import Actor
from runai_core.ports import Query
from runai_core.service.assets import AssetDraft
from runai_core.web.context import Door
from runai_core.web.pages import asset_form
from runai_core.web.pages.frame import Viewer, go_to, page, page_router
from runai_core.web.pages.inputs import Posted, posted_of, text_of, with_errors
from runai_core.web.pages.listing import table_page
from runai_core.web.pages.tables import Cell, Column

router = page_router("/assets")

COLUMNS = (
    Column("name", "Name"),
    Column("kind", "Kind"),
    Column("scope", "Scope"),
    Column("description", "Description", wrap=True),
    Column("by", "Created by"),
    Column("created", "Created"),
)

PREFIXES = ("spec.",)


@router.get("")
async def list_assets(request: Request, door: Door, actor: Viewer) -> Response:
    """Show all assets that the viewer may see, or those of one kind."""
    only = request.query_params.get("kind", "")
    kinds = tuple(kind for kind in AssetKind if only in ("", kind.value))
    rows = [_row(item) for item in await door.assets.listed(actor, kinds)] if kinds else []
    return table_page(
        request, "assets.html", "Assets", COLUMNS, rows, kinds=asset_form.KINDS, groups=asset_form.GROUPS, only=only
    )


@router.get("/new/{kind}")
async def new(request: Request, kind: str, door: Door, actor: Viewer) -> Response:
    """Show the form of a new asset."""
    return await _form(request, door, actor, _kind(kind), {"scope": ["tenant"]})


@router.post("/new/{kind}")
async def create(request: Request, kind: str, door: Door, actor: Viewer) -> Response:
    """Create it, or show the form again with what is wrong."""
    of, posted = _kind(kind), posted_of((await request.form()).multi_items())
    spec, errors = asset_form.spec_of(of, posted)
    scope_type, _, scope = text_of(posted, "scope").partition("/")
    if not errors:
        draft = AssetDraft(
            kind=of,
            title=text_of(posted, "meta.name"),
            scope_type=scope_type,
            scope=scope,
            description=text_of(posted, "description"),
            spec=spec,
        )
        try:
            created = await door.assets.create(actor, draft)
        except InvalidRequest as error:
            errors = asset_form.problems_of(error)
        except AlreadyExists as error:
            errors = [FieldError("meta.name", error.message)]
        else:
            return go_to(request, "/assets", f"The {asset_form.KINDS[of]} {created.title} is there.")
    return await _form(request, door, actor, of, posted, errors)


@router.get("/new/{kind}/row")
async def row(request: Request, kind: str, _actor: Viewer, path: str) -> Response:
    """Return one more empty row of a table."""
    return page(request, "form_row.html", cells=asset_form.table_of(_kind(kind), path, {}, is_new=True).columns)


@router.get("/{uid}")
async def show(request: Request, uid: str, door: Door, actor: Viewer) -> Response:
    """Show one asset, to be changed, and who uses it."""
    asset = await door.assets.get(actor, uid)
    return await _form(request, door, actor, asset, _posted(asset))


@router.post("/{uid}")
async def update(request: Request, uid: str, door: Door, actor: Viewer) -> Response:
    """Change it, or show the form again with what is wrong."""
    asset = await door.assets.get(actor, uid)
    posted = posted_of((await request.form()).multi_items())
    spec, errors = asset_form.spec_of(asset.kind, posted)
    if not errors:
        try:
            await door.assets.update(
                actor,
                uid,
                (asset.kind,),
                title=text_of(posted, "meta.name"),
                description=text_of(posted, "description"),
                spec=spec,
            )
        except InvalidRequest as error:
            errors = asset_form.problems_of(error)
        except (AlreadyExists, Unsupported) as error:
            errors = [FieldError("meta.name", error.message)]
        else:
            return go_to(request, "/assets", f"The {asset_form.KINDS[asset.kind]} {asset.title} is changed.")
    return await _form(request, door, actor, asset, {**posted, "scope": [_scope(asset)]}, errors)


@router.get("/{uid}/delete")
async def ask_delete(request: Request, uid: str, door: Door, actor: Viewer) -> Response:
    """Say what deleting it would mean."""
    asset = await door.assets.get(actor, uid)
    return page(request, "delete.html", **await _question(door, asset), error="")


@router.post("/{uid}/delete")
async def delete(request: Request, uid: str, door: Door, actor: Viewer) -> Response:
    """Delete it, or say why that cannot be."""
    asset = await door.assets.get(actor, uid)
    try:
        await door.assets.delete(actor, uid, (asset.kind,))
    except (Conflict, Unsupported) as error:
        return page(request, "delete.html", status=409, **await _question(door, asset), error=error.message)
    return go_to(request, "/assets", f"The {asset_form.KINDS[asset.kind]} {asset.title} is deleted.")


async def scopes_of(door: Orchestrator, actor: Actor) -> tuple[str, ...]:
    """Return the scopes that things can be kept in, as forms have them."""
    departments = (await door.organization.list_departments(actor, Query(sort_by="meta.name"))).items
    projects = (await door.organization.list_projects(actor, Query(sort_by="meta.name"))).items
    named = [f"department/{item.name}" for item in departments] + [f"project/{item.name}" for item in projects]
    return ("tenant", "cluster", *named)


def _kind(name: str) -> AssetKind:
    try:
        return AssetKind(name)
    except ValueError:
        raise NotFound(f"there are no assets of the kind {name[:80]}; there are: {', '.join(AssetKind)}") from None


def _row(asset: Asset) -> dict[str, Cell]:
    return {
        "name": Cell(text=asset.title, link=f"/assets/{asset.meta.uid}"),
        "kind": Cell(text=asset_form.KINDS[asset.kind]),
        "scope": Cell(text=_scope(asset).replace("/", " ")),
        "description": Cell(text=asset.description),
        "by": Cell(text=asset.meta.created_by or "the product"),
        "created": Cell(time=asset.meta.created_at),
    }


def _scope(asset: Asset) -> str:
    return f"{asset.scope_type}/{asset.scope}" if asset.scope else asset.scope_type


def _posted(asset: Asset) -> Mapping[str, list[str]]:
    own = {"meta.name": [asset.title], "scope": [_scope(asset)], "description": [asset.description]}
    return {**own, **asset_form.posted_spec(asset.kind, asset.spec)}


async def _form(
    request: Request,
    door: Orchestrator,
    actor: Actor,
    of: AssetKind | Asset,
    posted: Posted,
    errors: Sequence[FieldError] = (),
) -> Response:
    """Show the form of a new asset of a kind, or of one that exists."""
    asset, kind = (of, of.kind) if isinstance(of, Asset) else (None, of)
    scopes = await scopes_of(door, actor) if asset is None else ()
    credentials = await _credentials(door, actor)
    sections, problems = with_errors(
        asset_form.sections_of(kind, posted, scopes, credentials, is_new=asset is None), errors, PREFIXES
    )
    return page(
        request,
        "asset.html",
        status=422 if errors else 200,
        title=f"{asset_form.KINDS[kind].capitalize()} {asset.title}" if asset else f"New {asset_form.KINDS[kind]}",
        sections=sections,
        problems=problems,
        asset=asset,
        kind=kind,
        usage=await door.assets.usage(asset) if asset else None,
    )


async def _credentials(door: Orchestrator, actor: Actor) -> dict[AssetKind, list[tuple[str, str]]]:
    """Return id and title of the credentials that the viewer may name."""
    found: dict[AssetKind, list[tuple[str, str]]] = {}
    try:
        listed = await door.assets.listed(actor, tuple(asset_form.CREDENTIAL_OF.values()))
    except Forbidden:
        return found
    for asset in listed:
        found.setdefault(asset.kind, []).append((asset.meta.uid, asset.title))
    return found


async def _question(door: Orchestrator, asset: Asset) -> dict[str, Any]:
    usage = await door.assets.usage(asset)
    return {
        "title": f"Delete the {asset_form.KINDS[asset.kind]} {asset.title}?",
        "text": "It can no longer be chosen; what it holds is lost. This cannot be undone.",
        "inside": [f"used by {usage}"] if usage else [],
        "back": f"/assets/{asset.meta.uid}",
    }
