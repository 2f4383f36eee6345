"""Waiting for a workload, once for both sides: the worker (not deferred) and the triggerer (deferred)."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from runai_airflow.keys import RESULT, Outcome
from runai_core.client import AsyncClient
from runai_core.client.following import follow
from runai_core.client.news import Cursors, News, NewsKind
from runai_core.client.owned import delete_owned
from runai_core.client.ownership import is_leaving
from runai_core.client.results import Workload
from runai_core.model.errors import Forbidden, NotFound, RunaiError, Unauthenticated, Unavailable
from runai_core.model.workload import Phase

WAITING = frozenset({Phase.CREATING, Phase.PENDING, Phase.RESUMING})


@dataclass(frozen=True, kw_only=True)
class Patience:
    """For how long a task waits. Everything is in seconds; None: for ever."""

    period: float = 2.0  # between two looks
    queue: float | None = None  # from the submission to the start
    total: float | None = None  # from the submission to the end
    silent: float = 600.0  # without an answer of the orchestrator


@dataclass
class Watch:
    """One wait for one workload; `say` prints to the task's log."""

    uid: str
    patience: Patience
    say: Callable[[str], None]
    ranks: Sequence[int] = ()  # whose logs are told; empty: the first pods
    show_logs: bool = True
    _result: Any = None
    _sentence: str = ""
    _waits: bool = True
    _created: float = field(default_factory=time.time)

    async def run(self, client: AsyncClient) -> dict[str, Any]:
        """Wait, telling what happens; return the event that a task is resumed with."""
        cursors = Cursors() if self.show_logs else None
        patience = self.patience
        news = follow(
            client, self.uid, cursors=cursors, period=patience.period, patience=patience.silent, ranks=self.ranks
        )
        try:
            return await self._wait(client, news)
        except NotFound:
            return self._event(Outcome.DELETED, f"the workload {self.uid} was deleted and is gone")
        except (Unauthenticated, Forbidden, Unavailable) as error:
            hint = "the workload goes on without its task: see `runai workload list`, and mend the connection"
            return self._event(Outcome.LOST, f"{error.message}; {hint}")

    async def _wait(self, client: AsyncClient, news: AsyncIterator[News]) -> dict[str, Any]:
        while True:
            limit, outcome = self._limit()
            try:
                left = None if limit is None else max(limit - time.time(), 0)
                async with asyncio.timeout(left):
                    item = await anext(news)
            except TimeoutError:
                return await self._give_up(client, outcome)
            if item.kind is NewsKind.END:
                return self._end(item)
            self._tell(item)

    def _limit(self) -> tuple[float | None, Outcome]:
        limits = [(self._created + self.patience.total, Outcome.TIMEOUT)] if self.patience.total is not None else []
        if self._waits and self.patience.queue is not None:
            limits.append((self._created + self.patience.queue, Outcome.NOT_STARTED))
        return min(limits, default=(None, Outcome.TIMEOUT))

    def _tell(self, item: News) -> None:
        if item.kind is NewsKind.LOG:
            if item.text.startswith(RESULT):
                self._result = json.loads(item.text.removeprefix(RESULT))
            else:
                self.say(f"[{item.pod}] {item.text}")
            return
        self.say(item.text)
        if item.kind is not NewsKind.SILENT:
            self._created = item.workload.created_at.timestamp() if item.workload.created_at else self._created
            self._sentence, self._waits = item.text, item.workload.phase in WAITING

    def _end(self, item: News) -> dict[str, Any]:
        self.say(item.text)
        if is_leaving(item.workload):
            return self._event(Outcome.DELETED, item.text, item.workload)
        outcome = Outcome.COMPLETED if item.is_success else Outcome.FAILED
        return self._event(outcome, item.text, item.workload)

    async def _give_up(self, client: AsyncClient, outcome: Outcome) -> dict[str, Any]:
        waited = self.patience.queue if outcome is Outcome.NOT_STARTED else self.patience.total
        asked = "queue_timeout" if outcome is Outcome.NOT_STARTED else "execution_timeout"
        sentence = f"gave up after {waited:g} s ({asked}) and deleted the workload; {self._sentence}"
        try:
            await delete_owned(client, self.uid)
        except RunaiError as error:
            sentence += f"; deleting it failed: {error.message}"
        return self._event(outcome, sentence)

    def _event(self, outcome: Outcome, sentence: str, workload: Workload | None = None) -> dict[str, Any]:
        phase = workload.phase if workload else ""
        return {
            "outcome": str(outcome),
            "sentence": sentence,
            "workload_id": self.uid,
            "phase": str(phase),
            "result": self._result,
        }
