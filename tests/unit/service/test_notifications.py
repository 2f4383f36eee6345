"""Who subscribed is told, at least once and not twice, of what he may see; channels are an administrator's."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from runai_core.backends.local.simulated import VirtualClock
from runai_core.backends.local.store import LocalStore, open_store
from runai_core.model.errors import Forbidden, InvalidRequest
from runai_core.model.meta import Meta
from runai_core.model.notices import ChannelType, Delivery, Notice, NoticeCursor, NotificationChannel, types_of
from runai_core.model.organization import SYSTEM, Actor, Department, Grant, Project, Scope
from runai_core.model.workload import HistoryRecord, Phase, RecordType, Workload
from runai_core.ports import Backend, Query
from runai_core.service.access import AccessService
from runai_core.service.journal import Journal
from runai_core.service.notifications import NotificationService, check_config
from runai_core.service.notifying import DELAYS, LOOK_EVERY, Notifier
from runai_core.service.secrets import Vault
from runai_core.service.senders import EmailSender, Sender, WebhookSender, signature
from runai_core.service.tenant_settings import TenantSettingsService
from tests import waiting
from tests.receivers import WebReceiver, a_mail_server, a_web_receiver

SECRET = "a secret of some length"
ANNA = Actor(name="anna@test.example", grants=(Grant("L1 researcher", Scope("project", "vision")),))


@dataclass
class Desk:
    """The services of notifications on a store, and a clock that stands still until it is moved."""

    store: LocalStore
    clock: VirtualClock
    service: NotificationService
    backend: Backend
    journal: Journal

    def notifier(self) -> Notifier:
        return Notifier(self.backend, self.service)

    async def webhook(self, receiver: WebReceiver, name: str = "hook") -> NotificationChannel:
        return await self.service.create_channel(SYSTEM, name, "webhook", {"url": receiver.url, "secret": SECRET})

    async def workload(self, project: str = "vision", by: str = ANNA.name) -> Workload:
        meta = Meta(name=f"w-{self.clock.now():.0f}", project=project, created_by=by)
        return await self.store.create(Workload(meta=meta, phase=Phase.RUNNING))

    async def happens(self, workload: Workload, phase: Phase = Phase.FAILED, signal: str = "Failed") -> None:
        await self.journal.transition(
            workload, workload.phase, phase, signal=signal, cause="exit code 1", actor="system"
        )

    async def notices(self) -> list[Notice]:
        return list((await self.store.list(Notice, Query())).items)


@asynccontextmanager
async def a_desk(folder: Path, senders: Mapping[ChannelType, Sender] | None = None) -> AsyncIterator[Desk]:
    clock = VirtualClock(1_000_000.0)
    async with open_store(f"sqlite:///{folder / 'store.db'}", clock, exclusive=True) as store:
        nothing = cast("Any", SimpleNamespace())
        backend = Backend(store=store, cluster=nothing, runtime=nothing, lease=nothing, clock=clock)
        access = AccessService(backend, "k" * 64)
        if not (await store.list(Project, Query())).items:
            await store.create(Department(meta=Meta(name="default")))
            for name in ("vision", "audio"):
                await store.create(Project(meta=Meta(name=name)))
        service = NotificationService(backend, access, Vault(folder / "keys"), senders)
        yield Desk(store, clock, service, backend, Journal(backend))


@asynccontextmanager
async def working(desk: Desk) -> AsyncIterator[None]:
    task = asyncio.create_task(desk.notifier().run())

    async def begins() -> bool:
        return (await desk.store.list(NoticeCursor, Query())).total == 1

    try:
        await waiting.until(begins, "a cursor: what happens from now on is told")
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(desk: Desk, holds: Callable[[], bool], step: float = 1.0) -> None:
    """Wait while time passes."""

    async def holds_now() -> bool:
        if not holds():
            await desk.clock.advance(step)
        return holds()

    await waiting.until(holds_now, "what was to be told")


def a_record(**fields: Any) -> HistoryRecord:
    return HistoryRecord(meta=Meta(name="r"), **fields)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (
            a_record(type=RecordType.PHASE_UPDATE, to_phase=Phase.FAILED, signal="Failed"),
            {"WorkloadPhaseChanged", "WorkloadFailed"},
        ),
        (
            a_record(type=RecordType.PHASE_UPDATE, to_phase=Phase.STOPPING, signal="StoppedByRule"),
            {"WorkloadPhaseChanged", "WorkloadStoppedByRule"},
        ),
        (
            a_record(type=RecordType.PHASE_UPDATE, to_phase=Phase.PENDING, signal="Evicted"),
            {"WorkloadPhaseChanged", "WorkloadPreempted"},
        ),
        (a_record(reason="LimitHalfTime"), {"WorkloadHalfTime"}),
        (a_record(reason="Scheduled"), set()),
    ],
    ids=["a failure", "a stop by a rule", "a preemption", "half time", "nothing to tell"],
)
def test_what_a_record_of_history_is_about(record: HistoryRecord, expected: set[str]) -> None:
    assert types_of(record) == expected


@pytest.mark.asyncio
async def test_a_failure_is_posted_with_a_signature_that_the_receiver_can_check(tmp_path: Path) -> None:
    async with a_web_receiver() as receiver, a_desk(tmp_path) as desk:
        await desk.webhook(receiver)
        await desk.service.subscribe(ANNA, ["WorkloadFailed", "WorkloadPhaseChanged"], ["hook"])
        async with working(desk):
            workload = await desk.workload()
            await desk.happens(workload)
            await until(desk, lambda: bool(receiver.got))
        (headers, body) = receiver.got[0]

    said = json.loads(body)
    assert (said["type"], said["workload"], said["message"]) == ("WorkloadFailed", workload.name, "exit code 1")
    assert headers["x-runai-signature"] == f"sha256={signature(SECRET, headers['x-runai-timestamp'], body)}"
    assert headers["x-runai-delivery"] == said["id"]
    assert len(receiver.got) == 1, "two types of one event are one message"


@pytest.mark.asyncio
async def test_a_receiver_that_is_down_is_told_later(tmp_path: Path) -> None:
    async with a_web_receiver() as receiver, a_desk(tmp_path) as desk:
        receiver.refuse = 2
        await desk.webhook(receiver)
        await desk.service.subscribe(ANNA, ["WorkloadFailed"], ["hook"])
        async with working(desk):
            began = desk.clock.now()
            await desk.happens(await desk.workload())
            await until(desk, lambda: bool(receiver.got))
            took = desk.clock.now() - began
            await until_settled(desk)
        (notice,) = await desk.notices()

    assert took >= DELAYS[0] + DELAYS[1]
    assert (notice.state, notice.attempts) == (Delivery.SENT, 3)


async def until_settled(desk: Desk) -> None:
    async def are_settled() -> bool:
        return all(notice.state is not Delivery.PENDING for notice in await desk.notices())

    await waiting.until(are_settled, "an end of all deliveries")


@pytest.mark.asyncio
async def test_a_receiver_that_never_answers_gives_up_in_the_end_and_keeps_nobody_waiting(tmp_path: Path) -> None:
    async with a_web_receiver() as receiver, a_desk(tmp_path) as desk:
        await desk.service.create_channel(SYSTEM, "nobody", "webhook", {"url": "http://127.0.0.1:9/none"})
        await desk.webhook(receiver)
        await desk.service.subscribe(ANNA, ["WorkloadFailed"], ["nobody", "hook"])
        async with working(desk):
            await desk.happens(await desk.workload())
            await until(desk, lambda: bool(receiver.got))

            async def all_given_up() -> bool:
                due = [notice.next_at for notice in await desk.notices() if notice.state is Delivery.PENDING]
                if due:
                    await desk.clock.advance(max(0.0, min(due) - desk.clock.now()) + LOOK_EVERY)
                return not due

            await waiting.until(all_given_up, "an end of all deliveries")
        states = {notice.channel: notice for notice in await desk.notices()}

    assert states["hook"].state is Delivery.SENT
    assert (states["nobody"].state, states["nobody"].attempts) == (Delivery.FAILED, len(DELAYS) + 1)
    assert "onnect" in states["nobody"].error


@pytest.mark.asyncio
async def test_a_restart_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    async with a_web_receiver() as receiver:
        async with a_desk(tmp_path) as desk:
            await desk.webhook(receiver)
            await desk.service.subscribe(ANNA, ["WorkloadFailed"], ["hook"])
            async with working(desk):
                await desk.happens(await desk.workload())
                await until(desk, lambda: len(receiver.got) == 1)
                await until_settled(desk)  # a crash before that is noted would send it again, under the same id
            await desk.clock.advance(10)
            await desk.happens(await desk.workload())  # while nobody listens
        async with a_desk(tmp_path) as desk:
            notifier = desk.notifier()
            for record in (await desk.store.list(HistoryRecord, Query())).items:
                await notifier.take(record)  # as if the cursor had not been saved
            async with working(desk):
                await until(desk, lambda: len(receiver.got) == 2)
                for _ in range(20):
                    await desk.clock.advance(1)
                    await asyncio.sleep(0.01)

    assert len({headers["x-runai-delivery"] for headers, _ in receiver.got}) == len(receiver.got) == 2


@pytest.mark.asyncio
async def test_nobody_is_told_of_what_he_may_not_see(tmp_path: Path) -> None:
    async with a_web_receiver() as receiver, a_desk(tmp_path) as desk:
        await desk.webhook(receiver)
        await desk.service.subscribe(ANNA, ["WorkloadFailed"], ["hook"])
        with pytest.raises(Forbidden):
            await desk.service.subscribe(ANNA, ["WorkloadFailed"], ["hook"], ["audio"])
        async with working(desk):
            await desk.happens(await desk.workload("audio", by="somebody"))
            await desk.clock.advance(3)
            mine = await desk.workload("vision")
            await desk.happens(mine)
            await until(desk, lambda: bool(receiver.got))

    assert [json.loads(body)["workload"] for _, body in receiver.got] == [mine.name]


@pytest.mark.asyncio
async def test_mail_is_handed_over_encrypted_and_with_a_password(tmp_path: Path) -> None:
    async with a_mail_server(tmp_path) as (server, trust):
        senders: dict[ChannelType, Sender] = {
            ChannelType.EMAIL: EmailSender(trust),
            ChannelType.WEBHOOK: WebhookSender(),
        }
        async with a_desk(tmp_path, senders) as desk:
            config = {
                "smtpHost": "127.0.0.1",
                "smtpPort": server.port,
                "smtpTlsEnabled": True,
                "authType": "auth_plain",
                "username": "runai",
                "password": "very secret",
                "from": "runai@test.example",
                "recipients": ["ops@test.example"],
                "directNotifications": True,
            }
            channel = await desk.service.create_channel(SYSTEM, "mail", "email", config)
            await desk.service.subscribe(ANNA, ["WorkloadFailed"], ["mail"])
            async with working(desk):
                await desk.happens(await desk.workload())
                await until(desk, lambda: bool(server.mails))

    assert server.encrypted
    assert len(server.logins) == 1
    assert server.recipients == ["ops@test.example", ANNA.name]
    assert "Subject: [runai] WorkloadFailed: vision/w-" in server.mails[0]
    assert "exit code 1" in server.mails[0]
    assert "very secret" not in f"{channel}", "the password is sealed"


@pytest.mark.asyncio
async def test_a_server_with_a_certificate_of_somebody_else_gets_no_mail(tmp_path: Path) -> None:
    async with a_mail_server(tmp_path) as (server, _), a_desk(tmp_path) as desk:
        config = {"smtpHost": "127.0.0.1", "smtpPort": server.port, "smtpTlsEnabled": True, "from": "a@test.example"}
        trial = await desk.service.try_channel(SYSTEM, "email", {**config, "recipients": ["b@test.example"]})

    assert not trial.delivered
    assert "certificate" in trial.error.lower()
    assert server.mails == []


@pytest.mark.asyncio
async def test_what_happens_while_notifications_are_off_is_not_told_later(tmp_path: Path) -> None:
    async with a_web_receiver() as receiver, a_desk(tmp_path) as desk:
        await desk.webhook(receiver)
        await desk.service.subscribe(ANNA, ["WorkloadFailed"], ["hook"])
        turn = TenantSettingsService(desk.backend, AccessService(desk.backend, "k" * 64))
        notifier, workload = desk.notifier(), await desk.workload()
        records = [a_failure(workload, name) for name in ("before", "while-off", "after")]
        assert await notifier.take(records[0]) == 1

        await turn.change(SYSTEM, "notifications", notifications=False)
        await desk.clock.advance(5.0)  # what the tenant says is remembered for seconds
        assert await notifier.take(records[1]) == 0
        await notifier.send_due()  # what was on its way is not sent either
        (notice,) = await desk.notices()
        assert notice.state is Delivery.FAILED
        assert "turned off" in notice.error

        await turn.change(SYSTEM, "notifications", notifications=True)
        await desk.clock.advance(5.0)
        assert await notifier.take(records[2]) == 1
        await notifier.send_due()
    assert len(receiver.got) == 1


def a_failure(workload: Workload, name: str) -> HistoryRecord:
    meta = Meta(name=name, uid=name, owner=workload.meta.uid, project=workload.meta.project)
    return HistoryRecord(meta=meta, type=RecordType.PHASE_UPDATE, to_phase=Phase.FAILED, signal="Failed")


@pytest.mark.asyncio
async def test_only_administrators_make_channels(tmp_path: Path) -> None:
    async with a_desk(tmp_path) as desk:
        with pytest.raises(Forbidden):
            await desk.service.create_channel(ANNA, "hook", "webhook", {"url": "http://127.0.0.1:1/"})
        with pytest.raises(Forbidden):
            await desk.service.try_channel(ANNA, "webhook", {"url": "http://127.0.0.1:1/"})


@pytest.mark.asyncio
async def test_a_changed_channel_keeps_its_secret_until_a_new_one_is_given(tmp_path: Path) -> None:
    async with a_web_receiver() as receiver, a_desk(tmp_path) as desk:
        await desk.webhook(receiver)
        changed = await desk.service.update_channel(SYSTEM, "hook", "webhook", {"url": "https://other.example/"})
        assert desk.service.secret(changed) == SECRET
        assert "secret" not in changed.config
        again = await desk.service.update_channel(
            SYSTEM, "hook", "webhook", {"url": "https://other.example/", "secret": "another secret text"}
        )
        assert desk.service.secret(again) == "another secret text"


@pytest.mark.parametrize(
    ("kind", "config", "field"),
    [
        (ChannelType.WEBHOOK, {}, "config.url"),
        (ChannelType.WEBHOOK, {"url": "file:///etc/passwd"}, "config.url"),
        (ChannelType.WEBHOOK, {"url": "http://[::1"}, "config.url"),
        (ChannelType.WEBHOOK, {"url": "http://u:p@h/"}, "config.url"),
        (ChannelType.WEBHOOK, {"url": "http://h/", "secret": "short"}, "config.secret"),
        (ChannelType.WEBHOOK, {"url": "http://h/", "smtpHost": "h"}, "config.smtpHost"),
        (ChannelType.EMAIL, {"smtpHost": "h\r\nRCPT", "from": "a@b.c"}, "config.smtpHost"),
        (ChannelType.EMAIL, {"smtpHost": "h", "smtpPort": 0, "from": "a@b.c"}, "config.smtpPort"),
        (ChannelType.EMAIL, {"smtpHost": "h", "from": "a@b.c\nBcc: x@y.z"}, "config.from"),
        (ChannelType.EMAIL, {"smtpHost": "h", "from": "a@b.c", "recipients": ["x"]}, "config.recipients.0"),
        (ChannelType.EMAIL, {"smtpHost": "h", "from": "a@b.c", "authType": "auth_plain"}, "config.smtpTlsEnabled"),
        (ChannelType.EMAIL, {"smtpHost": "h", "from": "a@b.c", "authType": "magic"}, "config.authType"),
    ],
)
def test_a_wrong_channel_names_the_member(kind: ChannelType, config: dict[str, Any], field: str) -> None:
    assert field in [error.field for error in check_config(kind, config)]


@pytest.mark.asyncio
async def test_a_wrong_subscription_names_what_there_is(tmp_path: Path) -> None:
    async with a_desk(tmp_path) as desk:
        with pytest.raises(InvalidRequest, match="must be one of WorkloadPhaseChanged"):
            await desk.service.subscribe(ANNA, ["Nothing"], ["hook"])
        with pytest.raises(InvalidRequest, match="there is no such channel; there are: none"):
            await desk.service.subscribe(ANNA, ["WorkloadFailed"], ["hook"])


@pytest.mark.asyncio
async def test_a_subscription_ends_with_the_right_to_see(tmp_path: Path) -> None:
    """Rights are looked up when something happens, not when it was subscribed to."""
    async with a_web_receiver() as receiver, a_desk(tmp_path) as desk:
        await desk.webhook(receiver)
        made = await desk.service.subscribe(SYSTEM, ["WorkloadFailed"], ["hook"], ["vision"])
        await desk.store.update(replace(made, subject="gone@test.example", subject_type="user"))
        taken = await desk.notifier().take(
            await desk.store.create(
                replace(
                    a_record(type=RecordType.PHASE_UPDATE, to_phase=Phase.FAILED),
                    meta=Meta(name="r", owner=(await desk.workload()).meta.uid),
                )
            )
        )

    assert taken == 0
