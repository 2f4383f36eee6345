"""A port of this machine handed on to a port of a pod, through the orchestrator."""

import contextlib
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import TYPE_CHECKING

from runai_core.model.errors import FieldError, InvalidRequest, RunaiError, Unavailable

if TYPE_CHECKING:
    from runai_core.client.sync.sockets import Socket

PIECE = 65536
"""Bytes that are handed on at once."""

Connect = Callable[[int], AbstractContextManager["Socket"]]
"""Opens a connection to a port of the pod."""


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


def forward(wanted: Sequence[Forward], *, address: str, connect: Connect, say: Callable[[str], None]) -> None:
    """Hand connections on until the process is interrupted.

    Raises:
        Unavailable: a port here is taken.
    """
    with ExitStack() as stack:
        for item in wanted:
            server = stack.enter_context(_Server(item, address, connect, say))
            port = server.server_address[1]
            say(f"Forwarding {address}:{port} -> port {item.remote} of the workload (Ctrl-C ends it)")
            threading.Thread(target=server.serve_forever, daemon=True).start()
        threading.Event().wait()


class _Server(ThreadingTCPServer):
    """Listens on one port; each connection has a thread."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, item: Forward, address: str, connect: Connect, say: Callable[[str], None]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.remote, self.connect, self.say = item.remote, connect, say
        try:
            super().__init__((address, item.local), _Handler)
        except OSError as error:
            hint = " (on one machine, the workload itself may listen there)" if item.local == item.remote else ""
            words = error.strerror or error
            raise Unavailable(f"port {item.local} cannot be used: {words}; choose another one{hint}") from None


class _Handler(BaseRequestHandler):
    """Carries one connection."""

    server: _Server
    request: socket.socket

    def handle(self) -> None:
        try:
            with self.server.connect(self.server.remote) as line:
                threading.Thread(target=_send, args=(self.request, line), daemon=True).start()
                with contextlib.suppress(OSError):
                    while data := line.recv():
                        self.request.sendall(data)
        except RunaiError as error:
            self.server.say(f"port {self.server.remote}: {error.message}")


def _send(source: socket.socket, line: "Socket") -> None:
    """Hand on what a program here sends, and say when it has said all."""
    with contextlib.suppress(OSError):
        while data := source.recv(PIECE):
            line.send(data)
    line.send(b"")
