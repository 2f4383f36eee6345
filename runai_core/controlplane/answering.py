"""What a control plane can ask a cluster while it is connected: logs, commands, why a workload waits."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from runai_core import wire
from runai_core.controlplane.applying import Applier
from runai_core.controlplane.channels import Channel
from runai_core.controlplane.site import Site, asked_by
from runai_core.controlplane.together import together
from runai_core.model.decision import Verdict
from runai_core.model.errors import RunaiError, Unavailable, Unsupported
from runai_core.model.workload import Workload
from runai_core.ports import Connect, Connection, ExecOptions, ExecSession, LogOptions
from runai_core.service.reaching import Place, Ways
from runai_core.service.submission import of_workload

STREAMS = {"stdout": 1, "stderr": 2}
"""Stream of a command's output -> its number on a channel; 0 is its input."""

BEGUN = 3
"""Stream that says, by no bytes, that the command runs or the connection is made."""

PIECE = 64 * 1024

Arguments = Mapping[str, Any]

Act = Callable[[Channel, Arguments], Awaitable[Mapping[str, Any]]]
"""Answers one question on its channel; returns the result."""


class Answers:
    """Answers the control plane's questions about this cluster."""

    def __init__(self, site: Site, applier: Applier) -> None:
        self._site = site
        self._applier = applier
        self._ways = Ways(site.backend, site.workloads)
        self._operations: dict[str, Act] = {
            "logs": self._logs,
            "exec": self._exec,
            "why": self._why,
            "try": self._try,
            "scale": self._scale,
            "change": self._change,
            "reach": self._reach,
            "connect": self._connect,
        }

    async def answer(self, channel: Channel, operation: str, arguments: Arguments) -> None:
        """Answer one question on its channel; ends when the other side wants no more."""
        act = self._operations.get(operation)
        try:
            if act is None:
                raise Unsupported(f"this cluster does not know {operation[:80]}: upgrade it")
            async with together() as work:
                work.add(_until_unwanted(channel), _answer(channel, act, arguments))
                await work.until_first()
        except RunaiError as error:
            with contextlib.suppress(Unavailable):  # who asked is gone, and so is the connection
                await channel.fail(error)

    async def _logs(self, channel: Channel, given: Arguments) -> Mapping[str, Any]:
        uid = await self._applier.own_id(given["workload"])
        options = wire.decode(LogOptions, given["options"])
        stream = await self._site.workloads.logs(asked_by(""), uid, given["pod"], options)
        async for piece in stream:
            for start in range(0, len(piece), PIECE):
                await channel.write(piece[start : start + PIECE])
        return {}

    async def _exec(self, channel: Channel, given: Arguments) -> Mapping[str, Any]:
        uid = await self._applier.own_id(given["workload"])
        how: ExecOptions = {"tty": given["tty"], "stdin": given["stdin"], "container": given.get("container")}
        context = await self._site.workloads.exec(asked_by(given["actor"]), uid, given["pod"], given["argv"], **how)
        async with context as session:
            await channel.write(b"", BEGUN)
            reading = asyncio.create_task(_pass_input(channel, session))
            try:
                while (piece := await session.read()) is not None:
                    await channel.write(piece[1], STREAMS[piece[0]])
                return {"exitCode": await session.wait()}
            finally:
                reading.cancel()

    async def _why(self, _channel: Channel, given: Arguments) -> Mapping[str, Any]:
        uid = await self._applier.own_id(given["workload"])
        explanation = await self._site.workloads.why(asked_by(""), uid)
        return _verdict(explanation.verdict)

    async def _try(self, _channel: Channel, given: Arguments) -> Mapping[str, Any]:
        workload = wire.decode(Workload, given["workload"])
        return _verdict(await self._site.reconciler.would_wait(workload))

    async def _scale(self, _channel: Channel, given: Arguments) -> Mapping[str, Any]:
        uid = await self._applier.own_id(given["workload"])
        actor = asked_by(given["actor"])
        await self._site.workloads.scale(actor, uid, add=int(given["add"]), remove=list(given["remove"]))
        return {}

    async def _change(self, _channel: Channel, given: Arguments) -> Mapping[str, Any]:
        wished = wire.decode(Workload, given["workload"])
        uid = await self._applier.own_id(wished.meta.uid)
        spec = {**wire.encode(wished.spec), "nodePools": list(wished.node_pools)}
        wanted = of_workload(wished, spec=spec, manifest=wished.manifest, kind=wished.kind)
        await self._site.workloads.change_object(asked_by(given["actor"]), uid, wanted)
        return {}

    async def _reach(self, _channel: Channel, given: Arguments) -> Mapping[str, Any]:
        await self._way(given)
        return {}

    async def _connect(self, channel: Channel, given: Arguments) -> Mapping[str, Any]:
        connection = await (await self._way(given))()
        try:
            await channel.write(b"", BEGUN)
            async with together() as work:
                work.add(_bring(connection, channel), _pass_on(channel, connection))
                await work.until_first()
        finally:
            await connection.close()
        return {}

    async def _way(self, given: Arguments) -> Connect:
        place = Place(await self._applier.own_id(given["workload"]), int(given["port"]))
        return await self._ways.to(asked_by(""), place, given["pod"])


async def _answer(channel: Channel, act: Act, arguments: Arguments) -> None:
    await channel.end(await act(channel, arguments))


async def _until_unwanted(channel: Channel) -> None:
    await channel.closed.wait()


def _verdict(verdict: Verdict | None) -> Mapping[str, Any]:
    return {"verdict": None if verdict is None else wire.encode(verdict)}


async def _pass_input(channel: Channel, session: ExecSession) -> None:
    while (piece := await channel.read()) is not None:
        await session.write(piece[1])


async def _bring(connection: Connection, channel: Channel) -> None:
    while data := await connection.read():
        for start in range(0, len(data), PIECE):
            await channel.write(data[start : start + PIECE])


async def _pass_on(channel: Channel, connection: Connection) -> None:
    while (piece := await channel.read()) is not None:
        await connection.write(piece[1])
