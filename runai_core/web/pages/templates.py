"""Templates: submissions to start from."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from runai_core.bootstrap import Orchestrator
from runai_core.model.assets import Template
from runai_core.model.errors import FieldError
from runai_core.model.organization import Action, Actor, Scope
from runai_core.model.roles import resource_of
from runai_core.model.workload import WorkloadType
from runai_core.service.templates import TEMPLATES, TemplateDraft
from runai_core.web.context import Door
from runai_core.web.pages import editing, rights
from runai_core.web.pages.asset_form import at_scope, general_inputs
from runai_core.web.pages.editing import NOTHING, Question, Refusal
from runai_core.web.pages.form_kinds import FORM_OF
from runai_core.web.pages.frame import Viewer, go_to, page_router
from runai_core.web.pages.inputs import Input, Option, Posted, Section, Widget, posted_of, text_of
from runai_core.web.pages.listing import Button, table_page
from runai_core.web.pages.tables import Cell, Column
from runai_core.web.pages.values import yaml_of, yaml_text

router = page_router("/templates")

COLUMNS = (
    Column("name", "Template"),
    Column("type", "Type"),
    Column("scope", "Scope"),
    Column("description", "Description", wrap=True),
    Column("by", "Created by"),
    Column("created", "Created"),
    Column("use", "Use"),
)

_DOCUMENTS = ("spec", "master.spec", "assets")


@router.get("")
async def list_templates(request: Request, door: Door, actor: Viewer) -> Response:
    """Show all templates that the viewer may see."""
    rows = [
        _row(item, may_use=rights.may_somewhere(request, Action.CREATE, resource_of(item.type)))
        for item in await door.templates.listed(actor)
    ]
    return table_page(
        request,
        "Templates",
        COLUMNS,
        rows,
        Button(path="/templates/new", text="New template", right=("create", TEMPLATES)),
        nothing="There is no template",
        advice="A template is a workload to start from: values and assets that whoever uses it may change.",
    )


@router.get("/new")
async def new(request: Request, door: Door, actor: Viewer) -> Response:
    """Show the form of a new template."""
    await door.access.require_anywhere(actor, Action.CREATE, TEMPLATES)
    return await _form(request, door, actor, {"type": [WorkloadType.TRAINING.value]})


@router.post("/new")
async def create(request: Request, door: Door, actor: Viewer) -> Response:
    """Create it, or show the form again with what is wrong."""
    posted = posted_of((await request.form()).multi_items())
    draft, errors = _draft(posted)
    created, refusal = await editing.tried(
        errors, lambda: door.templates.create(actor, draft), name="meta.name", moved=at_scope
    )
    if created is None:
        return await _form(request, door, actor, posted, refusal)
    return go_to(request, "/templates", f"Template {created.title} is there.")


@router.get("/{uid}")
async def show(request: Request, uid: str, door: Door, actor: Viewer) -> Response:
    """Show one template, to be changed."""
    template = await door.templates.get(actor, uid)
    return await _form(request, door, actor, _posted(template), template=template)


@router.post("/{uid}")
async def update(request: Request, uid: str, door: Door, actor: Viewer) -> Response:
    """Change it, or show the form again with what is wrong."""
    template = await door.templates.get(actor, uid)
    posted = {**posted_of((await request.form()).multi_items()), "type": [template.type.value]}
    draft, errors = _draft(posted)
    changed, refusal = await editing.tried(
        errors, lambda: door.templates.replace(actor, uid, draft), name="meta.name", moved=at_scope
    )
    if changed is None:
        posted = {**posted, "scope": [_scope(template)]}
        return await _form(request, door, actor, posted, refusal, template=template)
    return go_to(request, "/templates", f"Template {changed.title} is changed.")


@router.get("/{uid}/delete")
async def ask_delete(request: Request, uid: str, door: Door, actor: Viewer) -> Response:
    """Say what deleting it would mean."""
    template = await door.templates.get(actor, uid)
    await door.access.require(actor, Action.DELETE, TEMPLATES, Scope(template.scope_type, template.scope))
    return editing.ask(request, _question(template))


@router.post("/{uid}/delete")
async def delete(request: Request, uid: str, door: Door, actor: Viewer) -> Response:
    """Delete it."""
    template = await door.templates.get(actor, uid)
    act, notice = door.templates.delete(actor, uid), f"Template {template.title} is deleted."
    return await editing.deleted(request, _question(template), act, "/templates", notice)


def _question(template: Template) -> Question:
    text = "Workloads that were submitted with it keep what it gave them. This cannot be undone."
    return Question(title=f"Delete template {template.title}?", text=text, back=f"/templates/{template.meta.uid}")


def _row(template: Template, *, may_use: bool) -> dict[str, Cell]:
    form = FORM_OF.get(template.type) if may_use else None
    use = Cell(text="New workload", link=f"/workloads/new/{form}?template={template.meta.uid}") if form else Cell()
    return {
        "name": Cell(text=template.title, link=f"/templates/{template.meta.uid}"),
        "type": Cell(text=template.type.value),
        "scope": Cell(text=_scope(template).replace("/", " ")),
        "description": Cell(text=template.description),
        "by": Cell(text=template.meta.created_by),
        "created": Cell(time=template.meta.created_at),
        "use": use,
    }


def _scope(template: Template) -> str:
    return f"{template.scope_type}/{template.scope}" if template.scope else template.scope_type


def _posted(template: Template) -> dict[str, list[str]]:
    texts = {
        "meta.name": template.title,
        "scope": _scope(template),
        "description": template.description,
        "type": template.type.value,
        "spec": yaml_text(template.spec) if template.spec else "",
        "master.spec": yaml_text(template.master_spec) if template.master_spec else "",
        "assets": yaml_text(template.assets) if template.assets else "",
    }
    return {name: [text] for name, text in texts.items()}


def _draft(posted: Posted) -> tuple[TemplateDraft, list[FieldError]]:
    documents, errors = {}, []
    for name in _DOCUMENTS:
        documents[name], wrong = yaml_of(posted, name)
        errors += wrong
    kind = text_of(posted, "type")
    if kind not in tuple(FORM_OF):
        errors.append(FieldError("type", f"must be one of {', '.join(FORM_OF)}", kind[:80]))
        kind = WorkloadType.TRAINING.value
    scope_type, _, scope = text_of(posted, "scope").partition("/")
    draft = TemplateDraft(
        title=text_of(posted, "meta.name"),
        type=WorkloadType(kind),
        scope_type=scope_type,
        scope=scope,
        description=text_of(posted, "description"),
        spec=documents["spec"],
        master_spec=documents["master.spec"] or None,
        assets=documents["assets"],
    )
    return draft, errors


async def _form(
    request: Request,
    door: Orchestrator,
    actor: Actor,
    posted: Posted,
    refusal: Refusal = NOTHING,
    *,
    template: Template | None = None,
) -> Response:
    scopes = await rights.scopes_for(door, actor, TEMPLATES) if template is None else ()
    deeds = frozenset(Action)
    if template is not None:
        deeds = await rights.deeds_on(door, actor, TEMPLATES, Scope(template.scope_type, template.scope))
    return editing.thing_page(
        request,
        _sections(posted, scopes, is_new=template is None),
        refusal,
        noun="template",
        name=template.title if template else None,
        deeds=deeds,
        help="A template holds values and assets; whoever starts from it may change them, as far as policies allow.",
        back="/templates",
        delete=f"/templates/{template.meta.uid}/delete" if template else "",
    )


def _sections(posted: Posted, scopes: Sequence[str], *, is_new: bool) -> tuple[Section, ...]:
    kind = Input(
        name="type",
        label="Type",
        widget=Widget.SELECT,
        value=text_of(posted, "type"),
        options=tuple(Option(name.value) for name in FORM_OF),
        required=is_new,
        locked=not is_new,
    )
    labels = (
        (
            "spec",
            "Specification",
            "As in the API, for example `image: python:3.12` and `compute: {cpuCoreRequest: 2}`.",
        ),
        ("master.spec", "Where the master differs", "Of distributed trainings."),
        ("assets", "Assets", "Ids or names: `environment: ...`, `compute: ...`, `datasources: [{id: ...}]`."),
    )
    documents = tuple(
        Input(name=name, label=label, widget=Widget.CODE, value=text_of(posted, name), help=f"YAML. {text}")
        for name, label, text in labels
    )
    general = general_inputs(posted, scopes, is_new=is_new, name="meta.name")
    return (Section(title="", inputs=(*general, kind, *documents)),)
