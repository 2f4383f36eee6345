"""Workloads as custom resources of run.ai/v2alpha1, and back.

`spec` is what was asked for, in the public fields; what those cannot express
is a merge patch in an annotation. `status` is what the lifecycle keeps. An
object without ``status.phase`` was written by somebody else and is not yet a
workload: `request_of` reads what it asks for.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from runai_core import wire
from runai_core.backends.kubernetes.codec.fields import read_spec, write_spec
from runai_core.backends.kubernetes.codec.meta import KEPT_ANNOTATIONS as NOTES
from runai_core.backends.kubernetes.codec.meta import meta_of, metadata_of
from runai_core.backends.kubernetes.codec.patches import difference, in_order, orders_of, patched
from runai_core.backends.kubernetes.codec.times import seconds_of, text_of
from runai_core.backends.kubernetes.names import (
    FINALIZER,
    MASTER_SPECIFICATION_ANNOTATION,
    ORDER_ANNOTATION,
    SPECIFICATION_ANNOTATION,
)
from runai_core.backends.kubernetes.resources import Resource, resource_of
from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.meta import Meta, to_camel
from runai_core.model.resources import format_gpus
from runai_core.model.spec import WorkloadSpec
from runai_core.model.workload import POLICY_TYPES, Phase, Workload, WorkloadType
from runai_core.policy.v2alpha1_kinds import WORKLOAD_KINDS, kind_fields

Object = dict[str, Any]

GROUP_VERSION = "run.ai/v2alpha1"

TYPES: Mapping[str, WorkloadType] = {
    kind: next(ours for ours, policy in POLICY_TYPES.items() if policy is theirs)
    for kind, theirs in WORKLOAD_KINDS.items()
}
"""Kind -> type of workload."""

RESOURCES: Mapping[WorkloadType, Resource] = {ours: resource_of(GROUP_VERSION, kind) for kind, ours in TYPES.items()}
"""Type of workload -> where its objects are."""

_IN_SPEC = frozenset(
    {"meta", "type", "spec", "master_spec", "has_master", "stop_requested", "api_version", "kind", "manifest"}
)
_TIMES = ("phaseUpdatedAt", "lastStart", "completedAt")
_RENAMED: Mapping[str, str] = {"podsRequested": "requestedPods", "podsRunning": "runningPods"}
_BACK = {theirs: ours for ours, theirs in _RENAMED.items()}
_STATUS = frozenset(to_camel(name) for name in Workload.__dataclass_fields__ if name not in _IN_SPEC)
"""Members of `status` that are fields of a workload."""

OURS = frozenset(_RENAMED.get(name, name) for name in _STATUS) | {
    "stopRequested",
    "hasMaster",
    "updatedAt",
    "project",
    "gpus",
    "conditions",
    "observedGeneration",
}
"""Members of `status` that we write; others may keep further ones there."""

_ALWAYS: Mapping[str, Any] = {"phaseMessage": "", "podsRequested": 0, "podsRunning": 0, "attempt": 0}
"""Members of `status` that are written even where they are the default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What an object asks for that somebody wrote by hand, in the current API's form."""

    name: str
    type: WorkloadType
    spec: Mapping[str, Any] = field(default_factory=dict)
    master_spec: Mapping[str, Any] | None = None
    has_master: bool = True
    name_is_prefix: bool = False
    is_template: bool = False  # kept for others to complete, never run
    base: str = ""  # name of the template that it completes
    active: bool = True
    username: str = ""


def request_of(item: Mapping[str, Any]) -> Request:
    """Return what a workload object asks for.

    Raises:
        InvalidRequest: the kind is none of a workload, or fields are wrong; names each.
    """
    kind = type_of(item)
    spec, master = item.get("spec") or {}, item.get("masterSpec")
    prefix = _value(spec, "namePrefix")
    errors: list[FieldError] = []
    sections: list[Mapping[str, Any] | None] = []
    for section, name in ((spec, "spec"), (master, "masterSpec")):
        try:
            sections.append(None if section is None else _section(item, section, name, kind))
        except InvalidRequest as error:
            errors += error.errors
            sections.append(None)
    if errors:
        raise InvalidRequest.of(*errors)
    return Request(
        name=str(_value(spec, "name") or prefix or item["metadata"].get("name", "")),
        type=kind,
        spec=sections[0] or {},
        master_spec=sections[1],
        has_master=not _value(spec, "noMaster"),
        name_is_prefix=bool(prefix) and not _value(spec, "name"),
        is_template=is_template(item),
        base=str(spec.get("baseWorkload") or ""),
        active=_value(spec, "active") is not False,
        username=str(_value(spec, "username") or ""),
    )


def type_of(item: Mapping[str, Any]) -> WorkloadType:
    """Return the type of workload that an object's kind stands for; raise InvalidRequest."""
    kind = str(item.get("kind"))
    if kind not in TYPES:
        raise InvalidRequest.of(FieldError("kind", f"must be one of {', '.join(TYPES)}", kind))
    return TYPES[kind]


def is_template(item: Mapping[str, Any]) -> bool:
    """Return whether an object is stored for others to complete."""
    return (item.get("spec") or {}).get("usage") == "Template"


def is_workload(item: Mapping[str, Any]) -> bool:
    """Return whether the object was taken up: before that it is only what somebody wrote."""
    return bool((item.get("status") or {}).get("phase")) and not is_template(item)


def name_of(item: Mapping[str, Any]) -> str:
    """Return the workload's name: that in the specification, else the object's own."""
    return str(_value(item.get("spec") or {}, "name") or item["metadata"].get("name", ""))


def wants_stop(item: Mapping[str, Any]) -> bool:
    """Return whether ``active`` is false."""
    status = item.get("status") or {}
    return _value(item.get("spec") or {}, "active") is False or bool(status.get("stopRequested"))


# -- reading


def workload_of(item: Mapping[str, Any], project: str, spec: tuple[WorkloadSpec, WorkloadSpec | None]) -> Workload:
    """Return the workload that an object is; `spec` is what `specs_of` says of it.

    Raises:
        InvalidRequest: the status was damaged.
    """
    status = item.get("status") or {}
    told = {_BACK.get(name, name): value for name, value in status.items()}
    told = {name: value for name, value in told.items() if name in _STATUS}
    for name in _TIMES:
        if name in told:
            told[name] = seconds_of(told[name]) or 0.0
    custom = item.get("spec") or {}
    meta = meta_of(item, project, name=name_of(item), updated_at=seconds_of(status.get("updatedAt")))
    known = wire.decode(Workload, {**told, "meta": {"name": "-"}}, at="status")
    return replace(
        known,
        meta=_with_author(meta, custom),
        type=type_of(item),
        spec=spec[0],
        master_spec=spec[1],
        has_master=not _value(custom, "noMaster") and status.get("hasMaster") is not False,
        stop_requested=wants_stop(item),
    )


def specs_of(item: Mapping[str, Any]) -> tuple[WorkloadSpec, WorkloadSpec | None]:
    """Return the specification of an object, and that of its master.

    Raises:
        InvalidRequest: fields are wrong; names each.
    """
    kind, master = type_of(item), item.get("masterSpec")
    spec = wire.decode(WorkloadSpec, _section(item, item.get("spec") or {}, "spec", kind), at="spec")
    if master is None:
        return spec, None
    return spec, wire.decode(WorkloadSpec, _section(item, master, "masterSpec", kind), at="masterSpec")


def _section(item: Mapping[str, Any], section: Any, name: str, kind: WorkloadType) -> Mapping[str, Any]:
    if not isinstance(section, Mapping):
        raise InvalidRequest.of(FieldError(name, "must be an object", section))
    annotations = (item.get("metadata") or {}).get("annotations") or {}
    order = _json(annotations, ORDER_ANNOTATION).get(name, {})
    patch = _json(annotations, SPECIFICATION_ANNOTATION if name == "spec" else MASTER_SPECIFICATION_ANNOTATION)
    return patched(read_spec(in_order(section, order), POLICY_TYPES[kind], at=name), patch)


def _json(annotations: Mapping[str, str], name: str) -> Mapping[str, Any]:
    if name not in annotations:
        return {}
    try:
        value = json.loads(annotations[name])
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise InvalidRequest.of(FieldError(f"metadata.annotations.{name}", "must be a JSON object: remove it"))
    return value


def _value(spec: Mapping[str, Any], name: str) -> Any:
    body = spec.get(name)
    return body.get("value") if isinstance(body, Mapping) else None


def _with_author(meta: Meta, spec: Mapping[str, Any]) -> Meta:
    return replace(meta, created_by=str(_value(spec, "username") or ""))


# -- writing


def object_of(workload: Workload, namespace: str, name: str = "") -> Object:
    """Return the custom resource of a workload, without its status; `name` is the object's, if it has another one."""
    kind, policy_type = _kind(workload), POLICY_TYPES[workload.type]
    document = wire.encode(workload)
    spec: Object = {"name": {"value": workload.name}}
    if workload.meta.created_by:
        spec["username"] = {"value": workload.meta.created_by}
    if workload.stop_requested and "active" in kind_fields(policy_type):
        spec["active"] = {"value": False}
    if not workload.has_master and "noMaster" in kind_fields(policy_type):
        spec["noMaster"] = {"value": True}
    annotations, orders = {}, {}
    sections: Object = {}
    for member, start, annotation in (
        ("spec", spec, SPECIFICATION_ANNOTATION),
        ("masterSpec", {}, MASTER_SPECIFICATION_ANNOTATION),
    ):
        if member == "masterSpec" and workload.master_spec is None:
            continue
        wanted = document.get(member, {})
        section = {**start, **write_spec(wanted, policy_type)}
        sections[member] = section
        if patch := difference(read_spec(section, policy_type), wanted):
            annotations[annotation] = _text(patch)
        if order := orders_of(section):
            orders[member] = order
    if orders:
        annotations[ORDER_ANNOTATION] = _text(orders)
    metadata = metadata_of(workload.meta, namespace, name=name, annotations=annotations)
    metadata["finalizers"] = [FINALIZER]
    return {"apiVersion": GROUP_VERSION, "kind": kind, "metadata": metadata, **sections}


def status_of(workload: Workload, generation: int = 0) -> Object:
    """Return the status of a workload's object; `generation` is that of the specification that was seen."""
    document = {**_ALWAYS, **wire.encode(workload), "phase": str(workload.phase)}
    status = {_RENAMED.get(name, name): value for name, value in document.items() if name in _STATUS}
    for name in _TIMES:
        if name in status:
            status[name] = text_of(status[name])
    if workload.stop_requested and "active" not in kind_fields(POLICY_TYPES[workload.type]):
        status["stopRequested"] = True
    if not workload.has_master and "noMaster" not in kind_fields(POLICY_TYPES[workload.type]):
        status["hasMaster"] = False
    if workload.meta.updated_at:
        status["updatedAt"] = text_of(workload.meta.updated_at)
    status["project"] = workload.meta.project
    status["gpus"] = format_gpus(_gpus(workload))
    status["conditions"] = _conditions(workload)
    if generation:
        status["observedGeneration"] = generation
    return status


def _kind(workload: Workload) -> str:
    for kind, ours in TYPES.items():
        if ours is workload.type:
            return kind
    raise InvalidRequest.of(FieldError("type", f"must be one of {', '.join(map(str, POLICY_TYPES))}", workload.type))


def _text(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _gpus(workload: Workload) -> int:
    """Return the thousandths of a GPU that its pods ask for, as far as the specification tells."""
    compute = workload.spec.compute
    each = round((compute.gpu_portion_request or 1) * 1000) * (
        compute.gpu_devices_request or (1 if compute.gpu_portion_request else 0)
    )
    return each * max(workload.pods_requested, 1)


_CONDITIONS: Mapping[str, frozenset[Phase]] = {
    "Scheduled": frozenset({Phase.INITIALIZING, Phase.RUNNING, Phase.DEGRADED}),
    "Ready": frozenset({Phase.RUNNING}),
    "Completed": frozenset({Phase.COMPLETED}),
    "Failed": frozenset({Phase.FAILED}),
}
"""Type of condition -> the phases in which it is true."""


def _conditions(workload: Workload) -> list[Object]:
    """Return the phase as conditions, for ``kubectl wait --for=condition=...``."""
    since = text_of(float(int(workload.phase_updated_at)))
    return [
        {
            "type": name,
            "status": str(workload.phase in phases),
            "reason": str(workload.phase),
            "message": workload.phase_message[:1024] if workload.phase in phases else "",
            "lastTransitionTime": since,
        }
        for name, phases in _CONDITIONS.items()
    ]


__all__ = [
    "NOTES",
    "OURS",
    "RESOURCES",
    "TYPES",
    "Request",
    "is_template",
    "is_workload",
    "name_of",
    "object_of",
    "request_of",
    "specs_of",
    "status_of",
    "type_of",
    "wants_stop",
    "workload_of",
]
