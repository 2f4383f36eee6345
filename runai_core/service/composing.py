"""From what a submission refers to (template, assets, data volumes) to a specification with everything in it.

What the user wrote wins over the assets that he chose, those over the
template's values, and those over the template's assets. Policies judge what
comes out; what they impose is added after them.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from runai_core import wire
from runai_core.lifecycle.secrets import cluster_secrets_of, is_private, private_name, secrets_of
from runai_core.model.assets import DATA_SOURCES, Asset, AssetKind, DataVolume, SupportedTypes, Template
from runai_core.model.errors import FieldError, InvalidRequest, NotFound
from runai_core.model.organization import Project
from runai_core.model.workload import Workload, WorkloadType
from runai_core.policy.tree import copied, get_at, set_at
from runai_core.ports import Query, Secrets, Store
from runai_core.service.asset_fields import fields_of, under
from runai_core.service.asset_scopes import covers, is_shared, nearness
from runai_core.service.preinstalled import PREINSTALLED
from runai_core.service.submission import References, Submission

ASSETS = "assets"
CHOICES: Mapping[str, tuple[AssetKind, ...]] = {
    "environment": (AssetKind.ENVIRONMENT,),
    "compute": (AssetKind.COMPUTE,),
}
"""Member of `assets` -> kinds that it may name."""

KINDS: Mapping[str, str] = {"configMap": "config-map", "secretVolume": "secret-volume", "secret": "secret-volume"}
"""Other spellings of kinds."""

_SUPPORT: Mapping[WorkloadType, str] = {
    WorkloadType.WORKSPACE: "workspace",
    WorkloadType.TRAINING: "training",
    WorkloadType.DISTRIBUTED: "distributed",
    WorkloadType.INFERENCE: "inference",
    WorkloadType.DISTRIBUTED_INFERENCE: "inference",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """A submission without references, and what it referred to."""

    submission: Submission
    template: str = ""  # uid
    assets: tuple[str, ...] = ()  # uids


@dataclass(frozen=True, slots=True, kw_only=True)
class Imposed:
    """A specification with what policies impose."""

    spec: dict[str, Any]
    assets: tuple[str, ...] = ()  # uids
    origins: Mapping[str, str] = field(default_factory=dict)
    violations: tuple[FieldError, ...] = ()


class Composer:
    """Follows the references of submissions."""

    def __init__(self, store: Store, secrets: Secrets | None = None) -> None:
        self._store = store
        self._secrets = secrets

    async def compose(self, submission: Submission, project: Project) -> Composed:
        """Return the submission with the fields of its template and assets in it.

        Raises:
            InvalidRequest: a reference leads nowhere, or to what the project may not use; names it.
        """
        spec, chosen = _split(submission.spec, submission.assets)
        template = await self._template(submission, project)
        usable = await self._usable(project) if template is not None or chosen else {}
        used: list[str] = []
        given = self._laid_under(spec, chosen, usable, submission, used)
        master = submission.master_spec
        if template is not None:
            own, theirs = _split(template.spec, template.assets)
            kept = {name: value for name, value in theirs.items() if not chosen.get(name)}
            base = self._laid_under(own, kept, usable, submission, used)
            if chosen.get("compute"):
                base.pop("compute", None)  # the two would contradict each other
            given = under(base, given)
            master = template.master_spec if master is None else under(template.master_spec or {}, master)
        given = await self._with_volumes(given, project)
        changed = replace(submission, spec=given, master_spec=master, assets={}, template="")
        return Composed(
            submission=changed, template=template.meta.uid if template else "", assets=tuple(dict.fromkeys(used))
        )

    async def impose(self, spec: Mapping[str, Any], imposed: Mapping[str, str]) -> Imposed:
        """Return the specification with the data sources that policies impose: id -> name of the policy."""
        result: dict[str, Any] = copied(spec)
        origins, violations, used = {}, [], []
        for uid, policy in imposed.items():
            asset = await self._by_id(uid)
            if asset is None or asset.kind not in DATA_SOURCES:
                continue  # it was deleted by force: nothing is left to impose
            ((section, (instance,)),) = fields_of(asset, _no_credential)["storage"].items()
            path, name = f"storage.{section}", instance["name"]
            others = []
            for item in _listed(result, path):
                if not isinstance(item, Mapping) or item.get("name") != name:
                    others.append(item)
                elif _without_nulls(item) != instance:
                    message = "is imposed: it can be neither changed nor excluded"
                    violations.append(FieldError(f"{path}.{name}", message, None, policy))
            set_at(result, path, [*others, instance])
            origins[f"{path}.{name}"] = f"imposed by {policy}"
            used.append(uid)
        return Imposed(spec=result, assets=tuple(used), origins=origins, violations=tuple(violations))

    async def missing_secrets(
        self, workload: Workload, keeps: Collection[tuple[str, str]], *, knows_all: bool
    ) -> tuple[FieldError, ...]:
        """Return an error for each secret that the specification names and that the workload may not have.

        Private ones can only be ours; of all others that is known where the backend has none of its own.
        """
        errors = []
        for at, part in (("spec", workload.spec), ("masterSpec", workload.master_spec)):
            known = set() if part is None or not knows_all else set(secrets_of(part))
            for path, name, key in () if part is None else cluster_secrets_of(part):
                if (is_private(name) and (name, key) not in keeps) or (at == "spec" and (path, name, key) in known):
                    errors += await self._missing(workload, f"{at}.{path}", name, key)
        return tuple(errors)

    async def _missing(self, workload: Workload, path: str, name: str, key: str) -> list[FieldError]:
        project, author = workload.meta.project, workload.meta.created_by
        secret = None if self._secrets is None else await self._secrets.secret(project, name, author)
        if secret is not None and (not key or key in secret.data):
            return []
        title = name.removeprefix(private_name(author, ""))
        has = "" if secret is None else f"; its keys are {', '.join(sorted(secret.data))}"
        wanted = f"{title} with the key {key}" if key else title
        if is_private(name):
            message = f"you have no credential {wanted}{has}: create it with `runai my-credential create`"
        else:
            message = f"there is no secret {wanted} for project {project}{has}: create a credential"
        return [FieldError(path, message, title)]

    def _laid_under(
        self,
        spec: Mapping[str, Any],
        chosen: Mapping[str, Any],
        usable: Mapping[str, Asset],
        submission: Submission,
        used: list[str],
    ) -> dict[str, Any]:
        """Return the specification over the fields of the chosen assets; their ids are added to `used`."""
        result: dict[str, Any] = copied(spec)
        serves = _SUPPORT.get(submission.type) == "inference"

        def name_of(uid: str) -> str:
            credential = usable.get(uid)
            if credential is None:
                raise InvalidRequest.of(
                    FieldError(ASSETS, "needs a credential that this project may not use", uid[:80])
                )
            used.append(credential.meta.uid)
            return str(credential.spec.get("existingSecretName") or credential.title)

        wanted = [(name, kinds, {"id": chosen[name]}) for name, kinds in CHOICES.items() if chosen.get(name)]
        sources = chosen.get("datasources") or []
        wanted += [(f"datasources.{index}", DATA_SOURCES, source) for index, source in enumerate(sources)]
        for at, kinds, reference in wanted:
            asset = _chosen(reference, kinds, usable, f"{ASSETS}.{at}")
            _check_support(asset, submission, spec, f"{ASSETS}.{at}")
            used.append(asset.meta.uid)
            result = under(fields_of(asset, name_of, overrides=reference.get("overrides"), serves=serves), result)
        return result

    async def _template(self, submission: Submission, project: Project) -> Template | None:
        if not submission.template:
            return None
        found = [item for item in (await self._store.list(Template, Query())).items if covers(item, project)]
        for item in sorted(found, key=lambda item: (nearness(item), item.title)):
            if submission.template in (item.meta.uid, item.title) and item.type is submission.type:
                return item
        has = ", ".join(item.title for item in found if item.type is submission.type) or "none"
        message = f"there is no template for {submission.type} workloads that {project.name} may use; there are: {has}"
        raise InvalidRequest.of(FieldError("templateId", message, submission.template[:80]))

    async def _usable(self, project: Project) -> dict[str, Asset]:
        """Return the assets that the project may use, by id, the nearest scope first."""
        found = [*(await self._store.list(Asset, Query())).items, *PREINSTALLED]
        usable = sorted((asset for asset in found if covers(asset, project)), key=nearness)
        return {asset.meta.uid: asset for asset in usable}

    async def _by_id(self, uid: str) -> Asset | None:
        try:
            asset = await self._store.get_by_uid(Asset, uid)
        except NotFound:
            return None
        return asset if asset.meta.deleted_at is None else None

    async def _with_volumes(self, spec: dict[str, Any], project: Project) -> dict[str, Any]:
        """Return the specification with a claim in the place of each data volume."""
        wanted = get_at(spec, "storage.dataVolume")
        if not isinstance(wanted, list):
            return spec
        claims = [await self._claim(item, project, index) for index, item in enumerate(wanted)]
        set_at(spec, "storage.dataVolume", [])
        set_at(spec, "storage.pvc", [*_listed(spec, "storage.pvc"), *claims])
        return spec

    async def _claim(self, item: Any, project: Project, index: int) -> dict[str, Any]:
        given = item if isinstance(item, Mapping) else {}
        known = (await self._store.list(DataVolume, Query())).items
        found = next((volume for volume in known if given.get("id") in (volume.meta.uid, volume.meta.name)), None)
        at = f"spec.storage.dataVolume.{index}.id"
        if found is None or not is_shared(found, project):
            message = f"there is no data volume of this id that project {project.name} may use"
            raise InvalidRequest.of(FieldError(at, message, str(given.get("id"))[:80]))
        if found.meta.project != project.name:
            message = f"belongs to project {found.meta.project}; a claim can be mounted in its own project only"
            raise InvalidRequest.of(FieldError(at, message, found.meta.name))
        path = given.get("mountPath")
        if not path:
            raise InvalidRequest.of(FieldError(f"spec.storage.dataVolume.{index}.mountPath", "is required"))
        return {
            "name": found.meta.name,
            "existingPvc": True,
            "claimName": found.claim_name,
            "path": path,
            "readOnly": True,
        }


def _split(spec: Mapping[str, Any], assets: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields and the references of a specification; the older form holds both in itself."""
    fields = {name: value for name, value in spec.items() if name not in (ASSETS, "specificEnv")}
    older = spec.get(ASSETS) or {}
    specific = spec.get("specificEnv") or {}
    for name, value in ((ASSETS, older), ("specificEnv", specific)):
        if not isinstance(value, Mapping):
            raise InvalidRequest.of(FieldError(f"spec.{name}", "must be an object", str(value)[:80]))
    if not (older or specific or assets):
        return fields, {}
    return under(specific, fields), {**wire.encode(wire.decode(References, {**older, **assets}, at=ASSETS))}


def _chosen(reference: Mapping[str, Any], kinds: Sequence[AssetKind], usable: Mapping[str, Asset], at: str) -> Asset:
    """Return the asset that an id or a name stands for; of several of one name, that of the nearest scope."""
    wanted, kind = reference["id"], KINDS.get(str(reference.get("kind")), reference.get("kind"))
    for asset in usable.values():
        if asset.kind in kinds and wanted in (asset.meta.uid, asset.title) and kind in (None, asset.kind.value):
            return asset
    has = ", ".join(sorted({asset.title for asset in usable.values() if asset.kind in kinds})) or "none"
    message = f"there is no such {kinds[0].value if len(kinds) == 1 else 'data source'} in this project's scopes"
    raise InvalidRequest.of(FieldError(at, f"{message}; there are: {has}", str(wanted)[:80]))


def _check_support(asset: Asset, submission: Submission, spec: Mapping[str, Any], at: str) -> None:
    name = _SUPPORT.get(submission.type, "")
    supported: SupportedTypes = asset.supported
    if name and getattr(supported, name) is False:
        raise InvalidRequest.of(FieldError(at, f"is not for {submission.type} workloads", asset.title))
    framework = spec.get("distributedFramework")
    if name == "distributed" and supported.dist_framework and framework not in (None, supported.dist_framework):
        raise InvalidRequest.of(FieldError(at, f"is for {supported.dist_framework} only", asset.title))


def _no_credential(uid: str) -> str:
    raise InvalidRequest.of(FieldError("imposedAssets", "needs a credential: it cannot be imposed", uid))


def _listed(spec: Mapping[str, Any], path: str) -> list[Any]:
    found = get_at(spec, path)
    return list(found) if isinstance(found, list | tuple) else []


def _without_nulls(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if value is not None}
