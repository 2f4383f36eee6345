"""From the compute section to exact requests."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runai_core.lifecycle.requests import DEFAULT_CPU, DEFAULT_MEMORY, PodLimits, limits_of, requests_of
from runai_core.model.errors import InvalidRequest
from runai_core.model.snapshot import PodRequest
from runai_core.model.spec import Compute, ExtendedResource, GpuRequestType
from runai_core.model.workload import gpu_charge

GIB = 1024**3


def asked(**fields: Any) -> PodRequest:
    """A request with the documented defaults for CPU and memory."""
    return PodRequest(**{"cpu": DEFAULT_CPU, "memory": DEFAULT_MEMORY, **fields})


CASES: list[tuple[str, dict[str, Any], PodRequest]] = [
    ("nothing asked is a tenth of a core and 100 MB", {}, PodRequest(cpu=100, memory=100_000_000)),
    ("cores become millicores", {"cpu_core_request": 1.5}, asked(cpu=1500)),
    ("a part of a millicore is rounded up", {"cpu_core_request": 0.0001}, asked(cpu=1)),
    ("no core at all is allowed when it is said", {"cpu_core_request": 0}, asked(cpu=0)),
    ("decimal memory", {"cpu_memory_request": "512M"}, asked(memory=512_000_000)),
    ("binary memory", {"cpu_memory_request": "2Gi"}, asked(memory=2 * GIB)),
    ("a limit alone is the request too", {"cpu_core_limit": 2, "cpu_memory_limit": "1Gi"}, asked(cpu=2000, memory=GIB)),
    ("whole devices", {"gpu_devices_request": 2}, asked(gpu_devices=2)),
    ("no device", {"gpu_devices_request": 0}, asked()),
    ("half a device", {"gpu_portion_request": 0.5}, asked(gpu_devices=1, gpu_portion=500)),
    (
        "half of each of two devices",
        {"gpu_devices_request": 2, "gpu_request_type": GpuRequestType.PORTION, "gpu_portion_request": 0.5},
        asked(gpu_devices=2, gpu_portion=500),
    ),
    (
        "the portion 1 is a whole device",
        {"gpu_devices_request": 2, "gpu_request_type": GpuRequestType.PORTION, "gpu_portion_request": 1.0},
        asked(gpu_devices=2),
    ),
    (
        "GPU memory in MiB, rounded up",
        {"gpu_request_type": GpuRequestType.MEMORY, "gpu_memory_request": "5G"},
        asked(gpu_devices=1, gpu_memory_mib=4769),
    ),
    ("a MIG slice", {"mig_profile": "1g.5gb"}, asked(mig=(("nvidia.com/mig-1g.5gb", 1),))),
    (
        "two MIG slices",
        {"mig_profile": "2g.10gb", "gpu_devices_request": 2},
        asked(mig=(("nvidia.com/mig-2g.10gb", 2),)),
    ),
    (
        "other resources by name, those left out forgotten",
        {
            "extended_resources": (
                ExtendedResource(resource="example.com/z", quantity="2"),
                ExtendedResource(resource="example.com/a", quantity="1"),
                ExtendedResource(resource="example.com/no", exclude=True),
                ExtendedResource(resource="nvidia.com/mig-1g.5gb", quantity="1"),
            )
        },
        asked(extended=(("example.com/a", 1), ("example.com/z", 2)), mig=(("nvidia.com/mig-1g.5gb", 1),)),
    ),
]


@pytest.mark.parametrize(("fields", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_one_pod_asks_for(fields: dict[str, Any], expected: PodRequest) -> None:
    assert requests_of(Compute(**fields)) == expected


BAD: list[tuple[str, dict[str, Any], str, str]] = [
    ("negative cores", {"cpu_core_request": -1}, "cpuCoreRequest", "from 0 to"),
    ("cores that are no number", {"cpu_core_request": float("nan")}, "cpuCoreRequest", "from 0 to"),
    ("endless cores", {"cpu_core_limit": float("inf")}, "cpuCoreLimit", "from 0 to"),
    ("a limit below the request", {"cpu_core_request": 2, "cpu_core_limit": 1}, "cpuCoreLimit", "at least the request"),
    ("a limit below the default request", {"cpu_memory_limit": "0"}, "cpuMemoryLimit", "above 0"),
    ("memory that is no quantity", {"cpu_memory_request": "many"}, "cpuMemoryRequest", "quantity such as"),
    ("negative memory", {"cpu_memory_request": "-1G"}, "cpuMemoryRequest", "not be negative"),
    ("more memory than can be counted", {"cpu_memory_request": "9999999E"}, "cpuMemoryRequest", "at most"),
    ("negative devices", {"gpu_devices_request": -1}, "gpuDevicesRequest", "from 0 to 1024"),
    ("no device but a part of it", {"gpu_devices_request": 0, "gpu_portion_request": 0.5}, "gpuDevicesRequest", "1"),
    ("a portion above 1", {"gpu_portion_request": 1.5}, "gpuPortionRequest", "use gpuDevicesRequest"),
    ("a portion of 0", {"gpu_portion_request": 0}, "gpuPortionRequest", "from 0.001 to 1"),
    ("a portion too small to count", {"gpu_portion_request": 0.0004}, "gpuPortionRequest", "from 0.001 to 1"),
    ("a portion that is no number", {"gpu_portion_request": float("nan")}, "gpuPortionRequest", "from 0.001"),
    (
        "a portion limit below the request",
        {"gpu_portion_request": 0.5, "gpu_portion_limit": 0.4},
        "gpuPortionLimit",
        "at least gpuPortionRequest, which is 0.5",
    ),
    (
        "portion and memory",
        {"gpu_portion_request": 0.5, "gpu_memory_request": "5G"},
        "gpuMemoryRequest",
        "a portion or for memory",
    ),
    (
        "type memory with a portion",
        {"gpu_request_type": GpuRequestType.MEMORY, "gpu_memory_request": "5G", "gpu_portion_limit": 0.5},
        "gpuPortionLimit",
        "does not go with gpuRequestType memory",
    ),
    (
        "type portion with memory",
        {"gpu_request_type": GpuRequestType.PORTION, "gpu_memory_request": "5G"},
        "gpuMemoryRequest",
        "does not go with gpuRequestType portion",
    ),
    ("type memory without memory", {"gpu_request_type": GpuRequestType.MEMORY}, "gpuMemoryRequest", "is required"),
    ("no GPU memory", {"gpu_memory_request": "0"}, "gpuMemoryRequest", "above 0"),
    (
        "a memory limit below the request",
        {"gpu_memory_request": "5G", "gpu_memory_limit": "4G"},
        "gpuMemoryLimit",
        "at least gpuMemoryRequest",
    ),
    ("a MIG profile that is none", {"mig_profile": "half"}, "migProfile", "such as 1g.5gb"),
    ("MIG and a portion", {"mig_profile": "1g.5gb", "gpu_portion_request": 0.5}, "migProfile", "already a part"),
    (
        "GPUs by the back door",
        {"extended_resources": (ExtendedResource(resource="nvidia.com/gpu", quantity="4"),)},
        "extendedResources.0.resource",
        "use gpuDevicesRequest",
    ),
    (
        "a resource given twice",
        {"extended_resources": (ExtendedResource(resource="a.b/c"), ExtendedResource(resource="a.b/c"))},
        "extendedResources.1.resource",
        "given twice",
    ),
    (
        "half of another resource",
        {"extended_resources": (ExtendedResource(resource="a.b/c", quantity="0.5"),)},
        "extendedResources.0.quantity",
        "whole number",
    ),
    (
        "a resource without a name",
        {"extended_resources": (ExtendedResource(resource="../etc", quantity="1"),)},
        "extendedResources.0.resource",
        "name of a resource",
    ),
]


@pytest.mark.parametrize(("fields", "path", "words"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_wrong_value_is_named_with_its_field(fields: dict[str, Any], path: str, words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        requests_of(Compute(**fields), at="masterSpec.compute")
    assert [error.field for error in caught.value.errors] == [f"masterSpec.compute.{path}"]
    assert words in caught.value.message


def test_all_wrong_fields_are_named_at_once() -> None:
    with pytest.raises(InvalidRequest) as caught:
        requests_of(Compute(cpu_core_request=-1, cpu_memory_request="x", gpu_devices_request=-1))
    assert {error.field.rpartition(".")[2] for error in caught.value.errors} == {
        "cpuCoreRequest",
        "cpuMemoryRequest",
        "gpuDevicesRequest",
    }


def test_limits() -> None:
    compute = Compute(
        cpu_core_request=1, cpu_core_limit=2, cpu_memory_limit="1Gi", gpu_portion_request=0.25, gpu_portion_limit=0.5
    )
    assert limits_of(compute) == PodLimits(cpu=2000, memory=GIB, gpu_portion=500)


@given(devices=st.integers(1, 1024), thousandths=st.integers(1, 1000))
def test_quota_is_charged_exactly_what_was_asked_for(devices: int, thousandths: int) -> None:
    """No float ever reaches the sums."""
    compute = Compute(gpu_devices_request=devices, gpu_portion_request=thousandths / 1000)
    assert gpu_charge(requests_of(compute)) == devices * thousandths
