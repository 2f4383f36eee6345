"""``python -m tests.cluster up|down|status``: a test cluster by hand (``make cluster-up``)."""
# ruff: noqa: T201 - a script prints

import argparse
import os
import sys
import time
from pathlib import Path

from tests.cluster.binaries import Unavailable
from tests.cluster.cluster import Cluster
from tests.cluster.fakes import add_fake_nodes
from tests.cluster.machine import add_real_nodes


def main() -> int:
    """Run one of the commands; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description="A Kubernetes cluster for tests.")
    parser.add_argument("command", choices=["up", "down", "status"])
    parser.add_argument("--dir", type=Path, default=default_directory(), help="where it lives (%(default)s)")
    parser.add_argument("--nodes", type=int, default=0, help="real nodes: kubelet and containerd (0)")
    parser.add_argument("--kwok", type=int, default=0, help="nodes played by KWOK, of 8 GPUs each (0)")
    arguments = parser.parse_args()
    try:
        return {"up": up, "down": down, "status": status}[arguments.command](arguments)
    except Unavailable as reason:
        print(f"No test cluster here: {reason}", file=sys.stderr)
        return 2


def default_directory() -> Path:
    """The directory of the one cluster that needs no name."""
    named = os.environ.get("RUNAI_TEST_CLUSTER")
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return Path(named) if named else state / "runai-core" / "cluster"


def up(arguments: argparse.Namespace) -> int:
    """Start it, or what is missing of it, and print the path of its kubeconfig."""
    began = time.monotonic()
    cluster = Cluster.up(arguments.dir, stays=True)
    add_fake_nodes(cluster, arguments.kwok)
    add_real_nodes(cluster, arguments.nodes)
    print(f"Ready in {time.monotonic() - began:.1f} s.", file=sys.stderr)
    print(f"export KUBECONFIG={cluster.kubeconfig()}")
    return 0


def down(arguments: argparse.Namespace) -> int:
    """End it and remove all that it made."""
    if not (arguments.dir / "cluster.json").exists():
        print(f"No cluster in {arguments.dir}.", file=sys.stderr)
        return 0
    Cluster.open(arguments.dir).down()
    return 0


def status(arguments: argparse.Namespace) -> int:
    """Say what runs."""
    if not (arguments.dir / "cluster.json").exists():
        print(f"No cluster in {arguments.dir}.")
        return 1
    cluster = Cluster.open(arguments.dir)
    for name, process in cluster.processes.items():
        print(f"{name:<26}{'runs' if process.is_alive else 'ended':<8}{process.pid}")
    print(f"kubeconfig: {cluster.kubeconfig()}")
    return 0 if all(process.is_alive for process in cluster.processes.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
