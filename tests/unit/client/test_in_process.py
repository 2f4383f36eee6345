"""Both clients in process: the real application and real pods, no network."""

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from runai_core import AsyncClient, Client
from runai_core.client import quota
from runai_core.client.results import Change, ChangeType
from runai_core.model.errors import AlreadyExists, Conflict, InvalidRequest, NotFound
from runai_core.model.workload import Phase
from runai_core.settings import load_settings
from tests.waiting import PATIENCE, eventually, soon, until


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("embedded")
    with Client.embedded(load_settings({}, data_dir=folder, simulated_gpus=4)) as client:
        yield client


def test_a_training_is_submitted_waited_for_and_read(client: Client) -> None:
    job = client.trainings.submit("hello", command=["sh", "-c", "echo hello; echo there"], gpus=0.5, env={"A": 1})

    done = client.wait(job, timeout=PATIENCE)

    assert (done.phase, done.gpu_request) == (Phase.COMPLETED, 0.5)
    assert client.log_text(job) == "hello\nthere\n"
    # What happened is written after the change that it tells of.
    eventually(lambda: [record.phase for record in client.history(job) if record.phase][-1:] == ["Completed"])
    assert client.get("hello").id == job.id
    assert job.id in [found.id for found in client.list(project="default")]
    assert client.pods(job)[0].k8s_phase == "Succeeded"


def test_a_log_is_followed_while_it_is_written(client: Client, tmp_path: Path) -> None:
    script = f"echo one; while ! [ -e {tmp_path}/go ]; do sleep 0.05; done; echo two"
    job = client.trainings.submit("talker", command=["sh", "-c", script])
    client.wait(job, until=["Running"], timeout=PATIENCE)

    following = iter(client.logs(job, follow=True))

    assert next(following) == b"one\n"
    (tmp_path / "go").touch()
    assert b"".join(following) == b"two\n"


def test_a_command_runs_beside_a_workspace(client: Client) -> None:
    lab = client.workspaces.submit("lab", command="sleep 60")
    client.wait(lab, until=["Running"], timeout=PATIENCE)

    with client.exec(lab, ["sh", "-c", "cat; echo $RUNAI_JOB_NAME >&2; exit 3"], stdin=True) as session:
        session.write(b"typed\n")
        session.write(b"")
        output, code = session.finish()
    assert (sorted(output.split()), code) == ([b"lab", b"typed"], 3)

    with pytest.raises(Conflict), client.exec("hello", ["true"]):
        pass
    client.suspend(lab)
    assert client.wait(lab, until=["Stopped"], timeout=PATIENCE).phase is Phase.STOPPED
    client.resume("lab")
    assert client.wait(lab, until=["Running"], timeout=PATIENCE).phase is Phase.RUNNING
    client.delete(lab)
    _until_deleted(client, "lab")


def _until_deleted(client: Client, name: str) -> None:
    def is_gone() -> bool:
        try:
            client.get(name)
        except NotFound:
            return True
        return False

    eventually(is_gone, f"the end of {name}")


def test_why_and_preview_answer_before_and_after(client: Client) -> None:
    assert client.preview("Training", "big", {"gpus": 3}).starts_now is True
    assert client.preview("Training", "big", {"gpus": 9}).starts_now is False

    job = client.trainings.submit("big", command="true", gpus=9)
    client.wait(job, until=["Pending"], timeout=PATIENCE)

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
        seen: list[Change] = []

        async def follow() -> None:
            async for change in client.watch():
                seen.append(change)
                if change.workload.name == "watched" and change.workload.is_over:
                    return

        probes = itertools.count()

        async def is_watching() -> bool:
            await client.trainings.submit(f"probe-{next(probes)}", command="true")
            return bool(seen)

        following = asyncio.create_task(follow())
        await until(is_watching, "a watch without a version, which begins when it is connected")
        job = await client.trainings.submit("watched", command="true")
        await soon(following)

        told = [change for change in seen if change.workload.id == job.id]
        assert (told[0].type, told[0].workload.phase) == (ChangeType.ADDED, "Creating")
        assert told[-1].workload.phase == "Completed"
        async for change in client.watch(since=seen[0].version):
            assert (change.workload.id, change.version) == (seen[1].workload.id, seen[1].version)
            break

    await _until_gone(str(tmp_path))


async def _until_gone(folder: str) -> None:
    """Wait for the last process that names the folder: what supervises pods ends a moment after the rest."""
    await until(
        lambda: not [path for path in Path("/proc").glob("[0-9]*") if folder in _command_of(path)],
        f"the end of all processes of {folder}",
    )


def _command_of(path: Path) -> str:
    try:
        return (path / "cmdline").read_text()
    except OSError:
        return ""
