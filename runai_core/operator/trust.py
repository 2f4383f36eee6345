"""Keeps the webhooks' certificate in a Secret that all replicas share, and tells the API server whom to trust."""

import asyncio
import base64
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from runai_core.backends.kubernetes.api import Api
from runai_core.backends.kubernetes.resources import MUTATING_WEBHOOKS, SECRETS, VALIDATING_WEBHOOKS
from runai_core.model.errors import AlreadyExists, NotFound, RunaiError, StaleVersion
from runai_core.operator.certificates import (
    KeyPair,
    is_for,
    is_signed_by,
    make_authority,
    make_certificate,
    needs_renewal,
)
from runai_core.operator.install.names import (
    CERTIFICATE_SECRET,
    WEBHOOK_CONFIGURATION,
    WEBHOOK_SERVICE,
    labels_of,
)
from runai_core.ports import Clock

log = logging.getLogger(__name__)

LOOK_SECONDS = 20.0
"""Seconds between looks at the certificate's age and at what the API server trusts."""

Loaded = Callable[[KeyPair], None]


def names_of(namespace: str) -> list[str]:
    """Return the names under which the API server may reach the webhooks, inside the cluster and beside it."""
    service = f"{WEBHOOK_SERVICE}.{namespace}.svc"
    return [service, f"{service}.cluster.local", "localhost", "127.0.0.1"]


class Trust:
    """The certificate of this cluster's webhooks. `loaded` is told whenever there is a new one."""

    def __init__(self, api: Api, clock: Clock, namespace: str, loaded: Loaded) -> None:
        self._api = api
        self._clock = clock
        self._namespace = namespace
        self._names = names_of(namespace)
        self._loaded = loaded
        self._present: KeyPair | None = None

    async def run(self) -> None:
        """Keep certificate and trust current until cancelled."""
        while True:
            try:
                await self.ensure()
            except RunaiError as error:
                log.warning("the webhooks' certificate: %s", error.message)
            await self._clock.sleep(LOOK_SECONDS)

    async def ensure(self) -> None:
        """Make sure that there is a good certificate, that we serve it, and that the API server trusts it.

        Raises:
            RunaiError: the cluster does not answer, or we lack a right.
        """
        authority, pair = await self._shared()
        if pair != self._present:
            self._loaded(pair)
            self._present = pair
        await self._tell(authority.certificate)

    async def _shared(self) -> tuple[KeyPair, KeyPair]:
        """Return authority and certificate of the Secret, made or renewed if they must be; the first replica wins."""
        while True:
            secret = await self._secret()
            data = _decoded(secret)
            now = self._clock.now()
            authority = KeyPair(data.get("ca.crt", b""), data.get("ca.key", b""))
            pair = KeyPair(data.get("tls.crt", b""), data.get("tls.key", b""))
            if needs_renewal(authority.certificate, now):
                authority, pair = make_authority(now), KeyPair(b"", b"")
            fresh = not needs_renewal(pair.certificate, now) and is_for(pair.certificate, self._names)
            if fresh and is_signed_by(pair.certificate, authority.certificate):
                return authority, pair
            pair = make_certificate(authority, self._names, now)
            with contextlib.suppress(AlreadyExists, StaleVersion):  # another replica was faster: take its own
                await self._keep(secret, authority, pair)
                return authority, pair

    async def _secret(self) -> Mapping[str, Any] | None:
        try:
            return await self._api.get(SECRETS, CERTIFICATE_SECRET, self._namespace)
        except NotFound:
            return None

    async def _keep(self, secret: Mapping[str, Any] | None, authority: KeyPair, pair: KeyPair) -> None:
        files = {
            "ca.crt": authority.certificate,
            "ca.key": authority.key,
            "tls.crt": pair.certificate,
            "tls.key": pair.key,
        }
        metadata = dict((secret or {}).get("metadata") or {"name": CERTIFICATE_SECRET, "namespace": self._namespace})
        metadata.pop("managedFields", None)
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {**metadata, "labels": labels_of("operator")},
            "type": "Opaque",
            "data": {name: base64.b64encode(content).decode() for name, content in files.items()},
        }
        if secret is None:
            await self._api.create(SECRETS, body)
        else:
            await self._api.update(SECRETS, body)

    async def _tell(self, authority: bytes) -> None:
        """Put our authority into both webhook configurations; where they are not installed there is nothing to do."""
        bundle = base64.b64encode(authority).decode()
        for resource in (MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS):
            try:
                item = await self._api.get(resource, WEBHOOK_CONFIGURATION)
            except NotFound:
                continue
            changes = _changes(item.get("webhooks") or (), bundle)
            if changes:
                with contextlib.suppress(NotFound, StaleVersion):
                    await self._api.patch(resource, WEBHOOK_CONFIGURATION, changes, kind="json")


def _changes(webhooks: Sequence[Mapping[str, Any]], bundle: str) -> list[dict[str, Any]]:
    found = []
    for index, item in enumerate(webhooks):
        if item["clientConfig"].get("caBundle") != bundle:
            found.append({"op": "test", "path": f"/webhooks/{index}/name", "value": item["name"]})
            found.append({"op": "add", "path": f"/webhooks/{index}/clientConfig/caBundle", "value": bundle})
    return found


def _decoded(secret: Mapping[str, Any] | None) -> dict[str, bytes]:
    found = {}
    for name, text in ((secret or {}).get("data") or {}).items():
        with contextlib.suppress(ValueError):
            found[name] = base64.b64decode(text)
    return found


async def settled(trust: Trust, *, tries: int = 30) -> None:
    """Wait until there is a certificate to serve.

    Raises:
        RunaiError: the last try failed.
    """
    for left in range(tries, 0, -1):
        try:
            await trust.ensure()
        except RunaiError:
            if left == 1:
                raise
            await asyncio.sleep(1)
        else:
            return
