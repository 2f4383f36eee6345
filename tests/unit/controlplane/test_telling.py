"""What a control plane does by itself: reports are computed, and people are told of what clusters report."""

from pathlib import Path

import pytest

from runai_core.bootstrap import Orchestrator, open_orchestrator
from runai_core.controlplane.feeding import Delta
from runai_core.controlplane.mirror import Mirror
from runai_core.controlplane.projects import Projects
from runai_core.controlplane.store import TenantStore
from runai_core.model.clusters import Cluster
from runai_core.model.meta import Meta
from runai_core.model.notices import Notice, NoticeCursor, Subscription
from runai_core.model.organization import SYSTEM
from runai_core.model.reports import Grouping, Report, ReportStatus
from runai_core.model.workload import HistoryRecord, Phase, RecordType, Workload
from runai_core.ports import ChangeType, Query
from runai_core.settings import load_settings
from tests.waiting import until


@pytest.mark.asyncio
async def test_a_report_that_was_asked_for_is_computed(tmp_path: Path) -> None:
    settings = load_settings({}, data_dir=tmp_path, backend="control-plane", role="api")
    async with open_orchestrator(settings) as door:
        now = door.backend.clock.now()
        wanted = Report(meta=Meta(name="usage"), start=now - 3600, end=now - 60, group_by=Grouping.PROJECT)

        report = await door.reports.create(SYSTEM, wanted)

        await until(lambda: _is_ready(door, report), "a report")


@pytest.mark.asyncio
async def test_who_has_subscribed_is_told_of_what_a_cluster_reports_but_not_of_old_stories(tmp_path: Path) -> None:
    settings = load_settings({}, data_dir=tmp_path, backend="control-plane", role="api")
    async with open_orchestrator(settings) as door:
        store = door.backend.store
        assert isinstance(store, TenantStore)
        meta = Meta(name="mine")
        await store.create(Subscription(meta=meta, subject="alice", types=("WorkloadFailed",), channels=("hook",)))
        await until(lambda: _follows(store), "somebody follows the history")
        west = await store.create(Cluster(meta=Meta(name="west")))
        mirror, now = Mirror(store, west.meta.uid, "e1", Projects(store, west)), door.backend.clock.now()

        await mirror.take(_told(Workload(meta=Meta(name="w", uid="u1", project="blue", created_by="alice"))))
        for uid, phase, at in (
            ("long-ago", Phase.FAILED, now - 10 * 86400),
            ("running", Phase.RUNNING, now),
            ("failed", Phase.FAILED, now),
        ):
            record_meta = Meta(name=uid, uid=uid, project="blue", owner="u1", created_at=at)
            await mirror.take(_told(HistoryRecord(meta=record_meta, type=RecordType.PHASE_UPDATE, to_phase=phase)))

        notices = await until(lambda: _notices(store), "a notice")
        assert [(notice.type, notice.meta.name.partition(".")[0]) for notice in notices] == [
            ("WorkloadFailed", "failed")
        ]


async def _notices(store: TenantStore) -> tuple[Notice, ...]:
    return (await store.list(Notice, Query())).items


def _told(item: Workload | HistoryRecord) -> Delta:
    return Delta(kind=type(item).__name__, version=1, changes=((ChangeType.ADDED, 1, item),))


async def _follows(store: TenantStore) -> bool:
    return bool((await store.list(NoticeCursor, Query())).items)


async def _is_ready(door: Orchestrator, report: Report) -> bool:
    return (await door.reports.get(SYSTEM, report.meta.uid)).status is ReportStatus.READY
