"""A real Prometheus between exporters as a cluster has them, the orchestrator, and the queries of the dashboard."""

import json
import re
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import pytest_asyncio

from runai_core.model.meta import Meta
from runai_core.model.nodes import Node
from runai_core.model.snapshot import PodRequest, PodState
from runai_core.model.spec import Compute, WorkloadSpec
from runai_core.model.workload import Limit, Limits, Phase, Pod, PodSpec, PodStatus, Workload
from runai_core.ports import Backend
from runai_core.service.limits import Action, judge
from runai_core.service.meters import Reading, namespace_of
from runai_core.service.metrics import RANGES, pods_in_prometheus
from runai_core.service.points import World
from runai_core.service.prometheus import PrometheusMeter, PrometheusServer
from runai_core.service.sampling import SAMPLE_EVERY, UNBROKEN, Sampler
from tests.clocks import Clock
from tests.orchestrators import OrchestratorProcess, an_orchestrator
from tests.prometheus_server import (
    Exporters,
    Gpu,
    PrometheusProcess,
    a_prometheus_server,
    exporters,
    jobs_for,
    program_in,
)
from tests.waiting import PATIENCE, eventually, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

DASHBOARD = Path(__file__).parents[1] / "deploy" / "grafana" / "runai.json"
FAR = re.compile(r"> (300|60)\b")
"""Thresholds that nothing passes in a short test."""

LONG = ["python3", "-c", "import time; time.sleep(600)"]
GPUS = {"gpuDevicesRequest": 2}


@pytest.fixture(scope="module")
def said() -> Iterator[Exporters]:
    with exporters() as found:
        yield found


@pytest.fixture(scope="module")
def server(said: Exporters, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusProcess]:
    home = tmp_path_factory.mktemp("prometheus")
    said.nodes = {"a": 0.25, "b": 0.5}
    said.gpus = DCGM
    said.cores = {("runai-vision", pod.name): 1.5 for pod in PODS}
    jobs = jobs_for(said, honoured="a", relabelled="b")
    with a_prometheus_server(home, program_in(home / "debian"), jobs) as found:
        yield found


# -- what the orchestrator reads of DCGM

NODES = tuple(Node(meta=Meta(name=name), gpu_count=2, gpu_memory_mib=81559) for name in ("a", "b"))


def a_pod(workload: str, node: str, *devices: int) -> Pod:
    return Pod(
        meta=Meta(name=f"{workload}-1-0", uid=f"{workload}-pod", owner=workload, project="vision"),
        workload=workload,
        pod_group=f"{workload}-1",
        spec=PodSpec(request=PodRequest(gpu_devices=len(devices))),
        status=PodStatus(state=PodState.RUNNING, node=node, gpu_devices=devices),
    )


PODS = (a_pod("busy", "a", 0, 1), a_pod("idle", "b", 0), a_pod("half", "b", 1))
DCGM = (
    Gpu("a", 0, 90, 1024, 80535, "runai-vision", "busy-1-0"),
    Gpu("a", 1, 70, 2048, 79511, "runai-vision", "busy-1-0"),
    Gpu("b", 0, 0, 512, 81047, "runai-vision", "idle-1-0"),
    Gpu("b", 1, 50, 256, 81303, "runai-vision", "half-1-0"),
)
"""Node a's exporter is scraped as it speaks, node b's behind a ServiceMonitor: its pods are `exported_pod` there."""


@pytest_asyncio.fixture
async def meter(server: PrometheusProcess) -> AsyncIterator[PrometheusMeter]:
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        yield PrometheusMeter(PrometheusServer(server.url, client))


async def read(meter: PrometheusMeter) -> Reading:
    """Return what the meter reads once Prometheus knows all that the exporters say of our pods."""

    async def whole() -> Reading | None:
        reading = await meter.read(NODES, PODS)
        pods = [reading.pods.get(pod.meta.uid, {}) for pod in PODS]
        nodes = [reading.nodes.get(node.name, {}) for node in NODES]
        known = all({"GPU_UTILIZATION", "CPU_USAGE_CORES", "CPU_MEMORY_USAGE_BYTES"} <= found.keys() for found in pods)
        known = known and all({"CPU_UTILIZATION", "CPU_MEMORY_UTILIZATION"} <= found.keys() for found in nodes)
        memory = sum(device.memory_total for device in reading.devices.values())
        return reading if known and memory == 4 * 81559 * 2**20 else None

    return await until(whole, "measurements of all pods")


@pytest.mark.asyncio
async def test_what_dcgm_says_is_read_for_each_pod_whether_its_labels_were_kept_or_renamed(
    meter: PrometheusMeter,
) -> None:
    reading = await read(meter)

    assert {uid: values["GPU_UTILIZATION"] for uid, values in reading.pods.items()} == {
        "busy-pod": 80,
        "idle-pod": 0,
        "half-pod": 50,
    }
    assert reading.pods["busy-pod"]["GPU_UTILIZATION_PER_GPU/1"] == 70
    assert reading.pods["busy-pod"]["GPU_MEMORY_USAGE_BYTES"] == 3072 * 2**20
    assert {key: device.utilization for key, device in reading.devices.items()} == {
        (gpu.node, gpu.index): gpu.utilization for gpu in DCGM
    }
    assert {round(values["CPU_USAGE_CORES"], 1) for values in reading.pods.values()} == {1.5}
    assert {values["CPU_MEMORY_USAGE_BYTES"] for values in reading.pods.values()} == {2**30}
    assert {name: round(values["CPU_UTILIZATION"]) for name, values in reading.nodes.items()} == {"a": 25, "b": 50}
    assert {name: round(values["CPU_MEMORY_UTILIZATION"]) for name, values in reading.nodes.items()} == {
        "a": 25,
        "b": 50,
    }


@pytest.mark.asyncio
async def test_the_past_that_was_not_measured_here_is_asked_of_prometheus(meter: PrometheusMeter) -> None:
    reading = await read(meter)
    now, found = time.time(), {}
    for pod in PODS:
        labels = pods_in_prometheus(a_workload(pod.workload), {namespace_of(pod)})
        for name, query in RANGES.items():
            rows = await meter.server.range(query.format(**labels, over="120s"), now - 1, now, 1)
            found[pod.meta.uid, name] = rows[0][1][-1][1]

    cores = {key: found.pop(key) for key in [*found] if key[1] == "CPU_USAGE_CORES"}  # a mean of two minutes: it grows
    assert all(0 < value < 1.6 for value in cores.values())
    assert found == {key: reading.pods[key[0]][key[1]] for key in found}


def a_workload(name: str) -> Workload:
    limit = Limit(rule="trainingJobMaxIdleDurationSeconds", seconds=60, origin="project/vision")
    spec = WorkloadSpec(compute=Compute(gpu_devices_request=1))
    meta = Meta(name=name, uid=name, project="vision")
    return Workload(meta=meta, phase=Phase.RUNNING, spec=spec, limits=Limits(idle=limit))


@pytest.mark.asyncio
async def test_only_what_dcgm_says_is_idle_is_stopped_and_a_prometheus_that_goes_makes_nothing_idle(
    server: PrometheusProcess, meter: PrometheusMeter
) -> None:
    await read(meter)
    clock, nothing = Clock(), SimpleNamespace()
    backend = Backend(store=nothing, cluster=nothing, runtime=nothing, lease=nothing, clock=clock)
    sampler = Sampler(backend, meters=(meter,))
    workloads = {pod.workload: a_workload(pod.workload) for pod in PODS}

    async def seconds_pass(seconds: float) -> Mapping[str, float | None]:
        for _ in range(int(seconds / SAMPLE_EVERY)):
            clock.time += SAMPLE_EVERY
            pods = {pod.workload: [pod] for pod in PODS}
            await sampler.measure(World(now=clock.time, workloads=tuple(workloads.values()), pods=pods, nodes=NODES))
        return {name: sampler.idle_seconds(workload) for name, workload in workloads.items()}

    def verdict(name: str) -> Action | None:
        found = judge(workloads[name], clock.time, sampler.idle_seconds(workloads[name]))
        return None if found is None else found.action

    assert await seconds_pass(40) == {"busy": 0, "idle": 30, "half": 0}
    assert verdict("idle") is Action.WARN
    server.kill()
    assert await seconds_pass(UNBROKEN + SAMPLE_EVERY) == {"busy": None, "idle": None, "half": None}
    assert verdict("idle") is Action.TELL, "the rule cannot be enforced, and stops nothing"
    server.start()
    await read(meter)
    assert await seconds_pass(20) == {"busy": 0, "idle": 40, "half": 0}, "the time without Prometheus does not count"
    assert await seconds_pass(20) == {"busy": 0, "idle": 60, "half": 0}
    assert [verdict(name) for name in ("busy", "idle", "half")] == [None, Action.STOP, None]


# -- the dashboard, over an orchestrator that reads the same Prometheus


@pytest.fixture(scope="module")
def orchestrator(
    said: Exporters, server: PrometheusProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OrchestratorProcess]:
    nodes = [{"name": name, "gpus": 2, "cpu": 8, "memory": "16Gi"} for name in ("a", "b")]
    folder = tmp_path_factory.mktemp("orchestrator")
    with an_orchestrator(folder, nodes, {"RUNAI_PROMETHEUS_URL": server.url}) as found:
        token = folder / "token"
        token.write_text(json.loads((found.data_dir / "credentials.json").read_text())["token"])
        job = {
            "job_name": "runai",
            "authorization": {"credentials_file": str(token)},
            "static_configs": [{"targets": [found.client.base_url.netloc.decode()]}],
        }
        server.configure([*jobs_for(said, honoured="a", relabelled="b"), job])
        yield found


@pytest.fixture(scope="module")
def world(said: Exporters, orchestrator: OrchestratorProcess) -> dict[str, str]:
    """Finished, running and waiting workloads, whose GPUs DCGM knows; return where the running ones are."""
    orchestrator.wait(orchestrator.submit("done", ["true"]))
    uids = {name: orchestrator.submit(name, LONG, compute=GPUS) for name in ("busy", "quiet")}
    for uid in uids.values():
        orchestrator.wait(uid, frozenset({"Running"}))
    orchestrator.wait(orchestrator.submit("waiting", LONG, compute=GPUS), frozenset({"Pending"}))
    pods = orchestrator.get("/api/v1/workloads/pods")["pods"]
    running = {pod["workloadName"]: pod for pod in pods if pod["workloadName"] in uids}
    use = {"busy": 80.0, "quiet": 0.0}
    said.cores = {("runai-default", pod["name"]): 1.5 for pod in running.values()}
    said.gpus = [
        Gpu(pod["nodeName"], index, use[name], 1024, 15360, "runai-default", pod["name"])
        for name, pod in running.items()
        for index in (0, 1)
    ]
    return {name: pod["nodeName"] for name, pod in running.items()}


def filled(expression: str, cluster: str, project: str) -> str:
    """Return a query as Grafana sends it."""
    return expression.replace("$cluster", cluster).replace("$project", project)


def nearer(expression: str) -> str:
    """Return the query with thresholds that are passed at once, and steps that a few seconds hold."""
    return FAR.sub("> -1", expression).replace("[1d:5m]", "[1m:1s]")


def test_every_query_of_the_dashboard_has_an_answer_with_the_labels_that_its_legend_names(
    world: dict[str, str], orchestrator: OrchestratorProcess, server: PrometheusProcess
) -> None:
    panels = [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]
    targets = [(panel["title"], target) for panel in panels for target in panel["targets"]]
    all_of_it, chosen = (".*", ".*"), (f"({orchestrator.cluster_id}|another)", "(default|another)")
    for title, target in targets:
        expression = nearer(target["expr"])
        eventually(lambda: server.ask(filled(expression, *chosen)), f"data for {title}: {expression}")  # noqa: B023
        for choice in (all_of_it, chosen):
            server.ask(filled(target["expr"], *choice))
            rows = server.ask(filled(expression, *choice))
            legend = set(re.findall(r"{{(\w+)}}", target.get("legendFormat", "")))
            assert rows, (title, choice)
            assert [row["metric"] for row in rows if not legend <= row["metric"].keys()] == [], title
    assert server.values_of("clusterId", "runai_gpu_count_per_node") == [orchestrator.cluster_id]
    assert "default" in server.values_of("project", f'runai_project_info{{clusterId="{orchestrator.cluster_id}"}}')


def test_what_dcgm_measured_reaches_the_dashboard(world: dict[str, str], server: PrometheusProcess) -> None:
    def by_name(query: str, label: str = "workload_name") -> dict[str, float]:
        return {row["metric"].get(label, ""): float(row["value"][1]) for row in server.ask(query)}

    name = "runai_gpu_utilization_per_workload"
    eventually(lambda: by_name(name) == {"busy": 80, "quiet": 0}, lambda: f"{name}: {by_name(name)}")
    assert by_name("runai_gpu_utilization_per_project", "project") == {"default": 40}
    assert by_name("sum by (pod_name) (runai_gpu_memory_used_mebibytes_per_pod_per_gpu)", "pod_name").keys() == {
        "busy-1-0",
        "quiet-1-0",
    }
    assert by_name("runai_gpu_idle_seconds_per_workload")["busy"] == 0
    assert by_name('runai_workloads{phase="Completed"}', "phase") == {"Completed": 1}
