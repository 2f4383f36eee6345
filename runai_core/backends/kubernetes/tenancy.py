"""Which project a namespace belongs to. Pure."""

from collections.abc import Mapping
from typing import Any

from runai_core.backends.kubernetes.names import PROJECT_NAMESPACE, QUEUE_LABELS, RESERVATION_NAMESPACE

OF_THE_PRODUCT = frozenset({RESERVATION_NAMESPACE, "runai-backend"})
"""Namespaces that are named like those of projects and are none (Run:ai)."""

_PREFIX = PROJECT_NAMESPACE.format(project="")


def project_of(name: str, namespace: Mapping[str, Any] | None) -> str:
    """Return the project of a namespace: what its label says, else what its name does; empty where it is nobody's."""
    labels = ((namespace or {}).get("metadata") or {}).get("labels") or {}
    for label in QUEUE_LABELS:
        if labels.get(label):
            return str(labels[label])
    if name.startswith(_PREFIX) and name not in OF_THE_PRODUCT:
        return name[len(_PREFIX) :]
    return ""
