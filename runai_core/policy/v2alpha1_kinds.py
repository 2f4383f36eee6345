"""Every field of the v2alpha1 kinds: its form, the kinds that have it, and what it means.

The custom resources, what reads and writes them, and ``kubectl explain`` come
from this one table. A field that has a counterpart in the current form takes
its kinds, choices and description from there; the others are told here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import StrEnum
from types import MappingProxyType, NoneType
from typing import Any, get_args, get_type_hints

from runai_core.model.network import Probe, ServingPort
from runai_core.model.spec import NodeAffinityRequired, WorkloadSpec
from runai_core.model.workload import PolicyType
from runai_core.policy.fields import FIELDS, ValueType
from runai_core.policy.v2alpha1_fields import ITEMS, JOB_TYPES, NUMBERS, SCALARS


class Form(StrEnum):
    """How the value of a field is written."""

    TEXT = "text"  # quantities and parts of a GPU are texts too
    WHOLE = "whole"  # a whole number, or a text that is one
    BOOLEAN = "boolean"
    TEXTS = "texts"  # a list
    OBJECT = "object"


class Shape(StrEnum):
    """What stands around the value."""

    VALUE = "value"  # {value: ...}
    ITEMS = "items"  # {items: {<label>: {value: ...}}}
    PLAIN = "plain"  # nothing: the value itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One member of an item or object."""

    form: Form = Form.TEXT
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KindField:
    """One field of `spec`, as its kinds have it."""

    name: str
    description: str
    shape: Shape = Shape.VALUE
    form: Form = Form.TEXT  # of the value, or of each item's value
    kinds: frozenset[PolicyType]
    path: str = ""  # in the current form; empty where the object's own handling reads it
    choices: tuple[str, ...] = ()
    members: Mapping[str, Member] = field(default_factory=dict)  # of each item
    model: type[Any] | None = None  # the value is this class of the model, in the API's names


WORKLOAD_KINDS: Mapping[str, PolicyType] = {
    "InteractiveWorkload": PolicyType.WORKSPACE,
    "TrainingWorkload": PolicyType.TRAINING,
    "DistributedWorkload": PolicyType.DISTRIBUTED,
    "InferenceWorkload": PolicyType.INFERENCE,
    "DistributedInferenceWorkload": PolicyType.DISTRIBUTED_INFERENCE,
}
"""Kind of run.ai/v2alpha1 -> type of workload; the last one is ours."""

_W, _T, _D = PolicyType.WORKSPACE, PolicyType.TRAINING, PolicyType.DISTRIBUTED
_I, _DI = PolicyType.INFERENCE, PolicyType.DISTRIBUTED_INFERENCE
_ALL, _SERVES, _STOPS = frozenset(PolicyType), frozenset({_I, _DI}), frozenset({_W, _T, _D})

_BOOLEANS = frozenset({"preemptible", "nonPreemptible", "runAsUser"})
"""Fields whose value is a boolean here and a word in the current form."""

_FORMS: Mapping[ValueType, Form] = {
    ValueType.BOOLEAN: Form.BOOLEAN,
    ValueType.INTEGER: Form.WHOLE,
}

_CHOICES: Mapping[str, tuple[str, ...]] = {"podAffinitySchedulingRule": ("hard", "soft")}

_TOLD: Mapping[str, str] = {
    "gpuDevices": "Whole GPUs for each pod.",
    "gpuMemory": "A part of each GPU, by its memory: a quantity such as 4G.",
    "gpuLimit": "Up to which part of the GPU the workload may grow while nobody else uses it.",
    "nodePools": "Node pools in order of preference, separated by blanks.",
    "nodePool": "The one node pool; nodePools is the newer form.",
    "podAffinitySchedulingRule": "hard keeps the pods together or waits; soft tries to.",
    "podAffinityTopology": "Node label whose value the pods shall share.",
    "runAsUser": "Run as the user who submits, not as the user of the image.",
    "preemptible": "It may go over quota, and may be evicted.",
    "nonPreemptible": "It stays within quota, and is not evicted.",
    "workers": "Worker pods, besides the master.",
    "groups": "Groups of leader and workers.",
    "groupWorkers": "Workers of each group, besides its leader.",
    "supplementalGroups": "Further group ids, separated by semicolons.",
    "capabilities": "Linux capabilities to add, separated by commas.",
}
"""Descriptions where the meaning, or the way to write it, differs from the current form."""

_MEMBERS_TOLD: Mapping[str, str] = {
    "path": "Directory: where it is, or where it appears if there is no mountPath.",
    "mountPath": "Where it appears in the container.",
    "server": "Address of the NFS server.",
    "container": "Port of the container.",
    "name": "Name of the object.",
    "repository": "Address of the repository.",
    "bucket": "Name of the bucket.",
    "id": "Id of the data volume.",
    "quantity": "How many, or how much.",
    "value": "The value.",
    "source": "Address of the repository (older name).",
    "target": "Where it appears.",
    "secret": "Name of the secret.",
    "url": "The address.",
    "type": "What it is.",
    "accessModeRWO": "Read and written by one node.",
    "accessModeROM": "Read by many nodes.",
    "accessModeRWM": "Read and written by many nodes.",
}


def _own(name: str, description: str, kinds: frozenset[PolicyType], **more: Any) -> KindField:
    return KindField(name=name, description=description, kinds=kinds, **more)


_OWN: tuple[KindField, ...] = (
    _own("name", "Name of the workload; the object's own name when left out.", _ALL),
    _own("namePrefix", "Beginning of the workload's name, which is completed; instead of name.", _ALL),
    _own("usage", "Submit (the default), or Template for a stored template.", _ALL, shape=Shape.PLAIN,
         choices=("Submit", "Template")),
    _own("baseWorkload", "Name of the template that this workload completes.", _ALL, shape=Shape.PLAIN),
    _own("gpu", "GPUs for each pod: whole ones, or a part of one such as 0.5.", _ALL),
    _own("active", "false stops the workload, true lets it run again.", _STOPS, form=Form.BOOLEAN),
    _own("podAffinity", "Keep the pods together, as podAffinitySchedulingRule says.", _ALL, form=Form.BOOLEAN),
    _own("mountPropagation", "Mounts of the host appear in the host paths too.", _ALL, form=Form.BOOLEAN),
    _own("serviceType", "ClusterIP, NodePort or LoadBalancer, for ports that say nothing.", _ALL,
         choices=("ClusterIP", "NodePort", "LoadBalancer")),
    _own("ingressUrl", "Address from outside; set by the system.", _ALL),
    _own("username", "Who submitted it; set by the system, for display.", _ALL),
    _own("userId", "Id of who submitted it; set by the system.", _ALL),
    _own("imagePullSecrets", "Secrets for the image registry.", _ALL, shape=Shape.ITEMS, form=Form.OBJECT,
         path="imagePullSecrets", members={"name": Member(description="Name of the secret.")}),
    _own("nodeAffinityRequired", "Node labels that must match: nodeSelectorTerms as in a pod.", _ALL,
         form=Form.OBJECT, path="nodeAffinityRequired", model=NodeAffinityRequired),
    _own("readinessProbe", "When a running pod counts as ready.", _ALL, form=Form.OBJECT,
         path="probes.readiness", model=Probe),
    _own("jupyter", "Start a Jupyter notebook server.", frozenset({_W}), form=Form.BOOLEAN),
    _own("notebookToken", "Token of the notebook server.", frozenset({_W})),
    _own("tensorboard", "Start a TensorBoard beside it.", frozenset({_W}), form=Form.BOOLEAN),
    _own("tensorboardLogdir", "Directory that TensorBoard reads.", frozenset({_W})),
    _own("mpi", "The older form of MPI workloads; use DistributedWorkload.", frozenset({_W, _T}), form=Form.BOOLEAN),
    _own("processes", "Processes of the older form of MPI workloads.", frozenset({_W, _T}), form=Form.WHOLE),
    _own("jobType", "Framework, as the kind of its job.", frozenset({_D}), shape=Shape.PLAIN,
         choices=tuple(JOB_TYPES)),
    _own("noMaster", "There is no master besides the workers.", frozenset({_D}), form=Form.BOOLEAN),
    *(
        _own(name, f"Further fields of {what}, as its own kind has them.", frozenset({_D}), shape=Shape.PLAIN,
             form=Form.OBJECT)
        for name, what in (("mpiJob", "an MPIJob"), ("pyTorchJob", "a PyTorchJob"), ("runPolicy", "the run policy"))
    ),
    _own("servingPort", "The port that answers.", _SERVES, form=Form.OBJECT, path="servingPort", model=ServingPort),
    _own("metricName", "Name of a custom metric, where metric is custom.", _SERVES),
    _own("class", "Class of the autoscaler.", _SERVES),
    _own("mps", "Share the GPU through NVIDIA MPS.", _SERVES, form=Form.BOOLEAN),
)  # fmt: skip


def described_at(path: str) -> str:
    """Return the model's description of a field of the specification, by its path in the API's names."""
    kind: Any = WorkloadSpec
    text = ""
    for part in path.split("."):
        entry = next((item for item in fields(kind) if _camel(item.name) == part), None)
        if entry is None:
            return ""
        text = str(entry.metadata.get("description", ""))
        kind = _class_in(get_type_hints(kind)[entry.name])
        if kind is None:
            return text
    return text


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def _class_in(hint: Any) -> Any:
    """Return the dataclass that a hint is about: itself, or what is optional or repeated in it."""
    if is_dataclass(hint):
        return hint
    return next((_class_in(part) for part in get_args(hint) if part not in (NoneType, Ellipsis)), None)


def _scalar(name: str, path: str) -> KindField:
    entry = FIELDS[path]
    form = Form.BOOLEAN if name in _BOOLEANS else _FORMS.get(entry.type, Form.TEXT)
    same = form is Form.TEXT and name not in _CHOICES and entry.type is ValueType.STRING
    return KindField(
        name=name,
        description=_TOLD.get(name) or described_at(path),
        form=form,
        kinds=entry.workloads,
        path=path,
        choices=entry.choices if same else _CHOICES.get(name, ()),
    )


def _itemized(name: str, path: str, members: Mapping[str, str]) -> KindField:
    entry = FIELDS[path]
    whole = "" in members
    return KindField(
        name=name,
        description=described_at(path),
        shape=Shape.ITEMS,
        form=Form.TEXT if whole else Form.OBJECT,
        kinds=entry.workloads,
        path=path,
        members={} if whole else {member: _member(path, member, at) for member, at in members.items()},
    )


def _member(path: str, name: str, at: str) -> Member:
    kind = FIELDS[path].attributes.get(at, ValueType.STRING)
    form = Form.WHOLE if name in NUMBERS else Form.BOOLEAN if kind is ValueType.BOOLEAN else Form.TEXT
    form = Form.TEXTS if kind is ValueType.ARRAY else form
    return Member(form=form, description=described_at(f"{path}.{at}") or _MEMBERS_TOLD.get(name, ""))


def _all_fields() -> Iterator[KindField]:
    yield from _OWN
    for name, (path, _) in SCALARS.items():
        yield _scalar(name, path)
    for name, (path, members) in ITEMS.items():
        yield _itemized(name, path, members)


KIND_FIELDS: Mapping[str, KindField] = MappingProxyType({entry.name: entry for entry in _all_fields()})
"""Every field of `spec` of the v2alpha1 kinds, by name."""


def kind_fields(workload: PolicyType) -> Mapping[str, KindField]:
    """Return the fields that the kind of this type of workload has, by name."""
    return {name: entry for name, entry in KIND_FIELDS.items() if workload in entry.kinds}
