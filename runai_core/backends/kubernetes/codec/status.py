"""What is written on pods, PodGroups and Queues, in the form that KAI's and Run:ai's tools read (semantics, 6)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from runai_core.backends.kubernetes.codec.conditions import MOST_TEXT, condition_of, conditions_of, holds, stated
from runai_core.model.decision import QueueShare, Reason, Verdict
from runai_core.model.resources import MILLI, format_gpus
from runai_core.model.snapshot import HOLDS_RESOURCES, PodEntry, PodGroup, PodState, Preemptibility
from runai_core.model.workload import gpu_charge

Object = Mapping[str, Any]

UNSCHEDULABLE = "Unschedulable"
ON_NODE_POOL = "UnschedulableOnNodePool"
GPU = "nvidia.com/gpu"

KAI_REASONS = frozenset(
    {
        Reason.OVER_LIMIT,
        Reason.NON_PREEMPTIBLE_OVER_QUOTA,
        Reason.QUEUE_DOES_NOT_EXIST,
        Reason.POD_SCHEDULING_ERRORS,
    }
)
"""Reasons that KAI has as well; others are given as PodSchedulingErrors to its tools, with our text."""


def pod_condition(pod: Object, verdict: Verdict, now: float) -> dict[str, Any] | None:
    """Return the patch that tells a pod why it waits; None where it says so already.

    It is refused where the pod changed meanwhile: one that was bound must not be told that it waits.
    """
    condition = stated(pod, "PodScheduled", "False", reason=UNSCHEDULABLE, message=verdict.message, now=now)
    if condition.items() <= condition_of(pod, "PodScheduled").items():
        return None
    meta = pod["metadata"]
    known_as = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}
    return {"metadata": known_as, "status": {"conditions": [condition]}}


def scheduling_condition(verdict: Verdict, pool: str, transition: int) -> dict[str, Any]:
    """Return a PodGroup's entry for one node pool (KAI: status.schedulingConditions)."""
    reason = verdict.reason if verdict.reason in KAI_REASONS else Reason.POD_SCHEDULING_ERRORS
    detail: dict[str, Any] = {"reason": reason.value, "message": verdict.message[:MOST_TEXT]}
    if verdict.shares:
        detail["details"] = {"queueDetails": _queue_details(verdict.shares)}
    return {
        "type": ON_NODE_POOL,
        "status": "True",
        "nodePool": pool,
        "reason": UNSCHEDULABLE,
        "message": verdict.message[:MOST_TEXT],
        "transitionID": str(transition),
        "reasons": [detail],
    }


def transition_after(group: Object) -> int:
    """Return the number of a PodGroup's next scheduling condition: they grow (KAI)."""
    known = (group.get("status") or {}).get("schedulingConditions") or ()
    numbers = [str(item.get("transitionID", "")) for item in known]
    return 1 + max((int(text) for text in numbers if text.isdecimal()), default=0)


def written_conditions(group: Object, reason: str, message: str, now: float) -> list[dict[str, Any]]:
    """Return a PodGroup's ordinary conditions with `Scheduled` false for a reason; an empty one: true."""
    others = [item for item in conditions_of(group) if item.get("type") != "Scheduled"]
    status = "False" if reason else "True"
    return [*others, stated(group, "Scheduled", status, reason=reason or "Scheduled", message=message, now=now)]


def group_status(
    item: Object,
    group: PodGroup | None,
    pods: Sequence[Object],
    entries: Iterable[PodEntry],
    *,
    waits: bool,
    now: float,
) -> dict[str, Any]:
    """Return what is to be changed in a PodGroup's status; {} where it is current."""
    phases = [(pod.get("status") or {}).get("phase") for pod in pods]
    counts = {
        "running": phases.count("Running"),
        "pending": phases.count("Pending"),
        "succeeded": phases.count("Succeeded"),
        "failed": phases.count("Failed"),
    }
    mine = list(entries)
    placed = [entry for entry in mine if entry.state in HOLDS_RESOURCES]
    fixed = group is not None and group.preemptibility is Preemptibility.NON_PREEMPTIBLE
    wanted = [entry for entry in mine if entry.state in HOLDS_RESOURCES or entry.state is PodState.PENDING]
    status: dict[str, Any] = {
        "phase": _phase(counts, waits=waits, placed=bool(placed)),
        **counts,
        "resourcesStatus": {
            "requested": _sum(wanted),
            "allocated": _sum(placed),
            "allocatedNonPreemptible": _sum(placed if fixed else ()),
        },
    }
    known = item.get("status") or {}
    if not waits and known.get("schedulingConditions"):
        status["schedulingConditions"] = []
    if not waits and placed and not holds(item, "Scheduled"):
        status["conditions"] = written_conditions(item, "", "all pods that must run together have a place", now)
    changed = {key: value for key, value in status.items() if known.get(key) != value}
    # A merge patch keeps members that are not named: amounts that are gone are taken away by null.
    return _without_leftovers(changed, known)


def queue_status(shares: Mapping[str, QueueShare], children: Sequence[str]) -> dict[str, Any]:
    """Return a Queue's status; `fairShare` is ours, the rest KAI's."""
    return {
        "allocated": {_name(kind): _quantity(kind, share.allocated) for kind, share in shares.items()},
        "allocatedNonPreemptible": {
            _name(kind): _quantity(kind, share.allocated_non_preemptible) for kind, share in shares.items()
        },
        "requested": {_name(kind): _quantity(kind, share.requested) for kind, share in shares.items()},
        "fairShare": {_name(kind): _quantity(kind, share.fair_share) for kind, share in shares.items()},
        "childQueues": list(children),
    }


def _phase(counts: Mapping[str, int], *, waits: bool, placed: bool) -> str:
    if counts["running"]:
        return "Running"
    if placed:
        return "Scheduled"
    if waits or counts["pending"]:
        return "Pending"
    if counts["failed"]:
        return "Failed"
    return "Succeeded" if counts["succeeded"] else "Pending"


def _sum(entries: Iterable[PodEntry]) -> dict[str, str]:
    cpu = memory = gpu = 0
    for entry in entries:
        cpu += entry.request.cpu
        memory += entry.request.memory
        gpu += gpu_charge(entry.request)
    found = {"cpu": cpu, "memory": memory, "gpu": gpu}
    return {_name(kind): _quantity(kind, amount) for kind, amount in found.items() if amount}


def _without_leftovers(changed: dict[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    resources, before = changed.get("resourcesStatus"), known.get("resourcesStatus") or {}
    if resources:
        for part, amounts in resources.items():
            gone = (before.get(part) or {}).keys() - amounts.keys()
            resources[part] = {**amounts, **dict.fromkeys(gone)}
    return changed


def _queue_details(shares: Sequence[QueueShare]) -> dict[str, Any]:
    mine = [share for share in shares if share.queue == shares[0].queue]
    return {
        "name": mine[0].queue,
        "queueRequested": {_name(share.resource): _quantity(share.resource, share.requested) for share in mine},
        "queueDeserved": {_name(share.resource): _limit(share.resource, share.deserved) for share in mine},
        "queueAllocated": {_name(share.resource): _quantity(share.resource, share.allocated) for share in mine},
        "queueAllocatedNonPreemptible": {
            _name(share.resource): _quantity(share.resource, share.allocated_non_preemptible) for share in mine
        },
        "queueResourceLimits": {_name(share.resource): _limit(share.resource, share.limit) for share in mine},
    }


def _name(kind: str) -> str:
    return GPU if kind == "gpu" else kind


def _quantity(kind: str, amount: int) -> str:
    if kind == "cpu":
        return str(amount // MILLI) if amount % MILLI == 0 else f"{amount}m"
    return format_gpus(amount) if kind == "gpu" else str(amount)


def _limit(kind: str, amount: int | None) -> str:
    return "-1" if amount is None else _quantity(kind, amount)
