"""What the API answers about roles and what they are made of."""

from typing import Annotated

from pydantic import Field

from runai_core.web.answers.base import OURS, Answer


class PermissionItem(Answer):
    """A type of things, and what can be done to them."""

    resource_type: str
    display_name: str
    group_id: str
    actions: tuple[str, ...]


class SetPermission(Answer):
    """What a permission set allows to do to things of a type."""

    resource_type: str
    actions: tuple[str, ...]


class PermissionSetItem(Answer):
    """Rights that belong together."""

    id: str
    name: str
    description: str
    permissions: tuple[SetPermission, ...]


class PermissionSetList(Answer):
    """What roles are made of."""

    permission_sets: tuple[PermissionSetItem, ...]


class RoleSet(Answer):
    """A permission set that a role has."""

    id: str
    name: str


class KubernetesPermissions(Answer):
    """What a role may do in the cluster itself: that of a role of the program."""

    predefined_role: Annotated[str | None, Field(description="Its id.")]


class RoleItem(Answer):
    """A role."""

    id: int
    name: str
    description: str
    enabled: bool
    custom: bool
    effective_enabled: bool
    created_by: str
    created_at: str
    updated_at: str
    deleted_at: str | None
    permissions: Annotated[tuple[PermissionItem, ...], Field(description="All that it may do.")]
    permission_sets: tuple[RoleSet, ...]
    kubernetes_permissions: KubernetesPermissions
    legacy: Annotated[bool, Field(description=OURS)]


class RoleList(Answer):
    """A part of the roles."""

    roles: tuple[RoleItem, ...]
    next: Annotated[int | None, Field(description="Offset of the next part; null at the end.")]
