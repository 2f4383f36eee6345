"""Departments, projects and the queues that the scheduler makes of them; who may do what."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from runai_core.model.meta import WIRE, Meta
from runai_core.model.nodes import DEFAULT_NODE_POOL

DEFAULT_DEPARTMENT = "default"
DEFAULT_PROJECT = "default"
DEFAULT_QUEUE_PRIORITY = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceQuota:
    """Quota of one resource in its exact unit (millicores, bytes, thousandths of a GPU).

    `None` means unlimited. Where the Run:ai API says deserved, KAI says quota.
    """

    __pydantic_config__ = WIRE
    deserved: int | None = 0
    limit: int | None = None
    over_quota_weight: float = 1.0  # share of what is left after all deserved quotas


UNLIMITED = ResourceQuota(deserved=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueResources:
    """Quota of a project or department in one node pool."""

    __pydantic_config__ = WIRE
    gpu: ResourceQuota = field(default_factory=ResourceQuota)
    cpu: ResourceQuota = UNLIMITED
    memory: ResourceQuota = UNLIMITED
    priority: int = DEFAULT_QUEUE_PRIORITY  # rank: who is served first over quota


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulingRules:
    """Time limits and node types of a project or department (Run:ai API: schedulingRules). Seconds."""

    __pydantic_config__ = WIRE
    interactive_job_time_limit_seconds: int | None = None
    interactive_job_max_idle_duration_seconds: int | None = None
    interactive_job_preempt_idle_duration_seconds: int | None = None
    training_job_time_limit_seconds: int | None = None
    training_job_max_idle_duration_seconds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Department:
    """A group of projects that share quota."""

    __pydantic_config__ = WIRE
    meta: Meta
    description: str = ""
    resources: Mapping[str, QueueResources] = field(default_factory=dict)  # by node pool
    default_node_pools: tuple[str, ...] = ()
    node_types_training: tuple[str, ...] = ()  # empty: all
    node_types_workspace: tuple[str, ...] = ()
    scheduling_rules: SchedulingRules = field(default_factory=SchedulingRules)

    @property
    def name(self) -> str:
        """The department's name."""
        return self.meta.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """Where workloads are submitted; has quota in each node pool."""

    __pydantic_config__ = WIRE
    meta: Meta
    department: str = DEFAULT_DEPARTMENT
    description: str = ""
    resources: Mapping[str, QueueResources] = field(default_factory=dict)  # by node pool
    default_node_pools: tuple[str, ...] = ()
    node_types_training: tuple[str, ...] = ()
    node_types_workspace: tuple[str, ...] = ()
    scheduling_rules: SchedulingRules = field(default_factory=SchedulingRules)
    enforce_scheduler: bool = True
    namespace: str = ""
    cluster: str = ""  # id of the cluster that runs its workloads; empty: the only one

    @property
    def name(self) -> str:
        """The project's name."""
        return self.meta.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """The scheduling view of one project or department in one node pool (KAI Queue v2)."""

    name: str
    parent: str | None = None  # None = top level; only leaves hold pod groups
    resources: QueueResources = field(default_factory=QueueResources)
    created_at: float = 0.0  # age breaks ties: the older queue is first
    display_name: str = ""
    preempt_min_runtime: float | None = None  # seconds; None = as the parent
    reclaim_min_runtime: float | None = None
    usage: tuple[float, float, float] = (0.0, 0.0, 0.0)  # cpu, memory, gpu: past share of the cluster, 0..1


class Action(StrEnum):
    """What an actor may do to objects of a kind."""

    CREATE = "create"
    READ = "read"
    UPDATE = "update"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a right holds, and all that lies below: system > tenant > cluster > department > project."""

    type: str  # system | tenant | cluster | department | project
    name: str = ""  # of the department or project, id of the cluster; empty for the others


TENANT = Scope("tenant")


@dataclass(frozen=True, slots=True)
class Grant:
    """A role in a scope: what an access rule gives to its subject.

    `rights` are those of a role that somebody made, by resource type; None: the role is one of the program's own.
    """

    role: str
    scope: Scope = TENANT
    rights: Mapping[str, frozenset[Action]] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who asks: a user, a service account, or the system itself."""

    name: str
    kind: str = "user"  # user | service-account | system
    grants: tuple[Grant, ...] = ()


SYSTEM = Actor(name="system", kind="system", grants=(Grant("System administrator", Scope("system")),))


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRule:
    """One role given to one subject in one scope (Run:ai: access rule)."""

    __pydantic_config__ = WIRE
    meta: Meta
    subject: str
    subject_type: str
    role: str
    scope_type: str  # system | tenant | cluster | department | project
    scope: str
    number: int = 0  # the API's id of the rule


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAccount:
    """A machine identity: client id, and a hash of its secret."""

    __pydantic_config__ = WIRE
    meta: Meta
    client_id: str
    secret_hash: str
    kind: str = "service-account"  # or app, as the first versions of the API call them
    enabled: bool = True
    generation: int = 0  # raised by a new secret or a logout: tokens of earlier generations are no good
    last_login: float | None = None


def default_resources(node_pools: tuple[str, ...] = (DEFAULT_NODE_POOL,)) -> dict[str, QueueResources]:
    """Return a new unit's quota: nothing deserved, everything allowed while nobody else wants it."""
    return {pool: QueueResources() for pool in node_pools}
