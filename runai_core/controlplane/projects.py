"""Which project of the tenant a project of a cluster is: the names may differ, where two clusters had the same one."""

from dataclasses import replace

from runai_core.backends.local.writes import Put
from runai_core.controlplane.store import TenantStore, the_only
from runai_core.model.clusters import LOCAL_NAME, Cluster
from runai_core.model.errors import AlreadyExists, NotFound
from runai_core.model.meta import Meta
from runai_core.model.nodes import DEFAULT_NODE_POOL, NodePool
from runai_core.model.organization import DEFAULT_DEPARTMENT, SYSTEM, Department, Project, default_resources
from runai_core.ports import Query, Store


class Projects:
    """The projects of one cluster."""

    def __init__(self, store: TenantStore, cluster: Cluster) -> None:
        self._store = store
        self._cluster = cluster

    async def owns(self, project: Project) -> bool:
        """Return whether the cluster runs the project's workloads."""
        if project.cluster:
            return project.cluster == self._cluster.meta.uid
        clusters = (await self._store.list(Cluster, Query(limit=2))).items
        return len(clusters) == 1

    def local_name(self, project: Project) -> str:
        """Return what the project is called in the cluster."""
        return project.meta.annotations.get(LOCAL_NAME) or project.name

    async def inward(self, name: str) -> str:
        """Return what a project of the tenant is called in the cluster."""
        try:
            return self.local_name(await self._store.get(Project, name))
        except NotFound:
            return name

    async def outward(self, local: str, department: str = "") -> str:
        """Return which project of the tenant a local one is; one that is not known is taken up."""
        if not local:
            return ""
        own = [item for item in (await self._store.list(Project, Query())).items if await self.owns(item)]
        for project in own:
            if self.local_name(project) == local:
                return project.name
        await self._take_department(Department(meta=Meta(name=department or DEFAULT_DEPARTMENT)))
        taken = await self._take_project(
            Project(meta=Meta(name=local), department=department or DEFAULT_DEPARTMENT, resources=default_resources())
        )
        return taken.name

    async def take_up(
        self, departments: "list[Department]", pools: "list[NodePool]", projects: "list[Project]"
    ) -> None:
        """Take up what a cluster that connects for the first time has already; what is known here stays."""
        for pool in pools:
            await self._create(pool)
        for department in departments:
            await self._take_department(department)
        known = {self.local_name(item) for item in (await self._store.list(Project, Query())).items
                 if await self.owns(item)}  # fmt: skip
        for project in projects:
            if project.name not in known:
                await self._take_project(project)

    async def _take_department(self, department: Department) -> None:
        """Take up a department; one that nobody has touched since the tenant was made gets the cluster's quota."""
        try:
            kept = await self._store.get(Department, department.name)
        except NotFound:
            await self._create(department)
            return
        untouched = kept.meta.created_by == SYSTEM.name and kept.resources == default_resources()
        if untouched and department.resources and kept.meta.updated_by == "":
            await self._store.transact(Put(replace(kept, resources=department.resources)))

    async def _take_project(self, project: Project) -> Project:
        """Create a project of the cluster, under another name where its own is another cluster's."""
        local = project.name
        for name in (local, f"{local}-{self._cluster.name}"[:63], f"{local}-{self._cluster.meta.uid[:8]}"[:63]):
            notes = {} if name == local else {LOCAL_NAME: local}
            meta = Meta(name=name, created_by=SYSTEM.name, annotations=notes)
            try:
                return await self._store.create(
                    replace(project, meta=meta, cluster=self._cluster.meta.uid, namespace=f"runai-{name}")
                )
            except AlreadyExists:
                continue
        raise AlreadyExists(f"project {local} of cluster {self._cluster.name} finds no free name")

    async def _create(self, item: Department | NodePool) -> None:
        try:
            await self._store.create(replace(item, meta=Meta(name=item.name, created_by=SYSTEM.name)))
        except AlreadyExists:
            return


async def tenant_defaults(store: Store) -> None:
    """Create what every tenant has: a node pool for the nodes of no other, and a department."""
    pool = NodePool(meta=Meta(name=DEFAULT_NODE_POOL, created_by=SYSTEM.name))
    meta = Meta(name=DEFAULT_DEPARTMENT, created_by=SYSTEM.name)
    await the_only(store, pool)
    if not (await store.list(Department, Query(limit=1))).items:
        await the_only(store, Department(meta=meta, resources=default_resources()))
