"""Use cases of workload types: kinds that plug-ins bring, and those that administrators teach.

What is taught is kept with everything else and learned by every process, so
that the operator groups the pods of such objects, and lists show them.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from runai_core.model.errors import (
    AlreadyExists,
    Conflict,
    FieldError,
    InvalidRequest,
    NotFound,
    RunaiError,
    Unsupported,
    WatchExpired,
)
from runai_core.model.kinds import TaughtKind, name_of_kind
from runai_core.model.meta import Meta
from runai_core.model.organization import Action, Actor
from runai_core.model.workload import PRIORITIES, Workload
from runai_core.plugins.known import KnownKinds
from runai_core.plugins.taught import kinds_of
from runai_core.plugins.types import WorkloadKind
from runai_core.ports import Backend, Filter, Op, Query
from runai_core.service.access import AccessService

log = logging.getLogger(__name__)

RESOURCE = "workload-properties"

CATEGORIES: Mapping[str, str] = {
    "Build": "Interactive work: workspaces.",
    "Train": "Work that ends: trainings, also distributed ones.",
    "Deploy": "Work that serves: inference.",
}
"""What work is for, and in a sentence."""

OWN_GROUP = "run.ai"

AGAIN = 5.0
"""Seconds until changes are followed again after the store could not tell them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterStatus:
    """What a cluster makes of one version of a kind."""

    version: str
    trouble: str = ""  # why its objects are no workloads there; empty: they are


@dataclass(frozen=True, slots=True, kw_only=True)
class KindChange:
    """What is changed of a type; None stays."""

    category: str | None = None
    priority_class: str | None = None
    interfaces: tuple[Mapping[str, Any], ...] | None = None


class KindService:
    """What can be done with workload types."""

    def __init__(self, backend: Backend, access: AccessService, known: KnownKinds) -> None:
        self._store = backend.store
        self._frameworks = backend.frameworks
        self._clock = backend.clock
        self._access = access
        self._known = known

    async def taught(self, actor: Actor) -> Mapping[str, TaughtKind]:
        """Return what administrators taught, by ``<group>/<kind>``."""
        await self._access.require_anywhere(actor, Action.READ, RESOURCE)
        return {item.meta.name: item for item in (await self._store.list(TaughtKind, Query())).items}

    async def statuses(self, kinds: Sequence[WorkloadKind]) -> Sequence[ClusterStatus]:
        """Return what the cluster makes of each version of a kind; nothing where there is no cluster to ask."""
        if self._frameworks is None:
            return ()
        troubles = await asyncio.gather(*(self._frameworks.trouble(kind.api_version, kind.kind) for kind in kinds))
        return [
            ClusterStatus(version=kind.api_version.rpartition("/")[2], trouble=trouble)
            for kind, trouble in zip(kinds, troubles, strict=True)
        ]

    async def create(self, actor: Actor, taught: TaughtKind) -> TaughtKind:
        """Teach a kind.

        Raises:
            AlreadyExists: the kind is known. InvalidRequest: a field, or an interface, is wrong; names it.
        """
        await self._access.require(actor, Action.CREATE, RESOURCE)
        if not taught.interfaces:
            raise InvalidRequest.of(FieldError("resourceInterfaces", "must describe at least one version of the kind"))
        if (taught.group, taught.kind) in self._known.by_group or taught.group == OWN_GROUP:
            raise AlreadyExists(f"the workload type {taught.meta.name} is known already: change it instead")
        self._check(taught)
        meta = replace(taught.meta, created_by=actor.name, updated_by=actor.name)
        created = await self._store.create(replace(taught, meta=meta))
        await self.learn()
        return created

    async def update(self, actor: Actor, name: str, change: KindChange) -> TaughtKind:
        """Change the defaults of a kind, also of a plug-in's; versions of a taught one can come and go.

        Raises:
            NotFound: no such kind. InvalidRequest: a field is wrong, or a version would change.
        """
        await self._access.require(actor, Action.UPDATE, RESOURCE)
        before = await self._present(name)
        changed = replace(
            before,
            category=change.category or before.category,
            priority_class=change.priority_class or before.priority_class,
            interfaces=before.interfaces if change.interfaces is None else change.interfaces,
            meta=replace(before.meta, updated_by=actor.name),
        )
        if bool(changed.interfaces) != bool(before.interfaces):
            message = "cannot be given: the kind comes with a plug-in" if changed.interfaces else "must keep a version"
            raise InvalidRequest.of(FieldError("resourceInterfaces", message))
        known = {version_of(interface): interface for interface in before.interfaces}
        self._check(changed)
        for index, interface in enumerate(changed.interfaces):
            if known.get(version_of(interface), interface) != interface:
                message = f"version {version_of(interface)} is there: it can be taken away, but not changed"
                raise InvalidRequest.of(FieldError(f"resourceInterfaces.{index}", message))
        saved = await (self._store.update(changed) if before.meta.uid else self._store.create(changed))
        await self.learn()
        return saved

    async def delete(self, actor: Actor, name: str) -> TaughtKind:
        """Forget a kind, or what was changed of a plug-in's.

        Raises:
            NotFound: no such kind. Unsupported: nothing was taught of it. Conflict: there are workloads of it.
        """
        await self._access.require(actor, Action.DELETE, RESOURCE)
        present = await self._present(name)
        if not present.meta.uid:
            raise Unsupported(f"the workload type {name} comes with a plug-in: leave the plug-in out instead")
        if present.interfaces:
            await self._require_unused(present)
        gone = await self._store.delete(TaughtKind, present.meta.uid)
        await self.learn()
        return gone

    async def learn(self) -> None:
        """Let this process know what is taught now."""
        found: list[WorkloadKind] = []
        for item in (await self._store.list(TaughtKind, Query())).items:
            try:
                found += kinds_of(item, self._known.brought)
            except RunaiError as error:  # of another version of the program, which understood more
                log.warning("the workload type %s is not understood here: %s", item.meta.name, error.message)
        self._known.teach(found)

    async def run(self) -> None:
        """Learn what is taught, now and whenever it changes, until cancelled."""
        while True:
            try:
                version = (await self._store.list(TaughtKind, Query(limit=1))).version
                await self.learn()
                async for _ in self._store.watch(TaughtKind, version):
                    await self.learn()
            except WatchExpired:
                continue
            except RunaiError as error:
                log.warning("workload types cannot be followed now: %s", error.message)
            await self._clock.sleep(AGAIN)

    async def _present(self, name: str) -> TaughtKind:
        """Return what is taught of a kind, or what a plug-in says of it; then it has no uid."""
        try:
            return await self._store.get(TaughtKind, name)
        except NotFound:
            group, _, kind = name.rpartition("/")
            brought = self._known.by_group.get((group, kind))
            if brought is None or group == OWN_GROUP:
                raise NotFound(f"there is no workload type {name[:80]} that can be changed") from None
            return TaughtKind(
                meta=Meta(name=name),
                group=group,
                kind=kind,
                category=brought.category,
                priority_class=brought.priority_class,
            )

    def _check(self, taught: TaughtKind) -> None:
        for field, value, allowed in (
            ("categoryId", taught.category, CATEGORIES),
            ("priorityId", taught.priority_class, PRIORITIES),
        ):
            if value not in allowed:
                raise InvalidRequest.of(
                    FieldError(field, f"must be one of {', '.join(allowed)}, or its id", value[:80])
                )
        kinds_of(taught, self._known.brought)

    async def _require_unused(self, taught: TaughtKind) -> None:
        found = await self._store.list(Workload, Query(filters=(Filter("kind", Op.EQ, taught.kind),)))
        used = [item for item in found.items if item.api_version.rpartition("/")[0] == taught.group]
        if used:
            named = ", ".join(item.key for item in used[:5])
            raise Conflict(
                f"there are {len(used)} workloads of the type {taught.meta.name}: delete them first ({named})"
            )


def a_kind(group: str, kind: str, **given: Any) -> TaughtKind:
    """Return the definition of a kind, to be taught."""
    return TaughtKind(meta=Meta(name=name_of_kind(group, kind)), group=group, kind=kind, **given)


def version_of(interface: Mapping[str, Any]) -> str:
    """Return the version that an interface, which was checked, is for."""
    return str(interface["spec"]["structureDefinition"]["rootComponent"]["kind"]["version"])
