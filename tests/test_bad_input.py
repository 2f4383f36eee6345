"""Bad input, one row each: a clear error that names what is wrong, and nothing half-created.

The command line's half needs no orchestrator; the rest runs against a real one.
"""

# ruff: noqa: E501 - a row of the table is one line

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

RUNAI = (sys.executable, "-m", "runai_core.cli.main")

CLI: list[Any] = [
    pytest.param(("training", "submit"), 2, "give a name, or --name-prefix", id="no name"),
    pytest.param(("training", "submit", "a", "--name-prefix", "b"), 2, "give a name, or --name-prefix", id="two names"),
    pytest.param(("training", "submit", "a", "-g", "0.5"), 2, "use --gpu-portion-request", id="a share in the wrong flag"),
    pytest.param(("training", "submit", "a", "-g", "many"), 2, "is not a whole number", id="GPUs in words"),
    pytest.param(("training", "submit", "a", "b"), 2, "unexpected extra argument", id="words before the dashes"),
    pytest.param(("training", "submit", "a", "--gpu-portion-request", "0.5", "--gpu-memory-request", "5G"), 2, "not both", id="share and memory at once"),
    pytest.param(("training", "submit", "a", "-e", "NOVALUE"), 2, "it is written NAME=VALUE", id="a variable without a value"),
    pytest.param(("training", "submit", "a", "--priority", "urgent"), 2, "very-high", id="an unknown priority names the known ones"),
    pytest.param(("training", "submit", "a", "--termination-grace-period", "soon"), 2, "is not a duration", id="a duration in words"),
    pytest.param(("submit", "a", "-g", "1.5"), 2, "gpus: must be 0, a share below 1, or a whole number", id="one and a half GPUs in v1"),
    pytest.param(("submit", "a", "-v", "/data"), 2, "SOURCE:PATH", id="half a volume"),
    pytest.param(("workload", "list", "--columns", "Colour"), 6, "no orchestrator is running", id="nothing runs: said before anything else"),
    pytest.param(("training", "submit", "a", "--", "true"), 6, "start one with `runai up`", id="nothing runs: how to start it"),
    pytest.param(("workload", "submit", "-f", "absent.yaml"), 2, "absent.yaml", id="a manifest that is not there"),
    pytest.param(("workload", "submit", "-f", "broken.yaml"), 2, "is not YAML or JSON", id="a broken manifest"),
    pytest.param(("workload", "submit", "-f", "list.yaml"), 2, "must hold objects", id="a manifest that holds a word"),
    pytest.param(("workload", "submit", "-f", "empty.yaml"), 2, "holds no object", id="an empty manifest"),
    pytest.param(("workload", "submit", "-f", "deep.yaml"), 2, "is nested too deep", id="a manifest without a bottom"),
    pytest.param(("compute", "create", "a", "--scope", "tenant", "--file", "broken.yaml"), 2, "is not YAML or JSON", id="a broken file of an asset"),
    pytest.param(("workload", "submit", "-f", "odd.yaml"), 2, "must have apiVersion and kind", id="a manifest of nobody"),
    pytest.param(("workload", "delete", "-y"), 2, "name at least one, or give --all", id="delete nothing"),
    pytest.param(("port-forward", "a", "--port", "eighty"), 2, "must be LOCAL:REMOTE", id="a port in words"),
    pytest.param(("policy", "apply", "-f", "odd.yaml"), 2, "say which workloads it is for", id="a policy for nobody"),
    pytest.param(("policy", "get", "teaching"), 2, "'teaching' is not one of", id="a policy for an unknown type"),
    pytest.param(("up", "--port", "70000"), 2, "70000", id="a port that is too large"),
    pytest.param(("up", "--simulated-gpus", "-1"), 2, "-1", id="negative GPUs"),
    pytest.param(("up", "--data-dir", "a-file"), 6, "a-file cannot be made", id="a data directory that is a file"),
    pytest.param(("up", "--data-dir", "a-file/below"), 6, "cannot be made", id="a data directory below a file"),
    pytest.param(("down",), 0, "", id="down where nothing runs is no error"),
    pytest.param(("status",), 6, "no orchestrator is running", id="status where nothing runs"),
    pytest.param(("login", "access-key", "--url", "localhost", "--token", "t"), 2, "must begin with http://", id="a URL without a scheme"),
    pytest.param(("nonsense",), 2, "there is no command 'nonsense'", id="an unknown command"),
    pytest.param(("x" * 10_000,), 2, "there is no command", id="a command of 10,000 characters"),
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with the files that the rows name."""
    for name, text in {
        "broken.yaml": "a: [1,",
        "list.yaml": "hello",
        "empty.yaml": "",
        "deep.yaml": "[" * 10_000,
        "odd.yaml": "colour: red\n",
        "a-file": "not a directory",
    }.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def runai(folder: Path, *words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    """Run the real command in the folder, with a home and a data directory of its own."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("RUNAI", "XDG"))}
    environment = {**clean, "HOME": str(folder), "RUNAI_DATA_DIR": str(folder / "data"), **environ}
    return subprocess.run(
        [*RUNAI, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=150, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.parametrize(("words", "code", "says"), CLI)
def test_the_command_line_names_what_is_wrong(folder: Path, words: tuple[str, ...], code: int, says: str) -> None:
    before = sorted(folder.rglob("*"))

    done = runai(folder, *words)

    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert says in done.stderr
    assert len(done.stderr) < 2_000
    assert before == sorted(folder.rglob("*")), "something was left behind"


def test_a_url_at_which_nobody_answers_is_named(folder: Path) -> None:
    done = runai(folder, "node", "list", RUNAI_URL="http://127.0.0.1:9", RUNAI_TOKEN="t")

    assert (done.returncode, done.stderr) == (6, "Error: nobody answers at http://127.0.0.1:9 (RUNAI_URL)\n")


@pytest.mark.parametrize("text", ["{", "[]", '{"url": 3}'])
def test_a_damaged_credentials_file_is_named(folder: Path, text: str) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "credentials.json").write_text(text)

    done = runai(folder, "node", "list")

    assert done.returncode == 6
    assert "credentials.json is damaged" in done.stderr


def test_a_damaged_configuration_is_named(folder: Path) -> None:
    (folder / "config.json").write_text("{")

    done = runai(folder, "node", "list", RUNAI_CLI_CONFIG_PATH=str(folder))

    assert done.returncode == 2
    assert "config.json" in done.stderr


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_data_directory_that_cannot_be_written_is_named(folder: Path) -> None:
    (folder / "data").mkdir(mode=0o500)

    done = runai(folder, "up")

    assert done.returncode == 6
    assert "cannot be written" in done.stderr
