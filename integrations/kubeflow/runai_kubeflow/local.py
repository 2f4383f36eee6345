"""Pipelines on one machine: every task of `kfp.local` is a workload, with quota and a place in the queue.

>>> with runai_kubeflow.local.use(project="team-a"):
...     my_pipeline(x=1)
"""

import itertools
import logging
import os
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runai_core.model.errors import RunaiError
from runai_kubeflow.launcher import WorkloadFailed, launch

if TYPE_CHECKING:
    from kfp.local import status


@contextmanager
def use(
    *, project: str = "", pipeline_root: str = "./local_outputs", raise_on_error: bool = True, **options: Any
) -> Iterator[None]:
    """Let the tasks of pipelines and components that are called inside run as workloads.

    `options` are the client's, for each task: `gpus`, `cpus`, `memory`, `priority`, `env`.
    Tasks are lightweight Python components, as for `kfp.local.SubprocessRunner`, whose place this takes:
    kfp has a closed list of runners (2.16, kfp/local/task_dispatcher.py), so its task handler is
    replaced inside the context and put back after it.
    """
    from kfp import local
    from kfp.local import subprocess_task_handler

    before = subprocess_task_handler.SubprocessTaskHandler
    handler = _handler_class(before, {"project": project, **options} if project else options)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # kfp shows the log of everybody, each request of ours too
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=pipeline_root, raise_on_error=raise_on_error)
    subprocess_task_handler.SubprocessTaskHandler = handler
    try:
        yield
    finally:
        subprocess_task_handler.SubprocessTaskHandler = before


def _handler_class(base: type[Any], options: Mapping[str, Any]) -> type[Any]:
    """Return kfp's handler, with its checks, that runs the command as a workload."""

    class WorkloadTaskHandler(base):
        def run(self) -> "status.Status":
            from kfp.local import status, subprocess_task_handler

            command = subprocess_task_handler.replace_python_executable(self.full_command, sys.executable)
            name = _name_of(self.full_command)
            try:
                launch(
                    "Training",
                    name,
                    {
                        "backoff_limit": 0,
                        **options,
                        "command": command,
                        "working_dir": str(Path.cwd()),
                        "env": _environment(options),
                    },
                    owner=f"kubeflow:local/{name}",
                )
            except (WorkloadFailed, RunaiError) as error:
                print(f"runai: {error}", flush=True)  # noqa: T201 - kfp shows what a task prints
                return status.Status.FAILURE
            return status.Status.SUCCESS

    return WorkloadTaskHandler


def _name_of(command: list[str]) -> str:
    """Return a name that is new and says which function the task runs."""
    words = dict(itertools.pairwise(command))
    function = "".join(letter if letter.isalnum() else "-" for letter in words.get("--function_to_execute", "task"))
    return f"kfp-{function.lower().strip('-')[:40]}-{uuid.uuid4().hex[:6]}"


CONNECTION = ("RUNAI_DATA_DIR", "RUNAI_URL", "HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")
"""Variables by which a task finds the orchestrator again, to submit workloads of its own; none of them is a secret."""


def _environment(options: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: os.environ[name] for name in (*CONNECTION, "PATH", "PYTHONPATH") if name in os.environ}
    return {**kept, **(options.get("env") or {})}
