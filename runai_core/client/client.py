"""The asynchronous client. Its synchronous twin in `client.sync` is generated from this file.

Every method is one request of `requests` and no more; the few that need several
(`wait`, `logs`, `watch`) say so. Workloads are named by object, by id, or by
name (then the project is the client's, unless given).
"""

import os
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Any, Self, Unpack

from runai_core.client import requests
from runai_core.client.environment import Connection, find_connection
from runai_core.client.execution import AsyncExecSession, open_session
from runai_core.client.organization import AsyncDepartments, AsyncNodePools, AsyncPolicies, AsyncProjects
from runai_core.client.pages import all_pages
from runai_core.client.requests import Listing
from runai_core.client.results import (
    Change,
    Event,
    Explanation,
    HistoryRecord,
    Node,
    Pod,
    Preview,
    Workload,
    phases_of,
)
from runai_core.client.sockets import AsyncSocket
from runai_core.client.specs import (
    DistributedInferenceOptions,
    DistributedOptions,
    InferenceOptions,
    Options,
    TrainingOptions,
    build_spec,
)
from runai_core.client.streams import EventLines, is_uid
from runai_core.client.transport import AsyncTransport
from runai_core.model.errors import NotFound, Unavailable
from runai_core.model.workload import TERMINAL, Phase
from runai_core.settings import Settings

LOOK_AGAIN = (0.05, 0.5)
"""Shortest and longest pause between two looks at a workload that is waited for, in seconds."""

RECONNECTS = 10
"""Failures in a row after which a watch is given up."""


class AsyncClient:
    """Talks to one orchestrator.

    >>> async with AsyncClient.from_env() as client:
    ...     job = await client.trainings.submit("mnist", command=["python", "train.py"], gpus=1)
    ...     job = await client.wait(job)
    ...     print(job.phase)
    """

    def __init__(self, transport: AsyncTransport) -> None:
        self.transport = transport
        self.project = transport.connection.project
        self.workspaces = AsyncWorkspaces(self)
        self.trainings = AsyncTrainings(self)
        self.distributed = AsyncDistributed(self)
        self.inferences = AsyncInferences(self)
        self.distributed_inferences = AsyncDistributedInferences(self)
        self.projects = AsyncProjects(transport)
        self.departments = AsyncDepartments(transport)
        self.node_pools = AsyncNodePools(transport)
        self.policies = AsyncPolicies(transport)

    @classmethod
    def connect(cls, url: str, token: str = "", *, project: str = "", **more: str) -> "AsyncClient":
        """Return a client of the orchestrator at the URL; `more` is `client_id` and `client_secret`."""
        given = {"project": project} if project else {}
        return cls(AsyncTransport(Connection(url=url.rstrip("/"), token=token, **given, **more)))

    @classmethod
    def connect_to(cls, connection: Connection) -> "AsyncClient":
        """Return a client of the orchestrator that the connection names."""
        return cls(AsyncTransport(connection))

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> "AsyncClient":
        """Return a client of the orchestrator that the environment means.

        Reads RUNAI_URL, RUNAI_TOKEN, RUNAI_PROJECT; without RUNAI_URL the
        credentials file in RUNAI_DATA_DIR, or in the user's data directory.

        Raises:
            Unavailable: there is no orchestrator of this user.
        """
        return cls(AsyncTransport(find_connection(os.environ if environ is None else environ)))

    @classmethod
    @asynccontextmanager
    async def embedded(cls, settings: Settings) -> AsyncIterator["AsyncClient"]:
        """Start an orchestrator in this process, and stop it with all its pods on leaving the context.

        >>> async with AsyncClient.embedded(load_settings({}, data_dir="/tmp/try", simulated_gpus=8)) as client:
        ...     print(await client.nodes())
        """
        # Imported here: a client over HTTP needs no server.
        from runai_core.client.embedded import open_embedded

        async with open_embedded(settings) as transport:
            yield cls(transport)

    async def __aenter__(self) -> Self:
        """Open the client."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self.transport.close()

    # -- submitting

    async def submit(self, type_: str, name: str, options: Mapping[str, Any] | None = None) -> Workload:
        """Create a workload of a native type; `options` are those of `specs.Options` and its kin.

        Raises:
            InvalidRequest, PolicyViolation, NotFound (project), AlreadyExists
        """
        return await self.transport.call(requests.submit(type_, self._submission(type_, name, options or {})))

    async def preview(self, type_: str, name: str, options: Mapping[str, Any] | None = None) -> Preview:
        """Return what a submission would become; nothing is created."""
        return await self.transport.call(requests.preview(type_, self._submission(type_, name, options or {})))

    async def submit_body(self, type_: str, body: Mapping[str, Any]) -> Workload:
        """Create a workload from a request body of the API."""
        return await self.transport.call(requests.submit(type_, body))

    async def preview_body(self, type_: str, body: Mapping[str, Any]) -> Preview:
        """Return what a request body of the API would become; nothing is created."""
        return await self.transport.call(requests.preview(type_, body))

    async def submit_manifest(self, manifest: Mapping[str, Any], *, project: str = "", **metadata: Any) -> Workload:
        """Create a workload from a framework's own object; `metadata` is the API's: name, priority, category, ..."""
        body = {"metadata": {"projectId": project or self.project, **metadata}, "manifest": dict(manifest)}
        return await self.transport.call(requests.submit_manifest(body))

    def _submission(self, type_: str, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        return requests.submission(
            type_, name, options.get("project") or self.project, build_spec(type_, options), **requests.extras(options)
        )

    # -- reading

    async def get(self, workload: str | Workload, *, project: str = "") -> Workload:
        """Return a workload as it is now.

        Raises:
            NotFound: there is none of this name in the project, or of this id.
        """
        uid = workload.id if isinstance(workload, Workload) else workload
        if is_uid(uid):
            return await self.transport.call(requests.workload(uid))
        return await self._find(uid, project or self.project)

    async def _find(self, name: str, project: str) -> Workload:
        listing = Listing(filters=(f"name=={name}", f"projectName=={project}"))
        found = await self.transport.call(requests.workload_page(listing, 0, 2)) if name else ()
        if not found:
            raise NotFound(f"project {project} has no workload named {name[:80]!r}: see `runai workload list -A`")
        return found[0]

    async def list(self, *, project: str = "", limit: int | None = None, **listing: Any) -> tuple[Workload, ...]:
        """Return workloads, newest first; of all projects unless one is given. `listing` is as in `Listing`."""
        filters = (*listing.pop("filters", ()), *((f"projectName=={project}",) if project else ()))
        options: dict[str, Any] = {"sort_by": "createdAt", "descending": True, **listing}
        chosen = Listing(filters=filters, **options)
        return await all_pages(self.transport, partial(requests.workload_page, chosen), limit, chosen.page_size)

    async def pods(self, workload: str | Workload, *, project: str = "") -> tuple[Pod, ...]:
        """Return the pods of a workload."""
        return await self.transport.call(requests.pods(await self._uid(workload, project)))

    async def events(
        self, workload: str | Workload, *, project: str = "", limit: int | None = None
    ) -> tuple[Event, ...]:
        """Return the events of a workload and its pods."""
        uid = await self._uid(workload, project)
        return await all_pages(self.transport, lambda offset, size: requests.events(uid, offset, size), limit)

    async def history(
        self, workload: str | Workload, *, project: str = "", limit: int | None = None
    ) -> tuple[HistoryRecord, ...]:
        """Return the story of a workload: when it was in which phase, and why."""
        uid = await self._uid(workload, project)
        return await all_pages(self.transport, lambda offset, size: requests.history(uid, offset, size), limit)

    async def why(self, workload: str | Workload, *, project: str = "") -> Explanation:
        """Return why a workload is where it is: one sentence, and the numbers behind it."""
        return await self.transport.call(requests.why(await self._uid(workload, project)))

    async def metrics(
        self,
        workload: str | Workload,
        types: Sequence[str],
        *,
        start: str,
        end: str,
        samples: int = 20,
        project: str = "",
    ) -> Any:
        """Return measurements of a workload; times are RFC 3339."""
        uid = await self._uid(workload, project)
        return await self.transport.call(requests.metrics(f"workloads/{uid}", types, start, end, samples))

    async def _uid(self, workload: str | Workload, project: str) -> str:
        if isinstance(workload, Workload):
            return workload.id
        return workload if is_uid(workload) else (await self._find(workload, project or self.project)).id

    # -- changing

    async def suspend(self, workload: str | Workload, *, project: str = "") -> None:
        """Stop a workload: its pods end, it stays and can be resumed. Repeating it does no harm."""
        await self.transport.call(requests.change_state("suspend", await self.get(workload, project=project)))

    async def resume(self, workload: str | Workload, *, project: str = "") -> None:
        """Let a stopped workload run again, through the queue."""
        await self.transport.call(requests.change_state("resume", await self.get(workload, project=project)))

    async def delete(self, workload: str | Workload, *, project: str = "") -> None:
        """Delete a workload with its pods."""
        await self.transport.call(requests.delete_workload(await self.get(workload, project=project)))

    async def update(self, workload: str | Workload, spec: Mapping[str, Any], *, project: str = "") -> None:
        """Change a running inference workload; `spec` holds the changed fields in the API's names."""
        found = await self.get(workload, project=project)
        await self.transport.call(requests.update_inference(found, {"spec": dict(spec)}))

    # -- following

    async def wait(
        self,
        workload: str | Workload,
        *,
        until: Phase | str | Collection[Phase | str] = TERMINAL,
        timeout: float | None = None,  # noqa: ASYNC109 - the same word as in the synchronous client
        project: str = "",
    ) -> Workload:
        """Wait until a workload is in the phase or one of the phases, or over; return it as it then is.

        Raises:
            TimeoutError: `timeout` seconds went by before. InvalidRequest: there is no such phase.
        """
        wanted = phases_of(until) | TERMINAL
        deadline = None if timeout is None else time.monotonic() + timeout
        found, pause = await self.get(workload, project=project), LOOK_AGAIN[0]
        while found.phase not in wanted:
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(
                    f"{found.name} is {found.phase} after {timeout:g} s: `runai why {found.name}` says more"
                )
            await self.transport.sleep(pause)
            pause = min(pause * 1.5, LOOK_AGAIN[1])
            found = await self.get(found)
        return found

    async def watch(self, since: int | None = None) -> AsyncIterator[Change]:
        """Yield every change of a workload from now on, or from the version after `since`; reconnects by itself.

        Raises:
            WatchExpired: the version is no longer known: list again.
        """
        failures = 0
        while True:
            lines = EventLines()
            try:
                async with self.transport.stream(requests.watch(since)) as pieces:
                    async for piece in pieces:
                        failures = 0
                        for change in lines.feed(piece):
                            since = change.version
                            yield change
            except Unavailable:
                failures += 1
                if since is None or failures > RECONNECTS:
                    raise
            await self.transport.sleep(LOOK_AGAIN[1])

    async def logs(self, workload: str | Workload, *, project: str = "", **options: Any) -> AsyncIterator[bytes]:
        """Yield the log of a workload's pod in pieces.

        `options`: `pod` (name), `follow`, `tail` (lines), `since` (seconds
        ago), `sinceTime` (RFC 3339), `timestamps`, `previous`, `limitBytes`.
        """
        request = requests.logs(await self._uid(workload, project), **options)
        async with self.transport.stream(request) as pieces:
            async for piece in pieces:
                yield piece

    async def log_text(self, workload: str | Workload, *, project: str = "", **options: Any) -> str:
        """Return the whole log as text."""
        pieces = [piece async for piece in self.logs(workload, project=project, **options)]
        return b"".join(pieces).decode(errors="replace")

    @asynccontextmanager
    async def exec(
        self, workload: str | Workload, argv: Sequence[str], *, project: str = "", **options: Any
    ) -> AsyncIterator[AsyncExecSession]:
        """Run a command beside a workload's pod; `options`: `pod`, `tty`, `stdin`.

        >>> async with client.exec("mnist", ["nvidia-smi"]) as session:
        ...     output, code = await session.finish()
        """
        request = requests.execute(await self._uid(workload, project), argv, **options)
        async with open_session(self.transport, request) as session:
            yield session

    @asynccontextmanager
    async def forward(
        self, workload: str | Workload, port: int, *, project: str = "", **options: Any
    ) -> AsyncIterator[AsyncSocket]:
        """Connect to a port of a workload's pod; `options`: `pod`. Frames are bytes; an empty one is their end."""
        async with self.transport.dial(requests.forward(await self._uid(workload, project), port, **options)) as socket:
            yield socket

    # -- the orchestrator

    async def nodes(self) -> tuple[Node, ...]:
        """Return the nodes."""
        return await all_pages(self.transport, requests.node_page, None)

    async def clusters(self) -> Any:
        """Return the clusters, as the API has them."""
        return await self.transport.call(requests.clusters())

    async def read(self, path: str) -> Any:
        """Return the answer of a path below /api/v1 that has no method of its own."""
        return await self.transport.call(requests.get(f"{requests.API}/{path}", requests.as_it_is))

    async def status(self) -> dict[str, Any]:
        """Return how the orchestrator is doing."""
        return dict(await self.read("status") or {})

    async def plugins(self) -> Any:
        """Return the plug-ins with what each brings, and those that failed."""
        return await self.read("plugins")


class _OfOneType:
    def __init__(self, client: AsyncClient) -> None:
        self._client = client


class AsyncWorkspaces(_OfOneType):
    """Workspaces: interactive work on a place of its own."""

    async def submit(self, name: str, **options: Unpack[Options]) -> Workload:
        """Create a workspace: ``submit("lab", command="jupyter lab", gpus=0.5)``."""
        return await self._client.submit("Workspace", name, options)


class AsyncTrainings(_OfOneType):
    """Trainings: work that ends by itself."""

    async def submit(self, name: str, **options: Unpack[TrainingOptions]) -> Workload:
        """Create a training: ``submit("mnist", command=["python", "train.py"], gpus=2, env={"LR": 0.1})``."""
        return await self._client.submit("Training", name, options)


class AsyncDistributed(_OfOneType):
    """Distributed trainings: several processes that start together or not at all."""

    async def submit(self, name: str, **options: Unpack[DistributedOptions]) -> Workload:
        """Create a gang: ``submit("bert", command="python train.py", framework="PyTorch", workers=4, gpus=1)``."""
        chosen: dict[str, Any] = {"framework": "PyTorch", **options}
        return await self._client.submit("Distributed", name, chosen)


class AsyncInferences(_OfOneType):
    """Inference: servers that answer requests."""

    async def submit(self, name: str, **options: Unpack[InferenceOptions]) -> Workload:
        """Create a server: ``submit("llm", command="python serve.py", port=8000, readiness_path="/healthz")``."""
        return await self._client.submit("Inference", name, options)


class AsyncDistributedInferences(_OfOneType):
    """Inference of which each replica is a leader with workers."""

    async def submit(self, name: str, **options: Unpack[DistributedInferenceOptions]) -> Workload:
        """Create it: ``submit("llm", command="python serve.py", port=8000, workers=1, gpus=8)``."""
        return await self._client.submit("DistributedInference", name, options)
