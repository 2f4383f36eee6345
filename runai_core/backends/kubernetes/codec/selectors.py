"""Selectors of nodes and pods, brought to the form that the engine knows: any of these terms, all of each."""

from collections.abc import Iterable, Mapping
from typing import Any

from runai_core.model.snapshot import LabelRequirement, PodAffinityTerm, SpreadConstraint

Terms = tuple[tuple[LabelRequirement, ...], ...]

NODE_NAME_LABEL = "metadata.name"
"""Stands among a node's labels for its name, which ``matchFields`` looks at."""

MOST_TERMS = 256
"""Terms of one pod that are told apart; more than that come from hundreds of volumes."""


def node_terms(terms: Iterable[Mapping[str, Any]] | None) -> Terms:
    """Return a NodeSelector's terms; a term without requirements matches no node, as in Kubernetes."""
    return tuple(
        tuple(_requirement(item) for item in (*(term.get("matchFields") or ()), *(term.get("matchExpressions") or ())))
        for term in terms or ()
    )


def all_of(several: Iterable[Terms]) -> Terms:
    """Return the terms that hold where each of several lists of terms holds."""
    joined: Terms = ((),)
    for terms in several:
        joined = tuple(
            dict.fromkeys(tuple(sorted({*left, *right})) if right else (_NEVER,) for left in joined for right in terms)
        )[:MOST_TERMS]
        if not joined:
            return ((_NEVER,),)
    return joined


NOWHERE: Terms = ()
"""Terms that no node meets."""

_NEVER = LabelRequirement(NODE_NAME_LABEL, "In", ())


def label_selector(selector: Mapping[str, Any] | None) -> tuple[LabelRequirement, ...] | None:
    """Return the requirements of a LabelSelector; None stands for *selects nothing*, () for *everything*."""
    if selector is None:
        return None
    equal = [LabelRequirement(key, "In", (value,)) for key, value in (selector.get("matchLabels") or {}).items()]
    return tuple(sorted([*equal, *(_requirement(item) for item in selector.get("matchExpressions") or ())]))


def pod_affinity(affinity: Mapping[str, Any], namespace: str, namespace_label: str) -> tuple[PodAffinityTerm, ...]:
    """Return the terms of affinity and anti-affinity to pods; `namespace_label` says in which namespaces they look."""
    found: list[PodAffinityTerm] = []
    for kind, anti in (("podAffinity", False), ("podAntiAffinity", True)):
        part = affinity.get(kind) or {}
        required = part.get("requiredDuringSchedulingIgnoredDuringExecution") or ()
        found += [_pod_term(term, namespace, namespace_label, anti=anti, weight=0) for term in required]
        for weighted in part.get("preferredDuringSchedulingIgnoredDuringExecution") or ():
            term = weighted["podAffinityTerm"]
            found.append(_pod_term(term, namespace, namespace_label, anti=anti, weight=weighted["weight"]))
    return tuple(sorted(found))


def node_preferences(affinity: Mapping[str, Any]) -> tuple[tuple[int, tuple[LabelRequirement, ...]], ...]:
    """Return the preferred node terms of a pod's affinity, each with its weight."""
    given = (affinity.get("nodeAffinity") or {}).get("preferredDuringSchedulingIgnoredDuringExecution") or ()
    return tuple(sorted((item["weight"], node_terms([item["preference"]])[0]) for item in given))


def spread(pod: Mapping[str, Any], namespace_label: str) -> tuple[SpreadConstraint, ...]:
    """Return a pod's topology spread constraints; they count the pods of its namespace."""
    meta = pod["metadata"]
    labels = meta.get("labels") or {}
    within = LabelRequirement(namespace_label, "In", (meta.get("namespace", ""),))
    found = []
    for item in pod["spec"].get("topologySpreadConstraints") or ():
        selector = label_selector(item.get("labelSelector"))
        if selector is None:  # selects nothing: it cannot be broken
            continue
        same = (
            LabelRequirement(key, "In", (labels[key],)) for key in item.get("matchLabelKeys") or () if key in labels
        )
        found.append(
            SpreadConstraint(
                selector=tuple(sorted([*selector, *same, within])),
                topology_key=item["topologyKey"],
                max_skew=item["maxSkew"],
                required=item.get("whenUnsatisfiable", "DoNotSchedule") == "DoNotSchedule",
                min_domains=item.get("minDomains") or 0,
            )
        )
    return tuple(sorted(found))


def _pod_term(
    term: Mapping[str, Any], namespace: str, namespace_label: str, *, anti: bool, weight: int
) -> PodAffinityTerm:
    selector = label_selector(term.get("labelSelector"))
    requirements = (LabelRequirement(namespace_label, "In", ()),) if selector is None else selector
    if term.get("namespaceSelector") is None:
        # With a namespaceSelector, all namespaces are looked at: only `{}` is in use, and narrower ones are rare.
        wanted = tuple(sorted(term.get("namespaces") or (namespace,)))
        requirements = (*requirements, LabelRequirement(namespace_label, "In", wanted))
    return PodAffinityTerm(
        selector=requirements, topology_key=term["topologyKey"], anti=anti, required=weight == 0, weight=weight
    )


def _requirement(item: Mapping[str, Any]) -> LabelRequirement:
    return LabelRequirement(item["key"], item["operator"], tuple(sorted(item.get("values") or ())))
