"""Five tools, one scheduler: Airflow, MLflow, Ray, Spark and Kubeflow compete for eight GPUs of one orchestrator.

    make demo-integrations

Each tool is started as its users start it, in its own process; the tools, their jobs and the orchestrator are
real, the GPUs are simulated and shown as such. An MLflow project borrows more than its team's quota, is
reclaimed whole when the other team asks for its own, and finishes later. Exits with 0 only if all that it
tells was seen to happen.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from demo_run import DemoFailed, run_in_a_folder

from runai_core import Client
from runai_core.client import quota
from runai_core.client.results import Workload

LOOK_EVERY = 0.5
"""Seconds between looks at the workloads."""

PATIENCE = 540.0
"""Seconds that all of it may take."""

ENDS = frozenset({"Completed", "Failed"})

NODES = """\
- name: node-1
  gpus: 8
  gpuProduct: NVIDIA-H100-80GB-HBM3
  gpuMemory: 80Gi
  cpu: 64
  memory: 512Gi
"""

TEAMS = {"team-a": 4, "team-b": 4}
"""Project -> GPUs of its quota."""

WORK = """\
import os, sys, time

curtain, kept = sys.argv[1], sys.argv[2] + os.environ.get("RANK", "0")
done = float(open(kept).read()) if os.path.exists(kept) else 0.0
print("rank", os.environ.get("RANK", "0"), "goes on after", done, "s", flush=True)
while not os.path.exists(curtain) or done < 5:
    time.sleep(0.5)
    done += 0.5
    with open(kept + ".new", "w") as file:
        file.write(str(done))
    os.replace(kept + ".new", kept)
"""
"""Works until the curtain falls, and keeps how far it is: however slow the machine, the scenes come in their order."""

DAG = """\
from datetime import datetime

from airflow.sdk import DAG
from runai_airflow import RunaiWorkloadOperator

with DAG("nightly", schedule=None, start_date=datetime(2025, 1, 1)):
    RunaiWorkloadOperator(
        task_id="fit", project="team-b", replicas=2, gpus=1, cpus=0.1, command={command!r}
    )
"""

MLPROJECT = """\
name: digits
entry_points:
  main:
    command: "python work.py {curtain} {kept}"
"""

RAY = """\
import time
import ray

ray.init()

@ray.remote
def square(number):
    time.sleep(0.1)
    return number * number

print("sum of squares:", sum(ray.get([square.remote(number) for number in range(20)])))
"""

SPARK = """\
import time
from pyspark.sql import SparkSession

spark = SparkSession.builder.appName("squares").getOrCreate()
numbers = spark.sparkContext.parallelize(range(1000), 4)
print("sum of squares:", numbers.map(lambda number: number * number).sum())
time.sleep(5)
spark.stop()
"""

PIPELINE = """\
from kfp import dsl
from runai_kubeflow import local
from runai_kubeflow.pipelines import runai_workload

@dsl.pipeline
def nightly():
    runai_workload(
        name="kubeflow-step", project="team-b", replicas=2, gpu=1, command={command!r}, options={{"cpus": 0.1}}
    )

with local.use(project="team-b", cpus=0.1):
    nightly()
"""


Holds = Callable[[Mapping[str, Workload]], bool]
"""Something that should be true of the tools' workloads."""


@dataclass
class Tool:
    """One tool at work: its process, and the name by which its workload is known."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def check(self) -> None:
        """Raise DemoFailed if the tool has failed."""
        if self.process.poll() not in (None, 0):
            raise DemoFailed(f"{self.name} ended with {self.process.returncode}:\n{self.tail()}")

    def tail(self) -> str:
        """Return the end of what it said."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-25:])


@dataclass
class Stage:
    """What the scenes share."""

    folder: Path
    client: Client
    environ: dict[str, str]
    kubeflow: str  # Python of the environment that has Kubeflow
    started: float = field(default_factory=time.monotonic)
    tools: dict[str, Tool] = field(default_factory=dict)
    table: str = ""

    @property
    def curtain(self) -> Path:
        """The file that ends the work of the gangs."""
        return self.folder / "curtain"

    def say(self, text: str) -> None:
        """Tell what happens, with the seconds since the start."""
        print(f"{time.monotonic() - self.started:6.1f}s  {text}", flush=True)

    def start(self, name: str, command: list[str], **more: str) -> None:
        """Start a tool as its users do."""
        log = self.folder / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**self.environ, **more},
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.tools[name] = Tool(name, process, log)
        self.say(f"{name}: $ {' '.join(Path(command[0]).name if i == 0 else w for i, w in enumerate(command))[:110]}")

    def look(self) -> dict[str, Workload]:
        """Return the workloads that the tools made, by tool, and print the list when it changed."""
        for tool in self.tools.values():
            tool.check()
        listed = self.client.list()
        self._show(listed)
        return {tool: found for tool in self.tools if (found := _made_by(tool, listed)) is not None}

    def wait(self, what: str, holds: Holds) -> dict[str, Workload]:
        """Wait until something holds of the tools' workloads."""
        while not holds(now := self.look()):
            if time.monotonic() - self.started > PATIENCE:
                raise DemoFailed(f"it is still not true that {what}\n{self.table}")
            time.sleep(LOOK_EVERY)
        self.say(f"seen: {what}")
        return now

    def _show(self, listed: tuple[Workload, ...]) -> None:
        rows = [
            f"        {w.name:<34.34} {w.type:<14} {w.project_name:<8} {w.phase:<13} "
            f"{w.running_pods}/{w.requested_pods} pods {w.gpu_allocated:g} GPUs"
            for w in sorted(listed, key=lambda w: w.name)
        ]
        table = "\n".join(rows)
        if table != self.table:
            self.table = table
            self.say("runai workload list")
            print(table, flush=True)


MARKS = {"airflow": "fit", "mlflow": "digits", "ray": "ray", "spark": "squares", "kubeflow": "kubeflow-step"}
"""Tool -> what the name of its workload contains."""


def _made_by(tool: str, listed: tuple[Workload, ...]) -> Workload | None:
    return next((workload for workload in listed if MARKS[tool] in workload.name), None)


def main(argv: list[str]) -> int:
    """Run the demo; return the exit status."""
    parser = argparse.ArgumentParser(description="Five tools compete for eight GPUs of one orchestrator.")
    parser.add_argument("--kubeflow-python", default=sys.executable, help="Python that has kfp and runai-kubeflow")
    options = parser.parse_args(argv)
    return run_in_a_folder(partial(play, options.kubeflow_python))


def play(kubeflow: str, folder: Path) -> None:
    """Start an orchestrator and tell the story."""
    with _stage(folder, kubeflow) as stage:
        run(stage)
    stage.say("done; nothing is left running")


def run(stage: Stage) -> None:
    """Tell the story: one team borrows, the other asks for its own, all of it ends."""
    stage.client.departments.create("lab", resources=[quota(gpus=8)])
    for team, gpus in TEAMS.items():
        stage.client.projects.create(team, department="lab", resources=[quota(gpus=gpus)])
    stage.say("one node with eight simulated GPUs; team-a and team-b have a quota of four each")
    borrow(stage)
    compete(stage)
    finish(stage)


def borrow(stage: Stage) -> None:
    """team-a's MLflow project takes six GPUs: two more than its quota."""
    (stage.folder / "digits").mkdir()
    (stage.folder / "digits" / "work.py").write_text(WORK)
    kept = stage.folder / "mlflow-"
    (stage.folder / "digits" / "MLproject").write_text(MLPROJECT.format(curtain=stage.curtain, kept=kept))
    configuration = {"project": "team-a", "replicas": 6, "gpus": 1, "cpus": 0.1}
    words = ["mlflow", "run", "digits", "-b", "runai", "--backend-config", json.dumps(configuration)]
    stage.start("mlflow", [sys.executable, "-m", *words, "--env-manager", "local"])
    stage.wait("the MLflow project runs with six GPUs, two of them borrowed", lambda now: _runs(now, "mlflow", 6))


def compete(stage: Stage) -> None:
    """Four more tools come; team-b has a right to four GPUs, so the borrower is evicted whole."""
    (stage.folder / "work.py").write_text(WORK)
    for name, text in (("ray", RAY), ("spark", SPARK)):
        (stage.folder / f"{name}_job.py").write_text(text)
    work = [sys.executable, str(stage.folder / "work.py"), str(stage.curtain)]
    dags = stage.folder / "airflow" / "dags"
    dags.mkdir(parents=True)
    (dags / "nightly.py").write_text(DAG.format(command=[*work, str(stage.folder / "airflow-")]))
    (stage.folder / "pipeline.py").write_text(PIPELINE.format(command=[*work, str(stage.folder / "kubeflow-")]))
    stage.start("kubeflow", [stage.kubeflow, "pipeline.py"])
    stage.start("airflow", ["sh", "-c", f"{_tool('airflow')} db migrate && {_tool('airflow')} dags test nightly"])
    stage.wait(
        "both gangs of team-b run, and the MLflow gang has lost its place whole",
        lambda now: (
            _runs(now, "airflow", 2)
            and _runs(now, "kubeflow", 2)
            and now["mlflow"].phase == "Pending"
            and now["mlflow"].running_pods == 0
        ),
    )
    stage.say(f"runai why: {stage.client.why(_one(stage, 'mlflow')).sentence}")
    runai = _tool("runai")
    ray = ["ray", "submit", "--name", "ray-squares", "-p", "team-a", "--gpu", "1", "--cpu", "1"]
    stage.start("ray", [runai, *ray, "--", "python", "ray_job.py"])
    spark = ["--project", "team-a", "--executors", "1", "--executor-gpu", "1", "--workload-name", "squares"]
    memory = ["--executor-memory", "512m", "--driver-memory", "512m"]
    stage.start("spark", [runai, "spark-submit", *spark, *memory, "spark_job.py"])
    stage.wait("all five tools have their row at the same time", lambda now: len(now) == len(MARKS))


def finish(stage: Stage) -> None:
    """Everything completes, the reclaimed project after those that took its place, from where it was."""
    stage.curtain.touch()
    now = stage.wait(
        "all five have completed, and so have their tools",
        lambda now: (
            len(now) == len(MARKS)
            and all(workload.phase in ENDS for workload in now.values())
            and all(tool.process.poll() is not None for tool in stage.tools.values())
        ),
    )
    failed = [tool for tool, workload in now.items() if workload.phase != "Completed"]
    if failed:
        raise DemoFailed(f"{', '.join(failed)} failed:\n" + "\n".join(stage.tools[tool].tail() for tool in failed))
    ends = {tool: workload.phase_updated_at for tool, workload in now.items() if workload.phase_updated_at}
    story = [record for record in stage.client.history(_one(stage, "mlflow")) if record.phase]
    evicted = [record.cause for record in story if record.phase == "Pending" and record.from_phase == "Running"]
    if not evicted or ends["mlflow"] < max(ends["airflow"], ends["kubeflow"]):
        raise DemoFailed(
            f"the MLflow project was not reclaimed, or did not wait for those that took its place: {story}"
        )
    stage.say(f"the MLflow project was evicted: {evicted[-1]}")
    log = stage.client.log_text(_one(stage, "mlflow"))
    resumed = [line for line in log.splitlines() if "goes on after" in line and " after 0.0 s" not in line]
    if not resumed:
        raise DemoFailed(f"the MLflow project did not go on from its checkpoint:\n{log}")
    stage.say(f"and went on: {resumed[-1]}")


def _runs(now: Mapping[str, Workload], tool: str, pods: int) -> bool:
    return tool in now and now[tool].phase == "Running" and now[tool].running_pods == pods


def _one(stage: Stage, tool: str) -> Workload:
    found = _made_by(tool, stage.client.list())
    if found is None:
        raise DemoFailed(f"{tool} has no workload")
    return found


def _tool(name: str) -> str:
    return str(Path(sys.executable).parent / name)


@contextlib.contextmanager
def _stage(folder: Path, kubeflow: str) -> Iterator[Stage]:
    """Start an orchestrator as a user does; stop it and all tools, whatever happens."""
    (folder / "nodes.yaml").write_text(NODES)
    environ = {
        **os.environ,
        "HOME": str(folder),
        "RUNAI_DATA_DIR": str(folder / "data"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "300",
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
        "SPARK_LOCAL_IP": "127.0.0.1",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    runai = _tool("runai")
    up = [runai, "up", "--nodes", str(folder / "nodes.yaml"), "--port", "0"]
    done = subprocess.run(up, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DemoFailed(f"the orchestrator did not start:\n{done.stderr}")
    tools: dict[str, Tool] = {}
    try:
        with Client.from_env(environ) as client:
            yield Stage(folder, client, environ, kubeflow, tools=tools)
    finally:
        for tool in tools.values():
            _end(tool)
        subprocess.run([runai, "down"], env=environ, capture_output=True, check=False)


def _end(tool: Tool) -> None:
    """End a tool as Ctrl-C does, and for good if it does not listen."""
    for number, seconds in ((signal.SIGINT, 10), (signal.SIGTERM, 10), (signal.SIGKILL, 5)):
        if tool.process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(tool.process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            tool.process.wait(seconds)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
