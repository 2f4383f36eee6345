"""The API over real services and a real store in memory; only the cluster and its processes are made up."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from runai_core.backends.local.store import open_store
from runai_core.bootstrap import Orchestrator, build
from runai_core.model.decision import CycleResult, Outcome
from runai_core.model.errors import NotFound, Unavailable
from runai_core.model.meta import Meta
from runai_core.model.nodes import GpuDevice, Node, NodePool
from runai_core.model.organization import Queue, QueueResources, ResourceQuota
from runai_core.model.snapshot import NodeEntry, PodRequest, PodState, Snapshot
from runai_core.model.storage import StorageClass
from runai_core.model.workload import Gang, Phase, Pod, PodSpec, PodStatus, Workload
from runai_core.plugins.manager import load_plugins
from runai_core.ports import Backend, ClusterChange, Connect, Connection, ExecSession, LogOptions
from runai_core.service.own_identity import Identity
from runai_core.settings import Settings
from runai_core.web.app import create_app

NOW = 1_800_000_000.0
RESOLVED = frozenset({"secret", "userCredential"})
ECHO_PORT = 8888
LOG_KEPT = 50  # changes: few, so that a watch can be too old


@dataclass
class FakeClock:
    """A clock that stands still until a test moves it."""

    time: float = NOW

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        await asyncio.Event().wait()


@dataclass
class FakeCluster:
    """Two nodes with two simulated GPUs each; pods exist when a test says so."""

    made: dict[str, list[Pod]] = field(default_factory=dict)
    known: tuple[Node, ...] = tuple(
        Node(
            meta=Meta(name=name, uid=name, created_at=NOW),
            cpu=8000,
            memory=16 * 1024**3,
            gpu_count=2,
            gpu_memory_mib=16384,
            devices=tuple(GpuDevice(index=index, product="Try-Out-GPU", simulated=True) for index in range(2)),
        )
        for name in ("node-a", "node-b")
    )
    classes: tuple[StorageClass, ...] = (
        StorageClass(name="fast", provisioner="csi.example"),
        StorageClass(name="standard", provisioner="csi.example", is_default=True, allow_volume_expansion=True),
    )

    async def nodes(self) -> Sequence[Node]:
        return self.known

    async def snapshot(self, pool: NodePool) -> Snapshot:
        unlimited = QueueResources(gpu=ResourceQuota(deserved=4000))
        return Snapshot(
            taken_at=NOW,
            node_pool=pool.name,
            nodes=tuple(
                NodeEntry(name=node.name, cpu=node.cpu, memory=node.memory, gpus=node.gpu_count) for node in self.known
            ),
            queues=(
                Queue(name="department/default", resources=unlimited),
                Queue(name="default", parent="department/default", resources=unlimited),
            ),
        )

    async def apply(self, result: CycleResult) -> Mapping[str, Outcome]:
        return {}

    async def launch(self, workload: Workload, gang: Gang) -> None:
        self.made[workload.meta.uid] = list(gang.pods)

    async def remove(
        self, workload: Workload, *, reason: str, attempt: int | None = None, keep_finished: bool = False
    ) -> None:
        self.made.pop(workload.meta.uid, None)

    async def pods(self, workload: Workload) -> Sequence[Pod]:
        return self.made.get(workload.meta.uid, [])

    async def rendezvous(self, workload: Workload) -> tuple[str, int]:
        return "127.0.0.1", 29500

    async def changes(self) -> AsyncIterator[ClusterChange]:
        await asyncio.Event().wait()
        yield ClusterChange()


@dataclass
class EchoSession:
    """A command that answers what it is told, and ends when its input does."""

    heard: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    said: list[tuple[str, bytes]] = field(default_factory=list)

    async def read(self) -> tuple[str, bytes] | None:
        if self.said:
            return self.said.pop(0)
        data = await self.heard.get()
        return ("stdout", data.upper()) if data else None

    async def write(self, data: bytes) -> None:
        self.heard.put_nowait(data)

    async def wait(self) -> int:
        return 7


@dataclass
class EchoConnection:
    """A connection to a program that answers what it is told, until it is told no more; `cut` breaks it."""

    heard: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)

    async def read(self) -> bytes:
        data = await self.heard.get()
        if data == b"cut":
            raise Unavailable("the connection was cut: try again")
        return data.upper()

    async def write(self, data: bytes) -> None:
        self.heard.put_nowait(data)

    async def close(self) -> None:
        self.heard.put_nowait(b"")


@dataclass
class FakeRuntime:
    """Logs that a test wrote; commands that echo. Remembers what it was asked."""

    lines: list[bytes] = field(default_factory=list)
    asked: list[Any] = field(default_factory=list)

    async def logs(self, pod: Pod, options: LogOptions) -> AsyncIterator[bytes]:
        self.asked.append((pod.name, options))
        if options.previous:
            raise NotFound(f"{pod.name} has not been restarted")
        for line in self.lines:
            yield line
        if options.follow:
            await asyncio.Event().wait()

    async def reach(self, pod: Pod, port: int) -> Connect | None:
        async def connect() -> Connection:
            self.asked.append((pod.name, port))
            return EchoConnection()

        return connect if port == ECHO_PORT else None

    def exec(
        self, pod: Pod, argv: Sequence[str], *, tty: bool = False, stdin: bool = False, container: str | None = None
    ) -> AbstractAsyncContextManager[ExecSession]:
        self.asked.append((pod.name, tuple(argv), tty, stdin, container))
        return self._session()

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[ExecSession]:
        yield EchoSession(said=[("stderr", b"hello")])


class AlwaysHeld:
    """A lease that nobody else wants."""

    @asynccontextmanager
    async def hold(self, name: str = "runai") -> AsyncIterator[None]:
        yield


@dataclass
class Api:
    """A client of the API, and what stands behind it."""

    client: httpx.AsyncClient
    orchestrator: Orchestrator
    app: Any
    token: str
    cluster: FakeCluster
    runtime: FakeRuntime
    clock: FakeClock

    async def get(self, path: str, expect: int = 200, **query: Any) -> Any:
        """Return the JSON that a GET answers."""
        return self._read(await self.client.get(path, params=query), expect)

    async def send(self, method: str, path: str, body: Any = None, expect: int = 200, **query: Any) -> Any:
        """Return the JSON that another method answers."""
        return self._read(await self.client.request(method, path, json=body, params=query), expect)

    async def submit(self, name: str = "a", kind: str = "trainings", expect: int = 202, **given: Any) -> Any:
        """Submit a workload to the project `default`."""
        body = {"name": name, "projectId": "default", "spec": {"command": "true"}, **given}
        return await self.send("POST", f"/api/v1/workloads/{kind}", body, expect)

    async def run(self, uid: str, *, gpu_devices: tuple[int, ...] = ()) -> Workload:
        """Bring a workload to Running, with one pod."""
        workload = await self.move(uid, Phase.RUNNING, pods_requested=1, pods_running=1)
        pod = Pod(
            meta=Meta(name=f"{workload.name}-1-0", project=workload.meta.project, owner=uid, created_at=NOW),
            workload=workload.name,
            pod_group=f"{workload.name}-1",
            node_pool="default",
            spec=PodSpec(image="image", request=PodRequest(gpu_devices=len(gpu_devices))),
            status=PodStatus(
                state=PodState.RUNNING, node="node-a", ready=True, started_at=NOW, gpu_devices=gpu_devices
            ),
        )
        self.cluster.made[uid] = [await self.orchestrator.backend.store.create(pod)]
        return workload

    async def move(self, uid: str, phase: Phase, **changes: Any) -> Workload:
        """Bring a workload to a phase, as if the loops had run."""
        store = self.orchestrator.backend.store
        workload = await store.get_by_uid(Workload, uid)
        return await store.update(replace(workload, phase=phase, phase_updated_at=self.clock.now(), **changes))

    @staticmethod
    def _read(response: httpx.Response, expect: int) -> Any:
        assert response.status_code == expect, response.text
        return response.json()


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    """Return the API of an orchestrator whose loops do not run."""
    clock, cluster, runtime = FakeClock(), FakeCluster(), FakeRuntime()
    async with open_store("sqlite://", clock, log_kept=LOG_KEPT) as store:
        backend = Backend(
            store=store, cluster=cluster, runtime=runtime, lease=AlwaysHeld(), clock=clock, resolves=RESOLVED,
            storage_classes=lambda: cluster.classes,
        )  # fmt: skip
        settings = Settings(data_dir=tmp_path, plugins=("builtin",), max_body_bytes=20_000)
        identity = Identity(cluster_id="3f0e2c1a-1111-4222-8333-444455556666", signing_key="k" * 64)
        orchestrator, _ = build(settings, backend, identity, load_plugins(settings.plugins))
        await orchestrator.organization.ensure_defaults()
        credentials = await orchestrator.access.create_service_account("tester")
        issued = await orchestrator.access.issue(credentials.client_id, credentials.client_secret)
        app = create_app(orchestrator)
        headers = {"Authorization": f"Bearer {issued.access_token}"}
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client:
            yield Api(client, orchestrator, app, issued.access_token, cluster, runtime, clock)


@pytest.fixture
def anonymous() -> dict[str, str]:
    """Return headers without a token."""
    return {"Authorization": ""}
