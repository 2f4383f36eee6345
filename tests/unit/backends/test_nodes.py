"""Nodes files: what they mean, and what is said of wrong ones."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runai_core.backends.local.nodes import gpus_of, host_node, in_pools, read_nodes
from runai_core.model.errors import InvalidRequest
from runai_core.model.meta import Meta
from runai_core.model.nodes import NodePool, Taint, TaintEffect

FULL = """
nodes:
  - name: node-a
    gpus: 4
    gpuProduct: NVIDIA-H100
    gpuMemory: 80Gi
    cpu: 1.5
    memory: 256Gi
    labels: {zone: a}
    taints: [{key: dedicated, value: ml}]
    nodePool: fast
    maxPods: 7
    simulated: true
  - {name: node-b}
"""


def read(tmp_path: Path, text: str) -> tuple[object, ...]:
    file = tmp_path / "nodes.yaml"
    file.write_text(text)
    return read_nodes(file)


def test_every_field_of_a_nodes_file_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "nodes.yaml"
    file.write_text(FULL)

    first, second = read_nodes(file)

    assert (first.name, first.cpu, first.memory, first.max_pods) == ("node-a", 1500, 256 * 1024**3, 7)
    assert (first.gpu_count, first.gpu_memory_mib, first.simulated) == (4, 80 * 1024, True)
    assert [device.index for device in first.devices] == [0, 1, 2, 3]
    assert first.taints == (Taint("dedicated", "ml", TaintEffect.NO_SCHEDULE),)
    assert first.meta.labels["zone"] == "a"
    assert first.meta.labels["kai.scheduler/node-pool"] == "fast"
    assert first.meta.labels["nvidia.com/gpu.product"] == "NVIDIA-H100"
    assert (second.gpu_count, second.simulated) == (0, False)
    assert second.cpu > 0
    assert second.memory > 0


def test_a_plain_list_and_json_are_nodes_files_too(tmp_path: Path) -> None:
    assert len(read(tmp_path, "- name: a\n- name: b\n")) == 2
    assert len(read(tmp_path, '[{"name": "a", "gpus": 1}]')) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("nodes: [", "line 1", id="not YAML names the line"),
        pytest.param("nodes: 3", "nodes: must be a list", id="not a list"),
        pytest.param("[]", "nodes: must be a list of 1", id="no node"),
        pytest.param("[3]", r"nodes\[0\]: must be an object", id="a number for a node"),
        pytest.param("[{gpus: 1}]", r"nodes\[0\].name: must be a DNS name", id="no name"),
        pytest.param("[{name: ../../etc}]", r"nodes\[0\].name", id="a path for a name"),
        pytest.param("[{name: " + "a" * 10_000 + "}]", r"nodes\[0\].name", id="a name of 10,000 characters"),
        pytest.param("[{name: a}, {name: a}]", "two nodes of one name", id="a name twice"),
        pytest.param("[{name: a, gpu: 1}]", "did you mean gpus", id="an unknown field is guessed"),
        pytest.param("[{name: a, gpus: -1}]", r"nodes\[0\].gpus: must be a whole number", id="negative GPUs"),
        pytest.param("[{name: a, gpus: 1.5}]", r"nodes\[0\].gpus", id="a part of a GPU"),
        pytest.param("[{name: a, gpus: true}]", r"nodes\[0\].gpus", id="a truth value for GPUs"),
        pytest.param("[{name: a, gpus: 100000}]", r"nodes\[0\].gpus", id="too many GPUs"),
        pytest.param("[{name: a, cpu: many}]", r"nodes\[0\].cpu: must be a quantity", id="words for CPU"),
        pytest.param("[{name: a, memory: -1Gi}]", r"nodes\[0\].memory: must not be negative", id="negative memory"),
        pytest.param("[{name: a, labels: [x]}]", r"nodes\[0\].labels", id="a list for labels"),
        pytest.param("[{name: a, labels: {x: 1}}]", r"nodes\[0\].labels.x: must be a text", id="a number for a label"),
        pytest.param("[{name: a, taints: [{value: x}]}]", r"taints\[0\]: must have key", id="a taint without key"),
        pytest.param("[{name: a, taints: [{key: x, effect: No}]}]", "effect: must be one of", id="an unknown effect"),
        pytest.param("[{name: a, simulated: false}]", "must be true", id="real GPUs in a file"),
        pytest.param("[{name: a, gpus: !!python/object:os.system 1}]", "is not YAML", id="code in a file"),
    ],
)
def test_a_wrong_nodes_file_is_refused_and_the_place_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        read(tmp_path, text)


def test_a_nodes_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"missing.yaml cannot be read"):
        read_nodes(tmp_path / "missing.yaml")


def test_this_host_has_the_simulated_gpus_that_are_asked_for() -> None:
    node = host_node(simulated_gpus=3)
    assert (node.gpu_count, node.simulated) == (3, True)
    assert node.cpu >= 1000
    assert not host_node(simulated_gpus=0).devices


class NvmlError(Exception):
    """What the fake raises where the real binding raises its own."""


class FakeNvml:
    """The functions of NVML's binding that are used, over two devices; the real one needs a driver."""

    NVMLError = NvmlError

    def __init__(self, failing: str = "") -> None:
        self.failing = failing
        self.is_open = False

    def _do(self, name: str) -> None:
        if name == self.failing:
            raise NvmlError(name)

    def nvmlInit(self) -> None:  # noqa: N802
        self._do("init")
        self.is_open = True

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.is_open = False

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        self._do("handle")
        return index

    def nvmlDeviceGetUUID(self, handle: int) -> str:  # noqa: N802
        return f"GPU-{handle}"

    def nvmlDeviceGetName(self, handle: int) -> bytes:  # noqa: N802
        return b"NVIDIA H100 80GB HBM3"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:  # noqa: N802
        return SimpleNamespace(total=80 * 1024**3)


def test_real_gpus_are_those_that_nvml_finds() -> None:
    nvml = FakeNvml()
    first, second = gpus_of(nvml)
    assert (first.index, first.uuid, first.product, first.memory_mib) == (0, "GPU-0", "NVIDIA-H100-80GB-HBM3", 81920)
    assert (second.index, second.simulated, nvml.is_open) == (1, False, False)


@pytest.mark.parametrize("failing", ["init", "handle"])
def test_a_driver_that_fails_means_no_gpus(failing: str) -> None:
    nvml = FakeNvml(failing)
    assert (gpus_of(nvml), nvml.is_open) == ((), False)


def test_a_node_belongs_to_the_pool_whose_label_it_carries(tmp_path: Path) -> None:
    file = tmp_path / "nodes.yaml"
    file.write_text("[{name: a, labels: {speed: high}}, {name: b, nodePool: gold}, {name: c}]")
    pools = (
        NodePool(meta=Meta(name="default")),
        NodePool(meta=Meta(name="fast"), label_key="speed", label_value="high"),
        NodePool(meta=Meta(name="gold")),
    )
    assert [node.node_pool for node in in_pools(read_nodes(file), pools)] == ["fast", "gold", "default"]
    assert [node.node_pool for node in in_pools(read_nodes(file), pools[:1])] == ["default"] * 3
