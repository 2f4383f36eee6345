"""PodGroup v2alpha2 objects in the form of the model."""

from collections.abc import Iterable, Mapping
from typing import Any

from runai_core import wire
from runai_core.backends.kubernetes import names
from runai_core.backends.kubernetes.codec.values import (
    annotations_of,
    created_at,
    first_of,
    key_of,
    labels_of,
    timestamp,
)
from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.snapshot import PodGroup, Preemptibility, SubGroup, TopologyConstraint
from runai_core.model.workload import NON_PREEMPTIBLE_FROM, PRIORITIES

Object = Mapping[str, Any]

UNKNOWN_PRIORITY = 50
"""Priority of a group whose class nobody knows, where the cluster has no default class (KAI)."""


def group_of(item: Object, classes: Mapping[str, int], default: int | None = None) -> PodGroup:
    """Return a PodGroup; its name is ``namespace/name``, so that equal names of two namespaces do not collide.

    `classes` are the cluster's priority classes by name, `default` the value of
    its global default class.

    Raises:
        InvalidRequest: a field is wrong; names it.
    """
    spec, notes = item.get("spec") or {}, annotations_of(item)
    field = f"podgroup {key_of(item)}"
    priority = priority_of(spec.get("priorityClassName") or "", classes, default)
    return PodGroup(
        name=key_of(item),
        queue=spec.get("queue") or first_of(labels_of(item), names.QUEUE_LABELS),
        priority=priority,
        preemptibility=_preemptibility(spec.get("preemptibility") or "", priority),
        min_members=max(1, _count(spec.get("minMember", 1), f"{field}: spec.minMember")),
        sub_groups=tuple(_sub_group(part, field) for part in spec.get("subGroups") or ()),
        topology=_topology(spec.get("topologyConstraint")),
        created_at=created_at(item),
        last_start=_moment(notes.get(names.LAST_START_ANNOTATION)),
        stale_since=_moment(notes.get(names.STALE_ANNOTATION)),
        delete_when_evicted=notes.get(names.DELETE_WHEN_EVICTED_ANNOTATION) == "true",
        workload=notes.get(names.WORKLOAD_ANNOTATION, ""),
    )


def priority_values(classes: Iterable[Object]) -> tuple[dict[str, int], int | None]:
    """Return the values of PriorityClass objects by name, and that of the global default, if there is one."""
    values: dict[str, int] = {}
    default: int | None = None
    for item in classes:
        value = item.get("value")
        if isinstance(value, int):
            values[item["metadata"]["name"]] = value
            if item.get("globalDefault"):
                default = value
    return values, default


def priority_of(name: str, classes: Mapping[str, int], default: int | None = None) -> int:
    """Return the value of a priority class: the cluster's, else the product's own, else the default (KAI: 50)."""
    value = classes.get(name, PRIORITIES.get(name))
    if value is not None:
        return value
    return UNKNOWN_PRIORITY if default is None else default


def top_owner(item: Object) -> Mapping[str, Any]:
    """Return what the annotation says of a group's top owner: name, uid, group, version, kind; {} where it is not."""
    text = annotations_of(item).get(names.TOP_OWNER_ANNOTATION)
    try:
        found = wire.read_yaml(text) if text else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def marks_unschedulable(item: Object) -> bool:
    """Return whether the pods of a waiting group are to be told that they cannot be scheduled (the default)."""
    return (item.get("spec") or {}).get("markUnschedulable") is not False


def _preemptibility(word: str, priority: int) -> Preemptibility:
    if word in (Preemptibility.PREEMPTIBLE, Preemptibility.NON_PREEMPTIBLE):
        return Preemptibility(word)
    # From 100 on, a group is not preemptible unless it says so (KAI and Run:ai).
    return Preemptibility.NON_PREEMPTIBLE if priority >= NON_PREEMPTIBLE_FROM else Preemptibility.PREEMPTIBLE


def _sub_group(part: Mapping[str, Any], field: str) -> SubGroup:
    where = f"{field}: spec.subGroups"
    if not part.get("name"):
        raise InvalidRequest.of(FieldError(where, "each must have a name", part))
    return SubGroup(
        name=part["name"],
        min_members=max(0, _count(part.get("minMember", 1), f"{where}[{part['name']}].minMember")),
        parent=part.get("parent") or None,
        topology=_topology(part.get("topologyConstraint")),
    )


def _topology(given: Mapping[str, Any] | None) -> TopologyConstraint | None:
    if not given or not given.get("topology"):
        return None
    return TopologyConstraint(
        topology=given["topology"],
        required_level=given.get("requiredTopologyLevel") or None,
        preferred_level=given.get("preferredTopologyLevel") or None,
    )


def _count(value: Any, field: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRequest.of(FieldError(field, "must be a whole number", value))
    return value


def _moment(text: str | None) -> float | None:
    if not text:
        return None
    try:
        return timestamp(text)
    except InvalidRequest:
        return None  # written by hand, or by somebody with another clock: as if it were not there
