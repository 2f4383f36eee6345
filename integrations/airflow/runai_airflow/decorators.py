"""`@task.runai`: a function that runs as a workload; what it returns is the task's XCom."""

# ruff: noqa: TID253 - Airflow imports this module itself

import json
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from airflow.sdk.bases.decorator import DecoratedOperator, task_decorator_factory
from airflow.sdk.exceptions import AirflowFailException

from runai_airflow.hooks import is_loopback
from runai_airflow.identity import TaskIdentity
from runai_airflow.keys import RESULT
from runai_airflow.operators import RunaiWorkloadOperator
from runai_core.client.environment import Connection

SCRIPT = """\
from __future__ import annotations
import json, os, sys

{source}

_arguments = json.loads(os.environ["RUNAI_TASK_ARGUMENTS"])
_result = {function}(*_arguments["args"], **_arguments["kwargs"])
if os.environ.get("RANK", "0") == "0":
    sys.stdout.flush()
    print({marker!r} + json.dumps(_result), flush=True)
"""
"""What the processes run. Each rank runs the function; the result is that of rank 0."""


class _RunaiDecoratedOperator(DecoratedOperator, RunaiWorkloadOperator):
    """Runs a Python function, without its module, as a workload."""

    custom_operator_name = "@task.runai"
    template_fields: Sequence[str] = tuple(
        {"op_args", "op_kwargs", *RunaiWorkloadOperator.template_fields} - {"command", "args"}
    )
    shallow_copy_attrs: Sequence[str] = ("python_callable",)

    def __init__(self, *, python: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.python = python

    def execute(self, context: Any) -> Any:
        """Run the function."""
        return RunaiWorkloadOperator.execute(self, context)

    def execute_complete(self, context: Any, event: Any) -> Any:
        """Return what the function returned."""
        return RunaiWorkloadOperator.execute_complete(self, context, event)

    def submission(self, identity: TaskIdentity, context: Any, connection: Connection) -> tuple[str, dict[str, Any]]:
        """Return the workload that calls the function."""
        here = sys.executable if is_loopback(connection.url) and not self.image else "python"
        source = textwrap.dedent(self.get_python_source())
        script = SCRIPT.format(source=source, function=self.python_callable.__name__, marker=RESULT)
        self.command = [self.python or here, "-c", script]
        self.env = {**(self.env or {}), "RUNAI_TASK_ARGUMENTS": self._arguments()}
        return super().submission(identity, context, connection)

    def _arguments(self) -> str:
        try:
            return json.dumps({"args": list(self.op_args), "kwargs": dict(self.op_kwargs)})
        except TypeError as error:
            raise AirflowFailException(
                f"an argument of {self.python_callable.__name__} cannot be sent to a workload: {error}. "
                "Give text, numbers, lists or mappings; larger things as the address of a file"
            ) from None


def runai_task(
    python_callable: Callable[..., Any] | None = None, *, multiple_outputs: bool | None = None, **kwargs: Any
) -> Any:
    """Return the function as a task that runs as a workload: ``@task.runai(project="team-a", gpus=0.5)``.

    The function must bring its own imports; arguments and result travel as JSON.

    :param python: interpreter in the image; the present one on this machine
    :param kwargs: those of `RunaiWorkloadOperator`, and of every task
    """
    return task_decorator_factory(
        python_callable=python_callable,
        multiple_outputs=multiple_outputs,
        decorated_operator_class=_RunaiDecoratedOperator,
        **kwargs,
    )
