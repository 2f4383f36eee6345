"""Where the pods of a workload may run, from the fields of its specification."""

from dataclasses import replace

from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.nodes import NODE_TYPE_LABEL
from runai_core.model.snapshot import (
    NO_CONSTRAINTS,
    LabelRequirement,
    PodConstraints,
    PodGroup,
    Snapshot,
    Toleration,
    TopologyConstraint,
)
from runai_core.model.spec import TolerationSpec, WorkloadSpec

ANY_EFFECT = frozenset({None, "", "Any"})
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")

VALUES = {"In": (1, None), "NotIn": (1, None), "Exists": (0, 0), "DoesNotExist": (0, 0), "Gt": (1, 1), "Lt": (1, 1)}
"""Fewest and most values of each operator (core/v1 NodeSelectorRequirement)."""


def constraints_of(spec: WorkloadSpec, *, at: str = "spec") -> PodConstraints:
    """Return where pods of this specification may run; equal for all pods that share it.

    Raises:
        InvalidRequest: a toleration or a node label term makes no sense.
    """
    selector = ((NODE_TYPE_LABEL, spec.node_type),) if spec.node_type else ()
    tolerations = tuple(
        _toleration(item, f"{at}.tolerations.{index}")
        for index, item in enumerate(spec.tolerations)
        if not item.exclude
    )
    constraints = PodConstraints(
        node_selector=selector,
        node_affinity=_affinity(spec, at),
        tolerations=tuple(sorted(set(tolerations))),
    )
    return NO_CONSTRAINTS if constraints == NO_CONSTRAINTS else constraints


def topology_of(spec: WorkloadSpec) -> TopologyConstraint | None:
    """Return the domain that all pods of the gang must, or should, share.

    The topology is named by the node label: a backend offers one topology for
    each such label, whose only level it is.
    """
    wanted = spec.pod_affinity
    if wanted is None or not wanted.key:
        return None
    if wanted.type == "Required":
        return TopologyConstraint(topology=wanted.key, required_level=wanted.key)
    return TopologyConstraint(topology=wanted.key, preferred_level=wanted.key)


def kept_near(snapshot: Snapshot, topology: str) -> Snapshot:
    """Return the snapshot with each gang that says nothing itself preferring the nearest level of a topology.

    Run:ai does so in node pools with a network topology (docs 2.25). It is a
    preference, so it says nothing where a node lacks a label: it would keep
    pods off that node.
    """
    levels = next((item.levels for item in snapshot.topologies if item.name == topology), ())
    if not levels or not all(label in node.labels for node in snapshot.nodes for label in levels):
        return snapshot
    wanted = TopologyConstraint(topology=topology, preferred_level=levels[-1])
    groups = tuple(
        replace(group, topology=wanted) if _is_silent_gang(group) else group for group in snapshot.pod_groups
    )
    return replace(snapshot, pod_groups=groups)


def _is_silent_gang(group: PodGroup) -> bool:
    several = group.min_members > 1 or len(group.sub_groups) > 1
    return several and group.topology is None and all(part.topology is None for part in group.sub_groups)


def _toleration(item: TolerationSpec, path: str) -> Toleration:
    operator = item.operator or "Equal"
    if operator == "Equal" and not item.key:
        raise InvalidRequest.of(FieldError(f"{path}.key", "is required; only operator Exists may leave it out"))
    if operator == "Exists" and item.value:
        raise InvalidRequest.of(FieldError(f"{path}.value", "does not go with operator Exists", item.value))
    if item.effect not in ANY_EFFECT and item.effect not in EFFECTS:
        raise InvalidRequest.of(
            FieldError(f"{path}.effect", f"must be Any or one of {', '.join(EFFECTS)}", item.effect)
        )
    effect = "" if item.effect in ANY_EFFECT else str(item.effect)
    return Toleration(key=item.key or "", operator=operator, value=item.value or "", effect=effect)


def _affinity(spec: WorkloadSpec, at: str) -> tuple[tuple[LabelRequirement, ...], ...]:
    wanted = spec.node_affinity_required
    if wanted is None:
        return ()
    terms = []
    for outer, term in enumerate(wanted.node_selector_terms):
        requirements = []
        for inner, expression in enumerate(term.match_expressions):
            path = f"{at}.nodeAffinityRequired.nodeSelectorTerms.{outer}.matchExpressions.{inner}.values"
            fewest, most = VALUES.get(expression.operator, (0, None))
            if len(expression.values) < fewest or (most is not None and len(expression.values) > most):
                wants = {0: "no value", 1: "one value"}.get(most if most is not None else -1, "at least one value")
                raise InvalidRequest.of(FieldError(path, f"operator {expression.operator} takes {wants}"))
            requirements.append(LabelRequirement(expression.key, expression.operator, expression.values))
        if requirements:  # an empty term matches no node, and Kubernetes skips it
            terms.append(tuple(requirements))
    return tuple(terms)
