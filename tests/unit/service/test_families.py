"""Metrics: the public names, the numbers behind them, the text that Prometheus reads."""

import re

from runai_core.model.meta import Meta
from runai_core.model.nodes import Node, NodePool
from runai_core.model.organization import Department, Project, QueueResources, ResourceQuota
from runai_core.model.snapshot import PodRequest, PodState
from runai_core.model.workload import Phase, Pod, PodSpec, PodStatus, Workload
from runai_core.operator.wanted import queue_of_unit
from runai_core.service.exposition import Family, exposition
from runai_core.service.families import Seen, cluster_families, cycle_families, leader_family
from runai_core.service.scheduling import CycleReport

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
