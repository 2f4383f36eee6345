"""A pod as the scheduler sees it: its request, constraints, state and membership."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from runai_core.backends.kubernetes import names
from runai_core.backends.kubernetes.codec.requests import with_gpu_forms, without_gpus
from runai_core.backends.kubernetes.codec.selectors import (
    Terms,
    all_of,
    node_preferences,
    node_terms,
    pod_affinity,
    spread,
)
from runai_core.backends.kubernetes.codec.values import Labels, annotations_of, created_at, key_of, labels_of
from runai_core.backends.kubernetes.sharing import groups_of
from runai_core.model.snapshot import NO_CONSTRAINTS, PodConstraints, PodEntry, PodRequest, PodState, Toleration

Object = Mapping[str, Any]

ENDED: Mapping[str, PodState] = {"Succeeded": PodState.SUCCEEDED, "Failed": PodState.FAILED}
NAMESPACE_LABEL = "metadata.namespace"
"""Stands among a pod's labels for its namespace, which the terms of pod affinity look at."""


@dataclass(slots=True)
class Pool:
    """One object for all equal values: the engine works by classes of equal pods, and memory is saved."""

    requests: dict[PodRequest, PodRequest] = field(default_factory=dict)
    constraints: dict[PodConstraints, PodConstraints] = field(default_factory=dict)
    labels: dict[Labels, Labels] = field(default_factory=dict)
    of_containers: dict[tuple[int, int, int], tuple[Any, PodRequest]] = field(default_factory=dict)

    def request(self, pod: Object, devices: Mapping[str, int]) -> PodRequest:
        """Return what a pod asks for; pods that share their containers in memory share the work."""
        spec = pod["spec"]
        parts = (spec.get("containers"), spec.get("initContainers"), spec.get("overhead"), spec.get("resources"))
        memo = (id(parts[0]), id(parts[1]), id(parts[3]))
        known = self.of_containers.get(memo)
        if known is not None and known[0][2] == parts[2]:
            plain = known[1]
        else:
            if len(self.of_containers) > MOST:
                self.of_containers.clear()
            plain = without_gpus(spec)
            self.of_containers[memo] = (parts, plain)  # the parts are held: their ids stay theirs
        request = with_gpu_forms(plain, pod, devices)
        return self.requests.setdefault(request, request)

    def trim(self) -> None:
        """Forget values when there are too many of them; those in use live on where they are."""
        for known in (self.requests, self.constraints, self.labels):
            if len(known) > MOST:
                known.clear()


MOST = 50_000


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an entry depends on besides the pod itself."""

    terms: tuple[Terms, ...] = ()  # where its volumes and claims can be used: all must hold
    claims: tuple[str, ...] = ()  # resource claims by name
    devices: Mapping[str, int] = field(default_factory=dict)  # what these ask for, by kind (`claims`)


ALONE = Surroundings()


def is_ours(pod: Object, scheduler: str = names.SCHEDULER) -> bool:
    """Return whether a pod asks for our scheduler."""
    return bool(pod["spec"].get("schedulerName") == scheduler)


def group_of(pod: Object) -> str:
    """Return the pod group that a pod names, as ``namespace/name``; empty where it names none."""
    name = annotations_of(pod).get(names.POD_GROUP_ANNOTATION)
    return f"{pod['metadata'].get('namespace', '')}/{name}" if name else ""


def state_of(pod: Object) -> PodState | None:
    """Return where a pod is in its life; None where it is nothing to schedulers (deleted before it had a node)."""
    phase = (pod.get("status") or {}).get("phase", "")
    if phase in ENDED:
        return ENDED[phase]
    spec, leaving = pod["spec"], bool(pod["metadata"].get("deletionTimestamp"))
    if spec.get("nodeName"):
        if leaving:
            return PodState.RELEASING
        return PodState.BOUND if phase == "Pending" else PodState.RUNNING
    if leaving:
        return None
    return PodState.GATED if spec.get("schedulingGates") else PodState.PENDING


def pod_entry(pod: Object, pool: Pool, around: Surroundings = ALONE, *, ours: bool = True) -> PodEntry | None:
    """Return a pod as the engine sees it; None where it means nothing to it.

    Raises:
        InvalidRequest: a field is wrong; names it.
    """
    state = state_of(pod)
    if state is None:
        return None
    labels, spec = labels_of(pod), pod["spec"]
    known = (*labels.items(), (NAMESPACE_LABEL, pod["metadata"].get("namespace", "")))
    own_labels = tuple(sorted(known))
    constraints = constraints_of(pod, around.terms)
    return PodEntry(
        name=key_of(pod),
        pod_group=group_of(pod) if ours else "",
        sub_group=labels.get(names.SUB_GROUP_LABEL, ""),
        request=pool.request(pod, around.devices),
        state=state,
        node=spec.get("nodeName") or None,
        gpu_groups=groups_of(pod) if spec.get("nodeName") else (),
        constraints=pool.constraints.setdefault(constraints, constraints),
        labels=pool.labels.setdefault(own_labels, own_labels),
        created_at=created_at(pod),
        leader=any(labels.get(key) in values for key, values in names.ROLE_LABELS.items()),
        order=_integer(labels.get(names.TASK_PRIORITY_LABEL)),
        nominated_node=(pod.get("status") or {}).get("nominatedNodeName") or None,
        resource_claims=around.claims,
        legacy_mig=any(key.startswith(names.MIG_PREFIX) for key in annotations_of(pod)),
    )


def constraints_of(pod: Object, further: Iterable[Terms] = ()) -> PodConstraints:
    """Return where a pod may run; `further` terms must hold as well."""
    spec = pod["spec"]
    affinity = spec.get("affinity") or {}
    required = (affinity.get("nodeAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    terms = [*([node_terms(required.get("nodeSelectorTerms"))] if required else ()), *further]
    selector, tolerations = spec.get("nodeSelector") or {}, spec.get("tolerations") or ()
    ports = _host_ports(spec)
    evenly = spread(pod, NAMESPACE_LABEL)
    if not (affinity or terms or selector or tolerations or ports or evenly):
        return NO_CONSTRAINTS
    return PodConstraints(
        node_selector=tuple(sorted(selector.items())),
        node_affinity=all_of(terms) if terms else (),
        tolerations=tuple(sorted(_toleration(item) for item in tolerations)),
        pod_affinity=pod_affinity(affinity, pod["metadata"].get("namespace", ""), NAMESPACE_LABEL),
        host_ports=ports,
        node_preferences=node_preferences(affinity),
        spread=evenly,
    )


def as_bound(entry: PodEntry, node: str, gpu_groups: tuple[str, ...]) -> PodEntry:
    """Return the entry of a pod whose binding is under way."""
    return replace(entry, state=PodState.BINDING, node=node, gpu_groups=gpu_groups)


def as_leaving(entry: PodEntry) -> PodEntry:
    """Return the entry of a pod whose eviction is under way."""
    return replace(entry, state=PodState.RELEASING)


def _toleration(item: Mapping[str, Any]) -> Toleration:
    return Toleration(
        key=item.get("key") or "",
        operator=item.get("operator") or "Equal",
        value=item.get("value") or "",
        effect=item.get("effect") or "",
    )


def _host_ports(spec: Mapping[str, Any]) -> tuple[tuple[str, int], ...]:
    found = {
        (port.get("protocol") or "TCP", port["hostPort"])
        for container in spec.get("containers") or ()
        for port in container.get("ports") or ()
        if port.get("hostPort")
    }
    return tuple(sorted(found))


def _integer(text: str | None) -> int | None:
    try:
        return int(text) if text else None
    except ValueError:
        return None
