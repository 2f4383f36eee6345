"""A test cluster: etcd, kube-apiserver, kube-controller-manager and KWOK as processes of this machine, without root.

Everything lives in one directory. `up` starts what is not running, also after a crash in the middle; `down` ends
everything that carries the cluster's mark and removes the directory. Real nodes are added by `machine`.
"""

import base64
import contextlib
import json
import secrets
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from tests.cluster import binaries, slots
from tests.cluster.binaries import CONTROL_PLANE
from tests.cluster.certificates import Authority, write_private
from tests.cluster.commands import COMMANDS
from tests.cluster.kube import Kube, Object, kubectl
from tests.cluster.processes import Process, start

STAGES = Path(__file__).parent / "stages.yaml"
PORTS = ("kube-apiserver", "etcd", "etcd-peer", "kube-controller-manager", "kwok", "kube-scheduler")
USERS: Mapping[str, str] = {
    "admin": "system:masters",
    "reader": "runai-test:readers",
    "alice": "",
    "bob": "",
    "ann@example.org": "runai-test:team",
    "nobody": "",
}
"""Users with a token and a kubeconfig, and the group of each: admin may do all, reader read, nobody else anything."""
READY_SECONDS = 100.0
RBAC = "rbac.authorization.k8s.io/v1"
_READERS: Object = {
    "apiVersion": RBAC,
    "kind": "ClusterRoleBinding",
    "metadata": {"name": "runai-test-readers"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
    "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "runai-test:readers"}],
}


@dataclass
class Cluster:
    """A running (or once running) test cluster, as its directory describes it."""

    directory: Path
    slot: int
    mark: str
    processes: dict[str, Process] = field(default_factory=dict)
    nodes: list[str] = field(default_factory=list)
    """Real nodes, in the order of their numbers."""
    lost_after: int = 16
    """Seconds after which a silent node counts as lost (Kubernetes' own default is 50: long for a test)."""

    @classmethod
    def open(cls, directory: Path) -> "Cluster":
        """Return the cluster of a directory.

        Raises:
            FileNotFoundError: There is none.
        """
        state = json.loads((directory / "cluster.json").read_text())
        state["processes"] = {name: Process(**process) for name, process in state["processes"].items()}
        known = {each.name for each in fields(cls)}  # a cluster may be older or newer than this code
        return cls(directory=directory, **{name: value for name, value in state.items() if name in known})

    @classmethod
    def up(cls, directory: Path, *, lost_after: int = 16, stays: bool = False) -> "Cluster":
        """Start a control plane with KWOK in a directory, or what is missing of it, and wait until it is ready.

        One that does not stay is removed when this process has ended and another cluster starts. Every node gives a
        sign of life each quarter of `lost_after` seconds: thousands of nodes need a longer one.

        Raises:
            Unavailable: A program is missing and cannot be built here.
        """
        binaries.install(CONTROL_PLANE)
        directory = directory.absolute()
        if (directory / "cluster.json").exists():
            cluster = cls.open(directory)
        else:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            slots.remove_orphans()
            slot = slots.take(directory, mark := secrets.token_hex(8), stays=stays)
            cluster = cls(directory, slot, mark, lost_after=lost_after)
            cluster.save()
        cluster._write_credentials()
        cluster.start("etcd")
        cluster.start("kube-apiserver")
        cluster.wait_ready()
        cluster.start("kube-controller-manager")  # it gives up when the API server is not there soon
        with cluster.kube() as kube:
            kube.wait("/api/v1/namespaces/default/serviceaccounts/default", bool, seconds=READY_SECONDS)
            kube.patch(f"/apis/{RBAC}/clusterrolebindings/runai-test-readers", _READERS, kind="apply")
        cluster.start("kwok")
        return cluster

    def down(self) -> None:
        """End all processes of the cluster and remove what it made: its files, addresses, control groups."""
        slots.give_back(self.slot, self.mark, self.directory)

    def start(self, name: str) -> None:
        """Start one of its programs (a no-op while it runs)."""
        if name in self.processes and self.processes[name].is_alive:
            return
        if name == "kube-apiserver":
            slots.wait_until_free(self.port(name))  # the threads of one that was killed hold it for a moment longer
        self.run(name, [str(binaries.install([name])[name]), *COMMANDS[name](self)])

    def run(self, name: str, command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> Process:
        """Start any process as part of the cluster: with its mark, its log in ``logs/<name>.log``, ended by `down`."""
        logs = self.directory / "logs"
        logs.mkdir(exist_ok=True)
        process = start(command, mark=self.mark, log=logs / f"{name}.log", environment=environment)
        self.processes[name] = process
        self.save()
        return process

    def stop(self, name: str) -> None:
        """End one of its programs in good order."""
        self.processes[name].stop()

    def kill(self, name: str) -> None:
        """kill -9 one of its programs."""
        self.processes[name].kill()

    def pause(self, name: str) -> None:
        """Let one of its programs freeze: its connections stay open, nothing answers."""
        self.processes[name].freeze()

    def resume(self, name: str) -> None:
        """Let a frozen program go on."""
        self.processes[name].send(signal.SIGCONT)

    def wait_ready(self, seconds: float = READY_SECONDS) -> None:
        """Wait until the API server says that it is ready.

        Raises:
            AssertionError: It ended, or is not ready in time; the text ends with its log.
        """
        deadline = time.monotonic() + seconds
        with self.kube() as kube:
            while True:
                with contextlib.suppress(Exception):  # refused, reset, half a handshake: all of it means "not yet"
                    if kube.http.get("/readyz").status_code == 200:
                        return
                for name in ("etcd", "kube-apiserver"):
                    if not self.processes[name].is_alive:
                        raise AssertionError(f"{name} ended:\n{self.log(name)}")
                if time.monotonic() > deadline:
                    raise AssertionError(f"not ready in {seconds} s:\n{self.log('kube-apiserver')}")
                time.sleep(0.05)

    def log(self, name: str, lines: int = 20) -> str:
        """The last lines that a program printed."""
        path = self.directory / "logs" / f"{name}.log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""

    def port(self, name: str) -> int:
        """The port of a program (a key of `PORTS`)."""
        return slots.port(self.slot, PORTS.index(name))

    @property
    def url(self) -> str:
        """Where the API server listens on loopback."""
        return f"https://127.0.0.1:{self.port('kube-apiserver')}"

    @property
    def service_network(self) -> str:
        """The first two numbers of the service addresses."""
        return f"10.{150 + self.slot}"

    @property
    def host_address(self) -> str:
        """This machine's address in the network of the real nodes."""
        return f"10.88.{self.slot}.1"

    @property
    def authority(self) -> Authority:
        """What signs the certificates of this cluster."""
        return Authority(self.directory / "pki")

    def kubeconfig(self, user: str = "admin") -> Path:
        """The kubeconfig of a user (a key of `USERS`)."""
        return self.directory / ("kubeconfig" if user == "admin" else f"users/{user}.kubeconfig")

    def token(self, user: str = "admin") -> str:
        """The bearer token of a user."""
        return str(yaml.safe_load(self.kubeconfig(user).read_text())["users"][0]["user"]["token"])

    @contextlib.contextmanager
    def kube(self, user: str = "admin") -> Iterator[Kube]:
        """Requests as a user."""
        kube = Kube(self.kubeconfig(user))
        try:
            yield kube
        finally:
            kube.close()

    def kubectl(self, *arguments: str, user: str = "admin", stdin: str | None = None, seconds: float = 120) -> str:
        """Run kubectl as a user; return what it printed."""
        program = binaries.install(["kubectl"])["kubectl"]
        return kubectl(program, self.kubeconfig(user), *arguments, stdin=stdin, seconds=seconds)

    def write_kubeconfig(self, path: Path, user: Mapping[str, str], server: str = "") -> Path:
        """Write a kubeconfig for a user's credentials; `server` replaces the loopback address (a proxy's, a node's)."""
        path.parent.mkdir(exist_ok=True, mode=0o700)
        authority = base64.b64encode(self.authority.certificate.read_bytes()).decode()
        cluster = {"server": server or self.url, "certificate-authority-data": authority}
        config: Object = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "runai-test", "cluster": cluster}],
            "users": [{"name": "user", "user": dict(user)}],
            "contexts": [{"name": "runai-test", "context": {"cluster": "runai-test", "user": "user"}}],
            "current-context": "runai-test",
        }
        write_private(path, yaml.safe_dump(config).encode())
        return path

    def save(self) -> None:
        """Write down what there is, so that another process can find and end it."""
        state: dict[str, Any] = asdict(self)
        del state["directory"]
        written = self.directory / ".cluster.json"
        written.write_text(json.dumps(state, indent=2))
        written.rename(self.directory / "cluster.json")

    def _write_credentials(self) -> None:
        authority = self.authority
        service = f"{self.service_network}.0.1"
        names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]
        authority.sign("server", "kube-apiserver", hosts=["127.0.0.1", "localhost", self.host_address, service, *names])
        authority.sign("kubelet-client", "kube-apiserver", groups=["system:masters"])
        authority.key_pair("service-account")
        if not (tokens := self.directory / "pki" / "tokens.csv").exists():
            known = {user: secrets.token_urlsafe(24) for user in USERS}
            lines = [f"{token},{user},{user},{USERS[user]}".rstrip(",") for user, token in known.items()]
            write_private(tokens, "\n".join(lines).encode())
            for user, token in known.items():
                self.write_kubeconfig(self.kubeconfig(user), {"token": token})
