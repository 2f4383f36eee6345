"""Proving who one is with a password, and what stands in the way of guessing it.

Failures are counted for the name and for the address they come from; beyond a
few, each further one locks that name or address for twice as long. The counts
are stored, so that neither a restart nor another replica forgets them.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from runai_core.model.errors import (
    AlreadyExists,
    FieldError,
    Forbidden,
    InvalidRequest,
    NotFound,
    StaleVersion,
    TooManyRequests,
    Unauthenticated,
)
from runai_core.model.identity import Attempts, SubjectType, User
from runai_core.model.meta import Meta
from runai_core.model.organization import Actor
from runai_core.ports import Backend, Filter, Op, Query
from runai_core.service.access import AccessService
from runai_core.service.passwords import Passwords, check_password
from runai_core.service.users import end_sessions, with_password

LONGEST_LOCK = 900.0
"""Seconds for which a name or address is locked at most: long enough against guessing, short enough for its owner."""

FORGOTTEN_AFTER = 3600.0
"""Seconds after the last failure when earlier ones no longer count."""

DAY = 86400.0

WRONG = "user name or password is wrong"


@dataclass(frozen=True, slots=True)
class Patience:
    """How many failures are free before each locks, first for a second, then twice as long."""

    free: int


PATIENCE: Mapping[str, Patience] = {"account": Patience(5), "address": Patience(20)}


class MustChangePassword(Forbidden):
    """The password is right, and must be changed before anything else."""


class SignInService:
    """Checks passwords, and slows down who guesses."""

    def __init__(self, backend: Backend, access: AccessService, passwords: Passwords) -> None:
        self._store = backend.store
        self._clock = backend.clock
        self._access = access
        self._passwords = passwords

    async def with_password(self, name: str, password: str, *, new: str = "", address: str = "") -> Actor:
        """Return who this is; with a new password, it is the user's from now on.

        Raises:
            Unauthenticated: name or password is wrong; which of them is not told.
            TooManyRequests: there were too many failures for the name or from the address.
            MustChangePassword: it is right, and good for nothing but to be changed.
            Forbidden: the user was disabled.
            InvalidRequest: the new password is easily guessed, or the same.
        """
        user = await self._proved(name, password, address)
        if new:
            user = await self._changed(user, password, new)
        elif user.must_change_password:
            raise MustChangePassword("the password must be changed first: give a new one")
        elif await self._is_too_old(user):
            raise MustChangePassword("the password is too old and must be changed: give a new one")
        await self._note_login(user, new or password)
        return await self._access.actor(SubjectType.USER.value, user.name)

    async def _changed(self, user: User, old: str, new: str) -> User:
        """Return the user with the new password, and end all sessions; raise InvalidRequest for one that is not taken.

        That it is an earlier one is told: who asks has just shown the present one.
        """
        rules = await self._access.settings.read()
        if new == old:
            raise InvalidRequest.of(FieldError("newPassword", "must differ from the current one"))
        check_password(new, rules, name=user.name, field="newPassword")
        if await self._passwords.is_any(new, user.earlier_passwords[: rules.pass_history]):
            message = f"must be none of the last {rules.pass_history + 1} passwords"
            raise InvalidRequest.of(FieldError("newPassword", message))
        hashed = await self._passwords.hash(new)
        await end_sessions(self._store, user)
        return await self._store.update(with_password(user, hashed, self._clock.now()))

    async def _is_too_old(self, user: User) -> bool:
        days = (await self._access.settings.read()).pass_days
        since = user.meta.created_at if user.password_set_at is None else user.password_set_at
        return days is not None and self._clock.now() - since > days * DAY

    async def change_password(self, actor: Actor, current: str, new: str, *, address: str = "") -> None:
        """Change one's own password; all sessions end. Raise as `with_password` does."""
        if actor.kind != SubjectType.USER:
            raise Forbidden("only users have passwords; a service account gets a new secret instead")
        await self.with_password(actor.name, current, new=new, address=address)

    async def _proved(self, name: str, password: str, address: str) -> User:
        name = name.strip().lower()
        watched = [("account", name), *([("address", address)] if address else [])]
        for kind, what in watched:
            await self.require_unlocked(kind, what)
        user = await self._user(name)
        is_right = await self._passwords.is_right(password, user.password_hash if user else "")
        for kind, what in watched:  # many tries at once learn no more than the first few of them
            await self.require_unlocked(kind, what)
        if not is_right or user is None:
            for kind, what in watched:
                await self.note_failure(kind, what)
            raise Unauthenticated(WRONG)
        if user.disabled:
            raise Forbidden(f"{user.name} was disabled: ask an administrator")
        await self.forget_failures("account", name)
        return user

    async def require_unlocked(self, kind: str, what: str) -> None:
        """Raise TooManyRequests while a name or address is locked."""
        found = await self._attempts(kind, what)
        wait = (found.locked_until if found else 0.0) - self._clock.now()
        if wait > 0:
            message = f"too many failed tries: wait {max(1, round(wait))} s"
            raise TooManyRequests(message, {"retryAfterSeconds": max(1, round(wait))})

    async def note_failure(self, kind: str, what: str) -> None:
        """Count a failure, and lock for a growing time."""
        for _ in range(8):  # somebody else may be counting at the same time
            now, found = self._clock.now(), await self._attempts(kind, what)
            before = found.failures if found and now - found.last < FORGOTTEN_AFTER else 0
            over = before + 1 - PATIENCE[kind].free
            until = now + min(LONGEST_LOCK, 2.0 ** min(over, 20)) if over >= 0 else 0.0
            counted = {"failures": before + 1, "last": now, "locked_until": until}
            try:
                if found is None:
                    await self._store.create(Attempts(meta=Meta(name=_key(kind, what)), **counted))  # type: ignore[arg-type]
                else:
                    await self._store.update(replace(found, **counted))  # type: ignore[arg-type]
            except (AlreadyExists, StaleVersion, NotFound):
                continue
            return

    async def forget_failures(self, kind: str, what: str) -> None:
        """Begin anew after a success. Those of the address stay: an attacker may own one good account."""
        found = await self._attempts(kind, what)
        if found is not None and found.failures:
            try:
                await self._store.delete(Attempts, found.meta.uid)
            except NotFound:
                return

    async def forget_old(self) -> None:
        """Delete what no longer counts."""
        before = self._clock.now() - FORGOTTEN_AFTER
        old = await self._store.list(Attempts, Query(filters=(Filter("last", Op.LE, before),)))
        for item in old.items:
            try:
                await self._store.delete(Attempts, item.meta.uid)
            except NotFound:
                continue
        await self._store.purge(Attempts, self._clock.now())

    async def _note_login(self, user: User, password: str) -> None:
        user = await self._store.get(User, user.name)
        changed = replace(user, last_login=self._clock.now())
        if self._passwords.is_dated(user.password_hash):
            changed = replace(changed, password_hash=await self._passwords.hash(password))
        try:
            await self._store.update(changed)
        except (StaleVersion, NotFound):
            return  # the time of a login is not worth a failed one

    async def _user(self, name: str) -> User | None:
        try:
            return await self._store.get(User, name)
        except NotFound:
            return None

    async def _attempts(self, kind: str, what: str) -> Attempts | None:
        try:
            return await self._store.get(Attempts, _key(kind, what))
        except NotFound:
            return None


def _key(kind: str, what: str) -> str:
    # Names are what an attacker sends: hashed, they have one length and say nothing.
    return f"{kind}-{hashlib.sha256(what.encode()).hexdigest()[:40]}"
