"""A command that runs beside a pod, over a WebSocket of binary frames.

The first byte of a frame is its channel, as in the Kubernetes remote command
protocol: 0 standard input, 1 standard output, 2 standard error, 3 the end as
JSON, 4 the size of the terminal as JSON. An empty frame on channel 0 closes
standard input.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from runai_core.client.answers import read_error
from runai_core.client.requests import Request
from runai_core.client.sockets import AsyncSocket
from runai_core.client.transport import AsyncTransport
from runai_core.model.errors import RunaiError, Unavailable

STDIN, STDOUT, STDERR, END, RESIZE = range(5)
NAMES = {STDOUT: "stdout", STDERR: "stderr"}


class AsyncExecSession:
    """One running command."""

    def __init__(self, socket: AsyncSocket) -> None:
        self._socket = socket
        self._code: int | None = None

    async def read(self) -> tuple[str, bytes] | None:
        """Return ("stdout" or "stderr", bytes), or None when the command has ended."""
        while self._code is None:
            frame = await self._socket.recv()
            if not frame:
                raise Unavailable("the connection ended before the command did")
            if frame[0] == END:
                self._code = _exit_code(frame[1:])
            elif frame[0] in NAMES:
                return NAMES[frame[0]], frame[1:]
        return None

    async def write(self, data: bytes) -> None:
        """Send bytes to standard input; empty closes it."""
        await self._socket.send(bytes([STDIN]) + data)

    async def resize(self, columns: int, rows: int) -> None:
        """Tell the size of the terminal."""
        await self._socket.send(bytes([RESIZE]) + json.dumps({"Width": columns, "Height": rows}).encode())

    async def wait(self) -> int:
        """Return the exit code; output that was not read is dropped."""
        while await self.read() is not None:
            pass
        return self._code or 0

    async def finish(self) -> tuple[bytes, int]:
        """Return all output of both channels, and the exit code."""
        output = b""
        while (piece := await self.read()) is not None:
            output += piece[1]
        return output, self._code or 0


@asynccontextmanager
async def open_session(transport: AsyncTransport, request: Request) -> AsyncIterator[AsyncExecSession]:
    """Start a command; leaving the context ends it."""
    async with transport.dial(request) as socket:
        yield AsyncExecSession(socket)


def _exit_code(text: bytes) -> int:
    """Return the exit code that the last frame tells.

    Raises:
        RunaiError: the command could not be run.
    """
    try:
        end = json.loads(text)
        if "message" in end and "exitCode" not in end:
            raise read_error(int(end.get("code", 500)), text)
        return int(end["exitCode"])
    except (ValueError, KeyError, TypeError):
        raise RunaiError("the end of the command could not be read") from None
