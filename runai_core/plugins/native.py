"""Objects of frameworks that run on one machine as a native workload does.

An adapter that can say "on one machine this is a training with that
specification" has the whole lifecycle of the native type, rank variables and
restarts included, and needs no code of its own for processes.
"""

from collections.abc import Sequence
from dataclasses import replace

from runai_core.lifecycle.gang import gang_of
from runai_core.model.spec import WorkloadSpec
from runai_core.model.workload import Gang, Pod, Workload, WorkloadType
from runai_core.plugins.types import RunContext


def gang_as(
    workload: Workload,
    workload_type: WorkloadType,
    spec: WorkloadSpec,
    run_context: RunContext,
    existing: Sequence[Pod],
) -> Gang:
    """Return the pods that the workload would have if it were of a native type with this specification.

    What the workload's own specification says of scheduling (priority, node
    pools, preemptibility) was resolved when it was submitted and stays.

    Raises:
        InvalidRequest: the specification contradicts itself; names each field.
    """
    native = replace(workload, type=workload_type, spec=spec)
    return gang_of(native, run_context=run_context, existing=existing)
