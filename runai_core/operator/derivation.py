"""Which pod group a pod belongs to, from the pod and the objects that made it. Pure.

The rules are those of KAI's pod grouper (scheduler-semantics: names, defaults,
precedence of labels), with the gangs of each kind from its adapter. Where KAI
is known to lose something, ours is told at the place.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from runai_core.backends.kubernetes.names import (
    NODE_POOL_LABELS,
    POD_GROUP_ANNOTATION,
    SUB_GROUP_LABEL,
)
from runai_core.backends.kubernetes.resources import POD_GROUPS
from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.operator.properties import Facts, copied, first, group_of, leaves_of, spec_of
from runai_core.plugins.grouping import one_gang
from runai_core.plugins.segments import segment_of
from runai_core.plugins.types import Divides, Numbers, PodGroupPlan, WorkloadKind

Object = dict[str, Any]

MIN_MEMBER_ANNOTATIONS = ("kai.scheduler/min-member", "kai.scheduler/batch-min-member")
"""Annotation of an owner: how many of its pods start together, where its kind has no gang of its own (KAI 0.14)."""

SPARK_LABELS = ("spark-app-selector", "spark-app-name")
"""Labels of Spark's pods; with both, the value of the first names the group of driver and executors (KAI)."""

MAX_NAME = 253

UPDATED = ("minMember", "priorityClassName", "preemptibility", "subGroups", "topologyConstraint")
"""Fields of a group's specification that follow its owner; the queue, once given, stays (KAI)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouped:
    """The group that a pod belongs to, as it should be, and the pod's part of it."""

    name: str
    namespace: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    owner: Object  # reference to the object that the group lives and dies with
    spec: Object
    own: frozenset[str] = frozenset()  # fields of `spec` that no owner says: they count at creation only
    sub_group: str = ""

    @property
    def body(self) -> Object:
        """The group as it is created."""
        meta = {
            "name": self.name,
            "namespace": self.namespace,
            "labels": dict(self.labels),
            "annotations": dict(self.annotations),
            "ownerReferences": [self.owner],
        }
        return {
            "apiVersion": POD_GROUPS.api_version,
            "kind": POD_GROUPS.kind,
            "metadata": meta,
            "spec": dict(self.spec),
        }


def derive(chain: Sequence[Object], facts: Facts) -> Grouped:
    """Return the group of a pod; `chain` is the pod, its owner, that one's owner, up to the top.

    Raises:
        InvalidRequest: an owner's manifest, or what the pod says of its place in it, is wrong.
    """
    pod, top = chain[0], chain[-1]
    level, kind, plans = _gangs(chain, facts.kinds)
    made_by = chain[level]
    sources = [item["metadata"] for item in (made_by, *chain[level + 1 :])]  # the nearest word counts
    plan, sub_group, name, owner = _place(chain, level, kind, _overridden(plans, sources))
    spec, own = spec_of(pod, sources, plan, kind, facts)
    labels, annotations = copied(sources, pod, facts.project, top)
    return Grouped(
        name=name,
        namespace=pod["metadata"]["namespace"],
        labels=labels,
        annotations=annotations,
        owner=reference(owner),
        spec=spec,
        own=own,
        sub_group=sub_group,
    )


def kind_of(item: Mapping[str, Any], kinds: Mapping[tuple[str, str], WorkloadKind]) -> WorkloadKind | None:
    """Return the kind of an object; another version of the same group will do."""
    version, kind = str(item.get("apiVersion", "")), str(item.get("kind", ""))
    exact = kinds.get((version, kind))
    if exact is not None:
        return exact
    group = group_of(version)
    return next((each for (known, name), each in kinds.items() if name == kind and group_of(known) == group), None)


def changes(grouped: Grouped, existing: Mapping[str, Any]) -> Object | None:
    """Return the merge patch that makes an existing group as it should be; None where nothing is to change."""
    patch: Object = {}
    spec, is_spec = grouped.spec, existing.get("spec") or {}
    wanted = {
        name: spec.get(name) for name in UPDATED if name not in grouped.own and spec.get(name) != is_spec.get(name)
    }
    if wanted:
        patch["spec"] = wanted
    meta: Object = {}
    for part, given in (("labels", grouped.labels), ("annotations", grouped.annotations)):
        present = existing["metadata"].get(part) or {}
        new = {
            key: value
            for key, value in given.items()
            if present.get(key) != value and not (key in NODE_POOL_LABELS and NODE_POOL_LABELS[0] in present)
        }
        if new:
            meta[part] = new
    if meta:
        patch["metadata"] = meta
    return patch or None


def membership(grouped: Grouped, pod: Mapping[str, Any]) -> Object | None:
    """Return the merge patch that puts a pod in its group; None where it is there."""
    meta = pod["metadata"]
    patch: Object = {}
    if (meta.get("annotations") or {}).get(POD_GROUP_ANNOTATION) != grouped.name:
        patch["annotations"] = {POD_GROUP_ANNOTATION: grouped.name}
    if (meta.get("labels") or {}).get(SUB_GROUP_LABEL, "") != grouped.sub_group:
        patch["labels"] = {SUB_GROUP_LABEL: grouped.sub_group or None}
    return {"metadata": patch} if patch else None


def names_alone(pod: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what we name the group of a pod that nobody made; another name is the user's own, and is left alone."""
    meta = pod["metadata"]
    selector = (meta.get("labels") or {}).get(SPARK_LABELS[0], "")
    return _name(meta["name"], meta["uid"]), selector


def reference(item: Mapping[str, Any]) -> Object:
    """Return the owner reference to an object."""
    meta = item["metadata"]
    return {"apiVersion": item["apiVersion"], "kind": item["kind"], "name": meta["name"], "uid": meta["uid"]}


# -- gangs


def _gangs(
    chain: Sequence[Object], kinds: Mapping[tuple[str, str], WorkloadKind]
) -> tuple[int, WorkloadKind | None, Sequence[PodGroupPlan]]:
    """Return which object of the chain says what the gangs are, its kind, and the gangs.

    That is the top one. One whose children have gangs of their own leaves it to
    the next below that has a kind; an unknown top owner is one gang that starts
    with any pod (KAI).
    """
    for level in range(len(chain) - 1, -1, -1):
        kind = kind_of(chain[level], kinds)
        if kind is None and level == len(chain) - 1:
            return level, None, one_gang(chain[level])
        if kind is not None and (plans := kind.adapter.pod_groups(chain[level])):
            return level, kind, plans
    return 0, None, one_gang(chain[0])


def _overridden(plans: Sequence[PodGroupPlan], sources: Sequence[Mapping[str, Any]]) -> Sequence[PodGroupPlan]:
    """Return the gangs with the minimum that the owner's annotation asks for, where it may."""
    name, text = first(sources, "annotations", MIN_MEMBER_ANNOTATIONS)
    if not text or len(plans) != 1 or plans[0].sub_groups:
        return plans
    if not text.isdecimal() or int(text) < 1:
        raise InvalidRequest.of(FieldError(f"metadata.annotations[{name}]", "must be a whole number from 1", text))
    return (replace(plans[0], each_pod=False, min_members=int(text)),)


def _place(
    chain: Sequence[Object], level: int, kind: WorkloadKind | None, plans: Sequence[PodGroupPlan]
) -> tuple[PodGroupPlan, str, str, Object]:
    """Return the pod's gang, its part, the group's name, and the object that the group lives and dies with."""
    pod, made_by = chain[0], chain[level]
    labels = pod["metadata"].get("labels") or {}
    adapter: object = kind.adapter if kind is not None else None
    part, sub_group = adapter.place_of(labels) if isinstance(adapter, Divides) else ("", "")
    plan = _plan(plans, part, made_by)
    uid = made_by["metadata"]["uid"]
    if plan.each_pod:
        # KAI lets such groups live as long as the owner; a server that is never deleted would gather one for each
        # pod that it ever had.
        return plan, "", _name(pod["metadata"]["name"], uid), pod
    if plan.each_child:
        child = next((item for item in chain[:level] if item["kind"] == plan.each_child), pod)
        return plan, "", _name(child["metadata"]["name"], child["metadata"]["uid"]), child
    if made_by["kind"] == "Pod" and all(labels.get(label) for label in SPARK_LABELS):
        return plan, "", labels[SPARK_LABELS[0]], made_by
    base = _name(made_by["metadata"]["name"], uid, plan.name)
    number = adapter.number_of(labels) if isinstance(adapter, Numbers) else None
    if number is not None and plan.sub_groups and sub_group not in leaves_of(plan.sub_groups):
        sub_group = segment_of(plan, sub_group, number)
    plan, sub_group = _with_whole_parts(plan, sub_group)
    if plan.sub_groups and sub_group not in leaves_of(plan.sub_groups):
        # The scheduler overlooks pods without a part in a group that has parts, for example the pod that submits a
        # Ray job: such a pod waits for nobody.
        return PodGroupPlan(), "", _name(pod["metadata"]["name"], pod["metadata"]["uid"]), pod
    return plan, sub_group, base, made_by


def _plan(plans: Sequence[PodGroupPlan], part: str, made_by: Mapping[str, Any]) -> PodGroupPlan:
    for plan in plans:
        if plan.name == part or (len(plans) == 1 and not plan.name):
            return plan
    if part and len({replace(plan, name="") for plan in plans}) == 1:
        return replace(plans[0], name=part)  # one more replica than the object asks for, while it is rolled over
    message = f"a pod of this {made_by['kind']} must say by its labels which of its gangs it is in"
    names = ", ".join(plan.name for plan in plans)
    raise InvalidRequest.of(FieldError("metadata.labels", f"{message}: {names}", part))


def _with_whole_parts(plan: PodGroupPlan, sub_group: str) -> tuple[PodGroupPlan, str]:
    """Return the gang without parts that may be empty: the scheduler waits for one pod of each part.

    Their pods join the first part that is not, which may grow.
    """
    parts = plan.sub_groups
    leaves = leaves_of(parts)
    empty = {name for name, part in leaves.items() if part.min_members == 0}
    if not empty:
        return plan, sub_group
    rest = tuple(part for part in parts if part.name not in empty)
    joined = next((part.name for part in rest if part.name in leaves and part.topology is None), "")
    if len(rest) == 1 and rest[0].topology is None:
        return replace(plan, sub_groups=(), min_members=rest[0].min_members), ""
    if not rest:
        return replace(plan, sub_groups=(), min_members=max(plan.min_members, 1)), ""
    return replace(plan, sub_groups=rest), joined if sub_group in empty else sub_group


def _name(name: str, uid: str, part: str = "") -> str:
    tail = f"-{uid}-{part}" if part else f"-{uid}"
    room = MAX_NAME - len(tail) - len("pg-")
    if len(name) > room:  # long names may differ in their ends only
        name = f"{name[: room - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return f"pg-{name}{tail}"
