"""A workload of somebody else's, as lists show it. Pure."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from runai_core.backends.kubernetes.codec import external
from runai_core.backends.kubernetes.codec.external import Seen
from runai_core.backends.kubernetes.codec.groups import group_of
from runai_core.backends.kubernetes.codec.groups import top_owner as read_top_owner
from runai_core.backends.kubernetes.codec.values import annotations_of, created_at, first_of, labels_of
from runai_core.backends.kubernetes.names import CATEGORY_LABEL, NODE_POOL_LABELS, TOP_OWNER_ANNOTATION, USER_LABEL
from runai_core.model.decision import Reason, Verdict
from runai_core.model.errors import InvalidRequest
from runai_core.model.meta import Meta
from runai_core.model.nodes import DEFAULT_NODE_POOL
from runai_core.model.spec import WorkloadSpec
from runai_core.model.workload import Phase, Workload, WorkloadType

Object = Mapping[str, Any]

NATIVE_GROUP = "run.ai"
"""API group of our own workloads: their pod groups make no rows of their own."""

MAX_NOTE = 1024
"""Characters of an annotation that is shown."""


def row_of(about: Object, seen: Seen, *, project: str, classes: Mapping[str, int], before: Workload | None) -> Workload:
    """Return the row of a top owner.

    `about` has its name and metadata, `classes` are the cluster's priority
    classes, `before` is the row as it was.
    """
    phase, message = external.phase_of(seen)
    same = before is not None and before.phase is phase
    began = before.phase_updated_at if before is not None and same else external.since(phase, seen)
    kind, pool = seen.kind, _pool_of(seen) or DEFAULT_NODE_POOL
    row = Workload(
        meta=_meta(about, seen, project, before),
        type=WorkloadType.EXTERNAL,
        spec=_spec(seen),
        api_version=about["apiVersion"],
        kind=about["kind"],
        manifest=seen.owner,
        category=labels_of(about).get(CATEGORY_LABEL) or (kind.category if kind is not None else "Train"),
        source="Other",
        node_pool=pool,
        node_pools=(pool,),
        phase=phase,
        phase_message=message,
        phase_updated_at=began,
        stop_requested=phase in (Phase.STOPPED, Phase.STOPPING),
        delete_requested=phase is Phase.DELETING,
        verdict=_verdict(seen) if phase is Phase.PENDING else None,
        pods_requested=external.wanted_pods(seen),
        pods_running=len(seen.members.running),
        asked=external.requests_of_pods(seen.members.alive),
        held=external.requests_of_pods((*seen.members.placed, *seen.members.leaving)),
    )
    return _with_times(_with_priority(row, seen, classes), seen)


def top_uid(group: Object) -> str:
    """Return the uid of a group's top owner; a group made by hand is its own; empty for our own workloads' groups."""
    refs = group["metadata"].get("ownerReferences") or ()
    if any(ref.get("apiVersion", "").rpartition("/")[0] == NATIVE_GROUP for ref in refs):
        return ""
    return str(top_owner(group).get("uid") or (refs[0]["uid"] if refs else group["metadata"]["uid"]))


def top_owner(group: Object) -> Mapping[str, Any]:
    """Return what a group says of its top owner; ours write JSON, which is read a hundred times faster than YAML."""
    text = annotations_of(group).get(TOP_OWNER_ANNOTATION, "")
    if text.startswith("{"):
        try:
            found = json.loads(text)
            return found if isinstance(found, dict) else {}
        except ValueError:
            pass
    return read_top_owner(group)


def named_by(group: Object) -> Object:
    """Return what a group says of its top owner, in the form of an object; a group made by hand is the workload."""
    top, meta = top_owner(group), group["metadata"]
    if not top:
        refs = meta.get("ownerReferences") or ()
        if not refs:
            return group
        ref = refs[0]
        version, kind, name, uid = ref["apiVersion"], ref["kind"], ref["name"], ref["uid"]
    else:
        version = f"{top['group']}/{top['version']}" if top.get("group") else str(top.get("version", "v1"))
        kind, name, uid = top.get("kind", ""), top.get("name", ""), top.get("uid", "")
    created = meta.get("creationTimestamp")
    shown = {"name": name, "namespace": meta.get("namespace", ""), "uid": uid, "creationTimestamp": created}
    return {"apiVersion": version, "kind": kind, "metadata": {**shown, "labels": meta.get("labels") or {}}}


def schedulers_of(part: Any) -> frozenset[str]:
    """Return every scheduler that the pod templates in a specification name."""
    return frozenset(_schedulers(part))


def _schedulers(part: Any) -> Iterable[str]:
    if isinstance(part, Mapping):
        named = part.get("schedulerName")
        if isinstance(named, str):
            yield named
        for value in part.values():
            yield from _schedulers(value)
    elif isinstance(part, list):
        for item in part:
            yield from _schedulers(item)


def _meta(about: Object, seen: Seen, project: str, before: Workload | None) -> Meta:
    meta = about["metadata"]
    parts = (about, *seen.groups, *seen.members.every)
    version = max(_version(item) for item in parts)
    notes = meta.get("annotations") or {}
    return Meta(
        name=meta["name"],
        project=project,
        uid=meta["uid"],
        version=max(version, before.meta.version if before is not None else 0),  # a pod that went takes its own along
        created_at=created_at(about),
        updated_at=max(created_at(item) for item in parts),
        created_by=next((user for item in parts if (user := _user_of(item))), ""),
        labels=dict(meta.get("labels") or {}),
        annotations={key: text for key, text in notes.items() if len(text) <= MAX_NOTE},
    )


def _with_priority(row: Workload, seen: Seen, classes: Mapping[str, int]) -> Workload:
    default = seen.kind.priority_class if seen.kind is not None else "train"
    named = seen.groups[0] if seen.groups else {"metadata": {"name": ""}, "spec": {"priorityClassName": default}}
    try:
        group = group_of(named, classes)
    except InvalidRequest:
        return row
    name = (named.get("spec") or {}).get("priorityClassName") or default
    return replace(row, priority_class=name, priority=group.priority, preemptibility=group.preemptibility)


def _with_times(row: Workload, seen: Seen) -> Workload:
    """Return the row with the times that its pods tell: how long it waited, and how long it ran."""
    placed, began = external.first_placed(seen.members), row.phase_updated_at
    ended = row.phase in (Phase.COMPLETED, Phase.FAILED)
    waited = max((placed if placed is not None else began) - row.meta.created_at, 0.0)
    waits = row.phase in (Phase.CREATING, Phase.PENDING)
    return replace(
        row,
        last_start=placed,
        completed_at=began if ended else None,
        pending_seconds=0.0 if waits and placed is None else waited,
        running_seconds=max(began - placed, 0.0) if ended and placed is not None else 0.0,
    )


def _spec(seen: Seen) -> WorkloadSpec:
    """Return what can be said of all pods: the first one's image."""
    for pod in seen.members.every:
        containers: Sequence[Object] = pod["spec"].get("containers") or ()
        if containers:
            return WorkloadSpec(image=str(containers[0].get("image") or "") or None)
    return WorkloadSpec()


def _verdict(seen: Seen) -> Verdict | None:
    group, reason, message = external.waits_because(seen)
    if not message:
        return None
    known = reason in tuple(Reason)
    return Verdict(pod_group=group, reason=Reason(reason) if known else Reason.POD_SCHEDULING_ERRORS, message=message)


def _pool_of(seen: Seen) -> str:
    return next((pool for group in seen.groups if (pool := first_of(labels_of(group), NODE_POOL_LABELS))), "")


def _user_of(item: Object) -> str:
    meta = item["metadata"]
    for part in ("labels", "annotations"):
        if user := (meta.get(part) or {}).get(USER_LABEL):
            return str(user)
    return ""


def _version(item: Object) -> int:
    text = str(item["metadata"].get("resourceVersion", ""))
    return int(text) if text.isdigit() else 0
