"""Real Spark on this machine, through the commands that people type."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runai_core.client import Client
from tests.cluster.frameworks import LIGHT
from tests.orchestrators import OrchestratorProcess, an_orchestrator, kill_rank
from tests.waiting import eventually, heard

pytestmark = [pytest.mark.ecosystem, pytest.mark.timeout(1200)]

BIN = Path(sys.executable).parent
README = Path(__file__).parents[1] / "README.md"
NODES = [{"name": "node-a", "cpu": 8, "memory": "16Gi", "gpus": 2}]
SMALL = ("--executor-memory", "512m", "--driver-memory", "512m")
SLEEP = "import time; time.sleep(600)"


@dataclass
class Tools:
    """The commands, against one orchestrator."""

    orchestrator: OrchestratorProcess
    folder: Path

    def start(self, *words: str, **more: str) -> "subprocess.Popen[str]":
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RUNAI_", "SPARK_"))}
        path = os.pathsep.join((str(BIN), kept["PATH"]))
        ours = {"RUNAI_DATA_DIR": str(self.orchestrator.data_dir), "PATH": path, "JAVA_TOOL_OPTIONS": LIGHT}
        environment = kept | ours | more
        return subprocess.Popen(
            words, cwd=self.folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def run(self, *words: str, **more: str) -> tuple[int, str]:
        with self.start(*words, **more) as process:
            said, _ = process.communicate(timeout=900)
        return process.returncode, said

    def rows(self) -> list[dict[str, Any]]:
        return list(self.orchestrator.get("/api/v1/workloads")["workloads"])

    def row(self, name: str) -> dict[str, Any]:
        return next((row for row in self.rows() if row["name"] == name), {})

    def until(self, question: Callable[[], Any], seconds: float = 120.0) -> Any:
        return eventually(question, self.rows, seconds=seconds)


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tools]:
    folder = tmp_path_factory.mktemp("spark")
    (folder / "sleep.py").write_text(SLEEP)
    with an_orchestrator(folder, nodes=NODES) as orchestrator:
        yield Tools(orchestrator, folder)


def processes_of(orchestrator: OrchestratorProcess) -> list[str]:
    """Return the processes of pods of this orchestrator that run now."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            environment = (entry / "environ").read_bytes()
            link = str((entry / "cwd").readlink())
        except OSError:
            continue
        if b"RUNAI_POD_UID=" in environment and link.startswith(str(orchestrator.data_dir)):
            found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:100])
    return found


def test_the_first_example_of_the_readme_runs_as_one_gang(tools: Tools) -> None:
    text = README.read_text()
    (tools.folder / "squares.py").write_text(text.partition("```python\n")[2].partition("```")[0])
    command = re.search(r"^runai spark-submit .*$", text, re.MULTILINE)
    assert command is not None

    code, said = tools.run(*command[0].split())

    assert (code, "sum of squares: 332833500" in said) == (0, True), said
    (row,) = [row for row in tools.rows() if row["name"].startswith("squares-")]
    assert (row["type"], row["phase"], row["requestedPods"]["number"]) == ("Distributed", "Completed", 3)
    assert re.search(r"Registered executor .* ID 1", said)
    tools.until(lambda: not processes_of(tools.orchestrator))


def test_local_mode_is_one_pod_and_the_exit_code_is_the_drivers(tools: Tools) -> None:
    """As Airflow's operator calls it: by its name, with Spark's own options alone."""
    (tools.folder / "bad.py").write_text("import sys; sys.exit(7)")

    code, said = tools.run("spark3-submit", "--master", "local[1]", "--name", "bad", "bad.py")

    assert code == 7, said
    (row,) = [row for row in tools.rows() if row["name"].startswith("bad-")]
    assert (row["type"], row["phase"]) == ("Training", "Failed")
    assert "exit code 7" in said


SESSION = """
from runai_spark import builder, progress
spark = builder(executors=1, executor_memory="512m", name="lab", timeout=900).appName("lab").getOrCreate()
counted = progress(spark)
names = spark.sparkContext.parallelize([0], 1).map(lambda _: __import__("os").environ["RUNAI_JOB_NAME"]).collect()
print("ran in", names[0], "jobs", counted.jobs, "tasks", counted.tasks)
spark.stop()
"""


def test_a_session_has_its_executors_as_a_gang_and_ends_with_it(tools: Tools) -> None:
    (tools.folder / "session.py").write_text(SESSION)

    code, said = tools.run(sys.executable, "session.py")

    assert (code, "ran in lab jobs 1 tasks 1" in said) == (0, True), said
    tools.until(lambda: not processes_of(tools.orchestrator))


def test_it_tells_why_it_waits_and_ctrl_c_deletes_it(tools: Tools) -> None:
    words = (
        "runai",
        "spark-submit",
        "--executors",
        "4",
        "--executor-gpu",
        "1",
        *SMALL,
        "--workload-name",
        "big",
        "sleep.py",
    )
    process = tools.start(*words)
    tools.until(lambda: tools.row("big").get("phase") == "Pending")
    said = heard(process.stdout, "big is Pending")

    process.send_signal(signal.SIGINT)
    said += process.communicate(timeout=120)[0]

    assert process.returncode == 130
    assert "was deleted" in said
    tools.until(lambda: tools.row("big") == {})


def test_an_administrator_who_deletes_it_ends_the_tool(tools: Tools) -> None:
    words = (
        "runai",
        "spark-submit",
        "--executors",
        "4",
        "--executor-gpu",
        "1",
        *SMALL,
        "--workload-name",
        "gone",
        "sleep.py",
    )
    process = tools.start(*words)
    uid = tools.until(lambda: tools.row("gone").get("id"))

    tools.orchestrator.client.delete(f"/api/v1/workloads/{uid}").raise_for_status()
    said, _ = process.communicate(timeout=120)

    assert process.returncode == 1, said


def test_a_tool_that_is_killed_leaves_nothing_behind(tools: Tools) -> None:
    process = tools.start("runai", "spark-submit", "--executors", "1", *SMALL, "--workload-name", "orphan", "sleep.py")
    tools.until(lambda: tools.row("orphan").get("phase") == "Running")

    process.kill()
    process.communicate()

    tools.until(lambda: tools.row("orphan").get("phase") == "Failed")
    tools.until(lambda: not processes_of(tools.orchestrator))


def test_a_gang_that_loses_an_executor_for_good_fails_with_it(tools: Tools) -> None:
    """An executor that dies is started again by Spark; one whose pod dies has no place any more."""
    words = ("--executors", "1", *SMALL, "--workload-name", "half", "sleep.py")
    process = tools.start("runai", "spark-submit", *words)
    tools.until(lambda: tools.row("half").get("phase") == "Running")

    tools.until(lambda: kill_rank("runai_spark.node", tools.row("half")["id"], 1))
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
    "a policy": (("--executor-gpu", "2"), {}, "gpuDevicesRequest"),
    "a typo": (("--exectors", "2"), {}, "did you mean --executors?"),
    "another cluster": (("--master", "yarn"), {}, "must be runai"),
    "nobody answers": ((), {"RUNAI_URL": "http://127.0.0.1:9"}, "nobody answers"),
    "an expired token": ((), {"RUNAI_URL": "(ours)", "RUNAI_TOKEN": "expired"}, "token"),
}


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize(("words", "environment", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_is_told_in_a_sentence(
    tools: Tools, words: tuple[str, ...], environment: dict[str, str], sentence: str
) -> None:
    before = len(tools.rows())

    ours = str(tools.orchestrator.client.base_url).rstrip("/")
    environment = {name: value.replace("(ours)", ours) for name, value in environment.items()}

    code, said = tools.run("runai", "spark-submit", *words, "sleep.py", **environment)

    assert code not in (0, 1), said
    assert sentence in said
    assert "Traceback" not in said
    assert len(tools.rows()) == before


def test_an_orchestrator_that_starts_again_is_waited_for(tools: Tools) -> None:
    words = (
        "runai",
        "spark-submit",
        "--executors",
        "4",
        "--executor-gpu",
        "1",
        *SMALL,
        "--workload-name",
        "long",
        "sleep.py",
    )
    process = tools.start(*words)
    tools.until(lambda: tools.row("long").get("phase") == "Pending")
    tools.orchestrator.kill()
    tools.orchestrator.start()
    assert process.poll() is None

    tools.orchestrator.client.delete(f"/api/v1/workloads/{tools.row('long')['id']}").raise_for_status()
    said, _ = process.communicate(timeout=120)

    assert (process.returncode, "Traceback" in said) == (1, False), said
