"""Storage classes: which a cluster has, what administrators say of each, and what that makes of new claims."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from runai_core.model.assets import Asset, PvcSource
from runai_core.model.clusters import Cluster, ClusterLink
from runai_core.model.errors import AlreadyExists, FieldError, InvalidRequest, NotFound
from runai_core.model.meta import Meta
from runai_core.model.organization import Action, Actor, Project, Scope
from runai_core.model.spec import WorkloadSpec
from runai_core.model.storage import (
    STATIC,
    StorageClass,
    StorageClassConfiguration,
    StorageCustomization,
    StoragePermissions,
)
from runai_core.model.volumes import ClaimInfo, Pvc
from runai_core.policy.claims import check_claim, check_configuration, completed
from runai_core.ports import Backend, Query, Store
from runai_core.service.access import AccessService
from runai_core.service.clusters import ClusterService

RESOURCE = "storage-class-configuration"
"""What is asked a right for."""

NAME, LONGEST = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?"), 253
NAME_RULE = "must be the name of a storage class: lower-case letters, digits, '-' and '.'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of a cluster's storage classes; `classes` is None where they are not known (yet)."""

    classes: Sequence[StorageClass] | None
    configurations: Mapping[str, StorageClassConfiguration]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassStatus:
    """A storage class of a cluster, and what administrators say of it."""

    storage_class: StorageClass
    configuration: StorageClassConfiguration | None = None


class Claims:
    """Completes and judges new claims by the storage classes of their cluster."""

    def __init__(self, backend: Backend) -> None:
        self._store: Store = backend.store
        self._here = backend.storage_classes

    async def classes(self, cluster: str) -> Sequence[StorageClass] | None:
        """Return the storage classes of a cluster, by name; None where they are not known (yet)."""
        if self._here is not None:
            return self._here()
        try:
            return (await self._store.get(ClusterLink, cluster)).storage_classes
        except NotFound:
            return None

    async def configurations(self, cluster: str) -> Mapping[str, StorageClassConfiguration]:
        """Return what administrators say, by the name of the class."""
        found = (await self._store.list(StorageClassConfiguration, Query(sort_by="meta.name"))).items
        return {item.storage_class: item for item in found if item.scope in ("", cluster)}

    async def cluster_of(self, project: Project | None) -> str:
        """Return the id of the cluster of a project, or of all; empty where there are several, or none to choose."""
        if project is not None and project.cluster:
            return project.cluster
        clusters = (await self._store.list(Cluster, Query(limit=2))).items
        return clusters[0].meta.uid if len(clusters) == 1 else ""

    async def completed(self, spec: WorkloadSpec, project: Project, at: str) -> WorkloadSpec:
        """Return the specification with the defaults of their classes in its new claims.

        Raises:
            InvalidRequest: a class is not there, or its configuration forbids the claim.
        """
        if not any(map(_is_new, spec.storage.pvc)):
            return spec
        known = await self._known(await self.cluster_of(project))
        errors: list[FieldError] = []
        claims = list(spec.storage.pvc)
        for index, claim in enumerate(claims):
            if _is_new(claim):
                filled, wrong = _judged(claim, known, f"{at}.storage.pvc.{index}.claimInfo")
                claims[index] = replace(claim, claim_info=filled)
                errors += wrong
        if errors:
            raise InvalidRequest.of(*errors)
        return replace(spec, storage=replace(spec.storage, pvc=tuple(claims)))

    async def check(self, claim: PvcSource, asset: Asset, project: Project | None) -> None:
        """Refuse a data source that asks for a claim which its class forbids; `project` is that of its scope.

        Raises:
            InvalidRequest: as `completed`.
        """
        if claim.existing_pvc:
            return
        own = asset.scope if asset.scope_type == "cluster" else ""
        known = await self._known(own or await self.cluster_of(project))
        _, wrong = _judged(claim, known, "spec.claimInfo", users="assets")
        if wrong:
            raise InvalidRequest.of(*wrong)

    async def _known(self, cluster: str) -> Known:
        return Known(classes=await self.classes(cluster), configurations=await self.configurations(cluster))


class StorageService:
    """What can be done with storage classes and their configurations."""

    def __init__(self, backend: Backend, access: AccessService, clusters: ClusterService) -> None:
        self._store = backend.store
        self._access = access
        self._clusters = clusters
        self._claims = Claims(backend)

    async def classes(self, actor: Actor, cluster: str, *, static: bool = False) -> Sequence[ClassStatus]:
        """Return the storage classes of a cluster, by name; with `static`, the one for volumes made by hand too.

        Raises:
            NotFound: there is no such cluster.
        """
        await self._access.require(actor, Action.READ, RESOURCE)
        uid = (await self._clusters.get(actor, cluster)).cluster.meta.uid
        found = [*(await self._claims.classes(uid) or ()), *([StorageClass(name=STATIC)] if static else [])]
        said = await self._claims.configurations(uid)
        return [ClassStatus(storage_class=item, configuration=said.get(item.name)) for item in found]

    async def configurations(self, actor: Actor) -> Sequence[StorageClassConfiguration]:
        """Return what was said of storage classes, by class."""
        await self._access.require(actor, Action.READ, RESOURCE)
        return (await self._store.list(StorageClassConfiguration, Query(sort_by="storage_class"))).items

    async def get(self, actor: Actor, uid: str) -> StorageClassConfiguration:
        """Return the configuration of this id; raise NotFound."""
        await self._access.require(actor, Action.READ, RESOURCE)
        try:
            found = await self._store.get_by_uid(StorageClassConfiguration, uid)
        except NotFound:
            found = None
        if found is None or found.meta.deleted_at is not None:
            raise NotFound(f"there is no configuration {uid[:80]} of a storage class")
        return found

    async def create(
        self,
        actor: Actor,
        cluster: str,
        storage_class: str,
        permissions: StoragePermissions,
        customization: StorageCustomization,
    ) -> StorageClassConfiguration:
        """Keep what is said of a storage class.

        Raises:
            InvalidRequest: the cluster is not there or has no such class; a rule is wrong.
            AlreadyExists: something is said of the class already.
        """
        uid = await self._clusters.resolve(cluster)
        await self._access.require(actor, Action.CREATE, RESOURCE, Scope("cluster", uid))
        known = await self._claims.classes(uid)
        if len(storage_class) > LONGEST or not NAME.fullmatch(storage_class):
            raise InvalidRequest.of(FieldError("name", NAME_RULE, storage_class[:80]))
        if known is not None and storage_class not in (STATIC, *(item.name for item in known)):
            has = ", ".join(item.name for item in known) or "none"
            message = f"there is no such storage class; there are: {has}"
            raise InvalidRequest.of(FieldError("name", message, storage_class[:80]))
        _check(customization)
        scope = uid if self._clusters.is_control_plane else ""
        item = StorageClassConfiguration(
            meta=Meta(name=".".join(part for part in (storage_class, scope) if part), created_by=actor.name),
            storage_class=storage_class,
            scope=scope,
            permissions=permissions,
            customization=customization,
        )
        try:
            return await self._store.create(item)
        except AlreadyExists:
            raise AlreadyExists(f"storage class {storage_class} is configured already: change that") from None

    async def update(
        self, actor: Actor, uid: str, permissions: StoragePermissions, customization: StorageCustomization
    ) -> StorageClassConfiguration:
        """Say something else of the class; claims that were made stay as they are."""
        found = await self._changeable(actor, Action.UPDATE, uid)
        _check(customization)
        meta = replace(found.meta, updated_by=actor.name)
        return await self._store.update(replace(found, meta=meta, permissions=permissions, customization=customization))

    async def delete(self, actor: Actor, uid: str) -> StorageClassConfiguration:
        """Say nothing of the class any more."""
        found = await self._changeable(actor, Action.DELETE, uid)
        return await self._store.delete(StorageClassConfiguration, found.meta.uid)

    async def _changeable(self, actor: Actor, action: Action, uid: str) -> StorageClassConfiguration:
        found = await self.get(actor, uid)
        await self._access.require(actor, action, RESOURCE, Scope("cluster", found.scope))
        return found


def _is_new(claim: Pvc) -> bool:
    return not (claim.existing_pvc or claim.exclude)


def _judged(
    claim: Pvc | PvcSource, known: Known, at: str, users: str = "workloads"
) -> tuple[ClaimInfo | None, list[FieldError]]:
    """Return what a new claim asks for, with the defaults of its class, and what is wrong with it."""
    asked = claim.claim_info or ClaimInfo()
    name = asked.storage_class or next((item.name for item in known.classes or () if item.is_default), "")
    there = None if known.classes is None else [item.name for item in known.classes]
    if asked.storage_class not in (None, "", STATIC) and there is not None and name not in there:
        message = f"there is no such storage class in the cluster; there are: {', '.join(there) or 'none'}"
        return asked, [FieldError(f"{at}.storageClass", message, str(asked.storage_class)[:80])]
    configuration = known.configurations.get(name)
    if configuration is None:
        return claim.claim_info, []
    filled = completed(asked, configuration)
    shared, ephemeral = bool(claim.data_sharing), bool(claim.ephemeral)
    return filled, list(check_claim(filled, configuration, at, ephemeral=ephemeral, shared=shared, users=users))


def _check(customization: StorageCustomization) -> None:
    if wrong := list(check_configuration(customization)):
        raise InvalidRequest.of(*wrong)
