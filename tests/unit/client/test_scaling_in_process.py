"""Workers that come and go on demand, with real pods."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from runai_core import Client
from runai_core.client import requests
from runai_core.client.results import Workload
from runai_core.model.errors import Conflict, InvalidRequest, Unsupported
from runai_core.model.workload import Phase
from runai_core.settings import load_settings
from tests.waiting import eventually

ON_DEMAND = {"run.ai/workers-on-demand": "1"}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with Client.embedded(load_settings({}, data_dir=tmp_path, simulated_gpus=8)) as client:
        yield client


def scale(client: Client, workload: Workload, *, add: int = 0, remove: tuple[str, ...] = ()) -> None:
    client.transport.call(requests.scale(workload, add=add, remove=remove))


def wait_for(client: Client, workload: Workload, names: set[str]) -> None:
    """Wait until these pods run and no other one is there."""

    def found() -> dict[str, str]:
        return {pod.name: pod.k8s_phase for pod in client.pods(workload)}

    eventually(lambda: found() == dict.fromkeys(names, "Running"), lambda: f"{names}, running, not {found()}")


def test_workers_join_a_running_gang_and_leave_it_again(client: Client) -> None:
    gang = client.distributed.submit("ray", command="sleep 600", max_replicas=3, gpus=1, annotations=ON_DEMAND)
    wait_for(client, gang, {"ray-1-0", "ray-1-1"})

    scale(client, gang, add=2)
    wait_for(client, gang, {"ray-1-0", "ray-1-1", "ray-1-2", "ray-1-3"})
    ports = {_port(client, gang, name) for name in ("ray-1-0", "ray-1-3")}
    assert len(ports) == 1, "who joins must meet the others where they met"
    with pytest.raises(InvalidRequest, match="maxReplicas"):
        scale(client, gang, add=1)

    scale(client, gang, remove=("ray-1-2",))
    wait_for(client, gang, {"ray-1-0", "ray-1-1", "ray-1-3"})
    found = client.get(gang)
    assert (found.phase, found.requested_pods) == (Phase.RUNNING, 3)
    with pytest.raises(InvalidRequest, match="starts with 1 workers"):
        scale(client, gang, remove=("ray-1-1", "ray-1-3"))

    scale(client, gang, add=1)
    wait_for(client, gang, {"ray-1-0", "ray-1-1", "ray-1-3", "ray-1-4"})
    assert "Scaled" in [record.reason for record in client.history(gang)]

    client.delete(gang)
    with pytest.raises(Conflict):
        scale(client, gang, add=1)


def test_a_fixed_gang_cannot_be_scaled(client: Client) -> None:
    gang = client.distributed.submit("fixed", command="sleep 600", workers=1)

    with pytest.raises(Unsupported, match="workers-on-demand"):
        scale(client, gang, add=1)


def _port(client: Client, workload: Workload, pod: str) -> bytes:
    with client.exec(workload, ["sh", "-c", "echo $MASTER_PORT"], pod=pod) as session:
        return bytes(session.finish()[0])
