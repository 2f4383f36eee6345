"""Shared devices on a real cluster: reservation pods hold them, ConfigMaps tell containers which they got.

A device is shared by pods that ask the kubelet for none. So that nobody else
gets it, a *reservation pod* asks for one whole device through the kubelet; the
kubelet's device plug-in chooses which, and its id is read back. A reservation
is named by its node and the scheduler's name of the device, so that two
schedulers that reserve at once make one pod. `operator.reservations` gives
devices back when their last user is gone.

The id is taken from where it is known first: the annotation that KAI's own
reservation program writes, the pod's `allocatedResourcesStatus` (Kubernetes
with ResourceHealthStatus), or the pod's log: its program prints the variable
that the device plug-in gave it. It needs no rights in the cluster for that.
"""

import asyncio
import contextlib
import hashlib
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from runai_core.backends.kubernetes.names import (
    GPU_GROUP_LABEL,
    GPU_MEMORY_NODE_LABEL,
    GPU_RESOURCES,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    RECEIVED_TYPE_ANNOTATION,
    RESERVATION_NAMESPACE,
    RESERVED_DEVICE_ANNOTATION,
    SHARED_GPU_CONFIG_MAP_ANNOTATION,
)
from runai_core.backends.kubernetes.resources import CONFIG_MAPS, NAMESPACES, POD_TEMPLATES, PODS
from runai_core.backends.kubernetes.sharing import (
    ISOLATION_ANNOTATION,
    group_labels,
    groups_of,
    isolation_of,
    share_of,
    told_by,
    variables,
)
from runai_core.model.decision import Bind
from runai_core.model.errors import AlreadyExists, Conflict, Forbidden, NotFound, RunaiError, Unavailable

if TYPE_CHECKING:
    from runai_core.backends.kubernetes.api import Api
    from runai_core.backends.kubernetes.world import World

Object = dict[str, Any]

RESERVATION_APP = "runai-reservation"
"""Value of the label ``app`` of reservation pods (KAI's word for its own)."""

JOINED_ANNOTATION = "runai/joined-at"
"""Annotation of a reservation pod: seconds since the epoch when a pod last chose its device (ours)."""

NODE_ANNOTATION = "runai/gpu-node"
"""Annotation of a pod that shares devices: the node whose devices its labels name (ours)."""

GPU_DEVICES_NOTE = "runai/gpu-devices"
"""Annotation of such a pod: ``<name>=<id>`` of each of its devices (ours)."""

MARK = "runai-device"
"""First word of the line that a reservation pod prints; its device's id follows."""

DEVICE_SECONDS = 40.0
"""How long the kubelet has to start a reservation pod (KAI)."""

LOOK_SECONDS = 0.05
"""Seconds between looks at a reservation pod that is starting."""

ENDED = frozenset({"Succeeded", "Failed"})

PROGRAM = ("/bin/sh", "-c", f'echo "{MARK} $NVIDIA_VISIBLE_DEVICES"; exec sleep 2147483647')
"""What a reservation pod runs: it says which device it got, and stays."""

TEMPLATE_NAME = "gpu-reservation"
"""PodTemplate of the reservation namespace by which an administrator gives reservation pods another image, pull
secrets or a runtime class; what its container does not say, we do."""

DEFAULT_TEMPLATE: Mapping[str, Any] = {
    "containers": [
        {
            "name": "reservation",
            "image": "busybox",
            "imagePullPolicy": "IfNotPresent",
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
    ]
}

_DEVICE = re.compile(rf"^{MARK} (\S+)\s*$", re.MULTILINE)


async def prepare(api: "Api", world: "World", pod: Object, bind: Bind) -> None:
    """Make what a pod with a share needs before it is bound; for others, do nothing.

    Its devices are reserved, it is labelled with them, and its ConfigMap tells
    its container their ids. Idempotent; what a crash in the middle leaves is
    given back by `operator.reservations`. Takes some seconds for the first
    user of a device, milliseconds for the next.

    Raises:
        InvalidRequest: an annotation is wrong. Conflict: the container cannot be told its device, or the
        node has no device left. Unavailable: the kubelet did not start the reservation pod in time.
    """
    share = share_of(pod)
    if share is None or not bind.gpu_groups:
        return
    config_map = told_by(pod)
    meta = pod["metadata"]
    if not config_map:
        raise Conflict(
            f"{meta['namespace']}/{meta['name']} shares a GPU, but its container would not learn which: it was created "
            f"while our webhook did not answer. Create it again"
        )
    node = world.nodes.get(bind.node) or {}
    await _label(api, pod, bind, isolation_of(pod, node))
    try:
        devices = await asyncio.gather(*(reserve(api, world, bind.node, group) for group in bind.gpu_groups))
        await _tell(api, pod, config_map, variables(share, tuple(devices), _device_mib(node)))
        await _note(api, pod, {GPU_DEVICES_NOTE: ",".join(map("=".join, zip(bind.gpu_groups, devices, strict=True)))})
    except RunaiError:
        await release(api, pod)
        raise


async def release(api: "Api", pod: Object) -> None:
    """Take back what `prepare` wrote on a pod that was not bound after all; its device is given back by itself."""
    meta = pod["metadata"]
    with contextlib.suppress(NotFound, Unavailable):  # gone, or counted out when its time to be bound is over
        found = await api.get(PODS, meta["name"], meta["namespace"])
        if found["spec"].get("nodeName"):
            return
        gone = dict.fromkeys(group_labels(groups_of(found)))
        notes = dict.fromkeys((RECEIVED_TYPE_ANNOTATION, NODE_ANNOTATION, GPU_DEVICES_NOTE))
        await api.patch(PODS, meta["name"], {"metadata": {"labels": gone, "annotations": notes}}, meta["namespace"])


async def reserve(api: "Api", world: "World", node: str, group: str) -> str:
    """Return the id of a shared device; where nobody has it yet, hold one through the kubelet.

    Raises:
        Conflict: the kubelet has no device left. Unavailable: it did not answer in time.
    """
    name, deadline = reservation_name(node, group), time.monotonic() + DEVICE_SECONDS
    while time.monotonic() < deadline:
        found = await _join(api, world, node, group)
        if found["metadata"].get("deletionTimestamp") or _phase(found) in ENDED:
            if not found["metadata"].get("deletionTimestamp"):
                await api.delete(PODS, name, RESERVATION_NAMESPACE, grace=0, uid=found["metadata"]["uid"])
            await asyncio.sleep(LOOK_SECONDS)
            continue
        return await _device(api, world, found, deadline)
    raise _late(node, name)


def reservation_name(node: str, group: str) -> str:
    """Return the name of the pod that holds a shared device of a node."""
    mark = hashlib.sha256(f"{node}/{group}".encode()).hexdigest()[:8]
    return f"gpu-reservation-{node[:200]}-{mark}"


def is_reservation(pod: Mapping[str, Any]) -> bool:
    """Return whether a pod holds a shared device for others."""
    meta = pod["metadata"]
    return bool(meta.get("namespace") == RESERVATION_NAMESPACE and (meta.get("labels") or {}).get(GPU_GROUP_LABEL))


def place_of(reservation: Mapping[str, Any]) -> tuple[str, str]:
    """Return the node and the device's name that a reservation pod stands for."""
    return reservation["spec"]["nodeName"], reservation["metadata"]["labels"][GPU_GROUP_LABEL]


def device_of(reservation: Mapping[str, Any]) -> str:
    """Return the id of the device that a reservation pod holds; empty while it is not known."""
    written = (reservation["metadata"].get("annotations") or {}).get(RESERVED_DEVICE_ANNOTATION, "")
    if written:
        return str(written)
    for container in (reservation.get("status") or {}).get("containerStatuses") or ():
        for resource in container.get("allocatedResourcesStatus") or ():
            if resource.get("name") in GPU_RESOURCES:
                return next((str(each["resourceID"]) for each in resource.get("resources") or ()), "")
    return ""


def device_in(log: str) -> str:
    """Return the device's id in the log of a reservation pod; empty where there is none."""
    found = _DEVICE.search(log)
    return found[1] if found and found[1] not in ("void", "none", "all") else ""


async def _join(api: "Api", world: "World", node: str, group: str) -> Object:
    """Note on the reservation that somebody wants its device, so that it is not given back now; make it if need be."""
    name, notes = reservation_name(node, group), {JOINED_ANNOTATION: f"{time.time():.3f}"}
    try:
        return await api.patch(PODS, name, {"metadata": {"annotations": notes}}, RESERVATION_NAMESPACE)
    except NotFound:
        known = world.nodes.get(node) or {"metadata": {"name": node}}
        body = reservation(known, group, await _template(api), notes)
    try:
        return await _create(api, body)
    except AlreadyExists:
        return await api.get(PODS, name, RESERVATION_NAMESPACE)


async def _create(api: "Api", body: Object) -> Object:
    try:
        return await api.create(PODS, body)
    except NotFound:  # the first reservation of a cluster that was set up by hand
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": RESERVATION_NAMESPACE}}
        with contextlib.suppress(AlreadyExists):
            await api.create(NAMESPACES, namespace)
        return await api.create(PODS, body)


async def _template(api: "Api") -> Mapping[str, Any]:
    """Return the specification of reservation pods: the administrator's PodTemplate, or the built-in one."""
    try:
        found = await api.get(POD_TEMPLATES, TEMPLATE_NAME, RESERVATION_NAMESPACE)
    except (NotFound, Forbidden):
        return DEFAULT_TEMPLATE
    return (found.get("template") or {}).get("spec") or DEFAULT_TEMPLATE


def reservation(node: Mapping[str, Any], group: str, template: Mapping[str, Any], notes: Mapping[str, str]) -> Object:
    """Return the pod that holds one device of a node: bound from the start, tolerating all, asking for nothing else."""
    name = node["metadata"]["name"]
    offered = (node.get("status") or {}).get("allocatable") or {}
    resource = next((each for each in GPU_RESOURCES if str(offered.get(each, "0")) != "0"), GPU_RESOURCES[0])
    first, *others = template["containers"]
    container = {"command": list(PROGRAM), **first, "resources": {"limits": {resource: "1"}}}
    spec: Object = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        **template,
        "nodeName": name,
        "containers": [container, *others],
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 0,
        "tolerations": [{"operator": "Exists"}],
    }
    labels = {"app": RESERVATION_APP, GPU_GROUP_LABEL: group, MANAGED_BY_LABEL: MANAGED_BY}
    # A cluster autoscaler must not move it: its device would be another one afterwards.
    kept = {"karpenter.sh/do-not-disrupt": "true", "cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}
    meta = {
        "name": reservation_name(name, group),
        "namespace": RESERVATION_NAMESPACE,
        "labels": labels,
        "annotations": {**kept, **notes},
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


async def _device(api: "Api", world: "World", found: Object, deadline: float) -> str:
    """Wait for the device's id, and write it on the reservation once it is known."""
    name, uid = found["metadata"]["name"], found["metadata"]["uid"]
    while not (device := device_of(found)):
        if _phase(found) in ENDED:
            await api.delete(PODS, name, RESERVATION_NAMESPACE, grace=0, uid=uid)
            why = (found.get("status") or {}).get("message") or "it ended"
            raise Conflict(f"node {found['spec']['nodeName']} gave no GPU to the reservation {name}: {why}")
        if _phase(found) == "Running" and (device := await _printed(api, name)):
            break
        if time.monotonic() >= deadline:
            await api.delete(PODS, name, RESERVATION_NAMESPACE, grace=0, uid=uid)
            raise _late(found["spec"]["nodeName"], name)
        await asyncio.sleep(LOOK_SECONDS)
        found = world.pods.get(name, RESERVATION_NAMESPACE) or found
    if RESERVED_DEVICE_ANNOTATION not in (found["metadata"].get("annotations") or {}):
        notes = {RESERVED_DEVICE_ANNOTATION: device}
        await api.patch(PODS, name, {"metadata": {"annotations": notes}}, RESERVATION_NAMESPACE)
    return device


async def _printed(api: "Api", name: str) -> str:
    log = b""
    try:
        async for piece in api.stream(PODS.path(RESERVATION_NAMESPACE, name, "log"), limitBytes="4096"):
            log += piece
    except RunaiError:
        return ""  # the kubelet says that it runs a moment before there is a log
    return device_in(log.decode(errors="replace"))


async def _label(api: "Api", pod: Object, bind: Bind, isolation: str) -> None:
    """Name the devices on the pod, first of all: from now on it counts as their user."""
    wanted = group_labels(bind.gpu_groups)
    labels: dict[str, str | None] = dict.fromkeys(group_labels(groups_of(pod)))
    notes = {
        RECEIVED_TYPE_ANNOTATION: "Fraction",
        ISOLATION_ANNOTATION: isolation,
        NODE_ANNOTATION: bind.node,
    }
    meta = pod["metadata"]
    body = {"metadata": {"labels": {**labels, **wanted}, "annotations": notes}}
    await api.patch(PODS, meta["name"], body, meta["namespace"])


async def _note(api: "Api", pod: Object, notes: Mapping[str, str]) -> None:
    meta = pod["metadata"]
    await api.patch(PODS, meta["name"], {"metadata": {"annotations": dict(notes)}}, meta["namespace"])


async def _tell(api: "Api", pod: Object, name: str, values: Mapping[str, str]) -> None:
    """Write the pod's ConfigMap; it is the pod's, and goes with it."""
    meta = pod["metadata"]
    owner = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]}
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "namespace": meta["namespace"],
            "labels": {MANAGED_BY_LABEL: MANAGED_BY},
            "ownerReferences": [owner],
        },
        "data": dict(values),
    }
    try:
        await api.create(CONFIG_MAPS, body)
    except AlreadyExists:
        found = await api.get(CONFIG_MAPS, name, meta["namespace"])
        if owner not in _owners(found):
            raise Conflict(
                f"the ConfigMap {meta['namespace']}/{name} that the pod {meta['name']} names in its annotation is not "
                f"its own: leave the annotation {SHARED_GPU_CONFIG_MAP_ANNOTATION} out of pod templates"
            ) from None
        await api.patch(CONFIG_MAPS, name, {"data": dict(values)}, meta["namespace"])


def _owners(item: Mapping[str, Any]) -> list[Object]:
    fields = ("apiVersion", "kind", "name", "uid")
    owners = item["metadata"].get("ownerReferences") or ()
    return [{name: owner.get(name) for name in fields} for owner in owners]


def _device_mib(node: Mapping[str, Any]) -> int:
    text = ((node.get("metadata") or {}).get("labels") or {}).get(GPU_MEMORY_NODE_LABEL, "0")
    amount = int(text) if str(text).isdecimal() else 0
    return amount // 2**20 if amount >= 2**20 else amount


def _phase(pod: Mapping[str, Any]) -> str:
    return str((pod.get("status") or {}).get("phase", ""))


def _late(node: str, name: str) -> Unavailable:
    return Unavailable(
        f"the kubelet of {node} did not start the reservation pod {RESERVATION_NAMESPACE}/{name} within "
        f"{DEVICE_SECONDS:.0f} s; `kubectl describe pod -n {RESERVATION_NAMESPACE} {name}` tells why"
    )
