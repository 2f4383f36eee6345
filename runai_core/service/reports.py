"""Consumption reports: asked for by users, computed by a loop of the leader, fetched as CSV.

Hours are what was measured: a time in which nothing measured (the machine was
off) counts for nobody, and each row says how many hours were measured.
"""

import asyncio
import csv
import io
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from runai_core.model.errors import (
    Conflict,
    FieldError,
    InvalidRequest,
    NotFound,
    RunaiError,
    StaleVersion,
    Unavailable,
)
from runai_core.model.organization import Action, Actor, Project
from runai_core.model.reports import Grouping, Report, ReportStatus
from runai_core.model.samples import LEVELS, Point
from runai_core.ports import Backend, Filter, Op, Page, Query, SampleStore, samples_of
from runai_core.service.access import AccessService
from runai_core.service.metrics import stitched
from runai_core.service.points import OVER_QUOTA

log = logging.getLogger(__name__)

RESOURCE = "reports"

LOOK_EVERY = 2.0
"""Seconds between two looks for reports that wait."""

LONGEST = 366 * 24 * 3600.0
"""Seconds that one report can be about: as long as measurements are kept."""

MOST_POINTS = 2_000_000
"""Points of one group that are read for a report at most; a longer time is read coarser."""

FEW_POINTS = 1000
"""The same where somebody waits for the answer: a month is read by the hour."""

NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_. ]{0,251}[A-Za-z0-9])?")

PREFIXES: Mapping[Grouping, str] = {
    Grouping.PROJECT: "project/",
    Grouping.DEPARTMENT: "department/",
    Grouping.NODE_POOL: "pool/",
    Grouping.CLUSTER: "pool/",
}

FIGURES: Mapping[str, str] = {
    "measured": "Measured hours",
    "quota": "GPU quota hours",
    "allocated": "GPU allocated hours",
    "over_quota": "GPU over-quota hours",
    "used": "GPU used hours",
    "idle": "GPU idle hours",
    "utilization": "GPU utilization percent",
    "cpu": "CPU allocated core hours",
    "memory": "CPU memory allocated GB hours",
}
"""Figure of a row -> its column."""

MEASURED = frozenset({"used", "idle", "utilization"})
"""Figures that are only known where GPUs are measured."""

COLUMNS = ("Group", "Department", "Node pool", *FIGURES.values())


@dataclass(slots=True)
class Row:
    """What one group consumed, in one node pool or (no name) in all of them. Hours."""

    group: str
    pool: str = ""
    measured: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)

    def add(self, point: Point, hours: float) -> None:
        """Count a point that stands for so many hours."""
        self.measured += hours
        values = point.values
        held, quota = values.get("GPU_ALLOCATION", 0.0), values.get("GPU_QUOTA", 0.0)
        amounts = {
            "quota": quota,
            "allocated": held,
            "over_quota": values.get(OVER_QUOTA, max(held - quota, 0.0)),  # older points do not say it
            "used": values.get("GPU_USED", 0.0),
            "seen": values.get("GPU_MEASURED", 0.0),
            "idle": values.get("GPU_IDLE", 0.0),
            "cpu": values.get("CPU_ALLOCATION_MILLICORES", 0.0) / 1000,
            "memory": values.get("CPU_MEMORY_ALLOCATION_MB", 0.0) / 1000,
        }
        for name, amount in amounts.items():
            self.sums[name] = self.sums.get(name, 0.0) + amount * hours

    def take(self, other: "Row") -> None:
        """Count what the same group consumed elsewhere at the same time."""
        self.measured = max(self.measured, other.measured)
        for name, amount in other.sums.items():
            self.sums[name] = self.sums.get(name, 0.0) + amount

    def figures(self) -> dict[str, float | None]:
        """Return the figures; what GPUs did is None where nothing measured them."""
        sums = {"measured": self.measured, **self.sums}
        if not sums.get("seen"):
            return {name: None if name in MEASURED else sums.get(name, 0.0) for name in FIGURES}
        sums["utilization"] = 100 * sums["used"] / sums["seen"]
        return {name: sums[name] for name in FIGURES}

    def cells(self, department: str) -> list[str]:
        """Return the row of the table."""
        digits = {"utilization": 1}
        numbers = ["" if number is None else f"{number:.{digits.get(name, 3)}f}"
                   for name, number in self.figures().items()]  # fmt: skip
        return [self.group, department, self.pool, *numbers]


class ReportService:
    """What can be done with reports."""

    def __init__(self, backend: Backend, access: AccessService) -> None:
        self._store = backend.store
        self._clock = backend.clock
        self._access = access
        self._asked = asyncio.Event()

    async def create(self, actor: Actor, report: Report) -> Report:
        """Ask for a report; it is Pending until the leader has computed it.

        Raises:
            InvalidRequest: name or time is wrong. AlreadyExists: the name is taken.
        """
        _check_name(report.name)
        allowed = await self._allowed(actor, report)
        made = replace(
            allowed,
            meta=replace(report.meta, created_by=actor.name),
            status_updated_at=self._clock.now(),
        )
        created = await self._store.create(made)
        self._asked.set()
        return created

    async def consumption(self, actor: Actor, asked: Report) -> Sequence[Row]:
        """Return at once what each group consumed in all node pools together; nothing is kept.

        Raises:
            InvalidRequest: the time or the groups are wrong. Unavailable: nothing keeps measurements.
        """
        found: dict[str, Row] = {}
        for row in await self._rows(await self._allowed(actor, asked), most=FEW_POINTS):
            found.setdefault(row.group, Row(row.group)).take(row)
        return list(found.values())

    async def _allowed(self, actor: Actor, report: Report) -> Report:
        """Return the report for the projects that this one may see. Raise Forbidden or InvalidRequest."""
        await self._access.require_anywhere(actor, Action.READ, RESOURCE)
        _check_time(report)
        visible = await self._access.visible(actor, Action.READ, RESOURCE)
        if visible is not None and report.group_by is not Grouping.PROJECT:
            message = "must be Project: you see some projects, and the other groups are sums over all of them"
            raise InvalidRequest.of(FieldError("groupBy", message, report.group_by))
        return replace(report, projects=None if visible is None else tuple(sorted(visible)))

    async def list(self, actor: Actor, query: Query) -> Page[Report]:
        """Return the reports that match: one's own, and those of others where all projects may be seen."""
        await self._access.require_anywhere(actor, Action.READ, RESOURCE)
        if await self._access.visible(actor, Action.READ, RESOURCE) is not None:
            mine = Filter("meta.created_by", Op.EQ, actor.name)
            query = replace(query, filters=(*query.filters, mine))
        return await self._store.list(Report, query)

    async def get(self, actor: Actor, ref: str) -> Report:
        """Return the report with this id or name. Raise NotFound."""
        await self._access.require_anywhere(actor, Action.READ, RESOURCE)
        try:
            found = await self._store.get(Report, ref)
        except NotFound:
            found = await self._store.get_by_uid(Report, ref)
        sees_all = await self._access.visible(actor, Action.READ, RESOURCE) is None
        if found.meta.deleted_at is not None or not (sees_all or found.meta.created_by == actor.name):
            raise NotFound(f"there is no report {ref[:80]}")
        return found

    async def file(self, actor: Actor, ref: str) -> str:
        """Return the table as CSV; raise Conflict while it is not ready."""
        found = await self.get(actor, ref)
        if found.status is not ReportStatus.READY:
            raise Conflict(f"report {found.name} is {found.status}{_way_out(found)}")
        return found.csv

    async def delete(self, actor: Actor, ref: str) -> Report:
        """Delete a report: one's own, or any where all projects may be seen."""
        found = await self.get(actor, ref)
        return await self._store.delete(Report, found.meta.uid)

    # -- computing

    async def run(self) -> None:
        """Compute what was asked for, until cancelled; what a crash left half done is computed anew."""
        while True:
            try:
                await self.work()
            except RunaiError as error:
                log.warning("reports wait: %s", error.message)
            self._asked.clear()
            sleeping = asyncio.create_task(self._clock.sleep(LOOK_EVERY))
            asking = asyncio.create_task(self._asked.wait())
            try:
                await asyncio.wait((sleeping, asking), return_when=asyncio.FIRST_COMPLETED)
            finally:
                sleeping.cancel()
                asking.cancel()

    async def work(self) -> None:
        """Compute every report that waits."""
        for status in (ReportStatus.PENDING, ReportStatus.PROCESSING):
            waiting = Query(filters=(Filter("status", Op.EQ, status.value),))
            for report in (await self._store.list(Report, waiting)).items:
                await self._compute(report)

    async def _compute(self, report: Report) -> None:
        try:
            begun = await self._store.update(self._now(report, ReportStatus.PROCESSING))
            try:
                rows = await self._rows(begun)
                done = replace(self._now(begun, ReportStatus.READY), csv=await self._table(rows))
            except Unavailable as error:
                done = replace(self._now(begun, ReportStatus.FAILED), status_message=error.message)
            await self._store.update(done)
        except (StaleVersion, NotFound):
            log.info("report %s was deleted, or is computed by another", report.name)

    def _now(self, report: Report, status: ReportStatus) -> Report:
        return replace(report, status=status, status_updated_at=self._clock.now())

    async def _rows(self, report: Report, most: int = MOST_POINTS) -> Sequence[Row]:
        samples = samples_of(self._store)
        if samples is None:
            raise Unavailable("this store keeps no measurements")
        return await rows_of(samples, report, self._clock.now(), most)

    async def _table(self, rows: Iterable[Row]) -> str:
        departments = {item.name: item.department for item in (await self._store.list(Project, Query())).items}
        text = io.StringIO()
        table = csv.writer(text)
        table.writerow(COLUMNS)
        table.writerows(row.cells(departments.get(row.group, "")) for row in rows)
        return text.getvalue()


async def rows_of(samples: SampleStore, report: Report, now: float, most: int = MOST_POINTS) -> list[Row]:
    """Return what each group consumed in each node pool, by name; of each, so many points are read at most."""
    rows: dict[tuple[str, str], Row] = {}
    prefix = PREFIXES[report.group_by]
    for level, points in await stitched(samples, prefix, report.start, report.end, now, most=most):
        for point in points:
            if point.time >= report.end:  # it begins there: of the next report
                continue
            group, pool = _group(report.group_by, point.entity.removeprefix(prefix))
            if report.projects is not None and group not in report.projects:
                continue
            if report.filters and group not in report.filters:
                continue
            hours = point.count * LEVELS[0].seconds / 3600
            rows.setdefault((group, pool), Row(group, pool)).add(point, hours)
        log.debug("report %s: %d points of level %d", report.name, len(points), level)
    return [rows[key] for key in sorted(rows)]


def _group(grouping: Grouping, name: str) -> tuple[str, str]:
    """Return the group and the node pool that an entity's name says."""
    if grouping is Grouping.CLUSTER:
        return "cluster", name
    if grouping is Grouping.NODE_POOL:
        return name, name
    group, _, pool = name.partition("/")
    return group, pool


def _way_out(report: Report) -> str:
    """Return why a report has no table, and what to do."""
    if report.status is ReportStatus.FAILED:
        return f": {report.status_message}; delete it and ask for another one"
    return "; ask again when it is Ready"


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        message = "must be 1 to 253 letters, digits, spaces and '-_.', beginning and ending with a letter or digit"
        raise InvalidRequest.of(FieldError("name", message, name[:80]))


def _check_time(report: Report) -> None:
    if report.end <= report.start:
        raise InvalidRequest.of(FieldError("end", "must be after start"))
    if report.end - report.start > LONGEST:
        message = "must be at most 366 days before end: measurements are kept for so long"
        raise InvalidRequest.of(FieldError("start", message))
