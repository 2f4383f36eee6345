"""Policies: defaults and rules for one type of workload in one scope."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from runai_core.bootstrap import Orchestrator
from runai_core.model.errors import FieldError, InvalidRequest, NotFound
from runai_core.model.meta import Meta, to_camel
from runai_core.model.organization import Actor
from runai_core.model.workload import Policy, PolicyType
from runai_core.web.answers.policies import PolicyCheckAnswer, PolicyItem, PolicyList
from runai_core.web.context import Door, Names, Who, directory
from runai_core.web.merging import merged, without
from runai_core.web.schemas import PolicyCheck, PolicyPatch, PolicyPut, PolicyScope, without_nulls
from runai_core.web.submissions import check_cluster
from runai_core.web.views.policies import policy_entry, policy_item
from runai_core.web.views.units import field_error_items

PATHS: Mapping[str, PolicyType] = {
    "workspaces": PolicyType.WORKSPACE,
    "trainings": PolicyType.TRAINING,
    "distributed": PolicyType.DISTRIBUTED,
    "inferences": PolicyType.INFERENCE,
    "distributed-inferences": PolicyType.DISTRIBUTED_INFERENCE,
}
"""Part of the path -> type of policy."""

PathName = Literal["workspaces", "trainings", "distributed", "inferences", "distributed-inferences"]

router = APIRouter(prefix="/api/v2/policy", tags=["policies"])
checks = APIRouter(prefix="/api/v1/policies", tags=["policies"])


class ScopeQuery(PolicyScope):
    """The scope of a policy, in a query."""

    approve_cluster_deletion: bool = False


class PolicyListQuery(BaseModel):
    """Which policies."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, extra="forbid")
    workload_type: PolicyType | None = None
    scope: Literal["system", "tenant", "cluster", "department", "project"] | None = None
    project_id: Annotated[str | None, Field(description="Id or name.")] = None
    department_id: Annotated[str | None, Field(description="Id or name.")] = None
    cluster_id: str | None = None
    include_fallback_policies: bool = False


class WriteQuery(BaseModel):
    """How a policy is written."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, extra="forbid")
    validate_only: Annotated[bool, Field(description="Check it, keep nothing.")] = False
    approve_cluster_deletion: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Scope of a policy by name."""

    scope_type: str
    scope: str = ""


@router.get("", summary="List policies")
async def list_policies(door: Door, actor: Who, names: Names, given: Annotated[PolicyListQuery, Query()]) -> PolicyList:
    """Of all types and scopes, or of some."""
    wanted = await _wanted(door, actor, given)
    found = await door.policies.list(actor, given.workload_type)
    return PolicyList(policies=tuple(policy_entry(item, names) for item in found if wanted(item)))


@router.get("/{path}", summary="Get the policy of a type in a scope")
async def get_policy(
    path: PathName, door: Door, actor: Who, names: Names, given: Annotated[ScopeQuery, Query()]
) -> PolicyItem:
    """As its author wrote it."""
    place = await _place(door, actor, given)
    return policy_item(await door.policies.get(actor, PATHS[path], place.scope_type, place.scope), None, names)


@router.put("/{path}", summary="Set the policy of a type in a scope")
async def put_policy(
    path: PathName, door: Door, actor: Who, body: PolicyPut, how: Annotated[WriteQuery, Query()]
) -> PolicyItem:
    """It takes the place of the one that was there. Workloads that run are not touched."""
    place = await _place(door, actor, body.meta)
    return await _write(door, actor, _policy(PATHS[path], place, body.meta, without_nulls(body.policy)), how)


@router.patch("/{path}", summary="Change the policy of a type in a scope")
async def patch_policy(
    path: PathName, door: Door, actor: Who, body: PolicyPatch, how: Annotated[WriteQuery, Query()]
) -> PolicyItem:
    """What is given is merged into it; fields in `reset` are taken out first."""
    place = await _place(door, actor, body.meta)
    document: Mapping[str, Any] = await _present(door, actor, PATHS[path], place)
    for field in body.reset:
        document = without(document, field)
    changed = merged(document, without_nulls(body.policy))
    return await _write(door, actor, _policy(PATHS[path], place, body.meta, changed), how)


@router.delete("/{path}", summary="Delete the policy of a type in a scope")
async def delete_policy(
    path: PathName, door: Door, actor: Who, names: Names, given: Annotated[ScopeQuery, Query()]
) -> PolicyItem:
    """Workloads that run are not touched."""
    place = await _place(door, actor, given)
    return policy_item(await door.policies.delete(actor, PATHS[path], place.scope_type, place.scope), None, names)


@checks.post("/validate", summary="Check a policy without keeping it (ours)")
async def validate_policy(door: Door, actor: Who, body: PolicyCheck) -> PolicyCheckAnswer:
    """Every field that is wrong, with what is allowed."""
    place = await _place(door, actor, body.meta)
    errors = await door.policies.validate(_policy(body.type, place, body.meta, without_nulls(body.policy)))
    return PolicyCheckAnswer(valid=not errors, errors=field_error_items(errors))


async def _write(door: Orchestrator, actor: Actor, policy: Policy, how: WriteQuery) -> PolicyItem:
    if how.validate_only:
        errors = await door.policies.validate(policy)
        if errors:
            raise InvalidRequest.of(*errors)
        return policy_item(policy, None, await directory(door, actor))
    return policy_item(await door.policies.put(actor, policy), None, await directory(door, actor))


async def _present(door: Orchestrator, actor: Actor, kind: PolicyType, place: Place) -> Mapping[str, Any]:
    try:
        return (await door.policies.get(actor, kind, place.scope_type, place.scope)).document
    except NotFound:
        return {}


async def _place(door: Orchestrator, actor: Actor, given: PolicyScope) -> Place:
    """Return the scope by name.

    Raises:
        InvalidRequest: the id that the scope needs is missing. NotFound: no such project or department.
    """
    if given.scope == "project":
        return Place("project", (await door.organization.get_project(actor, _needed(given, "project_id"))).name)
    if given.scope == "department":
        found = await door.organization.get_department(actor, _needed(given, "department_id"))
        return Place("department", found.name)
    cluster = await check_cluster(given.cluster_id, door)
    named = given.scope == "cluster" and door.clusters.is_control_plane
    return Place(given.scope, cluster if named else "")


def _needed(given: PolicyScope, field: str) -> str:
    value = getattr(given, field)
    if value in (None, ""):
        raise InvalidRequest.of(FieldError(to_camel(field), f"is required with scope {given.scope}: an id or a name"))
    return str(value)


def _policy(kind: PolicyType, place: Place, meta: PolicyScope, document: Mapping[str, Any]) -> Policy:
    name = ".".join(part for part in (kind.value, place.scope_type, place.scope) if part)
    title = {"name": meta.name} if meta.name else {}
    return Policy(
        meta=Meta(name=name, annotations=title),
        type=kind,
        scope_type=place.scope_type,
        scope=place.scope,
        document=document,
    )


async def _wanted(door: Orchestrator, actor: Actor, given: PolicyListQuery) -> Any:
    """Return what tells whether a policy belongs to the list."""
    project = (await door.organization.get_project(actor, given.project_id)).name if given.project_id else None
    department = (
        (await door.organization.get_department(actor, given.department_id)).name if given.department_id else None
    )

    def wanted(policy: Policy) -> bool:
        return (
            given.scope in (None, policy.scope_type)
            and (project is None or (policy.scope_type, policy.scope) == ("project", project))
            and (department is None or (policy.scope_type, policy.scope) == ("department", department))
        )

    return wanted
