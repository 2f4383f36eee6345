"""Short texts that outlive our pods: a Secret in our own namespace."""

import base64

from runai_core.backends.kubernetes.api import Api
from runai_core.backends.kubernetes.names import MANAGED_BY, MANAGED_BY_LABEL
from runai_core.backends.kubernetes.resources import SECRETS
from runai_core.model.errors import AlreadyExists, NotFound, Unavailable

NOTES_SECRET = "runai-notes"  # noqa: S105 - a name


class SecretNotes:
    """A `ports.KeepsNotes` on Kubernetes: each note is a member of one Secret."""

    def __init__(self, api: Api, namespace: str) -> None:
        self._api = api
        self._namespace = namespace

    async def note(self, name: str) -> str | None:
        """Return what is kept under the name; None: nothing. Raise Unavailable, Forbidden."""
        try:
            secret = await self._api.get(SECRETS, NOTES_SECRET, self._namespace)
        except NotFound:
            return None
        text = (secret.get("data") or {}).get(name)
        try:
            return None if text is None else base64.b64decode(text, validate=True).decode()
        except ValueError:
            raise Unavailable(
                f"member {name} of Secret {NOTES_SECRET} in namespace {self._namespace} is damaged: remove it"
            ) from None

    async def keep_note(self, name: str, text: str) -> None:
        """Keep a text under the name, whole or not at all. Raise Unavailable, Forbidden."""
        data = {"data": {name: base64.b64encode(text.encode()).decode()}}
        try:
            await self._api.patch(SECRETS, NOTES_SECRET, data, self._namespace)
        except NotFound:
            await self._create(data, name, text)

    async def _create(self, data: dict[str, dict[str, str]], name: str, text: str) -> None:
        metadata = {"name": NOTES_SECRET, "namespace": self._namespace, "labels": {MANAGED_BY_LABEL: MANAGED_BY}}
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", **data}
        try:
            await self._api.create(SECRETS, body)
        except AlreadyExists:  # another replica was faster
            await self.keep_note(name, text)
        except NotFound:
            raise Unavailable(f"there is no namespace {self._namespace}: run `runai admin install` first") from None
