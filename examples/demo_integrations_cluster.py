"""Four tools, one Kubernetes cluster: Ray, Kubeflow's trainer, Airflow and Spark compete for eight GPUs.

    .venv-ecosystems/bin/python examples/demo_integrations_cluster.py

Real: the API server, the controller manager, two nodes with their kubelets and containers, the orchestrator, Airflow
with its KubernetesPodOperator, spark-submit with its driver and executor. Stand-ins, named when they act: the
controllers of KubeRay, of the trainer and of JobSet (this program makes the pods that they would), the images (programs
of this machine, mounted), and the GPUs (a device plug-in that simulates them). Exits with 0 only if all that it tells
was seen to happen. Needs root, and on the first run some minutes to build Kubernetes' programs.
"""

import asyncio
import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the test cluster is in the checkout, not in a package

from demo_run import DemoFailed, run_in_a_folder

from runai_core.backends.kubernetes.api import connect
from runai_core.backends.kubernetes.resources import resource_of
from runai_core.model.organization import SYSTEM
from runai_core.model.workload import Phase, Workload
from runai_core.ports import Query
from tests.cluster.cluster import Cluster
from tests.cluster.frameworks import IMAGE, airflow_environ, allow_drivers, spark_settings, spark_submit
from tests.cluster.images import a_real_pod
from tests.cluster.kube import Object, Refused
from tests.cluster.machine import add_real_nodes
from tests.cluster.operating import stand_in
from tests.cluster.running import Running, make_project, running

PATIENCE = 540.0
"""Seconds that all of it may take."""

RAY, TRAINER, JOBSET = "ray.io/v1", "trainer.kubeflow.org/v1alpha1", "jobset.x-k8s.io/v1alpha2"
KINDS = ((RAY, "RayCluster"), (TRAINER, "TrainJob"), (JOBSET, "JobSet"))
WORKERS = 6

DAG = """\
from datetime import datetime

from airflow.sdk import DAG
from tests.cluster.frameworks import a_pod_task

with DAG("nightly", schedule=None, start_date=datetime(2025, 1, 1)):
    a_pod_task("report", "import time; time.sleep(20)", namespace={namespace!r}, kubeconfig={kubeconfig!r})
"""


@dataclass
class Stage:
    """What the scenes share."""

    run: Running
    other: str  # the namespace of team-b
    folder: Path
    threads: ThreadPoolExecutor  # what takes long and must not hold up our looks
    works: list["Future[None]"] = field(default_factory=list)
    checks: list[Callable[[], None]] = field(default_factory=list)  # raise DemoFailed where something has failed
    started: float = field(default_factory=time.monotonic)
    table: str = ""

    def say(self, text: str) -> None:
        """Tell what happens, with the seconds since the start."""
        print(f"{time.monotonic() - self.started:6.1f}s  {text}", flush=True)

    def look(self) -> dict[str, Workload]:
        """Return the workloads by tool, and print the list when it changed."""
        for work in self.works:
            if work.done():
                work.result()
        for check in self.checks:
            check()
        rows = self.run.call(self.run.orchestrator.workloads.list(SYSTEM, Query(limit=100))).items
        shown = [
            f"        {row.name:<34.34} {row.kind or row.type:<11} {row.meta.project:<7} {row.phase:<13} "
            f"{row.pods_running}/{row.pods_requested} pods"
            for row in sorted(rows, key=lambda row: row.name)
        ]
        if (table := "\n".join(shown)) != self.table:
            self.table = table
            self.say("runai workload list\n" + table)
        return {tool: row for row in rows if (tool := _tool_of(row))}

    def wait(self, what: str, holds: Callable[[Mapping[str, Workload]], bool]) -> Mapping[str, Workload]:
        """Wait until something holds of the tools' workloads."""
        while not holds(now := self.look()):
            if time.monotonic() - self.started > PATIENCE:
                raise DemoFailed(f"it is still not true that {what}\n{self.table}")
            time.sleep(0.5)
        self.say(f"seen: {what}")
        return now


def main() -> int:
    """Run the demo; return the exit status."""
    return run_in_a_folder(on_a_cluster)


def on_a_cluster(folder: Path) -> None:
    """Start a cluster and an orchestrator, play, and stop both."""
    cluster = Cluster.up(folder / "cluster")
    try:
        add_real_nodes(cluster, 2, gpus=4)
        asyncio.run(_install_kinds(cluster))
        data = folder / "data"
        with running(cluster, data, project="team-a", gpus=4) as run, ThreadPoolExecutor() as threads:
            stage = Stage(run, make_project(run.kube, "team-b", 4), folder, threads)
            with _controllers(stage):
                play(stage)
    finally:
        cluster.down()


def play(stage: Stage) -> None:
    """Tell the story: Ray borrows, team-b asks for its own, Ray comes back."""
    stage.say("two real nodes with four simulated GPUs each; team-a and team-b have a quota of four each")
    environ = _prepare_airflow(stage)
    workers = {"groupName": "gpu", "replicas": WORKERS, "minReplicas": WORKERS}
    spec = {"headGroupSpec": {}, "workerGroupSpecs": [workers]}
    _create(stage, RAY, "RayCluster", "lab", stage.run.namespace, spec)
    stage.wait("team-a's RayCluster runs with six GPUs, two of them borrowed", lambda now: _runs(now, "ray", 7))
    _create(stage, TRAINER, "TrainJob", "bert", stage.other, {"runtimeRef": {"name": "torch"}})
    stage.wait("team-b's TrainJob has the two GPUs that are left", lambda now: _runs(now, "trainer", 2))
    ends = ("airflow", "spark")
    airflow = _start_airflow(stage, environ)
    try:
        _start_spark(stage)
        stage.wait(
            "team-b's Airflow or Spark runs, and the RayCluster has lost its place whole",
            lambda now: (
                any(tool in now and now[tool].phase is Phase.RUNNING for tool in ends)
                and now["trainer"].phase is Phase.RUNNING
                and now["ray"].phase is Phase.PENDING
                and now["ray"].pods_running == 0
            ),
        )
        ray = stage.wait(
            "it is said why the RayCluster waits",
            lambda now: now["ray"].verdict is not None or now["ray"].phase is not Phase.PENDING,
        )["ray"]
        if ray.verdict:
            stage.say(f"runai why: {ray.verdict.message}")
        stage.wait(
            "Airflow's task and Spark's application have completed",
            lambda now: all(tool in now and now[tool].phase is Phase.COMPLETED for tool in ends),
        )
        stage.wait("airflow dags test has ended", lambda _: airflow.poll() is not None)
    finally:
        airflow.kill()
    stage.run.kube.delete(f"/apis/{TRAINER}/namespaces/{stage.other}/trainjobs/bert")
    stage.wait("when others have gone, the RayCluster runs again", lambda now: _runs(now, "ray", 7))


def _prepare_airflow(stage: Stage) -> dict[str, str]:
    home = stage.folder / "airflow"
    (home / "dags").mkdir(parents=True)
    kubeconfig = str(stage.run.cluster.kubeconfig())
    (home / "dags" / "nightly.py").write_text(DAG.format(namespace=stage.other, kubeconfig=kubeconfig))
    environ = airflow_environ(home, "team-b")
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], env=environ, check=True, capture_output=True)
    return environ


def _start_airflow(stage: Stage, environ: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    stage.say("airflow: $ airflow dags test nightly    (KubernetesPodOperator)")
    log = stage.folder / "airflow.log"
    command = [sys.executable, "-m", "airflow", "dags", "test", "nightly"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environ, stdout=output, stderr=output, stdin=subprocess.DEVNULL)

    def check() -> None:
        if process.poll():
            raise DemoFailed(f"airflow dags test ended with {process.returncode}:\n{log.read_text()[-3000:]}")

    stage.checks.append(check)
    return process


def _start_spark(stage: Stage) -> None:
    allow_drivers(stage.run.kube, stage.other)
    sizes = ["--executors", "1", "--executor-gpu", "1", "--executor-memory", "512m", "--driver-memory", "512m"]
    words = [*sizes, "--name", "squares", f"local://{IMAGE / 'squares.py'}", "40"]
    stage.say(f"spark: $ runai spark-submit --master k8s://... --deploy-mode cluster {' '.join(sizes[:4])} squares.py")
    settings = spark_settings(stage.folder)
    kubeconfig = stage.run.cluster.kubeconfig()
    stage.works.append(stage.threads.submit(spark_submit, kubeconfig, "team-b", stage.other, words, settings))


def _create(stage: Stage, version: str, kind: str, name: str, namespace: str, spec: Object) -> None:
    stage.say(f"kubectl apply: {kind} {name} in {namespace} (its controller is a stand-in)")
    body = {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}
    stage.run.kube.post(resource_of(version, kind).path(namespace), body)


def _runs(now: Mapping[str, Workload], tool: str, pods: int) -> bool:
    return tool in now and now[tool].phase is Phase.RUNNING and now[tool].pods_running == pods


def _tool_of(row: Workload) -> str:
    """Return whose workload it is."""
    if row.kind in ("RayCluster", "TrainJob"):
        return {"RayCluster": "ray", "TrainJob": "trainer"}[row.kind]
    return "spark" if row.name.startswith("squares") else "airflow" if row.name.startswith("report") else ""


async def _install_kinds(cluster: Cluster) -> None:
    async with connect(cluster.kubeconfig()) as admin:
        for version, kind in KINDS:
            await stand_in(admin, resource_of(version, kind))


# -- stand-ins of controllers


@contextlib.contextmanager
def _controllers(stage: Stage) -> Iterator[None]:
    """Make the pods of RayClusters and TrainJobs, again when they were evicted, as their controllers do."""
    stop = threading.Event()
    thread = threading.Thread(target=_control, args=(stage, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)


def _control(stage: Stage, stop: threading.Event) -> None:
    with stage.run.cluster.kube() as kube:

        def make(path: str, body: Object) -> None:
            with contextlib.suppress(Refused):  # it is there, or is leaving still
                kube.post(path, body)

        while not stop.wait(0.5):
            for item in kube.get(resource_of(RAY, "RayCluster").path(stage.run.namespace))["items"]:
                path = f"/api/v1/namespaces/{stage.run.namespace}/pods"
                make(path, _a_pod(item, "head", 0, {"ray.io/group": "headgroup", "ray.io/node-type": "head"}))
                for number in range(WORKERS):
                    make(path, _a_pod(item, f"worker-{number}", 1, {"ray.io/group": "gpu"}))
            for item in kube.get(resource_of(TRAINER, "TrainJob").path(stage.other))["items"]:
                jobs = [{"name": "node", "replicas": 1, "template": {"spec": {"parallelism": 2}}}]
                body = {"apiVersion": JOBSET, "kind": "JobSet", "spec": {"replicatedJobs": jobs}}
                sets = resource_of(JOBSET, "JobSet").path(stage.other)
                make(sets, {**body, "metadata": {"name": "bert", **_below(item)}})
                for owner in kube.get(sets)["items"]:
                    for number in range(2):
                        labels = {"jobset.sigs.k8s.io/replicatedjob-name": "node"}
                        make(f"/api/v1/namespaces/{stage.other}/pods", _a_pod(owner, f"node-{number}", 1, labels))


def _a_pod(owner: Object, name: str, gpus: int, labels: Mapping[str, str]) -> Object:
    full = f"{owner['metadata']['name']}-{name}"
    more = {"labels": dict(labels), **_below(owner)}
    pod = a_real_pod(full, ["sleep", "600"], gpus=gpus, scheduler="runai-scheduler", **more)
    pod["spec"]["nodeSelector"] = {"type": "real"}
    return pod


def _below(owner: Object) -> Object:
    meta = owner["metadata"]
    ref = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": meta["name"], "uid": meta["uid"]}
    return {"ownerReferences": [{**ref, "controller": True}]}


if __name__ == "__main__":
    sys.exit(main())
