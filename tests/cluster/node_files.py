"""The configuration files of a real node, and its addresses."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from tests.cluster.images import PAUSE

if TYPE_CHECKING:
    from tests.cluster.cluster import Cluster


def address(cluster: "Cluster", number: int) -> str:
    """The address of a node (they count from 1)."""
    return f"10.88.{cluster.slot}.{10 + number}"


def pod_network(cluster: "Cluster", number: int) -> str:
    """The addresses of a node's pods."""
    return f"10.{100 + cluster.slot}.{number}.0/24"


def write(cluster: "Cluster", name: str, folder: Path) -> None:
    """Write all files of a node."""
    number = cluster.nodes.index(name) + 1
    own = address(cluster, number)
    node = {
        "name": name,
        "address": own,
        "gateway": cluster.host_address,
        # Room for the nodes that may come later.
        "peers": {pod_network(cluster, other): address(cluster, other) for other in range(1, 17) if other != number},
    }
    (folder / "node.json").write_text(json.dumps(node))
    (folder / "resolv.conf").write_text(f"nameserver {cluster.host_address}\n")
    (folder / "net.d").mkdir(exist_ok=True)
    (folder / "net.d" / "pods.conflist").write_text(json.dumps(_network(pod_network(cluster, number))))
    (folder / "containerd.toml").write_text(_CONTAINERD.format(folder=folder, pause=PAUSE))
    certificate, key = cluster.authority.sign(f"{name}-kubelet", f"system:node:{name}", groups=["system:nodes"])
    user = {"client-certificate": str(certificate), "client-key": str(key)}
    cluster.write_kubeconfig(folder / "kubeconfig", user, server=f"https://{cluster.service_network}.0.1")
    (folder / "kubelet.yaml").write_text(yaml.safe_dump(_kubelet(cluster, name, own, folder)))


def kubelet_flags(cluster: "Cluster", name: str, folder: Path) -> list[str]:
    """What a kubelet takes only on its command line."""
    return [
        f"--config={folder / 'kubelet.yaml'}",
        f"--kubeconfig={folder / 'kubeconfig'}",
        f"--hostname-override={name}",
        f"--node-ip={address(cluster, cluster.nodes.index(name) + 1)}",
    ]


def corefile(cluster: "Cluster") -> str:
    """CoreDNS for the names of services and pods; there is nobody to ask for others."""
    return f""".:53 {{
    bind {cluster.host_address}
    kubernetes cluster.local {{
        kubeconfig {cluster.kubeconfig()} runai-test
        pods insecure
        ttl 2
    }}
    errors
}}
"""


def _network(pods: str) -> dict[str, object]:
    addresses = {"type": "host-local", "ranges": [[{"subnet": pods}]], "routes": [{"dst": "0.0.0.0/0"}]}
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "hairpinMode": True, "ipam": addresses}
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge]}


def _kubelet(cluster: "Cluster", name: str, own: str, folder: Path) -> dict[str, object]:
    certificate, key = cluster.authority.sign(f"{name}-server", name, hosts=[own, name])
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": own,
        "tlsCertFile": str(certificate),
        "tlsPrivateKeyFile": str(key),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(cluster.authority.certificate)},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "enforceNodeAllocatable": [],
        "failSwapOn": False,
        "localStorageCapacityIsolation": False,
        "makeIPTablesUtilChains": False,
        "oomScoreAdj": 0,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        "resolvConf": str(folder / "resolv.conf"),
        "clusterDNS": [cluster.host_address],
        "clusterDomain": "cluster.local",
        "serializeImagePulls": False,
        "nodeStatusUpdateFrequency": "4s",
        "nodeLeaseDurationSeconds": cluster.lost_after,
    }


# Small machines may forbid lower out-of-memory scores, hence the restriction. There is no image but the two of ours.
_CONTAINERD = """version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.image-verifier.v1.bindir"]
imports = []

[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd-opt"

[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{pause}"

[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  SystemdCgroup = false

[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["/usr/lib/cni"]
  conf_dir = "{folder}/net.d"
"""
