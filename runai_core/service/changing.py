"""What a changed specification asks for: other pods, or only more or fewer of the same."""

import hashlib
import json
from typing import Any

from runai_core import wire
from runai_core.lifecycle.phases import Signal
from runai_core.model.spec import WorkloadSpec
from runai_core.model.workload import Workload, WorkloadType
from runai_core.ports import Cluster, RollsOut

HOW_MANY = "autoscaling"
"""The member of a specification that says how many pods there are, and nothing about any of them."""


FROM_SPECIFICATION = (
    "spec",
    "origins",
    "revision",
    "priority_class",
    "priority",
    "preemptibility",
    "category",
    "node_pools",
)
"""Fields of a workload that its specification, policies and project decide."""


def revision_of(type_: WorkloadType, spec: WorkloadSpec) -> str:
    """Return a digest that changes when pods would be others; empty for types whose pods are not independent."""
    if type_ is not WorkloadType.INFERENCE:
        return ""
    fields = {name: value for name, value in wire.encode(spec).items() if name != HOW_MANY}
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]


def signals_of_change(cluster: Cluster, before: Workload, after: Workload) -> tuple[Signal, ...]:
    """Return the signals that take a workload from one specification to another.

    Where the cluster replaces its pods one after the other, it answers on;
    elsewhere all of them end before the first new one is made.
    """
    if before.revision and before.revision == after.revision:
        return (Signal.SCALE_ASKED,)
    if isinstance(cluster, RollsOut) and cluster.rolls_out(after.type):
        return (Signal.ROLL_ASKED,)
    return (Signal.UPDATE_ASKED, Signal.UPDATED)


def respecified(present: Workload, resolved: Workload) -> dict[str, Any]:
    """Return the fields of a workload that follow from its specification, as they were resolved anew."""
    pool = present.node_pool if present.node_pool in resolved.node_pools else resolved.node_pool
    return {**{name: getattr(resolved, name) for name in FROM_SPECIFICATION}, "node_pool": pool}
