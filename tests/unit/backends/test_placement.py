"""Devices and environment of a placed pod."""

import pytest

from runai_core.backends.local.devices import devices_for
from runai_core.backends.local.environment import environment_of
from runai_core.backends.local.executor import passed_environment
from runai_core.model.decision import Bind
from runai_core.model.meta import Meta
from runai_core.model.nodes import GpuDevice, Node
from runai_core.model.snapshot import PodRequest, PodState
from runai_core.model.workload import Pod, PodSpec, PodStatus


def a_node(*, simulated: bool = True) -> Node:
    devices = tuple(GpuDevice(index=index, simulated=simulated) for index in range(4))
    return Node(meta=Meta(name="n"), gpu_count=4, devices=devices)


def a_pod(
    *devices: int, groups: tuple[str, ...] = (), state: PodState = PodState.RUNNING, request: PodRequest | None = None
) -> Pod:
    status = PodStatus(state=state, node="n", gpu_devices=devices, gpu_groups=groups)
    spec = PodSpec(request=request or PodRequest(), environment={"RANK": "1", "CUDA_VISIBLE_DEVICES": "7"})
    return Pod(meta=Meta(name="p"), workload="w", pod_group="g", spec=spec, status=status)


WHOLE, HALF = PodRequest(gpu_devices=2), PodRequest(gpu_portion=500)


@pytest.mark.parametrize(
    ("request_", "groups", "neighbours", "expected"),
    [
        pytest.param(WHOLE, (), [], (0, 1), id="the lowest free devices"),
        pytest.param(WHOLE, (), [a_pod(1)], (0, 2), id="around a neighbour"),
        pytest.param(WHOLE, (), [a_pod(0, 1, 2)], None, id="too few are free"),
        pytest.param(WHOLE, (), [a_pod(0, 1, 2, state=PodState.RELEASING)], None, id="a leaving pod still holds"),
        pytest.param(WHOLE, (), [a_pod(0, 1, 2, state=PodState.FAILED)], (0, 1), id="an ended pod holds nothing"),
        pytest.param(HALF, ("x",), [a_pod(0)], (1,), id="a new shared device is a free one"),
        pytest.param(HALF, ("x",), [a_pod(3, groups=("x",))], (3,), id="a known shared device is the same one"),
        pytest.param(HALF, ("x", "y"), [a_pod(3, groups=("x",))], (3, 0), id="one known and one new"),
        pytest.param(HALF, ("x",), [a_pod(0, 1, 2, 3)], None, id="no device is left to share"),
        pytest.param(PodRequest(cpu=100), (), [a_pod(0)], (), id="no GPU is asked for"),
    ],
)
def test_devices(
    request_: PodRequest, groups: tuple[str, ...], neighbours: list[Pod], expected: tuple[int, ...] | None
) -> None:
    assert devices_for(Bind("p", "n", groups), request_, a_node(), neighbours) == expected


def test_simulated_devices_are_named_without_touching_real_ones() -> None:
    found = environment_of(a_pod(1, 3, request=WHOLE), a_node(), {"PATH": "/bin"})
    assert found["RUNAI_VISIBLE_DEVICES"] == "1,3"
    assert found["CUDA_VISIBLE_DEVICES"] == ""
    assert (found["NODE_NAME"], found["RANK"], found["PATH"], found["RUNAI_NUM_OF_GPUS"]) == ("n", "1", "/bin", "2")


def test_real_devices_are_made_visible_and_no_others() -> None:
    found = environment_of(a_pod(1, 3, request=WHOLE), a_node(simulated=False), {})
    assert found["CUDA_VISIBLE_DEVICES"] == found["NVIDIA_VISIBLE_DEVICES"] == "1,3"
    without = environment_of(a_pod(), a_node(simulated=False), {})
    assert (without["CUDA_VISIBLE_DEVICES"], without["NVIDIA_VISIBLE_DEVICES"]) == ("", "none")


def test_a_portion_is_told() -> None:
    found = environment_of(a_pod(2, groups=("x",), request=PodRequest(gpu_portion=250)), a_node(), {})
    assert (found["RUNAI_NUM_OF_GPUS"], found["RUNAI_GPU_FRACTION"]) == ("0.25", "0.25")


def test_secrets_of_the_orchestrator_are_not_passed_on() -> None:
    ours = {"PATH": "/bin", "LC_ALL": "C", "RUNAI_TOKEN": "t", "AWS_SECRET_ACCESS_KEY": "s", "RUNAI_DATABASE_URL": "u"}
    assert passed_environment(ours) == {"PATH": "/bin", "LC_ALL": "C"}


def test_the_decision_wins_over_the_pods_own_variables() -> None:
    pod = a_pod(0, request=PodRequest(gpu_devices=1))
    assert environment_of(pod, a_node(simulated=False), {})["CUDA_VISIBLE_DEVICES"] == "0"
