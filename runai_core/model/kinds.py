"""Kinds of workloads that administrators teach: what plug-ins say of theirs, in data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runai_core.model.meta import WIRE, Meta


@dataclass(frozen=True, slots=True, kw_only=True)
class TaughtKind:
    """A kind of workload; `meta.name` is ``<group>/<kind>``, as `name_of_kind` says.

    Without interfaces it is a plug-in's kind, whose category and priority were changed.
    """

    __pydantic_config__ = WIRE
    meta: Meta
    group: str
    kind: str
    category: str  # Build | Train | Deploy
    priority_class: str
    interfaces: tuple[Mapping[str, Any], ...] = ()  # a ResourceInterface for each version of the kind


def name_of_kind(group: str, kind: str) -> str:
    """Return what a kind is called, whatever its version."""
    return f"{group}/{kind}"
