"""The specification of a master where it differs from its workers'."""

from dataclasses import fields, replace
from typing import Any

from runai_core.model.spec import Compute, EnvironmentVariable, Security, WorkloadSpec
from runai_core.model.volumes import Storage

GPU_FIELDS = (
    "gpu_devices_request",
    "gpu_request_type",
    "gpu_portion_request",
    "gpu_portion_limit",
    "gpu_memory_request",
    "gpu_memory_limit",
    "mig_profile",
)

_NOTHING = WorkloadSpec()
_SECTIONS: dict[str, object] = {"compute": Compute(), "security": Security(), "storage": Storage()}


def overlay(spec: WorkloadSpec, master: WorkloadSpec | None) -> WorkloadSpec:
    """Return the workers' specification with the master's own fields laid over it.

    What the master leaves out is as for the workers; sections go member by
    member, environment variables name by name, and an excluded one is dropped.
    The fields that ask for GPUs go together, because they depend on each other.
    """
    if master is None:
        return spec
    changes = _given(master, _NOTHING)
    changes |= {
        name: _laid_over(getattr(spec, name), changes[name], empty)
        for name, empty in _SECTIONS.items()
        if name in changes
    }
    if "environment_variables" in changes:
        changes["environment_variables"] = _variables(spec.environment_variables, master.environment_variables)
    if "command" in changes and "args" not in changes:
        changes["args"] = None  # the workers' arguments belong to the workers' command
    return replace(spec, **changes)


def _given(section: Any, empty: Any) -> dict[str, Any]:
    names = (field.name for field in fields(section))
    return {name: getattr(section, name) for name in names if getattr(section, name) != getattr(empty, name)}


def _laid_over(below: Any, above: Any, empty: Any) -> Any:
    changes = _given(above, empty)
    if any(name in changes for name in GPU_FIELDS):
        changes = {name: getattr(above, name) for name in GPU_FIELDS} | changes
    return replace(below, **changes)


def _variables(
    below: tuple[EnvironmentVariable, ...], above: tuple[EnvironmentVariable, ...]
) -> tuple[EnvironmentVariable, ...]:
    by_name = {variable.name: variable for variable in (*below, *above)}
    return tuple(by_name.values())
