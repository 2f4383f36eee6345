"""The pods of one attempt of a workload, and the pod group that holds them together.

Pure and repeatable: the same workload gives the same names and uids, so that a
backend which is asked twice makes nothing twice. The plug-ins' kinds have their
own adapters; this is the native types' one.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID, uuid5

from runai_core.lifecycle.constraints import constraints_of, topology_of
from runai_core.lifecycle.overlay import overlay
from runai_core.lifecycle.own_rules import check_own_rules
from runai_core.lifecycle.rendezvous import DEFAULT_MASTER_PORT, Member, Peers, Roster, environment_of
from runai_core.lifecycle.requests import DEFAULT_CPU, DEFAULT_MEMORY, PodLimits, limits_of, requests_of
from runai_core.lifecycle.shape import Place, Shape, shape_of
from runai_core.lifecycle.vacancies import newest, vacancies
from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.meta import Meta
from runai_core.model.network import HttpGet, Probe
from runai_core.model.snapshot import PodConstraints, PodGroup, PodRequest
from runai_core.model.spec import EnvironmentVariable, RestartPolicy, WorkloadSpec
from runai_core.model.volumes import Storage
from runai_core.model.workload import GRACE_PERIOD, TYPE_DEFAULTS, Gang, Pod, PodSpec, Workload

MAX_POD_NAME = 253
"""Characters of an object's name in Kubernetes."""

MAX_VARIABLE = 128 * 1024 - 1
"""Bytes of one environment variable, name and value together, that Linux passes to a program (MAX_ARG_STRLEN)."""

MAX_SECONDS = 10**9

_POD_UIDS = UUID("7c8f3a52-6a0e-4e2b-9d43-0c6f6f1f5b1d")
_READINESS = "probes.readiness"
_VARIABLE = re.compile(r"^[-._a-zA-Z][-._a-zA-Z0-9]*$")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """What a gang depends on besides the workload: values that its caller looks up."""

    master_address: str = "127.0.0.1"
    master_port: int = DEFAULT_MASTER_PORT
    addresses: tuple[str, ...] = ()  # host of each rank; empty: all share the master's host
    ports: tuple[int, ...] = ()  # port of each rank; empty: the numbers after master_port
    hostfile: str = ""  # path of the MPI host file, where the backend writes one
    created_at: float = 0.0  # of the pods; seconds since the epoch
    environment: Mapping[str, str] = field(default_factory=dict)  # for every pod; the user's own variables win
    values: Mapping[str, str] = field(default_factory=dict)  # by "secret/<name>/<key>", "configMap/...", ...
    deferred: frozenset[str] = (
        frozenset()
    )  # kinds of references that the backend follows itself: they get no value here


@dataclass(frozen=True, slots=True)
class _Part:
    """What all pods of one specification share; made once for each of them."""

    spec: WorkloadSpec
    argv: tuple[str, ...]
    request: PodRequest
    limits: PodLimits
    constraints: PodConstraints


def gang_of(workload: Workload, *, run_context: RunContext, existing: Sequence[Pod] = ()) -> Gang:
    """Return the pods that the workload's attempt should have now, and their group.

    `existing` are the pods of the workload that exist; those of the present
    attempt are kept, and a place whose pod is gone for good gets a new pod.

    Raises:
        InvalidRequest: the specification contradicts itself; names each field.
    """
    shape = shape_of(workload)
    check_own_rules(workload)
    current = newest(workload, existing)
    vacant = {place.rank for place in vacancies(workload, shape, existing)}
    maker = _Maker(workload, shape, run_context)
    pods = []
    for place in shape.places:
        before = current.get(place.rank)
        if before is not None and place.rank not in vacant:
            pods.append(before)
        elif before is not None:
            pods.append(maker.pod(place, before.replacement + 1))
        elif place.rank in vacant:
            pods.append(maker.pod(place, 0))
    return Gang(group=_group(workload, shape), pods=tuple(pods))


def group_name(workload: Workload) -> str:
    """Return the name of the attempt's pod group; unique in a cluster."""
    return ".".join(part for part in (workload.meta.project, workload.name, str(workload.attempt)) if part)


def pod_name(workload: Workload, place: Place, replacement: int) -> str:
    """Return the name of a pod: ``<workload>-<attempt>-<rank>``, as Run:ai's first pod is ``<name>-0-0``."""
    again = f"-{replacement}" if replacement else ""
    name = f"{workload.name}-{workload.attempt}-{place.rank}{again}"
    if len(name) > MAX_POD_NAME:
        message = f"must be at most {MAX_POD_NAME - len(name) + len(workload.name)} characters"
        raise InvalidRequest.of(FieldError("name", message, workload.name))
    return name


def argv_of(spec: WorkloadSpec, *, at: str = "spec") -> tuple[str, ...]:
    """Return the words of command and arguments; no shell is ever involved.

    Without a command the words are arguments for the image's entry point.

    Raises:
        InvalidRequest: quotes are not closed, or there is a NUL character.
    """
    return (*_words(spec.command, f"{at}.command"), *_words(spec.args, f"{at}.args"))


def _words(text: str | None, path: str) -> list[str]:
    if text is None:
        return []
    if "\0" in text:
        raise InvalidRequest.of(FieldError(path, "must not contain a NUL character"))
    try:
        return shlex.split(text)
    except ValueError:
        raise InvalidRequest.of(
            FieldError(path, "has a quote that is not closed: add it, or escape it", text)
        ) from None


def _group(workload: Workload, shape: Shape) -> PodGroup:
    return PodGroup(
        name=group_name(workload),
        queue=workload.meta.project,
        priority=workload.priority,
        preemptibility=workload.preemptibility,
        min_members=shape.min_members,
        sub_groups=shape.sub_groups,
        topology=topology_of(workload.spec),
        created_at=workload.meta.created_at,
        workload=workload.key,
    )


class _Maker:
    """Makes the pods of one gang; what they share is worked out once."""

    def __init__(self, workload: Workload, shape: Shape, context: RunContext) -> None:
        self._workload = workload
        self._context = context
        peers = Peers(
            master_address=context.master_address,
            master_port=context.master_port,
            addresses=context.addresses,
            ports=context.ports,
            hostfile=context.hostfile,
        )
        self._roster = Roster(shape, peers)
        worker = _part(workload.spec, "spec")
        first = overlay(workload.spec, workload.master_spec)
        self._worker = worker
        self._first = worker if first == workload.spec else _part(first, "masterSpec")
        self._labels = _labels(workload)

    def pod(self, place: Place, replacement: int) -> Pod:
        part = self._worker if place.role == "worker" else self._first
        workload = self._workload
        name = pod_name(workload, place, replacement)
        uid = str(uuid5(_POD_UIDS, f"{workload.meta.uid}/{workload.key}/{name}"))
        member = Member(
            workload=workload,
            roster=self._roster,
            place=place,
            request=part.request,
            name=name,
            uid=uid,
        )
        environment = (
            environment_of(member) | dict(self._context.environment) | _own_variables(part.spec, member, self._context)
        )
        _check_sizes(environment)
        return Pod(
            meta=Meta(
                name=name,
                project=workload.meta.project,
                uid=uid,
                created_at=self._context.created_at,
                created_by=workload.meta.created_by,
                owner=workload.meta.uid,
                labels=self._labels,
                annotations={item.name: item.value for item in part.spec.annotations if not item.exclude},
            ),
            workload=workload.name,
            pod_group=group_name(workload),
            attempt=workload.attempt,
            replacement=replacement,
            node_pool=workload.node_pool,
            spec=_pod_spec(workload, part, place, environment, _references(part.spec, self._context)),
        )


def _check_sizes(environment: Mapping[str, str]) -> None:
    for name, value in environment.items():
        if len(value) > MAX_VARIABLE // 4 and len(name.encode()) + len(value.encode()) + 1 > MAX_VARIABLE:
            message = (
                f"the variable {name} has {len(value)} characters, and a program takes at most {MAX_VARIABLE} bytes"
            )
            raise InvalidRequest.of(FieldError("spec.environmentVariables", message))


def _part(spec: WorkloadSpec, at: str) -> _Part:
    return _Part(
        spec=spec,
        argv=argv_of(spec, at=at),
        request=requests_of(spec.compute, at=f"{at}.compute"),
        limits=limits_of(spec.compute, at=f"{at}.compute"),
        constraints=constraints_of(spec, at=at),
    )


def _labels(workload: Workload) -> dict[str, str]:
    """Return the labels that Run:ai's scheduler and tools read, and the user's own."""
    own = {item.name: item.value for item in workload.spec.labels if not item.exclude}
    return own | {
        "runai/queue": workload.meta.project,
        "project": workload.meta.project,
        "workloadName": workload.name,
        "priorityClassName": workload.priority_class,
    }


def _pod_spec(
    workload: Workload, part: _Part, place: Place, environment: Mapping[str, str], references: Mapping[str, str]
) -> PodSpec:
    spec, defaults = part.spec, TYPE_DEFAULTS[workload.type]
    probe = Probe() if spec.probes is None or spec.probes.readiness is None else spec.probes.readiness
    serving = () if spec.serving_port is None else (spec.serving_port.container,)
    grace = spec.termination_grace_period_seconds
    return PodSpec(
        argv=part.argv,
        environment=environment,
        references=references,
        storage=None if spec.storage == Storage() else spec.storage,
        working_dir=spec.working_dir or "",
        image=spec.image or "",
        request=part.request,
        cpu_limit=part.limits.cpu,
        memory_limit=part.limits.memory,
        constraints=part.constraints,
        restart_policy=spec.restart_policy or RestartPolicy(defaults.restart_policy),
        backoff_limit=defaults.backoff_limit if spec.backoff_limit is None else spec.backoff_limit,
        grace_period=_seconds(GRACE_PERIOD if grace is None else grace, "terminationGracePeriodSeconds"),
        ports=tuple(dict.fromkeys((*(port.container for port in spec.ports if not port.exclude), *serving))),
        readiness=_http_get(probe),
        readiness_initial_delay=_seconds(probe.initial_delay_seconds or 0, f"{_READINESS}.initialDelaySeconds"),
        readiness_period=_seconds(probe.period_seconds or 10, f"{_READINESS}.periodSeconds"),
        readiness_timeout=_seconds(probe.timeout_seconds or 1, f"{_READINESS}.timeoutSeconds"),
        readiness_failure_threshold=probe.failure_threshold or 3,
        role=place.role,
        rank=place.rank,
        sub_group=place.sub_group,
        leader=place.leader,
        tty=bool(spec.tty),
        stdin=bool(spec.stdin),
    )


def _seconds(value: int, path: str) -> float:
    if not 0 <= value <= MAX_SECONDS:
        raise InvalidRequest.of(FieldError(f"spec.{path}", f"must be from 0 to {MAX_SECONDS} seconds", value))
    return float(value)


def _http_get(probe: Probe) -> HttpGet | None:
    return None if probe.handler is None else probe.handler.http_get


def _own_variables(spec: WorkloadSpec, member: Member, context: RunContext) -> dict[str, str]:
    environment = {}
    for index, variable in enumerate(spec.environment_variables):
        if variable.exclude or _source_of(variable) in context.deferred:
            continue
        path = f"spec.environmentVariables.{index}"
        if not _VARIABLE.match(variable.name):
            message = "must start with a letter, '_', '-' or '.' and go on with those or digits"
            raise InvalidRequest.of(FieldError(f"{path}.name", message, variable.name))
        value = _value(variable, path, member, context)
        if "\0" in value:
            raise InvalidRequest.of(FieldError(f"{path}.value", "must not contain a NUL character"))
        environment[variable.name] = value
    return environment


def _references(spec: WorkloadSpec, context: RunContext) -> dict[str, str]:
    """Return the variables whose values the backend looks up, with what they refer to."""
    found = {}
    for variable in spec.environment_variables:
        reference = variable.secret or variable.user_credential
        if reference is not None and not variable.exclude and _source_of(variable) in context.deferred:
            found[variable.name] = f"secret/{reference.name}/{reference.key}"
    return found


def _source_of(variable: EnvironmentVariable) -> str:
    """Return the kind of reference that a variable's value comes from; empty where it is given."""
    sources = {
        "secret": variable.secret,
        "configMap": variable.config_map,
        "userCredential": variable.user_credential,
        "podFieldRef": variable.pod_field_ref,
    }
    return next((kind for kind, reference in sources.items() if reference is not None), "")


def _value(variable: EnvironmentVariable, path: str, member: Member, context: RunContext) -> str:
    """Return the text of a variable; a reference must be among the values that the caller looked up."""
    if variable.pod_field_ref is not None:
        return _pod_field(variable.pod_field_ref.path, f"{path}.podFieldRef.path", member)
    references = {
        "secret": variable.secret,
        "configMap": variable.config_map,
        "userCredential": variable.user_credential,
    }
    for kind, reference in references.items():
        if reference is None:
            continue
        known = context.values.get(f"{kind}/{reference.name}/{reference.key}")
        if known is None:
            message = (
                f"there is no {kind} {reference.name} with the key {reference.key or '(none)'} here: create it first"
            )
            raise InvalidRequest.of(FieldError(f"{path}.{kind}", message, reference.name))
        return known
    return variable.value or ""


def _pod_field(field_path: str, path: str, member: Member) -> str:
    fields = {
        "metadata.name": member.name,
        "metadata.uid": member.uid,
        "metadata.namespace": f"runai-{member.workload.meta.project}",
    }
    if field_path not in fields:
        message = f"must be one of {', '.join(fields)}"
        raise InvalidRequest.of(FieldError(path, message, field_path))
    return fields[field_path]


__all__ = [
    "DEFAULT_CPU",
    "DEFAULT_MEMORY",
    "MAX_POD_NAME",
    "PodLimits",
    "RunContext",
    "argv_of",
    "gang_of",
    "group_name",
    "limits_of",
    "pod_name",
    "requests_of",
]
