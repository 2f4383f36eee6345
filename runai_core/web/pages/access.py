"""Who may do what: access rules."""

from collections.abc import Sequence
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response

from runai_core.bootstrap import Orchestrator
from runai_core.model.errors import FieldError
from runai_core.model.identity import SubjectType
from runai_core.model.organization import AccessRule, Action, Actor
from runai_core.model.roles import Role
from runai_core.ports import Query
from runai_core.service.rules import RESOURCE, NewRule, scope_of
from runai_core.web.context import Door
from runai_core.web.pages import editing, rights
from runai_core.web.pages.editing import NOTHING, Question, Refusal
from runai_core.web.pages.frame import Viewer, go_to, page_router
from runai_core.web.pages.inputs import Input, Option, Posted, Section, Widget, posted_of, text_of
from runai_core.web.pages.listing import Button, table_page
from runai_core.web.pages.tables import Cell, Column

router = page_router()

RULES = (
    Column("subject", "Subject"),
    Column("type", "Type"),
    Column("role", "Role"),
    Column("scope", "Scope"),
    Column("by", "Authorized by"),
    Column("created", "Created"),
    Column("delete", "Take away"),
)

SUBJECTS = {
    SubjectType.USER: "user",
    SubjectType.GROUP: "group",
    SubjectType.SERVICE_ACCOUNT: "service account",
    SubjectType.APP: "application",
}

FIELDS = {
    "subjectType": "subjectType",
    "subjectId": "subjectId",
    "roleId": "roleId",
    "scopeType": "scope",
    "scopeId": "scope",
}
"""Field of the API -> input of the form."""


@router.get("/access-rules")
async def list_rules(request: Request, door: Door, actor: Viewer) -> Response:
    """Show the access rules in scopes where the viewer may read them."""
    rules = (await door.rules.list(actor, Query())).items
    names = await door.rules.scope_names(rules)
    rows = [
        _row(
            rule,
            names.get((rule.scope_type, rule.scope), rule.scope),
            may_delete=Action.DELETE in await rights.deeds_on(door, actor, RESOURCE, scope_of(rule)),
        )
        for rule in rules
    ]
    return table_page(
        request,
        "Access rules",
        RULES,
        rows,
        Button(path="/access-rules/new", text="New access rule", right=("create", RESOURCE)),
        has_tabs=True,
        hint="A rule gives a role to somebody in a scope, and in all that lies below it.",
        nothing="There is no access rule that you may see",
        advice="Without a rule a user may do nothing. The service account of this installation has its rights from "
        "the start.",
    )


@router.get("/access-rules/new")
async def new(request: Request, door: Door, actor: Viewer) -> Response:
    """Show the form of a new rule."""
    await door.access.require_anywhere(actor, Action.CREATE, RESOURCE)
    return await _form(request, door, actor, {"subjectType": [SubjectType.USER.value]})


@router.post("/access-rules/new")
async def create(request: Request, door: Door, actor: Viewer) -> Response:
    """Make it, or show the form again with what is wrong."""
    posted = posted_of((await request.form()).multi_items())
    scope_type, _, scope = text_of(posted, "scope").partition("/")
    given = NewRule(
        subject=text_of(posted, "subjectId"),
        subject_type=text_of(posted, "subjectType"),
        role=text_of(posted, "roleId"),
        scope_type=scope_type,
        scope=scope,
    )
    rule, refusal = await editing.tried((), lambda: door.rules.create(actor, given), name="roleId", moved=_moved)
    if rule is None:
        return await _form(request, door, actor, posted, refusal)
    return go_to(request, "/access-rules", f"{rule.subject} is {rule.role} now.")


@router.get("/access-rules/{ref}/delete")
async def ask_delete(request: Request, ref: str, door: Door, actor: Viewer) -> Response:
    """Say what taking it away would mean."""
    rule = await door.rules.get(actor, ref)
    await door.access.require(actor, Action.DELETE, RESOURCE, scope_of(rule))
    return editing.ask(request, await _question(door, rule))


@router.post("/access-rules/{ref}/delete")
async def delete(request: Request, ref: str, door: Door, actor: Viewer) -> Response:
    """Take it away."""
    rule = await door.rules.get(actor, ref)
    notice = f"{rule.subject} is no longer {rule.role} there."
    question = await _question(door, rule)
    return await editing.deleted(request, question, door.rules.delete(actor, ref), "/access-rules", notice)


async def _question(door: Orchestrator, rule: AccessRule) -> Question:
    names = await door.rules.scope_names((rule,))
    where = names.get((rule.scope_type, rule.scope), rule.scope)
    return Question(
        title=f"Take the role {rule.role} from {rule.subject}?",
        text=f"It holds in {rule.scope_type} {where} and ends with the next request. Workloads go on.",
        button="Take it away",
        back="/access-rules",
    )


def _moved(errors: Sequence[FieldError]) -> list[FieldError]:
    return [FieldError(FIELDS.get(item.field, item.field), item.message, item.given) for item in errors]


def _row(rule: AccessRule, where: str, *, may_delete: bool) -> dict[str, Cell]:
    scope = f"{rule.scope_type} {where}".strip()
    return {
        "subject": Cell(text=rule.subject),
        "type": Cell(text=SUBJECTS.get(SubjectType(rule.subject_type), rule.subject_type)),
        "role": Cell(text=rule.role),
        "scope": Cell(text=scope),
        "by": Cell(text=rule.meta.created_by),
        "created": Cell(time=rule.meta.created_at),
        "delete": Cell(text="Take away", link=f"/access-rules/{rule.meta.uid}/delete") if may_delete else Cell(),
    }


async def _form(
    request: Request, door: Orchestrator, actor: Actor, posted: Posted, refusal: Refusal = NOTHING
) -> Response:
    inputs = _inputs(posted, await rights.scopes_for(door, actor, RESOURCE), await door.access.places.roles())
    return editing.form_page(
        request,
        (Section(title="", inputs=inputs),),
        refusal,
        title="New access rule",
        help="A rule is never changed: take it away and make another. Nobody can give more than they have.",
        back="/access-rules",
        save="Give the role",
    )


def _inputs(posted: Posted, scopes: Sequence[str], found: Sequence[Role]) -> tuple[Input, ...]:
    kinds = tuple(Option(kind.value, text) for kind, text in SUBJECTS.items())
    roles = tuple(Option(str(role.id), role.name + (" (legacy)" if role.legacy else "")) for role in found)
    places = tuple(Option(scope, scope.replace("/", " ")) for scope in scopes)
    who = "E-mail address of a user, name of a group as the identity provider says it, or client id."
    return (
        _choice(posted, "subjectType", "Who", kinds),
        Input(name="subjectId", label="Name", required=True, value=text_of(posted, "subjectId"), help=who),
        _choice(posted, "roleId", "Role", roles),
        replace(_choice(posted, "scope", "Scope", places), help="The role holds there and in all that lies below."),
    )


def _choice(posted: Posted, name: str, label: str, options: tuple[Option, ...]) -> Input:
    value = text_of(posted, name)
    return Input(name=name, label=label, widget=Widget.SELECT, required=True, value=value, options=options)
