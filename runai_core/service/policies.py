"""Use cases of policies: store, check and explain them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from runai_core.model.assets import DATA_SOURCES, Asset
from runai_core.model.errors import FieldError, InvalidRequest, NotFound
from runai_core.model.organization import Action, Actor, Department, Project, Scope
from runai_core.model.workload import Policy, PolicyType
from runai_core.plugins.types import PolicyRule
from runai_core.policy.evaluate import Evaluation, evaluate
from runai_core.policy.rules import validate_against, validate_document
from runai_core.ports import Backend, Filter, Op, Query
from runai_core.service.access import AccessService
from runai_core.service.asset_fields import credentials_of

RESOURCE = "policies"
SCOPES = ("tenant", "cluster", "department", "project")


class PolicyService:
    """What can be done with policies."""

    def __init__(self, backend: Backend, access: AccessService, rules: Sequence[PolicyRule] = ()) -> None:
        self._store = backend.store
        self._access = access
        self._rules = tuple(rules)  # of plug-ins

    async def list(self, actor: Actor, policy_type: PolicyType | None = None) -> Sequence[Policy]:
        """Return all policies, or those for one type of workload."""
        await self._access.require(actor, Action.READ, RESOURCE)
        filters = () if policy_type is None else (Filter("type", Op.EQ, policy_type.value),)
        found = (await self._store.list(Policy, Query(filters=filters))).items
        return [item for item in found if await self._access.allows(actor, Action.READ, RESOURCE, _scope(item))]

    async def get(self, actor: Actor, policy_type: PolicyType, scope_type: str, scope: str) -> Policy:
        """Return the policy of a type in a scope; raise NotFound."""
        await self._access.require(actor, Action.READ, RESOURCE, Scope(scope_type, scope))
        return await self._store.get(Policy, policy_name(policy_type, scope_type, scope))

    async def put(self, actor: Actor, policy: Policy) -> Policy:
        """Create or replace the policy of a type in a scope. Workloads that run are not touched.

        Raises:
            InvalidRequest: the document is wrong; names each field.
        """
        await self._access.require(actor, Action.UPDATE, RESOURCE, _scope(policy))
        errors = await self.validate(policy)
        if errors:
            raise InvalidRequest.of(*errors)
        name = policy_name(policy.type, policy.scope_type, policy.scope)
        try:
            old = await self._store.get(Policy, name)
        except NotFound:
            return await self._store.create(
                replace(policy, meta=replace(policy.meta, name=name, created_by=actor.name))
            )
        return await self._store.update(replace(policy, meta=replace(old.meta, updated_by=actor.name)))

    async def delete(self, actor: Actor, policy_type: PolicyType, scope_type: str, scope: str) -> Policy:
        """Delete the policy of a type in a scope; raise NotFound."""
        await self._access.require(actor, Action.DELETE, RESOURCE, Scope(scope_type, scope))
        policy = await self._store.get(Policy, policy_name(policy_type, scope_type, scope))
        return await self._store.delete(Policy, policy.meta.uid)

    async def validate(self, policy: Policy) -> tuple[FieldError, ...]:
        """Return what is wrong with a policy, its scope and its place among the others included."""
        errors = await self._check_scope(policy)
        errors += validate_document(policy.type, policy.document)
        errors += await self._check_imposed(policy)
        if errors:
            return errors
        name = policy_name(policy.type, policy.scope_type, policy.scope)
        page = await self._store.list(Policy, Query(filters=(Filter("type", Op.EQ, policy.type.value),)))
        others = [other for other in page.items if other.meta.name != name and await self._related(policy, other)]
        return validate_against(policy, others)

    async def effective(self, actor: Actor, policy_type: PolicyType, project: str) -> Sequence[Policy]:
        """Return the policies that apply to a project, nearest scope first."""
        await self._access.require(actor, Action.READ, RESOURCE, Scope("project", project))
        return await self._applying(policy_type, await self._store.get(Project, project))

    async def evaluate(
        self, policy_type: PolicyType | None, spec: Mapping[str, Any], project: Project, *, part: str = "worker"
    ) -> Evaluation:
        """Return the specification completed and judged by the policies of its project.

        `part` is "master" for the specification of a distributed workload's master.
        """
        if policy_type is None:
            return Evaluation(spec=dict(spec))
        found = evaluate(policy_type, spec, await self._applying(policy_type, project), part=part)
        added = tuple(error for rule in self._rules for error in rule.check(policy_type, found.spec))
        return replace(found, violations=(*found.violations, *added))

    async def _applying(self, policy_type: PolicyType, project: Project) -> Sequence[Policy]:
        page = await self._store.list(Policy, Query(filters=(Filter("type", Op.EQ, policy_type.value),)))
        scopes = {("tenant", ""), ("cluster", ""), ("department", project.department), ("project", project.name)}
        applying = [
            policy
            for policy in page.items
            if (policy.scope_type, policy.scope) in scopes
            or policy.scope_type in ("tenant", "system")
            or (policy.scope_type == "cluster" and (not project.cluster or policy.scope == project.cluster))
        ]
        order = ("project", "department", "cluster", "tenant", "system")
        return sorted(applying, key=lambda policy: (order.index(policy.scope_type), policy.meta.name))

    async def _check_scope(self, policy: Policy) -> tuple[FieldError, ...]:
        if policy.scope_type not in SCOPES:
            return (FieldError("scope", f"must be one of {', '.join(SCOPES)}", policy.scope_type),)
        kinds: Mapping[str, type[Department | Project]] = {"department": Department, "project": Project}
        if policy.scope_type in kinds:
            try:
                await self._store.get(kinds[policy.scope_type], policy.scope)
            except NotFound as error:
                return (FieldError("scope", error.message, policy.scope),)
        return ()

    async def _check_imposed(self, policy: Policy) -> tuple[FieldError, ...]:
        """Return an error for each imposed asset that is no data source, or needs a credential."""
        imposed, errors = policy.document.get("imposedAssets") or (), []
        for uid in imposed if isinstance(imposed, list | tuple) else ():
            try:
                asset = await self._store.get_by_uid(Asset, str(uid))
            except NotFound:
                asset = None
            if asset is None or asset.meta.deleted_at is not None:
                errors.append(FieldError("imposedAssets", "there is no asset of this id", str(uid)[:80]))
            elif asset.kind not in DATA_SOURCES or credentials_of(asset):
                message = "must be a data source that needs no credential"
                errors.append(FieldError("imposedAssets", message, asset.title))
        return tuple(errors)

    async def _related(self, policy: Policy, other: Policy) -> bool:
        """Return whether both can apply to one workload."""
        scoped = {policy.scope_type: policy.scope, other.scope_type: other.scope}
        if policy.scope_type == other.scope_type:
            return policy.scope == other.scope
        if set(scoped) == {"department", "project"}:
            return (await self._store.get(Project, scoped["project"])).department == scoped["department"]
        return True


def _scope(policy: Policy) -> Scope:
    return Scope(policy.scope_type, policy.scope)


def policy_name(policy_type: PolicyType, scope_type: str, scope: str) -> str:
    """Return the name under which a policy is stored: one for each type and scope."""
    return ".".join(part for part in (policy_type.value, scope_type, scope) if part)
