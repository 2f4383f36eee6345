"""Which requests the API server shows us before it keeps them.

All fail open: when nobody answers, the object is kept, and the operator judges
it when it is back. About pods outside the namespaces of projects we are never asked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runai_core.backends.kubernetes import resources
from runai_core.backends.kubernetes.names import (
    ENFORCE_LABEL,
    GPU_FRACTION_ANNOTATION,
    GPU_MEMORY_ANNOTATION,
    QUEUE_LABELS,
    SCHEDULER,
)
from runai_core.backends.kubernetes.resources import Resource
from runai_core.operator.install.crds import DEFINITIONS
from runai_core.operator.install.names import (
    COMPONENTS,
    WEBHOOK_CONFIGURATION,
    WEBHOOK_SERVICE,
    account_of,
    labels_of,
)
from runai_core.operator.install.options import Options

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """One question that the API server asks."""

    name: str
    path: str
    mutates: bool
    resources: tuple[Resource, ...]
    operations: tuple[str, ...]
    timeout: int  # seconds; then the object is kept without us
    question: str
    when_down: str
    namespaces: tuple[Manifest, ...] = ()  # only in namespaces whose labels match
    conditions: tuple[tuple[str, str], ...] = ()  # name and expression: only where all hold


_WORKLOADS = tuple(item.resource for item in DEFINITIONS if item.resource.kind.endswith("Workload"))
_GOVERNED = (
    resources.PROJECTS,
    resources.DEPARTMENTS,
    resources.NODE_POOLS,
    *resources.POLICIES,
    resources.QUEUES,
    resources.POD_GROUPS,
)

IN_PROJECTS: tuple[Manifest, ...] = (
    {"key": QUEUE_LABELS[0], "operator": "Exists"},
    {"key": ENFORCE_LABEL, "operator": "NotIn", "values": ["false"]},
)
"""Labels of the namespaces of projects that want our scheduler."""

_ASKS_FOR_A_SHARE = (
    f"object.spec.schedulerName == '{SCHEDULER}' && has(object.metadata.annotations) && "
    f"('{GPU_FRACTION_ANNOTATION}' in object.metadata.annotations || "
    f"'{GPU_MEMORY_ANNOTATION}' in object.metadata.annotations)"
)

WEBHOOKS: tuple[Webhook, ...] = (
    Webhook(
        name="pods.webhook.run.ai",
        path="/mutate/pods",
        mutates=True,
        resources=(resources.PODS,),
        operations=("CREATE",),
        timeout=2,
        question="Which scheduler and queue does a pod in a project's namespace get, that names none?",
        when_down="The pod is created as it is, and Kubernetes' own scheduler places it.",
        namespaces=IN_PROJECTS,
        conditions=(
            ("names-no-scheduler", "object.spec.schedulerName == 'default-scheduler'"),
            ("has-no-node", "!has(object.spec.nodeName) || object.spec.nodeName == ''"),
        ),
    ),
    Webhook(
        name="shares.webhook.run.ai",
        path="/mutate/pods",
        mutates=True,
        resources=(resources.PODS,),
        operations=("CREATE",),
        timeout=2,
        question="How does a pod that asks for a part of a GPU, and names our scheduler, learn which part it got?",
        when_down="The pod is created and placed; its container finds the device, but not the size of its part.",
        namespaces=IN_PROJECTS[:1],
        conditions=(("asks-for-a-share", _ASKS_FOR_A_SHARE),),
    ),
    Webhook(
        name="defaults.webhook.run.ai",
        path="/mutate/workloads",
        mutates=True,
        resources=_WORKLOADS,
        operations=("CREATE",),
        timeout=5,
        question="What do policies and templates add to a workload?",
        when_down="The workload is kept as it was written; the operator completes it when it takes it up.",
    ),
    Webhook(
        name="workloads.webhook.run.ai",
        path="/validate/workloads",
        mutates=False,
        resources=_WORKLOADS,
        operations=("CREATE", "UPDATE"),
        timeout=5,
        question="Do policies allow the workload, and does it make sense?",
        when_down="The workload is kept; the operator judges it when it takes it up, and a refused one becomes Failed.",
    ),
    Webhook(
        name="objects.webhook.run.ai",
        path="/validate/objects",
        mutates=False,
        resources=_GOVERNED,
        operations=("CREATE", "UPDATE", "DELETE"),
        timeout=5,
        question="Is a project, department, node pool, policy, queue or pod group right, and may it go?",
        when_down="The object is kept or deleted; the operator says in its status what is wrong.",
    ),
)
"""Every question, as `docs/kubernetes.md` shows them."""


def configurations(options: Options) -> list[Manifest]:
    """Return the mutating and the validating configuration; the operator adds its certificate authority."""
    found = []
    for kind, mutates in (("MutatingWebhookConfiguration", True), ("ValidatingWebhookConfiguration", False)):
        chosen = [_entry(item, options) for item in WEBHOOKS if item.mutates is mutates]
        found.append(
            {
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": kind,
                "metadata": {"name": WEBHOOK_CONFIGURATION, "labels": labels_of("operator")},
                "webhooks": chosen,
            }
        )
    return found


def _entry(item: Webhook, options: Options) -> Manifest:
    others = {"namespaceSelector": {"matchExpressions": list(item.namespaces)}} if item.namespaces else {}
    conditions = [{"name": name, "expression": expression} for name, expression in item.conditions]
    if not item.conditions:
        conditions = [{"name": "not-ourselves", "expression": _not_ourselves(options)}]
    return {
        "name": item.name,
        "admissionReviewVersions": ["v1"],
        "clientConfig": _client(item, options),
        "failurePolicy": "Ignore",
        "sideEffects": "None",
        "timeoutSeconds": item.timeout,
        "matchPolicy": "Equivalent",
        **others,
        "matchConditions": conditions,
        "rules": _rules(item.resources, item.operations),
        **({"reinvocationPolicy": "Never"} if item.mutates else {}),
    }


def _client(item: Webhook, options: Options) -> Manifest:
    if options.webhook_url:
        return {"url": options.webhook_url.rstrip("/") + item.path}
    return {"service": {"name": WEBHOOK_SERVICE, "namespace": options.namespace, "path": item.path, "port": 443}}


def _not_ourselves(options: Options) -> str:
    """Return the condition that leaves out what our own processes write: it was judged before."""
    users = [f"'system:serviceaccount:{options.namespace}:{account_of(item)}'" for item in COMPONENTS]
    return f"!(request.userInfo.username in [{', '.join(users)}])"


def _rules(kinds: Sequence[Resource], operations: Sequence[str]) -> list[Manifest]:
    groups: dict[tuple[str, str], list[str]] = {}
    for item in kinds:
        groups.setdefault((item.group, item.version), []).append(item.plural)
    return [
        {
            "apiGroups": [group],
            "apiVersions": [version],
            "resources": names,
            "operations": list(operations),
            "scope": "*",
        }
        for (group, version), names in groups.items()
    ]
