"""The pods of our workloads in the form of the model: what really became of them.

What a pod is for is in its labels; what happened is in the statuses of its
containers and in the conditions that the kubelet, the eviction API and the
node controllers leave.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from runai_core.backends.kubernetes import names
from runai_core.backends.kubernetes.codec.conditions import condition_of, conditions_of, holds, holds_since
from runai_core.backends.kubernetes.codec.meta import meta_of
from runai_core.backends.kubernetes.codec.requests import with_gpu_forms, without_gpus
from runai_core.backends.kubernetes.codec.times import seconds_of
from runai_core.backends.kubernetes.codec.values import annotations_of, first_of, labels_of
from runai_core.backends.kubernetes.sharing import ISOLATION_ANNOTATION, groups_of, isolation_of
from runai_core.model.errors import InvalidRequest
from runai_core.model.meta import Meta
from runai_core.model.snapshot import PodRequest, PodState
from runai_core.model.spec import RestartPolicy
from runai_core.model.workload import Pod, PodSpec, PodStatus

Object = Mapping[str, Any]

STEADY = 600.0
"""Seconds after which a run counts as a good one: the kubelet forgets its back-off then, too."""

LOST_AFTER = 30.0
"""Seconds beyond its grace period after which a pod that ends on a node without contact is given up."""

CRASH_LOOP = "CrashLoopBackOff"
ENDED = frozenset({"Succeeded", "Failed"})

DISRUPTIONS: Mapping[str, tuple[str, str]] = {
    "PreemptionByScheduler": ("Preempted", "A scheduler gave its place to a pod of higher priority."),
    "EvictionByEvictionAPI": ("Evicted", ""),
    "DeletionByTaintManager": ("NodeLost", "Its node has a taint that it does not tolerate."),
    "DeletionByPodGC": ("NodeLost", "Its node is gone."),
    "TerminationByKubelet": ("Evicted", ""),
}
"""Reason of the condition DisruptionTarget -> our reason, and what to say where the message is empty."""

FAILURES: Mapping[str, tuple[str, str]] = {
    "Evicted": ("Evicted", ""),
    "Preempting": ("Preempted", ""),
    "NodeLost": ("NodeLost", ""),
    "NodeShutdown": ("Shutdown", "Its node was shut down."),
    "Shutdown": ("Shutdown", "Its node was shut down."),
    "Terminated": ("Shutdown", "Its node was shut down."),
    "NodeAffinity": ("NodeLost", "The node no longer has the labels that it needs."),
    "UnexpectedAdmissionError": ("NodeLost", "The kubelet did not take it."),
}
"""`status.reason` of a failed pod that is not its program's fault -> our reason, and what to say."""

OUT_OF = "OutOf"
"""Beginning of the reason when a kubelet has no room for a pod."""

NodeReady = Callable[[str], bool | None]
"""Whether a node is ready; None where there is none of that name."""


def pod_of(item: Object, node_ready: NodeReady = lambda _: True, now: float = 0.0) -> Pod:
    """Return a pod of ours as the model sees it; `now` is for judging pods whose node does not answer."""
    labels, spec = labels_of(item), item["spec"]
    return Pod(
        meta=meta_of_pod(item),
        workload=labels.get(names.WORKLOAD_LABEL, ""),
        pod_group=annotations_of(item).get(names.POD_GROUP_ANNOTATION, ""),
        attempt=_whole(labels.get(names.ATTEMPT_LABEL), 1),
        replacement=_whole(labels.get(names.REPLACEMENT_LABEL), 0),
        node_pool=first_of(labels, names.NODE_POOL_LABELS),
        namespace=item["metadata"].get("namespace", ""),
        spec=spec_of(item),
        status=status_of(item, node_ready=node_ready(spec.get("nodeName") or ""), now=now),
    )


def meta_of_pod(item: Object) -> Meta:
    """Return the metadata of a pod of ours; its owner is its workload."""
    labels = labels_of(item)
    meta = meta_of(item, labels.get(names.PROJECT_LABEL) or first_of(labels, names.QUEUE_LABELS))
    return replace(meta, owner=labels.get(names.WORKLOAD_UID_LABEL, ""))


def spec_of(item: Object) -> PodSpec:
    """Return what a pod runs, as far as the cluster shows it."""
    labels, spec = labels_of(item), item["spec"]
    main = _main(spec)
    try:
        request = with_gpu_forms(without_gpus(spec), item, {})
    except InvalidRequest:
        request = PodRequest()
    role = labels.get(names.ROLE_LABEL, "worker")
    return PodSpec(
        argv=(*(main.get("command") or ()), *(main.get("args") or ())),
        working_dir=main.get("workingDir") or "",
        image=main.get("image") or "",
        request=request,
        restart_policy=RestartPolicy(spec.get("restartPolicy") or RestartPolicy.ALWAYS),
        backoff_limit=_whole(annotations_of(item).get(names.BACKOFF_ANNOTATION), 6),
        grace_period=float(spec.get("terminationGracePeriodSeconds") or 0),
        ports=tuple(port["containerPort"] for port in main.get("ports") or ()),
        role=role,
        rank=_whole(labels.get(names.RANK_LABEL), 0),
        sub_group=labels.get(names.SUB_GROUP_LABEL, ""),
        leader=role in names.ROLE_LABELS[names.ROLE_LABEL],
        tty=bool(main.get("tty")),
        stdin=bool(main.get("stdin")),
    )


def status_of(item: Object, *, node_ready: bool | None = True, now: float = 0.0) -> PodStatus:
    """Return what is known of a pod's life."""
    container = _container(item)
    state = state_of(item, node_ready=node_ready, now=now)
    reason, message = reason_of(item, state, container)
    ended = _terminated(container)
    code = ended.get("exitCode") if ended else None
    return PodStatus(
        state=state,
        node=item["spec"].get("nodeName") or "",
        gpu_groups=groups_of(item),
        gpu_isolation=annotations_of(item).get(ISOLATION_ANNOTATION) or isolation_of(item, None),
        ready=state is PodState.RUNNING and holds(item, "Ready"),
        restarts=int(container.get("restartCount") or 0),
        exit_code=code if isinstance(code, int) else None,
        message=message,
        reason=reason,
        scheduled_at=holds_since(item, "PodScheduled"),
        started_at=_started(container),
        finished_at=seconds_of(ended.get("finishedAt")) or (_finished(item) if state in _OVER else None),
    )


_OVER = frozenset({PodState.SUCCEEDED, PodState.FAILED})


def state_of(item: Object, *, node_ready: bool | None, now: float) -> PodState:
    """Return where a pod is in its life; one whose node is gone for good has ended."""
    status, spec = item.get("status") or {}, item["spec"]
    phase, leaving = status.get("phase"), item["metadata"].get("deletionTimestamp")
    if phase == "Succeeded":
        return PodState.SUCCEEDED
    if phase == "Failed":
        return PodState.FAILED
    if leaving:
        return PodState.FAILED if _is_lost(item, node_ready=node_ready, now=now) else PodState.RELEASING
    if spec.get("nodeName"):
        return PodState.RUNNING if phase == "Running" else PodState.BOUND
    return PodState.GATED if spec.get("schedulingGates") else PodState.PENDING


def is_exhausted(item: Object, now: float) -> bool:
    """Return whether a container that is started again in place has failed as often as it may.

    Kubernetes starts it again for ever; the backoff limit of a workload ends that.
    """
    status, container = item.get("status") or {}, _container(item)
    if status.get("phase") in ENDED or item["metadata"].get("deletionTimestamp"):
        return False
    limit = _whole(annotations_of(item).get(names.BACKOFF_ANNOTATION), -1)
    last = (container.get("lastState") or {}).get("terminated") or (container.get("state") or {}).get("terminated")
    if limit < 0 or not last or not last.get("exitCode") or int(container.get("restartCount") or 0) < limit:
        return False
    waiting = (container.get("state") or {}).get("waiting") or {}
    if waiting.get("reason") != CRASH_LOOP and "terminated" not in (container.get("state") or {}):
        return False
    began, ended = seconds_of(last.get("startedAt")) or now, seconds_of(last.get("finishedAt")) or now
    return ended - began < STEADY


def reason_of(item: Object, state: PodState, container: Object) -> tuple[str, str]:
    """Return why a pod is as it is: a word, and a text for people."""
    if state is PodState.SUCCEEDED:
        return "Completed", ""
    if state is PodState.FAILED:
        return _why_failed(item, container)
    if state is PodState.RELEASING:
        return _why_leaving(item)
    waiting = (container.get("state") or {}).get("waiting") or _waiting_init(item)
    if waiting and waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
        return str(waiting["reason"]), str(waiting.get("message") or "")
    scheduled = condition_of(item, "PodScheduled")
    if state in (PodState.PENDING, PodState.GATED) and scheduled.get("status") == "False":
        return str(scheduled.get("reason") or ""), str(scheduled.get("message") or "")
    return "", ""


def _why_failed(item: Object, container: Object) -> tuple[str, str]:
    status, ended = item.get("status") or {}, _terminated(container)
    note = annotations_of(item).get(names.ENDED_ANNOTATION)
    if note:
        return note, _of_program(ended, status)
    by_itself = bool(ended) and not _was_leaving(item, seconds_of(ended.get("finishedAt")))
    pod_reason = str(status.get("reason") or "")
    if pod_reason in FAILURES or pod_reason.startswith(OUT_OF):
        ours, text = FAILURES.get(pod_reason, ("NodeLost", "The kubelet had no room for it."))
        return ours, str(status.get("message") or text)
    disrupted = holds(item, "DisruptionTarget")
    if status.get("phase") != "Failed" and not disrupted:
        return "NodeLost", f"Node {item['spec'].get('nodeName')} does not answer any more."
    if not by_itself and (disrupted or item["metadata"].get("deletionTimestamp")):
        return _why_leaving(item)
    return str(ended.get("reason") or pod_reason or "Error"), _of_program(ended, status)


def _of_program(ended: Object, status: Object) -> str:
    """Return what a program that failed left behind."""
    if ended.get("reason") == "OOMKilled":
        return "it used more memory than it may have (OOMKilled)"
    return str(ended.get("message") or status.get("message") or "")


def _why_leaving(item: Object) -> tuple[str, str]:
    disruption = condition_of(item, "DisruptionTarget")
    if disruption.get("status") == "True":
        reason, text = DISRUPTIONS.get(str(disruption.get("reason")), ("Evicted", ""))
        note = annotations_of(item).get(names.EVICTION_ANNOTATION)
        return reason, note or text or str(disruption.get("message") or "")
    if note := annotations_of(item).get(names.EVICTION_ANNOTATION):
        return "Evicted", note
    return "Deleted", ""


def _is_lost(item: Object, *, node_ready: bool | None, now: float) -> bool:
    """Return whether a pod that is to end will never be said to have: nobody is there to say it."""
    if not item["spec"].get("nodeName"):
        return False
    if node_ready:
        return False
    due = seconds_of(item["metadata"].get("deletionTimestamp"))
    return due is not None and now > due + (0.0 if node_ready is None else LOST_AFTER)


def _was_leaving(item: Object, ended: float | None) -> bool:
    """Return whether a container ended because its pod was asked to."""
    due = seconds_of(item["metadata"].get("deletionTimestamp"))
    if due is None or ended is None:
        return holds(item, "DisruptionTarget")
    return ended >= due - float(item["metadata"].get("deletionGracePeriodSeconds") or 0)


def _main(spec: Object) -> Object:
    return next(iter(spec.get("containers") or ()), {})


def _container(item: Object) -> Object:
    """Return the status of the main container."""
    name = _main(item["spec"]).get("name")
    statuses = (item.get("status") or {}).get("containerStatuses") or ()
    return next((each for each in statuses if each.get("name") == name), statuses[0] if statuses else {})


def _waiting_init(item: Object) -> Object:
    """Return why an init container waits, where one does."""
    for each in (item.get("status") or {}).get("initContainerStatuses") or ():
        waiting: Object = (each.get("state") or {}).get("waiting") or {}
        if waiting:
            return waiting
    return {}


def _terminated(container: Object) -> Object:
    """Return the end of the run that the state is about: the present one's, or of the one before a restart."""
    state = container.get("state") or {}
    found: Object = state.get("terminated") or {}
    if not found and "waiting" in state:
        found = (container.get("lastState") or {}).get("terminated") or {}
    return found


def _started(container: Object) -> float | None:
    state = container.get("state") or {}
    running = state.get("running") or state.get("terminated") or {}
    last = (container.get("lastState") or {}).get("terminated") or {}
    return seconds_of(running.get("startedAt")) or seconds_of(last.get("startedAt"))


def _finished(item: Object) -> float | None:
    """Return when a pod without statuses of containers ended, as near as its conditions tell."""
    times = [seconds_of(each.get("lastTransitionTime")) for each in conditions_of(item)]
    known = [time for time in times if time is not None]
    return max(known, default=seconds_of(item["metadata"].get("creationTimestamp")))


def _whole(text: str | None, default: int) -> int:
    return int(text) if text is not None and text.isdigit() else default
