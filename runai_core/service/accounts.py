"""Use cases of service accounts, of applications as the first versions of the API call them, and of access keys.

A secret is returned when it is made, and never again: only its hash is kept.
"""

import re
import secrets
from dataclasses import replace

from runai_core.model.assets import Asset
from runai_core.model.errors import AlreadyExists, FieldError, InvalidRequest, NotFound
from runai_core.model.identity import AccessKey, Session, SubjectType
from runai_core.model.meta import Meta
from runai_core.model.organization import TENANT, AccessRule, Action, Actor, ServiceAccount
from runai_core.ports import Backend, Filter, Op, Page, Query
from runai_core.service.access import AccessService
from runai_core.service.asset_scopes import PRIVATE
from runai_core.service.tokens import first_generation, hash_of, new_secret
from runai_core.service.users import delete_all, require_over

NAME = re.compile(r"[a-z][-_a-z0-9]*[a-z0-9]")
NAME_RULE = "must be 2 to 253 lower-case letters, digits, '-' and '_', beginning with a letter"
LONGEST_NAME = 253

RESOURCES = {SubjectType.SERVICE_ACCOUNT.value: "service-account", SubjectType.APP.value: "apps"}


class AccountService:
    """What can be done with the identities of machines. `kind` is service-account or app."""

    def __init__(self, backend: Backend, access: AccessService) -> None:
        self._store = backend.store
        self._clock = backend.clock
        self._access = access

    async def list(self, actor: Actor, kind: str, query: Query) -> Page[ServiceAccount]:
        """Return the accounts that match."""
        await self._access.require(actor, Action.READ, RESOURCES[kind])
        return await self._store.list(
            ServiceAccount, replace(query, filters=(*query.filters, Filter("kind", Op.EQ, kind)))
        )

    async def get(self, actor: Actor, kind: str, ref: str) -> ServiceAccount:
        """Return the account of this client id or id."""
        await self._access.require(actor, Action.READ, RESOURCES[kind])
        return await self._find(kind, ref)

    async def create(self, actor: Actor, kind: str, name: str) -> tuple[ServiceAccount, str]:
        """Create an account; return it and its secret. It may do nothing until an access rule says so."""
        await self._access.require(actor, Action.CREATE, RESOURCES[kind])
        if len(name) > LONGEST_NAME or not NAME.fullmatch(name):
            raise InvalidRequest.of(FieldError("name", NAME_RULE, name[:80]))
        secret = new_secret()
        meta = Meta(name=name, created_by=actor.name)
        try:
            made = await self._store.create(
                ServiceAccount(
                    meta=meta, client_id=name, secret_hash=hash_of(secret), kind=kind, generation=first_generation()
                )
            )
        except AlreadyExists:
            raise AlreadyExists(f"there is an account {name} already", {"kind": kind, "name": name}) from None
        return made, secret

    async def enable(self, actor: Actor, kind: str, ref: str, *, enabled: bool) -> ServiceAccount:
        """Let an account in again, or no longer; its tokens are worthless at once."""
        found = await self.over(actor, Action.UPDATE, kind, ref)
        await self._end_sessions(found)
        return await self._store.update(replace(found, enabled=enabled, generation=found.generation + 1))

    async def new_secret(self, actor: Actor, kind: str, ref: str) -> tuple[ServiceAccount, str]:
        """Replace the secret; the old one, all tokens issued for it and all sessions are worthless at once."""
        found, secret = await self.over(actor, Action.UPDATE, kind, ref), new_secret()
        await self._end_sessions(found)
        changed = replace(found, secret_hash=hash_of(secret), generation=found.generation + 1)
        return await self._store.update(changed), secret

    async def delete(self, actor: Actor, kind: str, ref: str) -> ServiceAccount:
        """Delete an account with its access rules, keys, sessions and private credentials."""
        found = await self.over(actor, Action.DELETE, kind, ref)
        await self._end_sessions(found)
        for machine in RESOURCES:
            await delete_all(self._store, AccessRule, "subject", found.client_id, ("subject_type", machine))
        await delete_all(self._store, AccessKey, "holder", found.client_id, ("holder_type", found.kind))
        await delete_all(self._store, Asset, "scope", found.client_id, ("scope_type", PRIVATE))
        return await self._store.delete(ServiceAccount, found.meta.uid)

    async def _end_sessions(self, account: ServiceAccount) -> None:
        """End the sessions of browsers that a link signed in as the account."""
        for machine in RESOURCES:
            await delete_all(self._store, Session, "subject", account.client_id, ("subject_type", machine))

    # -- access keys

    async def list_keys(self, actor: Actor) -> tuple[AccessKey, ...]:
        """Return one's own access keys, by name."""
        mine = (Filter("holder", Op.EQ, actor.name), Filter("holder_type", Op.EQ, actor.kind))
        return (await self._store.list(AccessKey, Query(filters=mine, sort_by="meta.name"))).items

    async def list_all_keys(self, actor: Actor, query: Query) -> Page[AccessKey]:
        """Return everybody's access keys."""
        await self._access.require(actor, Action.READ, "access-keys")
        return await self._store.list(AccessKey, query)

    async def create_key(self, actor: Actor, name: str, *, seconds: float | None = None) -> tuple[AccessKey, str]:
        """Create a key with which programs act as who asks; return it and its secret."""
        if len(name) > LONGEST_NAME or not NAME.fullmatch(name):
            raise InvalidRequest.of(FieldError("name", NAME_RULE, name[:80]))
        if any(key.name == name for key in await self.list_keys(actor)):
            raise AlreadyExists(f"you have an access key {name} already", {"kind": "AccessKey", "name": name})
        client_id, secret = f"key-{secrets.token_hex(8)}", new_secret()
        expires = None if seconds is None else self._clock.now() + seconds
        key = AccessKey(
            meta=Meta(name=client_id, labels={"name": name}, created_by=actor.name),
            client_id=client_id,
            secret_hash=hash_of(secret),
            holder=actor.name,
            holder_type=actor.kind,
            expires_at=expires,
        )
        return await self._store.create(key), secret

    async def get_key(self, actor: Actor, ref: str) -> AccessKey:
        """Return one of one's own keys, by name, client id or id."""
        for key in await self.list_keys(actor):
            if ref in (key.meta.uid, key.client_id, key.name):
                return key
        raise NotFound(f"you have no access key {ref[:80]}")

    async def new_key_secret(self, actor: Actor, ref: str) -> tuple[AccessKey, str]:
        """Replace a key's secret; the old one and its tokens are worthless at once."""
        key, secret = await self.get_key(actor, ref), new_secret()
        changed = replace(key, secret_hash=hash_of(secret), generation=key.generation + 1)
        return await self._store.update(changed), secret

    async def delete_key(self, actor: Actor, ref: str) -> AccessKey:
        """Delete one of one's own keys; its tokens are worthless at once."""
        return await self._store.delete(AccessKey, (await self.get_key(actor, ref)).meta.uid)

    async def delete_any_key(self, actor: Actor, uid: str) -> AccessKey:
        """Delete somebody else's key."""
        await self._access.require(actor, Action.DELETE, "access-keys")
        return await self._store.delete(AccessKey, uid)

    async def over(self, actor: Actor, action: Action, kind: str, ref: str) -> ServiceAccount:
        """Return an account that the actor may change: whoever has its secret has all of its rights."""
        await self._access.require_anywhere(actor, action, RESOURCES[kind])
        found = await self._find(kind, ref)
        subjects = [(machine, found.client_id) for machine in RESOURCES]
        if role := found.meta.labels.get("role"):
            await self._access.require_grantable(actor, role, TENANT)
        await require_over(self._access, actor, action, RESOURCES[kind], subjects, found.meta.created_by)
        return found

    async def _find(self, kind: str, ref: str) -> ServiceAccount:
        try:
            found = await self._store.get(ServiceAccount, ref)
        except NotFound:
            try:
                found = await self._store.get_by_uid(ServiceAccount, ref)
            except NotFound:
                raise NotFound(f"there is no {kind} {ref[:80]}") from None
        if found.kind != kind or found.meta.deleted_at is not None:
            raise NotFound(f"there is no {kind} {ref[:80]}")
        return found
