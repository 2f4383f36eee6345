"""A port of a pod in a linked cluster: bytes both ways over the link, also through another replica, until its end."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import pytest
import pytest_asyncio

from runai_core.backends.dialing import dial
from runai_core.controlplane.backend import Door, LinkedRuntime
from runai_core.controlplane.channels import WINDOW, Peer
from runai_core.controlplane.relaying import pass_on
from runai_core.model.clusters import CLUSTER
from runai_core.model.errors import RunaiError, Unavailable
from runai_core.model.meta import Meta
from runai_core.model.snapshot import PodState
from runai_core.model.workload import Pod, PodSpec, PodStatus
from runai_core.ports import Connect, Connection
from tests.pipes import Pipe, a_pipe, answers_of, link_to
from tests.waiting import soon, until

POD = Pod(
    meta=Meta(name="lab-1-0", uid="p1", owner="w1", annotations={CLUSTER: "west"}),
    workload="lab",
    pod_group="lab",
    spec=PodSpec(),
    status=PodStatus(state=PodState.RUNNING),
)


@dataclass
class There:
    """The cluster: one pod, whose program answers in capitals; `port` is where it listens."""

    port: int = 0
    open: set[asyncio.StreamWriter] = field(default_factory=set)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open.add(writer)
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                if data == b"reset":
                    writer.transport.abort()
                    break
                writer.write(data.upper())
                await writer.drain()
        writer.close()
        self.open.discard(writer)

    async def pods(self, _actor: Any, uid: str) -> list[Pod]:
        return [POD] if uid == "w1" else []

    async def reach(self, pod: Pod, port: int) -> Connect | None:
        assert pod is POD
        return partial(dial, "127.0.0.1", port) if port in (self.port, 1) else None

    async def own_id(self, uid: str) -> str:
        return uid


@dataclass
class Here:
    """The control plane, with a link to the cluster."""

    there: There
    runtime: LinkedRuntime
    pipe: Pipe

    async def connect(self, port: int = 0) -> Connection:
        way = await soon(self.runtime.reach(POD, port or self.there.port))
        assert way is not None
        return await soon(way())


@pytest_asyncio.fixture(params=["straight", "through another replica"])
async def here(request: pytest.FixtureRequest) -> AsyncIterator[Here]:
    """A control plane whose replica holds the link itself, or asks the one that does."""
    there = There()
    near, far = a_pipe()
    asking, answering = Peer(near, {}), Peer(far, answers_of(there))
    work = [asking.run(), answering.run()]
    if request.param != "straight":
        first, second = a_pipe()
        work.append(pass_on(second, asking))
        asking = Peer(first, {})
        work.append(asking.run())
    tasks = [asyncio.create_task(each) for each in work]
    door = Door()
    door.install(link_to(asking))
    async with await asyncio.start_server(there.answer, "127.0.0.1", 0) as server:
        there.port = server.sockets[0].getsockname()[1]
        yield Here(there, LinkedRuntime(cast("Any", None), door), near)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def heard(connection: Connection, size: int) -> bytes:
    found = b""
    while len(found) < size and (data := await soon(connection.read())):
        found += data
    return found


@pytest.mark.asyncio
async def test_bytes_pass_both_ways_in_any_amount(here: Here) -> None:
    connection, other = await here.connect(), await here.connect()
    large = b"x" * (3 * WINDOW)

    async def say() -> None:
        for start in range(0, len(large), 50_000):
            await connection.write(large[start : start + 50_000])
        await connection.write(b"")

    saying = asyncio.create_task(say())
    await other.write(b"meanwhile")
    assert await heard(other, 9) == b"MEANWHILE"
    assert await heard(connection, len(large) + 1) == large.upper(), "and then its end"
    await soon(saying)
    for each in (connection, other):
        await each.close()


@pytest.mark.asyncio
async def test_hanging_up_ends_the_connection_in_the_cluster(here: Here) -> None:
    connection = await here.connect()
    await connection.write(b"a")
    await heard(connection, 1)
    assert len(here.there.open) == 1

    await connection.close()

    await until(lambda: not here.there.open, "the program sees the end")


@pytest.mark.asyncio
async def test_where_nobody_listens_there_is_no_way(here: Here) -> None:
    assert await soon(here.runtime.reach(POD, 2)) is None


@pytest.mark.asyncio
async def test_a_program_that_fails_ends_its_connection_and_not_the_link(here: Here) -> None:
    with pytest.raises(Unavailable, match="port 1 of the workload does not answer"):
        await here.connect(port=1)
    broken = await here.connect()
    await broken.write(b"reset")
    with contextlib.suppress(RunaiError):
        assert await heard(broken, 1) == b""

    connection = await here.connect()
    await connection.write(b"still")
    assert await heard(connection, 5) == b"STILL"
    await connection.close()


@pytest.mark.asyncio
async def test_when_the_link_is_cut_both_ends_are_told(here: Here) -> None:
    connection = await here.connect()
    await connection.write(b"a")
    await heard(connection, 1)

    here.pipe.cut()

    with pytest.raises(Unavailable):
        await soon(connection.read())
    await until(lambda: not here.there.open, "the program sees the end")
