"""Metrics: the public names, the numbers behind them, the text that Prometheus reads."""

import re
from collections.abc import Mapping
from dataclasses import replace

import pytest

from runai_core.model.meta import Meta
from runai_core.model.nodes import Node, NodePool
from runai_core.model.organization import Department, Project, QueueResources, ResourceQuota
from runai_core.model.resources import MIB
from runai_core.model.samples import Point
from runai_core.model.snapshot import PodRequest, PodState
from runai_core.model.workload import Phase, Pod, PodSpec, PodStatus, Workload
from runai_core.operator.wanted import queue_of_unit
from runai_core.service.exposition import OLDER_NAMES, Family, exposition, with_older_names
from runai_core.service.families import Seen, cluster_families, cycle_families, leader_family
from runai_core.service.scheduling import CycleReport
from runai_core.service.use_families import use_families

SEEN = Seen(
    cluster_id="c",
    now=1000.0,
    queue_of=queue_of_unit,
    nodes=(Node(meta=Meta(name="n1"), gpu_count=8, gpu_memory_mib=80000),),
    pools=(NodePool(meta=Meta(name="default")), NodePool(meta=Meta(name="a100"))),
    departments=(Department(meta=Meta(name="research")),),
    projects=(
        Project(
            meta=Meta(name="team"),
            department="research",
            resources={"default": QueueResources(gpu=ResourceQuota(deserved=2500))},
        ),
    ),
    workloads=(
        Workload(
            meta=Meta(name="w", uid="u", project="team"),
            phase=Phase.RUNNING,
            phase_updated_at=900.0,
            running_seconds=50.0,
            pending_seconds=7.0,
        ),
        Workload(meta=Meta(name="done", uid="d", project="team"), phase=Phase.COMPLETED),
    ),
    pods=tuple(
        Pod(
            meta=Meta(name=name, uid=name, owner="u", project="team"),
            workload="w",
            pod_group="g",
            spec=PodSpec(request=PodRequest(cpu=1500, memory=2**30, gpu_devices=1, gpu_portion=500)),
            status=PodStatus(state=state, node=node),
        )
        for name, state, node in (("p1", PodState.RUNNING, "n1"), ("p2", PodState.PENDING, ""))
    ),
    reports={
        "default": CycleReport(node_pool="default", finished_at=999.5, seconds=0.25, binds=3, evictions=0, waiting=4)
    },
)


def value(name: str, **labels: str) -> float:
    family = next(item for item in cluster_families(SEEN) if item.name == name)
    found = [number for words, number in family.samples if labels.items() <= words.items()]
    assert len(found) == 1, family.samples
    return found[0]


def test_held_and_requested_are_told_apart() -> None:
    assert value("runai_allocated_gpu_count_per_node", node="n1") == 0.5
    assert value("runai_allocated_gpu_count_per_project", project="team") == 0.5
    assert value("runai_allocated_gpu_count_per_workload", workload_name="w") == 0.5
    assert value("runai_requested_gpus_per_workload", workload_name="w") == 1.0
    assert value("runai_node_cpu_requested_cores", node="n1") == 1.5
    assert value("runai_allocated_millicpus_per_pod", pod_name="p1") == 1500


def test_quota_is_told_in_devices() -> None:
    assert value("runai_project_guaranteed_gpus", project="team") == 2.5
    assert value("runai_queue_info", queue_name="team-a100", nodepool="a100", gpu_guaranteed_quota="0") == 1
    assert value("runai_queue_info", queue_name="department.research") == 1


def test_time_counts_until_now() -> None:
    assert value("runai_run_time_seconds_per_workload", workload_name="w") == 150.0
    assert value("runai_wait_time_seconds_per_workload", workload_name="w") == 7.0


def test_workloads_that_are_over_are_only_counted() -> None:
    names = {words.get("workload_name") for family in cluster_families(SEEN) for words, _ in family.samples}

    assert "done" not in names
    assert value("runai_workloads", phase="Completed") == 1


def test_every_family_has_our_names_and_a_text_that_can_be_read() -> None:
    families = [*cluster_families(SEEN), *cycle_families(SEEN), leader_family({"runai-operator"})]
    line = re.compile(r'^runai_[a-z_]+(\{([a-z_A-Z]+="[^"\n]*",?)*\})? -?[0-9.e+-]+$')

    text = exposition(families)

    assert all(family.name.startswith("runai_") and family.help for family in families)
    assert [one for one in text.splitlines() if not one.startswith("#") and not line.match(one)] == []
    assert 'runai_leader{lease="runai-operator"} 1' in text
    assert 'runai_scheduling_cycle_seconds{clusterId="c",nodepool="default"} 0.25' in text


def test_labels_are_escaped() -> None:
    assert (
        exposition([Family("a", "h", (({"x": 'say "hi"\n\\'}, 1.5),))]).splitlines()[-1]
        == 'a{x="say \\"hi\\"\\n\\\\"} 1.5'
    )


GIB = 1024 * MIB

# -- each public name, its labels and its value in one world

WORLD = replace(
    SEEN,
    nodes=(Node(meta=Meta(name="n1"), cpu=8000, memory=64 * GIB, gpu_count=2, gpu_memory_mib=80000),),
    workloads=(
        replace(
            SEEN.workloads[0],
            meta=replace(SEEN.workloads[0].meta, created_by="vera"),
            department="research",
        ),
    ),
    pods=(
        replace(
            SEEN.pods[0],
            spec=PodSpec(
                request=PodRequest(cpu=1500, memory=GIB, gpu_devices=1, gpu_memory_mib=40000),
                cpu_limit=2000,
                memory_limit=2 * GIB,
            ),
            status=PodStatus(state=PodState.RUNNING, node="n1", gpu_devices=(1,)),
        ),
    ),
    newest={
        point.entity: point
        for point in (
            Point(
                "node/n1",
                990.0,
                {
                    "CPU_UTILIZATION": 25.0,
                    "CPU_MEMORY_UTILIZATION": 50.0,
                    "CPU_MEMORY_USAGE_BYTES": 32.0 * GIB,
                    "GPU_UTILIZATION": 30.0,
                    "GPU_MEMORY_USAGE_BYTES": 1024.0 * MIB,
                    "GPU_UTILIZATION_PER_GPU/1": 60.0,
                    "GPU_MEMORY_USAGE_BYTES_PER_GPU/1": 1024.0 * MIB,
                    "GPU_IDLE_TIME_SECONDS_PER_GPU/1": 40.0,
                },
            ),
            Point(
                "workload/u",
                990.0,
                {
                    "GPU_UTILIZATION": 60.0,
                    "GPU_MEMORY_USAGE_BYTES": 1024.0 * MIB,
                    "GPU_IDLE_SECONDS": 40.0,
                    "CPU_USAGE_CORES": 0.75,
                    "CPU_MEMORY_USAGE_BYTES": 512.0 * MIB,
                },
            ),
            Point(
                "pod/u/p1",
                990.0,
                {"GPU_UTILIZATION_PER_GPU/1": 60.0, "GPU_MEMORY_USAGE_BYTES_PER_GPU/1": 1024.0 * MIB},
            ),
            Point("project/team/default", 990.0, {"GPU_USED": 0.6, "GPU_MEASURED": 1.0}),
        )
    },
)

CLUSTER = {"clusterId": "c"}
NODE = {**CLUSTER, "node": "n1"}
GPU = {**NODE, "gpu": "1"}
PROJECT = {**CLUSTER, "project": "team"}
WORKLOAD = {
    **PROJECT,
    "workload_id": "u",
    "workload_name": "w",
    "workload_type": "Training",
    "user": "vera",
    "department": "research",
}
POD = {
    **NODE,
    "pod_name": "p1",
    "pod_uuid": "p1",
    "pod_namespace": "runai-team",
    "project": "team",
    "workload_id": "u",
    "workload_name": "w",
}
QUOTA = {"gpu_guaranteed_quota": "2.5", "cpu_quota": "-1", "memory_quota": "-1", "department": "research"}

PUBLIC: tuple[tuple[str, Mapping[str, str], float], ...] = (
    ("runai_cluster_cpu_utilization", CLUSTER, 25),
    ("runai_cluster_memory_used_bytes", CLUSTER, 32 * GIB),
    ("runai_cluster_memory_utilization", CLUSTER, 50),
    ("runai_allocated_gpu_count_per_gpu", GPU, 0.5),
    ("runai_gpu_utilization_per_gpu", GPU, 60),
    ("runai_gpu_memory_used_mebibytes_per_gpu", GPU, 1024),
    ("runai_gpu_memory_total_mebibytes_per_gpu", GPU, 80000),
    ("runai_last_gpu_utilization_time_per_gpu", GPU, 950),
    ("runai_gpu_count_per_node", NODE, 2),
    ("runai_allocated_gpu_count_per_node", NODE, 0.5),
    ("runai_gpu_utilization_per_node", NODE, 30),
    ("runai_gpu_memory_used_mebibytes_per_node", NODE, 1024),
    ("runai_gpu_memory_total_mebibytes_per_node", NODE, 160000),
    ("runai_node_cpu_requested_cores", NODE, 1.5),
    ("runai_node_cpu_utilization", NODE, 25),
    ("runai_node_memory_utilization", NODE, 50),
    ("runai_node_requested_memory_bytes", NODE, GIB),
    ("runai_node_used_memory_bytes", NODE, 32 * GIB),
    ("runai_project_guaranteed_gpus", PROJECT, 2.5),
    ("runai_project_info", {**PROJECT, **QUOTA}, 1),
    ("runai_queue_info", {**PROJECT, **QUOTA, "nodepool": "default", "queue_name": "team"}, 1),
    ("runai_allocated_gpu_count_per_project", PROJECT, 0.5),
    ("runai_gpu_utilization_per_project", PROJECT, 60),
    ("runai_allocated_gpu_count_per_workload", WORKLOAD, 0.5),
    ("runai_requested_gpus_per_workload", WORKLOAD, 0.5),
    ("runai_requested_gpu_memory_mb_per_workload", WORKLOAD, 41943.04),
    ("runai_gpu_utilization_per_workload", WORKLOAD, 60),
    ("runai_gpu_memory_used_mebibytes_per_workload", WORKLOAD, 1024),
    ("runai_gpu_idle_seconds_per_workload", WORKLOAD, 40),
    ("runai_last_gpu_utilization_time_per_workload", WORKLOAD, 950),
    ("runai_run_time_seconds_per_workload", WORKLOAD, 150),
    ("runai_wait_time_seconds_per_workload", WORKLOAD, 7),
    ("runai_job_cpu_usage", WORKLOAD, 0.75),
    ("runai_job_memory_used_bytes", WORKLOAD, 512 * MIB),
    ("runai_active_job_cpu_requested_cores", WORKLOAD, 1.5),
    ("runai_active_job_memory_requested_bytes", WORKLOAD, GIB),
    ("runai_cpu_limits_per_active_workload", WORKLOAD, 2),
    ("runai_memory_limits_per_active_workload", WORKLOAD, 2 * GIB),
    ("runai_allocated_gpu_count_per_pod", POD, 0.5),
    ("runai_allocated_millicpus_per_pod", POD, 1500),
    ("runai_allocated_memory_per_pod", POD, GIB),
    ("runai_gpu_utilization_per_pod_per_gpu", {**POD, "gpu": "1"}, 60),
    ("runai_gpu_memory_used_mebibytes_per_pod_per_gpu", {**POD, "gpu": "1"}, 1024),
    ("runai_job_requested_gpus", WORKLOAD, 0.5),
    ("runai_job_requested_gpu_memory", WORKLOAD, 41943.04),
    ("runai_job_total_runtime", WORKLOAD, 150),
    ("runai_job_total_wait_time", WORKLOAD, 7),
    ("runai_gpu_idle_time_per_workload", WORKLOAD, 40),
    ("runai_active_job_cpu_limits", WORKLOAD, 2),
    ("runai_node_gpu_used_memory_bytes", NODE, 1024 * MIB),
)
"""All that the documents of Run:ai name, and the names before 2.17, but for what nobody measures here."""

NOT_MEASURED = frozenset({"runai_mig_mode_gpu_count"})


@pytest.mark.parametrize(("name", "labels", "expected"), PUBLIC, ids=[name for name, _, _ in PUBLIC])
def test_a_public_name_has_its_labels_and_its_value(name: str, labels: Mapping[str, str], expected: float) -> None:
    (family,) = [one for one in with_older_names([*cluster_families(WORLD), *use_families(WORLD)]) if one.name == name]

    assert [value for found, value in family.samples if found == labels] == [pytest.approx(expected)]


def test_nothing_else_is_told_but_what_is_ours_and_older_names_only_when_asked_for() -> None:
    families = {family.name for family in [*cluster_families(WORLD), *use_families(WORLD)]}
    older = {name for name, _ in OLDER_NAMES.values()}

    assert families == {name for name, _, _ in PUBLIC} - older | {"runai_workloads"}
    assert not families & (NOT_MEASURED | older)
