"""Waiting until few writes are under way."""

import asyncio

import pytest

from runai_core.backends.kubernetes.under_way import UnderWay


@pytest.mark.asyncio
async def test_it_is_waited_until_they_are_few() -> None:
    writes = UnderWay()
    writes.begin(3)
    waiting = asyncio.create_task(writes.few(1, 600.0))
    writes.end()
    await asyncio.sleep(0)
    assert not waiting.done()
    writes.end()
    async with asyncio.timeout(60):
        await waiting
    assert writes.count == 1


@pytest.mark.asyncio
async def test_it_is_not_waited_for_ever() -> None:
    writes = UnderWay()
    writes.begin(3)
    async with asyncio.timeout(60):
        await writes.few(1, 0.01)
    assert writes.count == 3
