"""Access rules: who has which role where; what can be done, and where."""

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Query

from runai_core.bootstrap import Orchestrator
from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.organization import AccessRule, Action, Actor
from runai_core.model.roles import TYPES, resource_type
from runai_core.ports import Filter, Op
from runai_core.ports import Query as StoreQuery
from runai_core.service.rules import NewRule
from runai_core.web import listing
from runai_core.web.answers import identity as answers
from runai_core.web.answers.base import Count
from runai_core.web.answers.roles import PermissionItem
from runai_core.web.context import Door, Who
from runai_core.web.errors import status_of
from runai_core.web.identity_bodies import (
    AccessRuleCreate,
    AccessRulesBatch,
    AccessRulesBatchCreate,
    PermittedScopesRequest,
    RuleListQuery,
)
from runai_core.web.views.identity import rule_item
from runai_core.web.views.roles import permission_items
from runai_core.web.views.units import TENANT_ID

router = APIRouter(prefix="/api/v1/authorization", tags=["access rules"])

COLUMNS = {
    "id": listing.Column("number", listing.number),
    "subjectId": listing.Column("subject"),
    "subjectType": listing.Column("subject_type"),
    "roleName": listing.Column("role"),
    "scopeId": listing.Column("scope"),
    "scopeName": listing.Column("scope"),
    "scopeType": listing.Column("scope_type"),
    "createdAt": listing.COMMON["createdAt"],
    "deletedAt": listing.COMMON["deletedAt"],
    "createdBy": listing.COMMON["createdBy"],
}


@router.get("/access-rules", summary="List access rules")
async def list_rules(door: Door, actor: Who, given: Annotated[RuleListQuery, Query()]) -> answers.RuleList:
    """Those in scopes where the caller may read rules."""
    page = await door.rules.list(actor, await _query(door, given))
    items = await _items(door, page.items)
    return answers.RuleList(total_records=page.total, display_records=len(items), access_rules=items)


@router.get("/access-rules/count", summary="Count access rules")
async def count_rules(door: Door, actor: Who, given: Annotated[RuleListQuery, Query()]) -> Count:
    """How many match."""
    return Count(count=(await door.rules.list(actor, await _query(door, given))).total)


@router.post("/access-rules", status_code=201, summary="Give a role to a subject in a scope")
async def create_rule(door: Door, actor: Who, body: AccessRuleCreate) -> answers.RuleItem:
    """A rule is never changed: delete it and make another. Nobody can give more than they have."""
    given = NewRule(
        subject=body.subject_id,
        subject_type=body.subject_type,
        role=str(body.role_id),
        scope_type=body.scope_type,
        scope=body.scope_id,
    )
    return (await _items(door, (await door.rules.create(actor, given),)))[0]


@router.post("/access-rules/batch-create", summary="Give a role to several subjects in several scopes")
async def create_rules(door: Door, actor: Who, body: AccessRulesBatchCreate) -> answers.RulesCreated:
    """Each for itself: some may fail."""
    payload = body.payload
    wanted = [
        NewRule(
            subject=subject.subject_id,
            subject_type=subject.subject_type,
            role=str(payload.role_id),
            scope_type=scope.scope_type,
            scope=scope.scope_id,
        )
        for subject in payload.subjects
        for scope in payload.scopes
    ]
    found = await door.rules.create_all(actor, wanted)
    made = tuple(outcome.rule for _, outcome in found if outcome.rule is not None)
    failed = tuple(
        answers.RuleFailure(payload=_payload(item), code=status_of(outcome.error), message=outcome.error.message)
        for item, outcome in found
        if outcome.error is not None
    )
    return answers.RulesCreated(succeeded=await _items(door, made), failed=failed)


@router.post("/access-rules/batch", summary="Delete several access rules, or say whether they could be")
async def batch_rules(door: Door, actor: Who, body: AccessRulesBatch) -> answers.RulesDeleted:
    """Each for itself: some may fail."""
    refs = [str(ref) for ref in body.ids]
    found = await door.rules.delete_all(actor, refs, only_check=body.action == "validate_delete")
    return answers.RulesDeleted(
        id=str(uuid.uuid4()),
        succeeded=tuple(item.ref for item in found if item.error is None),
        failed=tuple(
            answers.DeletionFailure(id=item.ref, code=status_of(item.error), message=item.error.message)
            for item in found
            if item.error is not None
        ),
    )


@router.get("/access-rules/{rule_id}", summary="Get an access rule")
async def get_rule(rule_id: str, door: Door, actor: Who) -> answers.RuleItem:
    """By its number."""
    return (await _items(door, (await door.rules.get(actor, rule_id),)))[0]


@router.delete("/access-rules/{rule_id}", status_code=204, summary="Delete an access rule")
async def delete_rule(rule_id: str, door: Door, actor: Who) -> None:
    """It no longer holds for the next request."""
    await door.rules.delete(actor, rule_id)


@router.get("/me/access-rules", summary="The rules that give me my rights")
async def my_rules(door: Door, actor: Who) -> answers.MyRules:
    """One's own, and those of one's groups."""
    items = await _items(door, tuple(await door.rules.mine(actor)))
    found = answers.RuleList(total_records=len(items), display_records=len(items), access_rules=items)
    return answers.MyRules(access_rules=found)


@router.get("/me/access-rules/count", summary="How many rules give me my rights")
async def count_my_rules(door: Door, actor: Who) -> Count:
    """One's own, and those of one's groups."""
    return Count(count=len(await door.rules.mine(actor)))


@router.get("/permissions", summary="Every type of things that roles speak of")
async def list_permissions(_actor: Who) -> tuple[PermissionItem, ...]:
    """With what can be done to them."""
    return permission_items()


@router.post("/permitted-scopes", summary="Where may I do this?")
async def permitted_scopes(door: Door, actor: Who, body: PermittedScopesRequest) -> dict[str, answers.PermittedScopes]:
    """By action; all actions when none is named."""
    kind = resource_type(body.resource_type)
    if kind not in TYPES:
        known = f"must be one of {', '.join(TYPES)}"
        raise InvalidRequest.of(FieldError("resourceType", known, body.resource_type[:80]))
    actions = [Action(body.action)] if body.action else list(Action)
    return {action.value: await _permitted(door, actor, action, kind) for action in actions}


async def _permitted(door: Orchestrator, actor: Actor, action: Action, kind: str) -> answers.PermittedScopes:
    scopes = door.access.scopes(actor, action, kind)
    types = {scope.type for scope in scopes}
    whole = bool(types & {"tenant", "system"})
    return answers.PermittedScopes(
        system="system" in types,
        tenants=(str(TENANT_ID),) if whole else (),
        tenant=str(TENANT_ID) if whole else None,
        clusters=tuple(sorted({scope.name or door.cluster_id for scope in scopes if scope.type == "cluster"})),
        departments=tuple(sorted(scope.name for scope in scopes if scope.type == "department")),
        projects=tuple(sorted(scope.name for scope in scopes if scope.type == "project")),
    )


async def _items(door: Orchestrator, rules: tuple[AccessRule, ...]) -> tuple[answers.RuleItem, ...]:
    names = await door.rules.scope_names(rules)
    return tuple([rule_item(rule, names, await door.access.places.role(rule.role)) for rule in rules])


async def _query(door: Orchestrator, given: RuleListQuery) -> StoreQuery:
    """Return the conditions, of the list's own parameters too."""
    common = listing.ListQuery(
        **{name: getattr(given, name) for name in listing.ListQuery.model_fields if name != "search"}
    )
    query = listing.query_of(common, COLUMNS)
    filters = list(query.filters)
    for field, value in (
        ("subject_type", given.subject_type),
        ("scope_type", given.scope_type),
        ("scope", given.scope_id),
    ):
        if value:
            filters.append(Filter(field, Op.EQ, value))
    if part := given.subject_id_filter or given.search:
        filters.append(Filter("subject", Op.CONTAINS, part))
    if given.role_id is not None:
        role = await door.access.places.role(str(given.role_id))
        filters.append(Filter("role", Op.EQ, role.name if role is not None else "none"))
    return StoreQuery(
        filters=tuple(filters),
        sort_by=query.sort_by,
        descending=query.descending,
        offset=query.offset,
        limit=query.limit,
        deleted=query.deleted,
    )


def _payload(item: NewRule) -> dict[str, Any]:
    return {
        "subjectId": item.subject,
        "subjectType": item.subject_type,
        "roleId": int(item.role) if item.role.isdecimal() else item.role,
        "scopeId": item.scope,
        "scopeType": item.scope_type,
    }
