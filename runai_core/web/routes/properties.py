"""Properties of workloads: priorities and categories; and the ranks of queues."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from runai_core.model.errors import NotFound
from runai_core.model.organization import DEFAULT_QUEUE_PRIORITY
from runai_core.model.workload import PRIORITIES
from runai_core.service.kinds import CATEGORIES
from runai_core.web.answers.properties import (
    CategoryItem,
    CategoryList,
    PriorityItem,
    PriorityList,
    RankItem,
    RankList,
)
from runai_core.web.views.kinds import identity
from runai_core.web.views.organization import RANKS

router = APIRouter(prefix="/api/v1", tags=["workload properties"])

OLDER = frozenset({"train", "interactive-preemptible", "build-preemptible", "build", "inference"})
"""Classes of the older product line: accepted, but not offered."""


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
