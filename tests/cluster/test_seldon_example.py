"""The first example of Seldon's README on a real API server: kubectl takes what it prints, and it is one workload.

Stand-in: Seldon's controller. The test makes the Deployment that it would; the real controller manager makes its pods.
"""

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from runai_core.backends.kubernetes.api import connect
from runai_core.backends.kubernetes.resources import resource_of
from runai_core.client import Client, quota
from tests.cluster.cluster import Cluster
from tests.cluster.conftest import AddNodes
from tests.cluster.kube import Kube
from tests.cluster.operating import stand_in
from tests.cluster.running import install
from tests.orchestrators import OrchestratorProcess
from tests.transcripts import keep, runai
from tests.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

README = Path(__file__).parents[2] / "integrations" / "seldon" / "README.md"
SELDON = resource_of("machinelearning.seldon.io/v1", "SeldonDeployment")
PROJECT = "team-a"


@pytest.fixture
def orchestrator(
    cluster: Cluster,
    kube: Kube,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[OrchestratorProcess]:
    """Yield `runai serve` beside the cluster, with a project of the README's name."""
    install(kube)
    monkeypatch.setenv("RUNAI_KUBECONFIG", str(cluster.kubeconfig()))
    found = OrchestratorProcess(tmp_path / "data")
    found.start()
    client = Client.from_env({"RUNAI_DATA_DIR": str(found.data_dir)})
    client.departments.create("serving", resources=[quota(gpus=4)])  # servers are not preemptible: they need a quota
    client.projects.create(PROJECT, department="serving", resources=[quota(gpus=4)])
    account = f"/api/v1/namespaces/runai-{PROJECT}/serviceaccounts/default"
    kube.wait(account, bool, seconds=60)
    try:
        yield found
    finally:
        kube.delete(f"/api/v1/namespaces/runai-{PROJECT}")
        kube.delete(f"/api/v1/namespaces/runai-{PROJECT}/pods", grace=0)
        kube.delete(f"/apis/run.ai/v1/projects/{PROJECT}")
        kube.wait_gone(f"/apis/run.ai/v1/projects/{PROJECT}")
        kube.delete("/apis/scheduling.run.ai/v1/departments/serving")
        client.close()
        found.client.close()
        found.stop()


def test_the_first_example_of_the_readme_is_one_workload(
    cluster: Cluster,
    kube: Kube,
    fake_nodes: AddNodes,
    orchestrator: OrchestratorProcess,
) -> None:
    fake_nodes(1, gpus=4)
    asyncio.run(_install_kind(cluster))
    example = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert example is not None
    manifest = subprocess.run(
        [sys.executable, "-c", example[1]], capture_output=True, text=True, timeout=120, check=True
    ).stdout

    said = cluster.kubectl("apply", "-f", "-", stdin=manifest)
    _control(kube, yaml.safe_load(manifest))
    row = eventually(lambda: _running(orchestrator), lambda: orchestrator.get("/api/v1/workloads"), seconds=120)

    assert (row["type"], row["projectName"], row["requestedPods"]["number"]) == ("SeldonDeployment", PROJECT, 2)
    environ = {"RUNAI_DATA_DIR": str(orchestrator.data_dir)}
    listed = runai("workload", "list", "-p", PROJECT, environ=environ)
    assert "iris" in listed
    keep("seldon", f"$ python example.py | kubectl apply -f -\n{said}{listed}")


async def _install_kind(cluster: Cluster) -> None:
    async with connect(cluster.kubeconfig()) as admin:
        await stand_in(admin, SELDON)


def _control(api: Kube, manifest: dict[str, Any]) -> None:
    """Make the Deployment that Seldon's controller makes of a predictor, with the image that its graph means."""
    namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
    owner = api.get(f"{SELDON.path(namespace)}/{name}")
    (predictor,) = manifest["spec"]["predictors"]
    (component,) = predictor["componentSpecs"]
    spec = component["spec"]
    labels = {"seldon-deployment-id": name}
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": name,
        "uid": owner["metadata"]["uid"],
    }
    containers = [{"image": "example/sklearnserver", **container} for container in spec["containers"]]
    template = {
        "metadata": {"labels": {**(component.get("metadata") or {}).get("labels", {}), **labels}},
        "spec": {**spec, "containers": containers},
    }
    deployment = {
        "metadata": {"name": f"{name}-default", "ownerReferences": [{**reference, "controller": True}]},
        "spec": {"replicas": predictor["replicas"], "selector": {"matchLabels": labels}, "template": template},
    }
    api.post(f"/apis/apps/v1/namespaces/{namespace}/deployments", deployment)


def _running(orchestrator: OrchestratorProcess) -> dict[str, Any] | None:
    rows = orchestrator.get("/api/v1/workloads", filterBy="name==iris")["workloads"]
    return next((dict(row) for row in rows if row["phase"] == "Running" and row["runningPods"] == 2), None)
