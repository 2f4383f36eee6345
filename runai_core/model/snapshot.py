"""All that the engine may know in one cycle, as plain data.

A snapshot covers one node pool. It is what the backends build, what a bug
report contains, and what `run_cycle` reads; nothing here has behaviour beyond
checking and JSON. Objects refer to each other by name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from runai_core.model.nodes import DEFAULT_NODE_POOL, NodePool, Taint
from runai_core.model.organization import Queue


class PodState(StrEnum):
    """What the scheduler needs to know of a pod's life (KAI: task status)."""

    PENDING = "Pending"
    GATED = "Gated"  # has scheduling gates: exists, but may not be placed
    BINDING = "Binding"  # decided, not yet seen on its node
    BOUND = "Bound"
    RUNNING = "Running"
    RELEASING = "Releasing"  # terminating: still holds its resources
    PIPELINED = "Pipelined"  # promised its node by somebody else: holds nothing yet, and is left alone
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


HOLDS_RESOURCES = frozenset({PodState.BINDING, PodState.BOUND, PodState.RUNNING, PodState.RELEASING})


class Preemptibility(StrEnum):
    """Whether a pod group may be a victim (and may go over quota)."""

    PREEMPTIBLE = "preemptible"
    NON_PREEMPTIBLE = "non-preemptible"


@dataclass(frozen=True, slots=True)
class PodRequest:
    """What one pod asks for. At most one GPU form is set.

    * whole devices: ``gpu_devices=n``, portion 0 and memory 0;
    * fraction: ``gpu_portion`` thousandths of each of ``gpu_devices`` devices (1 if 0);
    * memory: ``gpu_memory_mib`` of each of ``gpu_devices`` devices (1 if 0);
    * MIG: ``mig`` slices by resource name;
    * claims: ``dra`` devices by device class.
    """

    cpu: int = 0  # millicores
    memory: int = 0  # bytes
    gpu_devices: int = 0
    gpu_portion: int = 0  # thousandths of a device, 1..999
    gpu_memory_mib: int = 0
    mig: tuple[tuple[str, int], ...] = ()
    dra: tuple[tuple[str, int], ...] = ()
    extended: tuple[tuple[str, int], ...] = ()  # any other resource, by name, sorted


@dataclass(frozen=True, slots=True, order=True)
class Toleration:
    """A taint that a pod puts up with (core/v1 Toleration). An empty key with Exists matches all."""

    key: str = ""
    operator: str = "Equal"  # Equal | Exists
    value: str = ""
    effect: str = ""  # empty matches every effect


@dataclass(frozen=True, slots=True, order=True)
class LabelRequirement:
    """One term of a selector (core/v1 NodeSelectorRequirement)."""

    key: str
    operator: str  # In | NotIn | Exists | DoesNotExist | Gt | Lt
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class PodAffinityTerm:
    """Pods that must, or must not, run in the same topology domain."""

    selector: tuple[LabelRequirement, ...]
    topology_key: str
    anti: bool = False
    required: bool = True
    weight: int = 0  # of a preferred term, 1..100


@dataclass(frozen=True, slots=True, order=True)
class SpreadConstraint:
    """Pods that are to be spread evenly over topology domains (Kubernetes: topologySpreadConstraints)."""

    selector: tuple[LabelRequirement, ...]
    topology_key: str
    max_skew: int = 1
    required: bool = True  # False: only preferred (ScheduleAnyway)
    min_domains: int = 0


@dataclass(frozen=True, slots=True)
class PodConstraints:
    """Where a pod may run. Equal constraints should be one shared object: the engine works by class."""

    node_selector: tuple[tuple[str, str], ...] = ()
    node_affinity: tuple[tuple[LabelRequirement, ...], ...] = ()  # any of these terms, all of each
    node_names: tuple[str, ...] = ()  # empty = any
    tolerations: tuple[Toleration, ...] = ()
    pod_affinity: tuple[PodAffinityTerm, ...] = ()
    host_ports: tuple[tuple[str, int], ...] = ()  # (protocol, port)
    node_preferences: tuple[tuple[int, tuple[LabelRequirement, ...]], ...] = ()  # weight 1..100, all of the term
    spread: tuple[SpreadConstraint, ...] = ()


NO_CONSTRAINTS = PodConstraints()


@dataclass(frozen=True, slots=True, kw_only=True)
class PodEntry:
    """A pod as the engine sees it. `name` is unique in the snapshot (namespace/name on Kubernetes)."""

    name: str
    pod_group: str  # empty: a pod of another scheduler, it only takes room
    sub_group: str = ""
    request: PodRequest = PodRequest()
    state: PodState = PodState.PENDING
    node: str | None = None
    gpu_groups: tuple[str, ...] = ()  # shared devices that it sits on
    constraints: PodConstraints = NO_CONSTRAINTS
    labels: tuple[tuple[str, str], ...] = ()
    created_at: float = 0.0
    leader: bool = False  # master, launcher, head: placed first, evicted last
    order: int | None = None  # label kai.scheduler/task-priority: larger first, set before unset
    nominated_node: str | None = None
    resource_claims: tuple[str, ...] = ()
    legacy_mig: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TopologyConstraint:
    """Pods of a group share one domain of the required level; finer levels are tried from the preferred one."""

    topology: str
    required_level: str | None = None  # node label key
    preferred_level: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubGroup:
    """A part of a gang: a leaf with a minimum, or an inner node of the tree."""

    name: str
    min_members: int = 1  # of a leaf; ignored where other sub-groups name it as parent
    parent: str | None = None
    topology: TopologyConstraint | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PodGroup:
    """A gang: it is placed whole, or not at all (KAI PodGroup v2alpha2)."""

    name: str
    queue: str
    priority: int = 50
    preemptibility: Preemptibility = Preemptibility.PREEMPTIBLE
    min_members: int = 1  # without sub-groups; more pods than this make it elastic
    sub_groups: tuple[SubGroup, ...] = ()
    topology: TopologyConstraint | None = None
    created_at: float = 0.0
    last_start: float | None = None  # when it last went from no pod placed to placed
    stale_since: float | None = None  # when it was first seen below its minimum
    delete_when_evicted: bool = False  # evicted pods are not created again
    workload: str = ""  # what people call it: <project>/<name>; empty = the group's own name


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceClaim:
    """A claim for devices (resource.k8s.io ResourceClaim, the parts that matter)."""

    name: str
    device_class: str = ""
    device_count: int = 1
    labels: tuple[tuple[str, str], ...] = ()
    allocated_devices: tuple[tuple[str, str], ...] = ()  # (node, device); empty = not allocated
    reserved_for: tuple[str, ...] = ()  # pod names


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeEntry:
    """A node as the engine sees it."""

    name: str
    cpu: int = 0  # allocatable millicores
    memory: int = 0  # allocatable bytes
    gpus: int = 0  # devices that the device plug-in offers
    gpu_memory_mib: int = 0  # per device; 0 = unknown: requests by memory do not fit
    max_pods: int = 110
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    ready: bool = True
    unschedulable: bool = False
    mig_strategy: str = ""  # "" | single | mixed
    extended: tuple[tuple[str, int], ...] = ()  # other resources and MIG slices, by name
    dra_gpus: int = 0  # devices that come from resource slices


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """Node label keys from the widest level to the narrowest (KAI Topology)."""

    name: str
    levels: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleSettings:
    """Switches of one cycle. Defaults are those of the shipped product."""

    actions: tuple[str, ...] = ("allocate", "consolidate", "reclaim", "preempt", "stale_gang")
    gpu_placement: str = "binpack"
    cpu_placement: str = "binpack"
    device_placement: str = ""  # over the devices of one node; empty = as gpu_placement
    staleness_grace: float | None = 60.0  # seconds; None = never evict
    max_consolidation_victims: int | None = 16  # None = any number, 0 = off
    allow_consolidating_reclaim: bool = True
    saturation_multiplier: float = 1.0
    fair_share_history_weight: float = 1.0
    preempt_min_runtime: float = 0.0  # seconds, where no queue says otherwise
    reclaim_min_runtime: float = 0.0
    queue_depth: Mapping[str, int] = field(default_factory=dict)  # action -> pod groups tried per leaf queue
    disabled_rules: frozenset[str] = frozenset()  # names of built-in rules that are off
    compatibility: frozenset[str] = frozenset()  # named KAI behaviours that we copy only on request


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One node pool at one moment."""

    taken_at: float  # seconds since the epoch, UTC: the engine's only clock
    revision: int = 0
    node_pool: str = DEFAULT_NODE_POOL
    nodes: tuple[NodeEntry, ...] = ()
    queues: tuple[Queue, ...] = ()
    pod_groups: tuple[PodGroup, ...] = ()
    pods: tuple[PodEntry, ...] = ()
    topologies: tuple[Topology, ...] = ()
    claims: tuple[ResourceClaim, ...] = ()
    settings: CycleSettings = field(default_factory=CycleSettings)


def settings_of(pool: NodePool) -> CycleSettings:
    """Return the cycle settings that a node pool asks for."""
    return CycleSettings(
        gpu_placement=pool.gpu_placement,
        cpu_placement=pool.cpu_placement,
        preempt_min_runtime=pool.min_guaranteed_runtime,
        reclaim_min_runtime=pool.min_guaranteed_runtime,
        fair_share_history_weight=pool.fair_share_history_weight if pool.time_based_fair_share else 0.0,
    )
