"""What the supervisor knows of runs, on disk. Standard library only.

The file outlives the supervisor: the next one learns from it what runs, and how
what has ended ended.
"""
# A path is a plain string here: importing pathlib would cost the small process memory.
# ruff: noqa: PTH105, PTH123

import contextlib
import errno
import json
import os
from dataclasses import asdict, dataclass
from typing import Any

COMPACT_LINES = 5_000
"""Lines beyond twice the runs at which the journal is written anew."""


@dataclass(slots=True)
class Run:
    """One run of one pod, as it is kept in the journal and told to the orchestrator."""

    uid: str
    run: int
    pid: int
    start: str  # what only this process of this pid has
    started_at: float  # seconds since the epoch
    running: bool = True
    code: int | None = None  # 128 + number for a signal; None: not known
    begun: bool = True  # False: the program could not be run at all
    message: str = ""
    finished_at: float | None = None
    stopped: bool = False  # it was asked to end before it did


class Journal:
    """The runs, as lines of JSON that are only ever appended; rewritten when most of them are old."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.runs: dict[str, Run] = {}
        self._lines = 0
        with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
            for line in file:
                with contextlib.suppress(ValueError, KeyError, TypeError):  # a torn last line
                    self._take(json.loads(line))
        self._fd = -1
        self._rewrite()

    def put(self, run: Run) -> None:
        """Keep what is known of a run. Raise OSError where it cannot be."""
        self._append(asdict(run))
        self.runs[run.uid] = run

    def drop(self, uid: str) -> None:
        """Forget a pod."""
        if self.runs.pop(uid, None) is not None:
            with contextlib.suppress(OSError):  # it would only be told once more
                self._append({"forget": uid})

    def _take(self, line: dict[str, Any]) -> None:
        if "forget" in line:
            self.runs.pop(line["forget"], None)
        else:
            run = Run(**line)
            self.runs[run.uid] = run

    def _append(self, line: dict[str, Any]) -> None:
        data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        size = os.fstat(self._fd).st_size
        written = 0
        try:
            written = os.write(self._fd, data)
        finally:
            if written != len(data):
                os.ftruncate(self._fd, size)  # no torn line in the middle
        if written != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._lines += 1
        if self._lines > COMPACT_LINES + 2 * len(self.runs):
            with contextlib.suppress(OSError):
                self._rewrite()

    def _rewrite(self) -> None:
        draft = self._path + ".new"
        with open(draft, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.writelines(json.dumps(asdict(run), separators=(",", ":")) + "\n" for run in self.runs.values())
        os.replace(draft, self._path)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._lines = len(self.runs)
