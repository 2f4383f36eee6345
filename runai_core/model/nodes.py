"""Nodes, their devices, and the node pools that partition them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from runai_core.model.meta import WIRE, Meta
from runai_core.model.resources import MILLI, Resources

DEFAULT_NODE_POOL = "default"
NODE_POOL_LABEL = "kai.scheduler/node-pool"
NODE_TYPE_LABEL = "run.ai/type"


class TaintEffect(StrEnum):
    """What a taint does to pods that do not tolerate it (Kubernetes, core/v1 Taint)."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


@dataclass(frozen=True, slots=True, order=True)
class Taint:
    """A mark that keeps pods away unless they tolerate it."""

    __pydantic_config__ = WIRE
    key: str
    value: str = ""
    effect: TaintEffect = TaintEffect.NO_SCHEDULE


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuDevice:
    """One GPU of a node."""

    __pydantic_config__ = WIRE
    index: int
    uuid: str = ""
    product: str = ""  # for example NVIDIA-H100-80GB-HBM3
    memory_mib: int = 0
    simulated: bool = False  # no such device exists; it is counted for try-outs


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A machine that runs pods.

    `gpu_count` may exceed ``len(devices)`` where a backend knows the number of
    devices but not each of them (Kubernetes).
    """

    __pydantic_config__ = WIRE
    meta: Meta
    cpu: int = 0  # allocatable millicores
    memory: int = 0  # allocatable bytes
    gpu_count: int = 0
    gpu_memory_mib: int = 0  # per device; 0 = unknown
    devices: tuple[GpuDevice, ...] = ()
    extended: Mapping[str, int] = field(default_factory=dict)  # other resources, MIG slices among them
    max_pods: int = 110
    node_pool: str = DEFAULT_NODE_POOL
    taints: tuple[Taint, ...] = ()
    ready: bool = True
    unschedulable: bool = False  # cordoned

    @property
    def name(self) -> str:
        """The node's name."""
        return self.meta.name

    @property
    def allocatable(self) -> Resources:
        """What pods can have of this node."""
        return Resources(self.cpu, self.memory, self.gpu_count * MILLI, tuple(sorted(self.extended.items())))

    @property
    def simulated(self) -> bool:
        """Whether the node's GPUs do not really exist."""
        return any(device.simulated for device in self.devices)


class PlacementStrategy(StrEnum):
    """Which feasible node is best (Run:ai: node pool placement strategy)."""

    BINPACK = "binpack"
    SPREAD = "spread"
    FRAGMENTATION = "fragmentation"  # ours: what the requests seen so far could still use


class WindowType(StrEnum):
    """Which part of the past time-based fair share looks at (KAI: `sliding` and `tumbling`)."""

    SLIDING = "sliding"  # the last seconds before now
    TUMBLING = "tumbling"  # since the current window began; then all start from nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePool:
    """A partition of the nodes by one label; each pool is scheduled alone."""

    __pydantic_config__ = WIRE
    meta: Meta
    label_key: str = ""  # both empty for the default pool: nodes of no other pool
    label_value: str = ""
    gpu_placement: str = PlacementStrategy.BINPACK  # a strategy's name; plug-ins may add some
    cpu_placement: str = PlacementStrategy.BINPACK
    min_guaranteed_runtime: float = 0.0  # seconds that preemptible work is protected
    time_based_fair_share: bool = False
    fair_share_history_weight: float = 1.0  # k value: 0 = history has no influence
    fair_share_window: float = 7 * 86400.0  # seconds of the past that count
    fair_share_window_type: str = WindowType.SLIDING
    fair_share_window_start: float = 0.0  # of tumbling windows: one begins at this moment, and one after each window
    fair_share_half_life: float = 0.0  # seconds after which use counts half; 0 = all of the window counts alike
    network_topology: str = ""  # name of the topology by which gangs are kept near; empty: none

    @property
    def name(self) -> str:
        """The pool's name."""
        return self.meta.name


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkTopology:
    """How the nodes of a cluster are connected: node labels from the widest level to the narrowest.

    `scope` is the cluster's id in a control plane, and empty in the cluster
    itself, which knows no other. One that nobody has `created_by` was made by
    somebody else in the cluster.
    """

    __pydantic_config__ = WIRE
    meta: Meta
    levels: tuple[str, ...]
    scope_type: str = "cluster"
    scope: str = ""

    @property
    def name(self) -> str:
        """The topology's name in its cluster."""
        return self.meta.name.removesuffix(f".{self.scope}") if self.scope else self.meta.name
