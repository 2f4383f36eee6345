"""GET /metrics: the public names and labels, read as Prometheus reads them; and the dashboard that uses them."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from runai_core.model.nodes import Node
from runai_core.service.meters import DeviceUse, Meter, Reading, pods_on

DASHBOARD = Path(__file__).parents[3] / "deploy" / "grafana" / "runai.json"
DOCUMENTED = [
    "runai_cluster_cpu_utilization",
    "runai_cluster_memory_used_bytes",
    "runai_cluster_memory_utilization",
    "runai_allocated_gpu_count_per_gpu",
    "runai_gpu_utilization_per_gpu",
    "runai_gpu_memory_used_mebibytes_per_gpu",
    "runai_gpu_memory_total_mebibytes_per_gpu",
    "runai_last_gpu_utilization_time_per_gpu",
    "runai_gpu_count_per_node",
    "runai_allocated_gpu_count_per_node",
    "runai_gpu_utilization_per_node",
    "runai_gpu_memory_used_mebibytes_per_node",
    "runai_gpu_memory_total_mebibytes_per_node",
    "runai_node_cpu_requested_cores",
    "runai_node_cpu_utilization",
    "runai_node_memory_utilization",
    "runai_node_requested_memory_bytes",
    "runai_node_used_memory_bytes",
    "runai_project_guaranteed_gpus",
    "runai_project_info",
    "runai_queue_info",
    "runai_allocated_gpu_count_per_project",
    "runai_gpu_utilization_per_project",
    "runai_allocated_gpu_count_per_workload",
    "runai_requested_gpus_per_workload",
    "runai_requested_gpu_memory_mb_per_workload",
    "runai_gpu_utilization_per_workload",
    "runai_gpu_memory_used_mebibytes_per_workload",
    "runai_gpu_idle_seconds_per_workload",
    "runai_last_gpu_utilization_time_per_workload",
    "runai_run_time_seconds_per_workload",
    "runai_wait_time_seconds_per_workload",
    "runai_job_cpu_usage",
    "runai_job_memory_used_bytes",
    "runai_active_job_cpu_requested_cores",
    "runai_active_job_memory_requested_bytes",
    "runai_cpu_limits_per_active_workload",
    "runai_memory_limits_per_active_workload",
    "runai_allocated_gpu_count_per_pod",
    "runai_allocated_millicpus_per_pod",
    "runai_allocated_memory_per_pod",
    "runai_gpu_utilization_per_pod_per_gpu",
    "runai_gpu_memory_used_mebibytes_per_pod_per_gpu",
]
"""The public names (all that the documents have but runai_mig_mode_gpu_count, which nothing here measures)."""

NO_SDK = "grafana-foundation-sdk is not installed"

LINE = re.compile(r'^([a-z_]+)(?:\{((?:[a-zA-Z_]+="(?:[^"\\\n]|\\.)*",?)*)\})? (-?[0-9.e+-]+)$')


@dataclass
class OneGpu:
    """A meter that knows the first GPU of each node."""

    percent: float = 40.0
    name: str = "one"

    async def read(self, nodes: Any, pods: Any) -> Reading:
        devices = {
            (node.name, 0): DeviceUse(
                node=node.name, index=0, utilization=self.percent, memory_used=2.0**30, memory_total=2.0**34
            )
            for node in nodes
            if isinstance(node, Node)
        }
        hosts = {node.name: {"CPU_UTILIZATION": 25.0, "CPU_MEMORY_USAGE_BYTES": 2.0**32} for node in nodes}
        return Reading(devices=devices, pods=pods_on(pods, devices), nodes=hosts)


def read(text: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Return the samples by name; fail on a line that Prometheus could not read."""
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            found[line.split()[2]] = []
        elif not line.startswith("#"):
            match = LINE.match(line)
            assert match, line
            labels = dict(re.findall(r'([a-zA-Z_]+)="((?:[^"\\]|\\.)*)"', match[2] or ""))
            found[match[1]].append((labels, float(match[3])))
    return found


async def scrape(api: Any) -> dict[str, list[tuple[dict[str, str], float]]]:
    answer = await api.client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return read(answer.text)


@pytest.mark.asyncio
async def test_every_documented_name_is_there(api: Any) -> None:
    found = await scrape(api)

    assert set(DOCUMENTED) - set(found) == set()


@pytest.mark.asyncio
async def test_what_is_measured_is_told_with_the_labels_that_dashboards_know(api: Any) -> None:
    meter: Meter = OneGpu()
    api.orchestrator.sampler.measure_with((meter,))
    created = await api.submit("a", spec={"command": "true", "compute": {"gpuDevicesRequest": 1}})
    await api.run(created["id"], gpu_devices=(0,))
    await api.orchestrator.sampler.sample()
    found = await scrape(api)

    (labels, percent), *_ = found["runai_gpu_utilization_per_workload"]
    assert percent == 40
    assert labels.keys() >= {"clusterId", "workload_id", "workload_name", "workload_type", "project", "user"}
    (pod, memory), *_ = found["runai_gpu_memory_used_mebibytes_per_pod_per_gpu"]
    assert (pod["gpu"], pod["node"], memory) == ("0", "node-a", 1024)
    assert pod.keys() >= {"pod_name", "pod_uuid", "pod_namespace"}
    assert {labels["node"]: value for labels, value in found["runai_node_cpu_utilization"]} == {
        "node-a": 25,
        "node-b": 25,
    }
    assert found["runai_cluster_cpu_utilization"][0][1] == 25


@pytest.mark.asyncio
async def test_what_nobody_measures_has_no_sample(api: Any) -> None:
    created = await api.submit("a")
    await api.run(created["id"])
    await api.orchestrator.sampler.sample()
    found = await scrape(api)

    assert found["runai_gpu_utilization_per_workload"] == []
    assert found["runai_gpu_idle_seconds_per_workload"] == []


@pytest.mark.asyncio
async def test_metrics_need_a_token(api: Any) -> None:
    transport = httpx.ASGITransport(api.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as nobody:
        answer = await nobody.get("/metrics")

    assert answer.status_code in (401, 302, 303)
    assert "runai_" not in answer.text


@pytest.mark.asyncio
async def test_the_dashboard_asks_only_for_what_is_told(api: Any) -> None:
    found = await scrape(api)
    dashboard = json.loads(DASHBOARD.read_text())
    asked: dict[str, set[str]] = {}
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            asked.setdefault(panel["title"], set()).update(re.findall(r"\b(runai_[a-z_]+)\b", target["expr"]))

    assert {title: names - set(found) for title, names in asked.items() if names - set(found)} == {}
    assert all(asked.values())


def test_the_dashboard_has_the_form_that_grafana_reads() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    panels = dashboard["panels"]
    numbers = [panel["id"] for panel in panels]
    boxes = [panel["gridPos"] for panel in panels]

    assert dashboard["schemaVersion"] >= 36
    assert len(set(numbers)) == len(numbers)
    assert {"title", "uid", "templating", "time", "refresh"} <= dashboard.keys()
    assert {panel["type"] for panel in panels} <= {"row", "stat", "timeseries", "bargauge", "table"}
    for panel in panels:
        box = panel["gridPos"]
        assert 0 <= box["x"] < box["x"] + box["w"] <= 24, panel["title"]
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert all(target["expr"].count("(") == target["expr"].count(")") for target in panel["targets"])
    taken = [(box["x"] + dx, box["y"] + dy) for box in boxes for dx in range(box["w"]) for dy in range(box["h"])]
    assert len(set(taken)) == len(taken), "two panels lie over each other"
    names = {variable["name"] for variable in dashboard["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]+)\}?", json.dumps([panel.get("targets") for panel in panels])))
    assert used <= names


def test_grafanas_own_types_know_every_word_of_the_dashboard() -> None:
    """What they do not know, and what has another form than theirs, does not come back from them."""
    dashboards = pytest.importorskip("grafana_foundation_sdk.models.dashboard", reason=NO_SDK)
    pytest.importorskip("grafana_foundation_sdk.cog.plugins").register_default_plugins()
    encoder = pytest.importorskip("grafana_foundation_sdk.cog.encoder").JSONEncoder
    written = json.loads(DASHBOARD.read_text())

    known = json.loads(json.dumps(dashboards.Dashboard.from_json(written), cls=encoder))

    assert list(_lost(written, known)) == []


def _lost(written: Any, known: Any, path: str = "") -> Iterator[str]:
    """Yield where something of what was written is missing, or different."""
    if isinstance(written, dict) and isinstance(known, dict):
        for name, value in written.items():
            yield from _lost(value, known[name], f"{path}.{name}") if name in known else (f"{path}.{name}",)
    elif isinstance(written, list) and isinstance(known, list) and len(written) == len(known):
        for index, pair in enumerate(zip(written, known, strict=True)):
            yield from _lost(*pair, f"{path}[{index}]")
    elif written != known:
        yield path
