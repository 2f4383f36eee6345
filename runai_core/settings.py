"""All that can be configured, read once into one frozen object."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from runai_core.model.errors import FieldError, InvalidRequest

ENVIRONMENT: Mapping[str, str] = {
    "RUNAI_DATA_DIR": "data_dir",
    "RUNAI_HOST": "host",
    "RUNAI_PORT": "port",
    "RUNAI_NODES": "nodes_file",
    "RUNAI_SIMULATED_GPUS": "simulated_gpus",
    "RUNAI_DATABASE_URL": "database_url",
    "RUNAI_ALLOWED_HOSTS": "allowed_hosts",
    "RUNAI_LOG_LEVEL": "log_level",
    "RUNAI_PLUGINS": "plugins",
    "RUNAI_BACKEND": "backend",
    "RUNAI_KUBECONFIG": "kubeconfig",
    "RUNAI_KUBE_CONTEXT": "kube_context",
    "RUNAI_ROLE": "role",
    "RUNAI_TOOLS_DOMAIN": "tools_domain",
    "RUNAI_CONTROL_PLANE_URL": "control_plane_url",
    "RUNAI_JOIN_TOKEN_FILE": "join_token_file",
    "RUNAI_CONTROL_PLANE_CA": "control_plane_ca",
    "RUNAI_PROMETHEUS_URL": "prometheus_url",
    "RUNAI_OLDER_METRIC_NAMES": "older_metric_names",
    "RUNAI_SECRETS_KEY_FILE": "secrets_key_file",
    "RUNAI_REPLICA_URL": "replica_url",
    "POD_NAMESPACE": "namespace",
}
"""Environment variable -> field."""

LOG_LEVELS = ("debug", "info", "warning", "error")

KEY_FILE = "secrets.key"
"""Name of the file with the keys of credentials."""

BACKENDS = ("local", "kubernetes", "control-plane")

ROLES: Mapping[str, tuple[str, ...]] = {
    "all": ("scheduler", "operator"),
    "api": (),
    "scheduler": ("scheduler",),
    "operator": ("operator",),
}
"""Role -> the loops that a process of this role runs while it leads in their name."""

PATHS = frozenset(
    {
        "data_dir",
        "nodes_file",
        "kubeconfig",
        "join_token_file",
        "control_plane_ca",
        "secrets_key_file",
        "replica_certificate",
    }
)
"""Fields that are files or folders."""

CHOICES: Mapping[str, tuple[str, ...]] = {
    "log_level": LOG_LEVELS,
    "backend": BACKENDS,
    "role": tuple(ROLES),
}

SWITCH: Mapping[str, bool] = {"true": True, "1": True, "false": False, "0": False}
"""What turns a setting on or off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How one orchestrator runs. Everything that it keeps is below `data_dir`."""

    data_dir: Path
    host: str = "127.0.0.1"  # listens on loopback unless told
    port: int = 0  # 0 = a free one
    nodes_file: Path | None = None  # None = this host
    simulated_gpus: int | None = None  # devices to pretend on this host; None = only real ones
    database_url: str | None = None  # None = SQLite in the data directory
    allowed_hosts: tuple[str, ...] = ()  # further names accepted in the Host header
    tools_domain: str = ""  # below it each tool of a workload has a host name; empty: localhost, where we listen there
    log_level: str = "info"
    plugins: tuple[str, ...] | None = None  # None = all that are installed
    backend: str = "local"  # local: processes of this machine; kubernetes: a cluster
    kubeconfig: Path | None = None  # None = in the cluster, or else as kubectl finds it; giving one means kubernetes
    kube_context: str = ""  # empty = the current one
    namespace: str = "runai"  # that we are installed in, on Kubernetes
    role: str = "all"  # which loops run here; only on Kubernetes anything but all makes sense
    secrets_key_file: Path | None = None  # keys of credentials; None = in the data directory. Replicas share one
    prometheus_url: str | None = None  # where GPUs and processors are measured; None = by ourselves, as far as we can
    older_metric_names: bool = False  # also those that Run:ai 2.17 renamed
    control_plane_url: str = ""  # of the control plane that this cluster is linked to; empty: none
    join_token_file: Path | None = None  # needed for the first connection
    control_plane_ca: Path | None = None  # authorities that may sign its certificate; None = those of this machine
    replica_url: str = ""  # of this process of a control plane, for its other replicas; empty: they do not ask it
    replica_certificate: Path | None = None  # that it shows there; None: no TLS
    max_body_bytes: int = 4 * 1024**2
    deleted_kept_seconds: float = 14 * 24 * 3600.0  # how long deleted workloads can still be looked at

    @property
    def database(self) -> str:
        """The database's URL, in SQLAlchemy's form."""
        return self.database_url or f"sqlite:///{self.data_dir / 'runai.db'}"

    @property
    def secrets_key(self) -> Path:
        """Where the keys that encrypt credentials are kept, mode 0600."""
        return self.secrets_key_file or self.data_dir / KEY_FILE

    @property
    def credentials_file(self) -> Path:
        """Where the URL, the token and the service account's secret are kept, mode 0600."""
        return self.data_dir / "credentials.json"


def default_data_dir(environ: Mapping[str, str]) -> Path:
    """Return the user's data directory for the orchestrator (XDG base directories)."""
    base = environ.get("XDG_DATA_HOME") or Path(environ.get("HOME", "~")).expanduser() / ".local" / "share"
    return Path(base) / "runai"


def load_settings(environ: Mapping[str, str], **given: Any) -> Settings:
    """Return the settings: what is given wins over the environment, which wins over the defaults.

    Raises:
        InvalidRequest: a value cannot be used; names the variable or option.
    """
    known = {item.name for item in fields(Settings)}
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f", did you mean {near[0]}?" if near else ""
            raise InvalidRequest.of(FieldError(name, f"unknown setting{hint}"))
    values: dict[str, Any] = {"data_dir": default_data_dir(environ)}
    values |= {name: environ[variable] for variable, name in ENVIRONMENT.items() if environ.get(variable)}
    values |= {name: value for name, value in given.items() if value is not None}
    if values.get("kubeconfig") or values.get("kube_context"):
        values.setdefault("backend", "kubernetes")
    return Settings(**{name: _parsed(name, value) for name, value in values.items()})


def _parsed(name: str, value: Any) -> Any:
    if name in ("port", "simulated_gpus", "max_body_bytes"):
        return _integer(name, value, high=65535 if name == "port" else 2**31)
    if name in PATHS:
        return Path(value).expanduser().absolute()
    if name in ("plugins", "allowed_hosts") and isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if name == "prometheus_url" and not str(value).startswith(("http://", "https://")):
        raise InvalidRequest.of(FieldError(name, "must begin with http:// or https://", value))
    if name == "older_metric_names" and isinstance(value, str):
        return _switch(name, value)
    if name in CHOICES and value not in CHOICES[name]:
        raise InvalidRequest.of(FieldError(name, f"must be one of {', '.join(CHOICES[name])}", value))
    return value


def _switch(name: str, value: str) -> bool:
    if value not in SWITCH:
        raise InvalidRequest.of(FieldError(name, f"must be one of {', '.join(SWITCH)}", value))
    return SWITCH[value]


def _integer(name: str, value: Any, *, high: int) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        raise InvalidRequest.of(FieldError(name, "must be a whole number", value)) from None
    if not 0 <= number <= high:
        raise InvalidRequest.of(FieldError(name, f"must be from 0 to {high}", value))
    return number
