"""A virtual machine without a cluster: the QEMU command that runs what a manifest describes.

What can be run is a machine of one process: disks that are files, a kernel of
the host, user-mode networking, the serial console as its log. What KubeVirt
adds (images as disks, migration, devices passed through) needs the cluster and is
refused by name.
"""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.resources import parse_amount
from runai_core.model.spec import RestartPolicy
from runai_core.plugins.grouping import field_of
from runai_core.plugins.types import Manifest

PROGRAM = "qemu-system-x86_64"
HOST_IMAGE = "host"
"""Image of a kernel that is a file of the machine where the orchestrator runs."""

MIB = 1024**2
EMULATION = "run.ai/emulation"
"""Annotation of a machine, ``true``: without the host's virtualization (as KubeVirt's useEmulation for a cluster)."""

OVERHEAD_MIB = 128
"""What QEMU needs besides the guest's memory."""

RESTARTS: Mapping[str, RestartPolicy] = {
    "Always": RestartPolicy.ALWAYS,
    "RerunOnFailure": RestartPolicy.ON_FAILURE,
}
"""Run strategy -> what happens when the guest switches itself off."""

CLUSTER_ONLY = ("containerDisk", "persistentVolumeClaim", "dataVolume", "cloudInitNoCloud", "cloudInitConfigDrive")
"""Volumes that somebody else must provide."""


def spec_of(manifest: Manifest) -> Mapping[str, Any]:
    """Return the specification of the machine: a VirtualMachine has it in its template."""
    found = field_of(manifest, "spec.template.spec") if manifest.get("kind") == "VirtualMachine" else None
    return dict(found or field_of(manifest, "spec") or {})


def cores_of(spec: Mapping[str, Any]) -> int:
    """Return how many processors the guest sees: sockets x cores x threads (KubeVirt's CPU)."""
    cpu = field_of(spec, "domain.cpu") or {}
    total = 1
    for name in ("sockets", "cores", "threads"):
        value = cpu.get(name, 1)
        if not isinstance(value, int) or not 0 < value <= 1024:
            raise InvalidRequest.of(FieldError(f"domain.cpu.{name}", "must be a whole number from 1 to 1024", value))
        total *= value
    return total


def memory_of(spec: Mapping[str, Any]) -> int:
    """Return the guest's memory in bytes; 1 GiB where nothing is said."""
    text = field_of(spec, "domain.memory.guest") or field_of(spec, "domain.resources.requests.memory") or "1Gi"
    memory = parse_amount(str(text), "domain.memory.guest")
    if memory < MIB:
        raise InvalidRequest.of(FieldError("domain.memory.guest", "must be at least 1Mi", text))
    return memory


def native_spec(manifest: Manifest) -> dict[str, Any]:
    """Return the specification, in the API's form, of the native workload that the machine is on one machine."""
    spec = spec_of(manifest)
    strategy = str(field_of(manifest, "spec.runStrategy") or "Always")
    return {
        "command": shlex.join(command_of(manifest)),
        "restartPolicy": RESTARTS.get(strategy, RestartPolicy.NEVER).value,
        "compute": {
            "cpuCoreRequest": float(cores_of(spec)),
            "cpuMemoryRequest": f"{memory_of(spec) // MIB + OVERHEAD_MIB}Mi",
        },
    }


def command_of(manifest: Manifest) -> tuple[str, ...]:
    """Return the words of the QEMU command.

    Raises:
        InvalidRequest: something in it needs a cluster; names the field.
    """
    spec = spec_of(manifest)
    if field_of(spec, "domain.devices.gpus"):
        raise InvalidRequest.of(
            FieldError("domain.devices.gpus", "cannot be passed through to a machine that is a process: use a cluster")
        )
    return (
        PROGRAM,
        *("-name", str((manifest.get("metadata") or {}).get("name", "machine"))),
        *_accelerators(manifest),
        *("-smp", str(cores_of(spec)), "-m", f"{memory_of(spec) // MIB}M"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot"),
        *("-nic", "user,model=virtio-net-pci" if field_of(spec, "networks") else "none"),
        *_kernel(spec),
        *_disks(spec.get("volumes") or ()),
    )


def _accelerators(manifest: Manifest) -> Sequence[str]:
    """Return the host's virtualization with emulation where there is none, or emulation only where it is asked for."""
    annotations = field_of(manifest, "metadata.annotations") or {}
    if str(annotations.get(EMULATION, "")).lower() == "true":
        return ("-accel", "tcg")
    return ("-accel", "kvm", "-accel", "tcg")


def _kernel(spec: Mapping[str, Any]) -> Sequence[str]:
    boot = field_of(spec, "domain.firmware.kernelBoot")
    if boot is None:
        return ()
    path = "domain.firmware.kernelBoot.container"
    container = boot.get("container") or {}
    if container.get("image") != HOST_IMAGE or not container.get("kernelPath"):
        message = f"must name a kernelPath of this machine, with image: {HOST_IMAGE}"
        raise InvalidRequest.of(FieldError(path, message, container.get("image")))
    words = ["-kernel", str(container["kernelPath"])]
    if container.get("initrdPath"):
        words += ["-initrd", str(container["initrdPath"])]
    return (*words, "-append", str(boot.get("kernelArgs") or "console=ttyS0"))


def _disks(volumes: Sequence[Mapping[str, Any]]) -> Sequence[str]:
    words: list[str] = []
    for index, volume in enumerate(volumes):
        path = field_of(volume, "hostDisk.path")
        if path is None:
            kind = next((name for name in CLUSTER_ONLY if name in volume), "of an unknown kind")
            message = f"is {kind}: on one machine a disk is a file, hostDisk.path"
            raise InvalidRequest.of(FieldError(f"volumes[{index}]", message, volume.get("name")))
        if "," in str(path):
            raise InvalidRequest.of(FieldError(f"volumes[{index}].hostDisk.path", "must not contain a comma", path))
        words += ["-drive", f"file={path},if=virtio"]
    return words
