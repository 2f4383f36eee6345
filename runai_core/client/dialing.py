"""WebSockets over the network."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import websockets.asyncio.client
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from runai_core.client.answers import read_close, read_error
from runai_core.client.sockets import AsyncSocket
from runai_core.model.errors import Unavailable


class AsyncNetworkSocket:
    """A WebSocket of the `websockets` library."""

    def __init__(self, connection: websockets.asyncio.client.ClientConnection) -> None:
        self._connection = connection

    async def recv(self) -> bytes:
        """Return the next frame; empty when the other side has closed, its reason as an error where it had one."""
        try:
            frame = await self._connection.recv()
        except ConnectionClosed as closed:
            error = read_close(closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else None
            if error is not None:
                raise error from None
            return b""
        return frame.encode() if isinstance(frame, str) else frame

    async def send(self, frame: bytes) -> None:
        """Send a frame; nobody listens any more once the other side has closed."""
        try:
            await self._connection.send(frame)
        except ConnectionClosed:
            return


@asynccontextmanager
async def dial(url: str, headers: dict[str, str]) -> AsyncIterator[AsyncSocket]:
    """Open a WebSocket; leaving the context closes it.

    Raises:
        RunaiError: the server refused; the class that its answer stands for.
        Unavailable: nobody answers.
    """
    address = url.replace("http", "ws", 1)
    try:
        async with websockets.asyncio.client.connect(
            address, additional_headers=headers, max_size=None, open_timeout=5, proxy=None
        ) as connection:
            yield AsyncNetworkSocket(connection)
    except InvalidStatus as refused:
        raise read_error(refused.response.status_code, bytes(refused.response.body or b"")) from None
    except (OSError, WebSocketException) as error:
        raise Unavailable(f"no connection to {url.partition('?')[0]}: {error}") from None
