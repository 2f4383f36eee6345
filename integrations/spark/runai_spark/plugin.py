"""Spark applications as workloads.

The driver asks for its executors after it has started, so the gang can start
with the driver alone; executors join the same pod group.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runai_core.plugins.grouping import DividedSuspendable, Suspendable, field_of, of_its_children
from runai_core.plugins.markers import hookimpl
from runai_core.plugins.types import Manifest, Phase, PodGroupPlan, SubGroup, WorkloadKind

if TYPE_CHECKING:
    import click

ROLE_LABEL = "spark-role"
"""Spark gives it to its pods: driver or executor."""

DRIVER, EXECUTOR = "driver", "executor"


def application_gang(_: Manifest) -> Sequence[PodGroupPlan]:
    """Return the gang of an application: the driver, and executors that may come later."""
    parts = (SubGroup(name=DRIVER), SubGroup(name=EXECUTOR, min_members=0))
    return (PodGroupPlan(min_members=1, sub_groups=parts),)


def role_place(labels: Mapping[str, str]) -> tuple[str, str]:
    """Return driver or executor as the pod's sub-group."""
    role = labels.get(ROLE_LABEL, "")
    return "", role if role in (DRIVER, EXECUTOR) else ""


APPLICATION_PHASES: Mapping[str, Phase] = {
    "SUBMITTED": Phase.PENDING,
    "PENDING_RERUN": Phase.PENDING,
    "INVALIDATING": Phase.PENDING,
    "RUNNING": Phase.RUNNING,
    "SUCCEEDING": Phase.RUNNING,
    "COMPLETED": Phase.COMPLETED,
    "FAILING": Phase.RUNNING,
    "FAILED": Phase.FAILED,
    "SUBMISSION_FAILED": Phase.FAILED,
    "SUSPENDING": Phase.STOPPING,
    "SUSPENDED": Phase.STOPPED,
    "RESUMING": Phase.RESUMING,
    "UNKNOWN": Phase.UNKNOWN,
}
"""`status.applicationState.state` (Spark operator, v1beta2) -> phase."""


def application_phase(manifest: Manifest) -> Phase | None:
    """Return the phase of an application."""
    return APPLICATION_PHASES.get(str(field_of(manifest, "status.applicationState.state") or ""))


@dataclass(frozen=True)
class SparkApplications(DividedSuspendable):
    """An application: gang, places, phase, suspended and resumed by a field (Spark operator 2.3)."""

    phase_of: Callable[[Manifest], Phase | None]


VERSION = "sparkoperator.k8s.io/v1beta2"

KINDS: tuple[WorkloadKind, ...] = (
    WorkloadKind(
        api_version=VERSION,
        kind="SparkApplication",
        adapter=SparkApplications(application_gang, role_place, "spec.suspend", application_phase),
    ),
    WorkloadKind(
        api_version=VERSION, kind="ScheduledSparkApplication", adapter=Suspendable(of_its_children, "spec.suspend")
    ),
)


@hookimpl
def runai_workload_kinds() -> Iterable[WorkloadKind]:
    """Return the kinds of the Spark operator."""
    return KINDS


@hookimpl
def runai_commands() -> "Iterable[click.Command]":
    """Return `runai spark-submit`."""
    from runai_spark.commands import spark_submit  # the command line alone asks for it

    return (spark_submit,)
