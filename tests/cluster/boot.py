"""The first process of a real node: ``boot.py FILE`` furnishes its namespaces, then buries dead processes for ever.

It runs inside new mount, network, PID, UTS, IPC and cgroup namespaces, so that a node is a machine of its own: its own
``/var/lib/kubelet``, addresses, process numbers and control groups, all gone when this process is. It needs no package.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

KERNEL_SETTINGS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
"""What a kubelet sets for the whole machine: it gets copies to write on instead."""


def main() -> None:
    """Furnish the node that the file describes, say so in ``booted``, and stay."""
    node = json.loads(Path(sys.argv[1]).read_text())
    folder = Path(sys.argv[1]).parent
    hierarchies = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines() if " cgroup" in line]
    # Private towards the machine, but shared inside: a kubelet's mounts must reach its containers.
    run("mount", "--make-rshared", "/")
    run("mount", "-t", "proc", "proc", "/proc")
    run("mount", "-t", "tmpfs", "tmpfs", "/run")
    for name in ("lib", "log"):
        (folder / name).mkdir(exist_ok=True)
        run("mount", "--bind", str(folder / name), f"/var/{name}")
    protect_kernel_settings(folder)
    mount_control_groups([(line[1], line[2], line[3]) for line in hierarchies])
    socket.sethostname(node["name"])
    connect(node)
    (folder / "booted").touch()
    stay()


def run(*command: str) -> None:
    """Run a command that must succeed."""
    subprocess.run(command, check=True)


def protect_kernel_settings(folder: Path) -> None:
    """Cover the settings by plain files with the same content."""
    copies = folder / "sys"
    copies.mkdir(exist_ok=True)
    for name in KERNEL_SETTINGS:
        setting = Path("/proc/sys") / name
        if setting.exists():
            copy = copies / name.replace("/", ".")
            copy.write_text(setting.read_text())
            run("mount", "--bind", str(copy), str(setting))


def mount_control_groups(hierarchies: list[tuple[str, str, str]]) -> None:
    """Mount each hierarchy anew: it shows the node's own group as its root. Then leave that root to others."""
    if hierarchies[0][1] != "cgroup2":
        run("mount", "-t", "tmpfs", "tmpfs", "/sys/fs/cgroup")
    for place, kind, options in hierarchies:
        Path(place).mkdir(exist_ok=True)
        chosen = [option for option in options.split(",") if option not in {"rw", "ro", "relatime", "xattr"}]
        named = [f"none,{option}" if option.startswith("name=") else option for option in chosen]
        extra = ["-o", ",".join(named)] if kind == "cgroup" else []
        run("mount", "-t", kind, *extra, kind, place)
        system = Path(place) / "system"
        system.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):
            if kind == "cgroup" and (system / name).exists():
                (system / name).write_text((Path(place) / name).read_text())
        (system / "cgroup.procs").write_text(str(os.getpid()))
        if kind == "cgroup2":
            controllers = (Path(place) / "cgroup.controllers").read_text().split()
            (Path(place) / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in controllers))


def connect(node: dict[str, Any]) -> None:
    """Bring the network up, with the interface that the machine moves in here."""
    run("ip", "link", "set", "lo", "up")
    deadline = time.monotonic() + 60
    while not Path("/proc/sys/net/ipv4/conf/eth0").exists():
        if time.monotonic() > deadline:
            sys.exit("eth0 did not come")
        time.sleep(0.02)
    run("ip", "address", "add", f"{node['address']}/24", "dev", "eth0")
    run("ip", "link", "set", "eth0", "up")
    run("ip", "route", "add", "default", "via", node["gateway"])
    for network, address in node["peers"].items():
        run("ip", "route", "add", network, "via", address)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def stay() -> None:
    """Bury the dead."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    while True:
        try:
            os.wait()
        except ChildProcessError:
            signal.sigwait([signal.SIGCHLD])


if __name__ == "__main__":
    main()
