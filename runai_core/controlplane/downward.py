"""What a control plane tells a cluster: its organization, its rules, and what is wanted of its workloads."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar

from runai_core.controlplane.feeding import Feed
from runai_core.controlplane.projects import Projects
from runai_core.controlplane.store import TenantStore
from runai_core.model.clusters import CLUSTER, Cluster, Intent
from runai_core.model.nodes import NodePool
from runai_core.model.organization import AccessRule, Department, Project
from runai_core.model.workload import Policy, Workload

T = TypeVar("T")

ORGANIZATION: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (NodePool, Department, Project, Policy, AccessRule)
}
"""What clusters keep a copy of, by name; in the order in which one needs the other."""

KINDS: dict[str, type[Any]] = {**ORGANIZATION, Intent.__name__: Intent}
"""What a control plane tells."""


def downward_feeds(store: TenantStore, cluster: Cluster, projects: Projects) -> dict[str, Feed]:
    """Return what is told to a cluster, by kind."""
    uid = cluster.meta.uid

    async def project(item: Project) -> Project | None:
        if not await projects.owns(item):
            return None
        local = projects.local_name(item)
        return replace(item, meta=replace(item.meta, name=local), namespace=f"runai-{local}", cluster="")

    async def scoped(item: Any) -> Any:
        if item.scope_type == "cluster" and item.scope not in ("", uid, cluster.name):
            return None
        if item.scope_type == "project":
            found = await projects.inward(item.scope)
            name = item.meta.name if found == item.scope else item.meta.name.replace(item.scope, found)
            return replace(item, scope=found, meta=replace(item.meta, name=name))
        return item

    async def intent(item: Intent) -> Intent | None:
        if item.cluster != uid:
            return None
        return replace(item, workload=None if item.workload is None else await inward(item.workload))

    async def inward(workload: Workload) -> Workload:
        notes = {name: value for name, value in workload.meta.annotations.items() if not name.startswith(CLUSTER)}
        local = await projects.inward(workload.meta.project)
        return replace(workload, meta=replace(workload.meta, project=local, annotations=notes))

    renders: dict[type[Any], Callable[[Any], Awaitable[Any]]] = {
        NodePool: _as_it_is,
        Department: _as_it_is,
        Project: project,
        Policy: scoped,
        AccessRule: scoped,
        Intent: intent,
    }
    return {kind.__name__: Feed(store, kind, render) for kind, render in renders.items()}


async def _as_it_is(item: T) -> T:
    return item
