"""Which orchestrator runs on a data directory, and where it logs: a file names its process, and that is looked at."""

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import psutil

STATE_FILE = "orchestrator.json"
LOG_FILE = "orchestrator.log"
LOG_BYTES = 10 * 1024**2
"""Size at which the log is put aside, as ``orchestrator.log.1``, and a new one begun: there are never more than two."""


@dataclass(frozen=True, slots=True)
class Running:
    """A process that runs an orchestrator; `started` tells it from a later process with the same id."""

    pid: int
    started: float  # seconds since the epoch, as the system counts them
    url: str


class KeptLog(RotatingFileHandler):
    """Writes the log that `up` begins, which only its owner reads; standard error goes where it goes."""

    def __init__(self, file: Path, limit: int = LOG_BYTES) -> None:
        super().__init__(file, maxBytes=limit, backupCount=1, encoding="utf-8")

    def doRollover(self) -> None:  # noqa: N802 - the library's name
        """Put the file aside and begin a new one."""
        leads_here = is_standard_error(Path(self.baseFilename))
        super().doRollover()
        if leads_here and self.stream is not None:
            os.dup2(self.stream.fileno(), sys.stderr.fileno())

    def _open(self) -> TextIOWrapper:
        return open(self.baseFilename, "a", encoding=self.encoding, opener=_private)


def is_standard_error(file: Path) -> bool:
    """Return whether what this process writes to standard error ends in the file."""
    try:
        return os.path.samestat(os.fstat(sys.stderr.fileno()), file.stat())
    except (OSError, ValueError):  # there is no such file, or no standard error
        return False


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


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
    with open(draft, "w", opener=_private) as file:
        file.write(json.dumps(content) + "\n")
    draft.replace(path)
