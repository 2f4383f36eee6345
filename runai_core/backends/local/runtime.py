"""What can be done with a pod that has a process: read its log, run a command beside it."""

import asyncio
import contextlib
import fcntl
import os
import pty
import signal
import termios
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from runai_core.backends.containers import container_of
from runai_core.backends.dialing import dial
from runai_core.backends.local.cluster import LocalCluster
from runai_core.backends.local.environment import environment_of
from runai_core.backends.local.executor import Executor, passed_environment
from runai_core.backends.local.listening import listener_of
from runai_core.backends.local.logs import read_log
from runai_core.model.errors import Conflict, InvalidRequest, NotFound
from runai_core.model.snapshot import PodState
from runai_core.model.workload import Pod
from runai_core.ports import MAIN_CONTAINER, Clock, Connect, ExecSession, LogOptions

PIECE = 65536
WAITING = 64
"""Pieces of output that wait for a slow reader, before the command has to wait."""

END_OF_INPUT = b"\x04"
"""What a terminal is sent at the end of input."""

END_GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL for a command that is no longer wanted."""


class LocalRuntime:
    """A `ports.Runtime` over the files and processes of a data directory."""

    def __init__(self, data_dir: Path, cluster: LocalCluster, executor: Executor, clock: Clock) -> None:
        self._pods = data_dir / "pods"
        self._cluster = cluster
        self._executor = executor
        self._clock = clock

    def logs(self, pod: Pod, options: LogOptions) -> AsyncIterator[bytes]:
        """Yield the log in pieces; with `follow`, until the process has ended.

        Raises:
            InvalidRequest: the pod has no such container.
        """
        container_of((MAIN_CONTAINER,), options.container)
        pod = self._cluster.pod(pod.meta.uid) or pod
        run = pod.status.restarts
        if pod.status.reason == "CrashLoopBackOff":
            run -= 1  # the next run has not begun
        if options.previous:
            run -= 1
        if run < 0:
            return _nothing()
        path = self._folder(pod) / f"{run}.log"
        return read_log(path, options, has_ended=self._end_of(pod, run), clock=self._clock)

    def exec(
        self, pod: Pod, argv: Sequence[str], *, tty: bool = False, stdin: bool = False, container: str | None = None
    ) -> contextlib.AbstractAsyncContextManager[ExecSession]:
        """Run a command in the environment of the pod; leaving the context ends it.

        Raises:
            Conflict: the pod does not run. InvalidRequest: no command, or no such container. NotFound: no such program.
        """
        if not argv or not argv[0]:
            raise InvalidRequest("a command is needed, for example: -- ls -l")
        container_of((MAIN_CONTAINER,), container)
        pod = self._cluster.pod(pod.meta.uid) or pod
        if pod.status.state is not PodState.RUNNING:
            raise Conflict(f"pod {pod.name} is {pod.status.state}: commands can be run while it is Running")
        return self._session(pod, argv, tty=tty, stdin=stdin)

    @asynccontextmanager
    async def _session(self, pod: Pod, argv: Sequence[str], *, tty: bool, stdin: bool) -> AsyncIterator[ExecSession]:
        environment = environment_of(pod, self._cluster.node(pod.status.node), passed_environment(os.environ))
        environment |= await self._cluster.preparation.environment(pod)
        folder = self._folder(pod) / "work" / pod.spec.working_dir
        start = _start_on_terminal if tty else _start_on_pipes
        try:
            session = await start(argv, environment, folder, stdin=stdin)
        except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
            raise NotFound(f"cannot run {argv[0][:80]} in pod {pod.name}: {error.strerror}") from None
        watch = asyncio.create_task(self._end_with_pod(pod, session))
        try:
            yield session
        finally:
            watch.cancel()
            await session.end()

    async def reach(self, pod: Pod, port: int) -> Connect | None:
        """Return the way to the port on which a process of the pod listens; None where none does."""
        host = await asyncio.to_thread(listener_of, pod.meta.uid, port)
        return partial(dial, host, port) if host else None

    async def _end_with_pod(self, pod: Pod, session: "_Session") -> None:
        """End the command when the pod does not run any more."""
        has_ended = self._end_of(pod, pod.status.restarts)
        while not has_ended():
            await self._clock.sleep(0.5)
        await session.end()

    def _end_of(self, pod: Pod, run: int) -> Callable[[], bool]:
        """Return the question whether a run of the pod has ended."""

        def has_ended() -> bool:
            now = self._cluster.pod(pod.meta.uid)
            if now is None or now.status.state in (PodState.SUCCEEDED, PodState.FAILED) or now.status.restarts > run:
                return True
            known = self._executor.run_of(pod.meta.uid)
            return known is not None and (known.run > run or (known.run == run and not known.running))

        return has_ended

    def _folder(self, pod: Pod) -> Path:
        name = pod.meta.uid
        if not name or "/" in name or name.startswith("."):
            raise NotFound(f"pod {pod.name} has no files")
        return self._pods / name


async def _nothing() -> AsyncIterator[bytes]:
    pieces: tuple[bytes, ...] = ()
    for piece in pieces:
        yield piece


class _Session:
    """A command that runs: output by a queue, input by a descriptor."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._output: asyncio.Queue[tuple[str, bytes] | None] = asyncio.Queue(WAITING)
        self._readers: list[asyncio.Task[None]] = []
        self._closer: asyncio.Task[None] | None = None
        self._input: asyncio.StreamWriter | None = None
        self._terminal: int | None = None

    def take_from(self, name: str, reader: asyncio.StreamReader) -> None:
        """Hand on what comes from a stream."""
        self._readers.append(asyncio.create_task(self._pump(name, reader)))

    def give_to(self, writer: asyncio.StreamWriter | None, terminal: int | None = None) -> None:
        """Send input to a stream; a terminal is told of the end by a key."""
        self._input, self._terminal = writer, terminal
        self._closer = asyncio.create_task(self._close_output())

    async def read(self) -> tuple[str, bytes] | None:
        """Return ("stdout" or "stderr", bytes), or None at the end."""
        piece = await self._output.get()
        if piece is None:
            self._output.put_nowait(None)  # the end stays the end
        return piece

    async def write(self, data: bytes) -> None:
        """Send bytes to standard input; empty closes it."""
        if self._input is None:
            return
        with contextlib.suppress(ConnectionError, OSError):
            if data:
                self._input.write(data)
                await self._input.drain()
            elif self._terminal is not None:
                self._input.write(END_OF_INPUT)
            else:
                self._input.close()

    def resize(self, rows: int, columns: int) -> None:
        """Tell a terminal its size."""
        if self._terminal is not None:
            termios.tcsetwinsize(self._terminal, (rows, columns))

    async def wait(self) -> int:
        """Return the exit code; 128 and the number for a signal."""
        code = await self._process.wait()
        return code if code >= 0 else 128 - code

    async def end(self) -> None:
        """End the command and its children."""
        for number, seconds in ((signal.SIGTERM, END_GRACE), (signal.SIGKILL, END_GRACE)):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)
            if self._process.returncode is not None:
                continue  # its children, if any, get both signals
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._process.wait()
        for task in (*self._readers, self._closer):
            if task is not None:
                task.cancel()
        if self._input is not None:
            self._input.close()

    async def _pump(self, name: str, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):  # a terminal says so when its other side is closed
            while data := await reader.read(PIECE):
                await self._output.put((name, data))

    async def _close_output(self) -> None:
        await asyncio.gather(*self._readers)
        await self._output.put(None)


async def _start_on_pipes(argv: Sequence[str], environment: dict[str, str], folder: Path, *, stdin: bool) -> _Session:
    process = await asyncio.create_subprocess_exec(
        *argv,
        env=environment,
        cwd=folder,
        start_new_session=True,
        stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    session = _Session(process)
    for name, stream in (("stdout", process.stdout), ("stderr", process.stderr)):
        if stream is not None:
            session.take_from(name, stream)
    session.give_to(process.stdin)
    return session


async def _start_on_terminal(
    argv: Sequence[str], environment: dict[str, str], folder: Path, *, stdin: bool
) -> _Session:
    ours, theirs = pty.openpty()
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            env={"TERM": "xterm-256color"} | environment,
            cwd=folder,
            start_new_session=True,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            preexec_fn=_take_terminal,
        )
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    session = _Session(process)
    if not stdin:
        os.write(ours, END_OF_INPUT)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    source = os.fdopen(ours, "rb", 0)
    sink = os.fdopen(os.dup(ours), "wb", 0)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), source)
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, sink)
    session.take_from("stdout", reader)
    session.give_to(asyncio.StreamWriter(transport, protocol, None, loop), sink.fileno())
    return session


def _take_terminal() -> None:
    """Make standard input the terminal of the new session; runs in the child."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
