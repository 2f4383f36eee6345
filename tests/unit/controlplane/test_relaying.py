"""A replica asks a cluster that is connected to another one: whole conversations, and who is let in."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jwt
import pytest
import pytest_asyncio
from websockets.asyncio.server import ServerConnection, serve

from runai_core.backends.clock import SystemClock
from runai_core.controlplane.channels import WINDOW, Channel, Peer
from runai_core.controlplane.joining import relay_key
from runai_core.controlplane.relaying import Line, Relays, Replica, Way, pass_on, trust
from runai_core.controlplane.sockets import ClientSocket
from runai_core.model.clusters import ClusterLink
from runai_core.model.errors import NotFound, Unauthenticated, Unavailable
from runai_core.model.meta import Meta
from tests.controlplanes import Trust
from tests.pipes import Pipe, a_pipe, opened, two_peers
from tests.waiting import soon, until

KEY = "k" * 64
LINK = ClusterLink(meta=Meta(name="west"), replica="https://two", session="s1", connected=True)


@dataclass
class Other:
    """The replica that holds the link: lets in who has a good token, and passes on to the cluster."""

    relays: Relays
    cluster: Peer
    ends: list[Pipe] = field(default_factory=list)
    tasks: list["asyncio.Task[None]"] = field(default_factory=list)
    closed: asyncio.Event = field(default_factory=asyncio.Event)  # the cluster was told that nobody listens

    async def __call__(self, way: Way, path: str, token: str) -> Line:
        assert way.url == "https://two"
        self.relays.check(token, path.partition("cluster=")[2])
        mine, theirs = a_pipe()
        self.ends.append(theirs)
        self.tasks.append(asyncio.create_task(pass_on(theirs, self.cluster)))
        return mine


@pytest_asyncio.fixture
async def other() -> AsyncIterator[Other]:
    async def act(channel: Channel, given: dict[str, Any]) -> None:
        if given.get("fails"):
            await channel.fail(NotFound("no such pod"))
            return
        if given.get("waits"):
            await channel.closed.wait()
            found.closed.set()
            return
        while (piece := await channel.read()) is not None and piece[1]:
            await channel.write(piece[1].upper(), 2)
        await channel.end({"exitCode": given["code"]})

    async with two_peers(opened(act)) as (asking, *_):
        found = Other(Relays(KEY, SystemClock(), Replica(url="https://two")), asking)
        yield found
        for task in found.tasks:
            task.cancel()
        await asyncio.gather(*found.tasks, return_exceptions=True)


def asking(other: Other, key: str = KEY) -> Relays:
    return Relays(key, SystemClock(), Replica(url="https://one"), other)


async def the_way(relays: Relays, link: ClusterLink = LINK) -> Peer:
    peer = await relays.peer(link)
    assert peer is not None
    return peer


@pytest.mark.asyncio
async def test_a_conversation_goes_both_ways_and_ends_with_its_result(other: Other) -> None:
    relays = asking(other)
    channel = await (await the_way(relays)).open("exec", {"code": 3})
    large = b"x" * (3 * WINDOW)

    async def say() -> None:
        for start in range(0, len(large), 65536):
            await channel.write(large[start : start + 65536])
        await channel.write(b"")

    saying = asyncio.create_task(say())
    heard = [piece async for piece in _pieces(channel)]
    await soon(saying)

    assert {stream for stream, _ in heard} == {2}
    assert b"".join(data for _, data in heard) == large.upper()
    assert await soon(channel.answer()) == {"exitCode": 3}
    await relays.close()


async def _pieces(channel: Channel) -> AsyncIterator[tuple[int, bytes]]:
    while (piece := await soon(channel.read())) is not None:
        yield piece


@pytest.mark.asyncio
async def test_what_the_cluster_could_not_do_comes_back_as_it_was(other: Other) -> None:
    relays = asking(other)

    with pytest.raises(NotFound, match="no such pod"):
        await soon((await the_way(relays)).ask("why", {"fails": True}))
    await relays.close()


@pytest.mark.asyncio
async def test_hanging_up_ends_what_the_cluster_does(other: Other) -> None:
    relays = asking(other)
    channel = await (await the_way(relays)).open("logs", {"waits": True})

    await channel.close()

    await soon(other.closed.wait())
    await relays.close()


@pytest.mark.asyncio
async def test_one_connection_serves_many_and_another_session_has_another_one(other: Other) -> None:
    relays = asking(other)
    first = await the_way(relays)

    assert await the_way(relays) is first
    assert await the_way(relays, replace(LINK, session="s2")) is not first
    assert len(other.ends) == 2
    await relays.close()


@pytest.mark.asyncio
async def test_whoever_waits_is_told_when_the_other_replica_dies_and_the_next_one_connects_anew(other: Other) -> None:
    relays = asking(other)
    channel = await (await the_way(relays)).open("logs", {"waits": True})

    other.ends[0].cut()

    with pytest.raises(Unavailable):
        await soon(channel.read())
    await until(lambda: _asks_anew(relays, other), "another connection")
    await relays.close()


async def _asks_anew(relays: Relays, other: Other) -> bool:
    await relays.peer(LINK)
    return len(other.ends) == 2


@pytest.mark.asyncio
async def test_where_the_link_is_ours_or_its_replica_has_no_address_there_is_no_way(other: Other) -> None:
    relays = asking(other)

    assert await relays.peer(replace(LINK, replica="https://one")) is None
    assert await relays.peer(replace(LINK, replica="")) is None


@pytest.mark.asyncio
async def test_the_other_replica_is_known_by_its_very_certificate_and_asked_for_the_tenant(
    other: Other, tmp_path: Path
) -> None:
    (tmp_path / "tls").mkdir()
    files = Trust(tmp_path / "tls").certificate(("neither.example",))
    (tmp_path / "another").mkdir()
    another = Trust(tmp_path / "another").certificate(("127.0.0.1",))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    asked: list[tuple[str, str]] = []

    async def answer(connection: ServerConnection) -> None:
        assert connection.request is not None
        asked.append((connection.request.headers["Host"], connection.request.path))
        other.relays.check(connection.request.headers["Authorization"].removeprefix("Bearer "), "west")
        with contextlib.suppress(Unavailable):
            await pass_on(ClientSocket(connection), other.cluster)  # type: ignore[arg-type]  # both ends are alike

    relays = Relays(KEY, SystemClock(), Replica(url="https://one", host="tenant.example"))
    async with serve(answer, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        there = replace(LINK, replica=f"https://127.0.0.1:{port}")
        peer = await the_way(relays, replace(there, replica_certificate=files[0].read_text()))
        with pytest.raises(NotFound, match="no such pod"):
            await soon(peer.ask("why", {"fails": True}))
        wrong = replace(there, session="s2", replica_certificate=another[0].read_text())
        with pytest.raises(Unavailable, match="cannot be asked"):
            await relays.peer(wrong)
        await relays.close()
    assert asked == [("tenant.example", "/api/v1/link/relay?cluster=west")]


def _claims(**changes: Any) -> dict[str, Any]:
    now = SystemClock().now()
    return {"aud": "replica", "sub": "west", "iat": int(now), "exp": int(now) + 60, **changes}


@pytest.mark.parametrize(
    ("key", "claims"),
    [
        pytest.param("b" * 64, _claims(), id="made with another key"),
        pytest.param(KEY, _claims(aud="runai"), id="made for something else"),
        pytest.param(KEY, _claims(sub="east"), id="made for another cluster"),
        pytest.param(KEY, _claims(exp=1), id="too old"),
        pytest.param(KEY, {"aud": "replica", "sub": "west"}, id="without an end"),
    ],
)
def test_no_other_token_lets_anybody_in(key: str, claims: dict[str, Any]) -> None:
    relays = Relays(KEY, SystemClock(), Replica())

    with pytest.raises(Unauthenticated):
        relays.check(jwt.encode(claims, key, algorithm="HS256"), "west")


def test_the_key_between_replicas_is_not_that_of_tokens_of_people() -> None:
    signing = "a" * 64

    assert relay_key(signing) != signing
    token = jwt.encode(_claims(), signing, algorithm="HS256")
    with pytest.raises(Unauthenticated):
        Relays(relay_key(signing), SystemClock(), Replica()).check(token, "west")


def test_without_a_certificate_there_is_no_tls() -> None:
    assert trust("") is None
