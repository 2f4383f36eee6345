"""Spark applications as runai-core workloads.

`builder` is for notebooks and scripts: a session whose executors are one gang.
`runai spark-submit` is for everything else.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runai_spark.session import Progress, builder, progress

__all__ = ["Progress", "builder", "progress"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: Spark takes a second to load (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("runai_spark.session"), name)
