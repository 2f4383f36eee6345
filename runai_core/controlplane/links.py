"""The control plane's end of the links: who is connected to this process, and what is said on a connection."""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

from runai_core import wire
from runai_core.controlplane.channels import Channel, Handler, Peer, Wire
from runai_core.controlplane.downward import downward_feeds
from runai_core.controlplane.feeding import from_message
from runai_core.controlplane.measurements import POSITION, Keeper, from_rows
from runai_core.controlplane.mirror import KINDS, Mirror
from runai_core.controlplane.projects import Projects
from runai_core.controlplane.store import TenantStore
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
from runai_core.model.nodes import Node, NodePool
from runai_core.model.organization import Department, Project
from runai_core.model.workload import Workload
from runai_core.ports import Clock
from runai_core.service.clusters import LOST_AFTER, ClusterService

log = logging.getLogger(__name__)

ROTATE_SECONDS = 7 * 24 * 3600.0
"""Age at which a cluster gets a new credential."""


class Links:
    """The clusters that are connected to this process."""

    def __init__(
        self,
        store: TenantStore,
        clusters: ClusterService,
        clock: Clock,
        epoch: str,
        *,
        rotate: float = ROTATE_SECONDS,
        wrote: Callable[[type[Any]], None] = lambda _kind: None,
    ) -> None:
        self._store = store
        self._clusters = clusters
        self._clock = clock
        self._epoch = epoch
        self._rotate = rotate
        self._wrote = wrote  # is told of projects that were taken up
        self._sessions: dict[str, Session] = {}

    async def serve(self, wire: Wire, cluster: Cluster, link: ClusterLink) -> None:
        """Speak with a cluster until the connection ends, or another one takes its place."""
        session = Session(self._store, wire, cluster, self._clock, self._epoch)
        uid = cluster.meta.uid

        def ready() -> None:
            self._sessions[uid] = session
            self._wrote(Project)

        try:
            credential = ""
            if self._clock.now() - link.rotated_at > self._rotate:
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

    async def _peer(self, cluster: str) -> Peer:
        session = self._sessions.get(cluster)
        if session is not None:
            return session.peer
        raise Unavailable(await self._why_not(cluster))

    async def _why_not(self, uid: str) -> str:
        try:
            link = await self._store.get(ClusterLink, uid)
            name = (await self._store.get_by_uid(Cluster, uid)).name
        except NotFound:
            return "the cluster of this workload is not known any more"
        if link.last_liveness is None:
            return f"cluster {name} waits to connect: nothing is known of it yet"
        if link.connected and self._clock.now() - link.last_liveness < LOST_AFTER:
            return f"cluster {name} is connected to another replica of the control plane: ask there"
        seconds = self._clock.now() - link.last_liveness
        return f"cluster {name} is disconnected since {seconds:.0f} s: what runs there goes on; try again later"


class Session:
    """One connection with one cluster."""

    def __init__(self, store: TenantStore, wire: Wire, cluster: Cluster, clock: Clock, epoch: str) -> None:
        self._store = store
        self._cluster = cluster
        self._clock = clock
        self._epoch = epoch
        self._projects = Projects(store, cluster)
        self._keeper = Keeper(store, cluster, clock)
        self._hello: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._lock = asyncio.Lock()
        self._link: ClusterLink | None = None
        self._mirror: Mirror | None = None
        self._heard = asyncio.Event()
        self._ended = asyncio.Event()
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

    async def run(self, link: ClusterLink, credential: str, ready: Callable[[], None]) -> None:
        """Speak until the connection ends; raise Unavailable or StaleVersion then."""
        reading = asyncio.create_task(self.peer.run())
        tasks = [reading]
        try:
            hello = await _first(self._hello, reading)
            await self._begin(link, hello)
            await self.peer.send({"hello": {"epoch": self._epoch, "positions": self._positions()}})
            if credential:
                await self.peer.send({"credential": credential})
            ready()
            log.info("cluster %s is connected", self._cluster.name)
            positions = hello["positions"] if hello["positionsEpoch"] == self._epoch else {}
            tasks.append(asyncio.create_task(self._watch_for_silence()))
            tasks.append(asyncio.create_task(self._until_ended()))
            tasks += [
                asyncio.create_task(feed.run(positions.get(kind), self.peer.deliver))
                for kind, feed in downward_feeds(self._store, self._cluster, self._projects).items()
            ]
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._end()

    async def _begin(self, link: ClusterLink, hello: Mapping[str, Any]) -> None:
        """Make this connection the one that writes for the cluster."""
        epoch = str(hello["epoch"])
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
        self._link = await self._store.update(changed)
        self._mirror = Mirror(self._store, self._cluster.meta.uid, epoch, self._projects)

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
        if self._link is not None:
            await self._save(last_liveness=self._clock.now(), connected=True, conditions=conditions)

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
        await self._keeper.take(points)
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


async def _first(answer: "asyncio.Future[dict[str, Any]]", reading: "asyncio.Task[None]") -> dict[str, Any]:
    await asyncio.wait((answer, reading), timeout=LOST_AFTER, return_when=asyncio.FIRST_COMPLETED)
    if reading.done():
        reading.result()
    if not answer.done():
        raise Unavailable("the cluster did not say who it is")
    return answer.result()
