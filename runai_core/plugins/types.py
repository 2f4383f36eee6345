"""What hooks return: frozen descriptions, checked when they are made.

A description says what the plug-in offers; the objects in it (adapters,
observers, sources) do the work later. What an adapter can do beyond the
required method is found by its type: see the capability Protocols.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from runai_core.engine.rules import Filter, QueueOrder, Score, VictimFilter, WorkloadOrder
from runai_core.lifecycle.gang import RunContext
from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.snapshot import SubGroup
from runai_core.model.workload import Gang, HistoryRecord, Phase, Pod, PolicyType, Workload, WorkloadType

Manifest = Mapping[str, Any]
"""A framework object as it is written down: ``apiVersion``, ``kind``, ``metadata``, ``spec``, ``status``."""

SchedulingRule = Filter | Score | QueueOrder | WorkloadOrder | VictimFilter
"""A rule of the engine; its class says where it applies."""

SettingValue = str | int | float | bool

_SETTING_NAME = re.compile(r"^[a-z][a-z0-9]*\.[a-z][a-z0-9_]*$")
_API_VERSION = re.compile(r"^(?:[a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?v[0-9]+((alpha|beta)[0-9]+)?$")
_KIND = re.compile(r"^[A-Z][A-Za-z0-9]{0,62}$")
_RULE_NAME = re.compile(r"^[a-z][a-z0-9._-]{0,62}$")


@dataclass(frozen=True, slots=True, kw_only=True)
class PodGroupPlan:
    """How pods of a framework object form gangs.

    `name` tells apart several gangs of one object, for example the replicated
    job's; it is empty where the object is one gang. With `each_pod` there is a
    gang of one for every pod: the pods do not wait for each other. With
    `each_child`, a kind, there is a gang for every object of that kind between
    the object and its pods.
    """

    name: str = ""
    min_members: int = 1
    sub_groups: tuple[SubGroup, ...] = ()
    each_pod: bool = False
    each_child: str = ""

    def __post_init__(self) -> None:
        """Refuse a plan that contradicts itself."""
        names = [group.name for group in self.sub_groups]
        _require(self.min_members >= 0, "min_members", "must not be negative", self.min_members)
        _require(not self.each_pod or self.min_members == 1, "min_members", "must be 1 with each_pod", self.min_members)
        _require(len(set(names)) == len(names), "sub_groups", "must have distinct names", ", ".join(names))


@runtime_checkable
class KindAdapter(Protocol):
    """Understands one framework object. Pure: manifests in, answers out."""

    def pod_groups(self, manifest: Manifest) -> Sequence[PodGroupPlan]:
        """Return the gangs of the object; empty where its children have kinds, and so gangs, of their own.

        Raises:
            InvalidRequest: a field that says how many pods there are is wrong; names it.
        """
        ...


@runtime_checkable
class Divides(Protocol):
    """Capability: says to which gang and sub-group a pod of the object belongs."""

    def place_of(self, labels: Mapping[str, str]) -> tuple[str, str]:
        """Return the names of the pod's `PodGroupPlan` and `SubGroup`, by the pod's labels; empty where it has none."""
        ...


@runtime_checkable
class Numbers(Protocol):
    """Capability: says which of the pods of its sub-group a pod is, where sub-groups can have segments."""

    def number_of(self, labels: Mapping[str, str]) -> int | None:
        """Return the pod's number, from 0, by its labels; None where it has none."""
        ...


@runtime_checkable
class RunsLocally(Protocol):
    """Capability: the workload can run as processes of one machine."""

    def gang(self, workload: Workload, run_context: RunContext, existing: Sequence[Pod]) -> Gang:
        """Return the pods that the workload's attempt should have now, and their group; as `lifecycle.gang.gang_of`.

        Raises:
            InvalidRequest: the workload contradicts itself; names each field.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Native:
    """The native workload that does on one machine what a framework's object does on a cluster.

    `spec` and `master_spec` are in the API's own form (`command`,
    `compute.cpuCoreRequest`, ...): policies judge them as any submission.
    """

    type: WorkloadType
    spec: Mapping[str, Any]
    master_spec: Mapping[str, Any] | None = None
    has_master: bool = True

    def __post_init__(self) -> None:
        """Refuse a form that is none."""
        _require(self.type is not WorkloadType.EXTERNAL, "type", "must be a native type", str(self.type))


@runtime_checkable
class RunsAsNative(Protocol):
    """Capability: on one machine the object is a native workload, with all that belongs to one."""

    def native(self, manifest: Manifest) -> Native:
        """Return the native form of the object.

        Raises:
            InvalidRequest: something in the object needs a cluster; names the field.
        """
        ...


@runtime_checkable
class Suspends(Protocol):
    """Capability: the object can be stopped, with its resources kept, and resumed."""

    def suspend(self, manifest: Manifest) -> Mapping[str, Any]:
        """Return the object as it must be to stop."""
        ...

    def resume(self, manifest: Manifest) -> Mapping[str, Any]:
        """Return the object as it must be to run again."""
        ...


@runtime_checkable
class Observes(Protocol):
    """Capability: reads the workload's phase from the object's own status."""

    def phase_of(self, manifest: Manifest) -> Phase | None:
        """Return the phase that the object says it is in; None where its status says nothing yet."""
        ...


@runtime_checkable
class Relays(Protocol):
    """Capability: a pod of the object may take over from another while that still runs; both count as one."""

    def relay_of(self, labels: Mapping[str, str]) -> str:
        """Return what such pods share, by a pod's labels; empty for a pod that takes over from none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RbacRule:
    """A right that the operator needs for a kind (rbac.authorization.k8s.io PolicyRule)."""

    api_groups: tuple[str, ...]
    resources: tuple[str, ...]
    verbs: tuple[str, ...] = ("get", "list", "watch")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadKind:
    """A framework object that counts as a workload."""

    api_version: str  # for example kubeflow.org/v1
    kind: str  # for example PyTorchJob
    adapter: KindAdapter
    workload_type: WorkloadType = WorkloadType.EXTERNAL
    priority_class: str = "train"  # where neither the object nor its pods name one
    category: str = "Train"  # Build | Train | Deploy, as lists show it (Run:ai docs 2.25, workload types)
    serves: bool = False  # it has no end of its own: pods that ended are made again
    plural: str = ""  # name of the resource in the Kubernetes API; kind in lower case with s when left out
    rbac: tuple[RbacRule, ...] = ()  # rights besides reading the object itself

    def __post_init__(self) -> None:
        """Refuse names that Kubernetes would refuse, and an adapter without the required method."""
        _require(bool(_API_VERSION.match(self.api_version)), "api_version", "must be like group/v1", self.api_version)
        _require(bool(_KIND.match(self.kind)), "kind", "must be a name like PyTorchJob", self.kind)
        adapter: object = self.adapter
        _require(
            isinstance(adapter, KindAdapter) and not isinstance(adapter, type),
            "adapter",
            "must be an object with a method pod_groups",
            type(adapter).__name__,
        )

    @property
    def key(self) -> tuple[str, str]:
        """What names the kind: ``(api_version, kind)``."""
        return self.api_version, self.kind

    @property
    def resource(self) -> str:
        """Name of the resource in the Kubernetes API."""
        return self.plural or f"{self.kind.lower()}s"


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """A check of a specification after policies were applied.

    `check` gets the type and the specification in the API's names and returns
    what is wrong; it is pure, and it may be called several times for one submission.
    """

    name: str
    check: Callable[[PolicyType, Mapping[str, Any]], Iterable[FieldError]]

    def __post_init__(self) -> None:
        """Refuse a name that cannot be shown, and what cannot be called."""
        _require(bool(_RULE_NAME.match(self.name)), "name", "must be lower case, as in cost-limit", self.name)
        _require(callable(self.check), "check", "must be a function", type(self.check).__name__)


@dataclass(frozen=True, slots=True)
class TransitionEvent:
    """A workload changed its phase. `id` is the same when an event is told again."""

    id: str
    workload: Workload  # as it is after the change
    record: HistoryRecord  # from, to, cause, actor, time


@runtime_checkable
class LifecycleObserver(Protocol):
    """Wants to know what becomes of workloads."""

    async def on_transition(self, event: TransitionEvent) -> None:
        """Take note of a change; called at least once for each."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One measurement, with its unit in words of the source (percent, bytes, steps per second)."""

    name: str
    value: float
    unit: str
    pod: str = ""  # empty: of the workload as a whole


@runtime_checkable
class MetricSource(Protocol):
    """Measures running workloads."""

    name: str

    async def sample(self, workload: Workload) -> Sequence[Sample]:
        """Return what is known now; empty where this source does not know the workload."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One thing that can be configured: ``<plug-in>.<name>``.

    Its value is read once from the environment: ``mlflow.tracking_uri`` from
    ``RUNAI_MLFLOW_TRACKING_URI``.
    """

    name: str
    default: SettingValue
    help: str
    secret: bool = False  # never shown

    def __post_init__(self) -> None:
        """Refuse a name without the plug-in's, a value of no known type, and a setting that is not explained."""
        _require(bool(_SETTING_NAME.match(self.name)), "name", "must be like plugin.some_name", self.name)
        _require(
            isinstance(self.default, str | int | float | bool),
            "default",
            "must be text, a number or a boolean: it gives the setting its type",
            type(self.default).__name__,
        )
        _require(bool(self.help.strip()), "help", "must say what the setting does", self.help)

    @property
    def variable(self) -> str:
        """Name of the environment variable."""
        return "RUNAI_" + self.name.replace(".", "_").upper()


PAGE_KINDS = ("workload", "site")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Something to show: a part of a workload's page, or a page of the site.

    `loader` gets the workload (None for a page of the site) and the values of
    all settings, and returns the values for `template`, a Jinja template as
    text; all values are escaped.
    """

    kind: str  # workload | site
    title: str
    loader: Callable[[Workload | None, Mapping[str, SettingValue]], Awaitable[Mapping[str, Any]]]
    template: str
    order: int = 100  # smaller is shown first

    def __post_init__(self) -> None:
        """Refuse an unknown kind, a page without title, and what cannot be called."""
        _require(self.kind in PAGE_KINDS, "kind", f"must be one of {', '.join(PAGE_KINDS)}", self.kind)
        _require(0 < len(self.title.strip()) <= 40, "title", "must have 1 to 40 characters", self.title)
        _require(callable(self.loader), "loader", "must be an async function", type(self.loader).__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginInfo:
    """One line of ``runai plugins``."""

    name: str
    module: str = ""
    distribution: str = ""
    version: str = ""
    status: str = "loaded"  # loaded | failed | off
    error: str = ""  # why it failed, for people
    provides: tuple[str, ...] = field(default=())  # hooks that it implements


def _require(holds: bool, name: str, message: str, given: object) -> None:  # noqa: FBT001 - it is the condition itself
    if not holds:
        raise InvalidRequest.of(FieldError(name, message, given))


__all__ = [
    "Divides",
    "Filter",
    "KindAdapter",
    "LifecycleObserver",
    "Manifest",
    "MetricSource",
    "Native",
    "Numbers",
    "Observes",
    "Page",
    "Phase",
    "PluginInfo",
    "PodGroupPlan",
    "PolicyRule",
    "QueueOrder",
    "RbacRule",
    "Relays",
    "RunContext",
    "RunsAsNative",
    "RunsLocally",
    "Sample",
    "SchedulingRule",
    "Score",
    "Setting",
    "SettingValue",
    "SubGroup",
    "Suspends",
    "TransitionEvent",
    "VictimFilter",
    "WorkloadKind",
    "WorkloadOrder",
]
