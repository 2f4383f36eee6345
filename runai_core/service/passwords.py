"""Passwords: what one must be like, its hash, and whether it is the one."""

import asyncio
from collections.abc import Callable, Iterable
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.identity import TenantSettings

LONGEST = 1024
"""Characters of a password: length is what counts (NIST SP 800-63B, section 3.1.1)."""

T = TypeVar("T")


class Passwords:
    """Hashes and checks, away from the event loop and few at once: each takes memory and time on purpose."""

    def __init__(self, hasher: PasswordHasher | None = None, *, at_once: int = 2) -> None:
        self._hasher = hasher or PasswordHasher()
        self._turns = asyncio.Semaphore(at_once)
        self._nobody = ""  # the hash that is checked where there is no user, so that both take the same time

    async def hash(self, password: str) -> str:
        """Return the hash of a password."""
        return await self._away(lambda: self._hasher.hash(password))

    async def is_right(self, password: str, hash_: str) -> bool:
        """Return whether this is the password; an empty hash is nobody's and takes as long."""
        if not self._nobody:
            self._nobody = await self._away(lambda: self._hasher.hash("nobody has this password"))
        if len(password) > LONGEST:
            return False
        return await self._away(lambda: self._verify(hash_ or self._nobody, password)) and bool(hash_)

    async def is_any(self, password: str, hashes: Iterable[str]) -> bool:
        """Return whether this was one of several passwords."""
        return any([await self.is_right(password, hash_) for hash_ in hashes])

    def is_dated(self, hash_: str) -> bool:
        """Return whether the hash was made with weaker parameters than today's."""
        return self._hasher.check_needs_rehash(hash_)

    def _verify(self, hash_: str, password: str) -> bool:
        try:
            return self._hasher.verify(hash_, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _away(self, work: Callable[[], T]) -> T:
        async with self._turns:
            return await asyncio.to_thread(work)


def check_password(password: str, rules: TenantSettings, *, name: str, field: str = "password") -> None:
    """Refuse a password that the tenant's rules do not allow; raise InvalidRequest, which never repeats it."""
    if not rules.pass_length <= len(password) <= LONGEST:
        raise InvalidRequest.of(FieldError(field, f"must have {rules.pass_length} to {LONGEST} characters"))
    local = name.partition("@")[0].lower()
    if len(local) > 2 and local in password.lower():
        raise InvalidRequest.of(FieldError(field, "must not contain the user's name"))
    if len(set(password)) < 5:
        raise InvalidRequest.of(FieldError(field, "must have at least 5 different characters"))
    if len({_kind(character) for character in password}) < rules.pass_kinds:
        raise InvalidRequest.of(FieldError(field, f"must have {_kinds(rules)}"))


def rules_in_words(rules: TenantSettings) -> str:
    """Return what a password must be like, for who has to think of one."""
    parts = [f"{rules.pass_length} to {LONGEST} characters, at least 5 different ones, without your name"]
    if rules.pass_kinds > 1:
        parts.append(_kinds(rules))
    if rules.pass_history:
        parts.append(f"none of the last {rules.pass_history + 1} passwords")
    if rules.pass_days is not None:
        parts.append(f"good for {rules.pass_days} days")
    return "; ".join(parts) + "."


def _kinds(rules: TenantSettings) -> str:
    return f"characters of {rules.pass_kinds} kinds: of small letters, capital letters, digits and others"


def _kind(character: str) -> str:
    tests = {"small": character.islower(), "capital": character.isupper(), "digit": character.isdecimal()}
    return next((name for name, holds in tests.items() if holds), "other")
