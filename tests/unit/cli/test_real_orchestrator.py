"""The command line as a user has it: real processes, a real orchestrator, real pods."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runai_core import Client
from runai_core.cli.context import App
from runai_core.cli.main import run
from tests.ports import free_port
from tests.waiting import PATIENCE, eventually

RUNAI = (sys.executable, "-m", "runai_core.cli.main")
Done = subprocess.CompletedProcess[bytes]


class Machine:
    """A home directory with a data directory, and the command."""

    def __init__(self, home: Path) -> None:
        self.data = home / "data"
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("RUNAI", "XDG"))}
        self.environ = {**clean, "HOME": str(home), "RUNAI_DATA_DIR": str(self.data)}

    def runai(self, *words: str, code: int = 0, **more: Any) -> Done:
        """Run a command and check its exit code."""
        done = subprocess.run(
            [*RUNAI, *words], env=self.environ, capture_output=True, timeout=120, check=False, **{"input": b"", **more}
        )
        assert done.returncode == code, (done.stdout, done.stderr)
        assert b"Traceback" not in done.stderr
        return done

    def json(self, *words: str) -> Any:
        """Return what a command prints with --json."""
        return json.loads(self.runai(*words, "--json").stdout)

    def wait(self, name: str, phase: str) -> None:
        """Wait until a workload is in a phase."""
        with Client.from_env(self.environ) as client:
            assert client.wait(name, until=[phase], timeout=PATIENCE).phase == phase

    def processes(self) -> list[int]:
        """Return the processes that belong to the data directory: by command line, directory or environment."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                place = str((path / "cwd").readlink())
                belongs = str(self.data) in place or str(self.data) in (path / "cmdline").read_text()
                if belongs and (path / "stat").read_text().split()[2] != "Z":
                    found.append(int(path.name))
            except OSError:
                continue
        return found

    def empties(self) -> None:
        """Wait until no process is left; the last ones need a moment."""
        eventually(lambda: not self.processes(), lambda: f"no process, but {self.processes()}")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    machine.runai("down")
    machine.empties()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    machine = Machine(tmp_path_factory.mktemp("running"))
    machine.runai("up", "--simulated-gpus", "4")
    machine.runai("workspace", "submit", "lab", "--gpu-portion-request", "0.5", "--", "sleep", "300")
    machine.wait("lab", "Running")
    yield machine
    machine.runai("down")
    machine.empties()


def test_up_prints_where_it_is_and_runs_the_first_workload(machine: Machine) -> None:
    told = machine.json("up", "--simulated-gpus", "2")
    machine.runai("training", "submit", "first", "-g", "1", "--", "sleep", "60")
    machine.wait("first", "Running")

    assert told.keys() == {"url", "data_dir", "pid", "credentials_file"}
    assert told["data_dir"] == str(machine.data)
    path = Path(told["credentials_file"])
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text()).keys() == {"url", "token", "client_id", "client_secret"}
    assert machine.json("up") == told, "a second up starts nothing"
    machine.runai("down")
    machine.empties()
    assert b"No orchestrator was running" in machine.runai("down").stdout


def test_a_restart_keeps_the_secret_so_that_programs_go_on(machine: Machine) -> None:
    first = json.loads(Path(machine.json("up")["credentials_file"]).read_text())
    machine.runai("down")
    second = json.loads(Path(machine.json("up")["credentials_file"]).read_text())

    assert (first["client_id"], first["client_secret"]) == (second["client_id"], second["client_secret"])


def test_after_a_crash_the_pods_run_on_and_are_found_again(machine: Machine) -> None:
    pid = machine.json("up")["pid"]
    machine.runai("training", "submit", "long", "--", "sleep", "300")
    machine.wait("long", "Running")
    os.kill(pid, signal.SIGKILL)
    while_down = machine.runai("workload", "list", code=6)
    assert b"start one with `runai up`" in while_down.stderr

    machine.runai("up")

    assert machine.json("workload", "describe", "long")["phase"] == "Running"
    assert len(machine.json("workload", "events", "long")) < 50


def test_down_after_a_crash_ends_the_pods_as_well(machine: Machine) -> None:
    pid = machine.json("up")["pid"]
    machine.runai("training", "submit", "long", "--", "sleep", "300")
    machine.wait("long", "Running")
    os.kill(pid, signal.SIGKILL)

    assert machine.json("down")["pods_ended"] == 1
    machine.empties()


def test_a_port_that_is_taken_is_named_and_nothing_runs(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])

        done = machine.runai("up", "--port", port, code=6)

    assert f"port {port} of 127.0.0.1 cannot be used".encode() in done.stderr
    machine.empties()


def test_two_orchestrators_do_not_share_a_data_directory(machine: Machine) -> None:
    machine.runai("up")

    assert b"already" in machine.runai("serve", code=5).stderr
    assert b"it runs already, on port" in machine.runai("up", "--port", "1", code=5).stderr


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("identity.json", "{", b"identity.json is damaged"),
        ("runai.db", "this is no database " * 100, b"the file is not a database"),
    ],
)
def test_a_damaged_data_directory_is_named(machine: Machine, name: str, text: str, says: bytes) -> None:
    machine.data.mkdir()
    (machine.data / name).write_text(text)

    done = machine.runai("up", code=6)

    assert says in done.stderr
    machine.empties()


def test_a_nodes_file_that_is_not_there_is_named(machine: Machine) -> None:
    done = subprocess.run(
        [*RUNAI, "up", "--nodes", "absent.yaml"], env=machine.environ, capture_output=True, timeout=120, check=False
    )

    assert done.returncode in (2, 6)
    assert b"absent.yaml" in done.stderr


def test_in_the_foreground_ctrl_c_stops_everything(machine: Machine) -> None:
    command = [*RUNAI, "up", "--foreground", "--json"]
    with subprocess.Popen(command, env=machine.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        text = b""
        while b"}" not in text:
            text += process.stdout.readline()
        assert json.loads(text)["pid"] == process.pid
        machine.runai("training", "submit", "long", "--", "sleep", "300")
        machine.wait("long", "Running")

        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)

    assert (process.returncode, b"Traceback" in errors) == (0, False)
    machine.empties()


READS = [
    ("workload", "list", "-A"),
    ("workspace", "list"),
    ("workload", "events", "lab"),
    ("workload", "history", "lab"),
    ("project", "list"),
    ("department", "list"),
    ("node", "list"),
    ("nodepool", "list"),
    ("cluster", "list"),
    ("policy", "list"),
    ("plugins",),
    ("workload-type", "list"),
    ("list", "jobs"),
    ("list", "projects"),
    ("list", "nodes"),
    ("top", "node"),
]


@pytest.mark.parametrize("words", READS, ids=" ".join)
def test_every_list_has_a_table_and_json(running: Machine, words: tuple[str, ...]) -> None:
    found = running.json(*words)

    assert isinstance(found, list)
    assert all(isinstance(item, dict) for item in found)
    table = running.runai(*words).stdout.decode().splitlines()
    assert not [line for line in table if line != line.rstrip()], "blanks at the end of lines"
    assert b"- " in running.runai(*words, "--yaml").stdout or not found


NOUNS = (
    "environment", "compute", "datasource", "credential", "my-credential", "template", "user", "service-account",
    "access-key", "access-rule", "role", "audit", "report",
)  # fmt: skip


def test_every_noun_of_the_organization_is_listed(running: Machine, capfd: pytest.CaptureFixture[str]) -> None:
    """In this process: what is tested is what a list makes of a real answer."""

    def said(*words: str) -> str:
        assert run(words, App(environ=running.environ)) == 0, capfd.readouterr().err
        return capfd.readouterr().out

    said("compute", "create", "small", "--gpu-devices-request", "1")
    said("user", "create", "jane@example.com")
    for noun in NOUNS:
        assert isinstance(json.loads(said(noun, "list", "--json")), list), noun
        said(noun, "list")
    assert "small" in said("compute", "list")
    assert "jane@example.com" in said("user", "list")


def test_nobody_else_can_read_what_is_kept(running: Machine) -> None:
    kept = [path for path in running.data.rglob("*") if "work" not in path.parts]

    assert len(kept) > 5
    assert {str(path) for path in kept if path.lstat().st_mode & 0o077} == set()


def test_a_description_shows_what_there_is(running: Machine) -> None:
    text = running.runai("workspace", "describe", "lab").stdout.decode()

    for part in ("Name:", "lab", "Running", "GPU allocated:", "0.50", "lab-1-0", "sleep 300"):
        assert part in text


def test_a_command_runs_inside_with_its_streams_and_exit_code(running: Machine) -> None:
    done = running.runai(
        "workload", "exec", "lab", "-i", "--", "sh", "-c", "cat; echo no >&2; exit 3", code=3, input=b"in\0"
    )

    assert (done.stdout, done.stderr) == (b"in\0", b"no\n")
    assert running.runai("workspace", "bash", "lab", input=b"echo $RUNAI_JOB_NAME\n").stdout == b"lab\n"


def test_a_log_comes_byte_for_byte(running: Machine) -> None:
    running.runai("training", "submit", "bytes", "--", "printf", r"\377\000\033[31mred\n")
    running.wait("bytes", "Completed")

    assert running.runai("training", "logs", "bytes").stdout == b"\xff\x00\x1b[31mred\n"


def test_a_port_is_forwarded_from_a_free_one(running: Machine) -> None:
    port = free_port()
    running.runai("workspace", "submit", "web", "--", sys.executable, "-m", "http.server", str(port), "-b", "127.0.0.1")
    running.wait("web", "Running")
    command = [*RUNAI, "workspace", "port-forward", "web", "--port", f"0:{port}"]
    with subprocess.Popen(command, env=running.environ, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        local = int(process.stdout.readline().split()[1].rpartition(b":")[2])
        try:
            assert eventually(lambda: _answer(local), "an answer of the server in the pod").startswith(b"HTTP/1.0 200")
        finally:
            process.send_signal(signal.SIGINT)
    assert process.returncode == 130


def _answer(port: int) -> bytes:
    with (
        contextlib.suppress(ConnectionError),  # the server in the pod is not up yet
        socket.create_connection(("127.0.0.1", port), timeout=60) as connection,
    ):
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return connection.recv(1000)
    return b""


def test_a_watched_list_prints_a_line_for_each_change(running: Machine) -> None:
    command = [*RUNAI, "workload", "list", "--watch", "--columns", "workload,status"]
    lines: list[list[bytes]] = []
    with subprocess.Popen(command, env=running.environ, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().split() == [b"Workload", b"Status"]
        running.runai("training", "submit", "seen", "--", "sleep", "4")
        while [b"seen", b"Completed"] not in lines and process.poll() is None:
            lines.append(process.stdout.readline().split())
        process.send_signal(signal.SIGINT)

    assert [b"seen", b"Running"] in lines
    assert process.returncode == 130


def test_names_of_workloads_and_projects_are_completed(running: Machine) -> None:
    for words, number, expected in (
        ("runai workload logs l", "3", "plain,lab"),
        ("runai training submit x -p de", "5", "plain,default"),
    ):
        environment = {**running.environ, "COMP_WORDS": words, "COMP_CWORD": number, "_RUNAI_COMPLETE": "bash_complete"}
        command = [sys.executable, "-c", "from runai_core.cli.main import cli; cli(prog_name='runai')"]

        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

        assert expected in done.stdout.split(), done.stderr


BLOCKS = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[3] / "docs" / "python.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_the_examples_of_the_python_page_run(running: Machine, number: int) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", BLOCKS[number]],
        env=running.environ,
        capture_output=True,
        timeout=120,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, b"")
