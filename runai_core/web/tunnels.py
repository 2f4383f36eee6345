"""HTTP and WebSocket over a connection to a port of a pod, wherever that pod is."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpcore

from runai_core.model.errors import Unavailable
from runai_core.ports import Connection

PIECE = 64 * 1024
"""Bytes that are handed on at once."""


class HttpStream(httpcore.AsyncNetworkStream):
    """A connection as an HTTP client wants it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rest = b""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002, ASYNC109 - a tool may think for long
        """Return what came next, empty at the end."""
        try:
            data = self._rest or await self._connection.read()
        except Unavailable as error:
            raise httpcore.ReadError(error.message) from None
        self._rest = data[max_bytes:]
        return data[:max_bytes]

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109 - theirs
        """Send bytes."""
        if not buffer:
            return
        try:
            await self._connection.write(bytes(buffer))
        except Unavailable as error:
            raise httpcore.WriteError(error.message) from None

    async def aclose(self) -> None:
        """End the connection."""
        await self._connection.close()


@asynccontextmanager
async def as_socket(connection: Connection) -> AsyncIterator[socket.socket]:
    """Yield a socket whose other end is the connection; leaving the context ends both."""
    inner, outer = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=inner)
    tasks = [asyncio.create_task(_send(reader, connection)), asyncio.create_task(_bring(connection, writer))]
    try:
        yield outer
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        writer.close()
        outer.close()
        await connection.close()


async def _send(reader: asyncio.StreamReader, connection: Connection) -> None:
    with contextlib.suppress(Unavailable, OSError):
        while data := await reader.read(PIECE):
            await connection.write(data)


async def _bring(connection: Connection, writer: asyncio.StreamWriter) -> None:
    try:
        with contextlib.suppress(Unavailable, OSError):
            while data := await connection.read():
                writer.write(data)
                await writer.drain()
    finally:
        writer.close()
