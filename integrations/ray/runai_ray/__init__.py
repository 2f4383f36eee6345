"""Ray clusters and jobs as gangs of runai-core.

`NodeProvider` is for the `provider` section of a cluster's YAML file, `submit`
runs a job on a cluster of its own as one workload, `schedule` prepares the
objects of KubeRay.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runai_ray.kuberay import schedule
    from runai_ray.launch import submit
    from runai_ray.provider import NodeProvider

__all__ = ["NodeProvider", "schedule", "submit"]

_HOMES = {"NodeProvider": "runai_ray.provider", "schedule": "runai_ray.kuberay", "submit": "runai_ray.launch"}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: Ray takes a second to load (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
