"""Spark applications as workloads.

The driver asks for its executors after it has started, so the gang can start
with the driver alone; executors join the same pod group.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from runai_core.plugins.grouping import Divided, Suspendable, of_its_children
from runai_core.plugins.markers import hookimpl
from runai_core.plugins.types import Manifest, PodGroupPlan, SubGroup, WorkloadKind

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


VERSION = "sparkoperator.k8s.io/v1beta2"

KINDS: tuple[WorkloadKind, ...] = (
    WorkloadKind(api_version=VERSION, kind="SparkApplication", adapter=Divided(application_gang, role_place)),
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
