"""The supervisor's side of its socket: one JSON object per line, both ways. Standard library only."""
# A path is a plain string here: importing pathlib would cost the small process memory.
# ruff: noqa: PTH108, PTH118

import contextlib
import json
import os
import selectors
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

SOCKET = "supervisor.sock"
PIECE = 1 << 20

MAX_UNREAD = 32 * 1024 * 1024
"""Bytes that wait for a client which does not read, before it is dropped."""


@dataclass(slots=True, eq=False)
class Client:
    """A connection."""

    socket: socket.socket
    received: bytearray = field(default_factory=bytearray)
    unsent: bytearray = field(default_factory=bytearray)


class Connections:
    """All clients of the supervisor: requests are answered in order, events go to everybody."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        listener: socket.socket,
        answer: Callable[[dict[str, Any]], dict[str, Any]],
    ) -> None:
        self._selector = selector
        self._listener = listener
        self._answer = answer
        self._clients: set[Client] = set()
        self.quiet_since = time.monotonic()  # when the last one left
        selector.register(listener, selectors.EVENT_READ, self._accept)

    def __len__(self) -> int:
        """Return how many clients there are."""
        return len(self._clients)

    def broadcast(self, message: dict[str, Any]) -> None:
        """Tell all clients."""
        for client in tuple(self._clients):
            self._send(client, message)

    def _accept(self, _events: int) -> None:
        connection, _ = self._listener.accept()
        connection.setblocking(False)  # noqa: FBT003 - the standard library's signature
        client = Client(connection)
        self._clients.add(client)
        self._selector.register(connection, selectors.EVENT_READ, lambda events: self._talk(client, events))

    def _talk(self, client: Client, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                self._flush(client)
            if events & selectors.EVENT_READ and not self._receive(client):
                self._leave(client)
        except BlockingIOError:
            return
        except (OSError, ValueError):
            self._leave(client)

    def _receive(self, client: Client) -> bool:
        """Answer what has come; return False at the end of the connection."""
        data = client.socket.recv(PIECE)
        client.received += data
        *lines, rest = client.received.split(b"\n")
        client.received = bytearray(rest)
        for line in lines:
            self._send(client, self._answer(json.loads(line)))
        return bool(data)

    def _send(self, client: Client, message: dict[str, Any]) -> None:
        client.unsent += json.dumps(message, separators=(",", ":")).encode() + b"\n"
        try:
            self._flush(client)
        except OSError:
            self._leave(client)

    def _flush(self, client: Client) -> None:
        if client not in self._clients:
            return
        with contextlib.suppress(BlockingIOError):
            while client.unsent:
                del client.unsent[: client.socket.send(client.unsent)]
        if len(client.unsent) > MAX_UNREAD:
            self._leave(client)
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.unsent else 0)
        key = self._selector.get_key(client.socket)
        if key.events != wanted:
            self._selector.modify(client.socket, wanted, key.data)

    def _leave(self, client: Client) -> None:
        if client in self._clients:
            self._clients.discard(client)
            self._selector.unregister(client.socket)
            client.socket.close()
            self.quiet_since = time.monotonic()


def listen(data_dir: str) -> socket.socket:
    """Return a socket of mode 0600 in the data directory."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    path = os.path.join(data_dir, SOCKET)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    mask = os.umask(0o177)
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(data_dir)  # the path of a socket is short, that of a directory need not be
        listener.bind(SOCKET)
    finally:
        os.fchdir(here)
        os.close(here)
        os.umask(mask)
    listener.listen(16)
    listener.setblocking(False)  # noqa: FBT003 - the standard library's signature
    return listener
