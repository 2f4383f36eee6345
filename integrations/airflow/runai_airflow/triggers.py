"""The deferred half of waiting: runs in the triggerer, holds no worker."""

# ruff: noqa: TID253 - Airflow imports this module itself

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from runai_airflow.hooks import RunaiHook
from runai_airflow.keys import Outcome
from runai_airflow.watching import Patience, Watch
from runai_core.client.owned import delete_owned
from runai_core.model.errors import RunaiError

HAS_ON_KILL = hasattr(BaseTrigger, "on_kill")
"""Whether the triggerer tells of a task that its user killed (Airflow 3.3)."""

DEFERRED = "deferred"

CANCEL_SECONDS = 5.0
"""Seconds for what waits to end when the trigger is cancelled."""


class RunaiWorkloadTrigger(BaseTrigger):
    """Waits for one workload and fires once, when it has ended, was deleted, or the patience is over."""

    def __init__(  # noqa: PLR0913 - what is serialized
        self,
        *,
        workload_id: str,
        runai_conn_id: str = RunaiHook.default_conn_name,
        poll_interval: float = 2.0,
        queue_timeout: float | None = None,
        execution_timeout: float | None = None,
        ranks: Sequence[int] = (),
        show_logs: bool = True,
        delete_on_kill: bool = True,
    ) -> None:
        super().__init__()
        self.workload_id = workload_id
        self.runai_conn_id = runai_conn_id
        self.poll_interval = poll_interval
        self.queue_timeout = queue_timeout
        self.execution_timeout = execution_timeout
        self.ranks = list(ranks)
        self.show_logs = show_logs
        self.delete_on_kill = delete_on_kill
        self._fired = False

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what the triggerer makes this trigger from."""
        names = (
            "workload_id",
            "runai_conn_id",
            "poll_interval",
            "queue_timeout",
            "execution_timeout",
            "ranks",
            "show_logs",
            "delete_on_kill",
        )
        path = f"{type(self).__module__}.{type(self).__qualname__}"
        return path, {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield the one event.

        The triggerer says by the message of the cancellation that a user ended the task. Threads and connections
        below may raise another cancellation instead, without it: so they are waited for in a task of their own.
        """
        watching = asyncio.create_task(self._watch())
        try:
            await asyncio.wait({watching})
        except asyncio.CancelledError:
            watching.cancel()
            await asyncio.wait({watching}, timeout=CANCEL_SECONDS)
            raise
        event = watching.result()
        self._fired = True
        yield TriggerEvent(event)

    async def _watch(self) -> dict[str, Any]:
        """Return the event."""
        patience = Patience(period=self.poll_interval, queue=self.queue_timeout, total=self.execution_timeout)
        watch = Watch(
            uid=self.workload_id, patience=patience, say=self.log.info, ranks=self.ranks, show_logs=self.show_logs
        )
        try:
            async with await RunaiHook(self.runai_conn_id).get_async_conn() as client:
                return await watch.run(client)
        except RunaiError as error:
            return {"outcome": Outcome.LOST.value, "sentence": error.message, "workload_id": self.workload_id}

    async def on_kill(self) -> None:
        """Delete the workload: its user marked the task as failed, or cleared it (Airflow 3.3)."""
        if self._fired or not self.delete_on_kill:
            return
        async with await RunaiHook(self.runai_conn_id).get_async_conn() as client:
            await delete_owned(client, self.workload_id)
        self.log.info("deleted workload %s: its task was ended by a user", self.workload_id)

    async def cleanup(self) -> None:
        """Do the same on Airflow 3.2, which only ends the trigger: a task that is still deferred just moves."""
        if HAS_ON_KILL or self._fired:
            return
        try:
            state = await self._task_state()
        except Exception as error:  # noqa: BLE001 - whatever it is: rather leave a workload than end a good one
            self.log.warning("could not ask for the task's state, so the workload is left: %s", error)
            return
        if state != DEFERRED:
            await self.on_kill()

    async def _task_state(self) -> str:
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        task: Any = self.task_instance
        states = await sync_to_async(RuntimeTaskInstance.get_task_states)(
            dag_id=task.dag_id, task_ids=[task.task_id], run_ids=[task.run_id], map_index=task.map_index
        )
        key = task.task_id if task.map_index < 0 else f"{task.task_id}_{task.map_index}"
        return str(states[task.run_id][key])
