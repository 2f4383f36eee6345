"""Queue and Topology objects in the form of the model."""

from collections.abc import Iterable, Mapping
from typing import Any

from runai_core.backends.kubernetes.codec.values import created_at, duration
from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.organization import DEFAULT_QUEUE_PRIORITY, Queue, QueueResources, ResourceQuota
from runai_core.model.resources import MAX_AMOUNT, MB, MILLI
from runai_core.model.snapshot import Topology

Object = Mapping[str, Any]

UNITS: Mapping[str, int] = {"cpu": 1, "memory": MB, "gpu": MILLI}
"""Our exact units in one unit of a Queue: millicores, 10^6 bytes, devices (KAI)."""

NO_LIMIT = -1


def queue_of(item: Object) -> Queue:
    """Return a Queue v2.

    A resource that is left out has quota, limit and weight 0, as in KAI: a
    queue that does not name it may use none of it.

    Raises:
        InvalidRequest: a field is wrong; names it.
    """
    name, spec = item["metadata"]["name"], item.get("spec") or {}
    resources = spec.get("resources") or {}
    return Queue(
        name=name,
        parent=spec.get("parentQueue") or None,
        resources=QueueResources(
            gpu=_quota(name, "gpu", resources.get("gpu")),
            cpu=_quota(name, "cpu", resources.get("cpu")),
            memory=_quota(name, "memory", resources.get("memory")),
            priority=_whole(spec.get("priority", DEFAULT_QUEUE_PRIORITY), f"queue {name}: spec.priority"),
        ),
        created_at=created_at(item),
        display_name=spec.get("displayName") or "",
        preempt_min_runtime=_runtime(spec, "preemptMinRuntime"),
        reclaim_min_runtime=_runtime(spec, "reclaimMinRuntime"),
    )


def topology_of(item: Object) -> Topology:
    """Return a Topology; the levels go from the widest to the narrowest."""
    levels = (item.get("spec") or {}).get("levels") or ()
    return Topology(name=item["metadata"]["name"], levels=tuple(str(level["nodeLabel"]) for level in levels))


def rooted(queues: Iterable[Queue]) -> tuple[Queue, ...]:
    """Return the queues whose ancestors are all there: others, and all below them, do not exist (KAI)."""
    known = {queue.name: queue for queue in queues}
    good: dict[str, bool] = {}

    def reaches_a_root(name: str) -> bool:
        path: list[str] = []
        while name not in good:
            queue = known.get(name)
            if queue is None or name in path:  # missing, or the queues hang from each other
                good[name] = False
                break
            path.append(name)
            if queue.parent is None:
                good[name] = True
                break
            name = queue.parent
        for passed in path:
            good.setdefault(passed, good[name])
        return good[name]

    return tuple(queue for queue in known.values() if reaches_a_root(queue.name))


def _quota(queue: str, resource: str, given: Mapping[str, Any] | None) -> ResourceQuota:
    field = f"queue {queue}: spec.resources.{resource}"
    values = given or {}
    weight = _number(values.get("overQuotaWeight", 0), f"{field}.overQuotaWeight")
    if weight < 0:
        raise InvalidRequest.of(FieldError(f"{field}.overQuotaWeight", "must not be negative", weight))
    return ResourceQuota(
        deserved=_amount(values.get("quota", 0), UNITS[resource], f"{field}.quota"),
        limit=_amount(values.get("limit", 0), UNITS[resource], f"{field}.limit"),
        over_quota_weight=weight,
    )


def _amount(value: Any, unit: int, field: str) -> int | None:
    number = _number(value, field)
    if number == NO_LIMIT:
        return None
    if not 0 <= number * unit <= MAX_AMOUNT:
        raise InvalidRequest.of(FieldError(field, "must be at least 0, or -1 for no limit", value))
    return round(number * unit)


def _number(value: Any, field: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequest.of(FieldError(field, "must be a number", value))
    return float(value)


def _whole(value: Any, field: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRequest.of(FieldError(field, "must be a whole number", value))
    return value


def _runtime(spec: Mapping[str, Any], name: str) -> float | None:
    return duration(spec[name], f"spec.{name}") if spec.get(name) is not None else None
