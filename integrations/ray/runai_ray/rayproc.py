"""The Ray runtime of one node: `ray start --block` as our child, with options that suit the place."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from runai_ray.place import Place, dashboard_file, inner_environment

STARTED = "This command will now block"
"""What `ray start --block` says last, when all of it is up."""
STARTS = 3
"""Times that Ray is started before that counts as a failure."""

HOPELESS = frozenset({2, 127})
"""Exit codes of a command line that is wrong, and of a program that is not there."""

STOP_SECONDS = 10.0
"""Seconds for Ray's processes to end before they are killed."""

OBJECT_STORE = 256 * 1024**2
"""Bytes of the object store of a node that shares its host, unless more is asked for."""

_DASHBOARD = re.compile(r"RAY_API_SERVER_ADDRESS='(http[^']+)'")


def start_arguments(place: Place, given: Sequence[str], free_port: Callable[[], int]) -> list[str]:
    """Return the arguments of `ray start` for this place: those that were given, and ours where the host is shared."""
    head = "--head" in given
    ours: dict[str, str] = {}
    if head:
        ours |= {"--port": str(place.port)}
    else:
        ours |= {"--address": place.address}
    if place.local:
        ours |= {
            "--node-ip-address": place.ip,
            "--min-worker-port": "0",
            "--max-worker-port": "0",
            "--object-manager-port": "0",
            "--node-manager-port": "0",
            "--dashboard-agent-listen-port": "0",
        }
        if not _has(given, "--object-store-memory"):
            ours["--object-store-memory"] = str(OBJECT_STORE)
    if place.local and head:
        ours |= {
            "--dashboard-host": place.ip,
            "--dashboard-port": str(free_port()),
            "--ray-client-server-port": str(free_port()),
            "--temp-dir": temporary_folder(place),
        }
    kept = _without(given, (*ours, "--block"))
    return [*kept, *(f"{name}={value}" for name, value in ours.items()), "--block"]


def temporary_folder(place: Place) -> str:
    """Return Ray's folder of a cluster on one host; short, for it holds sockets."""
    return str(Path(tempfile.gettempdir()) / f"runai-ray-{place.address.replace(':', '-')}")


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class RayRuntime:
    """At most one `ray start --block` at a time."""

    def __init__(self, place: Place, ending: threading.Event) -> None:
        self._place = place
        self._ending = ending  # the node's end: a start that is under way is given up
        self._process: subprocess.Popen[str] | None = None
        self._stopped = False
        self.started = threading.Event()

    @property
    def runs(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def start(self, given: Sequence[str], environ: Mapping[str, str], tell: Callable[[str], None]) -> int | None:
        """Start Ray and return when it is up: None; or its exit code, where it is not.

        Ray gives its processes half a minute, which a busy machine may not have: it is tried again.
        """
        if self.runs:
            tell("Ray runs here already.\n")
            return None
        for further in reversed(range(STARTS)):
            code = self._start(given, environ, tell)
            if code is None or code in HOPELESS or not further or self._stopped:
                break
            tell(f"Ray did not start (exit code {code}): trying again\n")
        return code

    def _start(self, given: Sequence[str], environ: Mapping[str, str], tell: Callable[[str], None]) -> int | None:
        environment = inner_environment(self._place, {**environ, "PYTHONUNBUFFERED": "1"})
        path = environment["PATH"].split(os.pathsep, 1)[1]
        real = shutil.which("ray", path=path)
        if real is None:
            tell("Ray is not installed here: pip install 'ray[default]'\n")
            return 127
        self.started.clear()
        self._stopped = False
        command = [real, "start", *start_arguments(self._place, given, free_port)]
        self._process = process = subprocess.Popen(  # noqa: S603 - the arguments are those of `ray start` itself
            command, env=environment, cwd=self._place.home, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        reader = threading.Thread(target=self._read, args=(process, tell), daemon=True)
        reader.start()
        while reader.is_alive() and not self.started.wait(0.1):
            if self._ending.is_set():
                self.stop()
                return process.returncode
        if self.started.is_set():
            return None
        return process.wait()

    def _read(self, process: "subprocess.Popen[str]", tell: Callable[[str], None]) -> None:
        for line in process.stdout or ():
            sys.stdout.write(line)
            sys.stdout.flush()
            if self.started.is_set():
                continue
            tell(line)
            if found := _DASHBOARD.search(line):
                dashboard_file(self._place).write_text(found[1])
            if STARTED in line:
                self.started.set()

    def wait(self, seconds: float) -> int | None:
        """Return the exit code once it has ended; None after so many seconds."""
        if self._process is None:
            return 0
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def stop(self) -> None:
        """End it with all that it started."""
        self._stopped = True
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._process = None
        dashboard_file(self._place).unlink(missing_ok=True)
        if self._place.local and self._place.is_head:
            shutil.rmtree(temporary_folder(self._place), ignore_errors=True)


def _has(given: Sequence[str], name: str) -> bool:
    return any(word == name or word.startswith(f"{name}=") for word in given)


def _without(given: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the arguments without these options and their values."""
    kept, skip = [], False
    for word in given:
        if skip:
            skip = False
        elif word in names:
            skip = word != "--block"
        elif word.partition("=")[0] not in names:
            kept.append(word)
    return kept
