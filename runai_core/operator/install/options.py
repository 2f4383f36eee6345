"""What an installation can be told."""

from dataclasses import dataclass, field
from typing import Any

from runai_core.backends.kubernetes.names import SYSTEM_NAMESPACE

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
    log_level: str = "info"


def default_image() -> str:
    """Return the image of this version."""
    from importlib.metadata import version

    return f"{DEFAULT_IMAGE}:{version('runai-core')}"
