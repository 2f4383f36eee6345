"""A line of the Workloads table: what each column shows, sorts by and writes into CSV."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from runai_core.model.clusters import CLUSTER
from runai_core.model.resources import parse_quantity
from runai_core.model.snapshot import Preemptibility
from runai_core.model.workload import Phase, Workload, WorkloadType
from runai_core.web.answers.workloads import AllocatedResources, RequestedResources
from runai_core.web.pages import phases, tools
from runai_core.web.views import resources
from runai_core.web.views.workloads import STORAGE_TYPES

RUNS = frozenset({Phase.RUNNING, Phase.DEGRADED})
WAITS = frozenset({Phase.PENDING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What lines need besides workloads, looked up once for all of them."""

    clusters: Mapping[str, str] = field(default_factory=dict)  # name by uid
    guaranteed: Mapping[str, float] = field(default_factory=dict)  # by node pool: seconds that work is protected


NOTHING_AROUND = Around()


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A workload with what its columns need."""

    workload: Workload
    now: float  # seconds since the epoch, UTC
    around: Around = NOTHING_AROUND
    idle: float | None = None  # GPUs that it holds and has not used for a while; None: nobody measures them
    asked: RequestedResources
    held: AllocatedResources
    nodes: tuple[str, ...] = ()
    usage: Mapping[str, float] = field(default_factory=dict)  # newest sample, by metric

    @property
    def kind(self) -> str:
        """The framework's kind, or the native type."""
        return self.workload.kind or self.workload.type.value

    @property
    def badge(self) -> str:
        """The kind of badge of the phase."""
        return phases.KINDS[self.workload.phase]

    @property
    def reason(self) -> str:
        """Why it is in this phase."""
        return phases.reason(self.workload)

    @property
    def says_more(self) -> bool:
        """Whether the reason says more than the phase: that a running pod is ready does not."""
        return bool(self.reason) and self.workload.phase not in (Phase.RUNNING, Phase.COMPLETED)

    @property
    def tools(self) -> tuple[tools.Tool, ...]:
        """What can be connected to."""
        return tools.tools_of(self.workload.spec)

    @property
    def running_seconds(self) -> float:
        """How long it has run, the present phase included."""
        return self.workload.running_seconds + self._present(RUNS)

    @property
    def pending_seconds(self) -> float:
        """How long it has waited, the present phase included."""
        return self.workload.pending_seconds + self._present(WAITS)

    @property
    def guaranteed_seconds(self) -> float | None:
        """How long it is still protected from what may evict it; None where nothing may, or nothing protects it."""
        workload = self.workload
        protected = self.around.guaranteed.get(workload.node_pool, 0.0)
        runs = workload.phase in RUNS and workload.preemptibility is Preemptibility.PREEMPTIBLE
        if not (runs and protected and workload.last_start):
            return None
        return max(workload.last_start + protected - self.now, 0.0)

    @property
    def cluster(self) -> str:
        """The name of its cluster; empty where only one is known, and that by another name."""
        clusters = self.around.clusters
        only = next(iter(clusters.values()), "") if len(clusters) == 1 else ""
        return clusters.get(self.workload.meta.annotations.get(CLUSTER, ""), only)

    def ticks(self, key: str) -> bool:
        """Return whether the length of time in a column grows now."""
        return self.workload.phase in {"duration": RUNS, "pending": WAITS}.get(key, frozenset())

    def _present(self, counted: frozenset[Phase]) -> float:
        return max(self.now - self.workload.phase_updated_at, 0.0) if self.workload.phase in counted else 0.0


def line_of(workload: Workload, now: float, around: Around = NOTHING_AROUND, idle_seconds: float | None = None) -> Line:
    """Return the line of a workload; `idle_seconds`: how long its GPUs have not been used, where that is measured."""
    return Line(
        workload=workload,
        now=now,
        around=around,
        idle=resources.idle_gpus(workload, idle_seconds).get("idle_allocated_gpus"),
        asked=resources.workload_resources(workload),
        held=resources.allocated_of_workload(workload),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column: `show` says how the template draws the value, `sort` is the store's field."""

    key: str
    title: str
    value: Callable[[Line], Any]
    show: str = "text"  # text | name | status | number | moment | duration | gib | percent | list | tools | wrap
    sort: str = ""
    shown: bool = False  # without a choice of the user's
    needs: str = ""  # what must be looked up: around (once for all), nodes, usage (for each workload by itself)
    moves: bool = False  # its value changes while nothing that is stored does

    @property
    def is_live(self) -> bool:
        """Whether an open page asks for it anew, also where nothing that is stored has changed."""
        return self.moves or self.needs == "usage"

    @property
    def is_number(self) -> bool:
        """Whether it is set flush right."""
        return self.show in ("number", "gib", "percent")


def _bytes(text: str | None) -> float | None:
    return None if not text else float(parse_quantity(text))


def _share(line: Line, used: str, whole: float | None) -> float | None:
    value = line.usage.get(used)
    return None if value is None or not whole else value / whole


def _gpu_utilization(line: Line) -> float | None:
    value = line.usage.get("GPU_UTILIZATION")
    return None if value is None else value / 100


def _wanted_pools(line: Line) -> tuple[str, ...]:
    return (line.workload.node_pool,) if line.workload.node_pool else line.workload.node_pools


def _sources(line: Line) -> tuple[str, ...]:
    storage = line.workload.spec.storage
    return tuple(entry.name or kind for member, kind in STORAGE_TYPES.items() for entry in getattr(storage, member))


GANGS = frozenset({WorkloadType.DISTRIBUTED, WorkloadType.DISTRIBUTED_INFERENCE})


def _architecture(line: Line) -> str:
    return "Distributed" if line.workload.type in GANGS else "Standard"


def _pods(line: Line) -> str:
    return f"{line.workload.pods_running}/{resources.pod_count(line.workload)}"


COLUMNS: tuple[Column, ...] = (
    Column(key="name", title="Workload", value=lambda x: x.workload.name, show="name", sort="meta.name", shown=True),
    Column(key="type", title="Type", value=lambda x: x.kind, sort="type", shown=True),
    Column(
        key="status", title="Status", value=lambda x: x.workload.phase.value, show="status", sort="phase", shown=True
    ),
    Column(key="project", title="Project", value=lambda x: x.workload.meta.project, sort="meta.project", shown=True),
    Column(key="department", title="Department", value=lambda x: x.workload.department, sort="department"),
    Column(
        key="preemptible",
        title="Preemptible",
        value=lambda x: "Yes" if x.workload.preemptibility is Preemptibility.PREEMPTIBLE else "No",
        sort="preemptibility",
    ),
    Column(key="priority", title="Priority", value=lambda x: x.workload.priority_class, sort="priority"),
    Column(key="category", title="Category", value=lambda x: x.workload.category, sort="category"),
    Column(key="pods", title="Running/requested pods", value=_pods, show="number", sort="pods_running", shown=True),
    Column(
        key="runs",
        title="Requested runs",
        value=lambda x: x.workload.spec.completions,
        show="number",
        sort="spec.completions",
    ),
    Column(
        key="gpu-requested",
        title="GPU requested",
        value=lambda x: x.asked.gpu.request,
        show="number",
        sort="spec.compute.gpu_devices_request",
        shown=True,
    ),
    Column(key="gpu-allocated", title="GPU allocated", value=lambda x: x.held.gpu, show="number", shown=True),
    Column(
        key="gpu-memory-requested",
        title="GPU memory requested",
        value=lambda x: _bytes(x.asked.gpu_memory.request),
        show="gib",
    ),
    Column(
        key="gpu-memory-allocated", title="GPU memory allocated", value=lambda x: _bytes(x.held.gpu_memory), show="gib"
    ),
    Column(key="gpu-idle", title="Idle GPUs", value=lambda x: x.idle, show="number", moves=True),
    Column(key="gpu-utilization", title="GPU utilization", value=_gpu_utilization, show="percent", needs="usage"),
    Column(
        key="gpu-memory",
        title="GPU memory used",
        value=lambda x: x.usage.get("GPU_MEMORY_USAGE_BYTES"),
        show="gib",
        needs="usage",
    ),
    Column(key="cpu-requested", title="CPU requested", value=lambda x: x.asked.cpu.request, show="number"),
    Column(key="cpu-allocated", title="CPU allocated", value=lambda x: x.held.cpu, show="number"),
    Column(
        key="cpu-usage", title="CPU used", value=lambda x: x.usage.get("CPU_USAGE_CORES"), show="number", needs="usage"
    ),
    Column(
        key="cpu-utilization",
        title="CPU utilization",
        value=lambda x: _share(x, "CPU_USAGE_CORES", x.held.cpu),
        show="percent",
        needs="usage",
    ),
    Column(
        key="memory-requested",
        title="CPU memory requested",
        value=lambda x: _bytes(x.asked.cpu_memory.request),
        show="gib",
    ),
    Column(key="memory-allocated", title="CPU memory allocated", value=lambda x: _bytes(x.held.cpu_memory), show="gib"),
    Column(
        key="memory-usage",
        title="CPU memory used",
        value=lambda x: x.usage.get("CPU_MEMORY_USAGE_BYTES"),
        show="gib",
        needs="usage",
    ),
    Column(key="pools", title="Node pool", value=_wanted_pools, show="list", sort="node_pool"),
    Column(key="nodes", title="Nodes", value=lambda x: x.nodes, show="list", needs="nodes"),
    Column(
        key="created",
        title="Created",
        value=lambda x: x.workload.meta.created_at,
        show="moment",
        sort="meta.created_at",
        shown=True,
    ),
    Column(
        key="completed", title="Completed", value=lambda x: x.workload.completed_at, show="moment", sort="completed_at"
    ),
    Column(key="duration", title="Duration", value=lambda x: x.running_seconds, show="duration", shown=True),
    Column(key="pending", title="Time waited", value=lambda x: x.pending_seconds, show="duration"),
    Column(
        key="guaranteed",
        title="Guaranteed time left",
        value=lambda x: x.guaranteed_seconds,
        show="duration",
        needs="around",
        moves=True,
    ),
    Column(key="user", title="User", value=lambda x: x.workload.meta.created_by, sort="meta.created_by", shown=True),
    Column(key="connections", title="Connections", value=lambda x: x.tools, show="tools", shown=True),
    Column(key="image", title="Image", value=lambda x: x.workload.spec.image or "", sort="spec.image"),
    Column(key="sources", title="Data sources", value=_sources, show="list"),
    Column(key="architecture", title="Architecture", value=_architecture),
    Column(key="cluster", title="Cluster", value=lambda x: x.cluster, needs="around"),
    Column(key="id", title="ID", value=lambda x: x.workload.meta.uid),
)
"""Every column there is, in the order in which they stand."""

BY_KEY: Mapping[str, Column] = {column.key: column for column in COLUMNS}

DEFAULT_KEYS = tuple(column.key for column in COLUMNS if column.shown)


def chosen(cookie: str) -> tuple[Column, ...]:
    """Return the columns that a user chose, the usual ones where nothing sensible was; the name is always there."""
    keys = {key for key in cookie.split(".") if key in BY_KEY} or set(DEFAULT_KEYS)
    return tuple(column for column in COLUMNS if column.key in keys or column.key == "name")


def kept(keys: Collection[str]) -> str:
    """Return the value of the cookie that keeps a choice."""
    return ".".join(column.key for column in COLUMNS if column.key in keys)


CSV_TEXT: Mapping[str, Callable[[Any], str]] = {
    "moment": lambda value: datetime.fromtimestamp(value, UTC).isoformat(timespec="seconds") if value else "",
    "duration": lambda value: str(int(value)),
    "gib": lambda value: f"{value / 1024**3:.4g}",
    "percent": lambda value: f"{value:.4g}",
    "list": "; ".join,
    "tools": lambda value: "; ".join(f"{tool.name}:{tool.port}" if tool.port else tool.name for tool in value),
}
"""How values are written into CSV: times in ISO 8601, lengths in seconds, memory in GiB, shares of 1."""

UNITS: Mapping[str, str] = {"duration": " (s)", "gib": " (GiB)"}


IN_CSV = tuple(column for column in COLUMNS if column.needs in ("", "around"))
"""What is looked up for each workload by itself is left out: a file has thousands of them."""


def csv_titles() -> list[str]:
    """Return the first line of a CSV file; the reason has a column of its own."""
    titles = [column.title + UNITS.get(column.show, "") for column in IN_CSV]
    return [*titles, "Reason"]


def csv_row(line: Line) -> list[str]:
    """Return a line for CSV, safe to open in a spreadsheet."""
    cells = [(column.show, column.value(line)) for column in IN_CSV]
    texts = ["" if value is None else CSV_TEXT.get(show, str)(value) for show, value in cells]
    return [_no_formula(text) for text in (*texts, line.reason)]


def _no_formula(text: str) -> str:
    """Keep a spreadsheet from taking a name that somebody chose for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
