"""The flags of `submit`, as data: each row says where its value goes in the request.

One table makes the options of the command line, fills the specification and
is the reference in docs/cli.md. Names are CLI v2's.
"""

# ruff: noqa: E501 - a row of a table is one line

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runai_core.cli.entries import (
    CONFIG_MAP,
    DATA_SOURCE,
    DATA_VOLUME,
    EMPTY_DIR,
    ENV_CREDENTIAL,
    ENV_FIELD,
    ENV_SECRET,
    EXISTING_PVC,
    EXTERNAL_URL,
    GIT_SYNC,
    HOST_PATH,
    NEW_PVC,
    NFS,
    PORT,
    PULL_CREDENTIAL,
    RESOURCE,
    S3_BUCKET,
    SECRET_VOLUME,
    SERVING_PORT,
    TOLERATION,
    Entry,
)

FRAMEWORKS = ("pytorch", "tensorflow", "mpi", "xgboost", "jax")
"""Commands of distributed trainings."""

DISTRIBUTED = frozenset(FRAMEWORKS)
SINGLE = frozenset({"workspace", "training"})
SERVERS = frozenset({"inference", "distributed-inference"})
NOT_SERVERS = SINGLE | DISTRIBUTED
ALL = NOT_SERVERS | SERVERS
PRIORITY_WORDS = ("very-low", "low", "medium-low", "medium", "medium-high", "high", "very-high")


@dataclass(frozen=True, slots=True)
class Flag:
    """One option of `submit`."""

    names: tuple[str, ...]
    path: str  # in the specification; with ``master:`` in the master's, with ``body:`` in the request
    help: str
    kind: str = "text"  # text | int | float | flag | seconds | gpus | list | named | entry
    on: frozenset[str] = ALL  # the commands that have it
    choices: tuple[str, ...] = ()
    entry: Entry | None = field(default=None)
    constant: Any = True  # what a flag sets

    @property
    def many(self) -> bool:
        """Whether it may be given several times."""
        return self.kind in ("list", "named", "entry")


def _flag(names: str, path: str, help_: str, kind: str = "text", **more: Any) -> Flag:
    return Flag(tuple(names.split()), path, help_, kind, **more)


def _entries(names: str, path: str, help_: str, entry: Entry, **more: Any) -> Flag:
    return Flag(tuple(names.split()), path, f"{help_} {entry.form}", "entry", entry=entry, **more)


FLAGS: tuple[Flag, ...] = (
    # identity
    _flag("--label", "labels", "Label of the pods: NAME=VALUE.", "named"),
    _flag("--annotation", "annotations", "Annotation of the pods: NAME=VALUE.", "named"),
    _flag("--category", "category", "Build, Train, Deploy or one of your own."),
    # image and process
    _flag("-i --image", "image", "Container image; recorded, not used, by the embedded backend."),
    _flag("--image-pull-policy", "imagePullPolicy", "When the image is pulled.", choices=("Always", "IfNotPresent", "Never")),
    _entries("--image-pull-my-credentials", "imagePullSecrets", "Credential for the registry:", PULL_CREDENTIAL),
    _flag("--working-dir", "workingDir", "Directory in which the process starts."),
    _flag("--create-home-dir", "createHomeDir", "Give the process a temporary home directory.", "flag"),
    _flag("--stdin", "stdin", "Keep standard input open.", "flag", on=NOT_SERVERS),
    _flag("-t --tty", "tty", "Give the process a terminal.", "flag", on=NOT_SERVERS),
    _flag("--termination-grace-period", "terminationGracePeriodSeconds", "Time between SIGTERM and SIGKILL, e.g. 30s.", "seconds", on=NOT_SERVERS),
    # environment
    _flag("-e --environment-variable", "environmentVariables", "Variable: NAME=VALUE.", "named", on=ALL - {"workspace"}),
    _flag("-e --environment --environment-variable", "environmentVariables", "Variable: NAME=VALUE.", "named", on=frozenset({"workspace"})),
    _entries("--env-secret", "environmentVariables", "Variable from a secret:", ENV_SECRET),
    _entries("--env-pod-field-ref", "environmentVariables", "Variable from a field of the pod:", ENV_FIELD),
    _entries("--env-my-credentials", "environmentVariables", "Variable from a credential of yours:", ENV_CREDENTIAL),
    # assets
    _flag("--template", "body:templateId", "Template to start from; what is given besides wins."),
    _flag("--environment", "body:assets.environment", "Environment, by name.", on=ALL - {"workspace"}),
    _flag("--environment-asset", "body:assets.environment", "Environment, by name; --environment is a variable here.", on=frozenset({"workspace"})),
    _flag("--compute", "body:assets.compute", "Compute resource, by name."),
    _entries("--datasource", "body:assets.datasources", "Data source:", DATA_SOURCE),
    _entries("--datavolume", "storage.dataVolume", "Data volume:", DATA_VOLUME),
    # GPU
    _flag("-g --gpu-devices-request", "compute.gpuDevicesRequest", "GPU devices for each pod.", "gpus"),
    _flag("--gpu-request-type", "compute.gpuRequestType", "How a part of a device is asked for.", choices=("portion", "memory")),
    _flag("--gpu-portion-request", "compute.gpuPortionRequest", "Share of each device, above 0 up to 1.", "float"),
    _flag("--gpu-portion-limit", "compute.gpuPortionLimit", "Share of each device that may be used at most.", "float"),
    _flag("--gpu-memory-request", "compute.gpuMemoryRequest", "Memory of each device, e.g. 5G."),
    _flag("--gpu-memory-limit", "compute.gpuMemoryLimit", "Memory of each device that may be used at most."),
    # CPU and other resources
    _flag("--cpu-core-request", "compute.cpuCoreRequest", "CPU cores, e.g. 0.5.", "float"),
    _flag("--cpu-core-limit", "compute.cpuCoreLimit", "CPU cores that may be used at most.", "float"),
    _flag("--cpu-memory-request", "compute.cpuMemoryRequest", "Memory, e.g. 512M or 2Gi."),
    _flag("--cpu-memory-limit", "compute.cpuMemoryLimit", "Memory that may be used at most."),
    _flag("--large-shm", "compute.largeShmRequest", "A large /dev/shm.", "flag"),
    _entries("--extended-resource", "compute.extendedResources", "Other resource:", RESOURCE),
    # scheduling
    _flag("--priority", "priorityClass", "Order inside the project.", choices=PRIORITY_WORDS),
    _flag("--preemptibility", "preemptibility", "Whether it may go over quota, and be evicted.", choices=("preemptible", "non-preemptible")),
    _flag("--preemptible", "preemptibility", "Short for --preemptibility preemptible.", "flag", on=frozenset({"workspace"}), constant="preemptible"),
    _flag("--node-pools", "nodePools", "Node pool; repeat in order of preference.", "list"),
    _flag("--node-type", "nodeType", "Node type: the node label run.ai/type."),
    _flag("--exclude-node", "nodeAffinityRequired", "Node that must not be used.", "list"),
    _entries("--toleration", "tolerations", "Taint that is put up with:", TOLERATION),
    _flag("--preferred-pod-topology-key", "podAffinity.preferred", "Keep pods together if possible: node label key."),
    _flag("--required-pod-topology-key", "podAffinity.required", "Keep pods together: node label key."),
    # life
    _flag("--backoff-limit", "backoffLimit", "Failures before it is Failed (6).", "int", on=NOT_SERVERS),
    _flag("--restart-policy", "restartPolicy", "When an ended process is started again.", choices=("Always", "OnFailure", "Never"), on=NOT_SERVERS),
    _flag("--auto-deletion-time-after-completion", "autoDeletionTimeAfterCompletionSeconds", "Delete this long after the end, e.g. 1h.", "seconds", on=NOT_SERVERS),
    _flag("--terminate-after-preemption", "terminateAfterPreemption", "End, instead of waiting again, when evicted.", "flag", on=NOT_SERVERS),
    _flag("--preemption-limit", "preemptionLimit", "Evictions after which it ends, instead of waiting again.", "int", on=NOT_SERVERS),
    _flag("--parallelism", "parallelism", "Pods at once.", "int", on=frozenset({"training"})),
    _flag("--runs", "completions", "Successful runs that complete it.", "int", on=frozenset({"training"})),
    # distributed
    _flag("--workers", "numWorkers", "Worker pods, besides the master.", "int", on=DISTRIBUTED),
    _flag("--no-master", "body:hasMaster", "No master of its own: the first worker leads.", "flag", on=DISTRIBUTED - {"mpi"}, constant=False),
    _flag("--clean-pod-policy", "cleanPodPolicy", "Pods to remove at the end.", choices=("None", "All", "Running"), on=DISTRIBUTED),
    _flag("--min-replicas", "minReplicas", "Fewest workers of an elastic training.", "int", on=frozenset({"pytorch"})),
    _flag("--max-replicas", "maxReplicas", "Most workers of an elastic training.", "int", on=frozenset({"pytorch"})),
    _flag("--slots-per-worker", "slotsPerWorker", "Processes on each worker.", "int", on=frozenset({"mpi"})),
    _flag("--ssh-auth-mount-path", "sshAuthMountPath", "Where MPI keeps its SSH keys.", on=frozenset({"mpi"})),
    _flag("--launcher-creation-policy", "mpiLauncherCreationPolicy", "When the launcher starts.", choices=("AtStartup", "WaitForWorkersReady"), on=frozenset({"mpi"})),
    _flag("--master-args", "master:args", "Arguments of the master.", on=DISTRIBUTED),
    _flag("--master-command", "master:command", "Command of the master, as one quoted line.", on=DISTRIBUTED),
    _flag("--master-environment-variable", "master:environmentVariables", "Variable of the master: NAME=VALUE.", "named", on=DISTRIBUTED),
    _entries("--master-extended-resource", "master:compute.extendedResources", "Other resource of the master:", RESOURCE, on=DISTRIBUTED),
    _flag("--master-cpu-core-request", "master:compute.cpuCoreRequest", "CPU cores of the master.", "float", on=DISTRIBUTED),
    _flag("--master-cpu-core-limit", "master:compute.cpuCoreLimit", "CPU cores of the master at most.", "float", on=DISTRIBUTED),
    _flag("--master-cpu-memory-request", "master:compute.cpuMemoryRequest", "Memory of the master.", on=DISTRIBUTED),
    _flag("--master-cpu-memory-limit", "master:compute.cpuMemoryLimit", "Memory of the master at most.", on=DISTRIBUTED),
    _flag("--master-gpu-devices-request", "master:compute.gpuDevicesRequest", "GPU devices of the master.", "gpus", on=DISTRIBUTED - {"mpi"}),
    _flag("--master-gpu-portion-request", "master:compute.gpuPortionRequest", "Share of each device of the master.", "float", on=DISTRIBUTED - {"mpi"}),
    _flag("--master-gpu-portion-limit", "master:compute.gpuPortionLimit", "Share of each device of the master at most.", "float", on=DISTRIBUTED - {"mpi"}),
    _flag("--master-no-pvcs", "master:storage.pvc", "The master mounts no claims.", "flag", on=DISTRIBUTED, constant=()),
    _flag("--master-restart-policy", "master:restartPolicy", "When the master is started again.", choices=("Always", "OnFailure", "Never"), on=DISTRIBUTED),
    # inference
    _entries("--serving-port", "servingPort", "Port that answers:", SERVING_PORT, on=SERVERS),
    _flag("--min-replicas", "autoscaling.minReplicas", "Fewest replicas.", "int", on=frozenset({"inference"})),
    _flag("--max-replicas", "autoscaling.maxReplicas", "Most replicas.", "int", on=frozenset({"inference"})),
    _flag("--initial-replicas", "autoscaling.initialReplicas", "Replicas at the start.", "int", on=frozenset({"inference"})),
    _flag("--activation-replicas", "autoscaling.activationReplicas", "Replicas when it wakes from zero.", "int", on=frozenset({"inference"})),
    _flag("--metric", "autoscaling.metric", "throughput, concurrency, latency, or one of your own.", on=frozenset({"inference"})),
    _flag("--metric-threshold", "autoscaling.metricThreshold", "Value that asks for one more replica.", "int", on=frozenset({"inference"})),
    _flag("--metric-threshold-percentage", "autoscaling.metricThresholdPercentage", "Share of the threshold to aim at (70).", "float", on=frozenset({"inference"})),
    _flag("--concurrency-hard-limit", "autoscaling.concurrencyHardLimit", "Most requests at once for a replica.", "int", on=frozenset({"inference"})),
    _flag("--scale-down-delay-seconds", "autoscaling.scaleDownDelaySeconds", "Time before a replica goes.", "int", on=frozenset({"inference"})),
    _flag("--scale-to-zero-retention-seconds", "autoscaling.scaleToZeroRetentionSeconds", "Idle time before the last one goes.", "int", on=frozenset({"inference"})),
    _flag("--initialization-timeout-seconds", "servingConfiguration.initializationTimeoutSeconds", "Time to become ready.", "int", on=frozenset({"inference"})),
    _flag("--request-timeout-seconds", "servingConfiguration.requestTimeoutSeconds", "Time for one request.", "int", on=frozenset({"inference"})),
    _flag("--readiness-path", "probes.readiness.handler.httpGet.path", "Path that answers 200 when the server is ready.", on=SERVERS),
    _flag("--replicas", "replicas", "Groups of leader and workers.", "int", on=frozenset({"distributed-inference"})),
    _flag("--workers", "workers", "Workers of each group, besides its leader.", "int", on=frozenset({"distributed-inference"})),
    _flag("--startup-policy", "startupPolicy", "When workers start.", choices=("LeaderCreated", "LeaderReady"), on=frozenset({"distributed-inference"})),
    # storage
    _entries("--existing-pvc", "storage.pvc", "Existing claim:", EXISTING_PVC),
    _entries("--new-pvc", "storage.pvc", "New claim:", NEW_PVC),
    _entries("--nfs", "storage.nfs", "NFS directory:", NFS),
    _entries("--host-path", "storage.hostPath", "Directory of the node:", HOST_PATH),
    _entries("--git-sync", "storage.git", "Git checkout:", GIT_SYNC),
    _entries("--s3", "storage.s3", "S3 bucket:", S3_BUCKET, on=NOT_SERVERS),
    _entries("--configmap-map-volume", "storage.configMapVolume", "Config map as files:", CONFIG_MAP),
    _entries("--secret-volume", "storage.secretVolume", "Secret as files:", SECRET_VOLUME),
    _entries("--empty-dir-volume", "storage.emptyDirVolume", "Empty directory:", EMPTY_DIR),
    # network
    _entries("--port", "ports", "Port:", PORT, on=NOT_SERVERS),
    _entries("--external-url", "exposedUrls", "URL from outside:", EXTERNAL_URL, on=NOT_SERVERS),
    _flag("--host-network", "security.hostNetwork", "Use the host's network.", "flag"),
    _flag("--host-ipc", "security.hostIpc", "Use the host's IPC namespace.", "flag"),
    # security
    _flag("--run-as-user", "body:runAsUser", "Run with your user and group id.", "flag"),
    _flag("--run-as-uid", "security.runAsUid", "User id.", "int"),
    _flag("--run-as-gid", "security.runAsGid", "Group id.", "int"),
    _flag("--run-as-non-root", "security.runAsNonRoot", "Refuse to run as root.", "flag"),
    _flag("--supplemental-groups", "security.supplementalGroups", "Further group ids, separated by ';'."),
    _flag("--user-group-source", "security.uidGidSource", "Where user and group come from.", choices=("fromTheImage", "fromIdpToken")),
    _flag("--capability", "security.capabilities", "Linux capability to add.", "list"),
    _flag("--seccomp-profile", "security.seccompProfileType", "Seccomp profile.", choices=("RuntimeDefault", "Unconfined", "Localhost")),
    _flag("--allow-privilege-escalation", "security.allowPrivilegeEscalation", "A process may gain more rights than its parent.", "flag"),
    _flag("--privileged", "security.privileged", "Run privileged.", "flag"),
)  # fmt: skip
"""Every flag of `runai ... submit` that becomes part of the request."""

OVERRIDDEN: Mapping[str, str] = {"--name": "NAME"}


def flags_of(command: str) -> tuple[Flag, ...]:
    """Return the flags of one `submit` command."""
    return tuple(flag for flag in FLAGS if command in flag.on)
