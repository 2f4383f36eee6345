"""The orchestrator is killed with SIGKILL; its pods go on, and the next one takes them over."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from runai_core.backends.local.backend import open_local
from runai_core.model.decision import Bind, CycleResult
from runai_core.model.errors import Conflict, NotFound
from runai_core.model.meta import Meta
from runai_core.model.network import HttpGet
from runai_core.model.snapshot import PodGroup, PodState
from runai_core.model.spec import RestartPolicy
from runai_core.model.workload import Gang, Pod, PodSpec, Workload
from runai_core.ports import Backend, LogOptions
from tests import waiting

ORCHESTRATOR = """
import asyncio, sys
from pathlib import Path
from tests.unit.backends.test_adoption import an_orchestrator, begin

async def main():
    async with an_orchestrator(Path(sys.argv[1])) as backend:
        for argument in sys.argv[2:]:
            name, _, script = argument.partition("=")
            await begin(backend, name, script, wait=name != "hasty")
        print("ready", flush=True)
        await asyncio.sleep(300)

asyncio.run(main())
"""


@asynccontextmanager
async def an_orchestrator(folder: Path, *, shutdown: bool = False) -> AsyncIterator[Backend]:
    async with open_local(data_dir=folder, simulated_gpus=0, shutdown_pods=shutdown, restart_delay=0.1) as backend:
        yield backend


async def begin(backend: Backend, name: str, script: str, *, wait: bool = True, **fields: object) -> Workload:
    """Store a workload with one pod that runs a shell script, and place it."""
    workload = await backend.store.create(Workload(meta=Meta(name=name, project="p"), attempt=1, node_pool="default"))
    meta = Meta(name=f"{name}-1-0", project="p", uid=f"{name}-uid", owner=workload.meta.uid)
    spec = PodSpec(argv=("/bin/sh", "-c", script), grace_period=0.5, **fields)  # type: ignore[arg-type]
    pod = Pod(meta=meta, workload=name, pod_group=name, node_pool="default", spec=spec)
    await backend.cluster.launch(workload, Gang(group=PodGroup(name=name, queue="p"), pods=(pod,)))
    node = (await backend.cluster.nodes())[0].name
    await backend.cluster.apply(CycleResult(binds=(Bind(f"p/{name}-1-0", node),)))
    if wait:
        await until(backend, name, PodState.RUNNING, PodState.SUCCEEDED, PodState.FAILED)
    return workload


async def until(backend: Backend, name: str, *states: PodState, ready: bool = False, restarts: int = 0) -> Pod:
    seen: list[Pod] = []

    async def is_so() -> bool:
        seen[:] = [await backend.store.get_by_uid(Pod, f"{name}-uid")]
        status = seen[0].status
        return status.state in states and (status.ready or not ready) and status.restarts >= restarts

    await waiting.until(is_so, lambda: f"{name} in {states}, but {seen}")
    return seen[0]


async def written_pid(folder: Path) -> int:
    """Return the number that a pod writes to the file "pid", once it is there as a whole line."""
    file = folder / "pid"
    await waiting.until(lambda: file.exists() and file.read_text().endswith("\n"), "the number of the process")
    return int(file.read_text())


async def log_of(backend: Backend, pod: Pod, **options: object) -> list[str]:
    pieces = backend.runtime.logs(pod, LogOptions(**options))  # type: ignore[arg-type]
    return b"".join([piece async for piece in pieces]).decode().splitlines()


def run_and_kill(folder: Path, *pods: str) -> None:
    """Start an orchestrator with pods in a process of its own, and kill it as soon as they run."""
    process = subprocess.Popen(
        [sys.executable, "-c", ORCHESTRATOR, str(folder), *pods],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
        start_new_session=True,
    )
    assert process.stdout is not None
    with process.stdout as output:
        assert output.readline() == b"ready\n"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.asyncio
async def test_running_pods_are_adopted_and_ended_ones_reported_with_code_and_log(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    run_and_kill(
        tmp_path / "data",
        f"long=echo long >> {marks}; echo up; while ! [ -e {tmp_path}/go ]; do sleep 0.05; done; echo end; exit 6",
        f"short=echo short >> {marks}; echo hello; sleep 0.4; exit 5",
        f"hasty=echo hasty >> {marks}; sleep 0.1",
    )
    async with an_orchestrator(tmp_path / "data", shutdown=True) as backend:
        short = await until(backend, "short", PodState.FAILED)
        hasty = await until(backend, "hasty", PodState.SUCCEEDED)
        long = await until(backend, "long", PodState.RUNNING)
        assert (short.status.exit_code, hasty.status.exit_code) == (5, 0)
        assert await log_of(backend, short) == ["hello"]

        (tmp_path / "go").touch()
        long = await until(backend, "long", PodState.FAILED)
        assert long.status.exit_code == 6
        assert await log_of(backend, long) == ["up", "end"]
    assert sorted(marks.read_text().split()) == ["hasty", "long", "short"]


@pytest.mark.asyncio
async def test_orchestrator_and_supervisor_killed_together_start_nothing_twice(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    run_and_kill(tmp_path / "data", f"long=echo long >> {marks}; while ! [ -e {tmp_path}/go ]; do sleep 0.05; done")
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if command[-1:] == [str(tmp_path / "data")] and "runai_core.backends.local.supervisor" in command:
            process.kill()
    async with an_orchestrator(tmp_path / "data", shutdown=True) as backend:
        (tmp_path / "go").touch()
        pod = await until(backend, "long", PodState.FAILED)
        assert (pod.status.reason, pod.status.exit_code) == ("NodeLost", None)
    assert marks.read_text() == "long\n"


@pytest.mark.asyncio
async def test_leaving_lets_pods_go_on_and_shutting_down_leaves_no_process(tmp_path: Path) -> None:
    async with an_orchestrator(tmp_path) as backend:
        await begin(backend, "stays", f"echo $$ > {tmp_path}/pid; sleep 300")
        pid = await written_pid(tmp_path)
    assert psutil.pid_exists(pid)
    async with an_orchestrator(tmp_path, shutdown=True) as backend:
        await until(backend, "stays", PodState.RUNNING)
    assert not psutil.pid_exists(pid)
    async with an_orchestrator(tmp_path, shutdown=True) as backend:
        pod = await until(backend, "stays", PodState.FAILED)
        assert pod.status.reason == "Shutdown"


@pytest.mark.asyncio
async def test_processes_of_pods_that_are_not_stored_are_ended(tmp_path: Path) -> None:
    async with an_orchestrator(tmp_path) as backend:
        await begin(backend, "old", f"echo $$ > {tmp_path}/pid; sleep 300")
        pid = await written_pid(tmp_path)
    for file in tmp_path.glob("runai.db*"):
        file.unlink()
    async with an_orchestrator(tmp_path, shutdown=True):
        await waiting.until(lambda: not psutil.pid_exists(pid), f"the end of process {pid}")


@pytest.mark.asyncio
async def test_logs_are_kept_as_long_as_their_pod_is_remembered(tmp_path: Path) -> None:
    kept, forgotten = tmp_path / "pods" / "kept-uid", tmp_path / "pods" / "forgotten-uid"
    async with an_orchestrator(tmp_path, shutdown=True) as backend:
        for name in ("kept", "forgotten"):
            workload = await begin(backend, name, "echo hello")
            await until(backend, name, PodState.SUCCEEDED)
            await backend.cluster.remove(workload, reason="Deleted")

        async def all_are_gone() -> bool:
            return (await backend.store.list(Pod)).total == 0

        await waiting.until(all_are_gone, "the end of the pods")
        await backend.store.purge(Pod, 4e9)
        again = Pod(meta=Meta(name="again", uid="kept-uid"), workload="w", pod_group="g", spec=PodSpec())
        await backend.store.create(again)
    async with an_orchestrator(tmp_path, shutdown=True):
        await waiting.until(lambda: not forgotten.exists(), "the end of the folder")
        assert (kept / "0.log").exists()


@pytest.mark.asyncio
async def test_a_failing_process_is_started_again_and_the_log_before_is_kept(tmp_path: Path) -> None:
    script = f"echo run >> {tmp_path}/runs; wc -l < {tmp_path}/runs; [ $(wc -l < {tmp_path}/runs) -ge 3 ]"
    async with an_orchestrator(tmp_path / "data", shutdown=True) as backend:
        await begin(backend, "flaky", script, restart_policy=RestartPolicy.ON_FAILURE)
        pod = await until(backend, "flaky", PodState.SUCCEEDED)
        assert pod.status.restarts == 2
        assert [line.strip() for line in await log_of(backend, pod)] == ["3"]
        assert [line.strip() for line in await log_of(backend, pod, previous=True)] == ["2"]


SERVER = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if os.path.exists(sys.argv[2]) else 503)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.mark.asyncio
async def test_a_pod_is_ready_when_its_probe_is_answered_and_unready_when_it_is_not(tmp_path: Path) -> None:
    async with an_orchestrator(tmp_path / "data", shutdown=True) as backend:
        _, port = await backend.cluster.rendezvous(Workload(meta=Meta(name="x")))
        (tmp_path / "server.py").write_text(SERVER)
        await begin(
            backend,
            "server",
            f"exec {sys.executable} {tmp_path}/server.py {port} {tmp_path}/healthy",
            readiness=HttpGet(path="/ready", port=port),
            readiness_period=0.1,
            readiness_failure_threshold=2,
        )
        await asyncio.sleep(0.4)
        assert not (await until(backend, "server", PodState.RUNNING)).status.ready
        (tmp_path / "healthy").touch()
        await until(backend, "server", PodState.RUNNING, ready=True)
        (tmp_path / "healthy").unlink()

        async def is_unready() -> bool:
            return not (await until(backend, "server", PodState.RUNNING)).status.ready

        await waiting.until(is_unready, "a pod that is not ready")


@pytest.mark.asyncio
async def test_following_a_log_ends_with_the_pod(tmp_path: Path) -> None:
    async with an_orchestrator(tmp_path, shutdown=True) as backend:
        talk = f"echo 1; while ! [ -e {tmp_path}/go ]; do sleep 0.05; done; echo 2; echo 3"
        await begin(backend, "talks", talk)
        pod = await until(backend, "talks", PodState.RUNNING)
        following = asyncio.create_task(log_of(backend, pod, follow=True))
        (tmp_path / "go").touch()
        assert await waiting.soon(following) == ["1", "2", "3"]


async def _run(
    backend: Backend, pod: Pod, argv: Sequence[str], *, tty: bool = False, send: bytes = b""
) -> tuple[int, bytes]:
    async with backend.runtime.exec(pod, argv, tty=tty, stdin=bool(send)) as session:
        if send:
            await session.write(send)
            if not tty:
                await session.write(b"")
        output = b""
        while (piece := await session.read()) is not None:
            output += piece[1]
        return await session.wait(), output


@pytest.mark.asyncio
async def test_commands_run_beside_a_pod_in_its_place_and_environment(tmp_path: Path) -> None:
    async with an_orchestrator(tmp_path, shutdown=True) as backend:
        await begin(backend, "host", "sleep 300", environment={"COLOUR": "red"})
        pod = await until(backend, "host", PodState.RUNNING)
        assert await _run(backend, pod, ["sh", "-c", "echo $COLOUR; exit 3"]) == (3, b"red\n")
        assert await _run(backend, pod, ["pwd"]) == (0, f"{tmp_path}/pods/host-uid/work\n".encode())
        assert await _run(backend, pod, ["cat"], send=b"given") == (0, b"given")
        code, output = await _run(backend, pod, ["sh", "-c", "tty && read x && echo got $x"], tty=True, send=b"it\n")
        assert code == 0
        assert b"/dev/" in output
        assert output.endswith(b"got it\r\n")
        with pytest.raises(NotFound, match="cannot run no-such-command"):
            await _run(backend, pod, ["no-such-command"])


@pytest.mark.asyncio
async def test_a_command_ends_when_its_context_is_left_or_its_pod_ends(tmp_path: Path) -> None:
    async with an_orchestrator(tmp_path, shutdown=True) as backend:
        workload = await begin(backend, "host", "sleep 300")
        pod = await until(backend, "host", PodState.RUNNING)
        async with backend.runtime.exec(pod, ["sleep", "301"]) as session:
            pass
        assert await waiting.soon(session.wait()) == 143
        async with backend.runtime.exec(pod, ["sleep", "302"]) as session:
            await backend.cluster.remove(workload, reason="Deleted")
            assert await waiting.soon(session.wait()) == 143
        with pytest.raises(Conflict, match="while it is Running"):
            backend.runtime.exec(await backend.store.get_by_uid(Pod, "host-uid"), ["true"])
