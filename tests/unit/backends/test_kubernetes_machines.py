"""GPUs of virtual machines have names of their own: placed by name, counted as GPUs."""

from typing import Any

import pytest

from runai_core.backends.clock import SystemClock
from runai_core.backends.kubernetes import resources as kinds
from runai_core.backends.kubernetes.snapshot import Snapshots
from runai_core.engine.cycle import run_cycle
from runai_core.model.decision import CycleResult, Reason
from runai_core.model.meta import Meta
from runai_core.model.nodes import NodePool
from tests.kubernetes_world import StillWorld, a_group, a_node, a_pod, a_queue

DEFAULT = NodePool(meta=Meta(name="default"))
A10, T4, NIC = "nvidia.com/GA102GL_A10", "nvidia.com/TU104GL_T4", "intel.com/sriov"


def a_machine_node(name: str, **devices: int) -> dict[str, Any]:
    node = a_node(name, gpus=0, labels={"nvidia.com/gpu.workload.config": "vm-passthrough"})
    given = {{"a10": A10, "t4": T4, "nic": NIC}[key]: str(count) for key, count in devices.items()}
    node["status"]["allocatable"] |= given
    return node


def a_launcher(name: str, device: str, count: int = 1, *, nics: int = 0) -> dict[str, Any]:
    pod = a_pod(name, name, gpus=0)
    pod["metadata"]["annotations"]["run.ai/gpu-devices"] = device
    limits = {device: str(count), **({NIC: str(nics)} if nics else {})}
    pod["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "1"}, "limits": limits}
    return pod


def decided(*nodes: dict[str, Any], pods: list[dict[str, Any]], limit: int = -1) -> CycleResult:
    world = StillWorld()
    queue = a_queue()
    queue["spec"]["resources"]["gpu"] |= {"limit": limit}
    world.put(kinds.QUEUES, queue)
    for node in nodes:
        world.put(kinds.NODES, node)
    for pod in pods:
        world.put(kinds.POD_GROUPS, a_group(pod["metadata"]["name"]))
        world.put(kinds.PODS, pod)
    return run_cycle(Snapshots(world).snapshot(DEFAULT, SystemClock().now()))


def places(result: CycleResult) -> dict[str, str]:
    return {bind.pod.removeprefix("team/"): bind.node for bind in result.binds}


def test_a_machine_gets_the_device_that_it_names() -> None:
    nodes = (a_machine_node("t4s", t4=2), a_machine_node("a10s", a10=1), a_node("gpus", gpus=8))

    result = decided(*nodes, pods=[a_launcher("win", A10), a_launcher("lin", T4, 2), a_launcher("late", A10)])

    assert places(result) in ({"win": "a10s", "lin": "t4s"}, {"late": "a10s", "lin": "t4s"})
    assert len(result.verdicts) == 1


def test_its_devices_count_as_gpus_of_the_quota() -> None:
    result = decided(a_machine_node("t4s", t4=4), pods=[a_launcher(f"vm{n}", T4) for n in range(3)], limit=2)

    assert len(result.binds) == 2
    assert [verdict.reason for verdict in result.verdicts] == [Reason.OVER_LIMIT]


def test_pods_that_ask_for_plain_gpus_keep_away_from_machines_nodes() -> None:
    result = decided(a_machine_node("t4s", t4=4), a_node("gpus", gpus=1), pods=[a_pod("train", "train", gpus=1)])

    assert places(result) == {"train": "gpus"}


@pytest.mark.parametrize("nics", [1, 2], ids=["enough", "too many"])
def test_other_devices_are_no_gpus(nics: int) -> None:
    result = decided(a_machine_node("t4s", t4=2, nic=1), pods=[a_launcher("vm", T4, nics=nics)], limit=1)

    assert len(result.binds) == (1 if nics == 1 else 0)
