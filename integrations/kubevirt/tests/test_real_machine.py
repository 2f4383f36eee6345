"""A real virtual machine under QEMU: Linux boots, speaks on its console, is stopped and started by its workload.

Kernel and busybox are Debian's; the initial file system is made here.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from runai_kubevirt import VirtualMachineWorkload

from runai_core.client import Client
from runai_core.model.errors import AlreadyExists, RunaiError
from tests.orchestrators import OrchestratorProcess, an_orchestrator
from tests.transcripts import keep, runai
from tests.waiting import eventually

pytestmark = [pytest.mark.ecosystem, pytest.mark.timeout(900)]

TOOL = Path(__file__).parents[3] / "tools" / "debian"
HELLO = "hello from a virtual machine"
INIT = f"""#!/bin/busybox sh
/bin/busybox mount -t proc none /proc
echo "{HELLO} with $(/bin/busybox nproc) processors"
case "$(/bin/busybox cat /proc/cmdline)" in *stay*) /bin/busybox sleep 1000 ;; esac
/bin/busybox poweroff -f
"""
BOOT_SECONDS = 300.0
"""Without the host's virtualization, and beside much else."""


def debian(*words: str) -> None:
    done = subprocess.run([TOOL, *words], capture_output=True, text=True, check=False)
    if done.returncode == 3:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    debian("install", "qemu-system-x86", "busybox-static")
    folder = tmp_path_factory.mktemp("kernel")
    debian("unpack", str(folder), "linux-image-cloud-amd64")
    return next((folder / "boot").glob("vmlinuz-*"))


@pytest.fixture(scope="module")
def initrd(tmp_path_factory: pytest.TempPathFactory, kernel: Path) -> Path:
    """Return an initial file system with busybox and our first program."""
    path = tmp_path_factory.mktemp("initrd") / "initrd"
    busybox = shutil.which("busybox")
    assert busybox is not None
    files = [
        ("bin", 0o040755, b""),
        ("proc", 0o040755, b""),
        ("dev", 0o040755, b""),
        ("bin/busybox", 0o100755, Path(busybox).read_bytes()),
        ("init", 0o100755, INIT.encode()),
        ("TRAILER!!!", 0, b""),
    ]
    path.write_bytes(b"".join(entry(name, mode, content) for name, mode, content in files))
    return path


def entry(name: str, mode: int, content: bytes) -> bytes:
    """Return one file of a cpio archive in the "newc" form (cpio(5)): thirteen numbers, name, content, padded to 4."""
    numbers = (0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08x" % number for number in numbers) + name.encode() + b"\0"
    return head + b"\0" * (-len(head) % 4) + content + b"\0" * (-len(content) % 4)


@pytest.fixture
def orchestrator(tmp_path: Path) -> Iterator[OrchestratorProcess]:
    with an_orchestrator(tmp_path) as running:
        yield running


def client_of(orchestrator: OrchestratorProcess, token: str = "") -> Client:
    found = json.loads((orchestrator.data_dir / "credentials.json").read_text())
    return Client.connect(found["url"], token or found["token"], project="default")


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "an unknown project": ({"project": "nowhere"}, "", "there is no project nowhere; there are: default"),
    "a policy": ({"cpu": 4}, "", "cpuCoreRequest"),
    "an expired token": ({}, "expired", "token"),
    "an image, which only a cluster can start": ({"disk": "registry/vm:1"}, "", "containerDisk"),
}


@pytest.mark.parametrize(("given", "token", "words"), REFUSED.values(), ids=REFUSED)
def test_a_machine_that_is_refused_says_why_and_leaves_nothing(
    orchestrator: OrchestratorProcess, given: dict[str, Any], token: str, words: str
) -> None:
    with client_of(orchestrator) as client:
        rules = {"rules": {"compute": {"cpuCoreRequest": {"max": 2}}}}
        client.policies.apply("training", rules, scope="project", name="default")
        vm = VirtualMachineWorkload(**{"name": "vm", "project": "default", "disk": "/vm.qcow2", **given})

        with client_of(orchestrator, token) as theirs, pytest.raises(RunaiError, match=words):
            vm.submit(theirs)

        assert client.list() == ()


def test_where_nobody_answers_it_is_said() -> None:
    vm = VirtualMachineWorkload(name="vm", project="default", disk="/vm.qcow2")

    with Client.connect("http://127.0.0.1:9", "x") as nobody, pytest.raises(RunaiError, match="nobody answers"):
        vm.submit(nobody)


def test_a_machine_that_waits_says_why_whatever_happens_meanwhile(orchestrator: OrchestratorProcess) -> None:
    """Its tool is killed and submits it again, the orchestrator is started anew, an administrator deletes it."""
    vm = VirtualMachineWorkload(name="big", project="default", memory="900Ti", disk="/vm.qcow2")
    with client_of(orchestrator) as client:
        first = vm.submit(client)
        with pytest.raises(AlreadyExists, match="big in project default exists already"):
            vm.submit(client)
        assert [found.id for found in client.list()] == [first.id]
        eventually(lambda: "memory" in client.get("big").phase_message, lambda: client.get("big"))
        assert client.get("big").phase == "Pending"
        port = orchestrator.client.base_url.port or 0
    orchestrator.kill()
    orchestrator.start(port=port)

    with client_of(orchestrator) as client:
        eventually(lambda: "memory" in client.get("big").phase_message, lambda: client.get("big"))
        vm.stop(client)
        client.wait("big", until="Stopped", timeout=120)
        client.delete(first.id)
        with pytest.raises(RunaiError, match="big"):
            vm.start(client)
        vm.delete(client)


def wait_for_words(client: Client, name: str, words: str) -> str:
    def log() -> str:
        return client.log_text(name) if client.get(name).phase == "Running" else ""

    eventually(lambda: words in log(), lambda: f"{name} says {words!r}: {client.get(name)}", seconds=BOOT_SECONDS)
    return log()


def test_a_machine_boots_is_stopped_started_and_deleted(
    orchestrator: OrchestratorProcess, kernel: Path, initrd: Path
) -> None:
    vm = VirtualMachineWorkload(
        name="vm",
        project="default",
        memory="128Mi",
        emulation=True,  # nested virtualization may be there and fail
        kernel=str(kernel),
        initrd=str(initrd),
        kernel_args="console=ttyS0 quiet stay",
    )
    with client_of(orchestrator) as client:
        submitted = vm.submit(client)
        assert (submitted.name, submitted.type) == ("vm", "VirtualMachine")
        assert "with 1 processors" in wait_for_words(client, "vm", HELLO)
        environ = {"RUNAI_DATA_DIR": str(orchestrator.data_dir)}
        said = ">>> vm.submit()\n" + runai("workload", "logs", "vm", environ=environ)
        said += runai("workload", "list", environ=environ)

        vm.stop(client)
        client.wait("vm", until="Stopped", timeout=120)
        assert client.pods("vm") == ()
        keep("kubevirt", f"{said}>>> vm.stop()\n" + runai("workload", "list", environ=environ))

        vm.start(client)
        wait_for_words(client, "vm", HELLO)
        vm.delete(client)
        assert client.list() == ()


def test_a_machine_that_switches_itself_off_is_completed(
    orchestrator: OrchestratorProcess, kernel: Path, initrd: Path
) -> None:
    vm = VirtualMachineWorkload(
        name="once",
        project="default",
        memory="128Mi",
        emulation=True,  # nested virtualization may be there and fail
        kernel=str(kernel),
        initrd=str(initrd),
        kernel_args="console=ttyS0 quiet",
        run_strategy="Once",
    )
    with client_of(orchestrator) as client:
        vm.submit(client)
        done = client.wait("once", timeout=BOOT_SECONDS)

        assert done.phase == "Completed"
        assert HELLO in client.log_text("once")
