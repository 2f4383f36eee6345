"""Connections in memory between two ends of a link."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

from runai_core.backends.clock import SystemClock
from runai_core.controlplane.answering import Answers
from runai_core.controlplane.channels import Channel, Handler, Peer
from runai_core.controlplane.links import Links
from runai_core.model.errors import Unavailable


@dataclass
class Pipe:
    """One end of a connection in memory."""

    heard: "asyncio.Queue[str | bytes | None]" = field(default_factory=asyncio.Queue)
    other: "Pipe | None" = None
    is_cut: bool = False

    async def send(self, frame: str | bytes) -> None:
        if self.is_cut or self.other is None:
            raise Unavailable("the connection was cut")
        self.other.heard.put_nowait(frame)
        await asyncio.sleep(0)

    async def receive(self) -> str | bytes:
        frame = await self.heard.get()
        if frame is None:
            raise Unavailable("the connection was cut")
        return frame

    async def close(self) -> None:
        self.cut()

    def cut(self) -> None:
        assert self.other is not None
        for end in (self, self.other):
            end.is_cut = True
            end.heard.put_nowait(None)


def a_pipe() -> tuple[Pipe, Pipe]:
    """Return both ends of a connection."""
    one, two = Pipe(), Pipe()
    one.other, two.other = two, one
    return one, two


@asynccontextmanager
async def two_peers(handlers: dict[str, Handler]) -> AsyncIterator[tuple[Peer, Peer, Pipe]]:
    """Yield a peer that asks, one that answers, and the pipe between them."""
    one, two = a_pipe()
    asking, answering = Peer(one, {}), Peer(two, handlers)
    tasks = [asyncio.create_task(peer.run()) for peer in (asking, answering)]
    try:
        yield asking, answering, one
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def answers_of(there: Any) -> dict[str, Handler]:
    """Return the handlers of a cluster whose services, runtime and identity are one fake."""
    site: Any = SimpleNamespace(workloads=there, backend=SimpleNamespace(clock=SystemClock(), runtime=there))
    answers = Answers(site, there)

    async def on_open(message: dict[str, Any]) -> None:
        try:
            await answers.answer(message["channel"], message["operation"], message["arguments"])
        finally:
            message["channel"].leave()

    return {"open": on_open}


def link_to(peer: Peer) -> Links:
    """Return links that know one cluster."""

    async def ask(_cluster: str, operation: str, given: Any) -> Any:
        return await peer.ask(operation, given)

    async def open_(_cluster: str, operation: str, given: Any) -> Channel:
        return await peer.open(operation, given)

    return cast("Links", SimpleNamespace(ask=ask, open=open_))


def opened(act: Any) -> dict[str, Handler]:
    """Return handlers that act on each channel that is opened."""

    async def on_open(message: dict[str, Any]) -> None:
        await act(message["channel"], message["arguments"])

    return {"open": on_open}
