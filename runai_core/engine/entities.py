"""The records that a session is made of: classes of equal pods, gangs and queues as slots and ints.

They are mutable on purpose and never leave the engine: `cycle` turns them into
the frozen dataclasses of the model at the door.
"""

from dataclasses import dataclass, field

from runai_core.model.organization import Queue
from runai_core.model.resources import MILLI, memory_charge
from runai_core.model.snapshot import (
    PodConstraints,
    PodEntry,
    PodGroup,
    PodRequest,
    PodState,
    Preemptibility,
    SubGroup,
    TopologyConstraint,
)

CPU, MEMORY, GPU, SLOTS = range(4)
"""Columns of a node's row: millicores, bytes, whole devices, pods."""

RESOURCES = ("cpu", "memory", "gpu")
"""Columns of a queue's row: millicores, bytes, thousandths of a GPU."""

UNBOUNDED = 1 << 200
"""Stands for *no limit* in sums and comparisons of exact integers."""

# A pod's place in the cycle. The order matters: everything from PLACED to PROMISED counts as active.
PENDING, GATED, PLACED, RUNNING, PROMISED, EVICTED, RELEASING, SUCCEEDED, FAILED = range(9)

STATES = {
    PodState.PENDING: PENDING,
    PodState.GATED: GATED,
    PodState.BINDING: RUNNING,
    PodState.BOUND: RUNNING,
    PodState.RUNNING: RUNNING,
    PodState.RELEASING: RELEASING,
    PodState.PIPELINED: PROMISED,
    PodState.SUCCEEDED: SUCCEEDED,
    PodState.FAILED: FAILED,
}

WHOLE, SHARED, NO_GPU, SLICES = range(4)
"""Forms of a GPU request: whole devices, a part of a device, none, MIG slices or claims."""

DRA = "dra-device"
"""Name under which a node's claimable devices are kept among its extended resources."""


class PodClass:
    """Pods that are alike to every filter, score and account: what is learnt of one holds for all."""

    __slots__ = (
        "charge",
        "constraints",
        "cpu",
        "devices",
        "example",
        "extended",
        "fits_idle",
        "fits_later",
        "fits_shared",
        "form",
        "gpus",
        "index",
        "memory",
        "mib",
        "portion",
        "refused",
        "request",
        "seen",
        "seen_opened",
        "solitary",
        "static",
    )

    def __init__(self, index: int, example: PodEntry, smallest_device_mib: int) -> None:
        request = example.request
        self.index = index
        self.example = example
        self.request: PodRequest = request
        self.constraints: PodConstraints = example.constraints
        self.cpu = request.cpu
        self.memory = request.memory
        self.portion = request.gpu_portion
        self.mib = request.gpu_memory_mib
        self.devices = max(request.gpu_devices, 1)
        shared = bool(self.portion or self.mib)
        self.gpus = 0 if shared else request.gpu_devices
        claimed = sum(count for _, count in request.dra)
        extended = request.mig + request.extended + (((DRA, claimed),) if claimed else ())
        self.extended: tuple[tuple[str, int], ...] | None = extended or None
        sliced = bool(request.mig or claimed)
        self.form = SHARED if shared else WHOLE if self.gpus else SLICES if sliced else NO_GPU
        self.charge = (request.cpu, request.memory, gpu_charge(request, smallest_device_mib))
        # Filled by `feasibility` when the class is first looked at; bit i stands for node i.
        self.static = -1
        self.refused: tuple[tuple[str, int], ...] = ()
        self.fits_idle = self.fits_later = self.fits_shared = 0
        self.seen = self.seen_opened = 0
        # Where one pod's place changes what another may do, pods are looked at one by one.
        own = self.constraints
        self.solitary = bool(
            own.pod_affinity or own.host_ports or own.node_preferences or own.spread or example.resource_claims
        )


def gpu_charge(request: PodRequest, device_mib: int) -> int:
    """Return what a queue pays, in thousandths of a GPU, for a pod that has no node yet."""
    if request.gpu_portion:
        return request.gpu_portion * max(request.gpu_devices, 1)
    if request.gpu_memory_mib:
        return memory_charge(request.gpu_memory_mib, device_mib) * max(request.gpu_devices, 1)
    slices = sum(profile_gpus(name) * count for name, count in request.mig)
    return (request.gpu_devices + slices + sum(count for _, count in request.dra)) * MILLI


def profile_gpus(resource: str) -> int:
    """Return how many GPUs of quota a MIG slice costs: the number before the ``g`` of its profile."""
    profile = resource.rpartition("mig-")[2]
    digits = profile.partition("g")[0]
    return int(digits) if digits.isdigit() else 1


class PodSet:
    """A leaf of a gang: pods that need `minimum` of their number at once."""

    __slots__ = ("active", "existing", "minimum", "name", "pods", "releasing", "topology", "unsorted", "waiting")

    def __init__(self, name: str, minimum: int, topology: TopologyConstraint | None = None) -> None:
        self.name = name
        self.minimum = minimum
        self.topology = topology
        self.pods: list[int] = []
        self.unsorted = True
        self.active = 0  # placed, running or promised
        self.releasing = 0  # terminating since before the cycle
        self.waiting = 0  # pending when the cycle began
        self.existing = 0  # active or pending, without gates


class GroupNode:
    """An inner node of a gang's tree: only a topology constraint over its parts."""

    __slots__ = ("name", "parts", "sets", "topology")

    def __init__(self, name: str, topology: TopologyConstraint | None) -> None:
        self.name = name
        self.topology = topology
        self.parts: list[GroupNode] = []
        self.sets: list[PodSet] = []


class Job:
    """A pod group in a session."""

    __slots__ = (
        "ask",
        "created",
        "failure",
        "finished",
        "group",
        "key",
        "name",
        "only",
        "path",
        "preemptible",
        "priority",
        "queue",
        "sets",
        "shape",
        "tree",
        "tries",
    )

    def __init__(self, group: PodGroup, queue: "QueueNode | None") -> None:
        self.group = group
        self.name = group.name
        self.queue = queue
        self.path: tuple[QueueNode, ...] = () if queue is None else queue.path
        self.priority = group.priority
        self.preemptible = group.preemptibility is not Preemptibility.NON_PREEMPTIBLE
        self.created = group.created_at
        self.finished = False  # one of its pods succeeded
        self.tree: GroupNode | None = None
        self.tries: list[int] | None = None  # pods that would be tried now; None = to be worked out
        self.ask: tuple[int, int, int] = (0, 0, 0)  # what they cost the queue
        self.shape: object = None  # equal shapes fail for equal reasons
        self.key: tuple[object, ...] = ()
        self.failure: object = None  # why the last attempt failed, see `verdicts`
        if group.sub_groups or group.topology:
            self.tree, sets = _grow_tree(group)
            self.sets = sets
            self.only: PodSet | None = None
        else:
            self.only = PodSet("", max(1, group.min_members))
            self.sets = {"": self.only}

    @property
    def active(self) -> int:
        """Pods that hold, or are promised, a place."""
        if self.only is not None:
            return self.only.active
        return sum(part.active for part in self.sets.values())


def _grow_tree(group: PodGroup) -> tuple[GroupNode, dict[str, PodSet]]:
    """Return the tree of a group and its leaves by name; unknown parents hang from the root."""
    root = GroupNode("", group.topology)
    if not group.sub_groups:
        only = PodSet("", max(group.min_members, 1))
        root.sets.append(only)
        return root, {"": only}
    inner_names = {part.parent for part in group.sub_groups if part.parent}
    nodes = {part.name: GroupNode(part.name, part.topology) for part in group.sub_groups if part.name in inner_names}
    leaves: dict[str, PodSet] = {}
    for part in sorted(group.sub_groups, key=_by_name):
        parent = nodes.get(part.parent or "", root)
        if part.name in nodes:
            parent.parts.append(nodes[part.name])
        else:
            leaves[part.name] = PodSet(part.name, max(part.min_members, 0), part.topology)
            parent.sets.append(leaves[part.name])
    return root, leaves


def _by_name(part: SubGroup) -> str:
    return part.name


@dataclass(slots=True, eq=False)
class QueueNode:
    """A queue in a session: its numbers as rows of (cpu, memory, gpu) and its place in the tree."""

    name: str
    queue: Queue
    parent: "QueueNode | None" = None
    children: list["QueueNode"] = field(default_factory=list)
    path: tuple["QueueNode", ...] = ()  # itself first, its top-level ancestor last
    priority: int = 0
    rank: int = 0  # among its siblings: smaller allocatable share first, then age, then name
    deserved: list[int] = field(default_factory=list)
    limit: list[int] = field(default_factory=list)
    weight: list[float] = field(default_factory=list)
    allocated: list[int] = field(default_factory=lambda: [0, 0, 0])
    non_preemptible: list[int] = field(default_factory=lambda: [0, 0, 0])
    requested: list[int] = field(default_factory=lambda: [0, 0, 0])
    fair: list[int] = field(default_factory=lambda: [0, 0, 0])
    allocatable: list[int] = field(default_factory=lambda: [0, 0, 0])
    divisor: list[int] = field(default_factory=lambda: [0, 0, 0])
    limited: bool = False  # some resource has a limit, here or at an ancestor
    jobs: list[Job] = field(default_factory=list)
    opening: tuple[tuple[int, int, int], tuple[int, int, int]] = ((0, 0, 0), (0, 0, 0))
    # allocated and non-preemptible as the cycle began
