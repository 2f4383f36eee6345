"""Streams: logs as they are written, changes as they happen, commands beside a pod.

Ours: Run:ai's API has none of these; its command line goes to Kubernetes.
"""

import asyncio
import contextlib
import json
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import StreamingResponse
from starlette.websockets import WebSocketState

from runai_core.bootstrap import Orchestrator
from runai_core.model.errors import FieldError, InvalidRequest, RunaiError
from runai_core.model.meta import to_camel
from runai_core.model.organization import Action, Actor
from runai_core.model.workload import Workload
from runai_core.ports import Change, ExecOptions, ExecSession, LogOptions
from runai_core.web.context import Door, Who, directory
from runai_core.web.errors import answer, body_of
from runai_core.web.lasting import only_while
from runai_core.web.listing import time
from runai_core.web.streaming import COMMENT, HEARTBEAT, Pending, begun, event, failure, gathered, pieces
from runai_core.web.views.units import Directory
from runai_core.web.views.workloads import workload_item

router = APIRouter(prefix="/api/v1/workloads", tags=["streams"])

STDIN, STDOUT, STDERR, END, RESIZE = range(5)
"""Channels of a command's WebSocket: the first byte of each binary frame (as Kubernetes numbers them)."""

CHANNELS = {"stdout": STDOUT, "stderr": STDERR}

UNBUFFERED = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class LogQuery(BaseModel):
    """Which part of a log, in which form."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, extra="forbid")
    pod: Annotated[str | None, Field(description="Name of the pod; the first one when left out.", max_length=253)] = (
        None
    )
    follow: Annotated[bool, Field(description="Go on until the process has ended.")] = False
    tail: Annotated[int | None, Field(ge=-1, le=10**9, description="Last lines; all when left out or -1.")] = None
    since: Annotated[float | None, Field(ge=0, description="Not older than so many seconds.")] = None
    since_time: Annotated[str | None, Field(description="Not older than this time (ISO 8601).", max_length=40)] = None
    timestamps: Annotated[bool, Field(description="Begin each line with its time.")] = False
    previous: Annotated[bool, Field(description="Of the run before the last restart.")] = False
    limit_bytes: Annotated[int | None, Field(ge=1, description="Most bytes.")] = None
    container: Annotated[
        str | None, Field(description="Name of the container; the main one when left out.", max_length=253)
    ] = None


@router.get("/{workload_id}/logs", summary="Read or follow the log of a pod", response_class=StreamingResponse)
async def read_logs(
    request: Request, workload_id: str, door: Door, actor: Who, given: Annotated[LogQuery, Query()]
) -> StreamingResponse:
    """Plain text, in pieces."""
    options = log_options(given, door.backend.clock.now())
    only_while(request, lambda reader: door.workloads.get(reader, workload_id))
    stream = await begun(await door.workloads.logs(actor, workload_id, given.pod, options), None)
    return StreamingResponse(pieces(stream), media_type="text/plain; charset=utf-8", headers=UNBUFFERED)


@router.get("/watch", summary="Follow the changes of all workloads", response_class=StreamingResponse)
async def watch(
    request: Request,
    door: Door,
    actor: Who,
    last_event_id: Annotated[int | None, Header(alias="Last-Event-ID", ge=0)] = None,
    resource_version: Annotated[int | None, Query(alias="resourceVersion", ge=0)] = None,
) -> StreamingResponse:
    """Server-sent events: ADDED, MODIFIED or DELETED with the workload; the event's id is where to resume.

    Without a version, only what happens from now on. 410 means: list again.
    """
    given = last_event_id if last_event_id is not None else resource_version
    version = await door.workloads.version(actor) if given is None else given
    stream = await begun(gathered(door.workloads.watch(actor, version)), HEARTBEAT)
    events = _events(door, actor, stream, _shared(request))
    return StreamingResponse(events, media_type="text/event-stream", headers=UNBUFFERED)


@router.websocket("/{workload_id}/exec")
async def execute(socket: WebSocket, workload_id: str) -> None:
    """Run a command beside a pod's process; the query is `command` (repeated), `pod`, `container`, `tty`, `stdin`."""
    door: Orchestrator = socket.app.state.orchestrator
    try:
        argv, pod, how = _command(socket)
        only_while(socket, lambda user: door.workloads.get(user, workload_id, Action.UPDATE))
        context = await door.workloads.exec(socket.state.actor, workload_id, pod, argv, **how)
        async with context as session:
            await socket.accept()
            await _converse(socket, session)
    except RunaiError as error:
        await _refuse(socket, error)
    except WebSocketDisconnect:
        pass  # the client left: the context has ended the command


def log_options(given: LogQuery, now: float) -> LogOptions:
    """Return the part of the log that was asked for.

    Raises:
        InvalidRequest: the time cannot be read, or two beginnings are given.
    """
    if given.since is not None and given.since_time is not None:
        raise InvalidRequest.of(FieldError("since", "give either since or sinceTime"))
    since = None if given.since is None else now - given.since
    if given.since_time is not None:
        since = _time(given.since_time)
    return LogOptions(
        follow=given.follow,
        tail=None if given.tail in (None, -1) else given.tail,
        since=since,
        timestamps=given.timestamps,
        previous=given.previous,
        limit_bytes=given.limit_bytes,
        container=given.container,
    )


def _time(text: str) -> float:
    try:
        return float(time(text))
    except ValueError:
        message = "must be a time such as 2026-01-31T12:00:00Z"
        raise InvalidRequest.of(FieldError("sinceTime", message, text)) from None


class Rendered:
    """Events as they are sent: each is made once, however many streams send it."""

    def __init__(self, kept: int = 2000) -> None:
        self._kept = kept
        self._events: OrderedDict[tuple[str, int], bytes] = OrderedDict()

    def event(self, change: Change[Workload], names: Directory) -> bytes:
        """Return the event of a change."""
        key = (change.object.meta.uid, change.version)
        found = self._events.get(key)
        if found is None:
            item = workload_item(change.object, names).model_dump(by_alias=True, mode="json")
            found = self._events[key] = event(change.type.value, item, change.version)
            if len(self._events) > self._kept:
                self._events.popitem(last=False)
        return found


def _shared(request: Request) -> Rendered:
    """Return the events that all streams of this application share."""
    state = request.app.state
    if not hasattr(state, "rendered"):
        state.rendered = Rendered()
    return state.rendered  # type: ignore[no-any-return]


async def _events(
    door: Orchestrator, actor: Actor, stream: Pending[list[Change[Workload]]], shared: Rendered
) -> AsyncIterator[bytes]:
    names = await directory(door, actor)
    yield COMMENT
    try:
        async for changes in stream:
            if changes is None:
                yield COMMENT
                continue
            if any(_is_unknown(change.object, names) for change in changes):
                names = await directory(door, actor)
            names = _now(names, door)
            yield b"".join(shared.event(change, names) for change in changes)
    except RunaiError as error:
        yield failure(error)
    finally:
        await stream.close()


def _is_unknown(workload: Workload, names: Directory) -> bool:
    return workload.meta.project not in names.projects or workload.department not in names.departments


def _now(names: Directory, door: Orchestrator) -> Directory:
    return replace(names, now=door.backend.clock.now())


def _command(socket: WebSocket) -> tuple[list[str], str | None, ExecOptions]:
    query = socket.query_params
    argv = query.getlist("command")
    if not argv or not argv[0]:
        raise InvalidRequest.of(FieldError("command", "is required: one query parameter for each word"))
    tty, stdin = (query.get(name, "").lower() == "true" for name in ("tty", "stdin"))
    return argv, query.get("pod"), {"tty": tty, "stdin": stdin, "container": query.get("container")}


async def _converse(socket: WebSocket, session: ExecSession) -> None:
    """Carry bytes both ways until the command has ended or the client has left."""
    reader = asyncio.create_task(_send_output(socket, session))
    writer = asyncio.create_task(_take_input(socket, session))
    try:
        await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
        if not reader.done():
            writer.result()  # raises when the client left
            await reader
        reader.result()
        await _end(socket, {"exitCode": await session.wait()})
    finally:
        for task in (reader, writer):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, WebSocketDisconnect, RunaiError, RuntimeError):
                await task


async def _send_output(socket: WebSocket, session: ExecSession) -> None:
    while (piece := await session.read()) is not None:
        stream, output = piece
        await socket.send_bytes(bytes([CHANNELS[stream]]) + output)


async def _take_input(socket: WebSocket, session: ExecSession) -> None:
    """Pass standard input on; the other channels say nothing that a session without a terminal understands."""
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1000))
        frame = message.get("bytes") or b""
        if frame[:1] == bytes([STDIN]):
            await session.write(frame[1:])


async def _end(socket: WebSocket, result: dict[str, Any]) -> None:
    await socket.send_bytes(bytes([END]) + json.dumps(result).encode())
    await socket.close()


async def _refuse(socket: WebSocket, error: RunaiError) -> None:
    if socket.application_state is WebSocketState.CONNECTED:
        await _end(socket, body_of(error))
    elif "websocket.http.response" in socket.scope.get("extensions", {}):
        await socket.send_denial_response(answer(socket, error))
    else:
        await socket.accept()
        await _end(socket, body_of(error))
