"""One workload for a tool that waits: submit, follow, pass on the log, and end as the workload ends.

Runs inside a pipeline's step or a task handler, and needs nothing of Kubeflow.
"""

import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from runai_core.client import Client
from runai_core.client.news import Cursors, News, NewsKind
from runai_core.client.results import Workload
from runai_core.client.sync.following import follow
from runai_core.client.sync.owned import PATIENCE, delete_owned, submit_owned
from runai_core.model.errors import NotFound, RunaiError


class Cancelled(BaseException):
    """The tool was told to stop; as `KeyboardInterrupt`, nothing that catches errors catches it."""


def launch(  # noqa: PLR0913 - what is submitted, and how it is told
    type_: str,
    name: str,
    options: Mapping[str, Any],
    *,
    owner: str,
    say: Callable[[str], None] | None = None,
    client: Client | None = None,
    patience: float = PATIENCE,
) -> Workload:
    """Submit a workload and wait for its end; a repetition with the same owner finds the first one.

    `say` gets a line for each line of the pods' logs and each change of phase,
    with the reason why it waits. When the process is interrupted or terminated,
    the workload is deleted first. An orchestrator that does not take the
    submission is asked again for `patience` seconds.

    Raises:
        WorkloadFailed: it ended in another phase than Completed, or was deleted by somebody else.
        RunaiError: it was refused, or the orchestrator did not answer for ten minutes.
    """
    speak = say or _print
    with _own(client) as door, _cancellable():
        submitted = submit_owned(door, type_, name, options, owner=owner, patience=patience)
        try:
            last = _follow(door, submitted, speak)
        except NotFound:
            raise WorkloadFailed(f"{submitted.project_name}/{name} was deleted by somebody else") from None
        except (KeyboardInterrupt, Cancelled):
            delete_owned(door, submitted.id)
            speak(f"{submitted.project_name}/{name} was deleted: its step was cancelled")
            raise
    if not last.is_success:
        raise WorkloadFailed(last.text)
    return last.workload


class WorkloadFailed(RuntimeError):
    """The workload did not complete; its text says why."""


def step(type_: str, name: str, options: Mapping[str, Any], owner: str) -> None:
    """Run `launch` as the body of a pipeline's step: the process ends with 1 and one sentence where it fails."""
    try:
        launch(type_, name, options, owner=owner)
    except (RunaiError, WorkloadFailed) as error:
        sys.exit(f"runai: {error}")


def _follow(client: Client, submitted: Workload, say: Callable[[str], None]) -> News:
    for news in follow(client, submitted.id, cursors=Cursors()):
        if news.kind is NewsKind.LOG:
            say(f"[{news.pod}] {news.text}")
        else:
            say(f"runai: {news.text}")
        if news.kind is NewsKind.END:
            return news
    raise AssertionError  # following ends with news of the end, or raises


@contextmanager
def _own(client: Client | None) -> Iterator[Client]:
    if client is not None:
        yield client
        return
    with Client.from_env() as own:
        yield own


@contextmanager
def _cancellable() -> Iterator[None]:
    """Turn SIGTERM into an exception, where we may: only the main thread can set handlers."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise Cancelled

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _print(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - what a step prints is its log
