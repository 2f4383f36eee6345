"""Both clients in process: the real application and real pods, no network."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runai_core import AsyncClient, Client
from runai_core.client import quota
from runai_core.client.results import ChangeType
from runai_core.model.errors import AlreadyExists, Conflict, InvalidRequest, NotFound
from runai_core.model.workload import Phase
from runai_core.settings import load_settings


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("embedded")
    with Client.embedded(load_settings({}, data_dir=folder, simulated_gpus=4)) as client:
        yield client


def test_a_training_is_submitted_waited_for_and_read(client: Client) -> None:
    job = client.trainings.submit("hello", command=["sh", "-c", "echo hello; echo there"], gpus=0.5, env={"A": 1})

    done = client.wait(job, timeout=20)

    assert (done.phase, done.gpu_request) == (Phase.COMPLETED, 0.5)
    assert client.log_text(job) == "hello\nthere\n"
    assert [record.phase for record in client.history(job) if record.phase][-1] == "Completed"
    assert client.get("hello").id == job.id
    assert job.id in [found.id for found in client.list(project="default")]
    assert client.pods(job)[0].k8s_phase == "Succeeded"


def test_a_log_is_followed_while_it_is_written(client: Client) -> None:
    script = "import time\nprint('one', flush=True)\ntime.sleep(0.5)\nprint('two', flush=True)"
    job = client.trainings.submit("talker", command=["python", "-c", script])
    client.wait(job, until=["Running"], timeout=20)

    pieces = list(client.logs(job, follow=True))

    assert b"".join(pieces) == b"one\ntwo\n"
    assert len(pieces) > 1, "the log came in one piece: it was not followed"


def test_a_command_runs_beside_a_workspace(client: Client) -> None:
    lab = client.workspaces.submit("lab", command="sleep 60")
    client.wait(lab, until=["Running"], timeout=20)

    with client.exec(lab, ["sh", "-c", "cat; echo $RUNAI_JOB_NAME >&2; exit 3"], stdin=True) as session:
        session.write(b"typed\n")
        session.write(b"")
        output, code = session.finish()
    assert (sorted(output.split()), code) == ([b"lab", b"typed"], 3)

    with pytest.raises(Conflict), client.exec("hello", ["true"]):
        pass
    client.suspend(lab)
    assert client.wait(lab, until=["Stopped"], timeout=20).phase is Phase.STOPPED
    client.resume("lab")
    assert client.wait(lab, until=["Running"], timeout=20).phase is Phase.RUNNING
    client.delete(lab)
    _until_deleted(client, "lab")


def _until_deleted(client: Client, name: str) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            client.get(name)
        except NotFound:
            return
        time.sleep(0.05)
    raise AssertionError(f"{name} is still there")


def test_why_and_preview_answer_before_and_after(client: Client) -> None:
    assert client.preview("Training", "big", {"gpus": 3}).starts_now is True
    assert client.preview("Training", "big", {"gpus": 9}).starts_now is False

    job = client.trainings.submit("big", command="true", gpus=9)
    client.wait(job, until=["Pending"], timeout=20)

    found = client.why(job)
    assert "9 GPUs" in found.sentence
    client.delete(job)


def test_units_and_policies_are_kept(client: Client) -> None:
    client.departments.create("research", resources=[quota(gpus=2)])
    made = client.projects.create("vision", department="research", resources=[quota(gpus=1, over_quota_weight=2)])
    assert (made.department_name, made.resources[0].gpu.deserved) == ("research", 1.0)

    client.policies.apply(
        "training", {"rules": {"compute": {"gpuDevicesRequest": {"max": 1}}}}, scope="project", name="vision"
    )
    with pytest.raises(InvalidRequest) as caught:
        client.trainings.submit("greedy", project="vision", command="true", gpus=2)
    assert caught.value.errors[0].field == "compute.gpuDevicesRequest"
    assert client.policies.validate("training", {"rules": {"compute": {"gpus": {"max": 1}}}})["valid"] is False
    client.policies.delete("training", scope="project", name="vision")

    assert client.projects.update("vision", description="eyes").description == "eyes"
    client.projects.delete("vision")
    client.departments.delete("research")
    with pytest.raises(NotFound):
        client.projects.get("vision")


def test_errors_come_back_as_the_classes_of_the_model(client: Client) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        client.trainings.submit("x", project="nowhere", command="true")
    with pytest.raises(InvalidRequest):
        client.trainings.submit("Not A Name", command="true")
    client.trainings.submit("twin", command="true")
    with pytest.raises(AlreadyExists):
        client.trainings.submit("twin", command="true")


def test_the_orchestrator_describes_itself(client: Client) -> None:
    assert client.status()["gpus"] == {"total": 4, "real": 0, "simulated": 4}
    assert [(node.gpu_count, node.simulated) for node in client.nodes()] == [(4, True)]
    assert [pool.name for pool in client.node_pools.list()] == ["default"]
    assert "builtin" in [item["name"] for item in client.plugins()["plugins"]]


@pytest.mark.asyncio
async def test_a_watch_sees_each_change_and_can_be_taken_up_again(tmp_path: Path) -> None:
    settings = load_settings({}, data_dir=tmp_path / "data")
    async with AsyncClient.embedded(settings) as client:
        seen: list[tuple[ChangeType, str, int]] = []

        async def follow() -> None:
            async for change in client.watch():
                seen.append((change.type, change.workload.phase, change.version))
                if change.workload.is_over:
                    return

        following = asyncio.create_task(follow())
        await asyncio.sleep(0.3)  # let it connect: a watch without a version begins now
        job = await client.trainings.submit("watched", command="true")
        await asyncio.wait_for(following, 20)

        assert seen[0][:2] == (ChangeType.ADDED, "Creating")
        assert seen[-1][1] == "Completed"
        async for change in client.watch(since=seen[0][2]):
            assert (change.workload.id, change.version) == (job.id, seen[1][2])
            break

    await _until_gone(str(tmp_path))


async def _until_gone(folder: str) -> None:
    """Wait for the last process that names the folder: what supervises pods ends a moment after the rest."""
    for _ in range(100):
        if not [path for path in Path("/proc").glob("[0-9]*") if folder in _command_of(path)]:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"processes of {folder} are left")


def _command_of(path: Path) -> str:
    try:
        return (path / "cmdline").read_text()
    except OSError:
        return ""
