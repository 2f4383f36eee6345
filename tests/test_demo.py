"""The demo as a user meets it: success, Ctrl-C, and a failure in the middle. Nothing is left behind."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.waiting import eventually

DEMO = Path(__file__).parent.parent / "examples" / "demo.py"

MINUTES = 240
"""Seconds: the demo takes half a minute on a machine that does nothing else."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
pytest.importorskip("sklearn", reason="scikit-learn, which ships the pictures, is not installed")


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(DEMO)],
        env=os.environ | {"TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def left_behind(folder: Path) -> list[str]:
    """Return the processes that still have to do with the demo, and its files."""
    processes = []
    for process in psutil.process_iter():
        try:
            if str(folder) in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                processes.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return [*processes, *(path.name for path in folder.glob("runai-demo-*"))]


def test_the_demo_tells_its_whole_story_and_ends_well(tmp_path: Path) -> None:
    demo = start(tmp_path)
    output, _ = demo.communicate(timeout=MINUTES)

    assert demo.returncode == 0, output
    for said in (
        r"NVIDIA-H100-80GB-HBM3 \(simulated\)",
        r"both sit on device \d of node-[12]",
        r"asked it to read a handwritten (\d): it says \d",
        r"digits was evicted whole: \S+",
        r"\$ runai why giant -p language: \S+.*never",
        r"The story of vision/digits",
        r"resuming after epoch \d+; test accuracy 0\.9\d",
        r"nothing is left running",
        r"done in \d+ s",
    ):
        assert re.search(said, output), f"{said} is missing in:\n{output}"
    assert left_behind(tmp_path) == []


def test_ctrl_c_stops_all_that_the_demo_started(tmp_path: Path) -> None:
    demo = start(tmp_path)
    eventually(lambda: list(tmp_path.glob("runai-demo-*/digits/checkpoint.npz")), "a checkpoint", seconds=MINUTES)

    demo.send_signal(signal.SIGINT)

    output, _ = demo.communicate(timeout=MINUTES)
    assert demo.returncode == 130, output
    assert "Traceback" not in output
    assert left_behind(tmp_path) == []


def test_a_failure_is_shown_and_cleaned_up(tmp_path: Path) -> None:
    demo = start(tmp_path)
    eventually(lambda: list(tmp_path.glob("runai-demo-*/digits/checkpoint.npz")), "a checkpoint", seconds=MINUTES)
    servers = [
        process for process in psutil.process_iter(["cmdline"]) if {"serve", str(tmp_path)} <= words(process, tmp_path)
    ]

    for server in servers:
        server.kill()

    output, _ = demo.communicate(timeout=MINUTES)
    assert servers != []
    assert demo.returncode == 1, output
    assert "The demo failed: " in output
    assert "Traceback" not in output
    assert left_behind(tmp_path) == []


def words(process: psutil.Process, folder: Path) -> set[str]:
    """Return the words of a command; a path below the folder counts as the folder."""
    line = process.info["cmdline"] or []
    return {str(folder) if word.startswith(str(folder)) else word for word in line}
