"""Verbs that carry bytes: logs, exec, bash, attach, port-forward."""

import contextlib
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from runai_core.cli.building import SECONDS
from runai_core.cli.context import App, app_of, project_option
from runai_core.cli.submit import CommandLine, Noun, name_argument, words_of
from runai_core.cli.workloads import find_one
from runai_core.client.results import Pod, Workload
from runai_core.model.errors import Conflict, FieldError, InvalidRequest, NotFound

if TYPE_CHECKING:
    from runai_core.client.sync.execution import ExecSession

STARTED = ("Running", "Degraded", "Stopped", "Stopping", "Completed", "Failed")
"""Phases in which it runs, or no longer will by itself."""

SHELL = ("/bin/sh", "-c", "command -v bash >/dev/null && exec bash || exec sh")


container_option = click.option("-c", "--container", help="The container, by name; the main one when left out.")
pod_option = click.option("--pod", help="The pod, by name; the first one when left out.")
wait_option = click.option(
    "--wait-timeout", "--pod-running-timeout", type=SECONDS, help="Wait this long for it to run, e.g. 5m."
)


def container_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which container is meant, and how long it is waited for."""
    return pod_option(container_option(wait_option(command)))


def logs_command(noun: Noun) -> click.Command:
    """Return `logs`."""

    @click.command("logs", short_help="Print its log.")
    @name_argument
    @project_option
    @click.option("-f", "--follow", is_flag=True, help="Go on until it ends, or Ctrl-C.")
    @container_options
    @click.option("-t", "--tail", type=click.IntRange(-1), default=-1, help="Only the last lines; -1 is all.")
    @click.option("--since", type=SECONDS, help="Only lines not older than this, e.g. 5m.")
    @click.option("--since-time", help="Only lines since this time, RFC 3339.")
    @click.option("--timestamps", is_flag=True, help="Begin each line with its time.")
    @click.option("--previous", is_flag=True, help="Of the run before the last restart.")
    @click.option("--limit-bytes", type=click.IntRange(1), help="At most so many bytes.")
    @click.pass_context
    def run(ctx: click.Context, /, name: str, project: str | None, **chosen: Any) -> None:
        """Print what a workload wrote to standard output and standard error."""
        app = app_of(ctx)
        found = started(app, find_one(app, noun, name, project), chosen["wait_timeout"])
        print_log(app, found, chosen)

    return run


def print_log(app: App, item: Workload, chosen: dict[str, Any]) -> None:
    """Print the log of one pod as the bytes that they are."""
    options: dict[str, Any] = {
        "pod": chosen.get("pod"),
        "container": chosen.get("container"),
        "follow": chosen.get("follow"),
        "tail": None if chosen.get("tail", -1) < 0 else chosen["tail"],
        "since": chosen.get("since"),
        "sinceTime": chosen.get("since_time"),
        "timestamps": chosen.get("timestamps"),
        "previous": chosen.get("previous"),
        "limitBytes": chosen.get("limit_bytes"),
    }
    stdout = sys.stdout.buffer
    for piece in app.client.logs(item, **options):
        stdout.write(piece)
        stdout.flush()


def started(app: App, item: Workload, timeout: int | None) -> Workload:
    """Return the workload when it runs or will not, waiting for that if asked.

    Raises:
        TimeoutError: it still waits after so many seconds.
    """
    return item if timeout is None else app.client.wait(item, until=STARTED, timeout=timeout)


def exec_command(noun: Noun) -> click.Command:
    """Return `exec`."""

    @click.command("exec", cls=CommandLine, short_help="Run a command in it.")
    @name_argument
    @click.argument("words", nargs=-1, metavar="[COMMAND]...")
    @project_option
    @click.option("-i", "--stdin", is_flag=True, help="Hand standard input on.")
    @click.option("-t", "--tty", is_flag=True, help="Give the command a terminal.")
    @container_options
    @click.pass_context
    def run(ctx: click.Context, /, name: str, words: tuple[str, ...], project: str | None, **chosen: Any) -> None:
        """Run a command beside the process of a workload, in its environment and directory."""
        app = app_of(ctx)
        argv = (*words, *words_of(ctx))
        if not argv:
            raise InvalidRequest.of(FieldError("COMMAND", "give the command after --, e.g. -- nvidia-smi"))
        found = started(app, find_one(app, noun, name, project), chosen["wait_timeout"])
        place = {"pod": chosen["pod"], "container": chosen["container"]}
        ctx.exit(execute(app, found, argv, place, stdin=chosen["stdin"], tty=chosen["tty"]))

    return run


def bash_command(noun: Noun) -> click.Command:
    """Return `bash`."""

    @click.command("bash", short_help="Open a shell in it.")
    @name_argument
    @project_option
    @container_options
    @click.pass_context
    def run(ctx: click.Context, /, name: str, project: str | None, **chosen: Any) -> None:
        """Open a shell beside the process of a workload: bash where there is one."""
        app = app_of(ctx)
        found = started(app, find_one(app, noun, name, project), chosen["wait_timeout"])
        place = {"pod": chosen["pod"], "container": chosen["container"]}
        ctx.exit(execute(app, found, SHELL, place, stdin=True, tty=sys.stdin.isatty()))

    return run


def attach_command(noun: Noun) -> click.Command:
    """Return `attach`."""

    @click.command("attach", short_help="Follow its output.")
    @name_argument
    @project_option
    @container_options
    @click.option("--no-stdin", is_flag=True, hidden=True)
    @click.option("--no-tty", is_flag=True, hidden=True)
    @click.pass_context
    def run(ctx: click.Context, /, name: str, project: str | None, **chosen: Any) -> None:
        """Follow what a workload writes from now on, until it ends or Ctrl-C; it goes on without us."""
        app = app_of(ctx)
        found = started(app, find_one(app, noun, name, project), chosen["wait_timeout"])
        print_log(app, found, {**chosen, "follow": True, "tail": 20})

    return run


def port_forward_command(noun: Noun) -> click.Command:
    """Return `port-forward`."""

    @click.command("port-forward", short_help="Reach a port of it from this machine.")
    @name_argument
    @project_option
    @click.option("--port", "ports", multiple=True, required=True, help="LOCAL:REMOTE, or one number; may be repeated.")
    @click.option("--address", default="127.0.0.1", show_default=True, help="Address to listen on.")
    @pod_option
    @wait_option
    @click.pass_context
    def run(
        ctx: click.Context, /, name: str, project: str | None, ports: Sequence[str], address: str, **chosen: Any
    ) -> None:
        """Listen on a port of this machine and hand every connection on to a port of a workload."""
        # Imported here: nothing else listens.
        from runai_core.cli.forwarding import forward, read_forward

        app = app_of(ctx)
        wanted = [read_forward(text) for text in ports]
        item = started(app, find_one(app, noun, name, project), chosen["wait_timeout"])
        running_pod(app, item, chosen["pod"])  # refused here, in words, where none runs
        connect = partial(app.client.forward, item, pod=chosen["pod"])
        forward(wanted, address=address, connect=connect, say=app.say)

    return run


def running_pod(app: App, item: Workload, name: str | None) -> Pod:
    """Return the pod that is meant: of this name, or the first that runs.

    Raises:
        NotFound: it has no pod of this name.
        Conflict: none of its pods runs.
    """
    pods = app.client.pods(item)
    if name and not any(pod.name == name for pod in pods):
        names = ", ".join(pod.name for pod in pods) or "none"
        raise NotFound(f"{item.name} has no pod named {name[:80]!r}; its pods: {names}")
    found = [pod for pod in pods if pod.k8s_phase == "Running" and name in (None, pod.name)]
    if not found:
        raise Conflict(f"{item.name} has no running pod, it is {item.phase}: `runai why {item.name}` says why")
    return found[0]


def execute(app: App, item: Workload, argv: Sequence[str], place: Mapping[str, Any], *, stdin: bool, tty: bool) -> int:
    """Run a command in the container at a place with our standard streams; return its exit code."""
    interactive = tty and stdin and sys.stdin.isatty()
    terminal = _raw_terminal() if interactive else contextlib.nullcontext()
    with app.client.exec(item, argv, **place, stdin=stdin, tty=tty) as session, terminal:
        if interactive:
            _follow_size(session)
        if stdin:
            threading.Thread(target=_send_input, args=(session,), daemon=True).start()
        return _receive(session)


def _receive(session: "ExecSession") -> int:
    streams = {"stdout": sys.stdout.buffer, "stderr": sys.stderr.buffer}
    while (piece := session.read()) is not None:
        stream = streams[piece[0]]
        stream.write(piece[1])
        stream.flush()
    return session.wait()


def _send_input(session: "ExecSession") -> None:
    source = sys.stdin.buffer
    # read1 returns what is there; read would wait for the buffer to fill.
    read = getattr(source, "read1", source.read)
    while data := read(65536):
        session.write(data)
    session.write(b"")


@contextlib.contextmanager
def _raw_terminal() -> Iterator[None]:
    """Hand every key on as it is typed; the terminal is as before afterwards."""
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _follow_size(session: "ExecSession") -> None:
    def tell(_signal: int = 0, _frame: FrameType | None = None) -> None:
        size = shutil.get_terminal_size()
        session.resize(size.columns, size.lines)

    tell()
    signal.signal(signal.SIGWINCH, tell)
