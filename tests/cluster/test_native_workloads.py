"""Native workloads on a real API server, with kubectl alone: fake nodes for lives, real nodes for what runs."""

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from runai_core.backends.kubernetes.codec.mpi import SSH_FOLDER
from runai_core.model.organization import SYSTEM
from runai_core.model.workload import Phase
from runai_core.ports import Query
from tests.cluster.cluster import Cluster
from tests.cluster.conftest import AddNodes
from tests.cluster.fakes import add_fake_nodes, remove_nodes
from tests.cluster.running import Running, eventually, fake, real, running

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

TRAINING, WORKSPACE = "TrainingWorkload", "InteractiveWorkload"
DISTRIBUTED, INFERENCE = "DistributedWorkload", "InferenceWorkload"


@pytest.fixture(scope="module")
def run(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """An orchestrator, a project, and three fake nodes."""
    nodes = add_fake_nodes(cluster, 3, prefix="native")
    try:
        with running(cluster, tmp_path_factory.mktemp("orchestrator")) as found:
            yield found
    finally:
        remove_nodes(cluster, nodes)


def uid_of(item: dict[str, object]) -> str:
    """Return the uid of an object."""
    return str(item["metadata"]["uid"])  # type: ignore[index]


def is_ready(pod: dict[str, Any]) -> bool:
    """Return whether a pod is ready."""
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def events(run: Running, uid: str) -> list[str]:
    """Return what was told about a workload."""
    page = run.call(run.orchestrator.workloads.history(SYSTEM, uid, Query()))
    return [record.message for record in page.items]


def deployments(run: Running, name: str) -> str:
    """Return the path of a Deployment."""
    return f"/apis/apps/v1/namespaces/{run.namespace}/deployments/{name}"


# -- lives, on fake nodes


def test_a_training_runs_to_its_end(run: Running) -> None:
    path = run.apply(TRAINING, "ends", fake("2s", gpu={"value": "2"}))

    item = run.reaches(path, "Completed")

    assert item["metadata"]["finalizers"] == ["run.ai/workload"]
    assert item["status"]["nodePool"] == "default"
    assert item["status"]["gpus"] == "2"
    # What happened is written after the change that it tells of.
    told = ["Creating", "Pending", "Initializing", "Running", "Completed"]
    eventually(lambda: run.phases("ends", uid_of(item)) == told)
    assert run.workload("ends").phase is Phase.COMPLETED
    (pod,) = run.pods("ends")
    assert pod["metadata"]["name"] == "ends-1-0"
    assert pod["spec"]["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": "2"}


def test_a_workspace_is_stopped_runs_again_and_is_deleted(run: Running) -> None:
    path = run.apply(WORKSPACE, "desk", fake(ports={"items": {"nb": {"value": {"container": 8888}}}}))
    uid = uid_of(run.reaches(path, "Running"))

    run.kube.patch(path, {"spec": {"active": {"value": False}}})
    run.reaches(path, "Stopped")
    eventually(lambda: not run.pods("desk"))
    run.kube.patch(path, {"spec": {"active": {"value": True}}})
    run.reaches(path, "Running")
    assert [pod["metadata"]["name"] for pod in run.pods("desk")] == ["desk-2-0"]

    run.kube.delete(path)
    run.kube.wait_gone(path, seconds=60)
    assert not run.pods("desk")
    groups = f"/apis/scheduling.run.ai/v2alpha2/namespaces/{run.namespace}/podgroups"
    run.kube.wait(groups, lambda seen: not [g for g in seen["items"] if ".desk." in g["metadata"]["name"]])
    deleted = run.call(run.orchestrator.workloads.get(SYSTEM, uid))
    assert deleted.meta.deleted_at is not None
    eventually(lambda: {"Stopping", "Stopped", "Resuming", "Deleting"} <= set(run.phases("desk", uid)))


def test_a_gang_that_loses_a_pod_is_degraded_until_it_is_whole_again(run: Running) -> None:
    slow = {"items": {"runai.test/starts-after": {"value": "2s"}}}
    path = run.apply(DISTRIBUTED, "gang", fake(workers={"value": 2}, annotations=slow))
    item = run.reaches(path, "Running")
    assert item["status"]["runningPods"] == item["status"]["requestedPods"] == 3

    run.kube.delete(f"/api/v1/namespaces/{run.namespace}/pods/gang-1-2", grace=0)

    run.reaches(path, "Degraded")
    run.reaches(path, "Running")
    assert len(run.pods("gang")) == 3


def test_each_pod_of_a_gang_is_told_where_the_others_are(run: Running) -> None:
    path = run.apply(DISTRIBUTED, "told", fake(workers={"value": 1}), masterSpec={"gpu": {"value": "1"}})
    run.reaches(path, "Running")

    pods = run.pods("told")

    assert [pod["spec"]["hostname"] for pod in pods] == ["master-0", "worker-1"]
    variables = [{e["name"]: e.get("value") for e in pod["spec"]["containers"][0]["env"]} for pod in pods]
    assert [each["RANK"] for each in variables] == ["0", "1"]
    assert {each["MASTER_ADDR"] for each in variables} == {f"master-0.told.{run.namespace}.svc"}
    service = run.kube.get(f"/api/v1/namespaces/{run.namespace}/services/told")
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert [bool(pod["spec"]["containers"][0]["resources"].get("limits")) for pod in pods] == [True, False]


def test_an_mpi_launcher_has_a_host_file_and_all_have_the_keys(run: Running) -> None:
    spec = fake(workers={"value": 2}, jobType="MPIJob", slotsPerWorker={"value": 4}, command={"value": "mpirun x"})
    path = run.apply(DISTRIBUTED, "mpi", spec)
    run.reaches(path, "Running")

    launcher, *workers = run.pods("mpi")

    folders = [mount["mountPath"] for mount in launcher["spec"]["containers"][0]["volumeMounts"]]
    assert {SSH_FOLDER, "/etc/mpi"} <= set(folders)
    assert all(SSH_FOLDER in json.dumps(pod["spec"]["containers"][0]["volumeMounts"]) for pod in workers)
    hosts = run.kube.get(f"/api/v1/namespaces/{run.namespace}/configmaps/mpi-mpi")["data"]["hostfile"]
    names = [f"worker-{rank}.mpi.{run.namespace}.svc slots=4" for rank in (1, 2)]
    assert hosts.split("\n")[:2] == names
    assert run.kube.get(f"/api/v1/namespaces/{run.namespace}/secrets/mpi-mpi")["type"] == "kubernetes.io/ssh-auth"


def test_an_inference_server_is_a_deployment_behind_a_service(run: Running) -> None:
    path = run.apply(INFERENCE, "serve", fake(minScale={"value": 2}, servingPort={"value": {"container": 8000}}))
    item = run.reaches(path, "Running")

    service = run.kube.get(f"/api/v1/namespaces/{run.namespace}/services/serve")
    assert service["spec"]["ports"][0]["targetPort"] == 8000
    deployment = run.kube.get(deployments(run, "serve"))
    assert deployment["metadata"]["ownerReferences"][0]["uid"] == uid_of(item)
    first = run.pods("serve")
    assert len(first) == deployment["spec"]["replicas"] == 2
    assert {pod["metadata"]["ownerReferences"][0]["kind"] for pod in first} == {"ReplicaSet"}

    run.kube.delete(f"/api/v1/namespaces/{run.namespace}/pods/{first[0]['metadata']['name']}", grace=0)

    gone = first[0]["metadata"]["uid"]
    eventually(lambda: len(pods := run.pods("serve")) == 2 and gone not in [p["metadata"]["uid"] for p in pods])
    run.reaches(path, "Running")


def test_an_inference_server_is_deleted_with_its_replicas(run: Running) -> None:
    path = run.apply(INFERENCE, "leaves", fake(servingPort={"value": {"container": 8000}}))
    uid = uid_of(run.reaches(path, "Running"))

    run.call(run.orchestrator.workloads.delete(SYSTEM, uid))

    run.kube.wait_gone(path, seconds=60)
    run.kube.wait_gone(deployments(run, "leaves"))
    eventually(lambda: not run.pods("leaves"))


def test_a_changed_inference_server_never_has_fewer_ready_replicas(run: Running) -> None:
    path = run.apply(INFERENCE, "rolls", fake(servingPort={"value": {"container": 8000}}))
    run.reaches(path, "Running")

    run.kube.patch(path, {"spec": {"image": {"value": "example/newer"}}})

    fewest, images = 1, [""]
    deadline = time.monotonic() + 120
    while images != ["example/newer"]:
        assert time.monotonic() < deadline, images
        pods = [pod for pod in run.pods("rolls") if not pod["metadata"].get("deletionTimestamp")]
        fewest = min(fewest, sum(map(is_ready, pods)))
        images = [pod["spec"]["containers"][0]["image"] for pod in pods]
    assert fewest == 1
    item = run.kube.wait(path, lambda seen: seen["status"]["attempt"] == 2, seconds=120)
    run.reaches(path, "Running")
    eventually(lambda: run.phases("rolls", uid_of(item))[-1] == "Running")  # it answered all the time
    assert "Updating" not in run.phases("rolls", uid_of(item)), "an update is no phase"
    first, second = run.call(run.orchestrator.workloads.revisions(SYSTEM, uid_of(item)))
    assert (first.revision.native, second.revision.native) == ("1", "2"), "as Kubernetes counts them"
    assert first.revision.workload.spec.image != second.revision.workload.spec.image == "example/newer"


def test_a_server_that_is_scaled_gets_or_loses_only_what_differs(run: Running) -> None:
    path = run.apply(INFERENCE, "scales", fake(servingPort={"value": {"container": 8000}}))
    run.reaches(path, "Running")
    (first,) = run.pods("scales")

    run.cluster.kubectl("-n", run.namespace, "scale", "inferenceworkload", "scales", "--replicas", "3")
    eventually(lambda: len(run.pods("scales")) == 3, seconds=120)
    run.kube.wait(path, lambda seen: seen["status"]["runningPods"] == 3, seconds=120)
    three = {pod["metadata"]["uid"] for pod in run.pods("scales")}
    assert first["metadata"]["uid"] in three

    run.kube.patch(deployments(run, "scales"), {"spec": {"replicas": 4}})  # by hand, and against the workload
    run.cluster.kubectl("-n", run.namespace, "scale", "inferenceworkload", "scales", "--replicas", "2")
    eventually(lambda: len(run.pods("scales")) == 2, seconds=120)
    run.kube.wait(path, lambda seen: seen["status"]["runningPods"] == 2, seconds=120)
    item = run.reaches(path, "Running", seconds=120)
    assert item["status"]["attempt"] == 1
    assert run.kube.get(deployments(run, "scales"))["spec"]["replicas"] == 2
    assert len(three & {pod["metadata"]["uid"] for pod in run.pods("scales")}) >= 1


def test_a_new_version_that_fits_nowhere_leaves_the_old_one_at_work(run: Running) -> None:
    path = run.apply(INFERENCE, "grows", fake(servingPort={"value": {"container": 8000}}))
    run.reaches(path, "Running")
    (first,) = run.pods("grows")

    run.kube.patch(path, {"spec": {"gpu": {"value": "64"}}})

    eventually(lambda: len(run.pods("grows")) == 2, seconds=120)
    uid = uid_of(item := run.reaches(path, "Running", seconds=120))
    eventually(lambda: "64" in " ".join(events(run, uid)), seconds=120)
    assert item["status"]["attempt"] == 2
    old = run.kube.get(f"/api/v1/namespaces/{run.namespace}/pods/{first['metadata']['name']}")
    assert is_ready(old)
    assert not old["metadata"].get("deletionTimestamp")

    run.kube.patch(path, {"spec": {"gpu": {"value": "1"}}})
    run.reaches(path, "Running")
    eventually(lambda: [p["metadata"]["labels"]["runai/attempt"] for p in run.pods("grows")] == ["3"])


def test_a_finished_workload_is_deleted_when_its_time_is_over(run: Running) -> None:
    path = run.apply(TRAINING, "brief", fake("1s", autoDeletionTimeAfterCompletionSeconds={"value": 2}))
    uid = uid_of(run.kube.get(path))
    run.kube.wait_gone(path)
    eventually(lambda: not run.pods("brief"))
    eventually(lambda: "Completed" in run.phases("brief", uid))


def test_a_workload_whose_node_is_gone_runs_elsewhere(run: Running, fake_nodes: AddNodes) -> None:
    doomed, other = fake_nodes(2, labels={"k3-test": "dies"})
    term = {"matchExpressions": [{"key": "k3-test", "operator": "In", "values": ["dies"]}]}
    path = run.apply(WORKSPACE, "moves", fake(nodeAffinityRequired={"value": {"nodeSelectorTerms": [term]}}))
    run.reaches(path, "Running")
    (pod,) = run.pods("moves")
    node = pod["spec"]["nodeName"]

    run.kube.delete(f"/api/v1/nodes/{node}")

    left = ({doomed, other} - {node}).pop()
    eventually(lambda: [p["spec"].get("nodeName") for p in run.pods("moves")] == [left], seconds=150)
    run.reaches(path, "Running")
    run.kube.delete(path)
    run.kube.wait_gone(path)  # before its node is: the pods of a missing node take 40 s to go


# -- what people write


def test_a_wrong_workload_says_what_is_wrong_and_runs_once_it_is_right(run: Running) -> None:
    path = run.apply(TRAINING, "wrong", fake("1s", nodePools={"value": "nowhere"}))
    item = run.reaches(path, "Failed")
    assert "spec.nodePools.0: there is no such node pool" in item["status"]["phaseMessage"]
    assert not run.pods("wrong")

    run.kube.patch(path, {"spec": {"nodePools": {"value": "default"}}})

    run.reaches(path, "Completed")


def test_a_workload_without_an_image_is_refused(run: Running) -> None:
    spec = fake("1s")
    del spec["image"]
    item = run.reaches(run.apply(TRAINING, "bare", spec), "Failed")
    assert item["status"]["phaseMessage"].startswith("spec.image: is required on a cluster")


def test_two_kinds_cannot_have_one_name(run: Running) -> None:
    run.reaches(run.apply(WORKSPACE, "same", fake()), "Running")
    item = run.reaches(run.apply(TRAINING, "same", fake("1s")), "Failed")
    assert "has this name already" in item["status"]["phaseMessage"]


def test_policies_of_the_project_apply_to_what_kubectl_creates(run: Running) -> None:
    rules = {"gpu": {"rules": {"max": "1"}}, "cpu": {"value": "0.5"}}
    policy = {"apiVersion": "run.ai/v2alpha1", "kind": "InteractivePolicy", "metadata": {"name": "p"}, "spec": rules}
    path = f"/apis/run.ai/v2alpha1/namespaces/{run.namespace}/interactivepolicies"
    run.kube.post(path, policy)
    try:
        allowed = run.reaches(run.apply(WORKSPACE, "modest", fake(gpu={"value": "1"})), "Running")
        refused = run.reaches(run.apply(WORKSPACE, "greedy", fake(gpu={"value": "2"})), "Failed")
    finally:
        run.kube.delete(f"{path}/p")
    assert allowed["spec"]["cpu"] == {"value": "0.5"}
    assert "compute.gpuDevicesRequest" in refused["status"]["phaseMessage"]


def test_a_template_is_completed_and_never_run(run: Running) -> None:
    base = fake("1s", environment={"items": {"A": {"value": "base"}, "B": {"value": "base"}}})
    template = run.apply(TRAINING, "base", {**base, "usage": "Template"})
    path = run.apply(TRAINING, "derived", {"baseWorkload": "base", "environment": {"items": {"A": {"value": "own"}}}})
    run.reaches(path, "Completed")
    (pod,) = run.pods("derived")
    values = {each["name"]: each.get("value") for each in pod["spec"]["containers"][0]["env"]}
    assert (values["A"], values["B"]) == ("own", "base")
    assert "status" not in run.kube.get(template)


def test_the_services_see_and_stop_what_kubectl_created(run: Running) -> None:
    path = run.apply(WORKSPACE, "shared", fake())
    uid = uid_of(run.reaches(path, "Running"))
    page = run.call(run.orchestrator.workloads.list(SYSTEM, Query(project=run.project, search="shared")))
    assert [w.meta.uid for w in page.items] == [uid]

    run.call(run.orchestrator.workloads.stop(SYSTEM, uid))

    item = run.reaches(path, "Stopped")
    assert item["spec"]["active"] == {"value": False}


# -- what runs, on real nodes


def test_a_program_runs_in_a_real_container_and_its_log_is_read(run: Running, real_nodes: list[str]) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token"}, "stringData": {"key": "s3cret"}}
    run.kube.post(f"/api/v1/namespaces/{run.namespace}/secrets", secret)
    program = "import os; print(os.environ['TOKEN'], os.environ['NODE_NAME'], os.environ['RUNAI_PROJECT'])"
    variables = {"items": {"TOKEN": {"value": "SECRET:token,key"}}}

    path = run.apply(TRAINING, "speaks", real(["python", "-c", program], environment=variables))

    uid = uid_of(run.reaches(path, "Completed", seconds=90))
    token, node, project = run.log(uid).split()
    assert (token, project) == ("s3cret", run.project)
    assert node in real_nodes
    assert run.log(uid, tail=1).split()[0] == "s3cret"


def test_a_failure_is_tried_again_up_to_the_backoff_limit(run: Running, real_nodes: list[str]) -> None:
    spec = real(["python", "-c", "raise SystemExit(3)"], backoffLimit={"value": 1})
    item = run.reaches(run.apply(TRAINING, "fails", spec), "Failed", seconds=90)
    assert "exit code 3" in item["status"]["phaseMessage"]
    assert "backoff limit is 1" in item["status"]["phaseMessage"]
    assert [pod["metadata"]["name"] for pod in run.pods("fails")] == ["fails-1-0", "fails-2-0"]


def test_restarts_in_place_end_at_the_backoff_limit(run: Running, real_nodes: list[str]) -> None:
    spec = real(
        ["python", "-c", "raise SystemExit(4)"], restartPolicy={"value": "OnFailure"}, backoffLimit={"value": 1}
    )
    path = run.apply(TRAINING, "loops", spec)
    item = run.reaches(path, "Failed", seconds=120)
    assert "exit code 4" in item["status"]["phaseMessage"]
    (pod,) = run.pods("loops")
    assert pod["status"]["phase"] == "Failed"


def test_an_image_that_is_not_there_is_told(run: Running, real_nodes: list[str]) -> None:
    spec = real(["python", "-V"]) | {"image": {"value": "runai-test/nothing:1"}}
    path = run.apply(TRAINING, "imageless", spec)
    uid = uid_of(run.reaches(path, "Initializing", seconds=90))

    def told() -> str:
        (pod,) = run.call(run.orchestrator.workloads.pods(SYSTEM, uid))
        return pod.status.reason

    assert eventually(lambda: told() == "ErrImageNeverPull")


WAITS = "import signal; print('up', flush=True); signal.sigwait({signal.SIGTERM})"


def test_commands_run_beside_a_program(run: Running, real_nodes: list[str]) -> None:
    uid = uid_of(run.reaches(run.apply(WORKSPACE, "shell", real(["python", "-c", WAITS])), "Running", seconds=90))

    async def execute(argv: list[str], given: bytes = b"", *, tty: bool = False) -> tuple[str, int]:
        stdin = bool(given)
        async with await run.orchestrator.workloads.exec(SYSTEM, uid, None, argv, stdin=stdin, tty=tty) as session:
            if given:
                await session.write(given)
                await session.write(b"")
            output = b""
            while (piece := await session.read()) is not None:
                output += piece[1]
            async with asyncio.timeout(60):
                return output.decode(), await session.wait()

    assert run.call(execute(["/bin/sh", "-c", "echo out; echo err >&2; exit 7"]))[1] == 7
    assert run.call(execute(["/bin/cat"], b"through the API server")) == ("through the API server", 0)
    assert "xterm" not in run.call(execute(["/bin/sh", "-c", "test -t 0 || echo no terminal"]))[0]
    assert run.call(execute(["/bin/sh", "-c", "test -t 1 && echo terminal"], tty=True))[0].strip() == "terminal"
    assert run.log(uid) == "up\n"


MEET = """
import os, socket, time
rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
where = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
if rank == 0:
    server = socket.create_server(("", where[1]))
    met = {0}
    while len(met) < size:
        peer, _ = server.accept()
        met.add(int(peer.recv(16)))
        peer.sendall(b"seen"); peer.close()
    print("met", sorted(met), "on", os.environ["NODE_NAME"], flush=True)
else:
    for attempt in range(120):
        try:
            peer = socket.create_connection(where, 2)
            break
        except OSError:
            time.sleep(0.5)
    peer.sendall(str(rank).encode())
    assert peer.recv(16) == b"seen"
    print("rank", rank, "on", os.environ["NODE_NAME"], flush=True)
"""


def test_the_pods_of_a_gang_meet_by_name_across_two_nodes(run: Running, real_nodes: list[str]) -> None:
    spec = real(["python", "-c", MEET], workers={"value": 3}, gpu={"value": "2"}, jobType="PyTorchJob")
    path = run.apply(DISTRIBUTED, "meets", spec)
    uid = uid_of(run.reaches(path, "Completed", seconds=120))
    assert run.log(uid, "meets-1-0").startswith("met [0, 1, 2, 3] on")
    assert {pod["spec"]["nodeName"] for pod in run.pods("meets")} == set(real_nodes)
