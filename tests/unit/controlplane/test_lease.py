"""Replicas of a control plane: one at a time does what only one may do."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from runai_core.backends.clock import SystemClock
from runai_core.backends.local.store import open_store
from runai_core.controlplane.lease import StoredLease, Times
from runai_core.model.clusters import Leadership
from runai_core.model.errors import StaleVersion, Unavailable
from runai_core.ports import Store
from tests.waiting import soon, until

PATIENT = Times(good=3600, renew=0.02, give_up=3600)  # however long the machine does something else
QUICK = Times(good=0.3, renew=0.02, give_up=3600)


@pytest_asyncio.fixture
async def store() -> AsyncIterator[Store]:
    async with open_store("sqlite://", SystemClock()) as opened:
        yield opened


class Leader:
    """A process that wants to lead."""

    def __init__(self, store: Store, times: Times = PATIENT) -> None:
        self.lease = StoredLease(store, times)
        self.leads = asyncio.Event()
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async with self.lease.hold("reports"):
            self.leads.set()
            await asyncio.Event().wait()

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@pytest.mark.asyncio
async def test_of_two_one_leads_until_it_leaves_and_then_the_other_does(store: Store) -> None:
    one = Leader(store)
    await soon(one.leads.wait())
    two = Leader(store)

    await until(lambda: _renewed(store, 20), "many renewals")
    assert not two.leads.is_set()
    await one.stop()
    await soon(two.leads.wait())
    await two.stop()
    assert (await store.get(Leadership, "reports")).holder == ""


async def _renewed(store: Store, times: int) -> bool:
    return (await store.get(Leadership, "reports")).renewals >= times


@pytest.mark.asyncio
async def test_who_died_without_a_word_is_followed_after_its_time(store: Store) -> None:
    dead = StoredLease(store, QUICK)
    await dead._acquire("reports")  # and nothing more: as a process that was killed

    other = Leader(store, QUICK)

    await soon(other.leads.wait())
    assert (await store.get(Leadership, "reports")).holder == other.lease.holder
    await other.stop()


@pytest.mark.asyncio
async def test_whose_lease_was_taken_stops_at_once_and_leaves_it_alone(store: Store) -> None:
    one = Leader(store)
    await soon(one.leads.wait())
    await until(lambda: _taken(store), "another one has taken it")

    with pytest.raises(Unavailable, match="does not lead"):
        await soon(one.task)
    assert (await store.get(Leadership, "reports")).holder == "another"


async def _taken(store: Store) -> bool:
    note = await store.get(Leadership, "reports")
    try:
        await store.update(replace(note, holder="another"))
    except StaleVersion:
        return False
    return True


@pytest.mark.asyncio
async def test_what_goes_wrong_in_the_body_comes_out_as_it_is(store: Store) -> None:
    with pytest.raises(TimeoutError, match="its own"):
        async with StoredLease(store, PATIENT).hold("reports"):
            raise TimeoutError("its own")
