"""Objects of the seven frameworks on a real API server: grouped, shown, stopped and run again by their own fields.

Stand-ins: the frameworks' controllers are not here, so each kind's definition accepts any object, and the tests make
what the controllers would: intermediate objects, and pods with their labels. Deployments are those of the real
controller manager.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from runai_core.backends.kubernetes.api import connect
from runai_core.backends.kubernetes.resources import resource_of
from runai_core.model.workload import Phase
from tests.cluster.cluster import Cluster
from tests.cluster.fakes import a_pod
from tests.cluster.operating import Operating, group_name, operating, stand_in
from tests.waiting import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

Object = dict[str, Any]
Sizes = tuple[int, Mapping[str, int]]
"""The least pods of a group, and of each of its parts."""


@dataclass(frozen=True)
class Case:
    """An object as people write it, what its controller would make, and what we make of it."""

    version: str
    kind: str
    spec: Object
    pods: Sequence[Mapping[str, str]] = ()  # labels of each
    between: Sequence[tuple[str, str]] = ()  # kinds of objects between it and its pods, from above
    below: Object | None = None  # a Deployment that the real controller manager runs, instead of pods
    groups: Sequence[Sizes] = ()
    wanted: int = 1  # pods that the row says are asked for
    status: Object = field(default_factory=dict)
    phase: Phase = Phase.PENDING
    stopped: tuple[str, object] | None = None  # the field that stops it, and its value then


def ray(group: str) -> dict[str, str]:
    return {"ray.io/group": group, "ray.io/node-type": "head" if group == "headgroup" else "worker"}


def launcher(of: str = "vmi-uid") -> dict[str, str]:
    return {"kubevirt.io": "virt-launcher", "kubevirt.io/created-by": of}


RAY = {"headGroupSpec": {}, "workerGroupSpecs": [{"groupName": "gpu", "replicas": 4, "minReplicas": 2}]}
RAY_PODS = [ray("headgroup"), ray("gpu"), ray("gpu")]
RAY_SIZES: Sequence[Sizes] = [(3, {"headgroup": 1, "gpu": 2})]
MACHINE = {"runStrategy": "RerunOnFailure", "template": {"spec": {"schedulerName": "runai-scheduler"}}}
JOBS = {"replicatedJobs": [{"name": "node", "replicas": 1, "template": {"spec": {"parallelism": 2}}}]}
A_SERVER = {
    "replicas": 2,
    "selector": {"matchLabels": {"app": "x"}},
    "template": {
        "metadata": {"labels": {"app": "x"}},
        "spec": {
            "schedulerName": "runai-scheduler",
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": "none"}],
        },
    },
}
ONE: Sizes = (1, {})

CASES = {
    "a Ray cluster": Case(
        "ray.io/v1", "RayCluster", RAY, RAY_PODS, groups=RAY_SIZES, wanted=3, stopped=("spec.suspend", True)
    ),
    "a Ray job, through its cluster": Case(
        "ray.io/v1",
        "RayJob",
        {"rayClusterSpec": RAY},
        RAY_PODS,
        between=[("ray.io/v1", "RayCluster")],
        groups=RAY_SIZES,
        wanted=3,
        status={"jobDeploymentStatus": "Running"},
        phase=Phase.RUNNING,
        stopped=("spec.suspend", True),
    ),
    "a Ray service": Case(
        "ray.io/v1",
        "RayService",
        {"rayClusterConfig": RAY},
        RAY_PODS,
        between=[("ray.io/v1", "RayCluster")],
        groups=RAY_SIZES,
        wanted=3,
    ),
    "a Spark application": Case(
        "sparkoperator.k8s.io/v1beta2",
        "SparkApplication",
        {"executor": {"instances": 2}},
        [{"spark-role": "driver"}, {"spark-role": "executor"}, {"spark-role": "executor"}],
        groups=[ONE],
        wanted=3,
        status={"applicationState": {"state": "RUNNING"}},
        phase=Phase.RUNNING,
        stopped=("spec.suspend", True),
    ),
    "a train job, through its job set": Case(
        "trainer.kubeflow.org/v1alpha1",
        "TrainJob",
        {"runtimeRef": {"name": "torch"}},
        [{"jobset.sigs.k8s.io/replicatedjob-name": "node"}] * 2,
        between=[("jobset.x-k8s.io/v1alpha2", "JobSet")],
        groups=[(2, {})],
        wanted=2,
        stopped=("spec.suspend", True),
    ),
    "an MPI job": Case(
        "kubeflow.org/v2beta1",
        "MPIJob",
        {"mpiReplicaSpecs": {"Launcher": {"replicas": 1}, "Worker": {"replicas": 2}}},
        [{}, {}, {}],
        groups=[(3, {})],
        wanted=3,
        stopped=("spec.runPolicy.suspend", True),
    ),
    "a notebook": Case("kubeflow.org/v1", "Notebook", {}, [{}], groups=[ONE]),
    "a trial of an experiment": Case(
        "kubeflow.org/v1beta1",
        "Experiment",
        {},
        [{"training.kubeflow.org/replica-type": "worker"}] * 2,
        between=[("kubeflow.org/v1beta1", "Trial"), ("kubeflow.org/v1", "PyTorchJob")],
        groups=[(2, {"worker": 2})],
        wanted=2,
    ),
    "a virtual machine that moves": Case(
        "kubevirt.io/v1",
        "VirtualMachine",
        MACHINE,
        [launcher(), launcher()],
        between=[("kubevirt.io/v1", "VirtualMachineInstance")],
        groups=[ONE],
        wanted=1,
        status={"printableStatus": "Migrating"},
        phase=Phase.RUNNING,
        stopped=("spec.runStrategy", "Halted"),
    ),
    "a pool of machines": Case(
        "pool.kubevirt.io/v1beta1",
        "VirtualMachinePool",
        {"replicas": 2},
        [launcher("one"), launcher("two")],
        groups=[ONE, ONE],
        wanted=2,
    ),
    "a Seldon deployment": Case(
        "machinelearning.seldon.io/v1", "SeldonDeployment", {}, below=A_SERVER, groups=[ONE, ONE], wanted=2
    ),
    "a Seldon server": Case("mlops.seldon.io/v1alpha1", "Server", {}, [{}, {}], groups=[ONE, ONE], wanted=2),
    "an inference service": Case(
        "serving.kserve.io/v1beta1", "InferenceService", {"predictor": {}}, below=A_SERVER, groups=[ONE, ONE], wanted=2
    ),
    "an inference service over nodes": Case(
        "serving.kserve.io/v1beta1",
        "InferenceService",
        {"predictor": {"workerSpec": {"pipelineParallelSize": 3}}},
        [{"app": "isvc.llm"}, {"app": "isvc.llm-worker"}, {"app": "isvc.llm-worker"}],
        groups=[(3, {"head": 1, "worker": 2})],
        wanted=3,
    ),
    "a Knative service that keeps two": Case(
        "serving.knative.dev/v1",
        "Service",
        {"template": {"metadata": {"annotations": {"autoscaling.knative.dev/min-scale": "2"}}}},
        below=A_SERVER,
        groups=[(2, {})],
        wanted=2,
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.asyncio
async def test_an_object_is_one_workload(cluster: Cluster, case: Case) -> None:
    async with connect(cluster.kubeconfig()) as admin:  # before anybody looks at what the cluster serves
        for version, kind in [(case.version, case.kind), *case.between]:
            await stand_in(admin, resource_of(version, kind))
    async with operating(cluster) as parts:
        top = await _make(parts, case)
        count = len(case.pods) if case.below is None else int(case.below["replicas"])
        pods = await parts.pods(count)
        groups = await parts.groups(len(case.groups))
        row = await parts.row(top["metadata"]["uid"], case.phase)

        async def shown() -> bool:
            found = parts.rows.get(top["metadata"]["uid"])
            return found is not None and found.pods_requested == case.wanted

        await until(shown)
        if case.stopped is not None:
            await parts.frameworks.stop(row)
            assert await _field(parts, case, top, case.stopped[0]) == case.stopped[1]
            await parts.frameworks.run(row)
            assert await _field(parts, case, top, case.stopped[0]) != case.stopped[1]

    assert sorted(map(_sizes, groups.values()), key=str) == sorted(case.groups, key=str)
    assert {group_name(pod) for pod in pods} == set(groups)
    assert (row.kind, row.name) == (case.kind, "work")
    assert row.category == parts.registry.kinds[case.version, case.kind].category


async def _make(parts: Operating, case: Case) -> Object:
    """Make the object and, as its controller, what is below it; return it."""
    above: Object | None = None
    made: list[Object] = []
    for version, kind in [(case.version, case.kind), *case.between]:
        spec = case.spec if above is None else {**_inner(kind, case.spec)}
        body: Object = {
            "apiVersion": version,
            "kind": kind,
            "metadata": {"name": "work", **_below(above)},
            "spec": spec,
        }
        if above is None:
            body["status"] = case.status
        [above] = await parts.create(body)
        made.append(above)
    assert above is not None
    if case.below is not None:
        meta = {"name": "work", **_below(above)}
        await parts.create({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": case.below})
    for number, labels in enumerate(case.pods):
        pod = a_pod(f"work-{number}", scheduler="runai-scheduler", labels=dict(labels))
        pod["metadata"] |= _below(above)
        await parts.create(pod)
    return made[0]


def _inner(kind: str, spec: Object) -> Object:
    """Return the specification of an object between: what the controller copies from above."""
    if kind == "JobSet":
        return JOBS
    if kind == "PyTorchJob":
        return {"pytorchReplicaSpecs": {"Worker": {"replicas": 2}}}
    return dict(spec.get("rayClusterSpec") or spec.get("rayClusterConfig") or {})


def _below(owner: Object | None) -> Object:
    if owner is None:
        return {}
    meta = owner["metadata"]
    ref = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": meta["name"], "uid": meta["uid"]}
    return {"ownerReferences": [{**ref, "controller": True}]}


def _sizes(group: Object) -> Sizes:
    parts = group["spec"].get("subGroups") or ()
    return group["spec"]["minMember"], {part["name"]: part["minMember"] for part in parts}


async def _field(parts: Operating, case: Case, top: Object, path: str) -> object:
    found: Any = await parts.api.get(resource_of(case.version, case.kind), top["metadata"]["name"], parts.namespace)
    for name in path.split("."):
        found = (found or {}).get(name)
    return found
