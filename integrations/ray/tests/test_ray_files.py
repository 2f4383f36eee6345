"""From a cluster's file to one workload, and the arguments of `ray start`; nothing runs."""

import copy
from pathlib import Path
from typing import Any

import pytest
from runai_ray import config as files
from runai_ray.place import Place, inner_environment, loopback, place_of
from runai_ray.rayproc import start_arguments

from runai_core.model.errors import InvalidRequest

FILE: dict[str, Any] = {
    "cluster_name": "Team A / lab",
    "provider": {"type": "external", "module": "runai_ray.NodeProvider", "project": "team-a"},
    "available_node_types": {
        "head": {"node_config": {"cpu": 2}},
        "worker": {"node_config": {"cpu": 4, "gpu": 1}, "min_workers": 2, "max_workers": 5},
    },
    "head_node_type": "head",
}


def changed(path: str, value: Any) -> dict[str, Any]:
    file = copy.deepcopy(FILE)
    *parents, last = path.split(".")
    place: Any = file
    for part in parents:
        place = place.setdefault(part, {})
    place[last] = value
    return file


def test_what_ray_demands_is_filled_in() -> None:
    filled = files.with_defaults(FILE)

    assert (filled["max_workers"], filled["setup_commands"], filled["provider"]["disable_node_updaters"]) == (
        5,
        [],
        True,
    )
    assert filled["available_node_types"]["worker"]["resources"] == {"CPU": 4, "GPU": 1}
    assert files.with_defaults(filled) == filled


def test_the_users_own_words_stay() -> None:
    filled = files.with_defaults(changed("available_node_types.worker.resources", {"CPU": 1, "custom": 2}))

    assert filled["available_node_types"]["worker"]["resources"] == {"CPU": 1, "custom": 2}


def test_a_cluster_is_one_workload_of_a_head_and_workers_on_demand() -> None:
    gang = files.gang_in(files.with_defaults(FILE))
    options = files.workload_options(gang, FILE["provider"], {"A": "b"}, {"note": "x"})

    assert (options["project"], options["gpus"], options["max_replicas"]) == ("team-a", 1, 5)
    assert options["master"]["compute"] == {"gpuDevicesRequest": 0, "cpuCoreRequest": 2}
    assert gang["min_workers"] == {"worker": 2}


WRONG = {
    "a typo in a node's configuration": (
        changed("available_node_types.worker.node_config.gpus", 1),
        "available_node_types.worker.node_config.gpus",
        "did you mean gpu?",
    ),
    "a typo in the provider": (changed("provider.projct", "a"), "provider.projct", "did you mean project?"),
    "a head type that is not there": (changed("head_node_type", "haed"), "head_node_type", "available_node_types"),
    "workers that differ": (
        changed("available_node_types.big", {"node_config": {"cpu": 4, "gpu": 8}}),
        "available_node_types.big.node_config.gpu",
        "one kind of worker",
    ),
    "workers that are no number": (
        changed("available_node_types.worker.min_workers", "two"),
        "available_node_types.worker.min_workers",
        "whole number",
    ),
}


@pytest.mark.parametrize(("file", "field", "text"), WRONG.values(), ids=WRONG)
def test_a_wrong_file_names_the_key(file: dict[str, Any], field: str, text: str) -> None:
    with pytest.raises(InvalidRequest, match=text) as caught:
        files.with_defaults(file)

    assert field in [error.field for error in caught.value.errors]


@pytest.mark.parametrize(("cluster", "name"), [("lab", "lab"), ("Team A / lab", "team-a-lab"), ("x" * 80, "x" * 40)])
def test_the_workload_is_called_as_the_cluster(cluster: str, name: str) -> None:
    assert files.workload_name(cluster) == name


def a_place(*, rank: int = 0, local: bool = True) -> Place:
    return Place(
        home=Path("/w/home"), local=local, ip=f"127.9.9.{rank}", head_ip="127.9.9.0", port=4711, rank=rank, instance="p"
    )


def test_a_head_that_shares_its_host_gets_addresses_of_its_own() -> None:
    words = start_arguments(a_place(), ["--head", "--port", "6379", "--autoscaling-config=x"], lambda: 5000)

    assert words[:2] == ["--head", "--autoscaling-config=x"]
    assert {"--port=4711", "--node-ip-address=127.9.9.0", "--dashboard-port=5000", "--block"} <= set(words)
    assert "6379" not in words


def test_a_worker_goes_to_its_head_whatever_it_was_told() -> None:
    words = start_arguments(a_place(rank=1), ["--address=$RAY_HEAD_IP:6379"], lambda: 1)

    assert "--address=127.9.9.0:4711" in words
    assert not any(word.startswith("--dashboard-port") for word in words)


def test_a_node_with_a_host_of_its_own_is_left_as_the_user_wants_it() -> None:
    words = start_arguments(a_place(local=False), ["--head", "--dashboard-host=0.0.0.0"], lambda: 1)

    assert words == ["--head", "--dashboard-host=0.0.0.0", "--port=4711", "--block"]


def test_addresses_of_nodes_differ_and_stay() -> None:
    found = {loopback("uid", 1, rank) for rank in range(50)}

    assert len(found) == 50
    assert loopback("uid", 1, 3) == loopback("uid", 1, 3)


def test_a_place_is_found_again_by_commands_that_run_beside_it(tmp_path: Path) -> None:
    (tmp_path / "home" / ".runai-ray").mkdir(parents=True)
    environment = {"JOB_UUID": "u", "POD_INDEX": "2", "MASTER_PORT": "4711", "POD_NAME": "lab-1-2"}

    keeper = place_of({**environment, "RUNAI_POD_UID": "x"}, tmp_path)
    beside = place_of(environment, tmp_path)

    assert keeper == beside
    assert inner_environment(beside, {"PATH": "/bin"})["PATH"].startswith(str(tmp_path / "home" / ".runai-ray" / "bin"))
