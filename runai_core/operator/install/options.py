"""What an installation can be told."""

from dataclasses import dataclass, field
from typing import Any

from runai_core.backends.kubernetes.names import SYSTEM_NAMESPACE
from runai_core.operator.install.names import DATABASE_SECRET
from runai_core.plugins.types import WorkloadKind

DEFAULT_IMAGE = "runai-core"
"""Image name where none is given; its tag is our version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How we are installed."""

    image: str
    namespace: str = SYSTEM_NAMESPACE
    pull_policy: str = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()
    replicas: int = 1  # of scheduler and operator: one leads, the others wait
    api_replicas: int = 1
    node_selector: dict[str, str] = field(default_factory=dict)
    tolerations: tuple[dict[str, Any], ...] = ()
    webhooks: bool = True
    webhook_url: str = ""  # of an operator outside the cluster; empty: the one inside
    workloads: bool = True  # False: our processes run outside the cluster; nothing but names, rights and kinds
    allowed_hosts: tuple[str, ...] = ()  # names under which the web pages are reached
    kinds: tuple[WorkloadKind, ...] = ()  # on which rights are given besides those of plug-ins: they are taught
    log_level: str = "info"
    database_url: str = ""  # of PostgreSQL: a Secret of ours keeps it
    database_secret: str = ""  # a Secret that is there, with the URL as `url`; neither: SQLite on a claim
    storage_size: str = "5Gi"  # of that claim
    storage_class: str = ""  # of that claim; empty: the cluster's default
    control_plane_url: str = ""  # of the control plane to link to; empty: as it is
    join_token: str = ""  # which it gave for this cluster
    control_plane_ca: str = ""  # PEM of the authorities that may sign its certificate; empty: the usual ones

    @property
    def database(self) -> str:
        """Name of the Secret with the database's URL; empty: the records are an SQLite file on a claim."""
        return self.database_secret or (DATABASE_SECRET if self.database_url else "")


def default_image() -> str:
    """Return the image of this version."""
    from importlib.metadata import version

    return f"{DEFAULT_IMAGE}:{version('runai-core')}"
