"""From a researcher's words to the API's specification of a workload; pure.

`gpus=0.5` becomes one device of which a portion is asked for, `env={...}` a
list of variables, `command=[...]` one line quoted as in a shell. Whatever has
no word here goes through `spec`, in the API's own names, and wins.
"""

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

from runai_core.model.errors import FieldError, InvalidRequest


class Options(TypedDict, total=False):
    """What can be said about any workload."""

    project: str  # name; the client's project when left out
    command: str | Sequence[str]  # the program with its arguments
    args: str | Sequence[str]  # arguments of the image's entry point
    image: str
    gpus: float  # devices for each pod; below 1: a share of one device
    gpu_portion: float  # share of each device, with gpus >= 1
    gpu_memory: str  # memory of each device, for example "5G"
    cpus: float
    memory: str  # for example "2Gi"
    env: Mapping[str, object]
    working_dir: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    node_pools: Sequence[str]
    node_type: str
    priority: str  # very-low ... very-high
    preemptible: bool
    grace_period: int  # seconds between SIGTERM and SIGKILL
    restart_policy: str  # Always | OnFailure | Never
    backoff_limit: int
    name_is_prefix: bool  # a suffix makes the name unique
    spec: Mapping[str, Any]  # further fields, in the API's names


class TrainingOptions(Options, total=False):
    """What can be said about a training besides `Options`."""

    runs: int  # successful runs that complete it
    parallelism: int  # pods at once


class DistributedOptions(Options, total=False):
    """What can be said about a distributed training besides `Options`."""

    framework: str  # PyTorch (the default) | TF | MPI | XGBoost | JAX
    workers: int
    min_replicas: int
    max_replicas: int
    has_master: bool  # default: the first pod is a master besides the workers
    master: Mapping[str, Any]  # where the master differs, in the API's names


class InferenceOptions(Options, total=False):
    """What can be said about an inference workload besides `Options`."""

    port: int  # that the server listens on
    protocol: str  # http | grpc
    min_replicas: int
    max_replicas: int
    readiness_path: str  # answers 200 when the server is ready


class DistributedInferenceOptions(Options, total=False):
    """What can be said about a distributed inference workload besides `Options`."""

    port: int
    replicas: int
    workers: int  # of each replica, besides its leader


OUTSIDE_SPEC = frozenset({"project", "name_is_prefix", "has_master", "master", "spec"})
"""Options that are part of the request, not of the specification."""

PLAIN: Mapping[str, str] = {
    "image": "image",
    "working_dir": "workingDir",
    "node_type": "nodeType",
    "priority": "priorityClass",
    "grace_period": "terminationGracePeriodSeconds",
    "restart_policy": "restartPolicy",
    "backoff_limit": "backoffLimit",
    "gpu_memory": "compute.gpuMemoryRequest",
    "gpu_portion": "compute.gpuPortionRequest",
    "cpus": "compute.cpuCoreRequest",
    "memory": "compute.cpuMemoryRequest",
    "runs": "completions",
    "parallelism": "parallelism",
    "framework": "distributedFramework",
    "replicas": "replicas",
    "port": "servingPort.container",
    "protocol": "servingPort.protocol",
}
"""Options whose value is taken as it is -> field."""

REPLICAS: Mapping[str, Mapping[str, str]] = {
    "Distributed": {"workers": "numWorkers", "min_replicas": "minReplicas", "max_replicas": "maxReplicas"},
    "Inference": {"min_replicas": "autoscaling.minReplicas", "max_replicas": "autoscaling.maxReplicas"},
    "DistributedInference": {"workers": "workers"},
}
"""Options whose field depends on the type of workload."""


def build_spec(type_: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the wire form of the specification that the options describe.

    Raises:
        InvalidRequest: an option is unknown, or two contradict each other.
    """
    paths = {**PLAIN, **REPLICAS.get(type_, {})}
    spec: dict[str, Any] = {}
    for option, value in options.items():
        if value is None or option in OUTSIDE_SPEC:
            continue
        if option in paths:
            put(spec, paths[option], value)
        elif option in _SPECIAL:
            _SPECIAL[option](spec, value)
        else:
            known = sorted({*paths, *_SPECIAL, *OUTSIDE_SPEC})
            raise InvalidRequest.of(FieldError(option, f"unknown option: use one of {', '.join(known)}"))
    settle(spec)
    return merged(spec, options.get("spec") or {})


def settle(spec: dict[str, Any]) -> None:
    """Say what follows from what was said: how a part of a GPU is asked for, which port is asked for readiness.

    Raises:
        InvalidRequest: two parts contradict each other, or one lacks another.
    """
    _settle_gpu_request(spec)
    _settle_readiness(spec)


def put(target: dict[str, Any], path: str, value: Any) -> None:
    """Set a value at a dotted path, making the objects on the way."""
    *parents, last = path.split(".")
    for parent in parents:
        target = target.setdefault(parent, {})
    target[last] = value


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with the fields of `over` put over it, object by object."""
    result = dict(base)
    for name, value in over.items():
        old = result.get(name)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        result[name] = merged(old, value) if both else value  # type: ignore[arg-type]
    return result


def command_line(words: str | Sequence[str]) -> str:
    """Return a program with its arguments as one line, quoted as in a shell."""
    return words if isinstance(words, str) else shlex.join(str(word) for word in words)


def _gpus(spec: dict[str, Any], gpus: float) -> None:
    if isinstance(gpus, bool) or not isinstance(gpus, int | float):
        raise InvalidRequest.of(FieldError("gpus", "must be a number such as 2 or 0.5", gpus))
    if 0 < gpus < 1:
        put(spec, "compute.gpuDevicesRequest", 1)
        put(spec, "compute.gpuPortionRequest", gpus)
    elif gpus >= 0 and gpus == int(gpus):
        put(spec, "compute.gpuDevicesRequest", int(gpus))
    else:
        message = "must be 0, a share below 1, or a whole number: for parts of several devices use gpu_portion"
        raise InvalidRequest.of(FieldError("gpus", message, gpus))


def _settle_gpu_request(spec: dict[str, Any]) -> None:
    """Say how a part of a GPU is asked for; the API wants it said."""
    compute = spec.get("compute", {})
    by = [kind for kind, key in (("portion", "gpuPortionRequest"), ("memory", "gpuMemoryRequest")) if key in compute]
    if len(by) > 1:
        raise InvalidRequest.of(
            FieldError("gpu_memory", "a part of a GPU is asked for by share or by memory, not both")
        )
    if by:
        compute.setdefault("gpuDevicesRequest", 1)
        compute.setdefault("gpuRequestType", by[0])


def _settle_readiness(spec: dict[str, Any]) -> None:
    """Ask the serving port whether the server is ready, where no other port is named."""
    probe = spec.get("probes", {}).get("readiness", {}).get("handler", {}).get("httpGet")
    if probe is not None and "port" not in probe:
        if "servingPort" not in spec:
            raise InvalidRequest.of(FieldError("readiness_path", "needs the port that answers: give port as well"))
        probe["port"] = spec["servingPort"]["container"]


def named_values(values: Mapping[str, object]) -> list[dict[str, str]]:
    """Return the API's list form of a mapping: variables, labels, annotations."""
    return [{"name": name, "value": str(value)} for name, value in values.items()]


_SPECIAL: Mapping[str, Callable[[dict[str, Any], Any], None]] = {
    "gpus": _gpus,
    "command": lambda spec, words: put(spec, "command", command_line(words)),
    "args": lambda spec, words: put(spec, "args", command_line(words)),
    "env": lambda spec, values: put(spec, "environmentVariables", named_values(values)),
    "labels": lambda spec, values: put(spec, "labels", named_values(values)),
    "annotations": lambda spec, values: put(spec, "annotations", named_values(values)),
    "node_pools": lambda spec, pools: put(spec, "nodePools", list(pools)),
    "preemptible": lambda spec, yes: put(spec, "preemptibility", "preemptible" if yes else "non-preemptible"),
    "readiness_path": lambda spec, path: put(spec, "probes.readiness.handler.httpGet.path", path),
}
"""Options that need a form of their own."""
