"""What every request passes before a route sees it."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from starlette.routing import Route, WebSocketRoute

from runai_core.web.gate import OPEN_PATHS
from runai_core.web.middleware import BufferBody
from tests.waiting import soon

pytestmark = pytest.mark.asyncio


def operations(api: Any) -> list[tuple[str, str]]:
    """Return every method and path of the documented API."""
    document = api.app.openapi_schema or __import__("runai_core.web.openapi", fromlist=["document"]).document(api.app)
    return [(method, path) for path, found in document["paths"].items() for method in found]


async def test_no_operation_below_api_answers_without_a_token(api: Any, anonymous: dict[str, str]) -> None:
    protected = [(m, p) for m, p in operations(api) if p.startswith("/api/") and p not in OPEN_PATHS]

    statuses = {
        (method, path): (await api.client.request(method, path, headers=anonymous)).status_code
        for method, path in protected
    }

    assert len(statuses) > 70
    assert set(statuses.values()) == {401}


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/api/docs", "/api/openapi.json"])
async def test_health_and_documentation_need_no_token(api: Any, anonymous: dict[str, str], path: str) -> None:
    assert (await api.client.get(path, headers=anonymous)).status_code == 200


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic abc", "Bearer abc", "Bearer a.b.c"],
)
async def test_a_wrong_token_is_refused_with_what_to_do(api: Any, header: str) -> None:
    response = await api.client.get("/api/v1/workloads", headers={"Authorization": header})

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert response.json()["reason"] == "Unauthenticated"
    assert "token" in response.json()["message"]


async def test_a_token_ends(api: Any) -> None:
    api.clock.time += 3600 * 24

    assert "expired" in (await api.get("/api/v1/workloads", expect=401))["message"]


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "127.0.0.1:1", "[::1]:80", "LOCALHOST"])
async def test_names_of_this_machine_are_accepted(api: Any, host: str) -> None:
    assert (await api.client.get("/healthz", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "host", ["example.com", "localhost.example.com", "127.0.0.1.example.com", "", "localhost:80:80", "[::1", "a b"]
)
async def test_other_names_are_refused(api: Any, host: str) -> None:
    response = await api.client.get("/healthz", headers={"Host": host})

    assert response.status_code == 400
    assert response.json()["errors"][0]["field"] == "Host header"


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_limit_is_refused(api: Any, chunked: bool) -> None:
    async def pieces() -> Any:
        for _ in range(30):
            yield b" " * 1000

    content = pieces() if chunked else b" " * 30_000
    response = await api.client.post("/api/v1/workloads/trainings", content=content)

    assert response.status_code == 413
    assert response.json()["reason"] == "TooLarge"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(b"{", "not JSON", id="not JSON"),
        pytest.param(b"", "is required", id="nothing"),
        pytest.param(b"[]", "must be a JSON object", id="a list"),
        pytest.param(b'{"name": "\xff"}', "must be UTF-8", id="not UTF-8"),
        pytest.param(b'{"name": "\\ud800"}', "surrogate", id="half a character"),
        pytest.param(b'{"name": "\\u0000"}', "NUL", id="the character NUL"),
        pytest.param(b"[" * 15_000, "body", id="nested too deep"),
        pytest.param(b'{"name": "a", "projectId": "default", "nme": 1}', "did you mean name", id="an unknown field"),
        pytest.param(b'{"projectId": "default"}', "name: is required", id="a missing field"),
        pytest.param(b'{"name": 5, "projectId": "default"}', "name: must be a valid string", id="a wrong type"),
    ],
)
async def test_a_bad_body_is_refused_and_says_why(api: Any, content: bytes, says: str) -> None:
    headers = {"Content-Type": "application/json"}
    response = await api.client.post("/api/v1/workloads/trainings", content=content, headers=headers)

    assert response.status_code == 400
    assert says in response.json()["message"]
    assert (await api.get("/api/v1/workloads/count"))["count"] == 0


@pytest.mark.parametrize("text", ["\\\\ud800", "\\ud83d\\ude00"])
async def test_escaped_backslashes_and_whole_characters_pass(api: Any, text: str) -> None:
    body = f'{{"name": "a", "projectId": "default", "spec": {{"command": "echo {text}"}}}}'.encode()
    response = await api.client.post(
        "/api/v1/workloads/trainings", content=body, headers={"Content-Type": "application/json"}
    )

    assert response.status_code == 202
    assert response.json()["spec"]["command"] == json.loads(f'"echo {text}"')


async def test_a_request_id_is_kept_and_shown(api: Any) -> None:
    response = await api.client.get("/api/v1/workloads/none", headers={"X-Request-Id": "abc-1"})

    assert response.headers["X-Request-Id"] == response.json()["requestId"] == "abc-1"


@pytest.mark.parametrize("given", ["a b", "x" * 65, "\x7f", "<script>"])
async def test_a_strange_request_id_is_replaced(api: Any, given: str) -> None:
    response = await api.client.get("/healthz", headers={"X-Request-Id": given})

    assert response.headers["X-Request-Id"] != given


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/api/v1/nothing", 404), ("PATCH", "/api/v1/workloads", 405), ("GET", "/nothing", 404)],
)
async def test_an_unknown_path_is_told_as_json(api: Any, method: str, path: str, status: int) -> None:
    response = await api.client.request(method, path)

    assert response.status_code == status
    assert path in response.json()["message"]


async def test_an_error_that_nobody_expected_shows_no_traceback(api: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> Any:
        raise RuntimeError("secret of the inside")

    api.cluster.nodes = broken
    response = await api.client.get("/api/v1/nodes")

    assert response.status_code == 500
    assert "secret of the inside" not in response.text
    assert response.json()["requestId"] in response.json()["message"]
    assert "secret of the inside" in caplog.text


async def test_every_route_is_documented_or_meant_not_to_be(api: Any) -> None:
    documented = {path for _, path in operations(api)}
    hidden = {
        route.path
        for route in api.app.routes
        if isinstance(route, Route | WebSocketRoute) and getattr(route, "include_in_schema", True) is False
        if route.path.startswith("/api/")  # pages are for people
    }

    assert hidden == {"/api/docs", "/api/openapi.json"}
    assert "/api/v1/workloads/{workload_id}/why" in documented


async def test_the_documentation_loads_nothing_from_elsewhere(api: Any) -> None:
    response: httpx.Response = await api.client.get("/api/docs")

    assert "<script" not in response.text
    assert "http://" not in response.text
    assert "https://" not in response.text
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert "/api/v1/workloads/trainings" in response.text
    assert "gpuDevicesRequest" in response.text


async def test_references_of_the_document_lead_somewhere(api: Any) -> None:
    document = await api.get("/api/openapi.json")
    text = json.dumps(document)

    names = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}

    assert names
    assert names <= set(document["components"]["schemas"])


TRAININGS = "/api/v1/workloads/trainings"


@pytest.mark.parametrize(
    "body",
    [
        {f"k{number}": 1 for number in range(60)},
        {"name": "a", "projectId": "default", "spec": {f"k{number}": 1 for number in range(60)}},
        {"name": "a", "projectId": "default", "spec": {"environmentVariables": [{"nam": "A"}] * 60}},
    ],
    ids=["in the body", "in the specification", "in a list"],
)
async def test_many_errors_are_counted_and_not_all_explained(api: Any, body: Any) -> None:
    """Each explanation costs a look for the nearest name: a hundred thousand would hold up everybody for a minute."""
    answer = await api.send("POST", TRAININGS, body, expect=400)

    assert len(answer["errors"]) == 21
    assert "more errors" in answer["errors"][-1]["message"]


async def test_a_name_without_end_is_not_repeated(api: Any) -> None:
    answer = await api.client.post(TRAININGS, json={"k" * 8000: 1})

    assert answer.status_code == 400
    assert len(answer.content) < 5000


@pytest.mark.parametrize("unit", ['{"a":', "["], ids=["objects", "lists"])
async def test_json_that_is_nested_too_deep_is_refused(api: Any, unit: str) -> None:
    for levels in (101, 900, 1500):
        body = unit * levels + "1" + {"[": "]"}.get(unit, "}") * levels
        answer = await api.client.post(TRAININGS, content=body, headers={"Content-Type": "application/json"})

        assert (answer.status_code, answer.json()["code"]) == (400, 400)
        assert "100 levels" in answer.json()["message"]


async def test_brackets_in_texts_are_no_levels(api: Any) -> None:
    command = "echo " + "[{" * 500 + '\\"' * 100
    body = {"name": "a", "projectId": "default", "spec": {"command": "true", "args": f"'{command}'"}}

    assert (await api.client.post(TRAININGS, json=body)).status_code == 202


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "application/yaml"])
async def test_a_body_must_say_that_it_is_json(api: Any, kind: str) -> None:
    answer = await api.client.post(TRAININGS, content=b"{}", headers={"Content-Type": kind} if kind else {})

    assert (answer.status_code, answer.json()["code"]) == (415, 415)
    assert "Content-Type: application/json" in answer.json()["message"]


async def test_text_that_is_not_json_is_an_error_of_the_body(api: Any) -> None:
    answer = await api.client.post(TRAININGS, content=b"{", headers={"Content-Type": "application/json"})

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "body")


@pytest.mark.parametrize(
    "condition",
    ["name=@" + "a" * 60_000, "name==a," * 2000, "[" * 20_000],
    ids=["a long one", "many", "a deep one"],
)
async def test_conditions_that_a_database_would_choke_on_are_refused(api: Any, condition: str) -> None:
    await api.get("/api/v1/workloads", filterBy=condition, expect=400)


@pytest.mark.parametrize("path", ["/api/v1/workloads", "/login", "/healthz"])
async def test_head_is_answered_as_get(api: Any, path: str) -> None:
    asked, got = await api.client.head(path), await api.client.get(path)

    assert asked.status_code == got.status_code == 200
    assert asked.headers["Content-Type"] == got.headers["Content-Type"]


async def test_head_needs_the_right_of_get(api: Any, anonymous: dict[str, str]) -> None:
    assert (await api.client.head("/api/v1/workloads", headers=anonymous)).status_code == 401


async def test_a_body_that_does_not_come_is_not_waited_for_without_end() -> None:
    sent: list[Any] = []

    async def never() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    async def unreached(*_: Any) -> None:
        raise AssertionError("no route is asked")

    scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"content-length", b"9")], "query_string": b""}
    await soon(BufferBody(unreached, limit=10, seconds=0.01)(scope, never, send))

    assert sent[0]["status"] == 400
    assert b"did not come within" in sent[1]["body"]
