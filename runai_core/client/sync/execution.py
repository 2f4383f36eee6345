"""Generated from runai_core/client/execution.py by tests/unit/client/test_sync_twin.py: change that file instead.

The first byte of a frame is its channel, as in the Kubernetes remote command
protocol: 0 standard input, 1 standard output, 2 standard error, 3 the end as
JSON, 4 the size of the terminal as JSON. An empty frame on channel 0 closes
standard input.
"""

# ruff: noqa: C416, RUF100, UP028

import json
from collections.abc import Iterator
from contextlib import contextmanager

from runai_core.client.answers import read_error
from runai_core.client.requests import Request
from runai_core.client.sync.sockets import Socket
from runai_core.client.sync.transport import Transport
from runai_core.model.errors import RunaiError, Unavailable

STDIN, STDOUT, STDERR, END, RESIZE = range(5)
NAMES = {STDOUT: "stdout", STDERR: "stderr"}


class ExecSession:
    """One running command."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._code: int | None = None

    def read(self) -> tuple[str, bytes] | None:
        """Return ("stdout" or "stderr", bytes), or None when the command has ended."""
        while self._code is None:
            frame = self._socket.recv()
            if not frame:
                raise Unavailable("the connection ended before the command did")
            if frame[0] == END:
                self._code = _exit_code(frame[1:])
            elif frame[0] in NAMES:
                return NAMES[frame[0]], frame[1:]
        return None

    def write(self, data: bytes) -> None:
        """Send bytes to standard input; empty closes it."""
        self._socket.send(bytes([STDIN]) + data)

    def resize(self, columns: int, rows: int) -> None:
        """Tell the size of the terminal."""
        self._socket.send(bytes([RESIZE]) + json.dumps({"Width": columns, "Height": rows}).encode())

    def wait(self) -> int:
        """Return the exit code; output that was not read is dropped."""
        while self.read() is not None:
            pass
        return self._code or 0

    def finish(self) -> tuple[bytes, int]:
        """Return all output of both channels, and the exit code."""
        output = b""
        while (piece := self.read()) is not None:
            output += piece[1]
        return output, self._code or 0


@contextmanager
def open_session(transport: Transport, request: Request) -> Iterator[ExecSession]:
    """Start a command; leaving the context ends it."""
    with transport.dial(request) as socket:
        yield ExecSession(socket)


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
