"""What a New Workload form can start from: a template, and assets that the project may use."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runai_core.bootstrap import Orchestrator
from runai_core.model.assets import DATA_SOURCES, Asset, AssetKind, Template
from runai_core.model.errors import Forbidden
from runai_core.model.organization import Actor, Project
from runai_core.model.workload import WorkloadType
from runai_core.service.asset_scopes import covers
from runai_core.web.pages.inputs import Input, Option, Posted, Section, Widget, text_of, texts_of

TEMPLATE = "templateId"
ENVIRONMENT, COMPUTE, DATA = "assets.environment", "assets.compute", "assets.datasources"
NAMES = (TEMPLATE, ENVIRONMENT, COMPUTE, DATA)
"""Names of the inputs: paths in the API's body, without `spec`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offers:
    """What can be chosen."""

    templates: tuple[Template, ...] = ()
    environments: tuple[Asset, ...] = ()
    computes: tuple[Asset, ...] = ()
    sources: tuple[Asset, ...] = ()


async def offers_of(door: Orchestrator, actor: Actor, kind: WorkloadType, project: Project) -> Offers:
    """Return the templates and assets that workloads of this type in this project may use, and the actor may see."""
    found = [
        await _usable(door, actor, kinds, kind, project)
        for kinds in ((AssetKind.ENVIRONMENT,), (AssetKind.COMPUTE,), DATA_SOURCES)
    ]
    try:
        templates = tuple(item for item in await door.templates.listed(actor, kind) if covers(item, project))
    except Forbidden:
        templates = ()
    return Offers(templates=templates, environments=found[0], computes=found[1], sources=found[2])


def section_of(offers: Offers, posted: Posted) -> Section:
    """Return the inputs for what there is to choose."""
    inputs = []
    shapes: tuple[tuple[str, str, Sequence[Template | Asset], str], ...] = (
        (TEMPLATE, "Template", offers.templates, "Fields that you leave as they are take its values."),
        (ENVIRONMENT, "Environment", offers.environments, "Gives image, command and tools; what you write wins."),
        (COMPUTE, "Compute resource", offers.computes, "Gives GPUs, CPU and memory; what you write wins."),
    )
    for name, label, items, text in shapes:
        if items:
            options = tuple(Option(item.meta.uid, _title(item)) for item in items)
            value = text_of(posted, name)
            inputs.append(Input(name=name, label=label, widget=Widget.SELECT, value=value, options=options, help=text))
    if offers.sources:
        options = tuple(Option(item.meta.uid, f"{_title(item)} ({item.kind.value})") for item in offers.sources)
        inputs.append(
            Input(name=DATA, label="Data sources", widget=Widget.MANY, chosen=texts_of(posted, DATA), options=options)
        )
    return Section(title="Start from", inputs=tuple(inputs))


def add_to(body: dict[str, Any], posted: Posted) -> None:
    """Put what was chosen into the API's body."""
    chosen: dict[str, Any] = {
        name.rpartition(".")[2]: text_of(posted, name) for name in (ENVIRONMENT, COMPUTE) if text_of(posted, name)
    }
    sources = texts_of(posted, DATA)
    if sources:
        chosen["datasources"] = [{"id": uid} for uid in sources]
    if chosen:
        body["spec"] = {**body["spec"], "assets": chosen}
    if text_of(posted, TEMPLATE):
        body[TEMPLATE] = text_of(posted, TEMPLATE)


async def _usable(
    door: Orchestrator, actor: Actor, kinds: Sequence[AssetKind], of: WorkloadType, project: Project
) -> tuple[Asset, ...]:
    try:
        listed = await door.assets.listed(actor, kinds)
    except Forbidden:
        return ()
    word = of.value.lower()
    return tuple(item for item in listed if covers(item, project) and getattr(item.supported, word, None) is not False)


def _title(item: Template | Asset) -> str:
    return f"{item.title}: {item.description}" if item.description else item.title
