"""Inference servers that Knative scales, on a real API server with Knative's kind; its controller is a stand-in.

Knative itself is not installed: `Controller` does what its controllers do with a Service (a Deployment for the
revision, the conditions), and takes the place of its autoscaler and of our webhook, which names the scheduler.
"""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any, Self

import pytest

from runai_core.model.organization import SYSTEM
from runai_core.ports import Query
from tests.cluster.cluster import Cluster
from tests.cluster.fakes import add_fake_nodes, remove_nodes
from tests.cluster.kube import Kube, Object, Refused
from tests.cluster.running import Running, eventually, fake, running

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

INFERENCE = "InferenceWorkload"
CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/services.serving.knative.dev"
SCALING = "autoscaling.knative.dev/"
WAIT = 150.0
"""Seconds. What belonged to a Service goes through the garbage collector, which looks for new kinds every 30 s."""
FREE: Object = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


@pytest.fixture(scope="module")
def run(own_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """An orchestrator, a project, and two fake nodes, on a cluster without Knative."""
    nodes = add_fake_nodes(own_cluster, 2, prefix="knative")
    with running(own_cluster, tmp_path_factory.mktemp("orchestrator")) as found:
        yield found
    remove_nodes(own_cluster, nodes)


class Controller:
    """What Knative's controllers do, as far as it can be seen from outside."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.scale: dict[str, int] = {}  # what the autoscaler wants now, by service
        self.broken: dict[str, str] = {}  # message of the condition Ready=False, by service
        self._cluster = cluster
        self._namespace = namespace
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="knative", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)

    def _run(self) -> None:
        with self._cluster.kube() as kube:
            while not self._stop.wait(0.2):
                with contextlib.suppress(Refused):  # it went, or changed, meanwhile: the next look sees it
                    for item in kube.get(services(self._namespace))["items"]:
                        self._look(kube, item)

    def _look(self, kube: Kube, item: Object) -> None:
        name = item["metadata"]["name"]
        if "deletionTimestamp" in item["metadata"]:
            return
        if name in self.broken:
            self._say(kube, item, {"status": "False", "reason": "RevisionMissing", "message": self.broken[name]})
            return
        notes = item["spec"]["template"]["metadata"]["annotations"]
        first = int(notes.get(SCALING + "initial-scale", 1))
        wanted = self.scale.get(name, max(first, int(notes[SCALING + "min-scale"])))
        deployment = kube.patch(*_deployment(item, self._namespace, wanted), kind="apply")
        status = deployment.get("status", {})
        seen = status.get("observedGeneration") == deployment["metadata"]["generation"]
        # A revision that was ready once stays so, however it is scaled.
        ready = _is_ready(item) or (seen and status.get("availableReplicas", 0) >= min(wanted, 1))
        self._say(kube, item, {"status": "True"} if ready else {"status": "Unknown", "reason": "Deploying"})

    def _say(self, kube: Kube, item: Object, ready: dict[str, str]) -> None:
        status = {"observedGeneration": item["metadata"]["generation"], "conditions": [{"type": "Ready", **ready}]}
        if item.get("status") != status:
            path = f"{services(self._namespace)}/{item['metadata']['name']}/status"
            kube.patch(path, {"status": status})


def _is_ready(item: Object) -> bool:
    status = item.get("status", {})
    said = {each["type"]: each["status"] for each in status.get("conditions", ())}
    return bool(status.get("observedGeneration") == item["metadata"]["generation"] and said.get("Ready") == "True")


def _deployment(item: Object, namespace: str, replicas: int) -> tuple[str, Object]:
    """Return path and body of a revision's Deployment."""
    meta, template = item["metadata"], item["spec"]["template"]
    name = f"{meta['name']}-00001-deployment"
    labels = {**template["metadata"]["labels"], "serving.knative.dev/service": meta["name"]}
    members = {"containerConcurrency", "timeoutSeconds"}
    spec = {key: value for key, value in template["spec"].items() if key not in members}
    owner = {"apiVersion": item["apiVersion"], "kind": item["kind"], "name": meta["name"], "uid": meta["uid"]}
    body = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "ownerReferences": [{**owner, "controller": True}]},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"serving.knative.dev/service": meta["name"]}},
            "template": {
                "metadata": {"labels": labels, "annotations": template["metadata"]["annotations"]},
                "spec": {**spec, "schedulerName": "runai-scheduler"},
            },
        },
    }
    return f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}", body


def services(namespace: str) -> str:
    return f"/apis/serving.knative.dev/v1/namespaces/{namespace}/services"


def is_known(kube: Kube) -> bool:
    try:
        found = kube.get("/apis/serving.knative.dev/v1")
    except Refused:
        return False
    return "services" in [each["name"] for each in found["resources"]]


@pytest.fixture
def knative(run: Running) -> Iterator[Controller]:
    """Knative's kind in the cluster, and somebody who acts on it; both are gone afterwards."""
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": FREE, "status": FREE}}},
    }
    names = {"kind": "Service", "plural": "services", "singular": "service", "shortNames": ["ksvc"]}
    body = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "services.serving.knative.dev"},
        "spec": {"group": "serving.knative.dev", "scope": "Namespaced", "names": names, "versions": [version]},
    }
    run.kube.post(CRD.rpartition("/")[0], body)
    eventually(lambda: is_known(run.kube), seconds=WAIT)
    with Controller(run.cluster, run.namespace) as controller:
        yield controller
        path = f"/apis/run.ai/v2alpha1/namespaces/{run.namespace}/inferenceworkloads"
        for item in run.kube.get(path)["items"]:
            run.kube.delete(f"{path}/{item['metadata']['name']}")
        run.kube.wait(path, lambda seen: not seen["items"], seconds=WAIT)
    run.kube.delete(CRD)
    run.kube.wait_gone(CRD, seconds=WAIT)
    eventually(lambda: not is_known(run.kube), seconds=WAIT)


def server(run: Running, name: str, **spec: Any) -> str:
    """Create an inference server; return the path of its object."""
    given: dict[str, Any] = {key: {"value": value} for key, value in spec.items()}
    return run.apply(INFERENCE, name, fake(servingPort={"value": {"container": 8000}}, **given))


def has(running_pods: int) -> Any:
    """Return the condition that a server is Running with so many pods asked for, and as many running."""

    def look(seen: Object) -> bool:
        status = seen.get("status", {})
        numbers = (status.get("requestedPods"), status.get("runningPods"))
        return status.get("phase") == "Running" and numbers == (running_pods, running_pods)

    return look


def events(run: Running, name: str, reason: str) -> list[str]:
    """Return the messages of the events of a reason on a workload."""
    query = f"involvedObject.name={name},reason={reason}"
    found = run.kube.get(f"/api/v1/namespaces/{run.namespace}/events", fieldSelector=query)["items"]
    return [item["message"] for item in found]


def test_without_knative_the_replicas_are_fixed_and_the_workload_says_why(run: Running) -> None:
    path = server(run, "fixed", minScale=2, maxScale=5, metric="concurrency", target=10)

    run.kube.wait(path, has(2), seconds=WAIT)

    [message] = eventually(lambda: events(run, "fixed", "AutoscalingNotAvailable"), seconds=WAIT)
    assert "Knative Serving is not installed" in message
    assert "stays 2" in message
    assert run.kube.get(f"/apis/apps/v1/namespaces/{run.namespace}/deployments/fixed")["spec"]["replicas"] == 2
    run.kube.delete(path)
    run.kube.wait_gone(path, seconds=WAIT)


def test_the_workload_follows_what_knative_keeps_down_to_nothing_and_up_again(
    run: Running, knative: Controller
) -> None:
    path = server(run, "follows", minScale=0, initialScale=1, maxScale=5, metric="throughput", target=50)
    uid = run.kube.wait(path, has(1), seconds=WAIT)["metadata"]["uid"]

    made = run.kube.get(f"{services(run.namespace)}/follows")
    assert made["metadata"]["ownerReferences"][0]["uid"] == uid
    notes = made["spec"]["template"]["metadata"]["annotations"]
    asked = {name.removeprefix(SCALING): value for name, value in notes.items() if name.startswith(SCALING)}
    assert asked == {"min-scale": "0", "initial-scale": "1", "max-scale": "5", "metric": "rps", "target": "50"}
    [pod] = run.pods("follows")
    assert pod["metadata"]["annotations"]["pod-group-name"] == f"{run.project}.follows.1"

    for count in (3, 1, 0):
        knative.scale["follows"] = count
        run.kube.wait(path, has(count), seconds=WAIT)
    story = run.call(run.orchestrator.workloads.history(SYSTEM, uid, Query())).items
    told = [(str(record.to_phase), record.cause) for record in story if record.to_phase is not None]
    assert [phase for phase, _ in told] == ["Creating", "Pending", "Initializing", "Running"], told  # all the time

    knative.scale["follows"] = 2  # who wakes it waits until a replica is ready
    seen = run.kube.wait(path, has(2), seconds=WAIT)
    assert seen["status"]["attempt"] == 1, "nothing is started anew"


def test_a_change_of_scaling_alone_reaches_the_same_service(run: Running, knative: Controller) -> None:
    path = server(run, "changes", minScale=1, maxScale=3)
    run.kube.wait(path, has(1), seconds=WAIT)
    first = run.kube.get(f"{services(run.namespace)}/changes")

    run.kube.patch(path, {"spec": {"maxScale": {"value": 7}}})

    def changed(seen: Object) -> bool:
        notes = seen["spec"]["template"]["metadata"]["annotations"]
        return bool(notes[SCALING + "max-scale"] == "7")

    seen = run.kube.wait(f"{services(run.namespace)}/changes", changed, seconds=WAIT)
    assert seen["metadata"]["uid"] == first["metadata"]["uid"]
    run.kube.wait(path, has(1), seconds=WAIT)


@pytest.mark.parametrize("count", [1, 0], ids=["while it has a replica", "while it is scaled to nothing"])
def test_with_a_server_its_service_and_all_its_pods_go(run: Running, knative: Controller, count: int) -> None:
    name = f"goes-{count}"
    path, there = server(run, name, minScale=0, initialScale=1, maxScale=2), f"{services(run.namespace)}/{name}"
    run.kube.wait(path, has(1), seconds=WAIT)
    knative.scale[name] = count
    run.kube.wait(path, has(count), seconds=WAIT)

    run.kube.delete(path)

    run.kube.wait_gone(path, seconds=WAIT)
    run.kube.wait_gone(there, seconds=WAIT)
    pods = f"/api/v1/namespaces/{run.namespace}/pods"
    run.kube.wait(pods, lambda seen: not seen["items"], seconds=WAIT, labelSelector=f"runai/workload={name}")


def test_what_knative_cannot_do_is_told_and_nothing_is_made(run: Running, knative: Controller) -> None:
    server(run, "late", minScale=1, maxScale=3, metric="latency", target=100)

    [message] = eventually(lambda: events(run, "late", "FailedCreate"), seconds=WAIT)
    assert "spec.autoscaling.metric: cannot be latency" in message
    assert answer(run.kube, f"{services(run.namespace)}/late") == 404


def test_why_knative_is_not_ready_is_told(run: Running, knative: Controller) -> None:
    knative.broken["ill"] = "Unable to fetch image example/image"
    server(run, "ill", minScale=1, maxScale=3)

    [message] = eventually(lambda: events(run, "ill", "ServiceNotReady"), seconds=WAIT)
    assert message == "Knative says RevisionMissing: Unable to fetch image example/image"


def answer(kube: Kube, path: str) -> int:
    try:
        kube.get(path)
    except Refused as refused:
        return refused.status
    return 200
