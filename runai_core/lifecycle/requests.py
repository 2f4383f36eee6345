"""From the compute section of a specification to exact integer requests and limits.

Units: millicores, bytes, thousandths of a GPU, MiB of GPU memory. Every field
that is wrong is reported, not only the first.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.resources import MB, MIB, MILLI, parse_amount
from runai_core.model.snapshot import PodRequest
from runai_core.model.spec import Compute, ExtendedResource, GpuRequestType

DEFAULT_CPU = 100
"""Millicores of a pod that asks for no CPU: 0.1 core, so that nothing is free of charge."""

DEFAULT_MEMORY = 100 * MB
"""Bytes of a pod that asks for no memory: 100 MB."""

MAX_CPU_CORES = 1_000_000
MAX_DEVICES = 1024

MIG_PREFIX = "nvidia.com/mig-"
_MIG = re.compile(r"^[1-9]g\.[1-9][0-9]{0,3}gb(\.me|\+me)?$")
_RESOURCE = re.compile(r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?$")
_OWN_FIELDS = {"cpu": "cpuCoreRequest", "memory": "cpuMemoryRequest", "nvidia.com/gpu": "gpuDevicesRequest"}

T = TypeVar("T")
Amounts = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PodLimits:
    """What one pod may use at most; 0 = no limit."""

    cpu: int = 0  # millicores
    memory: int = 0  # bytes
    gpu_portion: int = 0  # thousandths of each device
    gpu_memory_mib: int = 0


def requests_of(compute: Compute, *, at: str = "spec.compute") -> PodRequest:
    """Return what one pod asks for; `at` is the path of the section in the request.

    Raises:
        InvalidRequest: values are out of range, no quantities, or contradict each other; names each field.
    """
    return _read(compute, at)[0]


def limits_of(compute: Compute, *, at: str = "spec.compute") -> PodLimits:
    """Return what one pod may use at most; raise as `requests_of`."""
    return _read(compute, at)[1]


def _read(compute: Compute, at: str) -> tuple[PodRequest, PodLimits]:
    errors: list[FieldError] = []

    def tried(read: Callable[[], T], otherwise: T) -> T:
        try:
            return read()
        except InvalidRequest as error:
            errors.extend(error.errors)
            return otherwise

    no_pair = (0, 0)
    cpu, cpu_limit = tried(lambda: _cpu(compute, at), no_pair)
    memory, memory_limit = tried(lambda: _memory(compute, at), no_pair)
    portion, portion_limit = tried(lambda: _portion(compute, at), no_pair)
    gpu_memory, gpu_memory_limit = tried(lambda: _gpu_memory(compute, at), no_pair)
    none: tuple[Amounts, Amounts] = ((), ())
    mig, extended = tried(lambda: _extended(compute, at), none)
    devices = tried(lambda: _devices(compute, at), 0)
    if errors:
        raise InvalidRequest.of(*errors)
    whole = portion in (0, MILLI)
    request = PodRequest(
        cpu=cpu,
        memory=memory,
        gpu_devices=devices,
        gpu_portion=0 if whole else portion,
        gpu_memory_mib=gpu_memory,
        mig=mig,
        extended=extended,
    )
    return request, PodLimits(
        cpu=cpu_limit, memory=memory_limit, gpu_portion=portion_limit, gpu_memory_mib=gpu_memory_limit
    )


def _cpu(compute: Compute, at: str) -> tuple[int, int]:
    limit = _millicores(compute.cpu_core_limit, f"{at}.cpuCoreLimit")
    request = _millicores(compute.cpu_core_request, f"{at}.cpuCoreRequest")
    return _under(request, limit, DEFAULT_CPU, f"{at}.cpuCoreLimit", compute.cpu_core_limit)


def _memory(compute: Compute, at: str) -> tuple[int, int]:
    limit = _bytes(compute.cpu_memory_limit, f"{at}.cpuMemoryLimit")
    request = _bytes(compute.cpu_memory_request, f"{at}.cpuMemoryRequest")
    return _under(request, limit, DEFAULT_MEMORY, f"{at}.cpuMemoryLimit", compute.cpu_memory_limit)


def _under(request: int | None, limit: int | None, default: int, path: str, given: object) -> tuple[int, int]:
    """Return request and limit; like Kubernetes, a limit alone is also the request."""
    if limit == 0:
        raise InvalidRequest.of(FieldError(path, "must be above 0; leave it out for no limit", given))
    if request is None:
        request = default if limit is None else limit
    if limit is not None and limit < request:
        raise InvalidRequest.of(FieldError(path, "must be at least the request", given))
    return request, limit or 0


def _millicores(cores: float | None, path: str) -> int | None:
    if cores is None:
        return None
    if not math.isfinite(cores) or not 0 <= cores <= MAX_CPU_CORES:
        raise InvalidRequest.of(FieldError(path, f"must be a number of cores from 0 to {MAX_CPU_CORES}", cores))
    return parse_amount(repr(cores), path, scale=MILLI)


def _bytes(text: str | None, path: str) -> int | None:
    return None if text is None else parse_amount(text, path)


def _portion(compute: Compute, at: str) -> tuple[int, int]:
    request = _thousandths(compute.gpu_portion_request, f"{at}.gpuPortionRequest")
    limit = _thousandths(compute.gpu_portion_limit, f"{at}.gpuPortionLimit")
    for name, value in (("gpuPortionRequest", request), ("gpuPortionLimit", limit)):
        if value is not None and compute.gpu_request_type == GpuRequestType.MEMORY:
            message = "does not go with gpuRequestType memory: leave one of them out"
            raise InvalidRequest.of(FieldError(f"{at}.{name}", message, value / MILLI))
    if limit is not None and limit < (request or 0):
        message = f"must be at least gpuPortionRequest, which is {compute.gpu_portion_request:g}"
        raise InvalidRequest.of(FieldError(f"{at}.gpuPortionLimit", message, compute.gpu_portion_limit))
    return request or 0, limit or 0


def _thousandths(portion: float | None, path: str) -> int | None:
    if portion is None:
        return None
    if not (math.isfinite(portion) and 0 < portion <= 1 and round(portion * MILLI) > 0):
        message = "must be a share of a device from 0.001 to 1; for several devices use gpuDevicesRequest"
        raise InvalidRequest.of(FieldError(path, message, portion))
    return round(portion * MILLI)


def _gpu_memory(compute: Compute, at: str) -> tuple[int, int]:
    request = _mebibytes(compute.gpu_memory_request, f"{at}.gpuMemoryRequest")
    limit = _mebibytes(compute.gpu_memory_limit, f"{at}.gpuMemoryLimit")
    if request and compute.gpu_portion_request is not None:
        message = "does not go with gpuPortionRequest: ask for a portion or for memory"
        raise InvalidRequest.of(FieldError(f"{at}.gpuMemoryRequest", message, compute.gpu_memory_request))
    if request and compute.gpu_request_type == GpuRequestType.PORTION:
        message = "does not go with gpuRequestType portion: leave one of them out"
        raise InvalidRequest.of(FieldError(f"{at}.gpuMemoryRequest", message, compute.gpu_memory_request))
    if not request and compute.gpu_request_type == GpuRequestType.MEMORY:
        message = "is required with gpuRequestType memory, for example 5G"
        raise InvalidRequest.of(FieldError(f"{at}.gpuMemoryRequest", message))
    if limit and limit < request:
        message = f"must be at least gpuMemoryRequest, which is {compute.gpu_memory_request}"
        raise InvalidRequest.of(FieldError(f"{at}.gpuMemoryLimit", message, compute.gpu_memory_limit))
    return request, limit


def _mebibytes(text: str | None, path: str) -> int:
    if text is None:
        return 0
    amount = -(-parse_amount(text, path) // MIB)
    if amount == 0:
        raise InvalidRequest.of(FieldError(path, "must be above 0, for example 5G", text))
    return amount


def _devices(compute: Compute, at: str) -> int:
    """Return the devices; a part of a device that names none is a part of one."""
    devices, path = compute.gpu_devices_request, f"{at}.gpuDevicesRequest"
    part = compute.gpu_portion_request is not None or compute.gpu_memory_request is not None
    if devices is not None and not 0 <= devices <= MAX_DEVICES:
        raise InvalidRequest.of(FieldError(path, f"must be from 0 to {MAX_DEVICES}", devices))
    if compute.mig_profile is not None:
        if part:
            message = "does not go with gpuPortionRequest or gpuMemoryRequest: a MIG slice is already a part"
            raise InvalidRequest.of(FieldError(f"{at}.migProfile", message, compute.mig_profile))
        return 0
    if part and devices == 0:
        message = "must be at least 1 where a part of a device is asked for; leave it out for 1"
        raise InvalidRequest.of(FieldError(path, message, devices))
    return devices if devices is not None else int(part)


def _extended(compute: Compute, at: str) -> tuple[Amounts, Amounts]:
    """Return MIG slices and other resources, each by name."""
    amounts: dict[str, int] = {}
    for index, item in enumerate(compute.extended_resources):
        if item.exclude:
            continue
        path = f"{at}.extendedResources.{index}"
        if item.resource in amounts:
            raise InvalidRequest.of(FieldError(f"{path}.resource", "is given twice: keep one", item.resource))
        amounts[item.resource] = _count(item, path)
    if compute.mig_profile is not None:
        if not _MIG.match(compute.mig_profile):
            message = "must be a MIG profile such as 1g.5gb"
            raise InvalidRequest.of(FieldError(f"{at}.migProfile", message, compute.mig_profile))
        amounts[MIG_PREFIX + compute.mig_profile] = compute.gpu_devices_request or 1
    ordered = sorted((name, count) for name, count in amounts.items() if count)
    mig = tuple(entry for entry in ordered if entry[0].startswith(MIG_PREFIX))
    return mig, tuple(entry for entry in ordered if entry not in mig)


def _count(item: ExtendedResource, path: str) -> int:
    if item.resource in _OWN_FIELDS:
        message = f"has a field of its own: use {_OWN_FIELDS[item.resource]}"
        raise InvalidRequest.of(FieldError(f"{path}.resource", message, item.resource))
    if not _RESOURCE.match(item.resource):
        message = "must be the name of a resource, for example example.com/dongle"
        raise InvalidRequest.of(FieldError(f"{path}.resource", message, item.resource))
    if parse_amount(item.quantity, f"{path}.quantity", scale=MILLI) % MILLI:
        raise InvalidRequest.of(FieldError(f"{path}.quantity", "must be a whole number", item.quantity))
    return parse_amount(item.quantity, f"{path}.quantity")
