"""The orchestrator of this machine: `up`, `down`, `status`, `doctor`."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import psutil

from runai_core.cli.context import App, app_of
from runai_core.cli.output import duration, json_option, print_data, print_table, text
from runai_core.cli.running import LOG_BYTES, LOG_FILE, Running, ended_well, find_running, note_stopped
from runai_core.client.environment import data_dir, read_credentials
from runai_core.model.errors import Conflict, RunaiError, Unavailable
from runai_core.settings import Settings, load_settings

START_TIMEOUT = 60.0
"""Seconds after which an orchestrator that does not answer is given up. It takes about one."""

STOP_TIMEOUT = 45.0
"""Seconds for pods to end by themselves (their grace period is 30) before the orchestrator is killed."""

LOOK_AGAIN = 0.02

NO_WEBHOOKS = (
    "Admission webhooks are not served from here: what kubectl creates is judged when it is taken up, not refused at "
    "once, and pods that name no scheduler are not given ours. `runai admin install` serves them on the cluster."
)
SUPERVISOR_SOCKET = "supervisor.sock"
SECRET_VARIABLES = ("RUNAI_TOKEN", "RUNAI_CLIENT_SECRET")

data_dir_option = click.option("--data-dir", type=click.Path(), help="Where everything is kept (RUNAI_DATA_DIR).")


@click.command("up")
@data_dir_option
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; a free one when left out, or 0.")
@click.option(
    "--nodes", "nodes_file", type=click.Path(), help="File with the inventory of nodes; this machine when left out."
)
@click.option("--simulated-gpus", type=click.IntRange(0, 1024), help="Pretend that this machine has so many GPUs.")
@click.option(
    "--kubeconfig", type=click.Path(), help="Work on the Kubernetes cluster of this file, not on this machine."
)
@click.option("--context", "kube_context", help="Its context; the current one when left out.")
@click.option("--foreground", is_flag=True, help="Stay in the foreground; Ctrl-C stops it.")
@click.option("--json", "as_json", is_flag=True, help="Print url, data_dir, pid and credentials_file as JSON.")
@click.pass_context
def up(ctx: click.Context, /, foreground: bool, as_json: bool, **given: Any) -> None:
    """Start the orchestrator on this machine, and wait until it answers.

    Where one runs on the data directory already, nothing is started.
    """
    app = app_of(ctx)
    settings = load_settings(app.environ, **given)
    running = find_running(settings.data_dir)
    if running is None and foreground:
        # Imported here: it loads the whole server.
        from runai_core.cli.serve import run_server

        run_server(settings, lambda started: announce(app, settings, started, as_json=as_json))
        return
    if running is not None:
        _check_port(running, settings)
        if not as_json:
            app.say("It runs already.")
    announce(app, settings, running or start(settings, app.environ), as_json=as_json)


def start(settings: Settings, environ: Mapping[str, str]) -> Running:
    """Start the orchestrator in a session of its own and return it once it answers.

    Raises:
        Unavailable: it did not start; says what it said.
    """
    log = _log_file(settings.data_dir)
    if log.exists() and log.stat().st_size > LOG_BYTES // 2:  # else it may be put aside while we read in it
        log.replace(log.with_name(f"{LOG_FILE}.1"))
    before = log.stat().st_size if log.exists() else 0
    with _opened(log) as output:
        process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "runai_core.cli.main", "serve", *_serve_arguments(settings)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=settings.data_dir,
            env={key: value for key, value in environ.items() if key not in SECRET_VARIABLES},
            start_new_session=True,
        )
    try:
        return _wait_until_ready(settings.data_dir, process, log, before)
    except BaseException:
        process.kill()
        raise


def _log_file(folder: Path) -> Path:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"the data directory {folder} cannot be made: {error.strerror or error}") from None
    return folder / LOG_FILE


@contextlib.contextmanager
def _opened(path: Path) -> Any:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as error:
        message = f"the data directory {path.parent} cannot be written: {error.strerror or error}"
        raise Unavailable(f"{message}; choose another one with --data-dir") from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _serve_arguments(settings: Settings) -> list[str]:
    given = {
        "--data-dir": settings.data_dir,
        "--host": settings.host,
        "--port": settings.port,
        "--nodes": settings.nodes_file,
        "--simulated-gpus": settings.simulated_gpus,
        "--database-url": settings.database_url,
        "--log-level": settings.log_level,
        "--kubeconfig": settings.kubeconfig,
        "--context": settings.kube_context or None,
    }
    return [word for option, value in given.items() if value is not None for word in (option, str(value))]


def _wait_until_ready(folder: Path, process: "subprocess.Popen[bytes]", log: Path, before: int) -> Running:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        running = find_running(folder)
        if running is not None and running.pid == process.pid:
            return running
        if process.poll() is not None:
            raise _failure(_said(log, before), process.returncode, log)
        time.sleep(LOOK_AGAIN)
    raise Unavailable(f"the orchestrator did not answer within {START_TIMEOUT:.0f} s: see {log}")


def _said(log: Path, before: int) -> list[str]:
    with log.open("rb") as file:
        file.seek(before)
        return file.read(100_000).decode(errors="replace").splitlines()


def _failure(lines: Sequence[str], code: int, log: Path) -> RunaiError:
    """Return the error that the process ended with, in its own words."""
    first = next((index for index, line in enumerate(lines) if line.startswith("Error: ")), None)
    if first is None:
        return Unavailable(f"the orchestrator ended with exit code {code}: see {log}")
    message = "\n".join(lines[first:]).removeprefix("Error: ")
    return next((kind for kind in (Conflict,) if code == 5), Unavailable)(message)


def _check_port(running: Running, settings: Settings) -> None:
    port = running.url.rpartition(":")[2]
    if settings.port and str(settings.port) != port:
        raise Conflict(
            f"it runs already, on port {port}: `runai down` stops it, then start it with --port {settings.port}"
        )


def announce(app: App, settings: Settings, running: Running, *, as_json: bool) -> None:
    """Tell where the orchestrator is and how to go on."""
    if as_json:
        print_data(
            {
                "url": running.url,
                "data_dir": str(settings.data_dir),
                "pid": running.pid,
                "credentials_file": str(settings.credentials_file),
            }
        )
        return
    rows = {
        "Data directory": settings.data_dir,
        "Token": f"in {settings.credentials_file}",
        "Log": settings.data_dir / LOG_FILE,
        "API": f"{running.url}/api/docs",
        **_what_is_there(settings, running),
    }
    app.say(f"The orchestrator runs at {running.url} (process {running.pid}).\n")
    for name, value in rows.items():
        app.say(f"  {name + ':':<17}{value}")
    if settings.backend == "kubernetes":
        app.say(f"\n{NO_WEBHOOKS}")
    if settings.data_dir != data_dir(app.environ):
        app.say(f"\nFirst:             export RUNAI_DATA_DIR={settings.data_dir}")
    app.say("\nSubmit something:  runai training submit hello -- echo hello")
    app.say("Stop it:           runai down")


def _what_is_there(settings: Settings, running: Running) -> dict[str, str]:
    """Return nodes, projects and the way in for a browser; nothing where they cannot be read: `up` has succeeded."""
    # Imported here: by now the orchestrator is on its way, and loading this takes a while.
    from runai_core.client import requests
    from runai_core.client.sync.client import Client

    try:
        with Client.connect_to(read_credentials(settings.data_dir)) as client:
            nodes, projects = client.nodes(), client.projects.list(limit=20)
            path = client.transport.call(requests.login_ticket())
    except RunaiError:
        return {}
    gpus = sum(node.gpu_count for node in nodes)
    simulated = " (simulated)" if any(node.simulated for node in nodes) else ""
    counted = f"{len(nodes)} with {gpus} GPUs{simulated}"
    return {
        "Nodes": counted,
        "Projects": ", ".join(project.name for project in projects),
        "In the browser": f"{running.url}{path}  (signs you in, once, within 5 minutes)",
    }


@click.command("down")
@data_dir_option
@json_option
@click.pass_context
def down(ctx: click.Context, /, as_json: bool, **given: Any) -> None:
    """Stop the orchestrator of this machine with all its pods; what was stored stays."""
    app = app_of(ctx)
    settings = load_settings(app.environ, **given)
    running = find_running(settings.data_dir)
    if running is not None:
        stop(running)
    left = clean_up(settings.data_dir) if settings.data_dir.exists() else 0
    if as_json:
        print_data({"stopped": running is not None, "pid": running.pid if running else None, "pods_ended": left})
    elif running is not None:
        app.say(f"The orchestrator has stopped (process {running.pid}).")
    else:
        app.say(f"No orchestrator was running (data directory {settings.data_dir}).")
    if left and not as_json:
        app.say(f"{left} left-over processes were ended.")


def clean_up(data_dir: Path) -> int:
    """End the pods that outlived an orchestrator which was killed; return how many there were."""
    if ended_well(data_dir) and not (data_dir / SUPERVISOR_SOCKET).exists():
        return 0
    # Imported here: it is needed after a crash only.
    from runai_core.backends.local.executor import ProcessExecutor

    async def end_all() -> int:
        executor = ProcessExecutor(data_dir)
        await executor.open(lambda _uid: None)
        running = sum(run.running for run in executor.runs())
        await executor.close(shutdown=True)
        return running

    found = asyncio.run(end_all())
    note_stopped(data_dir)
    return found


def stop(running: Running) -> None:
    """Ask the process to stop, and kill it if it does not."""
    try:
        process = psutil.Process(running.pid)
        process.send_signal(signal.SIGTERM)
        if not _ends_within(process, STOP_TIMEOUT):
            click.echo(f"It did not stop within {STOP_TIMEOUT:.0f} s and is killed.", err=True)
            process.kill()
            _ends_within(process, 5.0)
    except psutil.NoSuchProcess:
        return
    except psutil.AccessDenied:
        raise Unavailable(f"process {running.pid} belongs to another user and cannot be stopped") from None


def _ends_within(process: psutil.Process, seconds: float) -> bool:
    """Wait for the end of a process; one that its parent has not collected yet (a zombie) has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


@click.command("status")
@data_dir_option
@json_option
@click.pass_context
def status(ctx: click.Context, /, as_json: bool, **given: Any) -> None:
    """Say what is running: the orchestrator, its nodes, its workloads."""
    app = app_of(ctx)
    if given["data_dir"]:
        app.environ = {**app.environ, "RUNAI_DATA_DIR": given["data_dir"]}
    try:
        found = app.client.status()
    except Unavailable as error:
        if as_json:
            print_data({"running": False, "message": error.message})
            ctx.exit(6)
        raise
    running = find_running(data_dir(app.environ))
    url = app.client.transport.connection.url
    if as_json:
        print_data({"running": True, "url": url, "pid": running.pid if running else None, **found})
        return
    gpus = found.get("gpus") or {}
    simulated = f" ({gpus['simulated']} simulated)" if gpus.get("simulated") else ""
    rows = {
        "Orchestrator": f"runs at {url}, version {found.get('version')}, for {duration(found.get('uptimeSeconds'))}",
        "Process": running.pid if running else None,
        "Backend": found.get("backend"),
        **{name.replace("_", " ").capitalize(): value for name, value in (found.get("facts") or {}).items()},
        "Nodes": found.get("nodes"),
        "GPUs": f"{gpus.get('total', 0)}{simulated}",
        "Failed plug-ins": ", ".join(found.get("failedPlugins") or ()),
    }
    for name, value in rows.items():
        if value not in (None, ""):
            click.echo(f"{name + ':':<17}{text(value)}")
    counts = found.get("workloads") or {}
    click.echo(f"{'Workloads:':<17}" + (", ".join(f"{count} {phase}" for phase, count in counts.items()) or "none"))


@click.command("doctor")
@data_dir_option
@json_option
@click.pass_context
def doctor(ctx: click.Context, /, as_json: bool, **given: Any) -> None:
    """Look for what is missing or wrong on this machine, and say how to mend it."""
    # Imported here: the other commands of this file should start fast.
    from runai_core.cli.checks import Level, all_checks

    app = app_of(ctx)
    found = all_checks(load_settings(app.environ, **given), app.environ)
    if as_json:
        print_data([check.as_dict() for check in found])
    else:
        print_table(("", "Check", "Found"), [(check.level.mark, check.name, check.found) for check in found])
        for check in found:
            if check.advice:
                click.echo(f"\n{check.name}: {check.advice}")
    if any(check.level is Level.PROBLEM for check in found):
        ctx.exit(1)
