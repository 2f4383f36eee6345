"""The examples do what the demo relies on: real gangs, real checkpoints, real answers."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port
from tests.waiting import PATIENCE, eventually

EXAMPLES = Path(__file__).parent.parent / "examples"

pytest.importorskip("sklearn", reason="scikit-learn, which ships the pictures, is not installed")


def start(script: str, *arguments: object, **environment: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(EXAMPLES / script), *map(str, arguments)]
    env = os.environ | {name: str(value) for name, value in environment.items()}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)


def gang(size: int, *arguments: object) -> list[subprocess.Popen[str]]:
    place = {"WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    return [start("train_digits.py", *arguments, **place, RANK=rank) for rank in range(size)]


def output_of(processes: list[subprocess.Popen[str]]) -> list[str]:
    outputs = [process.communicate(timeout=PATIENCE)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), outputs
    return outputs


def losses(log: str) -> list[str]:
    return re.findall(r"loss (\S+)", log)


def test_a_gang_learns_what_one_process_learns(tmp_path: Path) -> None:
    """Gradients are really averaged: four processes walk the same way as one."""
    together = output_of(gang(4, "--epochs", 3, "--checkpoints", tmp_path / "four"))
    (alone,) = output_of([start("train_digits.py", "--epochs", 3, "--checkpoints", tmp_path / "one")])

    assert len(losses(together[0])) == 3
    assert [float(loss) for loss in losses(together[0])] == pytest.approx(
        [float(loss) for loss in losses(alone)], abs=2e-4
    )
    assert losses("".join(together[1:])) == [], "only rank 0 reports"


def test_a_gang_resumes_where_it_was_and_learns_to_read(tmp_path: Path) -> None:
    output_of(gang(2, "--epochs", 4, "--checkpoints", tmp_path))

    log = output_of(gang(4, "--epochs", 12, "--checkpoints", tmp_path))[0]

    assert "resuming after epoch 4" in log
    assert len(losses(log)) == 8
    assert float(re.findall(r"^test accuracy (\S+)$", log, re.MULTILINE)[0]) > 0.9


def test_the_others_end_when_a_member_is_lost(tmp_path: Path) -> None:
    processes = gang(3, "--epochs", 1000, "--step-delay", 0.01, "--checkpoints", tmp_path)
    lost = processes.pop()
    eventually((tmp_path / "checkpoint.npz").exists, "a checkpoint")

    lost.kill()
    lost.communicate()

    for process in processes:
        output, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 1
        assert "a member of the gang is gone" in output or "Connection reset" in output or "Broken pipe" in output
        assert "Traceback" not in output


def test_a_process_that_is_asked_to_stop_says_so(tmp_path: Path) -> None:
    process = start("train_digits.py", "--epochs", 1000, "--step-delay", 0.01, "--checkpoints", tmp_path)
    eventually((tmp_path / "checkpoint.npz").exists, "a checkpoint")

    process.send_signal(signal.SIGTERM)

    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + signal.SIGTERM
    assert "the last checkpoint is kept" in output
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".tmp"] == ["checkpoint.npz"]


@contextlib.contextmanager
def server(folder: Path) -> Iterator[int]:
    port = free_port()
    process = start("serve_digits.py", "--port", port, "--checkpoints", folder)
    try:
        eventually(lambda: _listens(port), "a server that listens")
        yield port
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 0


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=PATIENCE):
        return True
    return False


def answer(port: int, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", data=data, timeout=PATIENCE) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_a_server_is_ready_once_there_is_a_checkpoint(tmp_path: Path) -> None:
    with server(tmp_path) as port:
        assert answer(port, "/healthz")[0] == 503
        assert answer(port, "/predict?sample=1")[0] == 400

        output_of([start("train_digits.py", "--epochs", 8, "--checkpoints", tmp_path)])
        eventually(lambda: answer(port, "/healthz")[0] == 200, "a server that is ready")

        read = [answer(port, f"/predict?sample={index}")[1] for index in range(20)]
        assert sum(one["digit"] == one["truth"] for one in read) >= 17
        assert answer(port, "/predict", {"pixels": [0] * 64})[0] == 200


WRONG = {
    "too few pixels": ("/predict", {"pixels": [1]}, 400, "pixels must be 64 numbers"),
    "no pixels": ("/predict", {}, 400, "the body must be JSON"),
    "a picture that is not there": ("/predict?sample=9999", None, 400, "sample must be a number from 0 to"),
    "no such page": ("/nothing", None, 404, "/healthz"),
}


def test_a_server_says_what_is_wrong_with_a_request(tmp_path: Path) -> None:
    output_of([start("train_digits.py", "--epochs", 1, "--checkpoints", tmp_path)])
    with server(tmp_path) as port:
        eventually(lambda: answer(port, "/healthz")[0] == 200, "a server that is ready")
        for path, body, status, message in WRONG.values():
            code, text = answer(port, path, body)
            assert (code, message in text["error"]) == (status, True), (path, text)
