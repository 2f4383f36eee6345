"""An inference server whose replicas follow its requests, as a Knative Service. Pure.

Names and units are those of Knative Serving 1.x: annotations of the revision's
template ask the autoscaler, and the template has fewer members than a pod's.
"""

from collections.abc import Mapping
from typing import Any

from runai_core.backends.kubernetes import names
from runai_core.backends.kubernetes.codec.conditions import condition_of
from runai_core.backends.kubernetes.codec.deployments import of_any_pod
from runai_core.backends.kubernetes.codec.manifests import template_of
from runai_core.backends.kubernetes.codec.places import Place, labels_of
from runai_core.backends.kubernetes.resources import KNATIVE_SERVICES
from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.spec import WorkloadSpec
from runai_core.model.workload import Gang, Pod, Workload

Object = dict[str, Any]

SCALING = "autoscaling.knative.dev/"
PROGRESS_DEADLINE = "serving.knative.dev/progress-deadline"
VISIBILITY = "networking.knative.dev/visibility"
HORIZONTAL = "hpa.autoscaling.knative.dev"
"""Class of Kubernetes' own autoscaler, which knows metrics that Knative itself does not."""

METRICS: Mapping[str, str] = {"throughput": "rps", "concurrency": "concurrency"}
"""Metric -> what Knative's autoscaler calls it."""

_NOT_IN_A_REVISION = ("schedulerName", "restartPolicy", "terminationGracePeriodSeconds")
"""Members of a pod that Knative refuses; the scheduler is named by the webhook for pods of projects."""

_NOT_IN_A_CONTAINER = ("stdin", "tty")

_KNATIVES_OWN = frozenset({"PORT", "K_SERVICE", "K_CONFIGURATION", "K_REVISION"})
"""Variables that Knative sets and allows nobody else to."""


def asks_to_scale(spec: WorkloadSpec) -> bool:
    """Return whether the number of replicas is to follow something, and not to be fixed."""
    scaling = spec.autoscaling
    if scaling is None:
        return False
    fewest = 1 if scaling.min_replicas is None else scaling.min_replicas
    return bool(scaling.metric) or not fewest or (scaling.max_replicas or fewest) > fewest


def knative_object(workload: Workload, gang: Gang, pod: Pod, place: Place) -> Object:
    """Return the Knative Service of an inference server; `pod` is any pod of the gang that is not made yet.

    Raises:
        InvalidRequest: the specification cannot be a revision; names each field.
    """
    template = template_of(workload, gang, pod, place)
    meta, spec = template["metadata"], template["spec"]
    one_pods = (names.RANK_LABEL, names.REPLACEMENT_LABEL)
    labels = {name: value for name, value in meta["labels"].items() if name not in one_pods}
    spec = {name: value for name, value in spec.items() if name not in _NOT_IN_A_REVISION}
    spec["containers"] = [_container(workload, container) for container in spec["containers"]]
    local = workload.spec.serving_port is not None and workload.spec.serving_port.cluster_local_access_only
    return {
        "apiVersion": KNATIVE_SERVICES.api_version,
        "kind": KNATIVE_SERVICES.kind,
        "metadata": {
            "name": workload.name,
            "namespace": place.namespace,
            "labels": labels_of(workload, pod.node_pool or workload.node_pool)
            | ({VISIBILITY: "cluster-local"} if local else {}),
            "ownerReferences": [place.reference],
        },
        "spec": {
            "template": {
                "metadata": {"labels": labels, "annotations": {**meta["annotations"], **scaling_of(workload)}},
                "spec": {**spec, **limits_of(workload)},
            }
        },
    }


def scaling_of(workload: Workload) -> dict[str, str]:
    """Return the annotations that tell Knative how to scale.

    Raises:
        InvalidRequest: Knative cannot; names the field.
    """
    scaling, serving = workload.spec.autoscaling, workload.spec.serving_configuration
    if scaling is None:
        return {SCALING + "min-scale": "1", SCALING + "max-scale": "1"}
    if scaling.metric == "latency":
        message = "cannot be latency: Knative scales by throughput, concurrency, or a metric that its HPA class knows"
        raise InvalidRequest.of(FieldError("spec.autoscaling.metric", message, scaling.metric))
    fewest = 1 if scaling.min_replicas is None else scaling.min_replicas
    own = scaling.metric if scaling.metric and scaling.metric not in METRICS else None
    ready = scaling.initialization_timeout_seconds
    if ready is None and serving is not None:
        ready = serving.initialization_timeout_seconds
    given: Mapping[str, Any] = {
        SCALING + "class": HORIZONTAL if own else None,
        SCALING + "metric": own or METRICS.get(scaling.metric or ""),
        SCALING + "target": scaling.metric_threshold,
        SCALING + "target-utilization-percentage": scaling.metric_threshold_percentage,
        SCALING + "min-scale": fewest,
        SCALING + "max-scale": fewest if not asks_to_scale(workload.spec) else scaling.max_replicas,
        SCALING + "initial-scale": scaling.initial_replicas,
        SCALING + "activation-scale": scaling.activation_replicas,
        SCALING + "scale-to-zero-pod-retention-period": _seconds(scaling.scale_to_zero_retention_seconds),
        SCALING + "scale-down-delay": _seconds(scaling.scale_down_delay_seconds),
        PROGRESS_DEADLINE: _seconds(ready),
    }
    return {
        name: f"{value:g}" if isinstance(value, float) else str(value)
        for name, value in given.items()
        if value is not None
    }


def limits_of(workload: Workload) -> Object:
    """Return the limits of a revision for each replica and each request."""
    scaling, serving = workload.spec.autoscaling, workload.spec.serving_configuration
    given = {
        "containerConcurrency": None if scaling is None else scaling.concurrency_hard_limit,
        "timeoutSeconds": None if serving is None else serving.request_timeout_seconds,
    }
    return {name: value for name, value in given.items() if value is not None}


def change_of(known: Mapping[str, Any], workload: Workload) -> Object | None:
    """Return the patch by which a Knative Service scales as the workload says now; None: it does already."""
    template = known["spec"]["template"]
    present = (template.get("metadata") or {}).get("annotations") or {}
    wanted: dict[str, str | None] = dict(scaling_of(workload))
    for name in present:
        if name == PROGRESS_DEADLINE or name.startswith(SCALING):
            wanted.setdefault(name, None)
    notes = {name: value for name, value in wanted.items() if present.get(name) != value}
    limits = limits_of(workload)
    spec = {name: value for name, value in limits.items() if (template.get("spec") or {}).get(name) != value}
    if not notes and not spec:
        return None
    return {"spec": {"template": {"metadata": {"annotations": notes}, "spec": spec}}}


def readiness_of(known: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return status, reason and message of the condition Ready; "Unknown" while the newest wish was not looked at."""
    if (known.get("status") or {}).get("observedGeneration") != known["metadata"].get("generation"):
        return "Unknown", "", ""
    found = condition_of(known, "Ready")
    return str(found.get("status", "Unknown")), str(found.get("reason", "")), str(found.get("message", ""))


def _container(workload: Workload, container: Object) -> Object:
    """Return a container as Knative takes it: one port, named by its protocol, and no variable of a pod's fields."""
    own = {variable.name for variable in workload.spec.environment_variables}
    kept = {name: value for name, value in container.items() if name not in (*_NOT_IN_A_CONTAINER, "ports")}
    kept["env"] = [
        item
        for item in of_any_pod(container["env"], workload)
        if item["name"] in own or not (item["name"] in _KNATIVES_OWN or "fieldRef" in item.get("valueFrom", {}))
    ]
    serving = workload.spec.serving_port
    if serving is not None:
        name = "h2c" if serving.protocol == "grpc" else "http1"
        kept["ports"] = [{"containerPort": serving.container, "name": name}]
    return kept


def _seconds(value: int | None) -> str | None:
    return None if value is None else f"{value}s"
