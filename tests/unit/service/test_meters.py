"""Who measures, and what a sample says: NVML, Prometheus with DCGM, simulated GPUs; and what follows over time."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from runai_core.model.errors import Unavailable
from runai_core.model.meta import Meta
from runai_core.model.nodes import GpuDevice, Node
from runai_core.model.organization import Department, Project, QueueResources, ResourceQuota
from runai_core.model.samples import Point
from runai_core.model.snapshot import PodRequest, PodState
from runai_core.model.workload import Phase, Pod, PodSpec, PodStatus, Workload
from runai_core.ports import Backend
from runai_core.service.meters import (
    SIMULATED_UTILIZATION,
    DeviceUse,
    NvmlMeter,
    Reading,
    SimulatedMeter,
    pods_on,
)
from runai_core.service.metrics import DERIVED, Window, series_of, thin
from runai_core.service.points import World, node_points, unit_points
from runai_core.service.prometheus import PrometheusMeter, PrometheusServer
from runai_core.service.sampling import IDLE, Sampler
from tests.clocks import Clock

NODE = Node(
    meta=Meta(name="n1"),
    cpu=8000,
    gpu_count=2,
    gpu_memory_mib=1024,
    devices=(GpuDevice(index=0, uuid="GPU-a"), GpuDevice(index=1, uuid="GPU-b")),
)
FAKE = replace(NODE, devices=tuple(replace(device, simulated=True) for device in NODE.devices))


def a_pod(name: str = "w-1-0", devices: tuple[int, ...] = (0,), use: str | None = None) -> Pod:
    return Pod(
        meta=Meta(name=name, uid=f"{name}-uid", owner="u", project="vision"),
        workload="w",
        pod_group="g",
        node_pool="default",
        spec=PodSpec(
            environment={} if use is None else {SIMULATED_UTILIZATION: use},
            request=PodRequest(gpu_devices=len(devices), cpu=1000),
        ),
        status=PodStatus(state=PodState.RUNNING, node="n1", gpu_devices=devices),
    )


# -- NVML


@dataclass
class Nvml:
    """A binding of NVML with two devices; the second one fell off the bus."""

    samples: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    rate: int = 0
    asked: list[int] = field(default_factory=list)

    NVMLError = type("NVMLError", (Exception,), {})
    NVML_GPU_UTILIZATION_SAMPLES = 1

    def nvmlInit(self) -> None:  # noqa: N802 - as the library has it
        pass

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        if uuid == "GPU-b":
            raise self.NVMLError("not found")
        return uuid

    def nvmlDeviceGetMemoryInfo(self, _: str) -> Any:  # noqa: N802
        return SimpleNamespace(used=512, total=1024)

    def nvmlDeviceGetUtilizationRates(self, _: str) -> Any:  # noqa: N802
        return SimpleNamespace(gpu=self.rate)

    def nvmlDeviceGetSamples(self, handle: str, _: int, since: int) -> Any:  # noqa: N802
        self.asked.append(since)
        if handle not in self.samples:
            raise self.NVMLError("not supported")
        found = [item for item in self.samples[handle] if item[0] > since]
        return 1, [SimpleNamespace(timeStamp=at, sampleValue=SimpleNamespace(uiVal=value)) for at, value in found]


@pytest.mark.asyncio
async def test_short_work_between_two_looks_is_seen() -> None:
    nvml = Nvml(samples={"GPU-a": [(10, 0), (20, 90), (30, 0)]})
    meter = NvmlMeter(nvml)

    first = await meter.read([NODE], [a_pod()])
    nvml.samples["GPU-a"].append((40, 10))
    second = await meter.read([NODE], [a_pod()])

    assert first.pods["w-1-0-uid"]["GPU_UTILIZATION"] == 30
    assert second.pods["w-1-0-uid"]["GPU_UTILIZATION"] == 10, "only what came since"
    assert nvml.asked == [0, 30]
    assert first.devices["n1", 0].memory_used == 512


@pytest.mark.asyncio
async def test_a_driver_without_samples_is_asked_for_the_rate() -> None:
    reading = await NvmlMeter(Nvml(rate=55)).read([NODE], [a_pod()])

    assert reading.devices["n1", 0].utilization == 55


@pytest.mark.asyncio
async def test_a_device_that_cannot_be_read_has_no_value_and_neither_has_its_pod() -> None:
    reading = await NvmlMeter(Nvml(rate=55)).read([NODE], [a_pod(devices=(0, 1))])

    assert set(reading.devices) == {("n1", 0)}
    assert reading.pods == {}


# -- simulated


@pytest.mark.asyncio
async def test_a_simulated_gpu_says_what_its_pod_asks_for_and_a_real_one_nothing() -> None:
    pods = [
        a_pod(use="30"),
        a_pod("quiet", (1,)),
        a_pod("odd", (1,), use="x"),
    ]

    simulated = await SimulatedMeter().read([FAKE], pods)
    real = await SimulatedMeter().read([NODE], pods)

    assert {uid: values["GPU_UTILIZATION"] for uid, values in simulated.pods.items()} == {"w-1-0-uid": 30}
    assert (real.pods, real.devices) == ({}, {})


# -- Prometheus


def dcgm(name: str, value: float, gpu: str, uuid: str, **labels: str) -> dict[str, Any]:
    return {
        "metric": {"__name__": name, "gpu": gpu, "UUID": uuid, "Hostname": "n1", **labels},
        "value": [1, str(value)],
    }


ANSWERS = {
    "max_over_time(DCGM_FI_DEV_GPU_UTIL[30s])": [
        dcgm("DCGM_FI_DEV_GPU_UTIL", 70, "0", "GPU-a", exported_namespace="runai-vision", exported_pod="w-1-0"),
        dcgm("DCGM_FI_DEV_GPU_UTIL", 0, "1", "GPU-b"),
        dcgm("DCGM_FI_DEV_GPU_UTIL", 9, "0", "GPU-z", Hostname="elsewhere"),
    ],
    "DCGM_FI_DEV_FB_USED": [dcgm("DCGM_FI_DEV_FB_USED", 100, "0", "GPU-a")],
    "DCGM_FI_DEV_FB_FREE": [dcgm("DCGM_FI_DEV_FB_FREE", 924, "0", "GPU-a")],
}


def a_prometheus(answers: Any = None, status: int = 200) -> PrometheusServer:
    def answer(request: httpx.Request) -> httpx.Response:
        query = parse_qs(request.url.query.decode())["query"][0]
        if answers is not None:
            return httpx.Response(status, content=answers)
        rows = ANSWERS.get(query, [])
        if query.startswith("sum by (namespace, pod) (irate"):
            rows = [{"metric": {"namespace": "runai-vision", "pod": "w-1-0"}, "value": [1, "1.5"]}]
        if "node_cpu" in query:
            rows = [{"metric": {"instance": "n1:9100"}, "value": [1, "12.5"]}]
        return httpx.Response(200, json={"status": "success", "data": {"resultType": "vector", "result": rows}})

    return PrometheusServer("http://prometheus.test", httpx.AsyncClient(transport=httpx.MockTransport(answer)))


@pytest.mark.asyncio
async def test_dcgm_is_joined_by_device_pod_and_node() -> None:
    reading = await PrometheusMeter(a_prometheus()).read([NODE], [a_pod()])

    assert reading.pods["w-1-0-uid"] == {
        "GPU_UTILIZATION": 70,
        "GPU_MEMORY_USAGE_BYTES": 100 * 2**20,
        "GPU_UTILIZATION_PER_GPU/0": 70,
        "GPU_MEMORY_USAGE_BYTES_PER_GPU/0": 100 * 2**20,
        "CPU_USAGE_CORES": 1.5,
    }
    assert {key: device.utilization for key, device in reading.devices.items()} == {("n1", 0): 70, ("n1", 1): 0}
    assert reading.devices["n1", 0].memory_total == 1024 * 2**20
    assert reading.nodes["n1"] == {"CPU_UTILIZATION": 12.5}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("answers", "status", "said"),
    [
        (b"<html>", 200, "does not answer"),
        (b"[]", 200, "no JSON object"),
        (json.dumps({"status": "error", "error": "parse error"}).encode(), 400, "parse error"),
    ],
    ids=["a page", "a list", "a refusal"],
)
async def test_what_is_no_prometheus_is_told(answers: bytes, status: int, said: str) -> None:
    with pytest.raises(Unavailable, match=said):
        await PrometheusMeter(a_prometheus(answers, status)).read([NODE], [a_pod()])


# -- idleness


def a_sampler(clock: Clock) -> Sampler:
    nothing: Any = SimpleNamespace()
    return Sampler(Backend(store=nothing, cluster=nothing, runtime=nothing, lease=nothing, clock=clock))


WORKLOAD = Workload(meta=Meta(name="w", uid="u", project="vision"), phase=Phase.RUNNING, attempt=1, node_pool="default")


async def measured(
    sampler: Sampler, clock: Clock, use: Sequence[float | None], every: float = 10.0, attempt: int = 1
) -> list[float | None]:
    """Return what is known of idleness after each of these measurements."""
    found = []
    for percent in use:
        clock.time += every
        pod = a_pod(devices=(0,))
        devices = (
            {}
            if percent is None
            else {("n1", 0): DeviceUse(node="n1", index=0, utilization=percent, memory_used=0, memory_total=1)}
        )
        workload = replace(WORKLOAD, attempt=attempt)
        sampler.measure_with((Fixed(Reading(devices=devices, pods=pods_on([pod], devices))),))
        await sampler.measure(World(now=clock.time, workloads=(workload,), pods={"u": [pod]}, nodes=(NODE,)))
        found.append(sampler.idle_seconds(workload))
    return found


@dataclass
class Fixed:
    """A meter that reads the same."""

    reading: Reading
    name: str = "fixed"

    async def read(self, nodes: Sequence[Node], pods: Sequence[Pod]) -> Reading:
        return self.reading


@pytest.mark.asyncio
async def test_idle_time_grows_until_any_use_sets_it_back() -> None:
    clock = Clock()

    assert await measured(a_sampler(clock), clock, [0, 0, 0, 1, 0, 0]) == [0, 10, 20, 0, 10, 20]


@pytest.mark.asyncio
async def test_time_that_nobody_measured_is_not_idle() -> None:
    clock = Clock()
    sampler = a_sampler(clock)
    await measured(sampler, clock, [0, 0])
    clock.time += 3600  # the sampler slept
    assert sampler.idle_seconds(WORKLOAD) is None

    assert await measured(sampler, clock, [0, 0]) == [10, 20]
    assert await measured(sampler, clock, [None, None, None, None]) == [20, 20, 20, None]


@pytest.mark.asyncio
async def test_a_new_run_begins_anew() -> None:
    clock = Clock()
    sampler = a_sampler(clock)
    await measured(sampler, clock, [0, 0, 0])

    assert await measured(sampler, clock, [0, 0], attempt=2) == [0, 10]


# -- sums


def test_projects_departments_and_pools_are_added_up() -> None:
    pods = {"u": [a_pod("a", (0,)), a_pod("b", (1,))]}
    devices = {
        ("n1", 0): DeviceUse(node="n1", index=0, utilization=80, memory_used=1, memory_total=2),
        ("n1", 1): DeviceUse(node="n1", index=1, utilization=20, memory_used=1, memory_total=2),
    }
    quota = {"default": QueueResources(gpu=ResourceQuota(deserved=1000))}
    world = World(
        now=5.0,
        workloads=(WORKLOAD,),
        pods=pods,
        nodes=(NODE,),
        projects=(Project(meta=Meta(name="vision"), department="research", resources=quota),),
        departments=(Department(meta=Meta(name="research"), resources=quota),),
        waiting={("vision", "default"): 3},
    )
    found = {
        point.entity: point.values
        for point in unit_points(world, Reading(devices=devices, pods=pods_on(pods["u"], devices)), idle={"u"})
    }

    assert set(found) == {"project/vision/default", "department/research/default", "pool/default"}
    for values in found.values():
        assert (values["GPU_ALLOCATION"], values["GPU_QUOTA"]) == (2, 1)
        assert (values["GPU_USED"], values["GPU_MEASURED"], values["GPU_IDLE"]) == (1.0, 2, 2)
        assert (values["RUNNING_WORKLOADS"], values["PENDING_WORKLOADS"]) == (1, 3)
        assert values["WAITED_SECONDS"] == WORKLOAD.pending_seconds
    assert found["pool/default"]["TOTAL_GPU"] == 2


@pytest.mark.parametrize(
    ("request_", "shares"),
    [
        pytest.param(PodRequest(gpu_devices=2), [1.0, 1.0], id="whole devices"),
        pytest.param(PodRequest(gpu_devices=2, gpu_portion=250), [0.25, 0.25], id="a part of each"),
        pytest.param(PodRequest(gpu_devices=2, gpu_memory_mib=512), [0.5, 0.5], id="memory of each"),
    ],
)
def test_a_node_tells_what_is_held_of_each_of_its_gpus(request_: PodRequest, shares: list[float]) -> None:
    pod = replace(a_pod("a", (0, 1)), spec=PodSpec(request=request_))
    node = replace(NODE, gpu_count=3, gpu_memory_mib=1024)
    devices = {("n1", 0): DeviceUse(node="n1", index=0, utilization=80, memory_used=1, memory_total=4)}
    world = World(now=5.0, workloads=(WORKLOAD,), pods={"u": [pod]}, nodes=(node,))

    (point,) = node_points(world, Reading(devices=devices, pods={}), {})

    held = [point.values[f"GPU_ALLOCATION_PER_GPU/{index}"] for index in range(3)]
    memory = [point.values[f"GPU_MEMORY_ALLOCATION_BYTES_PER_GPU/{index}"] for index in range(3)]
    assert held == [*shares, 0.0]
    assert memory == [share * 1024**3 for share in held]
    assert point.values["GPU_MEMORY_UTILIZATION_PER_GPU/0"] == point.values["GPU_MEMORY_UTILIZATION"] == 25.0


def test_gpu_memory_that_is_held_counts_as_the_part_of_its_device_that_it_is() -> None:
    pod = replace(a_pod("a", (0, 1)), spec=PodSpec(request=PodRequest(gpu_devices=2, gpu_memory_mib=512)))
    project = Project(meta=Meta(name="vision"), department="research")
    world = World(now=5.0, workloads=(WORKLOAD,), pods={"u": [pod]}, nodes=(NODE,), projects=(project,))

    held = {point.entity: point.values["GPU_ALLOCATION"] for point in unit_points(world, Reading(), idle=set())}

    assert held == {"project/vision/default": 1.0, "department/research/default": 1.0, "pool/default": 1.0}


def test_waiting_is_told_as_a_mean_over_what_runs() -> None:
    values = {"RUNNING_WORKLOADS": 4.0, "WAITED_SECONDS": 120.0}

    assert DERIVED["AVG_WORKLOAD_WAIT_TIME"](values) == 30.0


def test_fewer_samples_are_means_over_equal_parts_of_the_time_and_the_newest_value() -> None:
    old = [(3600.0 * hour, float(hour % 2)) for hour in range(100)]
    recent = [(360_000.0 + 10 * index, 7.0) for index in range(361)]

    found = thin([*old, *recent], 11)

    assert [value for _, value in found] == [pytest.approx(0.5, abs=0.05)] * 9 + [pytest.approx(6.8, abs=0.2), 7.0]
    assert found[-1] == recent[-1]
    assert [len(thin(old, samples)) for samples in (0, 1, 2, 100, 1000)] == [0, 1, 2, 100, 100]


def test_devices_have_a_series_each() -> None:
    points = [
        Point("node/n1", 1.0, {"GPU_UTILIZATION_PER_GPU/0": 1.0, "GPU_UTILIZATION_PER_GPU/1": 2.0, "ATTEMPT": 1.0})
    ]
    window = Window(start=0, end=10, samples=20)

    one = series_of(points, ["GPU_UTILIZATION_PER_GPU", IDLE], window)

    assert [(item.type, item.labels.get("gpu"), list(item.values)) for item in one] == [
        ("GPU_UTILIZATION_PER_GPU", "0", [(1.0, 1.0)]),
        ("GPU_UTILIZATION_PER_GPU", "1", [(1.0, 2.0)]),
        (IDLE, None, []),
    ]
    assert {item.type for item in series_of(points, [], window)} == {"GPU_UTILIZATION_PER_GPU"}
