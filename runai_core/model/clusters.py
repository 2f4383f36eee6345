"""Clusters of a tenant, and what passes between a control plane and a cluster.

The control plane owns what people want (`Intent`, projects, policies); the
cluster owns what is (workloads, pods, history). Each side keeps how far it has
read the other (`positions`), so that a cut connection goes on where it was.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from runai_core.model.meta import WIRE, Meta
from runai_core.model.nodes import NetworkTopology, Node
from runai_core.model.storage import StorageClass
from runai_core.model.workload import Workload

CLUSTER = "run.ai/cluster"
"""Annotation in the control plane: id of the cluster that an object is of."""

CLUSTER_VERSION = "run.ai/cluster-version"
"""Annotation in the control plane: the version that the object had in its cluster; absent until it was reported."""

CONTROL_PLANE_ID = "run.ai/control-plane-id"
"""Annotation in a cluster: the id under which the control plane knows a workload."""

LOCAL_NAME = "run.ai/local-name"
"""Annotation of a project in the control plane: its name in its cluster, where the two differ."""

MANAGED = "run.ai/from-control-plane"
"""Annotation in a cluster: the object came from the control plane, and goes when it goes there."""


class ClusterState(StrEnum):
    """What can be said of a cluster (Run:ai docs 2.25, clusters table)."""

    WAITING = "WaitingToConnect"
    CONNECTED = "Connected"
    DISCONNECTED = "Disconnected"
    MISSING_PREREQUISITES = "MissingPrerequisites"
    SERVICE_ISSUES = "ServiceIssues"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A cluster of a tenant, as its administrator named it. `meta.uid` is the API's uuid."""

    __pydantic_config__ = WIRE
    meta: Meta
    domain: str = ""

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self.meta.name


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterCondition:
    """Something in a cluster that is not as it should be."""

    __pydantic_config__ = WIRE
    type: str  # prerequisite | service
    name: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prerequisites:
    """What a cluster lacks for our work, as its operator found it last. One exists in the cluster's own store."""

    __pydantic_config__ = WIRE
    meta: Meta = field(default_factory=lambda: Meta(name="prerequisites"))
    missing: tuple[ClusterCondition, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFacts:
    """What a cluster says of itself when it connects."""

    __pydantic_config__ = WIRE
    version: str = ""  # of our software
    platform: str = ""  # vanilla | openshift | ... | embedded
    kubernetes_version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterLink:
    """The control plane's side of a link; `meta.name` is the cluster's id. Never shown: it holds hashes of secrets.

    `session` names the connection that may write for the cluster: an older one
    that lives on somewhere finds the object changed and ends.
    """

    __pydantic_config__ = WIRE
    meta: Meta
    join_hash: str = ""  # of a token that was not used yet
    join_expires_at: float = 0.0
    credentials: tuple[str, ...] = ()  # hashes; the last is the newest, an older one ends when the newest was used
    rotated_at: float = 0.0
    session: str = ""
    replica: str = ""  # address of the process that holds the connection; empty: not reachable from others
    replica_certificate: str = ""  # PEM, that it shows there
    connected: bool = False
    last_liveness: float | None = None
    epoch: str = ""  # names the cluster's store
    process: str = ""  # names the cluster's process, where versions mean nothing to the next one
    positions: Mapping[str, int] = field(default_factory=dict)  # kind -> version in the cluster's store
    facts: ClusterFacts = ClusterFacts()
    conditions: tuple[ClusterCondition, ...] = ()
    topologies: tuple[NetworkTopology, ...] = ()  # that it has, whoever made them
    storage_classes: tuple[StorageClass, ...] | None = None  # None: the cluster does not say


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterNodes:
    """The nodes of a cluster as it reported them last; `meta.name` is the cluster's id."""

    __pydantic_config__ = WIRE
    meta: Meta
    nodes: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """The cluster's side of a link: how far it has read its control plane."""

    __pydantic_config__ = WIRE
    meta: Meta
    epoch: str = ""  # names the control plane's store
    positions: Mapping[str, int] = field(default_factory=dict)  # kind -> version in the control plane's store


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreIdentity:
    """Names a database: versions of another one mean nothing here. One exists; its uid is the name."""

    __pydantic_config__ = WIRE
    meta: Meta
    signing_key: str = ""  # of tokens, where several processes serve one database


@dataclass(frozen=True, slots=True, kw_only=True)
class Leadership:
    """Which replica of a control plane does what only one may do; `meta.name` says what."""

    __pydantic_config__ = WIRE
    meta: Meta
    holder: str = ""  # empty: nobody
    renewals: int = 0


class Wanted(StrEnum):
    """What people want of a workload."""

    RUNNING = "running"
    STOPPED = "stopped"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What is wanted of one workload; `meta.name` is the workload's id in the control plane.

    Only the newest wish counts: a cluster that was away for a stop and a run
    has nothing to do.
    """

    __pydantic_config__ = WIRE
    meta: Meta
    cluster: str
    generation: int = 1
    wanted: Wanted = Wanted.RUNNING
    creates: bool = False  # the workload was submitted in the control plane
    actor: str = ""
    workload: Workload | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """The cluster's answer to an `Intent`; `meta.name` is the workload's id in the control plane."""

    __pydantic_config__ = WIRE
    meta: Meta
    generation: int
    error: str = ""  # why it could not be done
    workload: Workload | None = None  # as it is in the cluster now; None: it does not exist there


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """One organization that a control plane serves; nothing is shared between two."""

    __pydantic_config__ = WIRE
    meta: Meta
    hosts: tuple[str, ...] = ()  # names that its clients ask for; the tenant is told from the others by them

    @property
    def name(self) -> str:
        """The tenant's name."""
        return self.meta.name
