"""A port of a workload as a WebSocket of bytes, for `runai workload port-forward` (ours)."""

import contextlib

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from starlette.websockets import WebSocketState

from runai_core.controlplane.together import together
from runai_core.model.errors import RunaiError
from runai_core.model.organization import Action
from runai_core.ports import Connection
from runai_core.service.reaching import parse_place
from runai_core.service.tools import ToolService
from runai_core.web.errors import answer, status_of
from runai_core.web.lasting import CLOSE_BASE, MOST_REASON, only_while
from runai_core.web.middleware import refuse

router = APIRouter(prefix="/api/v1/workloads", tags=["streams"])


@router.websocket("/{workload_id}/forward")
async def forward(socket: WebSocket, workload_id: str, port: str = "", pod: str = "") -> None:
    """Connect to a port: binary frames are its bytes, an empty one says that no more will come."""
    tools: ToolService = socket.app.state.tools
    workloads = socket.app.state.orchestrator.workloads
    try:
        only_while(socket, lambda user: workloads.get(user, workload_id, Action.UPDATE))
        connection = await tools.forward(socket.state.actor, parse_place(port, workload_id), pod)
        try:
            await socket.accept()
            async with together() as work:
                work.add(_bring(connection, socket), _send(socket, connection))
                await work.until_first()
            await socket.close()
        finally:
            await connection.close()
    except RunaiError as error:
        await _end(socket, error)
    except WebSocketDisconnect:
        pass  # the client left


async def _bring(connection: Connection, socket: WebSocket) -> None:
    while data := await connection.read():
        await socket.send_bytes(data)


async def _send(socket: WebSocket, connection: Connection) -> None:
    while True:
        await connection.write(await socket.receive_bytes())


async def _end(socket: WebSocket, error: RunaiError) -> None:
    """Say what is wrong: as the answer, or where it was given already, as the reason of the end."""
    if socket.application_state is WebSocketState.CONNECTING:
        await refuse(socket.scope, socket.receive, socket.send, answer(socket, error))
        return
    with contextlib.suppress(RuntimeError, WebSocketDisconnect):  # it is closed already
        await socket.close(CLOSE_BASE + status_of(error), error.message.encode()[:MOST_REASON].decode(errors="ignore"))
