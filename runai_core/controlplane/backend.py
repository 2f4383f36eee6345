"""The ports of a control plane: a tenant's database, what clusters reported, and questions asked over their links."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from runai_core import wire
from runai_core.backends.clock import SystemClock
from runai_core.backends.local.lease import AlwaysHeld, lock_directory
from runai_core.backends.local.store import LocalStore, open_store
from runai_core.controlplane.channels import Channel
from runai_core.controlplane.lease import StoredLease
from runai_core.controlplane.links import Links
from runai_core.controlplane.store import TenantStore
from runai_core.model.clusters import CLUSTER, Cluster, ClusterNodes
from runai_core.model.decision import CycleResult, Outcome, Verdict
from runai_core.model.errors import Conflict, NotFound, Unavailable, Unsupported
from runai_core.model.nodes import Node, NodePool
from runai_core.model.snapshot import Snapshot
from runai_core.model.workload import Gang, Pod, Workload
from runai_core.ports import Backend, Clock, ClusterChange, Connect, Connection, ExecSession, LogOptions, Query

NAME = "control-plane"
OUTPUT = {1: "stdout", 2: "stderr"}

THERE = frozenset({"secret", "configMap", "userCredential", "podFieldRef"})
"""References in variables that clusters follow, or refuse."""

NOT_HERE = "a control plane runs nothing itself: its clusters do"


class Door:
    """The way to the clusters; the links come when the services are joined."""

    def __init__(self) -> None:
        self._links: Links | None = None

    def install(self, links: Links) -> None:
        """Say how clusters are reached."""
        self._links = links

    @property
    def links(self) -> Links:
        """The links; raise Unavailable before they are there."""
        if self._links is None:
            raise Unavailable("the control plane is starting: try again")
        return self._links


class MirroredCluster:
    """A `ports.Cluster` that knows what the tenant's clusters reported."""

    def __init__(self, store: LocalStore, door: Door) -> None:
        self._store = store
        self._door = door

    async def scale(self, workload: Workload, *, add: int, remove: Sequence[str], actor: str) -> None:
        """Have the cluster of a workload let workers join, and pods of these names leave."""
        given = {"workload": workload.meta.uid, "add": add, "remove": list(remove), "actor": actor}
        await self._door.links.ask(cluster_of(workload), "scale", given)

    async def change_object(self, workload: Workload, actor: str) -> None:
        """Have the cluster of a framework's object change it."""
        given = {"workload": wire.encode(workload), "actor": actor}
        await self._door.links.ask(cluster_of(workload), "change", given)

    async def nodes(self) -> Sequence[Node]:
        """Return the nodes of all clusters."""
        alive = {item.meta.uid for item in (await self._store.list(Cluster, Query())).items}
        reported = (await self._store.list(ClusterNodes, Query())).items
        return [node for item in reported if item.meta.name in alive for node in item.nodes]

    async def snapshot(self, pool: NodePool) -> Snapshot:
        """Refuse: each cluster schedules by itself."""
        raise Unsupported(f"{NOT_HERE} (node pool {pool.name})")

    async def apply(self, result: CycleResult) -> "dict[str, Outcome]":
        """Refuse: each cluster schedules by itself."""
        raise Unsupported(f"{NOT_HERE} ({len(result.verdicts)} verdicts)")

    async def launch(self, workload: Workload, gang: Gang) -> None:
        """Refuse: each cluster makes its own pods."""
        raise Unsupported(f"{NOT_HERE} ({workload.key}, {len(gang.pods)} pods)")

    async def remove(
        self, workload: Workload, *, reason: str, attempt: int | None = None, keep_finished: bool = False
    ) -> None:
        """Refuse: each cluster ends its own pods."""
        raise Unsupported(f"{NOT_HERE} ({workload.key}: {reason}, {attempt}, {keep_finished})")

    async def pods(self, workload: Workload) -> Sequence[Pod]:
        """Return the pods of the workload as its cluster reported them last."""
        return (await self._store.list(Pod, Query(owner=workload.meta.uid))).items

    async def rendezvous(self, workload: Workload) -> tuple[str, int]:
        """Refuse: each cluster knows its own addresses."""
        raise Unsupported(f"{NOT_HERE} ({workload.key})")

    async def changes(self) -> AsyncIterator[ClusterChange]:
        """Yield whenever a cluster has reported something of a pod."""
        async for change in self._store.watch(Pod, await self._store.version()):
            yield ClusterChange(workload_uid=change.object.meta.owner)


class LinkedRuntime:
    """A `ports.Runtime` that asks the cluster of the pod."""

    def __init__(self, store: LocalStore, door: Door) -> None:
        self._store = store
        self._door = door

    async def logs(self, pod: Pod, options: LogOptions) -> AsyncIterator[bytes]:
        """Yield the log in pieces; with `follow`, until the process has ended."""
        given = {"workload": pod.meta.owner, "pod": pod.name, "options": wire.encode(options)}
        channel = await self._door.links.open(cluster_of(pod), "logs", given)
        try:
            while (piece := await channel.read()) is not None:
                yield piece[1]
        finally:
            await channel.close()

    @asynccontextmanager
    async def exec(
        self, pod: Pod, argv: Sequence[str], *, tty: bool = False, stdin: bool = False, container: str | None = None
    ) -> AsyncIterator[ExecSession]:
        """Run a command in the environment of the pod; leaving the context ends it."""
        given = {"workload": pod.meta.owner, "pod": pod.name, "argv": list(argv), "tty": tty, "stdin": stdin}
        more = {"actor": "", "container": container}
        channel = await self._door.links.open(cluster_of(pod), "exec", {**given, **more})
        try:
            await channel.read()  # it runs, or raises why not
            yield LinkedExec(channel)
        finally:
            await channel.close()

    async def reach(self, pod: Pod, port: int) -> Connect | None:
        """Return the way to a port of the pod through its cluster; None where nobody listens there."""
        cluster = cluster_of(pod)
        given = {"workload": pod.meta.owner, "pod": pod.name, "port": port}
        try:
            await self._door.links.ask(cluster, "reach", given)
        except (Conflict, NotFound):
            return None
        return partial(self._connect, cluster, given)

    async def _connect(self, cluster: str, given: Mapping[str, Any]) -> Connection:
        channel = await self._door.links.open(cluster, "connect", given)
        try:
            await channel.read()  # it is made, or raises why not
        except BaseException:
            await channel.close()
            raise
        return LinkedConnection(channel)


class LinkedConnection:
    """A connection to a port of a pod in a cluster."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def read(self) -> bytes:
        """Return what came next, empty at the end. Raise Unavailable where it was cut."""
        piece = await self._channel.read()
        return b"" if piece is None else piece[1]

    async def write(self, data: bytes) -> None:
        """Send bytes; empty ones mean that no more will come. Raise Unavailable where it was cut."""
        await self._channel.write(data)

    async def close(self) -> None:
        """End it."""
        await self._channel.close()


class LinkedExec:
    """A command that runs in a cluster."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def read(self) -> tuple[str, bytes] | None:
        """Return ("stdout" or "stderr", bytes), or None at the end."""
        piece = await self._channel.read()
        return None if piece is None else (OUTPUT[piece[0]], piece[1])

    async def write(self, data: bytes) -> None:
        """Send bytes to standard input; empty closes it."""
        await self._channel.write(data)

    async def wait(self) -> int:
        """Return the exit code."""
        return int((await self._channel.answer())["exitCode"])


class LinkedJudge:
    """Asks the cluster that has a workload what becomes of it; nothing here has to look at it."""

    def __init__(self, links: Links) -> None:
        self._links = links

    def poke(self, uid: str) -> None:
        """Do nothing: the intent is on its way."""

    async def explain(self, workload: Workload) -> Verdict | None:
        """Return why the workload waits; what is known here where the cluster cannot be asked."""
        try:
            answer = await self._links.ask(cluster_of(workload), "why", {"workload": workload.meta.uid})
        except NotFound:
            return workload.verdict  # it is on its way there
        except Unavailable:
            if workload.verdict is None:
                raise
            return workload.verdict  # what it said last
        return _verdict(answer)

    async def would_wait(self, workload: Workload) -> Verdict | None:
        """Return why the workload would wait if it were submitted now; None if it would start."""
        return _verdict(await self._links.try_out(workload))


def _verdict(answer: "dict[str, object]") -> Verdict | None:
    found = answer["verdict"]
    return wire.decode(Verdict, found) if isinstance(found, dict) else None


def cluster_of(item: Pod | Workload) -> str:
    """Return the id of the cluster that an object is of."""
    return item.meta.annotations.get(CLUSTER, "")


@asynccontextmanager
async def open_tenant(data_dir: Path, database: str, door: Door, clock: Clock | None = None) -> AsyncIterator[Backend]:
    """Open a tenant's database; one on a server may be shared by several processes, an SQLite file is for one.

    Raises:
        InvalidRequest: the URL is wrong. Unavailable: the database cannot be used, or another process has the file.
    """
    clock = clock or SystemClock()
    own = database.startswith("sqlite")
    async with _locked(data_dir, own=own), open_store(database, clock, exclusive=own) as inner:
        yield Backend(
            store=TenantStore(inner),
            cluster=MirroredCluster(inner, door),
            runtime=LinkedRuntime(inner, door),
            lease=AlwaysHeld() if own else StoredLease(inner),
            clock=clock,
            name=NAME,
            resolves=THERE,
            facts={"database": database.rpartition("@")[2], "data directory": str(data_dir)},
        )


@asynccontextmanager
async def _locked(data_dir: Path, *, own: bool) -> AsyncIterator[None]:
    if not own:
        yield
        return
    async with lock_directory(data_dir):
        yield
