"""Use cases of private credentials: each person has their own, and nobody else sees or uses them.

A workload names one as `userCredential`, and gets it only where its author is
the owner; in which project does not matter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from runai_core.lifecycle.secrets import private_name
from runai_core.model.assets import CREDENTIALS, Asset, AssetKind
from runai_core.model.errors import AlreadyExists, NotFound
from runai_core.model.meta import Meta
from runai_core.model.organization import Actor
from runai_core.ports import Backend, Filter, Op, Query
from runai_core.service.asset_scopes import PRIVATE
from runai_core.service.assets import AssetService, check_title


class PrivateCredentialService:
    """What anybody can do with their own credentials: no right is needed, and none lets at those of others."""

    def __init__(self, backend: Backend, assets: AssetService) -> None:
        self._store = backend.store
        self._assets = assets

    async def listed(self, actor: Actor, kinds: Sequence[AssetKind] = CREDENTIALS) -> Sequence[Asset]:
        """Return the actor's credentials of these kinds, by title."""
        mine = (Filter("scope_type", Op.EQ, PRIVATE), Filter("scope", Op.EQ, actor.name))
        found = (await self._store.list(Asset, Query(filters=mine, sort_by="title"))).items
        return [asset for asset in found if asset.kind in kinds]

    async def get(self, actor: Actor, uid: str, kinds: Sequence[AssetKind] = CREDENTIALS) -> Asset:
        """Return the actor's credential of this id; raise NotFound for one of somebody else as for none."""
        found = [asset for asset in await self.listed(actor, kinds) if asset.meta.uid == uid]
        if not found:
            raise NotFound(f"you have no such credential {uid[:80]}")
        return found[0]

    async def create(
        self, actor: Actor, kind: AssetKind, title: str, spec: Mapping[str, Any], description: str = ""
    ) -> Asset:
        """Keep a new credential of the actor.

        Raises:
            InvalidRequest: a field is wrong. AlreadyExists: the actor has one of this name.
        """
        check_title(title)
        meta = Meta(name=private_name(actor.name, title), created_by=actor.name, updated_by=actor.name)
        asset = Asset(meta=meta, kind=kind, title=title, scope_type=PRIVATE, scope=actor.name, description=description)
        try:
            return await self._store.create(await self._assets.filled(asset, spec))
        except AlreadyExists:
            raise AlreadyExists(f"you have a credential {title} already: choose another name") from None

    async def update(
        self,
        actor: Actor,
        uid: str,
        kinds: Sequence[AssetKind],
        *,
        spec: Mapping[str, Any] | None = None,
        description: str | None = None,
    ) -> Asset:
        """Change what is given; what starts from now on gets the new values."""
        asset = await self.get(actor, uid, kinds)
        changed = asset if description is None else replace(asset, description=description)
        if spec is not None:
            changed = await self._assets.filled(changed, spec)
        return await self._store.update(replace(changed, meta=replace(changed.meta, updated_by=actor.name)))

    async def delete(self, actor: Actor, uid: str, kinds: Sequence[AssetKind] = CREDENTIALS) -> Asset:
        """Delete a credential; what runs keeps what it was given."""
        return await self._store.delete(Asset, (await self.get(actor, uid, kinds)).meta.uid)
