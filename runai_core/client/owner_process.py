"""The process that a workload was submitted for: is it still there? Standard library only.

Only a process of the same host can be watched; elsewhere a time to live bounds
the life of what nobody deletes.
"""

import os
import socket
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "RUNAI_OWNER_PROCESS"
"""``<host>:<pid>:<start>`` of the process whose end is the workload's end."""


def this_process() -> str:
    """Return how this process is named in the variable."""
    return f"{socket.gethostname()}:{os.getpid()}:{_started(os.getpid())}"


def owner_is_gone(environ: Mapping[str, str]) -> bool:
    """Return whether the process that the variable names has ended; never true where that cannot be seen."""
    host, pid, start = (*environ.get(VARIABLE, "").rsplit(":", 2), "", "")[:3]
    if not pid.isdigit() or host != socket.gethostname() or not Path("/proc/self").is_dir():
        return False
    return _started(int(pid)) != start


def _started(pid: int) -> str:
    try:
        with Path(f"/proc/{pid}/stat").open("rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in (b"Z", b"X") else fields[19].decode()
