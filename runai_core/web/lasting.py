"""Answers that last: who opened one is asked for again as long as it goes on.

A log that is followed, a shell, the stream of changes, a tool: none of them
ends by itself, so a right that was looked at once would be held for ever.
From the beginning of an answer its credentials, its right and what its route
asked for besides are looked at again every few seconds; whatever fails then
ends the answer.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection

from runai_core.model.errors import RunaiError, Unavailable
from runai_core.model.organization import Actor
from runai_core.web.errors import status_of
from runai_core.web.middleware import App, Message, Receive, Scope, Send
from runai_core.web.streaming import failure

LOOK_EVERY = 2.0
"""Seconds between two looks: a right that was taken away is used no longer than that."""

CLOSE_BASE = 4000
"""A WebSocket that is ended is closed with this plus the status that a request would have got."""

MOST_REASON = 123
"""Bytes of a WebSocket's reason (RFC 6455, section 5.5)."""

Check = Callable[[Actor], Awaitable[object]]
Look = Callable[[], Awaitable[object]]

log = logging.getLogger(__name__)


def only_while(connection: HTTPConnection, check: Check) -> None:
    """Have `check` asked again while the answer goes on: an error that it raises ends the answer."""
    connection.scope.setdefault("state", {})["only_while"] = check


async def still_may(connection: HTTPConnection, actor: Actor) -> None:
    """Ask what the route asked for with `only_while`."""
    check: Check | None = connection.scope.get("state", {}).get("only_while")
    if check is not None:
        await check(actor)


class _Answer:
    """What was said so far to the one who asked."""

    def __init__(self, send: Send, begun: Callable[[], object]) -> None:
        self._send = send
        self._begun = begun
        self.is_open = False
        self.is_events = False

    async def say(self, message: Message) -> None:
        """Pass a message on."""
        if message["type"] in ("http.response.start", "websocket.accept"):
            self.is_open = True
            self.is_events = Headers(raw=message.get("headers", [])).get("content-type", "").startswith("text/event")
            self._begun()
        elif message["type"] != "websocket.send" and not message.get("more_body", False):
            self.is_open = False
        await self._send(message)


async def serve(app: App, scope: Scope, receive: Receive, send: Send, look: Look, every: float = LOOK_EVERY) -> None:
    """Answer one request; once it has begun, look again and again, and end it when `look` raises a RunaiError."""
    loop, cause = asyncio.get_running_loop(), list[RunaiError]()
    looking: list[asyncio.Task[None]] = []

    async def watch() -> None:
        while not cause:
            try:
                await look()
            except Unavailable:  # the database is away: nothing can be said, and what runs may go on
                pass
            except RunaiError as error:
                cause.append(error)
                end.reschedule(loop.time())
            await asyncio.sleep(every)

    def begun() -> None:
        # Most answers are over long before: they get a timer, and no task.
        timers.append(loop.call_later(every, lambda: looking.append(loop.create_task(watch()))))

    timers = list[asyncio.TimerHandle]()
    answer = _Answer(send, begun)
    try:
        async with asyncio.timeout(None) as end:
            await app(scope, receive, answer.say)
    except TimeoutError:
        if not cause:
            raise
        await _cut(scope, answer, cause[0])
    finally:
        for timer in timers:
            timer.cancel()
        for task in looking:
            task.cancel()


async def _cut(scope: Scope, answer: _Answer, error: RunaiError) -> None:
    """End an answer in the middle: said where the form of the answer can say it, broken off where it cannot."""
    log.info("%s was ended: %s", scope["path"], error.message)
    if not answer.is_open:
        return
    with contextlib.suppress(RuntimeError, OSError):  # whoever asked may be gone by now
        if scope["type"] == "websocket":
            reason = error.message.encode()[:MOST_REASON].decode(errors="ignore")
            await answer.say({"type": "websocket.close", "code": CLOSE_BASE + status_of(error), "reason": reason})
        elif answer.is_events:
            await answer.say({"type": "http.response.body", "body": failure(error), "more_body": False})
