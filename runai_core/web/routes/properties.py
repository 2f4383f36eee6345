"""Properties of workloads: priorities, categories, types; and the ranks of queues."""

import uuid
from typing import Annotated, Literal

from fastapi import APIRouter, Query

from runai_core.model.errors import NotFound
from runai_core.model.organization import DEFAULT_QUEUE_PRIORITY
from runai_core.model.workload import PRIORITIES, TYPE_DEFAULTS, WorkloadType
from runai_core.web.answers.properties import (
    CategoryItem,
    CategoryList,
    PriorityItem,
    PriorityList,
    RankItem,
    RankList,
    TypeItem,
    TypeList,
)
from runai_core.web.context import Door
from runai_core.web.views.organization import RANKS

router = APIRouter(prefix="/api/v1", tags=["workload properties"])

SPACE = uuid.UUID("6f9c1f0e-53f5-5c3c-9b5e-0d3f2a7c8e11")
"""Name space of the ids of priorities, categories and types: the same in every installation."""

OLDER = frozenset({"train", "interactive-preemptible", "build-preemptible", "build", "inference"})
"""Classes of the older product line: accepted, but not offered."""

CATEGORIES = {
    "Build": "Interactive work: workspaces.",
    "Train": "Work that ends: trainings, also distributed ones.",
    "Deploy": "Work that serves: inference.",
}


def identity(kind: str, name: str) -> str:
    """Return the stable id of a priority, category or type."""
    return str(uuid.uuid5(SPACE, f"{kind}/{name}"))


@router.get("/workload-priorities", summary="List priority classes of workloads")
async def list_priorities(
    sort_order: Annotated[Literal["asc", "desc"], Query(alias="sortOrder")] = "asc",
    sort_by: Annotated[Literal["name", "value"], Query(alias="sortBy")] = "value",
) -> PriorityList:
    """From 100 on, workloads are not preemptible unless they say so."""
    items = [
        PriorityItem(id=identity("priority", name), name=name, value=value)
        for name, value in PRIORITIES.items()
        if name not in OLDER
    ]
    items.sort(key=lambda item: (getattr(item, sort_by), item.name), reverse=sort_order == "desc")
    return PriorityList(priorities=tuple(items))


@router.get("/workload-categories", summary="List categories of workloads")
async def list_categories() -> CategoryList:
    """What the work is for."""
    return CategoryList(categories=_categories())


@router.get("/workload-categories/{category_id}", summary="Get a category of workloads")
async def get_category(category_id: str) -> CategoryItem:
    """By id or by name."""
    for item in _categories():
        if category_id in (item.id, item.name):
            return item
    raise NotFound(f"there is no category {category_id[:80]}; there are: {', '.join(CATEGORIES)}")


@router.get("/workload-types", summary="List types of workloads")
async def list_types(
    door: Door,
    external_only: Annotated[bool, Query(alias="externalTypesOnly")] = False,  # noqa: FBT002
) -> TypeList:
    """The native types, and the kinds that plug-ins bring."""
    return TypeList(types=_external(door) if external_only else (*_native(), *_external(door)))


@router.get("/workload-types/{workload_type_id}", summary="Get a type of workloads")
async def get_type(workload_type_id: str, door: Door) -> TypeItem:
    """By id or by name."""
    for item in (*_native(), *_external(door)):
        if workload_type_id in (item.id, item.name):
            return item
    raise NotFound(f"there is no workload type {workload_type_id[:80]}; see /api/v1/workload-types")


@router.get("/org-unit/priorities", summary="List ranks of queues", tags=["projects"])
async def list_ranks() -> RankList:
    """What `resources[].priority` of a project or department may be."""
    items = (
        RankItem(name=name, value=value, is_default=value == DEFAULT_QUEUE_PRIORITY) for name, value in RANKS.items()
    )
    return RankList(priorities=tuple(items))


def _categories() -> tuple[CategoryItem, ...]:
    return tuple(
        CategoryItem(id=identity("category", name), name=name, description=text) for name, text in CATEGORIES.items()
    )


def _native() -> tuple[TypeItem, ...]:
    return tuple(
        _type(kind.value, "run.ai", defaults.category, defaults.priority_class)
        for kind, defaults in TYPE_DEFAULTS.items()
        if kind is not WorkloadType.EXTERNAL
    )


def _external(door: Door) -> tuple[TypeItem, ...]:
    defaults = TYPE_DEFAULTS[WorkloadType.EXTERNAL]
    return tuple(
        _type(kind.kind, kind.api_version.partition("/")[0], defaults.category, defaults.priority_class)
        for kind in door.plugins.kinds.values()
        if kind.workload_type is WorkloadType.EXTERNAL
    )


def _type(name: str, group: str, category: str, priority: str) -> TypeItem:
    return TypeItem(
        id=identity("type", f"{group}/{name}"),
        name=name,
        group=group,
        category_id=identity("category", category),
        category_name=category,
        priority_id=identity("priority", priority),
        priority_name=priority,
    )
