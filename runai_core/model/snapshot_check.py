"""Whether a snapshot makes sense, before anything is decided on it.

Only what no decision could be right about is an error here. A pod group whose
queue does not exist, or a gang that is larger than the cluster, is a fact that
the engine answers with a verdict.
"""

from collections.abc import Iterable, Iterator
from math import isfinite
from typing import Any

from runai_core.model.errors import FieldError, InvalidSnapshot
from runai_core.model.organization import Queue, ResourceQuota
from runai_core.model.resources import MAX_AMOUNT
from runai_core.model.snapshot import CycleSettings, NodeEntry, PodEntry, PodGroup, PodRequest, Snapshot

MAX_COUNT = 10**6
"""Largest number of devices, slices or pods of one object."""

MOST_ERRORS = 20
"""An error names this many faults at most."""


def check_snapshot(snapshot: Snapshot) -> None:
    """Return if the snapshot can be scheduled.

    Raises:
        InvalidSnapshot: names each object and field that is wrong, what it
            holds, and what is allowed.
    """
    faults: list[FieldError] = []
    for fault in _faults(snapshot):
        faults.append(fault)
        if len(faults) == MOST_ERRORS:
            break
    if faults:
        raise InvalidSnapshot.of(*faults)


def _faults(snapshot: Snapshot) -> Iterator[FieldError]:
    yield from _number("takenAt", snapshot.taken_at)
    yield from _settings(snapshot.settings)
    for kind, items in (
        ("node", snapshot.nodes),
        ("queue", snapshot.queues),
        ("podGroup", snapshot.pod_groups),
        ("pod", snapshot.pods),
        ("topology", snapshot.topologies),
        ("claim", snapshot.claims),
    ):
        yield from _names(kind, [item.name for item in items])
    for node in snapshot.nodes:
        yield from _node(node)
    for queue in snapshot.queues:
        yield from _queue(queue)
    yield from _circles(snapshot.queues)
    for group in snapshot.pod_groups:
        yield from _group(group)
    yield from _pods(snapshot.pods)


def _names(kind: str, names: list[str]) -> Iterator[FieldError]:
    if len(set(names)) == len(names) and "" not in names:
        return
    seen: set[str] = set()
    for name in names:
        if not name:
            yield FieldError(kind, "must have a name")
        elif name in seen:
            yield FieldError(f"{kind} {name}", "appears twice; names must be unique")
        seen.add(name)


def _number(field: str, value: Any) -> Iterator[FieldError]:
    if not isinstance(value, int | float) or not isfinite(value):
        yield FieldError(field, "must be a finite number", value)


def _amount(field: str, value: Any, most: int = MAX_AMOUNT) -> Iterator[FieldError]:
    """Check an exact amount: a whole number, not negative, not absurd."""
    if type(value) is not int:
        yield FieldError(field, "must be a whole number", value)
    elif not 0 <= value <= most:
        yield FieldError(field, f"must be between 0 and {most}", value)


def _amounts(field: str, items: Iterable[tuple[str, Any]]) -> Iterator[FieldError]:
    for name, value in items:
        yield from _amount(f"{field}.{name}", value)


def _settings(settings: CycleSettings) -> Iterator[FieldError]:
    known = ("allocate", "consolidate", "reclaim", "preempt", "stale_gang")
    for action in settings.actions:
        if action not in known:
            yield FieldError("settings.actions", f"must be among {', '.join(known)}", action)
    for name in ("saturation_multiplier", "fair_share_history_weight", "preempt_min_runtime", "reclaim_min_runtime"):
        yield from _number(f"settings.{name}", getattr(settings, name))
    if settings.staleness_grace is not None:
        yield from _number("settings.staleness_grace", settings.staleness_grace)


def _node(node: NodeEntry) -> Iterator[FieldError]:
    field = f"node {node.name}"
    yield from _amount(f"{field}.cpu", node.cpu)
    yield from _amount(f"{field}.memory", node.memory)
    for name in ("gpus", "max_pods", "dra_gpus"):
        yield from _amount(f"{field}.{name}", getattr(node, name), MAX_COUNT)
    yield from _amount(f"{field}.gpu_memory_mib", node.gpu_memory_mib)
    yield from _amounts(field, node.extended)


def _queue(queue: Queue) -> Iterator[FieldError]:
    for name in ("cpu", "memory", "gpu"):
        quota: ResourceQuota = getattr(queue.resources, name)
        field = f"queue {queue.name}.{name}"
        for part in ("deserved", "limit"):
            value = getattr(quota, part)
            if value is not None:
                yield from _amount(f"{field}.{part}", value)
        weight: Any = quota.over_quota_weight
        if not isinstance(weight, int | float) or not isfinite(weight) or weight < 0:
            yield FieldError(f"{field}.over_quota_weight", "must be a number of at least 0", weight)
    usage: Any = queue.usage
    for value in usage:
        if not isinstance(value, int | float) or not isfinite(value) or value < 0:
            yield FieldError(f"queue {queue.name}.usage", "must be numbers of at least 0", value)
    yield from _number(f"queue {queue.name}.created_at", queue.created_at)


def _circles(queues: Iterable[Queue]) -> Iterator[FieldError]:
    parents = {queue.name: queue.parent for queue in queues}
    done: set[str] = set()
    for start in sorted(parents):
        walked: dict[str, None] = {}
        name: str | None = start
        while name in parents and name not in done:
            if name in walked:
                circle = [*list(walked)[list(walked).index(name) :], name]
                yield FieldError(f"queue {name}.parent", f"queues hang from each other: {' -> '.join(circle)}")
                break
            walked[name] = None
            name = parents[name]
        done.update(walked)


def _group(group: PodGroup) -> Iterator[FieldError]:
    field = f"podGroup {group.name}"
    if type(group.min_members) is not int or group.min_members > MAX_COUNT:
        yield FieldError(f"{field}.min_members", f"must be a whole number of at most {MAX_COUNT}", group.min_members)
    yield from _number(f"{field}.created_at", group.created_at)
    if type(group.priority) is not int:
        yield FieldError(f"{field}.priority", "must be a whole number", group.priority)
    if not group.sub_groups:
        return
    parents = {part.name: part.parent for part in group.sub_groups}
    yield from _names(f"{field} sub-group", [part.name for part in group.sub_groups])
    for part in group.sub_groups:
        if part.parent is not None and part.parent not in parents:
            yield FieldError(f"{field} sub-group {part.name}.parent", "does not exist", part.parent)
        steps, name = 0, part.parent
        while name in parents and steps <= len(parents):
            name, steps = parents[name], steps + 1
        if steps > len(parents):
            yield FieldError(f"{field} sub-group {part.name}.parent", "goes in a circle", part.parent)


def _pods(pods: Iterable[PodEntry]) -> Iterator[FieldError]:
    """Check each pod, and each request object once: equal pods share theirs."""
    seen: set[int] = set()
    for pod in pods:
        if id(pod.request) not in seen:
            seen.add(id(pod.request))
            yield from _request(f"pod {pod.name}", pod.request)
        if pod.created_at:
            yield from _number(f"pod {pod.name}.created_at", pod.created_at)


def _request(field: str, request: PodRequest) -> Iterator[FieldError]:
    cpu, memory, gpus, portion = request.cpu, request.memory, request.gpu_devices, request.gpu_portion
    plain = type(cpu) is int and type(memory) is int and type(gpus) is int and type(portion) is int
    usual = plain and 0 <= cpu <= MAX_AMOUNT and 0 <= memory <= MAX_AMOUNT and 0 <= gpus <= MAX_COUNT and not portion
    if usual and not (request.gpu_memory_mib or request.mig or request.dra or request.extended):
        return
    yield from _amount(f"{field}.cpu", cpu)
    yield from _amount(f"{field}.memory", memory)
    yield from _amount(f"{field}.gpu_devices", gpus, MAX_COUNT)
    yield from _amount(f"{field}.gpu_portion", portion, 999)
    yield from _amount(f"{field}.gpu_memory_mib", request.gpu_memory_mib)
    for name in ("mig", "dra", "extended"):
        yield from _amounts(f"{field}.{name}", getattr(request, name))
    forms = [name for name in ("gpu_portion", "gpu_memory_mib", "mig", "dra") if getattr(request, name)]
    if len(forms) > 1:
        yield FieldError(field, "may ask for GPUs in one form only", " and ".join(forms))
