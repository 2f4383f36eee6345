"""Everything on the cluster: an image of this checkout, `runai admin install` with two replicas, `runai connect`.

Nothing of ours runs outside: scheduler, operator and API are pods on a real node, with the rights, probes and
certificates of the manifests.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from pytest_socket import socket_allow_hosts

from tests.cluster import binaries, machine
from tests.cluster.cluster import Cluster
from tests.cluster.kube import Kube, Object
from tests.cluster.product_image import RUNAI, write_product_image
from tests.cluster.running import eventually, real, real_at_rest
from tests.controlplanes import ControlPlane, Trust, Wire, wait_for
from tests.ports import free_port

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

PODS = "/api/v1/namespaces/runai/pods"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/runai/leases"
WORKLOADS = "/apis/run.ai/v2alpha1/namespaces/runai-vision/trainingworkloads"
SECRETS = "/api/v1/namespaces/runai/secrets"
NAMESPACE = "/api/v1/namespaces/runai-vision"
CREDENTIALS = "/var/lib/runai/credentials.json"
CLAIM = "/api/v1/namespaces/runai/persistentvolumeclaims/runai-records"
START_SECONDS = 240
STORAGE = "of-one-node"


class Deployed:
    """A cluster with everything installed, and the command line of somebody outside."""

    def __init__(self, cluster: Cluster, kube: Kube, folder: Path) -> None:
        self.cluster = cluster
        self.kube = kube
        # Somebody on another machine: nothing here names an orchestrator.
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RUNAI_")}
        self._environment = {**kept, "XDG_CONFIG_HOME": str(folder), "HOME": str(folder)}

    def runai(self, *words: str) -> str:
        """Run the command; return what it printed."""
        command = [sys.executable, "-m", "runai_core.cli.main", *words]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=120, env=self._environment, cwd="/"
        )
        assert done.returncode == 0, f"runai {' '.join(words)}: {done.stderr}{done.stdout}"
        return done.stdout

    def install(self, *more: str) -> str:
        """Install this checkout with two replicas of everything, its records on a volume; return what was said."""
        image = ("--image", RUNAI, "--image-pull-policy", "Never")
        many = ("--replicas", "2", "--api-replicas", "2", "--storage-class", STORAGE)
        kubeconfig = str(self.cluster.kubeconfig())
        return self.runai("admin", "install", "--kubeconfig", kubeconfig, *image, *many, *more)

    def leader(self, component: str) -> str:
        """Return the pod that leads now; empty where none does."""
        for lease in self.kube.get(LEASES)["items"]:
            if lease["metadata"]["name"] == f"runai-{component}":
                holder = str(lease["spec"].get("holderIdentity") or "")
                names = [pod["metadata"]["name"] for pod in self.kube.get(PODS)["items"]]
                return next((name for name in names if name in holder), "")
        return ""

    def replicas(self, component: str) -> list[str]:
        """Return the names of the component's pods that are ready; nothing while there are fewer than two."""
        pods = self.kube.get(PODS, labelSelector=f"app.kubernetes.io/component={component}")["items"]
        names = [pod["metadata"]["name"] for pod in pods if _is_ready_pod(pod)]
        return names if len(names) == 2 else []

    def generations(self) -> dict[str, int]:
        """Return how often each Deployment was changed."""
        items = self.kube.get("/apis/apps/v1/namespaces/runai/deployments")["items"]
        return {item["metadata"]["name"]: item["metadata"]["generation"] for item in items}

    @contextlib.contextmanager
    def api(self, pod: str) -> Iterator[httpx.Client]:
        """Requests to one replica of the API, as the first account of the replica."""
        file = json.loads(self.cluster.kubectl("-n", "runai", "exec", pod, "--", "cat", CREDENTIALS))
        headers = {"Authorization": f"Bearer {file['token']}"}
        with (
            _forwarded(self.cluster, f"pod/{pod}", 8080) as url,
            httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as client,
        ):
            yield client

    def logs(self) -> str:
        """Return what our pods said last, for a failure's message."""
        told = []
        for pod in self.kube.get(PODS)["items"]:
            name = pod["metadata"]["name"]
            with contextlib.suppress(AssertionError):
                told.append(f"== {name}\n{self.cluster.kubectl('-n', 'runai', 'logs', '--tail', '15', name)}")
        return "\n".join(told)

    def submit(self, name: str, spec: Object | None = None) -> str:
        """Create a training that prints a word on a real node, unless told otherwise; return its path."""
        spec = spec or real(["/bin/sh", "-c", "echo it ran here; sleep 2"])
        body = {
            "apiVersion": "run.ai/v2alpha1",
            "kind": "TrainingWorkload",
            "metadata": {"name": name, "namespace": "runai-vision"},
            "spec": spec,
        }
        self.cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(body))
        return f"{WORKLOADS}/{name}"

    def completes(self, path: str, seconds: float = 90) -> None:
        """Wait until a training has run to its end."""
        try:
            self.kube.wait(path, lambda seen: seen.get("status", {}).get("phase") == "Completed", seconds=seconds)
        except AssertionError as failure:
            raise AssertionError(f"{failure}\n{self.logs()}") from None


@pytest.fixture(scope="module")
def deployed(
    own_cluster: Cluster, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployed]:
    try:
        machine.require()
    except binaries.Unavailable as reason:
        pytest.skip(str(reason))
    own_cluster.start("kube-scheduler")  # it places our own processes
    machine.add_real_nodes(own_cluster, 1, gpus=4)
    archive = own_cluster.directory / "runai.tar"
    write_product_image(archive)
    machine.import_image(own_cluster, "real-1", archive)
    with own_cluster.kube() as kube:
        make_volume(kube, tmp_path_factory.mktemp("records"), "real-1")
        found = Deployed(own_cluster, kube, tmp_path_factory.mktemp("outside"))
        found.install()
        try:
            kube.wait("/apis/apps/v1/namespaces/runai/deployments", _are_available, seconds=START_SECONDS)
        except AssertionError:
            raise AssertionError(found.logs()) from None
        project: Object = {"apiVersion": "run.ai/v1", "kind": "Project", "metadata": {"name": "vision"}}
        kube.post("/apis/run.ai/v1/projects", {**project, "spec": {"resources": _quota()}})
        kube.wait("/apis/run.ai/v1/projects/vision", _is_ready, seconds=60)
        kube.wait("/api/v1/namespaces/runai-vision/serviceaccounts/default", bool)
        yield found


def make_volume(kube: Kube, folder: Path, node: str) -> None:
    """Make a volume of a node's own disk, and its class; nobody here provides volumes when they are asked for."""
    kube.post(
        "/apis/storage.k8s.io/v1/storageclasses",
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": STORAGE},
            "provisioner": "kubernetes.io/no-provisioner",
            "volumeBindingMode": "WaitForFirstConsumer",
        },
    )
    here = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}
    spec = {
        "capacity": {"storage": "10Gi"},
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": STORAGE,
        "local": {"path": str(folder)},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [here]}},
    }
    kube.post("/api/v1/persistentvolumes", {"apiVersion": "v1", "kind": "PersistentVolume",
                                            "metadata": {"name": "records"}, "spec": spec})  # fmt: skip


def _quota() -> list[Object]:
    return [{"nodePool": "default", "gpu": {"deserved": 4}}]


def _are_available(seen: Object) -> bool:
    items = seen.get("items", [])
    return len(items) == 3 and all(
        item.get("status", {}).get("availableReplicas") == item["spec"]["replicas"] for item in items
    )


def _is_ready_pod(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions") or ()
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


def _is_ready(project: Object) -> bool:
    return bool(project.get("status", {}).get("phase") == "Ready")


def test_all_processes_run_as_nobody_on_the_cluster_with_two_replicas(deployed: Deployed) -> None:
    pods = deployed.kube.get(PODS)["items"]

    names = sorted(pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in pods)
    assert names == ["api", "api", "operator", "operator", "scheduler", "scheduler"]
    assert {pod["spec"]["nodeName"] for pod in pods} == {"real-1"}
    assert {pod["spec"]["containers"][0]["image"] for pod in pods} == {RUNAI}
    name = pods[0]["metadata"]["name"]
    program = "import os; print(os.getuid())"
    printed = deployed.cluster.kubectl("-n", "runai", "exec", name, "--", "python3", "-c", program)
    assert printed.strip() == "65532"


def test_a_training_runs_from_the_first_line_to_the_last(deployed: Deployed) -> None:
    deployed.completes(deployed.submit("plain"))

    assert deployed.cluster.kubectl("-n", "runai-vision", "logs", "plain-1-0") == "it ran here\n"


def test_the_webhook_in_the_cluster_refuses_what_makes_no_sense(deployed: Deployed) -> None:
    body = {
        "apiVersion": "run.ai/v2alpha1",
        "kind": "TrainingWorkload",
        "metadata": {"name": "wrong", "namespace": "runai-vision"},
        "spec": {"image": {"value": "i"}, "gpu": {"value": "-3"}},
    }
    with pytest.raises(AssertionError) as refused:
        deployed.cluster.kubectl("create", "-f", "-", stdin=yaml.safe_dump(body))

    assert "denied the request" in str(refused.value)
    assert "spec.gpu" in str(refused.value)


def test_somebody_outside_connects_and_sees_the_same(deployed: Deployed) -> None:
    with _forwarded(deployed.cluster) as url:
        said = deployed.runai("connect", "--kubeconfig", str(deployed.cluster.kubeconfig()), "--url", url)
        assert f"Logged in to {url}" in said

        deployed.runai("training", "standard", "submit", "outside", "-p", "vision", "-i", "example/image")
        listed = json.loads(deployed.runai("workload", "list", "-p", "vision", "--json"))

    assert "outside" in json.dumps(listed)
    assert deployed.kube.get(f"{WORKLOADS}/outside")["spec"]["image"]["value"] == "example/image"


@pytest.mark.parametrize("component", ["operator", "scheduler"])
def test_when_the_leader_is_killed_the_other_replica_goes_on(deployed: Deployed, component: str) -> None:
    leader = eventually(lambda: deployed.leader(component), seconds=60)

    deployed.kube.delete(f"{PODS}/{leader}", grace=0)
    path = deployed.submit(f"after-{component}")

    successor = eventually(lambda: (name := deployed.leader(component)) != leader and name, seconds=90)
    assert successor
    deployed.completes(path)
    pods = deployed.kube.get("/api/v1/namespaces/runai-vision/pods", labelSelector=f"runai/workload=after-{component}")
    assert [pod["metadata"]["name"] for pod in pods["items"]] == [f"after-{component}-1-0"]


def test_installing_again_changes_nothing_that_runs_and_no_key(deployed: Deployed) -> None:
    kept = [f"{SECRETS}/runai-secrets-key", f"{SECRETS}/runai-identity", CLAIM]
    before = [deployed.kube.get(path) for path in kept]
    generations = deployed.generations()

    said = deployed.install("--json")

    assert set(json.loads(said)["counts"]) == {"unchanged"}
    after = [deployed.kube.get(path) for path in kept]
    assert [(item["metadata"]["uid"], item.get("data")) for item in after] == [
        (item["metadata"]["uid"], item.get("data")) for item in before
    ]
    assert deployed.generations() == generations


def test_api_and_operator_share_records_and_keys(deployed: Deployed) -> None:
    """What one replica of the API keeps, the operator opens for a pod, and the other replica changes and deletes."""
    first, second = deployed.replicas("api")
    path = f"{NAMESPACE}/secrets/shared"
    command = ["/bin/sh", "-c", "echo the word: $WORD"]
    variable = {"WORD": {"value": "SECRET:shared,word"}}
    with deployed.api(first) as one, deployed.api(second) as other:
        projects: list[Object] = one.get("/api/v1/org-unit/projects").json()["projects"]
        project = next(each["id"] for each in projects if each["name"] == "vision")
        body = {"meta": {"name": "shared", "scope": "project", "projectId": project}, "spec": words_of("first")}
        made = _done(one.post("/api/v1/asset/credentials/generic-secret", json=body))

        training = deployed.submit("sees-it", real(command, environment={"items": variable}))
        deployed.completes(training)
        assert deployed.cluster.kubectl("-n", "runai-vision", "logs", "sees-it-1-0") == "the word: first\n"

        place = f"/api/v1/asset/credentials/generic-secret/{made['meta']['id']}"
        _done(other.put(place, json={"meta": {"name": "shared"}, "spec": words_of("second")}))
        deployed.kube.wait(path, lambda seen: seen["data"] == {"word": "c2Vjb25k"}, seconds=90)
        assert other.delete(place).status_code < 300
        deployed.kube.wait_gone(path, seconds=90)


def test_records_outlive_every_process(deployed: Deployed) -> None:
    with deployed.api(deployed.replicas("api")[0]) as api:
        _done(api.post("/api/v1/users", json={"email": "stays@example.org", "password": "long enough 4 you"}))
    old = deployed.replicas("api")

    for name in old:
        deployed.kube.delete(f"{PODS}/{name}", grace=0)

    def successors() -> list[str]:
        return [name for name in deployed.replicas("api") if name not in old]

    fresh = eventually(lambda: found if len(found := successors()) == len(old) else None, seconds=180)
    with deployed.api(fresh[0]) as api:
        users = api.get("/api/v1/users").json()
    assert "stays@example.org" in json.dumps(users)


def words_of(word: str) -> dict[str, object]:
    """The specification of a generic secret of one word."""
    return {"keyValuePairs": [{"key": "word", "value": word}]}


def _done(response: httpx.Response) -> Object:
    assert response.status_code < 300, response.text
    found: Object = response.json()
    return found


@contextlib.contextmanager
def _forwarded(cluster: Cluster, target: str = "service/runai-api", port: int = 80) -> Iterator[str]:
    """Show the API's service, or one of its pods, on a port of this machine, as an administrator does."""
    kubectl = binaries.install(["kubectl"])["kubectl"]
    words = ("-n", "runai", "port-forward", target, f":{port}")
    command = [str(kubectl), "--kubeconfig", str(cluster.kubeconfig()), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        try:
            deadline, line = time.monotonic() + 30, ""
            while not (found := re.search(r"127\.0\.0\.1:(\d+)", line)):
                assert process.poll() is None, line
                assert time.monotonic() < deadline, line
                line = process.stdout.readline()
            yield f"http://127.0.0.1:{found[1]}"
        finally:
            process.terminate()


@pytest.mark.timeout(600)  # two operators start anew, and one of them connects
def test_the_cluster_is_linked_to_a_control_plane_by_installing(deployed: Deployed, tmp_path: Path) -> None:
    host = deployed.cluster.host_address
    socket_allow_hosts([host, "127.0.0.1", "localhost"])  # where pods reach this machine; undone after the test
    (tmp_path / "tls").mkdir()
    trust = Trust(tmp_path / "tls")
    plane = ControlPlane(
        log=tmp_path / "control-plane.log",
        data_dir=tmp_path / "control-plane",
        trust=trust,
        certificate=trust.certificate((host, "127.0.0.1")),
        port=free_port(),
        names=host,
    )
    wire = Wire(plane.port, host)  # where the pods reach it; it listens on loopback itself
    token = tmp_path / "west.token"
    try:
        plane.start()
        api = plane.api()
        west = api.post("/clusters", {"name": "west"})["uuid"]
        token.write_text(api.get(f"/clusters/{west}/cluster-install-info")["joinToken"])
        deployed.install(
            *("--control-plane-url", f"https://{host}:{wire.port}"),
            *("--join-token-file", str(token), "--control-plane-ca", str(trust.file)),
        )
        wait_for("it is connected", lambda: api.get("/clusters/west")["status"]["state"] == "Connected", START_SECONDS)

        spec = real_at_rest(["/bin/sh", "-c", "echo asked for elsewhere; sleep 2"])
        uid = api.submit("from-there", spec.pop("command"), project="vision", **spec)
        assert api.wait(uid, "Completed", "Failed", seconds=120) == "Completed", deployed.logs()
        assert api.http.get(f"/api/v1/workloads/{uid}/logs").text == "asked for elsewhere\n"
        secret = deployed.kube.get(f"{SECRETS}/runai-notes")
        assert list(secret["data"]) == ["control-plane.json"]
    except AssertionError as failure:
        raise AssertionError(f"{failure}\n{deployed.logs()}\n{plane.said()[-3000:]}") from None
    finally:
        wire.close()
        plane.stop()
