"""All that we watch of a cluster: one informer for each kind, started and complete together."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from runai_core.backends.kubernetes import resources as kinds
from runai_core.backends.kubernetes.api import Api, Object
from runai_core.backends.kubernetes.informer import Informer
from runai_core.backends.kubernetes.resources import Resource
from runai_core.backends.kubernetes.trimming import bare, bare_node, bare_pod

SCHEDULING = (
    kinds.PODS,
    kinds.NODES,
    kinds.NAMESPACES,
    kinds.PVCS,
    kinds.PVS,
    kinds.STORAGE_CLASSES,
    kinds.PRIORITY_CLASSES,
    kinds.RESOURCE_CLAIMS,
    kinds.RESOURCE_SLICES,
    kinds.DEVICE_CLASSES,
    kinds.QUEUES,
    kinds.POD_GROUPS,
    kinds.TOPOLOGIES,
    kinds.NODE_POOLS,
)
"""What the scheduler needs."""

ORGANIZATION = (kinds.PROJECTS, kinds.DEPARTMENTS, *kinds.POLICIES)
OPERATION = (kinds.SERVICES, kinds.JOBS, kinds.REPLICA_SETS, *kinds.WORKLOADS)
EVERYTHING = (*SCHEDULING, *ORGANIZATION, *OPERATION)
"""What an orchestrator of role `all` needs."""

TRIMS: dict[Resource, Callable[[Object], Object]] = {kinds.PODS: bare_pod, kinds.NODES: bare_node}
"""How objects are made smaller before they are kept; `bare` for all others."""


class _Followed:
    """An attribute of `World`: the informer of one kind."""

    def __init__(self, resource: Resource) -> None:
        self._resource = resource

    def __get__(self, world: "World", _owner: type["World"]) -> Informer:
        return world.crd(self._resource)


class World:
    """The informers of a cluster. A kind that is not followed yet is from when it is first asked for."""

    pods = _Followed(kinds.PODS)
    nodes = _Followed(kinds.NODES)
    namespaces = _Followed(kinds.NAMESPACES)
    services = _Followed(kinds.SERVICES)
    config_maps = _Followed(kinds.CONFIG_MAPS)
    events = _Followed(kinds.EVENTS)
    claims = _Followed(kinds.PVCS)
    volumes = _Followed(kinds.PVS)
    storage_classes = _Followed(kinds.STORAGE_CLASSES)
    priority_classes = _Followed(kinds.PRIORITY_CLASSES)
    budgets = _Followed(kinds.PDBS)
    resource_claims = _Followed(kinds.RESOURCE_CLAIMS)
    resource_slices = _Followed(kinds.RESOURCE_SLICES)
    device_classes = _Followed(kinds.DEVICE_CLASSES)
    jobs = _Followed(kinds.JOBS)
    cron_jobs = _Followed(kinds.CRON_JOBS)
    deployments = _Followed(kinds.DEPLOYMENTS)
    replica_sets = _Followed(kinds.REPLICA_SETS)
    stateful_sets = _Followed(kinds.STATEFUL_SETS)
    role_bindings = _Followed(kinds.ROLE_BINDINGS)
    queues = _Followed(kinds.QUEUES)
    pod_groups = _Followed(kinds.POD_GROUPS)
    topologies = _Followed(kinds.TOPOLOGIES)
    node_pools = _Followed(kinds.NODE_POOLS)
    projects = _Followed(kinds.PROJECTS)
    departments = _Followed(kinds.DEPARTMENTS)
    training_workloads = _Followed(kinds.TRAINING_WORKLOADS)
    interactive_workloads = _Followed(kinds.INTERACTIVE_WORKLOADS)
    distributed_workloads = _Followed(kinds.DISTRIBUTED_WORKLOADS)
    inference_workloads = _Followed(kinds.INFERENCE_WORKLOADS)

    def __init__(self, api: Api) -> None:
        self.api = api
        self._informers: dict[Resource, Informer] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def crd(self, resource: Resource) -> Informer:
        """Return the informer of any kind.

        Await its `synced` before relying on it, unless the world was opened with the kind.
        """
        informer = self._informers.get(resource)
        if informer is None:
            informer = Informer(self.api, resource, trim=TRIMS.get(resource, bare))
            self._informers[resource] = informer
            self._tasks.append(asyncio.create_task(informer.run(), name=f"informer {resource.full_name}"))
        return informer

    async def synced(self, resources: Iterable[Resource]) -> None:
        """Follow these kinds and wait until the copy of each is complete."""
        await asyncio.gather(*(self.crd(resource).synced() for resource in resources))

    @property
    def trouble(self) -> str:
        """Why some copy may be old, or nothing: for readiness."""
        return next((item.trouble for item in self._informers.values() if item.trouble), "")

    async def close(self) -> None:
        """Follow nothing any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def open_world(api: Api, resources: Iterable[Resource] = EVERYTHING) -> AsyncIterator[World]:
    """Follow the given kinds; enter when the copy of each is complete."""
    world = World(api)
    try:
        await world.synced(resources)
        yield world
    finally:
        await world.close()
