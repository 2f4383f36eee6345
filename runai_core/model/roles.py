"""Roles: which role may do what to which kind of thing (Run:ai docs 2.25, table of roles and permissions).

The table is read as it is printed: A is create, read, update and delete, R is
read, a dot is nothing. What the documents call an entity is one or several
resource types of the API. Besides these roles there are those that
administrators make, from permission sets or right by right.
"""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from runai_core.model.meta import WIRE, Meta
from runai_core.model.organization import Action, Grant
from runai_core.model.workload import WorkloadType

ADMINISTRATOR = "System administrator"

ALL = frozenset(Action)
READ = frozenset({Action.READ})
NONE: frozenset[Action] = frozenset()

_LETTERS: Mapping[str, frozenset[Action]] = {"A": ALL, "R": READ, "·": NONE}

COLUMNS = (
    ADMINISTRATOR,
    "Department administrator",
    "Department viewer",
    "Project administrator",
    "Editor",
    "AI practitioner",
    "Data administrator",
    "Viewer",
    "L1 researcher",
    "L2 researcher",
    "ML engineer",
    "Research manager",
)

ENTITIES: Mapping[str, tuple[tuple[str, ...], str]] = {
    "Account": (("tenant",), "R R R R R R R R R R R R"),
    "Branding settings": (("branding-settings",), "A R R · R · · R R R R R"),
    "Departments": (("department",), "A R R R A R R R · · R R"),
    "Event history": (("events-history",), "R · · · · · · · · · · ·"),
    "Network topologies": (("network-topologies",), "A R · · R · · R R R R ·"),
    "Policies": (("policies",), "A A R A A R · R R R R R"),
    "Projects": (("project",), "A A R R A R R R R R R A"),
    "Security settings": (("security-settings",), "A R R R R · · R R R R R"),
    "Settings": (("settings",), "A R R R R R R R R R R R"),
    "Clusters": (("cluster-config",), "A · R · R · · R R R R R"),
    "Clusters minimal": (("cluster",), "R R R R R R R R R R R R"),
    "Node pools": (("nodepools",), "A R · · R · · R R R R R"),
    "Node pools minimal": (("nodepools",), "R R R R R R R R R R R R"),
    "Nodes": (("nodes",), "R R · · R · · R · · R ·"),
    "Access rules": (("access_rules",), "A A · A A · · · · · · A"),
    "Applications": (("apps",), "A A · R R · · · · · · ·"),
    "Roles": (("roles",), "A R · R R · · · · · · R"),
    "Service accounts": (("service-account",), "A A · R R · · · · · · ·"),
    "Users": (("users",), "A A · · R · · · · · · ·"),
    "Inferences": (("inferences",), "A A R A A A R R R · A R"),
    "Trainings": (("trainings",), "A A R A A A R R A A · A"),
    "Workload properties": (("workload-properties",), "A R R R R R R R R R R R"),
    "Workloads": (("workloads", "jobs"), "A A R A A A R R A A A R"),
    "Workspaces": (("workspaces",), "A A R A A A R R A A R A"),
    "Compute resources": (("compute-resources",), "A A R A A A R R A R R A"),
    "Credentials": (("credentials",), "A A R A A A R R A R A R"),
    "Data sources": (
        (
            "git-assets",
            "host-path-assets",
            "nfs-assets",
            "s3-assets",
            "cm-volume-assets",
            "secret-volume-assets",
        ),
        "A A R A A A A R A R R A",
    ),
    "Data volumes": (("datavolumes",), "A A R A A R A R R R R A"),
    "Environments": (("environments",), "A A R A A A R R A R R A"),
    "PVC": (("pvc-assets",), "A A R A A R A R A R R A"),
    "Registries": (("registries",), "A A R A A A R R R R R R"),
    "Storage class configurations": (("storage-class-configuration",), "A A R A A R A R R R R R"),
    "Templates": (("templates",), "A A R A A A R R A R R A"),
    # Not in the printed table; decided here: numbers about what one may see, and the keys of other people.
    "Dashboards": (
        ("dashboards-overview", "dashboards-analytics", "dashboards-consumption"),
        "A R R R R R R R R R R R",
    ),
    "Scrapeable metrics": (("scrapeable-metrics",), "R R R · R · · R · · · ·"),
    "Access keys": (("access-keys",), "A · · · · · · · · · · ·"),
}
"""Entity of the documents -> (resource types of the API, one letter for each of `COLUMNS`)."""

SINGLE_PURPOSE: Mapping[str, tuple[str, ...]] = {
    "Compute resource administrator": ("Compute resources",),
    "Credentials administrator": ("Credentials",),
    "Data source administrator": ("Data sources", "PVC"),
    "Data volume administrator": ("Data volumes",),
    "Environment administrator": ("Environments",),
    "Template administrator": ("Templates",),
}
"""Legacy role -> the entities that it is for."""

BLIND_TO_CREDENTIALS = frozenset(
    {"Compute resource administrator", "Environment administrator", "Template administrator"}
)

SEEN_BY_SINGLE_PURPOSE = (
    "Account",
    "Departments",
    "Projects",
    "Settings",
    "Clusters minimal",
    "Node pools minimal",
    "Policies",
    "Workload properties",
    "Workloads",
    "Workspaces",
    "Trainings",
    "Compute resources",
    "Credentials",
    "Data sources",
    "Data volumes",
    "Environments",
    "PVC",
    "Registries",
    "Storage class configurations",
    "Templates",
    "Dashboards",
)

ALIASES: Mapping[str, str] = {
    "projects": "project",
    "departments": "department",
    "clusters": "cluster",
    "cluster-agents": "cluster-config",
    "node-pools": "nodepools",
    "access-rules": "access_rules",
    "service-accounts": "service-account",
    "applications": "apps",
    "data-volumes": "datavolumes",
    "pvc": "pvc-assets",
    "storage-classes": "storage-class-configuration",
    "compute": "compute-resources",
    "audit": "events-history",
    "reports": "dashboards-consumption",
    "metrics": "dashboards-analytics",
    "plugins": "settings",
    "notifications": "settings",
    "account": "tenant",
}
"""Other names for resource types, as services and pages use them."""

OLD_NAMES: Mapping[str, str] = {
    "Administrator": ADMINISTRATOR,
    "admin": ADMINISTRATOR,
    "Department Administrator": "Department administrator",
    "department_admin": "Department administrator",
    "Researcher": "L1 researcher",
    "researcher": "L1 researcher",
    "editor": "Editor",
    "viewer": "Viewer",
    "Research Manager": "Research manager",
    "research_manager": "Research manager",
    "ML Engineer": "ML engineer",
    "ml_engineer": "ML engineer",
}
"""Names of the first versions of the API -> today's."""

TYPES: tuple[str, ...] = tuple(dict.fromkeys(kind for kinds, _ in ENTITIES.values() for kind in kinds))
"""Every resource type."""

GROUPS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("department", "tenant", "project", "policies", "settings"), "organization"),
        **dict.fromkeys(("security-settings", "branding-settings", "events-history"), "organization"),
        **dict.fromkeys(("cluster", "cluster-config", "nodepools", "nodes", "network-topologies"), "physical-resource"),
        **dict.fromkeys(("users", "apps", "service-account", "roles", "access_rules", "access-keys"), "iam"),
        **dict.fromkeys(
            ("jobs", "workloads", "workspaces", "trainings", "inferences", "workload-properties"), "workload"
        ),
        **dict.fromkeys(
            ("dashboards-overview", "dashboards-analytics", "dashboards-consumption", "scrapeable-metrics"), "dashboard"
        ),
    }
)
"""Resource type -> its group in the API; all others are assets of workloads."""

UNSCOPED = frozenset({"users", "apps", "service-account"})
"""Accounts lie in no department or project: who may create some in one place creates them for the whole tenant."""


Rights = Mapping[str, frozenset[Action]]
"""Resource type -> what may be done to such things; types to which nothing may be done are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomRole:
    """A role that an administrator made. Its name is the role's; `rights` are those that no permission set brings."""

    __pydantic_config__ = WIRE
    meta: Meta
    number: int  # the API's id of the role
    description: str = ""
    enabled: bool = True  # one that is not gives nothing
    permission_sets: tuple[str, ...] = ()  # ids
    rights: Mapping[str, tuple[Action, ...]] = field(default_factory=dict)
    cluster_role: str = ""  # name of the role of the program whose rights in a cluster it has; empty: none


@dataclass(frozen=True, slots=True, kw_only=True)
class PermissionSet:
    """Rights that belong together: what custom roles are made of (Run:ai API: permission set)."""

    id: str
    name: str
    description: str
    rights: Rights


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """A set of rights that access rules give. `rights` has the resource types in which there are any."""

    id: int
    name: str
    rights: Rights
    legacy: bool = False
    made: CustomRole | None = None  # None: it is one of the program's own

    @property
    def description(self) -> str:
        """What the role is for, in one sentence."""
        if self.made is not None and self.made.description:
            return self.made.description
        changed = [kind for kind, actions in self.rights.items() if actions == ALL]
        return f"May change {', '.join(changed)}." if changed else "May look, and change nothing."

    @property
    def enabled(self) -> bool:
        """Whether it gives its rights."""
        return self.made is None or self.made.enabled

    @property
    def cluster_role(self) -> str:
        """Name of the role of the program that says what may be done in the cluster itself; empty: nothing."""
        return self.name if self.made is None else self.made.cluster_role


def resource_type(name: str) -> str:
    """Return the API's name of a resource type."""
    return ALIASES.get(name, name)


WORKLOADS: Mapping[WorkloadType, str] = {
    WorkloadType.WORKSPACE: "workspaces",
    WorkloadType.TRAINING: "trainings",
    WorkloadType.DISTRIBUTED: "trainings",
    WorkloadType.INFERENCE: "inferences",
    WorkloadType.DISTRIBUTED_INFERENCE: "inferences",
}
"""Type of workload -> its resource type; all others are workloads."""


def resource_of(kind: WorkloadType) -> str:
    """Return the resource type of workloads of a type."""
    return WORKLOADS.get(kind, "workloads")


def role_named(ref: str) -> Role | None:
    """Return the program's role of a name of today or of the first versions, or of an id; None where there is none."""
    return BY_NAME.get(OLD_NAMES.get(ref, ref)) or _BY_NUMBER.get(ref)


def rights_of(role: str, resource: str) -> frozenset[Action]:
    """Return what a role may do to a kind of thing. What the table does not know is for system administrators."""
    kind, found = resource_type(resource), role_named(role)
    if found is None:
        return NONE
    if kind not in TYPES:
        return ALL if found.name == ADMINISTRATOR else NONE
    return found.rights.get(kind, NONE)


def granted(grant: Grant, resource: str) -> frozenset[Action]:
    """Return what a grant allows to do to a kind of thing, in its scope."""
    if grant.rights is None:
        return rights_of(grant.role, resource)
    return grant.rights.get(resource_type(resource), NONE)


def joined(parts: Iterable[Mapping[str, Iterable[Action]]]) -> Rights:
    """Return all rights of several sets together."""
    rights: dict[str, frozenset[Action]] = {}
    for part in parts:
        for kind, actions in part.items():
            rights[kind] = rights.get(kind, NONE) | frozenset(actions)
    return {kind: actions for kind, actions in rights.items() if actions}


def role_of(made: CustomRole) -> Role:
    """Return a role that somebody made, with all of its rights; a set that there is no longer brings none."""
    sets = [PERMISSION_SETS[ref].rights for ref in made.permission_sets if ref in PERMISSION_SETS]
    return Role(id=made.number, name=made.meta.name, rights=joined([*sets, made.rights]), made=made)


def given_by(role: Role) -> Rights:
    """Return all that a role gives: its rights, and those of the role that it is in a cluster."""
    in_cluster = role_named(role.cluster_role)
    return role.rights if in_cluster is None else joined((role.rights, in_cluster.rights))


def _column(index: int) -> dict[str, frozenset[Action]]:
    return dict(
        joined({kind: _LETTERS[letters.split()[index]] for kind in kinds} for kinds, letters in ENTITIES.values())
    )


def _single_purpose(name: str, own: tuple[str, ...]) -> dict[str, frozenset[Action]]:
    seen = [entity for entity in SEEN_BY_SINGLE_PURPOSE if entity != "Credentials" or name not in BLIND_TO_CREDENTIALS]
    rights = {kind: READ for entity in seen for kind in ENTITIES[entity][0]}
    return rights | {kind: ALL for entity in own for kind in ENTITIES[entity][0]}


def _all_roles() -> tuple[Role, ...]:
    found = [(name, _column(index), name.startswith(("L1", "L2", "ML ", "Res"))) for index, name in enumerate(COLUMNS)]
    found += [(name, _single_purpose(name, own), True) for name, own in SINGLE_PURPOSE.items()]
    department = _column(COLUMNS.index("Department administrator"))
    found.append(("Department administrator (Legacy)", department | {"cluster-config": READ}, True))
    return tuple(
        Role(id=number, name=name, rights=MappingProxyType(rights), legacy=legacy)
        for number, (name, rights, legacy) in enumerate(found, start=1)
    )


ROLES: tuple[Role, ...] = _all_roles()
"""All roles; an id is for good, so new ones come last."""

BY_NAME: Mapping[str, Role] = MappingProxyType({role.name: role for role in ROLES})
_BY_NUMBER: Mapping[str, Role] = MappingProxyType({str(role.id): role for role in ROLES})

MOST: Rights = BY_NAME[ADMINISTRATOR].rights
"""What can be done at all: no role may have more."""


def _permission_sets() -> dict[str, PermissionSet]:
    """Return two sets for each entity, to view and to manage its things; ids are for good, as the names are."""
    found: dict[str, PermissionSet] = {}
    for entity, (kinds, letters) in ENTITIES.items():
        for verb, actions in (("View", READ), ("Manage", _LETTERS[letters[0]])):
            rights = dict.fromkeys(kinds, actions)
            if any(rights == known.rights for known in found.values()):
                continue  # nothing is there to manage, or the entity is another only by name
            name = f"{verb} {entity if entity.isupper() else entity.lower()}"
            ref = str(uuid.uuid5(uuid.NAMESPACE_OID, f"runai permission set: {name}"))
            said = ", ".join(action.value for action in Action if action in actions)
            description = f"{said.capitalize()}: {', '.join(kinds)}."
            found[ref] = PermissionSet(id=ref, name=name, description=description, rights=MappingProxyType(rights))
    return found


PERMISSION_SETS: Mapping[str, PermissionSet] = MappingProxyType(_permission_sets())
"""Id -> permission set."""
