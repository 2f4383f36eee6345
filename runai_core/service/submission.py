"""What a user sends to submit a workload."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runai_core.model.meta import WIRE
from runai_core.model.workload import Workload, WorkloadType


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What a user sends: the specification is still in the API's own form, as policies judge it."""

    name: str
    project: str
    type: WorkloadType
    spec: Mapping[str, Any] = field(default_factory=dict)
    master_spec: Mapping[str, Any] | None = None
    has_master: bool = True
    name_is_prefix: bool = False
    source: str = "Control-plane"
    api_version: str = ""  # External: the framework object
    kind: str = ""
    manifest: Mapping[str, Any] | None = None
    template: str = ""  # id or name of a template to start from
    keeps: frozenset[tuple[str, str]] = frozenset()  # private secrets and keys that it has, whoever changes it now
    assets: Mapping[str, Any] = field(default_factory=dict)  # environment, compute, datasources: ids or names


def of_workload(workload: Workload, **given: Any) -> Submission:
    """Return what would be sent to submit a workload again, with what is given."""
    return Submission(name=workload.name, project=workload.meta.project, type=workload.type, **given)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """What a submission says of a data source."""

    __pydantic_config__ = WIRE
    container_path: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReference:
    """A data source that is chosen."""

    __pydantic_config__ = WIRE
    id: str
    kind: str | None = None
    name: str | None = None
    overrides: Overrides | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class References:
    """The assets that a submission or template chooses: ids, or names."""

    __pydantic_config__ = WIRE
    environment: str | None = None
    compute: str | None = None
    datasources: tuple[SourceReference, ...] = ()
    workload_volumes: tuple[str, ...] = ()
