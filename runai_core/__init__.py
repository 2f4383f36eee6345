"""AI workload orchestrator: gang scheduling, fair sharing and one lifecycle for every job."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runai_core.client.client import AsyncClient
    from runai_core.client.sync.client import Client

__all__ = ["AsyncClient", "Client", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import the clients when they are first asked for: importing a room must stay cheap (PEP 562)."""
    if name not in ("AsyncClient", "Client"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import runai_core.client

    return getattr(runai_core.client, name)
