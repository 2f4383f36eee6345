"""Who leads: one at a time, the next when the first gives up, dies or cannot renew, and nobody who lost it goes on."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from runai_core.backends.clock import SystemClock
from runai_core.backends.kubernetes.api import Api, Object
from runai_core.backends.kubernetes.lease import KubernetesLease
from runai_core.backends.kubernetes.resources import NAMESPACES, Resource
from runai_core.model.errors import AlreadyExists, NotFound, StaleVersion, Unavailable
from tests.waiting import soon, until


class Leases:
    """An API server that has leases, and may be away."""

    def __init__(self) -> None:
        self.items: dict[str, Object] = {}
        self.namespaces = {"runai"}
        self.away = False
        self._versions = itertools.count(1)

    def held(self, name: str = "x") -> str:
        return str((self.items.get(name) or {"spec": {}})["spec"].get("holderIdentity", ""))

    def give(self, holder: str, name: str = "x", **spec: Any) -> None:
        meta = {"name": name, "namespace": "runai", "resourceVersion": str(next(self._versions))}
        self.items[name] = {"metadata": meta, "spec": {"holderIdentity": holder, **spec}}

    async def get(self, _: Resource, name: str, __: str = "") -> Object:
        self._answer()
        if name not in self.items:
            raise NotFound(name)
        return dict(self.items[name])

    async def create(self, resource: Resource, body: Object) -> Object:
        self._answer()
        name = body["metadata"]["name"]
        if resource is NAMESPACES:
            self.namespaces.add(name)
            return body
        if body["metadata"]["namespace"] not in self.namespaces:
            raise NotFound("namespace")
        if name in self.items:
            raise AlreadyExists(name)
        self.give("", name)
        return dict(self.items[name])

    async def update(self, _: Resource, body: Object) -> Object:
        self._answer()
        name = body["metadata"]["name"]
        if body["metadata"]["resourceVersion"] != self.items[name]["metadata"]["resourceVersion"]:
            raise StaleVersion(name)
        self.give(name=name, holder=body["spec"].pop("holderIdentity"), **body["spec"])
        return dict(self.items[name])

    def _answer(self) -> None:
        if self.away:
            raise Unavailable("away")


def a_replica(server: Leases, give_up: float = 600.0) -> KubernetesLease:
    return KubernetesLease(cast("Api", server), SystemClock(), duration=1.0, renew_every=0.01, give_up=give_up)


@asynccontextmanager
async def leading(lease: KubernetesLease) -> AsyncIterator[asyncio.Task[None]]:
    """Lead in a task of its own until it is cancelled, or the lease is lost."""
    begun = asyncio.Event()

    async def lead() -> None:
        async with lease.hold("x"):
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(lead())
    try:
        await soon(begun.wait())
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.asyncio
@pytest.mark.parametrize("namespaces", [{"runai"}, set()], ids=["an installed cluster", "a cluster with nothing on it"])
async def test_a_lease_that_nobody_holds_is_taken_and_given_back(namespaces: set[str]) -> None:
    server = Leases()
    server.namespaces = namespaces
    lease = a_replica(server)
    async with leading(lease):
        assert (server.held(), lease.leads) == (lease.identity, {"x"})
    assert (server.held(), lease.leads) == ("", set())


@pytest.mark.asyncio
async def test_the_next_leads_when_the_first_gives_the_lease_back() -> None:
    server = Leases()
    first, second = a_replica(server), a_replica(server)
    async with leading(first) as task:
        waiting = asyncio.create_task(second._acquire("x"))
        await until(lambda: int(server.items["x"]["metadata"]["resourceVersion"]) > 5, "some renewals")
        assert (server.held(), waiting.done()) == (first.identity, False)
        task.cancel()
        await soon(waiting)
    assert server.held() == second.identity


@pytest.mark.asyncio
async def test_a_lease_of_somebody_who_died_is_taken_after_its_duration() -> None:
    server = Leases()
    server.give("died", leaseDurationSeconds=1)
    lease = a_replica(server)
    async with leading(lease):
        assert server.held() == lease.identity
        assert server.items["x"]["spec"]["leaseTransitions"] == 1


@pytest.mark.asyncio
async def test_who_is_not_the_holder_any_more_stops_and_leaves_the_lease_alone() -> None:
    server = Leases()
    lease = a_replica(server)
    async with leading(lease) as task:
        server.give("another", leaseDurationSeconds=600)
        with pytest.raises(Unavailable, match="does not lead as x any more"):
            await soon(task)
    assert (server.held(), lease.leads) == ("another", set())


@pytest.mark.asyncio
async def test_who_cannot_renew_stops_before_another_may_begin() -> None:
    server = Leases()
    lease = a_replica(server, give_up=0.1)
    async with leading(lease) as task:
        server.away = True
        with pytest.raises(Unavailable, match="does not lead as x any more"):
            await soon(task)
    assert lease.leads == set()


@pytest.mark.asyncio
async def test_a_server_that_was_away_for_a_moment_costs_nobody_the_lead() -> None:
    server = Leases()
    lease = a_replica(server)
    async with leading(lease) as task:
        server.away = True
        for _ in range(20):
            await asyncio.sleep(0.01)
        server.away = False
        seen = server.items["x"]["metadata"]["resourceVersion"]
        await until(lambda: server.items["x"]["metadata"]["resourceVersion"] != seen, "another renewal")
        assert (server.held(), task.done()) == (lease.identity, False)


@pytest.mark.asyncio
async def test_who_waits_goes_on_waiting_while_the_server_is_away() -> None:
    server = Leases()
    server.away = True
    lease = a_replica(server)
    waiting = asyncio.create_task(lease._acquire("x"))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    server.away = False
    await soon(waiting)
    assert server.held() == lease.identity
