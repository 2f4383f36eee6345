"""Use cases of clusters: which there are, how one joins, and who is on the other end of a link."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from runai_core.model.clusters import (
    CLUSTER,
    Cluster,
    ClusterCondition,
    ClusterFacts,
    ClusterLink,
    ClusterNodes,
    ClusterState,
    Intent,
    Prerequisites,
)
from runai_core.model.errors import Conflict, FieldError, InvalidRequest, NotFound, Unauthenticated, Unsupported
from runai_core.model.meta import Meta
from runai_core.model.nodes import NetworkTopology, Node
from runai_core.model.organization import Action, Actor, Project, Scope
from runai_core.model.storage import StorageClassConfiguration
from runai_core.model.workload import HistoryRecord, Pod, Workload
from runai_core.ports import Backend, Query, Store
from runai_core.service.access import AccessService

RESOURCE, CONFIGURATION = "cluster", "cluster-config"
"""What is asked a right for: to see clusters, and to change them or let one in."""

LOST_AFTER = 20.0
"""Seconds without a sign of life after which a cluster counts as disconnected."""

CLOCKS_AGREE = 60.0
"""Seconds by which the clocks of a cluster and its control plane may differ without a word."""

JOIN_SECONDS = 24 * 3600.0
"""How long a join token is good for."""

NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
NAME_RULE = (
    "must be 1 to 63 characters: lower-case letters, digits and '-', beginning and ending with a letter or digit"
)

OWN_NAME = "default"
"""What the one cluster of an orchestrator without a control plane is called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterStatus:
    """A cluster with what is known of it now."""

    cluster: Cluster
    state: ClusterState
    last_liveness: float | None = None
    facts: ClusterFacts = ClusterFacts()
    conditions: tuple[ClusterCondition, ...] = ()
    nodes: tuple[Node, ...] = ()

    @property
    def message(self) -> str:
        """What is not as it should be; empty when all is well."""
        return "; ".join(f"{item.name}: {item.message}" for item in self.conditions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """The one cluster that an orchestrator without a control plane is."""

    uid: str
    since: float
    facts: ClusterFacts
    trouble: Callable[[], str] = str  # why its scheduler does not get on; empty while it does


class ClusterService:
    """What can be done with clusters. With `own`, there is that one, and no other can be made."""

    def __init__(self, backend: Backend, access: AccessService, own: Own | None = None) -> None:
        self._store = backend.store
        self._cluster = backend.cluster
        self._clock = backend.clock
        self._access = access
        self._own = own

    @property
    def is_control_plane(self) -> bool:
        """Whether clusters connect here."""
        return self._own is None

    async def list(self, actor: Actor) -> Sequence[ClusterStatus]:
        """Return all clusters of the tenant, the oldest first."""
        await self._access.require(actor, Action.READ, RESOURCE)
        if self._own is not None:
            return (await self._own_status(self._own),)
        return [await self._status(item) for item in (await self._store.list(Cluster, Query())).items]

    async def get(self, actor: Actor, ref: str) -> ClusterStatus:
        """Return the cluster of this id or name; raise NotFound."""
        if self._own is None:
            cluster = await self._find(ref)
            await self._access.require(actor, Action.READ, RESOURCE, Scope("cluster", cluster.meta.uid))
            return await self._status(cluster)
        await self._access.require(actor, Action.READ, RESOURCE)
        if ref not in (self._own.uid, OWN_NAME):
            raise NotFound(f"there is no cluster {ref[:80]}; there is one: {self._own.uid}")
        return await self._own_status(self._own)

    async def resolve(self, ref: str | None) -> str:
        """Return the id of the cluster that a request names; empty when it names none.

        Raises:
            InvalidRequest: there is no such cluster.
        """
        if ref in (None, ""):
            return ""
        if self._own is not None:
            if ref in (self._own.uid, OWN_NAME):
                return self._own.uid
            message = f"there is one cluster, {self._own.uid}; leave it out"
            raise InvalidRequest.of(FieldError("clusterId", message, ref))
        try:
            return (await self._find(str(ref))).meta.uid
        except NotFound as error:
            raise InvalidRequest.of(FieldError("clusterId", error.message, ref)) from None

    async def default_id(self) -> str:
        """Return the id of the cluster that answers name where nothing else says which: the oldest."""
        if self._own is not None:
            return self._own.uid
        found = (await self._store.list(Cluster, Query(limit=1))).items
        return found[0].meta.uid if found else ""

    async def create(self, actor: Actor, name: str, domain: str = "") -> ClusterStatus:
        """Create a cluster; it waits to be connected.

        Raises:
            InvalidRequest: the name is wrong. AlreadyExists: it is taken. Unsupported: this is no control plane.
        """
        await self._access.require(actor, Action.CREATE, CONFIGURATION)
        self._require_control_plane()
        _check_name(name)
        cluster = await self._store.create(Cluster(meta=Meta(name=name, created_by=actor.name), domain=domain))
        await self._store.create(ClusterLink(meta=Meta(name=cluster.meta.uid, owner=cluster.meta.uid)))
        return await self._status(cluster)

    async def update(self, actor: Actor, ref: str, *, name: str | None, domain: str) -> ClusterStatus:
        """Change the domain of a cluster.

        Raises:
            InvalidRequest: the name is another one.
        """
        self._require_control_plane()
        cluster = await self._find(ref)
        await self._access.require(actor, Action.UPDATE, CONFIGURATION, Scope("cluster", cluster.meta.uid))
        if name not in (None, cluster.name):
            message = "a cluster cannot be renamed: delete it and create another one"
            raise InvalidRequest.of(FieldError("name", message, str(name)[:80]))
        changed = replace(cluster, domain=domain, meta=replace(cluster.meta, updated_by=actor.name))
        return await self._status(await self._store.update(changed))

    async def delete(self, actor: Actor, ref: str) -> Cluster:
        """Forget a cluster and what it reported; its credential ends. The cluster itself goes on.

        Raises:
            Conflict: projects name it.
        """
        self._require_control_plane()
        cluster = await self._find(ref)
        await self._access.require(actor, Action.DELETE, CONFIGURATION, Scope("cluster", cluster.meta.uid))
        uid = cluster.meta.uid
        named = [item.name for item in (await self._store.list(Project, Query())).items if item.cluster == uid]
        if named:
            raise Conflict(f"cluster {cluster.name} has projects: {', '.join(named[:10])}; delete them first")
        for kind in (Workload, Pod, HistoryRecord, Intent, NetworkTopology, StorageClassConfiguration):
            await self._forget(kind, uid)
        for part in (ClusterLink, ClusterNodes):
            try:
                await self._store.delete(part, (await self._store.get(part, uid)).meta.uid)
            except NotFound:
                continue
        return await self._store.delete(Cluster, uid)

    async def join_token(self, actor: Actor, ref: str) -> tuple[Cluster, str, float]:
        """Return the cluster, a new token for one join, and when it ends; an older one ends now.

        The credential that the cluster has goes on until the token is used.
        """
        self._require_control_plane()
        cluster = await self._find(ref)
        await self._access.require(actor, Action.UPDATE, CONFIGURATION, Scope("cluster", cluster.meta.uid))
        secret = secrets.token_urlsafe(32)
        link = await self._link(cluster.meta.uid)
        expires = self._clock.now() + JOIN_SECONDS
        await self._store.update(replace(link, join_hash=_hash(secret), join_expires_at=expires))
        return cluster, f"{cluster.meta.uid}.{secret}", expires

    async def join(self, token: str, credential: str) -> Cluster:
        """Exchange a join token for a credential, which the cluster has drawn and kept before it asks.

        Asking again with the same credential succeeds: the first answer may have been lost.

        Raises:
            Unauthenticated: the token was never given, was used, or has expired.
        """
        uid, _, secret = token.partition(".")
        cluster, link = await self._ends(uid)
        if any(hmac.compare_digest(kept, _hash(credential)) for kept in link.credentials):
            return cluster
        if not link.join_hash or not hmac.compare_digest(link.join_hash, _hash(secret)):
            raise Unauthenticated("the join token is not valid, or was used already: ask for a new one")
        if link.join_expires_at < self._clock.now():
            raise Unauthenticated("the join token has expired: ask for a new one")
        if len(credential) < 32:
            raise InvalidRequest.of(FieldError("credential", "must be a secret of at least 32 characters"))
        joined = replace(link, join_hash="", credentials=(_hash(credential),), rotated_at=self._clock.now())
        await self._store.update(joined)
        return cluster

    async def authenticate(self, token: str) -> tuple[Cluster, ClusterLink]:
        """Return who connects with ``<cluster id>.<credential>``; with the newest credential the older ones end.

        Raises:
            Unauthenticated: it is not known (any more).
        """
        uid, _, credential = token.partition(".")
        cluster, link = await self._ends(uid)
        given = _hash(credential)
        if not any(hmac.compare_digest(kept, given) for kept in link.credentials):
            raise Unauthenticated(
                "the cluster's credential is not valid: join it again with a new token "
                "(`runai control-plane cluster install-info`)"
            )
        if len(link.credentials) > 1 and given == link.credentials[-1]:
            link = await self._store.update(replace(link, credentials=(given,)))
        return cluster, link

    async def rotated(self, link: ClusterLink) -> tuple[ClusterLink, str]:
        """Return the link with one more credential, and that credential; the present one goes on until it is used."""
        credential = secrets.token_urlsafe(32)
        # The first is the one that was used: one that was given after it and never used may have been lost.
        credentials = (*link.credentials[:1], _hash(credential))
        changed = replace(link, credentials=credentials, rotated_at=self._clock.now())
        return await self._store.update(changed), credential

    async def _ends(self, uid: str) -> tuple[Cluster, ClusterLink]:
        try:
            cluster = await self._store.get_by_uid(Cluster, uid[:64])
            if cluster.meta.deleted_at is None:
                return cluster, await self._link(uid)
        except NotFound:
            pass
        raise Unauthenticated("no such cluster is known here: check the address, or join with a new token")

    async def _link(self, uid: str) -> ClusterLink:
        return await self._store.get(ClusterLink, uid)

    async def _find(self, ref: str) -> Cluster:
        for item in (clusters := (await self._store.list(Cluster, Query())).items):
            if ref in (item.meta.uid, item.name):
                return item
        has = ", ".join(item.name for item in clusters[:20]) or "none"
        raise NotFound(f"there is no cluster {ref[:80]}; there are: {has}")

    async def _forget(self, kind: type[Any], cluster: str) -> None:
        for item in (await self._store.list(kind, Query())).items:
            own = item.meta.annotations.get(CLUSTER), getattr(item, "cluster", None), getattr(item, "scope", None)
            if cluster in own:
                await self._store.delete(kind, item.meta.uid)

    async def _status(self, cluster: Cluster) -> ClusterStatus:
        link = await self._link(cluster.meta.uid)
        try:
            nodes = (await self._store.get(ClusterNodes, cluster.meta.uid)).nodes
        except NotFound:
            nodes = ()
        return ClusterStatus(
            cluster=cluster,
            state=state_of(link, self._clock.now()),
            last_liveness=link.last_liveness,
            facts=link.facts,
            conditions=link.conditions,
            nodes=nodes,
        )

    async def _own_status(self, own: Own) -> ClusterStatus:
        nodes = tuple(await self._cluster.nodes())
        conditions = (
            *await missing_prerequisites(self._store),
            *lost_nodes(nodes),
            *stopped_scheduler(own.trouble()),
        )
        return ClusterStatus(
            cluster=Cluster(meta=Meta(name=OWN_NAME, uid=own.uid, created_at=own.since)),
            state=_well(conditions),
            last_liveness=self._clock.now(),
            facts=own.facts,
            conditions=conditions,
            nodes=nodes,
        )

    def _require_control_plane(self) -> None:
        if self._own is not None:
            raise Unsupported(
                "this orchestrator is one cluster; several need a control plane: `runai control-plane up`"
            )


def state_of(link: ClusterLink, now: float) -> ClusterState:
    """Return the state of a cluster from what is kept of its link."""
    if link.last_liveness is None:
        return ClusterState.WAITING
    if not is_alive(link, now):
        return ClusterState.DISCONNECTED
    return _well(link.conditions)


def is_alive(link: ClusterLink, now: float) -> bool:
    """Return whether a cluster is connected; a sign of life from the future is none: our clock was set back since."""
    return link.connected and link.last_liveness is not None and abs(now - link.last_liveness) <= LOST_AFTER


def _well(conditions: Sequence[ClusterCondition]) -> ClusterState:
    """Return the state of a cluster that answers, by what it says of itself."""
    if any(item.type == "prerequisite" for item in conditions):
        return ClusterState.MISSING_PREREQUISITES
    return ClusterState.SERVICE_ISSUES if conditions else ClusterState.CONNECTED


async def missing_prerequisites(store: Store) -> tuple[ClusterCondition, ...]:
    """Return what a cluster lacks, as its operator found it last."""
    try:
        return (await store.get(Prerequisites, Prerequisites().meta.name)).missing
    except NotFound:
        return ()


def lost_nodes(nodes: Sequence[Node]) -> tuple[ClusterCondition, ...]:
    """Return what is to be said of nodes that do not answer."""
    lost = [node.name for node in nodes if not node.ready]
    return (ClusterCondition(type="service", name="nodes", message=f"not ready: {', '.join(lost)}"),) if lost else ()


def stopped_scheduler(trouble: str) -> tuple[ClusterCondition, ...]:
    """Return what is to be said of a scheduler that does not get on; empty where there is no trouble."""
    return (ClusterCondition(type="service", name="scheduler", message=trouble),) if trouble else ()


def wrong_clock(ahead: float) -> tuple[ClusterCondition, ...]:
    """Return what is to be said of a cluster whose clock is so many seconds ahead of ours."""
    if abs(ahead) <= CLOCKS_AGREE:
        return ()
    way = "ahead of" if ahead > 0 else "behind"
    message = f"its clock is {abs(ahead):.0f} s {way} the control plane's, and so are the times that it tells: set it"
    return (ClusterCondition(type="service", name="clock", message=message),)


def _check_name(name: str) -> None:
    if len(name) > 63 or not NAME.fullmatch(name):
        raise InvalidRequest.of(FieldError("name", NAME_RULE, name[:80]))


def _hash(secret: str) -> str:
    # A plain hash is enough for secrets of 256 random bits: there is nothing to guess.
    return hashlib.sha256(secret.encode()).hexdigest()
