"""What the API answers about network topologies."""

from runai_core.web.answers.base import Answer


class NetworkTopologyItem(Answer):
    """A network topology of a cluster, and the node pools that use it."""

    id: str
    name: str
    levels: tuple[str, ...]
    cluster_id: str
    tenant_id: int
    created_at: str
    created_by: str
    phase: str
    source: str
    node_pools: tuple[str, ...]


class NetworkTopologyList(Answer):
    """All network topologies that match."""

    network_topologies: tuple[NetworkTopologyItem, ...]
