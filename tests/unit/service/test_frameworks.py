"""Workloads that others' controllers make: the services act on the framework's object, and only tell what happens."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from runai_core.backends.local.simulated import VirtualClock
from runai_core.backends.local.store import open_store
from runai_core.model.errors import Conflict, Unsupported
from runai_core.model.meta import Meta
from runai_core.model.organization import SYSTEM
from runai_core.model.workload import HistoryRecord, Phase, Workload, WorkloadType
from runai_core.ports import Backend, Query, Store
from runai_core.service.access import AccessService
from runai_core.service.journal import Journal
from runai_core.service.reconciling import Reconciler
from runai_core.service.submission import Submission, of_workload
from runai_core.service.submissions import Submissions
from runai_core.service.witness import Witness
from runai_core.service.workloads import WorkloadService


@dataclass
class Objects:
    """A framework whose objects are rows of the store."""

    store: Store
    asked: list[str] = field(default_factory=list)

    async def stop(self, workload: Workload) -> None:
        if workload.kind == "Pod":
            raise Unsupported(f"{workload.key}: a Pod (v1) cannot be stopped: delete it instead")
        await self._become(workload, Phase.STOPPED)

    async def run(self, workload: Workload) -> None:
        await self._become(workload, Phase.PENDING)

    async def delete(self, workload: Workload) -> None:
        self.asked.append("delete")

    async def submit(self, workload: Workload) -> Workload:
        return workload

    async def change(self, workload: Workload) -> None:
        if workload.manifest == {"kind": workload.kind, "spec": "taken"}:
            raise Conflict("others decide .spec")
        self.asked.append(f"change {workload.kind} {workload.manifest}")

    async def trouble(self, api_version: str, kind: str) -> str:
        return ""

    async def _become(self, workload: Workload, phase: Phase) -> None:
        self.asked.append(phase)
        await self.store.update(replace(workload, phase=phase))


@dataclass
class Parts:
    """The services over a store of one workload."""

    service: WorkloadService
    journal: Journal
    store: Store
    objects: Objects
    row: Workload

    async def story(self) -> list[tuple[str, str]]:
        page = await self.store.list(HistoryRecord, Query(sort_by="meta.version"))
        return [(record.actor, str(record.to_phase or record.reason)) for record in page.items]


class Resolved:
    """Finds nothing wrong with any submission."""

    async def resolve(self, _actor: object, wanted: Submission) -> tuple[Workload, None]:
        meta = Meta(name=wanted.name, project=wanted.project)
        return Workload(meta=meta, type=wanted.type, kind=wanted.kind, manifest=wanted.manifest), None


@asynccontextmanager
async def a_framework(path: Path, kind: str = "Job") -> AsyncIterator[Parts]:
    clock = VirtualClock()
    async with open_store(f"sqlite:///{path / 'store.db'}", clock, exclusive=True) as store:
        objects = Objects(store)
        nothing = cast("Any", SimpleNamespace())
        backend = Backend(store=store, cluster=nothing, runtime=nothing, lease=nothing, clock=clock, frameworks=objects)
        journal = Journal(backend)
        poked = cast("Reconciler", SimpleNamespace(poke=lambda _: None))
        submissions = cast("Submissions", Resolved())
        service = WorkloadService(backend, AccessService(backend, "key"), journal, submissions, poked)
        meta = Meta(name="w", project="p")
        row = await store.create(Workload(meta=meta, type=WorkloadType.EXTERNAL, kind=kind, phase=Phase.RUNNING))
        yield Parts(service, journal, store, objects, row)


@pytest.mark.asyncio
async def test_stop_and_run_act_on_the_object_and_say_who_asked(tmp_path: Path) -> None:
    async with a_framework(tmp_path) as parts:
        stopped = await parts.service.stop(SYSTEM, parts.row.meta.uid)
        again = await parts.service.resume(SYSTEM, parts.row.meta.uid)

        assert parts.objects.asked == [Phase.STOPPED, Phase.PENDING]
        assert (stopped.phase, again.phase) == (Phase.STOPPED, Phase.PENDING)
        assert await parts.story() == [("system", "StopAsked"), ("system", "ResumeAsked")]


@pytest.mark.asyncio
async def test_a_kind_that_cannot_be_stopped_is_named_and_nothing_is_told(tmp_path: Path) -> None:
    async with a_framework(tmp_path, kind="Pod") as parts:
        with pytest.raises(Unsupported, match=r"p/w: a Pod \(v1\) cannot be stopped"):
            await parts.service.stop(SYSTEM, parts.row.meta.uid)

        assert await parts.story() == []


@pytest.mark.asyncio
async def test_what_is_deleted_is_kept_for_the_record(tmp_path: Path) -> None:
    async with a_framework(tmp_path) as parts:
        await parts.service.delete(SYSTEM, parts.row.meta.uid)
        await parts.service.delete(SYSTEM, parts.row.meta.uid)

        assert parts.objects.asked == ["delete"]
        kept = await parts.store.list(Workload, Query(deleted=True))
        assert [item.meta.uid for item in kept.items] == [parts.row.meta.uid]
        assert (await parts.store.list(Workload)).items == ()


@pytest.mark.asyncio
async def test_a_changed_object_is_told_and_one_that_cannot_be_is_not(tmp_path: Path) -> None:
    async with a_framework(tmp_path) as parts:
        row = parts.row
        await parts.service.change_object(SYSTEM, row.meta.uid, of_workload(row, manifest={"kind": "Job"}, kind="Job"))
        taken = of_workload(row, manifest={"kind": "Job", "spec": "taken"}, kind="Job")
        with pytest.raises(Conflict, match="others decide"):
            await parts.service.change_object(SYSTEM, row.meta.uid, taken)

        assert parts.objects.asked == ["change Job {'kind': 'Job'}"]
        assert await parts.story() == [("system", "Changed")]


@pytest.mark.asyncio
async def test_each_phase_is_told_once_also_after_a_new_start(tmp_path: Path) -> None:
    async with a_framework(tmp_path) as parts:
        witness = Witness(parts.journal)
        for phase in (Phase.PENDING, Phase.PENDING, Phase.RUNNING):
            await witness.look(replace(parts.row, phase=phase))
        await Witness(parts.journal).look(replace(parts.row, phase=Phase.RUNNING))
        await Witness(parts.journal).look(replace(parts.row, phase=Phase.COMPLETED))

        assert await parts.story() == [("system", "Pending"), ("system", "Running"), ("system", "Completed")]
