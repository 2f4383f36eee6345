"""Answers that last end when the right to them does: in process, with the real services."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
import pytest_asyncio

from runai_core.client.embedded import AsgiCarrier, asgi_dialer
from runai_core.model.errors import Forbidden, NotFound, RunaiError, Unauthenticated, Unavailable
from runai_core.model.meta import Meta
from runai_core.model.organization import SYSTEM, Project
from runai_core.service.rules import NewRule
from runai_core.web.lasting import serve

pytestmark = pytest.mark.asyncio

JANE = "jane@example.com"
PASSWORD = "correct horse battery"
AT_MOST = 60.0


class Jane:
    """A user who may work in one project, with a token of hers."""

    def __init__(self, api: Any, uid: str, token: str, rule: str) -> None:
        self.api, self.uid, self.rule = api, uid, rule
        self.headers = {"Authorization": f"Bearer {token}"}
        self.door = api.orchestrator

    async def revoke(self) -> None:
        await self.door.users.sign_out(SYSTEM, JANE)

    async def disable(self) -> None:
        await self.door.users.enable(SYSTEM, JANE, enabled=False)

    async def delete(self) -> None:
        await self.door.users.delete(SYSTEM, JANE)

    async def take_right(self) -> None:
        await self.door.rules.delete(SYSTEM, self.rule)

    async def move_right(self) -> None:
        """Let her work in another project instead: the right is there, only not here."""
        await self.door.organization.create_project(SYSTEM, Project(meta=Meta(name="elsewhere"), resources={}))
        await self.door.rules.create(SYSTEM, _rule("elsewhere"))
        await self.take_right()


def _rule(project: str) -> NewRule:
    return NewRule(subject=JANE, subject_type="user", role="L1 researcher", scope_type="project", scope=project)


@pytest_asyncio.fixture
async def jane(api: Any) -> AsyncIterator[Jane]:
    door = api.orchestrator
    created = await api.submit("a")
    await api.run(created["id"])
    await door.users.create(SYSTEM, JANE, PASSWORD, must_change=False)
    rule = await door.rules.create(SYSTEM, _rule("default"))
    token = await door.access.tokens.open(await door.access.actor("user", JANE))
    yield Jane(api, created["id"], token.access_token, str(rule.number))


async def follow_log(jane: Jane, began: asyncio.Event) -> None:
    jane.api.runtime.lines = [b"one\n"]
    await _read(jane, f"/api/v1/workloads/{jane.uid}/logs?follow=true", began)


async def watch(jane: Jane, began: asyncio.Event) -> None:
    await _read(jane, "/api/v1/workloads/watch", began)


async def execute(jane: Jane, began: asyncio.Event) -> None:
    url = f"http://localhost/api/v1/workloads/{jane.uid}/exec?command=cat&stdin=true"
    async with asgi_dialer(jane.api.app)(url, jane.headers) as socket:
        while await socket.recv():
            began.set()


async def _read(jane: Jane, path: str, began: asyncio.Event) -> None:
    transport = AsgiCarrier(jane.api.app)
    async with (
        httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=jane.headers) as client,
        client.stream("GET", path) as response,
    ):
        assert response.status_code == 200
        async for _ in response.aiter_bytes():
            began.set()


Stream = Callable[[Jane, asyncio.Event], Awaitable[None]]


@pytest.mark.parametrize("stream", [follow_log, execute], ids=["a log", "a command"])
@pytest.mark.parametrize(
    "end",
    [Jane.revoke, Jane.disable, Jane.delete, Jane.take_right, Jane.move_right],
    ids=["signed out", "disabled", "deleted", "without any right", "with a right elsewhere only"],
)
async def test_what_is_read_ends_for_who_is(jane: Jane, stream: Stream, end: Callable[[Jane], Awaitable[None]]) -> None:
    began = asyncio.Event()
    reading = asyncio.ensure_future(stream(jane, began))
    async with asyncio.timeout(AT_MOST):
        await began.wait()
        await end(jane)
        await asyncio.wait({reading})

    error = reading.exception()
    assert error is None if stream is follow_log else isinstance(error, (Unauthenticated, Forbidden, NotFound))


@pytest.mark.parametrize("end", [Jane.revoke, Jane.take_right], ids=["signed out", "without any right"])
async def test_changes_are_no_longer_told_to_who_is(jane: Jane, end: Callable[[Jane], Awaitable[None]]) -> None:
    began = asyncio.Event()
    reading = asyncio.ensure_future(watch(jane, began))
    async with asyncio.timeout(AT_MOST):
        await began.wait()
        await end(jane)
        await reading


async def test_a_watch_tells_what_one_may_see_now(jane: Jane) -> None:
    """The right moved to another project while the stream was open: what happens there is told, here no longer."""
    access, workloads = jane.door.access, jane.door.workloads
    changes = workloads.watch(await access.actor("user", JANE), await workloads.version(SYSTEM))
    first = asyncio.ensure_future(anext(changes))
    await jane.api.submit("b")
    async with asyncio.timeout(AT_MOST):
        assert (await first).object.name == "b"
        await jane.move_right()
        jane.api.clock.time += 5  # what was looked up is believed for a second
        await jane.api.submit("c")
        await jane.api.submit("d", projectId="elsewhere")
        assert (await anext(changes)).object.name == "d"
    await changes.aclose()


async def test_a_browser_that_signed_out_hears_no_more(jane: Jane) -> None:
    sessions = jane.door.sessions
    opened = await sessions.open(await jane.door.access.actor("user", JANE))
    jane.headers = {"Cookie": f"runai_session={opened.cookie}"}
    began = asyncio.Event()
    reading = asyncio.ensure_future(follow_log(jane, began))
    async with asyncio.timeout(AT_MOST):
        await began.wait()
        await sessions.close(opened.cookie)
        await reading


# -- the mechanism alone


class Connection:
    """One answer of an application, and what its caller hears."""

    def __init__(self, kind: str, content_type: bytes = b"text/plain") -> None:
        self.kind, self.content_type = kind, content_type
        self.heard: list[Any] = []
        self.cancelled = False

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        start: dict[str, Any] = {"type": "websocket.accept"}
        if self.kind == "http":
            start = {"type": "http.response.start", "headers": [(b"content-type", self.content_type)], "status": 200}
        await send(start)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise

    async def hear(self, message: Any) -> None:
        self.heard.append(message)

    async def serve(self, look: Callable[[], Awaitable[object]]) -> None:
        scope = {"type": self.kind, "path": "/x"}
        async with asyncio.timeout(AT_MOST):
            await serve(self.app, scope, self.hear, self.hear, look, every=0.01)  # type: ignore[arg-type]


def after(*errors: RunaiError | None) -> Callable[[], Awaitable[None]]:
    """Return a look that finds these, one after the other."""
    left = list(errors)

    async def look() -> None:
        if (error := left.pop(0)) is not None:
            raise error

    return look


async def test_a_websocket_is_closed_with_the_status_and_the_reason() -> None:
    connection = Connection("websocket")

    await connection.serve(after(None, None, Forbidden("no longer " + "é" * 100)))

    close = connection.heard[-1]
    assert (close["type"], close["code"]) == ("websocket.close", 4403)
    assert len(close["reason"].encode()) <= 123
    assert connection.cancelled


async def test_a_stream_of_events_ends_with_the_error() -> None:
    connection = Connection("http", b"text/event-stream")

    await connection.serve(after(Unauthenticated("signed out")))

    body = connection.heard[-1]
    assert b"event: ERROR" in body["body"]
    assert b"signed out" in body["body"]
    assert not body["more_body"]


async def test_text_is_broken_off_so_that_nobody_takes_it_for_whole() -> None:
    connection = Connection("http")

    await connection.serve(after(Unauthenticated("signed out")))

    assert [message["type"] for message in connection.heard] == ["http.response.start"]


async def test_a_database_that_is_away_ends_nothing() -> None:
    connection = Connection("websocket")

    await connection.serve(after(Unavailable("away"), Unavailable("away"), None, NotFound("gone")))

    assert connection.heard[-1]["code"] == 4404


async def test_an_answer_that_ends_by_itself_is_left_alone() -> None:
    async def quick(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"all"})

    connection = Connection("http")
    await serve(quick, {"type": "http", "path": "/"}, connection.hear, connection.hear, after(), every=0.01)  # type: ignore[arg-type]

    assert connection.heard[-1]["body"] == b"all"


async def test_the_time_limit_of_a_route_is_not_taken_for_ours() -> None:
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        raise TimeoutError

    connection = Connection("http")
    with pytest.raises(TimeoutError):
        await serve(slow, {"type": "http", "path": "/"}, connection.hear, connection.hear, after())  # type: ignore[arg-type]
