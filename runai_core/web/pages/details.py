"""One workload: the verdict first, then its story, measurements, logs, pods, connections, and how to make it again."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Query as Asked
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from runai_core.bootstrap import Orchestrator
from runai_core.model.organization import Actor
from runai_core.model.workload import Phase, Pod, Workload
from runai_core.ports import MAIN_CONTAINER, LogOptions, Query
from runai_core.service.asking import INFERENCE
from runai_core.service.explaining import Explanation
from runai_core.web.context import Door
from runai_core.web.lasting import only_while
from runai_core.web.pages import actions, again, frame, lines, phases, revisions, story
from runai_core.web.pages.form_kinds import form_of
from runai_core.web.pages.frame import Viewer
from runai_core.web.pages.tools import tools_of
from runai_core.web.streaming import begun, pieces

router = frame.page_router()

MOST_RECORDS = 2000
"""Newest records of a story that are read."""

REFRESH = 3
"""Seconds between looks of an open page at the state."""

Text = Annotated[str, Asked(max_length=253)]


@dataclass(frozen=True, slots=True)
class Look:
    """What a tab is made from."""

    request: Request
    door: Orchestrator
    actor: Actor
    workload: Workload


Tab = Callable[[Look], Awaitable[dict[str, Any]]]


@router.get("/workloads/{uid}")
async def show(request: Request, uid: str, door: Door, actor: Viewer, tab: Text = "events") -> Response:
    """Return the page of a workload with one of its tabs open."""
    workload = await door.workloads.get(actor, uid)
    tabs = {key: title for key, (title, _) in TABS.items() if key != "revisions" or workload.type in INFERENCE}
    tab = tab if tab in tabs else "events"
    values = await TABS[tab][1](Look(request, door, actor, workload))
    return frame.page(
        request,
        "details.html",
        tab=tab,
        tabs=tabs,
        **await _state(door, actor, workload),
        **values,
    )


@router.get("/workloads/{uid}/state")
async def state(request: Request, uid: str, door: Door, actor: Viewer, seen: str = "") -> Response:
    """Return the upper part of the page again; nothing where the workload did not change."""
    workload = await door.workloads.get(actor, uid)
    if seen == str(workload.meta.version) and workload.phase is not Phase.PENDING:
        return Response(status_code=204)
    return frame.page(request, "details_state.html", **await _state(door, actor, workload))


@router.get("/workloads/{uid}/log")
async def download_log(
    request: Request,
    uid: str,
    door: Door,
    actor: Viewer,
    pod: Text = "",
    previous: bool = False,  # noqa: FBT001, FBT002  of the address
) -> Response:
    """Return the whole log of a pod as a file."""
    workload = await door.workloads.get(actor, uid)
    found = await door.workloads.pod(actor, uid, pod or None)
    only_while(request, lambda reader: door.workloads.get(reader, uid))
    stream = await begun(await door.workloads.logs(actor, uid, found.name, LogOptions(previous=previous)), None)
    name = log_name(workload.name, found.name, MAIN_CONTAINER, door.backend.clock.now())
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return StreamingResponse(_bytes(pieces(stream)), media_type="text/plain; charset=utf-8", headers=headers)


def log_name(workload: str, pod: str, container: str, now: float) -> str:
    """Return the name of a downloaded log: ``<workload>_<pod>_<container>_<timestamp>.log``."""
    moment = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    return "_".join(re.sub(r"[^A-Za-z0-9.-]", "-", part) for part in (workload, pod, container, moment)) + ".log"


async def _bytes(source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for piece in source:
        yield piece


async def _state(door: Orchestrator, actor: Actor, workload: Workload) -> dict[str, Any]:
    now = door.backend.clock.now()
    explanation = await _why(door, actor, workload)
    allowed = await actions.allowed_on(door, actor, workload)
    offers = {name: asks for name, asks in actions.ASKS.items() if name in allowed and asks.outcome(workload).possible}
    return {
        "workload": workload,
        "line": lines.line_of(workload, now),
        "kind": phases.KINDS[workload.phase],
        "why": explanation,
        "sentence": _sentence(workload, explanation),
        "offers": offers,
        "form": form_of(workload) if "clone" in allowed else "",
        "may_connect": "connect" in allowed,
        "refresh": REFRESH,
    }


def _sentence(workload: Workload, explanation: Explanation | None) -> str:
    if explanation is not None and explanation.verdict is not None:
        return explanation.verdict.message
    return workload.phase_message or f"It is {workload.phase}."


async def _why(door: Orchestrator, actor: Actor, workload: Workload) -> Explanation | None:
    if workload.meta.deleted_at is not None:
        return None
    return await door.workloads.why(actor, workload.meta.uid)


async def _story(look: Look) -> dict[str, Any]:
    given = look.request.query_params
    which, search = given.get("which", ""), given.get("search", "")[:253]
    newest = Query(descending=True, limit=MOST_RECORDS)
    records = (await look.door.workloads.history(look.actor, look.workload.meta.uid, newest)).items
    return {
        "entries": story.chosen(records, which, search),
        "which": which if which in story.WHICH else "",
        "search": search,
        "choices": story.WHICH,
    }


async def _pods(look: Look) -> dict[str, Any]:
    return {"pods": await _pods_of(look), "pod_kinds": phases.POD_KINDS}


async def _metrics(look: Look) -> dict[str, Any]:
    given = look.request.query_params
    return {
        "pods": await _pods_of(look),
        "pod": given.get("pod", ""),
        "range": given.get("range", "") if given.get("range", "") in RANGES else "hour",
        "ranges": RANGES,
        "start": given.get("start", "")[:40],
        "end": given.get("end", "")[:40],
        "charts": CHARTS,
    }


RANGES: Mapping[str, tuple[str, int]] = {
    "quarter": ("Last 15 minutes", 900),
    "hour": ("Last hour", 3600),
    "day": ("Last 24 hours", 86400),
    "week": ("Last 7 days", 7 * 86400),
    "month": ("Last 30 days", 30 * 86400),
    "year": ("Last 12 months", 365 * 86400),
    "custom": ("From ... to ...", 0),
}
"""Choice of a time -> what it is called, and its length in seconds."""

CHARTS: tuple[tuple[str, str, str], ...] = (
    ("GPU_UTILIZATION", "GPU utilization", "%"),
    ("GPU_MEMORY_USAGE_BYTES", "GPU memory", "GiB"),
    ("CPU_USAGE_CORES", "CPU usage", "cores"),
    ("CPU_MEMORY_USAGE_BYTES", "CPU memory", "GiB"),
)
"""Metric of the API, its title and the unit it is drawn in."""


async def _logs(look: Look) -> dict[str, Any]:
    pods = await _pods_of(look)
    wanted = look.request.query_params.get("pod", "")
    chosen = next((pod for pod in pods if pod.name == wanted), pods[0] if pods else None)
    return {"pods": pods, "pod": chosen, "container": MAIN_CONTAINER}


async def _connect(look: Look) -> dict[str, Any]:
    workload = look.workload
    return {"forwards": {tool.port: forward_command(workload, tool.port) for tool in tools_of(workload.spec)}}


def forward_command(workload: Workload, port: int) -> str:
    """Return the command that makes a port of the workload reachable on one's own machine."""
    return f"runai workload port-forward {workload.name} --project {workload.meta.project} --port {port}:{port}"


async def _revisions(look: Look) -> dict[str, Any]:
    return await revisions.shown(look.door, look.actor, look.workload)


async def _again(look: Look) -> dict[str, Any]:
    url = str(look.request.base_url).rstrip("/")
    return {
        "as_yaml": again.as_yaml(look.workload),
        "as_call": again.as_call(look.workload, url, look.door.cluster_id),
    }


TABS: Mapping[str, tuple[str, Tab]] = {
    "events": ("Event history", _story),
    "metrics": ("Metrics", _metrics),
    "logs": ("Logs", _logs),
    "pods": ("Pods", _pods),
    "connect": ("Connect", _connect),
    "revisions": ("Revisions", _revisions),  # of servers
    "copy": ("YAML and API", _again),
}
"""Part of the address -> title, and what the tab's template is given."""


async def _pods_of(look: Look) -> list[Pod]:
    pods = await look.door.workloads.pods(look.actor, look.workload.meta.uid)
    return sorted(pods, key=lambda pod: (-pod.attempt, pod.spec.rank, pod.name))
