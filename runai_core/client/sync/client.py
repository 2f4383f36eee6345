"""Generated from runai_core/client/client.py by tests/unit/client/test_sync_twin.py: change that file instead.

Every method is one request of `requests` and no more; the few that need several
(`wait`, `logs`, `watch`) say so. Workloads are named by object, by id, or by
name (then the project is the client's, unless given).
"""

# ruff: noqa: C416, RUF100, UP028

import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Any, Self, Unpack

from runai_core.client import requests
from runai_core.client.environment import Connection, find_connection
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
from runai_core.client.specs import (
    DistributedInferenceOptions,
    DistributedOptions,
    InferenceOptions,
    Options,
    TrainingOptions,
    build_spec,
)
from runai_core.client.streams import EventLines, is_uid
from runai_core.client.sync.execution import ExecSession, open_session
from runai_core.client.sync.organization import Departments, NodePools, Policies, Projects
from runai_core.client.sync.pages import all_pages
from runai_core.client.sync.sockets import Socket
from runai_core.client.sync.transport import Transport
from runai_core.model.errors import NotFound, Unavailable
from runai_core.model.workload import TERMINAL, Phase
from runai_core.settings import Settings

LOOK_AGAIN = (0.05, 0.5)
"""Shortest and longest pause between two looks at a workload that is waited for, in seconds."""

RECONNECTS = 10
"""Failures in a row after which a watch is given up."""


class Client:
    """Talks to one orchestrator.

    >>> with Client.from_env() as client:
    ...     job = client.trainings.submit("mnist", command=["python", "train.py"], gpus=1)
    ...     job = client.wait(job)
    ...     print(job.phase)
    """

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.project = transport.connection.project
        self.workspaces = Workspaces(self)
        self.trainings = Trainings(self)
        self.distributed = Distributed(self)
        self.inferences = Inferences(self)
        self.distributed_inferences = DistributedInferences(self)
        self.projects = Projects(transport)
        self.departments = Departments(transport)
        self.node_pools = NodePools(transport)
        self.policies = Policies(transport)

    @classmethod
    def connect(cls, url: str, token: str = "", *, project: str = "", **more: str) -> "Client":
        """Return a client of the orchestrator at the URL; `more` is `client_id` and `client_secret`."""
        given = {"project": project} if project else {}
        return cls(Transport(Connection(url=url.rstrip("/"), token=token, **given, **more)))

    @classmethod
    def connect_to(cls, connection: Connection) -> "Client":
        """Return a client of the orchestrator that the connection names."""
        return cls(Transport(connection))

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> "Client":
        """Return a client of the orchestrator that the environment means.

        Reads RUNAI_URL, RUNAI_TOKEN, RUNAI_PROJECT; without RUNAI_URL the
        credentials file in RUNAI_DATA_DIR, or in the user's data directory.

        Raises:
            Unavailable: there is no orchestrator of this user.
        """
        return cls(Transport(find_connection(os.environ if environ is None else environ)))

    @classmethod
    @contextmanager
    def embedded(cls, settings: Settings) -> Iterator["Client"]:
        """Start an orchestrator in this process, and stop it with all its pods on leaving the context.

        >>> with Client.embedded(load_settings({}, data_dir="/tmp/try", simulated_gpus=8)) as client:
        ...     print(client.nodes())
        """
        # Imported here: a client over HTTP needs no server.
        from runai_core.client.portal import open_embedded

        with open_embedded(settings) as transport:
            yield cls(transport)

    def __enter__(self) -> Self:
        """Open the client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self.transport.close()

    # -- submitting

    def submit(self, type_: str, name: str, options: Mapping[str, Any] | None = None) -> Workload:
        """Create a workload of a native type; `options` are those of `specs.Options` and its kin.

        Raises:
            InvalidRequest, PolicyViolation, NotFound (project), AlreadyExists
        """
        return self.transport.call(requests.submit(type_, self._submission(type_, name, options or {})))

    def preview(self, type_: str, name: str, options: Mapping[str, Any] | None = None) -> Preview:
        """Return what a submission would become; nothing is created."""
        return self.transport.call(requests.preview(type_, self._submission(type_, name, options or {})))

    def submit_body(self, type_: str, body: Mapping[str, Any]) -> Workload:
        """Create a workload from a request body of the API."""
        return self.transport.call(requests.submit(type_, body))

    def preview_body(self, type_: str, body: Mapping[str, Any]) -> Preview:
        """Return what a request body of the API would become; nothing is created."""
        return self.transport.call(requests.preview(type_, body))

    def submit_manifest(self, manifest: Mapping[str, Any], *, project: str = "", **metadata: Any) -> Workload:
        """Create a workload from a framework's own object; `metadata` is the API's: name, priority, category, ..."""
        body = {"metadata": {"projectId": project or self.project, **metadata}, "manifest": dict(manifest)}
        return self.transport.call(requests.submit_manifest(body))

    def _submission(self, type_: str, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        return requests.submission(
            type_, name, options.get("project") or self.project, build_spec(type_, options), **requests.extras(options)
        )

    # -- reading

    def get(self, workload: str | Workload, *, project: str = "") -> Workload:
        """Return a workload as it is now.

        Raises:
            NotFound: there is none of this name in the project, or of this id.
        """
        uid = workload.id if isinstance(workload, Workload) else workload
        if is_uid(uid):
            return self.transport.call(requests.workload(uid))
        return self._find(uid, project or self.project)

    def _find(self, name: str, project: str) -> Workload:
        listing = Listing(filters=(f"name=={name}", f"projectName=={project}"))
        found = self.transport.call(requests.workload_page(listing, 0, 2)) if name else ()
        if not found:
            raise NotFound(f"project {project} has no workload named {name[:80]!r}: see `runai workload list -A`")
        return found[0]

    def list(self, *, project: str = "", limit: int | None = None, **listing: Any) -> tuple[Workload, ...]:
        """Return workloads, newest first; of all projects unless one is given. `listing` is as in `Listing`."""
        filters = (*listing.pop("filters", ()), *((f"projectName=={project}",) if project else ()))
        options: dict[str, Any] = {"sort_by": "createdAt", "descending": True, **listing}
        chosen = Listing(filters=filters, **options)
        return all_pages(self.transport, partial(requests.workload_page, chosen), limit, chosen.page_size)

    def pods(self, workload: str | Workload, *, project: str = "") -> tuple[Pod, ...]:
        """Return the pods of a workload."""
        return self.transport.call(requests.pods(self._uid(workload, project)))

    def events(self, workload: str | Workload, *, project: str = "", limit: int | None = None) -> tuple[Event, ...]:
        """Return the events of a workload and its pods."""
        uid = self._uid(workload, project)
        return all_pages(self.transport, lambda offset, size: requests.events(uid, offset, size), limit)

    def history(
        self, workload: str | Workload, *, project: str = "", limit: int | None = None
    ) -> tuple[HistoryRecord, ...]:
        """Return the story of a workload: when it was in which phase, and why."""
        uid = self._uid(workload, project)
        return all_pages(self.transport, lambda offset, size: requests.history(uid, offset, size), limit)

    def why(self, workload: str | Workload, *, project: str = "") -> Explanation:
        """Return why a workload is where it is: one sentence, and the numbers behind it."""
        return self.transport.call(requests.why(self._uid(workload, project)))

    def metrics(
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
        uid = self._uid(workload, project)
        return self.transport.call(requests.metrics(f"workloads/{uid}", types, start, end, samples))

    def _uid(self, workload: str | Workload, project: str) -> str:
        if isinstance(workload, Workload):
            return workload.id
        return workload if is_uid(workload) else (self._find(workload, project or self.project)).id

    # -- changing

    def suspend(self, workload: str | Workload, *, project: str = "") -> None:
        """Stop a workload: its pods end, it stays and can be resumed. Repeating it does no harm."""
        self.transport.call(requests.change_state("suspend", self.get(workload, project=project)))

    def resume(self, workload: str | Workload, *, project: str = "") -> None:
        """Let a stopped workload run again, through the queue."""
        self.transport.call(requests.change_state("resume", self.get(workload, project=project)))

    def delete(self, workload: str | Workload, *, project: str = "") -> None:
        """Delete a workload with its pods."""
        self.transport.call(requests.delete_workload(self.get(workload, project=project)))

    def update(self, workload: str | Workload, spec: Mapping[str, Any], *, project: str = "") -> None:
        """Change a running inference workload; `spec` holds the changed fields in the API's names."""
        found = self.get(workload, project=project)
        self.transport.call(requests.update_inference(found, {"spec": dict(spec)}))

    # -- following

    def wait(
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
        found, pause = self.get(workload, project=project), LOOK_AGAIN[0]
        while found.phase not in wanted:
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(
                    f"{found.name} is {found.phase} after {timeout:g} s: `runai why {found.name}` says more"
                )
            self.transport.sleep(pause)
            pause = min(pause * 1.5, LOOK_AGAIN[1])
            found = self.get(found)
        return found

    def watch(self, since: int | None = None) -> Iterator[Change]:
        """Yield every change of a workload from now on, or from the version after `since`; reconnects by itself.

        Raises:
            WatchExpired: the version is no longer known: list again.
        """
        failures = 0
        while True:
            lines = EventLines()
            try:
                with self.transport.stream(requests.watch(since)) as pieces:
                    for piece in pieces:
                        failures = 0
                        for change in lines.feed(piece):
                            since = change.version
                            yield change
            except Unavailable:
                failures += 1
                if since is None or failures > RECONNECTS:
                    raise
            self.transport.sleep(LOOK_AGAIN[1])

    def logs(self, workload: str | Workload, *, project: str = "", **options: Any) -> Iterator[bytes]:
        """Yield the log of a workload's pod in pieces.

        `options`: `pod` (name), `follow`, `tail` (lines), `since` (seconds
        ago), `sinceTime` (RFC 3339), `timestamps`, `previous`, `limitBytes`.
        """
        request = requests.logs(self._uid(workload, project), **options)
        with self.transport.stream(request) as pieces:
            for piece in pieces:
                yield piece

    def log_text(self, workload: str | Workload, *, project: str = "", **options: Any) -> str:
        """Return the whole log as text."""
        pieces = [piece for piece in self.logs(workload, project=project, **options)]
        return b"".join(pieces).decode(errors="replace")

    @contextmanager
    def exec(
        self, workload: str | Workload, argv: Sequence[str], *, project: str = "", **options: Any
    ) -> Iterator[ExecSession]:
        """Run a command beside a workload's pod; `options`: `pod`, `tty`, `stdin`.

        >>> with client.exec("mnist", ["nvidia-smi"]) as session:
        ...     output, code = session.finish()
        """
        request = requests.execute(self._uid(workload, project), argv, **options)
        with open_session(self.transport, request) as session:
            yield session

    @contextmanager
    def forward(self, workload: str | Workload, port: int, *, project: str = "", **options: Any) -> Iterator[Socket]:
        """Connect to a port of a workload's pod; `options`: `pod`. Frames are bytes; an empty one is their end."""
        with self.transport.dial(requests.forward(self._uid(workload, project), port, **options)) as socket:
            yield socket

    # -- the orchestrator

    def nodes(self) -> tuple[Node, ...]:
        """Return the nodes."""
        return all_pages(self.transport, requests.node_page, None)

    def clusters(self) -> Any:
        """Return the clusters, as the API has them."""
        return self.transport.call(requests.clusters())

    def read(self, path: str) -> Any:
        """Return the answer of a path below /api/v1 that has no method of its own."""
        return self.transport.call(requests.get(f"{requests.API}/{path}", requests.as_it_is))

    def status(self) -> dict[str, Any]:
        """Return how the orchestrator is doing."""
        return dict(self.read("status") or {})

    def plugins(self) -> Any:
        """Return the plug-ins with what each brings, and those that failed."""
        return self.read("plugins")


class _OfOneType:
    def __init__(self, client: Client) -> None:
        self._client = client


class Workspaces(_OfOneType):
    """Workspaces: interactive work on a place of its own."""

    def submit(self, name: str, **options: Unpack[Options]) -> Workload:
        """Create a workspace: ``submit("lab", command="jupyter lab", gpus=0.5)``."""
        return self._client.submit("Workspace", name, options)


class Trainings(_OfOneType):
    """Trainings: work that ends by itself."""

    def submit(self, name: str, **options: Unpack[TrainingOptions]) -> Workload:
        """Create a training: ``submit("mnist", command=["python", "train.py"], gpus=2, env={"LR": 0.1})``."""
        return self._client.submit("Training", name, options)


class Distributed(_OfOneType):
    """Distributed trainings: several processes that start together or not at all."""

    def submit(self, name: str, **options: Unpack[DistributedOptions]) -> Workload:
        """Create a gang: ``submit("bert", command="python train.py", framework="PyTorch", workers=4, gpus=1)``."""
        chosen: dict[str, Any] = {"framework": "PyTorch", **options}
        return self._client.submit("Distributed", name, chosen)


class Inferences(_OfOneType):
    """Inference: servers that answer requests."""

    def submit(self, name: str, **options: Unpack[InferenceOptions]) -> Workload:
        """Create a server: ``submit("llm", command="python serve.py", port=8000, readiness_path="/healthz")``."""
        return self._client.submit("Inference", name, options)


class DistributedInferences(_OfOneType):
    """Inference of which each replica is a leader with workers."""

    def submit(self, name: str, **options: Unpack[DistributedInferenceOptions]) -> Workload:
        """Create it: ``submit("llm", command="python serve.py", port=8000, workers=1, gpus=8)``."""
        return self._client.submit("DistributedInference", name, options)
