"""Gangs of KubeRay's kinds, from manifests as people write them."""

import subprocess
import sys
from typing import Any

import pytest
import yaml
from runai_ray.plugin import KINDS

from runai_core.model.errors import InvalidRequest
from runai_core.plugins.types import Divides, Suspends, WorkloadKind

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


def test_the_plugin_loads_without_its_ecosystem() -> None:
    """Every command of ours imports it: its framework must not come with it."""
    code = "import sys, runai_ray.plugin; print(*sys.modules)"

    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()

    assert not {"ray"} & set(loaded)
