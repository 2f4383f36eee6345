"""Processes of the test cluster: each carries the cluster's mark, so that none can be forgotten or mistaken.

The mark is an environment variable with a random value that is written down before the first process starts. Whatever
happens in between, `marked` finds every process of the cluster, and nobody else's.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

MARK = "RUNAI_CLUSTER_MARK"


@dataclass(frozen=True, slots=True)
class Process:
    """A process by its number and the clock ticks since boot at which it began: numbers are used again."""

    pid: int
    began: int

    @classmethod
    def of(cls, pid: int) -> "Process":
        """Return the process that has this number now."""
        state = _state(pid)
        return cls(pid, state[1] if state else 0)

    @property
    def is_alive(self) -> bool:
        """Whether it runs (a process that ended and was not yet waited for does not)."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)
        state = _state(self.pid)
        return state is not None and state[1] == self.began and state[0] != "Z"

    def send(self, number: signal.Signals) -> None:
        """Send a signal to it and to what it started in its process group."""
        if self.is_alive:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def freeze(self) -> None:
        """Let it do nothing more, and return when it does not: a signal takes a moment to arrive."""
        self.send(signal.SIGSTOP)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and (state := _state(self.pid)) is not None and state[0] != "T":
            time.sleep(0.005)

    def stop(self, patience: float = 5.0) -> None:
        """End it: asked first, then killed after `patience` seconds."""
        self.send(signal.SIGTERM)
        self.send(signal.SIGCONT)
        if not _ended([self], patience):
            self.kill()

    def kill(self) -> None:
        """Kill it and wait until it is gone."""
        self.send(signal.SIGKILL)
        _ended([self], 60.0)


def start(
    command: Sequence[str | Path], *, mark: str, log: Path, environment: Mapping[str, str] | None = None
) -> Process:
    """Start a process that outlives us, in a session of its own, with its output added to `log`."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    pid = os.posix_spawn(
        command[0],
        [str(part) for part in command],
        {**os.environ, **(environment or {}), MARK: mark},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    return Process.of(pid)


def marked(mark: str) -> list[Process]:
    """All running processes that carry a mark."""
    wanted = f"{MARK}={mark}".encode()
    return [process for process, environment in _environments() if wanted in environment.split(b"\0")]


def kill_marked(mark: str) -> None:
    """Kill every process that carries the mark, until none is left (a dying one may still start another)."""
    deadline = time.monotonic() + 60
    while (left := marked(mark)) and time.monotonic() < deadline:
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        _ended(left, 5.0)


def _ended(processes: Sequence[Process], patience: float) -> bool:
    deadline = time.monotonic() + patience
    while any(process.is_alive for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _state(pid: int) -> tuple[str, int] | None:
    """The state letter and the start of a process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name, in parentheses, may hold anything
    return fields[0], int(fields[19])


def _environments() -> Iterator[tuple[Process, bytes]]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            state = _state(int(folder.name))
            with contextlib.suppress(OSError):
                environment = (folder / "environ").read_bytes()
                if state is not None and state[0] != "Z" and environment:
                    yield Process(int(folder.name), state[1]), environment
