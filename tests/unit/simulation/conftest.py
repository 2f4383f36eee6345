"""Small made-up traces, and the command line over them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from runai_core.cli.main import run

NODES = """sn,cpu_milli,memory_mib,gpu,model
n1,8000,8192,1,T4
n2,16000,16384,2,T4
n3,16000,16384,2,V100
"""
PODS = """name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec
p1,4000,1024,1,1000,
p2,2000,1024,1,500,
p3,1000,1024,0,0,
p4,2000,1024,1,1000,V100|A10
"""
SPEEDS = """job_type,gpus,steps_per_second
LM (batch size 5),1,10
LM (batch size 5),2,16
ResNet-18 (batch size 16),1,4
"""


def philly(*jobs: tuple[str, int, float, int]) -> str:
    """Return a trace of (kind, total steps, arrival in seconds, GPUs)."""
    return "".join(f"{kind}\tcd x && run\t-step\t1\t{steps}\t{at:.6f}\t{gpus}\n" for kind, steps, at, gpus in jobs)


LM, RESNET = "LM (batch size 5)", "ResNet-18 (batch size 16)"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a small trace of each format."""
    (tmp_path / "nodes.csv").write_text(NODES)
    (tmp_path / "pods.csv").write_text(PODS)
    (tmp_path / "v100_steps_per_second.csv").write_text(SPEEDS)
    jobs = philly((LM, 1000, 0, 1), (LM, 1000, 0, 2), (RESNET, 400, 10, 1), (RESNET, 40, 20, 1))
    (tmp_path / "jobs.trace").write_text(jobs)
    return tmp_path


Simulate = Callable[..., tuple[int, str, str]]


@pytest.fixture
def simulate(capsys: pytest.CaptureFixture[str]) -> Simulate:
    """Run `runai simulate` and return exit code, output and errors."""

    def call(*arguments: object) -> tuple[int, str, str]:
        code = run(["simulate", *map(str, arguments)])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return call
