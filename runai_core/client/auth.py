"""The bearer token of a request, renewed with the service account's secret when it has run out."""

from collections.abc import AsyncGenerator, Generator

import httpx

from runai_core.client.environment import Connection
from runai_core.client.requests import API


class BearerAuth(httpx.Auth):
    """Adds the token; asks for a new one when there is none, or when the server no longer takes it."""

    # Not httpx's `requires_response_body`: that would read every answer to its end, also one that has none.

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.token = connection.token

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Yield the request, and once more with a new token if the first was refused."""
        if not self.token and self._renewable:
            answer = yield self._token_request()
            answer.read()
            self._keep(answer)
        response = yield self._bear(request)
        if self._was_refused(response):
            answer = yield self._token_request()
            answer.read()
            self._keep(answer)
            yield self._bear(request)

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Do the same where answers are awaited."""
        if not self.token and self._renewable:
            answer = yield self._token_request()
            await answer.aread()
            self._keep(answer)
        response = yield self._bear(request)
        if self._was_refused(response):
            answer = yield self._token_request()
            await answer.aread()
            self._keep(answer)
            yield self._bear(request)

    def _bear(self, request: httpx.Request) -> httpx.Request:
        request.headers["Authorization"] = f"Bearer {self.token}"
        return request

    def _was_refused(self, response: httpx.Response) -> bool:
        return response.status_code == httpx.codes.UNAUTHORIZED and self._renewable

    @property
    def _renewable(self) -> bool:
        return bool(self._connection.client_id and self._connection.client_secret)

    def _token_request(self) -> httpx.Request:
        body = {
            "grantType": "client_credentials",
            "clientID": self._connection.client_id,
            "clientSecret": self._connection.client_secret,
        }
        return httpx.Request("POST", f"{self._connection.url}{API}/token", json=body)

    def _keep(self, response: httpx.Response) -> None:
        if response.is_success:
            self.token = str(response.json().get("accessToken", ""))
