"""Streams over REST: logs, changes, commands."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from runai_core.client.embedded import AsgiCarrier, asgi_dialer
from runai_core.model.errors import NotFound
from runai_core.model.workload import Phase, Workload
from runai_core.web.streaming import Pending, begun
from tests.waiting import soon

pytestmark = pytest.mark.asyncio


@pytest.fixture
def live(api: Any) -> Any:
    """Return the API with answers that come piece by piece (httpx's own carrier waits for the whole)."""
    api.client._transport = AsgiCarrier(api.app)
    return api


async def test_a_log_is_plain_text(api: Any) -> None:
    api.runtime.lines = [b"one\n", b"two\n"]
    created = await api.submit("a")
    await api.run(created["id"])

    response = await api.client.get(
        f"/api/v1/workloads/{created['id']}/logs", params={"tail": 5, "since": 60, "container": "main"}
    )

    assert response.text == "one\ntwo\n"
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    pod, options = api.runtime.asked[0]
    assert (pod, options.tail, options.since, options.container) == ("a-1-0", 5, api.clock.time - 60, "main")


@pytest.mark.parametrize(
    ("query", "status", "says"),
    [
        pytest.param({"pod": "none"}, 404, "has no pod none", id="an unknown pod"),
        pytest.param({"previous": True}, 404, "has not been restarted", id="an error of the runtime itself"),
        pytest.param({"since": 1, "sinceTime": "2026-01-01T00:00:00Z"}, 400, "either since or sinceTime", id="both"),
        pytest.param({"sinceTime": "noon"}, 400, "must be a time", id="no time"),
        pytest.param({"tail": -5}, 400, "tail", id="fewer lines than none"),
        pytest.param({"lines": 5}, 400, "unknown field", id="an unknown parameter"),
    ],
)
async def test_a_log_that_cannot_be_read_is_an_error_with_its_status(
    api: Any, query: dict[str, Any], status: int, says: str
) -> None:
    created = await api.submit("a")
    await api.run(created["id"])

    response = await api.client.get(f"/api/v1/workloads/{created['id']}/logs", params=query)

    assert response.status_code == status
    assert says in response.json()["message"]


async def test_a_workload_without_pods_has_no_log_yet(api: Any) -> None:
    created = await api.submit("a")

    error = await api.get(f"/api/v1/workloads/{created['id']}/logs", expect=409)

    assert "no pod now" in error["message"]


async def test_changes_are_told_from_a_version_on(live: Any) -> None:
    first = await live.submit("a")
    version = (await live.get(f"/api/v1/workloads/{first['id']}"))["additionalFields"]["resourceVersion"]
    await live.submit("b")

    events = await read_events(live, 1, headers={"Last-Event-ID": str(version)})

    assert [(event["event"], event["data"]["name"]) for event in events] == [("ADDED", "b")]
    assert int(events[0]["id"]) > version


async def test_changes_are_told_as_they_happen(live: Any) -> None:
    created = await live.submit("a")
    began = await live.orchestrator.backend.store.version()
    reading = asyncio.create_task(read_events(live, 2, params={"resourceVersion": began}))

    await live.move(created["id"], Phase.RUNNING)
    await live.orchestrator.backend.store.delete(Workload, created["id"])
    events = await soon(reading)

    assert [event["event"] for event in events] == ["MODIFIED", "DELETED"]
    assert events[0]["data"]["phase"] == "Running"


async def test_a_watch_that_is_too_old_says_to_list_again(live: Any) -> None:
    store = live.orchestrator.backend.store
    created = await live.submit("a")
    workload = await store.get_by_uid(Workload, created["id"])
    for number in range(120):
        workload = await store.update(replace(workload, successes=number))

    error = await soon(live.get("/api/v1/workloads/watch", expect=410, resourceVersion=1))

    assert error["reason"] == "WatchExpired"


async def test_silence_is_filled_with_a_sign_of_life() -> None:
    async def silent() -> Any:
        await asyncio.Event().wait()
        yield b""

    pending = Pending(silent(), 0.01)

    assert await anext(pending) is None
    assert await anext(pending) is None
    await pending.close()


async def test_a_stream_that_cannot_begin_raises_and_one_that_ends_ends() -> None:
    async def broken(pieces: tuple[bytes, ...] = ()) -> Any:
        for piece in pieces:
            yield piece
        raise NotFound("gone")

    async def short() -> Any:
        yield b"a"

    with pytest.raises(NotFound):
        await begun(broken(), None)
    assert [piece async for piece in await begun(short(), None)] == [b"a"]


async def test_a_command_talks_both_ways_and_ends_with_its_code(api: Any) -> None:
    created = await api.submit("a")
    await api.run(created["id"])

    frames = await talk(api, created["id"], "command=cat&command=-&stdin=true&container=main", [b"\x00hello", b"\x00"])

    assert frames[0] == b"\x02hello"
    assert frames[1] == b"\x01HELLO"
    assert (frames[2][0], json.loads(frames[2][1:])) == (3, {"exitCode": 7})
    assert api.runtime.asked[-1] == ("a-1-0", ("cat", "-"), False, True, "main")


@pytest.mark.parametrize(
    ("query", "token", "says"),
    [
        pytest.param("", True, "command: is required", id="no command"),
        pytest.param("command=ls&pod=none", True, "has no pod none", id="an unknown pod"),
        pytest.param("command=ls", False, "Authorization", id="no token"),
    ],
)
async def test_a_command_that_cannot_run_is_refused_before_it_begins(
    api: Any,
    query: str,
    token: bool,
    says: str,
) -> None:
    created = await api.submit("a")
    await api.run(created["id"])

    with pytest.raises(Exception, match=says):
        await talk(api, created["id"], query, [], token=token)


async def talk(api: Any, uid: str, query: str, frames: list[bytes], *, token: bool = True) -> list[bytes]:
    """Return what a command says to these frames."""
    headers = {"Authorization": f"Bearer {api.token}"} if token else {}
    url = f"http://localhost/api/v1/workloads/{uid}/exec?{query}"
    async with asgi_dialer(api.app)(url, headers) as socket:
        heard = [await soon(socket.recv())]
        for frame in frames:
            await socket.send(frame)
        while heard[-1][:1] != b"\x03":
            heard.append(await soon(socket.recv()))
        return heard


async def read_events(api: Any, number: int, **more: Any) -> list[dict[str, Any]]:
    """Return so many events of the watch, without signs of life."""
    events: list[dict[str, Any]] = []
    async with api.client.stream("GET", "/api/v1/workloads/watch", **more) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        fields: dict[str, Any] = {}
        async for line in response.aiter_lines():
            if line and not line.startswith(":"):
                name, _, value = line.partition(": ")
                fields[name] = value
            elif not line and fields:
                events.append({**fields, "data": json.loads(fields["data"])})
                fields = {}
                if len(events) == number:
                    break
    return events
