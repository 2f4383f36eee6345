"""Real Ray clusters of several nodes on this machine, through the commands that people type."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from runai_core.client import Client
from tests.orchestrators import OrchestratorProcess, an_orchestrator, kill_rank
from tests.waiting import eventually, heard

pytestmark = [pytest.mark.ecosystem, pytest.mark.timeout(1200)]

README = Path(__file__).parents[1] / "README.md"
TOO_BIG = ("--workers", "4", "--gpu", "1", "--", "true")
"""More GPUs than there are: it waits."""

BIN = Path(sys.executable).parent
NODES = [{"name": "node-a", "cpu": 8, "memory": "16Gi", "gpus": 3}]

CLUSTER: dict[str, Any] = {
    "cluster_name": "lab",
    "max_workers": 4,
    "provider": {"type": "external", "module": "runai_ray.NodeProvider", "project": "default", "launch_seconds": 3},
    "idle_timeout_minutes": 0.15,
    "upscaling_speed": 100,
    "available_node_types": {
        "head": {"node_config": {"cpu": 1}, "resources": {"CPU": 1}},
        "worker": {"node_config": {"cpu": 1, "gpu": 1}, "resources": {"CPU": 1, "GPU": 1}, "min_workers": 1},
    },
    "head_node_type": "head",
    "setup_commands": [],
    "head_setup_commands": ["echo set up > ~/prepared"],
    "worker_setup_commands": [],
}
"""The file of a plain `ray up`."""

ACROSS_NODES = """
import ray
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy as At
ray.init()
group = ray.util.placement_group([{"CPU": 1, "GPU": 1}] * 2, strategy="STRICT_SPREAD")
ray.get(group.ready())
@ray.remote(num_cpus=1, num_gpus=1)
def where():
    import os
    return ray.get_runtime_context().get_node_id(), os.environ["RUNAI_PROJECT"], os.environ["RUNAI_JOB_NAME"]
found = ray.get([where.options(scheduling_strategy=At(group, i)).remote() for i in range(2)])
print("ran on", len({node for node, *_ in found}), "nodes of", *found[0][1:])
"""


@dataclass
class Tools:
    """The commands, against one orchestrator."""

    orchestrator: OrchestratorProcess
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        found = {name: value for name, value in os.environ.items() if not name.startswith(("RUNAI_", "RAY_"))}
        path = os.pathsep.join((str(BIN), found["PATH"]))
        return found | {"RUNAI_DATA_DIR": str(self.orchestrator.data_dir), "PATH": path}

    def start(self, *words: str, **more: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            words,
            cwd=self.folder,
            env=self.environment | more,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, *words: str, **more: str) -> tuple[int, str]:
        with self.start(*words, **more) as process:
            said, _ = process.communicate(timeout=900)
        return process.returncode, said

    def workload(self, name: str) -> dict[str, Any]:
        rows = self.orchestrator.get("/api/v1/workloads", filterBy=f"name=={name}")["workloads"]
        return dict(rows[0]) if rows else {}

    def logs(self) -> str:
        """Return the ends of the logs of all pods, for a test that fails."""
        return "".join(path.read_text()[-1500:] for path in sorted(self.orchestrator.data_dir.glob("pods/*/0.log")))

    def only(self, prefix: str) -> dict[str, Any]:
        (row,) = [
            row for row in self.orchestrator.get("/api/v1/workloads")["workloads"] if row["name"].startswith(prefix)
        ]
        return dict(row)

    def until(self, question: Any, seconds: float = 120.0) -> Any:
        return eventually(question, self.logs, seconds=seconds)


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tools]:
    folder = tmp_path_factory.mktemp("ray")
    with an_orchestrator(folder, nodes=NODES) as orchestrator:
        yield Tools(orchestrator, folder)


def processes_of(orchestrator: OrchestratorProcess) -> list[str]:
    """Return the processes of pods of this orchestrator that run now."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            environment = (entry / "environ").read_bytes()
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(orchestrator.data_dir).encode() in environment and b"RUNAI_POD_UID=" in environment:
            found.append(words[:80])
    return found


def test_a_cluster_lives_its_life(tools: Tools) -> None:
    """Up as one gang, a job across nodes by the Jobs SDK, growth, a failure that is seen, shrinking, down."""
    file = tools.folder / "cluster.yaml"
    file.write_text(yaml.safe_dump(CLUSTER))
    foreign = tools.folder / "raylet"  # `ray stop` would end it for its name alone
    foreign.write_bytes(Path("/bin/sleep").read_bytes())
    foreign.chmod(0o755)
    with subprocess.Popen([foreign, "600"]) as other:
        try:
            _comes_up(tools, file)
            _grows_and_shrinks(tools, file)
            _goes_down(tools, file)
            assert other.poll() is None
        finally:
            other.kill()


def _comes_up(tools: Tools, file: Path) -> None:
    code, said = tools.run("ray", "up", "-y", "--no-config-cache", str(file))

    assert code == 0, said
    row = tools.workload("lab")
    found = (row["type"], row["phase"], row["requestedPods"]["number"])
    assert found == ("Distributed", "Running", 2), row["phaseMessage"] + tools.logs()


def _grows_and_shrinks(tools: Tools, file: Path) -> None:
    """A job across nodes makes the cluster grow; what finds no place is told; idle workers leave."""
    said = tools.run("ray", "exec", str(file), "cat ~/prepared ~/.runai-ray/dashboard")[1]
    assert "set up" in said
    dashboard = next(word for word in said.split() if word.startswith("http://"))
    job = _job_at(tools, dashboard)
    tools.until(lambda: tools.workload("lab")["requestedPods"]["number"] == 3, 300)
    assert "ran on 2 nodes of default lab" in job.communicate(timeout=300)[0]

    (tools.folder / "ask.py").write_text(ASK)
    assert tools.run("ray", "rsync-up", str(file), str(tools.folder / "ask.py"), "~/ask.py")[0] == 0
    _ask_for(tools, file, gpus=4)
    assert "needs 1 GPU" in tools.until(lambda: _seen(tools, file, "found no place"), 300)
    _ask_for(tools, file, gpus=0)
    tools.until(lambda: tools.workload("lab")["requestedPods"]["number"] == 2, 300)


def _goes_down(tools: Tools, file: Path) -> None:
    code, said = tools.run("ray", "down", "-y", str(file))

    assert code == 0, said
    assert tools.workload("lab") == {}
    assert processes_of(tools.orchestrator) == []
    assert "lab does not run" in tools.run("runai", "ray", "down", str(file))[1]


ASK = """
import sys
import ray
from ray.autoscaler.sdk import request_resources
ray.init()
request_resources(bundles=[{"GPU": 1}] * int(sys.argv[1]))
"""


def _ask_for(tools: Tools, file: Path, *, gpus: int) -> None:
    """Ask the autoscaler for room for so many tasks with a GPU, until something else is asked for."""
    code, said = tools.run("ray", "exec", str(file), f"python ~/ask.py {gpus}")
    assert code == 0, said


JOB_BY_SDK = """
import sys, time
from ray.job_submission import JobSubmissionClient
client = JobSubmissionClient(sys.argv[1])
name = client.submit_job(entrypoint=sys.argv[2])
while not client.get_job_status(name).is_terminal():
    time.sleep(0.5)
print(client.get_job_logs(name))
"""


def _job_at(tools: Tools, dashboard: str) -> "subprocess.Popen[str]":
    """Run the job through Ray's own SDK; its log is printed when it has ended."""
    (tools.folder / "across.py").write_text(ACROSS_NODES)
    entrypoint = f"{sys.executable} {tools.folder / 'across.py'}"
    return tools.start(sys.executable, "-c", JOB_BY_SDK, dashboard, entrypoint)


def _seen(tools: Tools, file: Path, text: str) -> str:
    said = tools.run("runai", "ray", "status", str(file))[1]
    return said if text in said else ""


# -- jobs with a cluster of their own, and what can go wrong while they wait


def test_the_first_example_of_the_readme_runs_as_one_gang(tools: Tools) -> None:
    text = README.read_text()
    (tools.folder / "squares.py").write_text(text.partition("```python\n")[2].partition("```")[0])
    command = re.search(r"^runai ray submit .*$", text, re.MULTILINE)
    assert command is not None

    code, said = tools.run(*command[0].split())

    assert (code, "sum of squares: 328350" in said) == (0, True), said
    row = tools.only("ray-job-")
    assert (row["type"], row["phase"], row["requestedPods"]["number"]) == ("Distributed", "Completed", 2)
    tools.until(lambda: not processes_of(tools.orchestrator))


def test_it_tells_why_it_waits_and_ctrl_c_deletes_it(tools: Tools) -> None:
    process = tools.start("runai", "ray", "submit", "--name", "big", *TOO_BIG)
    tools.until(lambda: tools.workload("big").get("phase") == "Pending")
    said = heard(process.stdout, "big is Pending")

    process.send_signal(signal.SIGINT)
    said += process.communicate(timeout=120)[0]

    assert process.returncode != 0, said
    tools.until(lambda: tools.workload("big") == {})


def test_who_is_deleted_or_outlives_its_orchestrator_while_it_waits_ends_in_a_sentence(tools: Tools) -> None:
    process = tools.start("runai", "ray", "submit", "--name", "gone", *TOO_BIG)
    uid = tools.until(lambda: tools.workload("gone").get("id"))
    tools.orchestrator.kill()
    tools.orchestrator.start()
    assert process.poll() is None

    tools.orchestrator.client.delete(f"/api/v1/workloads/{uid}").raise_for_status()
    said, _ = process.communicate(timeout=120)

    assert (process.returncode, "Traceback" in said) == (1, False), said


def test_a_tool_that_is_killed_before_ray_has_started_leaves_nothing_behind(tools: Tools) -> None:
    process = tools.start("runai", "ray", "submit", "--name", "orphan", "--", "sleep", "600")
    tools.until(lambda: tools.workload("orphan").get("phase") == "Running")

    process.kill()
    process.communicate()

    tools.until(lambda: tools.workload("orphan").get("phase") == "Failed")
    tools.until(lambda: not processes_of(tools.orchestrator))


def test_a_gang_that_loses_a_worker_fails_with_it(tools: Tools) -> None:
    process = tools.start("runai", "ray", "submit", "--name", "half", "--workers", "1", "--", "sleep", "600")
    tools.until(lambda: tools.workload("half").get("phase") == "Running")

    tools.until(lambda: kill_rank("runai_ray.node", tools.workload("half")["id"], 1))
    said, _ = process.communicate(timeout=300)

    assert (process.returncode, "Traceback" in said) == (1, False), said
    assert "half is Failed" in said
    tools.until(lambda: not processes_of(tools.orchestrator))


@pytest.fixture
def strict(tools: Tools) -> Iterator[None]:
    """A policy under which a worker may have one GPU."""
    rules = {"worker": {"compute": {"gpuDevicesRequest": {"max": 1}}}}
    with Client.from_env({"RUNAI_DATA_DIR": str(tools.orchestrator.data_dir)}) as client:
        client.policies.apply("distributed", {"rules": rules}, scope="project", name="default")
        yield
        client.policies.delete("distributed", scope="project", name="default")


REFUSED = {
    "an unknown project": (("--project", "nobody"), {}, "no project nobody"),
    "a policy": (("--gpu", "2"), {}, "gpuDevicesRequest"),
    "nobody answers": ((), {"RUNAI_URL": "http://127.0.0.1:9"}, "nobody answers"),
    "an expired token": ((), {"RUNAI_URL": "(ours)", "RUNAI_TOKEN": "expired"}, "token"),
}


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize(("words", "environment", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_is_told_in_a_sentence(
    tools: Tools, words: tuple[str, ...], environment: dict[str, str], sentence: str
) -> None:
    ours = str(tools.orchestrator.client.base_url).rstrip("/")
    environment = {name: value.replace("(ours)", ours) for name, value in environment.items()}

    code, said = tools.run("runai", "ray", "submit", "--name", "refused", *words, "--", "true", **environment)

    assert code not in (0, 1), said
    assert sentence in said
    assert "Traceback" not in said
    assert tools.workload("refused") == {}


def test_a_typo_in_the_file_is_told_by_ray_itself(tools: Tools) -> None:
    file = tools.folder / "typo.yaml"
    file.write_text(yaml.safe_dump({**CLUSTER, "provider": {**CLUSTER["provider"], "projct": "default"}}))

    code, said = tools.run("ray", "up", "-y", "--no-config-cache", str(file))

    assert (code, "did you mean project?" in said) == (1, True), said
