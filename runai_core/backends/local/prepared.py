"""What the process of a pod is started with, secrets and volumes included. They are looked up at each start.

Nothing of it is stored: what is secret is in the store encrypted only, and in
the memory of the process that uses it.
"""

import asyncio
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runai_core.backends.local import volumes
from runai_core.model.errors import NotFound, Unavailable
from runai_core.model.volumes import Git, MountedMap, Storage
from runai_core.model.workload import Pod
from runai_core.ports import Secret, Secrets


class Preparation:
    """Completes commands and environments of pods."""

    def __init__(self, folders: Path | None) -> None:
        self._folders = folders
        self._secrets: Secrets | None = None

    def take_secrets(self, secrets: Secrets) -> None:
        """Take where secrets are found."""
        self._secrets = secrets

    async def environment(self, pod: Pod) -> dict[str, str]:
        """Return the variables of the pod whose values are secret.

        Raises:
            NotFound: a secret or its key is gone. Unavailable: it cannot be decrypted.
        """
        found: dict[str, str] = {}
        for variable, reference in pod.spec.references.items():
            _, name, key = reference.split("/", 2)
            secret = await self._secret(pod, name)
            if key not in secret.data:
                raise NotFound(f"secret {name} of project {pod.meta.project} has no key {key}")
            found[variable] = secret.data[key]
        return found

    async def command(self, pod: Pod) -> tuple[Sequence[str], Mapping[str, str]]:
        """Return what to run, and further variables for it: with volumes, what puts them in place goes first."""
        argv, storage = pod.spec.argv, pod.spec.storage
        if storage is None or self._folders is None:
            return argv, {}
        plan = await self._plan(pod, storage)
        if not plan:
            return argv, {}
        folder = self._folders / pod.meta.uid / "volumes"
        script = [sys.executable, "-I", volumes.__file__]
        return (*script, *argv), {volumes.PLAN: json.dumps({"folder": str(folder), "volumes": plan})}

    async def clean(self, pod: Pod) -> None:
        """Remove the files of secrets of a pod that has ended. Idempotent."""
        storage = pod.spec.storage
        if storage is None or self._folders is None:
            return
        for index, mounted in enumerate(_active(storage.secret_volume)):
            place = self._folders / pod.meta.uid / "volumes" / volumes.folder_of(_secret_name(mounted, index))
            await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)

    async def _plan(self, pod: Pod, storage: Storage) -> list[dict[str, Any]]:
        plan: list[dict[str, Any]] = []
        for index, host in enumerate(_active(storage.host_path)):
            where = {"path": host.mount_path or host.path, "source": host.path}
            plan.append({"do": "link", "name": host.name or f"host-path-{index}", **where})
        for index, empty in enumerate(_active(storage.empty_dir_volume)):
            plan.append({"do": "empty", "name": empty.name or f"empty-dir-{index}", "path": empty.path})
        for index, mounted in enumerate(_active(storage.secret_volume)):
            plan.append(await self._secret_files(pod, mounted, _secret_name(mounted, index)))
        for index, git in enumerate(_active(storage.git)):
            plan.append(await self._checkout(pod, git, git.name or f"git-{index}"))
        return plan

    async def _secret_files(self, pod: Pod, mounted: MountedMap, name: str) -> dict[str, Any]:
        secret = await self._secret(pod, mounted.secret or "")
        files = {key: value for key, value in secret.data.items() if mounted.sub_path in (None, key)}
        return {"do": "files", "name": name, "path": mounted.mount_path, "files": files, "mode": mounted.default_mode}

    async def _checkout(self, pod: Pod, git: Git, name: str) -> dict[str, Any]:
        step = {"do": "git", "name": name, "path": git.path, "repository": git.repository}
        step |= {"branch": git.branch, "revision": git.revision}
        if git.password_secret:
            data = (await self._secret(pod, git.password_secret)).data
            step |= {"user": data.get("username", ""), "password": data.get("password", "")}
        return step

    async def _secret(self, pod: Pod, name: str) -> Secret:
        if self._secrets is None:
            raise Unavailable("secrets are not there yet")
        found = await self._secrets.secret(pod.meta.project, name, pod.meta.created_by)
        if found is None:
            raise NotFound(f"there is no secret {name} for project {pod.meta.project}: create the credential again")
        return found


def _secret_name(mounted: MountedMap, index: int) -> str:
    return mounted.name or f"secret-{index}"


def _active(items: Sequence[Any]) -> list[Any]:
    return [item for item in items if not item.exclude]
