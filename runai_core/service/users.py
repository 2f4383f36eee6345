"""Use cases of users: making them, their passwords, signing them out, taking them away."""

import re
import secrets
from collections.abc import Iterable
from dataclasses import replace

from runai_core.model.assets import Asset
from runai_core.model.errors import AlreadyExists, FieldError, Forbidden, InvalidRequest, NotFound
from runai_core.model.identity import AccessKey, Session, SubjectType, User
from runai_core.model.meta import Meta
from runai_core.model.organization import TENANT, AccessRule, Action, Actor, Scope
from runai_core.ports import Backend, Filter, Op, Page, Query, Store, Stored
from runai_core.service.access import AccessService
from runai_core.service.asset_scopes import PRIVATE
from runai_core.service.passwords import Passwords, check_password

RESOURCE = "users"

NAME = re.compile(r"[a-z0-9][a-z0-9._%+-]{0,63}@[a-z0-9.-]{1,190}")
MOST_EARLIER = 12
"""How many earlier passwords of somebody are remembered, as hashes."""

NAME_RULE = "must be an e-mail address, for example jane@example.com"


class UserService:
    """What can be done with users."""

    def __init__(self, backend: Backend, access: AccessService, passwords: Passwords) -> None:
        self._store = backend.store
        self._clock = backend.clock
        self._access = access
        self._passwords = passwords

    async def list(self, actor: Actor, query: Query) -> Page[User]:
        """Return the users that match."""
        await self._access.require(actor, Action.READ, RESOURCE)
        return await self._store.list(User, query)

    async def get(self, actor: Actor, ref: str) -> User:
        """Return the user of this name or id."""
        await self._access.require(actor, Action.READ, RESOURCE)
        return await self._find(ref)

    async def create(
        self, actor: Actor, name: str, password: str = "", *, must_change: bool = True
    ) -> tuple[User, str]:
        """Create a local user; without a password one is drawn. Return the user and the password, shown this once.

        Raises:
            InvalidRequest: the name is no e-mail address, or the password is easily guessed.
            AlreadyExists: there is such a user.
        """
        await self._access.require(actor, Action.CREATE, RESOURCE)
        name = name.strip().lower()
        if not NAME.fullmatch(name):
            raise InvalidRequest.of(FieldError("email", NAME_RULE, name[:80]))
        if password:
            check_password(password, await self._access.settings.read(), name=name)
        password = password or drawn_password()
        hashed = await self._passwords.hash(password)
        user = User(meta=Meta(name=name, created_by=actor.name), password_hash=hashed, must_change_password=must_change)
        try:
            return await self._store.create(user), password
        except AlreadyExists:
            raise AlreadyExists(f"there is a user {name} already", {"kind": "User", "name": name}) from None

    async def delete(self, actor: Actor, ref: str) -> User:
        """Delete a user with all access rules, keys, credentials of their own and sessions; submitted work stays."""
        user = await self.over(actor, Action.DELETE, ref)
        if actor.kind == SubjectType.USER and actor.name == user.name:
            raise Forbidden("you cannot delete yourself: ask another administrator")
        await delete_all(self._store, AccessRule, "subject", user.name, ("subject_type", SubjectType.USER.value))
        await delete_all(self._store, AccessKey, "holder", user.name, ("holder_type", SubjectType.USER.value))
        await delete_all(self._store, Asset, "scope", user.name, ("scope_type", PRIVATE))
        await self._end_sessions(user)
        return await self._store.delete(User, user.meta.uid)

    async def reset_password(self, actor: Actor, ref: str) -> tuple[User, str]:
        """Give a local user a drawn password that must be changed at once; all sessions end."""
        user = self._local(await self.over(actor, Action.UPDATE, ref))
        password = drawn_password()
        hashed = await self._passwords.hash(password)
        await self._end_sessions(user)
        changed = replace(with_password(user, hashed, self._clock.now()), must_change_password=True)
        return await self._store.update(changed), password

    async def sign_out(self, actor: Actor, ref: str) -> int:
        """End all sessions of a user; return how many there were."""
        if actor.kind == SubjectType.USER and ref == actor.name:
            return await self._end_sessions(await self._find(ref))
        return await self._end_sessions(await self.over(actor, Action.UPDATE, ref))

    async def enable(self, actor: Actor, ref: str, *, enabled: bool) -> User:
        """Let a user in again, or no longer."""
        user = await self.over(actor, Action.UPDATE, ref)
        if not enabled:
            await self._end_sessions(user)
        return await self._store.update(replace(user, disabled=not enabled))

    @staticmethod
    def _local(user: User) -> User:
        if user.provider:
            raise Forbidden(f"{user.name} signs in through {user.provider}: the password is kept there")
        return user

    async def _end_sessions(self, user: User) -> int:
        return await end_sessions(self._store, user)

    async def over(self, actor: Actor, action: Action, ref: str) -> User:
        """Return a user whom the actor may change: who could sign in as another must have all of the other's rights."""
        await self._access.require_anywhere(actor, action, RESOURCE)
        user = await self._find(ref)
        subjects = [
            (SubjectType.USER.value, user.name),
            *((SubjectType.GROUP.value, group) for group in user.groups),
        ]
        await require_over(self._access, actor, action, RESOURCE, subjects, user.meta.created_by)
        return user

    async def _find(self, ref: str) -> User:
        try:
            return await self._store.get(User, ref.strip().lower())
        except NotFound:
            pass
        try:
            found = await self._store.get_by_uid(User, ref)
        except NotFound:
            raise NotFound(f"there is no user {ref[:80]}") from None
        if found.meta.deleted_at is not None:
            raise NotFound(f"user {found.name} was deleted")
        return found


def with_password(user: User, hashed: str, now: float) -> User:
    """Return a user with a new password; the one before is remembered."""
    earlier = (user.password_hash, *user.earlier_passwords)[:MOST_EARLIER] if user.password_hash else ()
    return replace(
        user, password_hash=hashed, must_change_password=False, password_set_at=now, earlier_passwords=earlier
    )


async def end_sessions(store: Store, user: User) -> int:
    """End all sessions of a user; return how many there were."""
    return await delete_all(store, Session, "subject", user.name, ("subject_type", SubjectType.USER.value))


def drawn_password() -> str:
    """Return a password that nobody guesses and everybody can type."""
    return "-".join(secrets.token_hex(3) for _ in range(4))


async def require_over(
    access: AccessService,
    actor: Actor,
    action: Action,
    resource: str,
    subjects: Iterable[tuple[str, str]],
    created_by: str,
) -> None:
    """Raise Forbidden unless the actor has all rights of these subjects; one without any belongs to its maker."""
    rules = await access.places.rules_for(subjects)
    for rule in rules:
        await access.require_grantable(actor, rule.role, Scope(rule.scope_type, rule.scope))
    if not rules and created_by != actor.name:
        await access.require(actor, action, resource, TENANT)


async def delete_all(store: Store, kind: type[Stored], field: str, value: str, *also: tuple[str, str]) -> int:
    """Delete every object whose field has the value; return how many there were."""
    filters = tuple(Filter(name, Op.EQ, wanted) for name, wanted in ((field, value), *also))
    found = (await store.list(kind, Query(filters=filters))).items
    for item in found:
        try:
            await store.delete(kind, item.meta.uid)
        except NotFound:
            continue
    return len(found)
