"""What the supervisor asks the system about processes. Standard library only.

A process is known by its pid together with when it started: a pid alone may be
somebody else's by now.
"""

import contextlib
import os
import resource
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence

MARKER = "RUNAI_POD_UID"
"""Environment variable that names the pod of a process, so that strays are found."""

CANNOT_EXECUTE = 126
NOT_FOUND = 127

_PR_SET_CHILD_SUBREAPER = 36
_GO = b"g"


def started(pid: int) -> str:
    """Return a text that only this process of this pid has; empty when there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        if fields[0] in (b"Z", b"X"):
            return ""
        with open("/proc/sys/kernel/random/boot_id") as file:
            return f"{file.read().strip()}:{fields[19].decode()}"
    except FileNotFoundError:
        return "" if os.path.isdir("/proc/self") else _started_elsewhere(pid)
    except OSError:
        return ""


def _started_elsewhere(pid: int) -> str:
    """Ask `ps`, where there is no /proc."""
    answer = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)  # noqa: S607
    return answer.stdout.strip()


def become_subreaper() -> None:
    """Inherit the orphans of our pods (Linux), so that a daemon of a pod cannot get away."""
    with contextlib.suppress(OSError, AttributeError, ImportError):
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children() -> Sequence[int]:
    """Return the pids of our own children (Linux; elsewhere none)."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", "rb") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return ()


def everybody() -> Iterator[int]:
    """Yield the pids of all processes (Linux; elsewhere none)."""
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc"):
            if name.isdigit():
                yield int(name)


def pod_of(pid: int) -> str:
    """Return the uid of the pod that the process was started for; empty when it says nothing."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            environment = file.read()
    except OSError:
        return ""
    key = MARKER.encode() + b"="
    found = next((item for item in environment.split(b"\0") if item.startswith(key)), b"")
    return found[len(key) :].decode("ascii", "replace")


def session_of(pid: int) -> int:
    """Return the session of a process; 0 when it has ended."""
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def signal_group(pid: int, number: int) -> None:
    """Send a signal to the process group that the pid leads."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def signal_one(pid: int, number: int) -> None:
    """Send a signal to one process."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


class Launch:
    """A forked child that waits for our word before it becomes the pod's program.

    Its pid can so be written down before the program runs: if we die in
    between, the child sees the end of the pipe and ends without having begun.
    """

    def __init__(
        self, argv: list[str], env: Mapping[str, str], cwd: str, *, output: int, memory: int, files: tuple[int, int]
    ) -> None:
        go_read, self._go = os.pipe()
        self.status, status_write = os.pipe()  # at its end without text: the program runs
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._go)
            _become(argv, env, cwd, go=go_read, status=status_write, output=output, memory=memory, files=files)
        os.close(go_read)
        os.close(status_write)

    def go(self) -> None:
        """Let it begin."""
        with contextlib.suppress(BrokenPipeError):  # it was killed meanwhile: its exit tells
            os.write(self._go, _GO)
        os.close(self._go)

    def give_up(self) -> None:
        """Let it end without having begun."""
        os.close(self._go)
        os.close(self.status)


def _become(  # noqa: PLR0913 - what a process is made of
    argv: list[str],
    env: Mapping[str, str],
    cwd: str,
    *,
    go: int,
    status: int,
    output: int,
    memory: int,
    files: tuple[int, int],
) -> None:
    """Become the program; runs in the child and never returns."""
    code, doing = CANNOT_EXECUTE, "start"
    try:
        os.setsid()
        if os.read(go, 1) != _GO:
            os._exit(0)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        resource.setrlimit(resource.RLIMIT_NOFILE, files)
        if memory:
            doing = f"limit the memory to {memory} bytes"
            resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
        doing = f"change to the working directory {cwd}"
        os.chdir(cwd)
        doing = f"run {argv[0]}"
        os.execvpe(argv[0], argv, env)  # noqa: S606 - there is no shell on purpose
    except FileNotFoundError as error:
        code = NOT_FOUND if doing.startswith("run ") else code
        text = f"cannot {doing}: {error.strerror}"
    except BaseException as error:  # noqa: BLE001 - whatever it is, the supervisor must hear of it
        text = f"cannot {doing}: {getattr(error, 'strerror', None) or error}"
    with contextlib.suppress(OSError):
        os.write(status, text.encode()[:4000])
    os._exit(code)
