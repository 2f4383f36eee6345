"""New Workload: an object of a framework, pasted as YAML; what is wrong is told with its line."""

from collections.abc import Sequence
from typing import Any

import yaml
from starlette.requests import Request
from starlette.responses import Response

from runai_core.bootstrap import Orchestrator
from runai_core.model.errors import FieldError, InvalidRequest, NotFound, Unsupported
from runai_core.model.nodes import DEFAULT_NODE_POOL
from runai_core.model.organization import Action, Actor
from runai_core.model.workload import PRIORITIES, Workload
from runai_core.plugins.types import RunsAsNative
from runai_core.ports import Query
from runai_core.service.submissions import Preview, Submission
from runai_core.web.context import Door
from runai_core.web.manifest_bodies import ManifestCreate
from runai_core.web.pages import editing
from runai_core.web.pages.bodies import validated
from runai_core.web.pages.editing import NOTHING, Refusal
from runai_core.web.pages.form_kinds import FRAMEWORK
from runai_core.web.pages.frame import Viewer, go_to, page, page_router
from runai_core.web.pages.inputs import Input, Option, Posted, Section, Widget, posted_of, text_of, with_errors
from runai_core.web.pages.values import line_of, yaml_of, yaml_text
from runai_core.web.submissions import framework_submission

MANIFEST = "manifest"

router = page_router(f"/workloads/new/{FRAMEWORK.path}")


@router.get("")
async def new(request: Request, door: Door, actor: Viewer, project: str = "", clone: str = "") -> Response:
    """Show an empty form, or one with the object of another workload."""
    await door.access.require_anywhere(actor, Action.CREATE, FRAMEWORK.resource)
    posted = {"project": [project]}
    if clone:
        source = await door.workloads.get(actor, clone)
        if source.manifest is None:
            raise NotFound(f"{source.key} is not made of an object of a framework")
        posted = {
            "project": [source.meta.project],
            "name": [f"{source.name[:58]}-copy"],
            MANIFEST: [yaml_text(source.manifest)],
        }
    return await _shown(request, door, actor, posted)


@router.post("/check")
async def check(request: Request, door: Door, actor: Viewer) -> Response:
    """Say whether it would start now, why not, or what is wrong; nothing is kept."""
    posted, body, errors = _read(posted_of((await request.form()).multi_items()))

    async def act() -> Preview:
        return await door.workloads.check(actor, await _submission(door, actor, body, posted))

    preview, refusal = await editing.tried(errors, act, moved=lambda found: _at_lines(found, posted))
    found = refusal.errors if preview is None else _at_lines(preview.violations, posted)
    _, problems = with_errors((await _section(door, actor, posted),), found)
    return page(request, "new_check.html", preview=preview, problems=problems, filled=[])


@router.post("")
async def submit(request: Request, door: Door, actor: Viewer) -> Response:
    """Submit the object, or show the form again with what is wrong."""
    posted, body, errors = _read(posted_of((await request.form()).multi_items()))

    async def act() -> Workload:
        return await door.workloads.submit(actor, await _submission(door, actor, body, posted))

    created, refusal = await editing.tried(errors, act, name="name", moved=lambda found: _at_lines(found, posted))
    if created is None:
        return await _shown(request, door, actor, posted, refusal)
    return go_to(request, f"/workloads/{created.meta.uid}", f"{created.key} is submitted.")


def _read(posted: Posted) -> tuple[Posted, dict[str, Any], list[FieldError]]:
    """Return what was posted, the body of the API that it stands for, and what could not be read."""
    manifest, errors = yaml_of(posted, MANIFEST)
    if not manifest and not errors:
        errors = [FieldError(MANIFEST, "is required: paste the object here")]
    chosen = {name: text_of(posted, name) for name in ("name", "priority", "preemptibility")}
    pools = [part.strip() for part in text_of(posted, "nodePools").split(",") if part.strip()]
    metadata = {"projectId": text_of(posted, "project"), **{name: text for name, text in chosen.items() if text}}
    return posted, {"metadata": metadata | ({"nodePools": pools} if pools else {}), MANIFEST: manifest}, errors


async def _submission(door: Orchestrator, actor: Actor, body: dict[str, Any], posted: Posted) -> Submission:
    project = await door.organization.get_project(actor, text_of(posted, "project"))
    try:
        return framework_submission(validated(ManifestCreate, body), project.name, "", door)
    except Unsupported as error:
        raise InvalidRequest.of(FieldError(f"{MANIFEST}.kind", error.message)) from None


def _at_lines(errors: Sequence[FieldError], posted: Posted) -> list[FieldError]:
    """Return the errors at the inputs; those in the object with the line on which each is."""
    return [_at_line(error, posted) for error in errors]


def _at_line(error: FieldError, posted: Posted) -> FieldError:
    head, _, rest = error.field.partition(".")
    if head == "metadata":
        return FieldError({"projectId": "project"}.get(rest, rest), error.message, error.given)
    if head == "name" and not text_of(posted, "name"):
        head, rest = MANIFEST, "metadata.name"
    if head not in (MANIFEST, "spec"):
        return error
    path = rest if head == MANIFEST else error.field
    try:
        line = line_of(text_of(posted, MANIFEST), path)
    except yaml.YAMLError:
        return FieldError(MANIFEST, error.message, error.given)
    return FieldError(MANIFEST, f"line {line}, {path}: {error.message}", error.given, error.policy)


async def _shown(
    request: Request, door: Orchestrator, actor: Actor, posted: Posted, refusal: Refusal = NOTHING
) -> Response:
    return editing.form_page(
        request,
        (await _section(door, actor, posted),),
        refusal,
        title="New object of a framework",
        help=FRAMEWORK.text,
        back="/workloads",
        save="Submit",
        checked_at=f"{router.prefix}/check",
        check="Check: would it start now?",
        fields=_kinds(door),
        fields_title="Kinds that run here",
    )


def _kinds(door: Orchestrator) -> list[str]:
    """Return the kinds that can run here: on one machine, those that become native workloads."""
    is_local = door.settings.backend == "local"
    return sorted(
        f"{kind.kind} ({kind.api_version})"
        for kind in door.plugins.kinds.values()
        if not is_local or isinstance(kind.adapter, RunsAsNative)
    )


async def _section(door: Orchestrator, actor: Actor, posted: Posted) -> Section:
    names = await door.access.visible(actor, Action.CREATE, FRAMEWORK.resource)
    found = (await door.organization.list_projects(actor, Query(names=names, sort_by="meta.name"))).items
    return Section(
        title="",
        inputs=(
            Input(
                name="project",
                label="Project",
                widget=Widget.SELECT,
                value=text_of(posted, "project"),
                options=tuple(Option(item.name) for item in found),
                required=True,
            ),
            Input(name="name", label="Name", value=text_of(posted, "name"), help="Empty: the object's own."),
            Input(
                name="priority",
                label="Priority",
                widget=Widget.SELECT,
                value=text_of(posted, "priority"),
                options=tuple(Option(name) for name in PRIORITIES),
                help="Empty: as its kind has it.",
            ),
            Input(
                name="nodePools",
                label="Node pools",
                value=text_of(posted, "nodePools"),
                help=f"In order of preference, between commas. Empty: those of the project, or {DEFAULT_NODE_POOL}.",
            ),
            Input(
                name=MANIFEST,
                label="Object",
                widget=Widget.CODE,
                value=text_of(posted, MANIFEST),
                required=True,
                help="YAML with apiVersion, kind, metadata and spec, as for kubectl.",
            ),
        ),
    )
