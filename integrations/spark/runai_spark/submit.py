"""`runai spark-submit`, `spark3-submit` and `python -m runai_spark.submit`: the real spark-submit, as one workload.

Without `--master`, or with `--master runai`, the application runs on a
standalone cluster of its own: the gang. `--master local[...]` is one pod.
`--master k8s://...` is Spark's own way to Kubernetes, under our scheduler.
"""

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import click

from runai_core.client import Client
from runai_core.client.news import Cursors, NewsKind
from runai_core.client.owner_process import VARIABLE, this_process
from runai_core.client.reconnecting import follow_anywhere
from runai_core.client.results import Workload
from runai_core.client.sync.owned import delete_owned, submit_owned
from runai_core.model.errors import FieldError, InvalidRequest, NotFound, RunaiError
from runai_spark.arguments import Application, parse
from runai_spark.home import find_spark
from runai_spark.workload import KEPT, gang_options, job_of, workload_name

PATIENCE = 10.0
"""Seconds for which an orchestrator that does not answer is tried, when somebody looks on."""

REFUSED = 2
"""Exit code where nothing was submitted."""

HELP = """Usage: runai spark-submit [OPTIONS] [--] [OPTIONS OF SPARK-SUBMIT] <app.py | app.jar> [ARGUMENTS]

  Run a Spark application as one workload: the driver and its executors start together or wait together.

Options of ours:
  --project NAME          Project.
  --executors N           Executors (as --num-executors); 2 when left out.
  --executor-gpu N        GPUs of each executor.
  --priority CLASS        Priority class.
  --workload-name NAME    Name of the workload; the application's, made unique, when left out.
  --image IMAGE           Image with Spark and runai-spark; left out on one machine.
  --time-to-live SECONDS  Delete the workload after so long in any case.
  --no-wait               Return when it is submitted.

--master is runai when left out; local[N] and k8s://URL are understood. All others are as `spark-submit --help` says.
"""


def submit(application: Application, client: Client) -> Workload:
    """Submit an application as one workload.

    Raises:
        InvalidRequest, PolicyViolation, NotFound (project), Unavailable
    """
    mode = "local" if application.master.startswith("local") else "application"
    if mode == "application" and application.master != "runai":
        message = "must be runai, local[N] or k8s://URL: the cluster is the workload's own"
        raise InvalidRequest.of(FieldError("--master", message, application.master))
    environment = {name: os.environ[name] for name in KEPT if name in os.environ}
    if not application.image:
        environment["SPARK_HOME"] = str(find_spark(os.environ))
    if not application.no_wait:
        environment[VARIABLE] = this_process()
    directory = "" if application.image else str(Path.cwd())
    kind, options = gang_options(application, job_of(application, mode, directory), environment)
    name = workload_name(application, f"{int(time.time() * 10) % 10**6:06d}")
    return submit_owned(client, kind, name, options, owner=f"spark:{name}", patience=PATIENCE)


def follow_to_end(client: Client, workload: Workload) -> int:
    """Show the driver's log and what becomes of the workload; return the driver's exit code, 1 where there is none.

    Ctrl-C and SIGTERM delete the workload.
    """
    cursors = Cursors()
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        for news in follow_anywhere(client, lambda: Client.from_env(os.environ), workload.id, cursors):
            if news.kind is NewsKind.LOG:
                if news.pod.endswith("-0"):
                    click.echo(news.text)
                continue
            click.echo(f"[runai] {news.text}", err=True)
            if news.kind is NewsKind.END:
                return 0 if news.is_success else _exit_code(client, workload)
    except KeyboardInterrupt:
        delete_owned(client, workload.id)
        click.echo(f"[runai] {workload.project_name}/{workload.name} was deleted", err=True)
        return 130
    except NotFound as error:
        click.echo(f"[runai] {error.message}", err=True)
    finally:
        signal.signal(signal.SIGTERM, previous)
    return 1


def run(words: Sequence[str]) -> int:
    """Do what `spark-submit` with these words is to do; return its exit code.

    Raises:
        RunaiError: it cannot be submitted; says why.
    """
    if not words or {"--help", "-h"} & set(words[:1]):
        click.echo(HELP)
        return 0 if words else 2
    application = parse(words)
    if application.master.startswith("k8s://") or application.asks_only:
        from runai_spark.kubernetes import submit_to_kubernetes  # two doors, one of them seldom used

        return submit_to_kubernetes(application, words)
    client = Client.from_env(os.environ)
    workload = submit(application, client)
    click.echo(f"[runai] submitted {workload.project_name}/{workload.name} ({workload.id})", err=True)
    return 0 if application.no_wait else follow_to_end(client, workload)


def main() -> None:
    """Be `spark-submit`: errors are lines, and the exit code is the driver's."""
    try:
        sys.exit(run(sys.argv[1:]))
    except RunaiError as error:
        click.echo(f"Error: {error.message}", err=True)
        sys.exit(REFUSED)


def _exit_code(client: Client, workload: Workload) -> int:
    try:
        pods = client.pods(workload)
    except RunaiError:
        return 1
    codes = [int(pod.raw.get("exitCode") or 0) for pod in pods if not int(pod.raw.get("rank") or 0)]
    return max(codes, default=0) or 1


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
