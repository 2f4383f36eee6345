"""Gangs of KubeVirt's kinds, and how machines are stopped."""

import subprocess
import sys
from typing import Any

import pytest
import yaml
from runai_kubevirt.plugin import INSTANCE_LABEL, KINDS

from runai_core.backends.kubernetes.codec.external import counted
from runai_core.plugins.types import Observes, Phase, Suspends, WorkloadKind

BY_KIND: dict[str, WorkloadKind] = {kind.kind: kind for kind in KINDS}


def gangs(text: str) -> list[tuple[int, dict[str, int]]]:
    manifest = yaml.safe_load(text)
    plans = BY_KIND[manifest["kind"]].adapter.pod_groups(manifest)
    return [(plan.min_members, {part.name: part.min_members for part in plan.sub_groups}) for plan in plans]


@pytest.mark.parametrize("kind", ["VirtualMachine", "VirtualMachineInstance"])
def test_a_machine_is_one_pod(kind: str) -> None:
    assert gangs(f"kind: {kind}") == [(1, {})]


@pytest.mark.parametrize("kind", ["VirtualMachineInstanceReplicaSet", "VirtualMachinePool"])
def test_machines_of_a_set_do_not_wait_for_each_other(kind: str) -> None:
    (plan,) = BY_KIND[kind].adapter.pod_groups({"spec": {"replicas": 5}})

    assert plan.each_pod


STRATEGIES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "the run strategy is kept and comes back": (
        {"runStrategy": "RerunOnFailure"},
        {"runStrategy": "Halted"},
        {"runStrategy": "RerunOnFailure"},
    ),
    "without a strategy a machine runs always": ({}, {"runStrategy": "Halted"}, {"runStrategy": "Always"}),
    "a halted machine stays as it is and is switched on": (
        {"runStrategy": "Halted"},
        {"runStrategy": "Halted"},
        {"runStrategy": "Always"},
    ),
    "the older field is used where it is": ({"running": True}, {"running": False}, {"running": True}),
}


@pytest.mark.parametrize(("spec", "stopped", "resumed"), STRATEGIES.values(), ids=STRATEGIES)
def test_a_machine_is_switched_off_and_on(
    spec: dict[str, Any], stopped: dict[str, Any], resumed: dict[str, Any]
) -> None:
    adapter = BY_KIND["VirtualMachine"].adapter
    assert isinstance(adapter, Suspends)
    manifest = {"metadata": {"name": "win", "annotations": {"mine": "1"}}, "spec": spec}

    off = adapter.suspend(manifest)
    on = adapter.resume(off)

    assert (off["spec"], on["spec"]) == (stopped, resumed)
    assert on["metadata"]["annotations"] == {"mine": "1"}


def test_an_instance_has_no_switch() -> None:
    assert not isinstance(BY_KIND["VirtualMachineInstance"].adapter, Suspends)


PHASES = {
    "a machine that runs": ("VirtualMachine", {"printableStatus": "Running"}, Phase.RUNNING),
    "a machine that moves to another node runs": ("VirtualMachine", {"printableStatus": "Migrating"}, Phase.RUNNING),
    "a machine that is off": ("VirtualMachine", {"printableStatus": "Stopped"}, Phase.STOPPED),
    "of a machine that starts the pod says more": ("VirtualMachine", {"printableStatus": "Starting"}, None),
    "a machine that nobody has looked at": ("VirtualMachine", {}, None),
    "an instance that has ended": ("VirtualMachineInstance", {"phase": "Succeeded"}, Phase.COMPLETED),
    "an instance that waits for its place": ("VirtualMachineInstance", {"phase": "Scheduling"}, None),
}


@pytest.mark.parametrize(("kind", "status", "phase"), PHASES.values(), ids=PHASES)
def test_the_phase_is_what_kubevirt_says(kind: str, status: dict[str, str], phase: Phase | None) -> None:
    adapter = BY_KIND[kind].adapter
    assert isinstance(adapter, Observes)
    assert adapter.phase_of({"kind": kind, "status": status}) is phase


def launcher(name: str, at: int, phase: str = "Running", instance: str = "vmi-1") -> dict[str, Any]:
    meta = {"name": name, "creationTimestamp": f"2026-01-01T00:00:{at:02}Z", "labels": {INSTANCE_LABEL: instance}}
    return {"metadata": meta, "spec": {"containers": []}, "status": {"phase": phase}}


MIGRATIONS = {
    "while it moves, the pod that it leaves": ([launcher("a", 1), launcher("b", 2)], ["a"]),
    "the other waits for its place": ([launcher("a", 1), launcher("b", 2, "Pending")], ["a"]),
    "when it has moved, the pod to which it went": ([launcher("a", 1, "Succeeded"), launcher("b", 2)], ["b"]),
    "moved twice": ([launcher("a", 1, "Succeeded"), launcher("b", 2, "Succeeded"), launcher("c", 3)], ["c"]),
    "when it has ended, the newest": ([launcher("a", 1, "Succeeded"), launcher("b", 2, "Succeeded")], ["b"]),
    "other machines of a set count each": ([launcher("a", 1), launcher("b", 2, instance="vmi-2")], ["a", "b"]),
}


@pytest.mark.parametrize(("pods", "names"), MIGRATIONS.values(), ids=MIGRATIONS)
def test_a_live_migration_is_not_counted_twice(pods: list[dict[str, Any]], names: list[str]) -> None:
    for kind in KINDS:
        assert sorted(pod["metadata"]["name"] for pod in counted(pods, kind)) == names, kind.kind


def test_the_plugin_loads_without_its_ecosystem() -> None:
    """Every command of ours imports it: its framework must not come with it."""
    code = "import sys, runai_kubevirt.plugin; print(*sys.modules)"

    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()

    assert not {"kubernetes"} & set(loaded)
