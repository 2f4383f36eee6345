"""KubeVirt virtual machines as runai-core workloads."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runai_kubevirt.machines import VirtualMachineWorkload, schedule

__all__ = ["VirtualMachineWorkload", "schedule"]


def __getattr__(name: str) -> Any:
    """Load the user's half when it is asked for: every command of ours imports the plug-in."""
    if name in __all__:
        from runai_kubevirt import machines

        return getattr(machines, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
