"""Slots: who runs a test cluster on this machine, so that no two meet and none is forgotten.

A slot decides a cluster's ports and addresses. Its file says where the cluster is, which mark its processes carry, and
whose end is its end. It lies outside the cluster's directory, which pytest may remove.
"""

import contextlib
import fcntl
import json
import os
import shutil
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.cluster import machine
from tests.cluster.binaries import Unavailable
from tests.cluster.processes import Process, kill_marked

SLOTS = 50
"""Clusters that one machine can hold at a time."""
FIRST_PORT, PORTS = 21000, 10


def take(directory: Path, mark: str, *, stays: bool) -> int:
    """Reserve a slot for the cluster of a directory; one that does not stay ends with this process.

    Raises:
        Unavailable: None is free.
    """
    owner = Process.of(os.getpid())
    record = {"directory": str(directory), "mark": mark, "owner": None if stays else [owner.pid, owner.began]}
    _folder().mkdir(exist_ok=True, mode=0o700)
    with (_folder() / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for slot in range(SLOTS):
            if not _file(slot).exists() and _is_free(slot):
                _file(slot).write_text(json.dumps(record))
                return slot
    raise Unavailable(f"All {SLOTS} slots for test clusters are taken: see {_folder()}.")


def give_back(slot: int, mark: str, directory: Path) -> None:
    """End everything of a slot's cluster and remove what it made: processes, addresses, control groups, files."""
    kill_marked(mark)
    machine.remove_traces(slot)
    shutil.rmtree(directory, ignore_errors=True)
    _file(slot).unlink(missing_ok=True)


def remove_orphans() -> None:
    """Remove the clusters whose owner has ended without removing them, or whose directory is gone."""
    for slot in range(SLOTS):
        with contextlib.suppress(FileNotFoundError):  # nobody has it, or another process removes the same cluster
            record = _read(slot)
            is_kept = record["owner"] is None or Process(*record["owner"]).is_alive
            if not is_kept or not Path(record["directory"]).is_dir():
                give_back(slot, record["mark"], Path(record["directory"]))


def port(slot: int, number: int) -> int:
    """The port of a slot's program."""
    return FIRST_PORT + PORTS * slot + number


def _read(slot: int) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(_file(slot).read_text())
    return record


def _folder() -> Path:
    return Path(tempfile.gettempdir()) / f"runai-test-clusters-{os.geteuid()}"


def _file(slot: int) -> Path:
    return _folder() / f"{slot}.json"


def _is_free(slot: int) -> bool:
    return all(_can_listen(port(slot, number)) for number in range(PORTS))


def _can_listen(number: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", number))
        except OSError:
            return False
    return True


def wait_until_free(number: int, seconds: float = 60.0) -> None:
    """Wait until a port can be listened on."""
    deadline = time.monotonic() + seconds
    while not _can_listen(number) and time.monotonic() < deadline:
        time.sleep(0.02)
