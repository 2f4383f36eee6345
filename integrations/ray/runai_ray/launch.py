"""A job on a Ray cluster of its own, as one workload: cluster, job and end. No Ray is needed here."""

import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from runai_core.client import Client
from runai_core.client.environment import data_dir, read_config
from runai_core.client.news import Cursors, NewsKind
from runai_core.client.owner_process import VARIABLE, this_process
from runai_core.client.ownership import TIME_TO_LIVE, is_leaving, sentence_of
from runai_core.client.reconnecting import follow_anywhere
from runai_core.client.results import Workload
from runai_core.client.sync.owned import delete_owned, submit_owned
from runai_core.model.errors import Conflict, NotFound, Unavailable
from runai_core.model.workload import TERMINAL, Phase

WORKERS_ON_DEMAND = "run.ai/workers-on-demand"
HAS_PLACES = frozenset({Phase.INITIALIZING, Phase.RUNNING, Phase.DEGRADED})
LOOK = 0.5

PATIENCE = 10.0
"""Seconds for which an orchestrator that does not answer is tried, when somebody looks on."""


def submit(  # noqa: PLR0913 - what can be said about a job
    entrypoint: str | Sequence[str],
    *,
    name: str = "",
    project: str = "",
    workers: int = 1,
    gpu: float = 0,
    cpu: float = 1,
    memory: str = "",
    image: str = "",
    priority: str = "",
    env: Mapping[str, object] | None = None,
    runtime_env: Mapping[str, Any] | None = None,
    time_to_live: int = 0,
    follows_me: bool = True,
    client: Client | None = None,
) -> Workload:
    """Submit a job with a Ray cluster of its own: a head and `workers`, as one gang that ends with the job.

    `gpu`, `cpu` and `memory` are each node's. The job runs in the directory from
    which it is submitted where that is the same machine. With `follows_me` the
    job ends when this process does; `time_to_live`, in seconds, bounds it in any case.

    Raises:
        InvalidRequest, PolicyViolation, NotFound (project), AlreadyExists, Unavailable
    """
    client = client or Client.from_env()
    text = entrypoint if isinstance(entrypoint, str) else shlex.join(entrypoint)
    job = {"entrypoint": text, "workers": workers, "directory": "" if image else str(Path.cwd())}
    variables = {"RUNAI_RAY_JOB": json.dumps({**job, "env": _texts(env), "runtime_env": dict(runtime_env or {})})}
    if follows_me:
        variables[VARIABLE] = this_process()
    options = {
        "project": project or None,
        "workers": workers,
        "gpus": gpu or None,
        "cpus": cpu,
        "memory": memory or None,
        "image": image or None,
        "priority": priority or None,
        "command": [python_for({"image": image}), "-m", "runai_ray.node"],
        "env": {"RUNAI_RAY_CPUS": max(int(cpu), 1), **variables},
        "backoff_limit": 0,
        "annotations": {TIME_TO_LIVE: str(time_to_live)} if time_to_live else {},
    }
    chosen = name or f"ray-job-{os.getpid()}-{int(time.time()) % 100000}"
    given = {key: value for key, value in options.items() if value is not None}
    return submit_owned(client, "Distributed", chosen, given, owner=f"ray:job/{chosen}", patience=PATIENCE)


def follow_to_end(client: Client, workload: Workload, say: Callable[[str], None]) -> bool:
    """Tell what becomes of a workload, with the log of its first pod; return whether it completed.

    A workload that is deleted while we look counts as failed. Ctrl-C deletes it.
    """
    cursors, sentence = Cursors(), ""
    try:
        for news in follow_anywhere(client, lambda: Client.from_env(os.environ), workload.id, cursors):
            if news.kind is NewsKind.LOG:
                if news.pod.endswith("-0"):
                    say(news.text)
                continue
            if news.text != sentence:
                sentence = news.text
                click.echo(f"[runai] {sentence}", err=True)
            if news.kind is NewsKind.END:
                return news.is_success
    except KeyboardInterrupt:
        delete_owned(client, workload.id)
        raise
    except NotFound as error:
        click.echo(f"[runai] {error.message}", err=True)
    return False


def wait_until_placed(client: Client, workload: Workload, say: Callable[[str], object]) -> Workload:
    """Wait until the gang has its places, telling why it waits; whoever stops waiting deletes the workload.

    Raises:
        Conflict: it has ended before. NotFound: it was deleted.
    """
    told = ""
    try:
        while True:
            found = _patient_get(client, workload.id, say)
            if is_leaving(found):
                raise NotFound(f"{sentence_of(found)}: somebody deleted it while it waited")
            if found.phase in TERMINAL:
                raise Conflict(sentence_of(found))
            if found.phase in HAS_PLACES:
                return found
            sentence = client.why(found).sentence
            if sentence != told:
                told = sentence
                say(sentence)
            time.sleep(LOOK)
    except KeyboardInterrupt:
        delete_owned(client, workload.id)
        raise


def _patient_get(client: Client, uid: str, say: Callable[[str], object], patience: float = 600.0) -> Workload:
    """Return the workload; an orchestrator that is started anew is waited for."""
    deadline, silent = time.monotonic() + patience, False
    while True:
        try:
            return client.get(uid)
        except Unavailable as error:
            if time.monotonic() > deadline:
                raise
            if not silent:
                say(f"{error.message}; trying again")
            silent = True
            time.sleep(LOOK)


def python_for(node: Mapping[str, Any]) -> str:
    """Return the Python of a node: the image's, or on this machine ours."""
    return "python" if node.get("image") else sys.executable


def connection_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables with which a head finds the orchestrator again; never a token.

    On one machine that is the data directory, where the credentials are.
    """
    if environ.get("RUNAI_URL"):
        return {"RUNAI_URL": environ["RUNAI_URL"]}
    config = read_config(environ)
    if "RUNAI_DATA_DIR" not in environ and config.get("url"):
        return {"RUNAI_URL": str(config["url"])}
    return {"RUNAI_DATA_DIR": str(data_dir(environ))}


def _texts(values: Mapping[str, object] | None) -> dict[str, str]:
    return {name: str(value) for name, value in (values or {}).items()}
