"""KubeVirt's virtual machines as workloads: each is one pod, and is stopped by its run strategy."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from runai_core.model.workload import WorkloadType
from runai_core.plugins.grouping import Gangs, each_pod, field_of, one_gang, with_field
from runai_core.plugins.markers import hookimpl
from runai_core.plugins.types import Manifest, Native, WorkloadKind
from runai_kubevirt.emulator import native_spec

HALTED, ALWAYS = "Halted", "Always"

STRATEGY_BEFORE = "run.ai/run-strategy-before-suspend"
"""Annotation that keeps the run strategy of a machine while it is suspended."""


@dataclass(frozen=True)
class VirtualMachine(Gangs):
    """A machine that can be switched off and on; its disks stay."""

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
    WorkloadKind(api_version="kubevirt.io/v1", kind="VirtualMachine", adapter=VirtualMachine(one_gang)),
    WorkloadKind(api_version="kubevirt.io/v1", kind="VirtualMachineInstance", adapter=Gangs(one_gang)),
    # Machines of a set do not wait for each other.
    WorkloadKind(api_version="kubevirt.io/v1", kind="VirtualMachineInstanceReplicaSet", adapter=Gangs(each_pod)),
    WorkloadKind(api_version="pool.kubevirt.io/v1beta1", kind="VirtualMachinePool", adapter=Gangs(each_pod)),
)


@hookimpl
def runai_workload_kinds() -> Iterable[WorkloadKind]:
    """Return KubeVirt's kinds."""
    return KINDS
