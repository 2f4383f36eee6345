"""Who may do what: the rights of our processes and of the people in projects, from tables and from the kinds.

No rule uses ``*``. What a process needs of the kinds of plug-ins is generated
from the kinds that are installed, so that a plug-in that is not there asks for
nothing. `docs/kubernetes.md` shows the same tables.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runai_core.backends.kubernetes import resources
from runai_core.backends.kubernetes.names import RESERVATION_NAMESPACE, SYSTEM_NAMESPACE
from runai_core.backends.kubernetes.resources import Resource
from runai_core.operator.install.crds import DEFINITIONS
from runai_core.operator.install.names import (
    COMPONENTS,
    PROJECT_ROLES,
    PROJECT_SECRETS_ROLE,
    WEBHOOK_CONFIGURATION,
    Component,
    account_of,
    labels_of,
)  # fmt: skip
from runai_core.plugins.types import RbacRule, WorkloadKind

Manifest = dict[str, Any]

READ = ("get", "list", "watch")
MAKE = ("create", "delete", "patch")
CHANGE = ("patch", "update")
ALL = (*READ, "create", "delete", "patch", "update")


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """What may be done with some resources of one group, and why it is needed."""

    group: str = ""
    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    names: tuple[str, ...] = ()  # only these objects
    reason: str = ""

    def rule(self) -> Manifest:
        """Return the rule of a Role."""
        named = {"resourceNames": list(self.names)} if self.names else {}
        return {"apiGroups": [self.group], "resources": list(self.resources), **named, "verbs": list(self.verbs)}


def right(item: Resource, verbs: Iterable[str], reason: str, *, sub: str = "") -> Right:
    """Return a right on one kind, or on a subresource of it."""
    name = f"{item.plural}/{sub}" if sub else item.plural
    return Right(group=item.group, resources=(name,), verbs=tuple(verbs), reason=reason)


_OWN = tuple(definition.resource for definition in DEFINITIONS)
_WORKLOADS = tuple(item for item in _OWN if item.group == "run.ai" and item.kind.endswith("Workload"))


def _own(verbs: Iterable[str], reason: str, *, sub: str = "", of: Sequence[Resource] = _OWN) -> tuple[Right, ...]:
    """Return rights on our custom resources, one for each group."""
    groups: dict[str, list[str]] = {}
    for item in of:
        groups.setdefault(item.group, []).append(f"{item.plural}/{sub}" if sub else item.plural)
    return tuple(
        Right(group=group, resources=tuple(names), verbs=tuple(verbs), reason=reason) for group, names in groups.items()
    )


_EVENTS = (
    right(resources.EVENTS, ("create", "patch"), "to say what happened"),
    Right(group="events.k8s.io", resources=("events",), verbs=("create", "patch"), reason="to say what happened"),
)

_WATCHED = (
    Right(resources=("pods", "nodes", "namespaces", "services"), verbs=READ, reason="to know what there is"),
    Right(
        resources=("persistentvolumeclaims", "persistentvolumes"), verbs=READ, reason="to place pods near their volumes"
    ),
    Right(group="storage.k8s.io", resources=("storageclasses", "csinodes", "csidrivers", "csistoragecapacities"),
          verbs=READ, reason="to place pods near their volumes"),
    right(resources.PRIORITY_CLASSES, READ, "to know priorities"),
    right(resources.PDBS, READ, "to respect disruption budgets"),
    Right(group="resource.k8s.io", resources=("resourceclaims", "resourceslices", "deviceclasses"), verbs=READ,
          reason="to place pods by their claims"),
    right(resources.JOBS, READ, "to know the owners of pods"),
    Right(group="apps", resources=("replicasets",), verbs=READ, reason="to know the owners of pods"),
)  # fmt: skip

SCHEDULER: tuple[Right, ...] = (
    *_WATCHED,
    *_own(READ, "to know workloads, queues and gangs"),
    *_EVENTS,
    right(resources.PODS, ("create",), "to bind pods", sub="binding"),
    right(resources.PODS, ("create",), "to evict pods, disruption budgets respected", sub="eviction"),
    right(resources.PODS, CHANGE, "to say on a pod why it waits", sub="status"),
    right(resources.PODS, ("patch", "delete"), "to note which part of a GPU a pod got, and to take a broken gang back"),
    right(resources.CONFIG_MAPS, ("get", "create", "patch"), "to tell a container its part of a GPU"),
    Right(
        resources=("persistentvolumeclaims", "persistentvolumes"),
        verbs=CHANGE,
        reason="to tell the provisioner the chosen node",
    ),
    right(resources.RESOURCE_CLAIMS, CHANGE, "to allocate claims"),
    right(resources.RESOURCE_CLAIMS, CHANGE, "to allocate claims", sub="status"),
    right(resources.POD_GROUPS, CHANGE, "to note when a gang started or broke"),
    *_own(CHANGE, "to keep status current", sub="status"),
)
"""What the scheduler may do."""

OPERATOR: tuple[Right, ...] = (
    *_WATCHED,
    *_own(ALL, "to keep workloads, projects, queues and gangs as they should be"),
    *_own(CHANGE, "to keep status current", sub="status"),
    *_own(("update",), "to own what is made for an object", sub="finalizers"),
    *_EVENTS,
    right(resources.PODS, (*MAKE, "update"), "to make the pods of workloads and mark those of others"),
    right(resources.PODS, ("create",), "to stop workloads", sub="eviction"),
    Right(resources=("services", "configmaps", "persistentvolumeclaims"), verbs=ALL,
          reason="to make what the pods of workloads need"),
    right(resources.DEPLOYMENTS, ("get", *MAKE), "to make the replicas of inference servers"),
    right(resources.KNATIVE_SERVICES, (*READ, *MAKE), "to have Knative scale inference servers, where it is installed"),
    right(resources.NAMESPACES, ("create", "patch", "update"), "to make the namespaces of projects"),
    right(resources.NODES, ("patch",), "to label the nodes of node pools"),
    right(resources.PODS, ("get",), "to show logs to a linked control plane", sub="log"),
    right(resources.PODS, ("create", "get"), "to open shells for a linked control plane", sub="exec"),
    right(resources.ROLE_BINDINGS, ALL, "to give people their rights in projects"),
    Right(group="rbac.authorization.k8s.io", resources=("clusterroles",), verbs=("bind",),
          names=(*PROJECT_ROLES, PROJECT_SECRETS_ROLE),
          reason="to give exactly these roles, and no others"),
    Right(group="admissionregistration.k8s.io",
          resources=("mutatingwebhookconfigurations", "validatingwebhookconfigurations"),
          verbs=("get", "patch", "update"), names=(WEBHOOK_CONFIGURATION,),
          reason="to keep the certificate authority of the webhooks current"),
)  # fmt: skip
"""What the operator may do."""

API: tuple[Right, ...] = (
    *_WATCHED,
    *_own(ALL, "to do what users ask, after their rights were checked"),
    *_own(CHANGE, "to stop, run and delete workloads", sub="status"),
    *_EVENTS,
    right(resources.EVENTS, READ, "to show what happened"),
    right(resources.CONFIG_MAPS, READ, "to show what workloads use"),
    right(resources.KNATIVE_SERVICES, READ, "to show servers that Knative scales"),
    right(resources.PODS, ("get",), "to show logs", sub="log"),
    Right(resources=("pods/exec", "pods/attach", "pods/portforward"), verbs=("create", "get"),
          reason="to open shells and ports of workloads"),
)  # fmt: skip
"""What the API server may do."""

PROJECT_SECRETS: tuple[Right, ...] = (
    right(
        resources.SECRETS,
        ("get", "list", "create", "patch", "delete"),
        "to give pods the credentials that they name, and those of an MPI workload keys for each other",
    ),
)
"""What the operator may do in the namespaces of projects besides: it binds this role to itself there."""

RIGHTS: Mapping[str, tuple[Right, ...]] = {"scheduler": SCHEDULER, "operator": OPERATOR, "api": API}
"""Component -> its rights in the whole cluster, besides those on the kinds of plug-ins."""

HOME = ""
"""Stands for the namespace that we are installed in."""

_LEASE = right(resources.LEASES, ("get", "create", "update", "patch"), "to agree on who leads")
_SECRETS = right(resources.SECRETS, ("get", "create", "update", "patch"), "to keep certificates and the identity")
_RESERVATIONS = (
    right(resources.PODS, ALL, "to hold GPUs that are shared"),
    right(resources.PODS, ("get",), "to learn which device a reservation pod holds", sub="log"),
    right(resources.POD_TEMPLATES, ("get",), "to know what reservation pods run"),
)

LOCAL_RIGHTS: Mapping[str, Mapping[str, tuple[Right, ...]]] = {
    "scheduler": {SYSTEM_NAMESPACE: (_LEASE,), RESERVATION_NAMESPACE: _RESERVATIONS},
    "operator": {
        SYSTEM_NAMESPACE: (_LEASE,),
        HOME: (
            right(resources.SECRETS, ("get", "create", "update", "patch"), "to keep certificates and the identity"),
        ),
        RESERVATION_NAMESPACE: _RESERVATIONS,
    },
    "api": {SYSTEM_NAMESPACE: (_LEASE,)},
}
"""Component -> namespace -> further rights there."""

_KIND_VERBS: Mapping[str, tuple[str, ...]] = {
    "scheduler": READ,
    "operator": (*READ, "patch", "delete"),
    "api": (*READ, "create", "patch", "delete"),
}
"""Component -> what it may do with every kind that counts as a workload."""

_PROJECT_READ = (
    *_own(READ, "", of=(*_WORKLOADS, resources.POD_GROUPS)),
    *_own(READ, "", of=resources.POLICIES),
    Right(resources=("pods", "services", "events", "configmaps", "persistentvolumeclaims"), verbs=READ),
    Right(resources=("pods/log",), verbs=("get",)),
)

_PROJECT_WORK = (
    *_PROJECT_READ,
    *_own(ALL, "", of=_WORKLOADS),
    Right(resources=("pods",), verbs=("create", "delete", "patch")),
    Right(resources=("pods/exec", "pods/attach", "pods/portforward"), verbs=("create", "get")),
    Right(resources=("services", "configmaps", "secrets", "persistentvolumeclaims"), verbs=ALL),
)

PEOPLE: Mapping[str, tuple[Right, ...]] = {
    "runai-project-administrator": (*_PROJECT_WORK, *_own(ALL, "", of=resources.POLICIES)),
    "runai-project-researcher": _PROJECT_WORK,
    "runai-project-viewer": _PROJECT_READ,
}
"""Cluster role -> rights of people, given in the namespaces of their projects."""

_PEOPLE_KINDS: Mapping[str, tuple[str, ...]] = {
    "runai-project-administrator": (*READ, "create", "patch", "delete"),
    "runai-project-researcher": (*READ, "create", "patch", "delete"),
    "runai-project-viewer": READ,
}


def roles(kinds: Sequence[WorkloadKind], home: str) -> list[Manifest]:
    """Return all roles and bindings, with rights on the kinds that are installed; `home` is our namespace."""
    found = []
    for component in COMPONENTS:
        rights = (*RIGHTS[component.name], *kind_rights(kinds, _KIND_VERBS[component.name]))
        found += [_cluster_role(account_of(component), component.name, rights), _cluster_binding(component, home)]
        for where, local in LOCAL_RIGHTS[component.name].items():
            name = account_of(component) + ("-leases" if where == SYSTEM_NAMESPACE else "")
            named = (name, component.name, where or home)
            found.append({**_named("Role", *named), "rules": [item.rule() for item in local]})
            found.append(_bound(_named("RoleBinding", *named), "Role", name, component, home))
    found.append(_cluster_role(PROJECT_SECRETS_ROLE, "operator", PROJECT_SECRETS))
    for name, rights in PEOPLE.items():
        found.append(_cluster_role(name, "projects", (*rights, *kind_rights(kinds, _PEOPLE_KINDS[name]))))
    return found


def kind_rights(kinds: Sequence[WorkloadKind], verbs: tuple[str, ...]) -> list[Right]:
    """Return the rights on every kind that is not ours, and those that its plug-in asks for, one for each group."""
    groups: dict[tuple[str, tuple[str, ...]], set[str]] = {}
    writes = set(verbs) - set(READ)
    for kind in kinds:
        group = kind.api_version.rpartition("/")[0]
        if group != "run.ai" and not (not group and kind.kind == "Pod"):
            groups.setdefault((group, verbs), set()).add(kind.resource)
        for rule in kind.rbac:
            _add(groups, rule, writes=bool(writes))
    return [
        Right(group=group, resources=tuple(sorted(names)), verbs=allowed, reason="workloads of plug-ins")
        for (group, allowed), names in sorted(groups.items())
    ]


def _add(groups: dict[tuple[str, tuple[str, ...]], set[str]], rule: RbacRule, *, writes: bool) -> None:
    allowed = tuple(verb for verb in rule.verbs if writes or verb in READ)
    for group in rule.api_groups:
        if allowed:
            groups.setdefault((group, allowed), set()).update(rule.resources)


def _named(kind: str, name: str, component: str, namespace: str = "") -> Manifest:
    where = {"namespace": namespace} if namespace else {}
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": name, **where, "labels": labels_of(component)},
    }


def _cluster_role(name: str, component: str, rights: Iterable[Right]) -> Manifest:
    return {**_named("ClusterRole", name, component), "rules": [item.rule() for item in rights]}


def _cluster_binding(component: Component, home: str) -> Manifest:
    account = account_of(component)
    return _bound(_named("ClusterRoleBinding", account, component.name), "ClusterRole", account, component, home)


def _bound(named: Manifest, kind: str, role: str, component: Component, home: str) -> Manifest:
    return {
        **named,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": account_of(component), "namespace": home}],
    }
