"""What train jobs and workloads have in common, as tables; pure, and without the SDK."""

from collections.abc import Mapping
from typing import Any

from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.workload import Phase
from runai_core.plugins.stamping import Marks, scheduled_spec

RUNTIME = "trainer.kubeflow.org/runtime"
"""Annotation of a workload: the runtime that it was submitted with."""

RUNTIMES: Mapping[str, str] = {
    "torch-distributed": "PyTorch",
    "jax-distributed": "JAX",
    "tensorflow-distributed": "TF",
    "xgboost-distributed": "XGBoost",
}
"""Runtime -> framework whose variables the nodes get."""

STATUSES: Mapping[Phase, str] = {
    Phase.RUNNING: "Running",
    Phase.DEGRADED: "Running",
    Phase.COMPLETED: "Complete",
    Phase.FAILED: "Failed",
}
"""Phase -> status of a TrainJob (kubeflow.trainer.constants); everything before Running is Created."""


def job_status(phase: Phase) -> str:
    """Return the SDK's status for a phase."""
    return STATUSES.get(phase, "Created")


def step_name(rank: int) -> str:
    """Return the SDK's name of a node."""
    return f"node-{rank}"


def node_rank(step: str) -> int:
    """Return which node a step is.

    Raises:
        ValueError: it is not like ``node-0``.
    """
    word, _, number = step.rpartition("-")
    if word != "node" or not number.isdecimal():
        raise ValueError(f"step must be like node-0, not {step!r}")
    return int(number)


def training_runtimes(image: str, *, project: str = "", priority: str = "") -> list[dict[str, Any]]:
    """Return ClusterTrainingRuntimes for `kubectl apply` whose pods name our scheduler: ``runai-torch-distributed``...

    For Kubeflow's own client: neither a TrainJob nor the SDK's patches can name a
    scheduler (Trainer v2, PodSpecPatch), a runtime can. With a project the pods
    carry its labels; without one, they belong to the project of their namespace.

    Raises:
        InvalidRequest: there is no image, or a mark is wrong.
    """
    if not image:
        raise InvalidRequest.of(FieldError("image", "must name the image that nodes run", image))
    labels = Marks(project=project, priority=priority).labels if project else {}
    return [_training_runtime(name, framework, image, labels) for name, framework in RUNTIMES.items()]


def _training_runtime(name: str, framework: str, image: str, labels: Mapping[str, str]) -> dict[str, Any]:
    pod = {
        "metadata": {"labels": dict(labels)},
        "spec": scheduled_spec({"containers": [{"name": "node", "image": image}]}),
    }
    job = {
        "name": "node",
        "template": {
            "metadata": {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}},
            "spec": {"template": pod},
        },
    }
    policy: dict[str, Any] = {"numNodes": 1}
    if framework == "PyTorch":
        policy["torch"] = {"numProcPerNode": "auto"}
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "ClusterTrainingRuntime",
        "metadata": {
            "name": f"runai-{name}",
            "labels": {"trainer.kubeflow.org/framework": framework.lower(), **labels},
        },
        "spec": {"mlPolicy": policy, "template": {"spec": {"replicatedJobs": [job]}}},
    }
