"""Real kubelets and real containers, as the tests of everything that runs in pods need them."""

import contextlib
import json
import re
import subprocess
import urllib.request
from pathlib import Path

import pytest

from tests.cluster import machine
from tests.cluster.cluster import Cluster
from tests.cluster.device_plugin import gpu_ids
from tests.cluster.images import a_container, a_real_pod, host_volumes
from tests.cluster.kube import Kube, Object
from tests.cluster.processes import marked

pytestmark = pytest.mark.cluster

WAIT_FOR_EVER = ["python", "-c", "import signal; signal.pause()"]


def run_to_end(kube: Kube, namespace: str, pod: Object, seconds: float = 90) -> str:
    """Run a pod that must succeed; return what it printed."""
    path = f"/api/v1/namespaces/{namespace}/pods"
    name = pod["metadata"]["name"]
    kube.post(path, pod)
    ended = kube.wait(
        f"{path}/{name}", lambda seen: seen["status"]["phase"] in {"Succeeded", "Failed"}, seconds=seconds
    )
    printed = kube.http.get(f"{path}/{name}/log").text
    assert ended["status"]["phase"] == "Succeeded", printed
    return printed


def start_pod(kube: Kube, namespace: str, pod: Object) -> Object:
    """Start a pod that stays; return it once it runs."""
    path = f"/api/v1/namespaces/{namespace}/pods"
    kube.post(path, pod)
    return kube.wait(f"{path}/{pod['metadata']['name']}", lambda seen: seen["status"]["phase"] == "Running")


def test_a_pod_prints_from_python_in_a_container_of_its_own(kube: Kube, namespace: str, real_nodes: list[str]) -> None:
    program = "import os, socket, numpy; print(os.getpid(), socket.gethostname(), numpy.arange(4).sum())"

    printed = run_to_end(kube, namespace, a_real_pod("speaks", ["python", "-c", program], node=real_nodes[0]))

    assert printed == "1 speaks 6\n"


def test_logs_exec_and_port_forward_go_through_the_api_server(
    cluster: Cluster, kube: Kube, namespace: str, real_nodes: list[str]
) -> None:
    program = "import http.server as h; print('up', flush=True); h.test(h.SimpleHTTPRequestHandler, port=8000)"
    start_pod(kube, namespace, a_real_pod("serves", ["python", "-u", "-c", program], node=real_nodes[1]))

    kube.wait(f"/api/v1/namespaces/{namespace}/pods/serves", lambda _: "up" in _log(kube, namespace, "serves"))
    assert cluster.kubectl("exec", "serves", "-n", namespace, "--", "/bin/hostname") == "serves\n"
    assert cluster.kubectl("exec", "serves", "-i", "-n", namespace, "--", "/bin/cat", stdin="echo") == "echo"
    command = ["kubectl", "--kubeconfig", str(cluster.kubeconfig()), "-n", namespace, "port-forward", "serves", ":8000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forward:
        assert forward.stdout is not None
        port = re.search(r"127\.0\.0\.1:(\d+)", forward.stdout.readline())
        assert port is not None
        with urllib.request.urlopen(f"http://127.0.0.1:{port[1]}/", timeout=60) as page:
            assert "Directory listing" in page.read().decode()
        forward.terminate()


def test_gpus_come_from_the_device_plugin_and_their_ids_reach_the_container(
    kube: Kube, namespace: str, real_nodes: list[str]
) -> None:
    for node in real_nodes:
        assert kube.get(f"/api/v1/nodes/{node}")["status"]["allocatable"]["nvidia.com/gpu"] == "4"
    show = ["python", "-c", "import os; print(os.environ['NVIDIA_VISIBLE_DEVICES'])"]
    start_pod(kube, namespace, a_real_pod("holds", WAIT_FOR_EVER, gpus=3, node=real_nodes[0]))

    rest = run_to_end(kube, namespace, a_real_pod("rest", show, gpus=1, node=real_nodes[0])).strip()
    other = run_to_end(kube, namespace, a_real_pod("other", show, gpus=2, node=real_nodes[1])).strip()

    assert rest in gpu_ids(real_nodes[0], 4)
    assert len(set(other.split(","))) == 2
    assert set(other.split(",")) < set(gpu_ids(real_nodes[1], 4))


def test_a_pod_without_enough_gpus_is_refused_by_the_kubelet(kube: Kube, namespace: str, real_nodes: list[str]) -> None:
    pods = f"/api/v1/namespaces/{namespace}/pods"
    kube.post(pods, a_real_pod("greedy", WAIT_FOR_EVER, gpus=5, node=real_nodes[0]))

    refused = kube.wait(f"{pods}/greedy", lambda pod: pod["status"]["phase"] == "Failed")

    assert refused["status"]["reason"] == "UnexpectedAdmissionError"


def test_a_pod_calls_the_api_server_with_its_service_account(kube: Kube, namespace: str, real_nodes: list[str]) -> None:
    program = """
import os, ssl, urllib.request
folder = "/var/run/secrets/kubernetes.io/serviceaccount"
address = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}"
body = b'{"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}'
request = urllib.request.Request(address + "/apis/authentication.k8s.io/v1/selfsubjectreviews", body)
request.add_header("Authorization", "Bearer " + open(folder + "/token").read())
request.add_header("Content-Type", "application/json")
print(urllib.request.urlopen(request, context=ssl.create_default_context(cafile=folder + "/ca.crt")).read().decode())
"""

    printed = run_to_end(kube, namespace, a_real_pod("asks", ["python", "-c", program], node=real_nodes[0]))

    user = json.loads(printed)["status"]["userInfo"]["username"]
    assert user == f"system:serviceaccount:{namespace}:default"


def test_pods_on_two_nodes_find_each_other_by_a_headless_service(
    cluster: Cluster, kube: Kube, namespace: str, real_nodes: list[str]
) -> None:
    cluster.start("kube-scheduler")
    program = f"""
import http.client, http.server, os, threading, time
threading.Thread(target=http.server.ThreadingHTTPServer(("", 8000), http.server.SimpleHTTPRequestHandler).serve_forever,
                 daemon=True).start()
other = f"ring-{{1 - int(os.environ['HOSTNAME'][-1])}}.ring.{namespace}.svc.cluster.local"
while True:
    try:
        connection = http.client.HTTPConnection(other, 8000, timeout=2)
        connection.request("HEAD", "/")
        print("met", other, connection.getresponse().status, flush=True)
        break
    except OSError:
        time.sleep(0.1)
time.sleep(3600)
"""
    kube.post(
        f"/api/v1/namespaces/{namespace}/services",
        {
            "metadata": {"name": "ring"},
            "spec": {"clusterIP": "None", "selector": {"ring": "yes"}, "publishNotReadyAddresses": True},
        },
    )
    apart = [{"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"ring": "yes"}}}]
    pod = {
        "containers": [a_container(["python", "-c", program], gpus=1)],
        "volumes": host_volumes(),
        "terminationGracePeriodSeconds": 0,
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": apart}},
        "nodeSelector": {"type": "real"},
    }
    kube.post(
        f"/apis/apps/v1/namespaces/{namespace}/statefulsets",
        {
            "metadata": {"name": "ring"},
            "spec": {
                "replicas": 2,
                "serviceName": "ring",
                "podManagementPolicy": "Parallel",
                "selector": {"matchLabels": {"ring": "yes"}},
                "template": {"metadata": {"labels": {"ring": "yes"}}, "spec": pod},
            },
        },
    )

    for number in (0, 1):
        path = f"/api/v1/namespaces/{namespace}/pods/ring-{number}"
        kube.wait(path, lambda seen: bool(seen) and seen["status"]["phase"] == "Running", seconds=90)
        met = f"met ring-{1 - number}.ring.{namespace}.svc.cluster.local 200\n"
        kube.wait(path, lambda _, n=number, m=met: m in _log(kube, namespace, f"ring-{n}"))  # type: ignore[misc]
    nodes = {pod["spec"]["nodeName"] for pod in kube.get(f"/api/v1/namespaces/{namespace}/pods")["items"]}
    assert nodes == set(real_nodes)


def test_the_gpus_come_back_after_a_kubelet_restarts_and_when_one_breaks(
    cluster: Cluster, kube: Kube, namespace: str, real_nodes: list[str]
) -> None:
    node = real_nodes[1]
    start_pod(kube, namespace, a_real_pod("stays", WAIT_FOR_EVER, gpus=1, node=node))
    cluster.kill(f"{node}.kubelet")
    machine.start_kubelet(cluster, node)

    machine.break_gpus(cluster, node, [0, 2])
    machine.wait_for_gpus(kube, node, 2)
    machine.break_gpus(cluster, node, [])
    machine.wait_for_gpus(kube, node, 4)

    stays = kube.get(f"/api/v1/namespaces/{namespace}/pods/stays")["status"]["containerStatuses"][0]
    assert (stays["restartCount"], "running" in stays["state"]) == (0, True)


def test_a_dead_node_is_noticed_and_comes_back(
    cluster: Cluster, kube: Kube, namespace: str, real_nodes: list[str]
) -> None:
    node = real_nodes[0]
    start_pod(kube, namespace, a_real_pod("doomed", WAIT_FOR_EVER, node=node))

    machine.kill_node(cluster, node)
    ready = kube.wait(f"/api/v1/nodes/{node}", lambda seen: _ready(seen) != "True", seconds=120)
    assert _ready(ready) == "Unknown"

    machine.start_node(cluster, node)
    machine.wait_for_gpus(kube, node, 4)
    path = f"/api/v1/namespaces/{namespace}/pods/doomed"
    assert kube.wait(path, lambda pod: pod["status"]["phase"] == "Failed")


def test_down_leaves_nothing_of_real_nodes(tmp_path: Path, real_nodes: list[str]) -> None:
    """Also when it was killed in the middle of `up`: the state file knows neither node nor process."""
    machine_before = _machine()
    whole = Cluster.up(tmp_path / "c")
    machine.add_real_nodes(whole, 1, gpus=2)
    program = ["python", "-c", f"import signal; signal.pause()  # {whole.mark}"]
    with whole.kube() as kube:
        start_pod(kube, "default", a_real_pod("left", program, node="real-1"))
    assert {kind for kind, found in _traces(whole).items() if found} == {"links", "routes", "groups", "programs"}
    whole.processes.clear()
    whole.nodes.clear()
    whole.save()

    Cluster.open(tmp_path / "c").down()

    assert marked(whole.mark) == []
    assert [found for found in _traces(whole).values() if found] == []
    assert _machine() == machine_before
    assert list(tmp_path.iterdir()) == []


def _log(kube: Kube, namespace: str, name: str) -> str:
    return kube.http.get(f"/api/v1/namespaces/{namespace}/pods/{name}/log").text


def _ready(node: Object) -> str:
    return str(next(each["status"] for each in node["status"]["conditions"] if each["type"] == "Ready"))


def _traces(cluster: Cluster) -> dict[str, list[str]]:
    """What is on the machine because of a cluster: other clusters come and go meanwhile."""
    slot, links = cluster.slot, [path.name for path in Path("/sys/class/net").iterdir()]
    routes = subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout.splitlines()
    commands = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it ended
            commands.append(path.read_bytes())
    return {
        "links": [name for name in links if name == f"runai-test-{slot}" or name.startswith(f"rt{slot}-")],
        "routes": [line for line in routes if f"10.88.{slot}." in line or f"10.{100 + slot}." in line],
        "mounts": [
            line for line in Path("/proc/self/mounts").read_text().splitlines() if str(cluster.directory) in line
        ],
        "groups": [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/runai-test-{slot}")],
        "programs": [command.decode() for command in commands if f"# {cluster.mark}".encode() in command],
    }


def _machine() -> dict[str, list[str]]:
    """What kubelets and container runtimes usually leave on a machine."""
    settings = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops")
    return {
        "kernel": [Path(f"/proc/sys/{name}").read_text() for name in settings],
        "folders": [str(path) for name in ("kubelet", "containerd", "cni") for path in Path("/var/lib").glob(name)],
        "hosts": [Path("/etc/hosts").read_text()],
    }
