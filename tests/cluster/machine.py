"""Real nodes: kubelet, containerd and a device plug-in of simulated GPUs, each node a small machine made of namespaces.

The nodes and this machine are joined by a bridge. The bridge also carries the address of the ``kubernetes`` service, so
pods reach the API server as everywhere, and the address where CoreDNS answers. Needs root; leaves with `remove_traces`.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster import binaries, node_files
from tests.cluster.binaries import Unavailable
from tests.cluster.device_plugin import RESOURCE, gpu_ids
from tests.cluster.images import ROOT, write_images
from tests.cluster.kube import Kube

if TYPE_CHECKING:
    from tests.cluster.cluster import Cluster

PLUGINS = Path("/usr/lib/cni")
"""Where Debian keeps the network plug-ins."""
GROUPS = Path("/sys/fs/cgroup")
GPU_LABELS = {
    "nvidia.com/gpu.memory": "81920",
    "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB",
    "nvidia.com/gpu.present": "true",
    "type": "real",
}
# Joins the node's control groups, then its namespaces, then becomes the program.
_ENTER = 'for group in $RUNAI_GROUPS; do echo $$ > "$group/cgroup.procs"; done; exec "$@"'


def require() -> None:
    """Make sure that real nodes can run here.

    Raises:
        Unavailable: We are not root, or a program is missing and cannot be had.
    """
    if os.geteuid() != 0:
        raise Unavailable("Real nodes need root: namespaces, mounts, control groups, a bridge.")
    wanted = {"runc": shutil.which("runc"), "containernetworking-plugins": (PLUGINS / "bridge").exists()}
    wanted |= {"iproute2": shutil.which("ip"), "util-linux": shutil.which("nsenter"), "mount": shutil.which("mount")}
    if missing := [package for package, is_there in wanted.items() if not is_there]:
        binaries.debian(*missing)
    binaries.install(binaries.REAL_NODES)


def add_real_nodes(cluster: "Cluster", count: int, *, gpus: int = 4, seconds: float = 180) -> list[str]:
    """Bring the cluster to at least `count` real nodes, ``real-1`` and so on, all ready with their GPUs."""
    if count == 0:
        return []
    require()
    _connect(cluster)
    names = [f"real-{number}" for number in range(1, count + 1)]
    for name in names:
        if name not in cluster.nodes:
            cluster.nodes.append(name)
            cluster.save()
        start_node(cluster, name, gpus=gpus)
    with cluster.kube() as kube:
        for name in names:
            wait_for_gpus(kube, name, gpus, seconds=seconds)
            labels = {**GPU_LABELS, "nvidia.com/gpu.count": str(gpus)}
            kube.patch(f"/api/v1/nodes/{name}", {"metadata": {"labels": labels}})
    return names


def start_node(cluster: "Cluster", name: str, *, gpus: int = 4) -> None:
    """Start a node, or what is not running of it: the machine, containerd, the kubelet, the device plug-in."""
    programs = binaries.install(binaries.REAL_NODES)
    folder = cluster.directory / "nodes" / name
    if not _runs(cluster, f"{name}.machine"):
        folder.mkdir(parents=True, exist_ok=True)
        _boot(cluster, name, folder)
    if not _runs(cluster, f"{name}.containerd"):
        _run_inside(cluster, name, "containerd", [programs["containerd"], "--config", folder / "containerd.toml"])
        _import_images(cluster, name, programs["ctr"], programs["pause"])
    start_kubelet(cluster, name)
    if not _runs(cluster, f"{name}.gpus"):
        sockets = folder / "lib" / "kubelet" / "device-plugins"
        command = [sys.executable, "-m", "tests.cluster.device_plugin", str(sockets), name, str(gpus)]
        cluster.run(f"{name}.gpus", command, {"PYTHONPATH": str(ROOT)})


def start_kubelet(cluster: "Cluster", name: str) -> None:
    """Start a node's kubelet (a no-op while it runs)."""
    if not _runs(cluster, f"{name}.kubelet"):
        folder = cluster.directory / "nodes" / name
        kubelet = binaries.install(["kubelet"])["kubelet"]
        _run_inside(cluster, name, "kubelet", [kubelet, *node_files.kubelet_flags(cluster, name, folder)])


def kill_node(cluster: "Cluster", name: str) -> None:
    """Pull the plug of a node: everything on it is gone at once, and nobody tells the API server."""
    cluster.kill(f"{name}.gpus")
    cluster.kill(f"{name}.machine")
    for program in ("containerd", "kubelet"):
        cluster.kill(f"{name}.{program}")


def break_gpus(cluster: "Cluster", name: str, numbers: Sequence[int]) -> None:
    """Make these GPUs of a node, counted from 0, unhealthy; all others healthy."""
    folder = cluster.directory / "nodes" / name / "lib" / "kubelet"
    (folder / "unhealthy").write_text("\n".join(gpu_ids(name, max(numbers, default=0) + 1)[each] for each in numbers))


def wait_for_gpus(kube: Kube, name: str, gpus: int, *, seconds: float = 120) -> None:
    """Wait until a node is ready, without the taint of a new one, and has so many healthy GPUs."""

    def has_them(node: dict[str, dict[str, object]]) -> bool:
        conditions: Iterable[dict[str, str]] = node["status"].get("conditions", [])  # type: ignore[assignment]
        amounts: dict[str, str] = node["status"].get("allocatable", {})  # type: ignore[assignment]
        ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
        return ready and amounts.get(RESOURCE) == str(gpus) and not node["spec"].get("taints")

    kube.wait(f"/api/v1/nodes/{name}", lambda node: bool(node) and has_them(node), seconds=seconds)


def remove_traces(slot: int) -> None:
    """Remove a cluster's bridge, with its addresses and routes, and its control groups, once its processes are gone."""
    if Path(f"/sys/class/net/{_bridge(slot)}").exists():
        _ip("link", "delete", _bridge(slot))
    for top in _group_folders(slot):
        for folder, _, _ in os.walk(top, topdown=False):
            _remove_group(Path(folder))


def coredns(cluster: "Cluster") -> list[str]:
    """CoreDNS at the address that the kubelets give to pods."""
    return ["-conf", str(cluster.directory / "Corefile")]


def _connect(cluster: "Cluster") -> None:
    """Make the bridge, and what listens on it."""
    bridge, service = _bridge(cluster.slot), f"{cluster.service_network}.0.1"
    if not Path(f"/sys/class/net/{bridge}").exists():
        _ip("link", "add", bridge, "type", "bridge")
    _ip("address", "replace", f"{cluster.host_address}/24", "dev", bridge)
    _ip("address", "replace", f"{service}/32", "dev", bridge)
    _ip("link", "set", bridge, "up")
    port = cluster.port("kube-apiserver")
    if not _runs(cluster, "proxy"):
        addresses = [f"{service}:443", f"{cluster.host_address}:{port}"]
        command = [sys.executable, "-m", "tests.cluster.proxy", str(port), *addresses]
        cluster.run("proxy", command, {"PYTHONPATH": str(ROOT)})
    (cluster.directory / "Corefile").write_text(node_files.corefile(cluster))
    cluster.start("coredns")


def _boot(cluster: "Cluster", name: str, folder: Path) -> None:
    """Start the first process of a node in namespaces of its own, and plug the node in."""
    number = cluster.nodes.index(name) + 1
    node_files.write(cluster, name, folder)
    (folder / "booted").unlink(missing_ok=True)
    groups = _make_groups(cluster.slot, name)
    spaces = ["--mount", "--net", "--pid", "--uts", "--ipc", "--cgroup", "--fork", "--kill-child"]
    boot = [sys.executable, "-S", str(Path(__file__).with_name("boot.py")), str(folder / "node.json")]
    machine = ["/bin/sh", "-c", _ENTER, "sh", shutil.which("unshare") or "unshare", *spaces, *boot]
    process = cluster.run(f"{name}.machine", machine, {"RUNAI_GROUPS": " ".join(map(str, groups))})
    inside = _first_process(cluster, name, process.pid)
    port = f"rt{cluster.slot}-{number}"
    if Path(f"/sys/class/net/{port}").exists():
        _ip("link", "delete", port)  # of a node that was killed a moment ago
    _ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", str(inside))
    _ip("link", "set", port, "master", _bridge(cluster.slot), "up")
    _ip("route", "replace", node_files.pod_network(cluster, number), "via", node_files.address(cluster, number))
    _wait_until((folder / "booted").exists, f"{name} did not boot", cluster, f"{name}.machine")


def _run_inside(cluster: "Cluster", name: str, program: str, command: Sequence[str | Path]) -> None:
    """Start a program on a node."""
    groups = [group / "system" for group in _make_groups(cluster.slot, name)]
    folders = {str(Path(path).parent) for path in binaries.install(binaries.REAL_NODES).values()}
    environment = {
        "RUNAI_GROUPS": " ".join(map(str, groups)),
        "PATH": os.pathsep.join(
            [*sorted(folders), "/usr/local/sbin", "/usr/sbin", "/sbin", os.environ.get("PATH", "")]
        ),
    }
    cluster.run(f"{name}.{program}", _entering(cluster, name, command), environment)


def _entering(cluster: "Cluster", name: str, command: Sequence[str | Path]) -> list[str | Path]:
    inside = _first_process(cluster, name, cluster.processes[f"{name}.machine"].pid)
    spaces = ["--target", str(inside), "--mount", "--net", "--pid", "--uts", "--ipc", "--cgroup"]
    return ["/bin/sh", "-c", _ENTER, "sh", shutil.which("nsenter") or "nsenter", *spaces, "--", *command]


def _import_images(cluster: "Cluster", name: str, ctr: Path, pause: Path) -> None:
    archive = cluster.directory / "images.tar"
    if not archive.exists():
        write_images(pause, archive)
    import_image(cluster, name, archive, ctr)


def import_image(cluster: "Cluster", name: str, archive: Path, ctr: Path | None = None) -> None:
    """Give a node the images of an archive in the format of ``docker save``."""
    ctr = ctr or binaries.install(["ctr"])["ctr"]
    command = [str(part) for part in _entering(cluster, name, [ctr, "-n", "k8s.io", "images", "import", archive])]

    def is_imported() -> bool:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    _wait_until(is_imported, f"{name} did not take the images", cluster, f"{name}.containerd")


def _first_process(cluster: "Cluster", name: str, outer: int) -> int:
    """The number, here, of what is process 1 on the node."""
    children = Path(f"/proc/{outer}/task/{outer}/children")
    _wait_until(lambda: bool(children.read_text().split()), f"{name} has no first process", cluster, f"{name}.machine")
    return int(children.read_text().split()[0])


def _make_groups(slot: int, name: str) -> list[Path]:
    """The control groups of a node, one in each hierarchy of the machine."""
    made = []
    for top in _group_folders(slot):
        group = top / name
        group.mkdir(parents=True, exist_ok=True)
        for folder in (top, group):
            for setting in ("cpuset.cpus", "cpuset.mems"):
                if (folder / setting).exists() and not (folder / setting).read_text().strip():
                    with contextlib.suppress(OSError):  # the second version of control groups needs no values here
                        (folder / setting).write_text((folder.parent / setting).read_text())
        made.append(group)
    return made


def _group_folders(slot: int) -> list[Path]:
    """Where the cluster's control groups are: in each hierarchy, or in the only one."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    places = [Path(place) for _, place, kind, *_ in mounts if kind.startswith("cgroup")]
    return [place / f"runai-test-{slot}" for place in places if place == GROUPS or GROUPS in place.parents]


def _remove_group(folder: Path) -> None:
    deadline = time.monotonic() + 60
    while folder.exists():
        try:
            folder.rmdir()
        except OSError:  # its last process is still dying
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _runs(cluster: "Cluster", name: str) -> bool:
    return name in cluster.processes and cluster.processes[name].is_alive


def _wait_until(condition: Callable[[], bool], failure: str, cluster: "Cluster", process: str) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        if time.monotonic() > deadline or not cluster.processes[process].is_alive:
            raise AssertionError(f"{failure}:\n{cluster.log(process)}")
        time.sleep(0.05)


def _bridge(slot: int) -> str:
    return f"runai-test-{slot}"


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
