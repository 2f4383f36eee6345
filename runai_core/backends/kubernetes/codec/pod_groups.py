"""The pod group of a gang, and the topology that it may name."""

import re
from typing import Any

import yaml

from runai_core.backends.kubernetes import names
from runai_core.backends.kubernetes.codec.places import Place, labels_of
from runai_core.backends.kubernetes.tenancy import queue_name
from runai_core.model.snapshot import PodGroup, SubGroup, TopologyConstraint
from runai_core.model.workload import Workload

Object = dict[str, Any]


def group_object(workload: Workload, group: PodGroup, place: Place, pool: str) -> Object:
    """Return the PodGroup (v2alpha2) of a gang."""
    spec: Object = {
        "minMember": group.min_members,
        "queue": queue_name(workload.meta.project, pool),
        "priorityClassName": workload.priority_class,
        "preemptibility": str(group.preemptibility),
    }
    if group.sub_groups:
        spec["subGroups"] = [_sub_group(part) for part in group.sub_groups]
    if group.topology:
        spec["topologyConstraint"] = _constraint(group.topology)
    return {
        "apiVersion": "scheduling.run.ai/v2alpha2",
        "kind": "PodGroup",
        "metadata": {
            "name": group.name,
            "namespace": place.namespace,
            "labels": labels_of(workload, pool),
            "annotations": _notes(workload, place),
            "ownerReferences": [place.reference],
        },
        "spec": spec,
    }


def _notes(workload: Workload, place: Place) -> dict[str, str]:
    top = {
        "name": place.owner["name"],
        "uid": place.owner["uid"],
        "group": place.owner["apiVersion"].rpartition("/")[0],
        "version": place.owner["apiVersion"].rpartition("/")[2],
        "kind": place.owner["kind"],
    }
    notes = {
        names.WORKLOAD_ANNOTATION: workload.key,
        names.TOP_OWNER_ANNOTATION: yaml.safe_dump(top, sort_keys=True),
    }
    if workload.spec.terminate_after_preemption:
        notes[names.DELETE_WHEN_EVICTED_ANNOTATION] = "true"
    return notes


def _sub_group(part: SubGroup) -> Object:
    return {
        "name": part.name,
        "minMember": part.min_members,
        **({"parent": part.parent} if part.parent else {}),
        **({"topologyConstraint": _constraint(part.topology)} if part.topology else {}),
    }


def _constraint(wanted: TopologyConstraint) -> Object:
    levels = {
        "requiredTopologyLevel": wanted.required_level,
        "preferredTopologyLevel": wanted.preferred_level,
    }
    return {"topology": topology_name(wanted.topology), **{name: level for name, level in levels.items() if level}}


def topology_name(label: str) -> str:
    """Return the name of the topology whose one level is this node label."""
    return "runai-" + re.sub(r"[^a-z0-9.-]", "-", label.lower()).strip("-.")


def topology_object(label: str) -> Object:
    """Return the topology whose one level is a node label."""
    return {
        "apiVersion": "kai.scheduler/v1alpha1",
        "kind": "Topology",
        "metadata": {"name": topology_name(label), "labels": {names.MANAGED_BY_LABEL: names.MANAGED_BY}},
        "spec": {"levels": [{"nodeLabel": label}]},
    }
