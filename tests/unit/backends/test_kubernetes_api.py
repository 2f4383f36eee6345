"""Requests, lists, watches and informers against an API server of a few lines: the real one is in tests/cluster."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from runai_core.backends.kubernetes import resources as kinds
from runai_core.backends.kubernetes.api import Api, connect
from runai_core.backends.kubernetes.informer import Informer
from runai_core.backends.kubernetes.world import open_world
from runai_core.model.errors import (
    AlreadyExists,
    Conflict,
    Forbidden,
    InvalidRequest,
    NotFound,
    StaleVersion,
    Unauthenticated,
    Unavailable,
    WatchExpired,
)
from tests.waiting import until


class Server:
    """Pods of one namespace, with versions, lists in parts and watches that can expire."""

    def __init__(self) -> None:
        self.version = 1
        self.oldest = 0
        self.pods: dict[str, dict[str, Any]] = {}
        self.history: list[tuple[int, dict[str, Any]]] = []
        self.moved = asyncio.Condition()
        self.requests: list[tuple[str, str]] = []
        self.answer: Callable[[web.Request], Awaitable[web.StreamResponse | None]] | None = None
        self.watches: set[asyncio.Task[Any]] = set()

    async def change(self, kind: str, name: str, **labels: str) -> None:
        self.version += 1
        pod: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": "a",
                "uid": f"uid-{name}",
                "resourceVersion": str(self.version),
                "labels": labels,
                "managedFields": [{"manager": "somebody"}],
            },
        }
        if kind == "DELETED":
            del self.pods[name]
        else:
            self.pods[name] = pod
        async with self.moved:
            self.history.append((self.version, {"type": kind, "object": pod}))
            self.moved.notify_all()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path_qs))
        if self.answer is not None and (answer := await self.answer(request)) is not None:
            return answer
        if request.path != "/api/v1/pods":
            return status(404, "NotFound", f"the server could not find {request.path}")
        if request.query.get("watch"):
            return await self.watch(request)
        names = sorted(self.pods)
        start, limit = int(request.query.get("continue", "0")), int(request.query.get("limit", "500"))
        meta = {"resourceVersion": str(self.version)}
        if start + limit < len(names):
            meta["continue"] = str(start + limit)
        items = [{key: self.pods[name][key] for key in ("metadata",)} for name in names[start : start + limit]]
        return web.json_response({"kind": "PodList", "metadata": meta, "items": items})

    async def watch(self, request: web.Request) -> web.StreamResponse:
        at = int(request.query["resourceVersion"])
        response = web.StreamResponse()
        await response.prepare(request)
        task = asyncio.current_task()
        assert task is not None
        self.watches.add(task)
        if at < self.oldest:
            event = {"type": "ERROR", "object": {"code": 410, "reason": "Expired", "message": "too old"}}
            await response.write(json.dumps(event).encode() + b"\n")
            return response
        while True:
            for version, event in [entry for entry in self.history if entry[0] > at]:
                text = json.dumps(event).encode() + b"\n"
                await response.write(text[:10])  # an event may come in pieces
                await response.write(text[10:])
                at = version
            async with self.moved:
                await self.moved.wait()

    def cut(self) -> None:
        for task in self.watches:
            task.cancel()
        self.watches.clear()


def status(code: int, reason: str, message: str, **details: Any) -> web.Response:
    body = {"kind": "Status", "code": code, "reason": reason, "message": message, "details": details}
    return web.json_response(body, status=code)


@asynccontextmanager
async def a_server(folder: Path, silence: float = 600.0) -> AsyncIterator[tuple[Server, Api]]:
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    file = folder / "kubeconfig"
    file.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "it",
                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
                "users": [{"name": "u", "user": {"token": "secret"}}],
                "contexts": [{"name": "it", "context": {"cluster": "c", "user": "u"}}],
            }
        )
    )
    try:
        async with connect(file, silence=silence) as api:
            yield server, api
    finally:
        server.cut()
        await runner.cleanup()


@asynccontextmanager
async def following(informer: Informer) -> AsyncIterator[Informer]:
    task = asyncio.create_task(informer.run())
    try:
        await informer.synced()
        yield informer
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


REFUSALS = {
    "a missing object": (404, "NotFound", NotFound),
    "a taken name": (409, "AlreadyExists", AlreadyExists),
    "an old version": (409, "Conflict", StaleVersion),
    "another conflict": (409, "Other", Conflict),
    "a missing right": (403, "Forbidden", Forbidden),
    "a bad token": (401, "Unauthorized", Unauthenticated),
    "a bad field": (422, "Invalid", InvalidRequest),
    "an old watch": (410, "Expired", WatchExpired),
    "a server in trouble": (500, "InternalError", Unavailable),
}


@pytest.mark.asyncio
@pytest.mark.parametrize(("code", "reason", "kind"), REFUSALS.values(), ids=REFUSALS)
async def test_a_refusal_becomes_an_error_of_ours(
    code: int, reason: str, kind: type[Exception], tmp_path: Path
) -> None:
    async with a_server(tmp_path) as (server, api):

        async def refuse(request: web.Request) -> web.Response:
            return status(code, reason, "it says why", causes=[{"field": "spec.x", "message": "must be y"}])

        server.answer = refuse
        with pytest.raises(kind, match="it says why") as told:
            await api.get(kinds.PODS, "p", "a")
        assert type(told.value) is kind
        assert told.value.details["status"] == code  # type: ignore[attr-defined]


@pytest.mark.asyncio
async def test_a_server_that_is_busy_is_asked_again_but_a_disruption_budget_is_an_answer(tmp_path: Path) -> None:
    async with a_server(tmp_path) as (server, api):
        answers = [status(429, "TooManyRequests", "busy")]
        answers[0].headers["Retry-After"] = "0"

        async def busy_once(request: web.Request) -> web.Response:
            return answers.pop() if answers else web.json_response({"metadata": {"name": "p"}})

        server.answer = busy_once
        assert (await api.get(kinds.PODS, "p", "a"))["metadata"]["name"] == "p"

        async def budget(request: web.Request) -> web.Response:
            return status(429, "TooManyRequests", "budget", causes=[{"reason": "DisruptionBudget"}])

        server.answer = budget
        server.requests.clear()
        with pytest.raises(Unavailable) as told:
            await api.post(kinds.PODS.path("a", "p", "eviction"), {})
        assert told.value.details["budget"] is True
        assert len(server.requests) == 1


@pytest.mark.asyncio
async def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    async with a_server(tmp_path) as (_, api):
        address = api.server
    async with connect(tmp_path / "kubeconfig") as api:
        with pytest.raises(Unavailable, match=address):
            await api.get(kinds.PODS, "p", "a")


@pytest.mark.asyncio
@pytest.mark.parametrize("text", ["[", "{}", "current-context: nothing"], ids=["no YAML", "empty", "no such context"])
async def test_a_wrong_kubeconfig_is_refused_with_its_name(text: str, tmp_path: Path) -> None:
    file = tmp_path / "wrong"
    file.write_text(text)
    with pytest.raises(InvalidRequest, match="wrong"):
        async with connect(file):
            pass


@pytest.mark.asyncio
async def test_requests_carry_the_token_and_what_the_api_wants(tmp_path: Path) -> None:
    async with a_server(tmp_path) as (server, api):
        seen: list[tuple[str, str, str, Any]] = []

        async def keep(request: web.Request) -> web.Response:
            assert request.headers["authorization"] == "Bearer secret"
            seen.append((request.method, request.path_qs, request.content_type, await request.json()))
            return web.json_response({})

        server.answer = keep
        body = {"metadata": {"name": "p", "namespace": "a"}}
        await api.create(kinds.PODS, body)
        await api.update(kinds.POD_GROUPS, body, sub="status")
        await api.patch(kinds.PODS, "p", {"status": {}}, "a", sub="status", kind="strategic")
        await api.apply(kinds.QUEUES, {"metadata": {"name": "q"}}, dry_run=True)
        await api.delete(kinds.PODS, "p", "a", grace=0, uid="u")
    assert [row[:3] for row in seen] == [
        ("POST", "/api/v1/namespaces/a/pods?fieldManager=runai", "application/json"),
        (
            "PUT",
            "/apis/scheduling.run.ai/v2alpha2/namespaces/a/podgroups/p/status?fieldManager=runai",
            "application/json",
        ),
        ("PATCH", "/api/v1/namespaces/a/pods/p/status?fieldManager=runai", "application/strategic-merge-patch+json"),
        (
            "PATCH",
            "/apis/scheduling.run.ai/v2/queues/q?fieldManager=runai&force=true&dryRun=All",
            "application/apply-patch+yaml",
        ),
        ("DELETE", "/api/v1/namespaces/a/pods/p", "application/json"),
    ]
    assert seen[-1][3]["preconditions"] == {"uid": "u"}
    assert seen[-1][3]["gracePeriodSeconds"] == 0


@pytest.mark.asyncio
async def test_a_long_list_is_read_in_parts(tmp_path: Path) -> None:
    async with a_server(tmp_path) as (server, api):
        for number in range(1203):
            await server.change("ADDED", f"p{number:04}")
        items, version = await api.list(kinds.PODS)
    assert [item["metadata"]["name"] for item in items] == [f"p{number:04}" for number in range(1203)]
    assert items[0]["kind"] == "Pod"
    assert version == "1204"
    assert len(server.requests) == 3


@pytest.mark.asyncio
async def test_an_informer_follows_changes_and_keeps_its_indexes(tmp_path: Path) -> None:
    async with a_server(tmp_path) as (server, api):
        await server.change("ADDED", "old", app="x")
        informer = Informer(api, kinds.PODS)
        informer.index("app", lambda pod: [pod["metadata"]["labels"]["app"]])
        told: list[tuple[str, str]] = []
        informer.on_change(lambda kind, old, new: told.append((kind, (new or old or {})["metadata"]["name"])))
        async with following(informer):
            assert "managedFields" not in (informer.get("old", "a") or {})["metadata"]
            await server.change("ADDED", "new", app="x")
            await until(lambda: len(informer) == 2)
            await server.change("MODIFIED", "old", app="y")
            await until(lambda: bool(list(informer.find("app", "y"))))
            await server.change("DELETED", "new")
            await until(lambda: len(informer) == 1)
        assert told == [("ADDED", "old"), ("ADDED", "new"), ("MODIFIED", "old"), ("DELETED", "new")]
        assert list(informer.keys("app")) == ["y"]
        assert informer.by_uid("uid-new") is None
        assert informer.by_uid("uid-old") is informer.get("old", "a")


@pytest.mark.asyncio
async def test_a_watch_that_expired_is_followed_by_a_list_that_also_shows_what_is_gone(tmp_path: Path) -> None:
    async with a_server(tmp_path) as (server, api):
        await server.change("ADDED", "stays")
        await server.change("ADDED", "goes")
        informer = Informer(api, kinds.PODS)
        told: list[str] = []
        informer.on_change(lambda kind, old, new: told.append(kind))
        async with following(informer):
            server.oldest = server.version + 2
            server.cut()
            await server.change("DELETED", "goes")
            await server.change("ADDED", "comes")
            server.history.clear()
            await until(lambda: informer.lists == 2)
            assert {item["metadata"]["name"] for item in informer.all()} == {"stays", "comes"}
            assert sorted(told) == ["ADDED", "ADDED", "ADDED", "DELETED"]


@pytest.mark.asyncio
async def test_a_broken_connection_is_taken_up_where_it_was(tmp_path: Path) -> None:
    async with a_server(tmp_path) as (server, api):
        await server.change("ADDED", "one")
        async with following(Informer(api, kinds.PODS)) as informer:
            server.cut()
            await server.change("ADDED", "two")
            await until(lambda: len(informer) == 2)
            assert informer.lists == 1


@pytest.mark.asyncio
async def test_a_refusal_of_a_watch_as_too_old_is_followed_by_a_list(tmp_path: Path) -> None:
    async with a_server(tmp_path) as (server, api):
        await server.change("ADDED", "goes")

        async def refuse(request: web.Request) -> web.Response | None:
            if request.query.get("watch"):
                server.answer = None
                await server.change("DELETED", "goes")
                return status(410, "Expired", "too old resource version")
            return None

        server.answer = refuse
        async with following(Informer(api, kinds.PODS)) as informer:
            await until(lambda: informer.lists == 2 and len(informer) == 0)


@pytest.mark.asyncio
async def test_a_list_that_expires_in_the_middle_begins_anew(tmp_path: Path) -> None:
    async with a_server(tmp_path) as (server, api):
        for number in range(501):
            await server.change("ADDED", f"p{number}")

        async def refuse(request: web.Request) -> web.Response | None:
            if request.query.get("continue"):
                server.answer = None
                return status(410, "Expired", "the provided continue parameter is too old")
            return None

        server.answer = refuse
        async with following(Informer(api, kinds.PODS)) as informer:
            assert (len(informer), informer.lists) == (501, 1)


@pytest.mark.asyncio
async def test_a_watch_that_says_nothing_any_more_is_thought_dead(tmp_path: Path) -> None:
    async with a_server(tmp_path, silence=0.2) as (server, api):
        await server.change("ADDED", "one")

        async def fall_silent(request: web.Request) -> web.StreamResponse | None:
            if not request.query.get("watch"):
                return None
            server.answer = None
            response = web.StreamResponse()
            await response.prepare(request)
            meta = {"resourceVersion": request.query["resourceVersion"]}
            await response.write(json.dumps({"type": "BOOKMARK", "object": {"metadata": meta}}).encode() + b"\n")
            await server.change("ADDED", "two")  # of which this connection never hears
            task = asyncio.current_task()
            assert task is not None
            server.watches.add(task)
            await asyncio.Event().wait()
            return response

        server.answer = fall_silent
        async with following(Informer(api, kinds.PODS)) as informer:
            await until(lambda: informer.get("two", "a") is not None)
            assert informer.lists == 1


async def _say_not_ready(_: web.Request) -> web.Response:
    return status(503, "ServiceUnavailable", "apiserver not ready")


async def _hang_up(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@pytest.mark.asyncio
@pytest.mark.parametrize("meanwhile", [_say_not_ready, _hang_up], ids=["it is not ready", "it cuts every connection"])
async def test_a_server_that_starts_anew_is_followed_again_and_meanwhile_there_is_trouble(
    meanwhile: Callable[[web.Request], Awaitable[web.Response]], tmp_path: Path
) -> None:
    async with a_server(tmp_path) as (server, api):
        await server.change("ADDED", "one")
        async with following(Informer(api, kinds.PODS)) as informer:
            before = informer.trouble
            server.answer = meanwhile
            server.cut()
            await until(lambda: informer.trouble != "")
            await server.change("ADDED", "two")
            server.answer = None
            await until(lambda: informer.get("two", "a") is not None and informer.trouble == "")
            assert before == ""


@pytest.mark.asyncio
async def test_late_and_repeated_events_change_nothing(tmp_path: Path) -> None:
    async with a_server(tmp_path) as (server, api):
        await server.change("ADDED", "one", app="first")
        informer = Informer(api, kinds.PODS)
        told: list[str] = []
        informer.on_change(lambda kind, old, new: told.append(kind))
        async with following(informer):
            await server.change("MODIFIED", "one", app="second")
            await until(lambda: len(told) == 2)
            first = server.history[0][1]["object"]
            late = {**first, "metadata": {**first["metadata"], "labels": {"app": "late"}}}
            other = {**first, "metadata": {**first["metadata"], "uid": "another"}}
            informer._take("MODIFIED", late)
            informer._take("ADDED", server.history[1][1]["object"])
            informer._take("DELETED", other)
            assert told == ["ADDED", "MODIFIED"]
            assert (informer.get("one", "a") or {})["metadata"]["labels"] == {"app": "second"}


@pytest.mark.asyncio
async def test_a_kind_that_is_not_installed_counts_as_empty_and_a_bad_object_stops_nobody(
    tmp_path: Path, caplog: Any
) -> None:
    async with a_server(tmp_path) as (server, api), open_world(api, [kinds.QUEUES, kinds.PODS]) as world:
        assert world.queues.absent
        assert list(world.queues) == []

        def read(kind: str, old: Any, new: Any) -> None:
            if new["metadata"]["name"] == "bad":
                raise ValueError("cannot be read")

        world.pods.on_change(read)
        await server.change("ADDED", "bad")
        await server.change("ADDED", "good")
        await until(lambda: len(world.pods) == 2)
        assert "Pod a/bad could not be taken in" in caplog.text


PATHS = {
    "a pod": (kinds.PODS.path("ns", "p"), "/api/v1/namespaces/ns/pods/p"),
    "all pods": (kinds.PODS.path(), "/api/v1/pods"),
    "a subresource": (kinds.PODS.path("ns", "p", "binding"), "/api/v1/namespaces/ns/pods/p/binding"),
    "a kind without namespaces": (kinds.QUEUES.path("ignored", "q"), "/apis/scheduling.run.ai/v2/queues/q"),
    "a name that needs quoting": (kinds.PODS.path("ns", "a/b"), "/api/v1/namespaces/ns/pods/a%2Fb"),
}


@pytest.mark.parametrize(("path", "expected"), PATHS.values(), ids=PATHS)
def test_paths(path: str, expected: str) -> None:
    assert path == expected


def test_a_manifest_finds_its_resource_by_kind() -> None:
    assert kinds.resource_of("batch/v1", "Job") is kinds.JOBS
    assert kinds.resource_of("v1", "Pod") is kinds.PODS
    assert kinds.resource_of("example.org/v1", "Policy").plural == "policies"
    assert kinds.resource_of("ray.io/v1", "RayCluster").path("x") == "/apis/ray.io/v1/namespaces/x/rayclusters"
