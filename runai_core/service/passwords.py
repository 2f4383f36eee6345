"""Passwords: what one must be like, its hash, and whether it is the one."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from runai_core.model.errors import FieldError, InvalidRequest

SHORTEST, LONGEST = 12, 1024
"""Characters of a password: length is what counts (NIST SP 800-63B, section 3.1.1)."""

T = TypeVar("T")


class Passwords:
    """Hashes and checks, away from the event loop and few at once: each takes memory and time on purpose."""

    def __init__(self, hasher: PasswordHasher | None = None, *, at_once: int = 2) -> None:
        self._hasher = hasher or PasswordHasher()
        self._turns = asyncio.Semaphore(at_once)
        self._nobody = ""  # the hash that is checked where there is no user, so that both take the same time

    async def hash(self, password: str, *, name: str, field: str = "password") -> str:
        """Return the hash of a new password.

        Raises:
            InvalidRequest: it is too short, too long, or contains the name.
        """
        check_password(password, name=name, field=field)
        return await self._away(lambda: self._hasher.hash(password))

    async def rehash(self, password: str) -> str:
        """Return a new hash of a password that is in use."""
        return await self._away(lambda: self._hasher.hash(password))

    async def is_right(self, password: str, hash_: str) -> bool:
        """Return whether this is the password; an empty hash is nobody's and takes as long."""
        if not self._nobody:
            self._nobody = await self._away(lambda: self._hasher.hash("nobody has this password"))
        if len(password) > LONGEST:
            return False
        return await self._away(lambda: self._verify(hash_ or self._nobody, password)) and bool(hash_)

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


def check_password(password: str, *, name: str, field: str = "password") -> None:
    """Refuse a password that is easily guessed; raise InvalidRequest, which never repeats it."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise InvalidRequest.of(FieldError(field, f"must have {SHORTEST} to {LONGEST} characters"))
    local = name.partition("@")[0].lower()
    if len(local) > 2 and local in password.lower():
        raise InvalidRequest.of(FieldError(field, "must not contain the user's name"))
    if len(set(password)) < 5:
        raise InvalidRequest.of(FieldError(field, "must have at least 5 different characters"))
