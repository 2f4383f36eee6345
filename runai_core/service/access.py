"""Who asks, and whether they may."""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

import jwt

from runai_core.model.errors import Forbidden, NotFound, Unauthenticated
from runai_core.model.meta import Meta
from runai_core.model.organization import TENANT, Action, Actor, Grant, Scope, ServiceAccount
from runai_core.ports import Backend, Filter, Op, Query

TOKEN_SECONDS = 3600 * 12
"""How long an issued token is good for."""

ADMINISTRATOR = "System administrator"

RIGHTS: Mapping[str, Mapping[str, frozenset[Action]]] = {
    ADMINISTRATOR: {"*": frozenset(Action)},
    "Viewer": {"*": frozenset({Action.READ})},
}
"""Role -> resource -> what it may do; ``*`` stands for every resource."""


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token and the seconds it is good for."""

    access_token: str
    expires_in: int


@dataclass(frozen=True, slots=True)
class Credentials:
    """A service account's id and secret; the secret is shown once and kept as a hash."""

    client_id: str
    client_secret: str


class AccessService:
    """Checks tokens and rights; every use case asks here, and nowhere else."""

    def __init__(self, backend: Backend, signing_key: str) -> None:
        self._store = backend.store
        self._clock = backend.clock
        self._key = signing_key

    async def create_service_account(self, name: str, role: str = ADMINISTRATOR) -> Credentials:
        """Create a machine identity with a new secret, or give an existing one a new secret."""
        secret = secrets.token_urlsafe(32)
        account = ServiceAccount(meta=Meta(name=name, labels={"role": role}), client_id=name, secret_hash=_hash(secret))
        try:
            old = await self._store.get(ServiceAccount, name)
        except NotFound:
            await self._store.create(account)
        else:
            await self._store.update(ServiceAccount(meta=old.meta, client_id=name, secret_hash=account.secret_hash))
        return Credentials(name, secret)

    async def issue(self, client_id: str, client_secret: str, *, seconds: int = TOKEN_SECONDS) -> Token:
        """Exchange a service account's id and secret for a token.

        Raises:
            Unauthenticated: the pair is not known.
        """
        found = await self._store.list(ServiceAccount, Query(filters=(Filter("client_id", Op.EQ, client_id),), limit=1))
        expected = found.items[0].secret_hash if found.items else _hash("")
        if not hmac.compare_digest(expected, _hash(client_secret)) or not found.items:
            raise Unauthenticated("client id or client secret is wrong: see the credentials file that `runai up` wrote")
        return self.sign(found.items[0], seconds=seconds)

    def sign(self, account: ServiceAccount, *, seconds: int) -> Token:
        """Return a token for the account."""
        claims = {
            "sub": account.client_id,
            "roles": [[account.meta.labels.get("role", ADMINISTRATOR), "tenant"]],
            "iat": int(self._clock.now()),
            "exp": int(self._clock.now()) + seconds,
        }
        return Token(jwt.encode(claims, self._key, algorithm="HS256"), seconds)

    async def actor(self, subject_type: str, subject: str) -> Actor:
        """Return somebody with all that was granted.

        Raises:
            Unauthenticated: there is no such account, or not any more.
        """
        found = await self._store.list(ServiceAccount, Query(filters=(Filter("client_id", Op.EQ, subject),), limit=1))
        if subject_type != "service-account" or not found.items:
            raise Unauthenticated(f"there is no {subject_type} {subject} any more")
        role = found.items[0].meta.labels.get("role", ADMINISTRATOR)
        return Actor(name=subject, kind=subject_type, grants=(Grant(role),))

    async def authenticate(self, token: str) -> Actor:
        """Return who the token stands for.

        Raises:
            Unauthenticated: the token is not ours, was changed, or has expired.
        """
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=["HS256"],
                options={"require": ["sub", "exp"], "verify_exp": False, "verify_iat": False},
            )
        except jwt.InvalidTokenError:
            raise Unauthenticated("the token is not valid: use the one of the credentials file") from None
        if claims["exp"] < self._clock.now():
            raise Unauthenticated("the token has expired: ask for a new one with POST /api/v1/token")
        grants = tuple(Grant(str(role), Scope(str(scope))) for role, scope in claims.get("roles", ()))
        return Actor(name=str(claims["sub"]), kind="service-account", grants=grants)

    async def require(self, actor: Actor, action: Action, resource: str, scope: Scope = TENANT) -> None:
        """Raise Forbidden unless one of the actor's grants allows the action on the resource in the scope."""
        if actor.kind == "system":
            return
        for grant in actor.grants:
            rights = RIGHTS.get(grant.role, {})
            if action in rights.get(resource, rights.get("*", frozenset())):
                return
        where = f" in {scope.type} {scope.name}" if scope.name else ""
        raise Forbidden(
            f"{actor.name} may not {action} {resource}{where}: ask an administrator for a role that allows it"
        )

    async def visible(self, actor: Actor, action: Action, resource: str) -> frozenset[str] | None:
        """Return the names of the projects in which the actor may do it; None: in all.

        Raises:
            Forbidden: it may nowhere.
        """
        await self.require(actor, action, resource)
        return None


def _hash(secret: str) -> str:
    # A plain hash is enough for secrets of 256 random bits: there is nothing to guess.
    return hashlib.sha256(secret.encode()).hexdigest()
