from typing import Any

import pytest

from runai_core import wire
from runai_core.client.requests import quota
from runai_core.client.specs import build_spec
from runai_core.model.errors import InvalidRequest
from runai_core.model.spec import WorkloadSpec

CASES: list[Any] = [
    pytest.param("Training", {"gpus": 2}, {"compute": {"gpuDevicesRequest": 2}}, id="whole GPUs"),
    pytest.param(
        "Training",
        {"gpus": 0.5},
        {"compute": {"gpuDevicesRequest": 1, "gpuPortionRequest": 0.5, "gpuRequestType": "portion"}},
        id="half a GPU is a portion of one device",
    ),
    pytest.param(
        "Training",
        {"gpu_memory": "5G"},
        {"compute": {"gpuMemoryRequest": "5G", "gpuDevicesRequest": 1, "gpuRequestType": "memory"}},
        id="GPU memory is asked of one device",
    ),
    pytest.param("Training", {"gpus": 0}, {"compute": {"gpuDevicesRequest": 0}}, id="no GPU, said aloud"),
    pytest.param(
        "Training",
        {"command": ["python", "-c", "print('a b')"]},
        {"command": """python -c 'print('"'"'a b'"'"')'"""},
        id="words are quoted as in a shell",
    ),
    pytest.param("Workspace", {"command": "jupyter lab"}, {"command": "jupyter lab"}, id="one line is kept as it is"),
    pytest.param(
        "Training", {"env": {"LR": 0.1}}, {"environmentVariables": [{"name": "LR", "value": "0.1"}]}, id="variables"
    ),
    pytest.param("Training", {"preemptible": False}, {"preemptibility": "non-preemptible"}, id="not preemptible"),
    pytest.param("Distributed", {"workers": 4}, {"numWorkers": 4}, id="workers of a gang"),
    pytest.param("DistributedInference", {"workers": 4}, {"workers": 4}, id="workers of each replica"),
    pytest.param("Distributed", {"min_replicas": 2}, {"minReplicas": 2}, id="an elastic gang"),
    pytest.param("Inference", {"min_replicas": 2}, {"autoscaling": {"minReplicas": 2}}, id="replicas of a server"),
    pytest.param(
        "Inference",
        {"port": 8000, "readiness_path": "/healthz"},
        {
            "servingPort": {"container": 8000},
            "probes": {"readiness": {"handler": {"httpGet": {"path": "/healthz", "port": 8000}}}},
        },
        id="readiness is asked of the serving port",
    ),
    pytest.param(
        "Training",
        {"gpus": 1, "spec": {"compute": {"cpuCoreRequest": 2}, "tty": True}},
        {"compute": {"gpuDevicesRequest": 1, "cpuCoreRequest": 2}, "tty": True},
        id="further fields are merged in",
    ),
    pytest.param("Training", {"image": None, "project": "vision"}, {}, id="nothing given is nothing said"),
]


@pytest.mark.parametrize(("type_", "options", "expected"), CASES)
def test_options_become_the_specification(type_: str, options: dict[str, Any], expected: dict[str, Any]) -> None:
    spec = build_spec(type_, options)

    assert expected == spec
    wire.decode(WorkloadSpec, spec)  # and the model takes it


@pytest.mark.parametrize(
    ("options", "names"),
    [
        pytest.param({"gpus": 1.5}, "gpus", id="one and a half GPUs"),
        pytest.param({"gpus": -1}, "gpus", id="negative GPUs"),
        pytest.param({"gpus": "two"}, "gpus", id="a word"),
        pytest.param({"gpus": True}, "gpus", id="a truth value"),
        pytest.param({"gpus": 0.5, "gpu_memory": "5G"}, "gpu_memory", id="a share and memory at once"),
        pytest.param({"gpu": 1}, "gpu", id="an option that does not exist"),
        pytest.param({"readiness_path": "/"}, "readiness_path", id="readiness without a port"),
        pytest.param({"workers": 2}, "workers", id="workers of a training"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], names: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        build_spec("Training", options)

    assert names == caught.value.errors[0].field


def test_quota_is_given_in_the_units_of_people() -> None:
    assert quota(gpus=2, gpu_limit=-1, cpus=1.5, memory=512) == {
        "nodePool": {"name": "default"},
        "gpu": {"deserved": 2, "limit": -1},
        "cpu": {"deserved": 1500.0},
        "memory": {"deserved": 512, "units": "MB"},
    }


def test_unlimited_cpus_stay_unlimited() -> None:
    assert quota(cpus=-1)["cpu"] == {"deserved": -1}
