"""What a pod group says besides its size: queue, priority, topology, labels. Pure.

Precedence is KAI's: the owner's word, then the pod's, then what an
administrator gave the kind, then the plug-in's default.
"""

import json
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runai_core.backends.kubernetes.names import (
    NODE_POOL_LABELS,
    POD_GROUP_ANNOTATION,
    PREEMPTIBILITY_LABEL,
    PRIORITY_LABEL,
    PROJECT_LABEL,
    QUEUE_LABELS,
    SUB_GROUP_LABEL,
    TOP_OWNER_ANNOTATION,
    TOPOLOGY_ANNOTATION,
    TOPOLOGY_PREFERRED_ANNOTATION,
    TOPOLOGY_REQUIRED_ANNOTATION,
    USER_LABEL,
    WORKLOAD_ANNOTATION,
)
from runai_core.backends.kubernetes.trimming import LAST_APPLIED
from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.nodes import DEFAULT_NODE_POOL
from runai_core.model.snapshot import Preemptibility, SubGroup, TopologyConstraint
from runai_core.model.workload import PRIORITIES
from runai_core.plugins.types import PodGroupPlan, WorkloadKind

Object = dict[str, Any]
Sources = Sequence[Mapping[str, Any]]
"""Metadata of the objects above a pod, the nearest first."""

DEFAULT_QUEUE = "default-queue"
"""Queue of a pod that names none, outside the namespaces of projects (KAI)."""

DEFAULT_PRIORITY_CLASS = "train"

MAX_ANNOTATION = 1024
"""Characters of an owner's annotation that is copied; longer ones are notes of tools to themselves."""


@dataclass(frozen=True, slots=True)
class KindDefaults:
    """What an administrator gives a kind instead of its plug-in's defaults; empty = nothing."""

    priority_class: str = ""
    preemptibility: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What derivation needs to know of the cluster."""

    kinds: Mapping[tuple[str, str], WorkloadKind]
    priority_classes: Container[str] = frozenset(PRIORITIES)
    project: str = ""  # of the pod's namespace
    kind_defaults: Mapping[tuple[str, str], KindDefaults] = field(default_factory=dict)  # by (group, kind)


def spec_of(
    pod: Object, sources: Sources, plan: PodGroupPlan, kind: WorkloadKind | None, facts: Facts
) -> tuple[Object, frozenset[str]]:
    """Return the group's specification, and which fields of it no owner says.

    Pods of one group may differ in those, so that they count at creation only.
    """
    given = KindDefaults()
    if kind is not None:
        given = facts.kind_defaults.get((group_of(kind.api_version), kind.kind), given)
    told = {
        "priorityClassName": _known(facts, first(sources, "labels", (PRIORITY_LABEL,))[1]),
        "preemptibility": _preemptibility(sources),
    }
    default = kind.priority_class if kind is not None else DEFAULT_PRIORITY_CLASS
    values = {
        "priorityClassName": _of_pod(pod, facts) or _known(facts, given.priority_class) or default,
        "preemptibility": _preemptibility([pod["metadata"]]) or given.preemptibility,
        **{name: value for name, value in told.items() if value},
    }
    spec: Object = {"minMember": max(plan.min_members, 1), "queue": _queue(pod, sources, facts)}
    spec |= {name: value for name, value in values.items() if value}
    if plan.sub_groups:
        spec["subGroups"] = [_sub_group(part, leaves_of(plan.sub_groups)) for part in plan.sub_groups]
    if topology := _topology(sources):
        spec["topologyConstraint"] = topology
    return spec, frozenset(name for name, value in told.items() if not value)


def _of_pod(pod: Object, facts: Facts) -> str:
    label = (pod["metadata"].get("labels") or {}).get(PRIORITY_LABEL, "")
    return _known(facts, label) or _known(facts, (pod.get("spec") or {}).get("priorityClassName") or "")


def _known(facts: Facts, name: str) -> str:
    """Return the priority class if there is one of that name; a wrong one is as good as none (KAI)."""
    return name if name in facts.priority_classes or name in PRIORITIES else ""


def _preemptibility(sources: Sources) -> str:
    value = first(sources, "labels", (PREEMPTIBILITY_LABEL,))[1].lower()
    return value if value in tuple(Preemptibility) else ""


def _queue(pod: Object, sources: Sources, facts: Facts) -> str:
    """Return the queue: that of the namespace's project, whatever labels say; elsewhere what labels say.

    KAI lets any namespace name any queue; here a project's namespace cannot spend another project's quota.
    """
    every = [*sources, pod["metadata"]]
    named = first(every, "labels", QUEUE_LABELS)[1]
    pool = first(every, "labels", NODE_POOL_LABELS)[1]
    if facts.project:
        return queue_name(facts.project, pool)
    if named:
        return named
    project = first(every, "labels", (PROJECT_LABEL,))[1]
    return queue_name(project, pool) if project else DEFAULT_QUEUE


def queue_name(project: str, pool: str) -> str:
    """Return the queue of a project in a node pool (KAI: ``<project>-<pool>``; the default pool adds nothing)."""
    return f"{project}-{pool}" if pool and pool != DEFAULT_NODE_POOL else project


def _topology(sources: Sources) -> Object:
    name = first(sources, "annotations", (TOPOLOGY_ANNOTATION,))[1]
    if not name:
        return {}
    found: Object = {"topology": name}
    for field_name, annotation in (
        ("requiredTopologyLevel", TOPOLOGY_REQUIRED_ANNOTATION),
        ("preferredTopologyLevel", TOPOLOGY_PREFERRED_ANNOTATION),
    ):
        if value := first(sources, "annotations", (annotation,))[1]:
            found[field_name] = value
    return found


def _sub_group(part: SubGroup, leaves: Mapping[str, SubGroup]) -> Object:
    body: Object = {"name": part.name}
    if part.name in leaves:
        body["minMember"] = part.min_members
    if part.parent:
        body["parent"] = part.parent
    if part.topology is not None:
        body["topologyConstraint"] = _constraint(part.topology)
    return body


def _constraint(topology: TopologyConstraint) -> Object:
    body = {"topology": topology.topology}
    if topology.required_level:
        body["requiredTopologyLevel"] = topology.required_level
    if topology.preferred_level:
        body["preferredTopologyLevel"] = topology.preferred_level
    return body


def copied(sources: Sources, pod: Object, project: str, top: Object) -> tuple[dict[str, str], dict[str, str]]:
    """Return the labels and annotations of the group: the owners', and who is behind it."""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    for source in reversed(sources):
        labels |= source.get("labels") or {}
        notes = source.get("annotations") or {}
        annotations |= {key: text for key, text in notes.items() if key != LAST_APPLIED and len(text) <= MAX_ANNOTATION}
    annotations.pop(POD_GROUP_ANNOTATION, None)
    labels.pop(SUB_GROUP_LABEL, None)
    every = [*sources, pod["metadata"]]
    user = first(every, "labels", (USER_LABEL,))[1] or first(every, "annotations", (USER_LABEL,))[1]
    if user:
        annotations[USER_LABEL] = user
    if pool := first(every, "labels", NODE_POOL_LABELS)[1]:
        labels[NODE_POOL_LABELS[0]] = pool
    annotations[TOP_OWNER_ANNOTATION] = top_owner(top)
    namespace = pod["metadata"]["namespace"]
    annotations[WORKLOAD_ANNOTATION] = f"{project or namespace}/{top['metadata']['name']}"
    return labels, annotations


def first(sources: Sources, part: str, names: Iterable[str]) -> tuple[str, str]:
    """Return the first of the names that the sources have, nearest source first, and its value."""
    for source in sources:
        given = source.get(part) or {}
        for name in names:
            if given.get(name):
                return name, str(given[name])
    return "", ""


def group_of(api_version: str) -> str:
    """Return the API group; empty for core."""
    return api_version.rpartition("/")[0]


def top_owner(item: Mapping[str, Any]) -> str:
    """Return what a group says of its top owner (KAI writes YAML; JSON is YAML)."""
    group, _, version = str(item["apiVersion"]).rpartition("/")
    meta = item["metadata"]
    return json.dumps(
        {"name": meta["name"], "uid": meta["uid"], "group": group, "version": version, "kind": item["kind"]}
    )


def kind_defaults(text: str) -> dict[tuple[str, str], KindDefaults]:
    """Return the defaults of kinds that an administrator wrote: ``[{typeName, group, priorityName, preemptibility}]``.

    Raises:
        InvalidRequest: the text is not such a list.
    """
    try:
        entries = json.loads(text or "[]")
        return {
            (str(entry.get("group", "")), str(entry["typeName"])): KindDefaults(
                str(entry.get("priorityName") or ""), str(entry.get("preemptibility") or "")
            )
            for entry in entries
        }
    except (ValueError, TypeError, KeyError, AttributeError):
        message = "must be a JSON list of {typeName, group, priorityName, preemptibility}"
        raise InvalidRequest.of(FieldError("data.types", message, text[:200])) from None


def leaves_of(parts: Iterable[SubGroup]) -> dict[str, SubGroup]:
    """Return the parts that have pods, by name."""
    inner = {part.parent for part in parts}
    return {part.name: part for part in parts if part.name not in inner}
