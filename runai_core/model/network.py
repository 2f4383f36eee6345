"""What a specification says of how a workload is reached and serves: ports, URLs, probes, scaling (`model.spec`)."""

from dataclasses import dataclass, field

from runai_core.model.meta import WIRE, described, listed


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A port of the main container."""

    __pydantic_config__ = WIRE
    container: int = field(metadata={"ge": 1, "le": 65535})
    service_type: str | None = described("ClusterIP, NodePort or LoadBalancer.")
    external: int | None = described("Port outside the cluster.", ge=1, le=65535)
    tool_type: str | None = described("Kind of the tool behind it, for example jupyter-notebook.")
    tool_name: str | None = described("Name shown for the tool.")
    name: str | None = described("Name of the entry.")
    exclude: bool | None = described("Leave out the entry that a policy or template brings.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExposedUrl:
    """A URL under which a port is reached from outside."""

    __pydantic_config__ = WIRE
    container: int = field(metadata={"ge": 1, "le": 65535})
    url: str | None = described("The URL; generated when left out.")
    authorization_type: str | None = described("public, authenticatedUsers or authorizedUsersOrGroups.")
    authorized_users: tuple[str, ...] = listed("Users who may open it.")
    authorized_groups: tuple[str, ...] = listed("Groups who may open it.")
    tool_type: str | None = described("Kind of the tool behind it.")
    tool_name: str | None = described("Name shown for the tool.")
    name: str | None = described("Name of the entry.")
    exclude: bool | None = described("Leave out the entry that a policy or template brings.")


@dataclass(frozen=True, slots=True, kw_only=True)
class RelatedUrl:
    """A link shown with the workload."""

    __pydantic_config__ = WIRE
    url: str
    type: str | None = described("Kind of the link, for example wandb.")
    name: str | None = described("Text of the link.")
    exclude: bool | None = described("Leave out the entry that a policy or template brings.")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpGet:
    """A request whose answer of 200 to 399 means healthy."""

    __pydantic_config__ = WIRE
    path: str = "/"
    port: int = field(metadata={"ge": 1, "le": 65535})
    host: str | None = described("Host; the pod itself when left out.")
    scheme: str | None = described("HTTP (the default) or HTTPS.", pattern="^(HTTP|HTTPS)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeHandler:
    """How a probe asks."""

    __pydantic_config__ = WIRE
    http_get: HttpGet | None = described("Ask by HTTP.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """When a running container counts as ready (core/v1 Probe)."""

    __pydantic_config__ = WIRE
    initial_delay_seconds: int | None = described("Seconds before the first try; 0 when left out.", ge=0)
    period_seconds: int | None = described("Seconds between tries; 10 when left out.", ge=1)
    timeout_seconds: int | None = described("Seconds before a try fails; 1 when left out.", ge=1)
    success_threshold: int | None = described("Tries in a row that make it ready; 1 when left out.", ge=1)
    failure_threshold: int | None = described("Tries in a row that make it unready; 3 when left out.", ge=1)
    handler: ProbeHandler | None = described("How to ask.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Probes:
    """The probes of the main container."""

    __pydantic_config__ = WIRE
    readiness: Probe | None = described("Decides when a running pod is ready.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingPort:
    """The port that an inference workload answers on."""

    __pydantic_config__ = WIRE
    container: int = field(metadata={"ge": 1, "le": 65535})
    protocol: str | None = described("http (the default) or grpc.", pattern="^(http|grpc)$")
    authorization_type: str | None = described("public, authenticatedUsers or authorizedUsersOrGroups.")
    authorized_users: tuple[str, ...] = listed("Users who may call it.")
    authorized_groups: tuple[str, ...] = listed("Groups who may call it.")
    cluster_local_access_only: bool | None = described("Not reachable from outside the cluster.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoscaling:
    """How many replicas an inference workload has."""

    __pydantic_config__ = WIRE
    min_replicas: int | None = described("Fewest replicas; 0 scales to zero.", ge=0, le=10_000)
    max_replicas: int | None = described("Most replicas.", ge=1, le=10_000)
    initial_replicas: int | None = described("Replicas at the start.", ge=0, le=10_000)
    activation_replicas: int | None = described("Replicas when it wakes from zero.", ge=1, le=10_000)
    metric: str | None = described("throughput, concurrency, latency or the name of a custom metric.")
    metric_threshold: int | None = described("Value of the metric that asks for one more replica.", ge=1)
    metric_threshold_percentage: float | None = described("Percentage of the threshold to aim at; 70 when left out.")
    concurrency_hard_limit: int | None = described("Most requests at once for one replica.", ge=0)
    scale_to_zero_retention_seconds: int | None = described("Idle time before the last replica goes.", ge=0, le=3600)
    scale_down_delay_seconds: int | None = described("Time before a replica goes.", ge=0, le=3600)
    initialization_timeout_seconds: int | None = described("Time to become ready.", ge=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingConfiguration:
    """Time-outs of an inference workload."""

    __pydantic_config__ = WIRE
    initialization_timeout_seconds: int | None = described("Time to become ready.", ge=1)
    request_timeout_seconds: int | None = described("Time for one request.", ge=1)
