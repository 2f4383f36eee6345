"""Policies: a list, an editor that checks before it keeps, and what holds in a project."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from runai_core.bootstrap import Orchestrator
from runai_core.model.errors import FieldError, NotFound
from runai_core.model.meta import Meta
from runai_core.model.organization import Action, Actor, Scope
from runai_core.model.workload import Policy, PolicyType
from runai_core.policy.document import FieldRules, ItemRules
from runai_core.policy.effective import Effective, effective_of
from runai_core.policy.fields import fields_of
from runai_core.policy.scopes import name_of
from runai_core.ports import Query
from runai_core.service.policies import RESOURCE, policy_name
from runai_core.web.context import Door
from runai_core.web.pages import editing, rights
from runai_core.web.pages.editing import NOTHING, Question, Refusal
from runai_core.web.pages.frame import Viewer, go_to, page, page_router
from runai_core.web.pages.inputs import (
    VERSION,
    Input,
    Option,
    Posted,
    Section,
    Widget,
    changed_meanwhile,
    posted_of,
    text_of,
)
from runai_core.web.pages.listing import Button, table_page
from runai_core.web.pages.tables import Cell, Column
from runai_core.web.pages.values import text_of_value, yaml_of, yaml_text
from runai_core.web.schemas import without_nulls

router = page_router("/policies")

COLUMNS = (
    Column("name", "Policy"),
    Column("type", "Workloads"),
    Column("scope", "Scope"),
    Column("defaults", "Defaults", number=True),
    Column("rules", "Rules", number=True),
    Column("by", "Created by"),
    Column("created", "Created"),
    Column("changed", "Last updated"),
)

TYPES: Mapping[PolicyType, str] = {
    PolicyType.WORKSPACE: "workspaces",
    PolicyType.TRAINING: "trainings",
    PolicyType.DISTRIBUTED: "distributed trainings",
    PolicyType.INFERENCE: "inferences",
    PolicyType.DISTRIBUTED_INFERENCE: "distributed inferences",
}

EXAMPLE = """\
defaults:
  compute:
    cpuCoreRequest: 1
rules:
  compute:
    gpuDevicesRequest:
      max: 4
"""
"""What the editor shows first."""


@dataclass(frozen=True, slots=True)
class Held:
    """One field of what holds: default, rules in words, and where each comes from."""

    path: str
    default: str = ""
    default_from: str = ""
    rules: str = ""
    rules_from: str = ""


@router.get("")
async def list_policies(request: Request, door: Door, actor: Viewer) -> Response:
    """Show all policies."""
    rows = [_row(policy) for policy in await door.policies.list(actor)]
    return table_page(
        request,
        "Policies",
        COLUMNS,
        rows,
        Button(path="/policies/effective", text="What holds in a project", is_main=False),
        Button(path="/policies/edit", text="New policy", right=("update", RESOURCE)),
        nothing="There is no policy",
        advice="A policy gives workloads default values and limits, for one type of workload in one scope. Without one "
        "everything is allowed that the quota allows.",
    )


@router.get("/effective")
async def effective(request: Request, door: Door, actor: Viewer, project: str = "", type: str = "") -> Response:  # noqa: A002  as in the address
    """Show what holds in a project, field by field, and which policy says so."""
    projects = [item.name for item in (await door.organization.list_projects(actor, Query(sort_by="meta.name"))).items]
    kind = _type(type or PolicyType.TRAINING.value)
    found: Effective | None = None
    if project or projects:
        project = (await door.organization.get_project(actor, project or projects[0])).name
        found = effective_of(kind, await door.policies.effective(actor, kind, project))
    return page(
        request,
        "policy_effective.html",
        projects=projects,
        project=project,
        types=TYPES,
        type=kind,
        held=held_fields(found) if found else [],
        assets=found.imposed_assets if found else (),
        is_master=kind is PolicyType.DISTRIBUTED,
    )


@router.get("/edit")
async def edit(request: Request, door: Door, actor: Viewer, type: str = "", scope: str = "") -> Response:  # noqa: A002  as in the address
    """Show the editor, empty or with the policy of a type in a scope."""
    posted: dict[str, list[str]] = {"policy": [EXAMPLE]}
    if not (type and scope):
        await door.access.require_anywhere(actor, Action.UPDATE, RESOURCE)
    else:
        scope_type, _, name = scope.partition("/")
        policy = await door.policies.get(actor, _type(type), scope_type, name)
        posted = {"type": [type], "scope": [scope], "policy": [yaml_text(policy.document)]}
        posted[VERSION] = [str(policy.meta.version)]
    return await _editor(request, door, actor, posted, is_new=not (type and scope))


@router.post("/edit")
async def save(request: Request, door: Door, actor: Viewer) -> Response:
    """Keep the policy, or show the editor again with what is wrong."""
    posted = posted_of((await request.form()).multi_items())
    policy, errors = _policy(posted)
    is_new = text_of(posted, "isNew") == "true"
    if not errors:
        errors = await _unseen(door, actor, policy, posted, is_new=is_new)
    kept, refusal = await editing.tried(errors, lambda: door.policies.put(actor, policy), moved=_at_editor)
    if kept is None:
        return await _editor(request, door, actor, posted, refusal, is_new=is_new)
    return go_to(request, "/policies", f"The policy {name_of(policy)} holds from now on.")


@router.post("/check")
async def check(request: Request, door: Door, _actor: Viewer) -> Response:
    """Say what is wrong with a policy, without keeping it."""
    policy, errors = _policy(posted_of((await request.form()).multi_items()))
    if not errors:
        errors = _at_editor(await door.policies.validate(policy))
    return page(request, "policy_check.html", errors=errors)


@router.get("/delete")
async def ask_delete(request: Request, door: Door, actor: Viewer, type: str, scope: str) -> Response:  # noqa: A002  as in the address
    """Say what deleting it would mean."""
    scope_type, _, name = scope.partition("/")
    policy = await door.policies.get(actor, _type(type), scope_type, name)
    await door.access.require(actor, Action.DELETE, RESOURCE, Scope(scope_type, name))
    return editing.ask(request, _question(policy))


@router.post("/delete")
async def delete(request: Request, door: Door, actor: Viewer, type: str, scope: str) -> Response:  # noqa: A002  as in the address
    """Delete it."""
    scope_type, _, name = scope.partition("/")
    policy = await door.policies.get(actor, _type(type), scope_type, name)
    act = door.policies.delete(actor, policy.type, scope_type, name)
    notice = f"The policy {name_of(policy)} is deleted."
    return await editing.deleted(request, _question(policy), act, "/policies", notice)


def _question(policy: Policy) -> Question:
    text = (
        "Its defaults and rules are lost, and no longer hold for what is submitted from now on. "
        "Workloads that run are not touched. This cannot be undone."
    )
    return Question(title=f"Delete the policy {name_of(policy)}?", text=text, back="/policies")


def held_fields(found: Effective) -> list[Held]:
    """Return what holds, by field."""
    lines = []
    for path in sorted({*found.defaults, *found.rules}):
        default, rules = found.defaults.get(path), found.rules.get(path)
        lines.append(
            Held(
                path,
                text_of_value(default.value) if default else "",
                name_of(default.policy) if default else "",
                rules_text(rules.value) if rules else "",
                name_of(rules.policy) if rules else "",
            )
        )
    for path in sorted({*found.item_defaults, *found.item_rules}):
        for held in found.item_defaults.get(path, ()):
            instances = ", ".join(text_of_value(next(iter(item.values()), "")) for item in held.value.instances)
            lines.append(Held(path, instances or "(members of each entry)", name_of(held.policy)))
        items = found.item_rules.get(path)
        if items:
            lines.append(Held(path, rules=item_rules_text(items.value), rules_from=name_of(items.policy)))
    return lines


def rules_text(rules: FieldRules) -> str:
    """Return the rules of a field in words."""
    said = [
        word
        for word, holds in (
            ("may not be given", rules.blocked),
            ("cannot be changed", not rules.can_edit),
            ("required", rules.required),
        )
        if holds
    ]
    said += [
        f"{word} {text_of_value(limit)}"
        for word, limit in (("at least", rules.min), ("at most", rules.max), ("in steps of", rules.step))
        if limit is not None
    ]
    if rules.options is not None:
        said.append(f"one of {text_of_value(rules.options)}")
    if rules.default_from is not None:
        said.append(f"follows {rules.default_from.field} times {rules.default_from.factor:g}")
    return "; ".join(said)


def item_rules_text(rules: ItemRules) -> str:
    """Return the rules of a field with several entries in words."""
    said = [] if rules.can_add else ["takes no further entries"]
    said += ["needs an entry"] if rules.required else []
    said += [f"locked: {', '.join(rules.locked)}"] if rules.locked else []
    said += [f"{name}: {rules_text(rule)}" for name, rule in rules.attributes.items()]
    return "; ".join(said)


def _row(policy: Policy) -> dict[str, Cell]:
    scope = scope_text(policy)
    meta = policy.meta
    return {
        "name": Cell(text=name_of(policy), link=f"/policies/edit?type={policy.type.value}&scope={scope}"),
        "type": Cell(text=TYPES[policy.type]),
        "scope": Cell(text=scope.replace("/", " ")),
        "defaults": _count(policy.document.get("defaults")),
        "rules": _count(policy.document.get("rules")),
        "by": Cell(text=meta.created_by or "system"),
        "created": Cell(time=meta.created_at),
        "changed": Cell(time=meta.updated_at or meta.created_at),
    }


def scope_text(policy: Policy) -> str:
    """Return the scope as forms and addresses have it: ``project/team-a``, ``tenant``."""
    return f"{policy.scope_type}/{policy.scope}" if policy.scope else policy.scope_type


def _count(section: Any) -> Cell:
    count = _leaves(section)
    return Cell(text=str(count), value=count)


def _leaves(tree: Any) -> int:
    if not isinstance(tree, Mapping):
        return 0 if tree is None else 1
    return sum(_leaves(value) for value in tree.values())


def _type(text: str) -> PolicyType:
    try:
        return PolicyType(text)
    except ValueError:
        raise NotFound(f"there are no policies for {text[:80]}; there are: {', '.join(PolicyType)}") from None


def _policy(posted: Posted) -> tuple[Policy, list[FieldError]]:
    """Return the policy that was written, and what could not be read."""
    document, errors = yaml_of(posted, "policy")
    kind, scope = text_of(posted, "type"), text_of(posted, "scope")
    if kind not in tuple(PolicyType):
        errors.append(FieldError("type", f"must be one of {', '.join(PolicyType)}", kind[:80]))
        kind = PolicyType.TRAINING.value
    if not scope:
        errors.append(FieldError("scope", "is required"))
    scope_type, _, name = scope.partition("/")
    policy = Policy(
        meta=Meta(name=policy_name(PolicyType(kind), scope_type, name)),
        type=PolicyType(kind),
        scope_type=scope_type,
        scope=name,
        document=without_nulls(document),
    )
    return policy, errors


async def _unseen(
    door: Orchestrator, actor: Actor, policy: Policy, posted: dict[str, list[str]], *, is_new: bool
) -> list[FieldError]:
    """Return an error where the policy would take the place of one that nobody has seen in this editor."""
    try:
        present = await door.policies.get(actor, policy.type, policy.scope_type, policy.scope)
    except NotFound:
        return []
    if is_new:
        message = "has a policy for these workloads already: open it from the list and change it there"
        return [FieldError("scope", message)]
    errors = changed_meanwhile(posted, present.meta)
    posted[VERSION] = [str(present.meta.version)]
    return errors


def _at_editor(errors: Sequence[FieldError]) -> list[FieldError]:
    """Return the errors at the inputs of the editor: all fields of a document are in one."""
    return [
        error
        if error.field in ("scope", "type")
        else FieldError(f"policy.{error.field}", error.message, error.given, error.policy)
        for error in errors
    ]


async def _editor(
    request: Request,
    door: Orchestrator,
    actor: Actor,
    posted: Posted,
    refusal: Refusal = NOTHING,
    *,
    is_new: bool,
) -> Response:
    scopes = await rights.scopes_for(door, actor, RESOURCE) if is_new else ()
    kind, scope = text_of(posted, "type"), text_of(posted, "scope")
    scope_type, _, name = scope.partition("/")
    deeds = frozenset(Action) if is_new else await rights.deeds_on(door, actor, RESOURCE, Scope(scope_type, name))
    address, seen = urlencode({"type": kind, "scope": scope}), text_of(posted, VERSION)
    return editing.form_page(
        request,
        (_inputs(posted, scopes, is_new=is_new),),
        refusal,
        may_save=Action.UPDATE in deeds,
        title="New policy" if is_new else "Policy",
        back="/policies",
        delete=f"/policies/delete?{address}" if Action.DELETE in deeds and not is_new else "",
        hidden={"isNew": str(is_new).lower()} | ({} if is_new else {"type": kind, "scope": scope, VERSION: seen}),
        checked_at="/policies/check",
        fields=sorted(fields_of(PolicyType(kind))) if kind in tuple(PolicyType) else (),
        fields_title="Fields that may have defaults and rules",
    )


def _inputs(posted: Posted, scopes: Sequence[str], *, is_new: bool) -> Section:
    kinds = tuple(Option(kind.value, text) for kind, text in TYPES.items())
    document = Input(
        name="policy",
        label="Policy",
        widget=Widget.CODE,
        value=text_of(posted, "policy"),
        help="YAML with defaults, rules and imposedAssets; field names are those of the API.",
    )
    return Section(
        title="",
        inputs=(
            Input(
                name="type",
                label="For",
                widget=Widget.SELECT,
                options=kinds,
                value=text_of(posted, "type"),
                required=is_new,
                locked=not is_new,
            ),
            Input(
                name="scope",
                label="Scope",
                widget=Widget.SELECT,
                options=tuple(Option(scope, scope.replace("/", " ")) for scope in scopes),
                value=text_of(posted, "scope"),
                required=is_new,
                locked=not is_new,
                help="It holds for all that lies below.",
            ),
            document,
        ),
    )
