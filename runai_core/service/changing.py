"""What a changed specification asks for: other pods, or only more or fewer of the same."""

import hashlib
import json

from runai_core import wire
from runai_core.lifecycle.phases import Signal
from runai_core.model.spec import WorkloadSpec
from runai_core.model.workload import Workload, WorkloadType
from runai_core.ports import Cluster, RollsOut

HOW_MANY = "autoscaling"
"""The member of a specification that says how many pods there are, and nothing about any of them."""


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
