"""What administrators set for the whole tenant while it runs: sessions, sign-in, ownership, notifications."""

from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from runai_core.model.errors import AlreadyExists, FieldError, InvalidRequest, NotFound, StaleVersion
from runai_core.model.identity import IdentityProvider, TenantSettings
from runai_core.model.meta import Meta
from runai_core.model.organization import Action, Actor
from runai_core.ports import Backend, Store
from runai_core.service.access import AccessService

NAME = "tenant"


class TenantSettingsService:
    """Reads and changes them; what is changed holds for the next request."""

    def __init__(self, backend: Backend, access: AccessService) -> None:
        self._store: Store = backend.store
        self._access = access

    async def current(self) -> TenantSettings:
        """Return them, for our own use."""
        return await self._access.settings.read()

    async def get(self, actor: Actor, resource: str) -> TenantSettings:
        """Return them to somebody who may read this part."""
        await self._access.require(actor, Action.READ, resource)
        return await self.current()

    async def change(self, actor: Actor, resource: str, **changes: Any) -> TenantSettings:
        """Change what is given.

        Raises:
            InvalidRequest: a value cannot be used; names it.
        """
        await self._access.require(actor, Action.UPDATE, resource)
        await self._check(changes)
        while True:
            try:
                kept = await self._store.get(TenantSettings, NAME)
                return await self._store.update(replace(kept, **changes))
            except NotFound:
                new = TenantSettings(meta=Meta(name=NAME, created_by=actor.name))
                try:
                    return await self._store.create(replace(new, **changes))
                except AlreadyExists:  # two at once: the second one changes what the first one made
                    continue
            except StaleVersion:
                continue

    async def _check(self, changes: dict[str, Any]) -> None:
        if alias := changes.get("sso_alias"):
            try:
                await self._store.get(IdentityProvider, alias)
            except NotFound:
                message = "there is no such identity provider: see /api/v1/idps"
                raise InvalidRequest.of(FieldError("idpAlias", message, alias[:80])) from None
        if uri := changes.get("logout_uri"):
            parts = urlsplit(uri)
            if parts.scheme not in ("http", "https") or not parts.netloc or not uri.isprintable():
                raise InvalidRequest.of(FieldError("uri", "must begin with http:// or https://", uri[:200]))
