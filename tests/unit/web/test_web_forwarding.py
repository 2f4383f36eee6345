"""A port of a workload as a WebSocket: bytes both ways, for those who may run commands there."""

from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from runai_core.client.embedded import asgi_dialer
from runai_core.client.sockets import AsyncSocket
from runai_core.model.errors import Conflict, InvalidRequest, NotFound, RunaiError, Unauthenticated, Unavailable
from tests.waiting import soon

pytestmark = pytest.mark.asyncio


def line(api: Any, uid: str, query: str, *, token: bool = True) -> AbstractAsyncContextManager[AsyncSocket]:
    headers = {"Authorization": f"Bearer {api.token}"} if token else {}
    return asgi_dialer(api.app)(f"http://localhost/api/v1/workloads/{uid}/forward?{query}", headers)


async def test_bytes_pass_both_ways_until_there_are_no_more(api: Any) -> None:
    created = await api.submit("a")
    await api.run(created["id"])

    async with line(api, created["id"], "port=8888&pod=a-1-0") as socket:
        await socket.send(b"one")
        assert await soon(socket.recv()) == b"ONE"
        await socket.send(b"two")
        assert await soon(socket.recv()) == b"TWO"
        await socket.send(b"")
        assert await soon(socket.recv()) == b"", "the end"
    assert ("a-1-0", 8888) in api.runtime.asked


async def test_a_connection_that_is_cut_ends_with_its_reason(api: Any) -> None:
    created = await api.submit("a")
    await api.run(created["id"])

    async with line(api, created["id"], "port=8888") as socket:
        await socket.send(b"cut")
        with pytest.raises(Unavailable, match="the connection was cut"):
            await soon(socket.recv())


@pytest.mark.parametrize(
    ("query", "token", "kind", "says"),
    [
        pytest.param("port=8888", False, Unauthenticated, "token", id="nobody"),
        pytest.param("port=80", True, Conflict, "listens on port 80", id="a port on which nobody listens"),
        pytest.param("port=8888&pod=none", True, Conflict, "pod none", id="a pod that is not there"),
        pytest.param("port=http", True, InvalidRequest, "from 1 to 65535", id="no port"),
        pytest.param("port=65536", True, InvalidRequest, "from 1 to 65535", id="too large a port"),
        pytest.param("", True, InvalidRequest, "from 1 to 65535", id="none"),
    ],
)
async def test_a_connection_that_cannot_be_is_refused_before_it_begins(
    api: Any, query: str, kind: type[RunaiError], says: str, *, token: bool
) -> None:
    created = await api.submit("a")
    await api.run(created["id"])

    with pytest.raises(kind, match=says):
        async with line(api, created["id"], query, token=token):
            pass


async def test_an_unknown_workload_has_no_ports(api: Any) -> None:
    with pytest.raises(NotFound):
        async with line(api, "nobody", "port=8888"):
            pass
