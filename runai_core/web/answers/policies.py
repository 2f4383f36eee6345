"""Policies, as the API shows them."""

from typing import Annotated, Any

from pydantic import Field

from runai_core.web.answers.base import OURS, Answer, FieldErrorItem


class PolicyMetaItem(Answer):
    """Scope and author of a policy."""

    id: str
    tenant_id: int
    name: str
    scope: str
    project_id: str | None
    department_id: str | None
    cluster_id: str | None
    created_by: str
    created_at: str
    updated_by: str
    updated_at: str


class PolicyItem(Answer):
    """A policy as its author wrote it."""

    type: str
    meta: PolicyMetaItem
    policy: dict[str, Any]
    scope_name: Annotated[str, Field(description=f"Name of the project or department. {OURS}")]
    effective: Annotated[dict[str, Any] | None, Field(description="After merging the scopes above.")] = None
    effective_updated_at: str | None = None


class PolicyListEntry(Answer):
    """One policy in a list."""

    type: str
    meta: PolicyMetaItem
    status: dict[str, Any] = Field(default_factory=dict)
    policy: Annotated[dict[str, Any], Field(description=OURS)]
    scope_name: Annotated[str, Field(description=f"Name of the project or department. {OURS}")]


class PolicyList(Answer):
    """All policies that match."""

    policies: tuple[PolicyListEntry, ...]


class PolicyCheckAnswer(Answer):
    """What is wrong with a policy; nothing if it is valid."""

    valid: bool
    errors: tuple[FieldErrorItem, ...]
