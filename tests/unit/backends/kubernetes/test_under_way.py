"""Waiting until few writes are under way, and their end."""

import asyncio

import pytest

from runai_core.backends.kubernetes.under_way import UnderWay
from tests.waiting import soon


@pytest.mark.asyncio
async def test_it_is_waited_until_they_are_few() -> None:
    writes, first, second, last = UnderWay(), asyncio.Event(), asyncio.Event(), asyncio.Event()
    for event, count in ((first, 2), (second, 1), (last, 1)):
        writes.start(_until(event), count)
    waiting = asyncio.create_task(writes.few(1, 600.0))
    first.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert (writes.count, waiting.done()) == (2, False)
    second.set()
    await soon(waiting)
    assert writes.count == 1
    last.set()
    await soon(writes.close())
    assert writes.count == 0


@pytest.mark.asyncio
async def test_it_is_not_waited_for_ever() -> None:
    writes, event = UnderWay(), asyncio.Event()
    writes.start(_until(event), 3)
    await soon(writes.few(1, 0.01))
    assert writes.count == 3
    event.set()
    await soon(writes.close())


@pytest.mark.asyncio
async def test_one_that_fails_is_over_as_well() -> None:
    writes = UnderWay()
    writes.start(_failing())
    await soon(writes.close())
    assert writes.count == 0


async def _until(event: asyncio.Event) -> None:
    await event.wait()


async def _failing() -> None:
    raise ValueError
