"""The transport against a carrier that fails as networks do."""

from collections.abc import Callable

import httpx
import pytest

from runai_core.client.client import AsyncClient
from runai_core.client.environment import Connection
from runai_core.client.requests import Call, Request
from runai_core.client.transport import PAUSES, AsyncTransport
from runai_core.model.errors import NotFound, Unavailable

CONNECTION = Connection(url="http://localhost", token="t", unreachable="nobody is there")


class Unsleeping(AsyncTransport):
    """A transport that notes pauses instead of making them."""

    def __init__(self, carrier: Callable[[httpx.Request], httpx.Response], connection: Connection = CONNECTION) -> None:
        super().__init__(connection, httpx.MockTransport(carrier))
        self.pauses: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)


class Failing:
    """Fails in the given ways, one after the other, then answers."""

    def __init__(self, *failures: type[httpx.TransportError] | int) -> None:
        self.failures = list(failures)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        failure = self.failures.pop(0) if self.failures else 200
        if isinstance(failure, int):
            return httpx.Response(failure, json={"message": "m", "code": failure})
        raise failure("broken")


def call(*, repeatable: bool) -> Call[object]:
    return Call(Request("POST", "/x", repeatable=repeatable), lambda data: data)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("failures", "repeatable", "requests"),
    [
        pytest.param(
            (httpx.ConnectError,), False, 2, id="a refused connection sent nothing, so anything is sent again"
        ),
        pytest.param((httpx.ReadError, httpx.ReadTimeout), True, 3, id="what may be sent twice is sent again"),
        pytest.param((503, 503), True, 3, id="not now is asked again"),
    ],
)
async def test_what_may_be_tried_again_is(
    failures: tuple[type[httpx.TransportError] | int, ...], repeatable: bool, requests: int
) -> None:
    carrier = Failing(*failures)
    transport = Unsleeping(carrier)

    await transport.call(call(repeatable=repeatable))

    assert requests == len(carrier.requests)
    assert list(PAUSES[: requests - 1]) == transport.pauses


@pytest.mark.asyncio
@pytest.mark.parametrize("failure", [httpx.ReadError, 503])
async def test_a_submission_that_may_have_arrived_is_not_sent_twice(failure: type[httpx.TransportError] | int) -> None:
    carrier = Failing(failure)

    with pytest.raises(Unavailable):
        await Unsleeping(carrier).call(call(repeatable=False))

    assert len(carrier.requests) == 1


@pytest.mark.asyncio
async def test_when_nobody_ever_answers_the_message_is_the_connections() -> None:
    carrier = Failing(*[httpx.ConnectError] * 50)

    with pytest.raises(Unavailable, match="nobody is there"):
        await Unsleeping(carrier).call(call(repeatable=True))

    assert len(carrier.requests) == len(PAUSES) + 1


@pytest.mark.asyncio
async def test_a_token_that_ran_out_is_renewed_with_the_secret() -> None:
    seen: list[str] = []

    def carrier(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/v1/token":
            return httpx.Response(200, json={"accessToken": "new"})
        seen.append(request.headers["Authorization"])
        fresh = request.headers["Authorization"] == "Bearer new"
        return httpx.Response(200 if fresh else 401, json={"message": "no", "version": "1"})

    connection = Connection(url="http://localhost", token="old", client_id="c", client_secret="s")
    async with AsyncClient(Unsleeping(carrier, connection)) as client:
        assert (await client.status())["version"] == "1"

    assert seen == ["Bearer old", "Bearer new"]


@pytest.mark.asyncio
async def test_a_name_is_looked_up_in_its_project_whatever_it_holds() -> None:
    def carrier(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/api/v1/workloads"
        assert request.url.params.get_list("filterBy") == ["name==../a&b", "projectName==vision"]
        return httpx.Response(200, json={"workloads": []})

    async with AsyncClient(Unsleeping(carrier)) as client:
        with pytest.raises(NotFound, match="project vision has no workload"):
            await client.get("../a&b", project="vision")


@pytest.mark.asyncio
async def test_a_list_is_read_page_by_page_to_its_end() -> None:
    names = [f"w{index}" for index in range(250)]

    def carrier(request: httpx.Request) -> httpx.Response:
        offset, limit = (int(request.url.params[key]) for key in ("offset", "limit"))
        return httpx.Response(200, json={"workloads": [{"name": name} for name in names[offset : offset + limit]]})

    async with AsyncClient(Unsleeping(carrier)) as client:
        assert names == [workload.name for workload in await client.list()]
        assert names[:120] == [workload.name for workload in await client.list(limit=120)]


@pytest.mark.asyncio
async def test_a_wait_ends_with_the_phase_and_a_timeout_says_where_it_stood() -> None:
    phases = ["Pending", "Initializing", "Running"]

    def carrier(_request: httpx.Request) -> httpx.Response:
        phase = phases.pop(0) if len(phases) > 1 else phases[0]
        return httpx.Response(200, json={"id": "0b8a4b5e-6f4e-4c0e-9a54-3f3f3b1f3d7a", "name": "a", "phase": phase})

    async with AsyncClient(Unsleeping(carrier)) as client:
        found = await client.wait("0b8a4b5e-6f4e-4c0e-9a54-3f3f3b1f3d7a", until=["Running"])
        assert found.phase == "Running"
        with pytest.raises(TimeoutError, match="a is Running after 0 s"):
            await client.wait(found, timeout=0)
