"""The rules of one engine: tuples of plain functions, frozen at start-up.

Plug-ins add rules through the same types as the built-in ones. A filter and a
score see one pod and one node; what depends on other pods is the engine's own.
"""

from collections.abc import Callable
from dataclasses import dataclass

from runai_core.model.organization import Queue
from runai_core.model.snapshot import NodeEntry, PodEntry, PodGroup


@dataclass(frozen=True, slots=True)
class Filter:
    """Says why a node cannot hold a pod; an empty answer lets it pass.

    Called once per class of equal pods and node in a cycle, so it may look at
    anything in its two arguments but must not keep state.
    """

    name: str
    function: Callable[[PodEntry, NodeEntry], str]


@dataclass(frozen=True, slots=True)
class Score:
    """Adds ``weight * function(pod, node)`` to a node's score; the highest sum wins, then the smaller name.

    A score rule makes the engine look at every feasible node of a pod.
    """

    name: str
    function: Callable[[PodEntry, NodeEntry], float]
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class QueueOrder:
    """Orders sibling queues before every built-in rule: the smaller value is served first."""

    name: str
    function: Callable[[Queue], float]


@dataclass(frozen=True, slots=True)
class WorkloadOrder:
    """Orders the pod groups of one queue after priority and before age: the smaller value is first."""

    name: str
    function: Callable[[PodGroup], float]


@dataclass(frozen=True, slots=True)
class VictimFilter:
    """Says whether a pod group may be evicted for another; all filters must agree."""

    name: str
    function: Callable[[PodGroup, PodGroup], bool]  # (victim, preemptor)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSet:
    """All rules that plug-ins added; `CycleSettings.disabled_rules` turns built-in ones off."""

    filters: tuple[Filter, ...] = ()
    scores: tuple[Score, ...] = ()
    queue_orders: tuple[QueueOrder, ...] = ()
    workload_orders: tuple[WorkloadOrder, ...] = ()
    victim_filters: tuple[VictimFilter, ...] = ()


DEFAULT_RULES = RuleSet()

BUILT_IN_RULES: dict[str, str] = {
    "quota": "limits, non-preemptible quota, fair shares and the order of queues",
    "priority": "higher priority first inside a queue",
    "elastic": "gangs below their minimum before growth of running ones",
    "constraints": "node selectors, affinity, taints, pod affinity, pod slots, MIG and claim rules",
    "sharing_first": "pods that want part of a GPU go to nodes with a fitting shared device",
    "idle_first": "nodes with room now before nodes with room later",
    "node_kind": "pods without GPUs go to nodes without GPUs",
    "placement": "bin packing or spreading over nodes",
    "nominated": "the nominated node before all others",
}
"""Names for `CycleSettings.disabled_rules`, with what each does."""
