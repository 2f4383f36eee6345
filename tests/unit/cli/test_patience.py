"""Connections on which nothing goes on are closed; what takes its time to be answered is not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import uvicorn
import websockets

from runai_core.cli.patience import impatient
from tests.waiting import PATIENCE, soon, until

pytestmark = pytest.mark.asyncio


class App:
    """Answers when it is let; says that it was asked."""

    def __init__(self) -> None:
        self.asked, self.let = asyncio.Event(), asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await receive()
            return
        self.asked.set()
        await self.let.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"late"})


@asynccontextmanager
async def a_server(app: App, protocol: Any) -> AsyncIterator[int]:
    server = uvicorn.Server(
        uvicorn.Config(app, port=0, log_config=None, lifespan="off", http=protocol, timeout_keep_alive=600)
    )
    serving = asyncio.create_task(server.serve())
    await until(lambda: server.started, "a server")
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await soon(serving)


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: "], ids=["nothing", "half a head"])
async def test_a_connection_without_a_whole_request_is_closed(begun: bytes) -> None:
    async with a_server(App(), impatient(0.2)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(begun)

        assert await soon(reader.read()) == b""
        writer.close()


def watched() -> tuple[Any, list[Any]]:
    """Return a class of connections that wait longer than a test, and those that there are."""
    made: list[Any] = []

    class Watched(impatient(10 * PATIENCE)):  # type: ignore[misc]
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            made.append(self)

    return Watched, made


async def test_nobody_waits_for_a_head_while_an_answer_takes_its_time() -> None:
    app, (protocol, made) = App(), watched()
    async with a_server(app, protocol) as port, httpx.AsyncClient() as client:
        for _ in range(2):  # on the same connection
            app.asked.clear()
            app.let.clear()
            asking = asyncio.create_task(client.get(f"http://127.0.0.1:{port}/", timeout=PATIENCE))
            await soon(app.asked.wait())
            assert made[0]._end is None
            app.let.set()
            assert (await soon(asking)).text == "late"
    assert len(made) == 1


async def test_half_a_second_request_is_waited_for_as_the_first() -> None:
    app, (protocol, made) = App(), watched()
    app.let.set()
    async with a_server(app, protocol) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await soon(reader.readuntil(b"late"))).startswith(b"HTTP/1.1 200")
        assert made[0]._end is None
        writer.write(b"GET / HT")

        await until(lambda: made[0]._end is not None, "that its end is near")
        writer.close()


async def test_nobody_waits_for_a_head_where_a_websocket_is_open() -> None:
    app, (protocol, made) = App(), watched()
    async with a_server(app, protocol) as port, websockets.connect(f"ws://127.0.0.1:{port}/", open_timeout=PATIENCE):
        assert made[0]._end is None
