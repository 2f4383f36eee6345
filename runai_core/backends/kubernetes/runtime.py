"""What can be done with a pod that runs: its log, and commands in it, through the API server."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

from runai_core.backends.containers import container_of
from runai_core.backends.dialing import dial
from runai_core.backends.kubernetes.api import Api, Object
from runai_core.backends.kubernetes.forwarding import forward
from runai_core.backends.kubernetes.resources import PODS
from runai_core.backends.kubernetes.world import World
from runai_core.model.errors import Conflict, InvalidRequest, NotFound, RunaiError
from runai_core.model.snapshot import PodState
from runai_core.model.workload import Pod
from runai_core.ports import Connect, ExecSession, LogOptions

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
"""Channels of Kubernetes' v5.channel.k8s.io: the first byte of each message; CLOSE names a channel that ends."""

STREAMS = {STDOUT: "stdout", STDERR: "stderr"}

WAITING = 64
"""Pieces of output that wait for a slow reader, before the server has to wait."""

LOST = 255
"""Exit code of a command whose connection broke before it told one."""

WITHOUT_LOGS = frozenset({PodState.PENDING, PodState.GATED, PodState.BINDING})

START_SECONDS = 0.5
"""Seconds between looks at a pod whose container has not started, while its log is followed."""


class KubernetesRuntime:
    """A `ports.Runtime` through the API server and the kubelets behind it."""

    def __init__(self, api: Api, world: World, *, inside: bool) -> None:
        self._api = api
        self._world = world
        self._inside = inside  # we are in the cluster's network, where addresses of pods lead to them

    def logs(self, pod: Pod, options: LogOptions) -> AsyncIterator[bytes]:
        """Yield the log in pieces; with `follow`, until the container has ended."""
        return self._logs(pod, options)

    async def _logs(self, pod: Pod, options: LogOptions) -> AsyncIterator[bytes]:
        while not self._has_started(pod):
            if not options.follow:
                return  # there is none yet
            await asyncio.sleep(START_SECONDS)
        namespace, item = self._found(pod)
        path = PODS.path(namespace, pod.name, "log")
        query = _query(options, _container(item, options.container))
        try:
            async for piece in self._api.stream(path, **query):
                yield piece
        except InvalidRequest as error:
            if options.previous:  # there was no run before this one
                return
            raise Conflict(f"pod {pod.name} has no log: {error.message}") from None
        except NotFound as error:
            raise NotFound(f"the log of pod {pod.name} is gone with it: {error.message}") from None

    def exec(
        self, pod: Pod, argv: Sequence[str], *, tty: bool = False, stdin: bool = False, container: str | None = None
    ) -> AbstractAsyncContextManager[ExecSession]:
        """Run a command in the pod's container; leaving the context ends the connection.

        Raises:
            Conflict: the pod does not run. InvalidRequest: no command, or no such container.
        """
        if not argv or not argv[0]:
            raise InvalidRequest("a command is needed, for example: -- ls -l")
        _, item = self._found(pod)
        phase = (item.get("status") or {}).get("phase")
        if phase != "Running":
            raise Conflict(f"pod {pod.name} is {phase or pod.status.state}: commands can be run while it is Running")
        query = [("container", _container(item, container)), ("stdout", "true"), ("stderr", str(not tty).lower())]
        query += [("stdin", str(stdin).lower()), ("tty", str(tty).lower()), *(("command", word) for word in argv)]
        return self._session(pod, argv[0], query)

    @asynccontextmanager
    async def _session(self, pod: Pod, program: str, query: list[tuple[str, str]]) -> AsyncIterator[ExecSession]:
        namespace, _ = self._found(pod)
        async with self._api.websocket(PODS.path(namespace, pod.name, "exec"), query) as connection:
            session = _Session(connection, program)
            try:
                yield session
            finally:
                await session.close()

    async def reach(self, pod: Pod, port: int) -> Connect | None:
        """Return the way to a port of the pod: straight in the cluster's network, else through the API server."""
        namespace, item = self._found(pod)
        host = (item.get("status") or {}).get("podIP")
        if not host:
            return None
        if self._inside:
            return partial(dial, str(host), port)
        return partial(forward, self._api, PODS.path(namespace, pod.name, "portforward"), port)

    def _found(self, pod: Pod) -> tuple[str, Object]:
        item = self._world.pods.by_uid(pod.meta.uid)
        if item is None:
            raise NotFound(f"pod {pod.name} is gone")
        return str(item["metadata"].get("namespace", "")), item

    def _has_started(self, pod: Pod) -> bool:
        _, item = self._found(pod)
        statuses = (item.get("status") or {}).get("containerStatuses") or ()
        return any("waiting" not in (each.get("state") or {}) or each.get("lastState") for each in statuses)


def _container(item: Object, asked: str | None) -> str:
    """Return the container that is meant; one that prepares the pod can be named too."""
    containers = (*item["spec"]["containers"], *(item["spec"].get("initContainers") or ()))
    return container_of([str(each["name"]) for each in containers], asked)


def _query(options: LogOptions, container: str) -> dict[str, str]:
    """Return the parameters of the log subresource."""
    given: dict[str, Any] = {
        "container": container,
        "follow": options.follow,
        "previous": options.previous,
        "timestamps": options.timestamps,
        "tailLines": options.tail,
        "limitBytes": options.limit_bytes,
        # Seconds, rounded up: the server takes whole ones, and a line too many is better than one too few.
        "sinceSeconds": None if options.since is None else max(1, int(time.time() - options.since) + 1),
    }
    words = {True: "true", False: None}
    shown = {name: words[value] if isinstance(value, bool) else value for name, value in given.items()}
    return {name: str(value) for name, value in shown.items() if value is not None}


class _Session:
    """A command in a container, behind a web socket."""

    def __init__(self, connection: Any, program: str) -> None:
        self._connection = connection
        self._program = program
        self._output: asyncio.Queue[tuple[str, bytes] | None] = asyncio.Queue(WAITING)
        self._code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._reader = asyncio.create_task(self._read())

    async def read(self) -> tuple[str, bytes] | None:
        """Return ("stdout" or "stderr", bytes), or None at the end."""
        piece = await self._output.get()
        if piece is None:
            self._output.put_nowait(None)  # the end stays the end
        return piece

    async def write(self, data: bytes) -> None:
        """Send bytes to standard input; empty closes it."""
        if self._connection.closed:
            return
        message = bytes([STDIN]) + data if data else bytes([CLOSE, STDIN])
        try:
            await self._connection.send_bytes(message)
        except (ConnectionError, RuntimeError):  # the command has ended: nobody reads any more
            return

    async def wait(self) -> int:
        """Return the exit code; raise NotFound where the program could not be started."""
        return await asyncio.shield(self._code)

    async def resize(self, rows: int, columns: int) -> None:
        """Tell a terminal its size."""
        size = json.dumps({"Width": columns, "Height": rows}).encode()
        await self._connection.send_bytes(bytes([RESIZE]) + size)

    async def close(self) -> None:
        """End the connection; the kubelet ends what still reads or writes there."""
        self._reader.cancel()
        if not self._code.done():
            self._code.set_result(LOST)
        elif self._code.exception() is not None:
            pass  # it was asked for, or nobody wanted to know

    async def _read(self) -> None:
        try:
            async for message in self._connection:
                data = message.data.encode() if isinstance(message.data, str) else message.data
                if not isinstance(data, bytes) or not data:
                    continue
                channel, rest = data[0], data[1:]
                if channel in STREAMS and rest:
                    await self._output.put((STREAMS[channel], rest))
                elif channel == ERROR:
                    self._end(rest)
        finally:
            if not self._code.done():
                self._code.set_result(LOST)
            await self._output.put(None)

    def _end(self, status: bytes) -> None:
        """Take the command's end: the server sends a Status object."""
        if self._code.done():
            return
        outcome = exit_of(status, self._program)
        if isinstance(outcome, int):
            self._code.set_result(outcome)
        else:
            self._code.set_exception(outcome)


def exit_of(status: bytes, program: str) -> int | RunaiError:
    """Return the exit code that a Status object tells, or what went wrong before there was one."""
    try:
        told = json.loads(status)
    except ValueError:
        return LOST
    if told.get("status") == "Success":
        return 0
    causes = (told.get("details") or {}).get("causes") or ()
    for cause in causes:
        if cause.get("reason") == "ExitCode" and str(cause.get("message", "")).isdigit():
            return int(cause["message"])
    return NotFound(f"cannot run {program[:80]}: {str(told.get('message') or 'the container runtime refused')[:500]}")
