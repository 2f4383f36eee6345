"""TCP connections to the ports of pods."""

import asyncio
import contextlib

from runai_core.model.errors import Unavailable
from runai_core.ports import Connection

CONNECT_SECONDS = 10.0

PIECE = 64 * 1024
"""Bytes that are read at once."""


class TcpConnection:
    """A `ports.Connection`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        """Return what came next, empty at the end. Raise Unavailable where it was cut."""
        try:
            return await self._reader.read(PIECE)
        except OSError as error:
            raise _cut(error) from None

    async def write(self, data: bytes) -> None:
        """Send bytes; empty ones mean that no more will come. Raise Unavailable where it was cut."""
        try:
            if data:
                self._writer.write(data)
                await self._writer.drain()
            else:
                self._writer.write_eof()
        except OSError as error:
            raise _cut(error) from None

    async def close(self) -> None:
        """End it."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


async def dial(host: str, port: int) -> Connection:
    """Return a connection; raise Unavailable where nobody takes it."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            return TcpConnection(*await asyncio.open_connection(host, port))
    except (OSError, TimeoutError) as error:
        raise Unavailable(f"port {port} of the workload does not answer: {_words(error)}") from None


def _cut(error: OSError) -> Unavailable:
    return Unavailable(f"the workload ended the connection: {_words(error)}")


def _words(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
