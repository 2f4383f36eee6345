"""Types of workloads: model objects -> answers of the API."""

import uuid
from collections.abc import Sequence

from runai_core.model.kinds import TaughtKind, name_of_kind
from runai_core.model.workload import TYPE_DEFAULTS, WorkloadType
from runai_core.plugins.types import WorkloadKind
from runai_core.service.kinds import OWN_GROUP, ClusterStatus, version_of
from runai_core.web.answers.base import Condition
from runai_core.web.answers.properties import InterfaceItem, TypeItem, TypeStatus
from runai_core.web.views.units import Directory, iso, iso_or_none

SPACE = uuid.UUID("6f9c1f0e-53f5-5c3c-9b5e-0d3f2a7c8e11")
"""Name space of the ids of priorities, categories and types: the same in every installation."""

CORE = "core"
"""What answers call the group of Kubernetes that has no name: clients take none without one."""


def identity(kind: str, name: str) -> str:
    """Return the stable id of a priority, category or type."""
    return str(uuid.uuid5(SPACE, f"{kind}/{name}"))


def native_types() -> tuple[TypeItem, ...]:
    """Return our own types."""
    return tuple(
        _item(OWN_GROUP, kind.value, defaults.category, defaults.priority_class)
        for kind, defaults in TYPE_DEFAULTS.items()
        if kind is not WorkloadType.EXTERNAL
    )


def kind_item(kind: WorkloadKind, taught: TaughtKind | None) -> TypeItem:
    """Return the type that a kind is, with what was taught of it."""
    group = kind.api_version.rpartition("/")[0]
    item = _item(group, kind.kind, kind.category, kind.priority_class)
    if taught is None:
        return item.model_copy(update={"source": "plugin"})
    return taught_item(taught)


def key_of(item: TypeItem) -> tuple[str, str]:
    """Return the group and the kind of a type, as Kubernetes writes them."""
    return ("" if item.group == CORE else item.group, item.name)


def taught_item(taught: TaughtKind) -> TypeItem:
    """Return the type that was taught."""
    meta = taught.meta
    return _item(taught.group, taught.kind, taught.category, taught.priority_class).model_copy(
        update={
            "source": "taught" if taught.interfaces else "plugin",
            "created_at": iso_or_none(meta.created_at or None),
            "created_by": meta.created_by or None,
            "updated_at": iso_or_none(meta.updated_at or None),
            "updated_by": meta.updated_by or None,
            "resource_interfaces": tuple(
                InterfaceItem(version=version_of(interface), resource_interface=dict(interface))
                for interface in taught.interfaces
            ),
        }
    )


def statuses_of(found: Sequence[ClusterStatus], directory: Directory) -> tuple[TypeStatus, ...]:
    """Return what the cluster makes of each version of a kind."""
    return tuple(
        TypeStatus(
            phase="Failed" if status.trouble else "Ready",
            conditions=(
                Condition(
                    type="Available",
                    status="False" if status.trouble else "True",
                    message=status.trouble or None,
                    last_transition_time=iso(directory.now),
                ),
            ),
            version=status.version,
            cluster_id=directory.cluster_id,
            updated_at=iso(directory.now),
        )
        for status in found
    )


def _item(group: str, kind: str, category: str, priority: str) -> TypeItem:
    return TypeItem(
        id=identity("type", name_of_kind(group, kind)),
        name=kind,
        group=group or CORE,
        category_id=identity("category", category),
        category_name=category,
        priority_id=identity("priority", priority),
        priority_name=priority,
    )
