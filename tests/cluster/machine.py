"""Real nodes (to come)."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cluster.cluster import Cluster


def coredns(cluster: "Cluster") -> list[str]:
    raise NotImplementedError


def remove_traces(slot: int) -> None:
    """Nothing yet."""
