"""What somebody else's objects are as a workload: one row for each top owner. Pure.

The phase is read off, not kept: the object's own status first (its adapter, its
conditions, whether it is suspended), then its pods by the product's table.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runai_core.backends.kubernetes.codec.conditions import condition_of, holds, holds_since
from runai_core.backends.kubernetes.codec.requests import with_gpu_forms, without_gpus
from runai_core.backends.kubernetes.codec.times import seconds_of
from runai_core.backends.kubernetes.codec.values import created_at, key_of, labels_of
from runai_core.model.errors import InvalidRequest
from runai_core.model.snapshot import PodRequest
from runai_core.model.workload import Phase
from runai_core.plugins.types import Observes, Relays, Suspends, WorkloadKind

Object = Mapping[str, Any]

CONDITIONS: Mapping[str, Phase] = {
    "Complete": Phase.COMPLETED,
    "Completed": Phase.COMPLETED,
    "Succeeded": Phase.COMPLETED,
    "Failed": Phase.FAILED,
}
"""Conditions that most kinds of work with an end share (batch/v1 Job, JobSet, Kubeflow), and what they mean."""

STARTING = frozenset({None, Phase.CREATING, Phase.PENDING, Phase.INITIALIZING, Phase.RESUMING, Phase.STOPPED})
"""Phases before a workload has run since it was last started."""

COUNTS: Sequence[tuple[str, str]] = (("spec", "replicas"), ("spec", "parallelism"))
"""Where Kubernetes' own kinds say how many pods they want."""


@dataclass(frozen=True, slots=True)
class Members:
    """The pods of one workload, sorted by what they do."""

    alive: tuple[Object, ...] = ()  # have not ended, and are not asked to
    placed: tuple[Object, ...] = ()  # of these, with a node
    ready: tuple[Object, ...] = ()
    running: tuple[Object, ...] = ()
    leaving: tuple[Object, ...] = ()
    succeeded: tuple[Object, ...] = ()
    failed: tuple[Object, ...] = ()

    @property
    def every(self) -> tuple[Object, ...]:
        """All of them."""
        return (*self.alive, *self.leaving, *self.succeeded, *self.failed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """All that is known of a workload that somebody else makes."""

    owner: Object | None  # None: it may not be read, or is gone
    kind: WorkloadKind | None
    groups: tuple[Object, ...] = ()
    members: Members = field(default_factory=Members)
    before: Phase | None = None  # what it was seen as last


def counted(pods: Iterable[Object], kind: WorkloadKind | None) -> list[Object]:
    """Return the pods that count: of those that take over from each other, the oldest that lives, else the newest."""
    adapter: object = kind.adapter if kind is not None else None
    if not isinstance(adapter, Relays):
        return list(pods)
    rest: list[Object] = []
    one_of: dict[str, Object] = {}
    for pod in sorted(pods, key=_by_name):
        relay = adapter.relay_of(labels_of(pod))
        if not relay:
            rest.append(pod)
        elif relay not in one_of or not _lives(one_of[relay]):
            one_of[relay] = pod
    return [*rest, *one_of.values()]


def members_of(pods: Iterable[Object]) -> Members:
    """Sort pods by what they do."""
    alive: list[Object] = []
    ended: dict[str, list[Object]] = {"Succeeded": [], "Failed": []}
    leaving: list[Object] = []
    for pod in sorted(pods, key=_by_name):
        phase = (pod.get("status") or {}).get("phase", "")
        if phase in ended:
            ended[phase].append(pod)
        else:
            (leaving if pod["metadata"].get("deletionTimestamp") else alive).append(pod)
    return Members(
        alive=tuple(alive),
        placed=tuple(pod for pod in alive if pod["spec"].get("nodeName")),
        ready=tuple(pod for pod in alive if holds(pod, "Ready")),
        running=tuple(pod for pod in alive if (pod.get("status") or {}).get("phase") == "Running"),
        leaving=tuple(leaving),
        succeeded=tuple(ended["Succeeded"]),
        failed=tuple(ended["Failed"]),
    )


def phase_of(seen: Seen) -> tuple[Phase, str]:
    """Return the phase, and a sentence where there is something to say about it."""
    owner, members = seen.owner, seen.members
    if owner is not None and owner["metadata"].get("deletionTimestamp"):
        return Phase.DELETING, ""
    told = _told(seen)
    if told is not None:
        return told
    if is_suspended(owner, seen.kind):
        return (Phase.STOPPING if members.alive or members.leaving else Phase.STOPPED), ""
    if owner is None and members.leaving and not members.alive:
        return Phase.TERMINATING, ""
    return _ended(seen) or _by_pods(seen)


def is_suspended(owner: Object | None, kind: WorkloadKind | None) -> bool:
    """Return whether an object is stopped: to stop it would change nothing."""
    if owner is None or kind is None:
        return False
    adapter: object = kind.adapter
    if not isinstance(adapter, Suspends):
        return False
    try:
        return adapter.suspend(owner) == owner
    except InvalidRequest:
        return False


def wanted_pods(seen: Seen) -> int:
    """Return how many pods the workload asks for, as far as anybody says."""
    there = len(seen.members.alive) + len(seen.members.succeeded)
    return max(_asked(seen.owner) or 0, there, 0 if _independent(seen) else _least(seen))


def requests_of_pods(pods: Iterable[Object]) -> tuple[tuple[PodRequest, int], ...]:
    """Return what pods ask for, equal requests counted together; a wrong annotation counts as no GPU."""
    counted: dict[PodRequest, int] = {}
    for pod in pods:
        plain = without_gpus(pod["spec"])
        try:
            request = with_gpu_forms(plain, pod, {})
        except InvalidRequest:
            request = plain
        counted[request] = counted.get(request, 0) + 1
    return tuple(counted.items())


def since(phase: Phase, seen: Seen) -> float:
    """Return when the phase began, from what the objects say: the same after every start of ours."""
    members = seen.members
    born = [created_at(item) for item in (*seen.groups, *members.every)]
    if phase in (Phase.COMPLETED, Phase.FAILED):
        ends = [_moment(seen.owner, name) for name in CONDITIONS if seen.owner is not None and holds(seen.owner, name)]
        return max([*ends, *_finished(members)], default=max(born, default=0.0))
    if phase in (Phase.RUNNING, Phase.DEGRADED):
        return max(_moments(members.ready, "Ready"), default=max(born, default=0.0))
    if phase is Phase.INITIALIZING:
        return max(_moments(members.placed, "PodScheduled"), default=max(born, default=0.0))
    if phase in (Phase.STOPPED, Phase.STOPPING) and seen.owner is not None:
        return _moment(seen.owner, "Suspended") if holds(seen.owner, "Suspended") else created_at(seen.owner)
    return max(born, default=0.0) if born else created_at(seen.owner) if seen.owner is not None else 0.0


def first_placed(members: Members) -> float | None:
    """Return when the first pod got its node."""
    return min(_moments(members.every, "PodScheduled"), default=None)


def waits_because(seen: Seen) -> tuple[str, str, str]:
    """Return the group that waits, the reason and the sentence that the scheduler wrote; empty where it wrote none."""
    for group in seen.groups:
        for told in (group.get("status") or {}).get("schedulingConditions") or ():
            if told.get("status") == "True" and told.get("message"):
                reasons = told.get("reasons") or ()
                reason = reasons[0].get("reason", "") if reasons else told.get("reason", "")
                return key_of(group), str(reason), str(told["message"])
    for pod in seen.members.alive:
        scheduled = condition_of(pod, "PodScheduled")
        if scheduled.get("status") == "False" and scheduled.get("message"):
            return key_of(pod), str(scheduled.get("reason", "")), str(scheduled["message"])
    return "", "", ""


def _told(seen: Seen) -> tuple[Phase, str] | None:
    """Return what the object itself says of its end, or its adapter of anything."""
    owner, kind = seen.owner, seen.kind
    if owner is None:
        return None
    adapter: object = kind.adapter if kind is not None else None
    if isinstance(adapter, Observes):
        try:
            phase = adapter.phase_of(owner)
        except InvalidRequest:
            phase = None
        if phase is not None:
            return phase, _said(owner)
    if kind is not None and not kind.serves:
        for name, phase in CONDITIONS.items():
            if holds(owner, name):
                return phase, str(condition_of(owner, name).get("message") or "")
    return None


def _lives(pod: Object) -> bool:
    ended = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    return not ended and not pod["metadata"].get("deletionTimestamp")


def _ended(seen: Seen) -> tuple[Phase, str] | None:
    """Return how the pods ended, where they are the only ones who can tell."""
    members, owner, kind = seen.members, seen.owner, seen.kind
    if members.alive or members.leaving or not (members.succeeded or members.failed):
        return None
    if kind is not None and (kind.serves or (owner is not None and owner.get("kind") != "Pod")):
        return None  # its controller makes others, or says in its own status that it does not
    if members.failed:
        return Phase.FAILED, _why_failed(members.failed)
    return Phase.COMPLETED, ""


def _by_pods(seen: Seen) -> tuple[Phase, str]:
    members, before = seen.members, seen.before
    done, least = len(members.succeeded), 1 if _independent(seen) else _least(seen)
    was_up = before in (Phase.RUNNING, Phase.DEGRADED)
    if not members.alive:
        if done or members.failed:
            return (before or Phase.PENDING) if was_up else Phase.PENDING, "Its pods have ended; others may follow."
        if seen.kind is not None and seen.kind.serves and _asked(seen.owner) is None:
            return Phase.PENDING, "Nothing of it runs now; it makes pods when they are due."
        return (Phase.RESUMING if before in (Phase.STOPPED, Phase.RESUMING) else Phase.CREATING), ""
    if len(members.placed) + done < least and not (was_up and members.placed):
        return Phase.PENDING, waits_because(seen)[2]
    up = len(members.ready) + done
    if not was_up and before in STARTING and (up < least or len(members.ready) < len(members.placed)):
        restarted = any(_restarts(pod) for pod in members.placed) and members.ready
        if not restarted:
            return Phase.INITIALIZING, ""
    healthy = max(_asked(seen.owner) or 0, least)
    if up >= healthy and len(members.ready) == len(members.alive):
        return Phase.RUNNING, ""
    if up >= healthy and _asked(seen.owner) is None:
        return Phase.RUNNING, ""
    return Phase.DEGRADED, f"{len(members.ready)} of {max(healthy, len(members.alive))} pods are ready."


def _independent(seen: Seen) -> bool:
    """Return whether the pods do not wait for each other: each group is one pod's."""
    owner_kind = (seen.owner or {}).get("kind")
    if owner_kind == "Pod" or not seen.groups:
        return True
    return all(_owned_by_pod(group) for group in seen.groups)


def _owned_by_pod(group: Object) -> bool:
    refs = group["metadata"].get("ownerReferences") or ()
    return bool(refs) and all(ref.get("kind") == "Pod" for ref in refs)


def _least(seen: Seen) -> int:
    """Return how many pods must run together."""
    return sum(max(int((group.get("spec") or {}).get("minMember") or 1), 1) for group in seen.groups)


def _asked(owner: Object | None) -> int | None:
    for part, name in COUNTS:
        value = ((owner or {}).get(part) or {}).get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None


def _said(owner: Object) -> str:
    status = owner.get("status") or {}
    return str(status.get("message") or status.get("reason") or "")


def _why_failed(pods: Sequence[Object]) -> str:
    pod = pods[0]
    status = pod.get("status") or {}
    for container in status.get("containerStatuses") or ():
        ended = (container.get("state") or {}).get("terminated") or {}
        if ended.get("exitCode"):
            why = f": {ended['reason']}" if ended.get("reason") not in (None, "", "Error") else ""
            return f"Pod {pod['metadata']['name']} failed with exit code {ended['exitCode']}{why}."
    return (
        f"Pod {pod['metadata']['name']} failed: {status.get('message') or status.get('reason') or 'no reason given'}."
    )


def _restarts(pod: Object) -> int:
    return sum(int(each.get("restartCount") or 0) for each in (pod.get("status") or {}).get("containerStatuses") or ())


def _finished(members: Members) -> list[float]:
    found = []
    for pod in (*members.succeeded, *members.failed):
        for container in (pod.get("status") or {}).get("containerStatuses") or ():
            ended = ((container.get("state") or {}).get("terminated") or {}).get("finishedAt")
            found.append(seconds_of(ended) or 0.0)
    return [moment for moment in found if moment]


def _moments(pods: Iterable[Object], name: str) -> list[float]:
    return [_moment(pod, name) for pod in pods if holds(pod, name)]


def _moment(item: Object, name: str) -> float:
    return holds_since(item, name) or 0.0


def _by_name(pod: Object) -> tuple[str, str]:
    return str(pod["metadata"].get("creationTimestamp", "")), str(pod["metadata"]["name"])
