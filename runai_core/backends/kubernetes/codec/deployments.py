"""The Deployment of an inference server, and which place each of its pods fills. Pure.

Kubernetes replaces the replicas of a server one after the other: a changed
specification is a new attempt, the attempt is a label of the template, and the
rollout ends old replicas as new ones become ready. So a server goes on
answering, and one whose new version cannot be placed keeps the old one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from runai_core.backends.kubernetes import names
from runai_core.backends.kubernetes.codec.manifests import template_of
from runai_core.backends.kubernetes.codec.places import Place, labels_of
from runai_core.lifecycle.phases import CLAIMS_QUOTA
from runai_core.lifecycle.vacancies import is_live
from runai_core.model.snapshot import PodState
from runai_core.model.workload import Gang, Pod, Workload, WorkloadType

Object = dict[str, Any]

ROLLED = frozenset({WorkloadType.INFERENCE})
"""Types whose pods a Deployment makes: independent replicas behind one address."""

REVISIONS = 2
"""Old ReplicaSets that are kept: for looking back only, since the specification is the workload's."""

REVISION_ANNOTATION = "deployment.kubernetes.io/revision"
"""Annotation of a Deployment: how many specifications of its pods there were, put there by Kubernetes."""

EXHAUSTED = "BackoffLimitExceeded"
"""Reason of a pod whose container failed in place as often as it may (the word of Kubernetes' Jobs)."""

_OF_ONE_POD = (names.RANK_LABEL, names.REPLACEMENT_LABEL)
"""Labels that the pods of one template cannot have."""

_VARIABLES: Mapping[str, Object | None] = {
    "POD_NAME": {"valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    "POD_INDEX": None,
    "RUNAI_POD_INDEX": None,
}
"""Variables of one pod -> where each pod of a template finds its own; None: nowhere, since it has no number."""


def deployment_object(workload: Workload, gang: Gang, pod: Pod, place: Place) -> Object:
    """Return the Deployment of an inference server; `pod` is any pod of the gang that is not made yet.

    Raises:
        InvalidRequest: the specification cannot be a pod; names each field.
    """
    template = template_of(workload, gang, pod, place)
    meta = template["metadata"]
    labels = {name: value for name, value in meta["labels"].items() if name not in _OF_ONE_POD}
    for container in template["spec"]["containers"]:
        container["env"] = of_any_pod(container["env"], workload)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": workload.name,
            "namespace": place.namespace,
            "labels": labels_of(workload, pod.node_pool or workload.node_pool),
            "ownerReferences": [place.reference],
        },
        "spec": {
            "replicas": len(gang.pods),
            "revisionHistoryLimit": REVISIONS,
            "selector": {"matchLabels": {names.WORKLOAD_UID_LABEL: workload.meta.uid}},
            # A single replica is replaced only when its successor is ready; of many a quarter may be missing.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "template": {
                "metadata": {"labels": labels, "annotations": meta["annotations"]},
                "spec": {**template["spec"], "restartPolicy": "Always"},  # a Deployment knows no other
            },
        },
    }


def of_any_pod(variables: Sequence[Object], workload: Workload) -> list[Object]:
    """Return the variables of a template; what the user sets stays."""
    own = {variable.name for variable in workload.spec.environment_variables}
    found = []
    for variable in variables:
        name = variable["name"]
        if name in own or name not in _VARIABLES:
            found.append(variable)
        elif (source := _VARIABLES[name]) is not None:
            found.append({"name": name, **source})
    return found


def is_of_attempt(known: Mapping[str, Any], attempt: int) -> bool:
    """Return whether a Deployment makes pods of this attempt: then nothing but their number can differ."""
    metadata = ((known.get("spec") or {}).get("template") or {}).get("metadata") or {}
    return (metadata.get("labels") or {}).get(names.ATTEMPT_LABEL) == str(attempt)


def revision_of(known: Mapping[str, Any], workload: Workload) -> str:
    """Return what a Deployment, or a Knative Service, calls the specification that the workload has now.

    Empty where it is somebody else's, or its controller has not counted that specification yet.
    """
    metadata, status = known["metadata"], known.get("status") or {}
    if (metadata.get("labels") or {}).get(names.WORKLOAD_UID_LABEL) != workload.meta.uid:
        return ""
    if not is_of_attempt(known, workload.attempt) or status.get("observedGeneration") != metadata.get("generation"):
        return ""
    counted = (metadata.get("annotations") or {}).get(REVISION_ANNOTATION, "")
    return str(status.get("latestCreatedRevisionName") or counted)


def is_rolled(item: Mapping[str, Any]) -> bool:
    """Return whether a pod was made by a Deployment."""
    owners = item["metadata"].get("ownerReferences") or ()
    return any(owner.get("controller") and owner.get("kind") == "ReplicaSet" for owner in owners)


def given_up(pod: Pod, workload: Workload, *, exhausted: bool) -> Pod:
    """Return a pod as failed where its container has failed in place as often as it may.

    A pod of our own is ended then; a Deployment would put another one in its
    place for ever. So it is left, and the workload learns what it would have
    learned: it fails where no other replica works, and is Degraded otherwise.
    """
    if not exhausted or workload.phase not in CLAIMS_QUOTA:
        return pod
    return replace(pod, status=replace(pod.status, state=PodState.FAILED, reason=EXHAUSTED, ready=False))


def ranked(workload: Workload, pods: Iterable[Pod], ending: frozenset[str]) -> list[Pod]:
    """Return the pods that a Deployment made, each at the place that it fills.

    They have no places of their own: those that go on get the ranks from 0 on,
    the oldest first, and those that ended or are ending (`ending` has their
    uids) come before the first of them. While the workload has a claim, what
    lives of older attempts stands in for the present one's pods, until the
    rollout ends it; the rest of them is not returned.
    """
    found = []
    claims = workload.phase in CLAIMS_QUOTA
    attempts: dict[int, list[Pod]] = {}
    for pod in pods:
        attempts.setdefault(pod.attempt, []).append(pod)
    for attempt in sorted(attempts):
        mine = _placed(attempts[attempt], ending)
        if claims and attempt < workload.attempt:
            mine = [replace(pod, stands_in=True) for pod in mine if is_live(pod) and pod.meta.uid not in ending]
        found += mine
    return found


def _placed(pods: Sequence[Pod], ending: frozenset[str]) -> list[Pod]:
    by_age = sorted(pods, key=lambda pod: (pod.meta.created_at, pod.name))
    stays = [pod for pod in by_age if is_live(pod) and pod.meta.uid not in ending]
    past = [pod for pod in by_age if pod not in stays]
    return [
        *(_at(pod, rank=0, replacement=number) for number, pod in enumerate(past)),
        *(_at(pod, rank=rank, replacement=0 if rank else len(past)) for rank, pod in enumerate(stays)),
    ]


def _at(pod: Pod, *, rank: int, replacement: int) -> Pod:
    return replace(pod, replacement=replacement, spec=replace(pod.spec, rank=rank))
