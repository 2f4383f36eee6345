"""KubeVirt's virtual machines as workloads: each is one pod, and is stopped by its run strategy."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from runai_core.model.workload import WorkloadType
from runai_core.plugins.grouping import Gangs, each_pod, field_of, one_gang, with_field
from runai_core.plugins.markers import hookimpl
from runai_core.plugins.types import Manifest, Native, Phase, WorkloadKind
from runai_kubevirt.emulator import native_spec

HALTED, ALWAYS = "Halted", "Always"

STRATEGY_BEFORE = "run.ai/run-strategy-before-suspend"
"""Annotation that keeps the run strategy of a machine while it is suspended."""

INSTANCE_LABEL = "kubevirt.io/created-by"
"""Label of launcher pods: the uid of the instance. During a live migration two pods have the same (KubeVirt)."""

MACHINE_PHASES: Mapping[str, Phase] = {
    "Provisioning": Phase.CREATING,
    "WaitingForVolumeBinding": Phase.CREATING,
    "Running": Phase.RUNNING,
    "Migrating": Phase.RUNNING,
    "Paused": Phase.RUNNING,  # frozen, with all that it holds
    "CrashLoopBackOff": Phase.DEGRADED,
    "Stopping": Phase.STOPPING,
    "Stopped": Phase.STOPPED,
    "Terminating": Phase.TERMINATING,
}
"""`status.printableStatus` of a VirtualMachine -> phase; of one that starts, its pod says more."""

INSTANCE_PHASES: Mapping[str, Phase] = {
    "Scheduled": Phase.INITIALIZING,
    "Running": Phase.RUNNING,
    "Succeeded": Phase.COMPLETED,
    "Failed": Phase.FAILED,
    "Unknown": Phase.UNKNOWN,
}
"""`status.phase` of a VirtualMachineInstance -> phase."""


@dataclass(frozen=True)
class Machines(Gangs):
    """Machines: the pod to which one moves counts when the pod that it leaves has ended."""

    def relay_of(self, labels: Mapping[str, str]) -> str:
        """Return the instance that a launcher pod runs."""
        return labels.get(INSTANCE_LABEL, "")


@dataclass(frozen=True)
class Instance(Machines):
    """A running machine."""

    def phase_of(self, manifest: Manifest) -> Phase | None:
        """Return the phase that the instance says it is in."""
        return INSTANCE_PHASES.get(str(field_of(manifest, "status.phase") or ""))


@dataclass(frozen=True)
class VirtualMachine(Machines):
    """A machine that can be switched off and on; its disks stay."""

    def phase_of(self, manifest: Manifest) -> Phase | None:
        """Return the phase that the machine says it is in."""
        return MACHINE_PHASES.get(str(field_of(manifest, "status.printableStatus") or ""))

    def suspend(self, manifest: Manifest) -> dict[str, Any]:
        """Return the machine switched off; its run strategy is kept in an annotation."""
        if field_of(manifest, "spec.running") is not None:  # the older field, which excludes the other
            return with_field(manifest, "spec.running", value=False)
        strategy = field_of(manifest, "spec.runStrategy") or ALWAYS
        if strategy == HALTED:
            return dict(manifest)
        annotations = field_of(manifest, "metadata.annotations") or {}
        kept = with_field(manifest, "metadata.annotations", value={**annotations, STRATEGY_BEFORE: strategy})
        return with_field(kept, "spec.runStrategy", value=HALTED)

    def resume(self, manifest: Manifest) -> dict[str, Any]:
        """Return the machine with the run strategy that it had; one that was never suspended runs always."""
        if field_of(manifest, "spec.running") is not None:
            return with_field(manifest, "spec.running", value=True)
        annotations = dict(field_of(manifest, "metadata.annotations") or {})
        strategy = annotations.pop(STRATEGY_BEFORE, ALWAYS)
        cleaned = with_field(manifest, "metadata.annotations", value=annotations)
        return with_field(cleaned, "spec.runStrategy", value=strategy)

    def native(self, manifest: Manifest) -> Native:
        """Return the machine as a process of one machine: QEMU."""
        return Native(type=WorkloadType.TRAINING, spec=native_spec(manifest))


KINDS: tuple[WorkloadKind, ...] = (
    WorkloadKind(api_version="kubevirt.io/v1", kind="VirtualMachine", adapter=VirtualMachine(one_gang), serves=True),
    WorkloadKind(api_version="kubevirt.io/v1", kind="VirtualMachineInstance", adapter=Instance(one_gang)),
    # Machines of a set do not wait for each other.
    WorkloadKind(
        api_version="kubevirt.io/v1", kind="VirtualMachineInstanceReplicaSet", adapter=Machines(each_pod), serves=True
    ),
    WorkloadKind(
        api_version="pool.kubevirt.io/v1beta1", kind="VirtualMachinePool", adapter=Machines(each_pod), serves=True
    ),
)


@hookimpl
def runai_workload_kinds() -> Iterable[WorkloadKind]:
    """Return KubeVirt's kinds."""
    return KINDS
