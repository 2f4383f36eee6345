"""The phase of what others make, read off their objects and pods by the product's table."""

from typing import Any

import pytest
import yaml

from runai_core.backends.kubernetes.codec.external import Seen, members_of, phase_of, since, wanted_pods
from runai_core.backends.kubernetes.codec.rows import row_of, schedulers_of, top_uid
from runai_core.model.snapshot import PodRequest, Preemptibility
from runai_core.model.workload import Phase
from runai_core.plugins.builtin import KINDS
from runai_core.plugins.types import WorkloadKind

Object = dict[str, Any]

BY_KIND: dict[str, WorkloadKind] = {kind.kind: kind for kind in KINDS}
BORN = "2026-01-01T00:00:00Z"


def a_pod(index: int, state: str) -> Object:
    """Return a pod in one of these states: pending, placed, running, ready, leaving, succeeded, failed."""
    spec: Object = {"containers": [{"name": "main", "image": "img", "resources": {"limits": {"nvidia.com/gpu": "2"}}}]}
    conditions = []
    if state not in ("pending", "leaving"):
        spec["nodeName"] = "n0"
        conditions.append({"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:10Z"})
    if state == "ready":
        conditions.append({"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:20Z"})
    phases = {"running": "Running", "ready": "Running", "succeeded": "Succeeded", "failed": "Failed"}
    meta: Object = {
        "name": f"p{index}",
        "namespace": "ns",
        "uid": f"uid-{index}",
        "creationTimestamp": BORN,
        "annotations": {"pod-group-name": "pg"},
    }
    if state == "leaving":
        meta["deletionTimestamp"] = BORN
    ended = {"exitCode": 1 if state == "failed" else 0, "finishedAt": "2026-01-01T00:01:00Z", "reason": "Error"}
    containers = [{"state": {"terminated": ended}}] if state in ("succeeded", "failed") else []
    status = {"phase": phases.get(state, "Pending"), "conditions": conditions, "containerStatuses": containers}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec, "status": status}


def a_group(least: int = 1, *, of_pod: bool = False, **status: Any) -> Object:
    refs = [{"apiVersion": "v1", "kind": "Pod" if of_pod else "Owner", "name": "x", "uid": "u"}]
    meta = {"name": "pg", "namespace": "ns", "uid": "uid-pg", "creationTimestamp": BORN, "ownerReferences": refs}
    spec = {"minMember": least, "priorityClassName": "build", "queue": "q"}
    return {"metadata": meta, "spec": spec, "status": status}


def seen(kind: str, manifest: str, *states: str, least: int = 1, before: Phase | None = None) -> Seen:
    body = yaml.safe_load(manifest) or {}
    meta = {"name": "w", "namespace": "ns", "uid": "uid-w", "creationTimestamp": BORN, **body.pop("metadata", {})}
    known = BY_KIND.get(kind)
    version = known.api_version if known is not None else "example.org/v1"
    alone = kind in ("Job", "Deployment")
    groups = [a_group(of_pod=True) for _ in states] if alone else [a_group(least)] if states else []
    return Seen(
        owner={"apiVersion": version, "kind": kind, "metadata": meta, **body},
        kind=known,
        groups=tuple(groups),
        members=members_of(a_pod(index, state) for index, state in enumerate(states)),
        before=before,
    )


DONE = "status: {conditions: [{type: Complete, status: 'True', message: fine}]}"
BROKEN = "status: {conditions: [{type: Failed, status: 'True', message: too often}]}"
UP = Phase.RUNNING

TABLE: dict[str, tuple[Seen, Phase]] = {
    "a job that has just been made": (seen("Job", ""), Phase.CREATING),
    "a job whose pods wait": (seen("Job", "", "pending", "pending"), Phase.PENDING),
    "a job with a pod that starts": (seen("Job", "", "placed", "pending"), Phase.INITIALIZING),
    "a job that runs": (seen("Job", "spec: {parallelism: 1}", "ready"), Phase.RUNNING),
    "a job of two with one pod that waits": (seen("Job", "spec: {parallelism: 2}", "ready", "pending"), Phase.DEGRADED),
    "a job that is complete": (seen("Job", DONE, "succeeded"), Phase.COMPLETED),
    "a job that failed": (seen("Job", BROKEN, "failed"), Phase.FAILED),
    "a job that tries again": (seen("Job", "", "failed"), Phase.PENDING),
    "a job that is suspended": (seen("Job", "spec: {suspend: true}"), Phase.STOPPED),
    "a job whose pods leave": (seen("Job", "spec: {suspend: true}", "leaving"), Phase.STOPPING),
    "a job that is resumed": (seen("Job", "spec: {suspend: false}", before=Phase.STOPPED), Phase.RESUMING),
    "a job that is deleted": (seen("Job", f"metadata: {{deletionTimestamp: {BORN}}}", "ready"), Phase.DELETING),
    "a deployment with all replicas": (seen("Deployment", "spec: {replicas: 2}", "ready", "ready"), Phase.RUNNING),
    "a deployment that lacks one": (seen("Deployment", "spec: {replicas: 2}", "ready", "pending"), Phase.DEGRADED),
    "a deployment that lost one": (
        seen("Deployment", "spec: {replicas: 2}", "ready", "placed", before=UP),
        Phase.DEGRADED,
    ),
    "a deployment that starts": (seen("Deployment", "spec: {replicas: 2}", "ready", "placed"), Phase.INITIALIZING),
    "a deployment of nothing": (seen("Deployment", "spec: {replicas: 0}"), Phase.STOPPED),
    "a deployment's conditions end nothing": (
        seen("Deployment", "spec: {replicas: 1}\nstatus: {conditions: [{type: Failed, status: 'True'}]}", "ready"),
        Phase.RUNNING,
    ),
    "a cron job between its times": (seen("CronJob", "spec: {schedule: x}"), Phase.PENDING),
    "a cron job that runs": (seen("CronJob", "spec: {schedule: x}", "ready"), Phase.RUNNING),
    "a pod that waits": (seen("Pod", "", "pending"), Phase.PENDING),
    "a pod that ended well": (seen("Pod", "", "succeeded"), Phase.COMPLETED),
    "a pod that failed": (seen("Pod", "", "failed"), Phase.FAILED),
    "a gang that waits for its last pod": (seen("JobSet", "", "placed", "pending", least=2), Phase.PENDING),
    "a gang that starts": (seen("JobSet", "", "ready", "placed", least=2), Phase.INITIALIZING),
    "a gang that runs": (seen("JobSet", "", "ready", "ready", least=2), Phase.RUNNING),
    "a gang that runs with more than it needs": (seen("JobSet", "", "ready", "ready", "ready", least=2), Phase.RUNNING),
    "a gang that lost one": (seen("JobSet", "", "ready", "pending", least=2, before=UP), Phase.DEGRADED),
    "a gang that lost all": (seen("JobSet", "", "pending", "pending", least=2, before=UP), Phase.PENDING),
    "a gang of which one is done": (seen("JobSet", "", "ready", "succeeded", least=2, before=UP), Phase.RUNNING),
    "an unknown kind that runs": (seen("Experiment", "", "ready"), Phase.RUNNING),
    "an unknown kind whose pods have ended": (seen("Experiment", "", "succeeded"), Phase.COMPLETED),
    "an unknown kind one of whose pods failed": (seen("Experiment", "", "succeeded", "failed"), Phase.FAILED),
    "an unknown kind with a condition": (seen("Experiment", BROKEN, "ready"), Phase.RUNNING),
}


@pytest.mark.parametrize(("given", "phase"), TABLE.values(), ids=TABLE)
def test_phases(given: Seen, phase: Phase) -> None:
    assert phase_of(given)[0] == phase


COUNTS: dict[str, tuple[Seen, int]] = {
    "replicas that are asked for": (seen("Deployment", "spec: {replicas: 3}", "ready"), 3),
    "pods that are there": (seen("JobSet", "", "ready", "ready", "pending", least=2), 3),
    "pods that must be there": (seen("JobSet", "", "ready", least=4), 4),
    "nobody says": (seen("Pod", "", "pending"), 1),
}


@pytest.mark.parametrize(("given", "count"), COUNTS.values(), ids=COUNTS)
def test_pods_that_are_wanted(given: Seen, count: int) -> None:
    assert wanted_pods(given) == count


TIMES = {
    "running since the last pod was ready": (seen("Job", "", "ready"), Phase.RUNNING, 20),
    "starting since the last pod was placed": (seen("Job", "", "placed"), Phase.INITIALIZING, 10),
    "ended when the last container ended": (seen("Job", "", "failed"), Phase.FAILED, 60),
    "waiting since the pods were made": (seen("Job", "", "pending"), Phase.PENDING, 0),
}


@pytest.mark.parametrize(("given", "phase", "seconds"), TIMES.values(), ids=TIMES)
def test_times_come_from_the_objects(given: Seen, phase: Phase, seconds: int) -> None:
    assert since(phase, given) - since(Phase.PENDING, given) == seconds


def test_a_row_says_what_its_pods_ask_for_and_hold() -> None:
    given = seen("JobSet", "metadata: {labels: {user: ann}}", "ready", "pending", least=2)
    assert given.owner is not None

    row = row_of(given.owner, given, project="team-a", classes={"build": 100}, before=None)

    assert (row.key, row.kind, row.meta.uid, row.meta.created_by) == ("team-a/w", "JobSet", "uid-w", "ann")
    assert (row.priority_class, row.priority, row.preemptibility) == ("build", 100, Preemptibility.NON_PREEMPTIBLE)
    assert (row.pods_requested, row.pods_running, row.spec.image) == (2, 1, "img")
    assert row.asked == ((PodRequest(gpu_devices=2), 2),)
    assert row.held == ((PodRequest(gpu_devices=2), 1),)


def test_a_row_tells_why_it_waits() -> None:
    given = seen("Experiment", "", "pending")
    told = {"type": "UnschedulableOnNodePool", "status": "True", "reason": "Unschedulable", "message": "No node fits."}
    reasons = [{"reason": "OverLimit", "message": "No node fits."}]
    group = a_group(schedulingConditions=[{**told, "reasons": reasons}])
    waiting = Seen(owner=given.owner, kind=None, groups=(group,), members=given.members)
    assert waiting.owner is not None

    row = row_of(waiting.owner, waiting, project="p", classes={}, before=None)

    assert row.verdict is not None
    assert (row.phase_message, row.verdict.reason, row.verdict.pod_group) == ("No node fits.", "OverLimit", "ns/pg")


def test_groups_of_our_own_workloads_make_no_rows() -> None:
    group = a_group()
    group["metadata"]["ownerReferences"] = [
        {"apiVersion": "run.ai/v2alpha1", "kind": "TrainingWorkload", "name": "t", "uid": "u"}
    ]

    assert top_uid(group) == ""
    assert top_uid(a_group()) == "u"


def test_schedulers_are_found_wherever_a_template_is() -> None:
    manifest = yaml.safe_load(
        "spec: {groups: [{template: {spec: {schedulerName: a}}}], head: {spec: {schedulerName: b}}}"
    )

    assert schedulers_of(manifest) == {"a", "b"}
