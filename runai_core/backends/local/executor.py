"""Pods as processes: the orchestrator's side of the supervisor.

The executor starts a supervisor where none runs, connects to it, and keeps a
copy of what it knows. When the supervisor dies, a new one is started; it adopts
the pods of the old one, and their runs are told anew.
"""

import asyncio
import contextlib
import itertools
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import runai_core
from runai_core.backends.local.connections import SOCKET
from runai_core.backends.local.journal import Run
from runai_core.backends.local.supervisor import ALREADY_RUNS, PROTOCOL
from runai_core.model.errors import Unavailable

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
"""How long to try to reach, or to start, a supervisor."""

MAX_MESSAGE = 256 * 1024 * 1024
SOCKET_PATH_LIMIT = 100
"""Bytes of a socket's path that every system takes."""

PASSED = frozenset(
    {
        "CONDA_DEFAULT_ENV",
        "CONDA_PREFIX",
        "CUDA_HOME",
        "CUDA_PATH",
        "HOME",
        "LANG",
        "LANGUAGE",
        "LD_LIBRARY_PATH",
        "LOGNAME",
        "PATH",
        "PYTHONPATH",
        "SHELL",
        "SSL_CERT_DIR",
        "SSL_CERT_FILE",
        "TERM",
        "TMPDIR",
        "TZ",
        "USER",
        "VIRTUAL_ENV",
    }
)
"""Variables of ours that pods get; with those that begin with ``LC_``. Nothing else leaves us, no token above all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """What to run."""

    argv: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    working_dir: str = ""  # empty: a directory of the pod's own
    memory_limit: int = 0  # bytes of data of each process; 0 = none


class Executor(Protocol):
    """Runs pods. A run is named by the pod's uid and a number, and is started once, however often it is asked."""

    async def open(self, changed: Callable[[str], None]) -> None:
        """Get ready; call back with a uid whenever its run has changed."""
        ...

    def run_of(self, uid: str) -> Run | None:
        """Return what is known of the newest run of a pod."""
        ...

    def runs(self) -> Sequence[Run]:
        """Return what is known of all pods."""
        ...

    async def start(self, uid: str, run: int, process: Process) -> Run:
        """Start a run, unless it was started before; return what is known of it. Raise Unavailable."""
        ...

    async def stop(self, uid: str, grace: float) -> None:
        """Ask the run to end, and force it after the grace period in seconds. Raise Unavailable."""
        ...

    async def forget(self, uid: str) -> None:
        """Forget a pod whose run has ended. Raise Unavailable."""
        ...

    async def close(self, *, shutdown: bool) -> None:
        """Let go of the pods; with `shutdown`, end them all first."""
        ...


def passed_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the part of our environment that pods get."""
    return {name: value for name, value in environ.items() if name in PASSED or name.startswith("LC_")}


class ProcessExecutor:
    """An `Executor` whose pods are process groups under a supervisor."""

    def __init__(self, data_dir: Path, *, shutdown_grace: float = 10.0) -> None:
        self._data_dir = data_dir
        self._shutdown_grace = shutdown_grace
        self._runs: dict[str, Run] = {}
        self._changed: Callable[[str], None] = lambda _: None
        self._writer: asyncio.StreamWriter | None = None
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._closing = False

    async def open(self, changed: Callable[[str], None]) -> None:
        """Connect to the supervisor of the data directory, starting one where none runs.

        Raises:
            Unavailable: it cannot be started.
        """
        self._changed = changed
        reader = await self._connect()
        self._task = asyncio.create_task(self._listen(reader))
        await self._greet()

    def run_of(self, uid: str) -> Run | None:
        """Return what is known of the newest run of a pod."""
        return self._runs.get(uid)

    def runs(self) -> Sequence[Run]:
        """Return what is known of all pods."""
        return tuple(self._runs.values())

    async def start(self, uid: str, run: int, process: Process) -> Run:
        """Start a run, unless it was started before; return what is known of it. Raise Unavailable."""
        answer = await self._ask(
            "start",
            uid=uid,
            run=run,
            argv=list(process.argv),
            env=dict(process.environment),
            cwd=process.working_dir,
            memory=process.memory_limit,
        )
        known = self._runs.get(uid)
        if known is None or known.run < answer["run"]:  # else its end may have been told already
            self._runs[uid] = Run(**answer)
        return self._runs[uid]

    async def stop(self, uid: str, grace: float) -> None:
        """Ask the run to end, and force it after the grace period in seconds. Raise Unavailable."""
        await self._ask("stop", uid=uid, grace=grace)

    async def forget(self, uid: str) -> None:
        """Forget a pod whose run has ended. Raise Unavailable."""
        await self._ask("forget", uid=uid)
        self._runs.pop(uid, None)

    async def close(self, *, shutdown: bool) -> None:
        """Let go of the pods; with `shutdown`, end them all first, and the supervisor."""
        self._closing = True
        if shutdown and self._task is not None:
            with contextlib.suppress(Unavailable):
                await self._ask("shutdown", grace=self._shutdown_grace)
                await asyncio.wait([self._task], timeout=self._shutdown_grace + 10)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._disconnect()

    # -- connection

    async def _connect(self) -> asyncio.StreamReader:
        """Connect; start a supervisor where none answers."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + CONNECT_SECONDS
        while True:
            try:
                reader, self._writer = await _open_socket(self._data_dir / SOCKET)
            except OSError as error:
                if loop.time() > deadline:
                    raise Unavailable(f"the supervisor of {self._data_dir} does not answer: {error}") from None
            else:
                return reader
            await self._start_supervisor()
            await asyncio.sleep(0.01)

    async def _start_supervisor(self) -> None:
        package = str(Path(runai_core.__file__).parents[1])
        environment = passed_environment(os.environ)
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (package, environment.get("PYTHONPATH"))))
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "runai_core.backends.local.supervisor",
                str(self._data_dir),
                env=environment,
                cwd=self._data_dir,
                start_new_session=True,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
            async with asyncio.timeout(CONNECT_SECONDS):
                _, said = await process.communicate()
        except (OSError, TimeoutError) as error:
            raise Unavailable(f"the supervisor of pods cannot be started: {error}") from None
        if process.returncode not in (0, ALREADY_RUNS):
            raise Unavailable(f"the supervisor of pods did not start: {said.decode(errors='replace').strip()[-500:]}")

    async def _greet(self) -> None:
        answer = await self._ask("hello", wait=False)
        if answer["protocol"] != PROTOCOL:
            raise Unavailable(
                f"a supervisor of another version runs in {self._data_dir} (pid {answer['pid']}): "
                "end its pods with the version that started it, or end that process"
            )
        before = set(self._runs)
        self._runs = {run["uid"]: Run(**run) for run in answer["runs"]}
        self._ready.set()
        for uid in sorted(before | set(self._runs)):
            self._changed(uid)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        """Take messages; when the supervisor is lost, find a new one."""
        pause = 0.1
        while True:
            with contextlib.suppress(OSError, ValueError):
                while line := await reader.readline():
                    self._take(json.loads(line))
                    pause = 0.1
            await self._disconnect()
            if self._closing:
                return
            log.warning("the supervisor of pods was lost: looking for it, or starting a new one")
            while True:
                try:
                    reader = await self._connect()
                    break
                except Unavailable as error:
                    log.warning("%s", error.message)
                    pause = min(2 * pause, 5.0)
                    await asyncio.sleep(pause)
            self._greeting = asyncio.create_task(self._greet_again())

    async def _greet_again(self) -> None:
        try:
            await self._greet()
        except Unavailable as error:
            log.warning("%s", error.message)

    async def _disconnect(self) -> None:
        self._ready.clear()
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(Unavailable("the supervisor of pods was lost: try again"))
        self._waiting.clear()

    def _take(self, message: dict[str, Any]) -> None:
        if message.get("event") == "exit":
            run = Run(**message["run"])
            self._runs[run.uid] = run
            self._changed(run.uid)
            return
        future = self._waiting.pop(message["id"], None)
        if future is None or future.done():
            return
        if "error" in message:
            future.set_exception(Unavailable(f"the supervisor of pods could not do it: {message['error']}"))
        else:
            future.set_result(message["ok"])

    async def _ask(self, do: str, *, wait: bool = True, **arguments: Any) -> Any:
        if wait and not self._ready.is_set():
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    await self._ready.wait()
            except TimeoutError:
                raise Unavailable("the supervisor of pods does not answer: try again") from None
        if self._writer is None:
            raise Unavailable("the supervisor of pods was lost: try again")
        number = next(self._numbers)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        self._writer.write(json.dumps({"id": number, "do": do, **arguments}).encode() + b"\n")
        return await future


async def _open_socket(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a socket whose path may be longer than the system takes (Linux: by way of its directory)."""
    if len(os.fsencode(path)) <= SOCKET_PATH_LIMIT:
        return await asyncio.open_unix_connection(path, limit=MAX_MESSAGE)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return await asyncio.open_unix_connection(f"/proc/self/fd/{directory}/{path.name}", limit=MAX_MESSAGE)
    finally:
        os.close(directory)
