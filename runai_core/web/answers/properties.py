"""Priorities, categories and types of workloads, as the API shows them."""

from runai_core.web.answers.base import Answer


class PriorityItem(Answer):
    """A priority class of workloads."""

    id: str
    name: str
    value: int
    source: str = "system"
    aggregated_phase: str = "Ready"


class PriorityList(Answer):
    """All priority classes."""

    priorities: tuple[PriorityItem, ...]


class CategoryItem(Answer):
    """A category of workloads."""

    id: str
    name: str
    description: str


class CategoryList(Answer):
    """All categories."""

    categories: tuple[CategoryItem, ...]


class TypeItem(Answer):
    """A type of workloads."""

    id: str
    name: str
    group: str
    category_id: str
    category_name: str
    priority_id: str
    priority_name: str


class TypeList(Answer):
    """All types."""

    types: tuple[TypeItem, ...]


class RankItem(Answer):
    """A rank of queues."""

    name: str
    value: int
    is_default: bool


class RankList(Answer):
    """All ranks."""

    priorities: tuple[RankItem, ...]
