"""`--master k8s://` against a real API server: what Spark creates there when it is submitted through us.

The driver is a real pod of the API server; without an image of Spark here, KWOK plays the node that it may get. Needs
pyspark and Java, so it runs in the environment of the frameworks: ``-m cluster``.
"""

import os
import subprocess
import sys
from typing import Any

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.conftest import cluster, kube, namespace, pytest_collection_finish  # noqa: F401 - fixtures by name
from tests.cluster.kube import Kube

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def test_the_driver_comes_under_our_scheduler(cluster: Cluster, kube: Kube, namespace: str) -> None:  # noqa: F811
    pytest.importorskip("pyspark")
    server = next(entry["cluster"]["server"] for entry in _kubeconfig(cluster)["clusters"])
    command = [
        sys.executable,
        "-m",
        "runai_spark.submit",
        "--master",
        f"k8s://{server}",
        "--deploy-mode",
        "cluster",
        "--project",
        "team-a",
        "--executors",
        "2",
        "--priority",
        "high",
        "--name",
        "squares",
        "--conf",
        f"spark.kubernetes.namespace={namespace}",
        "--conf",
        "spark.kubernetes.container.image=example/spark:4",
        "--conf",
        "spark.kubernetes.submission.waitAppCompletion=false",
        "local:///opt/squares.py",
    ]

    done = subprocess.run(
        command,
        env={**os.environ, "KUBECONFIG": str(cluster.kubeconfig()), "SPARK_LOCAL_IP": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    (driver,) = kube.get(f"/api/v1/namespaces/{namespace}/pods")["items"]
    labels = driver["metadata"]["labels"]
    variables = {item["name"]: item.get("value") for item in driver["spec"]["containers"][0]["env"]}
    assert driver["spec"]["schedulerName"] == "runai-scheduler"
    assert (labels["project"], labels["priorityClassName"], labels["spark-role"]) == ("team-a", "high", "driver")
    assert "spark-app-selector" in labels
    assert variables["RUNAI_PROJECT"] == "team-a"
    assert driver["metadata"]["annotations"]["run.ai/reserved-members"] == "3"


def _kubeconfig(cluster: Cluster) -> dict[str, Any]:  # noqa: F811
    import yaml

    return dict(yaml.safe_load(cluster.kubeconfig().read_text()))
