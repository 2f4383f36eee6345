"""`--master k8s://` on a real API server and real nodes: driver and executors, submitted through us, placed by us.

An image of Spark cannot be fetched here: the machine's own Java and the installed pyspark, mounted into real
containers, are the stand-in for it (``image/``). Needs pyspark and Java, so it runs in the environment of the
frameworks: ``-m cluster``.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runai_core.model.errors import NotFound
from runai_core.model.workload import Phase, Workload
from tests.cluster.cluster import Cluster
from tests.cluster.frameworks import IMAGE, allow_drivers, spark_settings, spark_submit
from tests.cluster.images import a_real_pod
from tests.cluster.kube import Kube
from tests.cluster.running import Running, eventually, running

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

SLOW = 240.0
"""Seconds for what starts Java machines, on a machine with other work."""


@pytest.fixture(scope="module")
def run(cluster: Cluster, real_nodes: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """An orchestrator, and a project whose pods may make pods, as Spark's drivers do."""
    pytest.importorskip("pyspark")
    if shutil.which("java") is None:
        pytest.skip("Java is not installed: apt-get install openjdk-17-jre-headless")
    with running(cluster, tmp_path_factory.mktemp("orchestrator")) as found:
        allow_drivers(found.kube, found.namespace)
        yield found


def test_the_driver_comes_under_our_scheduler(cluster: Cluster, kube: Kube, namespace: str) -> None:
    pytest.importorskip("pyspark")
    image = {"spark.kubernetes.container.image": "example/spark:4"}
    words = ("--executors", "2", "--priority", "high", "local:///opt/squares.py")
    spark_submit(cluster.kubeconfig(), "team-a", namespace, words, image)

    (driver,) = kube.get(f"/api/v1/namespaces/{namespace}/pods")["items"]
    labels = driver["metadata"]["labels"]
    variables = {item["name"]: item.get("value") for item in driver["spec"]["containers"][0]["env"]}
    assert driver["spec"]["schedulerName"] == "runai-scheduler"
    assert (labels["project"], labels["priorityClassName"], labels["spark-role"]) == ("team-a", "high", "driver")
    assert "spark-app-selector" in labels
    assert variables["RUNAI_PROJECT"] == "team-a"
    assert driver["metadata"]["annotations"]["run.ai/reserved-members"] == "3"


def test_an_application_waits_for_room_for_all_and_then_runs_on_real_nodes(run: Running, tmp_path: Path) -> None:
    """The driver alone would have a place all the time; its two executors have one when another pod has gone."""
    pods = f"/api/v1/namespaces/{run.namespace}/pods"
    for name, gpus, node in (("full", 4, "real-1"), ("nearly", 3, "real-2")):
        held = a_real_pod(name, ["sleep", "600"], gpus=gpus, scheduler="runai-scheduler")
        held["spec"]["nodeSelector"] = {"kubernetes.io/hostname": node}
        run.kube.post(pods, held)
    for name in ("full", "nearly"):
        run.kube.wait(f"{pods}/{name}", lambda seen: seen["status"]["phase"] == "Running", seconds=60)
    sizes = ("--executors", "2", "--executor-gpu", "1", "--executor-memory", "512m", "--driver-memory", "512m")
    words = (*sizes, "--name", "squares", f"local://{IMAGE / 'squares.py'}", "6")
    spark_submit(run.cluster.kubeconfig(), run.project, run.namespace, words, spark_settings(tmp_path))

    driver = run.kube.get(pods, labelSelector="spark-role=driver")["items"][0]["metadata"]["name"]
    waits = eventually(lambda: row_of(run, driver) if row_of(run, driver).verdict else None)
    assert waits.phase is Phase.PENDING
    assert waits.verdict is not None
    assert "It needs 2 GPUs at once for 3 pods" in waits.verdict.message
    assert not run.kube.get(f"{pods}/{driver}")["spec"].get("nodeName")

    run.kube.delete(f"{pods}/nearly")
    seen = run.kube.wait(
        f"{pods}", lambda found: len(placed(found, "executor")) == 2, seconds=SLOW, labelSelector="spark-app-name"
    )
    executors = placed(seen, "executor")
    groups = {item["metadata"]["annotations"]["pod-group-name"] for item in seen["items"]}
    assert len(groups) == 1
    assert {item["spec"]["nodeName"] for item in executors} == {"real-2"}
    assert {item["spec"]["schedulerName"] for item in seen["items"]} == {"runai-scheduler"}
    assert row_of(run, driver).pods_requested == 3

    ended = run.kube.wait(f"{pods}/{driver}", lambda it: it["status"]["phase"] in ("Succeeded", "Failed"), seconds=SLOW)
    said = run.kube.http.get(f"{pods}/{driver}/log").text
    assert ended["status"]["phase"] == "Succeeded", said[-5000:]
    told = dict(
        line.split(": ", 1) for line in said.splitlines() if line.startswith(("sum of", "executors", "driver's"))
    )
    assert told["sum of squares"] == "328350"
    devices = [item.split("=")[1] for item in told["executors"].split()]
    assert len(set(devices)) == 2, "each executor has a GPU of its own"
    assert told["driver's GPUs"] in ("none", "void"), "a driver has no GPU unasked"
    assert eventually(lambda: row_of(run, driver).phase is Phase.COMPLETED)


def placed(pods: dict[str, Any], role: str) -> list[dict[str, Any]]:
    """Return the pods of a role that have a node."""
    mine = (item for item in pods["items"] if item["metadata"]["labels"].get("spark-role") == role)
    return [item for item in mine if item["spec"].get("nodeName")]


def row_of(run: Running, name: str) -> Workload:
    """Return the row of an application, when there is one."""
    found: list[Workload] = []

    def look() -> bool:
        try:
            found.append(run.workload(name))
        except NotFound:
            return False
        return True

    eventually(look)
    return found[-1]
