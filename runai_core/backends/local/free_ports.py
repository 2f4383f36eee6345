"""Ports where the processes of a gang can meet."""

import random
import socket

from runai_core.model.errors import Unavailable

LOOPBACK = "127.0.0.1"
PORTS = range(20_000, 30_000)
"""Below the ports that systems give to connections of their own."""

MAX_NEIGHBOURS = 100
"""Ports in a row that are looked for at most; larger gangs meet at the first."""


class FreePorts:
    """Hands out ports in turn, so that two gangs that start together get different ones."""

    def __init__(self) -> None:
        self._next = random.SystemRandom().choice(PORTS)

    def neighbours(self, count: int) -> int:
        """Return the first of so many ports in a row that nobody listens on now.

        Raises:
            Unavailable: there are none.
        """
        for _ in range(len(PORTS) // count):
            first = self._next if self._next + count <= PORTS.stop else PORTS.start
            self._next = first + count
            if all(map(is_free, range(first, first + count))):
                return first
        raise Unavailable(f"no {count} neighbouring ports from {PORTS.start} to {PORTS.stop} are free: end a program")


def is_free(port: int) -> bool:
    """Return whether nobody listens on the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True
