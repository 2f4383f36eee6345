"""Which group a pod gets, from manifests as they are on a cluster."""

import json
from typing import Any

import pytest
import runai_kubeflow.plugin
import runai_kubevirt.plugin
import runai_ray.plugin
import runai_seldon.plugin
import runai_spark.plugin
import yaml

from runai_core.model.errors import InvalidRequest
from runai_core.operator.derivation import changes, derive, membership
from runai_core.operator.properties import Facts, kind_defaults
from runai_core.plugins import builtin

Object = dict[str, Any]

KINDS = {
    kind.key: kind
    for module in (
        builtin,
        runai_kubeflow.plugin,
        runai_kubevirt.plugin,
        runai_ray.plugin,
        runai_seldon.plugin,
        runai_spark.plugin,
    )
    for kind in module.KINDS
}


def chain(*texts: str, pod: str = "") -> list[Object]:
    """Return a pod and its owners; each text is ``apiVersion kind name`` and, below it, more of the manifest."""
    made = [_object(text) for text in texts]
    child = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p0"}, **(yaml.safe_load(pod) or {})}
    meta = child["metadata"] = {"name": "p0", "namespace": "ns", "uid": "uid-p0", **child["metadata"]}
    meta["namespace"] = "ns"
    return [child, *made]


def _object(text: str) -> Object:
    first, _, rest = text.partition("\n")
    version, kind, name = first.split()
    body = yaml.safe_load(rest) or {}
    meta = {"name": name, "namespace": "ns", "uid": f"uid-{name}", **(body.pop("metadata", None) or {})}
    return {"apiVersion": version, "kind": kind, "metadata": meta, **body}


def facts(**more: Any) -> Facts:
    return Facts(kinds=KINDS, **more)


REPLICA_SET = "apps/v1 ReplicaSet web-abc"
DEPLOYMENT = "apps/v1 Deployment web\nspec: {replicas: 3}"
JOB = "batch/v1 Job sum\nspec: {parallelism: 4, completions: 4}"
JOBSET = """jobset.x-k8s.io/v1alpha2 JobSet js
spec:
  replicatedJobs:
  - {name: driver, replicas: 1, template: {spec: {parallelism: 1}}}
  - {name: workers, replicas: 2, template: {spec: {parallelism: 4, completions: 4}}}
"""
ANY_ORDER = JOBSET + "  startupPolicy: {startupPolicyOrder: AnyOrder}\n"
OF_DRIVER = "metadata: {labels: {jobset.sigs.k8s.io/replicatedjob-name: driver}}"
OF_WORKERS = "metadata: {labels: {jobset.sigs.k8s.io/replicatedjob-name: workers}}"
LWS = "leaderworkerset.x-k8s.io/v1 LeaderWorkerSet llm\nspec: {replicas: 2, leaderWorkerTemplate: {size: 3}}"
LWS_WORKER = (
    "metadata: {labels: {leaderworkerset.sigs.k8s.io/group-index: '1', leaderworkerset.sigs.k8s.io/worker-index: '2'}}"
)
LWS_SURGE = (
    "metadata: {labels: {leaderworkerset.sigs.k8s.io/group-index: '2', leaderworkerset.sigs.k8s.io/worker-index: '0'}}"
)
LWS_READY = (
    "leaderworkerset.x-k8s.io/v1 LeaderWorkerSet llm\n"
    "spec: {replicas: 2, startupPolicy: LeaderReady, leaderWorkerTemplate: {size: 3}}"
)
PYTORCH = "kubeflow.org/v1 PyTorchJob bert\nspec: {pytorchReplicaSpecs: {Master: {replicas: 1}, Worker: {replicas: 3}}}"
PYTORCH_WORKER = "metadata: {labels: {training.kubeflow.org/replica-type: worker}}"
MPI = "kubeflow.org/v2beta1 MPIJob allreduce\nspec: {mpiReplicaSpecs: {Launcher: {replicas: 1}, Worker: {replicas: 2}}}"
RAY = """ray.io/v1 RayCluster tune
spec:
  workerGroupSpecs:
  - {groupName: small, replicas: 2, minReplicas: 1}
  - {groupName: spare, replicas: 0, minReplicas: 0}
"""
RAY_JOB = """ray.io/v1 RayJob tune
spec:
  rayClusterSpec: {workerGroupSpecs: [{groupName: small, replicas: 2}]}
"""
SPARK = "sparkoperator.k8s.io/v1beta2 SparkApplication pi"
SPARK_POD = "metadata: {name: p0, labels: {spark-app-name: pi, spark-app-selector: spark-1234, spark-role: driver}}"

TABLE: dict[str, tuple[list[Object], str, int, dict[str, int], str]] = {
    # objects, name of the group, minMember, sub-groups, sub-group of the pod
    "a pod that nobody made": (chain(), "pg-p0-uid-p0", 1, {}, ""),
    "a deployment: each pod for itself": (chain(REPLICA_SET, DEPLOYMENT), "pg-p0-uid-web", 1, {}, ""),
    "a replica set on its own": (chain(REPLICA_SET), "pg-web-abc-uid-web-abc", 1, {}, ""),
    "a stateful set": (chain("apps/v1 StatefulSet db\nspec: {replicas: 3}"), "pg-db-uid-db", 1, {}, ""),
    "a job: each pod for itself": (chain(JOB), "pg-p0-uid-sum", 1, {}, ""),
    "a cron job: a group for each of its jobs": (
        chain("batch/v1 Job nightly-1", "batch/v1 CronJob nightly"),
        "pg-nightly-1-uid-nightly-1",
        1,
        {},
        "",
    ),
    "a job with a minimum is a gang": (
        chain("batch/v1 Job sum\nmetadata: {annotations: {kai.scheduler/batch-min-member: '4'}}"),
        "pg-sum-uid-sum",
        4,
        {},
        "",
    ),
    "a job set in order: a group for each of its jobs": (
        chain("batch/v1 Job js-driver-0", JOBSET, pod=OF_DRIVER),
        "pg-js-uid-js-driver",
        1,
        {},
        "",
    ),
    "a replicated job counts the pods of all its replicas": (
        chain("batch/v1 Job js-workers-1", JOBSET, pod=OF_WORKERS),
        "pg-js-uid-js-workers",
        8,
        {},
        "",
    ),
    "a job set in any order is one gang": (
        chain("batch/v1 Job js-workers-1", ANY_ORDER, pod=OF_WORKERS),
        "pg-js-uid-js",
        9,
        {},
        "",
    ),
    "a train job leaves it to its job set, which is not the top": (
        chain("batch/v1 Job js-driver-0", JOBSET, "trainer.kubeflow.org/v1alpha1 TrainJob fine", pod=OF_DRIVER),
        "pg-js-uid-js-driver",
        1,
        {},
        "",
    ),
    "a replica of a leader and its workers": (
        chain(LWS, pod=LWS_WORKER),
        "pg-llm-uid-llm-group-1",
        3,
        {"leader": 1, "workers": 2},
        "workers",
    ),
    "a replica more than asked for, while they are rolled over": (
        chain(LWS, pod=LWS_SURGE),
        "pg-llm-uid-llm-group-2",
        3,
        {"leader": 1, "workers": 2},
        "leader",
    ),
    "workers that are made later are not waited for": (
        chain(LWS_READY, pod=LWS_WORKER),
        "pg-llm-uid-llm-group-1",
        1,
        {},
        "",
    ),
    "a PyTorch job": (
        chain(PYTORCH, pod=PYTORCH_WORKER),
        "pg-bert-uid-bert",
        4,
        {"master": 1, "worker": 3},
        "worker",
    ),
    "an MPI job": (chain(MPI), "pg-allreduce-uid-allreduce", 3, {}, ""),
    "a Ray cluster: a group of workers that may be empty is not waited for": (
        chain(RAY, pod="metadata: {labels: {ray.io/group: small}}"),
        "pg-tune-uid-tune",
        2,
        {"headgroup": 1, "small": 1},
        "small",
    ),
    "its pods join a part that may grow": (
        chain(RAY, pod="metadata: {labels: {ray.io/group: spare}}"),
        "pg-tune-uid-tune",
        2,
        {"headgroup": 1, "small": 1},
        "headgroup",
    ),
    "the pod that submits a Ray job waits for nobody": (
        chain("batch/v1 Job tune-submitter", RAY_JOB),
        "pg-p0-uid-p0",
        1,
        {},
        "",
    ),
    "a Spark application: the driver starts, executors may come": (
        chain(SPARK, pod=SPARK_POD),
        "pg-pi-uid-pi",
        1,
        {},
        "",
    ),
    "a Spark driver without an operator is named by its selector": (chain(pod=SPARK_POD), "spark-1234", 1, {}, ""),
    "executors of a Spark driver that is no pod start together": (
        chain(
            pod=SPARK_POD.replace(
                "spark-role: driver}", "spark-role: executor}, annotations: {kai.scheduler/min-member: '3'}"
            )
        ),
        "spark-1234",
        3,
        {},
        "",
    ),
    "an executor's driver is its owner": (
        chain(
            "v1 Pod driver\nmetadata: {labels: {spark-app-name: pi, spark-app-selector: spark-1234}}",
            pod="metadata: {name: p0, labels: {spark-app-name: pi, spark-app-selector: spark-1234}}",
        ),
        "spark-1234",
        1,
        {},
        "",
    ),
    "a virtual machine": (
        chain("kubevirt.io/v1 VirtualMachineInstance vm", "kubevirt.io/v1 VirtualMachine vm"),
        "pg-vm-uid-vm",
        1,
        {},
        "",
    ),
    "another version of a kind that is known": (
        chain("kubeflow.org/v1beta2 PyTorchJob bert\n" + PYTORCH.partition("\n")[2], pod=PYTORCH_WORKER),
        "pg-bert-uid-bert",
        4,
        {"master": 1, "worker": 3},
        "worker",
    ),
    "an owner that nobody knows": (
        chain("batch/v1 Job one", "example.org/v1 Experiment exp"),
        "pg-exp-uid-exp",
        1,
        {},
        "",
    ),
}


@pytest.mark.parametrize(("objects", "name", "least", "parts", "part"), TABLE.values(), ids=TABLE)
def test_groups(objects: list[Object], name: str, least: int, parts: dict[str, int], part: str) -> None:
    found = derive(objects, facts())

    assert (found.name, found.spec["minMember"], found.sub_group) == (name, least, part)
    assert {item["name"]: item["minMember"] for item in found.spec.get("subGroups", ())} == parts


SEGMENTED = """kubeflow.org/v1 PyTorchJob bert
metadata: {annotations: {kai.scheduler/topology: racks}}
spec:
  elasticPolicy: {minReplicas: 2}
  pytorchReplicaSpecs:
    Master: {replicas: 1}
    Worker:
      replicas: 5
      template:
        metadata:
          annotations: {kai.scheduler/segment-size: "2", kai.scheduler/segment-topology-required-placement: rack}
"""
SET_OF_FIVE = """leaderworkerset.x-k8s.io/v1 LeaderWorkerSet llm
metadata: {annotations: {kai.scheduler/segment-size: "2"}}
spec: {replicas: 1, leaderWorkerTemplate: {size: 5}}
"""


def member(role: str, number: int) -> str:
    labels = f"training.kubeflow.org/replica-type: {role}, training.kubeflow.org/replica-index: '{number}'"
    return f"metadata: {{labels: {{{labels}}}}}"


def one_of_five(number: int) -> str:
    return f"metadata: {{labels: {{leaderworkerset.sigs.k8s.io/worker-index: '{number}'}}}}"


SEGMENTS = {
    "the master is in none": (chain(SEGMENTED, pod=member("master", 0)), "master"),
    "the first worker is in the first": (chain(SEGMENTED, pod=member("worker", 0)), "worker-0"),
    "the fourth worker is in the second": (chain(SEGMENTED, pod=member("worker", 3)), "worker-1"),
    "the last one may be smaller": (chain(SEGMENTED, pod=member("worker", 4)), "worker-2"),
    "an elastic job's further workers are in the last": (chain(SEGMENTED, pod=member("worker", 9)), "worker-2"),
    "a leader that is one too many is in the first": (chain(SET_OF_FIVE, pod=one_of_five(0)), "segment-0"),
    "which has three pods then": (chain(SET_OF_FIVE, pod=one_of_five(2)), "segment-0"),
    "and the others two": (chain(SET_OF_FIVE, pod=one_of_five(3)), "segment-1"),
}


@pytest.mark.parametrize(("objects", "part"), SEGMENTS.values(), ids=SEGMENTS)
def test_segments(objects: list[Object], part: str) -> None:
    assert derive(objects, facts()).sub_group == part


def test_segments_are_whole_and_each_has_a_place_of_its_own() -> None:
    spec = derive(chain(SEGMENTED, pod=member("worker", 0)), facts()).spec

    close = {"topology": "racks", "requiredTopologyLevel": "rack"}
    assert spec["minMember"] == 6, "segments are whole, so that a job that could start with less has all its workers"
    assert spec["subGroups"] == [
        {"name": "master", "minMember": 1},
        {"name": "worker"},
        *(
            {"name": f"worker-{n}", "minMember": size, "parent": "worker", "topologyConstraint": close}
            for n, size in enumerate((2, 2, 1))
        ),
    ]
    assert "topologyConstraint" not in derive(chain(SET_OF_FIVE, pod=one_of_five(0)), facts()).spec["subGroups"][0]


LIFE = {
    "groups of one pod live as long as the pod": (chain(REPLICA_SET, DEPLOYMENT), "Pod"),
    "gangs as long as what made them": (chain(PYTORCH, pod=PYTORCH_WORKER), "PyTorchJob"),
    "of a cron job, as long as the job": (chain("batch/v1 Job n-1", "batch/v1 CronJob n"), "Job"),
    "of a train job, as long as its job set": (
        chain("batch/v1 Job j", JOBSET, "trainer.kubeflow.org/v1alpha1 TrainJob fine", pod=OF_DRIVER),
        "JobSet",
    ),
}


@pytest.mark.parametrize(("objects", "kind"), LIFE.values(), ids=LIFE)
def test_life_of_groups(objects: list[Object], kind: str) -> None:
    assert derive(objects, facts()).body["metadata"]["ownerReferences"][0]["kind"] == kind


def test_the_top_owner_is_what_people_see() -> None:
    found = derive(chain(REPLICA_SET, DEPLOYMENT), facts(project="team-a"))

    assert json.loads(found.annotations["kai.scheduler/top-owner-metadata"]) == {
        "name": "web",
        "uid": "uid-web",
        "group": "apps",
        "version": "v1",
        "kind": "Deployment",
    }
    assert found.annotations["runai/workload"] == "team-a/web"


def labelled(owner: str = "", pod: str = "", annotations: str = "") -> list[Object]:
    """Return a pod of a job, with labels on either."""
    head = f"metadata: {{labels: {{{owner}}}, annotations: {{{annotations}}}}}\n"
    return chain("batch/v1 Job sum\n" + head, pod=f"metadata: {{labels: {{{pod}}}}}")


QUEUES = {
    "nobody says": (labelled(), "", "default-queue"),
    "the pod says": (labelled(pod="runai/queue: team-b"), "", "team-b"),
    "the owner is heard before the pod": (
        labelled(owner="kai.scheduler/queue: team-a", pod="runai/queue: b"),
        "",
        "team-a",
    ),
    "the older label": (labelled(pod="project: team-c"), "", "team-c"),
    "the older label with a node pool": (
        labelled(pod="project: team-c, kai.scheduler/node-pool: a100"),
        "",
        "team-c-a100",
    ),
    "the namespace is a project's": (labelled(), "team-a", "team-a"),
    "in a node pool of the project": (labelled(owner="runai/node-pool: a100"), "team-a", "team-a-a100"),
    "another project's quota cannot be spent": (labelled(pod="runai/queue: rich"), "team-a", "team-a"),
}


@pytest.mark.parametrize(("objects", "project", "queue"), QUEUES.values(), ids=QUEUES)
def test_queues(objects: list[Object], project: str, queue: str) -> None:
    assert derive(objects, facts(project=project)).spec["queue"] == queue


ON_POD = "spec: {priorityClassName: build}"
GIVEN = kind_defaults(
    '[{"typeName": "Job", "group": "batch", "priorityName": "very-high", "preemptibility": "preemptible"}]'
)

PRIORITIES = {
    "a job is training": (labelled(), {}, ("train", None)),
    "a deployment is inference": (chain(REPLICA_SET, DEPLOYMENT), {}, ("inference", None)),
    "a notebook is somebody's desk": (chain("kubeflow.org/v1 Notebook nb"), {}, ("build", None)),
    "the owner's label": (labelled(owner="priorityClassName: build"), {}, ("build", None)),
    "the owner's label before the pod's": (
        labelled(owner="priorityClassName: build", pod="priorityClassName: high"),
        {},
        ("build", None),
    ),
    "the pod's label": (labelled(pod="priorityClassName: high"), {}, ("high", None)),
    "the pod's class": (chain(JOB, pod=ON_POD), {}, ("build", None)),
    "a class that nobody knows is as good as none": (labelled(owner="priorityClassName: huge"), {}, ("train", None)),
    "a class of the cluster's own": (labelled(owner="priorityClassName: gold"), {}, ("gold", None)),
    "an administrator's word for the kind": (labelled(), GIVEN, ("very-high", "preemptible")),
    "the owner is heard before the administrator": (
        labelled(owner="priorityClassName: build, kai.scheduler/preemptibility: non-preemptible"),
        GIVEN,
        ("build", "non-preemptible"),
    ),
    "preemptibility of the pod": (
        labelled(pod="kai.scheduler/preemptibility: non-preemptible"),
        {},
        ("train", "non-preemptible"),
    ),
    "a word for it that is none": (labelled(owner="kai.scheduler/preemptibility: perhaps"), {}, ("train", None)),
}


@pytest.mark.parametrize(("objects", "defaults", "expected"), PRIORITIES.values(), ids=PRIORITIES)
def test_priorities(objects: list[Object], defaults: Any, expected: tuple[str, str | None]) -> None:
    spec = derive(objects, facts(priority_classes={"gold"}, kind_defaults=defaults)).spec

    assert (spec["priorityClassName"], spec.get("preemptibility")) == expected


def test_a_skipped_owner_is_heard_too() -> None:
    top = "trainer.kubeflow.org/v1alpha1 TrainJob fine\nmetadata: {labels: {priorityClassName: build, team: x}}"

    found = derive(chain("batch/v1 Job j", JOBSET, top, pod=OF_DRIVER), facts())

    assert found.spec["priorityClassName"] == "build"
    assert found.labels["team"] == "x"


def test_topology_and_labels_come_from_the_owner() -> None:
    notes = "kai.scheduler/topology: racks, kai.scheduler/topology-required-placement: rack, note: kept"
    objects = labelled(owner="team: x", pod="user: ann", annotations=notes)

    found = derive(objects, facts())

    assert found.spec["topologyConstraint"] == {"topology": "racks", "requiredTopologyLevel": "rack"}
    assert found.labels == {"team": "x"}
    assert found.annotations["note"] == "kept"
    assert found.annotations["user"] == "ann"


WRONG = {
    "a pod that does not say where it belongs": (chain("batch/v1 Job j", JOBSET), "metadata.labels"),
    "a minimum that is none": (
        chain("batch/v1 Job sum\nmetadata: {annotations: {kai.scheduler/min-member: few}}"),
        "metadata.annotations[kai.scheduler/min-member]",
    ),
    "a segment without a topology to be close in": (
        chain(SEGMENTED.replace("topology: racks", "note: x"), pod=member("worker", 0)),
        "spec.pytorchReplicaSpecs.Worker.template.metadata.annotations[kai.scheduler/topology]",
    ),
    "a segment of no pods": (
        chain(SEGMENTED.replace('size: "2"', 'size: "0"'), pod=member("worker", 0)),
        "spec.pytorchReplicaSpecs.Worker.template.metadata.annotations[kai.scheduler/segment-size]",
    ),
    "a job of no pods": (
        chain("kubeflow.org/v1 TFJob tf\nspec: {tfReplicaSpecs: {Worker: {replicas: 0}}}"),
        "spec.tfReplicaSpecs.Worker.replicas",
    ),
}


@pytest.mark.parametrize(("objects", "field"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_grouped_is_named(objects: list[Object], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        derive(objects, facts())

    assert [error.field for error in caught.value.errors] == [field]


def test_a_group_follows_its_owner_but_stays_in_its_queue() -> None:
    before = derive(chain(PYTORCH, pod=PYTORCH_WORKER), facts()).body
    more = PYTORCH.replace("replicas: 3", "replicas: 5").replace(
        "\nspec", "\nmetadata: {labels: {kai.scheduler/queue: other, priorityClassName: build}}\nspec"
    )

    patch = changes(derive(chain(more, pod=PYTORCH_WORKER), facts()), before)

    assert patch is not None
    assert patch["spec"] == {
        "minMember": 6,
        "priorityClassName": "build",
        "subGroups": [{"name": "master", "minMember": 1}, {"name": "worker", "minMember": 5}],
    }


def test_a_group_that_is_as_it_should_be_is_left_alone() -> None:
    found = derive(chain(PYTORCH, pod=PYTORCH_WORKER), facts())
    existing = found.body
    existing["spec"] |= {"markUnschedulable": False, "schedulingBackoff": 1, "queue": "moved-by-hand"}
    existing["metadata"]["annotations"]["kai.scheduler/last-start-timestamp"] = "2026-01-01T00:00:00Z"

    assert changes(found, existing) is None


def test_pods_that_differ_do_not_change_their_group_to_and_fro() -> None:
    one = chain("apps/v1 StatefulSet db", pod="metadata: {name: a, labels: {priorityClassName: high}}")
    two = chain("apps/v1 StatefulSet db", pod="metadata: {name: b, labels: {priorityClassName: low}}")

    assert changes(derive(two, facts()), derive(one, facts()).body) is None


def test_a_pod_is_put_in_its_group_once() -> None:
    pod = chain(pod=PYTORCH_WORKER)[0]
    found = derive([pod, *chain(PYTORCH)[1:]], facts())

    patch = membership(found, pod)

    assert patch == {
        "metadata": {
            "annotations": {"pod-group-name": "pg-bert-uid-bert"},
            "labels": {"kai.scheduler/subgroup-name": "worker"},
        }
    }
    pod["metadata"]["labels"] |= patch["metadata"]["labels"]
    pod["metadata"]["annotations"] = patch["metadata"]["annotations"]
    assert membership(found, pod) is None


def test_long_names_are_cut_and_stay_different() -> None:
    uid = "metadata: {uid: 01234567-89ab-cdef-0123-456789abcdef}"
    names = {derive(chain(f"apps/v1 StatefulSet {'x' * 250}{end}\n{uid}"), facts()).name for end in "ab"}

    assert len(names) == 2
    assert {len(name) for name in names} == {253}
