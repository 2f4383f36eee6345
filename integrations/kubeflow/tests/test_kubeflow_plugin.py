"""Gangs of Kubeflow's kinds, from manifests as people write them."""

import subprocess
import sys
from typing import Any

import pytest
import yaml
from runai_kubeflow.plugin import KINDS

from runai_core.model.errors import InvalidRequest
from runai_core.plugins.types import Divides, Suspends, WorkloadKind

BY_KIND: dict[str, WorkloadKind] = {kind.kind: kind for kind in KINDS}


def gangs(text: str) -> list[tuple[int, dict[str, int]]]:
    manifest = yaml.safe_load(text)
    plans = BY_KIND[manifest["kind"]].adapter.pod_groups(manifest)
    return [(plan.min_members, {part.name: part.min_members for part in plan.sub_groups}) for plan in plans]


PYTORCH = """
apiVersion: kubeflow.org/v1
kind: PyTorchJob
metadata: {{name: bert}}
spec:
  {extra}
  pytorchReplicaSpecs:
    Master: {{replicas: 1, template: {{spec: {{containers: [{{name: pytorch, image: "torch:2"}}]}}}}}}
    Worker: {{replicas: 3, template: {{spec: {{containers: [{{name: pytorch, image: "torch:2"}}]}}}}}}
"""

MPI = """
apiVersion: kubeflow.org/v2beta1
kind: MPIJob
spec:
  {extra}
  mpiReplicaSpecs:
    Launcher: {{replicas: 1}}
    Worker: {{replicas: 4}}
"""

TABLE = {
    "a master and its workers": (PYTORCH.format(extra=""), [(4, {"master": 1, "worker": 3})]),
    "an elastic job starts with its minimum": (
        PYTORCH.format(extra="elasticPolicy: {minReplicas: 2}"),
        [(2, {"master": 1, "worker": 1})],
    ),
    "the scheduling policy comes first": (
        PYTORCH.format(
            extra="elasticPolicy: {minReplicas: 2}, runPolicy: {schedulingPolicy: {minAvailable: 3}}"
        ).replace("}, runPolicy", "}\n  runPolicy"),
        [(3, {"master": 1, "worker": 2})],
    ),
    "a minimum below the masters needs no worker": (
        PYTORCH.format(extra="runPolicy: {schedulingPolicy: {minAvailable: 1}}"),
        [(1, {"master": 1, "worker": 0})],
    ),
    "all roles of a TensorFlow job": (
        "kind: TFJob\nspec: {tfReplicaSpecs: {Chief: {replicas: 1}, PS: {replicas: 2}, Worker: {replicas: 4}}}",
        [(7, {})],
    ),
    "the launcher and the workers of an MPI job": (MPI.format(extra=""), [(5, {})]),
    "a launcher that waits for the workers": (
        MPI.format(extra="launcherCreationPolicy: WaitForWorkersReady"),
        [(4, {})],
    ),
    "a JAX job": ("kind: JAXJob\nspec: {jaxReplicaSpecs: {Worker: {replicas: 2}}}", [(2, {})]),
    "an XGBoost job": (
        "kind: XGBoostJob\nspec: {xgbReplicaSpecs: {Master: {replicas: 1}, Worker: {replicas: 2}}}",
        [(3, {})],
    ),
    "a train job leaves it to its job set": ("kind: TrainJob\nspec: {trainer: {numNodes: 4}}", []),
    "a pipeline run leaves it to its steps": ("kind: Workflow", []),
    "a notebook": ("kind: Notebook", [(1, {})]),
}


@pytest.mark.parametrize(("text", "expected"), TABLE.values(), ids=TABLE)
def test_gangs(text: str, expected: list[tuple[int, dict[str, int]]]) -> None:
    assert gangs(text) == expected


WRONG = {
    "a role without replicas": (
        "kind: TFJob\nspec: {tfReplicaSpecs: {Worker: {}}}",
        "spec.tfReplicaSpecs.Worker.replicas",
    ),
    "no roles": ("kind: PyTorchJob\nspec: {}", "spec.pytorchReplicaSpecs"),
    "roles in a list": ("kind: MPIJob\nspec: {mpiReplicaSpecs: [Worker]}", "spec.mpiReplicaSpecs"),
    "an XGBoost job without a master": (
        "kind: XGBoostJob\nspec: {xgbReplicaSpecs: {Worker: {replicas: 2}}}",
        "spec.xgbReplicaSpecs.Master",
    ),
}


@pytest.mark.parametrize(("text", "field"), WRONG.values(), ids=WRONG)
def test_a_wrong_manifest_names_the_field(text: str, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        gangs(text)

    assert [error.field for error in caught.value.errors] == [field]


def test_pods_find_their_role() -> None:
    adapter = BY_KIND["PyTorchJob"].adapter

    assert isinstance(adapter, Divides)
    assert adapter.place_of({"training.kubeflow.org/replica-type": "Worker"}) == ("", "worker")


def test_a_job_is_suspended_by_its_run_policy() -> None:
    adapter = BY_KIND["MPIJob"].adapter
    manifest: dict[str, Any] = yaml.safe_load(MPI.format(extra="runPolicy: {cleanPodPolicy: Running}"))

    assert isinstance(adapter, Suspends)
    assert adapter.suspend(manifest)["spec"]["runPolicy"] == {"cleanPodPolicy": "Running", "suspend": True}


def test_a_notebook_is_not_preemptible_by_its_class() -> None:
    assert BY_KIND["Notebook"].priority_class == "build"


def test_the_plugin_loads_without_its_ecosystem() -> None:
    """Every command of ours imports it: its framework must not come with it."""
    code = "import sys, runai_kubeflow.plugin; print(*sys.modules)"

    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()

    assert not {"kubeflow", "kfp", "kubernetes"} & set(loaded)
