"""What the engine answers: decisions, and for each group that waits, why."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Reason(StrEnum):
    """Stable codes for why a pod group is not placed.

    The first four are KAI's and Run:ai's own words; the rest follow Kueue's
    inadmissible reasons where one fits.
    """

    NON_PREEMPTIBLE_OVER_QUOTA = "NonPreemptibleOverQuota"
    OVER_LIMIT = "OverLimit"
    QUEUE_DOES_NOT_EXIST = "QueueDoesNotExist"
    POD_SCHEDULING_ERRORS = "PodSchedulingErrors"  # constraints that no node meets
    NOT_READY = "NotReady"  # fewer pods exist than the gang needs
    GATED = "Gated"
    INSUFFICIENT_CAPACITY = "InsufficientCapacity"  # it could fit later, when others end
    NEVER_FITS = "NeverFits"  # larger than the node pool, even when empty
    TOPOLOGY_PLACEMENT_FAILED = "TopologyPlacementFailed"
    WAITING_FOR_QUOTA = "WaitingForQuota"  # over its fair share, nobody may be asked to give way
    WAITING_FOR_RELEASE = "WaitingForRelease"  # promised room that others are still leaving


@dataclass(frozen=True, slots=True)
class Bind:
    """Start a pod on a node now."""

    pod: str
    node: str
    gpu_groups: tuple[str, ...] = ()  # shared devices, one per device asked for; names new or known
    pod_group: str = ""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Promise a node to a pod: others are still leaving it. Nothing is to be done."""

    pod: str
    node: str
    gpu_groups: tuple[str, ...] = ()
    pod_group: str = ""
    action: str = "allocate"


@dataclass(frozen=True, slots=True)
class QueueShare:
    """A queue's numbers for one resource, in its exact unit. `None` = unlimited."""

    queue: str
    resource: str  # cpu | memory | gpu
    deserved: int | None
    limit: int | None
    fair_share: int
    allocated: int
    allocated_non_preemptible: int = 0
    requested: int = 0


@dataclass(frozen=True, slots=True)
class Evict:
    """Take a pod off its node. `message` is a whole sentence for its owner."""

    pod: str
    node: str
    action: str  # consolidate | reclaim | preempt | stale_gang
    pod_group: str = ""
    for_group: str = ""  # who gets the room
    message: str = ""
    moved_to: str | None = None  # the node it was promised instead
    shares: tuple[QueueShare, ...] = ()  # of both queues, before the decision


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A smallest change found that would start the group now."""

    kind: str  # fewer_gpus | fewer_pods | higher_priority | raise_limit | raise_quota | wait_for | node_pool | ...
    message: str
    values: Mapping[str, str | int | float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a pod group was not placed in this cycle."""

    pod_group: str
    reason: Reason
    message: str  # one sentence, complete in itself
    nodes_refused: Mapping[str, int] = field(default_factory=dict)  # filter's words -> number of nodes
    shares: tuple[QueueShare, ...] = ()  # of the queue that stood in the way, and its ancestors
    placeable: int = 0  # pods that could be placed now
    required: int = 0  # pods that must be placed together
    nearest_miss: str = ""  # the node, or domain, that lacked least
    suggestions: tuple[Suggestion, ...] = ()
    promised: bool = False  # room was promised this cycle: it starts when others have left


class Outcome(StrEnum):
    """What became of a decision when a backend carried it out."""

    APPLIED = "applied"
    STALE = "stale"  # the object changed since the snapshot: the next cycle sees the truth
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleResult:
    """The answer of one cycle, in the order in which it was decided."""

    revision: int = 0
    node_pool: str = ""
    binds: tuple[Bind, ...] = ()
    evictions: tuple[Evict, ...] = ()
    pipelines: tuple[Pipeline, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    shares: tuple[QueueShare, ...] = ()  # every queue, every resource, as the cycle began
    stale_groups: tuple[str, ...] = ()  # running below their minimum now
