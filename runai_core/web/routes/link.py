"""Where clusters connect: they join with a token, then speak over one WebSocket that they opened.

Open paths: who connects is known by the cluster's own credential, and may do
nothing but report what is the cluster's own.
"""

import contextlib
from typing import Annotated, Any

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, ConfigDict, Field
from starlette.websockets import WebSocketState

from runai_core.bootstrap import Orchestrator
from runai_core.controlplane.sockets import ServerSocket
from runai_core.model.errors import NotFound, RunaiError, Unauthenticated
from runai_core.web.answers.clusters import JoinAnswer
from runai_core.web.context import Door
from runai_core.web.errors import answer

router = APIRouter(prefix="/api/v1/link", tags=["clusters"])


class Join(BaseModel):
    """A join token, and the credential that the cluster has drawn for itself."""

    model_config = ConfigDict(extra="forbid")
    token: Annotated[str, Field(max_length=512)]
    credential: Annotated[str, Field(max_length=512)]


@router.post("/join", summary="Join a cluster (ours)")
async def join(door: Door, body: Join) -> JoinAnswer:
    """Once for each token."""
    if door.links is None:
        raise NotFound("this orchestrator is no control plane: no cluster can join it")
    return JoinAnswer(cluster_id=(await door.clusters.join(body.token, body.credential)).meta.uid)


@router.websocket("")
async def link(socket: WebSocket) -> None:
    """Speak with a cluster until the connection ends."""
    door: Orchestrator = socket.app.state.orchestrator
    try:
        if door.links is None:
            raise NotFound("this orchestrator is no control plane: no cluster can connect to it")
        cluster, kept = await door.clusters.authenticate(_credential(socket))
        await socket.accept()
        await door.links.serve(ServerSocket(socket), cluster, kept)
    except RunaiError as error:
        await _refuse(socket, error)


@router.websocket("/relay")
async def relay(socket: WebSocket, cluster: str = "") -> None:
    """Let another replica of this control plane ask a cluster that is connected here."""
    door: Orchestrator = socket.app.state.orchestrator
    try:
        if door.links is None:
            raise NotFound("this orchestrator is no control plane: it has no replicas")
        door.links.relays.check(_credential(socket), cluster)
        await socket.accept()
        await door.links.relay(ServerSocket(socket), cluster)
    except RunaiError as error:
        await _refuse(socket, error)


def _credential(socket: WebSocket) -> str:
    scheme, _, token = socket.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("send the header 'Authorization: Bearer <cluster id>.<credential>'")
    return token.strip()


async def _refuse(socket: Any, error: RunaiError) -> None:
    if socket.application_state is WebSocketState.CONNECTED:
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):  # it is closed already
            await socket.close(1011, error.message.encode()[:120].decode(errors="ignore"))
    elif "websocket.http.response" in socket.scope.get("extensions", {}):
        await socket.send_denial_response(answer(socket, error))
    else:
        await socket.close(1008)
