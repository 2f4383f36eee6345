"""What all our processes on a cluster have in common, and no manifest may hold: the identity, the keys of credentials.

Each is one file in a Secret. The first operator of all makes it, and nobody
writes over it: not an upgrade, not an uninstallation. The API's pods mount it.
"""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet

from runai_core.backends.kubernetes.api import Api
from runai_core.backends.kubernetes.resources import SECRETS
from runai_core.model.errors import AlreadyExists, NotFound, Unavailable
from runai_core.operator.install.names import IDENTITY_SECRET, SECRETS_KEY_SECRET, labels_of
from runai_core.service.own_identity import IDENTITY_FILE, load_identity, write_private
from runai_core.settings import KEY_FILE, Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """One file that all processes have."""

    secret: str
    file: str
    path: Path  # where it is kept here
    first: Callable[[], str]  # its content, where there is none yet
    check: Callable[[str], object]  # raises LookupError, TypeError or ValueError for a damaged content
    loss: str  # what deleting the Secret costs


async def share(api: Api, settings: Settings, namespace: str) -> None:
    """Take the files that the cluster has; the first replica of all gives its own.

    Raises:
        Unavailable: the namespace is missing, or a Secret is damaged.
    """
    for item in shared_files(settings):
        text = await _present(api, item, namespace) or await _give(api, item, namespace)
        item.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(item.path, text)


def shared_files(settings: Settings) -> list[Shared]:
    """Return the files that are shared; one whose place was chosen by hand is not ours to fill."""

    def identity() -> str:
        load_identity(settings.data_dir)
        return (settings.data_dir / IDENTITY_FILE).read_text()

    def keys() -> str:
        kept = settings.secrets_key
        return kept.read_text() if kept.exists() else Fernet.generate_key().decode() + "\n"

    found = [
        Shared(
            secret=IDENTITY_SECRET,
            file=IDENTITY_FILE,
            path=settings.data_dir / IDENTITY_FILE,
            first=identity,
            check=lambda text: json.loads(text)["signing_key"],
            loss="all tokens are issued anew",
        )
    ]
    if settings.secrets_key_file is None:
        found.append(
            Shared(
                secret=SECRETS_KEY_SECRET,
                file=KEY_FILE,
                path=settings.secrets_key,
                first=keys,
                check=_check_keys,
                loss="all credentials must be entered again",
            )
        )
    return found


def _check_keys(text: str) -> None:
    keys = [Fernet(key) for key in text.split()]
    if not keys:
        raise ValueError("there is no key")


async def _present(api: Api, item: Shared, namespace: str) -> str:
    """Return the content that the cluster has; nothing where there is none."""
    try:
        secret: Any = await api.get(SECRETS, item.secret, namespace)
    except NotFound:
        return ""
    try:
        text = base64.b64decode(secret["data"][item.file]).decode()
        item.check(text)
    except (LookupError, TypeError, ValueError):
        raise Unavailable(
            f"Secret {item.secret} in namespace {namespace} is damaged: restore it, or delete it ({item.loss})"
        ) from None
    return text


async def _give(api: Api, item: Shared, namespace: str) -> str:
    """Make the Secret; where another replica was faster, its content is the one that counts."""
    text = item.first()
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": item.secret, "namespace": namespace, "labels": labels_of("operator")},
        "type": "Opaque",
        "data": {item.file: base64.b64encode(text.encode()).decode()},
    }
    try:
        await api.create(SECRETS, body)
    except AlreadyExists:
        return await _present(api, item, namespace)
    except NotFound:
        raise Unavailable(f"there is no namespace {namespace}: run `runai admin install` first") from None
    return text
