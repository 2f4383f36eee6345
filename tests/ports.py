"""Ports for servers that are told where to listen."""

import random

from runai_core.backends.local.free_ports import is_free

PORTS = range(30_100, 32_700)
"""Below the ports that systems give to outgoing connections, and above those that gangs meet at.

A port of a system's own range may be gone again when the server begins to listen, or comes back after it was killed;
and who calls it meanwhile may even be connected to himself.
"""


def free_port() -> int:
    """Return a port that nobody listens on."""
    return next(port for port in random.sample(PORTS, len(PORTS)) if is_free(port))
