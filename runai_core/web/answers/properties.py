"""Priorities, categories and types of workloads, as the API shows them."""

from typing import Annotated, Any

from pydantic import Field

from runai_core.web.answers.base import OURS, Answer, Condition


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


class InterfaceItem(Answer):
    """What was taught of one version of a kind."""

    version: str
    resource_interface: dict[str, Any]


class TypeStatus(Answer):
    """What a cluster makes of one version of a kind."""

    phase: Annotated[str, Field(description="Ready or Failed.")]
    conditions: tuple[Condition, ...]
    version: str
    cluster_id: str
    updated_at: str


class TypeItem(Answer):
    """A type of workloads."""

    id: str
    name: str
    group: str
    category_id: str
    category_name: str
    priority_id: str
    priority_name: str
    source: Annotated[str, Field(description=f"native, plugin or taught. {OURS}")] = "native"
    created_at: str | None = None
    created_by: str | None = None
    updated_at: str | None = None
    updated_by: str | None = None
    resource_interfaces: tuple[InterfaceItem, ...] = ()
    cluster_statuses: tuple[TypeStatus, ...] = ()


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
