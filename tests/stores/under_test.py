"""The stores that are held to the contract (`runai_core.ports.Store`): each database that there is, and a cluster."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from runai_core.backends.local.store import open_store
from runai_core.model.meta import Meta
from runai_core.model.workload import Workload
from runai_core.ports import ChangeType, Store


class SteppingClock:
    """Time that stands still unless a test moves it."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds
        await asyncio.sleep(0)


@dataclass
class Database:
    """Where the store under test lives; can be opened more than once."""

    url: str
    clock: SteppingClock

    exclusive: bool = False
    kubeconfig: Path | None = None  # objects of the cluster's kinds are there; the database has the rest

    def open(self, log_kept: int = 1000) -> AbstractAsyncContextManager[Store]:
        if self.kubeconfig is not None:
            return on_cluster(self.kubeconfig, self.clock, log_kept)
        return open_store(self.url, self.clock, exclusive=self.exclusive, log_kept=log_kept)


@asynccontextmanager
async def on_cluster(kubeconfig: Path, clock: SteppingClock, log_kept: int) -> AsyncIterator[Store]:
    """The store over a cluster, with a database in memory for the rest."""
    from runai_core.backends.kubernetes.api import connect
    from runai_core.backends.kubernetes.resources import NAMESPACES
    from runai_core.backends.kubernetes.store import KubernetesStore
    from runai_core.backends.kubernetes.world import open_world

    async with (
        connect(kubeconfig) as api,
        open_world(api, (NAMESPACES,)) as world,
        open_store("sqlite://", clock) as records,
    ):
        store = KubernetesStore(api, world, records, clock, log_kept=log_kept)
        await store.start()
        try:
            yield store
        finally:
            store.close()
    await asyncio.sleep(0.1)  # connections close


async def emptied(database: Database) -> None:
    """Remove what an earlier test left; where others have objects, the test is skipped."""
    from runai_core.backends.kubernetes.api import connect
    from runai_core.backends.kubernetes.resources import DEPARTMENTS, PROJECTS, WORKLOADS

    async with connect(database.kubeconfig) as api:
        for resource in (*WORKLOADS, PROJECTS, DEPARTMENTS):
            for item in (await api.list(resource))[0]:
                meta = item["metadata"]
                if meta.get("namespace", meta["name"]) not in OURS and not meta["name"].startswith("d-"):
                    pytest.skip(f"the cluster has objects of others: {resource.kind} {meta['name']}")
                if meta.get("finalizers"):
                    at = meta.get("namespace", "")
                    await api.patch(resource, meta["name"], {"metadata": {"finalizers": None}}, at)
                await api.delete(resource, meta["name"], meta.get("namespace", ""))
    await asyncio.sleep(0.1)  # connections close


OURS = frozenset({"vision", "speech", "runai-vision", "runai-speech", "research", "other", "another-kind", "d"})
"""Names of the objects, and of the namespaces, of these tests."""


def needs_database(database: Database, why: str) -> None:
    """Skip where the cluster keeps the objects."""
    if database.kubeconfig is not None:
        pytest.skip(f"on a cluster {why}")


def a_workload(name: str, project: str = "vision", **fields: object) -> Workload:
    return replace(Workload(meta=Meta(name=name, project=project, labels={"team": "a"})), **fields)  # type: ignore[arg-type]


@asynccontextmanager
async def watching(store: Store, from_version: int) -> AsyncIterator["asyncio.Queue[tuple[ChangeType, str, int]]"]:
    """Collect a watch of workloads as (type, name, version)."""
    seen: asyncio.Queue[tuple[ChangeType, str, int]] = asyncio.Queue()

    async def collect() -> None:
        async for change in store.watch(Workload, from_version):
            seen.put_nowait((change.type, change.object.name, change.version))

    task = asyncio.create_task(collect())
    try:
        yield seen
    finally:
        task.cancel()
