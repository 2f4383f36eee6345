"""What a pod of a Ray cluster runs: the keeper of one node.

    python -m runai_ray.node

A worker joins the head as soon as that answers. A head waits to be told how to
start (by `ray up`, through `runai_ray.inside`), or, where it has a job, starts
by itself, runs the job and ends with its exit code. All of Ray's processes are
below the keeper: when the pod ends, nothing of it is left.
"""

import json
import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from runai_core.client.owner_process import VARIABLE, owner_is_gone
from runai_ray.inside import SOCKET
from runai_ray.place import LOCAL_MARKER, Place, inner_environment, place_of
from runai_ray.rayproc import RayRuntime

JOB = "RUNAI_RAY_JOB"
"""The job of a cluster that lives for one job, as JSON: ``{"entrypoint", "workers", "directory"}``."""

START_SECONDS = 900.0
"""Seconds that a head waits to be told how to start, and a worker for its head."""

RESTARTS = 3
"""Times that Ray is started again on a worker while the head is well."""

OWNER_GONE = 143
LOOK = 0.5


class Keeper:
    """The keeper of one node."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._ending = threading.Event()
        self._runtime = RayRuntime(place, self._ending)
        self._was_started = threading.Event()
        self._code = 0
        self._lock = threading.Lock()

    def prepare(self) -> None:
        """Make the node's home, the `ray` that is found first there, and the door for requests."""
        binaries = self._place.ours / "bin"
        binaries.mkdir(parents=True, exist_ok=True)
        script = binaries / "ray"
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m runai_ray.inside ray "$@"\n')
        script.chmod(0o755)
        os.chdir(self._place.ours)
        Path(SOCKET).unlink(missing_ok=True)
        door = socket.socket(socket.AF_UNIX)
        door.bind(SOCKET)
        Path(SOCKET).chmod(0o600)
        door.listen()
        threading.Thread(target=self._serve, args=(door,), daemon=True).start()

    def run(self) -> int:
        """Keep the node until it is to end; return the pod's exit code."""
        if self._place.is_head and os.environ.get(VARIABLE):
            threading.Thread(target=self._watch_owner, daemon=True).start()
        try:
            if not self._place.is_head:
                return self._worker()
            return self._job(json.loads(os.environ[JOB])) if os.environ.get(JOB) else self._head()
        finally:
            self._runtime.stop()

    def end(self, code: int) -> None:
        """Let `run` return."""
        self._code = code
        self._ending.set()

    # -- what a node does

    def _head(self) -> int:
        """Wait to be told how to start, then look after Ray."""
        if int(os.environ.get("RUNAI_ATTEMPT", "1")) > 1:
            return _fail("the head of this Ray cluster was lost, and with it the cluster's state: run `ray up` again")
        deadline = time.monotonic() + START_SECONDS
        while not self._was_started.wait(LOOK):
            if self._ending.is_set():
                return self._code
            if time.monotonic() > deadline:
                return _fail(f"nobody started Ray here within {START_SECONDS:g} s: the tool that asked for it is gone")
        while not self._ending.wait(LOOK):
            with self._lock:
                if self._runtime.runs or not self._was_started.is_set():
                    continue
            return _fail("Ray's processes on the head have ended: see the log above")
        return self._code

    def _worker(self) -> int:
        """Join the head, and again should Ray die here while the head is well."""
        for _ in range(1 + RESTARTS):
            if not self._head_answers(START_SECONDS):
                return self._code if self._ending.is_set() else _fail(f"no head answers at {self._place.address}")
            code = self._runtime.start(_own_arguments(), os.environ, _ignore)
            while code is None and not self._ending.is_set():
                code = self._runtime.wait(LOOK)
            if self._ending.is_set():
                return self._code
            self._runtime.stop()
        return _fail(f"Ray has ended {1 + RESTARTS} times on this node: see the log above")

    def _job(self, job: dict[str, Any]) -> int:
        """Start the head, wait for the workers, run the job."""
        code = self._runtime.start(["--head", *_own_arguments()], os.environ, _ignore)
        if self._ending.is_set():
            return self._code
        if code is not None:
            return code or 1
        from runai_ray.jobs import run_job  # Ray itself: the other nodes do not need it

        return run_job(self._place, job, self._ending)

    def _head_answers(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not self._ending.is_set() and time.monotonic() < deadline:
            try:
                socket.create_connection((self._place.head_ip, self._place.port), timeout=1.0).close()
            except OSError:
                self._ending.wait(LOOK)
            else:
                return True
        return False

    def _watch_owner(self) -> None:
        """End when the process that asked for us ends: of a job at any time, of `ray up` until Ray was started."""
        while not self._ending.wait(LOOK):
            if not os.environ.get(JOB) and self._was_started.is_set():
                return
            # Who asked for us to start may end as soon as it has our answer.
            if owner_is_gone(os.environ) and (os.environ.get(JOB) or not self._was_started.wait(LOOK)):
                click.echo("the process that submitted this workload has ended, so it ends as well")
                self.end(OWNER_GONE)

    # -- requests

    def _serve(self, door: socket.socket) -> None:
        while True:
            line, _ = door.accept()
            threading.Thread(target=self._answer, args=(line,), daemon=True).start()

    def _answer(self, line: socket.socket) -> None:
        with line:
            request = json.loads(line.makefile("rb").readline() or b"{}")

            def tell(text: str) -> None:
                line.sendall(json.dumps({"text": text}).encode() + b"\n")

            code = self._start(request, tell) if request.get("do") == "start" else self._stop()
            line.sendall(json.dumps({"code": code}).encode() + b"\n")

    def _start(self, request: dict[str, Any], tell: Callable[[str], None]) -> int:
        given = {name: value for name, value in request["environment"].items() if name != LOCAL_MARKER}
        with self._lock:
            code = self._runtime.start(request["arguments"], {**given, **_marker()}, tell)
            if code is None:
                self._was_started.set()
        return code or 0

    def _stop(self) -> int:
        with self._lock:
            self._was_started.clear()
            self._runtime.stop()
        return 0


def _own_arguments() -> list[str]:
    """Return what a node that starts by itself tells Ray of its resources; RAY_OVERRIDE_RESOURCES wins over it."""
    gpus = float(os.environ.get("RUNAI_NUM_OF_GPUS") or 0)
    cpus = os.environ.get("RUNAI_RAY_CPUS") or "1"
    return [f"--num-cpus={cpus}", f"--num-gpus={int(gpus)}"]


def _marker() -> dict[str, str]:
    """Return what makes processes known as ours, so that none is left when the pod ends."""
    return {LOCAL_MARKER: os.environ[LOCAL_MARKER]} if LOCAL_MARKER in os.environ else {}


def _ignore(_: str) -> None:
    """Tell nobody: the log has it already."""


def _fail(sentence: str) -> int:
    click.echo(f"Error: {sentence}")
    return 1


def main() -> int:
    """Keep this node."""
    place = place_of(os.environ, Path.cwd())
    if place.local and not place.home.exists():
        place.home.mkdir(mode=0o700)
    keeper = Keeper(place)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: keeper.end(0))
    os.environ.update(inner_environment(place, os.environ))
    if shutil.which("bash") is None:
        return _fail("this image has no bash, which Ray's commands need")
    keeper.prepare()
    return keeper.run()


if __name__ == "__main__":
    sys.exit(main())
