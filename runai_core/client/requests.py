"""What is asked of the API and how its answers are read; pure, shared by both senders.

Each function returns a `Call`: a request, and the function that reads the
answer. Nothing here opens a connection or knows whether the caller waits.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from runai_core.client.answers import read_batch
from runai_core.client.results import (
    Event,
    Explanation,
    HistoryRecord,
    Node,
    NodePool,
    Pod,
    Policy,
    Preview,
    Workload,
    parse,
)
from runai_core.model.errors import FieldError, InvalidRequest

T = TypeVar("T")

API = "/api/v1"
PAGE = 100
"""Objects that are asked for at once."""

TYPED: Mapping[str, str] = {
    "Workspace": "workspaces",
    "Training": "trainings",
    "Distributed": "distributed",
    "Inference": "inferences",
    "DistributedInference": "distributed-inferences",
}
"""Workload type -> its part of the path."""

POLICY_PATHS: Mapping[str, str] = {
    "workspace": "workspaces",
    "training": "trainings",
    "distributed": "distributed",
    "inference": "inferences",
    "distributedInference": "distributed-inferences",
}
"""Policy type -> its part of the path."""

SUSPENDABLE = frozenset({"Workspace", "Training", "Distributed"})


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. `query` may repeat a name; `body` is sent as JSON."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: Any = None
    repeatable: bool = False  # sending it twice does what sending it once does
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A request and how to read its answer."""

    request: Request
    read: Callable[[Any], T]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Which objects of a list, in which order. `filters` are the API's: ``name==a``, ``phase!=Failed``."""

    filters: tuple[str, ...] = ()
    search: str = ""
    sort_by: str = ""
    descending: bool = False
    deleted: bool = False
    query: tuple[tuple[str, str], ...] = field(default=())
    page_size: int = PAGE  # at most, in each request

    def page(self, offset: int, limit: int) -> tuple[tuple[str, str], ...]:
        """Return the query of one page."""
        order = (("sortBy", self.sort_by), ("sortOrder", "desc" if self.descending else "asc")) if self.sort_by else ()
        return (
            ("offset", str(offset)),
            ("limit", str(limit)),
            *order,
            *(("filterBy", text) for text in self.filters),
            *((("search", self.search),) if self.search else ()),
            *((("deleted", "true"),) if self.deleted else ()),
            *self.query,
        )


def get(path: str, read: Callable[[Any], T], query: Iterable[tuple[str, str]] = ()) -> Call[T]:
    """Return a call that reads."""
    return Call(Request("GET", path, tuple(query), repeatable=True), read)


def send(method: str, path: str, read: Callable[[Any], T], body: Any = None, *, repeatable: bool = False) -> Call[T]:
    """Return a call that changes something. PUT and DELETE are repeatable by their nature."""
    return Call(Request(method, path, body=body, repeatable=repeatable or method in ("PUT", "DELETE")), read)


def login_ticket() -> Call[str]:
    """Ask for the path that signs a browser in as who asks, once and within minutes."""
    return send("POST", f"{API}/sessions/tickets", lambda answer: str(answer["path"]))


def one(kind: type[T]) -> Callable[[Any], T]:
    """Return the reader of an answer that is one object."""
    return lambda data: parse(kind, data)


def many(kind: type[T], *keys: str) -> Callable[[Any], tuple[T, ...]]:
    """Return the reader of an answer that holds a list, under one of the keys or as it is."""

    def read(data: Any) -> tuple[T, ...]:
        items = next((data[key] for key in keys if key in data), ()) if isinstance(data, Mapping) else data
        return tuple(parse(kind, item) for item in items or ())

    return read


def as_it_is(data: Any) -> Any:
    """Read an answer that has no type of its own."""
    return data


# -- workloads


def workload_page(listing: Listing, offset: int, limit: int = PAGE) -> Call[tuple[Workload, ...]]:
    """List workloads."""
    return get(f"{API}/workloads", many(Workload, "workloads"), listing.page(offset, limit))


def workload(uid: str) -> Call[Workload]:
    """Get one workload by its id."""
    return get(f"{API}/workloads/{segment(uid)}", one(Workload))


def submission(type_: str, name: str, project: str, spec: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Return the body that creates a workload; `more` are further members in the API's names."""
    body = {"name": name, "projectId": project, "spec": dict(spec)}
    if type_ not in TYPED:
        raise InvalidRequest.of(FieldError("type", f"must be one of {', '.join(TYPED)}", type_))
    return body | {key: value for key, value in more.items() if value is not None}


def extras(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of the body that stand beside the specification."""
    return {
        "useGivenNameAsPrefix": options.get("name_is_prefix") or None,
        "hasMaster": options.get("has_master"),
        "masterSpec": options.get("master"),
    }


def submit(type_: str, body: Mapping[str, Any]) -> Call[Workload]:
    """Create a workload of a native type."""
    return send("POST", f"{API}/workloads/{TYPED[type_]}", one(Workload), body)


def submit_manifest(body: Mapping[str, Any]) -> Call[Workload]:
    """Create a workload from a framework's own object."""
    return send("POST", "/api/v2/workloads", one(Workload), body)


def preview(type_: str, body: Mapping[str, Any]) -> Call[Preview]:
    """Ask what a submission would become; nothing is created."""
    return send("POST", f"{API}/workloads/preview", one(Preview), {"type": type_, **body}, repeatable=True)


def change_state(action: str, item: Workload) -> Call[Any]:
    """Suspend or resume a workload."""
    if item.type in SUSPENDABLE:
        return send(
            "POST", f"{API}/workloads/{TYPED[item.type]}/{segment(item.id)}/{action}", as_it_is, repeatable=True
        )
    body = {"action": action, "ids": [item.id]}
    return send("POST", f"{API}/workloads/batch", read_batch, body, repeatable=True)


def scale(item: Workload, *, add: int = 0, remove: Sequence[str] = ()) -> Call[Workload]:
    """Let workers of a distributed workload join and leave, where they come and go on demand; `remove` names pods."""
    path = f"{API}/workloads/{TYPED['Distributed']}/{segment(item.id)}/scale"
    return send("POST", path, one(Workload), {"add": add, "remove": list(remove)})


def delete_workload(item: Workload) -> Call[Any]:
    """Delete a workload."""
    if item.type in TYPED:
        return send("DELETE", f"{API}/workloads/{TYPED[item.type]}/{segment(item.id)}", as_it_is)
    return send("DELETE", f"/api/v2/workloads/{segment(item.id)}", as_it_is)


def update_inference(item: Workload, body: Mapping[str, Any]) -> Call[Any]:
    """Change a running inference workload: `spec`, the changed fields, or the number of a `revision` to go back to."""
    path = f"{API}/workloads/{TYPED.get(item.type, 'inferences')}/{segment(item.id)}"
    return send("PATCH", path, as_it_is, dict(body), repeatable=True)


def pods(uid: str) -> Call[tuple[Pod, ...]]:
    """List the pods of a workload."""
    return get(f"{API}/workloads/{segment(uid)}/pods", many(Pod, "pods"))


def pod_page(listing: Listing, offset: int, limit: int = PAGE) -> Call[tuple[Pod, ...]]:
    """List the pods of all workloads."""
    return get(f"{API}/workloads/pods", many(Pod, "pods"), listing.page(offset, limit))


def events(uid: str, offset: int = 0, limit: int = PAGE) -> Call[tuple[Event, ...]]:
    """List the events of a workload and its pods."""
    return get(f"{API}/workloads/{segment(uid)}/events", many(Event, "events"), Listing().page(offset, limit))


def history(uid: str, offset: int = 0, limit: int = PAGE) -> Call[tuple[HistoryRecord, ...]]:
    """List the story of a workload: phases and events."""
    path = f"{API}/workloads/{segment(uid)}/history"
    return get(path, many(HistoryRecord, "history", "records"), Listing().page(offset, limit))


def why(uid: str) -> Call[Explanation]:
    """Ask why a workload is where it is."""
    return get(f"{API}/workloads/{segment(uid)}/why", one(Explanation))


def metrics(path: str, types: Sequence[str], start: str, end: str, samples: int) -> Call[Any]:
    """Read measurements; `path` names what is measured, below the API."""
    query = [("metricType", kind) for kind in types]
    return get(
        f"{API}/{path}/metrics", as_it_is, [*query, ("start", start), ("end", end), ("numberOfSamples", str(samples))]
    )


def logs(uid: str, **options: Any) -> Request:
    """Ask for the log of a pod as a stream of text."""
    return Request("GET", f"{API}/workloads/{segment(uid)}/logs", _query(options), repeatable=True)


def execute(uid: str, argv: Sequence[str], **options: Any) -> Request:
    """Ask for a command to be run beside a pod (a WebSocket)."""
    query = (*(("command", word) for word in argv), *_query(options))
    return Request("GET", f"{API}/workloads/{segment(uid)}/exec", query)


def forward(uid: str, port: int, **options: Any) -> Request:
    """Ask for a connection to a port of a pod (a WebSocket)."""
    return Request("GET", f"{API}/workloads/{segment(uid)}/forward", (("port", str(port)), *_query(options)))


def watch(since: int | None) -> Request:
    """Ask for the stream of changes after a version."""
    headers = () if since is None else (("Last-Event-ID", str(since)),)
    return Request(
        "GET", f"{API}/workloads/watch", headers=(("Accept", "text/event-stream"), *headers), repeatable=True
    )


# -- organization


def unit_page(unit: str, kind: type[T], listing: Listing, offset: int, limit: int = PAGE) -> Call[tuple[T, ...]]:
    """List projects or departments."""
    return get(f"{API}/org-unit/{unit}", many(kind, unit), listing.page(offset, limit))


def unit_path(unit: str, uid: str) -> str:
    """Return the path of one project or department."""
    return f"{API}/org-unit/{unit}/{segment(uid)}"


def unit_body(name: str, resources: Sequence[Mapping[str, Any]], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body that creates a project or department."""
    given = {key: value for key, value in fields.items() if value is not None}
    return {"name": name, **({"resources": list(resources)} if resources else {}), **given}


def quota(  # noqa: PLR0913 - a row of numbers, each by its name
    node_pool: str = "default",
    *,
    gpus: float | None = None,
    gpu_limit: float | None = None,
    over_quota_weight: float | None = None,
    cpus: float | None = None,
    memory: float | None = None,
    priority: str | int | None = None,
) -> dict[str, Any]:
    """Return quota in one node pool in the API's form: GPUs in devices, CPU in cores, memory in MB.

    What is left out keeps the server's default; -1 is unlimited.
    """
    gpu = {"deserved": gpus, "limit": gpu_limit, "overQuotaWeight": over_quota_weight}
    parts: dict[str, Any] = {
        "gpu": {key: value for key, value in gpu.items() if value is not None},
        "cpu": {} if cpus is None else {"deserved": -1 if cpus < 0 else cpus * 1000},
        "memory": {} if memory is None else {"deserved": memory, "units": "MB"},
        "priority": priority,
    }
    return {"nodePool": {"name": node_pool}, **{key: value for key, value in parts.items() if value not in (None, {})}}


def node_pools() -> Call[tuple[NodePool, ...]]:
    """List the node pools."""
    return get(f"{API}/node-pools", many(NodePool, "nodepools", "nodePools"))


def node_page(offset: int, limit: int = PAGE) -> Call[tuple[Node, ...]]:
    """List the nodes."""
    return get(f"{API}/nodes", many(Node, "nodes"), Listing().page(offset, limit))


def clusters() -> Call[Any]:
    """List the clusters."""
    return get(f"{API}/clusters", as_it_is)


# -- policies


def policies() -> Call[tuple[Policy, ...]]:
    """List all policies."""
    return get("/api/v2/policy", many(Policy, "policies"))


def policy_path(type_: str) -> str:
    """Return the path of the policies of one type of workload.

    Raises:
        InvalidRequest: there is no such type.
    """
    if type_ not in POLICY_PATHS:
        raise InvalidRequest.of(FieldError("type", f"must be one of {', '.join(POLICY_PATHS)}", type_))
    return f"/api/v2/policy/{POLICY_PATHS[type_]}"


def scope_members(scope: str, name: str) -> dict[str, str]:
    """Return the members that name a scope: what it is, and whose."""
    return {"scope": scope, **({f"{scope}Id": name} if name else {})}


def scope_query(scope: str, name: str) -> tuple[tuple[str, str], ...]:
    """Return the query that names a scope."""
    return tuple(scope_members(scope, name).items())


def with_query(call: Call[T], query: tuple[tuple[str, str], ...]) -> Call[T]:
    """Return the call with a query added."""
    return replace(call, request=replace(call.request, query=(*call.request.query, *query)))


def segment(text: str) -> str:
    """Return the text as one segment of a path, whatever it holds."""
    return quote(text, safe="") or "%20"


def _query(options: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return what was given; True is spelled as JSON does."""
    given = ((key, value) for key, value in options.items() if value is not None and value is not False)
    return tuple((key, "true" if value is True else str(value)) for key, value in given)
