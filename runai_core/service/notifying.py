"""The loop that makes notices of what happened, and the one that sends them. Both run where this process leads."""

import asyncio
import contextlib
import logging
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from runai_core.model.errors import AlreadyExists, Conflict, NotFound, RunaiError, WatchExpired
from runai_core.model.meta import Meta
from runai_core.model.notices import (
    CATEGORY,
    Delivery,
    Notice,
    NoticeCursor,
    NotificationChannel,
    Subscription,
    types_of,
)
from runai_core.model.workload import HistoryRecord, Workload
from runai_core.ports import Backend, Filter, Op, Query
from runai_core.service.notifications import ADDRESS, NotificationService
from runai_core.service.senders import Undeliverable

log = logging.getLogger(__name__)

DELAYS = (5.0, 30.0, 120.0, 600.0, 3600.0, 3 * 3600.0)
"""Seconds between one attempt and the next; after the last one a notice has failed."""

LOOK_EVERY = 1.0
"""Seconds between two looks for notices that are due."""

SAVE_EVERY = 5.0
"""Seconds between two savings of the cursor at least; a crash looks at so much again, and makes nothing twice."""

REFRESH = 2.0
"""Seconds for which the subscriptions are believed to be as they were read."""

SIDE_BY_SIDE = 8
"""Messages that are sent at once."""

OVERLAP = 60.0
"""Seconds that are looked at again where the log of changes no longer reaches back."""

KEPT = 24 * 3600.0
"""Seconds that sent and failed notices are kept: for the record, and so that none is made twice."""

RETRY = 5.0
"""Seconds until the store is asked again after it failed."""

CURSOR = "history"


class Notifier:
    """Makes and sends notices."""

    def __init__(self, backend: Backend, notifications: NotificationService) -> None:
        self._store = backend.store
        self._clock = backend.clock
        self._notifications = notifications
        self._pending: dict[str, Notice] = {}
        self._subscriptions: tuple[Subscription, ...] = ()
        self._read_at = float("-inf")
        self._forgot_at = float("-inf")
        self._room = asyncio.Semaphore(SIDE_BY_SIDE)

    async def run(self) -> None:
        """Make and send until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._collect())
            tasks.create_task(self._send_all())

    # -- making

    async def _collect(self) -> None:
        while True:
            try:
                await self._follow()
            except WatchExpired:
                await self._catch_up()
            except RunaiError as error:
                log.warning("notifications wait: %s", error.message)
                await self._clock.sleep(RETRY)

    async def _follow(self) -> None:
        cursor = await self._cursor()
        saved = self._clock.now()
        async for change in self._store.watch(HistoryRecord, cursor.version):
            # A cluster that joins a control plane tells all that ever happened there.
            is_news = change.object.meta.created_at > self._clock.now() - KEPT
            made = await self.take(change.object) if is_news else 0
            cursor = replace(cursor, version=change.version, time=change.object.meta.created_at)
            if made or abs(self._clock.now() - saved) >= SAVE_EVERY:
                cursor = await self._store.update(cursor)
                saved = self._clock.now()

    async def _cursor(self) -> NoticeCursor:
        try:
            return await self._store.get(NoticeCursor, CURSOR)
        except NotFound:  # the first start: what happened before is old
            page = await self._store.list(HistoryRecord, Query(limit=1))
            new = NoticeCursor(meta=Meta(name=CURSOR), version=page.version, time=self._clock.now())
            try:
                return await self._store.create(new)
            except AlreadyExists:
                return await self._store.get(NoticeCursor, CURSOR)

    async def _catch_up(self) -> None:
        """Take what the log no longer has from history itself."""
        cursor = await self._cursor()
        since = Filter("meta.created_at", Op.GE, cursor.time - OVERLAP)
        page = await self._store.list(HistoryRecord, Query(filters=(since,)))
        for record in page.items:
            await self.take(record)
        await self._store.update(replace(cursor, version=page.version, time=self._clock.now()))

    async def take(self, record: HistoryRecord) -> int:
        """Make the notices of one record; return how many are new."""
        types = types_of(record)
        wanted = [item for item in await self._subscribed() if types & set(item.types)] if types else []
        if wanted and not (await self._notifications.settings()).notifications:
            return 0
        if not wanted:
            return 0
        try:
            workload = await self._store.get_by_uid(Workload, record.meta.owner)
        except NotFound:
            return 0
        made = 0
        for subscription in wanted:
            if await self._concerns(subscription, workload):
                for notice in _notices(subscription, record, workload, sorted(types & set(subscription.types))):
                    made += await self._keep(notice)
        return made

    async def _concerns(self, subscription: Subscription, workload: Workload) -> bool:
        if not subscription.projects:
            return workload.meta.created_by == subscription.subject
        if workload.meta.project not in subscription.projects:
            return False
        return await self._notifications.may_see(subscription, workload.meta.project)

    async def _keep(self, notice: Notice) -> int:
        try:
            kept = await self._store.create(notice)
        except AlreadyExists:  # made before a restart, or by another subscription of the same person
            return 0
        self._pending[kept.meta.uid] = kept
        return 1

    async def _subscribed(self) -> tuple[Subscription, ...]:
        now = self._clock.now()
        if not 0 <= now - self._read_at < REFRESH:
            self._subscriptions = (await self._store.list(Subscription, Query())).items
            self._read_at = now
        return self._subscriptions

    # -- sending

    async def _send_all(self) -> None:
        while True:
            try:
                await self.load()
                while True:
                    await self.send_due()
                    await self._forget_old()
                    await self._clock.sleep(LOOK_EVERY)
            except RunaiError as error:
                log.warning("notices wait: %s", error.message)
                await self._clock.sleep(RETRY)

    async def load(self) -> None:
        """Learn what is on its way: what another leader, or we before a restart, did not finish."""
        only = Query(filters=(Filter("state", Op.EQ, Delivery.PENDING.value),))
        for notice in (await self._store.list(Notice, only)).items:
            self._pending.setdefault(notice.meta.uid, notice)

    async def send_due(self) -> None:
        """Send what is due, several at once."""
        now = self._clock.now()
        due = [notice for notice in self._pending.values() if notice.next_at <= now]
        await asyncio.gather(*(self._send(notice) for notice in due))

    async def _send(self, notice: Notice) -> None:
        async with self._room:
            now = self._clock.now()
            try:
                channel = await self._store.get(NotificationChannel, notice.channel)
                await self._notifications.require_on(channel)
                secret = self._notifications.secret(channel)
                await self._notifications.senders[channel.type].send(channel, secret, notice, now)
            except NotFound:
                after = replace(notice, state=Delivery.FAILED, error="the channel was deleted")
            except Conflict as error:
                after = replace(notice, state=Delivery.FAILED, error=error.message)
            except (Undeliverable, RunaiError) as error:
                after = _postponed(notice, str(error), now)
            else:
                after = replace(notice, state=Delivery.SENT, attempts=notice.attempts + 1, error="")
            try:
                saved = await self._store.update(after)
            except RunaiError as error:  # it stays pending, and is sent again: at least once
                log.warning("notice %s: %s", notice.meta.uid, error.message)
                return
        if saved.state is Delivery.PENDING:
            self._pending[saved.meta.uid] = saved
        else:
            self._pending.pop(saved.meta.uid, None)
            if saved.state is Delivery.FAILED:
                log.warning("notice %s to %s failed: %s", saved.meta.name, saved.channel, saved.error)

    async def _forget_old(self) -> None:
        now = self._clock.now()
        if 0 <= now - self._forgot_at < 3600:
            return
        self._forgot_at = now
        for state in (Delivery.SENT, Delivery.FAILED):
            old = (Filter("state", Op.EQ, state.value), Filter("meta.created_at", Op.LE, now - KEPT))
            for notice in (await self._store.list(Notice, Query(filters=old))).items:
                with contextlib.suppress(NotFound):
                    await self._store.delete(Notice, notice.meta.uid)
        await self._store.purge(Notice, now)


def _postponed(notice: Notice, why: str, now: float) -> Notice:
    attempts = notice.attempts + 1
    if attempts > len(DELAYS):
        return replace(notice, state=Delivery.FAILED, attempts=attempts, error=why[:500])
    return replace(notice, attempts=attempts, next_at=now + DELAYS[attempts - 1], error=why[:500])


def _notices(
    subscription: Subscription, record: HistoryRecord, workload: Workload, types: list[str]
) -> Iterable[Notice]:
    """Return one notice for each channel; its type is the most telling one that was subscribed to."""
    telling = next((name for name in types if name != "WorkloadPhaseChanged"), types[0])
    body = {
        "category": CATEGORY,
        "time": datetime.fromtimestamp(record.meta.created_at, UTC).isoformat(),
        "workload": workload.name,
        "workloadId": workload.meta.uid,
        "workloadType": workload.kind or workload.type.value,
        "project": workload.meta.project,
        "department": workload.department,
        "phase": (record.to_phase or workload.phase).value,
        "submittedBy": workload.meta.created_by,
        "message": record.cause or record.message,
    }
    to = (subscription.subject,) if ADDRESS.fullmatch(subscription.subject) else ()
    for channel in dict.fromkeys(subscription.channels):
        # Two subscriptions of one person to one channel are one message.
        name = f"{record.meta.uid}.{subscription.subject}.{channel}"
        yield Notice(meta=Meta(name=name[:253]), channel=channel, type=telling, body=body, recipients=to)
