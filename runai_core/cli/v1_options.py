"""The flags of CLI v1's `submit` and `submit-dist`, as data."""

# ruff: noqa: E501 - a row of a table is one line

from collections.abc import Mapping
from typing import Any

import click

from runai_core.cli.building import NUMBER
from runai_core.cli.entries import CONFIG_MAP, EXISTING_PVC, NEW_PVC, RESOURCE, Entry
from runai_core.cli.options import Flag


def _row(names: str, path: str, help_: str, kind: str = "text", **more: Any) -> Flag:
    return Flag(tuple(names.split()), path, help_, kind, **more)


GIT_SYNC_V1 = Entry(
    keys={
        "source": "repository",
        "branch": "branch",
        "rev": "revision",
        "username": "",
        "password": "",
        "target": "path",
    },
    required=("source",),
)
S3_V1 = Entry(
    keys={"bucket": "bucket", "key": "", "secret": "accessKeySecret", "url": "url", "target": "path"},
    required=("bucket",),
)


FLAGS: tuple[Flag, ...] = (
    _row("-i --image", "image", "Container image; recorded, not used, by the embedded backend."),
    _row("--image-pull-policy", "imagePullPolicy", "When the image is pulled.", choices=("Always", "IfNotPresent", "Never")),
    _row("-e --environment", "environmentVariables", "Variable: NAME=VALUE; VALUE may be SECRET:NAME,KEY.", "named"),
    _row("-l --label", "labels", "Label of the pods: NAME=VALUE.", "named"),
    _row("-a --annotation", "annotations", "Annotation of the pods: NAME=VALUE.", "named"),
    _row("--working-dir", "workingDir", "Directory in which the process starts."),
    _row("--create-home-dir", "createHomeDir", "A temporary home directory.", "flag"),
    _row("--stdin", "stdin", "Keep standard input open.", "flag"),
    _row("-t --tty", "tty", "Give the process a terminal.", "flag"),
    _row("--gpu-memory", "compute.gpuMemoryRequest", "Memory of one GPU, e.g. 5G; not with --gpu."),
    _row("--mig-profile", "compute.migProfile", "MIG slice, e.g. 1g.5gb."),
    _row("--cpu", "compute.cpuCoreRequest", "CPU cores.", "float"),
    _row("--cpu-limit", "compute.cpuCoreLimit", "CPU cores at most.", "float"),
    _row("--memory", "compute.cpuMemoryRequest", "Memory, e.g. 2G."),
    _row("--memory-limit", "compute.cpuMemoryLimit", "Memory at most."),
    _row("--extended-resource", "compute.extendedResources", "Other resource: NAME=QUANTITY.", "entry", entry=RESOURCE),
    _row("--large-shm", "compute.largeShmRequest", "A large /dev/shm.", "flag"),
    _row("--backoff-limit", "backoffLimit", "Failures before it is Failed (6).", "int"),
    _row("--auto-deletion-time-after-completion --ttl-after-finish", "autoDeletionTimeAfterCompletionSeconds", "Delete this long after the end.", "seconds"),
    _row("--node-pools", "nodePools", "Node pool; repeat in order of preference.", "list"),
    _row("--node-type", "nodeType", "Node type: the node label run.ai/type."),
    _row("--preferred-pod-topology-key", "podAffinity.preferred", "Keep pods together if possible."),
    _row("--required-pod-topology-key", "podAffinity.required", "Keep pods together."),
    _row("--pvc-exists", "storage.pvc", "Existing claim: claimname=,path=", "entry", entry=EXISTING_PVC),
    _row("--pvc-new --new-pvc", "storage.pvc", f"New claim: {NEW_PVC.form}", "entry", entry=NEW_PVC),
    _row("--git-sync", "storage.git", f"Git checkout: {GIT_SYNC_V1.form}", "entry", entry=GIT_SYNC_V1),
    _row("--s3", "storage.s3", f"S3 bucket: {S3_V1.form}", "entry", entry=S3_V1),
    _row("--configmap-volume", "storage.configMapVolume", "Config map as files: name=,path=", "entry", entry=CONFIG_MAP),
    _row("--host-ipc", "security.hostIpc", "Use the host's IPC namespace.", "flag"),
    _row("--host-network", "security.hostNetwork", "Use the host's network.", "flag"),
    _row("--run-as-user", "body:runAsUser", "Run with your user and group id.", "flag"),
    _row("--allow-privilege-escalation", "security.allowPrivilegeEscalation", "A process may gain more rights than its parent.", "flag"),
    _row("--add-capability", "security.capabilities", "Linux capability to add.", "list"),
)  # fmt: skip
"""Flags of `runai submit` and `runai submit-dist`."""

TRAINING_FLAGS: tuple[Flag, ...] = (
    _row("--parallelism", "parallelism", "Pods at once.", "int"),
    _row("--completions", "completions", "Successful runs that complete it.", "int"),
)

DIST_FLAGS: tuple[Flag, ...] = (
    _row("--workers", "numWorkers", "Worker pods, besides the master.", "int"),
    _row("--clean-pod-policy", "cleanPodPolicy", "Pods to remove at the end.", choices=("None", "All", "Running")),
    _row("--slots-per-worker", "slotsPerWorker", "Processes on each worker (mpi).", "int"),
    _row("--min-replicas", "minReplicas", "Fewest workers (pytorch).", "int"),
    _row("--max-replicas", "maxReplicas", "Most workers (pytorch).", "int"),
    _row("--no-master", "body:hasMaster", "No master of its own (pytorch, tf).", "flag", constant=False),
    _row("--master-args", "master:args", "Arguments of the master."),
    _row("--master-environment", "master:environmentVariables", "Variable of the master: NAME=VALUE.", "named"),
    _row("--master-gpu", "master:compute.gpuDevicesRequest", "GPUs of the master.", "gpus"),
    _row("--master-no-pvcs", "master:storage.pvc", "The master mounts no claims.", "flag", constant=()),
)

DIST_KINDS: Mapping[str, str] = {"mpi": "mpi", "pytorch": "pytorch", "tf": "tensorflow", "xgboost": "xgboost"}
"""First word of `submit-dist` -> the command of v2."""

OWN_OPTIONS: tuple[click.Option, ...] = (
    click.Option(["--name", "name_option"], help="Name; also the first word."),
    click.Option(["--job-name-prefix", "prefix"], help="Make a name: this and a random ending."),
    click.Option(["-g", "--gpu"], type=NUMBER, help="GPUs, e.g. 2 or 0.5."),
    click.Option(["-v", "--volume"], multiple=True, help="Directory: SOURCE:PATH[:ro|rw]; with a server as fourth part NFS."),
    click.Option(["--nfs-server"], help="NFS server of the volumes."),
    click.Option(["--toleration"], multiple=True, help="operator=Equal|Exists,key=,[value=],[effect=],[seconds=]"),
    click.Option(["--port"], multiple=True, help="EXTERNAL:CONTAINER, or one number."),
    click.Option(["-s", "--service-type"], help="nodeport, loadbalancer, external-url, ...: how the ports are reached."),
    click.Option(["--command", "as_command"], is_flag=True, help="Taken for granted: the words after -- are the command."),
    click.Option(["--attach"], is_flag=True, help="Follow the output until it ends."),
    click.Option(["--dry-run"], is_flag=True, help="Show what would be submitted; create nothing."),
)  # fmt: skip
