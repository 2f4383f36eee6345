"""Gangs of KubeRay's kinds, from manifests as people write them."""

import subprocess
import sys
from typing import Any

import pytest
import yaml
from runai_ray.kuberay import schedule
from runai_ray.plugin import KINDS

from runai_core.model.errors import InvalidRequest
from runai_core.plugins.types import Divides, Observes, Phase, Suspends, WorkloadKind

BY_KIND: dict[str, WorkloadKind] = {kind.kind: kind for kind in KINDS}


def gangs(text: str) -> list[tuple[int, dict[str, int]]]:
    manifest = yaml.safe_load(text)
    plans = BY_KIND[manifest["kind"]].adapter.pod_groups(manifest)
    return [(plan.min_members, {part.name: part.min_members for part in plan.sub_groups}) for plan in plans]


CLUSTER = """
  headGroupSpec: {{rayStartParams: {{}}}}
  workerGroupSpecs:
  - {{groupName: gpu, replicas: 4, minReplicas: {least}, maxReplicas: 8, numOfHosts: {hosts}}}
  - {{replicas: 1}}
  - {{groupName: paused, replicas: 5, suspend: true}}
"""


def cluster(least: int = 2, hosts: int = 1) -> str:
    return "apiVersion: ray.io/v1\nkind: RayCluster\nspec:" + CLUSTER.format(least=least, hosts=hosts)


TABLE = {
    "a head and the least workers of each group": (cluster(), [(4, {"headgroup": 1, "gpu": 2, "worker-group-1": 1})]),
    "without a minimum all replicas": (cluster(0), [(6, {"headgroup": 1, "gpu": 4, "worker-group-1": 1})]),
    "a replica of several hosts": (cluster(2, 3), [(8, {"headgroup": 1, "gpu": 6, "worker-group-1": 1})]),
    "a head alone": ("kind: RayCluster\nspec: {headGroupSpec: {}}", [(1, {"headgroup": 1})]),
    "the cluster of a job": (
        "kind: RayJob\nspec: {rayClusterSpec: {workerGroupSpecs: [{groupName: a, replicas: 2}]}}",
        [(3, {"headgroup": 1, "a": 2})],
    ),
    "the cluster of a service": (
        "kind: RayService\nspec: {rayClusterConfig: {workerGroupSpecs: [{groupName: a, replicas: 1}]}}",
        [(2, {"headgroup": 1, "a": 1})],
    ),
    "a job on another's cluster": ("kind: RayJob\nspec: {clusterSelector: {ray.io/cluster: other}}", []),
}


@pytest.mark.parametrize(("text", "expected"), TABLE.values(), ids=TABLE)
def test_gangs(text: str, expected: list[tuple[int, dict[str, int]]]) -> None:
    assert gangs(text) == expected


WRONG = {
    "a minimum above the replicas": (cluster(5), "spec.workerGroupSpecs[0].minReplicas"),
    "hosts that are text": (
        cluster().replace("numOfHosts: 1", "numOfHosts: one"),
        "spec.workerGroupSpecs[0].numOfHosts",
    ),
}


@pytest.mark.parametrize(("text", "field"), WRONG.values(), ids=WRONG)
def test_a_wrong_manifest_names_the_field(text: str, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        gangs(text)

    assert [error.field for error in caught.value.errors] == [field]


def test_pods_find_their_worker_group() -> None:
    adapter = BY_KIND["RayJob"].adapter

    assert isinstance(adapter, Divides)
    assert adapter.place_of({"ray.io/group": "headgroup"}) == ("", "headgroup")


def test_a_cluster_can_be_suspended_and_a_service_cannot() -> None:
    manifest: dict[str, Any] = {"spec": {"headGroupSpec": {}}}
    adapter = BY_KIND["RayCluster"].adapter

    assert isinstance(adapter, Suspends)
    assert adapter.suspend(manifest)["spec"]["suspend"] is True
    assert not isinstance(BY_KIND["RayService"].adapter, Suspends)


PHASES = {
    "a cluster that is ready": ("RayCluster", {"state": "ready"}, Phase.RUNNING),
    "a cluster that is suspended": ("RayCluster", {"state": "suspended"}, Phase.STOPPED),
    "a cluster of a newer operator, by its condition": (
        "RayCluster",
        {"conditions": [{"type": "RayClusterProvisioned", "status": "True"}]},
        Phase.RUNNING,
    ),
    "a cluster that says nothing yet": ("RayCluster", {}, None),
    "a job that runs": ("RayJob", {"jobDeploymentStatus": "Running"}, Phase.RUNNING),
    "a job that succeeded": ("RayJob", {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}, Phase.COMPLETED),
    "a job that is complete because it failed": (
        "RayJob",
        {"jobDeploymentStatus": "Complete", "jobStatus": "FAILED"},
        Phase.FAILED,
    ),
    "a service that answers": ("RayService", {"conditions": [{"type": "Ready", "status": "True"}]}, Phase.RUNNING),
    "a service that starts": ("RayService", {"serviceStatus": "WaitForServeDeploymentReady"}, Phase.INITIALIZING),
}


@pytest.mark.parametrize(("kind", "status", "phase"), PHASES.values(), ids=PHASES)
def test_the_phase_is_read_from_the_status(kind: str, status: dict[str, Any], phase: Phase | None) -> None:
    adapter = BY_KIND[kind].adapter

    assert isinstance(adapter, Observes)
    assert adapter.phase_of({"kind": kind, "status": status}) == phase


@pytest.mark.parametrize(("kind", "at"), [("RayCluster", "spec"), ("RayJob", "spec.rayClusterSpec")])
def test_a_manifest_comes_under_the_scheduler_in_every_group(kind: str, at: str) -> None:
    inner: dict[str, Any] = {"headGroupSpec": {}, "workerGroupSpecs": [{"groupName": "a"}]}
    manifest = {"kind": kind, "spec": inner if at == "spec" else {"rayClusterSpec": inner}}

    once = schedule(manifest, project="team-a", priority="high")

    cluster = once["spec"] if at == "spec" else once["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    assert [group["template"]["spec"]["schedulerName"] for group in groups] == ["runai-scheduler"] * 2
    assert groups[1]["template"]["metadata"]["labels"]["runai/queue"] == "team-a"
    assert schedule(once, project="team-a", priority="high") == once
    assert "template" not in inner["headGroupSpec"]


def test_a_kind_without_a_cluster_is_refused_by_name() -> None:
    with pytest.raises(InvalidRequest, match="RayCluster, RayJob, RayService"):
        schedule({"kind": "Pod"}, project="team-a")


def test_the_plugin_is_cheap_to_import() -> None:
    """Best of five beyond what the core has loaded, in a process of its own."""
    code = (
        "import time, runai_core.plugins.types, runai_core.plugins.grouping, click; start = time.process_time();"
        "import runai_ray.plugin; print(time.process_time() - start)"
    )

    spent = [float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(5)]

    assert min(spent) < 0.05


def test_the_plugin_loads_without_its_ecosystem() -> None:
    """Every command of ours imports it: its framework must not come with it."""
    code = "import sys, runai_ray.plugin; print(*sys.modules)"

    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()

    assert not {"ray"} & set(loaded)
