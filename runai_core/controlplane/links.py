"""The control plane's end of the links: who is connected to this process, and what is said on a connection."""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

from runai_core import wire
from runai_core.controlplane.channels import Channel, Handler, Peer, Wire
from runai_core.controlplane.downward import OLDER, ORGANIZATION, downward_feeds
from runai_core.controlplane.feeding import Delta, Feed, from_message
from runai_core.controlplane.measurements import POSITION, Keeper, from_rows
from runai_core.controlplane.mirror import KINDS, Mirror
from runai_core.controlplane.projects import Projects
from runai_core.controlplane.relaying import Relays, pass_on
from runai_core.controlplane.store import TenantStore
from runai_core.controlplane.together import together
from runai_core.model.clusters import (
    CLUSTER,
    LOCAL_NAME,
    Cluster,
    ClusterCondition,
    ClusterFacts,
    ClusterLink,
    ClusterNodes,
)
from runai_core.model.errors import NotFound, RunaiError, StaleVersion, Unavailable
from runai_core.model.meta import Meta
from runai_core.model.nodes import NetworkTopology, Node, NodePool
from runai_core.model.organization import Department, Project
from runai_core.model.storage import StorageClass
from runai_core.model.workload import Pod, Workload
from runai_core.ports import Clock
from runai_core.service.clusters import LOST_AFTER, ClusterService, is_alive, wrong_clock
from runai_core.service.secrets import Vault

log = logging.getLogger(__name__)

ROTATE_SECONDS = 7 * 24 * 3600.0
"""Age at which a cluster gets a new credential."""

OF_PROCESS = frozenset({Workload.__name__, Pod.__name__})
"""Kinds whose versions may mean nothing to the next process of a cluster: on Kubernetes they are objects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """The tenant that clusters are linked to, in this process."""

    store: TenantStore
    clock: Clock
    epoch: str  # names the store
    vault: Vault
    relays: Relays


class Links:
    """The clusters that are connected to this process."""

    def __init__(self, home: Home, clusters: ClusterService, wrote: Callable[[type[Any]], None]) -> None:
        self._home = home
        self._store = home.store
        self._clock = home.clock
        self._clusters = clusters
        self._wrote = wrote  # is told of projects that were taken up
        self._sessions: dict[str, Session] = {}

    @property
    def relays(self) -> Relays:
        """The ways to other replicas."""
        return self._home.relays

    async def serve(self, wire: Wire, cluster: Cluster, link: ClusterLink) -> None:
        """Speak with a cluster until the connection ends, or another one takes its place."""
        session = Session(self._home, wire, cluster)
        uid, here = cluster.meta.uid, self.relays.here
        link = replace(link, replica=here.url, replica_certificate=here.certificate)

        def ready() -> None:
            self._sessions[uid] = session
            self._wrote(Project)

        try:
            credential = ""
            if self._clock.now() - link.rotated_at > ROTATE_SECONDS:
                link, credential = await self._clusters.rotated(link)
            await session.run(link, credential, ready)
        except RunaiError as error:
            log.info("the link to cluster %s ended: %s", cluster.name, error.message)
            raise
        finally:
            if self._sessions.get(uid) is session:
                del self._sessions[uid]

    async def part(self, cluster: str) -> None:
        """End the connection of a cluster, which was forgotten."""
        if session := self._sessions.get(cluster):
            session.end()

    def connected(self, cluster: str) -> bool:
        """Return whether the cluster is connected to this process."""
        return cluster in self._sessions

    async def ask(self, cluster: str, operation: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return a cluster's answer; raise Unavailable where it cannot be asked, or what it could not do."""
        return await (await self._peer(cluster)).ask(operation, arguments)

    async def try_out(self, workload: Workload) -> dict[str, Any]:
        """Return what the cluster of its project would say of a workload that was submitted now."""
        project = await self._store.get(Project, workload.meta.project)
        cluster = await self._store.cluster_of(project.name)
        local = project.meta.annotations.get(LOCAL_NAME) or project.name
        given = replace(workload, meta=replace(workload.meta, project=local))
        return await self.ask(cluster, "try", {"workload": wire.encode(given)})

    async def open(self, cluster: str, operation: str, arguments: Mapping[str, Any]) -> Channel:
        """Begin a conversation with a cluster; raise Unavailable where it is not connected."""
        return await (await self._peer(cluster)).open(operation, arguments)

    async def relay(self, wire: Wire, cluster: str) -> None:
        """Ask a cluster that is connected to this process what another replica asks, until the connection ends.

        Raises:
            Unavailable: it is not connected here (any more), or the connection has ended.
        """
        session = self._sessions.get(cluster)
        if session is None:
            raise Unavailable("the cluster is not connected to this replica any more: try again")
        async with together() as work:
            work.add(pass_on(wire, session.peer), session.over())
            await work.until_first()

    async def close(self) -> None:
        """End the connections to other replicas."""
        await self.relays.close()

    async def _peer(self, cluster: str) -> Peer:
        session = self._sessions.get(cluster)
        if session is not None:
            return session.peer
        link = await self._known_link(cluster)
        if link is not None and self._is_alive(link) and (peer := await self.relays.peer(link)) is not None:
            return peer
        raise Unavailable(await self._why_not(cluster))

    async def _known_link(self, uid: str) -> ClusterLink | None:
        try:
            return await self._store.get(ClusterLink, uid)
        except NotFound:
            return None

    def _is_alive(self, link: ClusterLink) -> bool:
        return is_alive(link, self._clock.now())

    async def _why_not(self, uid: str) -> str:
        try:
            link = await self._store.get(ClusterLink, uid)
            name = (await self._store.get_by_uid(Cluster, uid)).name
        except NotFound:
            return "the cluster of this workload is not known any more"
        if link.last_liveness is None:
            return f"cluster {name} waits to connect: nothing is known of it yet"
        if self._is_alive(link) and link.replica:
            return f"cluster {name} connects anew just now: try again"
        if self._is_alive(link):
            return f"cluster {name} is connected to another replica, which has no --replica-url: ask there"
        seconds = max(self._clock.now() - link.last_liveness, 0.0)
        return f"cluster {name} is disconnected since {seconds:.0f} s: what runs there goes on; try again later"


class Session:
    """One connection with one cluster."""

    def __init__(self, home: Home, wire: Wire, cluster: Cluster) -> None:
        self._store = home.store
        self._cluster = cluster
        self._clock = home.clock
        self._epoch = home.epoch
        self._vault = home.vault
        self._projects = Projects(home.store, cluster)
        self._keeper = Keeper(home.store, cluster, home.clock)
        self._hello: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._lock = asyncio.Lock()
        self._link: ClusterLink | None = None
        self._mirror: Mirror | None = None
        self._ahead = 0  # seconds by which the cluster's clock is ahead of ours, where it is wrong
        self._heard = asyncio.Event()
        self._ended = asyncio.Event()  # by us
        self._over = asyncio.Event()  # whoever ended it
        handlers: dict[str, Handler] = {
            "hello": self._on_hello,
            "delta": self._on_delta,
            "alive": self._on_alive,
            "nodes": self._on_nodes,
            "points": self._on_points,
        }
        self.peer = Peer(wire, handlers)

    def end(self) -> None:
        """End the connection."""
        self._ended.set()

    async def over(self) -> None:
        """Wait until the connection has ended; raise Unavailable then."""
        await self._over.wait()
        raise Unavailable(f"cluster {self._cluster.name} was disconnected: try again")

    async def run(self, link: ClusterLink, credential: str, ready: Callable[[], None]) -> None:
        """Speak until the connection ends; raise Unavailable or StaleVersion then."""
        try:
            async with together() as work:
                work.add(self.peer.run())
                hello = await work.until(self._hello, LOST_AFTER, "the cluster did not say who it is")
                await self._begin(link, hello)
                await self.peer.send({"hello": {"epoch": self._epoch, "positions": self._positions()}})
                if credential:
                    await self.peer.send({"credential": credential})
                ready()
                log.info("cluster %s is connected", self._cluster.name)
                positions = hello["positions"] if hello["positionsEpoch"] == self._epoch else {}
                work.add(self._watch_for_silence(), self._until_ended())
                for kind, feed in (feeds := self._feeds(hello)).items():
                    send = self.peer.deliver if kind in ORGANIZATION else partial(self._deliver_after, feeds)
                    work.add(feed.run(positions.get(kind), send))
                await work.until_first()
        finally:
            self._over.set()
            await self._end()

    async def _deliver_after(self, feeds: Mapping[str, Feed], delta: Delta) -> None:
        """Tell what is wanted of workloads after what they may need: their project, a credential."""
        for kind in ORGANIZATION.keys() & feeds.keys():
            await feeds[kind].caught_up()
        await self.peer.deliver(delta)

    def _feeds(self, hello: Mapping[str, Any]) -> dict[str, Feed]:
        vault = self._vault if hello.get("seals") else None
        feeds = downward_feeds(self._store, self._cluster, self._projects, vault)
        understood = hello.get("kinds", OLDER)
        return {kind: feed for kind, feed in feeds.items() if kind in understood}

    async def _begin(self, link: ClusterLink, hello: Mapping[str, Any]) -> None:
        """Make this connection the one that writes for the cluster."""
        epoch, process = str(hello["epoch"]), str(hello.get("process", ""))
        facts = wire.decode(ClusterFacts, hello["facts"])
        session = uuid.uuid4().hex
        changed = replace(link, session=session, connected=True, last_liveness=self._clock.now(), facts=facts)
        if epoch != link.epoch:
            changed = replace(changed, epoch=epoch, positions={})
            await self._projects.take_up(
                [wire.decode(Department, item) for item in hello["departments"]],
                [wire.decode(NodePool, item) for item in hello["nodePools"]],
                [wire.decode(Project, item) for item in hello["projects"]],
            )
        if process != link.process:  # its versions of these are others now: they are told anew, and count
            kept = {kind: version for kind, version in changed.positions.items() if kind not in OF_PROCESS}
            changed = replace(changed, process=process, positions=kept)
        self._link = await self._store.update(changed)
        versions = f"{epoch}.{process}" if process else epoch
        self._mirror = Mirror(self._store, self._cluster.meta.uid, versions, self._projects)

    async def _end(self) -> None:
        if self._link is None:
            return
        with contextlib.suppress(RunaiError):  # another connection is the cluster's by now
            await self._save(connected=False)
        log.info("cluster %s is disconnected", self._cluster.name)

    async def _save(self, **changes: Any) -> None:
        """Change the link; raise StaleVersion where another connection has taken over."""
        async with self._lock:
            link = cast("ClusterLink", self._link)
            try:
                self._link = await self._store.update(replace(link, **changes))
            except StaleVersion:
                newer = await self._store.get(ClusterLink, self._cluster.meta.uid)
                if newer.session != link.session:
                    raise
                self._link = await self._store.update(replace(newer, **changes))

    def _positions(self) -> dict[str, int]:
        return dict(cast("ClusterLink", self._link).positions)

    async def _on_hello(self, hello: dict[str, Any]) -> None:
        if not self._hello.done():
            self._hello.set_result(hello)

    async def _on_delta(self, message: dict[str, Any]) -> None:
        if self._mirror is None:
            raise Unavailable("the cluster spoke before it was greeted")
        delta = from_message(message, KINDS)
        await self._mirror.take(delta)
        if delta.last:
            await self._save(positions={**self._positions(), delta.kind: delta.version})
        await self.peer.send({"ack": delta.kind})

    async def _on_alive(self, message: dict[str, Any]) -> None:
        self._heard.set()
        conditions = tuple(wire.decode(ClusterCondition, item) for item in message["conditions"])
        classes = message.get("storageClasses")
        has: dict[str, Any] = {
            "topologies": tuple(wire.decode(NetworkTopology, item) for item in message.get("topologies", ())),
            "storage_classes": None if classes is None else tuple(wire.decode(StorageClass, item) for item in classes),
        }
        now = self._clock.now()
        ahead = float(message.get("now", now)) - now  # a cluster of an older version does not say
        conditions += (wrong := wrong_clock(ahead))
        self._ahead = round(ahead) if wrong else 0
        if self._link is not None:
            await self._save(last_liveness=now, connected=True, conditions=conditions, **has)

    async def _on_nodes(self, nodes: list[Any]) -> None:
        uid = self._cluster.meta.uid
        found = [wire.decode(Node, item) for item in nodes]
        reported = tuple(
            replace(node, meta=replace(node.meta, annotations={**node.meta.annotations, CLUSTER: uid}))
            for node in found
        )
        try:
            kept = await self._store.get(ClusterNodes, uid)
            await self._store.update(replace(kept, nodes=reported))
        except NotFound:
            await self._store.create(ClusterNodes(meta=Meta(name=uid, owner=uid), nodes=reported))

    async def _until_ended(self) -> None:
        await self._ended.wait()
        raise Unavailable(f"cluster {self._cluster.name} is not wanted here any more")

    async def _on_points(self, rows: list[Any]) -> None:
        points = from_rows(rows)
        if self._link is None or not points:
            return
        await self._keeper.take(points, self._ahead)
        await self._save(positions={**self._positions(), POSITION: int(points[-1].time)})

    async def _watch_for_silence(self) -> None:
        """End when the cluster says nothing any more: a connection can be dead without being closed."""
        while True:
            self._heard.clear()
            try:
                async with asyncio.timeout(LOST_AFTER):
                    await self._heard.wait()
            except TimeoutError:
                raise Unavailable(f"cluster {self._cluster.name} is silent") from None
