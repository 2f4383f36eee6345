"""Measurements and telemetry: what is asked for, held and used."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import pytest

from runai_core.model.workload import Workload
from runai_core.plugins.types import Sample
from runai_core.service.meters import POD_VARIABLE, DeviceUse, Reading, pods_on, processes_of
from runai_core.service.metrics import thin
from tests.waiting import eventually

GPUS = {"command": "true", "compute": {"gpuDevicesRequest": 1, "cpuCoreRequest": 2}}


class Steps:
    """A plug-in that measures training steps."""

    name = "steps"

    async def sample(self, workload: Workload) -> Sequence[Sample]:
        return (Sample(name="STEPS", value=12.5, unit="steps per second"),)


class Idle:
    """A meter that finds the first GPU of node-a unused."""

    name = "idle"

    async def read(self, nodes: Any, pods: Any) -> Reading:
        device = DeviceUse(node="node-a", index=0, utilization=0.0, memory_used=1024.0, memory_total=2048.0)
        devices = {("node-a", 0): device}
        return Reading(devices=devices, pods=pods_on(pods, devices))


class Broken:
    """A plug-in that fails."""

    name = "broken"

    async def sample(self, workload: Workload) -> Sequence[Sample]:
        raise RuntimeError("no connection")


@pytest.mark.parametrize(
    ("length", "samples", "expected"),
    [
        pytest.param(3, 5, [0, 1, 2], id="fewer than asked for"),
        pytest.param(10, 5, [2, 4, 6, 8, 9], id="evenly spread with the newest"),
        pytest.param(10, 1, [9], id="the newest alone"),
        pytest.param(10, 0, [], id="none"),
    ],
)
def test_a_series_is_thinned(length: int, samples: int, expected: list[int]) -> None:
    assert [at for at, _ in thin([(float(at), 0.0) for at in range(length)], samples)] == expected


def test_processes_are_found_by_the_pod_in_their_environment() -> None:
    command = [sys.executable, "-c", "print(1, flush=True); x = bytearray(20_000_000)\nwhile True: pass"]
    environment = {**os.environ, POD_VARIABLE: "pod-of-this-test"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()

            def worked() -> Any:
                use = processes_of({"pod-of-this-test"})["pod-of-this-test"]
                return use if use.memory >= 20_000_000 and use.cpu_seconds else None

            use = eventually(worked, "memory and processor time of the process")
        finally:
            process.kill()

    assert use.oldest <= time.time()
    assert processes_of({"pod-of-nobody"}) == {}


@pytest.mark.asyncio
async def test_a_workload_is_measured_when_somebody_asks(api: Any) -> None:
    created = await api.submit("a", spec=GPUS)
    await api.run(created["id"])

    path = f"/api/v1/workloads/{created['id']}/metrics"
    first = await api.get(path)
    api.clock.time += 60
    await api.get(path)
    second = await api.get(path, metricType=["POD_COUNT", "RUNNING_POD_COUNT"], expect=200)

    assert {item["type"] for item in first["measurements"]} >= {"CPU_REQUEST_CORES", "GPU_ALLOCATION", "POD_COUNT"}
    assert [item["type"] for item in second["measurements"]] == ["POD_COUNT", "RUNNING_POD_COUNT"]
    assert [point["value"] for point in second["measurements"][0]["values"]] == ["1", "1"]


@pytest.mark.asyncio
async def test_what_nobody_measures_is_told_as_partial(api: Any) -> None:
    created = await api.submit("a", spec=GPUS)
    await api.run(created["id"])

    answer = await api.get(
        f"/api/v1/workloads/{created['id']}/metrics", expect=207, metricType="GPU_UTILIZATION,POD_COUNT"
    )

    found = {item["type"]: item["values"] for item in answer["measurements"]}
    assert found["GPU_UTILIZATION"] == []
    assert len(found["POD_COUNT"]) == 1


@pytest.mark.asyncio
async def test_one_pod_is_measured(api: Any) -> None:
    created = await api.submit("a", spec=GPUS)
    await api.run(created["id"])
    pod = (await api.get(f"/api/v1/workloads/{created['id']}/pods"))["pods"][0]

    path = f"/api/v1/workloads/{created['id']}/pods"
    answer = await api.get(f"{path}/{pod['id']}/metrics", metricType="GPU_ALLOCATION")

    assert answer["measurements"][0]["values"][0]["value"] == "0"
    assert (await api.get(f"{path}/none/metrics", expect=404))["reason"] == "NotFound"


@pytest.mark.asyncio
async def test_plug_ins_measure_and_a_broken_one_harms_nobody(api: Any) -> None:
    created = await api.submit("a", spec=GPUS)
    await api.run(created["id"])
    api.orchestrator.sampler.use((Broken(), Steps()))

    answer = await api.get(f"/api/v1/workloads/{created['id']}/metrics", metricType="STEPS")

    assert answer["measurements"][0]["values"][0]["value"] == "12.5"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"start": "noon"}, "start"),
        ({"end": "noon"}, "end"),
        ({"start": "2026-01-02T00:00:00Z", "end": "2026-01-01T00:00:00Z"}, "end"),
        ({"numberOfSamples": 1001}, "numberOfSamples"),
    ],
)
async def test_a_wrong_question_names_the_parameter(api: Any, query: dict[str, Any], field: str) -> None:
    created = await api.submit("a")

    error = await api.get(f"/api/v1/workloads/{created['id']}/metrics", expect=400, **query)

    assert error["errors"][0]["field"] == field


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("path", "query", "values"),
    [
        pytest.param("workloads", {"telemetryType": "WORKLOADS_COUNT"}, ["2"], id="workloads"),
        pytest.param(
            "workloads", {"telemetryType": "WORKLOADS_COUNT", "groupBy": "Phase"}, ["1", "1"], id="workloads by phase"
        ),
        pytest.param(
            "workloads",
            {"telemetryType": "WORKLOADS_COUNT", "filterByPhases": "Running"},
            ["1"],
            id="workloads in one phase",
        ),
        pytest.param(
            "workloads",
            {"telemetryType": "GPU_ALLOCATION", "groupBy": ["project", "Phase"]},
            ["0", "1"],
            id="GPUs held",
        ),
        pytest.param("nodes", {"telemetryType": "TOTAL_GPUS"}, ["4"], id="GPUs"),
        pytest.param("nodes", {"telemetryType": "FULLY_FREE_GPU_NODES", "groupBy": "NodeName"}, ["1", "1"], id="nodes"),
        pytest.param("org-unit/projects", {"telemetryType": "GPU_QUOTA"}, ["4"], id="quota of projects"),
        pytest.param(
            "org-unit/departments",
            {"telemetryType": "GPU_QUOTA", "groupBy": "DepartmentId"},
            ["4"],
            id="of departments",
        ),
    ],
)
async def test_present_numbers_are_summed_in_groups(
    api: Any, path: str, query: dict[str, Any], values: list[str]
) -> None:
    created = await api.submit("a", spec=GPUS)
    await api.submit("b", spec=GPUS)
    await api.run(created["id"])

    answer = await api.get(f"/api/v1/{path}/telemetry", **query)

    assert [row["value"] for row in answer["values"]] == values


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"telemetryType": "MOOD"}, "telemetryType"),
        ({"telemetryType": "WORKLOADS_COUNT", "groupBy": "Mood"}, "groupBy"),
        ({"telemetryType": "WORKLOADS_COUNT", "groupBy": "Phase,Type,Category"}, "groupBy"),
        ({"telemetryType": "WORKLOADS_COUNT", "filterByPhases": "Tired"}, "filterByPhases"),
        ({}, "telemetryType"),
    ],
)
async def test_wrong_telemetry_names_the_parameter(api: Any, query: dict[str, Any], field: str) -> None:
    error = await api.get("/api/v1/workloads/telemetry", expect=400, **query)

    assert error["errors"][0]["field"] == field


@pytest.mark.asyncio
@pytest.mark.parametrize("unit", ["projects", "departments"])
async def test_a_unit_tells_its_present_numbers(api: Any, unit: str) -> None:
    answer = await api.get(f"/api/v1/org-unit/{unit}/default/metrics", metricType="GPU_QUOTA")

    assert answer["measurements"][0]["values"][0]["value"] == "4"


@pytest.mark.asyncio
async def test_gpus_that_are_held_and_not_used_are_told_in_lists_and_in_telemetry(api: Any) -> None:
    created = await api.submit("a", spec=GPUS)
    await api.run(created["id"], gpu_devices=(0,))
    unknown = (await api.get("/api/v1/workloads"))["workloads"][0]
    api.orchestrator.sampler.measure_with((Idle(),))
    for _ in range(32):
        await api.orchestrator.sampler.sample()
        api.clock.time += 10

    (item,) = (await api.get("/api/v1/workloads"))["workloads"]
    telemetry = await api.get("/api/v1/nodes/telemetry", telemetryType="IDLE_ALLOCATED_GPUS")
    used = await api.get("/api/v1/nodes/telemetry", telemetryType="USED_GPU_MEMORY_BYTES")
    (idle,) = (await api.get("/api/v1/nodes/node-a/metrics", metricType="GPU_IDLE_TIME_SECONDS_PER_GPU"))[
        "measurements"
    ]

    assert unknown["idleGpus"] is None
    assert item["idleGpus"] == 1
    assert [value["value"] for value in telemetry["values"]] == ["1"]
    assert [value["value"] for value in used["values"]] == ["1024"]
    assert (idle["labels"], idle["values"][-1]["value"]) == ({"gpu": "0"}, "310")


@pytest.mark.asyncio
async def test_the_cluster_its_pools_and_projects_have_measurements(api: Any) -> None:
    created = await api.submit("a", spec=GPUS)
    await api.run(created["id"], gpu_devices=(0,))
    await api.orchestrator.sampler.sample()
    cluster = api.orchestrator.cluster_id

    def values(answer: Any) -> dict[str, str]:
        return {item["type"]: item["values"][-1]["value"] for item in answer["measurements"]}

    whole = values(await api.get(f"/api/v1/clusters/{cluster}/metrics"))
    pool = values(await api.get(f"/api/v1/clusters/{cluster}/nodepools/default/metrics"))
    project = values(await api.get("/api/v1/org-unit/projects/default/metrics", nodepoolName="default"))

    assert (whole["TOTAL_GPU"], whole["ALLOCATED_GPU"], whole["UNALLOCATED_GPU"]) == ("4", "1", "3")
    assert pool == whole
    assert project["GPU_QUOTA"] == "4"
    assert (await api.get("/api/v1/clusters/other/metrics", expect=404))["reason"] == "NotFound"
    assert "node-b" in (await api.get("/api/v1/nodes/none/metrics", expect=404))["message"]


@pytest.mark.asyncio
async def test_measurements_can_be_had_as_csv(api: Any) -> None:
    created = await api.submit("a", spec=GPUS)
    await api.run(created["id"], gpu_devices=(0,))
    path = f"/api/v1/workloads/{created['id']}/metrics"
    answer = await api.client.get(path, params={"metricType": "GPU_ALLOCATION"}, headers={"Accept": "text/csv"})
    telemetry = await api.client.get(
        "/api/v1/nodes/telemetry", params={"telemetryType": "TOTAL_GPUS"}, headers={"Accept": "text/csv"}
    )

    assert answer.headers["content-type"].startswith("text/csv")
    head, row = answer.text.splitlines()
    assert head == "type,labels,timestamp,value"
    assert row.startswith("GPU_ALLOCATION,,")
    assert row.endswith(",1")
    assert telemetry.json()["type"] == "TOTAL_GPUS"
