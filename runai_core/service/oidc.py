"""What is asked of an OpenID Connect issuer: its discovery document, its keys, a token for a code."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import jwt

from runai_core.model.errors import Unauthenticated, Unavailable
from runai_core.service.oauth import code_form

TIMEOUT = 10.0
"""Seconds for one answer of an issuer."""

KNOWN_FOR = 3600.0
"""Seconds for which a discovery document and keys are remembered; an unknown key is looked for at once."""

KEYS_AGAIN = 30.0
"""Seconds between two looks for a key that is not known: tokens with made-up keys do not make us ask each time."""

NEEDED = ("issuer", "authorization_endpoint", "token_endpoint", "jwks_uri")

LARGEST = 1_000_000
"""Bytes of an answer."""


@dataclass(slots=True)
class Issuer:
    """What an issuer says of itself, and its keys."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    auth_methods: tuple[str, ...] = ("client_secret_basic",)
    read_at: float = 0.0
    keys: Mapping[str, jwt.PyJWK] = field(default_factory=dict)
    keys_read_at: float = float("-inf")


class Issuers:
    """Asks issuers over HTTP and remembers their answers."""

    def __init__(self, now: Callable[[], float], transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._now = now
        self._transport = transport
        self._known: dict[str, Issuer] = {}

    async def get(self, url: str, *, fresh: bool = False) -> Issuer:
        """Return the issuer whose discovery document is at the URL; raise Unavailable."""
        known = self._known.get(url)
        if known is not None and not fresh and self._now() < known.read_at + KNOWN_FOR:
            return known
        found = await self._json(url)
        missing = [name for name in NEEDED if not isinstance(found.get(name), str)]
        if missing:
            raise Unavailable(f"the document at {url} is no discovery document: it lacks {', '.join(missing)}")
        methods = found.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        issuer = Issuer(
            **{name: found[name] for name in NEEDED}, auth_methods=tuple(map(str, methods)), read_at=self._now()
        )
        self._known[url] = issuer
        return issuer

    async def key(self, issuer: Issuer, kid: str) -> jwt.PyJWK:
        """Return the issuer's key of this id; raise Unauthenticated where there is none."""
        now = self._now()
        unknown = kid not in issuer.keys and now >= issuer.keys_read_at + KEYS_AGAIN
        if unknown or now >= issuer.keys_read_at + KNOWN_FOR:
            found = await self._json(issuer.jwks_uri)
            try:
                keys = jwt.PyJWKSet.from_dict(dict(found)).keys
            except jwt.PyJWTError:
                raise Unavailable(f"there are no keys at {issuer.jwks_uri}") from None
            issuer.keys = {str(key.key_id or ""): key for key in keys}
            issuer.keys_read_at = now
        if kid in issuer.keys:
            return issuer.keys[kid]
        if not kid and len(issuer.keys) == 1:
            return next(iter(issuer.keys.values()))
        raise Unauthenticated(f"the token was signed with a key that {issuer.issuer} does not have")

    async def exchange(
        self, issuer: Issuer, *, code: str, verifier: str, redirect_uri: str, client_id: str, client_secret: str
    ) -> str:
        """Return the ID token for a code; raise Unauthenticated where the issuer refuses it."""
        body = code_form(redirect_uri=redirect_uri, code=code, code_verifier=verifier)
        auth: httpx.Auth | None = None
        if "client_secret_basic" in issuer.auth_methods:
            auth = httpx.BasicAuth(client_id, client_secret)  # not form-encoded: providers take it as it is
        else:
            body = code_form( redirect_uri=redirect_uri, code=code, code_verifier=verifier,
                client_id=client_id, client_secret=client_secret,
            )  # fmt: skip
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        async with self._client() as client:
            request = client.build_request("POST", issuer.token_endpoint, content=body, headers=headers)
            try:
                answer = await client.send(request, auth=auth)
                found = answer.json()
            except (httpx.HTTPError, ValueError) as error:
                raise Unavailable(f"{issuer.issuer} does not answer: {type(error).__name__}") from None
        if not isinstance(found, dict) or not isinstance(found.get("id_token"), str):
            reason = found.get("error_description") or found.get("error") if isinstance(found, dict) else ""
            raise Unauthenticated(f"{issuer.issuer} gives no token for the code: {str(reason)[:200]}")
        return str(found["id_token"])

    async def _json(self, url: str) -> Mapping[str, Any]:
        async with self._client() as client:
            try:
                answer = await client.get(url, headers={"Accept": "application/json"})
                answer.raise_for_status()
                found = answer.json() if len(answer.content) <= LARGEST else None
            except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
                raise Unavailable(f"{url} does not answer as an identity provider does: {error}") from None
        if not isinstance(found, dict):
            raise Unavailable(f"{url} does not answer as an identity provider does")
        return found

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(timeout=TIMEOUT, transport=self._transport, trust_env=False)
