"""One connection, many conversations: messages, deltas that are acknowledged, and channels that carry bytes.

Text frames are JSON objects with one key that says what they are; binary frames
are `<channel: 4 bytes><stream: 1 byte><data>`. A channel sends no more than
its window ahead of its reader, so that one slow reader holds up nobody else.
"""

import asyncio
import contextlib
import itertools
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from runai_core.controlplane.feeding import Delta, to_message
from runai_core.model import errors
from runai_core.model.errors import RunaiError, Unavailable

WINDOW = 512 * 1024
"""Bytes of a channel that may be on their way."""

ANSWER_SECONDS = 30.0
"""Longest that the other side may take for a short answer."""


class Wire(Protocol):
    """A WebSocket of either side."""

    async def send(self, frame: str | bytes) -> None:
        """Send a frame; raise Unavailable where the connection is gone."""
        ...

    async def receive(self) -> str | bytes:
        """Return the next frame; raise Unavailable at the end."""
        ...


Handler = Callable[[Any], Awaitable[None]]


class Channel:
    """One conversation about one thing: bytes both ways, then a result or an error."""

    def __init__(self, peer: "Peer", number: int) -> None:
        self._peer = peer
        self._number = number
        self._inbox: asyncio.Queue[tuple[int, bytes] | None] = asyncio.Queue()
        self._credit = WINDOW
        self._more = asyncio.Event()
        self._taken = 0
        self.closed = asyncio.Event()  # the other side wants no more of it
        self.result: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

    async def write(self, data: bytes, stream: int = 0) -> None:
        """Send bytes; waits while the reader is behind. Empty ones mean that no more will come."""
        while self._credit <= 0:
            self._more.clear()
            await self._more.wait()
        self._credit -= len(data)
        await self._peer.wire.send(self._number.to_bytes(4, "big") + bytes([stream]) + data)

    async def read(self) -> tuple[int, bytes] | None:
        """Return the next bytes with their stream; None at the end.

        Raises:
            RunaiError: what the other side could not do; Unavailable when it is gone.
        """
        if self._inbox.empty() and self.result.done():
            self.result.result()
            return None
        piece = await self._inbox.get()
        if piece is None:
            self.result.result()
            return None
        self._taken += len(piece[1])
        if self._taken >= WINDOW // 2:
            taken, self._taken = self._taken, 0
            await self._peer.send({"credit": self._number, "bytes": taken})
        return piece

    async def answer(self) -> dict[str, Any]:
        """Return the result; raises as `read`."""
        return await self.result

    async def end(self, result: Mapping[str, Any]) -> None:
        """Say that all is done."""
        await self._peer.send({"end": self._number, "result": dict(result)})

    async def fail(self, error: RunaiError) -> None:
        """Say why it could not be done."""
        await self._peer.send({"end": self._number, "error": type(error).__name__, "message": error.message})

    def leave(self) -> None:
        """Let go of it: all is said."""
        self._peer.forget(self._number)

    async def close(self) -> None:
        """Want no more of it."""
        self.leave()
        with contextlib.suppress(Unavailable):
            await self._peer.send({"close": self._number})

    def take(self, stream: int, data: bytes) -> None:
        """Note bytes that came."""
        self._inbox.put_nowait((stream, data))

    def take_credit(self, amount: int) -> None:
        """Note that the reader has taken so many bytes."""
        self._credit += amount
        self._more.set()

    def finish(self, outcome: dict[str, Any] | RunaiError) -> None:
        """Note how it ended."""
        if not self.result.done():
            if isinstance(outcome, RunaiError):
                self.result.set_exception(outcome)
                self.result.exception()  # whoever waits is told; nobody has to
            else:
                self.result.set_result(outcome)
        self._inbox.put_nowait(None)
        self.closed.set()
        self._credit = 2**62  # whoever still writes must not wait for a reader that is gone
        self._more.set()


class Peer:
    """One end of the connection.

    `handlers` are called with the value of a message by its first key; those
    of `delta` and `open` run beside the reading, all others hold it up. That
    of `open` finds the channel itself where the message has its number.
    """

    def __init__(self, wire: Wire, handlers: Mapping[str, Handler]) -> None:
        self.wire = wire
        self._handlers = handlers
        self._channels: dict[int, Channel] = {}
        self._numbers = itertools.count(1)
        self._acks: dict[str, asyncio.Future[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send a message; raise Unavailable where the connection is gone."""
        await self.wire.send(json.dumps(message, separators=(",", ":")))

    async def deliver(self, delta: Delta) -> None:
        """Send a delta and wait until the other side has kept it."""
        kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._acks[delta.kind] = kept
        await self.send({"delta": to_message(delta)})
        await kept

    async def open(self, operation: str, arguments: Mapping[str, Any]) -> Channel:
        """Begin a conversation."""
        number = next(self._numbers)
        channel = self._channels[number] = Channel(self, number)
        await self.send({"open": {"channel": number, "operation": operation, "arguments": dict(arguments)}})
        return channel

    async def ask(self, operation: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the other side's answer to a short question.

        Raises:
            RunaiError: what it could not do. Unavailable: it is gone, or does not answer.
        """
        channel = await self.open(operation, arguments)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await channel.answer()
        except TimeoutError:
            raise Unavailable(f"the cluster did not answer in {ANSWER_SECONDS:g} s: try again") from None
        finally:
            await channel.close()

    def forget(self, number: int) -> None:
        """Let go of a channel."""
        self._channels.pop(number, None)

    def _accept(self, number: int) -> Channel:
        channel = self._channels[number] = Channel(self, number)
        return channel

    async def run(self) -> None:
        """Read until the connection ends; raise Unavailable then, or what a handler beside it raised."""
        reading = asyncio.create_task(self._read())
        try:
            await asyncio.wait((reading, self._failed), return_when=asyncio.FIRST_COMPLETED)
            if self._failed.done():
                self._failed.result()
            await reading
        finally:
            await self._end(reading)

    async def _end(self, reading: "asyncio.Task[None]") -> None:
        for task in (reading, *self._tasks):
            task.cancel()
        gone = Unavailable("the connection was cut: try again")
        for channel in list(self._channels.values()):
            channel.finish(gone)
        for kept in self._acks.values():
            if not kept.done():
                kept.set_exception(gone)
                kept.exception()  # whoever waits is told; nobody has to
        await asyncio.gather(reading, *self._tasks, return_exceptions=True)

    async def _read(self) -> None:
        while True:
            frame = await self.wire.receive()
            if isinstance(frame, bytes):
                if channel := self._channels.get(int.from_bytes(frame[:4], "big")):
                    channel.take(frame[4], frame[5:])
                continue
            await self._handle(json.loads(frame))

    async def _handle(self, message: dict[str, Any]) -> None:
        key = next(iter(message))
        if key in ("end", "credit", "close"):
            if channel := self._channels.get(message[key]):
                _tell(channel, key, message)
            if key == "close":
                self.forget(message[key])
        elif key == "ack":
            if (kept := self._acks.pop(message["ack"], None)) and not kept.done():
                kept.set_result(None)
        elif key in ("delta", "open"):
            given = message[key]
            if key == "open":  # here, not in the handler: the other side may close it before that begins
                given = {**given, "channel": self._accept(int(given["channel"]))}
            self._beside(self._handlers[key], given)
        else:
            await self._handlers[key](message[key])

    def _beside(self, handler: Handler, given: Any) -> None:
        async def run() -> None:
            try:
                await handler(given)
            except Exception as error:  # noqa: BLE001 - the reader ends with it
                if not self._failed.done():
                    self._failed.set_exception(error)

        task = asyncio.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _tell(channel: Channel, key: str, message: Mapping[str, Any]) -> None:
    if key == "credit":
        channel.take_credit(int(message["bytes"]))
    else:
        channel.finish(_outcome(message) if key == "end" else {})


def _outcome(message: Mapping[str, Any]) -> dict[str, Any] | RunaiError:
    if "error" not in message:
        return dict(message["result"])
    kind = getattr(errors, str(message["error"]), RunaiError)
    known = isinstance(kind, type) and issubclass(kind, RunaiError)
    return (kind if known else RunaiError)(str(message["message"]))
