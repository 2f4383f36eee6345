"""What a user asks for: the specification of a workload, field by field as in the public API.

Names are the Run:ai API's (REST bodies `spec`, version 2.24), in snake case.
Every field may be left out; policies and defaults fill in later. Descriptions
and constraints feed the OpenAPI page, the custom resources and the command line.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from runai_core.model.meta import WIRE, described, listed
from runai_core.model.network import (
    Autoscaling,
    ExposedUrl,
    Port,
    Probes,
    RelatedUrl,
    ServingConfiguration,
    ServingPort,
)
from runai_core.model.volumes import Storage


class DistributedFramework(StrEnum):
    """How the processes of a distributed workload find each other."""

    PYTORCH = "PyTorch"
    TF = "TF"
    MPI = "MPI"
    XGBOOST = "XGBoost"
    JAX = "JAX"


class RestartPolicy(StrEnum):
    """When a pod's process is started again on its node (core/v1 PodSpec.restartPolicy)."""

    ALWAYS = "Always"
    ON_FAILURE = "OnFailure"
    NEVER = "Never"


class GpuRequestType(StrEnum):
    """How a part of a GPU is asked for."""

    PORTION = "portion"
    MEMORY = "memory"


class CleanPodPolicy(StrEnum):
    """Which pods of a finished distributed workload are removed."""

    NONE = "None"
    ALL = "All"
    RUNNING = "Running"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyReference:
    """One key of a secret, config map or credential."""

    __pydantic_config__ = WIRE
    name: str
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodFieldReference:
    """A field of the pod, such as metadata.name."""

    __pydantic_config__ = WIRE
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentVariable:
    """One environment variable; at most one source is given."""

    __pydantic_config__ = WIRE
    name: str = field(metadata={"min_length": 1, "max_length": 253})
    value: str | None = described("The text of the variable.")
    secret: KeyReference | None = described("Take the value from a key of a secret.")
    config_map: KeyReference | None = described("Take the value from a key of a config map.")
    pod_field_ref: PodFieldReference | None = described("Take the value from a field of the pod.")
    user_credential: KeyReference | None = described("Take the value from a credential of the user.")
    exclude: bool | None = described("Leave out the variable of this name that a policy or template brings.")
    description: str | None = described("What the variable is for.")


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedValue:
    """A label or an annotation."""

    __pydantic_config__ = WIRE
    name: str = field(metadata={"min_length": 1, "max_length": 317})
    value: str = ""
    exclude: bool | None = described("Leave out the entry of this name that a policy or template brings.")


@dataclass(frozen=True, slots=True, kw_only=True)
class TolerationSpec:
    """A taint that the pods put up with."""

    __pydantic_config__ = WIRE
    name: str | None = described("Name of the entry, for policies.")
    operator: str | None = described("Equal (the default) or Exists.", pattern="^(Equal|Exists)$")
    key: str | None = described("Key of the taint; empty with Exists matches all.")
    value: str | None = described("Value of the taint, with Equal.")
    effect: str | None = described("NoSchedule, PreferNoSchedule, NoExecute or Any; empty matches every effect.")
    seconds: int | None = described("How long a pod stays after a NoExecute taint appeared.", ge=0)
    exclude: bool | None = described("Leave out the entry of this name that a policy or template brings.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtendedResource:
    """An amount of another resource that nodes advertise."""

    __pydantic_config__ = WIRE
    resource: str
    quantity: str = "1"
    exclude: bool | None = described("Leave out the entry that a policy or template brings.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """What each pod asks for and may use at most."""

    __pydantic_config__ = WIRE
    gpu_devices_request: int | None = described("GPU devices for each pod.", ge=0, le=1024)
    gpu_request_type: GpuRequestType | None = described("Ask for a part of each device, by portion or by memory.")
    gpu_portion_request: float | None = described("Share of each device, above 0 up to 1.", ge=0, le=1)
    gpu_portion_limit: float | None = described("Share of each device that may be used at most.", ge=0, le=1)
    gpu_memory_request: str | None = described("Memory of each device, for example 5G.", max_length=64)
    gpu_memory_limit: str | None = described("Memory of each device that may be used at most.", max_length=64)
    mig_profile: str | None = described("MIG slice, for example 1g.5gb (deprecated by Run:ai).")
    cpu_core_request: float | None = described("CPU cores.", ge=0, le=1_000_000)
    cpu_core_limit: float | None = described("CPU cores that may be used at most.", ge=0, le=1_000_000)
    cpu_memory_request: str | None = described("Memory, for example 512M or 2Gi.", max_length=64)
    cpu_memory_limit: str | None = described("Memory that may be used at most.", max_length=64)
    large_shm_request: bool | None = described("A large /dev/shm.")
    extended_resources: tuple[ExtendedResource, ...] = listed("Other resources that nodes advertise.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """Identity and rights of the containers."""

    __pydantic_config__ = WIRE
    uid_gid_source: str | None = described("fromTheImage, fromIdpToken or custom.")
    run_as_uid: int | None = described("User id, with uidGidSource custom.", ge=0)
    run_as_gid: int | None = described("Group id, with uidGidSource custom.", ge=0)
    run_as_non_root: bool | None = described("Refuse to run as root.")
    supplemental_groups: str | None = described("Further group ids, separated by semicolons.")
    capabilities: tuple[str, ...] = listed("Linux capabilities to add.")
    seccomp_profile_type: str | None = described("RuntimeDefault, Unconfined or Localhost.")
    allow_privilege_escalation: bool | None = described("Let a process gain more rights than its parent.")
    read_only_root_filesystem: bool | None = described("Mount the root file system read-only.")
    host_ipc: bool | None = described("Use the host's IPC namespace.")
    host_network: bool | None = described("Use the host's network.")
    privileged: bool | None = described("Run privileged; refused by the system policy.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePullSecret:
    """A secret for the image registry."""

    __pydantic_config__ = WIRE
    name: str
    user_credential: bool | None = described("It is a credential of the user.")
    exclude: bool | None = described("Leave out the entry that a policy or template brings.")


@dataclass(frozen=True, slots=True, kw_only=True)
class PodAffinitySpec:
    """Keep the pods of the workload together in one topology domain."""

    __pydantic_config__ = WIRE
    type: str = field(default="Preferred", metadata={"pattern": "^(Required|Preferred)$"})
    key: str = ""  # node label key


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchExpression:
    """One term of a node selector."""

    __pydantic_config__ = WIRE
    key: str
    operator: str = field(default="In", metadata={"pattern": "^(In|NotIn|Exists|DoesNotExist|Gt|Lt)$"})
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSelectorTerm:
    """All of these must hold."""

    __pydantic_config__ = WIRE
    match_expressions: tuple[MatchExpression, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeAffinityRequired:
    """One of these terms must hold."""

    __pydantic_config__ = WIRE
    node_selector_terms: tuple[NodeSelectorTerm, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadSpec:
    """The specification of one workload; which fields apply depends on its type."""

    __pydantic_config__ = WIRE
    # process
    image: str | None = described("Container image; recorded, but not used, by the embedded backend.", max_length=1024)
    image_pull_policy: str | None = described("Always, IfNotPresent or Never.", pattern="^(Always|IfNotPresent|Never)$")
    image_pull_secrets: tuple[ImagePullSecret, ...] = listed("Secrets for the image registry.")
    command: str | None = described(
        "Program with arguments, quoted as in a shell; it replaces the entry point.", max_length=100_000
    )
    args: str | None = described("Arguments, quoted as in a shell.", max_length=100_000)
    working_dir: str | None = described("Working directory.", max_length=4096)
    create_home_dir: bool | None = described("A temporary home directory.")
    environment_variables: tuple[EnvironmentVariable, ...] = listed("Environment variables.")
    stdin: bool | None = described("Keep standard input open.")
    tty: bool | None = described("Allocate a terminal.")
    # identity
    category: str | None = described("Build, Train, Deploy or a category of your own.")
    labels: tuple[NamedValue, ...] = listed("Labels of the pods.")
    annotations: tuple[NamedValue, ...] = listed("Annotations of the pods.")
    # resources and place
    compute: Compute = listed("What each pod asks for.", Compute)
    node_pools: tuple[str, ...] = listed("Node pools in order of preference.")
    node_type: str | None = described("Node type: the node label run.ai/type.")
    node_affinity_required: NodeAffinityRequired | None = described("Node labels that must match.")
    pod_affinity: PodAffinitySpec | None = described("Keep the pods together.")
    tolerations: tuple[TolerationSpec, ...] = listed("Taints that the pods put up with.")
    # order
    priority_class: str | None = described("very-low, low, medium-low, medium, medium-high, high or very-high.")
    preemptibility: str | None = described(
        "preemptible (may go over quota, may be evicted) or non-preemptible.", pattern="^(preemptible|non-preemptible)$"
    )
    # life
    restart_policy: RestartPolicy | None = described("When a finished process is started again.")
    backoff_limit: int | None = described(
        "Failures before the workload is Failed; 6 when left out.", ge=0, le=1_000_000
    )
    termination_grace_period_seconds: int | None = described(
        "Time between SIGTERM and SIGKILL; 30 when left out.", ge=0
    )
    terminate_after_preemption: bool | None = described("End, instead of waiting again, when evicted.")
    preemption_limit: int | None = described("Evictions after which it ends, instead of waiting again.", ge=1)
    auto_deletion_time_after_completion_seconds: int | None = described("Delete this long after the end.", ge=0)
    # network and tools
    ports: tuple[Port, ...] = listed("Ports of the main container.")
    exposed_urls: tuple[ExposedUrl, ...] = listed("URLs from outside.")
    related_urls: tuple[RelatedUrl, ...] = listed("Links shown with the workload.")
    probes: Probes | None = described("Health checks.")
    # security and storage
    security: Security = listed("Identity and rights.", Security)
    storage: Storage = listed("Volumes.", Storage)
    # training only
    parallelism: int | None = described("Pods at once.", ge=1, le=100_000)
    completions: int | None = described("Successful runs that complete the workload.", ge=1, le=100_000)
    # distributed only
    distributed_framework: DistributedFramework | None = described("PyTorch, TF, MPI, XGBoost or JAX.")
    num_workers: int | None = described("Worker pods, besides the master.", ge=1, le=100_000)
    min_replicas: int | None = described("Fewest workers of an elastic PyTorch workload.", ge=1)
    max_replicas: int | None = described("Most workers of an elastic PyTorch workload.", ge=1)
    clean_pod_policy: CleanPodPolicy | None = described("Pods to remove at the end: None, All or Running.")
    slots_per_worker: int | None = described("Processes on each MPI worker.", ge=1)
    ssh_auth_mount_path: str | None = described("Where MPI keeps its SSH keys.")
    mpi_launcher_creation_policy: str | None = described("AtStartup or WaitForWorkersReady.")
    # inference only
    serving_port: ServingPort | None = described("The port that answers.")
    autoscaling: Autoscaling | None = described("How many replicas.")
    serving_configuration: ServingConfiguration | None = described("Time-outs.")
    # distributed inference only
    replicas: int | None = described("Groups of leader and workers.", ge=0, le=1000)
    workers: int | None = described("Workers of each group, besides its leader.", ge=0, le=1000)
    startup_policy: str | None = described("LeaderCreated or LeaderReady.")


TRAINING_ONLY = frozenset({"parallelism", "completions"})
DISTRIBUTED_ONLY = frozenset(
    {
        "distributed_framework",
        "num_workers",
        "min_replicas",
        "max_replicas",
        "clean_pod_policy",
        "slots_per_worker",
        "ssh_auth_mount_path",
        "mpi_launcher_creation_policy",
    }
)
INFERENCE_ONLY = frozenset({"serving_port", "autoscaling", "serving_configuration"})
DISTRIBUTED_INFERENCE_ONLY = frozenset({"replicas", "workers", "startup_policy"})
NOT_INFERENCE = frozenset(
    {
        "stdin",
        "tty",
        "restart_policy",
        "backoff_limit",
        "terminate_after_preemption",
        "preemption_limit",
        "termination_grace_period_seconds",
        "auto_deletion_time_after_completion_seconds",
    }
)
