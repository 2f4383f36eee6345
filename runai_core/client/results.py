"""What the client hands back: the objects of the REST API as frozen dataclasses.

Field names are the API's in snake case; what an object carries beyond them is
in `raw`, as it came. An answer with unknown fields is read, not refused, so
that an older client can talk to a newer server.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from runai_core.model.errors import FieldError, InvalidRequest, Unavailable
from runai_core.model.meta import to_camel
from runai_core.model.workload import TERMINAL, Phase

T = TypeVar("T")


def at(path: str, default: Any = "") -> Any:
    """Return a field that is read from a dotted path of the answer, not from its own name."""
    return field(default=default, metadata={"at": tuple(path.split("."))})


def raw_answer() -> Any:
    """Return the field that keeps the whole answer."""
    return field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One row of every list of workloads. Times are UTC; durations are seconds; GPUs are devices."""

    id: str = ""
    name: str = ""
    type: str = ""
    phase: Phase = Phase.UNKNOWN
    phase_message: str = ""
    phase_reason: str = ""
    phase_updated_at: datetime | None = None
    project_name: str = ""
    project_id: str = ""
    department_name: str = ""
    namespace: str = ""
    submitted_by: str = ""
    source: str = ""
    category: str = ""
    priority_class_name: str = ""
    priority: int = 0
    preemptible: bool = False
    distributed_framework: str = ""
    requested_pods: int = at("requestedPods.number", 0)
    running_pods: int = 0
    gpu_request: float = at("workloadRequestedResources.gpu.request", 0.0)
    gpu_allocated: float = at("allocatedResources.gpu", 0.0)
    requested_node_pools: tuple[str, ...] = ()
    current_node_pools: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    command: str = ""
    arguments: str = ""
    total_pending_time_seconds: float = 0.0
    total_running_time_seconds: float = 0.0
    created_at: datetime | None = None
    updated_at: datetime | None = None
    completed_at: datetime | None = None
    deleted_at: datetime | None = None
    raw: Mapping[str, Any] = raw_answer()

    @property
    def is_over(self) -> bool:
        """Whether it has ended: Completed or Failed."""
        return self.phase in TERMINAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """One member of a workload."""

    id: str = ""
    name: str = ""
    workload_id: str = ""
    workload_name: str = ""
    project_name: str = ""
    node_name: str = ""
    current_node_pool: str = ""
    k8s_phase: str = ""
    ip: str = ""
    gpu_allocated: float = at("allocatedResources.gpu", 0.0)
    created_at: datetime | None = None
    completed_at: datetime | None = None
    raw: Mapping[str, Any] = raw_answer()


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRecord:
    """One line of a workload's story: a change of phase (`phase` is set), or an event."""

    time: datetime | None = at("meta.creationTimestamp", None)
    type: str = at("meta.type")
    phase: str = at("spec.phaseUpdate.phase")
    phase_message: str = at("spec.phaseUpdate.phaseMessage")
    from_phase: str = at("spec.phaseUpdate.fromPhase")
    cause: str = at("spec.phaseUpdate.cause")
    actor: str = at("spec.phaseUpdate.actor")
    event_type: str = at("spec.event.type")
    reason: str = at("spec.event.reason")
    message: str = at("spec.event.message")
    event_source: str = at("spec.event.source")
    involved_kind: str = at("spec.event.involvedObject.kind")
    involved_name: str = at("spec.event.involvedObject.name")
    raw: Mapping[str, Any] = raw_answer()


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a workload or to one of its pods."""

    created_at: datetime | None = None
    type: str = ""
    reason: str = ""
    message: str = ""
    source: str = ""
    involved_kind: str = at("involvedObject.kind")
    involved_name: str = at("involvedObject.name")
    raw: Mapping[str, Any] = raw_answer()


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """A smallest change that would start a waiting workload now."""

    kind: str = ""
    message: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueShare:
    """The numbers of one queue for one resource. `None` is unlimited."""

    queue: str = ""
    resource: str = ""
    deserved: float | None = None
    limit: float | None = None
    fair_share: float = 0.0
    allocated: float = 0.0
    allocated_non_preemptible: float = 0.0
    requested: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Why a workload waits: a stable reason, counts of nodes by what refused them, shares of its queues."""

    reason: str = ""
    message: str = ""
    nodes_refused: Mapping[str, int] = field(default_factory=dict)
    shares: tuple[QueueShare, ...] = ()
    placeable: int = 0
    required: int = 0
    nearest_miss: str = ""
    suggestions: tuple[Suggestion, ...] = ()
    promised: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The answer to "why": one sentence first, the scheduler's numbers after."""

    sentence: str = ""
    verdict: Verdict | None = None
    position: int | None = None
    raw: Mapping[str, Any] = raw_answer()


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a submission would become: the evaluated spec, where values come from, what a policy forbids."""

    spec: Mapping[str, Any] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)
    violations: tuple[Mapping[str, Any], ...] = ()
    starts_now: bool | None = None  # None: nobody can tell
    verdict: Verdict | None = None
    raw: Mapping[str, Any] = raw_answer()


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """Quota of one resource: GPUs in devices, CPU in millicores, memory in MiB. `None` is unlimited."""

    deserved: float | None = None
    limit: float | None = None
    over_quota_weight: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolQuota:
    """Quota in one node pool."""

    node_pool: str = at("nodePool.name")
    gpu: Quota = field(default_factory=Quota)
    cpu: Quota = field(default_factory=Quota)
    memory: Quota = field(default_factory=Quota)
    priority: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """Where workloads are submitted; has quota in each node pool."""

    id: str = ""
    name: str = ""
    description: str = ""
    department_name: str = at("parent.name")
    department_id: str = at("parent.id")
    namespace: str = at("status.namespace")
    phase: str = at("status.phase")
    resources: tuple[PoolQuota, ...] = ()
    gpu_allocated: float = at("status.quotaStatus.allocated.gpu", 0.0)
    gpu_allocated_non_preemptible: float = at("status.quotaStatus.allocatedNonPreemptible.gpu", 0.0)
    gpu_requested: float = at("status.quotaStatus.requested.gpu", 0.0)
    created_at: datetime | None = None
    raw: Mapping[str, Any] = raw_answer()


@dataclass(frozen=True, slots=True, kw_only=True)
class Department:
    """A group of projects that share quota."""

    id: str = ""
    name: str = ""
    description: str = ""
    phase: str = at("status.phase")
    resources: tuple[PoolQuota, ...] = ()
    gpu_allocated: float = at("status.quotaStatus.allocated.gpu", 0.0)
    gpu_requested: float = at("status.quotaStatus.requested.gpu", 0.0)
    created_at: datetime | None = None
    raw: Mapping[str, Any] = raw_answer()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePool:
    """A partition of the nodes; each pool is scheduled alone."""

    id: str = ""
    name: str = ""
    label_key: str = ""
    label_value: str = ""
    is_default: bool = False
    phase: str = ""
    gpu_placement: str = at("placementStrategy.gpu")
    cpu_placement: str = at("placementStrategy.cpu")
    created_at: datetime | None = None
    raw: Mapping[str, Any] = raw_answer()


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A machine that runs pods. `simulated` is true where its GPUs do not really exist."""

    id: str = ""
    name: str = ""
    node_pool: str = ""
    status: str = ""
    gpu_type: str = at("gpuInfo.gpuType")
    gpu_count: int = at("gpuInfo.gpuCount", 0)
    simulated: bool = False
    raw: Mapping[str, Any] = raw_answer()


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Defaults and rules for one type of workload in one scope."""

    type: str = ""
    name: str = at("meta.name")
    scope: str = at("meta.scope")
    scope_name: str = ""
    policy: Mapping[str, Any] = field(default_factory=dict)
    raw: Mapping[str, Any] = raw_answer()


class ChangeType(StrEnum):
    """What happened to an object that is watched."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


@dataclass(frozen=True, slots=True)
class Change:
    """One event of a watch. `version` is where a watch can be taken up again."""

    type: ChangeType
    workload: Workload
    version: int


def parse(kind: type[T], data: Any) -> T:
    """Return the object that an answer describes.

    Raises:
        Unavailable: the answer is not an object, so whoever answered is not our API.
    """
    if not isinstance(data, Mapping):
        raise Unavailable(f"the server's answer is not a {kind.__name__}: is this the address of an orchestrator?")
    values: dict[str, Any] = {}
    found: Any = kind
    for item, hint, path in _plan(found):
        if item == "raw":
            values["raw"] = data
        elif (value := _look_up(data, path)) is not None and (read := _convert(hint, value)) is not None:
            values[item] = read
    return kind(**values)


@cache
def _plan(kind: Any) -> tuple[tuple[str, Any, tuple[str, ...]], ...]:
    hints = get_type_hints(kind)
    return tuple((f.name, hints[f.name], f.metadata.get("at", (to_camel(f.name),))) for f in fields(kind))


def _look_up(data: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        if not isinstance(data, Mapping):
            return None
        data = data.get(part)
    return data


def _convert(hint: Any, value: Any) -> Any:
    """Return the value in the type of the field; what cannot be converted is kept as it came."""
    options = [option for option in get_args(hint) if option is not type(None)]
    if get_origin(hint) is tuple:
        return tuple(_convert(options[0], item) for item in value) if isinstance(value, list | tuple) else ()
    if get_origin(hint) is Mapping:
        return value if isinstance(value, Mapping) else {}
    kind = options[0] if options else hint
    if is_dataclass(kind):
        return parse(kind, value) if isinstance(value, Mapping) else None  # type: ignore[arg-type]
    converter = _CONVERTERS.get(kind)
    return converter(value) if converter else value


def _time(value: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(str(value))
    except ValueError:
        return None


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0


def phases_of(wanted: Phase | str | Collection[Phase | str]) -> frozenset[Phase]:
    """Return the phases that a caller names, one or several.

    Raises:
        InvalidRequest: there is no such phase.
    """
    names = (wanted,) if isinstance(wanted, str) else wanted
    for name in names:
        if name not in tuple(Phase):
            raise InvalidRequest.of(FieldError("until", f"must be one of {', '.join(Phase)}", name))
    return frozenset(Phase(name) for name in names)


def _phase(value: Any) -> Phase:
    return next((phase for phase in Phase if phase.value == value), Phase.UNKNOWN)


_CONVERTERS: Mapping[Any, Callable[[Any], Any]] = {datetime: _time, float: _number, Phase: _phase}
