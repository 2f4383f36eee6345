"""Policies: model objects -> answers of the API."""

from collections.abc import Mapping

from runai_core.model.workload import Policy
from runai_core.web.answers.policies import PolicyItem, PolicyListEntry, PolicyMetaItem
from runai_core.web.views.units import TENANT_ID, Directory, iso

DISPLAYED_STATUS = "Ready"
"""There is one cluster and it reads the policies from the same store: they hold at once."""


def policy_item(policy: Policy, effective: Mapping[str, object] | None, directory: Directory) -> PolicyItem:
    """Return the policy as its author wrote it, and what holds after merging where that is known."""
    return PolicyItem(
        type=policy.type.value,
        meta=policy_meta(policy, directory),
        policy=dict(policy.document),
        scope_name=policy.scope,
        effective=None if effective is None else dict(effective),
        effective_updated_at=None if effective is None else iso(directory.now),
    )


def policy_entry(policy: Policy, directory: Directory) -> PolicyListEntry:
    """Return the policy as a row of a list."""
    return PolicyListEntry(
        type=policy.type.value,
        meta=policy_meta(policy, directory),
        status={"clusters": [{"clusterId": directory.cluster_id, "status": DISPLAYED_STATUS}]},
        policy=dict(policy.document),
        scope_name=policy.scope,
    )


def policy_meta(policy: Policy, directory: Directory) -> PolicyMetaItem:
    """Return scope and author of a policy."""
    meta = policy.meta
    return PolicyMetaItem(
        id=meta.uid or meta.name,
        tenant_id=TENANT_ID,
        name=meta.annotations.get("name", meta.name),
        scope=policy.scope_type,
        project_id=directory.projects.get(policy.scope) if policy.scope_type == "project" else None,
        department_id=directory.departments.get(policy.scope) if policy.scope_type == "department" else None,
        cluster_id=(policy.scope or directory.cluster_id) if policy.scope_type == "cluster" else None,
        created_by=meta.created_by or "system",
        created_at=iso(meta.created_at),
        updated_by=meta.updated_by or meta.created_by or "system",
        updated_at=iso(meta.updated_at or meta.created_at),
    )
