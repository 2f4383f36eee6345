"""Use cases of assets: keep, find, change and delete them, and say who uses them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from runai_core import wire
from runai_core.lifecycle.secrets import is_private
from runai_core.model.assets import (
    CREDENTIALS,
    SPECS,
    Asset,
    AssetKind,
    PvcSource,
    SupportedTypes,
    Template,
)
from runai_core.model.errors import AlreadyExists, Conflict, FieldError, InvalidRequest, NotFound, Unsupported
from runai_core.model.meta import Meta
from runai_core.model.organization import Action, Actor, Department, Project, Scope
from runai_core.model.workload import Policy, Workload
from runai_core.policy.scopes import name_of
from runai_core.ports import Backend, Filter, Op, Query
from runai_core.service.access import AccessService
from runai_core.service.asset_fields import credentials_of
from runai_core.service.asset_scopes import PRIVATE, is_visible, stored_name
from runai_core.service.preinstalled import PREINSTALLED
from runai_core.service.secrets import REQUIRED, SECRET_MEMBERS, Vault
from runai_core.service.storage import Claims

TITLE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
TITLE_RULE = (
    "must be 1 to 63 characters, lower-case letters, digits and '-', beginning and ending with one of the first"
)
SCOPES = ("tenant", "cluster", "department", "project")

RESOURCES: Mapping[AssetKind, str] = {
    AssetKind.ENVIRONMENT: "environments",
    AssetKind.COMPUTE: "compute-resources",
    AssetKind.HOST_PATH: "host-path-assets",
    AssetKind.NFS: "nfs-assets",
    AssetKind.PVC: "pvc-assets",
    AssetKind.GIT: "git-assets",
    AssetKind.S3: "s3-assets",
    AssetKind.CONFIG_MAP: "cm-volume-assets",
    AssetKind.SECRET: "secret-volume-assets",
    **dict.fromkeys(CREDENTIALS, "credentials"),
    AssetKind.REGISTRY: "registries",
}
"""Kind -> the resource whose rights it needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetDraft:
    """An asset to create; `spec` as the API takes it, secrets included."""

    kind: AssetKind
    title: str
    scope_type: str = "tenant"
    scope: str = ""
    description: str = ""
    supported: SupportedTypes = SupportedTypes()
    spec: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Who uses an asset now."""

    workloads: tuple[Workload, ...] = ()
    templates: tuple[Template, ...] = ()
    assets: tuple[Asset, ...] = ()
    policies: tuple[Policy, ...] = ()  # that impose it

    def __str__(self) -> str:
        """Return the first few users, for a refusal."""
        names = [f"workload {item.key}" for item in self.workloads]
        names += [f"template {item.title}" for item in self.templates]
        names += [f"{item.kind} {item.title}" for item in self.assets]
        names += [f"the policy {name_of(item)}" for item in self.policies]
        return ", ".join(names[:5]) + (" and others" if len(names) > 5 else "")

    def __bool__(self) -> bool:
        """Return whether there is any."""
        return bool(self.workloads or self.templates or self.assets or self.policies)


class AssetService:
    """What can be done with assets."""

    def __init__(self, backend: Backend, access: AccessService, vault: Vault) -> None:
        self._store = backend.store
        self._access = access
        self._vault = vault
        self._claims = Claims(backend)

    @property
    def key_id(self) -> int:
        """A number that tells which key encrypts credentials now."""
        return self._vault.key_id

    async def listed(self, actor: Actor, kinds: Sequence[AssetKind]) -> Sequence[Asset]:
        """Return the assets of these kinds in the actor's scopes, by title.

        Raises:
            Forbidden: the actor may read none of the kinds anywhere.
        """
        departments = await self._departments()
        found = await self._all()
        seen: list[Asset] = []
        for resource in sorted({RESOURCES[kind] for kind in kinds}):
            projects = await self._access.visible(actor, Action.READ, resource)
            mine = [asset for asset in found if asset.kind in kinds and RESOURCES[asset.kind] == resource]
            seen += [asset for asset in mine if is_visible(asset, projects, departments)]
        return sorted(seen, key=lambda asset: (asset.title, asset.kind, asset.meta.uid))

    async def get(self, actor: Actor, uid: str, kinds: Sequence[AssetKind] = tuple(AssetKind)) -> Asset:
        """Return the asset of this id; raise NotFound for one that is not there, of another kind, or out of sight."""
        asset = await self._find(uid, kinds)
        projects = await self._access.visible(actor, Action.READ, RESOURCES[asset.kind])
        if not is_visible(asset, projects, await self._departments()):
            raise NotFound(f"there is no {_words(kinds)} {uid[:80]}")
        return asset

    async def create(self, actor: Actor, draft: AssetDraft) -> Asset:
        """Keep a new asset.

        Raises:
            InvalidRequest: a field is wrong. AlreadyExists: the scope has one of this name and kind.
        """
        await self._access.require(actor, Action.CREATE, RESOURCES[draft.kind], Scope(draft.scope_type, draft.scope))
        await self.check_scope(draft.scope_type, draft.scope)
        check_title(draft.title)
        name = stored_name(draft.kind.value, draft.scope_type, draft.scope, draft.title)
        asset = Asset(
            meta=Meta(name=name, created_by=actor.name, updated_by=actor.name),
            kind=draft.kind,
            title=draft.title,
            scope_type=draft.scope_type,
            scope=draft.scope,
            description=draft.description,
            supported=draft.supported,
        )
        asset = await self.filled(asset, draft.spec)
        try:
            return await self._store.create(asset)
        except AlreadyExists:
            where = f"{draft.scope_type} {draft.scope}".strip()
            raise AlreadyExists(
                f"there is a {draft.kind} {draft.title} in {where} already: choose another name"
            ) from None

    async def update(
        self,
        actor: Actor,
        uid: str,
        kinds: Sequence[AssetKind],
        *,
        title: str | None = None,
        description: str | None = None,
        spec: Mapping[str, Any] | None = None,
    ) -> Asset:
        """Change what is given; workloads keep what they were submitted with."""
        asset = await self._changeable(actor, Action.UPDATE, uid, kinds)
        changed = asset
        if title is not None and title != asset.title:
            check_title(title)
            name = stored_name(asset.kind.value, asset.scope_type, asset.scope, title)
            if asset.sealed:
                raise Unsupported(f"{asset.kind} {asset.title}: a credential keeps its name: create another one")
            await self._must_be_free(asset, name)
            changed = replace(changed, title=title, meta=replace(asset.meta, name=name))
        if description is not None:
            changed = replace(changed, description=description)
        if spec is not None:
            changed = await self.filled(changed, spec)
        return await self._store.update(replace(changed, meta=replace(changed.meta, updated_by=actor.name)))

    async def delete(self, actor: Actor, uid: str, kinds: Sequence[AssetKind]) -> Asset:
        """Delete an asset; raise Conflict while something uses it."""
        asset = await self._changeable(actor, Action.DELETE, uid, kinds)
        if usage := await self.usage(asset):
            raise Conflict(f"{asset.kind} {asset.title} is in use by {usage}: delete those first")
        return await self._store.delete(Asset, asset.meta.uid)

    async def usage(self, asset: Asset) -> Usage:
        """Return the workloads that have it, and the templates and assets that name it."""
        uid = asset.meta.uid
        workloads = await self._store.list(Workload, Query(filters=(Filter("assets", Op.CONTAINS, uid),)))
        templates = (await self._store.list(Template, Query())).items
        policies = (await self._store.list(Policy, Query())).items
        return Usage(
            workloads=tuple(item for item in workloads.items if uid in item.assets),
            templates=tuple(item for item in templates if uid in ids_in(item.assets)),
            assets=tuple(item for item in await self._all() if uid in credentials_of(item)),
            policies=tuple(item for item in policies if _imposes(item, uid)),
        )

    async def check_scope(self, scope_type: str, scope: str) -> None:
        """Raise InvalidRequest unless something can be created in the scope."""
        if scope_type not in SCOPES:
            raise InvalidRequest.of(FieldError("meta.scope", f"must be one of {', '.join(SCOPES)}", scope_type[:80]))
        kinds: Mapping[str, type[Department | Project]] = {"department": Department, "project": Project}
        if scope_type in kinds:
            try:
                await self._store.get(kinds[scope_type], scope)
            except NotFound:
                message = f"there is no such {scope_type}: give its id or name"
                raise InvalidRequest.of(FieldError(f"meta.{scope_type}Id", message, scope[:80])) from None

    async def filled(self, asset: Asset, spec: Mapping[str, Any]) -> Asset:
        """Return the asset with this specification: checked, and what is secret sealed."""
        decoded = wire.decode(SPECS[asset.kind], spec, at="spec")
        if isinstance(decoded, PvcSource):
            await self._claims.check(decoded, asset, await self._project_of(asset))
        given = wire.encode(decoded)
        secret = {name: given.pop(name) for name in SECRET_MEMBERS.get(asset.kind, ()) if name in given}
        if asset.kind in CREDENTIALS:
            given, secret = self._credential(asset, given, secret)
        if wrong := [uid for uid in credentials_of(replace(asset, spec=given)) if not await self._is_credential(uid)]:
            raise InvalidRequest.of(FieldError("spec", "there is no credential of this id", wrong[0][:80]))
        if not secret:
            return replace(asset, spec=given, sealed="", keys=())
        return replace(
            asset, spec=given, sealed=self._vault.seal(asset.meta.name, secret), keys=_keys_of(given, secret)
        )

    def _credential(
        self, asset: Asset, given: dict[str, Any], secret: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return both parts, what is not given taken from what is kept; raise InvalidRequest for a part that lacks."""
        if given.get("existingSecretName"):
            if secret:
                message = "names a secret of the cluster: give no values besides it"
                raise InvalidRequest.of(FieldError("spec.existingSecretName", message))
            return given, {}
        if asset.sealed:
            given = {**{key: value for key, value in asset.spec.items() if key != "existingSecretName"}, **given}
            secret = {**self._vault.open(asset.meta.name, asset.sealed), **secret}
        lacking = [name for name in REQUIRED[asset.kind] if not {**given, **secret}.get(name)]
        if lacking:
            raise InvalidRequest.of(*(FieldError(f"spec.{name}", "is required") for name in lacking))
        return given, secret

    async def _is_credential(self, uid: str) -> bool:
        try:
            found = await self._store.get_by_uid(Asset, uid)
        except NotFound:
            return False
        return found.kind in CREDENTIALS and found.scope_type != PRIVATE

    async def _must_be_free(self, asset: Asset, name: str) -> None:
        try:
            await self._store.get(Asset, name)
        except NotFound:
            return
        raise AlreadyExists(f"there is another {asset.kind} of this name: choose another one")

    async def _changeable(self, actor: Actor, action: Action, uid: str, kinds: Sequence[AssetKind]) -> Asset:
        asset = await self.get(actor, uid, kinds)
        if asset.scope_type == "system":
            raise Unsupported(f"{asset.kind} {asset.title} comes with the product: make a copy of it")
        await self._access.require(actor, action, RESOURCES[asset.kind], Scope(asset.scope_type, asset.scope))
        return asset

    async def _find(self, uid: str, kinds: Sequence[AssetKind]) -> Asset:
        asset = next((item for item in PREINSTALLED if item.meta.uid == uid), None)
        if asset is None:
            try:
                asset = await self._store.get_by_uid(Asset, uid)
            except NotFound:
                raise NotFound(f"there is no {_words(kinds)} {uid[:80]}") from None
        if asset.kind not in kinds or asset.meta.deleted_at is not None or asset.scope_type == PRIVATE:
            raise NotFound(f"there is no {_words(kinds)} {uid[:80]}")
        return asset

    async def _all(self) -> list[Asset]:
        kept = (await self._store.list(Asset, Query(filters=(Filter("scope_type", Op.NE, PRIVATE),)))).items
        return [*PREINSTALLED, *kept]

    async def _project_of(self, asset: Asset) -> Project | None:
        return await self._store.get(Project, asset.scope) if asset.scope_type == "project" else None

    async def _departments(self) -> Mapping[str, str]:
        return {item.name: item.department for item in (await self._store.list(Project, Query())).items}


def check_title(title: str) -> None:
    """Raise InvalidRequest unless the title can be part of names of objects, and is no private one."""
    if not TITLE.fullmatch(title) or is_private(title):
        raise InvalidRequest.of(FieldError("meta.name", TITLE_RULE, title[:80]))


def ids_in(assets: Mapping[str, Any]) -> list[str]:
    """Return the ids that a submission or a template names: environment, compute, data sources."""
    ids = [assets.get("environment"), assets.get("compute")]
    ids += [item.get("id") for item in assets.get("datasources") or ()]
    return [uid for uid in ids if uid]


def _imposes(policy: Policy, uid: str) -> bool:
    imposed = policy.document.get("imposedAssets")
    return isinstance(imposed, list | tuple) and uid in imposed


def _keys_of(given: Mapping[str, Any], secret: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the members, of a generic secret those that its author chose."""
    pairs = secret.get("keyValuePairs")
    return tuple(pair["key"] for pair in pairs) if pairs else (*given, *secret)


def _words(kinds: Sequence[AssetKind]) -> str:
    return kinds[0].value if len(kinds) == 1 else "asset"
