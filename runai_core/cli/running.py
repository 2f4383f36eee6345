"""Which orchestrator runs on a data directory: a file names its process, and the process is looked at."""

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

STATE_FILE = "orchestrator.json"
LOG_FILE = "orchestrator.log"


@dataclass(frozen=True, slots=True)
class Running:
    """A process that runs an orchestrator; `started` tells it from a later process with the same id."""

    pid: int
    started: float  # seconds since the epoch, as the system counts them
    url: str


def find_running(data_dir: Path) -> Running | None:
    """Return the orchestrator of a data directory if its process is alive and the same that wrote the file."""
    content = _read(data_dir / STATE_FILE)
    try:
        found = Running(int(content["pid"]), float(content["started"]), str(content["url"]))
        process = psutil.Process(found.pid)
        same = abs(process.create_time() - found.started) < 1.0
        return found if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (KeyError, TypeError, ValueError, psutil.Error):
        return None


def note_running(data_dir: Path, url: str) -> Running:
    """Write down that this process is the orchestrator of the data directory."""
    me = Running(os.getpid(), psutil.Process().create_time(), url)
    _write(data_dir / STATE_FILE, asdict(me))
    return me


def note_stopped(data_dir: Path) -> None:
    """Write down that no orchestrator runs: the credentials file stays, and its address is no longer true."""
    with contextlib.suppress(OSError):
        _write(data_dir / STATE_FILE, {"pid": None})


def ended_well(data_dir: Path) -> bool:
    """Return whether the last orchestrator said that it stopped, so that nothing of it can be left."""
    return _read(data_dir / STATE_FILE).get("pid") is None


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write(path: Path, content: Mapping[str, Any]) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    with open(draft, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(json.dumps(content) + "\n")
    draft.replace(path)
