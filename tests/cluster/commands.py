"""The command lines of the cluster's programs: each follows from its directory and slot, so any can start again."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from tests.cluster import machine

if TYPE_CHECKING:
    from tests.cluster.cluster import Cluster

FAKE_NODE = "kwok.x-k8s.io/node"
"""Annotation with the value ``fake``: KWOK plays the kubelet of this node."""


def etcd(cluster: "Cluster") -> list[str]:
    """Without waiting for the disk: the files of a test cluster need not survive the machine."""
    client, peer = (f"http://127.0.0.1:{cluster.port(name)}" for name in ("etcd", "etcd-peer"))
    return [
        f"--data-dir={cluster.directory / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
        "--quota-backend-bytes=8589934592",
        "--log-level=warn",
    ]


def kube_apiserver(cluster: "Cluster") -> list[str]:
    """With the admission and authorization of a real cluster, and limits that a benchmark does not hit."""
    pki = cluster.directory / "pki"
    return [
        f"--etcd-servers=http://127.0.0.1:{cluster.port('etcd')}",
        "--bind-address=127.0.0.1",
        f"--secure-port={cluster.port('kube-apiserver')}",
        f"--advertise-address={cluster.host_address}",
        f"--service-cluster-ip-range={cluster.service_network}.0.0/16",
        f"--cert-dir={pki}",
        f"--tls-cert-file={pki / 'server.crt'}",
        f"--tls-private-key-file={pki / 'server.key'}",
        f"--client-ca-file={pki / 'ca.crt'}",
        f"--token-auth-file={pki / 'tokens.csv'}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={pki / 'service-account.pub'}",
        f"--service-account-signing-key-file={pki / 'service-account.key'}",
        f"--kubelet-client-certificate={pki / 'kubelet-client.crt'}",
        f"--kubelet-client-key={pki / 'kubelet-client.key'}",
        f"--kubelet-certificate-authority={pki / 'ca.crt'}",
        "--kubelet-preferred-address-types=InternalIP",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        # A webhook may be a service: without kube-proxy, its pods are asked directly.
        "--enable-aggregator-routing=true",
        "--allow-privileged=true",
        "--max-requests-inflight=3000",
        "--max-mutating-requests-inflight=1500",
        "--profiling=false",
        "--shutdown-delay-duration=0s",
    ]


def kube_controller_manager(cluster: "Cluster") -> list[str]:
    """One copy, at once in charge."""
    pki, config = cluster.directory / "pki", cluster.kubeconfig()
    return [
        f"--kubeconfig={config}",
        f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}",
        f"--service-account-private-key-file={pki / 'service-account.key'}",
        f"--root-ca-file={pki / 'ca.crt'}",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        f"--secure-port={cluster.port('kube-controller-manager')}",
        f"--cert-dir={pki / 'kube-controller-manager'}",
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
        "--node-monitor-period=2s",
        f"--node-monitor-grace-period={cluster.lost_after}s",
    ]


def kwok(cluster: "Cluster") -> list[str]:
    """It touches only the nodes that carry the annotation, and the pods on them."""
    from tests.cluster.cluster import STAGES

    return [
        f"--kubeconfig={cluster.kubeconfig()}",
        f"--config={STAGES}",
        "--manage-all-nodes=false",
        f"--manage-nodes-with-annotation-selector={FAKE_NODE}=fake",
        f"--cidr=10.{200 + cluster.slot % 50}.0.1/16",
        f"--server-address=127.0.0.1:{cluster.port('kwok')}",
        f"--node-lease-duration-seconds={cluster.lost_after}",
        "-v=WARN",
    ]


def kube_scheduler(cluster: "Cluster") -> list[str]:
    """The default scheduler, with client limits that let it go as fast as it can."""
    config = cluster.kubeconfig()
    return [
        f"--kubeconfig={config}",
        f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        f"--secure-port={cluster.port('kube-scheduler')}",
        f"--cert-dir={cluster.directory / 'pki' / 'kube-scheduler'}",
        "--kube-api-qps=5000",
        "--kube-api-burst=10000",
    ]


COMMANDS: Mapping[str, Callable[["Cluster"], list[str]]] = {
    "etcd": etcd,
    "kube-apiserver": kube_apiserver,
    "kube-controller-manager": kube_controller_manager,
    "kwok": kwok,
    "kube-scheduler": kube_scheduler,
    "coredns": machine.coredns,
}
