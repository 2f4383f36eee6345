"""Connections to ports of pods through the API server, as kubectl makes them, from outside the cluster's network."""

from contextlib import AsyncExitStack
from typing import Any

from runai_core.backends.kubernetes.api import Api
from runai_core.model.errors import Unavailable
from runai_core.ports import Connection

PROTOCOLS = ("v4.channel.k8s.io",)

DATA, ERROR = 0, 1
"""Channels of the one port that is asked for; the first frame of each says only its number."""


class Forwarded:
    """A `ports.Connection` behind a web socket of the API server."""

    def __init__(self, socket: Any, kept: AsyncExitStack) -> None:
        self._socket = socket
        self._kept = kept
        self._greeted: set[int] = set()

    async def read(self) -> bytes:
        """Return what came next, empty at the end. Raise Unavailable where it was cut."""
        while True:
            frame = (await self._socket.receive()).data
            if not isinstance(frame, bytes) or not frame:
                return b""
            channel, rest = frame[0], frame[1:]
            if channel not in self._greeted:
                self._greeted.add(channel)
            elif channel == ERROR:
                raise Unavailable(f"the port does not answer: {rest.decode(errors='replace')[:300]}")
            elif rest:
                return rest

    async def write(self, data: bytes) -> None:
        """Send bytes; that no more will come cannot be said here. Raise Unavailable where it was cut."""
        try:
            if data:
                await self._socket.send_bytes(bytes([DATA]) + data)
        except (ConnectionError, RuntimeError):
            raise Unavailable("the workload ended the connection") from None

    async def close(self) -> None:
        """End it."""
        await self._kept.aclose()


async def forward(api: Api, path: str, port: int) -> Connection:
    """Return a connection to a port; `path` is that of the pod's subresource. Raise as `Api` does."""
    async with AsyncExitStack() as stack:
        socket = await stack.enter_async_context(api.websocket(path, [("ports", str(port))], PROTOCOLS))
        return Forwarded(socket, stack.pop_all())
