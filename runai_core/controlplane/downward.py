"""What a control plane tells a cluster: its organization, its rules, and what is wanted of its workloads."""

from dataclasses import replace
from typing import Any

from runai_core.controlplane.feeding import Feed, Render
from runai_core.controlplane.projects import Projects
from runai_core.controlplane.sealing import opened
from runai_core.controlplane.store import TenantStore
from runai_core.model.assets import Asset
from runai_core.model.clusters import CLUSTER, Cluster, Intent
from runai_core.model.errors import NotFound
from runai_core.model.kinds import TaughtKind
from runai_core.model.nodes import NetworkTopology, NodePool
from runai_core.model.organization import AccessRule, Department, Project
from runai_core.model.roles import CustomRole
from runai_core.model.storage import StorageClassConfiguration
from runai_core.model.workload import Policy, Workload
from runai_core.service.secrets import Vault

ORGANIZATION: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        NetworkTopology,
        StorageClassConfiguration,
        TaughtKind,
        NodePool,
        Department,
        Project,
        Asset,
        Policy,
        CustomRole,
        AccessRule,
    )
}
"""What clusters keep a copy of, by name; in the order in which one needs the other."""

KINDS: dict[str, type[Any]] = {**ORGANIZATION, Intent.__name__: Intent}
"""What a control plane tells."""

OLDER = ("NodePool", "Department", "Project", "Asset", "Policy", "AccessRule", "Intent")
"""What a cluster understands that does not say it: the kinds of the first versions."""


def downward_feeds(
    store: TenantStore, cluster: Cluster, projects: Projects, vault: Vault | None = None
) -> dict[str, Feed]:
    """Return what is told to a cluster, by kind; secrets only with the vault that they are in."""
    shown = _Shown(store, cluster, projects, vault)
    renders: dict[type[Any], Render] = {
        NodePool: shown.as_it_is,
        NetworkTopology: shown.scoped,
        StorageClassConfiguration: shown.scoped,
        TaughtKind: shown.as_it_is,
        Department: shown.as_it_is,
        Project: shown.project,
        Asset: shown.asset,
        Policy: shown.scoped,
        CustomRole: shown.as_it_is,
        AccessRule: shown.scoped,
        Intent: shown.intent,
    }
    return {kind.__name__: Feed(store, kind, render) for kind, render in renders.items()}


class _Shown:
    """Objects as one cluster is shown them; None for what is not for it."""

    def __init__(self, store: TenantStore, cluster: Cluster, projects: Projects, vault: Vault | None) -> None:
        self._store = store
        self._cluster = cluster
        self._projects = projects
        self._vault = vault

    async def as_it_is(self, item: Any) -> Any:
        return item

    async def project(self, item: Project) -> Project | None:
        if not await self._projects.owns(item):
            return None
        local = self._projects.local_name(item)
        return replace(item, meta=replace(item.meta, name=local), namespace=f"runai-{local}", cluster="")

    async def asset(self, item: Asset) -> Any:
        if not item.sealed:
            return await self.scoped(item)
        if self._vault is None:  # a cluster of an older version would keep them in the open
            return None
        return await self.scoped(opened(self._vault, item))

    async def scoped(self, item: Any) -> Any:
        if item.scope_type == "cluster":
            return self._of_cluster(item)
        if item.scope_type == "project":
            return await self._of_project(item)
        return item

    def _of_cluster(self, item: Any) -> Any:
        uid = self._cluster.meta.uid
        if item.scope not in ("", uid, self._cluster.name):
            return None
        # There it is the only one, and needs no name.
        return replace(item, scope="", meta=replace(item.meta, name=item.meta.name.removesuffix(f".{uid}")))

    async def _of_project(self, item: Any) -> Any:
        project = await self._project(item.scope)
        if project is None:
            return item  # it is going too
        if not await self._projects.owns(project):
            return None
        local = self._projects.local_name(project)
        name = item.meta.name if local == item.scope else item.meta.name.replace(item.scope, local)
        return replace(item, scope=local, meta=replace(item.meta, name=name))

    async def _project(self, ref: str) -> Project | None:
        """Return a project by its name or id: access rules name units by their ids."""
        try:
            return await self._store.get(Project, ref)
        except NotFound:
            pass
        try:
            return await self._store.get_by_uid(Project, ref)
        except NotFound:
            return None

    async def intent(self, item: Intent) -> Intent | None:
        if item.cluster != self._cluster.meta.uid:
            return None
        return replace(item, workload=None if item.workload is None else await self._inward(item.workload))

    async def _inward(self, workload: Workload) -> Workload:
        notes = {name: value for name, value in workload.meta.annotations.items() if not name.startswith(CLUSTER)}
        local = await self._projects.inward(workload.meta.project)
        return replace(workload, meta=replace(workload.meta, project=local, annotations=notes))
