"""Real processes under a real supervisor."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from runai_core.backends.local.executor import Process, ProcessExecutor, passed_environment
from runai_core.backends.local.journal import Run
from runai_core.model.errors import Unavailable
from tests.waiting import PATIENCE, until

SHELL = "/bin/sh"


class Watched:
    """An executor, and a way to wait for the end of a run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.executor = ProcessExecutor(folder, shutdown_grace=1.0)
        self._changed = asyncio.Event()

    async def open(self) -> None:
        await self.executor.open(lambda _: self._changed.set())

    async def start(self, uid: str, script: str, *, run: int = 0, **fields: object) -> Run:
        process = Process(argv=[SHELL, "-c", script], environment=passed_environment(os.environ), **fields)  # type: ignore[arg-type]
        return await self.executor.start(uid, run, process)

    async def ended(self, uid: str, run: int = 0, seconds: float = PATIENCE) -> Run:
        async with asyncio.timeout(seconds):
            while (known := self.executor.run_of(uid)) is None or known.running or known.run < run:
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.2):
                        await self._changed.wait()
        return known

    def log(self, uid: str, run: int = 0) -> list[str]:
        path = self.folder / "pods" / uid / f"{run}.log"
        return [line[18:] for line in path.read_text().splitlines()]

    async def supervisor(self) -> int:
        return int((await self.executor._ask("hello"))["pid"])


@pytest_asyncio.fixture
async def pods(tmp_path: Path) -> AsyncIterator[Watched]:
    """An executor on an empty data directory; nothing of it is left afterwards."""
    watched = Watched(tmp_path)
    await watched.open()
    yield watched
    await watched.executor.close(shutdown=True)


async def ends(pid: int) -> None:
    """Wait for the end of a process; one that was reaped by nobody yet counts as ended."""
    await until(lambda: _has_ended(pid), f"the end of process {pid}")


def _has_ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def written(path: Path) -> str:
    """Return what a pod has written to a file, as soon as it has."""
    await until(lambda: path.exists() and path.read_text().endswith("\n"), f"text in {path}")
    return path.read_text()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("script", "code", "message"),
    [
        pytest.param("exit 0", 0, "", id="success"),
        pytest.param("exit 7", 7, "exited with code 7", id="failure"),
        pytest.param("kill -9 $$", 137, "killed by SIGKILL", id="a signal"),
    ],
)
async def test_exit_codes(pods: Watched, script: str, code: int, message: str) -> None:
    await pods.start("exit", script)
    run = await pods.ended("exit")
    assert (run.code, run.message, run.begun, run.stopped) == (code, message, True, False)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("argv", "folder", "code", "message"),
    [
        pytest.param(["no-such-command"], "", 127, "cannot run no-such-command: No such file", id="no such command"),
        pytest.param(["/etc/passwd"], "", 126, "cannot run /etc/passwd: Permission denied", id="not a program"),
        pytest.param(["true"], "/no/such/place", 126, "working directory /no/such/place", id="no such directory"),
    ],
)
async def test_what_cannot_be_run_is_the_pods_failure(
    pods: Watched, argv: list[str], folder: str, code: int, message: str
) -> None:
    process = Process(argv=argv, environment=passed_environment(os.environ), working_dir=folder)
    run = await pods.executor.start("bad", 0, process)
    assert not run.begun

    run = await pods.ended("bad")
    assert (run.code, run.begun) == (code, False)
    assert message in run.message


@pytest.mark.asyncio
async def test_output_of_both_kinds_is_kept_in_order_and_the_last_line_needs_no_end(pods: Watched) -> None:
    await pods.start("out", "echo one; echo two >&2; printf three")
    await pods.ended("out")
    assert pods.log("out") == ["one", "two", "three"]


@pytest.mark.asyncio
async def test_a_pod_has_its_own_directory_and_an_environment_without_our_secrets(pods: Watched) -> None:
    await pods.start("home", "pwd; env")
    await pods.ended("home")
    folder, *environment = pods.log("home")
    assert folder == str(pods.folder / "pods" / "home" / "work")
    assert not [line for line in environment if line.startswith(("RUNAI_TOKEN=", "PYTEST_"))]


@pytest.mark.asyncio
async def test_a_run_is_started_once_however_often_it_is_asked(pods: Watched, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    script = f"echo start >> {marks}; sleep 0.3"
    runs = await asyncio.gather(*(pods.start("once", script) for _ in range(20)))
    await pods.ended("once")
    runs.append(await pods.start("once", script))
    assert len({run.pid for run in runs}) == 1
    assert marks.read_text() == "start\n"


@pytest.mark.asyncio
async def test_the_next_run_does_not_begin_before_the_last_has_ended(pods: Watched, tmp_path: Path) -> None:
    first = await pods.start("next", f"while ! [ -e {tmp_path}/go ]; do sleep 0.02; done; echo first")
    refused = await pods.start("next", "echo second", run=1)
    assert (refused.run, refused.pid) == (0, first.pid)
    (tmp_path / "go").touch()
    await pods.ended("next")
    await pods.start("next", "echo second", run=1)
    await pods.ended("next", run=1)
    assert (pods.log("next", 0), pods.log("next", 1)) == (["first"], ["second"])


@pytest.mark.asyncio
async def test_only_the_last_two_runs_keep_their_logs(pods: Watched) -> None:
    for number in range(4):
        await pods.start("runs", f"echo {number}", run=number)
        await pods.ended("runs", run=number)
    assert sorted(path.name for path in (pods.folder / "pods" / "runs").glob("*.log")) == ["2.log", "3.log"]


@pytest.mark.asyncio
async def test_a_pod_that_listens_ends_within_its_grace_period(pods: Watched) -> None:
    await pods.start("kind", "trap 'echo saved; exit 0' TERM; echo up; while :; do sleep 0.05; done")
    await written(pods.folder / "pods" / "kind" / "0.log")
    await pods.executor.stop("kind", 30.0)
    run = await pods.ended("kind")
    assert (run.code, run.stopped) == (0, True)
    assert pods.log("kind")[-1] == "saved"


@pytest.mark.asyncio
async def test_a_pod_that_does_not_listen_is_killed_after_its_grace_period(pods: Watched) -> None:
    await pods.start("deaf", "trap '' TERM; echo up; while :; do sleep 0.05; done")
    await written(pods.folder / "pods" / "deaf" / "0.log")
    before = time.monotonic()
    await pods.executor.stop("deaf", 0.4)
    run = await pods.ended("deaf")
    assert (run.code, run.stopped) == (137, True)
    assert time.monotonic() - before > 0.35


ESCAPES = {
    "a child in the background": "sleep 300 & echo $! > {file}; {then}",
    "a grandchild": "(sleep 300 & echo $! > {file}; wait) & {then}",
    "a child with a session of its own": "setsid sh -c 'echo $$ > {file}; exec sleep 300' & {then}",
    "a daemon whose parent has ended": "setsid sh -c '(sh -c \"echo \\$\\$ > {file}; exec sleep 300\") &' ; {then}",
    "a deaf child": "sh -c 'trap \"\" TERM; echo $$ > {file}; while :; do sleep 0.1; done' & {then}",
}


@pytest.mark.asyncio
@pytest.mark.parametrize("script", ESCAPES.values(), ids=ESCAPES.keys())
@pytest.mark.parametrize("way", ["ends by itself", "is stopped"])
async def test_nothing_of_a_pod_outlives_it(pods: Watched, tmp_path: Path, script: str, way: str) -> None:
    file = tmp_path / "pid"
    then = f"while ! [ -s {file} ]; do sleep 0.02; done; " + ("exit 0" if way == "ends by itself" else "sleep 300")
    await pods.start("escape", script.format(file=file, then=then))
    pid = int(await written(file))
    if way == "is stopped":
        await pods.executor.stop("escape", 0.5)
    await pods.ended("escape")
    await ends(pid)


@pytest.mark.asyncio
async def test_the_daemon_of_one_pod_is_spared_by_the_end_of_another(pods: Watched, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    await pods.start("stays", f"setsid sh -c 'echo $$ > {file}; exec sleep 300' & sleep 300")
    pid = int(await written(file))
    await pods.start("goes", "exit 0")
    await pods.ended("goes")
    await asyncio.sleep(0.2)
    assert psutil.pid_exists(pid)
    await pods.executor.stop("stays", 0.2)
    await pods.ended("stays")
    await ends(pid)


@pytest.mark.asyncio
async def test_a_million_lines_neither_block_the_pod_nor_grow_without_bound(pods: Watched) -> None:
    code = "import sys; sys.stdout.write(''.join(f'line {n}\\n' for n in range(1_000_000)))"
    await pods.executor.start("loud", 0, Process(argv=[sys.executable, "-c", code], environment={}))
    run = await pods.ended("loud")
    assert run.code == 0
    assert pods.log("loud")[-1] == "line 999999"
    assert sum(file.stat().st_size for file in (pods.folder / "pods" / "loud").glob("*.log*")) < 25_000_000


@pytest.mark.asyncio
async def test_a_memory_limit_is_kept(pods: Watched) -> None:
    code = "x = bytearray(500_000_000); print(len(x))"
    for uid, limit, expected in (("small", 100_000_000, 1), ("large", 0, 0)):
        process = Process(argv=[sys.executable, "-c", code], environment={}, memory_limit=limit)
        await pods.executor.start(uid, 0, process)
        assert (await pods.ended(uid)).code == expected
    assert "MemoryError" in pods.log("small")[-1]


@pytest.mark.asyncio
@pytest.mark.parametrize("uid", ["../escape", "a/b", "", ".", "x" * 65, "a\x00b"])
async def test_a_uid_that_is_no_plain_name_touches_no_file(pods: Watched, uid: str) -> None:
    before = {path for path in pods.folder.parent.rglob("*") if "supervisor" not in path.name}
    with pytest.raises(Unavailable, match="plain uid"):
        await pods.start(uid, "true")
    assert {path for path in pods.folder.parent.rglob("*") if "supervisor" not in path.name} == before


@pytest.mark.asyncio
async def test_files_of_a_data_directory_are_for_its_owner_only(pods: Watched) -> None:
    await pods.start("mine", "echo secret")
    await pods.ended("mine")
    for path in (pods.folder / "supervisor.sock", pods.folder / "journal", pods.folder / "pods" / "mine" / "0.log"):
        assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.asyncio
async def test_a_data_directory_with_a_long_path_works(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 20) / ("path" * 20)
    folder.mkdir(parents=True)
    watched = Watched(folder)
    await watched.open()
    await watched.start("far", "exit 3")
    assert (await watched.ended("far")).code == 3
    await watched.executor.close(shutdown=True)


@pytest.mark.asyncio
async def test_what_ended_while_no_orchestrator_was_there_is_told_to_the_next(tmp_path: Path) -> None:
    first = Watched(tmp_path)
    await first.open()
    short = await first.start("short", f"while ! [ -e {tmp_path}/go ]; do sleep 0.02; done; echo done; exit 4")
    long = await first.start("long", "sleep 300")
    await first.executor.close(shutdown=False)
    (tmp_path / "go").touch()
    await ends(short.pid)

    second = Watched(tmp_path)
    await second.open()
    try:
        assert (await second.ended("short")).code == 4
        assert second.log("short") == ["done"]
        assert (await second.start("short", "exit 5")).code == 4
        known = second.executor.run_of("long")
        assert known is not None
        assert (known.pid, known.running) == (long.pid, True)
    finally:
        await second.executor.close(shutdown=True)
    await ends(long.pid)


@pytest.mark.asyncio
async def test_forgotten_runs_stay_forgotten(tmp_path: Path) -> None:
    first = Watched(tmp_path)
    await first.open()
    await first.start("gone", "true")
    await first.ended("gone")
    await first.executor.forget("gone")
    await first.executor.close(shutdown=True)
    second = Watched(tmp_path)
    await second.open()
    assert second.executor.runs() == ()
    await second.executor.close(shutdown=True)


@pytest.mark.asyncio
async def test_shutting_down_ends_all_pods_and_the_supervisor(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    await watched.open()
    supervisor = await watched.supervisor()
    runs = [await watched.start(f"p-{n}", "trap '' TERM; sleep 300 & wait; wait") for n in range(3)]
    await watched.executor.close(shutdown=True)
    for pid in (supervisor, *(run.pid for run in runs)):
        await ends(pid)


async def started_at_last(pods: Watched, uid: str, script: str) -> Run:
    """Do as the error says, as often as it says so: whether the loss shows in one request or in two is chance."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with contextlib.suppress(Unavailable):
                return await pods.start(uid, script)


@pytest.mark.asyncio
async def test_pods_of_a_killed_supervisor_are_adopted_and_none_runs_twice(pods: Watched, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    script = f"echo start >> {marks}; echo before; while ! [ -e {tmp_path}/go ]; do sleep 0.02; done; echo after"
    begun = await pods.start("orphan", script)
    await written(pods.folder / "pods" / "orphan" / "0.log")

    os.kill(await pods.supervisor(), signal.SIGKILL)
    again = await started_at_last(pods, "orphan", script)
    (tmp_path / "go").touch()
    run = await pods.ended("orphan")

    assert again.pid == begun.pid
    assert (run.code, run.running) == (None, False)
    assert "not known" in run.message
    assert pods.log("orphan") == ["before", "after"]
    assert marks.read_text() == "start\n"


@pytest.mark.asyncio
async def test_a_pod_that_died_with_its_supervisor_is_reported_lost_with_its_strays(tmp_path: Path) -> None:
    first = Watched(tmp_path)
    await first.open()
    file = tmp_path / "pid"
    begun = await first.start("lost", f"setsid sh -c 'echo $$ > {file}; exec sleep 300' & sleep 300")
    stray = int(await written(file))
    supervisor = await first.supervisor()
    first.executor._closing = True  # this orchestrator is gone as well
    os.kill(supervisor, signal.SIGKILL)
    os.kill(begun.pid, signal.SIGKILL)
    await first.executor.close(shutdown=False)
    await ends(begun.pid)

    second = Watched(tmp_path)
    await second.open()
    run = await second.ended("lost")
    assert (run.code, run.pid) == (None, begun.pid)
    await ends(stray)
    await second.executor.close(shutdown=True)


@pytest.mark.asyncio
async def test_a_torn_journal_line_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text('{"forget": "x"}\n{"uid": "torn", "ru')
    watched = Watched(tmp_path)
    await watched.open()
    assert watched.executor.runs() == ()
    await watched.executor.close(shutdown=True)


@pytest.mark.asyncio
async def test_a_supervisor_whose_directory_is_removed_ends_with_its_pods(tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "data"
    folder.mkdir()
    watched = Watched(folder)
    await watched.open()
    begun, supervisor = await watched.start("left", "sleep 300"), await watched.supervisor()
    await watched.executor.close(shutdown=False)
    shutil.rmtree(folder)
    await ends(begun.pid)
    await ends(supervisor)
