"""Real Ray clusters of several nodes on this machine, through the commands that people type."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.orchestrators import OrchestratorProcess, an_orchestrator

pytestmark = [pytest.mark.ecosystem, pytest.mark.timeout(240)]

BIN = Path(sys.executable).parent
NODES = [{"name": "node-a", "cpu": 8, "memory": "16Gi", "gpus": 3}]

CLUSTER: dict[str, Any] = {
    "cluster_name": "lab",
    "max_workers": 3,
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

    def run(self, *words: str, timeout: float = 120, **more: str) -> tuple[int, str]:
        with self.start(*words, **more) as process:
            said, _ = process.communicate(timeout=timeout)
        return process.returncode, said

    def workload(self, name: str) -> dict[str, Any]:
        rows = self.orchestrator.get("/api/v1/workloads", filterBy=f"name=={name}")["workloads"]
        return dict(rows[0]) if rows else {}

    def until(self, question: Any, seconds: float = 60.0) -> Any:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := question():
                return found
            time.sleep(0.2)
        raise AssertionError(f"not within {seconds} s")


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tools]:
    folder = tmp_path_factory.mktemp("ray")
    with an_orchestrator(folder, nodes=NODES) as orchestrator:
        yield Tools(orchestrator, folder)


def rays_of(orchestrator: OrchestratorProcess) -> list[str]:
    """Return the processes whose environment names this orchestrator's data directory: what its clusters left."""
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
    other = subprocess.Popen([foreign, "300", "ray::raylet"])
    try:
        code, said = tools.run("ray", "up", "-y", "--no-config-cache", str(file))
        assert code == 0, said
        row = tools.workload("lab")
        assert (row["type"], row["phase"], row["requestedPods"]["number"]) == ("Distributed", "Running", 2)

        address = tools.run("ray", "exec", str(file), "cat ~/.runai-ray/dashboard ~/prepared")[1]
        assert "set up" in address
        dashboard = next(word for word in address.split() if word.startswith("http://"))
        assert "ran on 2 nodes of default lab" in job_of(dashboard)
        assert tools.workload("lab")["requestedPods"]["number"] == 3

        more = tools.start(
            "ray",
            "exec",
            str(file),
            'python -c "import ray; from ray.autoscaler.sdk import '
            "request_resources; ray.init(); request_resources(bundles=[{'GPU': 1}] * 4)\"",
        )
        status = tools.until(lambda: seen(tools, file, "NoPlace"), 60)
        assert "found no place" in status
        more.kill()
        more.wait()
        forget = (
            "import ray; from ray.autoscaler.sdk import request_resources; ray.init(); request_resources(bundles=[])"
        )
        tools.run("ray", "exec", str(file), f'python -c "{forget}"')
        tools.until(lambda: tools.workload("lab")["requestedPods"]["number"] == 2, 60)

        code, said = tools.run("ray", "down", "-y", str(file))
        assert code == 0, said
        assert tools.workload("lab") == {}
        assert rays_of(tools.orchestrator) == []
        assert other.poll() is None
        assert tools.run("runai", "ray", "down", str(file))[1].strip().endswith("lab does not run")
    finally:
        other.kill()
        other.wait()


def job_of(dashboard: str) -> str:
    """Run the job through Ray's own SDK; return its log."""
    from ray.job_submission import JobSubmissionClient

    client = JobSubmissionClient(dashboard)
    name = client.submit_job(entrypoint=f"{sys.executable} -c '{ACROSS_NODES}'")
    deadline = time.monotonic() + 120
    while not client.get_job_status(name).is_terminal() and time.monotonic() < deadline:
        time.sleep(0.5)
    return str(client.get_job_logs(name))


def seen(tools: Tools, file: Path, text: str) -> str:
    said = tools.run("runai", "ray", "status", str(file))[1]
    return said if text in said else ""
