"""Virtual machines as their users write them: a few words, and the object that KubeVirt wants."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from runai_core.model.errors import FieldError, InvalidRequest, NotFound
from runai_core.plugins.grouping import field_of, with_field
from runai_core.plugins.stamping import Marks, scheduled_spec, stamped, stamped_pod
from runai_kubevirt.emulator import EMULATION, HOST_IMAGE

if TYPE_CHECKING:
    from runai_core.client import Client
    from runai_core.client.results import Workload

RUN_STRATEGIES = ("Always", "RerunOnFailure", "Manual", "Halted", "Once")
"""What KubeVirt does when a machine is off (kubevirt.io/v1 VirtualMachine, ``spec.runStrategy``)."""

GPU_DEVICES = "run.ai/gpu-devices"
"""Annotation of a machine: the resources that are its GPUs, so that they count in the quota of GPUs."""

_QUANTITY = re.compile(r"^[1-9][0-9]*([KMGT]i?)?$")
_NAME = re.compile(r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualMachineWorkload:
    """One virtual machine: a workload of one pod, with quota and a place in the queue as all others.

    >>> vm = VirtualMachineWorkload(name="win", project="team-a", cpu=4, memory="16Gi", disk="registry/win:1")
    >>> vm.submit()          # waits for its turn; `runai workload list` shows it
    >>> vm.stop(), vm.start(), vm.delete()

    `disk` is the image of a container disk, or the path of a disk file of the
    host (absolute). `gpus` are device names that KubeVirt's
    ``permittedHostDevices`` allows; each counts as one GPU of the project's quota.
    `kernel` and `initrd` boot a kernel of the host without a disk.

    Raises:
        InvalidRequest: a field is wrong; names each.
    """

    name: str
    project: str
    cpu: int = 1  # cores
    memory: str = "1Gi"  # of the guest
    gpus: tuple[str, ...] = ()
    disk: str = ""
    run_strategy: str = "Always"
    priority: str = ""
    preemptibility: str = ""
    node_pool: str = ""
    kernel: str = ""  # path of the host; on one machine only
    initrd: str = ""
    kernel_args: str = ""
    emulation: bool = False  # on one machine: without the host's virtualization
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what neither KubeVirt nor the embedded orchestrator would take."""
        checks = (
            ("name", bool(_NAME.match(self.name)), "must be a name in lower case, as in win-1", self.name),
            ("cpu", 0 < self.cpu <= 1024, "must be 1 to 1024 cores", self.cpu),
            ("memory", bool(_QUANTITY.match(self.memory)), "must be a quantity, as in 16Gi", self.memory),
            (
                "run_strategy",
                self.run_strategy in RUN_STRATEGIES,
                f"must be one of {', '.join(RUN_STRATEGIES)}",
                self.run_strategy,
            ),
            ("disk", bool(self.disk or self.kernel), "is needed: an image, a file of the host, or a kernel", self.disk),
        )
        wrong = [FieldError(name, message, given) for name, holds, message, given in checks if not holds]
        if wrong:
            raise InvalidRequest.of(*wrong)
        _ = self.marks  # checks the project and the priority

    @property
    def marks(self) -> Marks:
        """What the scheduler is told."""
        return Marks(
            project=self.project,
            priority=self.priority,
            preemptibility=self.preemptibility,
            node_pool=self.node_pool,
        )

    def manifest(self) -> dict[str, Any]:
        """Return the VirtualMachine for ``kubectl apply``: its launcher pod will carry the labels and the scheduler."""
        domain: dict[str, Any] = {
            "cpu": {"cores": self.cpu},
            "memory": {"guest": self.memory},
            "devices": {"disks": [{"name": "root", "disk": {"bus": "virtio"}}] if self.disk else []},
        }
        if self.gpus:
            domain["devices"]["gpus"] = [
                {"name": f"gpu{index}", "deviceName": device} for index, device in enumerate(self.gpus)
            ]
        if self.kernel:
            boot = {"image": HOST_IMAGE, "kernelPath": self.kernel, "initrdPath": self.initrd}
            kernel = {"kernelArgs": self.kernel_args, "container": {key: value for key, value in boot.items() if value}}
            domain["firmware"] = {"kernelBoot": kernel}
        template = {
            "metadata": {"labels": {"kubevirt.io/domain": self.name, **self.labels}},
            "spec": {"domain": domain, "volumes": [_volume(self.disk)] if self.disk else []},
        }
        return stamped(
            {
                "apiVersion": "kubevirt.io/v1",
                "kind": "VirtualMachine",
                "metadata": {
                    "name": self.name,
                    "labels": dict(self.labels),
                    "annotations": {EMULATION: "true"} if self.emulation else {},
                },
                "spec": {"runStrategy": self.run_strategy, "template": _stamped_machine(template, self.marks)},
            },
            self.marks,
        )

    def submit(self, client: "Client | None" = None) -> "Workload":
        """Hand the machine to the orchestrator; on a cluster KubeVirt runs it, on one machine QEMU does.

        Raises:
            RunaiError: it was refused; says why.
        """
        priority = {"priority": self.priority} if self.priority else {}
        pools = {"nodePools": [self.node_pool]} if self.node_pool else {}
        with _borrowed(client) as door:
            return door.submit_manifest(self.manifest(), project=self.project, **priority, **pools)

    def stop(self, client: "Client | None" = None) -> None:
        """Switch the machine off; its disks stay. Idempotent."""
        with _borrowed(client) as door:
            door.suspend(self.name, project=self.project)

    def start(self, client: "Client | None" = None) -> None:
        """Switch it on again: it waits in its queue like a new one. Idempotent."""
        with _borrowed(client) as door:
            door.resume(self.name, project=self.project)

    def delete(self, client: "Client | None" = None) -> None:
        """Delete the machine; disks that are files or claims of their own stay. Idempotent."""
        with _borrowed(client) as door, suppress(NotFound):
            door.delete(self.name, project=self.project)


def _volume(disk: str) -> dict[str, Any]:
    if disk.startswith("/"):
        return {"name": "root", "hostDisk": {"path": disk, "type": "Disk"}}
    return {"name": "root", "containerDisk": {"image": disk}}


@contextmanager
def _borrowed(client: "Client | None") -> Iterator["Client"]:
    """Give the client that was given and leave it open; or one of our own, closed at the end."""
    if client is not None:
        yield client
        return
    from runai_core.client import Client

    own = Client.from_env()
    try:
        yield own
    finally:
        own.close()


def schedule(manifest: Mapping[str, Any], *, project: str, priority: str = "", preemptibility: str = "") -> Any:
    """Return a VirtualMachine, VirtualMachineInstance, replica set or pool with the scheduler's name and the project.

    Raises:
        InvalidRequest: the object is of another kind, or has no template.
    """
    marks = Marks(project=project, priority=priority, preemptibility=preemptibility)
    kind = manifest.get("kind")
    if kind == "VirtualMachineInstance":
        machine = _with_gpu_names(manifest)
        return stamped({**machine, "spec": scheduled_spec(manifest.get("spec") or {})}, marks)
    paths = {
        "VirtualMachine": ("spec", "template"),
        "VirtualMachineInstanceReplicaSet": ("spec", "template"),
        "VirtualMachinePool": ("spec", "virtualMachineTemplate", "spec", "template"),
    }
    if kind not in paths:
        known = ", ".join([*paths, "VirtualMachineInstance"])
        raise InvalidRequest.of(FieldError("kind", f"must be one of {known}", kind))
    return stamped(_with_template(manifest, paths[str(kind)], marks), marks)


def _with_template(value: Mapping[str, Any], path: tuple[str, ...], marks: Marks) -> dict[str, Any]:
    head, *rest = path
    inner = value.get(head)
    if not isinstance(inner, Mapping):
        raise InvalidRequest.of(FieldError(head, "must be a mapping", inner))
    return {**value, head: _with_template(inner, tuple(rest), marks) if rest else _stamped_machine(inner, marks)}


def _stamped_machine(template: Mapping[str, Any], marks: Marks) -> dict[str, Any]:
    return _with_gpu_names(stamped_pod(template, marks))


def _with_gpu_names(machine: Mapping[str, Any]) -> dict[str, Any]:
    """Return a machine whose annotation says which devices are GPUs: KubeVirt gives it to the launcher's pod."""
    gpus = field_of(machine, "spec.domain.devices.gpus") or ()
    names = sorted({str(item["deviceName"]) for item in gpus if item.get("deviceName")})
    if not names:
        return dict(machine)
    notes = field_of(machine, "metadata.annotations") or {}
    return with_field(machine, "metadata.annotations", value={**notes, GPU_DEVICES: ",".join(names)})
