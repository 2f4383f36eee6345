"""Signing in through an identity provider: OpenID Connect, the code flow with PKCE, state and nonce.

What must survive between leaving for the provider and coming back is in a
ticket that can be used once, and only by the browser that left. Groups that
the provider tells are subjects of access rules.
"""

import hmac
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jwt

from runai_core.model.errors import (
    AlreadyExists,
    FieldError,
    Forbidden,
    InvalidRequest,
    NotFound,
    StaleVersion,
    Unauthenticated,
    Unavailable,
)
from runai_core.model.identity import IdentityProvider, SubjectType, Ticket, User
from runai_core.model.meta import Meta
from runai_core.model.organization import Action, Actor
from runai_core.ports import Backend, Query
from runai_core.service.access import AccessService
from runai_core.service.oauth import authorization_url, challenge_of
from runai_core.service.oidc import Issuer, Issuers
from runai_core.service.secrets import Vault
from runai_core.service.tokens import hash_of, new_secret

RESOURCE = "security-settings"

LEAVE_SECONDS = 600.0
"""How long somebody may take at the provider."""

SKEW = 60
"""Seconds by which the provider's clock may differ."""

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures that are accepted: made with a private key. Not HMAC, whose key is the client secret."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Departure:
    """Where the browser goes, and what it keeps to prove that it is the one that left."""

    url: str
    browser: str


@dataclass(frozen=True, slots=True)
class Arrival:
    """Who came back, and where they were on their way to."""

    actor: Actor
    target: str


class SsoService:
    """Knows the identity providers, and takes people in whom they vouch for."""

    def __init__(self, backend: Backend, access: AccessService, vault: Vault, issuers: Issuers | None = None) -> None:
        self._store = backend.store
        self._clock = backend.clock
        self._access = access
        self._vault = vault
        self._issuers = issuers or Issuers(backend.clock.now)

    # -- providers

    async def names(self) -> Sequence[tuple[str, str]]:
        """Return alias and name of each provider, for the sign-in page: no right is needed."""
        found = (await self._store.list(IdentityProvider, Query(sort_by="meta.name"))).items
        return [(item.name, item.display_name or item.name) for item in found]

    async def list(self, actor: Actor) -> Sequence[IdentityProvider]:
        """Return all providers."""
        await self._access.require(actor, Action.READ, RESOURCE)
        return (await self._store.list(IdentityProvider, Query(sort_by="meta.name"))).items

    async def get(self, actor: Actor, alias: str) -> IdentityProvider:
        """Return the provider of an alias."""
        await self._access.require(actor, Action.READ, RESOURCE)
        return await self._provider(alias)

    async def create(self, actor: Actor, given: IdentityProvider) -> IdentityProvider:
        """Add a provider; its discovery document is read first, so that a wrong address is told now.

        Raises:
            InvalidRequest: nothing that can be used is at the address. AlreadyExists: the alias is taken.
        """
        await self._access.require(actor, Action.CREATE, RESOURCE)
        await self._check(given)
        meta = replace(given.meta, created_by=actor.name)
        return await self._store.create(self._sealed(replace(given, meta=meta)))

    async def update(self, actor: Actor, given: IdentityProvider) -> IdentityProvider:
        """Replace a provider's settings; who has signed in stays so."""
        await self._access.require(actor, Action.UPDATE, RESOURCE)
        old = await self._provider(given.name)
        await self._check(given)
        return await self._store.update(self._sealed(replace(given, meta=replace(old.meta, updated_by=actor.name))))

    async def set_mappers(self, actor: Actor, alias: str, mappers: Mapping[str, str]) -> IdentityProvider:
        """Say which claims hold what."""
        await self._access.require(actor, Action.UPDATE, RESOURCE)
        return await self._store.update(replace(await self._provider(alias), mappers=mappers))

    async def delete(self, actor: Actor, alias: str) -> None:
        """Remove a provider: its people can sign in no more, unless it is added again."""
        await self._access.require(actor, Action.DELETE, RESOURCE)
        await self._store.delete(IdentityProvider, (await self._provider(alias)).meta.uid)

    # -- signing in

    async def begin(self, alias: str, redirect_uri: str, target: str) -> Departure:
        """Return where to send the browser.

        Raises:
            NotFound: there is no such provider. Unavailable: it does not answer.
        """
        provider = await self._provider(alias)
        issuer = await self._issuers.get(provider.discovery_url)
        state, browser, nonce, verifier = (new_secret() for _ in range(4))
        facts = {
            "alias": alias,
            "nonce": nonce,
            "verifier": verifier,
            "browser": hash_of(browser),
            "redirect_uri": redirect_uri,
            "target": target,
        }
        ticket = Ticket(
            meta=Meta(name=hash_of(state)),
            subject="",
            subject_type=SubjectType.USER.value,
            expires_at=self._clock.now() + LEAVE_SECONDS,
            purpose="sso",
            facts=facts,
        )
        await self._store.create(ticket)
        url = authorization_url(
            issuer.authorization_endpoint,
            provider.client_id,
            redirect_uri=redirect_uri,
            scope=" ".join(provider.scopes),
            state=state,
            nonce=nonce,
            code_challenge=challenge_of(verifier),
            code_challenge_method="S256",
        )
        return Departure(url, browser)

    async def finish(self, state: str, code: str, browser: str) -> Arrival:
        """Return who came back with a code.

        Raises:
            Unauthenticated: the sign-in was not begun here by this browser, took too long, or the token is not good.
            Forbidden: the provider vouches for somebody who may not come in.
        """
        facts = await self._departed(state, browser)
        provider = await self._provider(facts["alias"])
        issuer = await self._issuers.get(provider.discovery_url)
        secret = self._vault.open(f"idp/{provider.name}", provider.client_secret)["client_secret"]
        token = await self._issuers.exchange(
            issuer, code=code, verifier=facts["verifier"], redirect_uri=facts["redirect_uri"],
            client_id=provider.client_id, client_secret=secret,
        )  # fmt: skip
        claims = await self._claims(provider, issuer, token)
        if not hmac.compare_digest(str(claims.get("nonce", "")), facts["nonce"]):
            raise Unauthenticated("the provider's token belongs to another sign-in: try again")
        return Arrival(await self._take_in(provider, claims), facts["target"])

    async def with_id_token(self, token: str) -> Actor:
        """Return who an ID token of a known provider stands for, for programs that have one.

        Raises:
            Unauthenticated: it is not good, or its issuer is not known.
        """
        try:
            said = jwt.decode(token, options={"verify_signature": False})
        except jwt.InvalidTokenError:
            raise Unauthenticated("the external token is not a signed token of an identity provider") from None
        for provider in (await self._store.list(IdentityProvider, Query())).items:
            issuer = await self._issuers.get(provider.discovery_url)
            if issuer.issuer == said.get("iss"):
                return await self._take_in(provider, await self._claims(provider, issuer, token))
        raise Unauthenticated("the external token was issued by nobody who is known here")

    async def _departed(self, state: str, browser: str) -> Mapping[str, str]:
        wrong = Unauthenticated("this sign-in was not begun here, or took too long: try again")
        try:
            ticket = await self._store.get(Ticket, hash_of(state))
            await self._store.delete(Ticket, ticket.meta.uid)
        except NotFound:
            raise wrong from None
        same = hmac.compare_digest(ticket.facts.get("browser", ""), hash_of(browser))
        if ticket.purpose != "sso" or ticket.expires_at < self._clock.now() or not same:
            raise wrong
        return ticket.facts

    async def _claims(self, provider: IdentityProvider, issuer: Issuer, token: str) -> Mapping[str, Any]:
        """Return what an ID token says, after it was checked (OpenID Connect Core, section 3.1.3.7)."""
        try:
            head = jwt.get_unverified_header(token)
            key = await self._issuers.key(issuer, str(head.get("kid", "")))
            claims: Mapping[str, Any] = jwt.decode(
                token,
                key,
                algorithms=list(ALGORITHMS),
                audience=provider.client_id,
                issuer=issuer.issuer,
                leeway=SKEW,
                options={"require": ["iss", "sub", "aud", "exp", "iat"]},
            )
        except jwt.InvalidTokenError as error:
            raise Unauthenticated(f"the token of {provider.name} is not good: {error}") from None
        parties = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        if len(parties) > 1 and claims.get("azp") != provider.client_id:
            raise Unauthenticated(f"the token of {provider.name} was issued to another application")
        return claims

    async def _take_in(self, provider: IdentityProvider, claims: Mapping[str, Any]) -> Actor:
        """Return the person as an actor, made or brought up to date in the store."""
        person = person_of(provider, claims)
        for _ in range(5):  # the same person may be signing in elsewhere
            try:
                known = await self._store.get(User, person.name)
            except NotFound:
                known = None
            if known is not None:
                _check_same(known, person)
            try:
                seen = {"last_login": self._clock.now(), "provider": provider.name}
                if known is None:
                    await self._store.create(replace(person, **seen))  # type: ignore[arg-type]
                else:
                    attributes, groups = person.attributes, person.groups
                    await self._store.update(replace(known, attributes=attributes, groups=groups, **seen))  # type: ignore[arg-type]
            except (AlreadyExists, StaleVersion):
                continue
            return await self._access.actor(SubjectType.USER.value, person.name)
        raise Unavailable("the user is being changed by others: try again")

    async def _provider(self, alias: str) -> IdentityProvider:
        try:
            return await self._store.get(IdentityProvider, alias)
        except NotFound:
            raise NotFound(f"there is no identity provider {alias[:80]}") from None

    async def _check(self, given: IdentityProvider) -> None:
        parts = urllib.parse.urlsplit(given.discovery_url)
        if parts.scheme != "https" and parts.hostname not in LOOPBACK:
            message = "must begin with https:// (http:// is for a provider on this machine only)"
            raise InvalidRequest.of(FieldError("oidcData.discoverDocumentUrl", message, given.discovery_url[:200]))
        try:
            await self._issuers.get(given.discovery_url, fresh=True)
        except Unavailable as error:
            raise InvalidRequest.of(FieldError("oidcData.discoverDocumentUrl", error.message)) from None

    def _sealed(self, given: IdentityProvider) -> IdentityProvider:
        sealed = self._vault.seal(f"idp/{given.name}", {"client_secret": given.client_secret})
        return replace(given, client_secret=sealed)


def person_of(provider: IdentityProvider, claims: Mapping[str, Any]) -> User:
    """Return the user that the claims speak of.

    Raises:
        Forbidden: the mandatory claim is missing, the e-mail address was not verified, or there is no name.
    """
    if provider.mandatory_claim:
        wanted = provider.mandatory_value.split("\n")
        if not set(wanted) & set(_texts(claims.get(provider.mandatory_claim))):
            raise Forbidden(f"{provider.name} does not say that you may come in (claim {provider.mandatory_claim})")
    mapped = provider.mappers
    email_claim = mapped.get("email", "email")
    if email_claim == "email" and claims.get("email_verified") is False:
        raise Forbidden(f"your e-mail address was not verified by {provider.name}")
    name = str(claims.get(email_claim) or claims.get("preferred_username") or claims["sub"]).strip().lower()
    if not name or len(name) > 253 or not name.isprintable():
        raise Forbidden(f"{provider.name} tells no name that can be used (claim {email_claim})")
    others = {key: claim for key, claim in mapped.items() if key not in ("groups", "email", "first_name", "last_name")}
    attributes = {key: ",".join(_texts(claims[claim])) for key, claim in others.items() if claim in claims}
    return User(
        meta=Meta(name=name, created_by=provider.name),
        provider=provider.name,
        first_name=str(claims.get(mapped.get("first_name", "given_name"), ""))[:253],
        last_name=str(claims.get(mapped.get("last_name", "family_name"), ""))[:253],
        groups=tuple(dict.fromkeys(_texts(claims.get(mapped.get("groups", "groups"))))),
        attributes={**attributes, "sub": str(claims["sub"])},
    )


def _check_same(known: User, person: User) -> None:
    """Refuse to take over an account that only has the same name."""
    if known.provider != person.provider:
        where = f"through {known.provider}" if known.provider else "with a password"
        raise Forbidden(f"there is a user {known.name} already, who signs in {where}")
    if known.attributes.get("sub") != person.attributes["sub"]:
        raise Forbidden(f"{known.name} is somebody else at {known.provider} now: an administrator must delete the user")
    if known.disabled:
        raise Forbidden(f"{known.name} was disabled: ask an administrator")


def _texts(value: Any) -> list[str]:
    items = value if isinstance(value, list) else [] if value is None else [value]
    return [str(item)[:253] for item in items[:1000]]
