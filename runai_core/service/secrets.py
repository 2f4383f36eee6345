"""Secrets: what credentials hold, encrypted in the store, opened only for the pods that use it.

The keys are in one file, mode 0600, beside the database and not in it: a copy
of the database alone tells nothing. The first key encrypts, all of them open.
"""

import base64
import hashlib
import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from runai_core.lifecycle.secrets import is_private
from runai_core.model.assets import CREDENTIALS, Asset, AssetKind
from runai_core.model.errors import NotFound, Unavailable
from runai_core.model.organization import Project
from runai_core.ports import Filter, Op, Query, Secret, Store
from runai_core.service.asset_scopes import covers, nearness

SECRET_MEMBERS: Mapping[AssetKind, tuple[str, ...]] = {
    AssetKind.ACCESS_KEY: ("secretAccessKey",),
    AssetKind.PASSWORD: ("password",),
    AssetKind.DOCKER_REGISTRY: ("password",),
    AssetKind.GENERIC_SECRET: ("keyValuePairs",),
    AssetKind.NGC_API_KEY: ("ngcApiKey",),
    AssetKind.REGISTRY: ("password",),
}
"""Members of a credential's `spec` that are sealed and never shown."""

REQUIRED: Mapping[AssetKind, tuple[str, ...]] = {
    AssetKind.ACCESS_KEY: ("accessKeyId", "secretAccessKey"),
    AssetKind.PASSWORD: ("user", "password"),
    AssetKind.DOCKER_REGISTRY: ("url", "user", "password"),
    AssetKind.GENERIC_SECRET: ("keyValuePairs",),
    AssetKind.NGC_API_KEY: ("ngcApiKey",),
}
"""Members that a credential must have, unless it names a secret of the cluster."""

ACCESS_KEY_ID, ACCESS_KEY_SECRET = "AccessKeyId", "SecretKey"
USER, PASSWORD = "username", "password"
NGC_KEY = "NGC_API_KEY"


class Vault:
    """Seals and opens values with the keys of one file; the file is made at the first use."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._keys: tuple[bytes, ...] = ()

    def seal(self, owner: str, values: Mapping[str, Any]) -> str:
        """Return the values encrypted; they can be opened for the same owner only."""
        with self._lock:  # read anew: what is sealed with a key that a replica has just forgotten would be lost
            self._keys = self._read() or self._first()
        text = json.dumps({"for": owner, "values": values}, separators=(",", ":"))
        return self._box().encrypt(text.encode()).decode()

    def open(self, owner: str, sealed: str) -> dict[str, Any]:
        """Return what was sealed for the owner.

        Raises:
            Unavailable: the key is not in the file, or the text was changed or belongs to another.
        """
        for fresh in (False, True):  # another replica may have drawn a new key since
            if fresh or not self._keys:
                self._keys = self._read()
            if not self._keys:
                break
            try:
                found = json.loads(self._box().decrypt(sealed.encode()))
            except InvalidToken:
                continue
            if found["for"] == owner:
                return dict(found["values"])
            break
        raise Unavailable(f"{owner} cannot be decrypted: restore {self._path}, or enter the credential again")

    def rotate(self) -> None:
        """Draw a new key, which encrypts from now on; the old ones still open."""
        with self._lock:
            self._write((Fernet.generate_key(), *self._read()))

    def forget_old(self) -> None:
        """Keep only the newest key: for when everything has been sealed anew."""
        with self._lock:
            self._write(self._read()[:1])

    @property
    def key_id(self) -> int:
        """Return a number that tells keys apart, and nothing else of them; 0 before the first use."""
        self._keys = self._keys or self._read()
        return int.from_bytes(hashlib.sha256(self._keys[0]).digest()[:4], "big") if self._keys else 0

    def _box(self) -> MultiFernet:
        return MultiFernet([Fernet(key) for key in self._keys])

    def _first(self) -> tuple[bytes, ...]:
        """Make the file with a first key, unless another process is faster; return the keys in it."""
        draft = self._path.with_name(f"{self._path.name}.{os.getpid()}.first")
        self._put(draft, (Fernet.generate_key(),))
        try:
            os.link(draft, self._path)
        except FileExistsError:
            pass
        except OSError as error:
            raise Unavailable(f"the keys of credentials, {self._path}, cannot be written: {error.strerror}") from None
        finally:
            draft.unlink(missing_ok=True)
        return self._read()

    def _read(self) -> tuple[bytes, ...]:
        try:
            keys = tuple(self._path.read_bytes().split())
            _ = [Fernet(key) for key in keys]
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise Unavailable(f"the keys of credentials, {self._path}, cannot be read: {error.strerror}") from None
        except ValueError:
            raise Unavailable(f"{self._path} is damaged: restore it from a backup") from None
        else:
            return keys

    def _write(self, keys: Sequence[bytes]) -> None:
        draft = self._path.with_name(f"{self._path.name}.{os.getpid()}.new")
        self._put(draft, keys)
        draft.replace(self._path)
        self._keys = tuple(keys)

    def _put(self, path: Path, keys: Sequence[bytes]) -> None:
        """Write a file of mode 0600 whole, and onto the disk."""
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(b"\n".join(keys) + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise Unavailable(f"the keys of credentials, {self._path}, cannot be written: {error.strerror}") from None


class SecretService:
    """Finds the secrets that the workloads of a project may use: the credentials of its scopes."""

    def __init__(self, store: Store, vault: Vault) -> None:
        self._store = store
        self._vault = vault

    async def secret(self, project: str, name: str, author: str | None = None) -> Secret | None:
        """Return the secret of this name for pods of the project, of the nearest scope; None: there is none of ours.

        A private one is found in every project; with an author, for its owner only.

        Raises:
            Unavailable: its key is gone.
        """
        if is_private(name):
            return await self._private(name, author)
        try:
            unit = await self._store.get(Project, project)
        except NotFound:
            return None
        page = await self._store.list(Asset, Query(filters=(Filter("title", Op.EQ, name),)))
        found = [asset for asset in page.items if asset.kind in CREDENTIALS and asset.sealed and covers(asset, unit)]
        if not found:
            return None
        return self._opened(min(found, key=lambda item: (nearness(item), item.meta.name)), name)

    async def _private(self, name: str, author: str | None) -> Secret | None:
        try:
            asset = await self._store.get(Asset, name)
        except NotFound:
            return None
        return self._opened(asset, name) if author in (None, asset.scope) else None

    def _opened(self, asset: Asset, name: str) -> Secret:
        values = {**asset.spec, **self._vault.open(asset.meta.name, asset.sealed)}
        return Secret(name=name, type=_TYPES.get(asset.kind, "Opaque"), data=_DATA[asset.kind](values))

    async def seal_anew(self) -> int:
        """Draw a new key and seal every credential with it; return how many there are."""
        self._vault.rotate()
        sealed = [asset for asset in (await self._store.list(Asset, Query())).items if asset.sealed]
        for asset in sealed:
            await self._seal_again(asset)
        self._vault.forget_old()
        return len(sealed)

    async def _seal_again(self, asset: Asset) -> None:
        name = asset.meta.name
        await self._store.update(replace(asset, sealed=self._vault.seal(name, self._vault.open(name, asset.sealed))))


_TYPES: Mapping[AssetKind, str] = {
    AssetKind.PASSWORD: "kubernetes.io/basic-auth",
    AssetKind.DOCKER_REGISTRY: "kubernetes.io/dockerconfigjson",
}


def _docker(values: Mapping[str, Any]) -> dict[str, str]:
    pair = f"{values['user']}:{values['password']}".encode()
    entry = {"username": values["user"], "password": values["password"], "auth": base64.b64encode(pair).decode()}
    return {".dockerconfigjson": json.dumps({"auths": {values["url"]: entry}})}


_DATA: Mapping[AssetKind, Callable[[Mapping[str, Any]], dict[str, str]]] = {
    AssetKind.ACCESS_KEY: lambda of: {ACCESS_KEY_ID: of["accessKeyId"], ACCESS_KEY_SECRET: of["secretAccessKey"]},
    AssetKind.PASSWORD: lambda of: {USER: of["user"], PASSWORD: of["password"]},
    AssetKind.DOCKER_REGISTRY: _docker,
    AssetKind.GENERIC_SECRET: lambda of: {pair["key"]: pair.get("value", "") for pair in of["keyValuePairs"]},
    AssetKind.NGC_API_KEY: lambda of: {NGC_KEY: of["ngcApiKey"]},
}
"""Kind -> the members of the secret that pods see."""
