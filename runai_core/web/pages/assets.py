"""Assets: environments, compute resources, data sources, credentials and registries. Secrets are never shown."""

from collections.abc import Mapping, Sequence

from starlette.requests import Request
from starlette.responses import Response

from runai_core.bootstrap import Orchestrator
from runai_core.model.assets import Asset, AssetKind
from runai_core.model.errors import Forbidden, NotFound
from runai_core.model.organization import Action, Actor, Scope
from runai_core.service.assets import RESOURCES, AssetDraft
from runai_core.service.storage import ClassStatus
from runai_core.web.context import Door
from runai_core.web.pages import asset_form, editing, rights
from runai_core.web.pages.editing import NOTHING, Question, Refusal
from runai_core.web.pages.frame import Viewer, go_to, page, page_router
from runai_core.web.pages.inputs import Posted, posted_of, text_of
from runai_core.web.pages.listing import table_page
from runai_core.web.pages.storage_choice import with_classes
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
        request,
        "Assets",
        COLUMNS,
        rows,
        template="assets.html",
        kinds=asset_form.KINDS,
        groups={group: made for group, kinds in asset_form.GROUPS.items() if (made := _made(request, kinds))},
        only=only,
    )


@router.get("/new/{kind}")
async def new(request: Request, kind: str, door: Door, actor: Viewer) -> Response:
    """Show the form of a new asset."""
    of = _kind(kind)
    await door.access.require_anywhere(actor, Action.CREATE, RESOURCES[of])
    return await _form(request, door, actor, of, {})


@router.post("/new/{kind}")
async def create(request: Request, kind: str, door: Door, actor: Viewer) -> Response:
    """Create it, or show the form again with what is wrong."""
    of, posted = _kind(kind), posted_of((await request.form()).multi_items())
    spec, errors = asset_form.spec_of(of, posted)
    scope_type, _, scope = text_of(posted, "scope").partition("/")
    draft = AssetDraft(
        kind=of,
        title=text_of(posted, "meta.name"),
        scope_type=scope_type,
        scope=scope,
        description=text_of(posted, "description"),
        spec=spec,
    )
    created, refusal = await editing.tried(
        errors, lambda: door.assets.create(actor, draft), name="meta.name", moved=asset_form.at_scope
    )
    if created is None:
        return await _form(request, door, actor, of, posted, refusal)
    return go_to(request, "/assets", f"The {asset_form.KINDS[of]} {created.title} is there.")


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
    title, description = text_of(posted, "meta.name"), text_of(posted, "description")
    changed, refusal = await editing.tried(
        errors,
        lambda: door.assets.update(actor, uid, (asset.kind,), title=title, description=description, spec=spec),
        name="meta.name",
        moved=asset_form.at_scope,
    )
    if changed is None:
        return await _form(request, door, actor, asset, {**posted, "scope": [_scope(asset)]}, refusal)
    return go_to(request, "/assets", f"The {asset_form.KINDS[asset.kind]} {changed.title} is changed.")


@router.get("/{uid}/delete")
async def ask_delete(request: Request, uid: str, door: Door, actor: Viewer) -> Response:
    """Say what deleting it would mean."""
    asset = await door.assets.get(actor, uid)
    await door.access.require(actor, Action.DELETE, RESOURCES[asset.kind], _place(asset))
    return editing.ask(request, await _question(door, asset))


@router.post("/{uid}/delete")
async def delete(request: Request, uid: str, door: Door, actor: Viewer) -> Response:
    """Delete it, or say why that cannot be."""
    asset = await door.assets.get(actor, uid)
    notice = f"The {asset_form.KINDS[asset.kind]} {asset.title} is deleted."
    act = door.assets.delete(actor, uid, (asset.kind,))
    return await editing.deleted(request, await _question(door, asset), act, "/assets", notice)


def _made(request: Request, kinds: Sequence[AssetKind]) -> list[AssetKind]:
    """Return those of the kinds that who looks may make somewhere."""
    return [kind for kind in kinds if rights.may_somewhere(request, Action.CREATE, RESOURCES[kind])]


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


def _place(asset: Asset) -> Scope:
    return Scope(asset.scope_type, asset.scope)


def _posted(asset: Asset) -> Mapping[str, list[str]]:
    own = {"meta.name": [asset.title], "scope": [_scope(asset)], "description": [asset.description]}
    return {**own, **asset_form.posted_spec(asset.kind, asset.spec)}


async def _form(
    request: Request,
    door: Orchestrator,
    actor: Actor,
    of: AssetKind | Asset,
    posted: Posted,
    refusal: Refusal = NOTHING,
) -> Response:
    """Show the form of a new asset of a kind, or of one that exists."""
    asset, kind = (of, of.kind) if isinstance(of, Asset) else (None, of)
    scopes = await rights.scopes_for(door, actor, RESOURCES[kind]) if asset is None else ()
    credentials = await _credentials(door, actor)
    deeds = await rights.deeds_on(door, actor, RESOURCES[kind], _place(asset)) if asset else frozenset(Action)
    if asset is not None and asset.scope_type == "system":  # it comes with the product
        deeds = frozenset()
    sections = asset_form.sections_of(kind, posted, scopes, credentials, is_new=asset is None)
    if kind is AssetKind.PVC:
        sections = with_classes(sections, await _classes(door, actor, asset))
    return editing.thing_page(
        request,
        sections,
        refusal,
        prefixes=PREFIXES,
        noun=asset_form.KINDS[kind],
        name=asset.title if asset else None,
        deeds=deeds,
        help=await _said(door, asset) if asset else "",
        more=f"/assets/new/{kind.value}/row",
        back="/assets",
        delete=f"/assets/{asset.meta.uid}/delete" if asset else "",
    )


async def _said(door: Orchestrator, asset: Asset) -> str:
    """Return what should be known of an asset before it is changed."""
    usage = await door.assets.usage(asset)
    said = (
        "It comes with the product and cannot be changed." if asset.scope_type == "system" else "",
        f"Holds: {', '.join(asset.keys)}. What is secret is never shown." if asset.keys else "",
        f"In use by {usage}." if usage else "",
    )
    return " ".join(part for part in said if part)


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


async def _classes(door: Orchestrator, actor: Actor, asset: Asset | None) -> Sequence[ClassStatus]:
    """Return the storage classes of the cluster that a data source is for; none where they differ by cluster."""
    try:
        clusters = [item.cluster.meta.uid for item in await door.clusters.list(actor)]
        own = asset.scope if asset and asset.scope_type == "cluster" else ""
        cluster = own or (clusters[0] if len(clusters) == 1 else "")
        return await door.storage.classes(actor, cluster) if cluster else ()
    except Forbidden:
        return ()


async def _question(door: Orchestrator, asset: Asset) -> Question:
    usage = await door.assets.usage(asset)
    return Question(
        title=f"Delete the {asset_form.KINDS[asset.kind]} {asset.title}?",
        text="It can no longer be chosen; what it holds is lost. This cannot be undone.",
        inside=(f"used by {usage}",) if usage else (),
        back=f"/assets/{asset.meta.uid}",
    )
