"""Which kinds of the plug-ins the cluster serves, and where: what is asked of the API server's discovery.

A kind that an operator brings may be installed after we start, and in another
version than the plug-in knows: what the cluster says counts.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runai_core.backends.kubernetes.resources import Resource
from runai_core.model.errors import Forbidden, NotFound, Unavailable
from runai_core.model.workload import WorkloadType
from runai_core.plugins.types import WorkloadKind

if TYPE_CHECKING:
    from runai_core.backends.kubernetes.api import Api

FRESH_SECONDS = 30.0
"""How long an answer of discovery is believed; also how soon a kind that is installed later is found."""

MISSING_SECONDS = 1.0
"""How long it is believed that the cluster does not have a kind: who names it, may have just installed it."""


@dataclass(slots=True)
class _Answer:
    at: float
    resources: Mapping[str, Resource] = field(default_factory=dict)  # by kind


class Kinds:
    """The kinds of the registry as this cluster has them."""

    def __init__(self, api: "Api", known: Mapping[tuple[str, str], WorkloadKind]) -> None:
        self._api = api
        self._known = known  # there may be more of them later
        self._versions: dict[str, _Answer] = {}  # by apiVersion
        self._groups: tuple[float, Mapping[str, tuple[str, ...]]] = (0.0, {})
        self._locks: dict[str, asyncio.Lock] = {}

    @property
    def _kinds(self) -> Iterable[WorkloadKind]:
        return (kind for kind in self._known.values() if kind.workload_type is WorkloadType.EXTERNAL)

    async def resource(self, api_version: str, kind: str) -> Resource | None:
        """Return where objects of this kind are; None where the cluster does not have it (any more)."""
        if (answer := self._fresh(api_version, kind)) is None:
            async with self._locks.setdefault(api_version, asyncio.Lock()):
                if (answer := self._fresh(api_version, kind)) is None:
                    answer = self._versions[api_version] = await self._ask(api_version)
        return answer.resources.get(kind)

    def _fresh(self, api_version: str, kind: str) -> _Answer | None:
        """Return what we know, unless it may be old; that a kind is missing is soon old."""
        answer = self._versions.get(api_version)
        if answer is None:
            return None
        lasts = FRESH_SECONDS if kind in answer.resources else MISSING_SECONDS
        return answer if time.monotonic() - answer.at <= lasts else None

    async def preferred(self, api_version: str, kind: str) -> Resource | None:
        """Return where we follow objects of this kind: one version of each, whichever an owner reference names."""
        group = api_version.rpartition("/")[0]
        known = [item for item in self._kinds if item.kind == kind and item.api_version.rpartition("/")[0] == group]
        for each in known:
            found = await self._of(each)
            if found is not None:
                return found
        return await self.resource(api_version, kind) if known else None

    async def served(self) -> list[Resource]:
        """Return where the objects of all kinds are that plug-ins know and the cluster has."""
        found: dict[tuple[str, str], Resource] = {}
        for kind in tuple(self._kinds):
            key = (kind.api_version.rpartition("/")[0], kind.kind)
            if key not in found and (resource := await self._of(kind)) is not None:
                found[key] = resource
        return list(found.values())

    async def _of(self, kind: WorkloadKind) -> Resource | None:
        """Return the kind in its own version, or in the one that the cluster has instead."""
        group, _, version = kind.api_version.rpartition("/")
        if not group:
            return await self.resource(kind.api_version, kind.kind)
        versions = (await self._served_versions()).get(group, ())
        for each in sorted(versions, key=lambda item: item != version):
            found = await self.resource(f"{group}/{each}", kind.kind)
            if found is not None:
                return found
        return None

    async def _served_versions(self) -> Mapping[str, tuple[str, ...]]:
        asked_at, groups = self._groups
        if not groups or time.monotonic() - asked_at > FRESH_SECONDS:
            answer = await self._api.raw("/apis")
            groups = {
                group["name"]: tuple(version["version"] for version in group.get("versions") or ())
                for group in answer.get("groups") or ()
            }
            self._groups = (time.monotonic(), groups)
        return groups

    async def _ask(self, api_version: str) -> _Answer:
        group, _, version = api_version.rpartition("/")
        try:
            answer = await self._api.raw(f"/apis/{api_version}" if group else f"/api/{api_version}")
        except (NotFound, Forbidden):
            return _Answer(time.monotonic())
        except Unavailable as error:
            if error.details.get("status") == 503:  # an aggregated API whose server is away
                return _Answer(time.monotonic())
            raise
        resources = {
            item["kind"]: Resource(group, version, item["name"], item["kind"], bool(item.get("namespaced")))
            for item in answer.get("resources") or ()
            if "/" not in item["name"]
        }
        return _Answer(time.monotonic(), resources)
