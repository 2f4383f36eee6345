"""How the processes of a gang meet and add up their gradients: TCP, standard library only.

Rank 0 listens on MASTER_ADDR:MASTER_PORT, the others connect to it: the
variables that every distributed workload is given. An all-reduce is a star:
all send to rank 0, which answers with the sum.
"""

import os
import socket
import struct
import time
from collections.abc import Mapping
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MEET_WITHIN = 60.0
"""Seconds that the members wait for each other."""

RETRY_AFTER = 0.1
_HEADER = struct.Struct("!Q")


class Place(NamedTuple):
    """Who a process is among its gang."""

    rank: int
    world_size: int
    address: str
    port: int


def place_of(environ: Mapping[str, str]) -> Place:
    """Read a process's place from the environment; alone where nothing is said."""
    return Place(
        rank=int(environ.get("RANK", "0")),
        world_size=int(environ.get("WORLD_SIZE", "1")),
        address=environ.get("MASTER_ADDR", "127.0.0.1"),
        port=int(environ.get("MASTER_PORT", "0")),
    )


class Gang:
    """The connected members; use it as a context manager.

    Raises:
        TimeoutError: not all members came within `MEET_WITHIN` seconds.
        ConnectionError: a member was lost.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self._peers: dict[int, socket.socket] = {}  # rank 0: the others by rank; the others: rank 0

    @classmethod
    def from_environment(cls) -> Self:
        """Return the gang of this process, not yet met."""
        return cls(place_of(os.environ))

    def __enter__(self) -> Self:
        """Meet the others."""
        if self.place.world_size > 1:
            (self._listen if self.place.rank == 0 else self._join)()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave."""
        for peer in self._peers.values():
            peer.close()

    def mean(self, mine: Array) -> Array:
        """Return the mean of what all members hand in; a barrier as well."""
        if self.place.rank == 0:
            total = mine.copy()
            for rank in sorted(self._peers):
                total += np.frombuffer(_receive(self._peers[rank]))
            return self.share(total / self.place.world_size)
        _send(self._peers[0], mine.tobytes())
        return self.share(mine)

    def share(self, mine: Array) -> Array:
        """Return what rank 0 hands in, to all."""
        if self.place.rank == 0:
            for rank in sorted(self._peers):
                _send(self._peers[rank], mine.tobytes())
            return mine
        return np.frombuffer(_receive(self._peers[0])).copy()

    def _listen(self) -> None:
        deadline = time.monotonic() + MEET_WITHIN
        with socket.create_server((self.place.address, self.place.port), backlog=self.place.world_size) as server:
            while len(self._peers) < self.place.world_size - 1:
                server.settimeout(max(deadline - time.monotonic(), 0.001))
                try:
                    peer, _ = server.accept()
                except TimeoutError:
                    missing = sorted(set(range(1, self.place.world_size)) - set(self._peers))
                    raise TimeoutError(f"ranks {missing} did not come within {MEET_WITHIN:g} s") from None
                peer.settimeout(None)
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._peers[int.from_bytes(_receive(peer))] = peer

    def _join(self) -> None:
        deadline = time.monotonic() + MEET_WITHIN
        while True:
            try:
                peer = socket.create_connection((self.place.address, self.place.port), timeout=MEET_WITHIN)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"rank 0 does not answer at {self.place.address}:{self.place.port}") from None
                time.sleep(RETRY_AFTER)
        peer.settimeout(None)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _send(peer, self.place.rank.to_bytes(4))
        self._peers[0] = peer


def _send(peer: socket.socket, data: bytes) -> None:
    peer.sendall(_HEADER.pack(len(data)) + data)


def _receive(peer: socket.socket) -> bytes:
    (size,) = _HEADER.unpack(_exactly(peer, _HEADER.size))
    return _exactly(peer, size)


def _exactly(peer: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = peer.recv(size - len(data))
        if not piece:
            raise ConnectionError("a member of the gang is gone")
        data += piece
    return bytes(data)
