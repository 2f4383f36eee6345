"""The custom resource definitions: one table, from which the manifests are made.

Names, groups and versions are those of Run:ai and KAI; the schemas come from
the model and from the table of the v2alpha1 fields.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from runai_core.backends.kubernetes import resources
from runai_core.backends.kubernetes.resources import Resource, resource_of
from runai_core.model.workload import PolicyType
from runai_core.operator.install import units
from runai_core.operator.install.schemas import (
    POLICY_KINDS,
    WORKLOAD_KINDS,
    Schema,
    open_structure,
    policy_spec,
    structure,
    text,
    whole,
    workload_spec,
)

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of ``kubectl get``."""

    name: str
    path: str
    type: str = "string"
    wide: bool = False  # only with -o wide


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Where ``kubectl scale`` and autoscalers find the number of replicas."""

    wanted: str
    present: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """One kind of custom resource."""

    resource: Resource
    description: str
    spec: Callable[[], Schema]
    status: Callable[[], Schema] | None = None
    more: Mapping[str, Callable[[], Schema]] = field(default_factory=dict)  # members beside spec and status
    columns: tuple[Column, ...] = ()
    short: tuple[str, ...] = ()
    categories: tuple[str, ...] = ("runai",)
    scale: Scale | None = None


AGE = Column(name="Age", path=".metadata.creationTimestamp", type="date")

_WORKLOAD_COLUMNS = (
    Column(name="Status", path=".status.phase"),
    Column(name="Project", path=".status.project"),
    Column(name="GPUs", path=".status.gpus"),
    Column(name="Running", path=".status.runningPods", type="integer"),
    AGE,
    Column(name="Node pool", path=".status.nodePool", wide=True),
    Column(name="Priority", path=".status.priorityClass", wide=True),
    Column(name="Message", path=".status.phaseMessage", wide=True),
)

_POLICY_COLUMNS = (Column(name="Status", path=".status.phase"), AGE)


def workload_status() -> Schema:
    """Return the schema of a workload's status; the operator keeps further members there."""
    return open_structure(
        {
            "phase": text("Creating, Pending, Initializing, Running, Degraded, Stopped, Failed, Completed, ..."),
            "phaseMessage": text("Why it is in this phase."),
            "phaseReason": text("The same in one word."),
            "project": text("Name of the project."),
            "department": text("Name of the department."),
            "priorityClass": text("Priority class that it has."),
            "preemptibility": text("preemptible or non-preemptible."),
            "nodePool": text("Node pool where its pods are, or are tried."),
            "gpus": text("GPUs that all its pods ask for."),
            "runningPods": whole("Pods that run."),
            "requestedPods": whole("Pods that it should have."),
            "conditions": units.conditions(),
            "observedGeneration": {"type": "integer", "format": "int64"},
        }
    )


def policy_status() -> Schema:
    """Return the schema of a policy's status."""
    return open_structure({"phase": text("Ready or Failed."), "message": text("What is wrong with it.")})


_SHORT: Mapping[str, str] = {
    "InteractiveWorkload": "iw",
    "TrainingWorkload": "tw",
    "DistributedWorkload": "dw",
    "InferenceWorkload": "infw",
    "DistributedInferenceWorkload": "dinfw",
}

_SCALES: Mapping[str, Scale] = {
    "DistributedWorkload": Scale(wanted=".spec.workers.value", present=".status.runningPods"),
    "InferenceWorkload": Scale(wanted=".spec.minScale.value", present=".status.runningPods"),
}

_WORDS: Mapping[PolicyType, str] = {
    PolicyType.WORKSPACE: "workspace",
    PolicyType.TRAINING: "training",
    PolicyType.DISTRIBUTED: "distributed training",
    PolicyType.INFERENCE: "inference server",
    PolicyType.DISTRIBUTED_INFERENCE: "distributed inference server",
}


def _workload(kind: str, workload: PolicyType) -> Definition:
    master = {"masterSpec": lambda: workload_spec(workload)} if workload is PolicyType.DISTRIBUTED else {}
    return Definition(
        resource=resource_of("run.ai/v2alpha1", kind),
        description=f"A {_WORDS[workload]}.",
        spec=lambda: workload_spec(workload),
        status=workload_status,
        more=master,
        columns=_WORKLOAD_COLUMNS,
        short=(_SHORT[kind],),
        categories=("runai", "runai-workloads"),
        scale=_SCALES.get(kind),
    )


def _policy(kind: str, workload: PolicyType) -> Definition:
    return Definition(
        resource=resource_of("run.ai/v2alpha1", kind),
        description=f"Defaults and rules for each {_WORDS[workload]} of a project, or of all in the namespace runai.",
        spec=lambda: policy_spec(workload),
        status=policy_status,
        columns=_POLICY_COLUMNS,
        categories=("runai", "runai-policies"),
    )


DEFINITIONS: tuple[Definition, ...] = (
    *(_workload(kind, workload) for kind, workload in WORKLOAD_KINDS.items()),
    *(_policy(kind, workload) for kind, workload in POLICY_KINDS.items()),
    Definition(
        resource=resources.PROJECTS,
        description="A project: a namespace, its quota, and who may work in it.",
        spec=units.project_spec,
        status=units.unit_status,
        columns=(
            Column(name="Status", path=".status.phase"),
            Column(name="Department", path=".spec.department"),
            Column(name="Namespace", path=".status.namespace"),
            Column(name="GPUs", path=".status.quotaStatus.allocated.gpu", type="number"),
            AGE,
        ),
        short=("rp",),
    ),
    Definition(
        resource=resources.DEPARTMENTS,
        description="A department: projects that share quota.",
        spec=units.department_spec,
        status=units.unit_status,
        columns=(
            Column(name="Status", path=".status.phase"),
            Column(name="GPUs", path=".status.quotaStatus.allocated.gpu", type="number"),
            AGE,
        ),
    ),
    Definition(
        resource=resources.NODE_POOLS,
        description="A node pool: nodes with one label, scheduled by themselves.",
        spec=units.node_pool_spec,
        status=units.node_pool_status,
        columns=(
            Column(name="Status", path=".status.phase"),
            Column(name="Label", path=".spec.labelKey"),
            Column(name="Value", path=".spec.labelValue"),
            Column(name="Nodes", path=".status.nodeCount", type="integer"),
            Column(name="GPUs", path=".status.gpuCount", type="integer"),
            AGE,
        ),
    ),
    Definition(
        resource=resources.QUEUES,
        description="A queue: what a project or department may use of one node pool.",
        spec=units.queue_spec,
        status=units.queue_status,
        columns=(
            Column(name="Priority", path=".spec.priority", type="integer"),
            Column(name="Parent", path=".spec.parentQueue"),
            Column(name="GPU quota", path=".spec.resources.gpu.quota", type="number"),
            Column(name="GPUs", path=".status.allocated.nvidia\\.com/gpu"),
            AGE,
            Column(name="Display name", path=".spec.displayName", wide=True),
        ),
    ),
    Definition(
        resource=resources.POD_GROUPS,
        description="A pod group: pods that are placed together.",
        spec=units.pod_group_spec,
        status=units.pod_group_status,
        columns=(
            Column(name="Status", path=".status.phase"),
            Column(name="Queue", path=".spec.queue"),
            Column(name="Min", path=".spec.minMember", type="integer"),
            Column(name="Running", path=".status.running", type="integer"),
            Column(name="Priority", path=".spec.priorityClassName"),
            AGE,
        ),
        short=("pg",),
    ),
    Definition(
        resource=resources.TOPOLOGIES,
        description="A topology: node labels from the widest level to the narrowest.",
        spec=units.topology_spec,
        columns=(AGE,),
    ),
)
"""Every kind that we bring, in the order in which it is installed."""


def crds() -> list[Manifest]:
    """Return the CustomResourceDefinition of every kind."""
    return [crd(definition) for definition in DEFINITIONS]


def crd(definition: Definition) -> Manifest:
    """Return one CustomResourceDefinition."""
    item = definition.resource
    names = {
        "kind": item.kind,
        "listKind": f"{item.kind}List",
        "plural": item.plural,
        "singular": item.kind.lower(),
        "categories": list(definition.categories),
        **({"shortNames": list(definition.short)} if definition.short else {}),
    }
    version = {
        "name": item.version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": _whole(definition)},
        **({"subresources": _subresources(definition)} if definition.status else {}),
        "additionalPrinterColumns": [_column(column) for column in definition.columns],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": item.full_name},
        "spec": {
            "group": item.group,
            "names": names,
            "scope": "Namespaced" if item.namespaced else "Cluster",
            "versions": [version],
        },
    }


def _whole(definition: Definition) -> Schema:
    more = {name: make() for name, make in definition.more.items()}
    status = {"status": definition.status()} if definition.status else {}
    known = {
        "apiVersion": text(),
        "kind": text(),
        "metadata": {"type": "object"},
        "spec": definition.spec(),
        **more,
        **status,
    }
    return structure(known, definition.description)


def _subresources(definition: Definition) -> Manifest:
    scale = definition.scale
    if scale is None:
        return {"status": {}}
    return {"status": {}, "scale": {"specReplicasPath": scale.wanted, "statusReplicasPath": scale.present}}


def _column(column: Column) -> Manifest:
    shown = {"name": column.name, "type": column.type, "jsonPath": column.path}
    return {**shown, "priority": 1} if column.wide else shown
