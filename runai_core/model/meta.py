"""What every stored object carries, in the manner of Kubernetes object metadata."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

WIRE: Mapping[str, Any]
"""How a dataclass of the model looks on the wire: camelCase names, nothing unknown.

Read by `runai_core.wire`; the model itself depends on no serializer.
"""


def to_camel(name: str) -> str:
    """Return the API's spelling of one of our names: ``gpu_memory`` -> ``gpuMemory``."""
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


WIRE = {"alias_generator": to_camel, "populate_by_name": True, "extra": "forbid"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """Identity, version and ownership of an object.

    Names are unique per kind and project among objects that are not deleted.
    Times are seconds since the epoch, UTC. `version` is the resource version:
    it grows with every change in the store and is set by the store alone.
    """

    __pydantic_config__ = WIRE
    name: str
    project: str = ""  # empty for objects that belong to no project
    uid: str = ""  # set by the store at creation
    version: int = 0
    created_at: float = 0.0
    updated_at: float = 0.0
    deleted_at: float | None = None  # set: kept for the record only
    created_by: str = ""
    updated_by: str = ""
    owner: str = ""  # uid of the object that this one lives and dies with
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


def described(text: str, **constraints: Any) -> Any:
    """Return a field that may be left out: `None`, with its description and constraints for the schema."""
    return field(default=None, metadata={"description": text, **constraints})


def listed(text: str, default: Callable[[], Any] = tuple) -> Any:
    """Return a field that is empty when left out, with its description for the schema."""
    return field(default_factory=default, metadata={"description": text})
