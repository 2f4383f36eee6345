"""One connection that carries many conversations: order, windows, and what a cut does to whoever waits."""

import asyncio
from typing import Any

import pytest

from runai_core.controlplane.channels import WINDOW, Channel, Peer
from runai_core.controlplane.feeding import Delta
from runai_core.model.errors import Conflict, Unavailable
from tests.pipes import a_pipe, opened, two_peers
from tests.waiting import soon, until


@pytest.mark.asyncio
async def test_an_answer_and_an_error_come_back_as_they_were() -> None:
    async def act(channel: Channel, given: dict[str, Any]) -> None:
        if given["ok"]:
            await channel.end({"sum": given["a"] + given["b"]})
        else:
            await channel.fail(Conflict("it has ended"))

    handlers = opened(act)
    async with two_peers(handlers) as (asking, *_):
        assert await asking.ask("add", {"ok": True, "a": 1, "b": 2}) == {"sum": 3}
        with pytest.raises(Conflict, match="it has ended"):
            await asking.ask("add", {"ok": False})


@pytest.mark.asyncio
async def test_a_slow_reader_holds_up_its_own_channel_only_and_bounds_what_is_on_its_way() -> None:
    sent = 0

    async def act(channel: Channel, given: dict[str, Any]) -> None:
        nonlocal sent
        if given.get("quick"):
            await channel.end({})
            return
        for _ in range(64):
            await channel.write(b"x" * 65536)
            sent += 65536
        await channel.end({})

    handlers = opened(act)
    async with two_peers(handlers) as (asking, *_):
        slow = await asking.open("much", {})
        await until(lambda: sent >= WINDOW, "a full window")
        await asyncio.sleep(0.05)  # would it go on, it would now
        assert sent <= WINDOW + 65536, "the writer waits for its reader"

        assert await asking.ask("quick", {"quick": True}) == {}
        total = 0
        while (piece := await slow.read()) is not None:
            total += len(piece[1])
        assert total == 64 * 65536


@pytest.mark.asyncio
async def test_whoever_waits_is_told_in_words_when_the_connection_is_cut() -> None:
    async def act(_channel: Channel, _given: dict[str, Any]) -> None:
        await asyncio.Event().wait()

    handlers = opened(act)
    handlers["delta"] = lambda _message: asyncio.Event().wait()  # type: ignore[assignment,return-value]
    async with two_peers(handlers) as (asking, _, pipe):
        channel = await asking.open("for ever", {})
        delivering = asyncio.create_task(asking.deliver(Delta(kind="Pod", version=1)))
        reading = asyncio.create_task(channel.read())
        await asyncio.sleep(0.01)  # cut before they wait or after: both are told
        pipe.cut()

        for waiting in (delivering, reading):
            with pytest.raises(Unavailable, match="cut"):
                await soon(waiting)


@pytest.mark.asyncio
async def test_a_handler_that_fails_ends_the_connection_and_not_in_silence() -> None:
    async def fails(_message: Any) -> None:
        raise Unavailable("the database cannot be used now")

    one, two = a_pipe()
    answering = Peer(two, {"delta": fails})
    running = asyncio.create_task(answering.run())
    await one.send('{"delta": {}}')

    with pytest.raises(Unavailable, match="the database"):
        await soon(running)


@pytest.mark.asyncio
async def test_closing_a_channel_ends_what_the_other_side_does_for_it() -> None:
    ended = asyncio.Event()

    async def act(channel: Channel, _given: dict[str, Any]) -> None:
        await channel.closed.wait()
        ended.set()

    handlers = opened(act)
    async with two_peers(handlers) as (asking, *_):
        channel = await asking.open("follow", {})
        await channel.close()

        await soon(ended.wait())
