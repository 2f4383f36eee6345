"""The fields that a policy may speak about: path, type of value, types of workload.

One table, in the API's names, after Run:ai's policy YAML reference (2.25). A
test compares it with `model.spec.WorkloadSpec`, so that neither can drift.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from types import MappingProxyType

from runai_core.model.errors import MAX_NAME
from runai_core.model.workload import PolicyType


class ValueType(StrEnum):
    """What kind of value a field has; it decides which rules it may have."""

    BOOLEAN = "boolean"
    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    QUANTITY = "quantity"
    ARRAY = "array"
    OBJECT = "object"
    ITEMIZED = "itemized"


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of the specification, as policies see it."""

    path: str
    type: ValueType
    workloads: frozenset[PolicyType]
    choices: tuple[str, ...] = ()  # the only values that the API takes
    key: str = "name"  # itemized: the member that names an instance
    attributes: Mapping[str, ValueType] = field(default_factory=dict)  # itemized: the other members, by dotted path


_W, _T, _D = PolicyType.WORKSPACE, PolicyType.TRAINING, PolicyType.DISTRIBUTED
_I, _DI = PolicyType.INFERENCE, PolicyType.DISTRIBUTED_INFERENCE
_ALL = frozenset(PolicyType)
_RUNS = frozenset({_W, _T, _D})
_B, _S, _N = ValueType.BOOLEAN, ValueType.STRING, ValueType.INTEGER
_F, _Q, _A, _O = ValueType.NUMBER, ValueType.QUANTITY, ValueType.ARRAY, ValueType.OBJECT

_SCALARS: tuple[tuple[frozenset[PolicyType], Mapping[str, ValueType]], ...] = (
    (
        _ALL,
        {
            "image": _S,
            "imagePullPolicy": _S,
            "imagePullSecrets": _A,
            "command": _S,
            "args": _S,
            "workingDir": _S,
            "createHomeDir": _B,
            "category": _S,
            "nodePools": _A,
            "nodeType": _S,
            "nodeAffinityRequired": _O,
            "podAffinity.type": _S,
            "podAffinity.key": _S,
            "priorityClass": _S,
            "preemptibility": _S,
            "probes.readiness.initialDelaySeconds": _N,
            "probes.readiness.periodSeconds": _N,
            "probes.readiness.timeoutSeconds": _N,
            "probes.readiness.successThreshold": _N,
            "probes.readiness.failureThreshold": _N,
            "compute.gpuDevicesRequest": _N,
            "compute.gpuRequestType": _S,
            "compute.gpuPortionRequest": _F,
            "compute.gpuPortionLimit": _F,
            "compute.gpuMemoryRequest": _Q,
            "compute.gpuMemoryLimit": _Q,
            "compute.migProfile": _S,
            "compute.cpuCoreRequest": _F,
            "compute.cpuCoreLimit": _F,
            "compute.cpuMemoryRequest": _Q,
            "compute.cpuMemoryLimit": _Q,
            "compute.largeShmRequest": _B,
            "security.uidGidSource": _S,
            "security.runAsUid": _N,
            "security.runAsGid": _N,
            "security.runAsNonRoot": _B,
            "security.supplementalGroups": _S,
            "security.capabilities": _A,
            "security.seccompProfileType": _S,
            "security.allowPrivilegeEscalation": _B,
            "security.readOnlyRootFilesystem": _B,
            "security.hostIpc": _B,
            "security.hostNetwork": _B,
            "security.privileged": _B,
        },
    ),
    (
        _RUNS,
        {
            "stdin": _B,
            "tty": _B,
            "restartPolicy": _S,
            "backoffLimit": _N,
            "terminateAfterPreemption": _B,
            "preemptionLimit": _N,
            "terminationGracePeriodSeconds": _N,
            "autoDeletionTimeAfterCompletionSeconds": _N,
        },
    ),
    (frozenset({_T}), {"parallelism": _N, "completions": _N}),
    (
        frozenset({_D}),
        {
            "distributedFramework": _S,
            "numWorkers": _N,
            "minReplicas": _N,
            "maxReplicas": _N,
            "cleanPodPolicy": _S,
            "slotsPerWorker": _N,
            "sshAuthMountPath": _S,
            "mpiLauncherCreationPolicy": _S,
        },
    ),
    (
        frozenset({_I, _DI}),
        {
            "servingPort.container": _N,
            "servingPort.protocol": _S,
            "servingPort.authorizationType": _S,
            "servingPort.authorizedUsers": _A,
            "servingPort.authorizedGroups": _A,
            "servingPort.clusterLocalAccessOnly": _B,
            "servingConfiguration.initializationTimeoutSeconds": _N,
            "servingConfiguration.requestTimeoutSeconds": _N,
            "autoscaling.minReplicas": _N,
            "autoscaling.maxReplicas": _N,
            "autoscaling.initialReplicas": _N,
            "autoscaling.activationReplicas": _N,
            "autoscaling.metric": _S,
            "autoscaling.metricThreshold": _N,
            "autoscaling.metricThresholdPercentage": _F,
            "autoscaling.concurrencyHardLimit": _N,
            "autoscaling.scaleToZeroRetentionSeconds": _N,
            "autoscaling.scaleDownDelaySeconds": _N,
            "autoscaling.initializationTimeoutSeconds": _N,
        },
    ),
    (frozenset({_DI}), {"replicas": _N, "workers": _N, "startupPolicy": _S}),
)

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "imagePullPolicy": ("Always", "IfNotPresent", "Never"),
    "podAffinity.type": ("Required", "Preferred"),
    "preemptibility": ("preemptible", "non-preemptible"),
    "compute.gpuRequestType": ("portion", "memory"),
    "restartPolicy": ("Always", "OnFailure", "Never"),
    "distributedFramework": ("PyTorch", "TF", "MPI", "XGBoost", "JAX"),
    "cleanPodPolicy": ("None", "All", "Running"),
    "servingPort.protocol": ("http", "grpc"),
}

_REFERENCES = {f"{kind}.{part}": _S for kind in ("secret", "configMap", "userCredential") for part in ("name", "key")}
_CLAIM = {"claimInfo.size": _Q, "claimInfo.storageClass": _S, "claimInfo.volumeMode": _S} | {
    f"claimInfo.accessModes.{mode}": _B for mode in ("readWriteOnce", "readOnlyMany", "readWriteMany")
}
_MAP = {"configMap": _S, "secret": _S, "mountPath": _S, "subPath": _S, "defaultMode": _S}
_AUTHORIZED = {"authorizationType": _S, "authorizedUsers": _A, "authorizedGroups": _A, "toolType": _S, "toolName": _S}

_ITEMS: Mapping[str, tuple[str, Mapping[str, ValueType]]] = {
    "environmentVariables": ("name", {"value": _S, **_REFERENCES, "podFieldRef.path": _S, "description": _S}),
    "labels": ("name", {"value": _S}),
    "annotations": ("name", {"value": _S}),
    "tolerations": ("name", {"operator": _S, "key": _S, "value": _S, "effect": _S, "seconds": _N}),
    "ports": ("name", {"container": _N, "serviceType": _S, "external": _N, "toolType": _S, "toolName": _S}),
    "exposedUrls": ("name", {"container": _N, "url": _S, **_AUTHORIZED}),
    "relatedUrls": ("name", {"url": _S, "type": _S}),
    "compute.extendedResources": ("resource", {"quantity": _Q}),
    "storage.pvc": (
        "name",
        {"path": _S, "claimName": _S, **dict.fromkeys(("existingPvc", "readOnly", "ephemeral", "dataSharing"), _B)}
        | _CLAIM,
    ),
    "storage.nfs": ("name", {"path": _S, "server": _S, "mountPath": _S, "readOnly": _B}),
    "storage.hostPath": ("name", {"path": _S, "mountPath": _S, "readOnly": _B, "mountPropagation": _S}),
    "storage.git": ("name", {"repository": _S, "branch": _S, "revision": _S, "path": _S, "passwordSecret": _S}),
    "storage.s3": (
        "name",
        {
            "bucket": _S,
            "path": _S,
            "url": _S,
            "accessKeySecret": _S,
            "secretKeyOfAccessKeyId": _S,
            "secretKeyOfSecretKey": _S,
        },
    ),
    "storage.configMapVolume": ("name", _MAP),
    "storage.secretVolume": ("name", _MAP),
    "storage.emptyDirVolume": ("name", {"path": _S, "medium": _S, "sizeLimit": _Q}),
    "storage.dataVolume": ("name", {"id": _S, "mountPath": _S}),
}

_NOT_ON: Mapping[str, frozenset[PolicyType]] = {"storage.s3": frozenset({_I, _DI})}


def _catalogue() -> Iterator[Field]:
    for workloads, scalars in _SCALARS:
        for path, kind in scalars.items():
            yield Field(path=path, type=kind, workloads=workloads, choices=_CHOICES.get(path, ()))
    for path, (key, attributes) in _ITEMS.items():
        workloads = _ALL - _NOT_ON.get(path, frozenset())
        yield Field(path=path, type=ValueType.ITEMIZED, workloads=workloads, key=key, attributes=attributes)


FIELDS: Mapping[str, Field] = MappingProxyType({entry.path: entry for entry in _catalogue()})
"""Every field that may have defaults and rules, by path."""

ALIASES: Mapping[str, str] = {
    "podAffinitySchedulingRule": "podAffinity.type",
    "podAffinityTopology": "podAffinity.key",
    "compute.gpuDeviceRequest": "compute.gpuDevicesRequest",
    "security.runasGid": "security.runAsGid",
    "security.runasUid": "security.runAsUid",
    "storage.configMapVolumes": "storage.configMapVolume",
    "storage.secretVolumes": "storage.secretVolume",
    "storage.emptyDirVolumes": "storage.emptyDirVolume",
    "storage.pvcs": "storage.pvc",
    "storage.dataVolumes": "storage.dataVolume",
}
"""Spellings that Run:ai's own pages also use."""

HIGHER_SCOPE_WINS = ("compute", "security")
"""Sections whose rules are kept by the higher scope; for all others the nearest scope wins."""


@cache
def fields_of(workload: PolicyType) -> Mapping[str, Field]:
    """Return the fields that a type of workload has, by path."""
    return MappingProxyType({path: entry for path, entry in FIELDS.items() if workload in entry.workloads})


def higher_scope_wins(path: str) -> bool:
    """Return whether the rules of this field are kept by the higher scope."""
    return path.partition(".")[0] in HIGHER_SCOPE_WINS


def unknown_name(name: str, known: Iterable[str]) -> str:
    """Return what to say of a name that is not among the known ones, with the nearest of them."""
    near = difflib.get_close_matches(name[:MAX_NAME], list(known), n=2)
    return "unknown field" + (f", did you mean {' or '.join(near)}?" if near else "")
