"""The job of a cluster that lives for it: through Ray's own job server, so that it has its page there. Needs Ray."""

# ruff: noqa: TID253 - loaded on a head, where Ray runs

import asyncio
import contextlib
import os
import sys
import threading
import time
from typing import Any

import click
from ray.job_submission import JobStatus, JobSubmissionClient

from runai_ray.place import Place, dashboard_file

SERVER_SECONDS = 120.0
"""Seconds for Ray's job server to answer."""

LOOK = 0.5
STREAM_SECONDS = 2.0
"""Seconds for the stream of a log to end after its job."""

KILLED = 137


def run_job(place: Place, job: dict[str, Any], ending: threading.Event) -> int:
    """Run the job when all workers have joined; return 0 if it succeeded."""
    if not _workers_joined(place, int(job["workers"]), ending):
        return 1
    client = _server(dashboard_file(place).read_text(), ending)
    if client is None:
        return 1
    names = ("RUNAI_PROJECT", "RUNAI_JOB_NAME", "RUNAI_JOB_UUID")
    told = {name: os.environ.get(name, "") for name in names}
    entrypoint = f"cd {job['directory']} && {job['entrypoint']}" if job.get("directory") else job["entrypoint"]
    name = client.submit_job(
        entrypoint=entrypoint,
        submission_id=f"{told['RUNAI_JOB_NAME']}-{os.environ.get('RUNAI_ATTEMPT', '1')}",
        runtime_env={**job.get("runtime_env", {}), "env_vars": {**job.get("env", {}), **told}},
        metadata={"project": told["RUNAI_PROJECT"], "workload": told["RUNAI_JOB_NAME"], "id": told["RUNAI_JOB_UUID"]},
    )
    log = _Log(client, name)
    log.start()
    while not (status := client.get_job_status(name)).is_terminal():
        if ending.wait(LOOK):
            with contextlib.suppress(RuntimeError):
                client.stop_job(name)
            return KILLED
    log.finish()
    if status == JobStatus.SUCCEEDED:
        return 0
    message = (client.get_job_info(name).message or str(status)).strip()
    click.echo(f"Error: the Ray job {status}: {message.splitlines()[0] if message else status}")
    return 1


def _workers_joined(place: Place, workers: int, ending: threading.Event) -> bool:
    from ray._raylet import GcsClient  # the public way, ray.nodes(), would make us a driver

    client = GcsClient(address=place.address)
    said = -1
    while not ending.wait(LOOK):
        alive = sum(node.state == 0 for node in client.get_all_node_info().values())
        if alive - 1 != said:
            said = alive - 1
            click.echo(f"{said} of {workers} workers have joined")
        if alive >= 1 + workers:
            return True
    return False


def _server(address: str, ending: threading.Event) -> JobSubmissionClient | None:
    deadline = time.monotonic() + SERVER_SECONDS
    while not ending.wait(LOOK):
        try:
            client = JobSubmissionClient(address)
            client.list_jobs()
        except (ConnectionError, RuntimeError) as error:
            if time.monotonic() > deadline:
                click.echo(f"Error: Ray's job server does not answer: {error}")
                return None
        else:
            return client
    return None


class _Log(threading.Thread):
    """Prints a job's log as it grows, and at the end what its stream left out."""

    def __init__(self, client: JobSubmissionClient, name: str) -> None:
        super().__init__(daemon=True)
        self._client = client
        self._name = name
        self._printed = 0

    def run(self) -> None:
        """Print what comes until the stream ends."""
        with contextlib.suppress(RuntimeError, OSError):
            asyncio.run(self._follow())

    def finish(self) -> None:
        """Print the rest; the job has ended."""
        self.join(STREAM_SECONDS)
        with contextlib.suppress(RuntimeError, OSError):
            self._print(self._client.get_job_logs(self._name)[self._printed :])

    async def _follow(self) -> None:
        async for text in self._client.tail_job_logs(self._name):
            self._print(text)

    def _print(self, text: str) -> None:
        self._printed += len(text)
        sys.stdout.write(text)
        sys.stdout.flush()
