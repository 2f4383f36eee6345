"""Workloads: what users submit, what becomes of it, and the pods that do the work."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from runai_core.model.decision import Verdict
from runai_core.model.meta import WIRE, Meta
from runai_core.model.network import HttpGet
from runai_core.model.resources import Resources, memory_charge
from runai_core.model.snapshot import NO_CONSTRAINTS, PodConstraints, PodGroup, PodRequest, PodState, Preemptibility
from runai_core.model.spec import RestartPolicy, WorkloadSpec
from runai_core.model.volumes import Storage


class WorkloadType(StrEnum):
    """The native types, and External for kinds that plug-ins bring."""

    WORKSPACE = "Workspace"
    TRAINING = "Training"
    DISTRIBUTED = "Distributed"
    INFERENCE = "Inference"
    DISTRIBUTED_INFERENCE = "DistributedInference"
    EXTERNAL = "External"


class Phase(StrEnum):
    """Where a workload is in its life. The first nine are the product's, the rest the API's transitional ones."""

    CREATING = "Creating"
    PENDING = "Pending"
    INITIALIZING = "Initializing"
    RUNNING = "Running"
    DEGRADED = "Degraded"
    DELETING = "Deleting"
    STOPPED = "Stopped"
    FAILED = "Failed"
    COMPLETED = "Completed"
    RESUMING = "Resuming"
    STOPPING = "Stopping"
    UPDATING = "Updating"
    TERMINATING = "Terminating"
    UNKNOWN = "Unknown"


TERMINAL = frozenset({Phase.COMPLETED, Phase.FAILED})
"""Phases that a workload leaves only to be deleted."""

PRIORITIES: Mapping[str, int] = {
    "very-low": 25,
    "low": 40,
    "medium-low": 65,
    "medium": 80,
    "medium-high": 90,
    "high": 125,
    "very-high": 150,
    # classes of the older product line
    "train": 50,
    "interactive-preemptible": 75,
    "build-preemptible": 75,
    "build": 100,
    "inference": 125,
}
"""Priority of each class; without an explicit word, 100 and above is not preemptible (Run:ai docs 2.25)."""

NON_PREEMPTIBLE_FROM = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeDefaults:
    """What a type of workload is when nobody says otherwise (Run:ai docs 2.25, workload priority control)."""

    category: str
    priority_class: str
    preemptibility: Preemptibility
    restart_policy: RestartPolicy
    backoff_limit: int = 6
    can_stop: bool = True


_TRAINS = TypeDefaults(
    category="Train",
    priority_class="low",
    preemptibility=Preemptibility.PREEMPTIBLE,
    restart_policy=RestartPolicy.NEVER,
)
_SERVES = TypeDefaults(
    category="Deploy",
    priority_class="very-high",
    preemptibility=Preemptibility.NON_PREEMPTIBLE,
    restart_policy=RestartPolicy.ALWAYS,
    can_stop=False,
)
TYPE_DEFAULTS: Mapping[WorkloadType, TypeDefaults] = {
    WorkloadType.WORKSPACE: TypeDefaults(
        category="Build",
        priority_class="high",
        preemptibility=Preemptibility.NON_PREEMPTIBLE,
        restart_policy=RestartPolicy.ALWAYS,
    ),
    WorkloadType.TRAINING: _TRAINS,
    WorkloadType.DISTRIBUTED: _TRAINS,
    WorkloadType.INFERENCE: _SERVES,
    WorkloadType.DISTRIBUTED_INFERENCE: _SERVES,
    WorkloadType.EXTERNAL: replace(_TRAINS, priority_class="train", can_stop=False),
}

GRACE_PERIOD = 30
"""Seconds between SIGTERM and SIGKILL where a spec says nothing (Run:ai system policy)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """The pods of a workload whose pods come and go, by rank. Of workers on demand no rank is given twice."""

    __pydantic_config__ = WIRE
    ranks: tuple[int, ...]
    next_rank: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """How long a workload may run, or may hold GPUs that it does not use, by a scheduling rule."""

    __pydantic_config__ = WIRE
    rule: str  # its name in the API
    seconds: int
    origin: str  # project/<name> or department/<name>: whose rule it is
    warned: bool = False  # half of it has passed, and that was told


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits that a workload was submitted under; rules that change later do not bind it."""

    __pydantic_config__ = WIRE
    time: Limit | None = None
    idle: Limit | None = None
    counted_from: float = 0.0  # running seconds at the newest stop by a rule: each run counts anew after it
    unmeasured_told: bool = False  # that nothing measures its GPUs was said


@dataclass(frozen=True, slots=True, kw_only=True)
class Edition:
    """Which of its revisions an inference workload is: `model.revisions` keeps each of them."""

    __pydantic_config__ = WIRE
    number: int  # from 1
    made_at: float  # seconds since the epoch, UTC
    made_by: str = ""
    first_attempt: int = 0  # its pods are those of this attempt and later ones; 0: not launched yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One row in every list: what a user submitted, whatever makes its pods.

    `meta.project` is the project and `meta.uid` the API's id. `attempt` grows
    each time pods are made anew (resume, eviction, retry): together with the
    uid it names a set of pods, so that none is started twice.
    """

    __pydantic_config__ = WIRE
    meta: Meta
    department: str = ""
    type: WorkloadType = WorkloadType.TRAINING
    spec: WorkloadSpec = field(default_factory=WorkloadSpec)
    master_spec: WorkloadSpec | None = None  # distributed: where the master differs
    has_master: bool = True  # distributed: the first pod is a master of its own, besides the workers
    api_version: str = ""  # External: the framework object
    kind: str = ""
    manifest: Mapping[str, object] | None = None
    template: str = ""  # uid of the template that it was submitted with
    assets: tuple[str, ...] = ()  # uids of the assets whose fields are in its specification
    # resolved at submission
    priority_class: str = "low"
    priority: int = 40
    preemptibility: Preemptibility = Preemptibility.PREEMPTIBLE
    category: str = "Train"
    node_pools: tuple[str, ...] = ()  # in order of preference, never empty once submitted
    origins: Mapping[str, str] = field(default_factory=dict)  # field -> policy that set its value
    revision: str = ""  # inference: digest of all that makes its pods what they are, but not how many they are
    edition: Edition | None = None  # inference: the revision that its specification is; None: the first
    limits: Limits | None = None  # by scheduling rules; None: there are none
    source: str = "Control-plane"  # CLI | Control-plane | Other
    # state
    phase: Phase = Phase.CREATING
    phase_message: str = ""
    phase_reason: str = ""
    phase_updated_at: float = 0.0
    stop_requested: bool = False
    delete_requested: bool = False
    attempt: int = 0
    failures: int = 0  # counted against the backoff limit
    evictions: int = 0
    successes: int = 0  # counted against completions
    failures_before: int = 0  # as it was when the present attempt began
    successes_before: int = 0
    node_pool: str = ""  # where its pods are, or are tried now
    members: Members | None = None  # on demand, or by an autoscaler: who is wanted now; None: as at the start
    verdict: Verdict | None = None  # why it waits, while it does
    last_start: float | None = None  # when pods were last placed
    completed_at: float | None = None
    running_seconds: float = 0.0  # up to phase_updated_at, not counting the present phase
    pending_seconds: float = 0.0
    pods_requested: int = 0
    pods_running: int = 0
    # External: read off the pods that somebody else makes; each request with the number of pods that share it
    asked: tuple[tuple[PodRequest, int], ...] = ()
    held: tuple[tuple[PodRequest, int], ...] = ()

    @property
    def name(self) -> str:
        """The workload's name."""
        return self.meta.name

    @property
    def key(self) -> str:
        """``<project>/<name>``: what people call it."""
        return f"{self.meta.project}/{self.meta.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSpec:
    """One process to run: resolved, ready for any backend.

    The embedded backend runs `argv` as a process group; Kubernetes makes a pod.
    """

    __pydantic_config__ = WIRE
    argv: tuple[str, ...] = ()  # empty: the image's entry point
    environment: Mapping[str, str] = field(default_factory=dict)
    references: Mapping[str, str] = field(default_factory=dict)  # variables that the backend looks up: "secret/n/key"
    storage: Storage | None = None  # None: no volumes
    working_dir: str = ""
    image: str = ""
    request: PodRequest = PodRequest()
    cpu_limit: int = 0  # millicores; 0 = none
    memory_limit: int = 0  # bytes; 0 = none
    constraints: PodConstraints = NO_CONSTRAINTS
    restart_policy: RestartPolicy = RestartPolicy.NEVER
    backoff_limit: int = 6  # restarts in place
    grace_period: float = GRACE_PERIOD  # seconds
    ports: tuple[int, ...] = ()
    readiness: HttpGet | None = None
    readiness_initial_delay: float = 0.0  # seconds
    readiness_period: float = 10.0
    readiness_timeout: float = 1.0
    readiness_failure_threshold: int = 3
    role: str = "worker"  # master | launcher | leader | worker
    rank: int = 0
    local_rank: int = 0
    sub_group: str = ""
    leader: bool = False
    tty: bool = False
    stdin: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PodStatus:
    """What is known of a pod's life. Times are seconds since the epoch, UTC."""

    __pydantic_config__ = WIRE
    state: PodState = PodState.PENDING
    node: str = ""
    gpu_groups: tuple[str, ...] = ()  # shared devices
    gpu_devices: tuple[int, ...] = ()  # indexes on the node
    gpu_isolation: str = ""  # what keeps it to its part of a shared device: none | MIG | MPS | driver plug-in
    ready: bool = False
    restarts: int = 0
    exit_code: int | None = None
    message: str = ""
    reason: str = ""  # Evicted | Stopped | Error | NodeLost | ...
    scheduled_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A member of a gang. `meta.owner` is the workload's uid; names are ``<workload>-<attempt>-<rank>``."""

    __pydantic_config__ = WIRE
    meta: Meta
    workload: str  # the workload's name
    pod_group: str
    attempt: int = 1
    replacement: int = 0  # how many pods of the same rank came before it in this attempt
    stands_in: bool = False  # of an older attempt: it does the work until the present one's pods do
    node_pool: str = ""
    namespace: str = ""  # that it is in on a cluster; empty: its project's, by the usual name
    spec: PodSpec
    status: PodStatus = field(default_factory=PodStatus)

    @property
    def name(self) -> str:
        """The pod's name."""
        return self.meta.name


@dataclass(frozen=True, slots=True)
class Gang:
    """The pods of one attempt of a workload, and the pod group that holds them together."""

    group: PodGroup
    pods: tuple[Pod, ...]

    @property
    def resources(self) -> Resources:
        """What all pods ask for together; GPU memory counts nothing."""
        return Resources(
            cpu=sum(pod.spec.request.cpu for pod in self.pods),
            memory=sum(pod.spec.request.memory for pod in self.pods),
            gpu=sum(gpu_charge(pod.spec.request) for pod in self.pods),
        )


def gpu_charge(request: PodRequest, device_mib: int = 0) -> int:
    """Return the thousandths of a GPU that quota is charged; memory counts 0 until the size of its device is known."""
    if request.gpu_portion:
        return request.gpu_portion * max(request.gpu_devices, 1)
    if request.gpu_memory_mib:
        return memory_charge(request.gpu_memory_mib, device_mib) * max(request.gpu_devices, 1) if device_mib else 0
    slices = sum(int(name.partition("mig-")[2].partition("g")[0] or 1) * count for name, count in request.mig)
    return 1000 * (request.gpu_devices + slices + sum(count for _, count in request.dra))


class RecordType(StrEnum):
    """What a history record tells."""

    PHASE_UPDATE = "PhaseUpdate"
    EVENT = "Event"


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRecord:
    """One line of a workload's story: a change of phase, or an event. `meta.owner` is the workload's uid."""

    __pydantic_config__ = WIRE
    meta: Meta
    type: RecordType = RecordType.EVENT
    from_phase: Phase | None = None
    to_phase: Phase | None = None
    signal: str = ""
    cause: str = ""  # a whole sentence: why
    actor: str = ""
    reason: str = ""  # of an event: Scheduled, Evicted, Unschedulable, ...
    message: str = ""
    severity: str = "Normal"  # Normal | Warning
    involved: str = ""  # pod/<name>, workload/<name>, ...


class PolicyType(StrEnum):
    """Which workloads a policy is for."""

    WORKSPACE = "workspace"
    TRAINING = "training"
    DISTRIBUTED = "distributed"
    INFERENCE = "inference"
    DISTRIBUTED_INFERENCE = "distributedInference"


POLICY_TYPES: Mapping[WorkloadType, PolicyType] = {
    WorkloadType.WORKSPACE: PolicyType.WORKSPACE,
    WorkloadType.TRAINING: PolicyType.TRAINING,
    WorkloadType.DISTRIBUTED: PolicyType.DISTRIBUTED,
    WorkloadType.INFERENCE: PolicyType.INFERENCE,
    WorkloadType.DISTRIBUTED_INFERENCE: PolicyType.DISTRIBUTED_INFERENCE,
}
"""Native type -> the type of the policies that judge it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Defaults and rules for one type of workload in one scope, as its author wrote them.

    `meta.name` is ``<type>`` plus the scope; `document` is the YAML form of
    the product: ``{defaults, rules, imposedAssets}``.
    """

    __pydantic_config__ = WIRE
    meta: Meta
    type: PolicyType
    scope_type: str = "tenant"  # system | tenant | cluster | department | project
    scope: str = ""  # name of the department, project or cluster
    document: Mapping[str, object] = field(default_factory=dict)
