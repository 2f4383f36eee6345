"""WebSockets of both sides as a `channels.Wire`."""

from collections.abc import MutableMapping
from typing import Any, Protocol

import websockets.asyncio.client
from websockets.exceptions import ConnectionClosed

from runai_core.model.errors import Unavailable


class ClientSocket:
    """The agent's connection."""

    def __init__(self, connection: websockets.asyncio.client.ClientConnection) -> None:
        self._connection = connection

    async def send(self, frame: str | bytes) -> None:
        """Send a frame; raise Unavailable where the connection is gone."""
        try:
            await self._connection.send(frame)
        except (ConnectionClosed, OSError):
            raise Unavailable("the connection was cut") from None

    async def receive(self) -> str | bytes:
        """Return the next frame; raise Unavailable at the end."""
        try:
            return await self._connection.recv()
        except (ConnectionClosed, OSError):
            raise Unavailable("the connection was cut") from None

    async def close(self) -> None:
        """End the connection."""
        await self._connection.close()


class Served(Protocol):
    """What a web framework has for a WebSocket."""

    async def send_text(self, data: str) -> None:
        """Send text."""
        ...

    async def send_bytes(self, data: bytes) -> None:
        """Send bytes."""
        ...

    async def receive(self) -> MutableMapping[str, Any]:
        """Return the next ASGI message."""
        ...


class ServerSocket:
    """The control plane's connection."""

    def __init__(self, socket: Served) -> None:
        self._socket = socket

    async def send(self, frame: str | bytes) -> None:
        """Send a frame; raise Unavailable where the connection is gone."""
        try:
            await (self._socket.send_text(frame) if isinstance(frame, str) else self._socket.send_bytes(frame))
        except (RuntimeError, OSError):  # how the framework says that it is closed
            raise Unavailable("the connection to the cluster was cut") from None
        except Exception as error:
            if type(error).__name__ in ("WebSocketDisconnect", "ClientDisconnected"):
                raise Unavailable("the connection to the cluster was cut") from None
            raise

    async def receive(self) -> str | bytes:
        """Return the next frame; raise Unavailable at the end."""
        message = await self._socket.receive()
        if message["type"] != "websocket.receive":
            raise Unavailable("the connection to the cluster was cut")
        text, data = message.get("text"), message.get("bytes")
        if isinstance(text, str):
            return text
        return data if isinstance(data, bytes) else b""
