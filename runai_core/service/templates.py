"""Use cases of templates and data volumes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from runai_core import wire
from runai_core.model.assets import DataVolume, Template
from runai_core.model.errors import AlreadyExists, Conflict, FieldError, InvalidRequest, NotFound
from runai_core.model.meta import Meta
from runai_core.model.organization import Action, Actor, Department, Project, Scope
from runai_core.model.spec import WorkloadSpec
from runai_core.model.workload import Workload, WorkloadType
from runai_core.policy.tree import get_at
from runai_core.ports import Backend, Query, Store
from runai_core.service.access import AccessService
from runai_core.service.asset_scopes import is_visible, stored_name
from runai_core.service.assets import AssetService, check_title
from runai_core.service.submission import References

TEMPLATES = "templates"
DATA_VOLUMES = "datavolumes"


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateDraft:
    """A template to create, or what takes its place."""

    title: str
    type: WorkloadType
    scope_type: str = "tenant"
    scope: str = ""
    description: str = ""
    spec: Mapping[str, Any] = field(default_factory=dict)
    master_spec: Mapping[str, Any] | None = None
    assets: Mapping[str, Any] = field(default_factory=dict)


class TemplateService:
    """What can be done with templates."""

    def __init__(self, backend: Backend, access: AccessService, assets: AssetService) -> None:
        self._store = backend.store
        self._access = access
        self._assets = assets

    async def listed(self, actor: Actor, of_type: WorkloadType | None = None) -> Sequence[Template]:
        """Return the templates in the actor's scopes, by title; none for who may read templates nowhere."""
        if not self._access.scopes(actor, Action.READ, TEMPLATES):
            return ()
        projects = await self._access.visible(actor, Action.READ, TEMPLATES)
        departments = await _departments(self._store)
        found = [
            item
            for item in (await self._store.list(Template, Query())).items
            if of_type in (None, item.type) and is_visible(item, projects, departments)
        ]
        return sorted(found, key=lambda item: (item.title, item.meta.uid))

    async def get(self, actor: Actor, uid: str, of_type: WorkloadType | None = None) -> Template:
        """Return the template of this id; raise NotFound for one of another type, or out of sight."""
        for item in await self.listed(actor, of_type):
            if item.meta.uid == uid:
                return item
        raise NotFound(f"there is no template {uid[:80]}")

    async def create(self, actor: Actor, draft: TemplateDraft) -> Template:
        """Keep a new template.

        Raises:
            InvalidRequest: a field is wrong. AlreadyExists: the scope has one of this name.
        """
        await self._access.require(actor, Action.CREATE, TEMPLATES, Scope(draft.scope_type, draft.scope))
        await self._assets.check_scope(draft.scope_type, draft.scope)
        check_title(draft.title)
        _check(draft)
        name = stored_name("template", draft.scope_type, draft.scope, draft.title)
        template = Template(
            meta=Meta(name=name, created_by=actor.name, updated_by=actor.name),
            title=draft.title,
            type=draft.type,
            scope_type=draft.scope_type,
            scope=draft.scope,
            description=draft.description,
            spec=draft.spec,
            master_spec=draft.master_spec,
            assets=draft.assets,
        )
        try:
            return await self._store.create(template)
        except AlreadyExists:
            raise AlreadyExists(f"there is a template {draft.title} in that scope: choose another name") from None

    async def replace(self, actor: Actor, uid: str, draft: TemplateDraft) -> Template:
        """Put a draft in the place of a template; its type and scope stay."""
        old = await self.get(actor, uid)
        await self._access.require(actor, Action.UPDATE, TEMPLATES, Scope(old.scope_type, old.scope))
        check_title(draft.title)
        draft = replace(draft, type=old.type)
        _check(draft)
        name = stored_name("template", old.scope_type, old.scope, draft.title)
        if name != old.meta.name and any(item.meta.name == name for item in await self.listed(actor)):
            raise AlreadyExists(f"there is a template {draft.title} in that scope: choose another name")
        return await self._store.update(
            replace(
                old,
                meta=replace(old.meta, name=name, updated_by=actor.name),
                title=draft.title,
                description=draft.description,
                spec=draft.spec,
                master_spec=draft.master_spec,
                assets=draft.assets,
            )
        )

    async def delete(self, actor: Actor, uid: str, of_type: WorkloadType | None = None) -> Template:
        """Delete a template; workloads that were submitted with it keep what it gave them."""
        template = await self.get(actor, uid, of_type)
        await self._access.require(actor, Action.DELETE, TEMPLATES, Scope(template.scope_type, template.scope))
        return await self._store.delete(Template, uid)

    async def is_free(self, actor: Actor, title: str, scope_type: str, scope: str) -> bool:
        """Return whether a template of this name could be created in the scope."""
        await self._access.require(actor, Action.READ, TEMPLATES)
        try:
            await self._store.get(Template, stored_name("template", scope_type, scope, title))
        except NotFound:
            return True
        return False


class DataVolumeService:
    """What can be done with data volumes."""

    def __init__(self, backend: Backend, access: AccessService) -> None:
        self._store = backend.store
        self._access = access

    async def listed(self, actor: Actor) -> Sequence[DataVolume]:
        """Return the data volumes of the actor's projects, and those that are shared with them; by name."""
        projects = await self._access.visible(actor, Action.READ, DATA_VOLUMES)
        found = (await self._store.list(DataVolume, Query())).items
        if projects is not None:
            departments = await _departments(self._store)
            scopes = {f"project/{name}" for name in projects} | {f"department/{departments.get(n)}" for n in projects}
            found = tuple(item for item in found if item.meta.project in projects or _reaches(item, scopes))
        return sorted(found, key=lambda item: (item.meta.name, item.meta.uid))

    async def get(self, actor: Actor, uid: str) -> DataVolume:
        """Return the data volume of this id; raise NotFound."""
        for item in await self.listed(actor):
            if item.meta.uid == uid:
                return item
        raise NotFound(f"there is no data volume {uid[:80]}")

    async def create(self, actor: Actor, project: str, name: str, claim: str, description: str = "") -> DataVolume:
        """Make a project's claim a data volume."""
        await self._access.require(actor, Action.CREATE, DATA_VOLUMES, Scope("project", project))
        check_title(name)
        volume = DataVolume(
            meta=Meta(name=name, project=project, created_by=actor.name, updated_by=actor.name),
            claim_name=claim,
            description=description,
        )
        return await self._store.create(volume)

    async def describe(self, actor: Actor, uid: str, description: str) -> DataVolume:
        """Change the description."""
        volume = await self._changeable(actor, Action.UPDATE, uid)
        return await self._store.update(replace(volume, description=description))

    async def share(self, actor: Actor, uid: str, *, add: Sequence[Scope], remove: Sequence[Scope]) -> DataVolume:
        """Change with whom it is shared: scopes whose projects may mount it to read."""
        volume = await self._changeable(actor, Action.UPDATE, uid)
        for scope in add:
            await self._check(scope)
        gone = {_text(scope) for scope in remove}
        shared = [item for item in volume.shared if item not in gone]
        shared += [_text(scope) for scope in add if _text(scope) not in shared]
        return await self._store.update(replace(volume, shared=tuple(shared)))

    async def delete(self, actor: Actor, uid: str) -> DataVolume:
        """Delete a data volume, not the claim; raise Conflict while a workload mounts it."""
        volume = await self._changeable(actor, Action.DELETE, uid)
        workloads = (await self._store.list(Workload, Query(project=volume.meta.project))).items
        names = {item.key: [claim.name for claim in item.spec.storage.pvc] for item in workloads}
        if used := [key for key, claims in names.items() if volume.meta.name in claims]:
            raise Conflict(f"data volume {volume.meta.name} is in use by {', '.join(used[:5])}: delete those first")
        return await self._store.delete(DataVolume, uid)

    async def _changeable(self, actor: Actor, action: Action, uid: str) -> DataVolume:
        volume = await self.get(actor, uid)
        await self._access.require(actor, action, DATA_VOLUMES, Scope("project", volume.meta.project))
        return volume

    async def _check(self, scope: Scope) -> None:
        kinds: Mapping[str, type[Department | Project]] = {"department": Department, "project": Project}
        if scope.type in kinds:
            try:
                await self._store.get(kinds[scope.type], scope.name)
            except NotFound as error:
                raise InvalidRequest.of(FieldError("add", error.message, scope.name[:80])) from None


def _check(draft: TemplateDraft) -> None:
    """Raise InvalidRequest for fields that no workload has."""
    wire.decode(References, draft.assets, at="assets")
    for at, spec in (("spec", draft.spec), ("master.spec", draft.master_spec or {})):
        fields = {name: value for name, value in spec.items() if name not in ("leader", "worker")}
        wire.decode(WorkloadSpec, fields, at=at)
        if get_at(spec, "assets") is not None:
            raise InvalidRequest.of(FieldError(f"{at}.assets", "belongs beside the specification"))


def _text(scope: Scope) -> str:
    return f"{scope.type}/{scope.name}"


def _reaches(volume: DataVolume, scopes: set[str]) -> bool:
    return any(item in scopes or item.startswith(("tenant/", "cluster/")) for item in volume.shared)


async def _departments(store: Store) -> Mapping[str, str]:
    return {item.name: item.department for item in (await store.list(Project, Query())).items}
