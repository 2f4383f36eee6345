"""Where the orchestrator is, and whether its processes see what we see."""

import os

from runai_core.client.environment import Connection, find_connection
from runai_mlflow import __version__

LOOPBACK = ("localhost", "127.0.0.1", "::1")


def connection_here() -> Connection:
    """Return the orchestrator that the environment means, as the command line finds it.

    Raises:
        Unavailable: there is none. InvalidRequest: an address has a wrong form.
    """
    from dataclasses import replace

    return replace(find_connection(os.environ), agent=f"runai-mlflow/{__version__}")


def is_loopback(url: str) -> bool:
    """Return whether the orchestrator runs on this machine, with its files and its Python."""
    host = url.partition("://")[2].partition("/")[0]
    name = host.rpartition(":")[0] if ":" in host.rpartition("]")[2] else host
    return name.strip("[]") in LOOPBACK
