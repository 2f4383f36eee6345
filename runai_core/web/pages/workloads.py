"""The Workloads table: filters, columns, live updates, CSV."""

import asyncio
import contextlib
import csv
import io
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import Query as Asked
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from runai_core.bootstrap import Orchestrator
from runai_core.model.errors import Forbidden
from runai_core.model.nodes import NodePool
from runai_core.model.organization import Actor, Department
from runai_core.model.workload import Phase, Workload, WorkloadType
from runai_core.ports import Page, Query
from runai_core.service.metrics import Window
from runai_core.web.context import Door
from runai_core.web.pages import actions, form_kinds, frame, lines, listed
from runai_core.web.pages.frame import Viewer
from runai_core.web.pages.lines import Line
from runai_core.web.pages.listed import Listed, back_to_list

router = frame.page_router()

COLUMNS_COOKIE = "runai_columns"

MOST_CSV = 20_000
"""Rows of a CSV file at most."""

CSV_PIECE = 1000
"""Workloads that are read at once for CSV: between pieces others have their turn."""

REFRESH = 3
"""Seconds between looks of an open page; where nothing changed it is told so and loads nothing."""

Chosen = Annotated[Listed, Asked()]


@dataclass(frozen=True, slots=True)
class Choices:
    """What the filters offer."""

    projects: tuple[str, ...]
    departments: tuple[str, ...]
    pools: tuple[str, ...]
    types: tuple[str, ...]
    phases: tuple[str, ...] = tuple(phase.value for phase in Phase)


@router.get("/workloads")
async def show(request: Request, door: Door, actor: Viewer, given: Chosen) -> Response:
    """Return the page, or for an open one the table alone: nothing where nothing changed."""
    is_part = request.headers.get("hx-target") == "list"
    # A page that is open looks every few seconds: the browser tells it what was chosen when it was opened.
    kept = request.cookies.get(COLUMNS_COOKIE, "") if is_part else await _kept(door, actor)
    columns = lines.chosen(kept)
    is_live = any(column.is_live for column in columns)
    if given.seen and not is_live and given.seen == str(await door.backend.store.version()):
        return Response(status_code=204)
    found = await door.workloads.list(actor, listed.query_of(given))
    values = {
        "listed": given,
        "columns": columns,
        "lines": await _lines(door, actor, found, columns),
        "total": found.total,
        "pages": max(-(-found.total // given.size), 1),
        "version": found.version,
        "refresh": REFRESH,
        "most_csv": MOST_CSV,
        "forms": form_kinds.offered(request),
        "actions": actions.offered(request),
    }
    if is_part:
        part = frame.page(request, "workloads_table.html", **_renamed(values))
        if "seen" not in request.query_params:
            part.headers["HX-Push-Url"] = given.address()
        return part
    choices = await _choices(door, actor)
    whole = frame.page(
        request,
        "workloads.html",
        choices=choices,
        all_columns=lines.COLUMNS,
        **_renamed(values),
    )
    whole.set_cookie(COLUMNS_COOKIE, kept, path="/", httponly=True, samesite="strict")
    return whole


async def _kept(door: Orchestrator, actor: Actor) -> str:
    return lines.kept((await door.preferences.of(actor)).columns)


@router.post("/workloads/columns")
async def choose_columns(request: Request, door: Door, actor: Viewer) -> Response:
    """Keep the choice of columns: it is the person's, in every browser."""
    async with request.form() as form:
        keys = [str(value) for value in form.getlist("column")]
        back = str(form.get("next", ""))
    known = [column.key for column in lines.COLUMNS if column.key in keys]
    await door.preferences.keep_columns(actor, known)
    return frame.go_to(request, back_to_list(back))


@router.get("/workloads.csv")
async def download(door: Door, actor: Viewer, given: Chosen) -> Response:
    """Return all workloads that match, every column, as CSV."""
    query = replace(listed.query_of(given), offset=0, limit=CSV_PIECE)
    first = await door.workloads.list(actor, query)  # refused before the answer begins, if at all
    headers = {"Content-Disposition": 'attachment; filename="workloads.csv"', "Cache-Control": "no-store"}
    return StreamingResponse(_csv(door, actor, query, first), media_type="text/csv; charset=utf-8", headers=headers)


def _renamed(values: dict[str, Any]) -> dict[str, Any]:
    # `version` in a template is that of the product.
    return {("seen" if name == "version" else name): value for name, value in values.items()}


async def _lines(
    door: Orchestrator, actor: Actor, found: Page[Workload], columns: tuple[lines.Column, ...]
) -> list[Line]:
    needs = {column.needs for column in columns}
    now = door.backend.clock.now()
    around = await _around(door, actor) if "around" in needs else lines.NOTHING_AROUND
    made = [lines.line_of(item, now, around, door.sampler.idle_seconds(item)) for item in found.items]
    if "nodes" in needs:
        made = [replace(line, nodes=await _nodes(door, actor, line.workload)) for line in made]
    if "usage" in needs:
        made = [replace(line, usage=await _usage(door, actor, line.workload, now)) for line in made]
    return made


async def _around(door: Orchestrator, actor: Actor) -> lines.Around:
    """Return what lines are about; who may see no clusters or node pools is told less."""
    clusters, guaranteed = {}, {}
    with contextlib.suppress(Forbidden):
        clusters = {item.cluster.meta.uid: item.cluster.name for item in await door.clusters.list(actor)}
    with contextlib.suppress(Forbidden):
        pools = (await door.organization.list_node_pools(actor, Query())).items
        guaranteed = {pool.name: pool.min_guaranteed_runtime for pool in pools}
    return lines.Around(clusters=clusters, guaranteed=guaranteed)


async def _nodes(door: Orchestrator, actor: Actor, workload: Workload) -> tuple[str, ...]:
    if not workload.pods_running:
        return ()
    pods = await door.workloads.pods(actor, workload.meta.uid)
    return tuple(sorted({pod.status.node for pod in pods if pod.status.node}))


USED = ("GPU_UTILIZATION", "GPU_MEMORY_USAGE_BYTES", "CPU_USAGE_CORES", "CPU_MEMORY_USAGE_BYTES")


async def _usage(door: Orchestrator, actor: Actor, workload: Workload, now: float) -> dict[str, float]:
    """Return the newest sample of a minute."""
    if workload.phase not in lines.RUNS:
        return {}
    newest = Window(start=now - 60, end=now, samples=1)
    found = await door.metrics.of_workload(actor, workload.meta.uid, USED, newest)
    return {series.type: series.values[-1][1] for series in found if series.values}


async def _choices(door: Orchestrator, actor: Actor) -> Choices:
    units, everything = door.organization, Query(sort_by="meta.name")
    kinds = {kind.kind for kind in door.plugins.kinds.values() if kind.workload_type is WorkloadType.EXTERNAL}
    native = [kind.value for kind in WorkloadType if kind is not WorkloadType.EXTERNAL]
    return Choices(
        projects=tuple(item.name for item in (await units.list_projects(actor, everything)).items),
        departments=await _names(units.list_departments(actor, everything)),
        pools=await _names(units.list_node_pools(actor, everything)),
        types=(*native, *sorted(kinds)),
    )


async def _names(asked: Awaitable[Page[Department] | Page[NodePool]]) -> tuple[str, ...]:
    """Return the names of what the viewer may see; some roles see no departments or node pools at all."""
    try:
        return tuple(item.meta.name for item in (await asked).items)
    except Forbidden:
        return ()


async def _csv(door: Orchestrator, actor: Actor, query: Query, page: Page[Workload]) -> AsyncIterator[str]:
    yield "\ufeff" + _written([lines.csv_titles()])  # the mark tells spreadsheets that it is UTF-8
    sent, around = 0, await _around(door, actor)
    while page.items:
        now = door.backend.clock.now()
        rows = []
        for workload in page.items[: MOST_CSV - sent]:
            idle = door.sampler.idle_seconds(workload)
            rows.append(lines.csv_row(lines.line_of(workload, now, around, idle)))
            if len(rows) % 50 == 0:
                await asyncio.sleep(0)
        yield _written(rows)
        sent += len(rows)
        if sent >= min(page.total, MOST_CSV):
            return
        page = await door.workloads.list(actor, replace(query, offset=sent))


def _written(rows: list[list[str]]) -> str:
    file = io.StringIO()
    csv.writer(file).writerows(rows)
    return file.getvalue()
