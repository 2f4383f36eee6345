"""What is left of the operator's loops when their process leads no more, and that they go on when they can again."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from runai_core.backends.kubernetes.api import Api
from runai_core.backends.kubernetes.resources import PODS
from runai_core.backends.local.simulated import VirtualClock
from runai_core.bootstrap import Orchestrator, _lead
from runai_core.model.errors import Unavailable
from runai_core.model.organization import AccessRule
from runai_core.operator.adoption import Adoption
from runai_core.operator.grouping import PodGrouper
from runai_core.operator.organization import Organization
from runai_core.operator.reservations import Reservations
from runai_core.plugins.manager import load_plugins
from tests.cluster.fakes import a_pod
from tests.kubernetes_world import FakeApi, StillWorld
from tests.waiting import soon

NOTHING = cast("Any", SimpleNamespace(found=tuple))

Loop = Callable[[], Coroutine[Any, Any, None]]


async def no_rules() -> Sequence[AccessRule]:
    return ()


LOOPS: dict[str, Callable[[Api, StillWorld, VirtualClock], Loop]] = {
    "pod grouper": lambda api, world, clock: PodGrouper(api, world, load_plugins(), clock).run,
    "organization": lambda api, world, _: Organization(api, world, no_rules).run,
    "reservations": lambda api, world, clock: Reservations(api, world, clock).run,
    "adoption": lambda _, world, clock: (
        Adoption(world, NOTHING, submissions=NOTHING, workloads=NOTHING, journal=NOTHING, clock=clock).run
    ),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("name", LOOPS)
async def test_a_loop_that_leads_no_more_hears_of_nothing(name: str) -> None:
    world, clock = StillWorld(), VirtualClock()
    world.put(PODS, a_pod("p", scheduler="runai-scheduler") | {"metadata": {"name": "p", "namespace": "n"}})
    before = world.listeners
    task = asyncio.create_task(LOOPS[name](cast("Api", FakeApi(world)), world, clock)())
    await clock.settle()
    during = world.listeners
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert (before, during > 0, world.listeners) == (0, True, 0)


class LostOnce:
    """A lease that is taken from its first holder as soon as that works."""

    def __init__(self) -> None:
        self.holds = 0
        self.works = asyncio.Event()

    @asynccontextmanager
    async def hold(self, name: str = "runai") -> AsyncIterator[None]:
        self.holds += 1
        try:
            async with asyncio.timeout(None) as body:
                if self.holds == 1:
                    asyncio.get_running_loop().create_task(self._take(body))
                yield
        except TimeoutError:
            raise Unavailable(f"this process does not lead as {name} any more") from None

    async def _take(self, body: asyncio.Timeout) -> None:
        await self.works.wait()
        body.reschedule(0)


@pytest.mark.asyncio
async def test_who_lost_the_lease_in_the_middle_stops_and_works_again_when_it_leads_again() -> None:
    lease, told = LostOnce(), list[str]()
    again = asyncio.Event()

    async def run(_: Orchestrator) -> None:
        if lease.holds > 1:
            again.set()
        lease.works.set()
        told.append("begins")
        try:
            await asyncio.Event().wait()
        finally:
            told.append("ends")

    orchestrator = cast("Orchestrator", SimpleNamespace(backend=SimpleNamespace(lease=lease)))
    leading = asyncio.create_task(_lead(orchestrator, "operator", run))
    await soon(again.wait())
    leading.cancel()
    await asyncio.gather(leading, return_exceptions=True)

    assert told == ["begins", "ends", "begins", "ends"]


@pytest.mark.asyncio
async def test_projects_are_compared_again_soon_when_the_server_was_away() -> None:
    asked, done = 0, asyncio.Event()

    async def rules() -> Sequence[AccessRule]:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise Unavailable("the API server starts anew")
        done.set()
        return ()

    world = StillWorld()
    task = asyncio.create_task(Organization(cast("Api", FakeApi(world)), world, rules, again=0.01).run())
    await soon(done.wait())
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert asked == 2
