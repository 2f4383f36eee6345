"""Pods that spread over the domains of a node label, and nodes that a pod would rather have.

The rules are those of Kubernetes' topology spread constraints: in each domain
there may be at most `max_skew` more matching pods than in the domain with the
fewest. Domains are those of the nodes that the pod may use at all, taints
included (Kubernetes' `nodeTaintsPolicy: Honor`): a domain that is closed to the
pod cannot keep it from the others.
"""

from runai_core.engine.entities import PodClass
from runai_core.engine.feasibility import label_values, nodes_that_meet, passes_neighbours, placed_pods, selects
from runai_core.engine.session import Session
from runai_core.model.snapshot import SpreadConstraint


def kept_off(session: Session, kind: PodClass, node: int) -> str:
    """Return why the pods that run elsewhere keep a pod off a node, or an empty string."""
    if words := passes_neighbours(session, kind, node):
        return words
    if session.constraints_on and any(
        constraint.required and not _keeps_even(session, kind, constraint, node)
        for constraint in kind.constraints.spread
    ):
        return "the topology spread constraint"
    return ""


def preference(session: Session, kind: PodClass, node: int) -> int:
    """Return how much the pod would rather be on this node: preferred node labels, and fewer pods of its kind."""
    score = 0
    for weight, term in kind.constraints.node_preferences:
        if nodes_that_meet(session, term) >> node & 1:
            score += weight
    for constraint in kind.constraints.spread:
        domain = session.nodes[node].labels.get(constraint.topology_key)
        if not constraint.required and domain is not None:
            score -= _counts(session, constraint).get(domain, 0)
    return score


def _keeps_even(session: Session, kind: PodClass, constraint: SpreadConstraint, node: int) -> bool:
    domain = session.nodes[node].labels.get(constraint.topology_key)
    if domain is None:
        return False
    usable = [value for value, nodes in label_values(session, constraint.topology_key).items() if nodes & kind.static]
    counts = _counts(session, constraint)
    fewest = min((counts.get(value, 0) for value in usable), default=0)
    if len(usable) < constraint.min_domains:
        fewest = 0
    itself = selects(constraint.selector, kind.example.labels)
    return counts.get(domain, 0) + itself - fewest <= constraint.max_skew


def _counts(session: Session, constraint: SpreadConstraint) -> dict[str, int]:
    """Return the matching pods in each domain; counted anew after each change of a place."""
    place, moment = ("spread", constraint), len(session.touched)
    known = session.cache.get(place)
    if isinstance(known, tuple) and known[0] == moment:
        counted: dict[str, int] = known[1]
        return counted
    counts: dict[str, int] = {}
    for pod in placed_pods(session):
        domain = session.nodes[session.pod_node[pod]].labels.get(constraint.topology_key)
        if domain is not None and selects(constraint.selector, session.pods[pod].labels):
            counts[domain] = counts.get(domain, 0) + 1
    session.cache[place] = (moment, counts)
    return counts
