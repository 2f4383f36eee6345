"""New Workload: forms for the native types, tried out before they are submitted, and filled in from a copy."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from runai_core import wire
from runai_core.bootstrap import Orchestrator
from runai_core.model.errors import FieldError, Forbidden, NotFound
from runai_core.model.nodes import DEFAULT_NODE_POOL
from runai_core.model.organization import Action, Actor, Project
from runai_core.model.workload import POLICY_TYPES, Workload, WorkloadType
from runai_core.policy.effective import effective_of
from runai_core.policy.evaluate import evaluate
from runai_core.policy.scheduling_rules import FAMILIES
from runai_core.ports import Query
from runai_core.service.submissions import Preview, Submission
from runai_core.web.context import Door
from runai_core.web.pages import editing, start_from
from runai_core.web.pages.bodies import validated
from runai_core.web.pages.editing import NOTHING, Refusal
from runai_core.web.pages.form_kinds import NATIVE, FormKind, offered
from runai_core.web.pages.frame import Viewer, go_to, page, page_router
from runai_core.web.pages.inputs import Input, Option, Posted, Section, Widget, posted_of, text_of, with_errors
from runai_core.web.pages.unit_rules import rules_of
from runai_core.web.pages.values import pruned
from runai_core.web.pages.workload_fields import DATA, rows_for
from runai_core.web.pages.workload_form import (
    MASTER,
    Surroundings,
    master_of,
    master_section,
    of_master,
    posted_master,
    sections_of,
    spec_of,
    started,
    table_of,
    without_policies,
)
from runai_core.web.submissions import submission_of
from runai_core.web.views.workloads import joined_groups

MOST_PROJECTS = 1000
"""Projects in the list of choices."""

PREFIXES = ("spec.",)
"""Beginnings of paths in errors that inputs do not have."""

router = page_router("/workloads/new")


@dataclass(frozen=True, slots=True)
class Place:
    """The project that a form is for, and what that means for its fields."""

    project: Project
    projects: tuple[str, ...]
    around: Surroundings
    offers: start_from.Offers


@router.get("")
async def choose(request: Request, _actor: Viewer) -> Response:
    """Let people choose what they want to run, of what they may."""
    return page(request, "new_types.html", kinds=offered(request))


@router.get("/{kind}")
async def new(request: Request, kind: str, door: Door, actor: Viewer) -> Response:
    """Show an empty form (``?project=``), or one filled in as another workload (``?clone=``), or for a template."""
    project, clone, template = (request.query_params.get(name, "") for name in ("project", "clone", "template"))
    form = _kind(kind)
    await door.access.require_anywhere(actor, Action.CREATE, form.resource)
    source = await door.workloads.get(actor, clone) if clone else None
    if source is not None and source.type is not form.kind:
        raise NotFound(f"{source.key} is a {source.type} workload, not {form.kind}")
    place = await _place(door, actor, form, project or (source.meta.project if source else ""))
    if place is None:
        return page(request, "new_no_project.html")
    spec = without_policies(wire.encode(source.spec), source.origins) if source else {}
    posted = started(form.policy, spec, place.around) | (_copied(source) if source else {})
    posted |= {start_from.TEMPLATE: [template]} if template else {}
    return _shown(request, form, posted, place)


@router.get("/{kind}/row")
async def row(request: Request, kind: str, _actor: Viewer, path: str) -> Response:
    """Return one more empty row of a table."""
    wanted = path.removeprefix(f"{MASTER}.")
    found = next((item for item in rows_for(_kind(kind).policy) if item.path == wanted and item.members), None)
    if found is None:
        raise NotFound("there is no such table")
    table = table_of(found)
    return page(request, "form_row.html", cells=(table if wanted == path else of_master(table)).columns)


@router.post("/{kind}/refresh")
async def refresh(request: Request, kind: str, door: Door, actor: Viewer) -> Response:
    """Show the form again for another project: what its policies fill in takes the place of the other's defaults."""
    form = _kind(kind)
    posted = posted_of((await request.form()).multi_items())
    before = await _place(door, actor, form, text_of(posted, "shownFor"))
    place = await _place(door, actor, form, text_of(posted, "project"))
    if place is None or before is None:
        return page(request, "new_no_project.html")
    spec, unread = spec_of(form.policy, posted, before.around)
    kept = {error.field: posted[error.field] for error in unread if error.field in posted}
    own = {
        name: values
        for name, values in posted.items()
        if name in ("name", "hasMaster", *start_from.NAMES) or name.startswith(f"{MASTER}.")
    }
    return _shown(
        request,
        form,
        {**started(form.policy, spec, place.around), **kept, **own},
        place,
        editing.wrong(unread),
        part=True,
    )


@router.post("/{kind}/check")
async def check(request: Request, kind: str, door: Door, actor: Viewer) -> Response:
    """Say whether the workload would start now, why not, or what is wrong; nothing is kept."""
    form = _kind(kind)
    posted, place, body, unread = await _read(request, door, actor, form)

    async def act() -> Preview:
        return await door.workloads.check(actor, _submission(form, body, place.project))

    preview, refusal = await editing.tried(unread, act, moved=_at_inputs)
    errors = refusal.errors if preview is None else preview.violations
    _, problems = with_errors(_sections(form, posted, place), errors, PREFIXES)
    return page(request, "new_check.html", preview=preview, problems=problems, filled=_filled(preview))


@router.post("/{kind}")
async def submit(request: Request, kind: str, door: Door, actor: Viewer) -> Response:
    """Submit the workload, or show the form again with what is wrong at each field."""
    form = _kind(kind)
    posted, place, body, errors = await _read(request, door, actor, form)

    async def act() -> Workload:
        return await door.workloads.submit(actor, _submission(form, body, place.project))

    created, refusal = await editing.tried(errors, act, name="name", moved=_at_inputs)
    if created is None:
        return _shown(request, form, posted, place, refusal)
    return go_to(request, f"/workloads/{created.meta.uid}", f"{created.key} is submitted.")


def _copied(source: Workload) -> dict[str, list[str]]:
    """Return what the form of a copy has besides the specification."""
    posted = {"name": [f"{source.name[:58]}-copy"]}
    if source.master_spec is not None:
        posted |= posted_master(POLICY_TYPES[source.type], pruned(wire.encode(source.master_spec)))
    if not source.has_master:
        posted["hasMaster"] = ["false"]
    return posted


def _kind(name: str) -> FormKind:
    if name not in NATIVE:
        raise NotFound(f"there is no form for {name[:80]}; there are: {', '.join(NATIVE)}")
    return NATIVE[name]


async def _place(door: Orchestrator, actor: Actor, form: FormKind, name: str) -> Place | None:
    """Return the project of the form, by default the first that may be used; None where there is none at all."""
    found = await _projects(door, actor, form)
    if not (found or name):
        return None
    named = [item for item in found if name in (item.name, item.meta.uid)]
    project = named[0] if named else (await door.organization.get_project(actor, name) if name else found[0])
    around = await _surroundings(door, actor, form, project)
    offers = await start_from.offers_of(door, actor, form.kind, project)
    return Place(project, tuple(item.name for item in found), around, offers)


async def _projects(door: Orchestrator, actor: Actor, form: FormKind) -> Sequence[Project]:
    """Return the projects in which the actor may submit such workloads."""
    names = await door.access.visible(actor, Action.CREATE, form.resource)
    query = Query(names=names, sort_by="meta.name", limit=MOST_PROJECTS)
    return (await door.organization.list_projects(actor, query)).items


async def _surroundings(door: Orchestrator, actor: Actor, form: FormKind, project: Project) -> Surroundings:
    try:
        policies = await door.policies.effective(actor, form.policy, project.name)
    except Forbidden:
        policies = ()  # they are applied all the same, when it is submitted
    try:
        pools = (await door.organization.list_node_pools(actor, Query(sort_by="meta.name"))).items
    except Forbidden:
        pools = ()
    family = FAMILIES.get(form.kind, "")
    types = (await rules_of(door, actor, project)).node_types.get(family, ())
    return Surroundings(
        effective=effective_of(form.policy, policies),
        filled=evaluate(form.policy, {}, policies),
        proposals={
            "nodePools": tuple(pool.name for pool in pools),
            "category": ("Build", "Train", "Deploy"),
            "nodeType": types,
        },
        only=frozenset({"nodeType"} if types else ()),
    )


async def _read(
    request: Request, door: Orchestrator, actor: Actor, form: FormKind
) -> tuple[Posted, Place, dict[str, Any], list[FieldError]]:
    """Return what was posted, and the body of the API that it stands for."""
    posted = posted_of((await request.form()).multi_items())
    place = await _place(door, actor, form, text_of(posted, "project"))
    if place is None:
        raise NotFound("there is no project to submit to: ask an administrator for one")
    spec, errors = spec_of(form.policy, posted, place.around)
    body: dict[str, Any] = {"name": text_of(posted, "name"), "projectId": place.project.name, "spec": spec}
    start_from.add_to(body, posted)
    if form.leads:
        master, wrong = master_of(form.policy, posted)
        errors += wrong
        body |= _led(form, spec, master, has_master=text_of(posted, "hasMaster") != "false")
    return posted, place, body, errors


def _led(form: FormKind, spec: Mapping[str, Any], master: Mapping[str, Any], *, has_master: bool) -> dict[str, Any]:
    """Return what the API's body says of a gang's leading pod."""
    if form.kind is WorkloadType.DISTRIBUTED_INFERENCE:
        return {"spec": joined_groups(spec, master)} if master else {}
    return ({"masterSpec": master} if master else {}) | ({} if has_master else {"hasMaster": False})


def _submission(form: FormKind, body: Mapping[str, Any], project: Project) -> Submission:
    return submission_of(form.kind, validated(form.paths.body, body), project.name, "")


def _shown(
    request: Request,
    form: FormKind,
    posted: Posted,
    place: Place,
    refusal: Refusal = NOTHING,
    *,
    part: bool = False,
) -> Response:
    return editing.form_page(
        request,
        _sections(form, posted, place),
        replace(refusal, status=200) if part else refusal,
        template="new_form_part.html" if part else "new_form.html",
        prefixes=PREFIXES,
        form=form,
        back="/workloads",
        save="Submit",
        more=f"{router.prefix}/{form.path}/row",
        checked_at=f"{router.prefix}/{form.path}/check",
        check="Check: would it start now?",
        shown_for=place.project.name,
    )


def _sections(form: FormKind, posted: Posted, place: Place) -> tuple[Section, ...]:
    head = Section(title="", inputs=(_name(posted), _project(place)))
    start = start_from.section_of(place.offers, posted)
    found = (head, *([start] if start.inputs else []), *sections_of(form.policy, posted, place.around))
    if not form.leads:
        return found
    led = [master_section(form.policy, posted, form.leads)]
    if form.kind is WorkloadType.DISTRIBUTED:
        led[0] = replace(led[0], inputs=(_has_master(posted), *led[0].inputs))
    at = next((index for index, section in enumerate(found) if section.title == DATA), len(found))
    return (*found[:at], *led, *found[at:])


def _name(posted: Posted) -> Input:
    return Input(
        name="name",
        label="Name",
        value=text_of(posted, "name"),
        required=True,
        help="Lower-case letters, digits and '-', beginning with a letter; at most 63 characters.",
    )


def _project(place: Place) -> Input:
    default = ", ".join(place.project.default_node_pools) or DEFAULT_NODE_POOL
    return Input(
        name="project",
        label="Project",
        widget=Widget.SELECT,
        value=place.project.name,
        options=tuple(Option(name) for name in place.projects),
        required=True,
        help=f"Of department {place.project.department}. Runs in node pool {default}, unless you choose another below.",
    )


def _at_inputs(errors: Sequence[FieldError]) -> list[FieldError]:
    """Return the errors at the form's inputs: those of a leader and of workers stand where the API has them apart."""
    return [
        replace(error, field=re.sub(r"^spec\.leader\.", f"{MASTER}.", re.sub(r"^spec\.worker\.", "", error.field)))
        for error in errors
    ]


def _has_master(posted: Posted) -> Input:
    return Input(
        name="hasMaster",
        label="Master",
        widget=Widget.SELECT,
        value=text_of(posted, "hasMaster") or "true",
        required=True,
        options=(Option("true", "a pod of its own"), Option("false", "none: the first worker leads")),
    )


def _filled(preview: Preview | None) -> list[tuple[str, str]]:
    return sorted(preview.origins.items()) if preview else []
