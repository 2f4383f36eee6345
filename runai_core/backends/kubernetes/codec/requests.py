"""What a pod asks for: the sum over its containers, and the form in which it wants GPUs."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from runai_core.backends.kubernetes import names
from runai_core.backends.kubernetes.codec.nodes import GPU
from runai_core.backends.kubernetes.codec.values import annotations_of, millicores, whole
from runai_core.backends.kubernetes.sharing import share_of
from runai_core.model.snapshot import PodRequest

Amounts = dict[str, int]


def without_gpus(spec: Mapping[str, Any]) -> PodRequest:
    """Return the sum of a pod's containers by Kubernetes' rule: sidecars run beside, other init containers before.

    Shares of devices, which annotations ask for, are not in it.
    """
    running: Amounts = {}
    peak: Amounts = {}
    for container in spec.get("initContainers") or ():
        own = _requests(container)
        if container.get("restartPolicy") == "Always":  # a sidecar: it stays
            _add(running, own)
            _raise(peak, running)
        else:
            _raise(peak, _sum(running, own))
    for container in spec.get("containers") or ():
        _add(running, _requests(container))
    _raise(peak, running)
    if spec.get("resources"):  # of the pod as a whole: says it for what it names
        peak |= _requests(spec)
    if spec.get("overhead"):
        _add(peak, _amounts(spec["overhead"]))
    return _request(peak)


def with_gpu_forms(plain: PodRequest, pod: Mapping[str, Any], devices: Mapping[str, int]) -> PodRequest:
    """Add what annotations and resource claims (`devices`, by kind) ask for.

    Raises:
        InvalidRequest: an annotation is wrong; names it.
    """
    notes = annotations_of(pod)
    if names.GPU_FRACTION_ANNOTATION in notes or names.GPU_MEMORY_ANNOTATION in notes:
        share = share_of(pod)
        if share is not None:
            return replace(
                plain,
                gpu_devices=share.devices if share.devices > 1 else 0,
                gpu_portion=share.portion,
                gpu_memory_mib=share.mib,
            )
    if names.MACHINE_GPUS_ANNOTATION in notes:
        own = frozenset(name.strip() for name in notes[names.MACHINE_GPUS_ANNOTATION].split(","))
        # A device of just this name, and a GPU of the quota: as one that is claimed.
        return replace(plain, dra=tuple(item for item in plain.extended if item[0] in own))
    if not devices:
        return plain
    others = {kind: count for kind, count in devices.items() if kind != GPU}
    claimed = ((GPU, devices[GPU]),) if devices.get(GPU) else ()
    return replace(plain, dra=claimed, extended=tuple(sorted({**dict(plain.extended), **others}.items())))


def _request(amounts: Amounts) -> PodRequest:
    gpus = sum(amounts.pop(name, 0) for name in names.GPU_RESOURCES)
    cpu, memory = amounts.pop("cpu", 0), amounts.pop("memory", 0)
    mig = tuple(sorted((name, amount) for name, amount in amounts.items() if name.startswith(names.MIG_PREFIX)))
    others = tuple(sorted(item for item in amounts.items() if item[1] and not item[0].startswith(names.MIG_PREFIX)))
    return PodRequest(cpu=cpu, memory=memory, gpu_devices=gpus, mig=mig, extended=others)


def _requests(container: Mapping[str, Any]) -> Amounts:
    resources = container.get("resources")
    if not resources:
        return {}
    limits, requests = resources.get("limits"), resources.get("requests")
    return _amounts({**limits, **requests} if limits and requests else requests or limits or {})


def _amounts(quantities: Mapping[str, Any]) -> Amounts:
    return {name: millicores(value) if name == "cpu" else whole(value) for name, value in quantities.items()}


def _add(total: Amounts, more: Amounts) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, 0) + amount


def _sum(left: Amounts, right: Amounts) -> Amounts:
    total = dict(left)
    _add(total, right)
    return total


def _raise(peak: Amounts, level: Amounts) -> None:
    for name, amount in level.items():
        if amount > peak.get(name, 0):
            peak[name] = amount
