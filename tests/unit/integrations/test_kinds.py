"""What lists say of every kind of the seven plug-ins, beside Run:ai's own table of workload types (docs 2.25)."""

import pytest

from runai_core.plugins.manager import load_plugins
from runai_core.plugins.types import WorkloadKind

BUILD = ("Notebook", "Job")
TRAIN = ("JAXJob", "JobSet", "MPIJob", "PyTorchJob", "TFJob", "XGBoostJob", "RayCluster", "RayJob", "TrainJob")
MACHINES = ("VirtualMachineInstance", "VirtualMachine")
DEPLOY = (
    "CronJob",
    "Deployment",
    "InferenceService",
    "LeaderWorkerSet",
    "Pod",
    "RayService",
    "ReplicaSet",
    "ScheduledWorkflow",
    "SeldonDeployment",
    "Server",
    "Service",
    "StatefulSet",
    "Workflow",
)
CATEGORIES = {
    **dict.fromkeys(BUILD, "Build"),
    **dict.fromkeys((*TRAIN, *MACHINES), "Train"),
    **dict.fromkeys(DEPLOY, "Deploy"),
}
LASTING = ("Notebook", "RayCluster", "RayService", "SeldonDeployment", "Server", "InferenceService", "Service")
"""Kinds that nobody waits to complete."""

REGISTRY = load_plugins()


def kinds(name: str) -> list[WorkloadKind]:
    return [kind for kind in REGISTRY.kinds.values() if kind.kind == name]


@pytest.mark.parametrize(("name", "category"), CATEGORIES.items(), ids=CATEGORIES)
def test_the_category_is_that_of_the_table(name: str, category: str) -> None:
    assert {kind.category for kind in kinds(name)} == {category}


@pytest.mark.parametrize("name", LASTING)
def test_what_lasts_has_no_end_of_its_own(name: str) -> None:
    assert {kind.serves for kind in kinds(name)} == {True}


@pytest.mark.parametrize("name", [*TRAIN[:6], "RayJob", "TrainJob", "SparkApplication"])
def test_what_trains_has_an_end(name: str) -> None:
    assert {kind.serves for kind in kinds(name)} == {False}
