"""Machines as users write them, and what a cluster and QEMU are told."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from runai_kubevirt import VirtualMachineWorkload, schedule
from runai_kubevirt.emulator import command_of, cores_of, memory_of, native_spec, spec_of

from runai_core.model.errors import InvalidRequest

WIN: dict[str, Any] = {"name": "win", "project": "team-a", "cpu": 4, "memory": "16Gi", "disk": "registry/win:1"}


def test_the_launcher_pod_will_carry_scheduler_labels_and_devices() -> None:
    manifest = VirtualMachineWorkload(**WIN, gpus=("nvidia.com/GA102GL_A10",), priority="high").manifest()

    template = manifest["spec"]["template"]
    assert manifest["metadata"]["namespace"] == "runai-team-a"
    assert template["spec"]["schedulerName"] == "runai-scheduler"
    assert template["metadata"]["labels"] == {
        "kubevirt.io/domain": "win",
        "runai/queue": "team-a",
        "priorityClassName": "high",
    }
    assert template["spec"]["domain"]["devices"]["gpus"] == [{"name": "gpu0", "deviceName": "nvidia.com/GA102GL_A10"}]
    assert template["spec"]["volumes"] == [{"name": "root", "containerDisk": {"image": "registry/win:1"}}]


def test_the_devices_that_are_gpus_are_named_for_the_quota() -> None:
    made = VirtualMachineWorkload(**WIN, gpus=("nvidia.com/A10", "nvidia.com/A10", "nvidia.com/T4")).manifest()
    again = schedule(made, project="team-a")
    plain = schedule(VirtualMachineWorkload(**WIN).manifest(), project="team-a")
    instance = {"kind": "VirtualMachineInstance", "spec": made["spec"]["template"]["spec"]}

    names = {"run.ai/gpu-devices": "nvidia.com/A10,nvidia.com/T4"}
    assert made["spec"]["template"]["metadata"]["annotations"] == names
    assert again == made
    assert schedule(instance, project="team-a")["metadata"]["annotations"] == names
    assert "annotations" not in plain["spec"]["template"]["metadata"]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a name with capitals": ({"name": "Win"}, "name"),
    "no cores": ({"cpu": 0}, "cpu"),
    "memory in words": ({"memory": "much"}, "memory"),
    "an unknown run strategy": ({"run_strategy": "Sometimes"}, "run_strategy"),
    "no disk": ({"disk": ""}, "disk"),
    "an unknown priority": ({"priority": "urgent"}, "priority"),
}


@pytest.mark.parametrize(("change", "field"), WRONG.values(), ids=WRONG)
def test_wrong_fields_are_named(change: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        VirtualMachineWorkload(**(WIN | change))

    assert [error.field for error in caught.value.errors] == [field]


OTHERS: dict[str, dict[str, Any]] = {
    "VirtualMachine": {"spec": {"template": {"spec": {}}}},
    "VirtualMachineInstanceReplicaSet": {"spec": {"template": {"spec": {}}}},
    "VirtualMachinePool": {"spec": {"virtualMachineTemplate": {"spec": {"template": {"spec": {}}}}}},
    "VirtualMachineInstance": {"spec": {}},
}


@pytest.mark.parametrize("kind", OTHERS)
def test_every_kind_is_put_under_the_scheduler(kind: str) -> None:
    done = schedule({"kind": kind, **OTHERS[kind]}, project="team-a")

    assert str(done).count("'schedulerName': 'runai-scheduler'") == 1
    assert schedule(done, project="team-a") == done


def test_another_kind_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="VirtualMachinePool"):
        schedule({"kind": "Pod"}, project="team-a")


def machine(**domain: Any) -> dict[str, Any]:
    return {"kind": "VirtualMachineInstance", "metadata": {"name": "m"}, "spec": {"domain": domain}}


def test_processors_and_memory_are_read_as_kubevirt_does() -> None:
    spec = spec_of(machine(cpu={"sockets": 2, "cores": 3}, resources={"requests": {"memory": "512Mi"}}))

    assert (cores_of(spec), memory_of(spec)) == (6, 512 * 1024**2)
    assert (cores_of({}), memory_of({})) == (1, 1024**3)


def test_a_machine_with_a_disk_file_is_a_process() -> None:
    vm = VirtualMachineWorkload(name="vm", project="a", disk="/var/disk.qcow2", run_strategy="RerunOnFailure")

    spec = native_spec(vm.manifest())

    assert "-drive file=/var/disk.qcow2,if=virtio" in spec["command"]
    assert spec["restartPolicy"] == "OnFailure"
    assert spec["compute"] == {"cpuCoreRequest": 1.0, "cpuMemoryRequest": "1152Mi"}


CLUSTER_ONLY: dict[str, tuple[dict[str, Any], str]] = {
    "an image as a disk": (WIN, r"volumes\[0\].*containerDisk.*hostDisk.path"),
    "a device passed through": (WIN | {"disk": "/d", "gpus": ("x/y",)}, "domain.devices.gpus.*use a cluster"),
    "options hidden in a path": (WIN | {"disk": "/d,file=/etc/shadow"}, "comma"),
}


@pytest.mark.parametrize(("given", "words"), CLUSTER_ONLY.values(), ids=CLUSTER_ONLY)
def test_what_one_machine_cannot_do_is_refused_by_name(given: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        command_of(VirtualMachineWorkload(**given).manifest())


def test_the_first_example_of_the_readme_runs(tmp_path: Path) -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    example = re.search(r"```python\n(.*?)```", readme, re.DOTALL)
    assert example is not None

    done = subprocess.run(
        [sys.executable, "-c", example[1]], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=240
    )

    assert json.loads(done.stdout)["spec"]["template"]["spec"]["schedulerName"] == "runai-scheduler"
