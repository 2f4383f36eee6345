"""Following a workload through a new start of the orchestrator, which may then be found at another address."""

import time
from collections.abc import Callable, Iterator

from runai_core.client.news import Cursors, News
from runai_core.client.sync.client import Client
from runai_core.client.sync.following import PATIENCE, follow
from runai_core.model.errors import Unavailable

LOOK_ELSEWHERE = 3.0
"""Seconds without an answer after which the address is looked up again."""


def follow_anywhere(
    client: Client, reopen: Callable[[], Client], uid: str, cursors: Cursors, *, period: float = 1.0
) -> Iterator[News]:
    """Yield the news of a workload as `follow` does; `reopen` finds the orchestrator again where nobody answers.

    Raises:
        As `follow`.
    """
    deadline = 0.0
    while True:
        try:
            for news in follow(client, uid, cursors=cursors, period=period, patience=LOOK_ELSEWHERE):
                deadline = 0.0 if news.workload.name else deadline
                yield news
        except Unavailable:
            now = time.monotonic()
            deadline = deadline or now + PATIENCE
            if now >= deadline:
                raise
            client = _opened(reopen) or client
        else:
            return


def _opened(reopen: Callable[[], Client]) -> Client | None:
    """Return the client; none where there is no orchestrator yet."""
    try:
        return reopen()
    except Unavailable:
        return None
