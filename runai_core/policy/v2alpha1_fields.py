"""Which field of the v2alpha1 form is which field of the current one, and how values are rewritten."""

from collections.abc import Callable, Mapping
from typing import Any

from runai_core.model.errors import InvalidRequest
from runai_core.model.resources import parse_quantity

Convert = Callable[[Any], Any]


def _whole(value: Any) -> Any:
    number = _number(value)
    return int(number) if isinstance(number, int | float) and number == int(number) else value


def _number(value: Any) -> Any:
    """Return the number that a text stands for; what is none stays, and is refused with the literal's own message."""
    if not isinstance(value, str):
        return value
    try:
        number = parse_quantity(value)
    except InvalidRequest:
        return value
    return int(number) if number == int(number) else float(number)


def _same(value: Any) -> Any:
    return value


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _words(value: Any) -> Any:
    return value.replace(",", " ").replace(";", " ").split() if isinstance(value, str) else value


def _one(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _word(words: Mapping[Any, str]) -> Convert:
    return lambda value: words.get(value, value) if isinstance(value, str | bool) else value


SCALARS: Mapping[str, tuple[str, Convert]] = {
    "image": ("image", _same),
    "imagePullPolicy": ("imagePullPolicy", _same),
    "command": ("command", _same),
    "arguments": ("args", _same),
    "workingDir": ("workingDir", _same),
    "createHomeDir": ("createHomeDir", _same),
    "stdin": ("stdin", _same),
    "tty": ("tty", _same),
    "gpuMemory": ("compute.gpuMemoryRequest", _text),
    "gpuLimit": ("compute.gpuPortionLimit", _number),
    "gpuDevices": ("compute.gpuDevicesRequest", _whole),
    "migProfile": ("compute.migProfile", _same),
    "cpu": ("compute.cpuCoreRequest", _number),
    "cpuLimit": ("compute.cpuCoreLimit", _number),
    "memory": ("compute.cpuMemoryRequest", _text),
    "memoryLimit": ("compute.cpuMemoryLimit", _text),
    "largeShm": ("compute.largeShmRequest", _same),
    "nodePools": ("nodePools", _words),
    "nodePool": ("nodePools", _one),
    "nodeType": ("nodeType", _same),
    "podAffinitySchedulingRule": ("podAffinity.type", _word({"hard": "Required", "soft": "Preferred"})),
    "podAffinityTopology": ("podAffinity.key", _same),
    "hostIpc": ("security.hostIpc", _same),
    "hostNetwork": ("security.hostNetwork", _same),
    "allowPrivilegeEscalation": ("security.allowPrivilegeEscalation", _same),
    "capabilities": ("security.capabilities", _words),
    "runAsUid": ("security.runAsUid", _whole),
    "runAsGid": ("security.runAsGid", _whole),
    "runAsNonRoot": ("security.runAsNonRoot", _same),
    "runAsUser": ("security.uidGidSource", _word({True: "fromIdpToken", False: "fromTheImage"})),
    "seccompProfileType": ("security.seccompProfileType", _same),
    "supplementalGroups": ("security.supplementalGroups", _same),
    "autoDeletionTimeAfterCompletionSeconds": ("autoDeletionTimeAfterCompletionSeconds", _whole),
    "ttlAfterFinish": ("autoDeletionTimeAfterCompletionSeconds", _whole),
    "backoffLimit": ("backoffLimit", _whole),
    "completions": ("completions", _whole),
    "parallelism": ("parallelism", _whole),
    "terminateAfterPreemption": ("terminateAfterPreemption", _same),
    "preemptionLimit": ("preemptionLimit", _whole),
    "preemptible": ("preemptibility", _word({True: "preemptible", False: "non-preemptible"})),
    "nonPreemptible": ("preemptibility", _word({True: "non-preemptible", False: "preemptible"})),
    "workers": ("numWorkers", _whole),
    "slotsPerWorker": ("slotsPerWorker", _whole),
    "minScale": ("autoscaling.minReplicas", _whole),
    "maxScale": ("autoscaling.maxReplicas", _whole),
    "metric": ("autoscaling.metric", _same),
    "target": ("autoscaling.metricThreshold", _whole),
    "isPrivateServiceUrl": ("servingPort.clusterLocalAccessOnly", _same),
    # ours: fields of the current API that the older form has no name for
    "category": ("category", _same),
    "priorityClass": ("priorityClass", _same),
    "preemptibility": ("preemptibility", _same),
    "restartPolicy": ("restartPolicy", _same),
    "terminationGracePeriodSeconds": ("terminationGracePeriodSeconds", _whole),
    "gpuRequestType": ("compute.gpuRequestType", _same),
    "gpuPortion": ("compute.gpuPortionRequest", _number),
    "gpuMemoryLimit": ("compute.gpuMemoryLimit", _text),
    "readOnlyRootFilesystem": ("security.readOnlyRootFilesystem", _same),
    "privileged": ("security.privileged", _same),
    "uidGidSource": ("security.uidGidSource", _same),
    "distributedFramework": ("distributedFramework", _same),
    "minReplicas": ("minReplicas", _whole),
    "maxReplicas": ("maxReplicas", _whole),
    "cleanPodPolicy": ("cleanPodPolicy", _same),
    "sshAuthMountPath": ("sshAuthMountPath", _same),
    "mpiLauncherCreationPolicy": ("mpiLauncherCreationPolicy", _same),
    "initialScale": ("autoscaling.initialReplicas", _whole),
    "activationScale": ("autoscaling.activationReplicas", _whole),
    "targetPercentage": ("autoscaling.metricThresholdPercentage", _number),
    "concurrencyHardLimit": ("autoscaling.concurrencyHardLimit", _whole),
    "scaleToZeroRetentionSeconds": ("autoscaling.scaleToZeroRetentionSeconds", _whole),
    "scaleDownDelaySeconds": ("autoscaling.scaleDownDelaySeconds", _whole),
    "scaleInitializationTimeoutSeconds": ("autoscaling.initializationTimeoutSeconds", _whole),
    "initializationTimeoutSeconds": ("servingConfiguration.initializationTimeoutSeconds", _whole),
    "requestTimeoutSeconds": ("servingConfiguration.requestTimeoutSeconds", _whole),
    "groups": ("replicas", _whole),
    "groupWorkers": ("workers", _whole),
    "startupPolicy": ("startupPolicy", _same),
}
"""v2alpha1 field -> (path, rewriting of its values)."""

JOB_TYPES = {"PyTorchJob": "PyTorch", "TFJob": "TF", "MPIJob": "MPI", "XGBoostJob": "XGBoost", "JAXJob": "JAX"}

_CLAIM = {
    "claimName": "claimName",
    "existingPvc": "existingPvc",
    "path": "path",
    "readOnly": "readOnly",
    "ephemeral": "ephemeral",
    "size": "claimInfo.size",
    "storageClass": "claimInfo.storageClass",
    "accessModeRWO": "claimInfo.accessModes.readWriteOnce",
    "accessModeROM": "claimInfo.accessModes.readOnlyMany",
    "accessModeRWM": "claimInfo.accessModes.readWriteMany",
}


def _as_is(*names: str) -> dict[str, str]:
    return {name: name for name in names}


ITEMS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "environment": ("environmentVariables", {"": "value"}),
    "annotations": ("annotations", {"": "value"}),
    "labels": ("labels", {"": "value"}),
    "extendedResources": ("compute.extendedResources", {"": "quantity"}),
    "tolerations": ("tolerations", _as_is("key", "operator", "value", "effect", "seconds")),
    "ports": ("ports", _as_is("container", "external", "serviceType")),
    "exposedUrls": ("exposedUrls", _as_is("container", "url", "authorizedUsers", "authorizedGroups")),
    "volumes": ("storage.hostPath", _as_is("path", "mountPath", "readOnly")),
    "nfs": ("storage.nfs", _as_is("path", "mountPath", "server", "readOnly")),
    "pvcs": ("storage.pvc", _CLAIM),
    "gitSync": (
        "storage.git",
        _as_is("repository", "branch", "revision")
        | {"source": "repository", "target": "path", "secret": "passwordSecret"},
    ),
    "s3": ("storage.s3", _as_is("bucket", "url") | {"target": "path", "secret": "accessKeySecret"}),
    "configMapVolumes": ("storage.configMapVolume", _as_is("mountPath", "subPath") | {"name": "configMap"}),
    "secretVolumes": ("storage.secretVolume", _as_is("mountPath") | {"name": "secret"}),
    "emptyDirVolumes": ("storage.emptyDirVolume", _as_is("path", "medium", "sizeLimit")),
    "dataVolumes": ("storage.dataVolume", _as_is("id", "mountPath")),
    "relatedUrls": ("relatedUrls", _as_is("url", "type")),
}
"""v2alpha1 field with items -> (path, its members); the member "" is the item's whole value."""

NUMBERS = frozenset({"container", "external", "seconds"})
"""Members whose numbers may be written as texts."""


def member_value(name: str, value: Any) -> Any:
    """Return the value of one member of an item in the current form."""
    return _whole(value) if name in NUMBERS else value
