"""Shares of devices: what a pod asks for by annotation, and what its container is told. Pure.

A pod that shares devices asks for no GPU resource, so that the kubelet gives
it none. Its container learns its device from the ConfigMap that is named in
its environment, as in KAI; a reservation pod holds the device (`devices`).
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from runai_core.backends.kubernetes.names import (
    GPU_CONTAINER_ANNOTATION,
    GPU_DEVICES_ANNOTATION,
    GPU_FRACTION_ANNOTATION,
    GPU_GROUP_LABEL,
    GPU_GROUP_LABEL_PREFIX,
    GPU_MEMORY_ANNOTATION,
    GPU_RESOURCES,
    MIG_PREFIX,
    SHARED_GPU_CONFIG_MAP_ANNOTATION,
)
from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.resources import MILLI

Object = dict[str, Any]

MPS_ANNOTATION = "mps"
"""Annotation of a pod, ``true``: it wants its share kept by NVIDIA's MPS (KAI)."""

MPS_NODE_LABEL = "nvidia.com/mps.capable"
"""Label of a node whose devices are shared through MPS (NVIDIA's feature discovery)."""

ISOLATION_LABEL = "runai/gpu-isolation"
"""Label of a node: what keeps pods to their share of a device, where something does (ours)."""

ISOLATION_ANNOTATION = "runai/gpu-isolation"
"""Annotation of a placed pod: what keeps it, and its neighbours, to their shares (ours); a word of `ISOLATIONS`."""

NO_ISOLATION, MIG, MPS, DRIVER = "none", "MIG", "MPS", "driver plug-in"
ISOLATIONS = (NO_ISOLATION, MIG, MPS, DRIVER)

MAX_DEVICES = 64
"""Devices of one node that a pod may share."""

VARIABLES: Mapping[str, str] = {
    "NVIDIA_VISIBLE_DEVICES": "ids of the devices (NVIDIA's container runtime; KAI)",
    "RUNAI_NUM_OF_GPUS": "how many devices they are (KAI)",
    "GPU_PORTION": "share of each device (KAI)",
    "RUNAI_GPU_FRACTION": "the same, as in the embedded mode (Run:ai)",
    "RUNAI_GPU_MEMORY_MIB": "MiB of each device that are its own (ours)",
}
"""What the container of a pod with a share finds in its environment."""


@dataclass(frozen=True, slots=True)
class Share:
    """What a pod asks for of each of so many devices: thousandths, or MiB."""

    portion: int = 0
    mib: int = 0
    devices: int = 1
    container: str = ""  # empty: the first


def share_of(pod: Mapping[str, Any]) -> Share | None:
    """Return the share that a pod asks for; None where it asks for none.

    The rules are KAI's admission rules.

    Raises:
        InvalidRequest: an annotation is wrong, or contradicts another or a limit; names it.
    """
    notes = _annotations(pod)
    portion, mib = notes.get(GPU_FRACTION_ANNOTATION), notes.get(GPU_MEMORY_ANNOTATION)
    if portion is None and mib is None:
        for name in (GPU_DEVICES_ANNOTATION, MPS_ANNOTATION):
            if name in notes and (name != MPS_ANNOTATION or notes[name] == "true"):
                raise _wrong(name, f"needs {GPU_FRACTION_ANNOTATION} or {GPU_MEMORY_ANNOTATION} beside it", notes[name])
        return None
    if portion is not None and mib is not None:
        raise _wrong(GPU_MEMORY_ANNOTATION, f"must not be set together with {GPU_FRACTION_ANNOTATION}", mib)
    _refuse_limits(pod)
    return Share(
        portion=0 if portion is None else _portion(portion),
        mib=0 if mib is None else _count(GPU_MEMORY_ANNOTATION, mib, 2**31),
        devices=_count(GPU_DEVICES_ANNOTATION, notes.get(GPU_DEVICES_ANNOTATION, "1"), MAX_DEVICES),
        container=_container(pod, notes.get(GPU_CONTAINER_ANNOTATION, "")),
    )


def with_share(pod: Mapping[str, Any], token: str) -> Object:
    """Return a pod, not yet created, whose container will be told its devices; `token` makes the names unique.

    A pod without a share, or that is told already, is returned as it is. The
    variables come from a ConfigMap that exists before the pod is bound; the
    kubelet waits for it.

    Raises:
        InvalidRequest: as `share_of`.
    """
    share, told = share_of(pod), deepcopy(dict(pod))
    if share is None or SHARED_GPU_CONFIG_MAP_ANNOTATION in _annotations(pod):
        return told
    name = f"{token}-shared-gpu"
    told.setdefault("metadata", {}).setdefault("annotations", {})[SHARED_GPU_CONFIG_MAP_ANNOTATION] = name
    for container in _containers(told):
        if container.get("name") == share.container:
            own = [item for item in container.get("env") or () if item.get("name") not in VARIABLES]
            container["env"] = [*own, *({"name": key, "valueFrom": _from_map(name, key)} for key in VARIABLES)]
    return told


def told_by(pod: Mapping[str, Any]) -> str:
    """Return the name of the ConfigMap that tells a pod its devices; empty where its container reads none."""
    return _annotations(pod).get(SHARED_GPU_CONFIG_MAP_ANNOTATION, "")


def variables(share: Share, devices: tuple[str, ...], device_mib: int) -> dict[str, str]:
    """Return what the container is told: its devices by id, and its part of each."""
    mib = share.mib or share.portion * device_mib // MILLI
    portion = share.portion or (min(MILLI, -(-share.mib * MILLI // device_mib)) if device_mib else 0)
    fraction = f"{portion / MILLI:g}" if portion else ""
    return {
        "NVIDIA_VISIBLE_DEVICES": ",".join(devices),
        "RUNAI_NUM_OF_GPUS": str(len(devices)),
        "GPU_PORTION": fraction,
        "RUNAI_GPU_FRACTION": fraction,
        "RUNAI_GPU_MEMORY_MIB": str(mib) if mib else "",
    }


def group_labels(groups: tuple[str, ...]) -> dict[str, str]:
    """Return the labels of a pod that sits on these shared devices."""
    if not groups:
        return {}
    if len(groups) == 1:
        return {GPU_GROUP_LABEL: groups[0]}
    return {GPU_GROUP_LABEL_PREFIX + group: group for group in groups}


def groups_of(pod: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the shared devices that a pod's labels name."""
    labels = (pod.get("metadata") or {}).get("labels") or {}
    several = sorted(value for key, value in labels.items() if key.startswith(GPU_GROUP_LABEL_PREFIX))
    return tuple(several) or ((labels[GPU_GROUP_LABEL],) if labels.get(GPU_GROUP_LABEL) else ())


def isolation_of(pod: Mapping[str, Any], node: Mapping[str, Any] | None) -> str:
    """Return what keeps a pod to its part of a device: a word of `ISOLATIONS`; empty where it shares none.

    Nothing is promised that is not there: without MIG, MPS or a driver plug-in
    the share is an agreement between the pods of a device.
    """
    if any(name.startswith(MIG_PREFIX) for name in _limits(pod)):
        return MIG
    notes = _annotations(pod)
    if GPU_FRACTION_ANNOTATION not in notes and GPU_MEMORY_ANNOTATION not in notes:
        return ""
    labels = ((node or {}).get("metadata") or {}).get("labels") or {}
    if labels.get(ISOLATION_LABEL):
        named = {word.lower().replace(" ", "-"): word for word in ISOLATIONS}
        return named.get(labels[ISOLATION_LABEL].lower(), DRIVER)
    shares_mps = notes.get(MPS_ANNOTATION) == "true" and labels.get(MPS_NODE_LABEL) == "true"
    return MPS if shares_mps else NO_ISOLATION


def _portion(text: str) -> int:
    try:
        value = Decimal(text.strip())
    except InvalidOperation:
        value = Decimal(0)
    thousandths = int(value * MILLI) if value.is_finite() else 0
    if not 0 < thousandths < MILLI:
        raise _wrong(GPU_FRACTION_ANNOTATION, "must be a share of a device, above 0 and below 1, as in 0.5", text)
    return thousandths


def _count(name: str, text: str, most: int) -> int:
    if not text.strip().isdecimal() or not 0 < int(text) <= most:
        raise _wrong(name, f"must be a whole number from 1 to {most}", text)
    return int(text)


def _container(pod: Mapping[str, Any], name: str) -> str:
    spec = pod.get("spec") or {}
    names = [str(each.get("name", "")) for each in spec.get("containers") or ()]
    if not name:
        return names[0] if names else ""
    known = [str(each.get("name", "")) for each in spec.get("initContainers") or ()] + names
    if name not in known:
        raise _wrong(GPU_CONTAINER_ANNOTATION, f"must name a container of the pod: {', '.join(known)}", name)
    return name


def _refuse_limits(pod: Mapping[str, Any]) -> None:
    for name, amount in _limits(pod).items():
        if (name in GPU_RESOURCES or name.startswith(MIG_PREFIX)) and str(amount) != "0":
            message = f"must not be set together with {GPU_FRACTION_ANNOTATION} or {GPU_MEMORY_ANNOTATION}"
            raise InvalidRequest.of(FieldError(f"spec.containers.resources.limits[{name}]", message, amount))


def _limits(pod: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for container in _containers(pod):
        found |= (container.get("resources") or {}).get("limits") or {}
    return found


def _containers(pod: Mapping[str, Any]) -> list[Object]:
    spec = pod.get("spec") or {}
    return [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]


def _annotations(pod: Mapping[str, Any]) -> Mapping[str, str]:
    return (pod.get("metadata") or {}).get("annotations") or {}


def _from_map(name: str, key: str) -> Object:
    return {"configMapKeyRef": {"name": name, "key": key}}


def _wrong(annotation: str, message: str, given: object) -> InvalidRequest:
    return InvalidRequest.of(FieldError(f"metadata.annotations[{annotation}]", message, given))
