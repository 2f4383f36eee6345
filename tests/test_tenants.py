"""Tenants of one control plane share nothing: every way from one to the other is tried, and leads nowhere."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from runai_core.bootstrap import Orchestrator
from runai_core.client.embedded import AsgiCarrier, asgi_dialer
from runai_core.controlplane.tenants import FOLDER, open_tenants, settings_of
from runai_core.model.clusters import CLUSTER, Cluster, Intent
from runai_core.model.errors import AlreadyExists, InvalidRequest, NotFound, RunaiError
from runai_core.model.meta import Meta
from runai_core.model.organization import SYSTEM
from runai_core.model.workload import HistoryRecord, Pod, PodSpec, Workload, WorkloadType
from runai_core.ports import Query
from runai_core.service.reaching import Place
from runai_core.service.submissions import Submission
from runai_core.service.tools import ToolService
from runai_core.settings import Settings
from runai_core.web.tenants import Dispatcher, Serving
from tests import waiting

NAME = "lantern"
"""A word that every object of the first tenant has in its name; requests of the second one say it."""

SECRET = "azimuth"
"""A word that objects of the first tenant have inside; no request says it, and no answer to the second may have it."""

METHODS = ("get", "put", "post", "patch", "delete")


@dataclass
class Tenancy:
    """Two tenants that are served, with a client for each."""

    opened: dict[str, Orchestrator]
    dispatcher: Dispatcher
    tokens: dict[str, str]
    settings: Settings

    def client(self, host: str, token: str = "", **headers: str) -> httpx.AsyncClient:
        """Return a client that asks for a host."""
        given = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.AsyncClient(
            transport=AsgiCarrier(self.dispatcher),
            base_url=f"http://{host}",
            headers={**given, **headers},
            timeout=60,
        )


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def tenancy(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Tenancy]:
    """Serve the tenants `alpha`, which has something of everything, and `beta`, which has nothing."""
    folder = tmp_path_factory.mktemp("tenants")
    settings = Settings(data_dir=folder, backend="control-plane", role="api", plugins=("builtin",))
    opened: dict[str, Orchestrator] = {}

    @contextlib.asynccontextmanager
    async def note(orchestrator: Orchestrator) -> AsyncIterator[None]:
        opened[orchestrator.settings.data_dir.name] = orchestrator
        yield

    dispatcher, ready = Dispatcher(), asyncio.Event()
    async with open_tenants(settings) as tenants:
        await tenants.create("alpha", ("alpha.example",))
        await tenants.create("beta", ("beta.example",))
        serving = asyncio.create_task(Serving(tenants, settings, dispatcher, note).run(ready))
        await ready.wait()
        tokens = {}
        for name, orchestrator in opened.items():
            made = await orchestrator.access.create_service_account("same-name")
            tokens[name] = (await orchestrator.access.issue(made.client_id, made.client_secret)).access_token
        await furnish(opened["alpha"], tokens["alpha"], dispatcher)
        try:
            yield Tenancy(opened, dispatcher, tokens, settings)
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)


async def furnish(door: Orchestrator, token: str, dispatcher: Dispatcher) -> None:
    """Give a tenant an object of every kind that requests can name."""
    store = door.backend.store
    cluster = await door.clusters.create(SYSTEM, f"{NAME}-cluster")
    client = httpx.AsyncClient(
        transport=AsgiCarrier(dispatcher),
        base_url="http://alpha.example",
        headers={"Authorization": f"Bearer {token}"},
    )
    async with client:
        for path, body in (
            ("/org-unit/departments", {"name": f"{NAME}-dep", "description": SECRET}),
            ("/org-unit/projects", {"name": f"{NAME}-pro", "parentId": f"{NAME}-dep", "description": SECRET}),
            ("/node-pools", {"name": f"{NAME}-pool", "labelKey": "a", "labelValue": "b"}),
        ):
            answer = await client.post(f"/api/v1{path}", json=body)
            assert answer.status_code < 300, answer.text
    submission = Submission(
        name=f"{NAME}-work", project=f"{NAME}-pro", type=WorkloadType.TRAINING, spec={"command": f"echo {SECRET}"}
    )
    workload = await door.workloads.submit(SYSTEM, submission)
    pod = Pod(
        meta=Meta(
            name=f"{NAME}-pod",
            project=workload.meta.project,
            owner=workload.meta.uid,
            annotations={CLUSTER: cluster.cluster.meta.uid},
        ),
        workload=workload.name,
        pod_group="g",
        spec=PodSpec(),
    )
    await store.create(pod)


async def ids_of(door: Orchestrator) -> dict[str, str]:
    """Return what a tenant's objects are called: kind -> ids and names."""
    from runai_core.model.nodes import NodePool
    from runai_core.model.organization import Department, Project, ServiceAccount

    found: dict[str, str] = {}
    for kind in (Workload, Pod, HistoryRecord, Intent, Cluster, Project, Department, NodePool, ServiceAccount):
        for item in (await door.backend.store.list(kind, Query())).items:
            found[item.meta.uid] = kind.__name__
            if NAME in item.meta.name:
                found[item.meta.name] = kind.__name__
    return found


def paths_of(document: dict[str, Any]) -> list[tuple[str, str]]:
    return [(method, path) for path, entry in document["paths"].items() for method in METHODS if method in entry]


@pytest.mark.asyncio(loop_scope="module")
async def test_no_path_with_any_id_of_another_tenant_leads_to_it(tenancy: Tenancy) -> None:
    ids = await ids_of(tenancy.opened["alpha"])
    before = {kind: await everything(tenancy.opened["alpha"], kind) for kind in (Workload, Pod, Intent, Cluster)}
    tried = 0
    async with tenancy.client("beta.example", tenancy.tokens["beta"]) as client:
        document = (await client.get("/api/openapi.json")).json()
        for method, path in paths_of(document):
            if "{" not in path or path.endswith(("/watch", "/download")):
                continue
            for identity in ids:
                asked = re.sub(r"\{[^}]+\}", identity, path)
                answer = await client.request(method.upper(), asked, json=None if method in ("get", "delete") else {})
                assert SECRET not in answer.text, f"{method} {asked}: {answer.text[:300]}"
                assert answer.status_code >= 400 or is_empty(answer), f"{method} {asked}: {answer.text[:300]}"
                tried += 1
    assert tried > 500, "the document names paths with ids"
    after = {kind: await everything(tenancy.opened["alpha"], kind) for kind in before}
    assert after == before, "nothing of the other tenant was changed"


def is_empty(answer: httpx.Response) -> bool:
    """Return whether an answer tells of nothing: an empty list, no measurements."""
    content = json.loads(answer.text or "null")
    flat = json.dumps(content)
    return not content or not re.search(r'"(id|uuid|name)":\s*"[^"]+"', flat)


async def everything(door: Orchestrator, kind: type[Any]) -> tuple[Any, ...]:
    return (await door.backend.store.list(kind, Query(sort_by="meta.name"))).items


@pytest.mark.asyncio(loop_scope="module")
async def test_lists_and_searches_show_nothing_of_another_tenant(tenancy: Tenancy) -> None:
    seen = 0
    async with tenancy.client("beta.example", tenancy.tokens["beta"]) as client:
        document = (await client.get("/api/openapi.json")).json()
        for method, path in paths_of(document):
            if method != "get" or "{" in path or path.endswith("/watch"):
                continue
            for query in ({}, {"search": NAME}, {"filterBy": f"name=@{NAME}"}):
                answer = await client.get(path, params=query)
                assert SECRET not in answer.text, f"{path} {query}: {answer.text[:300]}"
                seen += answer.status_code == 200
    assert seen > 20
    async with tenancy.client("alpha.example", tenancy.tokens["alpha"]) as client:
        assert SECRET in (await client.get("/api/v1/org-unit/projects")).text, "its own users see it"
        assert SECRET in (await client.get("/api/v1/workloads/trainings/" + await the_workload(tenancy))).text


@pytest.mark.asyncio(loop_scope="module")
async def test_every_path_of_a_control_plane_answers_without_a_failure(tenancy: Tenancy) -> None:
    ids = {kind: uid for uid, kind in (await ids_of(tenancy.opened["alpha"])).items() if "-" in uid}
    async with tenancy.client("alpha.example", tenancy.tokens["alpha"]) as client:
        document = (await client.get("/api/openapi.json")).json()
        for method, path in paths_of(document):
            if method == "get" and not path.endswith("/watch"):
                for identity in {"": ""} if "{" not in path else ids.values():
                    answer = await client.get(re.sub(r"\{[^}]+\}", identity, path))
                    assert answer.status_code < 500 or answer.status_code == 503, f"{path}: {answer.text[:300]}"


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("case", "host", "headers"),
    [
        ("the token at the other host", "alpha.example", {}),
        (
            "the host forwarded",
            "beta.example",
            {"X-Forwarded-Host": "alpha.example", "Forwarded": "host=alpha.example"},
        ),
        ("the tenant named by a header", "beta.example", {"X-Tenant": "alpha", "X-Runai-Tenant": "alpha"}),
        ("the path rewritten", "beta.example", {"X-Original-URL": "http://alpha.example/api/v1/workloads"}),
        ("the other tenant's cookie", "beta.example", {"Cookie": "runai_tenant=alpha"}),
    ],
)
async def test_no_header_leads_to_another_tenant(
    case: str, host: str, headers: dict[str, str], tenancy: Tenancy
) -> None:
    async with tenancy.client(host, tenancy.tokens["beta"], **headers) as client:
        answer = await client.get("/api/v1/workloads")

    assert NAME not in answer.text, case
    assert answer.status_code == (401 if host == "alpha.example" else 200), answer.text


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "host", ["gamma.example", "127.0.0.1", "alpha.example.evil", "beta.example,alpha.example", "alpha.example@beta", ""]
)
async def test_a_host_that_is_no_tenant_is_served_by_nobody(host: str, tenancy: Tenancy) -> None:
    async with tenancy.client("beta.example", tenancy.tokens["alpha"], Host=host) as client:
        answer = await client.get("/api/v1/workloads")

    assert answer.status_code in (400, 404)
    assert SECRET not in answer.text


@pytest.mark.asyncio(loop_scope="module")
async def test_two_host_headers_choose_nobody(tenancy: Tenancy) -> None:
    said: list[dict[str, Any]] = []
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/api/v1/workloads",
        "query_string": b"",
        "scheme": "http",
        "headers": [
            (b"host", b"beta.example"),
            (b"host", b"alpha.example"),
            (b"authorization", f"Bearer {tenancy.tokens['alpha']}".encode()),
        ],
    }

    async def send(message: Any) -> None:
        said.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    await tenancy.dispatcher(scope, receive, send)
    assert said[0]["status"] == 404


@pytest.mark.asyncio(loop_scope="module")
async def test_a_session_of_one_tenant_is_none_in_the_other(tenancy: Tenancy) -> None:
    async with tenancy.client("alpha.example", tenancy.tokens["alpha"]) as client:
        ticket = (await client.post("/api/v1/sessions/tickets")).json()
    async with tenancy.client("beta.example") as browser:
        stolen = await browser.get(ticket["path"])
        assert "runai_session" not in stolen.headers.get("set-cookie", ""), "the other tenant does not know the ticket"
    async with tenancy.client("alpha.example") as browser:
        entered = await browser.get(ticket["path"])
        cookie = next(item for item in entered.headers.get_list("set-cookie") if "runai_session" in item)
        cookie = cookie.partition(";")[0]
    async with tenancy.client("alpha.example", Cookie=cookie) as browser:
        assert (await browser.get("/api/v1/workloads")).status_code == 200
    async with tenancy.client("beta.example", Cookie=cookie) as browser:
        answer = await browser.get("/api/v1/workloads")
    assert answer.status_code == 401
    assert SECRET not in answer.text


async def the_workload(tenancy: Tenancy) -> str:
    (workload,) = await everything(tenancy.opened["alpha"], Workload)
    return str(workload.meta.uid)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("path", ["exec?command=true", "forward?port=8888", "logs?follow=true"])
async def test_no_stream_leads_to_another_tenant(path: str, tenancy: Tenancy) -> None:
    (workload,) = await everything(tenancy.opened["alpha"], Workload)
    url = f"ws://beta.example/api/v1/workloads/{workload.meta.uid}/{path}"
    headers = {"authorization": f"Bearer {tenancy.tokens['beta']}"}

    async def reach() -> None:
        if not path.startswith("logs"):
            async with asgi_dialer(tenancy.dispatcher)(url, headers):
                return
        async with tenancy.client("beta.example", tenancy.tokens["beta"]) as client:
            (await client.get(url.replace("ws://beta.example", ""))).raise_for_status()

    with pytest.raises((RunaiError, httpx.HTTPError)) as refused:
        await reach()
    assert SECRET not in str(refused.value)


@pytest.mark.asyncio(loop_scope="module")
async def test_tools_of_a_tenant_are_below_a_domain_of_its_own(tenancy: Tenancy) -> None:
    alpha, uid = tenancy.opened["alpha"], await the_workload(tenancy)
    actor = await alpha.access.authenticate(tenancy.tokens["alpha"])
    ticket = await ToolService(alpha.backend, alpha.access, alpha.workloads).issue(actor, Place(uid, 8888), "")
    answers = {}
    for domain in ("beta.localhost", "localhost", "alpha.localhost.evil.example", "alpha.localhost"):
        async with tenancy.client(f"t-8888-{uid}.{domain}:4000") as browser:
            answers[domain] = await browser.get("/_runai/enter", params={"ticket": ticket})

    assert {domain: answer.status_code for domain, answer in answers.items()} == {
        "beta.localhost": 401,
        "localhost": 404,
        "alpha.localhost.evil.example": 404,
        "alpha.localhost": 200,
    }
    assert "runai_tool=" in answers["alpha.localhost"].headers["set-cookie"]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_watch_tells_nothing_of_another_tenant(tenancy: Tenancy) -> None:
    heard = b""
    async with (
        tenancy.client("beta.example", tenancy.tokens["beta"]) as client,
        client.stream("GET", "/api/v1/workloads/watch?resourceVersion=0") as answer,
    ):
        (workload,) = await everything(tenancy.opened["alpha"], Workload)
        await tenancy.opened["alpha"].workloads.stop(SYSTEM, workload.meta.uid)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                async for piece in answer.aiter_raw():
                    heard += piece
    assert SECRET.encode() not in heard
    assert answer.status_code == 200


@pytest.mark.asyncio(loop_scope="module")
async def test_a_credential_of_a_cluster_opens_the_link_of_its_tenant_only(tenancy: Tenancy) -> None:
    clusters = tenancy.opened["alpha"].clusters
    made = await clusters.create(SYSTEM, "joins")
    _, token, _ = await clusters.join_token(SYSTEM, "joins")
    async with tenancy.client("beta.example") as client:
        answer = await client.post("/api/v1/link/join", json={"token": token, "credential": "c" * 40})
    assert answer.status_code == 401
    await clusters.join(token, "c" * 40)

    with pytest.raises(RunaiError):
        async with asgi_dialer(tenancy.dispatcher)(
            "ws://beta.example/api/v1/link", {"authorization": f"Bearer {made.cluster.meta.uid}.{'c' * 40}"}
        ):
            pass
    async with asgi_dialer(tenancy.dispatcher)(
        "ws://alpha.example/api/v1/link", {"authorization": f"Bearer {made.cluster.meta.uid}.{'c' * 40}"}
    ):
        pass


@pytest.mark.asyncio(loop_scope="module")
async def test_tenants_have_keys_and_files_of_their_own(tenancy: Tenancy) -> None:
    folders = {name: tenancy.settings.data_dir / FOLDER / name for name in ("alpha", "beta")}

    assert all((folder / "runai.db").is_file() for folder in folders.values())
    assert SECRET.encode() not in (folders["beta"] / "runai.db").read_bytes()
    assert tenancy.opened["alpha"].cluster_id != tenancy.opened["beta"].cluster_id


@pytest.mark.asyncio
async def test_a_tenant_that_is_deleted_is_served_no_more_and_another_one_at_once(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, backend="control-plane", role="api", plugins=("builtin",))
    dispatcher, ready = Dispatcher(), asyncio.Event()
    async with open_tenants(settings) as tenants:
        await tenants.create("only", ())
        serving = asyncio.create_task(
            Serving(tenants, settings, dispatcher, lambda _: contextlib.nullcontext()).run(ready)
        )
        try:
            await ready.wait()
            client = httpx.AsyncClient(transport=AsgiCarrier(dispatcher), base_url="http://localhost")
            assert (await client.get("/healthz")).status_code == 200, "one tenant needs no name"
            await tenants.create("second", ("second.example",))
            await until(client, "http://second.example/healthz", 200)
            await tenants.delete("second")
            await until(client, "http://second.example/healthz", 400)
            assert (tmp_path / FOLDER / "second" / "runai.db").is_file(), "its data is still there"
            await client.aclose()
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)


async def until(client: httpx.AsyncClient, url: str, status: int) -> None:
    async def answers() -> bool:
        return (await client.get(url)).status_code in (status, 404 if status == 400 else status)

    await waiting.until(answers, f"{status} of {url}")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("name", "hosts", "error"),
    [
        ("../etc", (), InvalidRequest),
        ("A", (), InvalidRequest),
        ("x" * 41, (), InvalidRequest),
        ("ok", ("not a host/",), InvalidRequest),
        ("taken", (), AlreadyExists),
        ("other", ("taken.example",), AlreadyExists),
    ],
)
async def test_wrong_tenants_are_refused(
    name: str, hosts: tuple[str, ...], error: type[RunaiError], tmp_path: Path
) -> None:
    async with open_tenants(Settings(data_dir=tmp_path)) as tenants:
        await tenants.create("taken", ("taken.example",))
        with pytest.raises(error):
            await tenants.create(name, hosts)
        with pytest.raises(NotFound, match="there are: taken"):
            await tenants.delete("nobody")
        assert [item.name for item in await tenants.list()] == ["taken"]
        other = replace((await tenants.list())[0], meta=Meta(name="x"))
        assert settings_of(other, Settings(data_dir=tmp_path)).data_dir == tmp_path / FOLDER / "x"
