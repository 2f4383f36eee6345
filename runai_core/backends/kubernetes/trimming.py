"""What is dropped of objects before they are kept in memory: tens of thousands of pods must fit."""

from typing import Any

from runai_core.backends.kubernetes.api import Object

POD_SPEC_DROPS = (
    "dnsPolicy",
    "enableServiceLinks",
    "imagePullSecrets",
    "preemptionPolicy",
    "readinessGates",
    "securityContext",
    "serviceAccount",
    "dnsConfig",
    "hostAliases",
)
CONTAINER_DROPS = (
    "env",
    "envFrom",
    "lifecycle",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "securityContext",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "volumeMounts",
    "volumeDevices",
    "imagePullPolicy",
)
"""Parts of a container that neither scheduling nor the state of a workload depends on."""

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def bare(item: Object) -> Object:
    """Drop the book-keeping of field managers."""
    item["metadata"].pop("managedFields", None)
    return item


def bare_pod(pod: Object) -> Object:
    """Drop what only the kubelet needs."""
    _bare_meta(pod)
    spec = pod.get("spec") or {}
    for name in POD_SPEC_DROPS:
        spec.pop(name, None)
    if "volumes" in spec:  # only claims matter to where a pod may run
        spec["volumes"] = [item for item in spec["volumes"] if "persistentVolumeClaim" in item or "ephemeral" in item]
    for kind in ("containers", "initContainers"):
        for container in spec.get(kind) or ():
            for name in CONTAINER_DROPS:
                container.pop(name, None)
    return _interned(pod)


def bare_node(node: Object) -> Object:
    """Drop the list of images and the like."""
    _bare_meta(node)
    status = node.get("status") or {}
    for name in ("images", "volumesInUse", "volumesAttached", "daemonEndpoints"):
        status.pop(name, None)
    return node


def _bare_meta(item: Object) -> None:
    meta = item["metadata"]
    meta.pop("managedFields", None)
    annotations = meta.get("annotations")
    if annotations:
        annotations.pop(LAST_APPLIED, None)


def _interned(pod: Object) -> Object:
    """Let equal parts of different pods be one object: pods of a gang differ in little more than their names."""
    spec = pod.get("spec") or {}
    for name in ("tolerations", "nodeSelector", "affinity", "topologySpreadConstraints"):
        if name in spec:
            spec[name] = _shared(spec[name])
    for kind in ("containers", "initContainers"):
        if kind in spec:
            spec[kind] = _shared(spec[kind])
    meta = pod["metadata"]
    for name in ("labels", "annotations", "ownerReferences"):
        if name in meta:
            meta[name] = _shared(meta[name])
    return pod


_POOL: dict[str, Any] = {}
_POOL_LIMIT = 50_000


def _shared(part: Any) -> Any:
    key = repr(part)
    found = _POOL.get(key)
    if found is None:
        if len(_POOL) >= _POOL_LIMIT:
            _POOL.clear()  # those in use stay alive where they are
        found = _POOL[key] = part
    return found
