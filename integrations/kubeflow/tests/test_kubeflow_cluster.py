"""Kubeflow's own TrainerClient against a real API server: its TrainJob is one workload, its pods are ours to place.

The SDK is the real one, in its own environment (``.venv-kubeflow``). The trainer's controller, which makes a JobSet of
a TrainJob and its runtime, cannot run here: the test makes it, from the runtime as the controller does.
"""

import asyncio
import os
import subprocess
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from runai_kubeflow.jobs import training_runtimes

from runai_core.backends.kubernetes.api import connect
from runai_core.backends.kubernetes.resources import resource_of
from runai_core.model.workload import Phase
from tests.cluster.cluster import Cluster
from tests.cluster.operating import group_name, operating, stand_in

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

SDK = Path(__file__).parents[3] / ".venv-kubeflow" / "bin" / "python"
TRAINER = "trainer.kubeflow.org/v1alpha1"
TRAIN_JOBS = resource_of(TRAINER, "TrainJob")
RUNTIMES = resource_of(TRAINER, "ClusterTrainingRuntime", namespaced=False)
NAMESPACED_RUNTIMES = resource_of(TRAINER, "TrainingRuntime")
JOB_SETS = resource_of("jobset.x-k8s.io/v1alpha2", "JobSet")

PROGRAM = """
import sys
from kubeflow.common.types import KubernetesBackendConfig
from kubeflow.trainer import CustomTrainer, TrainerClient

def train():
    print("training")

client = TrainerClient(backend_config=KubernetesBackendConfig(config_file=sys.argv[1], namespace=sys.argv[2]))
runtime = client.get_runtime("runai-torch-distributed")
print(client.train(runtime=runtime, trainer=CustomTrainer(func=train, num_nodes=2)))
"""


@pytest.mark.asyncio
async def test_a_train_job_of_the_sdk_is_a_gang_under_our_scheduler(
    cluster: Cluster,
    tmp_path: Path,
) -> None:
    if not SDK.exists():
        pytest.skip("Kubeflow's environment is not installed: make integrations")
    async with connect(cluster.kubeconfig()) as admin:  # before anybody looks at what the cluster serves
        for resource in (TRAIN_JOBS, RUNTIMES, NAMESPACED_RUNTIMES, JOB_SETS):
            await stand_in(admin, resource)
    async with operating(cluster) as parts:
        (runtime,) = (
            item for item in training_runtimes("none") if item["metadata"]["name"].startswith("runai-torch-d")
        )
        await parts.api.apply(RUNTIMES, runtime)

        name = await asyncio.to_thread(_train, tmp_path / "train.py", cluster.kubeconfig(), parts.namespace)
        job = await parts.api.get(TRAIN_JOBS, name, parts.namespace)
        await _control(parts, dict(job), runtime)
        pods = await parts.pods(2)
        groups = await parts.groups(1)
        row = await parts.row(job["metadata"]["uid"], Phase.PENDING)
        await parts.frameworks.stop(row)
        stopped = await parts.api.get(TRAIN_JOBS, name, parts.namespace)

    assert job["spec"]["trainer"]["numNodes"] == 2
    assert {group_name(pod) for pod in pods} == set(groups)
    assert [group["spec"]["minMember"] for group in groups.values()] == [2]
    assert {pod["spec"]["schedulerName"] for pod in pods} == {"runai-scheduler"}, "as the runtime says"
    assert (row.kind, row.name, row.pods_requested) == ("TrainJob", name, 2)
    assert stopped["spec"]["suspend"] is True


def _train(program: Path, kubeconfig: Path, namespace: str) -> str:
    """Submit a job with Kubeflow's own client; return its name."""
    program.write_text(PROGRAM)  # the SDK reads the function's source
    done = subprocess.run(
        [str(SDK), str(program), str(kubeconfig), namespace],
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.split()[-1]


async def _control(parts: Any, job: dict[str, Any], runtime: dict[str, Any]) -> None:
    """Do what the trainer's and the JobSet's controllers do: a JobSet from the runtime, and its pods."""
    (part,) = deepcopy(runtime["spec"]["template"]["spec"]["replicatedJobs"])
    part["template"]["spec"]["parallelism"] = job["spec"]["trainer"]["numNodes"]
    body = {
        "apiVersion": JOB_SETS.api_version,
        "kind": "JobSet",
        "metadata": {"name": job["metadata"]["name"], **_owned_by(job)},
        "spec": {"replicatedJobs": [{"replicas": 1, **part}]},
    }
    [made] = await parts.create(body)
    template = part["template"]["spec"]["template"]
    for number in range(part["template"]["spec"]["parallelism"]):
        labels = {**template["metadata"]["labels"], "jobset.sigs.k8s.io/replicatedjob-name": part["name"]}
        meta = {"name": f"{job['metadata']['name']}-node-{number}", "labels": labels, **_owned_by(made)}
        await parts.create({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template["spec"]})


def _owned_by(owner: dict[str, Any]) -> dict[str, Any]:
    meta = owner["metadata"]
    ref = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": meta["name"], "uid": meta["uid"]}
    return {"ownerReferences": [{**ref, "controller": True}]}
