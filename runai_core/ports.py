"""What the service layer needs of a backend: five small Protocols over model types.

The semantics of Kubernetes are the reference: names are unique per kind and
project, every change gives an object a larger resource version, an update of
an old version is refused, a watch can be resumed or says that it is too old.
The local backend imitates them; the service layer imports neither backend.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, Protocol, TypedDict, TypeVar, runtime_checkable

from runai_core.model.decision import CycleResult, Outcome
from runai_core.model.meta import Meta
from runai_core.model.nodes import Node, NodePool
from runai_core.model.samples import Point
from runai_core.model.snapshot import Snapshot
from runai_core.model.storage import StorageClass
from runai_core.model.workload import Gang, Pod, Workload, WorkloadType


class Stored(Protocol):
    """An object that a store keeps: a frozen dataclass of the model with metadata."""

    @property
    def meta(self) -> Meta:
        """Identity, version and ownership."""


T = TypeVar("T", bound=Stored)


class Op(StrEnum):
    """Comparison of a filter, spelled as in the API's `filterBy`."""

    EQ = "=="
    NE = "!="
    LE = "<="
    GE = ">="
    CONTAINS = "=@"
    NOT_CONTAINS = "!@"
    STARTS = "=^"
    ENDS = "=$"


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition. `field` is a dotted path in our own names, for example ``meta.name`` or ``phase``."""

    field: str
    op: Op
    value: str | int | float | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which objects, in which order, and which part of them."""

    filters: tuple[Filter, ...] = ()  # all must hold
    project: str | None = None
    projects: frozenset[str] | None = None  # only objects in these projects: those that the asking actor may see
    names: frozenset[str] | None = None  # only objects of these names
    owner: str | None = None  # uid
    search: str = ""  # part of the name, ignoring case
    sort_by: str = "meta.created_at"  # ties by uid, so that paging is stable
    descending: bool = False
    offset: int = 0
    limit: int | None = None
    deleted: bool = False  # True: only deleted ones that are still kept for the record


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list. `total` counts all that match; `version` is where a watch can start."""

    items: tuple[T, ...]
    total: int
    version: int


class ChangeType(StrEnum):
    """What happened to an object."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """One event of a watch; `object` is as it was after the change."""

    type: ChangeType
    object: T
    version: int


class Store(Protocol):
    """Keeps objects of the model, durably: what was answered is not lost by a crash."""

    async def get(self, kind: type[T], name: str, project: str = "") -> T:
        """Return the object; raise NotFound where there is none."""

    async def get_by_uid(self, kind: type[T], uid: str) -> T:
        """Return the object, also a deleted one that is still kept; raise NotFound."""

    async def list(self, kind: type[T], query: Query = ...) -> Page[T]:
        """Return the objects that match; raise InvalidRequest for a field that is not there."""

    async def create(self, item: T) -> T:
        """Keep a new object: uid (unless given), version and times are set. Raise AlreadyExists."""

    async def update(self, item: T) -> T:
        """Replace the object of this uid if it still has ``item.meta.version``. Raise StaleVersion, NotFound."""

    async def delete(self, kind: type[T], uid: str) -> T:
        """Mark the object as deleted: gone from lists, its name is free. Raise NotFound."""

    async def purge(self, kind: type[T], deleted_before: float) -> int:
        """Forget for good what was deleted before that time; return how many."""

    def watch(self, kind: type[T], from_version: int) -> AsyncIterator[Change[T]]:
        """Yield every change after the version, in order. Raise WatchExpired when it is no longer known."""

    async def version(self) -> int:
        """Return the newest resource version."""


class SampleStore(Protocol):
    """Keeps measurements, coarser and coarser (`model.samples.LEVELS`), in a bounded space."""

    async def add(self, points: Sequence[Point]) -> None:
        """Keep what was measured; a second point of an entity at one moment is dropped."""

    async def series(self, entity: str, start: float, end: float, level: int = 0) -> Sequence[Point]:
        """Return the points of an entity from `start` to `end`, in order."""

    async def below(self, prefix: str, start: float, end: float, level: int = 0) -> Sequence[Point]:
        """Return the points of all entities whose names begin so, by entity and time."""

    async def tidy(self, now: float) -> None:
        """Make what is complete coarser, and forget what is too old or too much."""


@runtime_checkable
class KeepsSamples(Protocol):
    """Capability of a `Store`: it keeps measurements too."""

    @property
    def samples(self) -> SampleStore | None:
        """Where they are; None: a store behind this one keeps none."""


def samples_of(store: Store) -> SampleStore | None:
    """Return where a store keeps measurements; None where it keeps none."""
    return store.samples if isinstance(store, KeepsSamples) else None


@runtime_checkable
class Tallies(Protocol):
    """Capability of a `Store`: it counts objects by the values of a field without reading them."""

    async def tally(self, kind: type[T], field: str, query: Query) -> Mapping[str, int]:
        """Return how many objects match, for each value of a field of text."""
        ...


@dataclass(frozen=True, slots=True)
class ClusterChange:
    """Something happened that the service should look at."""

    workload_uid: str = ""  # empty: a node, or everything
    node: str = ""
    schedules: bool = True  # False: a scheduler would decide the same before and after it


class Cluster(Protocol):
    """The scheduler's eyes and hands, and the maker of pods."""

    async def nodes(self) -> Sequence[Node]:
        """Return all nodes, each with its node pool."""

    async def snapshot(self, pool: NodePool) -> Snapshot:
        """Return all that the engine may know about one node pool now."""

    async def apply(self, result: CycleResult) -> Mapping[str, Outcome]:
        """Carry out binds and evictions; return what became of each, by pod name. Never raise for a stale one."""

    async def launch(self, workload: Workload, gang: Gang) -> None:
        """Make the pods of this attempt exist, unbound. Idempotent: those that exist are left alone."""

    async def remove(
        self, workload: Workload, *, reason: str, attempt: int | None = None, keep_finished: bool = False
    ) -> None:
        """Ask the pods to end (SIGTERM, grace period, SIGKILL) and to leave `pods`. Idempotent; returns at once.

        With `keep_finished`, pods that have ended by themselves stay in `pods`. Logs are kept either way.
        """

    async def pods(self, workload: Workload) -> Sequence[Pod]:
        """Return the pods of the workload that exist, of every attempt, terminating ones included."""

    async def rendezvous(self, workload: Workload) -> tuple[str, int]:
        """Return the address and a free port where the first pod of the next attempt can be found by the others."""

    def changes(self) -> AsyncIterator[ClusterChange]:
        """Yield whenever a pod or node changed; changes may be merged, none is lost."""


@runtime_checkable
class RemovesPods(Protocol):
    """Capability of a `Cluster`: single pods can leave while the others go on."""

    async def remove_pods(self, workload: Workload, uids: Collection[str], *, reason: str) -> None:
        """Ask these pods of the workload to end and to leave `pods`, as `Cluster.remove` does with all."""


@runtime_checkable
class Scales(Protocol):
    """Capability of a `Cluster` that runs nothing itself: it has whoever runs a workload change its workers."""

    async def scale(self, workload: Workload, *, add: int, remove: Sequence[str], actor: str) -> None:
        """Let workers join, and pods of these names leave. Raise Unavailable, or as where the workload runs."""


@runtime_checkable
class ChangesObjects(Protocol):
    """Capability of a `Cluster` that runs nothing itself: it has whoever has a framework's object change it."""

    async def change_object(self, workload: Workload, actor: str) -> None:
        """Do as `Frameworks.change`. Raise Unavailable, or as where the object is."""


@runtime_checkable
class RollsOut(Protocol):
    """Capability of a `Cluster`: changed pods replace old ones one after the other, which do the work until then.

    `pods` returns the old ones as those that stand in.
    """

    def rolls_out(self, type_: WorkloadType) -> bool:
        """Return whether it does so with workloads of this type."""


@runtime_checkable
class KnowsReplicas(Protocol):
    """Capability of a `Cluster`: somebody else may decide how many replicas a server has, by what they have to do."""

    async def replicas(self, workload: Workload, pods: Sequence[Pod]) -> int | None:
        """Return how many it has, as far as is known; None where its specification says. `pods` are all there are."""


@runtime_checkable
class NamesRevisions(Protocol):
    """Capability of a `Cluster`: what makes the pods of a server counts its specifications itself."""

    async def revision_name(self, workload: Workload) -> str:
        """Return what it calls the present one, as far as is known; empty: nothing."""


@runtime_checkable
class KnowsAddresses(Protocol):
    """Capability of a `Cluster`: each pod has an address of its own, known before it exists."""

    async def addresses(self, workload: Workload) -> tuple[str, ...]:
        """Return the host of each rank of the workload; empty where its pods do not look for each other."""

    def hostfile(self, workload: Workload) -> str:
        """Return the path of the MPI host file in the launcher; empty where there is none."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A credential as pods see it: members by key, in plain text. Never stored and never shown."""

    name: str
    type: str = "Opaque"  # as in core/v1 Secret
    data: Mapping[str, str] = field(default_factory=dict, repr=False)


class Secrets(Protocol):
    """Opens the credentials that the workloads of a project may use."""

    async def secret(self, project: str, name: str, author: str | None = None) -> Secret | None:
        """Return the secret of this name, of the nearest scope; None: there is none of ours. Raise Unavailable.

        With an author, a private one is found for its owner only.
        """


@runtime_checkable
class TakesSecrets(Protocol):
    """Capability of a `Cluster`: it gives pods the secrets that their specifications name."""

    def take_secrets(self, secrets: Secrets) -> None:
        """Take where to find them; called once, before the first pod is launched."""


class ExecSession(Protocol):
    """A command that runs beside a pod's process."""

    async def read(self) -> tuple[str, bytes] | None:
        """Return ("stdout" or "stderr", bytes), or None at the end."""

    async def write(self, data: bytes) -> None:
        """Send bytes to standard input; empty closes it."""

    async def wait(self) -> int:
        """Return the exit code."""


MAIN_CONTAINER = "main"
"""Every pod that we make has one container; this is how the API calls it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """Which part of a log, in which form."""

    follow: bool = False
    tail: int | None = None  # last lines; None = all
    since: float | None = None  # seconds since the epoch
    timestamps: bool = False
    previous: bool = False  # of the run before the last restart
    limit_bytes: int | None = None
    container: str | None = None  # by name; None = the main one


class ExecOptions(TypedDict, total=False):
    """How a command is run."""

    tty: bool  # it has a terminal
    stdin: bool  # we write to its standard input
    container: str | None  # by name; None = the main one


class Runtime(Protocol):
    """What can be done with a pod that has a process."""

    def logs(self, pod: Pod, options: LogOptions) -> AsyncIterator[bytes]:
        """Yield the log in pieces; with `follow`, until the process has ended."""

    def exec(
        self, pod: Pod, argv: Sequence[str], *, tty: bool = False, stdin: bool = False, container: str | None = None
    ) -> AbstractAsyncContextManager[ExecSession]:
        """Run a command in a container of the pod, the main one unless named; leaving the context ends it."""


class Connection(Protocol):
    """A connection to a port of a pod."""

    async def read(self) -> bytes:
        """Return what came next, empty at the end. Raise Unavailable where it was cut."""

    async def write(self, data: bytes) -> None:
        """Send bytes; empty ones mean that no more will come. Raise Unavailable where it was cut."""

    async def close(self) -> None:
        """End it."""


Connect = Callable[[], Awaitable[Connection]]
"""Makes a connection; raises Unavailable where nobody takes it."""


@runtime_checkable
class ReachesPods(Protocol):
    """Capability of a `Runtime`: connections can be made from here to the ports of pods."""

    async def reach(self, pod: Pod, port: int) -> Connect | None:
        """Return the way to the port, at which the pod itself, and nobody else, answers; None where it does not."""


class KeepsNotes(Protocol):
    """Keeps short texts of an installation, which may be secrets, where its next process finds them."""

    async def note(self, name: str) -> str | None:
        """Return what is kept under the name; None: nothing. Raise Unavailable, Forbidden."""

    async def keep_note(self, name: str, text: str) -> None:
        """Keep a text under the name, whole or not at all. Raise Unavailable, Forbidden."""


class Frameworks(Protocol):
    """Acts on workloads that others' controllers make (type External): on the framework's object itself.

    A backend without it runs such workloads by itself, or not at all.
    """

    async def stop(self, workload: Workload) -> None:
        """Suspend the object: its pods end, its resources are free. Idempotent. Raise Unsupported, naming the kind."""

    async def run(self, workload: Workload) -> None:
        """Resume a stopped object as it was. Idempotent. Raise Unsupported, naming the kind."""

    async def delete(self, workload: Workload) -> None:
        """Delete the object and, in the background, what it made. Idempotent."""

    async def change(self, workload: Workload) -> None:
        """Make the object what ``workload.manifest`` says, whole or not at all; without one, its labels.

        Raises:
            Conflict: somebody else decides a field, and differs; names each. InvalidRequest: a field cannot be changed.
        """

    async def trouble(self, api_version: str, kind: str) -> str:
        """Return why objects of a kind are no workloads here; empty where they are."""

    async def submit(self, workload: Workload) -> Workload:
        """Create the object of ``workload.manifest`` for the workload's project; return it as the cluster has it."""


class Lease(Protocol):
    """Says which replica may schedule and reconcile."""

    def hold(self, name: str = "runai") -> AbstractAsyncContextManager[None]:
        """Enter when this process leads in this name; the body is cancelled when it no longer does.

        Raises:
            Unavailable: it led, and does not any more; as `asyncio.timeout` turns its own cancellation into an error.
        """


class Clock(Protocol):
    """The only source of time outside the pure rooms."""

    def now(self) -> float:
        """Return seconds since the epoch, UTC."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


@dataclass(frozen=True, slots=True)
class Backend:
    """The ports of one backend, opened."""

    store: Store
    cluster: Cluster
    runtime: Runtime
    lease: Lease
    clock: Clock
    name: str = "local"
    facts: Mapping[str, str] = field(default_factory=dict)  # for `runai status`: database, data directory, ...
    frameworks: Frameworks | None = None  # None: External workloads are made from our side, as all others
    ignores: tuple[str, ...] = ()  # fields of a specification that are kept but have no effect here, by their path
    requires: tuple[str, ...] = ()  # fields that a specification must have here, by their path
    resolves: frozenset[str] = frozenset()  # kinds of references in variables that it follows itself: secret, ...
    knows_secrets: bool = False  # every secret is ours; False: the cluster may have further ones
    notes: KeepsNotes | None = None  # None: files of the data directory are as good
    storage_classes: Callable[[], Sequence[StorageClass]] | None = None  # by name; None: claims are of no class here
    versions_last: bool = True  # False: versions of workloads and pods mean nothing to the next process
