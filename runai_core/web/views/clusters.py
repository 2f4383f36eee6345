"""Clusters as the API shows them."""

from runai_core.model.clusters import ClusterCondition, ClusterState
from runai_core.service.clusters import ClusterStatus
from runai_core.web.answers.clusters import ClusterItem
from runai_core.web.views.units import TENANT_ID, iso, iso_or_none

PLATFORMS = {"embedded": None}
"""Platforms for which the API has no word."""


def cluster_item(status: ClusterStatus, now: float) -> ClusterItem:
    """Return a cluster."""
    meta, facts = status.cluster.meta, status.facts
    since = iso(status.last_liveness or meta.created_at)
    well = status.state is ClusterState.CONNECTED
    available = {
        "type": "Available",
        "status": "True" if well else "False",
        "reason": "Ready" if well else status.state.value,
        "message": status.message,
        "lastTransitionTime": since,
    }
    return ClusterItem(
        uuid=meta.uid,
        name=status.cluster.name,
        tenant_id=TENANT_ID,
        domain=status.cluster.domain or None,
        version=facts.version or None,
        created_at=iso(meta.created_at),
        updated_at=iso(meta.updated_at or now),
        last_liveness=iso_or_none(status.last_liveness),
        status={
            "state": status.state.value,
            "conditions": [available, *(_condition(item, since) for item in status.conditions)],
            "platform": {
                "type": PLATFORMS.get(facts.platform, facts.platform),
                "kubeVersion": facts.kubernetes_version or None,
            },
            "dependencies": {"required": {}, "optional": {}},
        },
    )


def _condition(condition: ClusterCondition, since: str) -> dict[str, str]:
    return {
        "type": condition.name,
        "status": "False",
        "reason": "MissingPrerequisite" if condition.type == "prerequisite" else "ServiceIssue",
        "message": condition.message,
        "lastTransitionTime": since,
    }
