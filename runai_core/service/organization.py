"""Use cases of departments, projects, node pools and nodes."""

import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from runai_core.model.errors import AlreadyExists, Conflict, FieldError, InvalidRequest, NotFound
from runai_core.model.meta import Meta
from runai_core.model.nodes import DEFAULT_NODE_POOL, Node, NodePool
from runai_core.model.organization import (
    DEFAULT_DEPARTMENT,
    DEFAULT_PROJECT,
    SYSTEM,
    Action,
    Actor,
    Department,
    Project,
    QueueResources,
    ResourceQuota,
    Scope,
)
from runai_core.model.resources import Resources, total
from runai_core.model.snapshot import HOLDS_RESOURCES, PodState, Preemptibility
from runai_core.model.workload import TERMINAL, Pod, Workload, gpu_charge
from runai_core.policy import scheduling_rules
from runai_core.ports import Backend, Filter, Op, Page, Query
from runai_core.service import unit_checks as checks
from runai_core.service.access import AccessService
from runai_core.service.scheduling import SchedulingService

_WORDS = {"Department": "department", "Project": "project", "NodePool": "node pool"}
_SCOPES = {"Department": "department", "Project": "project", "NodePool": "cluster"}
_RESOURCES = {"Department": "departments", "Project": "projects", "NodePool": "nodepools"}

CLUSTER = Scope("cluster")  # the only one

Unit = TypeVar("Unit", Department, Project)
Named = TypeVar("Named", Department, Project, NodePool)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitStatus:
    """What a project or department has now, in one node pool or in all."""

    allocated: Resources = field(default_factory=Resources)
    allocated_non_preemptible: Resources = field(default_factory=Resources)
    requested: Resources = field(default_factory=Resources)  # allocated and waiting


class OrganizationService:
    """What can be done with departments, projects, node pools and nodes."""

    def __init__(self, backend: Backend, access: AccessService, scheduling: SchedulingService) -> None:
        self._store = backend.store
        self._cluster = backend.cluster
        self._access = access
        self._scheduling = scheduling
        self._is_firm: dict[str, bool] = {}  # by uid of the workload: it may not be evicted

    async def ensure_defaults(self) -> None:
        """Create what a first start needs: a node pool, a department and a project that has the whole machine."""
        nodes = await self._cluster.nodes()
        gpus = sum(node.gpu_count for node in nodes) * 1000
        whole = QueueResources(gpu=ResourceQuota(deserved=gpus))
        pools = (await self._store.list(NodePool, Query())).items
        if not any(pool.name == DEFAULT_NODE_POOL for pool in pools):
            await self._create_unless_there(NodePool(meta=Meta(name=DEFAULT_NODE_POOL, created_by=SYSTEM.name)))
        departments = (await self._store.list(Department, Query())).items
        if not departments:
            await self._create_unless_there(
                Department(
                    meta=Meta(name=DEFAULT_DEPARTMENT, created_by=SYSTEM.name), resources={DEFAULT_NODE_POOL: whole}
                )
            )
        elif all(department.name != DEFAULT_DEPARTMENT for department in departments):
            return  # somebody has made an organization of their own
        if not (await self._store.list(Project, Query(limit=1))).items:
            await self._create_unless_there(
                Project(
                    meta=Meta(name=DEFAULT_PROJECT, created_by=SYSTEM.name),
                    department=DEFAULT_DEPARTMENT,
                    resources={DEFAULT_NODE_POOL: whole},
                    namespace=f"runai-{DEFAULT_PROJECT}",
                )
            )

    async def list_departments(self, actor: Actor, query: Query) -> Page[Department]:
        """Return the departments that match."""
        await self._access.require(actor, Action.READ, "departments")
        seen = await self._access.visible_departments(actor, Action.READ, "departments")
        return await self._store.list(Department, named(query, seen))

    async def get_department(self, actor: Actor, ref: str) -> Department:
        """Return the department of this name or id."""
        return await self._find(actor, Action.READ, Department, ref)

    async def create_department(self, actor: Actor, department: Department) -> Department:
        """Create a department.

        Raises:
            InvalidRequest: name or quota is wrong. AlreadyExists: the name is taken.
        """
        await self._access.require(actor, Action.CREATE, "departments", CLUSTER)
        await self._check(department)
        return await self._created(actor, department)

    async def update_department(self, actor: Actor, department: Department) -> Department:
        """Change a department; its quota is used from the next cycle on."""
        await self._access.require(actor, Action.UPDATE, "departments", Scope("department", department.name))
        await self._check(department)
        return await self._updated(actor, department)

    async def delete_department(self, actor: Actor, ref: str) -> Department:
        """Delete a department that has no project any more."""
        department = await self._find(actor, Action.DELETE, Department, ref)
        await self.require_unused(department)
        return await self._store.delete(Department, department.meta.uid)

    async def list_projects(self, actor: Actor, query: Query) -> Page[Project]:
        """Return the projects that match."""
        await self._access.require(actor, Action.READ, "projects")
        seen = await self._access.visible(actor, Action.READ, "projects")
        return await self._store.list(Project, named(query, seen))

    async def get_project(self, actor: Actor, ref: str) -> Project:
        """Return the project of this name or id."""
        return await self._find(actor, Action.READ, Project, ref)

    async def create_project(self, actor: Actor, project: Project) -> Project:
        """Create a project in a department.

        Raises:
            InvalidRequest: name or quota is wrong. NotFound: no such department. AlreadyExists: the name is taken.
        """
        await self._access.require(actor, Action.CREATE, "projects", Scope("department", project.department))
        department = await self._find(actor, Action.READ, Department, project.department)
        project = replace(project, department=department.name, namespace=project.namespace or f"runai-{project.name}")
        checks.check_rules(department, project)
        await self._check(project)
        return await self._created(actor, project)

    async def update_project(self, actor: Actor, project: Project) -> Project:
        """Change a project; its quota is used from the next cycle on."""
        await self._access.require(actor, Action.UPDATE, "projects", Scope("project", project.name))
        department = await self._find(actor, Action.READ, Department, project.department)
        await self._require_move(actor, project, department)
        project = replace(project, department=department.name)
        checks.check_rules(department, project)
        await self._check(project)
        return await self._updated(actor, project)

    async def delete_project(self, actor: Actor, ref: str) -> Project:
        """Delete a project that has no workload in work any more."""
        project = await self._find(actor, Action.DELETE, Project, ref)
        await self.require_unused(project)
        return await self._store.delete(Project, project.meta.uid)

    async def list_node_pools(self, actor: Actor, query: Query) -> Page[NodePool]:
        """Return the node pools that match."""
        await self._access.require(actor, Action.READ, "nodepools")
        return await self._store.list(NodePool, query)

    async def get_node_pool(self, actor: Actor, ref: str) -> NodePool:
        """Return the node pool of this name or id."""
        return await self._find(actor, Action.READ, NodePool, ref)

    async def create_node_pool(self, actor: Actor, pool: NodePool) -> NodePool:
        """Create a node pool; every project and department gets it with quota 0 (Run:ai docs 2.25, node pools)."""
        await self._access.require(actor, Action.CREATE, "nodepools", CLUSTER)
        checks.check_name("name", pool.name)
        if not pool.label_key or not pool.label_value:
            raise InvalidRequest.of(
                FieldError("labelKey", "labelKey and labelValue are required: they say which nodes belong")
            )
        checks.check_placement(pool)
        checks.check_fair_share(pool)
        return await self._created(actor, pool)

    async def update_node_pool(self, actor: Actor, pool: NodePool) -> NodePool:
        """Change a node pool."""
        await self._access.require(actor, Action.UPDATE, "nodepools", CLUSTER)
        checks.check_placement(pool)
        checks.check_fair_share(pool)
        return await self._updated(actor, pool)

    async def delete_node_pool(self, actor: Actor, ref: str) -> NodePool:
        """Delete a node pool; its nodes go back to the default pool."""
        pool = await self._find(actor, Action.DELETE, NodePool, ref)
        await self.require_unused(pool)
        deleted = await self._store.delete(NodePool, pool.meta.uid)
        self._scheduling.wake()
        return deleted

    async def validate(self, unit: Department | Project | NodePool) -> None:
        """Refuse a unit that creating would refuse, except for what it names and may still come: pools, a department.

        Raises:
            InvalidRequest: a field is wrong.
        """
        checks.check_name("name", unit.name)
        if isinstance(unit, NodePool):
            checks.check_placement(unit)
            return
        checks.check_quotas(unit)
        if isinstance(unit, Project):
            with contextlib.suppress(NotFound):
                checks.check_rules(await self._store.get(Department, unit.department), unit)

    async def require_unused(self, unit: Department | Project | NodePool) -> None:
        """Refuse to let a unit go that something depends on; raise Conflict."""
        if isinstance(unit, NodePool):
            await self._require_unused_pool(unit)
        elif isinstance(unit, Department):
            projects = (await self._store.list(Project, Query())).items
            named = [item.name for item in projects if item.department == unit.name]
            if named:
                raise Conflict(
                    f"department {unit.name} has projects: {', '.join(named[:10])}; delete or move them first"
                )
        else:
            page = await self._store.list(Workload, Query(project=unit.name))
            alive = [item.name for item in page.items if item.phase not in TERMINAL]
            if alive:
                raise Conflict(f"project {unit.name} has workloads: {', '.join(alive[:10])}; delete them first")

    async def _require_unused_pool(self, pool: NodePool) -> None:
        if pool.name == DEFAULT_NODE_POOL:
            raise Conflict("the default node pool cannot be deleted: it holds the nodes of no other pool")
        used = [
            item.key
            for item in (await self._store.list(Workload, Query())).items
            if pool.name in item.node_pools and item.phase not in TERMINAL
        ]
        if used:
            raise Conflict(
                f"node pool {pool.name} is used by: {', '.join(used[:10])}; delete them or move them to other pools"
            )

    async def nodes(self, actor: Actor) -> Sequence[Node]:
        """Return all nodes."""
        await self._access.require(actor, Action.READ, "nodes")
        return await self._cluster.nodes()

    async def unit_status(self, actor: Actor, unit: Department | Project) -> Mapping[str, UnitStatus]:
        """Return what a project or department has and asks for, by node pool."""
        await self._access.require(actor, Action.READ, "projects", Scope(_WORDS[type(unit).__name__], unit.name))
        return (await self.statuses(actor)).get(_status_key(unit), {})

    async def statuses(self, actor: Actor) -> Mapping[str, Mapping[str, UnitStatus]]:
        """Return the status of every unit: ``project/<name>`` and ``department/<name>``, then by node pool."""
        await self._access.require(actor, Action.READ, "projects")
        ended = [Filter("status.state", Op.NE, state.value) for state in (PodState.SUCCEEDED, PodState.FAILED)]
        departments = {item.name: item.department for item in (await self._store.list(Project, Query())).items}
        pods = (await self._store.list(Pod, Query(filters=tuple(ended)))).items
        firm = await self._firm(pods)
        collected: dict[str, dict[str, list[tuple[Pod, bool]]]] = {}
        for pod in pods:
            project = pod.meta.project
            if project not in departments:
                continue
            found = (pod, pod.meta.owner in firm)
            for key in (f"project/{project}", f"department/{departments[project]}"):
                collected.setdefault(key, {}).setdefault(pod.node_pool or DEFAULT_NODE_POOL, []).append(found)
        seen = await self._seen_keys(actor)
        sizes = {node.name: node.gpu_memory_mib for node in await self._cluster.nodes()}
        return {
            key: {pool: _sum_up(pods, sizes) for pool, pods in pools.items()}
            for key, pools in collected.items()
            if seen is None or key in seen
        }

    async def _firm(self, pods: Sequence[Pod]) -> frozenset[str]:
        """Return the workloads that hold something and may not be evicted.

        That is settled at submission and looked up once: asking for the owner of
        each of ten thousand pods takes seconds.
        """
        owners = {pod.meta.owner for pod in pods if pod.status.state in HOLDS_RESOURCES}
        known = {uid: firm for uid, firm in self._is_firm.items() if uid in owners}
        for uid in owners - known.keys():
            with contextlib.suppress(NotFound):  # it was forgotten a moment ago
                workload = await self._store.get_by_uid(Workload, uid)
                known[uid] = workload.preemptibility is Preemptibility.NON_PREEMPTIBLE
        self._is_firm = known
        return frozenset(uid for uid, firm in known.items() if firm)

    async def _seen_keys(self, actor: Actor) -> frozenset[str] | None:
        projects = await self._access.visible(actor, Action.READ, "projects")
        departments = await self._access.visible_departments(actor, Action.READ, "projects")
        if projects is None or departments is None:
            return None
        return frozenset({f"project/{name}" for name in projects} | {f"department/{name}" for name in departments})

    async def _require_move(self, actor: Actor, project: Project, department: Department) -> None:
        """Who moves a project into another department makes it there."""
        if (await self._store.get_by_uid(Project, project.meta.uid)).department != department.name:
            await self._access.require(actor, Action.CREATE, "projects", Scope("department", department.name))

    async def _find(self, actor: Actor, action: Action, kind: type[Named], ref: str) -> Named:
        """Return the unit of this name or id; what the actor may not see is as if it were not there."""
        resource = _RESOURCES[kind.__name__]
        found = await self._by_name_or_id(kind, ref)
        name = ref if found is None else found.meta.name
        scope = CLUSTER if resource == "nodepools" else Scope(_SCOPES[kind.__name__], name)
        if found is None or not await self._access.allows(actor, Action.READ, resource, scope):
            await self._access.require_anywhere(actor, Action.READ, resource)
            raise await self._missing(actor, kind, ref)
        if found.meta.deleted_at is not None:
            raise NotFound(f"{kind.__name__.lower()} {found.meta.name} was deleted")
        await self._access.require(actor, action, resource, scope)
        return found

    async def _by_name_or_id(self, kind: type[Named], ref: str) -> Named | None:
        try:
            return await self._store.get(kind, ref)
        except NotFound:
            with contextlib.suppress(NotFound):
                return await self._store.get_by_uid(kind, ref)
        return None

    async def _missing(self, actor: Actor, kind: type[Named], ref: str) -> NotFound:
        lists: Mapping[str, Callable[[Actor, Query], Awaitable[Page[Any]]]] = {
            "Department": self.list_departments,
            "Project": self.list_projects,
            "NodePool": self.list_node_pools,
        }
        known = (await lists[kind.__name__](actor, Query(sort_by="meta.name", limit=20))).items
        has = ", ".join(item.meta.name for item in known) or "none"
        return NotFound(f"there is no {_WORDS[kind.__name__]} {ref[:80]}; there are: {has}")

    async def _check(self, unit: Unit) -> None:
        checks.check_name("name", unit.name)
        pools = {pool.name for pool in (await self._store.list(NodePool, Query())).items}
        named = [("resources.nodePool", pool) for pool in unit.resources]
        named += [(f"defaultNodePools.{index}", pool) for index, pool in enumerate(unit.default_node_pools)]
        for where, pool in named:
            if pool not in pools:
                raise InvalidRequest.of(
                    FieldError(where, f"no such node pool; there are: {', '.join(sorted(pools))}", pool)
                )
        checks.check_quotas(unit)
        if errors := scheduling_rules.check_limits(unit.scheduling_rules):
            raise InvalidRequest.of(*errors)

    async def _create_unless_there(self, item: Named) -> None:
        # Another process, or another task that is at it this moment, may be first: it is not in our copies then.
        with contextlib.suppress(AlreadyExists):
            await self._store.create(item)

    async def _created(self, actor: Actor, item: Named) -> Named:
        created = await self._store.create(replace(item, meta=replace(item.meta, created_by=actor.name)))
        self._scheduling.wake()
        return created

    async def _updated(self, actor: Actor, item: Named) -> Named:
        updated = await self._store.update(replace(item, meta=replace(item.meta, updated_by=actor.name)))
        self._scheduling.wake()
        return updated


def named(query: Query, names: frozenset[str] | None) -> Query:
    """Return the query for objects of these names only; None for any."""
    if names is None:
        return query
    return replace(query, names=names if query.names is None else query.names & names)


def _status_key(unit: Department | Project) -> str:
    return f"{'department' if isinstance(unit, Department) else 'project'}/{unit.name}"


def _sum_up(pods: Sequence[tuple[Pod, bool]], sizes: Mapping[str, int]) -> UnitStatus:
    """Return the sums over pods, each with whether its workload may not be evicted; nodes have GPUs of so many MiB."""

    def amount(pod: Pod) -> Resources:
        request = pod.spec.request
        gpu = gpu_charge(request, sizes.get(pod.status.node, 0))
        return Resources(cpu=request.cpu, memory=request.memory, gpu=gpu)

    held = [(pod, firm) for pod, firm in pods if pod.status.state in HOLDS_RESOURCES]
    return UnitStatus(
        allocated=total(amount(pod) for pod, _ in held),
        allocated_non_preemptible=total(amount(pod) for pod, firm in held if firm),
        requested=total(amount(pod) for pod, _ in pods),
    )
