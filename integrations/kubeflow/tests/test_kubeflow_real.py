"""Kubeflow's own libraries against a real orchestrator: pipelines, compiled and local, and the trainer's client."""

# mypy: disable-error-code="untyped-decorator"

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from runai_core.client import Client
from runai_core.model.errors import InvalidRequest, Unavailable
from tests.orchestrators import OrchestratorProcess, an_orchestrator
from tests.transcripts import keep, runai
from tests.waiting import eventually

pytestmark = [
    pytest.mark.ecosystem,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("default"),  # the frameworks' own
]

NODES = [{"name": "n1", "cpu": 8, "memory": "16Gi", "gpus": 4}]
README = Path(__file__).parents[1] / "README.md"


@pytest.fixture(scope="module")
def orchestrator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrchestratorProcess]:
    with an_orchestrator(tmp_path_factory.mktemp("orchestrator"), NODES) as running:
        yield running


@pytest.fixture
def connected(orchestrator: OrchestratorProcess, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Client]:
    monkeypatch.setenv("RUNAI_DATA_DIR", str(orchestrator.data_dir))
    monkeypatch.chdir(tmp_path)
    with Client.from_env() as client:
        yield client
        for workload in client.list():
            client.delete(workload)


# -- pipelines


def a_pipeline() -> Any:
    from kfp import dsl, kubernetes

    @dsl.component(install_kfp_package=False)
    def add(x: int, y: int) -> int:
        return x + y

    @dsl.pipeline
    def sums(x: int = 1) -> int:
        first = add(x=x, y=1)
        kubernetes.add_pod_label(first, "team", "ml")
        output: int = add(x=first.output, y=1).output
        return output

    return sums


def executors_of(path: Path) -> Any:
    platform = list(yaml.safe_load_all(path.read_text()))[1]
    return platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def test_every_pod_of_a_pipeline_is_marked_with_its_project(tmp_path: Path) -> None:
    from kfp import compiler
    from runai_kubeflow.pipelines import gang

    pipeline = gang(a_pipeline(), project="team-a", priority="high")
    compiler.Compiler().compile(gang(pipeline, project="team-a", priority="high"), str(tmp_path / "p.yaml"))

    marks = {"runai/queue": "team-a", "priorityClassName": "high"}
    assert executors_of(tmp_path / "p.yaml") == {
        "exec-add": {"podMetadata": {"labels": {"team": "ml", **marks}}},
        "exec-add-2": {"podMetadata": {"labels": marks}},
    }


def test_what_is_no_pipeline_is_refused() -> None:
    from runai_kubeflow.pipelines import gang

    with pytest.raises(InvalidRequest, match=r"@dsl\.pipeline"):
        gang(lambda: None, project="team-a")


def test_a_wrong_option_of_a_step_is_told_when_the_pipeline_is_built() -> None:
    from runai_kubeflow.pipelines import runai_workload

    with pytest.raises(InvalidRequest, match=r"gpu_memroy.*use one of.*gpu_memory"):
        runai_workload(name="t", project="a", command=["true"], options={"gpu_memroy": "5G"})


def test_a_local_pipeline_runs_its_tasks_as_workloads(connected: Client) -> None:
    from runai_kubeflow import local

    with local.use(project="default", cpus=0.5):
        result = a_pipeline()(x=3)

    assert result.output == 5
    found = connected.list()
    assert [workload.phase for workload in found] == ["Completed"] * 2
    assert all(workload.name.startswith("kfp-add-") for workload in found)


def test_a_task_that_fails_fails_the_pipeline_with_the_reason(
    connected: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    from kfp import dsl
    from runai_kubeflow import local

    @dsl.component(install_kfp_package=False)
    def broken() -> None:
        raise SystemExit("no data")

    with local.use(project="default"), pytest.raises(RuntimeError, match="FAILURE"):
        broken()

    assert "is Failed" in capsys.readouterr().out


def test_kfp_runs_as_before_outside_the_context() -> None:
    from kfp.local import subprocess_task_handler
    from runai_kubeflow import local

    before = subprocess_task_handler.SubprocessTaskHandler
    with local.use():
        assert subprocess_task_handler.SubprocessTaskHandler is not before
    assert subprocess_task_handler.SubprocessTaskHandler is before


def test_a_step_submits_a_gang_and_waits_for_it(connected: Client) -> None:
    from kfp import dsl
    from runai_kubeflow import local
    from runai_kubeflow.pipelines import runai_workload

    command = [sys.executable, "-c", "import os; print('rank', os.environ['RANK'], 'of', os.environ['WORLD_SIZE'])"]

    @dsl.pipeline
    def p() -> None:
        runai_workload(name="train", project="default", command=command, replicas=3, gpu=1)

    with local.use(project="default", cpus=0.1):
        p()

    gang = connected.get("train")
    assert (gang.phase, gang.type, gang.requested_pods) == ("Completed", "Distributed", 3)
    assert "rank 2 of 3" in "".join(connected.log_text(gang, pod=pod.name) for pod in connected.pods(gang))


# -- the launcher's step


def a_step(
    orchestrator: OrchestratorProcess, name: str, options: dict[str, Any], **more: str
) -> "subprocess.Popen[str]":
    code = f"from runai_kubeflow.launcher import step; step('Training', {name!r}, {options!r}, 'kubeflow:test/{name}')"
    environ = {"RUNAI_DATA_DIR": str(orchestrator.data_dir), "PATH": "/usr/bin:/bin", **more}
    return subprocess.Popen(
        [sys.executable, "-c", code], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_cancelled_step_leaves_no_workload(connected: Client, orchestrator: OrchestratorProcess) -> None:
    process = a_step(orchestrator, "long", {"command": ["sleep", "600"]})
    eventually(lambda: any(found.phase == "Running" for found in connected.list()), connected.list)

    process.terminate()
    output, _ = process.communicate(timeout=120)

    assert process.returncode != 0
    assert "default/long was deleted: its step was cancelled" in output
    assert not [workload for workload in connected.list() if workload.phase != "Deleting"]


def test_a_step_whose_workload_an_administrator_deletes_says_so(
    connected: Client, orchestrator: OrchestratorProcess
) -> None:
    process = a_step(orchestrator, "gone", {"command": ["sleep", "600"]})
    eventually(lambda: any(found.phase == "Running" for found in connected.list()), connected.list)

    connected.delete("gone")
    _, errors = process.communicate(timeout=120)

    assert process.returncode == 1
    assert "default/gone" in errors
    assert "delet" in errors.lower()


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown project": (
        {"command": ["true"], "project": "team-z"},
        "there is no project team-z; there are: default",
    ),
    "an impossible request": ({"command": ["true"], "gpus": -1}, "gpu"),
    "a policy": ({"command": ["true"], "gpus": 2}, "gpuDevicesRequest"),
    "a typo": ({"command": ["true"], "gpu_memroy": "5G"}, "gpu_memroy"),
}


@pytest.fixture
def strict(connected: Client) -> Iterator[None]:
    """A policy under which work may have one GPU."""
    rules = {"rules": {"compute": {"gpuDevicesRequest": {"max": 1}}}}
    connected.policies.apply("training", rules, scope="project", name="default")
    yield
    connected.policies.delete("training", scope="project", name="default")


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize(("options", "words"), REFUSED.values(), ids=REFUSED)
def test_a_refused_step_ends_with_one_sentence(
    connected: Client, orchestrator: OrchestratorProcess, options: dict[str, Any], words: str
) -> None:
    process = a_step(orchestrator, "refused", options)
    _, errors = process.communicate(timeout=120)

    assert process.returncode == 1
    assert words in errors
    assert "Traceback" not in errors
    assert connected.list() == ()


def test_a_step_whose_gang_loses_a_member_fails_with_it(
    connected: Client, orchestrator: OrchestratorProcess, tmp_path: Path
) -> None:
    command = ["sh", "-c", 'if [ "$RANK" = 1 ]; then exit 9; fi; sleep 600']
    code = f"from runai_kubeflow.launcher import step; step('Distributed', 'half', {{'command': {command!r}, "
    code += "'workers': 1, 'backoff_limit': 0}, 'kubeflow:test/half')"
    environ = {"RUNAI_DATA_DIR": str(orchestrator.data_dir), "PATH": "/usr/bin:/bin"}

    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environ,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 1
    assert "default/half is Failed" in done.stderr
    assert "exit code 9" in done.stderr
    assert [pod.k8s_phase for pod in connected.pods("half") if pod.k8s_phase == "Running"] == []


def test_a_step_that_is_killed_before_it_saw_anything_is_gone_on_with_by_the_next(
    connected: Client, orchestrator: OrchestratorProcess, tmp_path: Path
) -> None:
    """As Kubeflow does with a step whose pod was lost: it runs the same step again."""
    options = {"command": ["sh", "-c", f"until [ -e {tmp_path}/go ]; do sleep 0.1; done; echo done"]}
    killed = a_step(orchestrator, "same", options)
    eventually(connected.list)
    killed.kill()
    killed.communicate()
    (first,) = connected.list()

    (tmp_path / "go").touch()
    output, errors = a_step(orchestrator, "same", options).communicate(timeout=120)

    assert "default/same is Completed" in output, errors
    assert [found.id for found in connected.list()] == [first.id]


def test_where_nobody_answers_a_step_says_where_it_asked() -> None:
    from runai_kubeflow.launcher import launch

    with (
        Client.connect("http://127.0.0.1:9", "x") as nobody,
        pytest.raises(Unavailable, match=r"nobody answers at http://127\.0\.0\.1:9"),
    ):
        launch("Training", "lost", {"command": ["true"]}, owner="kubeflow:test/lost", client=nobody, patience=0.5)


def test_a_token_that_is_no_longer_taken_is_told(connected: Client, orchestrator: OrchestratorProcess) -> None:
    url = str(orchestrator.client.base_url)
    process = a_step(orchestrator, "expired", {"command": ["true"]}, RUNAI_URL=url, RUNAI_TOKEN="expired")
    _, errors = process.communicate(timeout=120)

    assert process.returncode == 1
    assert "token" in errors
    assert "Traceback" not in errors
    assert connected.list() == ()


# -- the trainer


def train(lr: float, text: str) -> None:
    import os

    print("rank", os.environ["RANK"], "of", os.environ["WORLD_SIZE"], "lr", lr, text)  # noqa: T201 - its log


def reasons_of(client: Any, name: str) -> list[str]:
    return [event.reason for event in client.get_job_events(name)]


def test_a_train_job_is_a_gang_with_logs_events_and_an_end(
    connected: Client, orchestrator: OrchestratorProcess
) -> None:
    from kubeflow.trainer import CustomTrainer
    from runai_kubeflow.trainer import RunaiTrainerClient

    client = RunaiTrainerClient(project="default", priority="medium")
    arguments = {"lr": 0.1, "text": 'it\'s "quoted"'}
    name = client.train(
        runtime="torch-distributed",
        trainer=CustomTrainer(func=train, func_args=arguments, num_nodes=3, resources_per_node={"gpu": 1, "cpu": 1}),
    )
    job = client.wait_for_job_status(name, timeout=120, polling_interval=1)

    assert (job.status, job.num_nodes, job.runtime.name) == ("Complete", 3, "torch-distributed")
    assert [step.name for step in job.steps] == ["node-0", "node-1", "node-2"]
    assert list(client.get_job_logs(name, step="node-2")) == ['rank 2 of 3 lr 0.1 it\'s "quoted"']
    assert list(client.get_job_logs(name, follow=True)) == ['rank 0 of 3 lr 0.1 it\'s "quoted"']
    assert [item.name for item in client.list_jobs()] == [name]
    assert connected.get(name).priority_class_name == "medium"
    reasons = eventually(lambda: told if (told := reasons_of(client, name))[-1] == "Completed" else [])
    assert reasons[0] == "Creating"
    environ = {"RUNAI_DATA_DIR": str(orchestrator.data_dir)}
    lines = [
        ">>> name = client.train(runtime='torch-distributed', trainer=CustomTrainer(func=train, num_nodes=3, ...))",
        f">>> client.wait_for_job_status(name).status\n{job.status!r}",
        f">>> list(client.get_job_logs(name, step='node-2'))\n{list(client.get_job_logs(name, step='node-2'))}",
        *(f"{event.reason}: {event.message}" for event in client.get_job_events(name)[-2:]),
        runai("workload", "list", environ=environ),
    ]
    keep("kubeflow", "\n".join(lines))

    client.delete_job(name)
    assert client.list_jobs() == []


def fails() -> None:
    raise ValueError("bad data")


def test_a_train_job_that_fails_or_waits_is_told_in_a_sentence(connected: Client) -> None:
    from kubeflow.trainer import CustomTrainer
    from runai_kubeflow.trainer import RunaiTrainerClient

    client = RunaiTrainerClient(project="default")
    failing = client.train(trainer=CustomTrainer(func=fails))
    with pytest.raises(RuntimeError, match=f"default/{failing} is Failed"):
        client.wait_for_job_status(failing, timeout=120, polling_interval=1)

    waiting = client.train(trainer=CustomTrainer(func=fails, num_nodes=5, resources_per_node={"gpu": 1}))
    eventually(lambda: "GPU" in connected.get(waiting).phase_message, "a sentence on GPUs")
    with pytest.raises(TimeoutError, match="GPU"):
        client.wait_for_job_status(waiting, timeout=2, polling_interval=1)


def test_what_only_kubeflows_controller_can_do_is_refused_by_name(connected: Client) -> None:
    from kubeflow.trainer import CustomTrainer
    from runai_kubeflow.trainer import RunaiTrainerClient

    client = RunaiTrainerClient()
    with pytest.raises(ValueError, match="packages_to_install"):
        client.train(trainer=CustomTrainer(func=fails, packages_to_install=["torch"]))
    with pytest.raises(ValueError, match="there is no runtime torch; there are: torch-distributed"):
        client.train(runtime="torch", trainer=CustomTrainer(func=fails))
    with pytest.raises(ValueError, match="tpu is not one of gpu"):
        client.train(trainer=CustomTrainer(func=fails, resources_per_node={"tpu": 1}))
    with pytest.raises(ValueError, match="there is no TrainJob nothing"):
        client.get_job("nothing")


def test_an_orchestrator_that_restarts_while_a_step_waits_is_waited_for(
    connected: Client, orchestrator: OrchestratorProcess, tmp_path: Path
) -> None:
    command = ["sh", "-c", f"until [ -e {tmp_path}/go ]; do sleep 0.1; done"]
    process = a_step(orchestrator, "patient", {"command": command})
    eventually(lambda: any(found.phase == "Running" for found in connected.list()), connected.list)

    port = orchestrator.client.base_url.port or 0
    orchestrator.kill()
    orchestrator.start(port=port)
    (tmp_path / "go").touch()
    output, errors = process.communicate(timeout=120)

    assert process.returncode == 0, errors
    assert "Completed" in output


# -- the README


def test_the_first_example_of_the_readme_runs(orchestrator: OrchestratorProcess, tmp_path: Path) -> None:
    example = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert example is not None
    (tmp_path / "example.py").write_text(example[1])
    environ = {"RUNAI_DATA_DIR": str(orchestrator.data_dir), "PATH": "/usr/bin:/bin"}

    done = subprocess.run(
        [sys.executable, "example.py"],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "rank 3 of 4" in done.stdout


def test_one_thread_may_launch_where_signals_cannot_be_caught(connected: Client) -> None:
    from runai_kubeflow.launcher import launch

    said: list[str] = []
    arguments = ("Training", "threaded", {"command": ["true"]})
    thread = threading.Thread(target=lambda: launch(*arguments, owner="kubeflow:test/t", say=said.append))
    thread.start()
    thread.join(120)

    assert said[-1].startswith("runai: default/threaded is Completed")
    assert json.dumps(said)
