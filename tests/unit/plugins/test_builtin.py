"""Gangs of Kubernetes' own kinds, from manifests as people write them."""

from typing import Any

import pytest
import yaml

from runai_core.lifecycle.gang import gang_of
from runai_core.model.errors import InvalidRequest, Unsupported
from runai_core.model.meta import Meta
from runai_core.model.spec import DistributedFramework, WorkloadSpec
from runai_core.model.workload import Workload, WorkloadType
from runai_core.plugins.builtin import KINDS
from runai_core.plugins.manager import load_plugins
from runai_core.plugins.types import Divides, PodGroupPlan, RunContext, Suspends, WorkloadKind

BY_KIND: dict[str, WorkloadKind] = {kind.kind: kind for kind in KINDS}


def plans(text: str) -> list[PodGroupPlan]:
    manifest = yaml.safe_load(text)
    return list(BY_KIND[manifest["kind"]].adapter.pod_groups(manifest))


JOBSET = """
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
spec:
  {extra}
  replicatedJobs:
  - name: driver
    template: {{spec: {{parallelism: 1, completions: 1}}}}
  - name: workers
    replicas: 2
    template: {{spec: {{parallelism: 4, completions: 3}}}}
"""

LWS = """
apiVersion: leaderworkerset.x-k8s.io/v1
kind: LeaderWorkerSet
spec: {{replicas: 2, {extra} leaderWorkerTemplate: {{size: 5, {inner}}}}}
"""

TABLE: dict[str, tuple[str, list[tuple[str, int, dict[str, int]]]]] = {
    "a pod is a gang of one": ("kind: Pod", [("", 1, {})]),
    "pods of a stateful set are one gang that grows": ("kind: StatefulSet\nspec: {replicas: 9}", [("", 1, {})]),
    "a job set in order has a gang for each job": (JOBSET.format(extra=""), [("driver", 1, {}), ("workers", 6, {})]),
    "a job set in any order is one gang": (
        JOBSET.format(extra="startupPolicy: {startupPolicyOrder: AnyOrder}"),
        [("", 7, {})],
    ),
    "a leader and its workers are a gang": (
        LWS.format(extra="", inner=""),
        [("group-0", 5, {"leader": 1, "workers": 4}), ("group-1", 5, {"leader": 1, "workers": 4})],
    ),
    "workers that come after the leader are not waited for": (
        LWS.format(extra="startupPolicy: LeaderReady,", inner=""),
        [(f"group-{n}", 1, {"leader": 1, "workers": 0}) for n in (0, 1)],
    ),
    "a leader that is one too many joins the first segment": (
        LWS.format(extra="", inner="subGroupPolicy: {subGroupSize: 2}"),
        [(f"group-{n}", 5, {"segment-0": 3, "segment-1": 2}) for n in (0, 1)],
    ),
    "the last segment may be smaller": (
        LWS.format(extra="", inner="subGroupPolicy: {subGroupSize: 3}"),
        [(f"group-{n}", 5, {"segment-0": 3, "segment-1": 2}) for n in (0, 1)],
    ),
    "an annotation of the workers' template divides the group as well": (
        LWS.format(extra="", inner="workerTemplate: {metadata: {annotations: {kai.scheduler/segment-size: '2'}}}"),
        [(f"group-{n}", 5, {"segment-0": 3, "segment-1": 2}) for n in (0, 1)],
    ),
    "an excluded leader is a part of its own": (
        LWS.format(extra="", inner="subGroupPolicy: {subGroupSize: 4, subGroupPolicyType: LeaderExcluded}"),
        [(f"group-{n}", 5, {"leader": 1, "segment-0": 4}) for n in (0, 1)],
    ),
}


@pytest.mark.parametrize(("text", "expected"), TABLE.values(), ids=TABLE)
def test_gangs(text: str, expected: list[tuple[str, int, dict[str, int]]]) -> None:
    found = [(p.name, p.min_members, {s.name: s.min_members for s in p.sub_groups}) for p in plans(text)]

    assert found == expected


@pytest.mark.parametrize("kind", ["Job", "Deployment"])
def test_replicas_that_work_alone_do_not_wait_for_each_other(kind: str) -> None:
    assert plans(f"kind: {kind}\nspec: {{replicas: 3, parallelism: 3}}") == [PodGroupPlan(each_pod=True)]


WRONG = {
    "a negative count": ("kind: LeaderWorkerSet\nspec: {replicas: -1}", "spec.replicas"),
    "a count that is text": ("kind: LeaderWorkerSet\nspec: {replicas: '2'}", "spec.replicas"),
    "a truth value for a count": ("kind: LeaderWorkerSet\nspec: {replicas: true}", "spec.replicas"),
    "a count beyond belief": ("kind: LeaderWorkerSet\nspec: {replicas: 1000000000}", "spec.replicas"),
    "a specification that is no mapping": ("kind: LeaderWorkerSet\nspec: []", "spec"),
    "a segment that is larger than the group": (
        LWS.format(extra="", inner="workerTemplate: {metadata: {annotations: {kai.scheduler/segment-size: '6'}}}"),
        "spec.leaderWorkerTemplate.workerTemplate.metadata.annotations[kai.scheduler/segment-size]",
    ),
    "a segment that is no number, on the set itself": (
        "kind: LeaderWorkerSet\nmetadata: {annotations: {kai.scheduler/segment-size: few}}",
        "metadata.annotations[kai.scheduler/segment-size]",
    ),
    "an unknown startup policy": ("kind: LeaderWorkerSet\nspec: {startupPolicy: Sometime}", "spec.startupPolicy"),
    "a segment larger than the group": (
        LWS.format(extra="", inner="subGroupPolicy: {subGroupSize: 6}"),
        "spec.leaderWorkerTemplate.subGroupPolicy.subGroupSize",
    ),
    "a job set without jobs": ("kind: JobSet\nspec: {}", "spec.replicatedJobs"),
    "a list that is none": ("kind: JobSet\nspec: {replicatedJobs: {name: a}}", "spec.replicatedJobs"),
    "an entry that is no mapping": ("kind: JobSet\nspec: {replicatedJobs: [a]}", "spec.replicatedJobs.0"),
    "a wrong count in a job of a set": (
        "kind: JobSet\nspec: {replicatedJobs: [{name: a, replicas: x}]}",
        "spec.replicatedJobs[0].replicas",
    ),
}


@pytest.mark.parametrize(("text", "field"), WRONG.values(), ids=WRONG)
def test_a_wrong_manifest_names_the_field(text: str, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        plans(text)

    assert [error.field for error in caught.value.errors] == [field]


PLACES: dict[str, tuple[str, dict[str, str], tuple[str, str]]] = {
    "a pod of a replicated job": ("JobSet", {"jobset.sigs.k8s.io/replicatedjob-name": "workers"}, ("workers", "")),
    "a leader": (
        "LeaderWorkerSet",
        {"leaderworkerset.sigs.k8s.io/group-index": "1", "leaderworkerset.sigs.k8s.io/worker-index": "0"},
        ("group-1", "leader"),
    ),
    "a worker": ("LeaderWorkerSet", {"leaderworkerset.sigs.k8s.io/worker-index": "3"}, ("group-0", "workers")),
    "a worker in a segment": (
        "LeaderWorkerSet",
        {"leaderworkerset.sigs.k8s.io/worker-index": "3", "leaderworkerset.sigs.k8s.io/subgroup-index": "1"},
        ("group-0", "segment-1"),
    ),
}


@pytest.mark.parametrize(("kind", "labels", "place"), PLACES.values(), ids=PLACES)
def test_pods_find_their_place_by_labels(kind: str, labels: dict[str, str], place: tuple[str, str]) -> None:
    adapter = BY_KIND[kind].adapter

    assert isinstance(adapter, Divides)
    assert adapter.place_of(labels) == place


@pytest.mark.parametrize("type_", [type_ for type_ in WorkloadType if type_ is not WorkloadType.EXTERNAL])
def test_our_own_types_come_by_the_same_door(type_: WorkloadType) -> None:
    spec = WorkloadSpec(
        command="true",
        distributed_framework=DistributedFramework.PYTORCH if type_ is WorkloadType.DISTRIBUTED else None,
        num_workers=1 if type_ is WorkloadType.DISTRIBUTED else None,
        workers=1 if type_ is WorkloadType.DISTRIBUTED_INFERENCE else None,
    )
    workload = Workload(meta=Meta(name="w", project="p", uid="u"), type=type_, spec=spec, attempt=1)

    made = load_plugins(["builtin"]).gang_of(workload, run_context=RunContext())

    assert made == gang_of(workload, run_context=RunContext())
    assert made.pods != ()


def test_a_kind_that_cannot_run_on_one_machine_says_so() -> None:
    workload = Workload(meta=Meta(name="w"), type=WorkloadType.EXTERNAL, api_version="batch/v1", kind="Job")

    with pytest.raises(Unsupported, match="Job of batch/v1 cannot run on one machine"):
        load_plugins(["builtin"]).gang_of(workload, run_context=RunContext())


def test_what_can_be_suspended_is_suspended_and_resumed_without_touching_the_rest() -> None:
    manifest: dict[str, Any] = {"kind": "Job", "metadata": {"name": "j"}, "spec": {"parallelism": 2}}
    adapter = BY_KIND["Job"].adapter
    assert isinstance(adapter, Suspends)

    stopped = adapter.suspend(manifest)

    assert stopped == {"kind": "Job", "metadata": {"name": "j"}, "spec": {"parallelism": 2, "suspend": True}}
    assert adapter.resume(stopped)["spec"] == {"parallelism": 2, "suspend": False}
    assert manifest["spec"] == {"parallelism": 2}


def test_what_has_no_field_for_it_cannot_be_suspended() -> None:
    assert not isinstance(BY_KIND["Pod"].adapter, Suspends)


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "ReplicaSet", "LeaderWorkerSet"])
def test_replicas_are_remembered_while_there_are_none(kind: str) -> None:
    manifest: dict[str, Any] = {"kind": kind, "metadata": {"name": "web"}, "spec": {"replicas": 3}}
    adapter = BY_KIND[kind].adapter
    assert isinstance(adapter, Suspends)

    stopped = adapter.suspend(manifest)

    assert stopped["spec"] == {"replicas": 0}
    assert adapter.suspend(stopped) == stopped, "stopping twice forgets nothing"
    assert adapter.resume(stopped) == {**manifest, "metadata": {"name": "web", "annotations": {}}}
    assert manifest["spec"] == {"replicas": 3}


def test_each_job_of_a_cron_job_is_a_gang_of_its_own() -> None:
    assert plans("kind: CronJob\nspec: {schedule: '* * * * *'}") == [PodGroupPlan(each_child="Job")]
