"""A workload's tool through the proxy: HTTP and WebSocket, with a real orchestrator and a real program."""

import json
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.orchestrators import OrchestratorProcess, an_orchestrator
from tests.ports import free_port
from tests.waiting import PATIENCE, eventually

PORT = free_port()

PROGRAM = f"""
import json
from websockets.sync.server import serve
from websockets.http11 import Response
from websockets.datastructures import Headers

def answer(connection, request):
    if request.headers.get("Upgrade"):
        return None
    body = json.dumps({{"path": request.path, "headers": dict(request.headers.raw_items())}}).encode()
    cookies = [("Set-Cookie", "own=1"), ("Set-Cookie", "runai_session=evil")]
    headers = Headers([*cookies, ("Content-Length", str(len(body)))])
    return Response(200, "OK", headers, body)

def talk(connection):
    connection.send(json.dumps(list(connection.request.headers.raw_items())))
    for message in connection:
        connection.send(message)

serve(talk, "127.0.0.1", {PORT}, process_request=answer, subprotocols=["echo"]).serve_forever()
"""

COOKIE = "runai_tool="


@dataclass
class Tool:
    """A tool as a browser reaches it: a host name of its own, and the cookie that opens it."""

    server: OrchestratorProcess
    uid: str
    host: str
    port: int
    cookie: str

    def get(self, path: str, **headers: str) -> httpx.Response:
        given = {"Host": self.host, "Cookie": self.cookie} | headers
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", headers=given, timeout=PATIENCE)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrchestratorProcess]:
    with an_orchestrator(tmp_path_factory.mktemp("tools")) as orchestrator:
        yield orchestrator


@pytest.fixture(scope="module")
def tool(server: OrchestratorProcess) -> Tool:
    uid = server.submit("tool", [sys.executable, "-c", PROGRAM], kind="workspaces", ports=[{"container": PORT}])
    server.wait(uid, frozenset({"Running"}))
    place = httpx.URL(opened(server, uid, str(PORT)))
    host, port = f"{place.host}:{place.port}", place.port or 0
    entered = httpx.get(f"http://127.0.0.1:{port}{place.raw_path.decode()}", headers={"Host": host}, timeout=PATIENCE)
    assert entered.status_code == 200
    return Tool(server, uid, host, port, entered.headers["set-cookie"].split(";")[0])


def opened(server: OrchestratorProcess, uid: str, port: str, headers: dict[str, str] | None = None) -> str:
    """Return where our page leads, once the program listens."""

    def asked() -> httpx.Response | None:
        found = server.client.get(f"/proxy/{uid}/{port}/lab", headers=headers)
        return None if found.status_code == 409 else found

    answer = eventually(asked, "a program that listens")
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


def test_a_tool_sees_its_own_cookies_and_none_of_ours(tool: Tool) -> None:
    answer = tool.get("/lab/a%2Fb?x=1", Cookie=f"{tool.cookie}; runai_session=secret; own=5")
    seen = answer.json()

    assert seen["path"] == "/lab/a%2Fb?x=1"
    headers = {name.lower(): value for name, value in seen["headers"].items()}
    assert headers["cookie"] == "own=5"
    assert headers["x-forwarded-host"] == headers["host"] == tool.host
    assert answer.headers.get_list("set-cookie") == ["own=1"]


def test_a_ticket_opens_once(tool: Tool) -> None:
    place = httpx.URL(opened(tool.server, tool.uid, str(PORT)))
    url = f"http://127.0.0.1:{tool.port}{place.raw_path.decode()}"

    answers = [httpx.get(url, headers={"Host": tool.host}, timeout=PATIENCE).status_code for _ in range(2)]

    assert answers == [200, 401]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"Cookie": ""}, 401),
        ({"Cookie": "runai_tool=made-up"}, 401),
        ({"Origin": "http://evil.invalid"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}, 200),
    ],
)
def test_nobody_else_gets_in(tool: Tool, change: dict[str, str], status: int) -> None:
    assert tool.get("/", **change).status_code == status


def test_the_cookie_of_one_port_opens_no_other(tool: Tool) -> None:
    assert tool.get("/", Host=tool.host.replace(str(PORT), "22")).status_code == 401
    assert tool.get("/", Host=tool.host.replace(tool.uid[:8], "00000000")).status_code == 401


@pytest.mark.parametrize("host", ["t-80-x.localhost", "localhost.evil.invalid", "t-80-{uid}.evil.invalid"])
def test_other_host_names_are_refused(tool: Tool, host: str) -> None:
    assert tool.get("/", Host=host.format(uid=tool.uid)).status_code == 400


@pytest.mark.parametrize("port", ["22", "0", "65536", "nonsense", "..%2F..%2Fapi"])
def test_only_declared_ports_are_reached(tool: Tool, port: str) -> None:
    assert tool.server.client.get(f"/proxy/{tool.uid}/{port}/").status_code == 404


def test_a_port_on_which_somebody_else_listens_is_not_the_workloads(tool: Tool) -> None:
    uid = tool.server.submit("other", ["sleep", "600"], kind="workspaces", ports=[{"container": PORT}])
    tool.server.wait(uid, frozenset({"Running"}))

    answer = tool.server.client.get(f"/proxy/{uid}/{PORT}/")

    assert answer.status_code == 409
    assert "running pod of the workload listens on port" in answer.text


def test_websockets_pass_both_ways_with_their_protocol(tool: Tool) -> None:
    url = f"ws://{tool.host}/socket"
    with connect(url, subprotocols=[Subprotocol("echo")], **_way(tool)) as line:
        headers = [(name.lower(), value) for name, value in json.loads(line.recv())]
        line.send("text")
        line.send(b"\x00bytes")

        assert line.subprotocol == "echo"
        assert (line.recv(), line.recv()) == ("text", b"\x00bytes")
        assert COOKIE not in json.dumps(headers)
        assert [value for name, value in headers if name == "host"] == [tool.host], "once: some refuse two"


@pytest.mark.parametrize("change", [{"Cookie": "runai_tool=x"}, {"Origin": "http://evil.invalid"}])
def test_websockets_of_others_are_refused(tool: Tool, change: dict[str, str]) -> None:
    way = _way(tool)
    way["additional_headers"] = {**way["additional_headers"], **change}

    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://{tool.host}/socket", **way)

    assert refused.value.response.status_code in (401, 403)


def _way(tool: Tool) -> dict[str, Any]:
    """Return how the host name is reached here: browsers know that ``*.localhost`` is this machine."""
    return {
        "sock": socket.create_connection(("127.0.0.1", tool.port)),
        "additional_headers": {"Cookie": tool.cookie},
        "compression": None,
        "open_timeout": PATIENCE,
        "proxy": None,
    }


def test_an_open_connection_ends_with_the_right_to_it(tool: Tool) -> None:
    made = tool.server.post("/api/v1/service-accounts", {"name": "robot"}).json()
    rule = {"subjectId": "robot", "subjectType": "service-account", "roleId": 1, "scopeType": "tenant", "scopeId": "1"}
    given = tool.server.post("/api/v1/authorization/access-rules", rule)
    assert given.status_code == 201, given.text
    pair = {"grantType": "client_credentials", "clientId": "robot", "clientSecret": made["clientSecret"]}
    token = tool.server.post("/api/v1/token", pair).json()["accessToken"]
    place = httpx.URL(opened(tool.server, tool.uid, str(PORT), {"Authorization": f"Bearer {token}"}))
    way = f"http://127.0.0.1:{tool.port}{place.raw_path.decode()}"
    entered = httpx.get(way, headers={"Host": tool.host}, timeout=PATIENCE)
    robot = replace(tool, cookie=entered.headers["set-cookie"].split(";")[0])

    with connect(f"ws://{tool.host}/socket", subprotocols=[Subprotocol("echo")], **_way(robot)) as line:
        line.recv()
        tool.server.client.delete(f"/api/v1/authorization/access-rules/{given.json()['id']}").raise_for_status()
        with pytest.raises(ConnectionClosed) as closed:
            line.recv(timeout=60)

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code in (4403, 4404)
    assert robot.get("/").status_code in (403, 404)
    assert tool.get("/").status_code == 200, "nobody else is put out"


def test_the_tool_is_closed_when_its_workload_stops(tool: Tool) -> None:
    tool.server.client.post(f"/api/v1/workloads/workspaces/{tool.uid}/suspend").raise_for_status()
    tool.server.wait(tool.uid, frozenset({"Stopped"}))

    deadline = time.monotonic() + 60  # what was found out about a tool is remembered for 5 seconds
    while (status := tool.get("/").status_code) == 200 and time.monotonic() < deadline:
        time.sleep(0.2)

    assert status in (409, 503)
