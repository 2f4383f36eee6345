"""Carries requests to the API and answers back: over HTTP, or in process through ASGI.

Connection errors and "not now" (503) are tried again, with growing pauses,
where the request may be sent twice. A refused connection has sent nothing, so
that is tried again for every request.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from runai_core.client.answers import read_error, read_json
from runai_core.client.auth import BearerAuth
from runai_core.client.environment import Connection
from runai_core.client.requests import Call, Request
from runai_core.client.sockets import AsyncSocket
from runai_core.model.errors import InvalidRequest, Unavailable

T = TypeVar("T")

PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds before each further try."""

TIMEOUT = httpx.Timeout(60.0, connect=5.0)
"""Seconds without an answer after which a request is given up."""

NOT_NOW = frozenset({429, 502, 503, 504})


Dialer = Callable[[str, dict[str, str]], AbstractAsyncContextManager[AsyncSocket]]
"""Opens a WebSocket to a URL with these headers."""


class AsyncTransport:
    """One pool of connections to one orchestrator."""

    def __init__(
        self, connection: Connection, carrier: httpx.AsyncBaseTransport | None = None, dialer: Dialer | None = None
    ) -> None:
        self.connection = connection
        self._dial: Dialer = dialer or _over_the_network
        self.auth = BearerAuth(connection)
        self._http = httpx.AsyncClient(
            base_url=connection.url,
            auth=self.auth,
            timeout=TIMEOUT,
            transport=carrier,
            headers={"User-Agent": connection.agent},
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        """Open the pool."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def call(self, call: Call[T]) -> T:
        """Send a request and return what its answer says.

        Raises:
            RunaiError: the class of `model.errors` that the answer stands for; Unavailable where nobody answers.
        """
        response = await self._send(call.request)
        if not response.is_success:
            raise read_error(response.status_code, response.content)
        return call.read(read_json(response.content))

    async def _send(self, request: Request) -> httpx.Response:
        for pause in (*PAUSES, None):
            try:
                response = await self._http.send(self._built(request))
            except httpx.TransportError as error:
                if pause is None or not (request.repeatable or isinstance(error, httpx.ConnectError)):
                    raise self._unreachable(error) from None
            else:
                if pause is None or not request.repeatable or response.status_code not in NOT_NOW:
                    return response
            await self.sleep(pause)
        raise AssertionError("the last try returns or raises")

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open an answer that comes in pieces; leaving the context ends it.

        Raises:
            RunaiError: as `call`, also while the pieces are read.
        """
        try:
            async with self._http.stream(
                **self._arguments(request), timeout=httpx.Timeout(None, connect=5.0)
            ) as response:
                if not response.is_success:
                    raise read_error(response.status_code, await response.aread())
                yield response.aiter_bytes()
        except httpx.TransportError as error:
            raise self._unreachable(error) from None

    @asynccontextmanager
    async def dial(self, request: Request) -> AsyncIterator[AsyncSocket]:
        """Open a WebSocket; leaving the context closes it.

        Raises:
            RunaiError: as `call`.
        """
        url = str(self._built(request).url)
        headers = {"Authorization": f"Bearer {self.auth.token}"}
        async with self._dial(url, headers) as socket:
            yield socket

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    def _built(self, request: Request) -> httpx.Request:
        try:
            return self._http.build_request(**self._arguments(request))
        except (TypeError, ValueError) as error:  # NaN, a date, a text that is no Unicode
            raise InvalidRequest(f"the request cannot be written as JSON: {error}") from None

    def _arguments(self, request: Request) -> dict[str, Any]:
        return {
            "method": request.method,
            "url": request.path,
            "params": list(request.query) or None,
            "json": request.body,
            "headers": list(request.headers),
        }

    def _unreachable(self, error: httpx.TransportError) -> Unavailable:
        if isinstance(error, httpx.ConnectError):
            return Unavailable(self.connection.unreachable or f"nobody answers at {self.connection.url}")
        return Unavailable(f"the connection to {self.connection.url} broke: {str(error) or type(error).__name__}")


def _over_the_network(url: str, headers: dict[str, str]) -> AbstractAsyncContextManager[AsyncSocket]:
    # Imported here: few commands need it, and it takes longer to load than all else.
    from runai_core.client.dialing import dial

    return dial(url, headers)
