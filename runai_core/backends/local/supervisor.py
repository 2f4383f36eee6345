"""The small process that starts pods and outlives the orchestrator.

    python -m runai_core.backends.local.supervisor DATA_DIR

One per data directory. It owns the processes of the pods, their logs and their
exit codes, and answers on a socket with one JSON object per line. It decides
nothing: starting again, evicting and forgetting are asked of it.

Law: a start is named by the pod's uid and the number of the run; asked twice it
is done once. What happened is in the journal before it is answered. Standard
library only, one thread.
"""

import contextlib
import fcntl
import os
import re
import resource
import select
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from runai_core.backends.local import processes
from runai_core.backends.local.connections import SOCKET, Connections, listen
from runai_core.backends.local.journal import Journal, Run
from runai_core.backends.local.logfile import MAX_BYTES, LogFile

PROTOCOL = 1
JOURNAL = "journal"
LOCK = "supervisor.lock"
ALREADY_RUNS = 3
"""Exit code of a second supervisor on the same data directory."""

IDLE_SECONDS = 60.0
"""Without a pod and without an orchestrator for so long, the supervisor ends."""

TICK = 5.0
"""Seconds between looks around when nothing happens."""

READ = 256 * 1024
"""Bytes that are read from one pod before others have their turn."""

END_GRACE = 10.0
"""Seconds that pods have to end when the supervisor itself must."""

EXEC_WAIT = 0.2
"""Seconds to wait for a program to begin before the start is answered."""

_UID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")


@dataclass(slots=True)
class Held:
    """What we hold of a run while it runs."""

    log: LogFile
    output: int  # reading end
    status: int = -1  # from the child: why the program could not be run
    pidfd: int = -1  # of a process that is not our child
    adopted: bool = False
    kill_at: float | None = None  # monotonic


class Supervisor:
    """The loop: sockets, output of pods, children, deadlines."""

    def __init__(self, data_dir: str, listener: socket.socket) -> None:
        self._pods = os.path.join(data_dir, "pods")
        self._socket_path = os.path.join(data_dir, SOCKET)
        self._journal = Journal(os.path.join(data_dir, JOURNAL))
        self._held: dict[str, Held] = {}
        self._leaders: dict[int, str] = {}  # pid -> uid of what runs
        self._selector = selectors.DefaultSelector()
        self._clients = Connections(self._selector, listener, self._answer)
        self._idle_since = time.monotonic()
        self._ending = False
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._files = (soft, hard)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def serve(self) -> None:
        """Work until told to end, or until nobody needs us."""
        wake, waker = os.pipe()
        for end in (wake, waker):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self._end())
        self._selector.register(wake, selectors.EVENT_READ, lambda _: self._reap(wake))
        self._adopt()
        while not (self._ending and not self._held) and not self._is_forgotten():
            for key, events in self._selector.select(self._timeout()):
                key.data(events)
            self._enforce()

    # -- requests

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        requests: dict[str, Callable[..., Any]] = {
            "hello": self._hello,
            "start": self._start,
            "stop": self._stop,
            "forget": self._forget,
            "shutdown": self._shutdown,
        }
        do, number = requests.get(request.pop("do", "")), request.pop("id", None)
        if do is None:
            return {"id": number, "error": "unknown request"}
        try:
            return {"id": number, "ok": do(**request)}
        except OSError as error:
            return {"id": number, "error": error.strerror or str(error)}
        except (ValueError, TypeError, KeyError) as error:
            return {"id": number, "error": str(error)}

    def _hello(self) -> dict[str, Any]:
        return {"protocol": PROTOCOL, "pid": os.getpid(), "runs": [asdict(run) for run in self._journal.runs.values()]}

    def _start(  # noqa: PLR0913 - the fields of the request
        self,
        uid: str,
        run: int,
        argv: list[str],
        env: dict[str, str],
        cwd: str = "",
        memory: int = 0,
        log_bytes: int = MAX_BYTES,
    ) -> dict[str, Any]:
        if not _UID.match(uid) or run < 0 or not argv:
            raise ValueError("a start needs a plain uid, a run and a command")
        known = self._journal.runs.get(uid)
        if known is not None and (known.run >= run or known.running):
            return asdict(known)  # asked before, or something newer is there: the caller sees which
        if self._ending:
            raise ValueError("the supervisor is ending")
        folder = os.path.join(self._pods, uid)
        for place in (folder, os.path.join(folder, "work")):  # makedirs gives its mode to the last folder only
            os.makedirs(place, mode=0o700, exist_ok=True)
        self._remove_old_logs(folder, run)
        process = (argv, env | {processes.MARKER: uid}, os.path.join(folder, "work", cwd))
        launch, begun, held = self._prepare(uid, run, process, folder, memory=memory, log_bytes=log_bytes)
        self._held[uid], self._leaders[launch.pid] = held, uid
        launch.go()
        self._selector.register(held.output, selectors.EVENT_READ, lambda _: self._read(held))
        if select.select([launch.status], [], [], EXEC_WAIT)[0]:
            self._read_status(begun, held)
        return asdict(begun)

    def _prepare(
        self,
        uid: str,
        run: int,
        process: tuple[list[str], dict[str, str], str],
        folder: str,
        *,
        memory: int,
        log_bytes: int,
    ) -> tuple[processes.Launch, Run, Held]:
        """Fork a child that waits for our word, and write it down; undo all of it where that fails."""
        with contextlib.ExitStack() as undo:
            output, writer = self._open_output(folder)
            undo.callback(os.close, output)
            try:
                log = LogFile(os.path.join(folder, f"{run}.log"), log_bytes)
                undo.callback(log.close)
                launch = processes.Launch(*process, output=writer, memory=memory, files=self._files)
            finally:
                os.close(writer)
            undo.callback(launch.give_up)
            begun = Run(uid, run, launch.pid, processes.started(launch.pid), time.time())
            self._journal.put(begun)
            undo.pop_all()
        return launch, begun, Held(log, output, launch.status)

    def _open_output(self, folder: str) -> tuple[int, int]:
        """Return both ends of the pod's output.

        It is a named pipe whose writing end the pod holds for reading too: its
        output survives our death, and waits for the next supervisor.
        """
        path = os.path.join(folder, "output")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # one that strays of an earlier run may hold
        os.mkfifo(path, 0o600)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        return reader, os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def _remove_old_logs(self, folder: str, run: int) -> None:
        for piece in (f"{run - 2}.log", f"{run - 2}.log.1"):
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(folder, piece))

    def _stop(self, uid: str, grace: float) -> dict[str, Any] | None:
        run, held = self._journal.runs.get(uid), self._held.get(uid)
        if run is not None and held is not None:
            first = not run.stopped
            run.stopped = True
            deadline = time.monotonic() + grace
            held.kill_at = deadline if held.kill_at is None else min(held.kill_at, deadline)
            if first:
                processes.signal_group(run.pid, signal.SIGTERM)
        return None if run is None else asdict(run)

    def _forget(self, uid: str) -> None:
        if uid in self._held:
            raise ValueError("it still runs")
        self._journal.drop(uid)

    def _shutdown(self, grace: float = 0.0) -> None:
        self._end(grace)

    def _end(self, grace: float = END_GRACE) -> None:
        self._ending = True
        for uid in list(self._held):
            self._stop(uid, grace)

    # -- pods

    def _read(self, held: Held) -> bool:
        """Take a piece of a pod's output; return whether there may be more."""
        try:
            data = os.read(held.output, READ)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            with contextlib.suppress(KeyError):
                self._selector.unregister(held.output)  # every writer is gone
        held.log.append(data)
        return bool(data)

    def _read_status(self, run: Run, held: Held) -> None:
        """Learn whether the program could be run."""
        if held.status >= 0:
            text = os.read(held.status, 4096).decode("utf-8", "replace")
            os.close(held.status)
            held.status = -1
            run.message, run.begun = text, not text

    def _reap(self, wake: int) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(wake, 4096):
                pass
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                break
            if ended is None:
                break
            uid = self._leaders.get(ended.si_pid)
            if uid is not None:  # its group first: the number of the group is its own as long as it is not reaped
                processes.signal_group(ended.si_pid, signal.SIGKILL)
            _, status = os.waitpid(ended.si_pid, 0)
            if uid is not None:
                code = os.waitstatus_to_exitcode(status)
                self._finish(uid, code if code >= 0 else 128 - code, _death(code))
        self._kill_strays(processes.children())

    def _finish(self, uid: str, code: int | None, message: str) -> None:
        run, held = self._journal.runs[uid], self._held.pop(uid)
        self._leaders.pop(run.pid, None)
        self._read_status(run, held)
        for _ in range(64):  # what is still in the pipe; bounded, for a stray may write for ever
            if not self._read(held):
                break
        with contextlib.suppress(KeyError):
            self._selector.unregister(held.output)
        for fd in (held.output, held.pidfd):
            if fd >= 0:
                os.close(fd)
        held.log.close()
        run.running, run.code, run.finished_at = False, code, time.time()
        run.message = run.message or message
        with contextlib.suppress(OSError):  # a full disk: the orchestrator is told all the same
            self._journal.put(run)
        self._clients.broadcast({"event": "exit", "run": asdict(run)})
        self._idle_since = time.monotonic()

    def _kill_strays(self, pids: Any) -> None:
        """Kill processes of pods that have ended. Each death may uncover its children, which come to us in turn."""
        for pid in pids:
            if pid in self._leaders:
                continue
            uid = processes.pod_of(pid) or self._leaders.get(processes.session_of(pid), "")
            if uid and uid not in self._held and uid in self._journal.runs:
                processes.signal_one(pid, signal.SIGKILL)

    def _adopt(self) -> None:
        """Take over what a supervisor before us started."""
        for uid, run in list(self._journal.runs.items()):
            if not run.running:
                continue
            folder = os.path.join(self._pods, uid)
            held = Held(LogFile(os.path.join(folder, f"{run.run}.log")), self._reopen(folder), adopted=True)
            self._held[uid], self._leaders[run.pid] = held, uid
            if processes.started(run.pid) != run.start or not run.start:
                self._finish(uid, None, "it ended while nobody watched: its exit code is not known")
                continue
            held.pidfd = os.pidfd_open(run.pid) if hasattr(os, "pidfd_open") else -1
            if held.pidfd >= 0:
                self._selector.register(held.pidfd, selectors.EVENT_READ, lambda _, uid=uid: self._lost(uid))
            if held.output >= 0:
                self._selector.register(held.output, selectors.EVENT_READ, lambda _, held=held: self._read(held))
        self._kill_strays(processes.everybody())

    def _reopen(self, folder: str) -> int:
        try:
            return os.open(os.path.join(folder, "output"), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return os.open(os.devnull, os.O_RDONLY)

    def _lost(self, uid: str) -> None:
        """Note the end of a process that is not our child."""
        held = self._held[uid]
        if held.pidfd >= 0:
            self._selector.unregister(held.pidfd)
        processes.signal_group(self._journal.runs[uid].pid, signal.SIGKILL)
        self._finish(uid, None, "its exit code is not known: it was adopted after its supervisor had died")
        self._kill_strays(processes.everybody())

    # -- time

    def _timeout(self) -> float:
        deadlines = [held.kill_at for held in self._held.values() if held.kill_at is not None]
        return max(0.0, min([TICK, *(deadline - time.monotonic() for deadline in deadlines)]))

    def _enforce(self) -> None:
        now = time.monotonic()
        for uid, held in list(self._held.items()):
            run = self._journal.runs[uid]
            if held.kill_at is not None and held.kill_at <= now:
                held.kill_at = now + 1.0  # again, should it not be enough
                processes.signal_group(run.pid, signal.SIGKILL)
            if held.adopted and held.pidfd < 0 and processes.started(run.pid) != run.start:
                self._lost(uid)  # on a system without pidfd

    def _is_forgotten(self) -> bool:
        """Return whether nobody can need us any more."""
        if len(self._clients):
            return False
        if not os.path.exists(self._socket_path):  # the data directory was removed: nobody can ever find us
            if not self._ending:
                self._end()
            return not self._held
        return not self._held and time.monotonic() - max(self._idle_since, self._clients.quiet_since) > IDLE_SECONDS


def _death(code: int) -> str:
    if code >= 0:
        return "" if code == 0 else f"exited with code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def main(arguments: list[str]) -> int:
    """Become a daemon; return when it is ready to answer, or with a reason on standard error."""
    data_dir = os.path.abspath(arguments[0])
    try:
        lock = os.open(os.path.join(data_dir, LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.makedirs(os.path.join(data_dir, "pods"), mode=0o700, exist_ok=True)
        listener = listen(data_dir)
        errors = os.open(os.path.join(data_dir, "supervisor.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except BlockingIOError:
        return ALREADY_RUNS
    except OSError as error:
        sys.stderr.write(f"cannot supervise pods in {data_dir}: {error.strerror or error}\n")
        return 1
    if os.fork() > 0:
        os._exit(0)  # ready: the socket listens already
    os.setsid()
    os.chdir("/")
    nothing = os.open(os.devnull, os.O_RDWR)
    for target, source in ((0, nothing), (1, errors), (2, errors)):
        os.dup2(source, target)
    processes.become_subreaper()
    Supervisor(data_dir, listener).serve()
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(data_dir, SOCKET))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
