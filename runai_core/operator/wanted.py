"""What departments, projects and node pools mean for a cluster: namespaces, queues, role bindings, labels. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runai_core.backends.kubernetes.names import (
    ENFORCE_LABEL,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    NODE_POOL_LABELS,
    QUEUE_LABELS,
)
from runai_core.backends.kubernetes.resources import QUEUES
from runai_core.model.nodes import DEFAULT_NODE_POOL, NodePool
from runai_core.model.organization import AccessRule, Department, Project, QueueResources, ResourceQuota
from runai_core.model.resources import MB, MILLI
from runai_core.operator.install.names import PROJECT_SECRETS_ROLE
from runai_core.operator.properties import queue_name

Object = dict[str, Any]

PROJECT_LABEL = "runai/project"
DEPARTMENT_LABEL = "runai/department"
"""Labels of a queue: whose it is (ours)."""

DEPARTMENT_QUEUE = "department."
"""Beginning of the name of a department's queue; no project's name has a dot (ours)."""

NO_LIMIT = -1

ADMINISTRATOR, RESEARCHER, VIEWER = (
    "runai-project-administrator",
    "runai-project-researcher",
    "runai-project-viewer",
)

CLUSTER_ROLES: Mapping[str, str] = {
    "system administrator": ADMINISTRATOR,
    "department administrator": ADMINISTRATOR,
    "project administrator": ADMINISTRATOR,
    "editor": ADMINISTRATOR,
    "admin": ADMINISTRATOR,
    "ai practitioner": RESEARCHER,
    "l1 researcher": RESEARCHER,
    "l2 researcher": RESEARCHER,
    "researcher": RESEARCHER,
    "ml engineer": RESEARCHER,
    "department viewer": VIEWER,
    "viewer": VIEWER,
    "data and storage administrator": VIEWER,
    "data administrator": VIEWER,
    "research manager": VIEWER,
}
"""Role of an access rule -> what it may do in the namespaces of projects, by its right on workloads (Run:ai 2.25)."""

_SUBJECTS: Mapping[str, str] = {"user": "User", "group": "Group", "app": "User", "service-account": "User"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Where the workloads of a project are, or why they are nowhere."""

    namespace: str
    exists: bool
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Units:
    """Everything that queues are made of."""

    departments: Sequence[Department] = ()
    projects: Sequence[Project] = ()
    pools: Sequence[NodePool] = ()


@dataclass(slots=True)
class WantedQueues:
    """The queues that should exist, by name, and what stands in the way, by project or department label."""

    queues: dict[str, Object] = field(default_factory=dict)
    problems: dict[tuple[str, str], str] = field(default_factory=dict)  # (label, name of the unit)


# -- namespaces


def place_of(project: Project, namespaces: Iterable[Mapping[str, Any]]) -> Placed:
    """Return the namespace of a project: one that is labelled with it, else the one that it names."""
    wanted = project.namespace or f"runai-{project.name}"
    named: Mapping[str, Any] | None = None
    labelled = []
    for item in namespaces:
        if item["metadata"]["name"] == wanted:
            named = item
        if queue_label(item) == project.name:
            labelled.append(str(item["metadata"]["name"]))
    if named is not None and queue_label(named) not in ("", project.name):
        problem = f"namespace {wanted} belongs to project {queue_label(named)} (its label {QUEUE_LABELS[0]} says so)"
        return Placed(namespace=wanted, exists=True, problem=problem)
    if wanted in labelled or not labelled:
        return Placed(namespace=wanted, exists=named is not None)
    return Placed(namespace=min(labelled), exists=True)


def queue_label(namespace: Mapping[str, Any]) -> str:
    """Return the project that a namespace is labelled with, or nothing."""
    labels = namespace["metadata"].get("labels") or {}
    return next((str(labels[name]) for name in QUEUE_LABELS if labels.get(name)), "")


def namespace_of(project: Project, placed: Placed, present: Mapping[str, Any] | None) -> Object | None:
    """Return the namespace as it must be applied, or None where it is right."""
    labels = {QUEUE_LABELS[0]: project.name}
    if not project.enforce_scheduler:
        labels[ENFORCE_LABEL] = "false"
    if not placed.exists:
        labels[MANAGED_BY_LABEL] = MANAGED_BY
    have = ((present or {}).get("metadata") or {}).get("labels") or {}
    relaxed = have.get(ENFORCE_LABEL) == "false"
    if present is not None and all(have.get(name) == value for name, value in labels.items()):
        if relaxed == (not project.enforce_scheduler):
            return None
        labels[ENFORCE_LABEL] = "true"
    if have.get(MANAGED_BY_LABEL) == MANAGED_BY:
        labels[MANAGED_BY_LABEL] = MANAGED_BY
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": placed.namespace, "labels": labels}}


# -- queues


def queues_of(units: Units) -> WantedQueues:
    """Return the queue of every department and project in every node pool."""
    found = WantedQueues()
    departments = {unit.name for unit in units.departments}
    for department in _oldest_first(units.departments):
        for pool in units.pools:
            _want(found, DEPARTMENT_LABEL, department, pool, parent="")
    for project in _oldest_first(units.projects):
        known = project.department in departments
        if not known:
            found.problems[PROJECT_LABEL, project.name] = f"there is no department {project.department}"
        for pool in units.pools:
            _want(found, PROJECT_LABEL, project, pool, parent=project.department if known else "")
    return found


def queue_of(label: str, name: str, pool: str) -> str:
    """Return the name of the queue of a project or department in a node pool."""
    return queue_name(DEPARTMENT_QUEUE + name if label == DEPARTMENT_LABEL else name, pool)


def queue_of_unit(unit: Department | Project, pool: str) -> str:
    """Return the same for the unit itself."""
    return queue_of(DEPARTMENT_LABEL if isinstance(unit, Department) else PROJECT_LABEL, unit.name, pool)


def _oldest_first(units: Iterable[Any]) -> list[Any]:
    return sorted(units, key=lambda unit: (unit.meta.created_at, unit.name))


def _want(found: WantedQueues, label: str, unit: Department | Project, pool: NodePool, *, parent: str) -> None:
    name = queue_of(label, unit.name, pool.name)
    if name in found.queues:
        owner = found.queues[name]["metadata"]["labels"]
        other = owner.get(PROJECT_LABEL) or owner.get(DEPARTMENT_LABEL)
        found.problems[label, unit.name] = (
            f"queue {name} of node pool {pool.name} is taken by {other}: rename one of the two"
        )
        return
    labels = {MANAGED_BY_LABEL: MANAGED_BY, label: unit.name}
    if pool.name != DEFAULT_NODE_POOL:
        labels[NODE_POOL_LABELS[0]] = pool.name
    spec: Object = {
        "displayName": unit.name,
        **({"parentQueue": queue_of(DEPARTMENT_LABEL, parent, pool.name)} if parent else {}),
        **_shares(unit.resources.get(pool.name, QueueResources())),
    }
    found.queues[name] = {
        "apiVersion": QUEUES.api_version,
        "kind": QUEUES.kind,
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
    }


def _shares(resources: QueueResources) -> Object:
    return {
        "priority": resources.priority,
        "resources": {
            "gpu": _share(resources.gpu, MILLI),
            "cpu": _share(resources.cpu, 1),
            "memory": _share(resources.memory, MB),
        },
    }


def _share(quota: ResourceQuota, unit: int) -> Object:
    return {
        "quota": _number(quota.deserved, unit),
        "limit": _number(quota.limit, unit),
        "overQuotaWeight": _plain(quota.over_quota_weight),
    }


def _number(amount: int | None, unit: int) -> int | float:
    return NO_LIMIT if amount is None else _plain(amount / unit)


def _plain(number: float) -> int | float:
    return int(number) if number == int(number) else number


# -- role bindings


def bindings_of(project: Project, namespace: str, rules: Iterable[AccessRule]) -> list[Object]:
    """Return the role bindings in a project's namespace that the access rules ask for, one for each cluster role."""
    subjects: dict[str, set[tuple[str, str]]] = {}
    for rule in rules:
        role = CLUSTER_ROLES.get(rule.role.strip().lower())
        if role is not None and covers(rule, project):
            subjects.setdefault(role, set()).add((_SUBJECTS.get(rule.subject_type, "User"), rule.subject))
    return [_binding(role, namespace, sorted(found)) for role, found in sorted(subjects.items())]


def own_binding(namespace: str, operator: str) -> Object:
    """Return the role binding by which the operator may work with the secrets of a project's namespace."""
    return _binding(PROJECT_SECRETS_ROLE, namespace, [("User", operator)])


def covers(rule: AccessRule, project: Project) -> bool:
    """Return whether an access rule holds in a project; departments and projects are named by name or id."""
    match rule.scope_type:
        case "project":
            return rule.scope in (project.name, project.meta.uid)
        case "department":
            return rule.scope == project.department
        case _:
            return True


def _binding(role: str, namespace: str, subjects: Sequence[tuple[str, str]]) -> Object:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": role, "namespace": namespace, "labels": {MANAGED_BY_LABEL: MANAGED_BY}},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": kind, "name": name, "apiGroup": "rbac.authorization.k8s.io"} for kind, name in subjects],
    }


# -- nodes


def node_label(node: Mapping[str, Any], pools: Iterable[NodePool]) -> str | None:
    """Return the node pool that a node's label must show, "" where it must go, None where it is right.

    A pool whose own label is this one needs nothing; a label that names no such pool is not ours to touch.
    """
    labels = node["metadata"].get("labels") or {}
    key = NODE_POOL_LABELS[0]
    marked = [pool for pool in pools if pool.label_key and pool.label_key != key]
    wanted = next((pool.name for pool in marked if labels.get(pool.label_key) == pool.label_value), None)
    present = labels.get(key)
    if wanted is not None:
        return None if present == wanted else wanted
    return "" if present in {pool.name for pool in marked} else None


def includes(present: Any, wanted: Any) -> bool:
    """Return whether an object has all that is wanted of it; it may have more."""
    if isinstance(wanted, Mapping):
        return isinstance(present, Mapping) and all(includes(present.get(name), part) for name, part in wanted.items())
    if isinstance(wanted, list):
        return (
            isinstance(present, list)
            and len(present) == len(wanted)
            and all(includes(one, other) for one, other in zip(present, wanted, strict=True))
        )
    return bool(present == wanted)
