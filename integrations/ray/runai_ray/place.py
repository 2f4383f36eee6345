"""Where a node of a Ray cluster lives: its home, its address, its neighbours. Standard library only.

On one machine all pods share the host, so each node gets a home directory of
its own below the pod's working directory, and a loopback address of its own
(RFC 1122: all of 127/8 is this host), made from the pod's place in the gang.
"""

import hashlib
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

OURS = ".runai-ray"
"""Directory in a node's home: socket, state, and the `ray` that is found first there."""

LOCAL_MARKER = "RUNAI_POD_UID"
"""The embedded orchestrator gives it to processes of pods, and no cluster does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One node."""

    home: Path
    local: bool  # it shares its host with other nodes
    ip: str
    head_ip: str
    port: int  # of the cluster's control store
    rank: int
    instance: str  # the pod's name: what the autoscaler calls the node

    @property
    def ours(self) -> Path:
        """The directory that is ours."""
        return self.home / OURS

    @property
    def address(self) -> str:
        """Where the cluster is found."""
        return f"{self.head_ip}:{self.port}"

    @property
    def is_head(self) -> bool:
        """Whether the cluster's head is here."""
        return self.rank == 0


def place_of(environ: Mapping[str, str], directory: Path) -> Place:
    """Return the place of the pod whose environment and working directory these are."""
    below = directory / "home"
    local = LOCAL_MARKER in environ or (below / OURS).is_dir()
    uid, attempt = environ.get("JOB_UUID", ""), int(environ.get("RUNAI_ATTEMPT", "1"))
    rank = int(environ.get("POD_INDEX", "0"))
    return Place(
        home=below if local else Path(environ.get("HOME", str(directory))),
        local=local,
        ip=loopback(uid, attempt, rank) if local else socket.gethostbyname(socket.gethostname()),
        head_ip=loopback(uid, attempt, 0) if local else environ.get("MASTER_ADDR", "127.0.0.1"),
        port=int(environ.get("MASTER_PORT", "6379")),
        rank=rank,
        instance=environ.get("POD_NAME", ""),
    )


def loopback(uid: str, attempt: int, rank: int) -> str:
    """Return the loopback address of a member of a workload; the same whenever it is asked."""
    digest = hashlib.sha256(f"{uid}/{attempt}/{rank}".encode()).digest()
    return f"127.{16 + digest[0] % 224}.{digest[1]}.{1 + digest[2] % 254}"


def inner_environment(place: Place, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of what runs on the node: its own home, and our `ray` before the real one."""
    path = environ.get("PATH", os.defpath)
    first = str(place.ours / "bin")
    if path.split(os.pathsep)[0] != first:
        # Ours, then the Python that runs us with what is installed beside it, then the host's.
        path = os.pathsep.join((first, str(Path(sys.executable).parent), path))
    found = {**environ, "HOME": str(place.home), "PATH": path}
    found.setdefault("RAY_CLOUD_INSTANCE_ID", place.instance)
    found.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing leaves the machine unless somebody wants it
    if place.local and environ.get("RUNAI_VISIBLE_DEVICES"):
        # Simulated devices: Ray takes an empty list for "no GPUs" and would refuse those that it is told to have.
        found["CUDA_VISIBLE_DEVICES"] = environ["RUNAI_VISIBLE_DEVICES"]
    return found


def dashboard_file(place: Place) -> Path:
    """Return the file with the address of the cluster's dashboard; it is there while the head runs."""
    return place.ours / "dashboard"
