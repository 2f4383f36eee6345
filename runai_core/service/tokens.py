"""Bearer tokens: issued for a secret or a session, read, and made worthless before their time.

A token of a service account or an access key holds the account's generation:
raising it revokes all that were issued. A token of a user belongs to a session
and dies with it; a refresh token renews it once, and shown a second time it
ends the session, because then somebody has stolen it.
"""

import contextlib
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jwt

from runai_core.model.errors import AlreadyExists, NotFound, StaleVersion, Unauthenticated
from runai_core.model.identity import AccessKey, Session, SubjectType
from runai_core.model.meta import Meta
from runai_core.model.organization import Actor, ServiceAccount
from runai_core.ports import Backend, Filter, Op, Query

TOKEN_SECONDS = 3600 * 12
"""How long an issued token is good for."""

USER_TOKEN_SECONDS = 3600
"""How long a token that can be refreshed is good for."""

SESSION_SECONDS = 14 * 86400.0
"""How long a session of refresh tokens lives without being used."""

SKEW = 60.0
"""Seconds by which clocks of replicas may differ: a token from the future by more is not ours."""

SPENT_KEPT = 50
"""Earlier refresh tokens of a session that are recognized as stolen."""

UNKNOWN = "client id or client secret is wrong: see the credentials file that `runai up` wrote"


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token and the seconds it is good for; what renews it, where it can be."""

    access_token: str
    expires_in: int
    refresh_token: str = ""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A service account's id and secret; the secret is shown once and kept as a hash."""

    client_id: str
    client_secret: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a token says, after its signature was found good."""

    subject: str
    subject_type: str
    generation: int = 0
    session: str = ""  # id of the session
    key: str = ""  # uid of the access key


class Tokens:
    """Issues and reads tokens."""

    def __init__(self, backend: Backend, signing_key: str) -> None:
        self._store = backend.store
        self._clock = backend.clock
        self._key = signing_key

    async def create_service_account(self, name: str, role: str) -> Credentials:
        """Create an account that has a role everywhere, or give an existing one a new secret."""
        secret = new_secret()
        await self._give(name, role, secret)
        return Credentials(name, secret)

    async def shared_account(self, name: str, role: str) -> Credentials:
        """Create an account whose secret all replicas know, now and after a restart: it follows from their one key."""
        secret = hmac.new(self._key.encode(), f"account {name}".encode(), hashlib.sha256).hexdigest()
        with contextlib.suppress(AlreadyExists, StaleVersion):  # another replica was faster, with the same secret
            await self._give(name, role, secret)
        return Credentials(name, secret)

    async def _give(self, name: str, role: str, secret: str) -> None:
        try:
            old = await self._store.get(ServiceAccount, name)
        except NotFound:
            meta = Meta(name=name, labels={"role": role})
            generation = first_generation()
            await self._store.create(
                ServiceAccount(meta=meta, client_id=name, secret_hash=hash_of(secret), generation=generation)
            )
            return
        if old.secret_hash != hash_of(secret):
            await self._store.update(replace(old, secret_hash=hash_of(secret), generation=old.generation + 1))

    async def issue(self, client_id: str, client_secret: str, *, seconds: int = TOKEN_SECONDS) -> Token:
        """Exchange an id and secret for a token; raise Unauthenticated."""
        by_id = Query(filters=(Filter("client_id", Op.EQ, client_id),), limit=1)
        found: ServiceAccount | AccessKey | None = next(
            iter((await self._store.list(ServiceAccount, by_id)).items), None
        )
        if found is None:
            found = next(iter((await self._store.list(AccessKey, by_id)).items), None)
        expected = found.secret_hash if found is not None else hash_of("")
        if not hmac.compare_digest(expected, hash_of(client_secret)) or found is None:
            raise Unauthenticated(UNKNOWN)
        if isinstance(found, ServiceAccount):
            return self.sign(found, seconds=seconds)
        self._check_key(found)
        claims = {"typ": found.holder_type, "key": found.meta.uid, "gen": found.generation}
        return Token(self._signed(found.holder, claims, seconds), seconds)

    def sign(self, account: ServiceAccount, *, seconds: int) -> Token:
        """Return a token for the account."""
        if not account.enabled:
            raise Unauthenticated(f"service account {account.client_id} was disabled: ask an administrator")
        claims = {"typ": account.kind, "gen": account.generation}
        return Token(self._signed(account.client_id, claims, seconds), seconds)

    async def open(self, actor: Actor) -> Token:
        """Begin a session of somebody whose identity was proved, with a token and what renews it."""
        session_id, refresh = secrets.token_hex(16), new_secret()
        await self._store.create(
            Session(
                meta=Meta(name=hash_of(session_id), created_by=actor.name),
                subject=actor.name,
                subject_type=actor.kind,
                expires_at=self._clock.now() + SESSION_SECONDS,
                refresh_hash=hash_of(refresh),
            )
        )
        return self._of_session(session_id, actor.name, actor.kind, refresh)

    async def refresh(self, refresh_token: str) -> tuple[Token, Claims]:
        """Renew a session's token; the refresh token is spent, and the answer has the next one.

        Raises:
            Unauthenticated: it is not the session's present one, or the session is over.
        """
        session_id, _, refresh = refresh_token.partition(".")
        session = await self._session(session_id)
        if not session.refresh_hash or not hmac.compare_digest(session.refresh_hash, hash_of(refresh)):
            if hash_of(refresh) in session.spent:
                await self._end(session)
                raise Unauthenticated("the refresh token was used before: the session was ended, sign in again")
            raise Unauthenticated("the refresh token is not valid: sign in again")
        fresh = new_secret()
        spent = (*session.spent, session.refresh_hash)[-SPENT_KEPT:]
        expires = self._clock.now() + SESSION_SECONDS
        try:
            await self._store.update(replace(session, refresh_hash=hash_of(fresh), spent=spent, expires_at=expires))
        except StaleVersion:  # shown twice at the same moment
            raise Unauthenticated("the refresh token is being used: sign in again") from None
        claims = Claims(subject=session.subject, subject_type=session.subject_type, session=session_id)
        return self._of_session(session_id, session.subject, session.subject_type, fresh), claims

    async def end(self, claims: Claims) -> None:
        """Make a user's token and all of its session worthless; of other tokens there is no session."""
        if claims.session:
            await self._end(await self._session(claims.session))

    async def read(self, token: str) -> Claims:
        """Return what a token says.

        Raises:
            Unauthenticated: it is not ours, was changed or revoked, or has expired.
        """
        found = self._decoded(token)
        claims = Claims(
            subject=str(found["sub"]),
            subject_type=str(found.get("typ", SubjectType.SERVICE_ACCOUNT.value)),
            generation=int(found.get("gen", 0)),
            session=str(found.get("sid", "")),
            key=str(found.get("key", "")),
        )
        if claims.session:
            await self._session(claims.session)
        elif claims.key:
            await self._check_token_of_key(claims)
        elif claims.subject_type == SubjectType.USER.value:
            raise Unauthenticated("the token is not valid: sign in again")
        return claims

    def _decoded(self, token: str) -> Mapping[str, Any]:
        options: Any = {"require": ["sub", "exp"], "verify_exp": False, "verify_iat": False, "verify_sub": False}
        now = self._clock.now()
        try:
            found: Mapping[str, Any] = jwt.decode(token, self._key, algorithms=["HS256"], options=options)
            expires, issued = float(found["exp"]), float(found.get("iat", 0))
        except (jwt.InvalidTokenError, TypeError, ValueError):
            raise Unauthenticated("the token is not valid: use the one of the credentials file") from None
        if expires < now:
            raise Unauthenticated("the token has expired: ask for a new one with POST /api/v1/token")
        if issued > now + SKEW:
            raise Unauthenticated("the token was issued in the future: look at the clocks of the machines")
        return found

    async def _check_token_of_key(self, claims: Claims) -> None:
        try:
            key = await self._store.get_by_uid(AccessKey, claims.key)
        except NotFound:
            raise Unauthenticated("the access key was deleted") from None
        if key.meta.deleted_at is not None or key.generation != claims.generation or key.holder != claims.subject:
            raise Unauthenticated("the access key was deleted, or has a new secret")
        self._check_key(key)

    def _check_key(self, key: AccessKey) -> None:
        if key.expires_at is not None and key.expires_at < self._clock.now():
            raise Unauthenticated(f"the access key {key.name} has expired")

    async def _session(self, session_id: str) -> Session:
        try:
            session = await self._store.get(Session, hash_of(session_id))
        except NotFound:
            raise Unauthenticated("the session has ended: sign in again") from None
        if session.expires_at < self._clock.now():
            raise Unauthenticated("the session has expired: sign in again")
        return session

    async def _end(self, session: Session) -> None:
        try:
            await self._store.delete(Session, session.meta.uid)
        except NotFound:
            return

    def _of_session(self, session_id: str, subject: str, subject_type: str, refresh: str) -> Token:
        access = self._signed(subject, {"typ": subject_type, "sid": session_id}, USER_TOKEN_SECONDS)
        return Token(access, USER_TOKEN_SECONDS, f"{session_id}.{refresh}")

    def _signed(self, subject: str, claims: Mapping[str, Any], seconds: int) -> str:
        now = int(self._clock.now())
        return jwt.encode({"sub": subject, **claims, "iat": now, "exp": now + seconds}, self._key, algorithm="HS256")


def new_secret() -> str:
    """Return 256 random bits as text."""
    return secrets.token_urlsafe(32)


def first_generation() -> int:
    """Return where the generations of a new account begin: tokens of an earlier one of the same name are none of it."""
    return secrets.randbelow(2**48)


def hash_of(secret: str) -> str:
    """Return the hash under which a secret is kept."""
    # A plain hash is enough for secrets of 256 random bits: there is nothing to guess.
    return hashlib.sha256(secret.encode()).hexdigest()
