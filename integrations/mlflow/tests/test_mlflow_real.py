"""MLflow as it is used: real projects, a real tracking store, models that are served, real workloads."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runai_core.client import Client, quota
from runai_core.client.results import Workload
from tests.orchestrators import OrchestratorProcess, an_orchestrator
from tests.waiting import eventually, heard

pytestmark = [pytest.mark.ecosystem, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(600)]

QUICK = {"project": "team-a", "poll_interval": 0.2}

NODES = [{"name": "node-1", "cpu": 8, "memory": "16Gi", "gpus": 4}]

PROJECT = """\
name: digits
entry_points:
  main:
    parameters:
      lr: {type: float, default: 0.5}
    command: "python train.py {lr}"
  fails:
    command: "python -c 'import mlflow; mlflow.start_run(); raise SystemExit(3)'"
  one_fails:
    command: "sh -c 'if [ $RANK = 1 ]; then sleep 1; exit 9; fi; sleep 600'"
  sleeps:
    command: "sleep 600"
  waits:
    parameters: {go: string}
    command: "sh -c 'until [ -e {go} ]; do sleep 0.1; done'"
"""

TRAIN = """\
import os
import sys

import mlflow

rank = os.environ.get("RANK", "0")
with mlflow.start_run():
    mlflow.log_metric(f"loss_{rank}", float(sys.argv[1]))
    if rank == "0":
        with mlflow.start_run(nested=True, run_name="child"):
            mlflow.log_param("depth", 3)
print("rank", rank, "of", os.environ.get("WORLD_SIZE", "1"), "in", os.environ["RUNAI_PROJECT"])
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a project, which is also where the commands run."""
    folder = tmp_path_factory.mktemp("mlflow")
    (folder / "project").mkdir()
    (folder / "project" / "MLproject").write_text(PROJECT)
    (folder / "project" / "train.py").write_text(TRAIN)
    return folder


@pytest.fixture(scope="module")
def tracking_uri(work: Path) -> Iterator[str]:
    uri = f"sqlite:///{work}/mlflow.db"
    os.environ["MLFLOW_TRACKING_URI"] = uri
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with contextlib.chdir(work):  # artifacts go to ./mlruns
        yield uri
    del os.environ["MLFLOW_TRACKING_URI"]


@pytest.fixture(scope="module")
def orchestrator(tmp_path_factory: pytest.TempPathFactory, tracking_uri: str) -> Iterator[OrchestratorProcess]:
    with an_orchestrator(tmp_path_factory.mktemp("runai"), NODES) as running:
        os.environ["RUNAI_DATA_DIR"] = str(running.data_dir)
        yield running
    del os.environ["RUNAI_DATA_DIR"]


@pytest.fixture(scope="module")
def client(orchestrator: OrchestratorProcess) -> Iterator[Client]:
    with Client.from_env({"RUNAI_DATA_DIR": str(orchestrator.data_dir)}) as found:
        found.projects.create("team-a", resources=[quota(gpus=4)])
        yield found


@pytest.fixture
def run(work: Path, client: Client, tracking_uri: str) -> Callable[..., Any]:
    """Return `mlflow.run` on the project; errors are MLflow's."""
    import mlflow

    def start(entry_point: str = "main", **config: Any) -> Any:
        synchronous = bool(config.pop("synchronous", True))
        parameters = config.pop("parameters", {})
        return mlflow.run(
            str(work / "project"),
            entry_point,
            parameters=parameters,
            backend="runai",
            backend_config={**QUICK, **config},
            env_manager="local",
            synchronous=synchronous,
        )

    return start


def runs() -> list[Any]:
    from mlflow import MlflowClient

    store = MlflowClient()
    found: list[Any] = store.search_runs([item.experiment_id for item in store.search_experiments()])
    return found


def the_run(run_id: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient().get_run(run_id)


def status_becomes(run_id: str, *wanted: str, seconds: float = 120) -> str:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        status = str(the_run(run_id).info.status)
        if status in wanted:
            return status
        time.sleep(0.1)
    return status


def newest(client: Client) -> Workload:
    return client.get(next(iter(client.list(limit=1))).id)


def when_running(client: Client, act: Callable[[Workload], object]) -> threading.Thread:
    before = {found.id for found in client.list()}

    def wait() -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            fresh = [found for found in client.list() if found.id not in before and found.phase == "Running"]
            if fresh:
                act(fresh[0])
                return
            time.sleep(0.1)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_a_gang_of_replicas_is_one_run(run: Callable[..., Any], client: Client, capfd: Any) -> None:
    submitted = run(replicas=2, gpus=1, parameters={"lr": 0.25})

    found, workload = the_run(submitted.run_id), newest(client)
    assert (found.info.status, found.data.metrics) == ("FINISHED", {"loss_0": 0.25, "loss_1": 0.25})
    assert found.data.params == {"lr": "0.25"}
    assert (workload.type, workload.requested_pods, workload.gpu_request) == ("Distributed", 2, 2)
    tags = found.data.tags
    assert (tags["runai.workload.id"], tags["runai.workload.name"], tags["runai.project"]) == (
        workload.id,
        workload.name,
        "team-a",
    )
    assert tags["runai.workload.url"].endswith(f"/workloads/{workload.id}")
    assert tags["mlflow.project.backend"] == "runai"
    child = next(item for item in runs() if item.data.tags.get("mlflow.parentRunId") == submitted.run_id)
    assert (child.data.tags["runai.workload.id"], child.data.tags["runai.rank"]) == (workload.id, "0")
    printed = capfd.readouterr()
    assert "rank 0 of 2 in team-a" in printed.out
    assert "rank 1 of 2 in team-a" in printed.out


def test_from_the_command_line_it_waits_and_tells_why(work: Path, client: Client, tracking_uri: str) -> None:
    """The command itself, as it is typed: it waits, prints the output, and its exit status tells the end."""
    config = json.dumps({**QUICK, "gpus": 0.5})
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "run",
        "project",
        "-b",
        "runai",
        "--backend-config",
        config,
        "-P",
        "lr=0.125",
    ]

    done = subprocess.run(command, cwd=work, check=False, capture_output=True, text=True, timeout=240)

    assert done.returncode == 0, done.stderr
    assert "rank 0 of 1 in team-a" in done.stdout
    assert "Submitted workload digits-" in done.stderr
    assert "is Completed: Its run has succeeded." in done.stderr


def test_what_waits_is_scheduled_with_its_verdict_and_can_be_cancelled(run: Callable[..., Any], client: Client) -> None:
    blocker = client.trainings.submit("blocker", command="sleep 600", gpus=4, project="team-a", priority="very-high")
    client.wait(blocker, until="Running", timeout=120)
    submitted = run("sleeps", gpus=2, wait=False, synchronous=False)
    workload = newest(client)

    assert status_becomes(submitted.run_id, "SCHEDULED") == "SCHEDULED"
    eventually(lambda: "runai.message" in the_run(submitted.run_id).data.tags)
    assert submitted.get_status() == "SCHEDULED"
    submitted.cancel()
    submitted.cancel()

    assert the_run(submitted.run_id).info.status == "KILLED"
    assert client.get(workload.id).phase == "Deleting"
    client.delete(blocker)


def test_a_failure_is_a_failed_run(run: Callable[..., Any], client: Client) -> None:
    from mlflow.exceptions import ExecutionException

    with pytest.raises(ExecutionException, match="failed with exit code 3"):
        run("fails")

    found = runs()[0]
    assert found.info.status == "FAILED"
    assert "failed with exit code 3" in found.data.tags["runai.message"]


def test_a_member_that_fails_ends_the_gang_and_the_run(run: Callable[..., Any], client: Client) -> None:
    from mlflow.exceptions import ExecutionException

    with pytest.raises(ExecutionException):
        run("one_fails", replicas=2)

    assert (runs()[0].info.status, newest(client).phase) == ("FAILED", "Failed")
    assert [pod.k8s_phase for pod in client.pods(newest(client)) if pod.k8s_phase == "Running"] == []


def test_a_workload_that_an_administrator_deletes_is_a_killed_run(run: Callable[..., Any], client: Client) -> None:
    from mlflow.exceptions import ExecutionException

    thread = when_running(client, client.delete)
    with pytest.raises(ExecutionException, match="is Deleting: deleted by runai-cli"):
        run("sleeps")
    thread.join()

    assert status_becomes(runs()[0].info.run_id, "KILLED") == "KILLED"
    assert "deleted by runai-cli" in runs()[0].data.tags["runai.message"]


def test_nobody_waits_and_the_run_still_ends_with_its_workload(run: Callable[..., Any], client: Client) -> None:
    """The command has long returned: the orchestrator itself tells MLflow."""
    stopped = run("sleeps", wait=False, synchronous=False)
    workload = newest(client)
    client.wait(workload, until="Running", timeout=120)
    assert status_becomes(stopped.run_id, "RUNNING") == "RUNNING"

    client.suspend(workload)
    assert status_becomes(stopped.run_id, "KILLED") == "KILLED"
    client.resume(workload)
    assert status_becomes(stopped.run_id, "RUNNING") == "RUNNING"
    client.delete(workload)
    assert status_becomes(stopped.run_id, "KILLED") == "KILLED"

    failed = run("fails", wait=False, synchronous=False)
    assert status_becomes(failed.run_id, "FAILED") == "FAILED"


def test_a_run_whose_workload_is_evicted_is_killed_and_runs_again(run: Callable[..., Any], client: Client) -> None:
    submitted = run("sleeps", gpus=4, wait=False, synchronous=False)
    workload = newest(client)
    client.wait(workload, until="Running", timeout=120)

    urgent = client.trainings.submit("urgent", command="sleep 600", gpus=4, project="team-a", priority="very-high")

    assert status_becomes(submitted.run_id, "KILLED") == "KILLED"
    client.delete(urgent)
    assert status_becomes(submitted.run_id, "RUNNING") == "RUNNING"
    client.delete(workload)


def test_a_command_that_is_killed_leaves_a_workload_that_ends_its_run(
    work: Path, client: Client, tracking_uri: str
) -> None:
    """Between the submission and the first status: the workload goes on, and the run gets its end."""
    config = json.dumps({**QUICK, "poll_interval": 60})
    command = [sys.executable, "-m", "mlflow", "run", "project", "-b", "runai", "--backend-config", config]
    before = {found.id for found in client.list()}
    process = subprocess.Popen(command, cwd=work, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    fresh = eventually(lambda: [found for found in client.list() if found.id not in before])
    process.send_signal(signal.SIGKILL)
    process.wait()

    assert client.wait(fresh[0], timeout=120).phase == "Completed"
    run_id = client.get(fresh[0].id).raw["environmentVariables"]["MLFLOW_RUN_ID"]
    assert status_becomes(run_id, "FINISHED") == "FINISHED"


def test_an_orchestrator_that_restarts_while_the_run_lasts_is_waited_for(
    work: Path, client: Client, orchestrator: OrchestratorProcess
) -> None:
    go = work / "go"
    words = ["-e", "waits", "-P", f"go={go}", "-b", "runai", "--backend-config", json.dumps(QUICK)]
    before = {found.id for found in client.list()}
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "run", "project", *words],
        cwd=work,
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    said = heard(process.stderr, "is Running")
    (fresh,) = [found for found in client.list() if found.id not in before]

    orchestrator.kill()
    said += heard(process.stderr, "trying again")
    orchestrator.start(port=int(client.transport.connection.url.rpartition(":")[2]))
    go.touch()
    said += process.communicate(timeout=240)[1]

    assert process.returncode == 0, said
    run_id = client.get(fresh.id).raw["environmentVariables"]["MLFLOW_RUN_ID"]
    assert status_becomes(run_id, "FINISHED") == "FINISHED"


@pytest.fixture
def strict(client: Client) -> Iterator[None]:
    client.policies.apply(
        "training", {"rules": {"compute": {"gpuDevicesRequest": {"max": 1}}}}, scope="project", name="team-a"
    )
    yield
    client.policies.delete("training", scope="project", name="team-a")


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"gpu": 1, "replica": 2}, r"backend-config.gpu: is unknown: did you mean gpus\?"),
        ({"replicas": 0}, "backend-config.replicas: must be a whole number from 1"),
        ({"wait": "perhaps"}, "backend-config.wait: must be true or false"),
        ({"project": "nowhere"}, "there is no project nowhere; there are: default, team-a"),
        ({"priority": "urgent"}, "must be one of very-low"),
        ({"gpus": 2}, "PolicyViolation: .*gpuDevicesRequest"),
    ],
    ids=["a typo", "no replicas", "not a flag", "an unknown project", "a bad value", "a policy"],
)
@pytest.mark.usefixtures("strict")
def test_what_is_refused_leaves_no_run_and_no_workload(
    run: Callable[..., Any], client: Client, config: dict[str, Any], sentence: str
) -> None:
    from mlflow.exceptions import ExecutionException

    before = len(runs()), len(client.list())

    with pytest.raises(ExecutionException, match=sentence):
        run(**config)

    assert (len(runs()), len(client.list())) == before


def test_nobody_there_and_a_token_that_is_not_taken_are_told(
    run: Callable[..., Any], monkeypatch: Any, client: Client
) -> None:
    from mlflow.exceptions import ExecutionException

    url, before = client.transport.connection.url, len(runs())
    monkeypatch.setenv("RUNAI_URL", "http://127.0.0.1:9")
    with pytest.raises(ExecutionException, match=r"nobody answers at http://127.0.0.1:9 \(RUNAI_URL\)"):
        run()
    monkeypatch.setenv("RUNAI_URL", url)
    monkeypatch.setenv("RUNAI_TOKEN", "expired")
    with pytest.raises(ExecutionException, match="Unauthenticated"):
        run()
    assert len(runs()) == before


def test_what_cannot_work_on_other_machines_is_refused_before_anything_is_sent(
    run: Callable[..., Any], monkeypatch: Any
) -> None:
    from mlflow.exceptions import ExecutionException

    monkeypatch.setenv("RUNAI_URL", "https://runai.example.org")
    with pytest.raises(ExecutionException, match=r"needs backend-config\.image"):
        run()
    with pytest.raises(ExecutionException, match="cannot reach the tracking store sqlite"):
        run(image="team/digits:1")


def test_an_environment_that_would_be_made_on_this_machine_is_refused(
    work: Path, client: Client, tracking_uri: str
) -> None:
    import mlflow
    from mlflow.exceptions import ExecutionException

    with pytest.raises(
        ExecutionException, match="--env-manager virtualenv would make an environment on this machine only"
    ):
        mlflow.run(str(work / "project"), backend="runai", backend_config=QUICK, env_manager="virtualenv")


def test_the_example_of_the_readme_runs_as_it_says(tmp_path: Path, client: Client, tracking_uri: str) -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    script = re.findall(r"```bash\n(.*?)```", readme, re.DOTALL)[0]

    done = subprocess.run(
        ["bash", "-e", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=400, check=False
    )

    assert done.returncode == 0, done.stderr
    assert sorted(line for line in done.stdout.splitlines() if line) == ["rank 0 of 2", "rank 1 of 2"]
    assert runs()[0].data.metrics == {"loss_0": 0.1, "loss_1": 0.1}


# -- deployments


@pytest.fixture(scope="module")
def models(work: Path, tracking_uri: str) -> tuple[str, str]:
    """Log two models that multiply, and return their addresses."""
    import mlflow

    code = work / "model.py"
    addresses = []
    for factor in (2, 3):
        code.write_text(
            "import mlflow\n"
            "from mlflow.pyfunc import PythonModel\n\n"
            "class Times(PythonModel):\n"
            "    def predict(self, context, model_input, params=None):\n"
            f"        return [value * {factor} for value in model_input]\n\n"
            "mlflow.models.set_model(Times())\n"
        )
        with mlflow.start_run():
            addresses.append(
                mlflow.pyfunc.log_model(name="times", python_model=str(code), pip_requirements=[]).model_uri
            )
    return addresses[0], addresses[1]


def test_a_model_is_served_asked_replaced_and_deleted(client: Client, models: tuple[str, str]) -> None:
    from mlflow.deployments import get_deploy_client
    from mlflow.exceptions import MlflowException

    target = get_deploy_client("runai:/team-a")

    made = target.create_deployment("times", models[0], config={"gpus": "0.5", "cpus": 1})

    assert (made["name"], made["status"], made["model_uri"]) == ("times", "Running", models[0])
    workload = client.get("times", project="team-a")
    assert (workload.type, workload.phase, workload.gpu_request) == ("Inference", "Running", 0.5)
    assert target.predict("times", [1, 2])["predictions"] == [2, 4]
    assert target.predict("times", {"inputs": [5]})["predictions"] == [10]
    assert [item["name"] for item in target.list_deployments()] == ["times"]
    with pytest.raises(MlflowException, match="exists already"):
        target.create_deployment("times", models[0])

    target.update_deployment("times", model_uri=models[1])

    assert target.predict("times", [1, 2])["predictions"] == [3, 6]
    assert target.get_deployment("times")["model_uri"] == models[1]
    assert client.get("times", project="team-a").id == workload.id
    target.delete_deployment("times")
    target.delete_deployment("times")
    assert target.list_deployments() == []
    with pytest.raises(MlflowException, match="no workload named 'times'"):
        target.get_deployment("times")


def test_a_model_that_does_not_come_up_leaves_no_deployment(client: Client, models: tuple[str, str]) -> None:
    from mlflow.deployments import get_deploy_client
    from mlflow.exceptions import MlflowException

    target = get_deploy_client("runai:/team-a")

    with pytest.raises(MlflowException, match="It was deleted again"):
        target.create_deployment("broken", models[0], config={"python": "false", "timeout": 20})

    assert target.list_deployments() == []


def test_a_wrong_key_and_a_wrong_place_are_named(client: Client, models: tuple[str, str], monkeypatch: Any) -> None:
    from mlflow.deployments import get_deploy_client, run_local
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException, match=r"config.replica: is unknown: did you mean replicas\?"):
        get_deploy_client("runai").create_deployment("m", models[0], config={"replica": 2})
    with pytest.raises(MlflowException, match="endpoint e: this target has none"):
        get_deploy_client("runai").list_deployments(endpoint="e")
    with pytest.raises(MlflowException, match="start `runai up`"):
        run_local("runai", "m", models[0])
    monkeypatch.setenv("RUNAI_URL", "http://127.0.0.1:9")
    with pytest.raises(MlflowException, match="nobody answers"):
        get_deploy_client("runai").list_deployments()


def test_the_command_explains_the_target(tracking_uri: str, client: Client) -> None:
    command = [sys.executable, "-m", "mlflow", "deployments"]

    done = subprocess.run([*command, "help", "-t", "runai"], check=False, capture_output=True, text=True, timeout=240)

    assert done.returncode == 0, done.stderr
    assert "gpus" in done.stdout
    assert json.dumps("runai:/<project>")[1:-1] in done.stdout
