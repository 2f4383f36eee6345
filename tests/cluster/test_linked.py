"""A Kubernetes cluster that is linked to a control plane: what people do there happens here, and is seen there.

The control plane, and the orchestrator of the cluster, are processes of their own; between them is a wire that can be
cut, and the cluster's end is the only one that connects.
"""

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import websockets.sync.client
import yaml

from tests.cluster import binaries, machine
from tests.cluster.cluster import Cluster
from tests.cluster.fakes import add_fake_nodes, remove_nodes
from tests.cluster.kube import Kube, Object
from tests.cluster.running import fake, install, on_nodes, real_at_rest
from tests.controlplanes import Api, ClusterProcess, World, a_world, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

WORKLOADS = "/apis/run.ai/v2alpha1/namespaces/runai-vision/trainingworkloads"
PODS = "/api/v1/namespaces/runai-vision/pods"


@dataclass
class Linked:
    """A control plane, and a Kubernetes cluster that is linked to it, with a project that was made there."""

    world: World
    cluster: Cluster
    kube: Kube

    @property
    def api(self) -> Api:
        """What people of the tenant use."""
        return self.world.control_plane.api()

    @property
    def agent(self) -> ClusterProcess:
        """The orchestrator of the cluster."""
        return self.world.clusters["west"]

    def submit(self, name: str, **spec: Any) -> str:
        """Submit a training that runs on a node that KWOK plays, for ever unless an annotation says otherwise."""
        return self.api.submit(name, "work", project="vision", **{**on_nodes("kwok"), **spec})

    def object(self, name: str) -> Object:
        """Return the cluster's own object of a workload."""
        return self.kube.get(f"{WORKLOADS}/{name}")

    def pods(self, name: str) -> list[Object]:
        """Return the cluster's pods of a workload."""
        return list(self.kube.get(PODS, labelSelector=f"runai/workload={name}")["items"])

    def end(self, uid: str) -> None:
        """Delete a workload at the control plane, and wait until it is gone on both sides."""
        name = self.api.get(f"/workloads/{uid}")["name"]
        assert self.api.http.delete(f"/api/v1/workloads/trainings/{uid}").status_code < 300
        wait_for("it is gone at the control plane", lambda: f"vision/{name}" not in self.api.workloads())
        self.kube.wait_gone(f"{WORKLOADS}/{name}", seconds=60)


@pytest.fixture(scope="module")
def linked(own_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Linked]:
    with own_cluster.kube() as kube, a_world(tmp_path_factory.mktemp("linked")) as world:
        install(kube)
        add_fake_nodes(own_cluster, 2, prefix="fake", gpus=4)
        world.cluster("west", kubeconfig=own_cluster.kubeconfig())
        found = Linked(world, own_cluster, kube)
        quota = [{"nodePool": {"name": "default"}, "gpu": {"deserved": 4, "limit": -1, "overQuotaWeight": 2}}]
        west = found.api.get("/clusters/west")["uuid"]
        found.api.post("/org-unit/projects", {"name": "vision", "clusterId": west, "resources": quota})
        yield found


def test_a_project_made_at_the_control_plane_appears_as_an_object_with_its_namespace(linked: Linked) -> None:
    project = linked.kube.wait(
        "/apis/run.ai/v1/projects/vision", lambda seen: seen.get("status", {}).get("phase") == "Ready", seconds=60
    )

    assert project["spec"]["resources"][0]["gpu"]["deserved"] == 4
    assert linked.kube.wait("/api/v1/namespaces/runai-vision", bool)["metadata"]["name"] == "runai-vision"
    status = linked.api.get("/clusters/west")["status"]
    assert status["state"] == "Connected"
    assert status["platform"]["kubeVersion"].startswith("v1.36.")


def test_a_training_submitted_at_the_control_plane_runs_as_pods_and_is_told_from_there(linked: Linked) -> None:
    ends = {"name": "runai.test/succeeds-after", "value": "15s"}
    uid = linked.submit("told", parallelism=2, completions=2, annotations=[ends])

    linked.api.wait(uid, "Running")
    pods = wait_for("both pods run", lambda: found if len(found := _running(linked, uid)) == 2 else [])
    there = {pod["metadata"]["name"]: pod["spec"]["nodeName"] for pod in linked.pods("told")}
    assert {pod["name"]: pod["nodeName"] for pod in pods} == there
    west = linked.api.get("/clusters/west")["uuid"]
    assert {pod["clusterId"] for pod in pods} == {west}
    assert linked.api.wait(uid, "Completed", "Failed") == "Completed"
    phases = wait_for("its whole story", lambda: found if (found := _phases(linked, uid))[-1:] == ["Completed"] else [])
    assert phases.index("Pending") < phases.index("Running")
    assert len(phases) == len(set(phases)), "each is told once"
    linked.end(uid)


def _phases(linked: Linked, uid: str) -> list[str]:
    records = linked.api.get(f"/workloads/{uid}/history", limit=500)["records"]
    return [item["spec"]["phaseUpdate"]["phase"] for item in records if item["meta"]["type"] == "PhaseUpdate"]


def _running(linked: Linked, uid: str) -> list[dict[str, Any]]:
    return [pod for pod in linked.api.get(f"/workloads/{uid}/pods")["pods"] if pod["k8sPhase"] == "Running"]


def test_storage_classes_of_the_cluster_are_known_and_judge_new_claims(linked: Linked) -> None:
    west = linked.api.get("/clusters/west")["uuid"]
    classes = "/apis/storage.k8s.io/v1/storageclasses"
    made = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "told"}}
    linked.kube.post(classes, {**made, "provisioner": "csi.example.org", "allowVolumeExpansion": True})

    def names() -> list[str]:
        answer = linked.api.http.get("/api/v2/storage-classes", params={"clusterId": west}).json()
        return [item["storageClassName"] for item in answer["items"]]

    wait_for("the cluster tells it", lambda: "told" in names())
    claim = {"path": "/data", "existingPvc": False, "claimInfo": {"size": "1G", "storageClass": "slow"}}
    spec = {"command": "true", "image": "any", "storage": {"pvc": [claim]}}
    refused = linked.api.http.post(
        "/api/v1/workloads/trainings", json={"name": "claims", "projectId": "vision", "spec": spec}
    )
    linked.kube.delete(f"{classes}/told")

    [error] = refused.json()["errors"]
    assert error["field"] == "spec.storage.pvc.0.claimInfo.storageClass"
    assert "told" in error["message"]
    wait_for("it is gone there too", lambda: "told" not in names())


def test_a_topology_made_at_the_control_plane_is_an_object_and_one_made_with_kubectl_is_seen(linked: Linked) -> None:
    west = linked.api.get("/clusters/west")["uuid"]
    topologies = "/apis/kai.scheduler/v1alpha1/topologies"
    own = {"apiVersion": "kai.scheduler/v1alpha1", "kind": "Topology", "metadata": {"name": "by-hand"}}
    linked.kube.post(topologies, {**own, "spec": {"levels": [{"nodeLabel": "rack"}]}})

    made = linked.api.post("/network-topologies", {"name": "racks", "clusterId": west, "levels": ["zone", "rack"]})

    written = linked.kube.wait(f"{topologies}/racks", bool, seconds=60)
    assert written["spec"]["levels"] == [{"nodeLabel": "zone"}, {"nodeLabel": "rack"}]

    def seen() -> dict[str, tuple[str, str]]:
        found = linked.api.get("/network-topologies")["networkTopologies"]
        return {item["name"]: (item["source"], item["phase"]) for item in found}

    expected = {"racks": ("Run.ai", "Ready"), "by-hand": ("Cluster", "Ready")}
    wait_for("both are known", lambda: seen() == expected)
    assert linked.api.http.delete(f"/api/v1/network-topologies/{made['id']}").status_code < 300
    linked.kube.wait_gone(f"{topologies}/racks", seconds=60)
    linked.kube.delete(f"{topologies}/by-hand")
    wait_for("none is left", lambda: seen() == {})


def test_stop_run_and_delete_reach_the_cluster(linked: Linked) -> None:
    uid = linked.submit("long")
    linked.api.wait(uid, "Running")
    [first] = linked.pods("long")

    linked.api.post(f"/workloads/trainings/{uid}/suspend")
    linked.api.wait(uid, "Stopped")
    wait_for("its pod is gone", lambda: not linked.pods("long"))
    wait_for("that is told", lambda: not linked.api.get(f"/workloads/{uid}/pods")["pods"])
    linked.api.post(f"/workloads/trainings/{uid}/resume")
    linked.api.wait(uid, "Running")
    [second] = linked.pods("long")
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    linked.end(uid)
    assert linked.pods("long") == []


def test_what_the_cluster_cannot_run_ends_with_its_reason(linked: Linked) -> None:
    uid = linked.api.submit("no-image", "work", project="vision")

    assert linked.api.wait(uid, "Failed") == "Failed"
    found = linked.api.get(f"/workloads/{uid}")
    assert "spec.image: is required on a cluster" in found["phaseMessage"]
    assert linked.api.http.delete(f"/api/v1/workloads/trainings/{uid}").status_code < 300


def test_why_a_workload_waits_is_asked_of_the_cluster(linked: Linked) -> None:
    uid = linked.submit("large", compute={"gpuDevicesRequest": 8})

    said = wait_for(
        "a verdict", lambda: answer if (answer := linked.api.get(f"/workloads/{uid}/why"))["verdict"] else None
    )

    assert said["sentence"].startswith("vision/large is Pending")
    linked.end(uid)


def test_what_kubectl_makes_appears_at_the_control_plane_and_can_be_stopped_there(linked: Linked) -> None:
    body = {
        "apiVersion": "run.ai/v2alpha1",
        "kind": "TrainingWorkload",
        "metadata": {"name": "by-hand", "namespace": "runai-vision"},
        "spec": fake(),
    }
    linked.cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(body))

    uid = wait_for("it appears", lambda: linked.api.workloads().get("vision/by-hand"))["id"]
    assert uid == linked.object("by-hand")["metadata"]["uid"]
    linked.api.wait(uid, "Running")
    linked.api.post(f"/workloads/trainings/{uid}/suspend")
    linked.kube.wait(f"{WORKLOADS}/by-hand", lambda seen: seen["status"]["phase"] == "Stopped", seconds=60)
    linked.end(uid)


def test_while_the_link_is_cut_both_sides_go_on_and_are_reconciled(linked: Linked) -> None:
    api, wire = linked.api, linked.world.wires["west"]
    stays, stops = linked.submit("stays"), linked.submit("stops")
    api.wait(stays, "Running")
    api.wait(stops, "Running")
    [before] = linked.pods("stays")
    wire.open = False
    wire.cut()
    wait_for("it is disconnected", lambda: api.get("/clusters/west")["status"]["state"] == "Disconnected")

    waits = linked.submit("waits")
    api.post(f"/workloads/trainings/{stops}/suspend")
    linked.kube.delete(f"{PODS}/{before['metadata']['name']}", grace=0)  # the cluster makes another one by itself
    linked.kube.wait(f"{WORKLOADS}/stays", lambda _: _other(linked.pods("stays"), before), seconds=60)
    assert api.phase(waits) == "Creating"
    assert api.http.get(f"/api/v1/workloads/{stays}/logs").status_code == 503
    wire.open = True

    linked.world.wait_connected("west", api)
    api.wait(waits, "Running")
    api.wait(stops, "Stopped")
    for name, uid in (("stays", stays), ("waits", waits)):
        pods = wait_for("its pod is told", partial(_running, linked, uid))
        assert [pod["name"] for pod in pods] == [pod["metadata"]["name"] for pod in linked.pods(name)]
    for uid in (stays, stops, waits):
        linked.end(uid)


def _other(pods: list[Object], before: Object) -> bool:
    return bool(pods) and all(pod["metadata"]["uid"] != before["metadata"]["uid"] for pod in pods)


def test_another_process_of_the_cluster_goes_on_with_the_credential_that_the_cluster_keeps(linked: Linked) -> None:
    api = linked.api
    runs, ends = linked.submit("runs"), linked.submit("ends")
    api.wait(runs, "Running")
    api.wait(ends, "Running")
    [before] = linked.pods("runs")

    linked.agent.kill()
    linked.agent.data_dir = linked.agent.data_dir.with_name("another")  # as on another node, with nothing of the first
    linked.kube.delete(f"{WORKLOADS}/ends")
    linked.agent.start()

    linked.world.wait_connected("west", api)
    wait_for("what was deleted meanwhile is gone", lambda: "vision/ends" not in api.workloads())
    assert [pod["metadata"]["uid"] for pod in linked.pods("runs")] == [before["metadata"]["uid"]], "it was not touched"
    api.post(f"/workloads/trainings/{runs}/suspend")
    api.wait(runs, "Stopped")
    linked.end(runs)


def test_what_the_cluster_lacks_is_said_at_the_control_plane(linked: Linked) -> None:
    labels = {"nvidia.com/gpu.present": "true"}
    names = add_fake_nodes(linked.cluster, 1, prefix="bare", gpus=0, labels=labels)

    def state() -> str:
        return str(linked.api.get("/clusters/west")["status"]["state"])

    wait_for("it is missed", lambda: state() == "MissingPrerequisites", 120)
    conditions = linked.api.get("/clusters/west")["status"]["conditions"]
    assert [item["message"].partition(" have GPUs")[0] for item in conditions if "GPU" in item["type"]] == names
    remove_nodes(linked.cluster, names)
    wait_for("nothing is missing", lambda: state() == "Connected", 120)


def test_logs_commands_and_ports_of_containers_pass_the_link(linked: Linked, real_node: str) -> None:
    program = (
        "import http.server as h; server = h.HTTPServer(('', 8000), h.SimpleHTTPRequestHandler)\n"
        "print('from a container', flush=True); server.serve_forever()"
    )
    spec = real_at_rest(["python", "-c", program])
    uid = linked.api.submit("speaks", spec.pop("command"), project="vision", **spec)
    linked.api.wait(uid, "Running")
    pods = wait_for("its pod is told", lambda: _running(linked, uid))
    assert [pod["nodeName"] for pod in pods] == [real_node]

    path = f"/api/v1/workloads/{uid}/logs"
    wait_for("its line", lambda: linked.api.http.get(path).text.startswith("from a container\n"))
    context = ssl.create_default_context(cafile=str(linked.world.trust.file))
    port = linked.world.control_plane.port
    workload = f"wss://127.0.0.1:{port}/api/v1/workloads/{uid}"
    token = {"Authorization": linked.api.http.headers["Authorization"]}
    connect = partial(
        websockets.sync.client.connect, ssl=context, additional_headers=token, proxy=None, open_timeout=60
    )
    with connect(f"{workload}/exec?command=/bin/cat&stdin=true") as socket:
        socket.send(b"\x00over the link")
        assert socket.recv(timeout=60) == b"\x01over the link"
    with connect(f"{workload}/forward?port=8000") as socket:
        socket.send(b"GET / HTTP/1.0\r\n\r\n")
        said = b""
        while b"Directory listing" not in said:
            said += socket.recv(timeout=60, decode=False)
    linked.end(uid)


@pytest.fixture
def real_node(linked: Linked) -> str:
    try:
        machine.require()
    except binaries.Unavailable as reason:
        pytest.skip(str(reason))
    [name] = machine.add_real_nodes(linked.cluster, 1, gpus=4)
    return name
