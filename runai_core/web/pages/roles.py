"""Roles: what each may do and who has it; a form in which administrators make their own, right by right."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from runai_core.bootstrap import Orchestrator
from runai_core.model.errors import FieldError
from runai_core.model.organization import Action, Actor
from runai_core.model.roles import MOST, PERMISSION_SETS, ROLES, TYPES, Rights, Role, joined
from runai_core.service.roles import RESOURCE, NewRole
from runai_core.web.context import Door
from runai_core.web.pages import editing, rights
from runai_core.web.pages.editing import NOTHING, Question, Refusal
from runai_core.web.pages.frame import Viewer, go_to, page_router
from runai_core.web.pages.inputs import Input, Option, Posted, Section, Widget, changed_meanwhile, posted_of, text_of
from runai_core.web.pages.listing import Button, table_page
from runai_core.web.pages.tables import Cell, Column
from runai_core.web.views.roles import type_name

router = page_router("/roles")

COLUMNS = (
    Column("name", "Role"),
    Column("changes", "May create, change or delete", wrap=True),
    Column("reads", "May look at", wrap=True),
    Column("by", "Created by"),
)

RIGHT = "right"
"""Name of the boxes of the table; the value is ``type:action``."""

WORDS: Mapping[Action, str] = {
    Action.READ: "View",
    Action.CREATE: "Create",
    Action.UPDATE: "Edit",
    Action.DELETE: "Delete",
}
"""Action -> how pages call it, in the order of the table's columns."""

OWN = "It is a role of the program, and stays as it is."


@dataclass(frozen=True, slots=True)
class Box:
    """One cell of the table of rights."""

    value: str
    label: str
    chosen: bool
    possible: bool


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table of rights."""

    name: str
    boxes: tuple[Box, ...]


@router.get("")
async def list_roles(request: Request, door: Door, actor: Viewer) -> Response:
    """Show the roles with what each may do."""
    rows = [_row(role) for role in await door.roles.list(actor)]
    new = Button(path="/roles/new", text="New role", right=("create", RESOURCE))
    return table_page(request, "Roles", COLUMNS, rows, new, has_tabs=True, nothing="There is no role")


@router.get("/new")
async def new(request: Request, door: Door, actor: Viewer) -> Response:
    """Show the form of a new role."""
    await door.access.require(actor, Action.CREATE, RESOURCE)
    return _form(request, {"enabled": ["true"]}, {})


@router.post("/new")
async def create(request: Request, door: Door, actor: Viewer) -> Response:
    """Make it, or show the form again with what is wrong."""
    posted = posted_of((await request.form()).multi_items())
    made, refusal = await editing.tried((), lambda: door.roles.create(actor, _asked(posted)), name="name")
    if made is None:
        return _form(request, posted, _chosen(posted), refusal)
    return go_to(request, f"/roles/{made.id}", f"There is a role {made.name} now: access rules can give it.")


@router.get("/{ref}")
async def show(request: Request, ref: str, door: Door, actor: Viewer) -> Response:
    """Show all that a role may do, and who has it; whoever may change it can write."""
    role = await door.roles.get(actor, ref)
    return _form(request, _posted_role(role), role.rights, **await _around(door, actor, role))


@router.post("/{ref}")
async def update(request: Request, ref: str, door: Door, actor: Viewer) -> Response:
    """Change it, or show the form again with what is wrong."""
    role = await door.roles.get(actor, ref)
    posted = posted_of((await request.form()).multi_items())
    errors = changed_meanwhile(posted, role.made.meta) if role.made is not None else []
    given = _asked(posted, role)
    made, refusal = await editing.tried(errors, lambda: door.roles.update(actor, ref, given), name="name")
    if made is None:
        return _form(request, posted, _chosen(posted), refusal, **await _around(door, actor, role))
    return go_to(request, f"/roles/{made.id}", f"Role {made.name} is changed for everybody who has it.")


@router.get("/{ref}/delete")
async def ask_delete(request: Request, ref: str, door: Door, actor: Viewer) -> Response:
    """Say what deleting would mean."""
    await door.access.require(actor, Action.DELETE, RESOURCE)
    return editing.ask(request, _question(await door.roles.get(actor, ref)))


@router.post("/{ref}/delete")
async def delete(request: Request, ref: str, door: Door, actor: Viewer) -> Response:
    """Delete it, or say who has it."""
    role = await door.roles.get(actor, ref)
    act, notice = door.roles.delete(actor, ref), f"Role {role.name} is deleted."
    return await editing.deleted(request, _question(role), act, "/roles", notice)


def _question(role: Role) -> Question:
    text = "It can be deleted once nobody has it. This cannot be undone."
    return Question(title=f"Delete role {role.name}?", text=text, back=f"/roles/{role.id}")


def _row(role: Role) -> dict[str, Cell]:
    changed = sorted(kind for kind, actions in role.rights.items() if actions - {Action.READ})
    notes = ("legacy" if role.legacy else "", "" if role.enabled else "disabled")
    return {
        "name": Cell(text=role.name, link=f"/roles/{role.id}", note=", ".join(filter(None, notes))),
        "changes": Cell(text=", ".join(changed)),
        "reads": Cell(text=", ".join(sorted(kind for kind in role.rights if kind not in changed))),
        "by": Cell(text=role.made.meta.created_by if role.made else "system"),
    }


async def _around(door: Orchestrator, actor: Actor, role: Role) -> dict[str, Any]:
    """Return what the page of a role shows besides the role: who has it, and what the viewer may do to it."""
    deeds = await rights.deeds_on(door, actor, RESOURCE)
    holders = await door.roles.holders(actor, role)
    return {
        "role": role,
        "may_save": role.made is not None and Action.UPDATE in deeds,
        "delete": f"/roles/{role.id}/delete" if role.made is not None and Action.DELETE in deeds else "",
        "locked_why": OWN if role.made is None else "Your roles let you look at this, and not change it.",
        "holders": holders,
        "names": await door.rules.scope_names(holders),
    }


def _form(
    request: Request,
    posted: Posted,
    chosen: Rights,
    refusal: Refusal = NOTHING,
    *,
    role: Role | None = None,
    **values: Any,
) -> Response:
    made = role.made if role is not None else None
    sets = [PERMISSION_SETS[ref].name for ref in made.permission_sets if ref in PERMISSION_SETS] if made else []
    return editing.form_page(
        request,
        (Section(title="", inputs=_inputs(posted, is_new=role is None)),),
        Refusal(tuple(_moved(refusal.errors)), refusal.status),
        template="role.html",
        title=f"Role {role.name}" if role is not None else "New role",
        back="/roles",
        save="Save" if role is not None else "Create",
        hidden={"version": made.meta.version} if made else {},
        words=tuple(WORDS.values()),
        lines=_lines(chosen),
        sets=sets,
        role=role,
        **values,
    )


def _inputs(posted: Posted, *, is_new: bool) -> tuple[Input, ...]:
    name = text_of(posted, "name")
    roles = tuple(Option(role.name) for role in ROLES)
    fixed = "" if is_new else "A role keeps its name."
    return (
        Input(name="name", label="Name", required=is_new, value=name, locked=not is_new, note=fixed),
        Input(name="description", label="Description", value=text_of(posted, "description")),
        Input(
            name="clusterRole",
            label="In the cluster itself",
            widget=Widget.SELECT,
            value=text_of(posted, "clusterRole"),
            options=roles,
            help="On Kubernetes, in the namespaces of projects, it may do what this role may; empty: nothing.",
        ),
        Input(
            name="enabled",
            label="State",
            widget=Widget.MANY,
            chosen=tuple(posted.get("enabled", ())),
            options=(Option("true", "It gives its rights"),),
        ),
    )


def _lines(chosen: Rights) -> tuple[Line, ...]:
    return tuple(
        Line(
            type_name(kind),
            tuple(
                Box(f"{kind}:{action}", word, action in chosen.get(kind, ()), action in MOST[kind])
                for action, word in WORDS.items()
            ),
        )
        for kind in TYPES
    )


def _posted_role(role: Role) -> dict[str, list[str]]:
    """Return what a browser would post for the role as it is, but for its rights."""
    return {
        "name": [role.name],
        "description": [role.made.description if role.made is not None else role.description],
        "clusterRole": [role.cluster_role],
        "enabled": ["true"] if role.enabled else [],
    }


def _chosen(posted: Posted) -> Rights:
    """Return the rights whose boxes were ticked, of those that there are."""
    pairs = (value.partition(":")[::2] for value in posted.get(RIGHT, ()))
    known = {action.value: action for action in Action}
    return joined({kind: (known[word],)} for kind, word in pairs if kind in MOST and word in known)


def _asked(posted: Posted, role: Role | None = None) -> NewRole:
    """Return the role as the form has it; permission sets stay while all of their boxes are ticked."""
    chosen = _chosen(posted)
    sets = [ref for ref in (role.made.permission_sets if role and role.made else ()) if ref in PERMISSION_SETS]
    return NewRole(
        name=role.name if role is not None else text_of(posted, "name"),
        description=text_of(posted, "description"),
        enabled="true" in posted.get("enabled", ()),
        permission_sets=[ref for ref in sets if _has_all(chosen, PERMISSION_SETS[ref].rights)],
        permissions=chosen,
        cluster_role=text_of(posted, "clusterRole"),
    )


def _has_all(chosen: Rights, wanted: Rights) -> bool:
    return all(actions <= chosen.get(kind, frozenset()) for kind, actions in wanted.items())


def _moved(errors: Iterable[FieldError]) -> Sequence[FieldError]:
    """Return errors at the inputs of the form; those of rights are about the table as a whole."""
    inputs = {"kubernetesPermissions.predefinedRole": "clusterRole"}
    return [
        FieldError(
            "" if item.field.startswith("permission") else inputs.get(item.field, item.field), item.message, item.given
        )
        for item in errors
    ]
