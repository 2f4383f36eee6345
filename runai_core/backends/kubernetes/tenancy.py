"""Which namespace is whose: projects and their namespaces, as they are now."""

from runai_core.backends.kubernetes.names import PROJECT_NAMESPACE, QUEUE_LABELS
from runai_core.backends.kubernetes.resources import NAMESPACES, PROJECTS
from runai_core.backends.kubernetes.world import World
from runai_core.model.nodes import DEFAULT_NODE_POOL

PREFIX = PROJECT_NAMESPACE.partition("{")[0]


def namespace_of(world: World, project: str) -> str:
    """Return the namespace of a project: where the operator put it, else as it says, else ``runai-<project>``."""
    item = world.crd(PROJECTS).get(project) or {}
    found = (item.get("status") or {}).get("namespace") or (item.get("spec") or {}).get("namespace")
    return str(found or PROJECT_NAMESPACE.format(project=project))


def project_of(world: World, namespace: str) -> str:
    """Return the project of a namespace: by its label, by who names it, by its name; empty if it has none."""
    item = world.crd(NAMESPACES).get(namespace)
    labels = ((item or {}).get("metadata") or {}).get("labels") or {}
    for label in QUEUE_LABELS:
        if labels.get(label):
            return str(labels[label])
    own = namespace.removeprefix(PREFIX) if namespace.startswith(PREFIX) else ""
    projects = world.crd(PROJECTS)
    if own and projects.get(own) is not None and namespace_of(world, own) == namespace:
        return own
    for project in projects.all():
        if (project.get("spec") or {}).get("namespace") == namespace:
            return str(project["metadata"]["name"])
    return own


def queue_name(project: str, pool: str) -> str:
    """Return the queue of a project in a node pool (KAI: ``<project>-<pool>``; the default pool adds nothing)."""
    return f"{project}-{pool}" if pool and pool != DEFAULT_NODE_POOL else project
