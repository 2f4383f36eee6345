"""Where a pod's port is: its own program, nobody else's."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from runai_core.backends.dialing import dial
from runai_core.backends.kubernetes.forwarding import forward
from runai_core.backends.kubernetes.runtime import KubernetesRuntime
from runai_core.backends.local.listening import POD_VARIABLE, listener_of
from runai_core.model.errors import NotFound, Unavailable
from runai_core.model.meta import Meta
from runai_core.model.workload import Pod, PodSpec
from tests.ports import free_port
from tests.waiting import soon

LISTEN = """
import socket, sys
server = socket.create_server((sys.argv[1], 0))
print(server.getsockname()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=["127.0.0.1", "0.0.0.0"])
def listening(request: pytest.FixtureRequest) -> Iterator[int]:
    """Return the port on which a process of the pod `here` listens."""
    process = subprocess.Popen(
        [sys.executable, "-c", LISTEN, request.param],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, POD_VARIABLE: "here"},
    )
    assert process.stdout is not None
    yield int(process.stdout.readline())
    process.communicate()


def test_a_port_is_found_at_the_process_of_the_pod(listening: int) -> None:
    assert listener_of("here", listening) == "127.0.0.1"


def test_the_port_of_another_pods_process_is_not_the_pods(listening: int) -> None:
    assert listener_of("elsewhere", listening) == ""


def a_pod(uid: str) -> Pod:
    return Pod(meta=Meta(name="p", uid=uid), workload="w", pod_group="g", spec=PodSpec())


@pytest.mark.parametrize(("status", "found"), [({"podIP": "127.0.0.1"}, True), ({}, False), (None, False)])
@pytest.mark.asyncio
async def test_a_pod_of_a_cluster_is_reached_at_its_address(status: Any, found: bool, listening: int) -> None:
    pods = {"here": {"metadata": {"namespace": "n"}, "status": status}}
    world = SimpleNamespace(pods=SimpleNamespace(by_uid=pods.get))
    runtime = KubernetesRuntime(cast("Any", None), cast("Any", world), inside=True)

    connect = await runtime.reach(a_pod("here"), listening)

    assert (connect is not None) is found
    if connect is not None:
        await (await connect()).close()
    with pytest.raises(NotFound):
        await runtime.reach(a_pod("gone"), 8888)


class ApiServer:
    """An API server, as far as the web socket of one port goes: `frames` is what it says."""

    def __init__(self, *frames: bytes) -> None:
        self.frames = [b"\x00\xb8\x22", b"\x01\xb8\x22", *frames]
        self.asked: list[Any] = []
        self.is_open = False

    @asynccontextmanager
    async def websocket(self, path: str, query: Any, protocols: Any) -> AsyncIterator[Any]:
        self.asked.append((path, query, protocols))
        self.is_open = True
        yield self
        self.is_open = False

    async def receive(self) -> Any:
        return SimpleNamespace(data=self.frames.pop(0) if self.frames else None)

    async def send_bytes(self, data: bytes) -> None:
        if not self.is_open:
            raise ConnectionResetError("closed")
        self.asked.append(data)


@pytest.mark.asyncio
async def test_from_outside_a_pod_of_a_cluster_is_reached_through_the_api_server() -> None:
    api = ApiServer(b"\x00hello ", b"\x00", b"\x00you")
    item = {"metadata": {"namespace": "n"}, "status": {"podIP": "10.1.2.3"}}
    world = SimpleNamespace(pods=SimpleNamespace(by_uid={"here": item}.get))
    connect = await KubernetesRuntime(cast("Any", api), cast("Any", world), inside=False).reach(a_pod("here"), 8888)
    assert connect is not None

    connection = await connect()
    await connection.write(b"hi")
    assert [await connection.read() for _ in range(3)] == [b"hello ", b"you", b""]
    assert api.asked == [
        ("/api/v1/namespaces/n/pods/p/portforward", [("ports", "8888")], ("v4.channel.k8s.io",)),
        b"\x00hi",
    ]
    await connection.close()
    assert not api.is_open
    with pytest.raises(Unavailable):
        await connection.write(b"late")


@pytest.mark.asyncio
async def test_what_the_kubelet_says_of_a_port_is_said() -> None:
    api = ApiServer(b"\x01failed to connect to localhost:8888: connection refused")

    connection = await forward(cast("Any", api), "/x", 8888)

    with pytest.raises(Unavailable, match="connection refused"):
        await connection.read()


@pytest.mark.asyncio
async def test_a_connection_carries_bytes_both_ways_until_its_end() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read()).upper())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        connection = await dial("127.0.0.1", server.sockets[0].getsockname()[1])
        for data in (b"to ", b"you", b""):
            await connection.write(data)
        heard = b""
        while data := await soon(connection.read()):
            heard += data
        await connection.close()

    assert heard == b"TO YOU"


@pytest.mark.asyncio
async def test_where_nobody_takes_a_connection_it_is_said_in_words() -> None:
    port = free_port()

    with pytest.raises(Unavailable, match=f"port {port} of the workload does not answer"):
        await dial("127.0.0.1", port)
