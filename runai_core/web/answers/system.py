"""The orchestrator itself, as the API shows it."""

from runai_core.web.answers.base import Answer, Number


class HealthAnswer(Answer):
    """Alive, or ready."""

    status: str
    version: str
    message: str | None = None
    failed_plugins: tuple[str, ...] = ()


class GpuCounts(Answer):
    """GPU devices of all nodes; simulated ones do not really exist."""

    total: int
    real: int
    simulated: int


class CycleItem(Answer):
    """The newest scheduling cycle of a node pool."""

    node_pool: str
    finished_at: str
    seconds: float
    binds: int
    evictions: int
    waiting: int


class StatusAnswer(Answer):
    """What runs here."""

    version: str
    cluster_id: str
    cluster_name: str
    backend: str
    facts: dict[str, str]
    started_at: str
    uptime_seconds: int
    nodes: int
    gpus: GpuCounts
    cpu_cores: Number
    workloads: dict[str, int]
    cycles: tuple[CycleItem, ...]
    failed_plugins: tuple[str, ...]


class PluginItem(Answer):
    """One plug-in."""

    name: str
    module: str
    distribution: str
    version: str
    status: str
    error: str
    provides: tuple[str, ...]


class PluginList(Answer):
    """All plug-ins."""

    plugins: tuple[PluginItem, ...]
