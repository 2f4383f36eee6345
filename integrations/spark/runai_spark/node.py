"""What a pod of a Spark application runs: the driver with the cluster's master, or a worker with one executor.

    python -m runai_spark.node

The first pod starts Spark's standalone master and, for an application, the real
`spark-submit` beside it; it ends with the driver's exit code. Each other pod runs
one worker, as large as one executor. For a session whose driver is elsewhere,
the first pod ends when the session does.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from runai_core.client.owner_process import owner_is_gone
from runai_core.model.errors import RunaiError
from runai_spark.home import find_spark
from runai_spark.workload import JOB, spark_options

MASTER_CLASS = "org.apache.spark.deploy.master.Master"
WORKER_CLASS = "org.apache.spark.deploy.worker.Worker"
LOCAL_MARKER = "RUNAI_POD_UID"
START_SECONDS = 300.0
"""Seconds that a worker waits for its master, and a session's cluster for its session."""

RESTARTS = 3
OWNER_GONE = 143
LOOK = 0.5
PROGRESS_SECONDS = 5.0
STOP_SECONDS = 5.0


class Node:
    """One pod's part."""

    def __init__(self, job: Mapping[str, Any], environ: Mapping[str, str]) -> None:
        self._job = job
        self._home = find_spark(environ)
        local = LOCAL_MARKER in environ
        self._rank = int(environ.get("POD_INDEX", "0"))
        self._address = (environ.get("MASTER_ADDR", "127.0.0.1"), int(environ.get("MASTER_PORT", "7077")))
        own = "127.0.0.1" if local else socket.gethostbyname(socket.gethostname())
        self._own = self._address[0] if self._rank == 0 else own
        self._environment = {
            **environ,
            "SPARK_DAEMON_MEMORY": "256m",
            "SPARK_NO_DAEMONIZE": "1",
            "SPARK_HOME": str(self._home),
        }
        if local:
            self._environment |= {"SPARK_LOCAL_IP": "127.0.0.1", "SPARK_LOCAL_HOSTNAME": "127.0.0.1"}
        self._environment.setdefault("PYSPARK_PYTHON", sys.executable)
        self._children: list[subprocess.Popen[bytes]] = []
        self._ending = threading.Event()
        self._code = 0

    @property
    def _url(self) -> str:
        return f"spark://{self._address[0]}:{self._address[1]}"

    def run(self) -> int:
        """Do the pod's part; return its exit code."""
        try:
            if self._job["mode"] == "local":
                return self._driver(["--master", self._job["master"]])
            if self._rank:
                return self._worker()
            return self._application() if self._job["mode"] == "application" else self._session()
        finally:
            self._stop()

    def end(self, code: int) -> None:
        """Let `run` return."""
        self._code = code
        self._ending.set()

    # -- parts

    def _application(self) -> int:
        self._master(free_port())
        if not self._master_answers():
            return self._code if self._ending.is_set() else fail("Spark's master does not answer: see the log above")
        return self._driver(spark_options(self._job, self._url))

    def _session(self) -> int:
        """Keep the master until the session that uses it is over."""
        port = free_port()
        master = self._master(port)
        if not self._master_answers():
            return self._code if self._ending.is_set() else fail("Spark's master does not answer: see the log above")
        click.echo(f"[runai] Spark's master is {self._url}")
        deadline = time.monotonic() + START_SECONDS
        while not self._goes_away():
            if master.poll() is not None:
                return fail("Spark's master has ended: see the log above")
            seen = _json(f"http://{self._address[0]}:{port}/json/")
            active, over = len(seen.get("activeapps") or ()), len(seen.get("completedapps") or ())
            if over and not active:
                return 0
            if not over and not active and time.monotonic() > deadline:
                return fail(f"no session came within {START_SECONDS:g} s")
        return self._code

    def _worker(self) -> int:
        """Run a worker of one executor, and another one should it die while the master is well."""
        for _ in range(1 + RESTARTS):
            if not self._master_answers():
                return self._code if self._ending.is_set() else fail(f"no master answers at {self._url}")
            words = ["--host", self._own, "--cores", str(self._job["cores"]), "--memory", self._job["memory"]]
            more = {} if not self._job["gpus"] else self._gpu_options()
            folder = ["--webui-port", str(free_port()), "--work-dir", str(Path.cwd() / "spark-work")]
            worker = self._start(["spark-class", WORKER_CLASS, *words, *folder, self._url], more)
            while worker.poll() is None and not self._ending.wait(LOOK):
                pass
            if self._ending.is_set():
                return self._code
        return fail(f"Spark's worker has ended {1 + RESTARTS} times: see the log above")

    def _driver(self, options: Sequence[str]) -> int:
        """Run the real spark-submit; tell how far it is."""
        ui = free_port()
        words = [*options, "--conf", f"spark.ui.port={ui}", *self._job["options"], *self._job["words"]]
        directory = self._job.get("directory") or None
        driver = self._start(["spark-submit", *words], {}, directory)
        told, next_look = "", time.monotonic() + PROGRESS_SECONDS
        while driver.poll() is None:
            if self._goes_away():
                return self._code
            if time.monotonic() > next_look:
                next_look = time.monotonic() + PROGRESS_SECONDS
                if (text := progress_at(f"http://{self._own}:{ui}/api/v1/applications")) and text != told:
                    told = text
                    click.echo(f"[runai] {text}")
        code = driver.returncode
        return code if code >= 0 else 128 - code

    def _master(self, port: int) -> "subprocess.Popen[bytes]":
        host, number = self._address
        words = ["--host", host, "--port", str(number), "--webui-port", str(port)]
        return self._start(["spark-class", MASTER_CLASS, *words], {})

    # -- means

    def _start(
        self, words: Sequence[str], more: Mapping[str, str], directory: str | None = None
    ) -> "subprocess.Popen[bytes]":
        program = str(self._home / "bin" / words[0])
        child = subprocess.Popen(  # noqa: S603 - Spark itself, with the user's own arguments
            [program, *words[1:]], env={**self._environment, **more}, cwd=directory
        )
        self._children.append(child)
        return child

    def _stop(self) -> None:
        for child in reversed(self._children):
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for child in self._children:
            try:
                child.wait(max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def _goes_away(self) -> bool:
        """Wait a moment; return whether it is time to end: it was asked for, or nobody is left who asked for us."""
        if self._ending.wait(LOOK):
            return True
        if owner_is_gone(os.environ):
            click.echo("the process that submitted this workload has ended, so it ends as well")
            self.end(OWNER_GONE)
            return True
        return False

    def _master_answers(self) -> bool:
        deadline = time.monotonic() + START_SECONDS
        while not self._ending.is_set() and time.monotonic() < deadline:
            try:
                socket.create_connection(self._address, timeout=1.0).close()
            except OSError:
                self._goes_away()
            else:
                return True
        return False

    def _gpu_options(self) -> dict[str, str]:
        """Return the worker's options that name its GPUs to Spark: those that the scheduler gave to this pod."""
        given = os.environ.get("RUNAI_VISIBLE_DEVICES") or os.environ.get("CUDA_VISIBLE_DEVICES") or ""
        addresses = [item for item in given.split(",") if item] or [str(index) for index in range(self._job["gpus"])]
        script = Path.cwd() / "gpus.sh"
        script.write_text(f"#!/bin/sh\necho '{json.dumps({'name': 'gpu', 'addresses': addresses})}'\n")
        script.chmod(0o755)
        amount = f"-Dspark.worker.resource.gpu.amount={self._job['gpus']}"
        return {"SPARK_WORKER_OPTS": f"{amount} -Dspark.worker.resource.gpu.discoveryScript={script}"}


def progress_at(applications: str) -> str:
    """Return how far the application behind a driver's page is, in words; empty where it does not say."""
    found = _json(applications)
    if not isinstance(found, list) or not found:
        return ""
    stages = _json(f"{applications}/{found[0]['id']}/stages")
    if not isinstance(stages, list):
        return ""
    done = sum(int(stage.get("numCompleteTasks", 0)) for stage in stages)
    tasks = sum(int(stage.get("numTasks", 0)) for stage in stages)
    over = sum(stage.get("status") == "COMPLETE" for stage in stages)
    return f"{done} of {tasks} tasks done, {over} of {len(stages)} stages" if stages else ""


def _json(url: str) -> Any:
    try:
        with urllib.request.urlopen(url, timeout=2.0) as answer:  # noqa: S310 - an address of our own
            return json.load(answer)
    except (OSError, ValueError):
        return {}


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def fail(sentence: str) -> int:
    """Say why the pod fails; return its exit code."""
    click.echo(f"Error: {sentence}")
    return 1


def main() -> int:
    """Do this pod's part."""
    try:
        node = Node(json.loads(os.environ[JOB]), os.environ)
    except RunaiError as error:
        return fail(error.message)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: node.end(143))
    return node.run()


if __name__ == "__main__":
    sys.exit(main())
