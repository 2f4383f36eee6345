"""Network topologies: how the nodes of clusters are connected, for gangs that are to be kept near."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from runai_core.model.clusters import ClusterLink
from runai_core.model.errors import AlreadyExists, Conflict, FieldError, InvalidRequest, NotFound, Unsupported
from runai_core.model.meta import Meta
from runai_core.model.nodes import NetworkTopology, NodePool
from runai_core.model.organization import Action, Actor, Scope
from runai_core.ports import Backend, Query
from runai_core.service.access import AccessService
from runai_core.service.clusters import NAME, NAME_RULE, ClusterService

RESOURCE = "network-topologies"
"""What is asked a right for."""

HOST_LABEL = "kubernetes.io/hostname"
MOST_LEVELS = 16
LABEL = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
"""Key of a node label, as Kubernetes has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopologyStatus:
    """A network topology, whether its cluster has it, and which node pools use it."""

    topology: NetworkTopology
    ready: bool = True
    pools: tuple[str, ...] = ()

    @property
    def is_ours(self) -> bool:
        """Whether it was made here, and not by others in the cluster."""
        return bool(self.topology.meta.created_by)


class TopologyService:
    """What can be done with network topologies."""

    def __init__(self, backend: Backend, access: AccessService, clusters: ClusterService) -> None:
        self._store = backend.store
        self._access = access
        self._clusters = clusters

    async def listed(self, actor: Actor) -> Sequence[TopologyStatus]:
        """Return all topologies, by name and cluster."""
        await self._access.require(actor, Action.READ, RESOURCE)
        return await self._statuses()

    async def get(self, actor: Actor, ref: str) -> TopologyStatus:
        """Return the topology of this id, or of this name where one cluster alone has it; raise NotFound."""
        await self._access.require(actor, Action.READ, RESOURCE)
        return await self._found(ref)

    async def create(self, actor: Actor, cluster: str, name: str, levels: Sequence[str]) -> TopologyStatus:
        """Create a topology from its levels, node labels from the widest to the narrowest.

        Raises:
            InvalidRequest: the cluster is not there, the name or a level is wrong. AlreadyExists: the name is taken.
        """
        uid = await self._clusters.resolve(cluster) or await self._clusters.default_id()
        await self._access.require(actor, Action.CREATE, RESOURCE, Scope("cluster", uid))
        check(name, levels)
        scope = uid if self._clusters.is_control_plane else ""
        if any(item.topology.name == name and item.topology.scope == scope for item in await self._statuses()):
            raise AlreadyExists(f"there is a network topology {name} in this cluster already: choose another name")
        meta = Meta(name=f"{name}.{scope}" if scope else name, created_by=actor.name)
        created = await self._store.create(NetworkTopology(meta=meta, levels=tuple(levels), scope=scope))
        return await self._found(created.meta.uid)

    async def delete(self, actor: Actor, ref: str) -> TopologyStatus:
        """Delete a topology.

        Raises:
            Conflict: a node pool uses it. Unsupported: it was made in a linked cluster, not here.
        """
        await self._access.require_anywhere(actor, Action.DELETE, RESOURCE)
        found = await self._found(ref)
        await self._access.require(actor, Action.DELETE, RESOURCE, Scope("cluster", found.topology.scope))
        name = found.topology.name
        if found.pools:
            raise Conflict(f"network topology {name} is used by node pool {', '.join(found.pools)}: change that first")
        if self._clusters.is_control_plane and not found.is_ours:
            raise Unsupported(f"network topology {name} was made in its cluster: delete it there")
        await self._store.delete(NetworkTopology, found.topology.meta.uid)
        return found

    async def ids(self, actor: Actor) -> Mapping[str, str]:
        """Return the ids of the topologies that the actor may see, by name."""
        if not await self._access.allows(actor, Action.READ, RESOURCE):
            return {}
        return {item.topology.name: item.topology.meta.uid for item in reversed(await self._statuses())}

    async def chosen(self, actor: Actor, ref: str) -> str:
        """Return the name of the topology that a node pool is to use; empty for none.

        Raises:
            InvalidRequest: there is no such topology.
        """
        try:
            return (await self.get(actor, ref)).topology.name if ref else ""
        except NotFound as error:
            raise InvalidRequest.of(FieldError("networkTopologyId", error.message, ref[:80])) from None

    async def _found(self, ref: str) -> TopologyStatus:
        known = await self._statuses()
        found = [item for item in known if ref == item.topology.meta.uid]
        found = found or [item for item in known if ref == item.topology.name]
        if len(found) > 1:
            raise Conflict(f"several clusters have a network topology {ref[:80]}: give its id")
        if not found:
            has = ", ".join(item.topology.name for item in known[:20]) or "none"
            raise NotFound(f"there is no network topology {ref[:80]}; there are: {has}")
        return found[0]

    async def _statuses(self) -> list[TopologyStatus]:
        pools = (await self._store.list(NodePool, Query(sort_by="meta.name"))).items
        kept = (await self._store.list(NetworkTopology, Query(sort_by="meta.name"))).items
        reported = await self._reported()
        there = {(item.scope, item.name) for item in reported}
        ours = {(item.scope, item.name) for item in kept}
        return [
            TopologyStatus(
                topology=item,
                ready=not item.scope or (item.scope, item.name) in there,
                pools=tuple(pool.name for pool in pools if pool.network_topology == item.name),
            )
            for item in (*kept, *(item for item in reported if (item.scope, item.name) not in ours))
        ]

    async def _reported(self) -> list[NetworkTopology]:
        """Return the topologies that linked clusters say they have."""
        links = (await self._store.list(ClusterLink, Query())).items if self._clusters.is_control_plane else ()
        return [_of_cluster(item, link.meta.name) for link in links for item in link.topologies]


def _of_cluster(topology: NetworkTopology, cluster: str) -> NetworkTopology:
    return replace(topology, meta=replace(topology.meta, created_by=""), scope=cluster)


def check(name: str, levels: Sequence[str]) -> None:
    """Raise InvalidRequest unless KAI would take a topology of this name and these levels."""
    if len(name) > 63 or not NAME.fullmatch(name):
        raise InvalidRequest.of(FieldError("name", NAME_RULE, name[:80]))
    if not 1 <= len(levels) <= MOST_LEVELS:
        raise InvalidRequest.of(FieldError("levels", f"must be 1 to {MOST_LEVELS} node labels", len(levels)))
    for index, label in enumerate(levels):
        at = f"levels.{index}"
        if not LABEL.fullmatch(label):
            raise InvalidRequest.of(FieldError(at, "must be the key of a node label", label[:80]))
        if label in levels[:index]:
            raise InvalidRequest.of(FieldError(at, "is there twice", label))
        if label == HOST_LABEL and index < len(levels) - 1:
            raise InvalidRequest.of(FieldError(at, "can only be the last level: it names a single node", label))
