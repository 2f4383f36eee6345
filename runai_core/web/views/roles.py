"""Roles and permissions as the API shows them."""

import re

from runai_core.model.organization import Action
from runai_core.model.roles import ENTITIES, GROUPS, PERMISSION_SETS, TYPES, PermissionSet, Rights, Role, role_named
from runai_core.web.answers import roles as answers
from runai_core.web.views.units import iso

EPOCH = "1970-01-01T00:00:00.000Z"
"""When the program's own roles were made: they came with it."""

EVERYTHING: Rights = dict.fromkeys(TYPES, frozenset(Action))


ABBREVIATIONS = {"Cm": "ConfigMap", "Nfs": "NFS", "Pvc": "PVC"}

TITLES = {types[0]: entity for entity, (types, _) in ENTITIES.items() if len(types) == 1} | {
    "cluster": "Clusters, names and states only",
    "events-history": "Audit log",
    "nodepools": "Node pools",
    "workloads": "Workloads",
}
"""Resource type -> what the documents call it, where a line of theirs is about it alone, or what pages call it."""


def type_name(kind: str) -> str:
    """Return a resource type as people read it."""
    first, *others = re.split("[-_]", kind.capitalize())
    return TITLES.get(kind) or " ".join([ABBREVIATIONS.get(first, first), *others])


def permission_items(rights: Rights = EVERYTHING) -> tuple[answers.PermissionItem, ...]:
    """Return what may be done to each type of things, in the order of the table; to all of them all that can be."""
    return tuple(
        answers.PermissionItem(
            resource_type=kind,
            display_name=type_name(kind),
            group_id=GROUPS.get(kind, "workload-asset"),
            actions=tuple(action.value for action in Action if action in rights[kind]),
        )
        for kind in TYPES
        if kind in rights
    )


def set_item(found: PermissionSet) -> answers.PermissionSetItem:
    """Return a permission set."""
    permissions = tuple(
        answers.SetPermission(resource_type=item.resource_type, actions=item.actions)
        for item in permission_items(found.rights)
    )
    return answers.PermissionSetItem(
        id=found.id, name=found.name, description=found.description, permissions=permissions
    )


def role_item(role: Role) -> answers.RoleItem:
    """Return a role with its permissions."""
    made = role.made
    in_cluster = role_named(role.cluster_role)
    sets = [PERMISSION_SETS[ref] for ref in made.permission_sets if ref in PERMISSION_SETS] if made else []
    return answers.RoleItem(
        id=role.id,
        name=role.name,
        description=role.description,
        enabled=role.enabled,
        custom=made is not None,
        effective_enabled=role.enabled,
        created_by=made.meta.created_by if made else "system",
        created_at=iso(made.meta.created_at) if made else EPOCH,
        updated_at=iso(made.meta.updated_at) if made else EPOCH,
        deleted_at=None,
        permissions=permission_items(role.rights),
        permission_sets=tuple(answers.RoleSet(id=item.id, name=item.name) for item in sets),
        kubernetes_permissions=answers.KubernetesPermissions(
            predefined_role=str(in_cluster.id) if in_cluster is not None else None
        ),
        legacy=role.legacy,
    )
