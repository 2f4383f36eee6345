"""A port of this machine handed on to a port of a pod, over TCP."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from runai_core.model.errors import FieldError, InvalidRequest, Unavailable

PIECE = 65536
"""Bytes that are handed on at once."""


@dataclass(frozen=True, slots=True)
class Forward:
    """A port here and a port there; 0 here is a free one."""

    local: int
    remote: int


def read_forward(text: str) -> Forward:
    """Return what ``8888:80`` or ``80`` stands for.

    Raises:
        InvalidRequest: it is neither, or no port.
    """
    local, _, remote = text.rpartition(":")
    parts = (local or remote, remote)
    if not all(part.isdigit() and int(part) <= 65535 for part in parts) or int(remote) == 0:
        raise InvalidRequest.of(FieldError("--port", "must be LOCAL:REMOTE or one number, each up to 65535", text))
    return Forward(int(parts[0]), int(parts[1]))


def forward(wanted: Sequence[Forward], *, address: str, target: str, say: Callable[[str], None]) -> None:
    """Hand connections on until the process is interrupted.

    Raises:
        Unavailable: a port here is taken.
    """
    asyncio.run(_forward(wanted, address, target, say))


async def _forward(wanted: Sequence[Forward], address: str, target: str, say: Callable[[str], None]) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for item in wanted:
            server = await _listen(item, address, target, say)
            await stack.enter_async_context(server)
            port = server.sockets[0].getsockname()[1]
            say(f"Forwarding {address}:{port} -> {target}:{item.remote} (Ctrl-C ends it)")
        await asyncio.Event().wait()


async def _listen(item: Forward, address: str, target: str, say: Callable[[str], None]) -> asyncio.Server:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            remote_reader, remote_writer = await asyncio.open_connection(target, item.remote)
        except OSError as error:
            say(f"Nobody answers on port {item.remote} of the workload: {error.strerror or error}")
            writer.close()
            return
        await asyncio.gather(_pump(reader, remote_writer), _pump(remote_reader, writer))

    try:
        return await asyncio.start_server(connected, address, item.local)
    except OSError as error:
        if target == address and item.local == item.remote:
            raise Unavailable(
                f"the workload itself listens on {address}:{item.local} already: use that, or another local port"
            ) from None
        raise Unavailable(f"port {item.local} cannot be used: {error.strerror or error}; choose another one") from None


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hand bytes on until the end, then say that it was the end."""
    with contextlib.suppress(OSError):
        while data := await reader.read(PIECE):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        if writer.can_write_eof():
            writer.write_eof()
        else:
            writer.close()
