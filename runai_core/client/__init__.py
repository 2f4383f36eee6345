"""The client of the REST API: over HTTP, or in process."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runai_core.client.client import AsyncClient
    from runai_core.client.requests import quota
    from runai_core.client.sync.client import Client

__all__ = ["AsyncClient", "Client", "quota"]

_HOMES = {
    "AsyncClient": "runai_core.client.client",
    "Client": "runai_core.client.sync.client",
    "quota": "runai_core.client.requests",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: the command line must start fast (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
