"""One's own credentials: one set of paths for each kind, and a list of all (ours)."""

from fastapi import APIRouter

from runai_core.model.assets import CREDENTIALS
from runai_core.web.answers.assets import AssetItem, AssetList
from runai_core.web.asset_bodies import AssetUpdate, PrivateCreate
from runai_core.web.context import Door, Names, Who
from runai_core.web.routes.assets import PATHS, AssetPaths
from runai_core.web.views.assets import asset_item

PREFIX = "/api/v1/me"


def routers() -> list[APIRouter]:
    """Return the routes of every kind of credential, and of their list."""
    router = APIRouter(prefix=f"{PREFIX}/credentials", tags=["users"])

    @router.get("", summary="List one's own credentials (ours)")
    async def list_private_credentials(door: Door, actor: Who, names: Names) -> AssetList:
        """Nobody else sees them; what is secret is never shown."""
        found = await door.private_credentials.listed(actor)
        key = door.assets.key_id
        return AssetList(entries=tuple(asset_item(item, names, key_id=key, grouped=True) for item in found))

    return [router, *(_router(row) for row in PATHS if row.kind in CREDENTIALS)]


def _router(row: AssetPaths) -> APIRouter:
    router, kinds, key = APIRouter(prefix=f"{PREFIX}/{row.path}", tags=["users"]), (row.kind,), row.kind.name.lower()
    words = row.words.partition(": ")[2]

    @router.get("", summary=f"List one's own: {words} (ours)", operation_id=f"list_my_{key}")
    async def listed(door: Door, actor: Who, names: Names) -> AssetList:
        found = await door.private_credentials.listed(actor, kinds)
        return AssetList(entries=tuple(asset_item(item, names, key_id=door.assets.key_id) for item in found))

    @router.post("", status_code=201, summary=f"Keep one's own: {words} (ours)", operation_id=f"create_my_{key}")
    async def create(door: Door, actor: Who, names: Names, body: PrivateCreate) -> AssetItem:
        """Workloads of one's own name it as `userCredential`."""
        meta, mine = body.meta, door.private_credentials
        made = await mine.create(actor, row.kind, meta.name, body.spec, meta.description or "")
        return asset_item(made, names, key_id=door.assets.key_id)

    @router.get("/{asset_id}", summary=f"Get one's own: {words} (ours)", operation_id=f"get_my_{key}")
    async def get(asset_id: str, door: Door, actor: Who, names: Names) -> AssetItem:
        found = await door.private_credentials.get(actor, asset_id, kinds)
        return asset_item(found, names, key_id=door.assets.key_id)

    @router.put("/{asset_id}", summary=f"Change one's own: {words} (ours)", operation_id=f"update_my_{key}")
    async def update(asset_id: str, door: Door, actor: Who, names: Names, body: AssetUpdate) -> AssetItem:
        """It keeps its name."""
        changed = await door.private_credentials.update(
            actor, asset_id, kinds, spec=body.spec, description=body.meta.description
        )
        return asset_item(changed, names, key_id=door.assets.key_id)

    @router.delete("/{asset_id}", summary=f"Delete one's own: {words} (ours)", operation_id=f"delete_my_{key}")
    async def delete(asset_id: str, door: Door, actor: Who, names: Names) -> AssetItem:
        """What runs keeps what it was given."""
        gone = await door.private_credentials.delete(actor, asset_id, kinds)
        return asset_item(gone, names, key_id=door.assets.key_id)

    return router
